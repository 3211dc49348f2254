"""bfloat16 tensors: what is rounded where, promotion, gradients, memory and files."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn

NAN, INF = math.nan, math.inf


def low(lib: Any, *values: Any) -> Any:
    return lib.tensor(list(values)).to(lib.bfloat16)


def name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


# -- The first use -----------------------------------------------------------------------------------

PROGRAM = """
import sys, fastnn
x = fastnn.ones(2, requires_grad=True)
(x * 2).sum().backward()
assert fastnn.bfloat16.is_floating_point and fastnn.finfo(fastnn.bfloat16).bits == 16
assert not isinstance(x, fastnn.BFloat16Tensor)
assert "ml_dtypes" not in sys.modules and "fastnn.ops.low_precision" not in sys.modules
assert not hasattr(fastnn.Tensor.exp, "__wrapped__") or fastnn.Tensor.exp.__code__.co_name != "entry"
{first}
assert "ml_dtypes" in sys.modules
x = fastnn.full((4096,), 0.1).bfloat16()
assert x.sum().item() == 410.0, x.sum()
"""


@pytest.mark.parametrize("first", [
    "fastnn.zeros(2, dtype=fastnn.bfloat16)",
    "fastnn.ones(4096).sum(dtype=fastnn.bfloat16)",
    "fastnn.nn.Linear(2, 2).to(fastnn.bfloat16)",
    "fastnn.set_default_dtype(fastnn.bfloat16); fastnn.set_default_dtype(fastnn.float32)",
    "import ml_dtypes, numpy; assert fastnn.from_numpy(numpy.ones(2, ml_dtypes.bfloat16)).dtype is fastnn.bfloat16",
])  # fmt: skip
def test_the_package_is_imported_at_the_first_use(first: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM.format(first=first)], check=True)


def test_a_pickle_is_a_first_use(tmp_path: Path) -> None:
    x = low(fastnn, 1.0, 2.0, 3.0)
    (tmp_path / "p").write_bytes(pickle.dumps([x, fastnn.nn.Parameter(x)]))
    fastnn.save([x, x[1:]], tmp_path / "s")
    program = (
        "import pickle, sys, fastnn\n"
        f"t, p = pickle.load(open({str(tmp_path / 'p')!r}, 'rb'))\n"
        "assert t.mean().item() == 2 and p.sum().dtype is fastnn.bfloat16 and p.requires_grad\n"
        f"a, b = fastnn.load({str(tmp_path / 's')!r})\n"
        "assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() and b.tolist() == [2, 3]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# -- Casts and creation --------------------------------------------------------------------------------


def test_casts(lib: Any) -> None:
    x = lib.tensor([1.00390625, 1.01171875, 3.4e38, -1e-40, NAN, INF, 65504.0])
    y = x.bfloat16()
    # To the nearest, ties to even.
    assert y[:4].tolist() == [1.0, 1.015625, INF, -9.183549615799121e-41]
    assert math.isnan(y[4].item())
    assert y[5:].tolist() == [INF, 65536.0]
    assert name(y.float().dtype) == "float32"
    assert name(y.double().dtype) == "float64"
    assert y.half()[6].item() == INF
    assert lib.tensor([257, 258, 259]).to(lib.bfloat16).tolist() == [256.0, 258.0, 260.0]
    assert low(lib, 1.9, -2.9).int().tolist() == [1, -2]
    assert low(lib, 0.0, 2.0).bool().tolist() == [False, True]
    assert lib.tensor([1.1]).type("torch.BFloat16Tensor").type() == "torch.BFloat16Tensor"
    assert name(lib.tensor([1.1]).type_as(y).dtype) == "bfloat16"
    assert y.view(lib.int16)[0].item() == 0x3F80


def test_creation(lib: Any) -> None:
    kind = lib.bfloat16
    made = [
        lib.tensor([1.1], dtype=kind), lib.tensor(np.float32(1.1), dtype=kind), lib.tensor([[1, 2]], dtype=kind),
        lib.zeros(2, dtype=kind), lib.ones(2, 3, dtype=kind), lib.empty(2, dtype=kind), lib.full((2,), 1.1, dtype=kind),
        lib.arange(3, dtype=kind), lib.arange(0, 1, 0.25, dtype=kind), lib.linspace(0, 1, 3, dtype=kind),
        lib.eye(2, dtype=kind), lib.rand(3, dtype=kind), lib.randn(3, dtype=kind), lib.randint(3, (3,), dtype=kind),
        lib.zeros_like(lib.ones(2), dtype=kind), lib.asarray([1.1], dtype=kind), lib.as_tensor([1.1], dtype=kind),
        lib.as_tensor(np.ones(2), dtype=kind), lib.scalar_tensor(1.1, dtype=kind), lib.BFloat16Tensor([1, 2]),
        lib.frombuffer(bytearray(b"\x80\x3f\x00\x40"), dtype=kind),
        lib.ones(1, dtype=kind).new_zeros(2), lib.ones(1, dtype=kind).new_tensor([1]), lib.rand_like(low(lib, 1.0)),
    ]  # fmt: skip
    assert {name(t.dtype) for t in made} == {"bfloat16"}
    assert made[0].tolist() == [1.1015625]
    assert made[6].tolist() == [1.1015625] * 2
    assert made[8].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert made[20].tolist() == [1.0, 2.0]
    assert lib.tensor([1e39], dtype=kind).tolist() == [INF]
    for value in (1e39, 3.4e38):
        with pytest.raises(RuntimeError, match="without overflow"):
            lib.full((2,), value, dtype=kind)


def test_uniform_numbers_stay_below_one(lib: Any) -> None:
    for drawn in (lib.rand(10_000, dtype=lib.bfloat16), lib.empty(10_000, dtype=lib.bfloat16).uniform_()):
        assert 0 <= drawn.min().item() < 0.01
        assert 0.99 < drawn.max().item() < 1
        assert abs(drawn.float().mean().item() - 0.5) < 0.02
    whole = lib.empty(1000, dtype=lib.bfloat16).random_()
    assert whole.max().item() <= 256
    assert (whole == whole.round()).all()


def test_default_dtype(lib: Any) -> None:
    lib.set_default_dtype(lib.bfloat16)
    try:
        made = [
            lib.tensor([1.1]), lib.zeros(2), lib.full((2,), 1.1), lib.arange(3.0), lib.arange(3) / 2,
            lib.linspace(0, 1, 3), lib.tensor(3) * 1.1, lib.tensor([1, 2]).sqrt(), lib.nn.Linear(2, 2).weight,
            lib.rand(2), lib.randn(2),
        ]  # fmt: skip
        assert {name(t.dtype) for t in made} == {"bfloat16"}
        assert repr(made[0]) == "tensor([1.1016])"
        assert repr(lib.ones(1, dtype=lib.float32)) == "tensor([1.], dtype=torch.float32)"
    finally:
        lib.set_default_dtype(lib.float32)


def test_facts(lib: Any) -> None:
    x, limits = low(lib, 1.0, 2.0), lib.finfo(lib.bfloat16)
    assert (x.element_size(), x.nbytes, x.itemsize, x.is_floating_point(), x.is_signed()) == (2, 4, 2, True, True)
    assert repr(limits) == (
        "finfo(resolution=0.01, min=-3.38953e+38, max=3.38953e+38, eps=0.0078125, smallest_normal=1.17549e-38, "
        "tiny=1.17549e-38, dtype=bfloat16)"
    )
    assert (limits.bits, limits.max, limits.eps) == (16, 3.3895313892515355e38, 0.0078125)
    assert lib.can_cast(lib.bfloat16, lib.float16)
    assert not lib.can_cast(lib.bfloat16, lib.int64)
    assert low(fastnn, 1.0).storage_type().__name__ == "BFloat16Storage"
    assert isinstance(hash(x), int)


def test_what_numpy_cannot_hold(lib: Any) -> None:
    for read in (lambda x: x.numpy(), np.asarray):
        with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
            read(low(lib, 1.0))
    with pytest.raises(TypeError, match="only integer tensors"):
        [1, 2][low(lib, 1.0)]


def test_printing(lib: Any) -> None:
    leaf = low(lib, 1.0).requires_grad_()
    assert repr(low(lib, 1.0, 2.0)) == "tensor([1., 2.], dtype=torch.bfloat16)"
    assert repr(low(lib, 1.1, -2.25)) == "tensor([ 1.1016, -2.2500], dtype=torch.bfloat16)"
    assert repr(low(lib, 1e10, 1.0)) == "tensor([9.9992e+09, 1.0000e+00], dtype=torch.bfloat16)"
    assert repr(lib.zeros(0).bfloat16()) == "tensor([], dtype=torch.bfloat16)"
    assert repr(leaf) == "tensor([1.], dtype=torch.bfloat16, requires_grad=True)"
    assert repr(leaf * 2) == "tensor([2.], dtype=torch.bfloat16, grad_fn=<MulBackward0>)"
    assert f"{low(lib, 1.5)[0]:.2f}" == "1.50"


# -- Arithmetic ------------------------------------------------------------------------------------------


def test_promotion(lib: Any) -> None:
    x, z = low(lib, 1.0, 2.0), lib.tensor(1.0, dtype=lib.bfloat16)
    others = {
        "float16": "float32", "float32": "float32", "float64": "float64", "int64": "bfloat16", "bool": "bfloat16",
        "uint8": "bfloat16", "bfloat16": "bfloat16",
    }  # fmt: skip
    for other, expected in others.items():
        kind = getattr(lib, other)
        y = lib.ones(2, dtype=kind)
        for found in (x + y, y * x, lib.where(x > 0, x, y)):
            assert name(found.dtype) == expected, other
        assert name(lib.promote_types(lib.bfloat16, kind)) == expected
        assert name(lib.result_type(x, lib.ones(2, dtype=kind))) == expected
        assert name(lib.cat([x, lib.ones(2, dtype=kind)]).dtype) == expected
        # A tensor without dimensions changes nothing.
        assert name((x + lib.ones((), dtype=kind)).dtype) == "bfloat16"
    assert name((z + lib.ones(2)).dtype) == "float32"
    assert name((z + lib.ones(2, dtype=lib.int64)).dtype) == "bfloat16"
    assert {name(t.dtype) for t in (x + 1, x * 2.5, 2 / x, x**2, x // 2, True + x)} == {"bfloat16"}
    assert name((x < 1.5).dtype) == "bool"


def test_numbers_are_rounded_as_pytorch_rounds_them(lib: Any) -> None:
    x = low(lib, 0.5, 3.0, 10.0)
    # 1.7 is 1.703125 in bfloat16, but not in products.
    assert (x + 1.7).tolist() == [2.203125, 4.6875, 11.6875]
    assert (x * 1.7).tolist() == [0.8515625, 5.09375, 17.0]
    assert (1.7 - x).tolist() == [1.203125, -1.296875, -8.3125]
    assert (x % 1.7).tolist() == [0.5, 1.296875, 1.484375]
    assert (x + lib.tensor(1.7)).tolist() == (x + 1.7).tolist()
    assert (low(lib, 0.1) == 0.1).item()
    assert not (low(lib, 0.1) == lib.tensor([0.1])).item()
    assert (low(lib, 256.0) + 257).item() == 512.0


def test_sums_are_rounded_once(lib: Any) -> None:
    x = lib.full((4096,), 0.1).bfloat16()
    assert [x.sum().item(), x.mean().item(), x.cumsum(0)[-1].item()] == [410.0, 0.10009765625, 410.0]
    assert x.sum(dtype=lib.float32).item() == 410.0
    assert name(lib.ones(3).sum(dtype=lib.bfloat16).dtype) == "bfloat16"
    assert name(lib.nn.functional.softmax(lib.ones(3), 0, dtype=lib.bfloat16).dtype) == "bfloat16"
    assert (x.view(64, 64) @ x.view(64, 64))[0, 0].item() == 0.640625


def test_order_and_limits(lib: Any) -> None:
    x = lib.tensor([3.0, NAN, 1.0, -2.0, INF]).bfloat16()
    values, indices = x.sort()
    assert values[:4].tolist() == [-2.0, 1.0, 3.0, INF]
    assert indices.tolist() == [3, 2, 0, 4, 1]
    assert x.nan_to_num().tolist() == [3.0, 0.0, 1.0, -2.0, 3.3895313892515355e38]
    assert low(lib, 3.0, 1.0, 2.0).topk(2).values.tolist() == [3.0, 2.0]
    assert low(lib, 3.0, 1.0, 2.0).argmin().item() == 1


def test_in_place(lib: Any) -> None:
    x = low(lib, 1.0, 2.0, 3.0, 4.0)
    x.view(2, 2).t()[0].add_(10)
    x[1:2].zero_()
    assert x.tolist() == [11.0, 0.0, 13.0, 4.0]
    x[3] = lib.tensor(2.7183)
    x[x > 12] = 1.1
    assert x.tolist() == [11.0, 0.0, 1.1015625, 2.71875]
    x.mul_(lib.tensor([1.0, 1.0, 2.001, 1.0])).clamp_(max=5).copy_(x + 0.3)
    assert x.tolist() == [5.3125, 0.30078125, 2.5, 3.015625]
    wide = lib.ones(4)
    wide += x
    assert wide.tolist() == [6.3125, 1.30078125, 3.5, 4.015625]
    out = lib.empty(4, dtype=lib.bfloat16)
    assert lib.add(wide, wide, out=out) is out
    assert out.tolist() == [12.625, 2.59375, 7.0, 8.0]
    with lib.inference_mode():
        y = x * 2
        y += 1
        assert y.tolist() == [11.625, 1.6015625, 6.0, 7.03125]
    with pytest.raises(RuntimeError, match="can't be cast"):
        lib.tensor([1, 2]).add_(low(lib, 1.0, 2.0))


def test_one_dtype_where_pytorch_wants_one(lib: Any) -> None:
    x, y, functional = low(lib, 1.0, 2.0), lib.ones(2), lib.nn.functional
    first = lib.tensor([0])
    for refused in (
        lambda: x @ y, lambda: x.dot(y), lambda: functional.linear(y[None], x[None]), lambda: lib.lerp(x, y, 0.5),
        lambda: x.scatter(0, first, y[:1]), lambda: x.index_add(0, first, y[:1]), lambda: functional.prelu(x, y[:1]),
        lambda: functional.cross_entropy(x[None], first, y), lambda: functional.layer_norm(y, (2,), x, x),
        lambda: functional.batch_norm(y.view(1, 2), x, x),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            refused()
    assert name(functional.layer_norm(x, (2,), y, y).dtype) == "bfloat16"
    assert name(functional.batch_norm(x.view(1, 2), y, y, y, y).dtype) == "bfloat16"


# -- Gradients -------------------------------------------------------------------------------------------


def test_gradients(lib: Any) -> None:
    x, w = low(lib, 1.0, 2.0).requires_grad_(), lib.tensor([1.1, 2.2], requires_grad=True)
    (x * w).sum().backward()
    assert (name(x.grad.dtype), name(w.grad.dtype)) == ("bfloat16", "float32")
    assert x.grad.tolist() == [1.1015625, 2.203125]
    for _ in range(2):
        (x * 1.1).sum().backward()
    # A sum of gradients is rounded each time.
    assert x.grad.tolist() == [3.3125, 4.40625]
    y = low(lib, 1.0, 2.0, 3.0, 4.0).requires_grad_()
    z = y * 1
    z.view(2, 2)[1].mul_(3)
    z[0] = 7
    assert z.sum().backward() is None
    assert y.grad.tolist() == [0.0, 1.0, 3.0, 3.0]
    index = lib.tensor([0, 0, 2])
    (y[index] * 1.5).sum().backward()
    assert y.grad.tolist() == [3.0, 1.0, 4.5, 3.0]


def test_second_derivative(lib: Any) -> None:
    x = low(lib, 1.0, 2.0, 3.0).requires_grad_()
    (slope,) = lib.autograd.grad((x**3).sum(), x, create_graph=True)
    slope.sum().backward()
    assert slope.tolist() == [3.0, 12.0, 27.0]
    assert x.grad.tolist() == [6.0, 12.0, 18.0]


def test_names_of_nodes(lib: Any) -> None:
    x = low(lib, 1.0, 2.0).requires_grad_()
    found = [(x * 2), (x + x), x.exp(), x.sum(), x.float(), x.view(1, 2)]
    expected = ["MulBackward0", "AddBackward0", "ExpBackward0", "SumBackward0", "ToCopyBackward0", "ViewBackward0"]
    assert [t.grad_fn.name() for t in found] == expected


def test_errors_of_gradients(lib: Any) -> None:
    leaf = low(lib, 1.0, 2.0).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        leaf.add_(1)
    with pytest.raises(RuntimeError, match="dtype"):
        leaf.grad = lib.ones(2)
    for change in ("operand", "result"):
        y = leaf * 1
        z = y.exp() if change == "result" else y * y
        (z if change == "result" else y).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()


def test_transforms(lib: Any) -> None:
    from importlib import import_module

    func, x = import_module(f"{lib.__name__}.func"), low(lib, 1.0, 2.0, 3.0)
    assert func.grad(lambda t: (t * t).sum())(x).tolist() == [2.0, 4.0, 6.0]
    found = func.vmap(func.grad(lambda t: (t * t).sum()))(x.view(3, 1))
    assert name(found.dtype) == "bfloat16"
    assert found.tolist() == [[2.0], [4.0], [6.0]]


@pytest.mark.parametrize("make", [
    lambda lib, d, x: d.Normal(x - 1, x), lambda lib, d, x: d.Uniform(x - 1, x), lambda lib, d, x: d.Bernoulli(x / 2),
    lambda lib, d, x: d.Categorical(logits=x[None]), lambda lib, d, x: d.Exponential(x),
    lambda lib, d, x: d.Gumbel(x - 1, x),
], ids=["Normal", "Uniform", "Bernoulli", "Categorical", "Exponential", "Gumbel"])  # fmt: skip
def test_distributions(lib: Any, make: Any) -> None:
    from importlib import import_module

    made = make(lib, import_module(f"{lib.__name__}.distributions"), low(lib, 1.0, 1.0))
    drawn = made.sample()
    assert name(drawn.dtype) in ("bfloat16", "int64")
    assert name(made.log_prob(drawn).dtype) == "bfloat16"
    assert bool(made.log_prob(drawn).isfinite().all())


def test_distributions_that_pytorch_does_not_draw() -> None:
    from fastnn import distributions

    x = low(fastnn, 1.0, 1.0)
    for made in (distributions.Gamma(x, x), distributions.Beta(x, x), distributions.Dirichlet(x)):
        drawn = made.rsample()
        assert drawn.dtype is made.log_prob(drawn).dtype is fastnn.bfloat16


# -- Copies and files ----------------------------------------------------------------------------------------


def test_copies(lib: Any) -> None:
    x = low(lib, 1.0, 2.5, 3.0, 4.0)
    for made in (copy.deepcopy(x.view(2, 2).t()), pickle.loads(pickle.dumps(x.view(2, 2).t()))):
        assert name(made.dtype) == "bfloat16"
        assert made.tolist() == [[1.0, 3.0], [2.5, 4.0]]
    first, second = copy.deepcopy([x, x[1:]])
    second.zero_()
    assert first.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert x.untyped_storage().nbytes() == 8


def test_files(lib: Any, tmp_path: Path) -> None:
    x = low(lib, 1.0, 2.5, -3.0)
    saved = {"x": x, "part": x[1:], "model": lib.nn.Linear(2, 2).to(lib.bfloat16).state_dict(), "dtype": lib.bfloat16}
    lib.save(saved, tmp_path / "new")
    lib.save(saved, tmp_path / "old", _use_new_zipfile_serialization=False)
    readers = [fastnn] if lib is fastnn and "torch" not in sys.modules else [fastnn, sys.modules["torch"]]
    for reader in readers:
        for file in ("new", "old"):
            found = reader.load(tmp_path / file)
            assert found["dtype"] is reader.bfloat16
            assert name(found["model"]["weight"].dtype) == "bfloat16"
            assert found["x"].tolist() == [1.0, 2.5, -3.0]
            found["part"].zero_()
            assert found["x"].tolist() == [1.0, 0.0, 0.0]


def test_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from fastnn import safetensors

    x = low(fastnn, 1.0, 2.5, -3.0)
    safetensors.save_file({"x": x}, tmp_path / "file")
    for found in (safetensors.load_file(tmp_path / "file")["x"], safetensors.load(safetensors.save({"x": x}))["x"]):
        assert found.dtype is fastnn.bfloat16
        assert found.tolist() == x.tolist()


def test_arrays_of_ml_dtypes() -> None:
    import ml_dtypes

    array = np.array([1.0, 2.5], ml_dtypes.bfloat16)
    x = fastnn.from_numpy(array)
    x.add_(1)
    assert array.tolist() == [2.0, 3.5]
    assert fastnn.tensor(array).dtype is fastnn.bfloat16
