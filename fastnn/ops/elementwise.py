"""Elementwise mathematical functions with their derivatives.

``scipy.special`` provides those that NumPy lacks; it is imported when one of them is first called.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core.dtypes import as_number, from_numpy_dtype
from fastnn._core.errstate import quiet
from fastnn._core.numpy_trace import run
from fastnn._tensor.tensor import Tensor, _recorded, _unbroadcast, _wrap
from fastnn._tensor.views import ArrayMap, linear_map, mapped
from fastnn.kernels.activation.math_functions import FUNCTIONS as VECTOR_FUNCTIONS
from fastnn.kernels.runtime.direct_loops import Direct
from fastnn.kernels.runtime.numpy_loops import clip as _clip
from fastnn.ops.core import (
    DIRECT,
    Derivative,
    also_read,
    as_floating,
    as_operand,
    check_tensor,
    fit,
    gated,
    in_place,
    named,
    no_gradient,
    of_operand,
    of_result,
    original,
    promote,
    refuse,
    scalar_dtype,
    shape_error,
    titled,
)
from fastnn.ops.vector_functions import VectorFunction

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "conj",
    "conj_physical",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "floor",
    "frac",
    "i0",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "logit",
    "mvlgamma",
    "nan_to_num",
    "neg",
    "negative",
    "polygamma",
    "positive",
    "rad2deg",
    "real",
    "reciprocal",
    "resolve_conj",
    "resolve_neg",
    "round",
    "rsqrt",
    "sgn",
    "sign",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "tan",
    "trunc",
]  # fmt: skip


def _special(name: str) -> ArrayMap:
    """A function of ``scipy.special``, imported at the first call."""

    def function(a: np.ndarray) -> np.ndarray:
        from scipy import special

        if a.dtype == np.float16:
            return getattr(special, name)(a.astype(np.float32)).astype(a.dtype)
        return getattr(special, name)(a)

    return function


def _floating(name: str, text: str, function: ArrayMap, derivative: Derivative, reads: str = "x") -> Any:
    """A function with a floating point result, also for integers.

    Its derivative reads the operand, or with "y" the result; "xy": PyTorch's reads both, and this one the operand.
    """
    make = of_result if reads == "y" else of_operand
    title = name.title().replace("_", "")
    direct: Direct | None = None
    if name in VECTOR_FUNCTIONS:
        function = direct = VectorFunction(name, function)
    elif isinstance(function, np.ufunc):
        direct = Direct(function)
    if direct is not None:
        DIRECT[name] = direct

    def operation(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            check_tensor("input", input)
        x = input if input._data.dtype.kind == "f" else as_floating(input)
        return make(title, x, function, derivative, direct)

    if reads == "xy":
        alone = operation

        def operation(input: Tensor) -> Tensor:
            result = alone(input)
            return also_read(result, result)

    return named(titled(operation, name, text))


def _stepwise(name: str, text: str, function: ArrayMap) -> Any:
    """A function with a derivative of 0 that leaves integers unchanged."""
    title = name.title()

    def operation(input: Tensor) -> Tensor:
        check_tensor("input", input)
        if input._data.dtype.kind == "b" and name not in ("sign", "sgn"):
            raise NotImplementedError(f'"{name}" not implemented for Bool')
        if input._data.dtype.kind != "f" and name not in ("sign", "sgn"):
            return input.clone()
        return mapped(title, input, np.asarray(run(function, input._data)), lambda grad: no_gradient(grad, None, None))

    return named(titled(operation, name, text))


_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_LN2, _LN10 = math.log(2), math.log(10)


def _polygamma(n: int) -> ArrayMap:
    def function(a: np.ndarray) -> np.ndarray:
        from scipy import special

        # SciPy computes it in float64.
        found = special.polygamma(n, a.astype(np.float64)).astype(a.dtype)
        if n == 1:
            # At the poles PyTorch evaluates the formula for negative x: a large number, because pi is rounded.
            pole = (a <= 0) & (a == np.floor(a))
            if pole.any():
                sine = np.sin(a.dtype.type(math.pi) * a)
                found = np.where(pole, a.dtype.type(math.pi**2) / (sine * sine), found)
        elif n:
            found = np.where(np.isposinf(a), a.dtype.type(np.nan), found)
        return found

    return function


def _exp2_slope(grad: Tensor, y: Tensor) -> Tensor:
    return grad * y * _LN2


exp = _floating("exp", "e to the power of each element.", np.exp, lambda g, y: g * y, "y")
exp2 = _floating("exp2", "2 to the power of each element.", np.exp2, _exp2_slope, "y")
expm1 = _floating("expm1", "``exp(x) - 1``, exact near 0.", np.expm1, lambda g, y: g * (y + 1), "y")
log = _floating("log", "The natural logarithm of each element.", np.log, lambda g, x: g / x)
log2 = _floating("log2", "The logarithm to base 2.", np.log2, lambda g, x: g / (x * _LN2))
log10 = _floating("log10", "The logarithm to base 10.", np.log10, lambda g, x: g / (x * _LN10))
log1p = _floating("log1p", "``log(1 + x)``, exact near 0.", np.log1p, lambda g, x: g / (x + 1))
sqrt = _floating("sqrt", "The square root of each element.", np.sqrt, lambda g, y: g / (2 * y), "y")
rsqrt = _floating(
    "rsqrt", "``1 / sqrt(x)``.", lambda a: np.reciprocal(np.sqrt(a)), lambda g, y: -0.5 * g * y**3, "y"
)
reciprocal = _floating("reciprocal", "``1 / x``.", np.reciprocal, lambda g, y: -g * y * y, "y")
sin = _floating("sin", "The sine, of radians.", np.sin, lambda g, x: g * x.cos())
cos = _floating("cos", "The cosine, of radians.", np.cos, lambda g, x: g * -x.sin())
tan = _floating("tan", "The tangent, of radians.", np.tan, lambda g, y: g * (1 + y * y), "y")
asin = _floating("asin", "The angle whose sine is x.", np.arcsin, lambda g, x: g * (1 - x * x).rsqrt())
acos = _floating("acos", "The angle whose cosine is x.", np.arccos, lambda g, x: g * -(1 - x * x).rsqrt())
atan = _floating("atan", "The angle whose tangent is x.", np.arctan, lambda g, x: g / (x * x + 1))
sinh = _floating("sinh", "The hyperbolic sine.", np.sinh, lambda g, x: g * x.cosh())
cosh = _floating("cosh", "The hyperbolic cosine.", np.cosh, lambda g, x: g * x.sinh())
asinh = _floating("asinh", "The inverse of ``sinh``.", np.arcsinh, lambda g, x: g * (x * x + 1).rsqrt())
acosh = _floating("acosh", "The inverse of ``cosh``.", np.arccosh, lambda g, x: g * (x * x - 1).rsqrt())
atanh = _floating("atanh", "The inverse of ``tanh``.", np.arctanh, lambda g, x: g / (1 - x * x))
erf = _floating("erf", "The error function.", _special("erf"), lambda g, x: g * (_TWO_OVER_ROOT_PI * (-x * x).exp()))
erfc = _floating(
    "erfc", "``1 - erf(x)``.", _special("erfc"), lambda g, x: g * (-_TWO_OVER_ROOT_PI * (-x * x).exp())
)
erfinv: Any = _floating(
    "erfinv", "The inverse of ``erf``.", _special("erfinv"),
    lambda g, x: g * ((erfinv(x) ** 2).exp() / _TWO_OVER_ROOT_PI),
)  # fmt: skip


def _log_gamma(a: np.ndarray) -> np.ndarray:
    # SciPy returns -inf at -inf.
    return np.where(np.isneginf(a), a.dtype.type(np.inf), _gammaln(a))


_gammaln = _special("gammaln")
lgamma = _floating("lgamma", "``log(abs(gamma(x)))``.", _log_gamma, lambda g, x: g * x.digamma())
digamma = _floating("digamma", "The derivative of ``lgamma``.", _special("psi"), lambda g, x: g * polygamma(1, x))


def _i1_slope(grad: Tensor, x: Tensor) -> Tensor:
    zero = x == 0
    # For NaN the value at 0, as in PyTorch.
    return grad * (i0(x) - (_i1(x) / x.masked_fill(zero, 1)).masked_fill(zero, 0.5)).masked_fill(x.isnan(), 0.5)


_i1: Any = _floating("i1", "The modified Bessel function of order 1.", _special("i1"), _i1_slope, "xy")
i0: Any = _floating("i0", "The modified Bessel function of order 0.", _special("i0"), lambda g, x: g * _i1(x))


def _in_units(name: str, text: str, unit: float) -> Any:
    def operation(input: Tensor) -> Tensor:
        check_tensor("input", input)
        return linear_map(name, as_floating(input), lambda a: quiet(np.multiply, a, unit), lambda g: g * unit)

    return named(titled(operation, name, text))


deg2rad = _in_units("deg2rad", "Degrees in radians.", math.pi / 180)
rad2deg = _in_units("rad2deg", "Radians in degrees.", 180 / math.pi)


def _sinc_slope(grad: Tensor, x: Tensor) -> Tensor:
    # This form is 0 for the smallest x as well.
    slope = ((x * math.pi).cos() - sinc(x)) / x
    return grad * slope.masked_fill(x == 0, 0)


def _sinc(a: np.ndarray) -> np.ndarray:
    # In float16 the product with pi is too coarse.
    return np.sinc(a.astype(np.float32)).astype(a.dtype) if a.dtype == np.float16 else np.sinc(a)


sinc: Any = _floating("sinc", "``sin(pi x) / (pi x)``, and 1 at 0.", _sinc, _sinc_slope)

ceil = _stepwise("ceil", "The smallest integer that is not below x.", np.ceil)
floor = _stepwise("floor", "The largest integer that is not above x.", np.floor)
trunc = _stepwise("trunc", "x without its fraction.", np.trunc)


def _sign(a: np.ndarray) -> Any:
    if a.dtype.kind == "b":
        return a.copy()
    # The sign of NaN is 0 in PyTorch.
    # By differences of bytes it took 15.6 us for 4,096 numbers, and this 8.6.
    return (a > 0).astype(a.dtype) - (a < 0).astype(a.dtype)


sign = _stepwise("sign", "-1, 0 or 1; 0 for NaN.", _sign)
sgn = _stepwise("sgn", "As ``sign``.", _sign)


@named
def polygamma(n: Any, input: Any) -> Tensor:
    """The n-th derivative of ``digamma``."""
    if isinstance(n, Tensor):
        # Called as a method: x.polygamma(n).
        n, input = input, n
    check_tensor("input", input)
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, found {n}.")
    return of_operand("Polygamma", as_floating(input), _polygamma(n), lambda g, x: g * polygamma(n + 1, x))


@named
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p."""
    check_tensor("input", input)
    refuse("mvlgamma", input, "b")
    x = as_floating(input)
    steps = _wrap(np.arange(p, dtype=x._data.dtype) * -0.5)
    return also_read((x.unsqueeze(-1) + steps).lgamma().sum(-1) + 0.25 * p * (p - 1) * math.log(math.pi), x)


@named
def neg(input: Tensor) -> Tensor:
    """``-input``; not for bool."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    if input._data.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return linear_map("Neg", input, _negative, _negative)


def _negative(a: np.ndarray) -> Any:
    found = _NEGATIVE.call(a)
    return np.negative(a) if found is None else found


_NEGATIVE = DIRECT["neg"] = Direct(np.negative)


@named
def abs(input: Tensor) -> Tensor:
    """The absolute value of each element; its derivative at 0 is 0."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    if input._data.dtype.kind == "b":
        raise NotImplementedError("abs() is not implemented for bool tensors")
    return of_operand("Abs", input, np.abs, lambda grad, x: grad * x.sgn(), _ABS)


_ABS = DIRECT["abs"] = Direct(np.abs)


@named
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Round to the nearest integer, halves to even, or to ``decimals`` decimal places."""
    check_tensor("input", input)
    if input._data.dtype.kind == "b":
        raise NotImplementedError('"round_cpu" not implemented for Bool')
    if input._data.dtype.kind != "f":
        if decimals:
            raise NotImplementedError('"round_cpu" not implemented for integers with decimals')
        return input.clone()
    array = input._data
    if decimals:
        # float16 is computed in float32: the scaled values may overflow it.
        wide = array.astype(np.float32) if array.dtype == np.float16 else array
        scale = wide.dtype.type(math.pow(10.0, decimals if decimals > 0 else -decimals))
        shift = (lambda a: np.rint(a * scale) / scale) if decimals > 0 else (lambda a: np.rint(a / scale) * scale)
        result = quiet(shift, wide)
    else:
        result = np.rint(array)
    return mapped("Round", input, np.asarray(result, array.dtype), lambda grad: no_gradient(grad, None, None))


@named
def frac(input: Tensor) -> Tensor:
    """The fractional part: ``input - trunc(input)``."""
    check_tensor("input", input)
    if input._data.dtype.kind != "f":
        raise NotImplementedError(f'"frac" not implemented for {input.dtype}')
    fraction = quiet(lambda a: a - np.trunc(a), input._data)
    return mapped("Frac", input, np.asarray(fraction), lambda grad: grad)


@named
def positive(input: Tensor) -> Tensor:
    """``+input``, the tensor itself; not for bool."""
    check_tensor("input", input)
    if input._data.dtype == np.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@named
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """``log(x / (1 - x))``, with x clamped to [eps, 1 - eps]."""
    check_tensor("input", input)
    x = as_floating(input)
    held = eps is not None and eps >= 0
    low = float(eps) if eps is not None and held else 0.0

    def value(a: np.ndarray) -> np.ndarray:
        if held:
            least = a.dtype.type(low)
            most = 1 - least
            a = np.where(a < least, least, np.where(a > most, most, a))
        return np.log(a / (1 - a))

    def slope(grad: Tensor, x: Tensor) -> Tensor:
        return (grad / (x * (1 - x))).masked_fill((x < low) | (x > 1 - low), 0 if held else math.nan)

    return of_operand("Logit", x, value, slope)


@named
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Replace NaN by 0 and infinities by the largest and smallest numbers, or by the given values."""
    check_tensor("input", input)
    array = input._data
    if array.dtype.kind != "f":
        return input.clone()

    def slope(grad: Tensor, x: Tensor) -> Tensor:
        return grad * _wrap(np.isfinite(x._data).astype(grad._data.dtype))

    def replaced(a: np.ndarray) -> np.ndarray:
        if np.isfinite(a).all():
            return a.copy()
        return np.nan_to_num(a, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)

    return of_operand("NanToNum", input, replaced, slope)


# -- Limits ------------------------------------------------------------------------------------


@named
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limit elements to [``min``, ``max``], which are numbers or tensors.

    >>> import fastnn
    >>> fastnn.clamp(fastnn.tensor([-2.0, 0.5, 3.0]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if type(input) is not Tensor:
        check_tensor("input", input)
    kind = input._data.dtype
    if kind.kind == "f" and type(min) in _NUMBERS and (max is None or type(max) in _NUMBERS):
        return _clamp_by_numbers(input, as_number(min, kind), None if max is None else as_number(max, kind))
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        return _clamp_by_tensors(input, min, max)
    for limit_value in (min, max):
        if limit_value is not None:
            kind = scalar_dtype(input._data.dtype, limit_value)
            if kind != input._data.dtype:
                input = input.to(from_numpy_dtype(kind))
    kind = input._data.dtype
    if kind.kind == "b":
        raise NotImplementedError('"clamp_scalar_cpu" not implemented for Bool')
    min, max = [None if n is None else as_number(n, kind) for n in (min, max)]
    return _clamp_by_numbers(input, min, max)


_NUMBERS = frozenset((float, int))


_MAXIMUM, _MINIMUM = Direct(np.maximum), Direct(np.minimum)


def _clamp_by_numbers(input: Tensor, min: Any, max: Any) -> Tensor:
    def limit(a: np.ndarray) -> Any:
        if min is None or max is None:
            found = _MINIMUM.call(a, float(max)) if min is None else _MAXIMUM.call(a, float(min))
            if found is not None:
                return found
        # The upper limit last, so that it wins if it is below the lower one.
        if min is None:
            return np.minimum(a, max)
        return np.maximum(a, min) if max is None else _clip(a, min, max)

    def slope(grad: Tensor, x: Tensor) -> Tensor:
        inside = np.asarray(run(_within, x._data, min, max))
        return gated(grad, inside)

    return of_operand("ClampBackward1", input, limit, slope)


def clamp_(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``clamp`` in place."""
    if input._data.dtype.kind == "f" and type(min) in _NUMBERS and type(max) in _NUMBERS:
        kind = input._data.dtype
        low, high = as_number(min, kind), as_number(max, kind)
        return in_place(input, min, lambda a, _, out: _clip(a, low, high, out), lambda x, _: clamp(x, min, max))
    return input._in_place(clamp(original(input, min, max), min, max))


def _within(a: np.ndarray, low: Any, high: Any) -> np.ndarray:
    inside = True if low is None else a >= low
    return np.asarray(inside if high is None else inside & (a <= high))


def _clamp_by_tensors(input: Tensor, min: Any, max: Any) -> Tensor:
    given = []
    for t in (min, max):
        if t is not None:
            limit_of = as_operand(input, t)
            if limit_of is None or isinstance(t, np.ndarray):
                raise TypeError(f"clamp(): min and max must be Tensors or numbers, found {type(t).__name__}")
            given.append(limit_of)
    for t in given:
        input, _ = promote(input, t)
    operands = (input, *[promote(t, input)[0] for t in given])
    low = None if min is None else operands[1]._data
    high = None if max is None else operands[-1]._data
    shapes = [t._data.shape for t in operands]
    if not fit(*shapes):
        raise shape_error(*shapes)

    def limit(a: np.ndarray) -> Any:
        if low is not None:
            a = np.maximum(a, low)
        return a if high is None else np.minimum(a, high)

    result = np.asarray(quiet(limit, input._data))
    if not _recorded(*operands):
        return _wrap(result)
    a = input._data

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        masks = [_within(a, low, high)]
        if low is not None:
            masks.append(a < low if high is None else (a < low) & (low < high))
        if high is not None:
            masks.append(a > high if low is None else (a > high) | (high < low))
        return tuple([
            _unbroadcast(gated(grad, mask), t._data.shape) if t._requires_grad else None
            for mask, t in zip(masks, operands, strict=True)
        ])

    return _wrap(result, Node("ClampBackward1", operands, run, operands))


@named
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """``clamp(input, min=min)``."""
    return clamp(input, min)


@named
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """``clamp(input, max=max)``."""
    return clamp(input, None, max)


@named
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A differentiable copy."""
    check_tensor("input", input)
    if not _recorded(input):
        return _wrap(input._data.copy())
    return mapped("Clone", input, input._data.copy(), lambda grad: grad)


def conj(input: Tensor) -> Tensor:
    """The tensor itself: its elements are real."""
    return input


def real(input: Tensor) -> Tensor:
    """The tensor itself: its elements are real."""
    return input


def conj_physical(input: Tensor) -> Tensor:
    """The tensor itself: its elements are real."""
    return input


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself."""
    return input


resolve_neg = resolve_conj
absolute, negative, fix = abs, neg, trunc
arccos, arccosh, arcsin, arcsinh, arctan, arctanh = acos, acosh, asin, asinh, atan, atanh
clip = clamp

_NO_FORM = (
    "clamp", "clip", "clone", "conj", "conj_physical", "positive", "real", "resolve_conj", "resolve_neg", "polygamma",
)  # fmt: skip
IN_PLACE = tuple([n for n in __all__ if n not in _NO_FORM])
FUNCTIONS_ONLY = ("real",)
OPERATORS = {"__neg__": neg, "__abs__": abs, "__pos__": positive}
METHODS: dict[str, Any] = {"clamp_": clamp_, "clip_": clamp_, "polygamma": polygamma}
