"""Rules of indices, and of gathering and scattering."""

from __future__ import annotations

from typing import Any

from fastnn._core.dtypes import bool_
from fastnn._functorch.batched import (
    Level,
    each,
    front,
    is_in,
    looped,
    refuse_dynamic,
    refuse_in_place,
    wrapped,
)
from fastnn._functorch.rules.table import Args, Options, _argument, _flat, _shifted, _with, aligned, rule
from fastnn._tensor.tensor import Tensor
from fastnn.ops.core import dimension


def _range(level: Level, ndim: int) -> Any:
    """The numbers of the elements, which broadcast with indices of ``ndim`` dimensions."""
    from fastnn.ops.creation import arange

    return arange(level.size).reshape(level.size, *(1,) * ndim)


def _index(x: Any, key: Any, level: Level) -> tuple[Any, tuple[Any, ...] | None, int, int, int]:
    """The steps of ``x[key]`` on the batch: a view, and then the key of tensors, if there are any.

    Returns: the view, the key or None, how many dimensions the indices have, where these belong, and how many
        dimensions are in front of them in the result of the key.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    for k in keys:
        if isinstance(k, Tensor) and k.dtype is bool_:
            refuse_dynamic("nonzero")
    first: list[Any] = []
    second: list[Any] = []
    count = sum(1 for k in keys if k is not None and k is not Ellipsis)
    filled = False
    for k in keys:
        if isinstance(k, (list, range)):
            from fastnn.ops.creation import tensor

            k = tensor(list(k))
        if k is Ellipsis:
            missing = x.ndim - count
            first += [slice(None)] * missing
            second += [slice(None)] * missing
            filled = True
        elif isinstance(k, Tensor):
            first.append(slice(None))
            second.append(k)
        elif k is None or isinstance(k, slice):
            first.append(k)
            second.append(slice(None))
        else:
            first.append(k)
    if count > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    _ = filled
    value = front(x, level)[(slice(None), *first)]
    places = [i for i, k in enumerate(second) if isinstance(k, Tensor)]
    if not places:
        return value, None, 0, 0, 0
    wide = max([second[i].ndim for i in places])
    separated = places[-1] - places[0] + 1 != len(places)
    indices: list[Any] = [aligned(k, level, wide) if isinstance(k, Tensor) else k for k in second]
    # With the numbers of the elements as the first index, all indices come first in the result.
    return value, (_range(level, wide), *indices), wide, 0 if separated else places[0], places[0]


@rule("__getitem__")
def _getitem(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, key = args
    value, tensors, wide, place, _ = _index(x, key, level)
    if tensors is None:
        return wrapped(value, level)
    found = value[tensors]
    # Where NumPy's rule for adjacent indices has put them already, they begin at the front as well.
    if len(tensors) > 1 and isinstance(tensors[1], Tensor):
        place = 0
    if place and wide:
        found = found.movedim(tuple(range(1, 1 + wide)), tuple(range(1 + place, 1 + place + wide)))
    elif place:
        pass
    return wrapped(found, level)


@rule("__setitem__")
def _setitem(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, key, new = args
    if not is_in(x, level):
        refuse_in_place("index_put_")
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, (Tensor, list)) for k in keys):
        if isinstance(key, Tensor) and key.dtype is bool_ and (not isinstance(new, Tensor) or not new.ndim):
            mask = key
            while mask.ndim < x.ndim:
                mask = mask.unsqueeze(-1)
            x.masked_fill_(mask, new)
            return None
        return looped(func, level, args, kwargs)
    part = x._value[(slice(None), *keys)]
    if isinstance(new, Tensor):
        while new.ndim > part.ndim - 1 and new.shape[0] == 1:
            new = new[0]
        part.copy_(aligned(new, level, part.ndim - 1))
    else:
        part.copy_(part.new_tensor(new))
    return None


@rule("index_select")
def _index_select(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, dim, index = (*args, *kwargs.values())
    if is_in(index, level):
        d = dimension(dim, x.ndim)
        return x[(*(slice(None),) * d, index if index.ndim else index.reshape(1))]
    return wrapped(func(x._value, _shifted(dim, x.ndim), index), level)


@rule("index_add", "index_copy", "index_add_", "index_copy_", "index_fill_", "index_reduce")
def _index_add(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    names = ("dim", "index", "value" if "fill" in func.__name__ else "source")
    args = (*args, *[kwargs[n] for n in names[len(args) - 1 :] if n in kwargs])
    kwargs = {k: v for k, v in kwargs.items() if k not in names}
    x, dim, index, source, *rest = args
    in_place = func.__name__.endswith("_")
    if is_in(index, level) or not isinstance(source, Tensor) or (in_place and not is_in(x, level)):
        return looped(func, level, args, kwargs)
    if not x.ndim or source.ndim != x.ndim:
        return looped(func, level, args, kwargs)
    value = front(x, level)
    found = func(value, _shifted(dim, x.ndim), index, front(source, level), *rest, **kwargs)
    return x if in_place else wrapped(found, level)


@rule("scatter", "scatter_", "scatter_add_", "scatter_reduce_")
def _scatter(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    in_place = func.__name__.endswith("_")
    if in_place and not is_in(x, level):
        refuse_in_place(func.__name__)
    if not x.ndim:
        return looped(func, level, args, kwargs)
    values = each((args, kwargs), lambda t: front(t, level))
    args, kwargs = values
    args, kwargs = _with(args, kwargs, 1, "dim", _shifted(_argument(args, kwargs, 1, "dim"), x.ndim))
    found = func(*args, **kwargs)
    return x if in_place else wrapped(found, level)


@rule("take_along_dim")
def _take_along_dim(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, index = args[0], _argument(args, kwargs, 1, "indices")
    dim = _argument(args, kwargs, 2, "dim")
    if dim is None:
        return wrapped(func(_flat(front(x, level)), _flat(front(index, level)), 1), level)
    return wrapped(func(front(x, level), front(index, level), _shifted(dim, x.ndim)), level)


@rule("take")
def _take(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return args[0].reshape(-1)[_argument(args, kwargs, 1, "index")]
