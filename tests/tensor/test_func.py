"""``torch.func``: every case states what PyTorch returns, and compares it with a live PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import HAS_TORCH

import fastnn


class Data:
    """The tensors of the cases, in float64, of one library."""

    def __init__(self, lib: Any) -> None:
        self.lib, self.func, kind = lib, lib.func, lib.float64
        self.x, self.y = lib.tensor([0.5, 1.0, -0.3], dtype=kind), lib.tensor([1.5, -1.0, 0.7], dtype=kind)
        self.rows = lib.arange(6.0, dtype=kind).reshape(2, 3) / 7
        self.weight = lib.tensor([[0.1, 0.2, 0.3], [0.4, -0.5, 0.6]], dtype=kind, requires_grad=True)
        self.tree = {"a": self.x, "b": [self.y, (self.x * 2,)]}
        self.two = lib.tensor(2.0, dtype=kind)

    def model(self, scale: float = 1.0) -> Any:
        nn, kind = self.lib.nn, self.lib.float64
        model = nn.Sequential(nn.Linear(3, 4, dtype=kind), nn.Tanh(), nn.Linear(4, 1, dtype=kind))
        with self.lib.no_grad():
            for i, p in enumerate(model.parameters()):
                values = self.lib.linspace(-scale, scale, p.numel(), dtype=kind).reshape(p.shape)
                p.copy_(values * (i + 1) / 3)
        return model

    def state(self) -> tuple[Any, dict[str, Any], Callable[..., Any]]:
        """A model, its parameters, and a loss of these."""
        model = self.model()

        def loss(params: dict[str, Any], x: Any) -> Any:
            return (self.func.functional_call(model, params, (x,)) - 1).pow(2).mean()

        return model, {name: p.detach() for name, p in model.named_parameters()}, loss


def scalar(x: Any) -> Any:
    return (x.sin() * x.exp()).sum()


def product(x: Any, y: Any) -> Any:
    return (x * y.cos()).sum()


def of_tree(p: Any, k: Any) -> Any:
    return (p["a"] * p["b"][0] * k).sum() + p["b"][1][0].exp().sum()


def without_tracking(d: Data, function: Callable[[], Any]) -> Any:
    with d.lib.no_grad():
        return function()


def pulled(result: Any, *cotangents: Any) -> Any:
    value, pull, *aux = result
    return value, [pull(c) for c in cotangents], aux


def closure_gradient(d: Data) -> Any:
    first = d.func.grad(lambda x: (d.weight @ x).pow(2).sum())(d.x)
    return first, d.lib.autograd.grad(first.sum(), d.weight)


def laplacians(d: Data) -> Any:
    model = d.model()

    def laplacian(r: Any) -> Any:
        return d.lib.trace(d.func.hessian(lambda z: model(z).sum())(r))

    total = d.func.vmap(laplacian)(d.rows).sum()
    return total.detach(), d.lib.autograd.grad(total, next(model.parameters()))


def ensemble(d: Data) -> Any:
    models = [d.model(), d.model(2.0)]
    params, buffers = d.func.stack_module_state(models)

    def call(p: Any, b: Any, x: Any) -> Any:
        return d.func.functional_call(models[0], (p, b), (x,))

    found = d.func.vmap(call, in_dims=(0, 0, None))(params, buffers, d.rows)
    found.sum().backward()
    return {n: p.requires_grad for n, p in params.items()}, found.detach(), params["0.bias"].grad


CASES: dict[str, Callable[[Data], Any]] = {
    "grad": lambda d: d.func.grad(scalar)(d.x),
    "grad of grad": lambda d: d.func.grad(lambda x: d.func.grad(scalar)(x).pow(2).sum())(d.x),
    "third": lambda d: d.func.grad(d.func.grad(d.func.grad(lambda x: x**4)))(d.two),
    "argnums": lambda d: [d.func.grad(product, argnums=n)(d.x, d.y) for n in (1, -1, (1, 0))],
    "aux": lambda d: d.func.grad(lambda x: ((x**2).sum(), {"k": x * 3}), has_aux=True)(d.x),
    "value": lambda d: d.func.grad_and_value(scalar)(d.x),
    "value and aux": lambda d: d.func.grad_and_value(lambda x: ((x**2).sum(), [x.sum()]), has_aux=True)(d.x),
    "tree": lambda d: d.func.grad(of_tree, argnums=(0, 1))(d.tree, d.y),
    "closure": closure_gradient,
    "level of x": lambda d: d.func.grad(lambda x: x * d.func.grad(lambda y: x * y)(d.two))(d.two + 1),
    "level of sum": lambda d: d.func.grad(lambda x: x * d.func.grad(lambda y: x + y)(d.two))(d.two + 1),
    "no_grad inside": lambda d: d.func.grad(
        lambda x: x * without_tracking(d, lambda: d.func.grad(lambda y: y**3)(x))
    )(d.two),
    "no_grad outside": lambda d: without_tracking(d, lambda: d.func.grad(scalar)(d.x)),
    "unused": lambda d: d.func.grad(lambda x, y: y.sum())(d.x, d.y),
    "vjp": lambda d: pulled(d.func.vjp(lambda x: x.sin(), d.x), d.x, d.y),
    "vjp of two": lambda d: pulled(d.func.vjp(lambda a, b: (a * b, b.exp()), d.x, d.y), (d.y, d.x)),
    "vjp of trees": lambda d: pulled(d.func.vjp(lambda q: {"o": q["a"] * q["b"][0]}, d.tree), {"o": d.y}),
    "vjp with aux": lambda d: pulled(d.func.vjp(lambda x: (x * 2, x.sum()), d.x, has_aux=True), d.y),
    "jvp": lambda d: d.func.jvp(lambda a, b: (a * b, a.exp()), (d.x, d.y), (d.y, d.x)),
    "jvp with aux": lambda d: d.func.jvp(lambda a: (a * 2, a.sum()), (d.x,), (d.y,), has_aux=True),
    "jvp of jvp": lambda d: d.func.jvp(
        lambda t: d.func.jvp(lambda x: x**3, (t,), (d.two / 2,))[1], (d.two,), (d.two / 2,)
    ),
    "grad of jvp": lambda d: d.func.grad(lambda x: d.func.jvp(lambda z: z.sin(), (x,), (d.y,))[1].sum())(d.x),
    "jvp of grad": lambda d: d.func.jvp(d.func.grad(scalar), (d.x,), (d.y,)),
    "vjp of grad": lambda d: pulled(d.func.vjp(d.func.grad(scalar), d.x), d.y),
    "linearize": lambda d: pulled(d.func.linearize(lambda x: x.sin(), d.x), d.y, d.x),
    "jacrev": lambda d: d.func.jacrev(lambda x: d.rows @ x.sin())(d.x),
    "jacfwd": lambda d: d.func.jacfwd(lambda x: d.rows @ x.sin())(d.x),
    "jacrev of two": lambda d: d.func.jacrev(lambda a, b: (a * b, {"z": b.sum()}), argnums=(0, 1))(d.x, d.y),
    "jacobians with aux": lambda d: [
        j(lambda a: (a * 2, a.sum()), has_aux=True)(d.x) for j in (d.func.jacrev, d.func.jacfwd)
    ],
    "jacrev of tree": lambda d: d.func.jacrev(lambda q: q["a"] * q["b"][0])(d.tree),
    "hessian": lambda d: d.func.hessian(scalar)(d.x),
    "hessian of two": lambda d: d.func.hessian(product, argnums=(0, 1))(d.x, d.y),
    "jacobian of jacobian": lambda d: [j(j(lambda x: d.rows @ x.exp()))(d.x) for j in (d.func.jacrev, d.func.jacfwd)],
    "vmap": lambda d: d.func.vmap(d.lib.dot)(d.rows, d.rows),
    "in_dims": lambda d: d.func.vmap(lambda a, b: a * b, in_dims=(1, None))(d.rows, d.two),
    "out_dims": lambda d: d.func.vmap(lambda a: (a * 2, a.sum()), in_dims=-1, out_dims=(-1, 0))(d.rows),
    "in_dims of a tree": lambda d: d.func.vmap(
        lambda q: {"s": q["a"].sum(), "t": (q["a"] * q["c"],)}, in_dims=({"a": 0, "c": None},)
    )({"a": d.rows, "c": d.x}),
    "keyword": lambda d: d.func.vmap(lambda a, b: a + b)(d.rows, b=d.rows),
    "vmap of grad": lambda d: d.func.vmap(d.func.grad(lambda w, x: (w * x).pow(2).sum()), in_dims=(None, 0))(
        d.x, d.rows
    ),
    "vmap of vmap": lambda d: d.func.vmap(d.func.vmap(lambda a, b: a * b, in_dims=(None, 0)), in_dims=(0, None))(
        d.x, d.y
    ),
    "grad of vmap": lambda d: d.func.grad(lambda x: d.func.vmap(lambda r: (r * x).sum().sin())(d.rows).sum())(d.x),
    "vmap of hessian": lambda d: d.func.vmap(d.func.hessian(scalar))(d.rows),
    "vmap of jvp": lambda d: d.func.vmap(lambda v: d.func.jvp(lambda x: d.rows @ x.sin(), (d.x,), (v,))[1])(d.rows),
    "vmap of vjp": lambda d: d.func.vmap(d.func.vjp(lambda x: x.sin(), d.x)[1])(d.rows),
    "empty batch": lambda d: d.func.vmap(lambda a: a * 2)(d.rows[:0]),
    "chunks": lambda d: d.func.vmap(scalar, chunk_size=1)(d.rows),
    "same numbers": lambda d: d.func.vmap(lambda a: a + d.lib.rand(3), randomness="same")(d.rows * 0).std(0) == 0,
    "other numbers": lambda d: d.func.vmap(lambda a: a + d.lib.rand(3), randomness="different")(d.rows * 0).std(0) > 0,
    "functional_call": lambda d: d.func.functional_call(d.model(), {"0.weight": d.x.new_zeros(4, 3)}, d.x).detach(),
    "samples": lambda d: (lambda _, params, loss: d.func.vmap(d.func.grad(loss), in_dims=(None, 0))(params, d.rows))(
        *d.state()
    ),
    "gradient of parameters": lambda d: (lambda _, params, loss: d.func.grad(loss)(params, d.rows))(*d.state()),
    "unknown names": lambda d: d.func.functional_call(d.model(), {"nonesuch": d.x}, (d.x,)).detach(),
    "laplacian": laplacians,
    "ensemble": ensemble,
}  # fmt: skip

REFUSED: dict[str, tuple[type[Exception], Callable[[Data], Any]]] = {
    "no scalar": (RuntimeError, lambda d: d.func.grad(lambda x: x)(d.x)),
    "no tensor": (RuntimeError, lambda d: d.func.grad(lambda x: 3.0)(d.x)),
    "position": (RuntimeError, lambda d: d.func.grad(scalar, argnums=2)(d.x)),
    "kind of position": (RuntimeError, lambda d: d.func.grad(scalar, argnums="a")(d.x)),
    "integers": (RuntimeError, lambda d: d.func.grad(lambda x: x.sum())(d.x.long())),
    "no aux": (RuntimeError, lambda d: d.func.grad(scalar, has_aux=True)(d.x)),
    "cotangents": (RuntimeError, lambda d: d.func.vjp(lambda x: (x, x), d.x)[1](d.x)),
    "shape of cotangents": (RuntimeError, lambda d: d.func.vjp(lambda x: x, d.x)[1](d.x[:2])),
    "primals": (RuntimeError, lambda d: d.func.jvp(scalar, d.x, d.x)),
    "shape of tangents": (RuntimeError, lambda d: d.func.jvp(scalar, (d.x,), (d.x[:2],))),
    "no tensors": (RuntimeError, lambda d: d.func.jacrev(lambda x: 3)(d.x)),
    "no batch": (ValueError, lambda d: d.func.vmap(scalar)(3)),
    "dimension": (ValueError, lambda d: d.func.vmap(scalar, in_dims=2)(d.x)),
    "no dimension": (ValueError, lambda d: d.func.vmap(scalar, in_dims=None)(d.x)),
    "sizes": (ValueError, lambda d: d.func.vmap(lambda a, b: a + b)(d.x, d.x[:2])),
    "structure": (ValueError, lambda d: d.func.vmap(lambda a, b: a, in_dims=(0,))(d.x, d.x)),
    "number returned": (ValueError, lambda d: d.func.vmap(lambda a: 3)(d.x)),
    "out dimension": (IndexError, lambda d: d.func.vmap(lambda a: a, out_dims=3)(d.x)),
    "random": (RuntimeError, lambda d: d.func.vmap(lambda a: a + d.lib.rand(1))(d.x)),
    "randomness": (RuntimeError, lambda d: d.func.vmap(scalar, randomness="no")),
    "strict": (RuntimeError, lambda d: d.func.functional_call(d.model(), {"0.bias": d.x}, (d.x,), strict=True)),
    "twice": (ValueError, lambda d: d.func.functional_call(d.model(), ({"a": d.x}, {"a": d.x}), (d.x,))),
    "no models": (RuntimeError, lambda d: d.func.stack_module_state([])),
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_as_in_pytorch(name):
    import torch
    from beside_torch import assert_same

    expected, found = CASES[name](Data(torch)), CASES[name](Data(fastnn))
    assert_same(_plain(found), _plain(expected), roundings=64, least=1.0)


def _plain(result: Any) -> Any:
    """Without the histories of tensors, which differ inside; whether there is one is compared."""
    if isinstance(result, dict):
        return {name: _plain(value) for name, value in result.items()}
    if isinstance(result, (tuple, list)):
        return [_plain(value) for value in result]
    return [result.detach(), result.requires_grad] if hasattr(result, "detach") else result


@pytest.mark.parametrize("name", REFUSED)
def test_refused(lib, name):
    kind, function = REFUSED[name]
    with pytest.raises(kind):
        function(Data(lib))


def test_nested_derivatives_without_pytorch():
    """Of the sine, in each way."""
    func, x = fastnn.func, fastnn.tensor([0.3, 0.7], dtype=fastnn.float64)
    expected = -x.sin()
    ways = [
        func.vmap(func.grad(func.grad(fastnn.sin)))(x),
        func.jacrev(lambda t: func.vmap(func.grad(fastnn.sin))(t))(x).diagonal(),
        func.jvp(lambda t: func.vmap(func.grad(fastnn.sin))(t), (x,), (fastnn.ones_like(x),))[1],
        func.hessian(lambda t: t.sin().sum())(x).diagonal(),
        func.vjp(func.grad(lambda t: t.sin().sum()), x)[1](fastnn.ones_like(x))[0],
    ]
    for found in ways:
        assert not found.requires_grad
        assert (found - expected).abs().max() <= 4 * fastnn.finfo(fastnn.float64).eps


def test_module_is_as_before_after_an_error(lib):
    d = Data(lib)
    model = d.model()
    before = list(model.parameters())
    with pytest.raises((RuntimeError, ValueError)):
        lib.func.functional_call(model, {"0.weight": d.x, "2.weight": d.x}, (d.x,))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))


def test_tied_weights_are_replaced_together(lib):
    d = Data(lib)
    model = lib.nn.Sequential(lib.nn.Linear(3, 3, bias=False), lib.nn.Linear(3, 3, bias=False)).double()
    model[1].weight = model[0].weight
    twice = lib.eye(3, dtype=lib.float64) * 2
    found = lib.func.functional_call(model, {"0.weight": twice}, (d.x,))
    assert found.tolist() == (d.x * 4).tolist()


def test_running_statistics_are_those_given(lib):
    norm = lib.nn.BatchNorm1d(2)
    tensors = {name: t.detach().clone() for name, t in norm.state_dict().items()}
    lib.func.functional_call(norm, tensors, (lib.tensor([[1.0, 2.0], [3.0, 6.0]]),))
    assert norm.running_mean.tolist() == [0.0, 0.0]
    assert tensors["running_mean"].tolist() == pytest.approx([0.2, 0.4])
    assert tensors["num_batches_tracked"].item() == 1


def test_batch_statistics_only(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3))
    assert lib.func.replace_all_batch_norm_modules_(model) is model
    assert list(model[1].buffers()) == []
    x = lib.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert model.eval()(x).tolist() == model.train()(x).tolist()


def test_old_path(lib):
    import importlib

    stateless = importlib.import_module(f"{lib.__name__}.nn.utils.stateless")
    layer = lib.nn.Linear(2, 1, bias=False)
    given = {"weight": lib.ones(1, 2)}
    call = stateless.functional_call
    if lib is not fastnn:
        call = lib.func.functional_call
    assert call(layer, given, lib.ones(2)).tolist() == [2.0]
    assert lib.vmap(lambda a: a * 2)(lib.ones(2)).tolist() == [2.0, 2.0]
