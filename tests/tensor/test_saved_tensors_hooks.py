"""``torch.autograd.graph.saved_tensors_hooks`` on both libraries."""

from __future__ import annotations

import importlib
from contextlib import nullcontext

import pytest


@pytest.fixture
def graph(lib):
    return importlib.import_module(f"{lib.__name__}.autograd.graph")


def test_gradients_come_from_what_is_unpacked(lib, graph):
    nn = lib.nn
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Dropout(0.0), nn.Linear(4, 2), nn.ReLU())
    model = model.double()
    x = lib.arange(6.0, dtype=lib.float64).reshape(2, 3).cos().requires_grad_()
    leaves = [x, *model.parameters()]

    def loss():
        return (model(x).pow(2) * x[:, :2].exp()).sum()

    for _ in range(4):
        # fastnn has a recording of the forward now.
        expected = lib.autograd.grad(loss(), leaves)
    calls = []

    def pack(t):
        calls.append("pack")
        return t.detach().numpy().copy()

    def unpack(array):
        calls.append("unpack")
        return lib.from_numpy(array)

    with graph.saved_tensors_hooks(pack, unpack):
        result = loss()
    packed = len(calls)
    assert packed >= 10
    found = lib.autograd.grad(result, leaves)
    assert calls == ["pack"] * packed + ["unpack"] * packed
    for a, b in zip(found, expected, strict=True):
        assert lib.allclose(a, b, rtol=1e-12)
    loss().backward()
    assert len(calls) == 2 * packed


def test_second_derivatives(lib, graph):
    x = lib.arange(3.0, dtype=lib.float64).requires_grad_()

    def second():
        (first,) = lib.autograd.grad((x.sin() * x * x.exp()).sum(), x, create_graph=True)
        return lib.autograd.grad(first.sum(), x)[0]

    with graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        found = second()
    assert lib.allclose(found, second(), rtol=1e-12)


def test_other_numbers_give_other_gradients(lib, graph):
    x = lib.tensor([2.0], requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: t.detach(), lambda t: t * 5):
        y = x * lib.tensor([3.0])
    y.backward()
    assert x.grad.tolist() == [15.0]


def test_functions_with_their_own_derivative(lib, graph):
    class Square(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    x = lib.tensor([2.0], requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: t.tolist(), lib.tensor):
        y = Square.apply(x)
    y.backward()
    assert x.grad.tolist() == [4.0]


def test_inner_hooks_and_errors(lib, graph):
    x, seen = lib.tensor([2.0], requires_grad=True), []

    def noted(name):
        return graph.saved_tensors_hooks(lambda t: (seen.append(name), t)[1], lambda t: t)

    with noted("outer"):
        with noted("inner"):
            _ = x * x
        _ = x.exp()
    assert set(seen[:-1]) == {"inner"}
    assert seen[-1] == "outer"
    with pytest.raises(RuntimeError, match="not here"), graph.disable_saved_tensors_hooks("not here"), noted("none"):
        pass
    with noted("on"), pytest.raises(RuntimeError, match="not now"), graph.disable_saved_tensors_hooks("not now"):
        pass
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = x * x
    with pytest.raises(TypeError, match="expected to be a Tensor"):
        y.backward()
    with graph.save_on_cpu(pin_memory=False):
        y = x * x
    y.backward()
    assert x.grad.tolist() == [4.0]


CALLS = {
    "attention": lambda lib, x: lib.nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.4),
    "gumbel_softmax": lambda lib, x: lib.nn.functional.gumbel_softmax(x),
    "dropout": lambda lib, x: lib.nn.functional.dropout(x, 0.4).exp(),
    # A sequence of tensors.
    "multi_dot": lambda lib, x: lib.linalg.multi_dot([x[0].t(), x[0], x[0].t()]),
}


@pytest.mark.parametrize("name", CALLS)
def test_operations_with_random_numbers_or_with_sequences(lib, graph, name):
    x = lib.arange(24.0, dtype=lib.float64).cos().reshape(1, 6, 4).requires_grad_()
    found = []
    for hooks in (nullcontext(), graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t)):
        lib.manual_seed(1)
        with hooks:
            y = CALLS[name](lib, x)
        # The draws of the forward are not made again.
        found += [*lib.autograd.grad(y.pow(2).sum(), x), lib.rand(3)]
    assert lib.allclose(found[0], found[2], rtol=1e-12)
    assert lib.equal(found[1], found[3])


def test_statistics_are_updated_once(lib, graph):
    x = lib.arange(6.0).reshape(3, 2).requires_grad_()
    mean, variance = lib.zeros(2), lib.ones(2)
    with graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        y = lib.nn.functional.batch_norm(x, mean, variance, training=True, momentum=1.0)
    expected = mean.clone()
    mean.zero_()
    y.sum().backward()
    assert expected.tolist() == [2.0, 3.0]
    assert mean.tolist() == [0.0, 0.0]
