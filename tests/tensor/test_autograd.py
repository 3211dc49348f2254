"""Backward: accumulation, errors, retained graphs. Also run with PyTorch if it is installed."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest
from comparison import as_array, check_gradient, leaf

import fastnn

# -- Accumulation ------------------------------------------------------------------------------


def test_gradients_add_up_over_backwards(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    # In place, so references to the gradient see the sum.
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


# -- Backward twice ----------------------------------------------------------------------------


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


# -- Errors -----------------------------------------------------------------------------------


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


# -- The tape itself --------------------------------------------------------------------------


def test_nodes_run_after_all_that_read_their_result(lib):
    """A node recorded early and read late, by a short and by a long path."""
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
    """No warning (warnings are errors here): kernels do not warn either."""
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
