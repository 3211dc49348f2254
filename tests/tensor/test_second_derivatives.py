"""Second derivatives: every operation of the registry against finite differences of its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparison import as_array
from operations import OPERATIONS, Operation

import fastnn
from fastnn import nn


def first_derivative(
    function: Callable[..., Any], arrays: list[np.ndarray], weights: np.ndarray, rs: list[np.ndarray]
) -> Any:
    """``sum(r * gradient)`` over the operands, for a weighted result; and the tensors to differentiate it by."""
    tensors = [fastnn.tensor(a, requires_grad=True) for a in arrays]
    w = fastnn.tensor(weights, requires_grad=True)
    out = function(*tensors)
    found = fastnn.autograd.grad(out, tensors, w, create_graph=True, allow_unused=True)
    total = fastnn.zeros((), dtype=fastnn.float64)
    for g, r in zip(found, rs, strict=True):
        if g is not None:
            total = total + (g * fastnn.tensor(r)).sum()
    return total, [*tensors, w]


def check_second(function: Callable[..., Any], *arrays: np.ndarray, step: float = 1e-6) -> None:
    rng = np.random.default_rng(sum(a.size for a in arrays))
    arrays_64 = [a.astype(np.float64) for a in arrays]
    weights = rng.standard_normal(tuple(function(*map(fastnn.tensor, arrays_64)).shape))
    rs = [rng.standard_normal(a.shape) for a in arrays_64]
    total, leaves = first_derivative(function, arrays_64, weights, rs)
    moves = [rng.standard_normal(a.shape) for a in (*arrays_64, weights)]

    def along(distance: float) -> float:
        moved = [a + distance * d for a, d in zip((*arrays_64, weights), moves, strict=True)]
        return first_derivative(function, moved[:-1], moved[-1], rs)[0].item()

    numeric = (along(step) - along(-step)) / (2 * step)
    analytic, size = 0.0, 0.0
    if total.requires_grad:
        found = fastnn.autograd.grad(total, leaves, allow_unused=True)
        terms = [as_array(g) * d for g, d in zip(found, moves, strict=True) if g is not None]
        analytic, size = sum(t.sum() for t in terms), sum(np.abs(t).sum() for t in terms)
    allowed = 1e-7 * size + 1e-8 * max(1.0, abs(total.item()))
    assert abs(analytic - numeric) <= allowed, f"{analytic} by backward, {numeric} by differences"


def cases() -> list[Any]:
    found = []
    for o in OPERATIONS:
        for shapes in o.shapes[:3]:
            if o.smooth and all(np.prod(s) for s in shapes):
                found.append(pytest.param(o, shapes, id=f"{o}-{shapes}"))
    return found


@pytest.mark.parametrize(("operation", "shapes"), cases())
def test_operation(operation: Operation, shapes: Any) -> None:
    arrays = operation.arrays(shapes)
    if not operation.run(fastnn, *[fastnn.tensor(a, requires_grad=True) for a in arrays]).requires_grad:
        return
    check_second(lambda *tensors: operation.run(fastnn, *tensors), *arrays)


LAYERS = {
    "linear": lambda: nn.Linear(3, 2, dtype=fastnn.float64),
    "linear_tanh": lambda: nn.Sequential(nn.Linear(3, 4, dtype=fastnn.float64), nn.Tanh()),
    "linear_relu": lambda: nn.Sequential(nn.Linear(3, 4, dtype=fastnn.float64), nn.ReLU()),
    "linear_relu_inplace": lambda: nn.Sequential(nn.Linear(3, 4, dtype=fastnn.float64), nn.ReLU(inplace=True)),
    "linear_gelu": lambda: nn.Sequential(nn.Linear(3, 4, dtype=fastnn.float64), nn.GELU()),
    "deep": lambda: nn.Sequential(
        nn.Linear(3, 4, dtype=fastnn.float64), nn.Sigmoid(), nn.Linear(4, 4, dtype=fastnn.float64), nn.Tanh(),
        nn.Linear(4, 1, dtype=fastnn.float64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layer_by_its_input_and_parameters(name: str) -> None:
    fastnn.manual_seed(1)
    layer = LAYERS[name]()
    places = [(module, n) for module in layer.modules() for n in list(module._parameters)]
    arrays = [as_array(module._parameters[n]) for module, n in places]
    x = np.random.default_rng(0).standard_normal((5, 3))
    check_second(layer, x)
    for module, n in places:
        delattr(module, n)

    def function(x: Any, *parameters: Any) -> Any:
        for (module, n), p in zip(places, parameters, strict=True):
            setattr(module, n, p)
        return layer(x)

    check_second(function, x, *arrays)


# -- Typical uses -------------------------------------------------------------------------------


def test_derivative_of_a_network_in_a_loss(lib):
    """A physics-informed loss, which contains the network's second derivative."""
    rng = np.random.default_rng(3)
    layers = [lib.nn.Linear(1, 8), lib.nn.Tanh(), lib.nn.Linear(8, 1)]
    model = lib.nn.Sequential(*layers)
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4")))
    optimizer = lib.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        x = lib.tensor(np.linspace(0, 1, 9, dtype="f4")[:, None], requires_grad=True)
        u = model(x)
        (du,) = lib.autograd.grad(u, x, lib.ones_like(u), create_graph=True)
        (ddu,) = lib.autograd.grad(du.sum(), x, create_graph=True)
        loss = ((ddu + u) ** 2).mean() + (model(lib.zeros(1, 1)) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # PyTorch's losses for these weights.
    np.testing.assert_allclose(losses, [4.150998, 3.731881, 3.341641, 2.979797, 2.645848], rtol=1e-5)


def test_gradient_penalty(lib):
    x = lib.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    w = lib.tensor([[1.0, 2.0], [-1.0, 0.5]], requires_grad=True)
    score = lib.relu(x @ w).sum(1)
    (g,) = lib.autograd.grad(score.sum(), x, create_graph=True)
    penalty = ((g.norm(2, dim=1) - 1) ** 2).mean()
    penalty.backward()
    np.testing.assert_allclose(as_array(w.grad), [[2.0136, 3.0435], [-0.3356, -0.0781]], atol=1e-4)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_create_graph_leaves_a_history_in_the_gradient(lib):
    x = lib.tensor(2.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    assert x.grad.item() == 12.0
    assert x.grad.requires_grad
    (second,) = lib.autograd.grad(x.grad, x)
    assert second.item() == 12.0
    x.grad = None


def test_third_derivative(lib):
    x = lib.tensor([0.5, 2.0], requires_grad=True)
    y = (x**5).sum()
    for _ in range(3):
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        y = g.sum()
    np.testing.assert_allclose(as_array(g), [60 * 0.25, 60 * 4.0])


# -- The layers' own derivatives ------------------------------------------------------------------

ACTIVATIONS = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "steep_leaky_relu": lambda: nn.LeakyReLU(-0.5),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "softplus": lambda: nn.Softplus(1.5, 2.0),
    "mish": nn.Mish,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(5, 3), (3,), (2, 2, 3)])
def test_third_derivatives_of_a_linear_layer_and_its_activation(name: str, shape: tuple[int, ...]) -> None:
    """By finite differences of the second derivatives; the layer is fused with the activation, or apart from it."""
    rng = np.random.default_rng(len(shape))
    arrays = [rng.standard_normal(s) for s in (shape, (4, 3), (4,))]
    activation = ACTIVATIONS[name]()
    layer = nn.Linear(3, 4, dtype=fastnn.float64)
    fused = nn.Sequential(layer, activation)
    del layer.weight, layer.bias

    def joined(x: Any, weight: Any, bias: Any) -> Any:
        layer.weight, layer.bias = weight, bias
        return fused(x)

    def apart(x: Any, weight: Any, bias: Any) -> Any:
        return activation(nn.functional.linear(x, weight, bias))

    r = fastnn.tensor(rng.standard_normal((*shape[:-1], 4)))
    results = []
    for forward in (joined, apart):

        def gradients(*tensors: Any, forward: Any = forward) -> Any:
            found = [t if t.requires_grad else t.requires_grad_() for t in tensors]
            grads = fastnn.autograd.grad(forward(*found), found, r, create_graph=True)
            return fastnn.cat([(g * g).reshape(-1) for g in grads])

        check_second(gradients, *arrays)
        results.append(gradients(*[fastnn.tensor(a) for a in arrays]).detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-12, atol=1e-12)


def test_gradients_that_nobody_asked_for_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = fastnn.rand(5, 3).requires_grad_()
    wanted = []
    backward = fastnn.kernels.linear_backward

    def watched(dx: Any, dweight: Any, dbias: Any, *args: Any) -> None:
        wanted.append((dx is not None, dweight is not None, dbias is not None))
        backward(dx, dweight, dbias, *args)

    monkeypatch.setattr(fastnn.kernels, "linear_backward", watched)
    fastnn.autograd.grad(layer(x).sum(), x)
    assert wanted == [(True, False, False)] * 2
    wanted.clear()
    fastnn.autograd.grad(layer(x).sum(), layer[0].bias)
    assert wanted == [(True, False, False), (False, False, True)]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
@pytest.mark.parametrize("name", ["tanh", "gelu", "leaky_relu", "silu"])
def test_empty_batch(name: str, shape: tuple[int, ...]) -> None:
    layer = nn.Sequential(nn.Linear(3, 4), ACTIVATIONS[name](), nn.Linear(4, 1))
    x = fastnn.zeros(*shape, requires_grad=True)
    (first,) = fastnn.autograd.grad(layer(x).sum(), x, create_graph=True)
    (second,) = fastnn.autograd.grad(first.sum(), x, create_graph=True)
    assert first.shape == second.shape == shape
    (first.sum() + second.sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())
    assert layer[0].weight.grad is not None


def test_one_tensor_as_input_and_weight() -> None:
    check_second(lambda a: nn.functional.linear(a, a), np.random.default_rng(0).standard_normal((3, 3)))
    check_second(lambda a: nn.functional.linear(a, a, a[0]).tanh(), np.random.default_rng(0).standard_normal((3, 3)))


def test_a_frozen_layer_and_an_input_without_gradient(lib):
    weight, x = lib.tensor([[0.5, -1.0]]), lib.tensor([[1.0, 2.0]], requires_grad=True)
    (g,) = lib.autograd.grad(lib.tanh(lib.nn.functional.linear(x, weight)).sum(), x, create_graph=True)
    (h,) = lib.autograd.grad(g.sum(), x)
    t = np.tanh(-1.5)
    np.testing.assert_allclose(as_array(g), (1 - t * t) * as_array(weight), rtol=1e-6)
    np.testing.assert_allclose(as_array(h), -2 * t * (1 - t * t) * -0.5 * as_array(weight), rtol=1e-5)
    fixed, bias = lib.tensor([[1.0, 2.0]]), lib.tensor([0.25], requires_grad=True)
    trained = lib.tensor([[0.5, -1.0]], requires_grad=True)
    y = lib.sigmoid(lib.nn.functional.linear(fixed, trained, bias))
    (g,) = lib.autograd.grad(y.sum(), trained, create_graph=True)
    (by_bias,) = lib.autograd.grad(g.sum(), bias)
    s = 1 / (1 + np.exp(1.25))
    np.testing.assert_allclose(as_array(by_bias), [3 * s * (1 - s) * (1 - 2 * s)], rtol=1e-5)


@pytest.mark.parametrize("changed", ["weight", "input", "result"])
def test_operands_that_have_changed_in_place(lib, changed):
    """Between the first and the second derivative, as in PyTorch."""
    weight, x = lib.tensor([[0.5, -1.0]], requires_grad=True), lib.tensor([[1.0, 2.0]], requires_grad=True)
    inner = x * 1
    y = lib.tanh(lib.nn.functional.linear(inner, weight))
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    with lib.no_grad():
        {"weight": weight, "input": inner, "result": y}[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        lib.autograd.grad(g.sum(), (x, weight))


def test_a_frozen_weight_that_has_changed_in_place(lib):
    weight, x = lib.tensor([[0.5, -1.0]]), lib.tensor([[1.0, 2.0]], requires_grad=True)
    (g,) = lib.autograd.grad(lib.tanh(lib.nn.functional.linear(x, weight)).sum(), x, create_graph=True)
    weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        lib.autograd.grad(g.sum(), x)


def test_graph_can_be_walked_once_unless_retained(lib):
    layer = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Tanh())
    x = lib.ones(1, 2, requires_grad=True)
    (g,) = lib.autograd.grad(layer(x).sum(), x, create_graph=True)
    lib.autograd.grad(g.sum(), x, retain_graph=True)
    lib.autograd.grad(g.sum(), x)
    with pytest.raises(RuntimeError, match="a second time"):
        lib.autograd.grad(g.sum(), x)


def test_sums_of_gradients_leave_the_given_ones_alone(lib):
    """The second sum of a gradient goes into the memory of the first, never into that of a gradient."""
    x = lib.ones(3, requires_grad=True)
    y = x * 1
    seen, given = [], lib.ones(3)
    y.register_hook(lambda grad: seen.append(as_array(grad).copy()))
    parts = [y + 0, y + 0, y + 0, y + 0]
    kept = []
    for part in parts:
        part.register_hook(kept.append)
    (g,) = lib.autograd.grad(parts, x, [given] * 4)
    np.testing.assert_array_equal(as_array(g), 4)
    np.testing.assert_array_equal(seen, [[4, 4, 4]])
    np.testing.assert_array_equal(as_array(given), 1)
    for grad in kept:
        np.testing.assert_array_equal(as_array(grad), 1)


# -- Gradients of 0 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["ReLU", "LeakyReLU"])
def test_gradients_of_0_of_a_penalty(lib, activation, monkeypatch):
    """The second derivative of ReLU is 0: biases get a gradient of 0, not none, and nothing is computed from it."""
    layers, rng = [lib.nn.Linear(3, 4), lib.nn.Linear(4, 4), lib.nn.Linear(4, 1)], np.random.default_rng(0)
    for layer in layers:
        layer.weight.data.copy_(lib.tensor(rng.uniform(-0.5, 1, tuple(layer.weight.shape)).astype("f4")))
    kind = getattr(lib.nn, activation)
    model = lib.nn.Sequential(layers[0], kind(), layers[1], kind(), layers[2])
    x = lib.ones(5, 3, requires_grad=True)
    launched = []
    if lib is fastnn:
        backward = fastnn.kernels.linear_backward
        monkeypatch.setattr(fastnn.kernels, "linear_backward", lambda *a: launched.append(a) or backward(*a))
    (g,) = lib.autograd.grad(model(x).sum(), x, create_graph=True)
    (g.norm(2, dim=1) - 1).square().mean().backward()
    assert not launched
    assert layers[0].weight.grad.any()
    assert layers[2].bias.grad is None
    for layer in layers[:2]:
        np.testing.assert_array_equal(as_array(layer.bias.grad), 0)
        layer.bias.grad += 1
    assert not x.grad.any()
    x.grad += 1
    # Added to gradients that are not 0.
    first = [as_array(layer.weight.grad).copy() for layer in layers]
    x.grad = None
    model.zero_grad()
    y = model(x)
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    ((g.norm(2, dim=1) - 1).square().mean() + 0 * y.sum()).backward()
    for before, layer in zip(first, layers, strict=True):
        np.testing.assert_allclose(as_array(layer.weight.grad), before, rtol=1e-6)
        np.testing.assert_array_equal(as_array(layer.bias.grad), 0)


def test_gradients_of_0_that_a_program_sees(lib):
    """By a hook, by `retain_grad`, and as the gradient of another operation: they can be changed in place."""
    layer, seen = lib.nn.Linear(2, 3), []
    x = lib.ones(4, 2, requires_grad=True)
    inner = x * 1
    y = lib.relu(layer(inner))
    y.retain_grad()
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    y.grad = None
    inner.register_hook(lambda grad: seen.append(grad.clone()) or grad.add_(1))
    (g * g).sum().backward()
    assert y.grad.shape == (4, 3)
    assert not y.grad.any()
    y.grad += 1
    assert [s.any().item() for s in seen] == [False]
    np.testing.assert_array_equal(as_array(x.grad), 1)
    np.testing.assert_array_equal(as_array(layer.bias.grad), 0)


def test_a_repeated_0_as_the_gradient_of_a_layer(lib):
    layer = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Tanh(), lib.nn.Linear(3, 2))
    x = lib.ones(4, 2, requires_grad=True)
    layer(x).backward(lib.zeros(()).expand(4, 2))
    for p in (x, *layer.parameters()):
        np.testing.assert_array_equal(as_array(p.grad), 0)
        p.grad += 1
    layer(x).backward(lib.zeros(()).expand(4, 2))
    for p in (x, *layer.parameters()):
        np.testing.assert_array_equal(as_array(p.grad), 1)


def test_0_times_infinity_is_nan(lib):
    """A loss times 0, as in the pass of the eager layers so in that of a recording."""
    layer = lib.nn.Linear(2, 2)
    (layer(lib.tensor([[1.0, np.inf], [1.0, 2.0]])).sum() * 0).backward()
    assert layer.weight.grad.isnan().tolist() == [[False, True]] * 2
    model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Tanh(), lib.nn.Linear(3, 2))
    with lib.no_grad():
        model[2].weight[0, 0] = np.inf
    for _ in range(4):
        model.zero_grad()
        (model(lib.ones(1, 2)).sum() * 0).backward()
        assert model[0].weight.grad.isnan().tolist() == [[True, True], [False, False], [False, False]]
