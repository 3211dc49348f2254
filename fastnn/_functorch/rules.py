"""The rules of ``vmap``: what each operation does with a batch, by names of operations.

A rule gets the operation, the level of the batch, and the arguments. It calls operations on the values of the batch,
whose dimension is in front, and returns elements of the batch. An operation without a rule is called in a loop.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn._autograd.gradients import _as_tuple
from fastnn._core.dtypes import bool_
from fastnn._core.errors import ShapeError
from fastnn._functorch.batched import (
    LINALG_RULES,
    RANDOM,
    RULES,
    BatchedTensor,
    Level,
    Rule,
    all_wrapped,
    by_loop,
    each,
    front,
    is_in,
    looped,
    refuse_dynamic,
    refuse_in_place,
    refuse_random,
    wrapped,
)
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.views import linear_map
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


# -- Elementwise --------------------------------------------------------------------------------------


def aligned(t: Any, level: Level, ndim: int) -> Any:
    """The value of a tensor, which broadcasts with others of which an element has ``ndim`` dimensions."""
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


def activation(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A pointwise function that may write into its argument."""
    found = pointwise(func, level, args, kwargs)
    return args[0] if found._value is args[0]._value else found


_POINTWISE = """
abs absolute acos acosh add addcdiv addcmul arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2
atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max
clamp_min clip copysign cos cosh deg2rad digamma div divide eq erf erfc erfinv exp exp2 expm1 fill fix float_power floor
floor_divide fmod frac gcd ge greater greater_equal gt heaviside hypot i0 lcm ldexp le lerp less less_equal lgamma log
log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill mul multiply mvlgamma nan_to_num ne
neg negative nextafter not_equal pow rad2deg reciprocal relu remainder round rsqrt sgn sigmoid sign sin sinc sinh sqrt
square sub subtract tan tanh true_divide trunc xlogy
"""
_names(_POINTWISE, pointwise)
_names(" ".join([f"{name}_" for name in _POINTWISE.split()]), pointwise_)
_names("copy_ zero_", pointwise_)
_names(
    """clone contiguous detach to float double half bfloat16 int long short byte char bool type type_as conj positive
    resolve_conj cpu fmax fmin maximum minimum isclose isfinite isinf isnan isneginf isposinf isreal logaddexp
    logaddexp2 rsub signbit where zeros_like ones_like full_like empty_like pin_memory __rsub__ __rtruediv__ __rdiv__
    __rpow__ __floordiv__ __rfloordiv__ __mod__ __rmod__ __eq__ __ne__ __and__ __rand__ __or__ __ror__ __xor__ __rxor__
    __lshift__ __rshift__ __invert__ __pos__ __div__ bessel_j0 bessel_j1 entr erfcx expit gammaln i0e i1 i1e log_ndtr
    ndtr ndtri psi xlog1py polygamma real imag view_as_real is_same""",
    pointwise,
)
_names("__ifloordiv__ __imod__ __ipow__ __iand__ __ior__ __ixor__", pointwise_)
_names(
    """_activation celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu
    sigmoid silu softplus softshrink softsign tanh tanhshrink threshold""",
    activation,
)
_names("celu_ elu_ hardtanh_ leaky_relu_ selu_ threshold_", pointwise_)


@rule("where")
def _where(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if len(args) + len(kwargs) < 2:
        refuse_dynamic("nonzero")
    return pointwise(func, level, args, kwargs)


def _detach(t: Any) -> Any:
    return t.detach()


def logical(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """What the shape and the dtype of one element say."""
    x = each(args, lambda t: t._value.select(0, 0) if is_in(t, level) and level.size else t)
    if not level.size:
        x = each(args, lambda t: t._value.new_zeros(t.shape) if is_in(t, level) else t)
    return func(*x, **each(kwargs, lambda t: t._value.select(0, 0) if is_in(t, level) else t))


_names(
    """dim ndimension size numel nelement is_floating_point is_complex is_signed is_contiguous stride element_size
    get_device is_conj is_neg is_inference is_pinned is_shared is_same_size result_type storage_offset is_tensor
    broadcast_shapes""",
    logical,
)


@rule("new_tensor", "new_zeros", "new_ones", "new_full", "new_empty")
def _new(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, *rest = args
    if not is_in(x, level):
        return by_loop(func, level, args, kwargs)
    if func.__name__ == "new_tensor":
        return func(x._value, *rest, **kwargs)
    sizes = kwargs.pop("size") if "size" in kwargs else rest.pop(0)
    if not isinstance(sizes, (tuple, list)):
        sizes, rest = (sizes, *rest), []
    return wrapped(func(x._value, (level.size, *sizes), *rest, **kwargs), level)


@rule("requires_grad_", "retain_grad")
def _grad_flag(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    func(args[0]._value, *args[1:], **kwargs)
    return args[0]


@rule("detach_")
def _detach_in_place(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    args[0]._value = args[0]._value.detach()
    return args[0]


@rule("backward")
def _backward(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    raise RuntimeError("backward() called inside a functorch transform. This is not supported, please use torch.func")


def _dynamic(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    refuse_dynamic(func.__name__)


_names("nonzero argwhere masked_select unique unique_consecutive bincount combinations", _dynamic)


@rule("equal", "allclose", "is_nonzero", "__bool__", "__contains__")
def _control_flow(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    raise RuntimeError(
        "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support "
        f"that yet ({func.__name__}())."
    )


# -- Along dimensions ---------------------------------------------------------------------------------


def _shifted(dim: Any, ndim: int) -> Any:
    """Dimensions of an element, as those of the batch."""
    if isinstance(dim, (tuple, list)):
        return tuple([d + 1 for d in dimensions(dim, ndim)])
    return dimension(dim, ndim) + 1


def _flat(value: Any) -> Any:
    return value.flatten(1) if value.ndim > 1 else value.unsqueeze(1)


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


# -- Shapes -------------------------------------------------------------------------------------------


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


def plain(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A function that takes batches itself: of the last dimensions of its tensors."""
    args, kwargs = each((args, kwargs), lambda t: front(t, level))
    return all_wrapped(func(*args, **kwargs), level)


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


# -- Indexing -----------------------------------------------------------------------------------------


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


# -- Products -----------------------------------------------------------------------------------------


def _matmul(func: Any, level: Level, a: Any, b: Any) -> Any:
    from fastnn.ops.products import matmul

    n, m = a.ndim, b.ndim
    if n == 0 or m == 0:
        raise ShapeError(f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D")
    if n == 1 and m == 1:
        if a.shape != b.shape:
            raise ShapeError(f"inconsistent tensor size, expected {list(a.shape)} and {list(b.shape)} to be the same")
        return (a * b).sum(-1)
    in_a, in_b = is_in(a, level), is_in(b, level)
    if in_a and not in_b and m <= 2:
        return wrapped(matmul(a._value, b), level)
    if n == 1:
        return _matmul(func, level, a.unsqueeze(0), b).squeeze(-2)
    if m == 1:
        return _matmul(func, level, a, b.unsqueeze(1)).squeeze(-1)
    ndim = max(n, m)
    return wrapped(matmul(aligned(a, level, ndim), aligned(b, level, ndim)), level)


@rule("matmul", "__matmul__", "mm", "mv", "dot", "vdot", "bmm")
def _product(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = (*args, *kwargs.values())
    wanted = {"mm": (2, 2), "mv": (2, 1), "dot": (1, 1), "vdot": (1, 1), "bmm": (3, 3)}.get(func.__name__)
    if wanted is not None and (a.ndim, b.ndim) != wanted:
        raise ShapeError(
            f"{func.__name__}: expected tensors of {wanted[0]} and {wanted[1]} dimensions, found shapes "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    return _matmul(func, level, a, b)


@rule("__rmatmul__")
def _rmatmul(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return _matmul(func, level, args[1], args[0])


def _sum_with(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    beta, alpha = kwargs.get("beta", 1), kwargs.get("alpha", 1)
    x, a, b = args
    name = func.__name__.rstrip("_")
    product = a.unsqueeze(-1) * b if name == "addr" else a @ b
    if name == "addbmm":
        product = product.sum(0)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return (x if beta == 1 else x * beta) + product


_names("addmm addmv addr baddbmm addbmm", _sum_with)


@rule("outer", "ger")
def _outer(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = (*args, *kwargs.values())
    return a.unsqueeze(-1) * b


@rule("inner")
def _inner(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = (*args, *kwargs.values())
    if not a.ndim or not b.ndim:
        return a * b
    return looped(func, level, args, kwargs) if b.ndim > 2 else a @ (b.t() if b.ndim == 2 else b)


@rule("einsum")
def _einsum(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    equation, *operands = args
    if not isinstance(equation, str):
        return looped(func, level, args, kwargs)
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = list(operands[0])
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    if not arrow:
        letters = sorted({c for c in left if c.isalpha() and left.count(c) == 1})
        right = ("..." if "..." in left else "") + "".join(letters)
    batch = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if c not in equation)
    parts = [batch + p if is_in(t, level) else p for p, t in zip(left.split(","), operands, strict=True)]
    values = [t._value if is_in(t, level) else t for t in operands]
    return wrapped(func(f"{','.join(parts)}->{batch}{right}", *values), level)


@rule("kron", "tensordot", "chain_matmul", "multi_dot")
def _other_products(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    name = func.__name__
    if name in ("chain_matmul", "multi_dot"):
        given = args[0] if isinstance(args[0], (tuple, list)) else args
        return functools.reduce(lambda a, b: a @ b, given)
    a, b = args[0], args[1]
    if name == "kron" and a.ndim == b.ndim:
        n = a.ndim
        wide = a.reshape(*[s for k in a.shape for s in (k, 1)]) * b.reshape(*[s for k in b.shape for s in (1, k)])
        return wide.reshape(*[a.shape[i] * b.shape[i] for i in range(n)])
    dims = _argument(args, kwargs, 2, "dims", 2)
    if name == "tensordot":
        if isinstance(dims, int):
            dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
        if all(isinstance(d, (list, tuple)) for d in dims):
            return _tensordot(a, b, *[[dimension(d, t.ndim) for d in ds] for t, ds in zip((a, b), dims, strict=True)])
    return looped(func, level, args, kwargs)


def _tensordot(a: Any, b: Any, by_a: list[int], by_b: list[int]) -> Any:
    rest_a = [d for d in range(a.ndim) if d not in by_a]
    rest_b = [d for d in range(b.ndim) if d not in by_b]
    shape = [a.shape[d] for d in rest_a] + [b.shape[d] for d in rest_b]
    count = math.prod([a.shape[d] for d in by_a])
    left = a.permute(*rest_a, *by_a).reshape(math.prod([a.shape[d] for d in rest_a]), count)
    right = b.permute(*by_b, *rest_b).reshape(count, math.prod([b.shape[d] for d in rest_b]))
    return (left @ right).reshape(*shape)


_names("cdist", plain)
_names(
    "cholesky det inv inverse slogdet logdet qr svd svdvals eigh eigvalsh pinv matrix_norm matrix_power matrix_exp "
    "cholesky_ex inv_ex pinverse",
    plain,
)


@rule("solve")
def _solve(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b, *rest = args
    if b.ndim == a.ndim - 1:
        # The last dimension of a batch of vectors would be taken for that of matrices.
        return func(a, b.unsqueeze(-1), *rest, **kwargs).squeeze(-1)
    ndim = max(a.ndim, b.ndim)
    return wrapped(func(aligned(a, level, ndim), aligned(b, level, ndim), *rest, **kwargs), level)


# -- Layers -------------------------------------------------------------------------------------------


@rule("linear", "linear_activation")
def _linear(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn._functorch.products import batched_linear

    given = dict(zip(("input", "weight", "bias", "activation", "slope", "may_change"), args, strict=False)) | kwargs
    kind = given.get("activation", "none")
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    if not is_in(weight, level) and not is_in(bias, level):
        return wrapped(func(x._value, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"}), level)
    out = batched_linear(x, weight, bias, level)
    if kind == "none":
        return out
    from fastnn.nn.activation_core import _activation

    return wrapped(_activation(out._value, kind, given.get("slope", 0.01)), level)


@rule("bilinear")
def _bilinear(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.nn import functional

    given = dict(zip(("input1", "input2", "weight", "bias"), args, strict=False)) | kwargs
    a, b, weight = given["input1"], given["input2"], given["weight"]
    products = a.unsqueeze(-1) * b.unsqueeze(-2)
    return functional.linear(products.flatten(-2), weight.flatten(1), given.get("bias"))


def _channels(t: Any, ndim: int) -> Any:
    """One number for each channel, dimension 1 of a tensor."""
    return t.reshape(-1, *(1,) * (ndim - 2)) if ndim > 2 else t


@rule("prelu")
def _prelu(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.ops.comparison import where

    x, weight = (*args, *kwargs.values())
    if weight.ndim and weight.shape[0] > 1 and x.ndim > 1:
        weight = _channels(weight, x.ndim)
    elif weight.ndim and weight.shape[0] == 1:
        weight = weight.reshape(())
    return where(x > 0, x, x * weight)


@rule("layer_norm", "layer_norm_activation", "rms_norm")
def _layer_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.nn import functional

    names = ["input", "normalized_shape", "weight", "bias", "eps", "activation"]
    if func.__name__ == "rms_norm":
        names.remove("bias")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, shape = front(given["input"], level), given["normalized_shape"]
    weight, bias = given.get("weight"), given.get("bias")
    if func.__name__ == "rms_norm":
        if not is_in(weight, level):
            return wrapped(functional.rms_norm(x, shape, weight, given.get("eps")), level)
        return wrapped(functional.rms_norm(x, shape, None, given.get("eps")), level) * weight
    if given.get("activation", "none") != "none":
        return by_loop(func, level, args, kwargs)
    eps = given.get("eps", 1e-5)
    if not is_in(weight, level) and not is_in(bias, level):
        return wrapped(functional.layer_norm(x, shape, weight, bias, eps), level)
    found = wrapped(functional.layer_norm(x, shape, None, None, eps), level)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


@rule("group_norm")
def _group_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    given = dict(zip(("input", "num_groups", "weight", "bias", "eps"), args, strict=False)) | kwargs
    x, weight, bias = given["input"], given.get("weight"), given.get("bias")
    value = front(x, level)
    found = func(value.flatten(0, 1), given["num_groups"], None, None, given.get("eps", 1e-5))
    made = wrapped(found.reshape(value.shape), level)
    made = made if weight is None else made * _channels(weight, x.ndim)
    return made if bias is None else made + _channels(bias, x.ndim)


def _folded(t: Any, level: Level) -> Any:
    """One number for each channel of each element of the batch."""
    return None if t is None else front(t, level).reshape(-1)


@rule("batch_norm", "instance_norm")
def _batch_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    instance = func.__name__ == "instance_norm"
    flag = "use_input_stats" if instance else "training"
    names = ("input", "running_mean", "running_var", "weight", "bias", flag, "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, mean, var = given["input"], given.get("running_mean"), given.get("running_var")
    updates = given.get(flag, instance) and mean is not None
    if updates and not (is_in(mean, level) and is_in(var, level)):
        raise RuntimeError(
            "Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in "
            "place, were not batched.\nIf you are using modules and do not need eval mode, please set "
            "`track_running_stats` to be False.If you are using a prebuilt module and do not need eval mode, please "
            "see torch.func.replace_all_batch_norm_modules_ to replace it"
        )
    # The channels of all elements are channels of one batch.
    value = front(x, level).movedim(0, 1)
    shape = value.shape
    stats: list[Any] = [mean, var]
    # Those that are updated are written to.
    flat = [t._value.reshape(-1).contiguous() for t in stats] if updates else [_folded(t, level) for t in stats]
    found = func(
        value.reshape(shape[0], -1, *shape[3:]), *flat, _folded(given.get("weight"), level),
        _folded(given.get("bias"), level), given.get(flag, instance), given.get("momentum", 0.1),
        given.get("eps", 1e-5),
    )  # fmt: skip
    if updates:
        for t, new in zip(stats, flat, strict=True):
            t._value.copy_(new.reshape(t._value.shape).detach())
    return wrapped(found.reshape(shape).movedim(1, 0), level)


@rule("_fused")
def _running_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """``BatchNorm1d`` with its kernel's method, of a module whose tensors may be elements of a batch."""
    from fastnn.nn import functional

    module, x, *_ = args
    module._check_input_dim(x)
    mean, var = module._buffers["running_mean"], module._buffers["running_var"]
    momentum, counter = 0.0 if module.momentum is None else module.momentum, module._buffers["num_batches_tracked"]
    training = module.training or (mean is None and var is None)
    if module.training and module.track_running_stats and counter is not None:
        if is_in(counter, level):
            counter.add_(1)
        else:
            counter.add_(1)
        if module.momentum is None:
            momentum = 1.0 / float((counter._value if is_in(counter, level) else counter).reshape(-1)[0])
    if module.training and not module.track_running_stats:
        mean = var = None
    return functional.batch_norm(x, mean, var, module.weight, module.bias, training, momentum, module.eps)


@rule("embedding")
def _embedding(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, weight = (*args, *[kwargs[k] for k in ("weight",) if k in kwargs])[:2]
    if not is_in(weight, level):
        rest = {k: v for k, v in kwargs.items() if k != "weight"}
        return wrapped(func(x._value, weight, *args[2:], **rest), level)
    padding, max_norm = _argument(args, kwargs, 2, "padding_idx"), _argument(args, kwargs, 3, "max_norm")
    if padding is not None or max_norm is not None:
        return looped(func, level, args, kwargs)
    count = weight.shape[0]
    value = front(x, level)
    rows = value + _range(level, value.ndim - 1) * count
    return wrapped(func(rows, weight._value.reshape(-1, weight.shape[1])), level)


@rule("one_hot")
def _one_hot(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    count = _argument(args, kwargs, 1, "num_classes", -1)
    if count == -1:
        refuse_dynamic("one_hot without num_classes")
    return wrapped(func(args[0]._value, count), level)


@rule("pairwise_distance")
def _pairwise_distance(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    values, options = _all_aligned(args, kwargs, level)
    return wrapped(func(*values, **options), level)


# -- Random numbers -------------------------------------------------------------------------------------

_RANDOM = """alpha_dropout bernoulli bernoulli_ cauchy_ dropout dropout1d dropout2d dropout3d exponential_
feature_alpha_dropout geometric_ gumbel_softmax log_normal_ multinomial normal normal_ poisson rand rand_like randint
randint_like randn randn_like randperm random_ rrelu rrelu_ uniform_"""
RANDOM.update(_RANDOM.split())


DROPOUTS = ("dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d")


def is_quiet(name: str, args: Args, kwargs: Options) -> bool:
    """Whether a dropout drops nothing."""
    default = "alpha" not in name
    return not _argument(args, kwargs, 2, "training", default) or _argument(args, kwargs, 1, "p", 0.5) == 0


@rule(*DROPOUTS)
def _dropout(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    if is_quiet(func.__name__, args, kwargs):
        return x
    if level.randomness == "error":
        refuse_random()
    if func.__name__ != "dropout":
        return looped(func, level, args, kwargs)
    p, inplace = _argument(args, kwargs, 1, "p", 0.5), _argument(args, kwargs, 3, "inplace", False)
    if level.randomness == "different":
        made = wrapped(_outside(level, func, x._value, p, True), level)
    else:
        made = x * _outside(level, func, x._value.select(0, 0).detach().new_ones(x.shape), p, True)
    return x.copy_(made) if inplace else made


def _outside(level: Level, func: Any, *args: Any, **kwargs: Any) -> Any:
    from fastnn._functorch.batched import outside_of

    with outside_of(level):
        return func(*args, **kwargs)


@rule("rand_like", "randn_like", "randint_like")
def _random_like(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if level.randomness == "error":
        refuse_random()
    x, *rest = args
    if level.randomness == "different":
        return wrapped(_outside(level, func, x._value, *rest, **kwargs), level)
    return _outside(level, func, x._value.select(0, 0), *rest, **kwargs)


@rule("uniform_", "normal_", "exponential_", "bernoulli_", "cauchy_", "log_normal_", "geometric_", "random_")
def _random_in_place(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if level.randomness == "error":
        refuse_random()
    x, *rest = args
    if level.randomness == "same" or any(isinstance(a, Tensor) for a in rest):
        return looped(func, level, args, kwargs)
    _outside(level, func, x._value, *rest, **kwargs)
    return x


@rule("bernoulli", "multinomial", "normal", "poisson", "gumbel_softmax", "rrelu", "rrelu_")
def _random_loop(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if func.__name__.startswith("rrelu") and not _argument(args, kwargs, 3, "training", False):
        return pointwise(func, level, args, kwargs)
    return looped(func, level, args, kwargs)


# -- Losses -------------------------------------------------------------------------------------------


def _reduction(given: Options) -> str:
    if given.get("size_average") is not None or given.get("reduce") is not None:
        if given.get("reduce") is False:
            return "none"
        return "sum" if given.get("size_average") is False else "mean"
    found = given.get("reduction", "mean")
    if found not in ("none", "mean", "sum", "batchmean"):
        raise ValueError(f"{found} is not a valid value for reduction")
    return found


_LOSS_ARGUMENTS = {
    "mse_loss": "input target size_average reduce reduction weight",
    "l1_loss": "input target size_average reduce reduction weight",
    "smooth_l1_loss": "input target size_average reduce reduction beta",
    "huber_loss": "input target reduction delta weight",
    "binary_cross_entropy": "input target weight size_average reduce reduction",
    "binary_cross_entropy_with_logits": "input target weight size_average reduce reduction pos_weight",
    "kl_div": "input target size_average reduce reduction log_target",
    "poisson_nll_loss": "input target log_input full size_average eps reduce reduction",
    "soft_margin_loss": "input target size_average reduce reduction",
    "hinge_embedding_loss": "input target margin size_average reduce reduction",
    "margin_ranking_loss": "input1 input2 target margin size_average reduce reduction",
}


def pointwise_loss(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A loss of corresponding elements, reduced for each element of the batch."""
    given = dict(zip(_LOSS_ARGUMENTS[func.__name__].split(), args, strict=False)) | kwargs
    how = _reduction(given)
    for name in ("size_average", "reduce"):
        given.pop(name, None)
    weight = given.pop("weight", None) if func.__name__ in ("mse_loss", "l1_loss", "huber_loss") else None
    if weight is not None:
        return looped(func, level, args, kwargs)
    whole = [name for name in ("input", "target", "input1", "input2") if isinstance(given.get(name), Tensor)]
    shapes = [given[name].shape for name in whole]
    ndim = max([len(s) for s in shapes])
    for name, value in given.items():
        if isinstance(value, Tensor):
            if name in whole and all(s == shapes[0] for s in shapes):
                # Of the same shape, as the loss may want them.
                given[name] = front(value, level)
            else:
                given[name] = aligned(value, level, ndim)
    given["reduction"] = "none"
    found = wrapped(func(**given), level)
    if how == "none":
        return found
    if how == "batchmean":
        return found.sum() / (found.shape[0] if found.ndim else 1)
    return found.mean() if how == "mean" else found.sum()


_names(" ".join(_LOSS_ARGUMENTS), pointwise_loss)


@rule("cross_entropy", "nll_loss")
def _class_loss(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    names = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, target, weight = given["input"], given["target"], given.get("weight")
    how, ignored = _reduction(given), given.get("ignore_index", -100)
    smoothing = given.get("label_smoothing", 0.0)
    probable = target.is_floating_point()
    if is_in(weight, level) or not level.size:
        return looped(func, level, args, kwargs)
    options = {} if func.__name__ == "nll_loss" else {"label_smoothing": smoothing}
    values, labels = front(x, level), front(target, level)
    if x.ndim > 1:
        # The rows of all elements are rows of one batch.
        values, labels = values.flatten(0, 1), labels.flatten(0, 1)
    found = func(values, labels, weight, ignore_index=ignored, reduction="none", **options)
    if x.ndim > 1:
        found = found.reshape(level.size, x.shape[0], *found.shape[1:])
    if how == "none":
        return wrapped(found, level)
    total = wrapped(_flat(found).sum(1), level)
    if how == "sum":
        return total
    if probable:
        return total / (math.prod(target.shape) / x.shape[1] if x.ndim > 1 else 1)
    flat = _flat(front(target, level))
    counted = flat != ignored
    if weight is None:
        return total / wrapped(counted.sum(1), level)
    shares = weight[flat.masked_fill(~counted, 0)].masked_fill(~counted, 0)
    return total / wrapped(shares.sum(1), level)


# -- Autograd ------------------------------------------------------------------------------------------


class VmapInfo(NamedTuple):
    """What the ``vmap`` of a ``torch.autograd.Function`` is told of the batch."""

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


# -- Other operations in place ------------------------------------------------------------------------


@rule("squeeze_", "unsqueeze_", "transpose_", "t_", "swapaxes_", "swapdims_")
def _reshaped_in_place(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, *rest = args
    x._value = getattr(x, func.__name__[:-1])(*rest, **kwargs)._value
    return x


@rule("tril_", "triu_", "cumsum_", "cumprod_", "addmm_", "addmv_", "addr_", "addbmm_", "baddbmm_")
def _copied(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, *rest = args
    return x.copy_(getattr(x, func.__name__[:-1])(*rest, **kwargs))


@rule("resize_", "resize_as_", "set_", "share_memory_", "apply_")
def _refused_in_place(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    raise RuntimeError(f"vmap: {func.__name__}() is not possible inside of vmap")


@rule("solve_triangular")
def _solve_triangular(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b, *rest = args
    ndim = max(a.ndim, b.ndim)
    return wrapped(func(front(a, level) if a.ndim == ndim else aligned(a, level, ndim), aligned(b, level, ndim), *rest,
                        **kwargs), level)  # fmt: skip


# -- Backward passes ------------------------------------------------------------------------------------


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
