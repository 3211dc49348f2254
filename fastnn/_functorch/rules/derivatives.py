"""Rules of autograd's functions, and of what recorded backward passes are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn._autograd.gradients import _as_tuple
from fastnn._functorch.batched import (
    BatchedTensor,
    Level,
    by_loop,
    front,
    is_in,
    looped,
    wrapped,
)
from fastnn._functorch.rules.matrices import _matmul
from fastnn._functorch.rules.table import Args, Options, _names, _outside, plain, rule
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.views import linear_map


class VmapInfo(NamedTuple):
    """The batch, as the ``vmap`` of a ``torch.autograd.Function`` gets it."""

    batch_size: int
    randomness: str


@rule("apply")
def _apply(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """``torch.autograd.Function``: its own ``vmap``, or a call for each element if it has ``generate_vmap_rule``."""
    kind, *given = args
    if getattr(kind, "generate_vmap_rule", False):
        return looped(func, level, args, kwargs)
    own = getattr(kind, "vmap", None)
    if own is None:
        raise RuntimeError(
            f"You tried to vmap over {kind.__name__}, but it does not have vmap support. Please override and implement "
            "the vmap staticmethod or set generate_vmap_rule=True. For more details, please see "
            "https://pytorch.org/docs/main/notes/extending.func.html"
        )
    dims = tuple([0 if is_in(a, level) else None for a in given])
    values = [a._value if is_in(a, level) else a for a in given]
    found, out_dims = _outside(level, own, VmapInfo(level.size, level.randomness), dims, *values, **kwargs)
    if isinstance(found, Tensor):
        return _moved(found, out_dims, level)
    return tuple([_moved(t, d, level) for t, d in zip(found, out_dims, strict=True)])


def _moved(t: Any, dim: Any, level: Level) -> Any:
    return t if dim is None else wrapped(t if dim == 0 else t.movedim(dim, 0), level)


@rule("grad")
def _grad(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """``torch.autograd.grad`` of elements: of the batch, where these are the leaves."""
    outputs, inputs, *rest = [_as_tuple(a) if i < 2 else a for i, a in enumerate(args)]
    if not any(isinstance(t, BatchedTensor) for t in (*outputs, *inputs)):
        # A pass with a batch of gradients: each operation has a rule.
        return func.__wrapped__(*args, **kwargs)
    if not all(is_in(t, level) for t in inputs):
        raise RuntimeError("vmap: torch.autograd.grad() of a batch by a tensor that is none: use torch.func.grad()")
    seeds = (rest.pop(0) if rest else None) or kwargs.get("grad_outputs")
    given = [None] * len(outputs) if seeds is None else _as_tuple(seeds)
    ones = [front(o, level).new_ones(front(o, level).shape) for o in outputs]
    kwargs = {**kwargs, "grad_outputs": [o if g is None else front(g, level) for o, g in zip(ones, given, strict=True)]}
    names = ("retain_graph", "create_graph", "only_inputs", "allow_unused", "is_grads_batched", "materialize_grads")
    kwargs |= dict(zip(names, rest, strict=False))
    found = func([front(o, level) for o in outputs], [t._value for t in inputs], **kwargs)
    return tuple([None if g is None else wrapped(g, level) for g in found])


@rule("register_hook")
def _register_hook(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, hook = args

    def of_batch(grad: Any) -> Any:
        found = hook(wrapped(grad, level))
        return None if found is None else front(found, level)

    return x._value.register_hook(of_batch)


def _of_each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A map of arrays, of each element of an array."""
    return lambda batch: np.stack([change(a) for a in batch])


@rule("linear_map")
def _linear_map(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    name, x, forward, backward = args[:4]
    return wrapped(func(name, x._value, _of_each(forward), _of_each(backward)), level)


@rule("step_map")
def _step_map(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, forward, backward, *_ = args
    if not is_in(x, level):
        return by_loop(func, level, args, kwargs)
    return wrapped(linear_map("Step", x._value, _of_each(forward), _of_each(backward)), level)


@rule("_mm")
def _mm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b, *turns = args
    turn_a, turn_b = (*turns, False, False)[:2]
    return _matmul(func, level, a.mT if turn_a else a, b.mT if turn_b else b)


# Derivatives of activations, by kernels that take arrays of one shape.
_names("slope_of _curve elementwise_slope_of _of_result", plain)


@rule("_bmm", "_dot")
def _inner_product(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return _matmul(func, level, *args)
