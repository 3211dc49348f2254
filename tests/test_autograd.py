"""Backward: what accumulates where, what raises, which thread records. Also with PyTorch where it is installed."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from comparison import as_array, check_gradient

import fastnn


def leaf(lib: Any, *values: float) -> Any:
    return lib.tensor(values, requires_grad=True)


# -- What accumulates --------------------------------------------------------------------------


def test_gradients_add_up_over_backwards(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    # In place, so whoever held the gradient sees it.
    assert x.grad is first


def test_two_forwards_before_one_backward(lib):
    x = leaf(lib, 1.0, 2.0)
    a, b = (x * x).sum(), (x * 5).sum()
    b.backward()
    assert x.grad.tolist() == [5.0, 5.0]
    a.backward()
    assert x.grad.tolist() == [7.0, 9.0]


def test_two_forwards_of_a_layer_before_one_backward(lib):
    layer = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.ReLU())
    with lib.no_grad():
        layer[0].weight.fill_(1)
        layer[0].bias.zero_()
    a, b = layer(lib.tensor([[1.0, 2.0]])), layer(lib.tensor([[10.0, 20.0]]))
    (a + 2 * b).sum().backward()
    assert layer[0].weight.grad.tolist() == [[21.0, 42.0]] * 2
    assert layer[0].bias.grad.tolist() == [3.0, 3.0]


def test_parameter_used_twice_in_one_graph(lib):
    layer = lib.nn.Linear(2, 2, bias=False)
    with lib.no_grad():
        layer.weight.copy_(lib.tensor([[1.0, 2.0], [3.0, 4.0]]))
    x = lib.tensor([[1.0, 1.0]])
    layer(layer(x)).sum().backward()
    # d/dW of sum(W W x) = s (W x)^T + (W^T s) x^T, with s = (1, 1)
    assert layer.weight.grad.tolist() == [[3.0 + 4.0, 7.0 + 4.0], [3.0 + 6.0, 7.0 + 6.0]]


def test_one_parameter_as_input_and_weight(lib):
    w = lib.nn.Parameter(lib.tensor([[1.0, 2.0], [3.0, 4.0]]))
    lib.nn.functional.linear(w, w).sum().backward()
    # sum(W W^T) has the gradient 2 (column sums of W) in each row.
    assert w.grad.tolist() == [[8.0, 12.0], [8.0, 12.0]]


def test_one_leaf_on_both_sides(lib):
    x = leaf(lib, 3.0)
    (x * x * x).backward(lib.tensor([1.0]))
    assert x.grad.tolist() == [27.0]


def test_diamond(lib):
    x = leaf(lib, 2.0)
    y = x * 3
    (y * y + y).sum().backward()
    assert x.grad.tolist() == [2 * 6 * 3 + 3.0]


def test_leaf_itself(lib):
    x = lib.tensor(2.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1.0


def test_gradient_argument_weighs(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).backward(lib.tensor([10.0, 100.0]))
    assert x.grad.tolist() == [20.0, 400.0]


def test_gradient_argument_of_another_dtype_is_converted(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).backward(lib.tensor([10.0, 100.0], dtype=lib.float64))
    assert x.grad.dtype == lib.float32
    assert x.grad.tolist() == [20.0, 400.0]


def test_gradient_argument_of_another_dtype_reaches_a_layer(lib):
    layer = lib.nn.Linear(2, 1, bias=False)
    layer(lib.ones(1, 2)).backward(lib.tensor([[3.0]], dtype=lib.float64))
    assert layer.weight.grad.dtype == lib.float32
    assert layer.weight.grad.tolist() == [[3.0, 3.0]]


def test_in_place_across_dtypes_reaches_a_layer(lib):
    layer = lib.nn.Linear(2, 1, bias=False, dtype=lib.float64)
    total = lib.zeros(1, 1)
    total += layer(lib.ones(1, 2).double()) * 3
    assert total.dtype == lib.float32
    total.sum().backward()
    assert layer.weight.grad.dtype == lib.float64
    assert layer.weight.grad.tolist() == [[3.0, 3.0]]


def test_gradient_argument_is_not_kept(lib):
    x = leaf(lib, 1.0)
    g = lib.tensor([5.0])
    (x + 1).backward(g)
    g.zero_()
    assert x.grad.tolist() == [5.0]


def test_leaves_that_share_a_gradient_have_their_own(lib):
    x, y = leaf(lib, 1.0), leaf(lib, 2.0)
    (x + y).sum().backward()
    x.grad.zero_()
    assert y.grad.tolist() == [1.0]


def test_only_leaves_that_ask_get_a_gradient(lib):
    x, c = leaf(lib, 1.0), lib.tensor([2.0])
    y = x * c
    assert (y.requires_grad, y.is_leaf, c.is_leaf) == (True, False, True)
    y.sum().backward()
    assert c.grad is None


def test_gradients_through_mixed_dtypes(lib):
    x = leaf(lib, 1.0, 2.0)
    y = lib.tensor([3.0, 4.0], dtype=lib.float64, requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (lib.float32, lib.float64)
    assert (x.grad.tolist(), y.grad.tolist()) == ([3.0, 4.0], [1.0, 2.0])


def test_a_leaf_frozen_after_the_forward_gets_nothing(lib):
    x, w = leaf(lib, 1.0), leaf(lib, 2.0)
    y = (x * w).sum()
    w.requires_grad_(False)
    y.backward()
    assert x.grad.tolist() == [2.0]
    assert w.grad is None


def test_frozen_parameter_of_a_layer(lib):
    layer = lib.nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    x = lib.tensor(np.ones((4, 3), np.float32), requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad.tolist() == [4.0, 4.0]
    np.testing.assert_array_equal(as_array(x.grad), np.tile(as_array(layer.weight).sum(0), (4, 1)))


# -- Gradients of parameters: their place in the flat buffer is not the user's business ---------


def step(lib: Any, layer: Any, scale: float) -> None:
    (layer(lib.tensor([[scale, 2 * scale]]))).sum().backward()


@pytest.mark.parametrize(
    "keep",
    [
        lambda p: p.grad,
        lambda p: p.grad.detach(),
        lambda p: p.grad.data,
        lambda p: p.grad.numpy(),
        lambda p: p.grad.T,
        lambda p: p.grad[0],
        lambda p: p.grad.numpy()[:1],
    ],
    ids=["grad", "detach", "data", "numpy", "T", "row", "numpy_slice"],
)
@pytest.mark.parametrize("assign", [False, True])
def test_gradient_kept_past_zero_grad(lib, keep, assign):
    layer = lib.nn.Linear(2, 2)
    optimizer = lib.optim.SGD(layer.parameters(), lr=0.1)
    step(lib, layer, 1.0)
    kept = keep(layer.weight)
    kept_array = kept if isinstance(kept, np.ndarray) else kept.numpy()
    before = kept_array.copy()
    for i in range(3):
        optimizer.zero_grad()
        if assign:
            layer.weight.grad = lib.tensor(np.full((2, 2), i + 7.0, np.float32))
            layer.bias.grad = lib.tensor([1.0, 1.0])
        else:
            step(lib, layer, 10.0 + i)
            assert layer.weight.grad.tolist() == [[10.0 + i, 20.0 + 2 * i]] * 2
        weight = as_array(layer.weight)
        optimizer.step()
        np.testing.assert_allclose(as_array(layer.weight), weight - 0.1 * as_array(layer.weight.grad), atol=1e-6)
        np.testing.assert_array_equal(kept_array, before)
    del kept, kept_array
    optimizer.zero_grad()
    step(lib, layer, 3.0)
    assert layer.weight.grad.tolist() == [[3.0, 6.0]] * 2


def test_gradients_lie_in_the_flat_buffer_again_and_again():
    """The fast path of the optimizer: no copy, in every step of an ordinary loop, until somebody holds a gradient."""
    model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 256), fastnn.nn.ReLU(), fastnn.nn.Linear(256, 2, bias=False))
    optimizer = fastnn.optim.Adam(model.parameters())
    (run,) = optimizer._group_runs[0]

    def in_place() -> list[bool]:
        return [np.shares_memory(p.grad.numpy(), run.grads) for p in model.parameters()]

    for _ in range(4):
        optimizer.zero_grad()
        model(fastnn.tensor([[1.0, 2.0]])).sum().backward()
        assert in_place() == [True] * 3
        assert run.collect_grads() is run.grads
        optimizer.step()
    held = model[0].weight.grad
    optimizer.zero_grad()
    model(fastnn.tensor([[1.0, 2.0]])).sum().backward()
    assert in_place() == [False, True, True]
    assert run.collect_grads() is not run.grads
    del held
    optimizer.zero_grad()
    model(fastnn.tensor([[1.0, 2.0]])).sum().backward()
    assert in_place() == [True] * 3


def test_assigned_gradient_accumulates_in_the_users_tensor(lib):
    layer = lib.nn.Linear(2, 2)
    mine = lib.tensor([[1.0, 1.0], [1.0, 1.0]])
    layer.weight.grad = mine
    step(lib, layer, 1.0)
    assert layer.weight.grad is mine
    assert mine.tolist() == [[2.0, 3.0]] * 2


def test_replacing_the_data_of_a_gradient(lib):
    """``p.grad.data = ...``, as in some gradient clipping, is what the optimizer then uses."""
    layer = lib.nn.Linear(2, 2, bias=False)
    optimizer = lib.optim.SGD(layer.parameters(), lr=1.0)
    step(lib, layer, 1.0)
    before = as_array(layer.weight)
    layer.weight.grad.data = lib.tensor([[5.0, 6.0], [7.0, 8.0]])
    optimizer.step()
    np.testing.assert_allclose(before - as_array(layer.weight), [[5, 6], [7, 8]], atol=2e-6)
    step(lib, layer, 1.0)
    assert layer.weight.grad.tolist() == [[6.0, 8.0], [8.0, 10.0]]


def test_gradient_modified_in_place_is_used(lib):
    layer = lib.nn.Linear(2, 2, bias=False)
    optimizer = lib.optim.SGD(layer.parameters(), lr=1.0)
    step(lib, layer, 1.0)
    before = as_array(layer.weight)
    layer.weight.grad *= 10
    layer.weight.grad.data /= 5
    optimizer.step()
    np.testing.assert_allclose(before - as_array(layer.weight), [[2, 4]] * 2, atol=2e-6)


def test_zero_grad_to_zero_instead_of_none(lib):
    layer = lib.nn.Linear(2, 2)
    optimizer = lib.optim.SGD(layer.parameters(), lr=1.0)
    step(lib, layer, 1.0)
    held = layer.weight.grad
    optimizer.zero_grad(set_to_none=False)
    assert layer.weight.grad is held
    assert held.tolist() == [[0.0, 0.0]] * 2
    step(lib, layer, 2.0)
    assert held.tolist() == [[2.0, 4.0]] * 2


@pytest.mark.parametrize("value", [[1.0], [[1.0, 2.0]]], ids=["shape", "dimensions"])
def test_gradient_of_another_shape_cannot_be_assigned(lib, value):
    p = lib.nn.Parameter(lib.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match=r"shape|size"):
        p.grad = lib.tensor(value)


def test_gradient_of_another_type_cannot_be_assigned(lib):
    p = lib.nn.Parameter(lib.tensor([1.0, 2.0]))
    with pytest.raises(RuntimeError, match="dtype"):
        p.grad = lib.tensor([1.0, 2.0], dtype=lib.float64)
    with pytest.raises(TypeError, match="Tensor"):
        p.grad = [1.0, 2.0]


# -- Walking back twice ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda lib, x: x * x,
        lambda lib, x: x * 2,
        lambda lib, x: x / 2,
        lambda lib, x: x**2,
        lambda lib, x: x.exp(),
        lambda lib, x: x.log(),
        lambda lib, x: x.sqrt(),
        lambda lib, x: x.abs(),
        lambda lib, x: x.max(),
        lambda lib, x: x.max(0)[0],
        lambda lib, x: x @ x,
        lambda lib, x: lib.relu(x),
        lambda lib, x: lib.sigmoid(x),
        lambda lib, x: lib.nn.functional.gelu(x),
        lambda lib, x: lib.nn.functional.linear(x, lib.tensor([[1.0, 2.0]])),
        lambda lib, x: lib.nn.functional.cross_entropy(x, lib.tensor(1)),
    ],
)
def test_second_backward(lib, function):
    x = leaf(lib, 1.0, 2.0)
    y = function(lib, x).sum()
    y.backward(retain_graph=True)
    first = as_array(x.grad)
    y.backward()
    np.testing.assert_array_equal(as_array(x.grad), 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    np.testing.assert_array_equal(as_array(x.grad), 2 * first)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1,
        lambda x: 1 - x,
        lambda x: -x,
        lambda x: x.reshape(2, 1),
        lambda x: x[1],
        lambda x: x.clone(),
        lambda x: x.double(),
        lambda x: x.unsqueeze(0).t(),
        lambda x: x.sum(0) + x.mean(),
    ],
)
def test_second_backward_where_nothing_was_saved(lib, function):
    x = leaf(lib, 1.0, 2.0)
    y = function(x).sum()
    y.backward()
    first = as_array(x.grad)
    y.backward()
    np.testing.assert_array_equal(as_array(x.grad), 2 * first)


def test_second_backward_of_a_layer_whose_bias_alone_is_trained(lib):
    layer = lib.nn.Linear(2, 1)
    layer.weight.requires_grad_(False)
    y = layer(lib.ones(3, 2)).sum()
    y.backward()
    y.backward()
    assert layer.bias.grad.tolist() == [6.0]


def test_a_shared_part_is_freed_by_the_first_backward(lib):
    x = leaf(lib, 1.0, 2.0)
    shared = x * x
    a, b = shared.sum(), (shared + 1).sum()
    a.backward()
    with pytest.raises(RuntimeError, match="second time"):
        b.backward()


def test_a_shared_part_that_is_retained(lib):
    x = leaf(lib, 1.0, 2.0)
    shared = x * x
    a, b = shared.sum(), (shared * 3).sum()
    a.backward(retain_graph=True)
    b.backward()
    assert x.grad.tolist() == [8.0, 16.0]


# -- What raises ------------------------------------------------------------------------------


def test_backward_of_more_than_one_number(lib):
    with pytest.raises(RuntimeError, match="scalar"):
        (leaf(lib, 1.0, 2.0) * 2).backward()


def test_backward_of_one_number_with_dimensions(lib):
    x = leaf(lib, 3.0)
    (x * 2).reshape(1, 1).backward()
    assert x.grad.tolist() == [2.0]


def test_backward_without_history(lib):
    with pytest.raises(RuntimeError, match="does not require grad"):
        lib.tensor(1.0).backward()


def test_backward_with_a_gradient_of_another_shape(lib):
    with pytest.raises(RuntimeError, match="shape"):
        (leaf(lib, 1.0, 2.0) * 2).backward(lib.tensor([1.0]))


def test_backward_with_no_tensor_as_gradient(lib):
    with pytest.raises(TypeError):
        (leaf(lib, 1.0, 2.0) * 2).backward([1.0, 1.0])


# -- In place ---------------------------------------------------------------------------------

READERS = {
    "mul": lambda lib, y: y * y,
    "div": lambda lib, y: lib.ones(1, 2) / y,
    "pow": lambda lib, y: y**3,
    "abs": lambda lib, y: y.abs(),
    "log": lambda lib, y: y.log(),
    "mm": lambda lib, y: y @ lib.tensor([[1.0], [2.0]], requires_grad=True),
    "max": lambda lib, y: y.max(),
    "gelu": lambda lib, y: lib.nn.functional.gelu(y),
    "linear": lambda lib, y: lib.nn.functional.linear(y, lib.tensor([[1.0, 2.0]], requires_grad=True)),
}


def modify(lib: Any, y: Any) -> None:
    y += 1


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "change",
    [
        modify,
        lambda lib, y: y.zero_(),
        lambda lib, y: y.mul_(2),
        lambda lib, y: y.copy_(lib.tensor([[1.0, 2.0]])),
        lambda lib, y: y.detach().fill_(3),
    ],
    ids=["add", "zero", "mul", "copy", "detached"],
)
def test_saved_operand_modified_in_place(lib, name, change):
    x = lib.tensor([[2.0, 3.0]], requires_grad=True)
    y = x * 1
    z = READERS[name](lib, y)
    change(lib, y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize(
    "function",
    [
        lambda lib, y: lib.relu(y),
        lambda lib, y: lib.sigmoid(y),
        lambda lib, y: lib.tanh(y),
        lambda lib, y: y.exp(),
        lambda lib, y: y.sqrt(),
        lambda lib, y: lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Tanh())(y),
    ],
    ids=["relu", "sigmoid", "tanh", "exp", "sqrt", "linear_tanh"],
)
@pytest.mark.parametrize("change", [lambda y: y, lambda y: y.view(-1), lambda y: y[0], lambda y: y.detach()])
def test_saved_result_modified_in_place(lib, function, change):
    z = function(lib, lib.tensor([[2.0, 3.0]], requires_grad=True))
    target = change(z)
    with lib.no_grad():
        target += 1
    # The view may outlive the result: what is saved is the memory.
    total = z.sum()
    del z
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_in_place_change_of_what_nobody_reads(lib):
    x = leaf(lib, 2.0, 3.0)
    y = x * 4
    z = y + 1
    y *= 3
    z += 10
    (y.sum() + z.sum()).backward()
    assert x.grad.tolist() == [16.0, 16.0]


def test_operand_read_only_for_another_that_needs_no_gradient(lib):
    """``w`` is read for the gradient of ``x`` only."""
    x, w = lib.tensor([2.0, 3.0]), leaf(lib, 5.0, 7.0)
    y = x * w
    with lib.no_grad():
        w += 1
    y.sum().backward()
    assert w.grad.tolist() == [2.0, 3.0]


def test_in_place_operations_are_recorded(lib):
    x, w = leaf(lib, 2.0, 3.0), leaf(lib, 5.0, 7.0)
    y = x * 1
    y *= 3
    y += w
    y -= 1
    y /= 2
    assert y.tolist() == [5.0, 7.5]
    y.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([1.5, 1.5], [0.5, 0.5])


def test_in_place_gives_a_history_to_a_plain_tensor(lib):
    total, w = lib.zeros(2), leaf(lib, 5.0, 7.0)
    for i in range(3):
        total += w * i
    assert total.requires_grad
    total.sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("change", [lambda y: y.zero_(), lambda y: y.fill_(4), lambda y: y.mul_(0)])
def test_overwritten_numbers_pass_no_gradient_on(lib, change):
    x = leaf(lib, 2.0, 3.0)
    y = x * 2
    change(y)
    assert y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_copy_passes_the_gradient_to_the_source(lib):
    x, w = leaf(lib, 2.0, 3.0), leaf(lib, 5.0)
    y = x * 2
    y.copy_(w)
    assert y.tolist() == [5.0, 5.0]
    (y * lib.tensor([10.0, 100.0])).sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([0.0, 0.0], [110.0])


def test_unrecorded_change_keeps_the_history(lib):
    x = leaf(lib, 2.0, 3.0)
    y = x * 2
    with lib.no_grad():
        y.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


LEAF_CHANGES = {
    "add": lambda x: x.add_(1),
    "sub": lambda x: x.sub_(1),
    "mul": lambda x: x.mul_(2),
    "zero": lambda x: x.zero_(),
    "fill": lambda x: x.fill_(1),
    "copy": lambda x: x.copy_(x.detach() * 2),
    "iadd": lambda x: x.__iadd__(1),
    "itruediv": lambda x: x.__itruediv__(2),
    "view": lambda x: x.view(-1).mul_(2),
    "row": lambda x: x[0].zero_(),
    "setitem": lambda x: x.__setitem__(0, 5.0),
}


@pytest.mark.parametrize("name", LEAF_CHANGES)
@pytest.mark.parametrize("parameter", [False, True])
def test_leaf_in_place(lib, name, parameter):
    x = leaf(lib, 2.0, 3.0)
    if parameter:
        x = lib.nn.Parameter(x)
    with pytest.raises(RuntimeError):
        LEAF_CHANGES[name](x)
    assert x.tolist() == [2.0, 3.0]
    with lib.no_grad():
        LEAF_CHANGES[name](x)
    assert x.requires_grad
    assert x.is_leaf
    assert x.tolist() != [2.0, 3.0]


def test_inplace_activation_of_a_leaf(lib):
    x = leaf(lib, -2.0, 3.0)
    with pytest.raises(RuntimeError):
        lib.nn.ReLU(inplace=True)(x)
    assert x.tolist() == [-2.0, 3.0]


def test_optimizer_step_between_forward_and_backward(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Linear(2, 2))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    x = lib.tensor([[1.0, 2.0]])
    model(x).sum().backward()
    loss = model(x).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_optimizer_step_between_is_harmless_where_the_weight_is_not_read(lib):
    """One layer and an input without gradient: the backward pass does not read the weight."""
    layer = lib.nn.Linear(2, 2)
    optimizer = lib.optim.SGD(layer.parameters(), lr=0.1)
    x = lib.tensor([[1.0, 2.0]])
    layer(x).sum().backward()
    loss = layer(x).sum()
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    assert layer.weight.grad.tolist() == [[1.0, 2.0]] * 2


def test_load_state_dict_between_forward_and_backward(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Linear(2, 2))
    loss = model(lib.tensor([[1.0, 2.0]])).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_in_place_on_a_view_changes_the_base(lib):
    x = leaf(lib, 1.0, 2.0, 3.0)
    y = x * 2
    v = y[1:]
    v *= 10
    assert y.tolist() == [2.0, 40.0, 60.0]
    v.sum().backward()
    assert x.grad.tolist() == [0.0, 20.0, 20.0]


@pytest.mark.parametrize("through", [lambda y: y.view(-1), lambda y: y[0], lambda y: y.T, lambda y: y.unsqueeze(0)])
def test_in_place_on_a_view_gives_its_base_and_other_views_the_history(lib, through):
    x = lib.tensor([[1.0, 2.0]], requires_grad=True)
    w = lib.tensor(3.0, requires_grad=True)
    y = x * 2
    other, v = y.view(2), through(y)
    v += w
    assert y.tolist() == [[5.0, 7.0]]
    (y.sum() + (other * 10).sum() + (v * 100).sum()).backward()
    assert w.grad.item() == 222.0
    assert x.grad.tolist() == [[222.0, 222.0]]


def test_views_of_a_base_that_was_changed(lib):
    x = leaf(lib, 1.0, 2.0)
    y = x * 2
    v, d = y.view(2, 1), y.detach()
    y *= 3
    assert (d * 1).tolist() == [6.0, 12.0]
    v.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]
    assert not d.requires_grad


def test_in_place_on_a_view_of_a_plain_tensor(lib):
    """As a running total in part of a tensor of zeros."""
    total, w = lib.zeros(3), leaf(lib, 5.0, 7.0)
    early = total[:2]
    total[1:] += w
    total[0] = w.sum() * 10
    assert (total.requires_grad, early.requires_grad) == (True, True)
    assert (total.is_leaf, early.is_leaf) == (False, False)
    (total.sum() + early.sum()).backward()
    assert w.grad.tolist() == [22.0, 21.0]


def test_a_view_of_a_view_changed_in_place(lib):
    x = lib.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = x * 1
    y.t()[1:][0] *= 5
    (y * y).sum().backward()
    assert x.grad.tolist() == [[0.0, 50.0, 4.0], [6.0, 200.0, 10.0]]


def test_a_view_made_before_an_unrecorded_change(lib):
    x = leaf(lib, 1.0, 2.0)
    y = x * 2
    v = y[0]
    with lib.no_grad():
        v.zero_()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_an_alias_changed_in_place_leaves_the_other_alone(lib):
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    y = x * 2
    d = y.detach()
    d += w
    assert (d.requires_grad, y.tolist()) == (True, [5.0, 8.0])
    y.sum().backward()
    d.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_assignment_to_elements(lib):
    x = lib.zeros(2, 3)
    x[0] = 1
    x[1, 1:] = lib.tensor([5.0, 6.0])
    x[:, 0] = -1.0
    x[x == 5] = 50.0
    assert x.tolist() == [[-1.0, 1.0, 1.0], [-1.0, 50.0, 6.0]]


ASSIGNMENTS = {
    "number": lambda lib, y, w: y.__setitem__(0, 5.0),
    "row": lambda lib, y, w: y.__setitem__(1, w),
    "column": lambda lib, y, w: y.__setitem__((slice(None), 0), w[:2]),
    "broadcast": lambda lib, y, w: y.__setitem__(slice(None), w[0]),
    "leading_ones": lambda lib, y, w: y.__setitem__(0, w.reshape(1, 3)),
    "mask": lambda lib, y, w: y.__setitem__(y > 2, 0),
    "mask_of_values": lambda lib, y, w: y.__setitem__(y.detach() > 2, w),
    "list": lambda lib, y, w: y.__setitem__((slice(None), [0, 2]), w[:2]),
    "indices": lambda lib, y, w: y.__setitem__((lib.tensor([0, 1]), lib.tensor([2, 0])), w[1:]),
    "ellipsis": lambda lib, y, w: y.__setitem__(..., w),
    "double": lambda lib, y, w: y.__setitem__(0, w.double()),
    "itself": lambda lib, y, w: y.__setitem__(0, y[1] + w),
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
@pytest.mark.parametrize("recorded", [(True, True), (True, False), (False, True)], ids=str)
def test_assignment_to_elements_is_recorded(name, recorded):
    """Against the same numbers put together with a mask."""
    rng = np.random.default_rng(0)
    start, row, weights = rng.uniform(0, 4, (2, 3)), rng.uniform(5, 6, 3), rng.standard_normal((2, 3))
    x, w = (fastnn.tensor(a, requires_grad=r) for a, r in zip((start, row), recorded, strict=True))

    def function(x, w):
        y = x * 1
        ASSIGNMENTS[name](fastnn, y, w)
        return y * y

    y = function(x, w)
    if not y.requires_grad:
        return
    (y * fastnn.tensor(weights)).sum().backward()
    step = 1e-6
    for t, a, other in ((x, start, row), (w, row, start)):
        if not t.requires_grad or t.grad is None:
            continue
        direction = rng.standard_normal(a.shape)
        values = []
        for sign in (1, -1):
            moved = a + sign * step * direction
            pair = (moved, other) if t is x else (other, moved)
            values.append((as_array(function(*map(fastnn.tensor, pair))) * weights).sum())
        assert abs((values[0] - values[1]) / (2 * step) - (as_array(t.grad) * direction).sum()) < 1e-7


# -- Grad mode --------------------------------------------------------------------------------


def test_no_grad_block(lib):
    x = leaf(lib, 1.0)
    with lib.no_grad():
        assert not lib.is_grad_enabled()
        y = x * 2
        with lib.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert lib.is_grad_enabled()
    assert (y.requires_grad, y.is_leaf, y.grad_fn) == (False, True, None)


def test_no_grad_ends_with_an_exception(lib):
    with pytest.raises(KeyError), lib.no_grad():
        raise KeyError
    assert lib.is_grad_enabled()

    @lib.no_grad()
    def fails():
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert lib.is_grad_enabled()


def test_no_grad_as_decorator_with_and_without_parentheses(lib):
    @lib.no_grad()
    def with_parentheses(x):
        """Documented."""
        return x * 2

    @lib.no_grad
    def without(x):
        return x * 2

    class Model:
        @lib.no_grad()
        def predict(self, x):
            return x * 2

    x = leaf(lib, 1.0)
    for function in (with_parentheses, without, Model().predict):
        assert not function(x).requires_grad
        assert lib.is_grad_enabled()
    assert with_parentheses.__name__ == "with_parentheses"
    assert with_parentheses.__doc__ == "Documented."


def test_enable_grad_as_decorator(lib):
    @lib.enable_grad()
    def recorded(x):
        return x * 2

    with lib.no_grad():
        assert recorded(leaf(lib, 1.0)).requires_grad
        assert not lib.is_grad_enabled()


def test_one_block_object_nested_in_itself():
    """PyTorch forgets the mode before the outer block, and leaves recording off."""
    block = fastnn.no_grad()
    with block:
        with block:
            assert not fastnn.is_grad_enabled()
        assert not fastnn.is_grad_enabled()
    assert fastnn.is_grad_enabled()


def test_set_grad_enabled(lib):
    with lib.set_grad_enabled(False):
        assert not lib.is_grad_enabled()
        with lib.set_grad_enabled(True):
            assert lib.is_grad_enabled()
        assert not lib.is_grad_enabled()
    assert lib.is_grad_enabled()
    try:
        lib.set_grad_enabled(False)
        assert not lib.is_grad_enabled()
    finally:
        lib.set_grad_enabled(True)


def test_set_grad_enabled_as_decorator(lib):
    @lib.set_grad_enabled(False)
    def function():
        return lib.is_grad_enabled()

    assert lib.is_grad_enabled()
    assert function() is False
    assert lib.is_grad_enabled()


def test_no_grad_generator_holds_while_it_runs(lib):
    @lib.no_grad()
    def numbers():
        yield lib.is_grad_enabled()
        yield lib.is_grad_enabled()

    seen = [(inside, lib.is_grad_enabled()) for inside in numbers()]
    assert seen == [(False, True), (False, True)]


def test_backward_inside_no_grad(lib):
    x = leaf(lib, 1.0, 2.0)
    y = (x * x).sum()
    with lib.no_grad():
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_gradients_are_not_recorded(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).sum().backward()
    assert not x.grad.requires_grad
    assert x.grad.is_leaf


# -- Threads ----------------------------------------------------------------------------------


def run_in_threads(*functions: Any) -> None:
    errors: list[BaseException] = []

    def guarded(function: Any) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


def test_grad_mode_is_that_of_the_thread(lib):
    seen = []
    with lib.no_grad():
        run_in_threads(lambda: seen.append(lib.is_grad_enabled()))
    assert seen == [True]


def test_two_threads_train_at_once(lib):
    """Two models whose parameters are neighbours in memory, trained in two threads: the same numbers as one by one."""

    def make() -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        model = lib.nn.Sequential(lib.nn.Linear(30, 70), lib.nn.ReLU(), lib.nn.Linear(70, 5))
        state = {n: lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4")) for n, p in model.state_dict().items()}
        model.load_state_dict(state)
        return model, lib.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    x = lib.tensor(np.random.default_rng(1).standard_normal((16, 30)).astype("f4"))
    target = lib.tensor(np.arange(16) % 5)

    def train(model: Any, optimizer: Any) -> None:
        for _ in range(50):
            optimizer.zero_grad()
            lib.nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()

    pairs = [make() for _ in range(3)]
    train(*pairs[0])
    run_in_threads(*(lambda pair=pair: train(*pair) for pair in pairs[1:]))
    expected = [as_array(p) for p in pairs[0][0].parameters()]
    for model, _ in pairs[1:]:
        for p, e in zip(model.parameters(), expected, strict=True):
            np.testing.assert_array_equal(as_array(p), e)


def test_backward_in_another_thread(lib):
    x = leaf(lib, 1.0, 2.0)
    y = (x * x).sum()
    run_in_threads(y.backward)
    assert x.grad.tolist() == [2.0, 4.0]


# -- The tape itself --------------------------------------------------------------------------


def test_nodes_run_after_all_that_read_their_result(lib):
    """A node recorded early and read late, by a short and by a long way."""
    x = leaf(lib, 2.0)
    early = x * x
    long = early
    for _ in range(10):
        long = long + 1
    (long * early).sum().backward()
    # (x^2 + 10) x^2
    assert x.grad.tolist() == [4 * 8.0 + 20 * 2.0]


def test_deep_graph(lib):
    x = leaf(lib, 1.0)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    del y


def test_graph_is_freed_without_the_garbage_collector(lib):
    gc.collect()
    gc.disable()
    try:
        x = leaf(lib, 1.0, 2.0)
        y = lib.tanh(x * x)
        gone = [weakref.ref(y)]
        z = y.exp().sum()
        gone.append(weakref.ref(z))
        z.backward()
        del y, z
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_backward_frees_what_was_saved_while_the_result_lives():
    x = fastnn.tensor(np.ones(10), requires_grad=True)
    y = x * 2
    gone = weakref.ref(y)
    z = (y * y).sum()
    del y
    assert gone() is not None
    z.backward()
    assert gone() is None


def test_an_operation_keeps_only_what_it_reads():
    x = fastnn.tensor(np.ones(10), requires_grad=True)
    y = x * 2
    gone = weakref.ref(y)
    z = (y + 1).sum()
    del y
    assert gone() is None
    z.backward()
    assert x.grad.tolist() == [2.0] * 10


def test_grad_fn_names_the_operation():
    x = fastnn.tensor([1.0], requires_grad=True)
    assert repr((x + 1).grad_fn).startswith("<AddBackward0 object at 0x")
    assert (x + 1).grad_fn.name() == "AddBackward0"
    assert x.grad_fn is None


def test_overflow_in_backward_shows_in_the_numbers(lib):
    """No warning (which is an error here), as nothing warns in a kernel either."""
    x = leaf(lib, 1e-30, 0.0)
    (1 / (x * x)).sum().backward()
    assert not np.isfinite(as_array(x.grad)).any()


# -- Deep copies ------------------------------------------------------------------------------


def test_deepcopy_of_a_leaf(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert (y.requires_grad, y.is_leaf, y.tolist(), y.grad.tolist()) == (True, True, [1.0, 2.0], [2.0, 4.0])
    with lib.no_grad():
        y += 1
        y.grad += 1
    assert (x.tolist(), x.grad.tolist()) == ([1.0, 2.0], [2.0, 4.0])


def test_deepcopy_of_a_result(lib):
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(leaf(lib, 1.0) * 2)


def test_deepcopy_of_a_parameter_leaves_the_gradient(lib):
    p = lib.nn.Parameter(lib.tensor([1.0, 2.0]))
    (p * p).sum().backward()
    q = copy.deepcopy(p)
    assert type(q) is lib.nn.Parameter
    assert (q.tolist(), q.grad, q.requires_grad) == ([1.0, 2.0], None, True)


# -- Finite differences of compositions ---------------------------------------------------------


def test_composition():
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), rng.standard_normal(5)

    def function(x, w, b):
        h = fastnn.tanh(fastnn.nn.functional.linear(x, w, b))
        return ((h * h).sum(1).sqrt() / (h.exp().mean(1) + 1)) ** 1.5

    check_gradient(function, x, w, b)
