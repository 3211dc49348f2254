"""Rules of elementwise functions, of questions about shapes, and of operations in place."""

from __future__ import annotations

from typing import Any

from fastnn._functorch.batched import (
    Level,
    by_loop,
    each,
    front,
    is_in,
    refuse_dynamic,
    wrapped,
)
from fastnn._functorch.rules.table import Args, Options, _names, aligned, pointwise, pointwise_, rule


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


def logical(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """The shape and the dtype of one element."""
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
