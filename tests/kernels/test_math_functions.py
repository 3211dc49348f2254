"""Kernels of functions of mathematics against float64, at special numbers, sizes, shapes and in captures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import fastnn as torch
from fastnn import kernels
from fastnn.kernels.activation.math_functions import FUNCTIONS, direct
from fastnn.kernels.runtime.direct_loops import MOST

SPECIAL = np.array(
    [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 1e-10, -1e-10, 0.5, 2, 8, 1000,
     88.8, -88.8, -104, 128, 127.9, 0.1, 9.5, 10.05, 1 + 1.2e-7, 1 - 6e-8], np.float32,
)  # fmt: skip


def _exact(name: str, *operands: np.ndarray) -> np.ndarray:
    function = getattr(special if name in ("erf", "erfc") else np, name)
    with np.errstate(all="ignore"):
        return function(*[a.astype(np.float64) for a in operands])


def _operands(name: str) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = [rng.uniform(-1, 1, 5_000), rng.normal(0, 3, 5_000)]
    x = np.concatenate([bits, *near], dtype=np.float32, casting="unsafe")
    if FUNCTIONS[name].operands == 1:
        return [np.concatenate([SPECIAL, x])]
    pairs = np.array(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1)
    return [np.concatenate([pairs[0], x]), np.concatenate([pairs[1], rng.permutation(x)])]


def _bits(a: np.ndarray) -> bytes:
    """The bits of numbers; the sign of NaN is not defined."""
    return np.where(np.isnan(a), np.float32(np.nan), a).tobytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_rounded_once(name):
    operands = _operands(name)
    out = np.empty_like(operands[0])
    kernels.math_function(out, name, *operands)
    exact = _exact(name, *operands)
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(out[~finite], rounded[~finite])
    np.testing.assert_array_equal(np.signbit(out[finite]), np.signbit(rounded[finite]))
    error = np.abs(out[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite]))
    assert error.max() < 0.51


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_depend_on_nothing_else(name):
    operands = _operands(name)
    whole = np.empty_like(operands[0])
    kernels.math_function(whole, name, *operands)
    for size in (1, 2, 7, 8, 9, 63, 64):
        for first in (0, 1, 3):
            parts = [a[first : first + size] for a in operands]
            found = direct(name).call(*parts)
            assert _bits(found) == _bits(whole[first : first + size])
    part = operands[0][:64].copy()
    if FUNCTIONS[name].operands == 1:
        assert direct(name).call(part, part) is part
        assert _bits(part) == _bits(whole[:64])


def test_what_a_direct_call_does_not_take():
    call, x = direct("erf").call, np.ones(8, np.float32)
    for other in (
        x.astype(np.float64), x[::2], x[:0], np.ones(MOST + 1, np.float32), [1.0], 1.0, None, x.astype(">f4"),
    ):  # fmt: skip
        assert call(other) is None
    for arrays in ((), (x, np.empty_like(x)), (x, x, x)):
        assert call(*arrays) is None
    x.flags.writeable = False
    assert call(x, x) is None
    call, x = direct("atan2").call, np.ones(8, np.float32)
    for arrays in ((x,), (x, x[:4].copy()), (x, x.reshape(2, 4))):
        assert call(*arrays) is None


def test_errors_come_first():
    x = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"name must be one of log1p.*found 'sine'"):
        kernels.math_function(x, "sine", x)
    with pytest.raises(TypeError, match="erf must be given 1 operands, found 2"):
        kernels.math_function(x, "erf", x, x)
    with pytest.raises(TypeError, match="x must"):
        kernels.math_function(x, "erf", x.astype(np.float64))
    with pytest.raises(ValueError, match="y must"):
        kernels.math_function(x, "atan2", x, x[:2].copy())
    assert (x == 1).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (5, 7), (3, MOST)])
def test_tensors_of_all_shapes_and_orders(name, shape):
    rng = np.random.default_rng(1)
    operands = [rng.uniform(0.1, 0.9, shape).astype(np.float32) for _ in range(FUNCTIONS[name].operands)]
    operate = getattr(torch, name)
    found = operate(*map(torch.tensor, operands))
    expected = np.empty_like(operands[0])
    if expected.size:
        kernels.math_function(expected, name, *operands)
    assert found.dtype == torch.float32
    assert found.numpy().tobytes() == expected.tobytes()
    if len(shape) == 2:
        turned = operate(*[torch.tensor(a.T.copy()).T for a in operands])
        assert turned.numpy().tobytes() == expected.tobytes()
    if len(operands) == 1:
        x = torch.tensor(operands[0])
        assert getattr(x, f"{name}_")() is x
        assert x.numpy().tobytes() == expected.tobytes()


def test_operands_are_broadcast():
    rows, column = np.float32([[0.5, 1, 2]]), np.float32([[1], [-1]])
    found = torch.atan2(torch.tensor(rows), torch.tensor(column))
    np.testing.assert_allclose(found.numpy(), np.arctan2(rows, column), rtol=1e-6)
    assert torch.atan2(torch.tensor(rows), torch.tensor(2.0)).shape == (1, 3)
    with pytest.raises(RuntimeError, match="cannot be broadcast together"):
        torch.atan2(torch.ones(2), torch.ones(3))


def test_same_bits_in_a_compiled_step():
    rng = np.random.default_rng(2)
    data = rng.uniform(0.1, 0.9, (16, 6)).astype(np.float32)

    def train(is_captured):
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def loss_of(outputs, targets):
            z = outputs.sigmoid()
            total = z.log1p() + z.expm1() + z.erf() + z.atanh() + z.t().contiguous().t().sinh() + z.exp2()
            return (total - targets).square().mean()

        def step(x, y):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        torch.set_capture(is_captured)
        try:
            run = torch.compile_step(model, loss_of, optimizer) if is_captured else step
            x, y = torch.tensor(data), torch.tensor(data[:, :3].copy())
            losses = [float(run(x, y)) for _ in range(5)]
        finally:
            torch.set_capture(True)
        return losses, model.weight.detach().numpy().tobytes()

    assert train(True) == train(False)
