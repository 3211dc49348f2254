"""How rules are registered, and what most of them are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._functorch.batched import (
    RULES,
    Level,
    Rule,
    all_wrapped,
    each,
    front,
    is_in,
    refuse_in_place,
    wrapped,
)
from fastnn._tensor.tensor import Tensor
from fastnn.ops.core import dimension, dimensions

Args = tuple[Any, ...]
Options = dict[str, Any]
# By kind of dtype: which one wins between a number and a tensor.
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}


def _names(text: str, rule: Rule, table: dict[str, Rule] = RULES) -> None:
    for name in text.split():
        table[name] = rule


def rule(*names: str, table: dict[str, Rule] = RULES) -> Callable[[Rule], Rule]:
    """A decorator: the rule of these operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            table[name] = function
        return function

    return register


def _kind(t: Any) -> str:
    return np.dtype(t.dtype.numpy).kind


def _argument(args: Args, kwargs: Options, position: int, name: str, default: Any = None) -> Any:
    """An argument that is given by position or by name."""
    return args[position] if len(args) > position else kwargs.get(name, default)


def _with(args: Args, kwargs: Options, position: int, name: str, value: Any) -> tuple[Args, Options]:
    """The arguments with another value of one of them."""
    if len(args) > position:
        return (*args[:position], value, *args[position + 1 :]), kwargs
    return args, {**kwargs, name: value}


def aligned(t: Any, level: Level, ndim: int) -> Any:
    """The value of a tensor, in a shape that broadcasts with others whose elements have ``ndim`` dimensions."""
    if not is_in(t, level):
        return t
    value = t._value
    missing = ndim - (value.ndim - 1)
    return value if missing <= 0 else value.reshape(value.shape[0], *(1,) * missing, *value.shape[1:])


def _promoted(t: Any, level: Level, tensors: list[Any]) -> Any:
    """A batch of numbers, which has a dimension here, counts as numbers for the dtype of the result."""
    others = [o for o in tensors if o.ndim and o.dtype != t.dtype]
    if t.ndim or not is_in(t, level) or not others:
        return t
    rank, found = _RANK[_kind(t)], others[0]
    if rank == 0 or _RANK[_kind(found)] < rank:
        return t
    return wrapped(t._value.to(found.dtype), level)


def _all_aligned(args: Args, kwargs: Options, level: Level) -> tuple[Args, Options]:
    tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
    ndim = max([t.ndim for t in tensors])
    if len({t.dtype for t in tensors}) > 1:
        def change(t: Any) -> Any:
            return aligned(_promoted(t, level, tensors), level, ndim) if isinstance(t, Tensor) else t
    else:
        def change(t: Any) -> Any:
            return aligned(t, level, ndim) if isinstance(t, Tensor) else t
    return tuple([change(a) for a in args]), {k: change(v) for k, v in kwargs.items()}


def pointwise(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A function of corresponding elements, with broadcasting."""
    if len(args) == 1 and not kwargs:
        return wrapped(func(args[0]._value), level)
    values, options = _all_aligned(args, kwargs, level)
    return wrapped(func(*values, **options), level)


def pointwise_(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A pointwise function in the memory of its first argument."""
    if not is_in(args[0], level):
        refuse_in_place(func.__name__)
    values, options = _all_aligned(args, kwargs, level)
    func(*values, **options)
    return args[0]


def _shifted(dim: Any, ndim: int) -> Any:
    """Dimensions of an element, as those of the batch."""
    if isinstance(dim, (tuple, list)):
        return tuple([d + 1 for d in dimensions(dim, ndim)])
    return dimension(dim, ndim) + 1


def _flat(value: Any) -> Any:
    return value.flatten(1) if value.ndim > 1 else value.unsqueeze(1)


def plain(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A function that takes batches itself: of the last dimensions of its tensors."""
    args, kwargs = each((args, kwargs), lambda t: front(t, level))
    return all_wrapped(func(*args, **kwargs), level)


def _outside(level: Level, func: Any, *args: Any, **kwargs: Any) -> Any:
    from fastnn._functorch.batched import outside_of

    with outside_of(level):
        return func(*args, **kwargs)
