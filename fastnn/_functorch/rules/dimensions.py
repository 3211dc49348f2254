"""Rules of reductions and of other functions along dimensions."""

from __future__ import annotations

import functools
from typing import Any

from fastnn._functorch.batched import (
    LINALG_RULES,
    Level,
    Rule,
    all_wrapped,
    each,
    front,
    looped,
    wrapped,
)
from fastnn._functorch.rules.table import (
    Args,
    Options,
    _argument,
    _flat,
    _names,
    _shifted,
    _with,
    aligned,
    pointwise,
    rule,
)
from fastnn._tensor.tensor import Tensor
from fastnn.ops.core import dimension


def reduction(func: Any, level: Level, args: Args, kwargs: Options, position: int = 1, kept: int = 2) -> Any:
    """A function over some dimensions, or over all of them; ``position`` and ``kept``: of dim and keepdim."""
    value = front(args[0], level)
    ndim = value.ndim - 1
    dim = _argument(args, kwargs, position, "dim")
    keepdim = bool(_argument(args, kwargs, kept, "keepdim", False))
    args = (value, *args[1:])
    if dim is None or dim == () or dim == []:
        args, kwargs = _with((_flat(value), *args[1:]), kwargs, position, "dim", 1)
        found = func(*args, **kwargs)
        if func.__name__ in _VALUE_ONLY:
            found = found[0]
        return each(found, lambda t: wrapped(t.reshape(level.size, *(1,) * ndim) if keepdim else t, level))
    if not ndim:
        _ = _shifted(dim, 0)
        args, kwargs = _with((value.unsqueeze(1), *args[1:]), kwargs, position, "dim", 1)
        found = func(*args, **kwargs)
        return each(found, lambda t: wrapped(t.squeeze(1) if keepdim else t, level))
    args, kwargs = _with(args, kwargs, position, "dim", _shifted(dim, ndim))
    return all_wrapped(func(*args, **kwargs), level)


# Without dim these return the values only.
_VALUE_ONLY = {"max", "min", "median", "nanmedian"}
_names(
    "sum mean nansum nanmean prod amax amin aminmax all any logsumexp argmax argmin median nanmedian count_nonzero",
    reduction,
)
_names("quantile nanquantile", functools.partial(reduction, position=2, kept=3))


@rule("norm")
def _norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if _argument(args, kwargs, 1, "p", "fro") == "nuc":
        return looped(func, level, args, kwargs)
    return reduction(func, level, args, kwargs, 2, 3)


@rule("vector_norm")
def _vector_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return reduction(func, level, args, kwargs, 2, 3)


@rule("norm", table=LINALG_RULES)
def _linalg_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if "A" in kwargs:
        args, kwargs = (kwargs["A"], *args), {k: v for k, v in kwargs.items() if k != "A"}
    order, dim = _argument(args, kwargs, 1, "ord"), _argument(args, kwargs, 2, "dim")
    if dim is None and order is None:
        args, kwargs = _with(args, kwargs, 1, "ord", 2)
    elif dim is None:
        args, kwargs = _with(args, kwargs, 2, "dim", tuple(range(args[0].ndim)))
        dim = _argument(args, kwargs, 2, "dim")
        if len(dim) == 1:
            args, kwargs = _with(args, kwargs, 2, "dim", dim[0])
    return reduction(func, level, args, kwargs, 2, 3)


@rule("var", "std", "var_mean", "std_mean")
def _spread(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if len(args) > 1 and isinstance(args[1], bool):
        args, kwargs = (args[0], *args[2:]), {**kwargs, "unbiased": args[1]}
    return reduction(func, level, args, kwargs, 1, 3)


@rule("max", "min")
def _extreme(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    other = _argument(args, kwargs, 1, "other")
    if isinstance(other, Tensor):
        return pointwise(func, level, (args[0], other), {})
    return reduction(func, level, args, kwargs)


def along(position: int, default: Any = None, only_first: bool = False) -> Rule:
    """The rule of a function along one dimension, or some, which it keeps."""

    def apply(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
        x = args[0]
        if any(isinstance(a, Tensor) for a in (*args[1:], *kwargs.values())):
            args = tuple([front(a, level) if isinstance(a, Tensor) else a for a in args])
            kwargs = {k: front(v, level) if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        else:
            args = (x._value, *args[1:])
        ndim = x.ndim
        dim = _argument(args, kwargs, position, "dim", default)
        if not ndim:
            _ = _shifted(dim, 0)
            args, kwargs = _with(tuple([_widened(a) for a in args]), kwargs, position, "dim", 1)
            kwargs = {k: _widened(v) for k, v in kwargs.items()}
            found = func(*args, **kwargs)
            return each(found, lambda t: wrapped(t.squeeze(1) if t.ndim > 1 else t, level))
        args, kwargs = _with(args, kwargs, position, "dim", _shifted(dim, ndim))
        return all_wrapped(func(*args, **kwargs), level)

    return apply


def _widened(value: Any) -> Any:
    return value.unsqueeze(1) if isinstance(value, Tensor) else value


for _position, _default, _text in (
    (1, None, "cumsum cumprod cummax cummin logcumsumexp"),
    (1, -1, "sort argsort mode glu msort"),
    (2, -1, "topk kthvalue"),
    (1, 0, "unbind"),
    (2, 0, "chunk split split_with_sizes tensor_split unsafe_chunk unsafe_split"),
    (2, 1, "normalize cosine_similarity"),
    (2, -1, "vecdot"),
    (1, None, "narrow select narrow_copy gather scatter_add scatter_reduce index_fill unfold"),
):
    _names(_text, along(_position, _default))
_names("vecdot cross", along(2, -1), LINALG_RULES)


@rule("softmax", "log_softmax", "softmin")
def _softmax(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    dim = _argument(args, kwargs, 1, "dim")
    if dim is None:
        # The old default of PyTorch.
        dim = 0 if args[0].ndim in (0, 1, 3) else 1
        args, kwargs = _with(args, kwargs, 1, "dim", dim)
    return along(1)(func, level, args, kwargs)


@rule("msort")
def _msort(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return args[0].sort(0)[0]


@rule("cross")
def _cross(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = args[0], _argument(args, kwargs, 1, "other")
    dim = _argument(args, kwargs, 2, "dim")
    if dim is None:
        dim = next(i for i, n in enumerate(a.shape) if n == 3)
    ndim = max(a.ndim, b.ndim)
    return wrapped(func(aligned(a, level, ndim), aligned(b, level, ndim), _shifted(dim, ndim)), level)


@rule("flip")
def _flip(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, *dims = args
    dims = kwargs.get("dims", dims)
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return wrapped(func(x._value, _shifted(tuple(given), x.ndim)), level)


@rule("fliplr", "flipud")
def _flip_sides(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return args[0].flip(0 if func.__name__ == "flipud" else 1)


@rule("roll")
def _roll(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, shifts = args[0], _argument(args, kwargs, 1, "shifts")
    dims = _argument(args, kwargs, 2, "dims")
    if dims is None or dims == ():
        return wrapped(func(_flat(x._value), shifts, 1).reshape(x._value.shape), level)
    return wrapped(func(x._value, shifts, _shifted(dims, x.ndim)), level)


@rule("rot90")
def _rot90(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    dims = _argument(args, kwargs, 2, "dims", (0, 1))
    return wrapped(func(x._value, _argument(args, kwargs, 1, "k", 1), [dimension(d, x.ndim) + 1 for d in dims]), level)


@rule("diff")
def _diff(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if any(isinstance(a, Tensor) for a in (*args[1:], *kwargs.values())):
        return looped(func, level, args, kwargs)
    return along(2, -1)(func, level, args, kwargs)
