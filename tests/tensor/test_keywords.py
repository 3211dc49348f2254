"""Arguments by PyTorch's names, of functions and methods that also take them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from comparison import as_array

EXPRESSIONS = [
    "x.flip(dims=(0,))", "torch.flip(x, dims=[0, 1])", "torch.flip(input=x, dims=(1,))", "x.permute(dims=(1, 0))",
    "torch.permute(x, dims=(1, 0))", "x.tile(dims=(2, 1))", "torch.tile(x, dims=(2,))", "x.repeat(repeats=(2, 1))",
    "x.expand(size=(2, 2, 3))", "x.reshape(shape=(3, -1))", "torch.reshape(x, shape=(3, 2))", "x.view(size=(3, 2))",
    "x.swapaxes(axis0=0, axis1=1)", "torch.swapaxes(x, axis0=0, axis1=1)", "x.swapdims(dim0=0, dim1=1)",
    "x.split(split_size=1, dim=0)[1]", "torch.split(x, split_size_or_sections=2, dim=1)[1]", "x.new_zeros(size=(2,))",
    "torch.rand(size=(2, 3)) * 0", "torch.randn(size=(2,)) * 0", "torch.ones(size=(2,))", "x.unbind(dim=1)[2]",
    "torch.full(size=(2,), fill_value=2.0)", "x.roll(shifts=1, dims=0)", "x.unflatten(dim=1, sizes=(3, 1))",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_names_of_arguments(lib, expression):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = eval(expression, {"torch": lib, "x": lib.tensor(x, requires_grad=True)})
    positional = {
        "flip": np.flip, "permute": np.transpose, "tile": np.tile, "repeat": np.tile, "expand": np.broadcast_to,
        "reshape": np.reshape, "view": np.reshape,
    }  # fmt: skip
    method = expression.partition(".")[2].partition("(")[0]
    if method in positional and expression.startswith("x."):
        arguments = eval(expression.partition("=")[2].removesuffix(")"))
        np.testing.assert_array_equal(as_array(found.detach()), positional[method](x, arguments))
    if found.requires_grad:
        found.sum().backward()


def test_order_of_dimensions(lib):
    x = lib.arange(24).reshape(2, 3, 4)
    assert x.permute(2, 0, 1).permute(1, 2, 0).tolist() == x.tolist()
    assert x[0].T.T.tolist() == x[0].tolist()
    for wrong in ((0, 0, 1), (-1, 2, 0)):
        with pytest.raises(RuntimeError, match="permute"):
            x.permute(*wrong)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gradients_of_joined_tensors(lib, dim):
    parts = [lib.ones(2, 2, requires_grad=True), lib.full((2, 2), 2.0), lib.full((2, 2), 3.0, requires_grad=True)]
    joined = lib.cat(parts, dim)
    weights = lib.arange(12.0).reshape(joined.shape)
    (joined * weights).sum().backward()
    assert parts[1].grad is None
    for part, weight in zip(parts, weights.split(2, dim), strict=True):
        if part.requires_grad:
            assert part.grad.tolist() == weight.tolist()


def test_the_end_of_arange(lib):
    assert lib.arange(end=3).tolist() == [0, 1, 2]
    assert lib.arange(end=3, start=1).tolist() == [1, 2]
    with pytest.raises(TypeError, match="arange"):
        lib.arange()
