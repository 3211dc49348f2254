"""Elementwise functions, arithmetic and conversions as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.onnx.converters.table import FLOATS, converter, kind_of
from fastnn.onnx.graph import Graph, Value
from fastnn.onnx.tracing import SymbolicSize

# -- Elementwise ------------------------------------------------------------------------------

_UNARY = {
    "abs": "Abs", "absolute": "Abs", "__abs__": "Abs", "acos": "Acos", "arccos": "Acos", "asin": "Asin",
    "arcsin": "Asin", "atan": "Atan", "arctan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh",
    "asinh": "Asinh", "arcsinh": "Asinh", "acosh": "Acosh", "arccosh": "Acosh", "atanh": "Atanh", "arctanh": "Atanh",
    "cos": "Cos", "sin": "Sin", "tan": "Tan", "erf": "Erf", "special_erf": "Erf", "exp": "Exp", "log": "Log",
    "neg": "Neg", "negative": "Neg", "__neg__": "Neg", "reciprocal": "Reciprocal", "sqrt": "Sqrt",
    "sigmoid": "Sigmoid", "expit": "Sigmoid", "sign": "Sign", "sgn": "Sign", "softsign": "Softsign",
}  # fmt: skip
_ROUNDING = {"ceil": "Ceil", "floor": "Floor"}


def _unary(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Any) -> Value:
        return g.value(input, kind_of(g)).op(onnx)

    return convert


def _rounding(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Any) -> Value:
        x = g.value(input)
        return x.op(onnx) if x.dtype.kind == FLOATS else x

    return convert


for _name, _onnx in _UNARY.items():
    converter(_name)(_unary(_onnx))
for _name, _onnx in _ROUNDING.items():
    converter(_name)(_rounding(_onnx))


@converter(
    "clone", "contiguous", "detach", "data", "cpu", "positive", "__pos__", "conj", "resolve_conj", "real",
    "pin_memory", "requires_grad_", "cuda",
)  # fmt: skip
def _same(g: Graph, input: Any, *args: Any, **kwargs: Any) -> Any:
    return g.value(input)


@converter("round")
def _round(g: Graph, input: Any, *, decimals: int = 0) -> Value:
    x = g.value(input)
    if decimals:
        g.refuse("with decimals")
    return x.op("Round") if x.dtype.kind == FLOATS else x


def _truncated(x: Value) -> Value:
    return x.op("Sign") * x.op("Abs").op("Floor")


@converter("trunc", "fix")
def _trunc(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return _truncated(x) if x.dtype.kind == FLOATS else x


@converter("frac")
def _frac(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x - _truncated(x)


@converter("rsqrt")
def _rsqrt(g: Graph, input: Any) -> Value:
    return g.value(input, kind_of(g)).op("Sqrt").op("Reciprocal")


@converter("square")
def _square(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x * x


@converter("exp2")
def _exp2(g: Graph, input: Any) -> Value:
    return g.value(2.0, kind_of(g)) ** g.value(input, kind_of(g))


def expm1(x: Value) -> Value:
    """exp(x) - 1 without cancellation: 2 sinh(x / 2) exp(x / 2)."""
    # Below, the result is -1, and the factors would be infinity and 0.
    half = x.op("Max", x._same(-60.0)) * 0.5
    return half.op("Sinh") * half.op("Exp") * 2.0


def log1p(x: Value) -> Value:
    """log(1 + x): the rounding of ``1 + x`` is divided out."""
    u = x + 1.0
    v = u - 1.0
    plain = u.op("Log")
    exact = plain * (x / v.equals(0.0).where(1.0, v))
    # An infinity stays one.
    return v.equals(0.0).where(x, (u.equals(x)).where(plain, exact))


def softplus(x: Value) -> Value:
    """log(1 + exp(x)), without overflow, and exact for large negative numbers."""
    return x.op("Relu") + log1p((-x.op("Abs")).op("Exp"))


@converter("expm1")
def _expm1(g: Graph, input: Any) -> Value:
    return expm1(g.value(input, kind_of(g)))


@converter("log1p")
def _log1p(g: Graph, input: Any) -> Value:
    return log1p(g.value(input, kind_of(g)))


@converter("log2")
def _log2(g: Graph, input: Any) -> Value:
    return g.value(input, kind_of(g)).op("Log") / math.log(2)


@converter("log10")
def _log10(g: Graph, input: Any) -> Value:
    return g.value(input, kind_of(g)).op("Log") / math.log(10)


@converter("erfc")
def _erfc(g: Graph, input: Any) -> Value:
    return 1.0 - g.value(input, kind_of(g)).op("Erf")


@converter("deg2rad")
def _deg2rad(g: Graph, input: Any) -> Value:
    return g.value(input, kind_of(g)) * (math.pi / 180)


@converter("rad2deg")
def _rad2deg(g: Graph, input: Any) -> Value:
    return g.value(input, kind_of(g)) * (180 / math.pi)


@converter("logit")
def _logit(g: Graph, input: Any, eps: float | None = None) -> Value:
    x = g.value(input, kind_of(g))
    if eps is not None:
        x = x.clip(eps, 1 - eps)
    return (x / (1.0 - x)).op("Log")


@converter("nan_to_num")
def _nan_to_num(g: Graph, input: Any, nan: float | None = None, posinf: Any = None, neginf: Any = None) -> Value:
    x = g.value(input)
    if x.dtype.kind != FLOATS:
        return x
    limits = np.finfo(x.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    top, bottom = x.equals(math.inf), x.equals(-math.inf)
    x = x.op("IsNaN", dtype=bool).where(nan or 0.0, x)
    return top.where(high, bottom.where(low, x))


@converter("isnan")
def _isnan(g: Graph, input: Any) -> Value:
    return g.value(input).op("IsNaN", dtype=bool)


@converter("isinf")
def _isinf(g: Graph, input: Any) -> Value:
    return g.value(input).op("Abs").equals(math.inf)


@converter("isfinite")
def _isfinite(g: Graph, input: Any) -> Value:
    return g.value(input).op("Abs") < math.inf


@converter("clamp", "clip")
def _clamp(g: Graph, input: Any, min: Any = None, max: Any = None) -> Value:
    x = g.value(input, kind_of(g))
    if all(end is None or isinstance(end, (int, float)) for end in (min, max)) and x.dtype.kind == FLOATS:
        return x.clip(min, max)
    if min is not None:
        x = x.op("Max", g.value(min, x.dtype))
    return x if max is None else x.op("Min", g.value(max, x.dtype))


@converter("clamp_min")
def _clamp_min(g: Graph, input: Any, min: Any) -> Value:
    return _clamp(g, input, min)


@converter("clamp_max")
def _clamp_max(g: Graph, input: Any, max: Any) -> Value:
    return _clamp(g, input, None, max)


# -- Two operands -----------------------------------------------------------------------------

def _pair(g: Graph, input: Any, other: Any) -> tuple[Value, Value]:
    return g.value(input, kind_of(g)), g.value(other, kind_of(g))


def _common(g: Graph, input: Any, other: Any) -> tuple[Value, Value]:
    """Operands of a comparison in the dtype that both are converted to."""
    import fastnn

    def number(v: Any) -> Any:
        return int(v) if type(v) is SymbolicSize else v

    kind = fastnn.result_type(number(input), number(other)).numpy
    return g.value(input, kind), g.value(other, kind)


@converter("add", "__add__", "__radd__")
def _add(g: Graph, input: Any, other: Any, *, alpha: Any = 1) -> Value:
    a, b = _pair(g, input, other)
    if kind_of(g).kind == "b":
        return a.op("Or", b)
    return a + (b if alpha == 1 else b * alpha)


@converter("sub", "subtract", "__sub__")
def _sub(g: Graph, input: Any, other: Any, *, alpha: Any = 1) -> Value:
    a, b = _pair(g, input, other)
    return a - (b if alpha == 1 else b * alpha)


@converter("rsub")
def _rsub(g: Graph, input: Any, other: Any, *, alpha: Any = 1) -> Value:
    a, b = _pair(g, other, input)
    return a - (b if alpha == 1 else b * alpha)


@converter("__rsub__")
def _reflected_sub(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, other, input)
    return a - b


@converter("mul", "multiply", "__mul__", "__rmul__")
def _mul(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.op("And", b) if kind_of(g).kind == "b" else a * b


@converter("div", "divide", "true_divide", "__truediv__", "__div__")
def _div(g: Graph, input: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode == "floor":
        return _floor_divide(g, input, other)
    a, b = _pair(g, input, other)
    quotient = a / b
    # Integers are divided so in ONNX.
    return _truncated(quotient) if rounding_mode == "trunc" and a.dtype.kind == FLOATS else quotient


@converter("__rtruediv__")
def _reflected_div(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, other, input)
    return a / b


@converter("floor_divide", "__floordiv__")
def _floor_divide(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return (a / b).op("Floor") if a.dtype.kind == FLOATS else (a - a.op("Mod", b)) / b


@converter("remainder", "__mod__")
def _remainder(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    if a.dtype.kind != FLOATS:
        return a.op("Mod", b)
    rest = a.op("Mod", b, fmod=1)
    # The sign is that of the divisor.
    other_sign = (rest * b) < 0.0
    return other_sign.where(rest + b, rest)


@converter("fmod")
def _fmod(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.op("Mod", b, fmod=1)


@converter("pow", "__pow__")
def _pow(g: Graph, input: Any, exponent: Any) -> Value:
    a, b = _pair(g, input, exponent)
    return a * a if isinstance(exponent, (int, float)) and exponent == 2 else a**b


@converter("__rpow__")
def _reflected_pow(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, other, input)
    return a**b


@converter("maximum", "fmax")
def _maximum(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.op("Max", b)


@converter("minimum", "fmin")
def _minimum(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.op("Min", b)


@converter("hypot")
def _hypot(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return (a * a + b * b).op("Sqrt")


@converter("logaddexp")
def _logaddexp(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    # Equal infinities have no difference.
    return a.equals(b).where(a + math.log(2), a.op("Max", b) + log1p((-(a - b).op("Abs")).op("Exp")))


@converter("atan2", "arctan2")
def _atan2(g: Graph, input: Any, other: Any) -> Value:
    y, x = _pair(g, input, other)
    angle = (y / x).op("Atan")
    turned = angle + (y >= 0.0).where(math.pi, -math.pi, y.dtype)
    on_axis = y.op("Sign") * (math.pi / 2)
    return x.equals(0.0).where(on_axis, (x > 0.0).where(angle, turned))


@converter("xlogy")
def _xlogy(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.equals(0.0).where(0.0, a * b.op("Log"))


_COMPARISONS = {
    "eq": "Equal", "__eq__": "Equal", "lt": "Less", "__lt__": "Less", "less": "Less", "le": "LessOrEqual",
    "__le__": "LessOrEqual", "less_equal": "LessOrEqual", "gt": "Greater", "__gt__": "Greater", "greater": "Greater",
    "ge": "GreaterOrEqual", "__ge__": "GreaterOrEqual", "greater_equal": "GreaterOrEqual",
}  # fmt: skip


def _comparison(onnx: str, negated: bool = False) -> Callable[..., Any]:
    def convert(g: Graph, input: Any, other: Any) -> Value:
        a, b = _common(g, input, other)
        found = a.op(onnx, b, dtype=bool)
        return found.op("Not") if negated else found

    return convert


for _name, _onnx in _COMPARISONS.items():
    converter(_name)(_comparison(_onnx))
converter("ne", "__ne__", "not_equal")(_comparison("Equal", True))


def _logical(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Any, other: Any) -> Value:
        return g.value(input, bool).op(onnx, g.value(other, bool))

    return convert


for _name, _onnx in {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}.items():
    converter(_name)(_logical(_onnx))


def _bitwise(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Any, other: Any) -> Value:
        a, b = _pair(g, input, other)
        return a.op(onnx if a.dtype.kind == "b" else f"Bitwise{onnx}", b)

    return convert


for _word, _onnx in {"and": "And", "or": "Or", "xor": "Xor"}.items():
    converter(f"bitwise_{_word}", f"__{_word}__", f"__r{_word}__")(_bitwise(_onnx))


@converter("logical_not")
def _logical_not(g: Graph, input: Any) -> Value:
    return g.value(input, bool).op("Not")


@converter("bitwise_not", "__invert__")
def _bitwise_not(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x.op("Not" if x.dtype.kind == "b" else "BitwiseNot")


@converter("where")
def _where(g: Graph, condition: Any, input: Any, other: Any) -> Value:
    return g.value(condition, bool).where(input, other, kind_of(g))


@converter("masked_fill")
def _masked_fill(g: Graph, input: Any, mask: Any, value: Any) -> Value:
    return g.value(mask, bool).where(value, input, kind_of(g))


@converter("lerp")
def _lerp(g: Graph, input: Any, end: Any, weight: Any) -> Value:
    a, b = _pair(g, input, end)
    return a + (b - a) * g.value(weight, a.dtype)


@converter("addcmul")
def _addcmul(g: Graph, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Value:
    a, b = _pair(g, tensor1, tensor2)
    return g.value(input, kind_of(g)) + (a * b if value == 1 else a * b * value)


@converter("addcdiv")
def _addcdiv(g: Graph, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Value:
    a, b = _pair(g, tensor1, tensor2)
    return g.value(input, kind_of(g)) + (a / b if value == 1 else a / b * value)


# -- Dtypes -----------------------------------------------------------------------------------

@converter(
    "to", "type", "type_as", "float", "double", "half", "long", "int", "short", "char", "byte", "bool", "float_power",
)  # fmt: skip
def _to(g: Graph, input: Any, *args: Any, **kwargs: Any) -> Value:
    if g.origin == "float_power":
        a, b = _pair(g, input, args[0])
        return a**b
    return g.value(input, kind_of(g))
