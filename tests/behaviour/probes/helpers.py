"""Functions and classes that expressions may name, for both libraries."""

from __future__ import annotations

import collections
import contextlib
import copy
import functools
import io
import math
import pickle
import types
from collections.abc import Callable
from typing import Any

import numpy as np


@functools.cache
def helpers(lib: Any) -> dict[str, Any]:
    """The names available to the expressions of one library, in addition to the inputs."""
    nn, optim = lib.nn, lib.optim

    def weights(out: Any) -> Any:
        """Distinct weights for each number, to detect a gradient in the wrong place."""
        return lib.from_numpy(np.linspace(0.5, 1.5, out.numel()).reshape(tuple(out.shape))).to(out.dtype)

    def tensors(value: Any) -> list[Any]:
        """The tensors in a value that can have gradients."""
        found = [value] if isinstance(value, lib.Tensor) else [t for t in value if isinstance(t, lib.Tensor)]
        return [t for t in found if t.is_floating_point()]

    def total(value: Any) -> Any:
        parts = [(t * weights(t)).sum() for t in tensors(value)]
        return sum(parts[1:], parts[0])

    def leaves(inputs: tuple[Any, ...]) -> list[Any]:
        return [t.requires_grad_() if isinstance(t, lib.Tensor) and t.is_floating_point() else t for t in inputs]

    def gradient(function: Callable[..., Any], *inputs: Any) -> Any:
        """The result of a function, and the gradients of a weighted sum of it."""
        inputs = tuple(leaves(inputs))
        out = function(*inputs)
        total(out).backward()
        return out, [t.grad for t in inputs if isinstance(t, lib.Tensor) and t.requires_grad]

    def second(function: Callable[..., Any], *inputs: Any) -> Any:
        """The gradients of a weighted sum of the gradients."""
        inputs = tuple(leaves(inputs))
        wanted = [t for t in inputs if isinstance(t, lib.Tensor) and t.requires_grad]
        first = lib.autograd.grad(total(function(*inputs)), wanted, create_graph=True)
        return lib.autograd.grad(total(first), wanted, allow_unused=True)

    def out_changed(function: Callable[..., Any], x: Any) -> Any:
        """The gradient after the result was changed in place, or the error."""
        x.requires_grad_()
        out = function(x * 1)
        out.mul_(2)
        total(out).backward()
        return x.grad

    def in_changed(function: Callable[..., Any], x: Any) -> Any:
        """The gradient after the operand was changed in place, or the error."""
        x.requires_grad_()
        operand = x * 1
        out = function(operand)
        operand.add_(1)
        total(out).backward()
        return x.grad

    def leaf(x: Any) -> Any:
        return x.requires_grad_()

    def call(module: Any, *inputs: Any) -> Any:
        """The result of a module; one of two operands gets the same twice."""
        return module(*inputs, *inputs) if isinstance(module, nn.Bilinear) else module(*inputs)

    def generator() -> Any:
        """Yields whether gradients are recorded, and what is sent."""
        sent = yield lib.is_grad_enabled()
        while sent is not None:
            sent = yield sent

    def then(x: Any, *functions: Callable[..., Any]) -> Any:
        """An object after these functions were called with it in turn."""
        for function in functions:
            function(x)
        return x

    def setting(x: Any, index: Any, value: Any) -> Any:
        x[index] = value
        return x

    def filled(module: Any, seed: int = 1) -> Any:
        """A module with the same parameters in both libraries."""
        rng = np.random.RandomState(seed)
        with lib.no_grad():
            for p in module.parameters():
                p.copy_(lib.from_numpy(np.round(rng.standard_normal(tuple(p.shape)) / 2, 3)).to(p.dtype))
        return module

    def ran(module: Any, *inputs: Any) -> Any:
        """The result of a module, the gradients of its inputs and parameters, and its buffers."""
        inputs = tuple(leaves(inputs))
        out = module(*inputs)
        total(out).backward()
        return (
            out,
            [t.grad for t in inputs if isinstance(t, lib.Tensor) and t.requires_grad],
            [p.grad for p in module.parameters()],
            list(module.buffers()),
        )

    def network(seed: int = 1) -> Any:
        """Two layers and a normalization between them."""
        return filled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), seed)

    def number(t: Any) -> float:
        return float(t.detach().double().sum())

    def steps(kind: str, count: int = 3, model: Any = None, **options: Any) -> Any:
        """The parameters after some steps of an optimizer on a small network."""
        model = filled(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), 3) if model is None else model
        optimizer = getattr(optim, kind)(model.parameters(), **options)
        x = lib.from_numpy(np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32))
        if next(model.parameters()).dtype is lib.float64:
            x = x.double()

        def closure() -> Any:
            optimizer.zero_grad()
            loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
            loss.backward()
            return loss

        losses = [optimizer.step(closure) for _ in range(count)]
        return [p.detach() for p in model.parameters()], [float(loss.detach()) for loss in losses]

    def optimizer_of(kind: str = "SGD", lr: float = 0.5, **options: Any) -> Any:
        return getattr(optim, kind)([nn.Parameter(lib.ones(2)), nn.Parameter(lib.zeros(3))], lr=lr, **options)

    def rates(build: Callable[[Any], Any], count: int = 12, **options: Any) -> Any:
        """The learning rates of a schedule."""
        optimizer = optimizer_of(**options)
        scheduler = build(optimizer)
        found = []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found, scheduler.get_last_lr()

    def resumed(build: Callable[[Any], Any], before: int = 4, after: int = 8) -> Any:
        """The learning rates after a schedule and its optimizer were saved and loaded."""
        optimizer = optimizer_of()
        scheduler = build(optimizer)
        for _ in range(before):
            optimizer.step()
            scheduler.step()
        other = optimizer_of()
        again = build(other)
        other.load_state_dict(optimizer.state_dict())
        again.load_state_dict(scheduler.state_dict())
        found = []
        for _ in range(after):
            found.append(other.param_groups[0]["lr"])
            other.step()
            again.step()
        return found

    def saved(value: Any, **options: Any) -> Any:
        """A value after it was saved and loaded."""
        file = io.BytesIO()
        lib.save(value, file)
        file.seek(0)
        return lib.load(file, **options)

    def pickled(value: Any) -> Any:
        return pickle.loads(pickle.dumps(value))

    def seen(function: Callable[[Callable[..., Any]], Any]) -> Any:
        """The result of a function, and the calls that it made to its argument."""
        calls: list[Any] = []
        return function(lambda *args: calls.append(len(calls) if not args else args[0])), calls

    def inside(context: Any, function: Callable[[], Any]) -> Any:
        with context:
            return function()

    class Squares(lib.utils.data.Dataset):
        """The squares of the first numbers."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, i: int) -> Any:
            if not -self.count <= i < self.count:
                raise IndexError(i)
            return lib.tensor(float(i * i)), i

    class Stream(lib.utils.data.IterableDataset):
        """The first numbers, in order."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __iter__(self) -> Any:
            return iter(range(self.count))

    class Cube(lib.autograd.Function):
        """The third power."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * 3 * x**2

    return {
        "torch": lib, "nn": nn, "F": nn.functional, "optim": optim, "data": lib.utils.data, "np": np, "math": math,
        "copy": copy, "io": io, "contextlib": contextlib, "OrderedDict": collections.OrderedDict, "inf": math.inf,
        "nan": math.nan, "sched": optim.lr_scheduler, "dist": _Lazy(lib, "distributions"),
        "SimpleNamespace": types.SimpleNamespace, "functools": functools,
        **{
            f.__name__: f
            for f in (
                gradient, second, out_changed, in_changed, leaf, call, generator, then, setting, filled, ran, network, number, steps,
                optimizer_of, rates, resumed, saved, pickled, seen, inside, Squares, Stream, Cube,
            )
        },
    }  # fmt: skip


class _Lazy:
    """A module of the library, imported when it is first used."""

    def __init__(self, lib: Any, name: str) -> None:
        self._lib, self._name = lib, name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(self._lib, self._name), name)
