"""Rules of operations that change shapes, and of those that join tensors."""

from __future__ import annotations

import math
from typing import Any

from fastnn._core.errors import ShapeError
from fastnn._functorch.batched import (
    LINALG_RULES,
    BatchedTensor,
    Level,
    front,
    looped,
    refuse_dynamic,
    wrapped,
)
from fastnn._functorch.rules.derivatives import _linear_map
from fastnn._functorch.rules.table import Args, Options, _argument, _flat, _names, _shifted, aligned, plain, rule
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.views import linear_map


def _sizes(args: Args, kwargs: Options, *names: str) -> list[Any]:
    """The sizes or dimensions after the tensor, given one by one or as one sequence."""
    for name in names:
        if name in kwargs:
            return list(kwargs[name])
    rest = args[1:]
    return list(rest[0]) if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else list(rest)


@rule("reshape", "view")
def _reshape(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    if func.__module__ == "fastnn._tensor.views":
        return _linear_map(linear_map, level, (args[1], x, *args[2:]), {})
    sizes = _sizes(args, kwargs, "shape", "size")
    if len(sizes) == 1 and not isinstance(sizes[0], int) and not hasattr(sizes[0], "__index__"):
        return wrapped(func(x._value, sizes[0]), level)
    if -1 in sizes and not level.size:
        sizes[sizes.index(-1)] = math.prod(x.shape) // max(-math.prod(sizes), 1)
    found = math.prod(x.shape)
    if -1 not in sizes and math.prod(sizes) != found:
        raise ShapeError(f"shape '{sizes}' is invalid for input of size {found}")
    return wrapped(func(x._value, level.size, *sizes), level)


@rule("view_as", "reshape_as", "expand_as")
def _as_other(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    name = func.__name__.removesuffix("_as")
    return getattr(args[0], name)(*_argument(args, kwargs, 1, "other").shape)


@rule("ravel")
def _ravel(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return wrapped(_flat(args[0]._value), level)


@rule("flatten")
def _flatten(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    first, last = _argument(args, kwargs, 1, "start_dim", 0), _argument(args, kwargs, 2, "end_dim", -1)
    if not x.ndim:
        return wrapped(x._value.unsqueeze(1), level)
    return wrapped(func(x._value, _shifted(first, x.ndim), _shifted(last, x.ndim)), level)


@rule("unflatten")
def _unflatten(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    dim = _shifted(_argument(args, kwargs, 1, "dim"), x.ndim)
    return wrapped(func(x._value, dim, _argument(args, kwargs, 2, "sizes")), level)


@rule("squeeze")
def _squeeze(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    dim = _argument(args, kwargs, 1, "dim")
    if dim is None:
        dim = tuple([d for d, n in enumerate(x.shape) if n == 1])
    if not x.ndim:
        return x
    return wrapped(func(x._value, _shifted(dim, x.ndim)), level)


@rule("unsqueeze")
def _unsqueeze(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    return wrapped(func(x._value, _shifted(_argument(args, kwargs, 1, "dim"), x.ndim + 1)), level)


@rule("permute")
def _permute(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    dims = _sizes(args, kwargs, "dims")
    if len(dims) != x.ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {x.ndim} is not equal to len(dims) = {len(dims)}"
        )
    return wrapped(func(x._value, 0, *_shifted(dims, x.ndim)), level)


@rule("transpose", "swapaxes", "swapdims")
def _transpose(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, a, b = (*args, *kwargs.values())
    if not x.ndim:
        return x
    return wrapped(func(x._value, _shifted(a, x.ndim), _shifted(b, x.ndim)), level)


@rule("t", "adjoint")
def _t(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    if func.__name__ == "adjoint":
        return x.transpose(-2, -1)
    if x.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.ndim}D")
    return x.transpose(0, 1) if x.ndim == 2 else x


@rule("movedim", "moveaxis")
def _movedim(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, a, b = (*args, *kwargs.values())
    return wrapped(func(x._value, _shifted(a, x.ndim), _shifted(b, x.ndim)), level)


@rule("expand", "broadcast_to")
def _expand(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    sizes = _sizes(args, kwargs, "size")
    if len(sizes) < x.ndim:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({x.ndim})"
        )
    return wrapped(aligned(x, level, len(sizes)).expand(level.size, *sizes), level)


@rule("repeat", "tile")
def _repeat(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    times = _sizes(args, kwargs, "repeats", "dims")
    if func.__name__ == "tile":
        times = [1] * (x.ndim - len(times)) + times
    return wrapped(aligned(x, level, len(times)).repeat(1, *times), level)


@rule("repeat_interleave")
def _repeat_interleave(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, times = args[0], _argument(args, kwargs, 1, "repeats")
    if isinstance(times, BatchedTensor):
        refuse_dynamic("repeat_interleave")
    dim = _argument(args, kwargs, 2, "dim")
    value = _flat(x._value) if dim is None else x._value
    return wrapped(func(value, times, 1 if dim is None else _shifted(dim, x.ndim)), level)


@rule("diagonal", table=LINALG_RULES)
@rule("diagonal", "diag_embed")
def _diagonal(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    made = func.__name__ == "diag_embed"
    pair = (-2, -1) if made or func.__module__ == "fastnn.linalg" else (0, 1)
    offset = _argument(args, kwargs, 1, "offset", 0)
    first, last = _argument(args, kwargs, 2, "dim1", pair[0]), _argument(args, kwargs, 3, "dim2", pair[1])
    ndim = x.ndim + made
    return wrapped(
        func(x._value, offset=offset, dim1=_shifted(first, ndim), dim2=_shifted(last, ndim)), level
    )  # fmt: skip


@rule("diag")
def _diag(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, k = args[0], _argument(args, kwargs, 1, "diagonal", 0)
    return x.diagonal(k).clone() if x.ndim == 2 else x.diag_embed(k)


@rule("diagflat")
def _diagflat(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return args[0].reshape(-1).diag_embed(_argument(args, kwargs, 1, "offset", 0))


@rule("trace")
def _trace(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return args[0].diagonal().sum(-1)


_names("tril triu", plain)


@rule("pad")
def _pad(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if _argument(args, kwargs, 2, "mode", "constant") != "constant":
        return looped(func, level, args, kwargs)
    return plain(func, level, args, kwargs)


@rule("cat", "concat", "concatenate", "stack")
def _cat(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    tensors = _argument(args, kwargs, 0, "tensors")
    args = (tensors, *args[1:])
    dim = _argument(args, kwargs, 1, "dim", 0)
    if func.__name__ != "stack" and any(t.ndim > 1 for t in tensors):
        # As PyTorch's, it skips empty vectors.
        tensors = [t for t in tensors if t.shape != (0,)]
    ndim = tensors[0].ndim + (func.__name__ == "stack")
    if not ndim:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    return wrapped(func([front(t, level) for t in tensors], _shifted(dim, ndim)), level)


def _raised(tensors: Any, least: int) -> list[Any]:
    from fastnn.ops import joining

    return list(getattr(joining, f"atleast_{least}d")(*tensors)) if len(tensors) > 1 else tensors


@rule("atleast_1d", "atleast_2d", "atleast_3d")
def _atleast(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    given = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    found = []
    for t in given:
        if func.__name__ == "atleast_1d":
            made = t if t.ndim else t.reshape(1)
        elif func.__name__ == "atleast_2d":
            made = t.reshape(1, 1) if not t.ndim else t.unsqueeze(0) if t.ndim == 1 else t
        else:
            made = t.reshape(1, 1, 1) if not t.ndim else t.reshape(1, -1, 1) if t.ndim == 1 else t
            made = made.unsqueeze(-1) if made.ndim == 2 else made
        found.append(made)
    return found[0] if len(args) == 1 and isinstance(args[0], Tensor) else tuple(found)


@rule("hstack", "vstack", "dstack", "row_stack", "column_stack")
def _stacks(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.ops.joining import cat

    tensors, name = list(_argument(args, kwargs, 0, "tensors")), func.__name__
    if name == "column_stack":
        return cat([t.reshape(-1, 1) if t.ndim < 2 else t for t in tensors], 1)
    if name == "hstack":
        tensors = [t if t.ndim else t.reshape(1) for t in tensors]
        return cat(tensors, 0 if tensors[0].ndim == 1 else 1)
    if name == "dstack":
        return cat([t.reshape(1, -1, 1) if t.ndim < 2 else t.unsqueeze(-1) if t.ndim == 2 else t for t in tensors], 2)
    return cat([t.reshape(1, -1) if t.ndim < 2 else t for t in tensors], 0)


@rule("hsplit", "vsplit", "dsplit")
def _splits(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, parts = (*args, *kwargs.values())
    dim = {"hsplit": 0 if x.ndim == 1 else 1, "vsplit": 0, "dsplit": 2}[func.__name__]
    return x.tensor_split(parts, dim) if not isinstance(parts, int) else x.chunk(parts, dim)


@rule("broadcast_tensors")
def _broadcast_tensors(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    tensors = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    from fastnn.ops.shapes import broadcast_shapes

    shape = broadcast_shapes(*[t.shape for t in tensors])
    return [t.expand(*shape) for t in tensors]


@rule("meshgrid", "cartesian_prod", "block_diag")
def _several(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return looped(func, level, args, kwargs)
