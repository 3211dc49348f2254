"""Gradients of parameters: users do not notice the flat buffer. Also run with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn


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
    """The fast path of the optimizer: no copy in any step of an ordinary loop, unless a gradient is referenced."""
    model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 256), fastnn.nn.ReLU(), fastnn.nn.Linear(256, 2, bias=False))
    optimizer = fastnn.optim.Adam(model.parameters())
    (run,) = optimizer._layouts[0].runs

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
    """The optimizer uses ``p.grad.data = ...``, as assigned in some gradient clipping."""
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
