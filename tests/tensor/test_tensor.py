"""Tensors: values, dtypes, shapes, conversions, and the gradient of every operation by finite differences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from cases import KINDS
from comparison import as_array, check_gradient
from operations import OPERATIONS, Operation

import fastnn
from fastnn import Size, Tensor


@pytest.mark.parametrize(
    ("operation", "shapes"), [pytest.param(o, s, id=f"{o}-{s}") for o in OPERATIONS for s in o.shapes if o.smooth]
)
def test_gradient_by_finite_differences(operation: Operation, shapes: Any) -> None:
    arrays = operation.arrays(shapes)
    if "mean" in operation.name and 0 in shapes[0]:
        # The mean of no elements is NaN, which has no difference quotient.
        assert np.isnan(as_array(operation.run(fastnn, *map(fastnn.tensor, arrays)))).all()
        return
    check_gradient(lambda *tensors: operation.run(fastnn, *tensors), *arrays)


# -- Creation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (1, "int64"), (1.5, "float32"), (True, "bool"), ([], "float32"), ([[]], "float32"), ([1, 2], "int64"),
        ([1, 2.5], "float32"), ([True, False], "bool"), ([True, 2], "int64"), (((1.0, 2.0), (3.0, 4.0)), "float32"),
        (np.float64(1.5), "float64"), (np.arange(3, dtype=np.int8), "int8"), (np.zeros((2, 0)), "float64"),
        (np.float32(3), "float32"), (range(3), "int64"),
    ],
)  # fmt: skip
def test_tensor_of_data(lib, data, kind):
    t = lib.tensor(data)
    assert t.dtype == getattr(lib, kind)
    assert tuple(t.shape) == np.shape(data)
    np.testing.assert_array_equal(as_array(t), np.array(data, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_tensor_of_dtype(lib, kind):
    t = lib.tensor([0, 1, 2], dtype=getattr(lib, kind))
    assert t.dtype == getattr(lib, kind)
    assert as_array(t).dtype == kind
    assert t.is_floating_point() == kind.startswith("float")


def test_tensor_of_tensors(lib):
    assert lib.tensor([lib.tensor(1.5), lib.tensor(2.5)]).tolist() == [1.5, 2.5]


def test_tensor_copies(lib):
    a = np.zeros(2)
    t = lib.tensor(a)
    a[0] = 5
    assert t.tolist() == [0.0, 0.0]


def test_from_numpy_shares(lib):
    a = np.zeros(3)
    t = lib.from_numpy(a)
    a[0] = 5
    t[1] = 6
    assert t.tolist() == [5.0, 6.0, 0.0]
    assert a.tolist() == [5.0, 6.0, 0.0]
    assert np.shares_memory(t.numpy(), a)


@pytest.mark.parametrize("data", [[1, 2], 1.0, None])
def test_from_numpy_of_something_else(lib, data):
    with pytest.raises(TypeError):
        lib.from_numpy(data)


@pytest.mark.parametrize("data", [np.array(["a"]), np.array([1 + 2j, 3]).astype("U"), np.array([object()])])
def test_dtypes_that_no_tensor_has(lib, data):
    with pytest.raises(TypeError):
        lib.from_numpy(data)
    with pytest.raises(TypeError):
        lib.tensor(data)


def test_ragged_data(lib):
    with pytest.raises(ValueError):  # noqa: PT011 the texts differ
        lib.tensor([[1], [2, 3]])


def test_integers_need_no_gradient(lib):
    with pytest.raises(RuntimeError, match="floating point"):
        lib.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match="floating point"):
        lib.tensor([1, 2]).requires_grad_()
    with pytest.raises(RuntimeError, match="floating point"):
        lib.tensor([1, 2]).requires_grad = True


def test_requires_grad_of_a_result(lib):
    y = lib.tensor([1.0], requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad_(False)
    for value in (False, True):
        with pytest.raises(RuntimeError, match="leaf"):
            y.requires_grad = value
    assert y.requires_grad_() is y
    assert y.requires_grad


@pytest.mark.parametrize("size", [((2, 3),), (2, 3), ([2, 3],), ((),), (0,), ((2, 0),)])
def test_zeros_and_ones(lib, size):
    shape = np.zeros(*size).shape if len(size) == 1 else size
    for function, value in ((lib.zeros, 0), (lib.ones, 1)):
        t = function(*size)
        assert (tuple(t.shape), t.dtype, t.requires_grad) == (shape, lib.float32, False)
        assert (as_array(t) == value).all()
    assert lib.zeros(2, dtype=lib.int64).dtype == lib.int64
    assert lib.ones(2, requires_grad=True).requires_grad


def test_zeros_of_a_size(lib):
    assert lib.zeros(lib.ones(2, 3).shape).shape == (2, 3)


def test_negative_size(lib):
    for function in (lib.zeros, lib.ones):
        with pytest.raises(RuntimeError, match="negative"):
            function(-1)
        with pytest.raises(RuntimeError, match="negative"):
            function((2, -3))


def test_tensor_class_makes_float32():
    assert Tensor([1, 2]).dtype is fastnn.float32


def test_tensor_class_takes_a_tensor_as_it_is():
    source = fastnn.tensor([1.0], dtype=fastnn.float64)
    made = Tensor(source)
    made += 1
    assert made.dtype is fastnn.float64
    assert made is not source
    assert source.item() == 2.0


# -- Properties -------------------------------------------------------------------------------


def test_shape(lib):
    t = lib.zeros(2, 3, 4)
    assert t.shape == t.size() == (2, 3, 4)
    assert (t.size(1), t.size(-1), t.dim(), t.ndim, t.numel(), len(t)) == (3, 4, 3, 3, 24, 2)
    assert t.shape.numel() == 24
    assert lib.tensor(1.0).shape.numel() == 1
    batch, *rest = t.shape
    assert (batch, rest) == (2, [3, 4])
    assert isinstance(t.shape, tuple)


def test_size_repr():
    assert repr(fastnn.zeros(2, 3).shape) == "torch.Size([2, 3])"
    assert Size((2, 0)).numel() == 0


@pytest.mark.parametrize("dim", [3, -4, 100])
def test_dimension_out_of_range(lib, dim):
    t = lib.zeros(2, 3, 4)
    for function in (t.size, t.sum, t.mean, t.max, t.argmax, t.squeeze, t.flatten):
        with pytest.raises(IndexError):
            function(dim)
    with pytest.raises(IndexError):
        t.transpose(0, dim)
    with pytest.raises(IndexError):
        t.unsqueeze(dim + (1 if dim > 0 else -1))


def test_dimensions_of_a_number(lib):
    t = lib.tensor(5.0)
    with pytest.raises(IndexError):
        t.size(0)
    for function in (t.sum, t.mean, t.squeeze, t.argmax, t.max):
        with pytest.raises(IndexError):
            function(1)
    assert t.sum(0).item() == t.sum(-1).item() == 5.0
    with pytest.raises(TypeError):
        len(t)
    with pytest.raises(TypeError):
        iter(t)
    with pytest.raises(IndexError):
        t[0]


def test_reduction_over_a_dimension_twice(lib):
    for function in (lib.zeros(2, 3).sum, lib.zeros(2, 3).mean):
        with pytest.raises(RuntimeError):
            function((0, -2))


def test_reductions_of_nothing(lib):
    empty = lib.zeros(0)
    assert empty.sum().item() == 0.0
    assert np.isnan(empty.mean().item())
    with pytest.raises(RuntimeError):
        empty.max()
    for function in (empty.argmax, lambda: empty.argmax(0), lambda: empty.max(0), lambda: lib.zeros(2, 0).max(1)):
        with pytest.raises(IndexError):
            function()
    assert lib.zeros(0, 3).max(1).values.shape == (0,)


def test_reductions_of_integers_and_booleans(lib):
    t = lib.tensor([[200, 100], [0, 1]], dtype=lib.uint8)
    assert t.sum().dtype == lib.int64
    assert t.sum().item() == 301
    assert lib.tensor([True, True]).sum().item() == 2
    assert (t.max().item(), t.max().dtype, t.max(1).indices.tolist()) == (200, lib.uint8, [0, 1])
    with pytest.raises(RuntimeError):
        t.mean()
    with pytest.raises(RuntimeError):
        lib.tensor([True]).argmax()


def test_sums_and_means(lib):
    x = lib.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]])
    assert (x.sum().item(), x.sum(0).tolist(), x.sum(-1, keepdim=True).tolist()) == (24.0, [5, 7, 12], [[6.0], [18.0]])
    assert (x.mean().item(), x.mean(0).tolist(), x.mean(1).tolist()) == (4.0, [2.5, 3.5, 6.0], [2.0, 6.0])
    assert x.sum(()).item() == x.sum([0, 1]).item() == 24.0
    assert x.mean((0, 1), keepdim=True).tolist() == [[4.0]]


def test_power_of_zero(lib):
    for exponent, gradient in ((0, 0.0), (1, 1.0), (2, 0.0), (0.5, float("inf"))):
        x = lib.tensor(0.0, requires_grad=True)
        (x**exponent).backward()
        assert x.grad.item() == gradient


def test_max_among_equals(lib):
    x = lib.tensor([1.0, 3.0, 3.0], requires_grad=True)
    values, indices = x.max(0)
    assert indices.item() == x.argmax().item() == 1
    values.backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    x.grad = None
    x.max().backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5]


def test_max_with_nan(lib):
    x = lib.tensor([1.0, float("nan"), 3.0], requires_grad=True)
    assert np.isnan(x.max().item())
    assert x.argmax().item() == x.max(0).indices.item() == 1
    x.max().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_max_is_a_named_pair(lib):
    result = lib.tensor([[1.0, 2.0]]).max(1)
    assert (result.values.tolist(), result.indices.tolist()) == ([2.0], [0 + 1])
    assert result[0] is result.values


def test_indices_of_max_are_guarded(lib):
    x = lib.tensor([[1.0, 2.0], [4.0, 3.0]], requires_grad=True)
    values, indices = x.max(1)
    indices.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


# -- To Python ---------------------------------------------------------------------------------


def test_numbers(lib):
    assert float(lib.tensor(1.5)) == lib.tensor([[1.5]]).item() == 1.5
    assert int(lib.tensor(2.9)) == 2
    assert [10, 20, 30][lib.tensor(1)] == 20
    assert [10, 20, 30][lib.tensor(True)] == 20
    assert type(lib.tensor(1).item()) is int
    assert type(lib.tensor(1.0).item()) is float
    assert type(lib.tensor(True).item()) is bool
    assert lib.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert f"{lib.tensor(1.25):.1f} {lib.tensor(3)}" == "1.2 3"
    with pytest.raises(TypeError):
        [10][lib.tensor(0.0)]
    with pytest.raises(TypeError):
        format(lib.zeros(2), ".2f")


@pytest.mark.parametrize("size", [0, 2])
def test_numbers_of_several(lib, size):
    t = lib.zeros(size)
    for function in (float, int, bool, lambda t: t.item()):
        with pytest.raises((RuntimeError, ValueError)):
            function(t)


def test_truth(lib):
    assert bool(lib.tensor(2.0))
    assert not lib.tensor([[0]])
    assert lib.tensor([True])


def test_comparison_with_what_is_no_number(lib):
    t = lib.tensor([1.0])
    assert (t == None) is False  # noqa: E711 the operator is meant
    assert (t != "a") is True
    with pytest.raises(TypeError):
        _ = t < "a"


@pytest.mark.parametrize("other", ["a", [1.0], None, object()])
def test_arithmetic_with_what_is_no_number(lib, other):
    t = lib.tensor([1.0])
    for operate in (lambda: t + other, lambda: t - other, lambda: t / other, lambda: other - t, lambda: t @ other):
        with pytest.raises(TypeError):
            operate()


def test_identity_in_dictionaries(lib):
    a, b = lib.ones(1), lib.ones(1)
    assert {a: 1, b: 2}[a] == 1
    assert len({a, b, a}) == 2


def test_numpy(lib):
    t = lib.tensor([1.0, 2.0])
    a = t.numpy()
    a[0] = 5
    assert t.tolist() == [5.0, 2.0]
    np.testing.assert_array_equal(np.asarray(t), a)
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        lib.tensor([1.0], requires_grad=True).numpy()
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        np.asarray(lib.tensor([1.0], requires_grad=True) * 2)


def test_numpy_conversion():
    t = fastnn.tensor([1.0, 2.0])
    assert np.shares_memory(np.asarray(t), t.numpy())
    assert not np.shares_memory(np.array(t), t.numpy())
    assert np.asarray(t, dtype=np.int64).dtype == np.int64
    with pytest.raises(ValueError, match="copy"):
        np.array(t, dtype=np.int64, copy=False)


def test_arrays_as_operands():
    t, a = fastnn.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0], np.float32)
    for result in (t * a, a * t):
        assert isinstance(result, Tensor)
        assert result.tolist() == [3.0, 8.0]
    assert (t + np.float64(1)).dtype is fastnn.float32
    with pytest.raises(TypeError, match="complex"):
        t + np.array([1j])


def test_detach_and_data_share_memory(lib):
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    for other in (x.detach(), x.data):
        assert not other.requires_grad
        other += 1
    assert x.tolist() == [3.0, 4.0]


def test_data_may_be_assigned(lib):
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    x.data = lib.tensor([5.0])
    assert (x.tolist(), x.requires_grad) == ([5.0], True)
    with pytest.raises(TypeError):
        x.data = [1.0]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fastnn.tensor([1.0, 2.5]), "tensor([1.0000, 2.5000])"),
        (lambda: fastnn.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (lambda: fastnn.tensor(1.0, requires_grad=True), "tensor(1., requires_grad=True)"),
        (lambda: fastnn.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<MulBackward0>)"),
        (lambda: fastnn.tensor([1], dtype=fastnn.uint8), "tensor([1], dtype=torch.uint8)"),
        (lambda: fastnn.tensor([True, False]), "tensor([ True, False])"),
        (lambda: fastnn.nn.Parameter(fastnn.ones(1)), "Parameter containing:\ntensor([1.], requires_grad=True)"),
        (lambda: fastnn.zeros(0), "tensor([])"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == str(make()) == text


# -- Dtypes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_conversion(lib, source, target):
    x = lib.tensor([0, 1, 2, 100], dtype=getattr(lib, source))
    y = x.to(getattr(lib, target))
    assert y.dtype == getattr(lib, target)
    np.testing.assert_array_equal(as_array(y), as_array(x).astype(target))
    assert (y is x) == (source == target)


def test_conversion_methods(lib):
    x = lib.tensor([1.7, -1.7, 0.0])
    assert x.long().tolist() == x.int().tolist() == [1, -1, 0]
    assert x.bool().tolist() == [True, True, False]
    assert (x.double().dtype, x.double().float().dtype) == (lib.float64, lib.float32)
    assert (x.long().dtype, x.int().dtype) == (lib.int64, lib.int32)
    assert lib.tensor([1e300], dtype=lib.float64).float().tolist() == [float("inf")]
    with pytest.raises(TypeError, match="dtype"):
        fastnn.ones(1).to(3.5)


def test_conversion_of_what_needs_a_gradient(lib):
    x = lib.tensor([1.5], requires_grad=True)
    assert x.double().requires_grad
    assert not x.long().requires_grad


def test_dtype_objects():
    assert repr(fastnn.float32) == "torch.float32"
    assert (fastnn.int16.itemsize, fastnn.int16.is_floating_point) == (2, False)
    for kind in KINDS:
        made = getattr(fastnn, kind)
        assert pickle.loads(pickle.dumps(made)) is copy.deepcopy(made) is made


def test_integers_wrap_around(lib):
    x = lib.tensor([200, 1], dtype=lib.uint8)
    assert (x + 100).tolist() == [44, 101]
    assert (x + 300).tolist() == [244, 45]
    assert (x * 2).tolist() == [144, 2]
    assert (x**2).tolist() == [64, 1]
    assert (-x).tolist() == [56, 255]
    assert (x < 300).tolist() == [False, True]
    assert (x == -56).tolist() == [True, False]


def test_subtraction_of_booleans(lib):
    b = lib.tensor([True])
    for function in (lambda: b - b, lambda: b - 1, lambda: 1 - b, lambda: lib.tensor([1]) - b, lambda: b - True):
        with pytest.raises(RuntimeError, match="bool"):
            function()
    for function in (lambda: -b, b.abs):
        with pytest.raises(RuntimeError):
            function()


def test_integer_powers(lib):
    x = lib.tensor([3, 4])
    assert (x**2).dtype == lib.int64
    assert (x**0.5).dtype == lib.float32
    with pytest.raises(RuntimeError, match="negative integer powers"):
        x**-1


@pytest.mark.parametrize("kind", KINDS)
def test_in_place_keeps_the_dtype(lib, kind):
    x = lib.tensor([1, 0], dtype=getattr(lib, kind))
    results = {}
    for name, other in (("float", 0.5), ("int", 1), ("wide", lib.tensor([1, 1])), ("double", lib.ones(2).double())):
        y = x.clone()
        try:
            y += other
        except RuntimeError:
            results[name] = False
        else:
            assert y.dtype == x.dtype
            results[name] = True
    expected = {"float": kind.startswith("float"), "int": kind != "bool", "wide": kind != "bool"}
    assert results == expected | {"double": kind.startswith("float")}


# -- Memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.view(3, 2), lambda x: x.reshape(6), lambda x: x.t(), lambda x: x.T, lambda x: x.transpose(0, 1),
        lambda x: x.permute(1, 0), lambda x: x.unsqueeze(1), lambda x: x.flatten(), lambda x: x[0], lambda x: x[:, 1:],
        lambda x: x[1, 2], lambda x: x.unsqueeze(0).squeeze(0), lambda x: x.detach(), lambda x: list(x)[1],
    ],
)  # fmt: skip
def test_views_share_memory(lib, view):
    x = lib.zeros(2, 3)
    view(x).fill_(7)
    assert x.sum().item() == 7 * view(x).numel()


@pytest.mark.parametrize("make", [lambda x: x.clone(), lambda x: x[[0, 1]], lambda x: x * 1, lambda x: x[x == 0]])
def test_copies_do_not(lib, make):
    x = lib.zeros(2, 3)
    make(x).fill_(7)
    assert x.sum().item() == 0


def test_contiguous(lib):
    x = lib.tensor(np.arange(6.0).reshape(2, 3))
    assert x.contiguous() is x
    t = x.t()
    assert not t.is_contiguous()
    c = t.contiguous()
    assert c.is_contiguous()
    assert c.tolist() == t.tolist()
    assert t.reshape(-1).tolist() == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]


def test_view_of_a_transpose_is_refused(lib):
    for x in (lib.ones(2, 3).t(), lib.ones(3).expand(2, 3), lib.ones(2, 3, 4).permute(2, 0, 1), lib.ones(2, 4)[:, :2]):
        with pytest.raises(RuntimeError, match="reshape"):
            x.view(-1)
        assert x.reshape(-1).shape == (x.numel(),)


def test_view_of_memory_in_another_order_can_be_read_not_written():
    """Results and weights that are contiguous in PyTorch may have another layout in fastnn."""
    v = fastnn.from_numpy(np.asfortranarray(np.ones((2, 3)))).view(-1)
    assert v.sum().item() == 6
    for write in (lambda: v.add_(1), lambda: v.__setitem__(0, 1.0), lambda: v.zero_()):
        with pytest.raises(RuntimeError, match="read-only"):
            write()


def through_flat_memory(layer):
    flat = fastnn.arange(6.0)
    layer.weight.data = flat[:6].view(2, 3)
    flat.fill_(4)


def through_numpy(layer):
    layer.weight.detach().numpy().reshape(-1)[:] = 4


def in_place_under_no_grad(layer):
    with fastnn.no_grad():
        layer.weight.view(-1).fill_(4)


@pytest.mark.parametrize(
    "write",
    [
        through_flat_memory,
        through_numpy,
        in_place_under_no_grad,
        lambda layer: layer.weight.data.view(-1).__setitem__(slice(None), 4),
        lambda layer: layer.weight.data.reshape(6).fill_(4),
        lambda layer: layer.weight.detach().flatten().fill_(4),
        lambda layer: layer.weight.data.contiguous().fill_(4),
        lambda layer: layer.state_dict()["weight"].ravel().fill_(4),
    ],
)
@pytest.mark.parametrize("captured", [False, True])
def test_writing_to_the_memory_of_a_weight_is_not_lost(write, captured):
    """In PyTorch a weight is C-contiguous, so these all share its memory."""
    layer = fastnn.nn.Linear(3, 2, bias=False)
    x = fastnn.ones(5, 3)
    for _ in range(3 if captured else 0):
        layer(x).sum().backward()
    assert layer.weight.is_contiguous()
    assert layer.weight.stride() == (3, 1)
    assert layer.weight.detach().numpy().flags.c_contiguous
    write(layer)
    np.testing.assert_array_equal(as_array(layer.weight), np.full((2, 3), 4, np.float32))
    np.testing.assert_array_equal(as_array(layer(x)), np.full((5, 2), 12, np.float32))
    layer.zero_grad()
    layer(x).sum().backward()
    assert layer.weight.grad.is_contiguous()
    np.testing.assert_array_equal(as_array(layer.weight.grad.view(-1)), np.full(6, 5, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: fastnn.nn.Linear(3, 2).weight,
        lambda: copy.deepcopy(fastnn.nn.Linear(3, 2)).weight,
        lambda: pickle.loads(pickle.dumps(fastnn.nn.Linear(3, 2))).weight,
        lambda: fastnn.nn.utils.parametrizations.weight_norm(fastnn.nn.Linear(3, 2)).parametrizations.weight.original1,
        lambda: fastnn.nn.Linear(3, 2).double().weight,
        lambda: fastnn.nn.Bilinear(3, 4, 2).weight,
        lambda: fastnn.nn.Embedding(3, 2).weight,
    ],
)
def test_weights_are_contiguous(make):
    weight = make()
    assert weight.is_contiguous()
    assert weight.view(-1).data_ptr() == weight.data_ptr()


def test_gradients_of_weights_are_contiguous():
    layer, x = fastnn.nn.Linear(3, 2), fastnn.ones(5, 3)
    for create_graph in (False, True):
        (grad,) = fastnn.autograd.grad(layer(x).pow(2).sum(), layer.weight, create_graph=create_graph)
        assert grad.is_contiguous()
        assert grad.view(-1).shape == (6,)


def test_a_write_to_a_copy_of_a_view_is_not_lost():
    bias = (layer := fastnn.nn.Linear(3, 2)).bias.data.view(-1)
    bias[0] = 7
    assert layer.bias[0].item() == 7
    layer.weight.data[1, 2] = 9
    assert layer.weight[1, 2].item() == 9
    transposed = fastnn.ones(2, 3).t().reshape(-1)
    transposed += 1
    assert transposed.sum().item() == 12


# -- Mismatched shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda lib: lib.zeros(2) + lib.zeros(3),
        lambda lib: lib.zeros(2) < lib.zeros(3),
        lambda lib: lib.zeros(2).add_(lib.zeros(3)),
        lambda lib: lib.zeros(2).add_(lib.zeros(2, 2)),
        lambda lib: lib.zeros(2).copy_(lib.zeros(3)),
        lambda lib: lib.zeros(2).__setitem__(slice(None), lib.zeros(3)),
        lambda lib: lib.zeros(4).reshape(3),
        lambda lib: lib.zeros(4).reshape(-1, -1),
        lambda lib: lib.zeros(4).reshape(3, -1),
        lambda lib: lib.zeros(0).reshape(-1, 0),
        lambda lib: lib.zeros(4).view(3),
        lambda lib: lib.zeros(2, 3, 4).t(),
        lambda lib: lib.zeros(2, 3).permute(0),
        lambda lib: lib.zeros(2, 3).permute(0, 0),
        lambda lib: lib.zeros(2, 3, 4).flatten(2, 1),
        lambda lib: lib.zeros(2, 3) @ lib.zeros(2, 3),
        lambda lib: lib.zeros(2, 3) @ lib.zeros(2),
        lambda lib: lib.zeros(2) @ lib.zeros(3),
        lambda lib: lib.zeros(2, 3) @ lib.tensor(1.0),
        lambda lib: lib.zeros(2, 2) @ lib.zeros(2, 2).double(),
    ],
)
def test_operands_that_do_not_fit(lib, function):
    with pytest.raises(RuntimeError):
        function(lib)


@pytest.mark.parametrize("key", [5, -4, (0, 5), (0, 0, 0), [7], slice(0, 1, 0), "a", 1.5])
def test_index_that_does_not_exist(lib, key):
    with pytest.raises((IndexError, TypeError, ValueError)):
        lib.zeros(3, 2)[key]
    with pytest.raises((IndexError, TypeError, ValueError)):
        lib.zeros(3, 2)[key] = 1.0


def test_index_tensors_that_do_not_exist(lib):
    for index in (lib.tensor([3]), lib.tensor([-4]), lib.tensor([True, False]), lib.tensor([0.0])):
        with pytest.raises(IndexError):
            lib.zeros(3, 2)[index]


def test_index_of_uint8_is_a_mask(lib):
    """That is deprecated, and assignment raises. In NumPy they would be integer indices."""
    index = lib.tensor([0, 1, 1], dtype=lib.uint8)
    with pytest.warns(UserWarning, match="deprecated"):
        assert lib.arange(3)[index].tolist() == [1, 2]
    with pytest.raises((IndexError, RuntimeError)):
        lib.zeros(3)[index] = 1.0


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_index_dtypes(kind):
    index = fastnn.tensor([1], dtype=getattr(fastnn, kind))
    with pytest.raises(IndexError, match="int64"):
        fastnn.zeros(3)[index]
    with pytest.raises(IndexError, match="int64"):
        fastnn.zeros(3)[index] = 1.0


def test_index_changed_between_forward_and_backward(lib):
    x, index = lib.tensor([1.0, 2.0, 3.0], requires_grad=True), lib.tensor([0, 0, 2])
    y = x[index].sum()
    index += 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# -- Copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_duplicates(lib, duplicate):
    for t in (lib.tensor(1.5), lib.tensor([[1, 2]]), lib.ones(2, 3).t(), lib.zeros(0), lib.ones(2, requires_grad=True)):
        d = duplicate(t)
        assert (d.dtype, d.shape, d.requires_grad, d.tolist()) == (t.dtype, t.shape, t.requires_grad, t.tolist())
        assert not np.shares_memory(as_array(d), t.detach().numpy())
        with lib.no_grad():
            d.zero_()
        assert t.numel() == 0 or t.abs().sum().item() > 0


def test_deepcopy_keeps_identity(lib):
    t = lib.ones(2)
    a, b = copy.deepcopy([t, t])
    assert a is b
    assert a is not t


def test_versions_are_seen_through_views():
    """``Module.load_state_dict`` and optimizers increment it as well."""
    p = fastnn.nn.Parameter(fastnn.ones(2))
    v = p.detach()
    before = p._version
    assert v._version == before
    v += 1
    assert p._version == v._version == before + 1
    p.data.add_(1)
    assert p._version == before + 1


def test_no_freedom_is_a_warning(lib):
    for name in ("var", "std", "var_mean", "std_mean"):
        with pytest.warns(UserWarning, match=rf"{name}\(\): degrees of freedom is <= 0"):
            getattr(lib, name)(lib.ones(1))
    with pytest.warns(UserWarning, match="degrees of freedom"):
        lib.ones(2).std(correction=2)
    with pytest.warns(UserWarning, match=r"cov\(\): degrees of freedom"):
        lib.cov(lib.ones(2, 1))
    lib.ones(2).std()
