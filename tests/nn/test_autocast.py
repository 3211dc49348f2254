"""``torch.autocast`` on the CPU: which operations it converts, blocks, the casts it keeps, and captured models."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn


def name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


# -- The lists -----------------------------------------------------------------------------------------

# The dtypes of the results for operands of float32, and for operands of bfloat16.
LOWER, FLOAT32, AS_GIVEN = ("bfloat16", "bfloat16"), ("float32", "float32"), ("float32", "bfloat16")
CASES: list[tuple[str, Callable[..., Any], tuple[str, str]]] = [
    ("linear", lambda lib, x: lib.nn.functional.linear(x, x), LOWER),
    ("@", lambda lib, x: x @ x, LOWER),
    ("matmul", lambda lib, x: lib.matmul(x, x[0]), LOWER),
    ("mm", lambda lib, x: x.mm(x), LOWER),
    ("bmm", lambda lib, x: lib.bmm(x[None], x[None]), LOWER),
    ("addmm", lambda lib, x: lib.addmm(x[0], x, x), LOWER),
    ("baddbmm", lambda lib, x: lib.baddbmm(x[None], x[None], x[None]), LOWER),
    ("einsum", lambda lib, x: lib.einsum("ij,jk->ik", x, x), LOWER),
    ("tensordot", lambda lib, x: lib.tensordot(x, x, 1), LOWER),
    ("vecdot", lambda lib, x: lib.linalg.vecdot(x, x), LOWER),
    ("prelu", lambda lib, x: lib.nn.functional.prelu(x, x[0]), LOWER),
    ("attention", lambda lib, x: lib.nn.functional.scaled_dot_product_attention(x, x, x), LOWER),
    ("mse_loss", lambda lib, x: lib.nn.functional.mse_loss(x, x), FLOAT32),
    ("cross_entropy", lambda lib, x: lib.nn.functional.cross_entropy(x, lib.tensor([0, 1, 2])), FLOAT32),
    ("nll_loss", lambda lib, x: lib.nn.functional.nll_loss(x, lib.tensor([0, 1, 2])), FLOAT32),
    ("bce", lambda lib, x: lib.nn.functional.binary_cross_entropy_with_logits(x, x.sigmoid()), FLOAT32),
    ("kl_div", lambda lib, x: lib.nn.functional.kl_div(x, x.exp(), reduction="sum"), FLOAT32),
    ("prod", lambda lib, x: x.prod(), FLOAT32),
    ("trace", lambda lib, x: x.trace(), FLOAT32),
    ("quantile", lambda lib, x: x.quantile(0.5), FLOAT32),
    ("cdist", lambda lib, x: lib.cdist(x, x), FLOAT32),
    ("inv", lambda lib, x: lib.linalg.inv(x), FLOAT32),
    ("qr", lambda lib, x: lib.linalg.qr(x)[0], FLOAT32),
    ("reflect", lambda lib, x: lib.nn.functional.pad(x, (1, 1), "reflect"), FLOAT32),
    ("pad", lambda lib, x: lib.nn.functional.pad(x, (1, 1)), AS_GIVEN),
    ("mv", lambda lib, x: x.mv(x[0]), AS_GIVEN),
    ("dot", lambda lib, x: x[0].dot(x[0]), AS_GIVEN),
    ("outer product", lambda lib, x: lib.einsum("i,j->ij", x[0], x[0]), AS_GIVEN),
    ("add", lambda lib, x: x + x, AS_GIVEN),
    ("exp", lambda lib, x: x.exp(), AS_GIVEN),
    ("sum", lambda lib, x: x.sum(), AS_GIVEN),
    ("softmax", lambda lib, x: x.softmax(0), AS_GIVEN),
    ("relu", lambda lib, x: lib.relu(x), AS_GIVEN),
    ("layer_norm", lambda lib, x: lib.nn.functional.layer_norm(x, (3,)), AS_GIVEN),
    ("cat", lambda lib, x: lib.cat([x, x.bfloat16()]), AS_GIVEN),
    ("stack", lambda lib, x: lib.stack([x, x.bfloat16()]), AS_GIVEN),
    ("vstack", lambda lib, x: lib.vstack([x, x]), AS_GIVEN),
]  # fmt: skip


@pytest.mark.parametrize(("label", "run", "expected"), CASES, ids=[row[0] for row in CASES])
def test_list(lib: Any, label: str, run: Callable[..., Any], expected: tuple[str, str]) -> None:
    x = lib.tensor([[1.1, 2.2, 0.3], [0.4, 1.5, 0.6], [0.7, 0.8, 1.9]])
    with lib.autocast("cpu", dtype=lib.bfloat16):
        found = [run(lib, x), run(lib, x.bfloat16())]
        # float64 is never converted.
        if label not in ("cat", "stack"):
            assert name(run(lib, x.double()).dtype) == "float64"
        with lib.autocast("cpu", enabled=False):
            assert name(run(lib, x).dtype) == "float32"
    assert tuple(name(t.dtype) for t in found) == expected
    plain = run(lib, x)
    np.testing.assert_allclose(found[0].double().numpy(), plain.double().numpy(), rtol=0.03, atol=0.02)


def test_half(lib: Any) -> None:
    x = lib.tensor([[1.1, 2.2], [3.3, 4.4]])
    with lib.autocast("cpu", dtype=lib.float16):
        assert name((x @ x).dtype) == "float16"
        assert name(lib.nn.functional.mse_loss(x.half(), x.half()).dtype) == "float32"


# -- Blocks and settings -----------------------------------------------------------------------------------


def test_blocks(lib: Any) -> None:
    x = lib.ones(2, 2)
    block = lib.autocast("cpu")
    assert name(block.fast_dtype) == "bfloat16"
    with block:
        assert lib.is_autocast_enabled("cpu")
        assert not lib.is_autocast_enabled()
        with lib.autocast("cpu", dtype=lib.float16):
            assert name(lib.get_autocast_dtype("cpu")) == "float16"
            assert name((x @ x).dtype) == "float16"
        with lib.autocast("cpu", enabled=False):
            assert not lib.is_autocast_enabled("cpu")
            assert name((x @ x).dtype) == "float32"
        assert name((x @ x).dtype) == "bfloat16"
    assert not lib.is_autocast_enabled("cpu")
    assert name(lib.get_autocast_dtype("cpu")) == "bfloat16"
    with pytest.raises(ZeroDivisionError), lib.autocast("cpu"):
        _ = 1 / 0
    assert name((x @ x).dtype) == "float32"


def test_a_block_inside_of_itself() -> None:
    # In PyTorch it stays on.
    block = fastnn.autocast("cpu")
    with block, block:
        pass
    assert not fastnn.is_autocast_enabled("cpu")


def test_decorators(lib: Any) -> None:
    @lib.autocast("cpu", dtype=lib.bfloat16)
    def product(x: Any) -> Any:
        """A product."""
        return x @ x

    assert (product.__name__, product.__doc__) == ("product", "A product.")
    assert name(product(lib.ones(2, 2)).dtype) == "bfloat16"
    assert not lib.is_autocast_enabled("cpu")
    with pytest.raises(TypeError, match="requires a callable, but got int"):
        lib.autocast("cpu")(3)


def test_settings(lib: Any) -> None:
    assert lib.amp.is_autocast_available("cpu")
    assert name(lib.get_autocast_dtype("cuda")) == "float16"
    lib.set_autocast_enabled("cpu", True)
    try:
        assert name((lib.ones(2, 2) @ lib.ones(2, 2)).dtype) == "bfloat16"
        lib.set_autocast_dtype("cpu", lib.float16)
        assert name((lib.ones(2, 2) @ lib.ones(2, 2)).dtype) == "float16"
    finally:
        lib.set_autocast_enabled("cpu", False)
        lib.set_autocast_dtype("cpu", lib.bfloat16)
    assert [lib.autocast_increment_nesting(), lib.autocast_decrement_nesting()] == [1, 0]
    assert lib.is_autocast_cache_enabled()
    lib.clear_autocast_cache()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert name(lib.get_autocast_cpu_dtype()) == "bfloat16"
        assert not lib.is_autocast_cpu_enabled()
        with lib.cpu.amp.autocast():
            assert lib.is_autocast_enabled("cpu")
    assert {w.category for w in seen} == {DeprecationWarning, FutureWarning}


def test_wrong_arguments(lib: Any) -> None:
    with pytest.raises(ValueError, match="device_type"):
        lib.autocast(3)
    with pytest.raises(RuntimeError, match="device type at start of device string: nowhere"):
        lib.autocast("nowhere")
    with pytest.raises(TypeError, match="device_type"):
        lib.autocast()
    with pytest.raises(TypeError, match="must be bool"):
        lib.set_autocast_enabled("cpu", 3)
    with pytest.raises(TypeError, match=r"must be torch\.dtype"):
        lib.set_autocast_dtype("cpu", 3)
    with pytest.raises(ValueError, match="device_type"):
        lib.amp.custom_fwd(abs, device_type=3)
    with pytest.warns(UserWarning, match="not supported. Disabling"), lib.autocast("cpu", dtype=lib.float64):
        assert not lib.is_autocast_enabled("cpu")


def test_threads_have_their_own_state(lib: Any) -> None:
    found = []
    with lib.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append(lib.is_autocast_enabled("cpu")))
        thread.start()
        thread.join()
    assert found == [False]


# -- Casts of parameters -----------------------------------------------------------------------------------


def test_a_parameter_is_converted_once(lib: Any) -> None:
    layer, x = lib.nn.Linear(2, 2), lib.ones(1, 2)
    with lib.autocast("cpu"):
        a, b = layer(x), layer(x)
        # One cast, so one sum of the gradients in bfloat16.
        casts = [{id(edge) for edge, _ in t.grad_fn.next_functions} for t in (a, b)]
    (a.sum() + b.sum()).backward()
    assert name(layer.weight.grad.dtype) == "float32"
    assert layer.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert casts


def test_a_changed_parameter_is_converted_again() -> None:
    weight = fastnn.ones(2, 2, requires_grad=True)
    with fastnn.autocast("cpu"):
        first = weight @ weight
        with fastnn.no_grad():
            assert not (weight @ weight).requires_grad
            weight.mul_(2)
        second = weight @ weight
        assert len(fastnn._core.autocast.state.casts) == 1
    assert not fastnn._core.autocast.state.casts
    assert (first.tolist(), second.tolist()) == ([[2.0, 2.0]] * 2, [[8.0, 8.0]] * 2)
    assert second.requires_grad
    with fastnn.autocast("cpu", cache_enabled=False):
        _ = weight @ weight
        assert not fastnn._core.autocast.state.casts


def test_functions_with_a_backward_of_their_own(lib: Any) -> None:
    seen = []

    class Square(lib.autograd.Function):
        @staticmethod
        @lib.amp.custom_fwd(device_type="cpu", cast_inputs=lib.float32)
        def forward(ctx: Any, x: Any) -> Any:
            seen.append((name(x.dtype), lib.is_autocast_enabled("cpu")))
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @lib.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, grad: Any) -> Any:
            seen.append((name(grad.dtype), lib.is_autocast_enabled("cpu")))
            return 2 * grad * ctx.saved_tensors[0]

    class Product(lib.autograd.Function):
        @staticmethod
        @lib.amp.custom_fwd(device_type="cpu")
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        @lib.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, grad: Any) -> Any:
            seen.append((name(grad.dtype), lib.is_autocast_enabled("cpu")))
            return grad @ ctx.saved_tensors[0]

    x = lib.ones(2, 2).bfloat16().requires_grad_()
    with lib.autocast("cpu"):
        y = Square.apply(x)
        z = Product.apply(lib.ones(2, 2, requires_grad=True))
    assert (name(y.dtype), name(z.dtype)) == ("float32", "bfloat16")
    y.sum().backward()
    z.sum().backward()
    assert seen == [("float32", False), ("float32", False), ("bfloat16", True)]
    assert name(x.grad.dtype) == "bfloat16"
    # Outside of autocast nothing is converted.
    assert name(Square.apply(x).dtype) == "bfloat16"


# -- Models ----------------------------------------------------------------------------------------------


def test_training(lib: Any) -> None:
    rng = np.random.default_rng(0)
    x = lib.tensor(rng.standard_normal((64, 4)).astype(np.float32))
    y = (x[:, 0] > x[:, 1]).long()
    model = lib.nn.Sequential(lib.nn.Linear(4, 16), lib.nn.BatchNorm1d(16), lib.nn.ReLU(), lib.nn.Linear(16, 2))
    optimizer, losses = lib.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(40):
        optimizer.zero_grad()
        with lib.autocast("cpu", dtype=lib.bfloat16):
            out = model(x)
            loss = lib.nn.functional.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert (name(out.dtype), name(loss.dtype)) == ("bfloat16", "float32")
    assert {name(p.grad.dtype) for p in model.parameters()} == {"float32"}
    assert losses[-1] < 0.4 * losses[0]


def small() -> Any:
    nn = fastnn.nn
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))


def test_a_captured_model_is_not_replayed_under_autocast() -> None:
    model, x = small(), fastnn.randn(5, 3)
    for _ in range(4):
        plain = model(x)
    assert "captured" in fastnn.explain(model)
    for _ in range(4):
        with fastnn.autocast("cpu"):
            low = model(x)
        assert low.dtype is fastnn.bfloat16
        assert model(x).tolist() == plain.tolist()


def test_a_model_called_under_autocast_is_not_captured_there() -> None:
    model, x = small(), fastnn.randn(5, 3)
    with fastnn.autocast("cpu"):
        low = [model(x).tolist() for _ in range(5)]
    assert all(values == low[0] for values in low)
    plain = [model(x) for _ in range(5)]
    assert all(t.dtype is fastnn.float32 for t in plain)
    assert "captured for" in fastnn.explain(model)
    with fastnn.autocast("cpu"):
        assert model(x).tolist() == low[0]


def test_a_model_that_switches_autocast_itself() -> None:
    class Mixed(fastnn.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = fastnn.nn.Linear(3, 4), fastnn.nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            with fastnn.autocast("cpu"):
                x = self.first(x)
            return self.second(x.float())

    model, x = Mixed(), fastnn.randn(5, 3)
    found = [model(x).tolist() for _ in range(5)]
    assert all(values == found[0] for values in found)
    assert not fastnn.is_autocast_enabled("cpu")


def test_a_compiled_step_runs_eagerly_under_autocast() -> None:
    model, x, y = small(), fastnn.randn(5, 3), fastnn.tensor([0, 1, 0, 1, 1])
    step = fastnn.compile_step(model, fastnn.nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.0))
    for _ in range(3):
        plain = step(x, y)
    assert step.explain() == "captured: 1 program"
    with fastnn.autocast("cpu"):
        low = step(x, y)
        assert step.explain().endswith("the last step ran eagerly: under autocast")
        order = fastnn.tensor([[0, 1, 2, 3, 4]] * 3)
        assert step.run(x, y, order).tolist() == [low.item()] * 3
    assert step(x, y).item() == plain.item()
    assert 0 < abs(low.item() - plain.item()) < 0.01
