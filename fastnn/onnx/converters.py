"""Operations of fastnn as nodes of ONNX: a table of functions by the names of the operations.

A converter has the arguments of its operation after the graph. ``g.result`` is what the operation returned, for its
shape and dtype. It returns a value or the name of one, or a list if there are several results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor
from fastnn.onnx.graph import Graph, Value
from fastnn.onnx.tracing import SymbolicSize

CONVERTERS: dict[str, Callable[..., Any]] = {}
# The kind of the floating-point dtypes in NumPy.
FLOATS = "f"


def converter(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table under these names."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            assert name not in CONVERTERS, name
            CONVERTERS[name] = function
        return function

    return enter


def kind_of(g: Graph) -> np.dtype:
    """The dtype of the (first) result."""
    return (g.result if isinstance(g.result, Tensor) else g.result[0])._data.dtype


def rank(x: Tensor) -> int:
    return x._data.ndim


def axis_of(x: Tensor, dim: int) -> int:
    return int(dim) % max(rank(x), 1)


def axes_of(x: Tensor, dim: Any) -> list[int] | None:
    """The axes of a reduction; None for all."""
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return None
    return [axis_of(x, d) for d in (dim if isinstance(dim, (tuple, list)) else [dim])]


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


# -- Activations ------------------------------------------------------------------------------


@converter("relu")
def _relu(g: Graph, input: Any) -> Value:
    return g.value(input).op("Relu")


@converter("leaky_relu")
def _leaky_relu(g: Graph, input: Any, negative_slope: float = 0.01) -> Value:
    return g.value(input).op("LeakyRelu", alpha=float(negative_slope))


@converter("prelu")
def _prelu(g: Graph, input: Tensor, weight: Any) -> Value:
    slope = g.value(weight)
    if weight._data.size > 1 and rank(input) > 2:
        # The channels are in dimension 1.
        slope = g.reshape(slope, (weight._data.size, *[1] * (rank(input) - 2)))
    elif not rank(input):
        slope = g.reshape(slope, ())
    return g.value(input).op("PRelu", slope)


@converter("elu")
def _elu(g: Graph, input: Any, alpha: float = 1.0) -> Value:
    x = g.value(input)
    return (x > 0.0).where(x, expm1(x.op("Min", x._same(0.0))) * float(alpha))


@converter("celu")
def _celu(g: Graph, input: Any, alpha: float = 1.0) -> Value:
    x = g.value(input)
    return (x > 0.0).where(x, expm1(x.op("Min", x._same(0.0)) / float(alpha)) * float(alpha))


@converter("selu")
def _selu(g: Graph, input: Any) -> Value:
    x = g.value(input)
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return (x > 0.0).where(x * scale, expm1(x.op("Min", x._same(0.0))) * (alpha * scale))


@converter("gelu")
def _gelu(g: Graph, input: Any, approximate: str = "none") -> Value:
    x = g.value(input)
    if g.opset >= 20:
        return x.op("Gelu", approximate=approximate)
    if approximate == "none":
        return x * 0.5 * ((x / math.sqrt(2)).op("Erf") + 1.0)
    return x * 0.5 * (((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)).op("Tanh") + 1.0)


@converter("hardshrink")
def _hardshrink(g: Graph, input: Any, lambd: float = 0.5) -> Value:
    x = g.value(input)
    return (x.op("Abs") <= float(lambd)).where(0.0, x)


@converter("softshrink")
def _softshrink(g: Graph, input: Any, lambd: float = 0.5) -> Value:
    x = g.value(input)
    return (x - float(lambd)).op("Relu") - (-x - float(lambd)).op("Relu")


@converter("hardsigmoid")
def _hardsigmoid(g: Graph, input: Any) -> Value:
    return g.value(input).op("HardSigmoid", alpha=1 / 6, beta=0.5)


@converter("hardswish")
def _hardswish(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x.op("HardSwish") if g.opset >= 14 else x * x.op("HardSigmoid", alpha=1 / 6, beta=0.5)


@converter("hardtanh")
def _hardtanh(g: Graph, input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    return g.value(input).clip(float(min_val), float(max_val))


@converter("relu6")
def _relu6(g: Graph, input: Any) -> Value:
    return g.value(input).clip(0.0, 6.0)


@converter("logsigmoid")
def _logsigmoid(g: Graph, input: Any) -> Value:
    return -softplus(-g.value(input))


@converter("silu")
def _silu(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x * x.op("Sigmoid")


@converter("mish")
def _mish(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x * softplus(x).op("Tanh")


@converter("softplus")
def _softplus(g: Graph, input: Any, beta: float = 1.0, threshold: float = 20.0) -> Value:
    x = g.value(input)
    scaled = x * float(beta) if beta != 1 else x
    found = softplus(scaled)
    return (scaled > float(threshold)).where(x, found / float(beta) if beta != 1 else found)


@converter("tanhshrink")
def _tanhshrink(g: Graph, input: Any) -> Value:
    x = g.value(input)
    return x - x.op("Tanh")


@converter("threshold")
def _threshold(g: Graph, input: Any, threshold: float, value: float) -> Value:
    x = g.value(input)
    return (x > threshold).where(x, value)


@converter("rrelu")
def _rrelu(g: Graph, input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Value:
    if training:
        g.refuse("in training")
    return g.value(input).op("LeakyRelu", alpha=(lower + upper) / 2)


@converter("glu")
def _glu(g: Graph, input: Tensor, dim: int = -1) -> Value:
    axis = axis_of(input, dim)
    size = input._data.shape[axis] // 2
    a = g.value(input).op("Slice", g.ints([0]), g.ints([size]), g.ints([axis]))
    b = g.value(input).op("Slice", g.ints([size]), g.ints([2 * size]), g.ints([axis]))
    return a * b.op("Sigmoid")


def _softmax_axis(input: Tensor, dim: int | None) -> int:
    if dim is None:
        # PyTorch's choice of long ago.
        return 0 if rank(input) in (0, 1, 3) else 1
    return axis_of(input, dim)


def _softmaxes(onnx: str, negated: bool = False) -> Callable[..., Any]:
    def convert(g: Graph, input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
        x = g.value(input, kind_of(g))
        if negated:
            x = -x
        if not rank(input):
            x = g.reshape(x, (1,))
            return g.reshape(x.op(onnx, axis=0), ())
        return x.op(onnx, axis=_softmax_axis(input, dim))

    return convert


converter("softmax", "special_softmax")(_softmaxes("Softmax"))
converter("log_softmax", "special_log_softmax")(_softmaxes("LogSoftmax"))
converter("softmin")(_softmaxes("Softmax", True))


def _dropouts(channels: bool) -> Callable[..., Any]:
    def convert(g: Graph, input: Any, p: float = 0.5, training: bool = True, train: bool | None = None) -> Any:
        training = training if train is None else train
        if not training or not p:
            return g.value(input)
        if channels or not g.training:
            g.refuse("in training" if channels else "in training, without training=TrainingMode.TRAINING,")
        return g.op("Dropout", input, g.value(float(p), np.float32), g.value(True, bool))

    return convert


converter("dropout")(_dropouts(False))
converter("dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")(_dropouts(True))


# -- Products ---------------------------------------------------------------------------------


@converter("linear")
def _linear(g: Graph, input: Tensor, weight: Tensor, bias: Any = None) -> Value:
    x, w = g.value(input), g.value(weight)
    if rank(weight) == 2 and rank(input) == 2 and (bias is None or bias._data.size == weight._data.shape[0]):
        return x.op("Gemm", w, bias, transB=1)
    product = x.op("MatMul", w.op("Transpose", perm=[1, 0]) if rank(weight) == 2 else w)
    return product if bias is None else product + g.value(bias)


@converter("linear_activation")
def _linear_activation(
    g: Graph, input: Tensor, weight: Tensor, bias: Any = None, activation: str = "none", slope: float = 0.01,
    may_change: bool = False,
) -> Any:  # fmt: skip
    x = _linear(g, input, weight, bias)
    if activation.startswith("gelu"):
        return _gelu(g, x, "tanh" if activation == "gelu_tanh" else "none")
    if activation == "leaky_relu":
        return _leaky_relu(g, x, slope)
    return x if activation == "none" else x.op({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[activation])


@converter("bilinear")
def _bilinear(g: Graph, input1: Tensor, input2: Tensor, weight: Tensor, bias: Any = None) -> Value:
    out, n, m = weight._data.shape
    products = g.value(input1).unsqueeze(rank(input1)) * g.value(input2).unsqueeze(rank(input2) - 1)
    rows = g.reshape(products, (*g.sizes(input1)[:-1], n * m))
    columns = g.reshape(weight, (out, n * m)).op("Transpose", perm=[1, 0])
    product = rows.op("MatMul", columns)
    return product if bias is None else product + g.value(bias)


@converter("matmul", "mm", "bmm", "mv", "dot", "vdot", "__matmul__")
def _matmul(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.op("MatMul", b)


@converter("__rmatmul__")
def _reflected_matmul(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, other, input)
    return a.op("MatMul", b)


@converter("addmm")
def _addmm(g: Graph, input: Tensor, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Value:
    return g.value(mat1).op("Gemm", g.value(mat2), g.value(input), alpha=float(alpha), beta=float(beta))


@converter("addmv", "baddbmm")
def _added_product(g: Graph, input: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Value:
    product = g.value(a).op("MatMul", g.value(b))
    product = product if alpha == 1 else product * alpha
    added = g.value(input)
    return product + (added if beta == 1 else added * beta)


@converter("outer", "ger")
def _outer(g: Graph, input: Any, vec2: Any) -> Value:
    a, b = _pair(g, input, vec2)
    return a.unsqueeze(1) * b.unsqueeze(0)


@converter("inner")
def _inner(g: Graph, input: Tensor, other: Tensor) -> Value:
    a, b = _pair(g, input, other)
    if rank(other) == 2:
        return a.op("MatMul", b.op("Transpose", perm=[1, 0]))
    return a * b if not rank(input) or not rank(other) else a.op("MatMul", b)


@converter("einsum")
def _einsum(g: Graph, equation: str, *operands: Any) -> Value:
    if not isinstance(equation, str):
        g.refuse("without an equation of letters")
    values = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    first, *others = [g.value(v, kind_of(g)) for v in values]
    return first.op("Einsum", *others, equation=equation.replace(" ", ""))


# -- Reductions -------------------------------------------------------------------------------


def _reduction(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
        return g.reduce(onnx, g.value(input, kind_of(g)), axes_of(input, dim), keepdim)

    return convert


for _names, _onnx in {
    ("sum",): "ReduceSum", ("mean",): "ReduceMean", ("prod",): "ReduceProd", ("amax",): "ReduceMax",
    ("amin",): "ReduceMin", ("logsumexp",): "ReduceLogSumExp",
}.items():  # fmt: skip
    converter(*_names)(_reduction(_onnx))


def _truth(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Tensor, dim: Any = None, keepdim: bool = False) -> Value:
        return g.reduce(onnx, g.value(input, bool).to(np.int32), axes_of(input, dim), keepdim).to(bool)

    return convert


converter("all")(_truth("ReduceMin"))
converter("any")(_truth("ReduceMax"))


@converter("count_nonzero")
def _count_nonzero(g: Graph, input: Tensor, dim: Any = None) -> Value:
    return g.reduce("ReduceSum", g.value(input, bool).to(np.int64), axes_of(input, dim), False)


def _arg(onnx: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Tensor, dim: Any = None, keepdim: bool = False) -> Value:
        x = g.value(input)
        if dim is None:
            return g.reshape(x, (-1,)).op(onnx, axis=0, keepdims=0, dtype=np.int64)
        return x.op(onnx, axis=axis_of(input, dim), keepdims=int(keepdim), dtype=np.int64)

    return convert


converter("argmax")(_arg("ArgMax"))
converter("argmin")(_arg("ArgMin"))


def _extreme(reduction: str, arg: str, pair: str) -> Callable[..., Any]:
    def convert(g: Graph, input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        other = dim if isinstance(dim, Tensor) else other
        if other is not None:
            a, b = _pair(g, input, other)
            return a.op(pair, b)
        x = g.value(input)
        if dim is None:
            return g.reduce(reduction, x, None, False)
        axis = axis_of(input, dim)
        return [g.reduce(reduction, x, [axis], keepdim), x.op(arg, axis=axis, keepdims=int(keepdim), dtype=np.int64)]

    return convert


converter("max")(_extreme("ReduceMax", "ArgMax", "Max"))
converter("min")(_extreme("ReduceMin", "ArgMin", "Min"))


def _moments(g: Graph, input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool) -> tuple[Value, Value]:
    """Variance and mean."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    axes = axes_of(input, dim)
    x = g.value(input)
    mean = g.reduce("ReduceMean", x, axes, keepdim)
    centred = x - g.reduce("ReduceMean", x, axes, True)
    square = centred * centred
    if not correction:
        return g.reduce("ReduceMean", square, axes, keepdim), mean
    sizes = g.sizes(input)
    count: Any = 1
    for axis in range(rank(input)) if axes is None else axes:
        count = count * sizes[axis]
    return g.reduce("ReduceSum", square, axes, keepdim) / g.value(count - correction, x.dtype), mean


@converter("var")
def _var(
    g: Graph, input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Value:
    return _moments(g, input, dim, unbiased, correction, keepdim)[0]


@converter("std")
def _std(
    g: Graph, input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Value:
    return _moments(g, input, dim, unbiased, correction, keepdim)[0].op("Sqrt")


@converter("var_mean")
def _var_mean(
    g: Graph, input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Any:
    return list(_moments(g, input, dim, unbiased, correction, keepdim))


@converter("std_mean")
def _std_mean(
    g: Graph, input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Any:
    spread, mean = _moments(g, input, dim, unbiased, correction, keepdim)
    return [spread.op("Sqrt"), mean]


def norm_of(x: Value, p: Any, axes: Sequence[int] | None, keep: bool) -> Value:
    """The p-norm along axes."""
    if p in (None, "fro") or p == 2:
        return x.reduce("ReduceL2", axes, keep)
    if p == 1:
        return x.reduce("ReduceL1", axes, keep)
    size = x.op("Abs")
    if p == math.inf:
        return size.reduce("ReduceMax", axes, keep)
    if p == -math.inf:
        return size.reduce("ReduceMin", axes, keep)
    if p == 0:
        return x.equals(0.0).op("Not").to(x.dtype).sum(axes, keep)
    return (size ** float(p)).sum(axes, keep) ** (1 / float(p))


@converter("norm")
def _norm(g: Graph, input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    if p == "nuc":
        g.refuse("with p='nuc'")
    return norm_of(g.value(input, kind_of(g)), p, axes_of(input, dim), keepdim)


@converter("vector_norm")
def _vector_norm(
    g: Graph, x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    return norm_of(g.value(x, kind_of(g)), ord, axes_of(x, dim), keepdim)


@converter("cumsum")
def _cumsum(g: Graph, input: Tensor, dim: int, *, dtype: Any = None) -> Value:
    return g.value(input, kind_of(g)).op("CumSum", g.value(axis_of(input, dim), np.int64))


@converter("topk")
def _topk(g: Graph, input: Tensor, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    return g.op(
        "TopK", input, g.size(k), outputs=2, axis=axis_of(input, dim), largest=int(largest), sorted=int(sorted)
    )


@converter("sort")
def _sort(g: Graph, input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    axis = axis_of(input, dim)
    size = g.size(g.sizes(input)[axis])
    return g.op("TopK", input, size, outputs=2, axis=axis, largest=int(descending), sorted=1)


@converter("argsort")
def _argsort(g: Graph, input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    return _sort(g, input, dim, descending)[1]


# -- Shapes -----------------------------------------------------------------------------------


def _sizes_given(sizes: Any) -> list[Any]:
    found = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)) else list(sizes)
    if any(isinstance(n, (Tensor, _dtype)) for n in found):
        raise TypeError(f"sizes must be integers, found {found!r}")
    return found


@converter("reshape", "view")
def _reshape(g: Graph, input: Any, *sizes: Any, shape: Any = None, size: Any = None) -> Value:
    given = [s for s in (shape, size) if s is not None] or sizes
    if len(given) == 1 and isinstance(given[0], _dtype):
        g.refuse("to another dtype")
    return g.reshape(input, _sizes_given(given))


@converter("view_as", "reshape_as")
def _reshape_as(g: Graph, input: Any, other: Tensor) -> Value:
    return g.reshape(input, g.sizes(other))


@converter("flatten", "ravel")
def _flatten(g: Graph, input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Value:
    if not rank(input):
        return g.reshape(input, (1,))
    first, last, sizes = axis_of(input, start_dim), axis_of(input, end_dim), g.sizes(input)
    if first == last:
        return g.value(input)
    if first == 1 and last == rank(input) - 1:
        return g.value(input).op("Flatten", axis=1)
    middle = -1 if g.result._data.size else math.prod(sizes[first : last + 1])
    return g.reshape(input, (*sizes[:first], middle, *sizes[last + 1 :]))


@converter("unflatten")
def _unflatten(g: Graph, input: Tensor, dim: int, sizes: Any) -> Value:
    axis, before = axis_of(input, dim), g.sizes(input)
    return g.reshape(input, (*before[:axis], *sizes, *before[axis + 1 :]))


@converter("squeeze")
def _squeeze(g: Graph, input: Tensor, dim: Any = None) -> Value:
    shape = input._data.shape
    axes = list(range(rank(input))) if dim is None else axes_of(input, dim) or []
    if rank(input) == 0:
        return g.value(input)
    axes = [a for a in axes if shape[a] == 1]
    return g.value(input).squeeze(*axes) if axes else g.value(input)


@converter("unsqueeze")
def _unsqueeze(g: Graph, input: Tensor, dim: int) -> Value:
    return g.value(input).unsqueeze(int(dim) % (rank(input) + 1))


def _permuted(g: Graph, input: Any, order: Sequence[int]) -> Value:
    return g.value(input).op("Transpose", perm=list(order))


@converter("transpose", "swapaxes", "swapdims")
def _transpose(g: Graph, input: Tensor, dim0: int, dim1: int) -> Value:
    order = list(range(rank(input)))
    if not order:
        return g.value(input)
    a, b = axis_of(input, dim0), axis_of(input, dim1)
    order[a], order[b] = order[b], order[a]
    return _permuted(g, input, order)


@converter("t", "T", "numpy_T")
def _t(g: Graph, input: Tensor) -> Value:
    return _permuted(g, input, range(rank(input))[::-1]) if rank(input) > 1 else g.value(input)


@converter("mT", "H", "mH", "adjoint")
def _mt(g: Graph, input: Tensor) -> Value:
    return _transpose(g, input, -1, -2)


@converter("permute")
def _permute(g: Graph, input: Tensor, *dims: Any) -> Value:
    return _permuted(g, input, [axis_of(input, d) for d in _sizes_given(dims)])


@converter("movedim", "moveaxis")
def _movedim(g: Graph, input: Tensor, source: Any, destination: Any) -> Value:
    wanted = np.moveaxis(np.zeros((1,) * rank(input)), source, destination).ndim
    order = list(range(wanted))
    sources, places = axes_of(input, source) or [], axes_of(input, destination) or []
    rest = [d for d in order if d not in sources]
    for place, d in sorted(zip(places, sources, strict=True)):
        rest.insert(place, d)
    return _permuted(g, input, rest)


@converter("expand", "broadcast_to")
def _expand(g: Graph, input: Any, *sizes: Any, size: Any = None, implicit: bool = False) -> Value:
    given = _sizes_given(sizes if size is None else (size,))
    return g.value(input).op("Expand", g.shape([1 if int(n) == -1 else n for n in given]))


@converter("expand_as")
def _expand_as(g: Graph, input: Any, other: Tensor) -> Value:
    return g.value(input).op("Expand", g.shape(g.sizes(other)))


@converter("repeat", "tile")
def _repeat(g: Graph, input: Tensor, *repeats: Any, dims: Any = None) -> Value:
    times = _sizes_given(repeats if dims is None else (dims,))
    x, extra = g.value(input), len(times) - rank(input)
    if extra > 0:
        x = x.unsqueeze(*range(extra))
    return x.op("Tile", g.shape([1] * -extra + times))


@converter("cat", "concat", "concatenate")
def _cat(g: Graph, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    kind = kind_of(g)
    # Empty vectors may stand among others.
    parts = [t for t in tensors if not (rank(t) == 1 and not t._data.size and rank(g.result) > 1)]
    first, *others = [g.value(t, kind) for t in parts]
    return first.op("Concat", *others, axis=axis_of(g.result, dim))


@converter("stack")
def _stack(g: Graph, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    axis = axis_of(g.result, dim)
    first, *others = [g.value(t, kind_of(g)).unsqueeze(axis) for t in tensors]
    return first.op("Concat", *others, axis=axis)


def _pieces(g: Graph, input: Tensor, axis: int) -> Any:
    """The parts of a split, whose sizes along the axis are those of the results."""
    sizes = [part._data.shape[axis] for part in g.result]
    if len(sizes) == 1:
        return [g.value(input)]
    if type(g.sizes(input)[axis]) is SymbolicSize:
        g.refuse("of a dimension whose size changes")
    return g.op("Split", input, g.ints(sizes), outputs=len(sizes), axis=axis)


@converter("split", "split_with_sizes", "unsafe_split", "chunk", "unsafe_chunk", "tensor_split")
def _split(g: Graph, input: Tensor, sizes: Any, dim: int = 0) -> Any:
    return _pieces(g, input, axis_of(input, dim))


@converter("unbind")
def _unbind(g: Graph, input: Tensor, dim: int = 0) -> Any:
    axis = axis_of(input, dim)
    if type(g.sizes(input)[axis]) is SymbolicSize:
        g.refuse("of a dimension whose size changes")
    return [g.value(input).op("Gather", g.value(i, np.int64), axis=axis) for i in range(input._data.shape[axis])]


@converter("narrow")
def _narrow(g: Graph, input: Tensor, dim: int, start: Any, length: Any) -> Value:
    return g.value(input).op("Slice", g.size(start), g.size(start + length), g.ints([axis_of(input, dim)]))


@converter("select")
def _select(g: Graph, input: Tensor, dim: int, index: Any) -> Value:
    return g.value(input).op("Gather", g.value(index, np.int64), axis=axis_of(input, dim))


@converter("flip")
def _flip(g: Graph, input: Tensor, *dims: Any) -> Value:
    axes = [axis_of(input, d) for d in _sizes_given(dims)]
    least = np.iinfo(np.int64).min
    return g.value(input).op(
        "Slice", g.ints([-1] * len(axes)), g.ints([least] * len(axes)), g.ints(axes), g.ints([-1] * len(axes))
    )


@converter("roll")
def _roll(g: Graph, input: Tensor, shifts: Any, dims: Any = None) -> Value:
    x, sizes = g.value(input), g.sizes(input)
    if dims is None:
        x = g.reshape(x, (-1,))
        pairs = [(shifts if isinstance(shifts, int) else shifts[0], 0, input._data.size)]
    else:
        shifts, dims = ([v] if isinstance(v, int) else list(v) for v in (shifts, dims))
        axes = [axis_of(input, d) for d in dims]
        pairs = [(s, a, input._data.shape[a]) for s, a in zip(shifts, axes, strict=True)]
    for shift, axis, size in pairs:
        if type(sizes[axis]) is SymbolicSize or (dims is None and any(type(n) is SymbolicSize for n in sizes)):
            g.refuse("along a dimension whose size changes")
        cut = -shift % size if size else 0
        if cut:
            head = x.op("Slice", g.ints([0]), g.ints([cut]), g.ints([axis]))
            tail = x.op("Slice", g.ints([cut]), g.ints([size]), g.ints([axis]))
            x = tail.op("Concat", head, axis=axis)
    return g.reshape(x, sizes) if dims is None else x


@converter("tril", "triu")
def _triangle(g: Graph, input: Any, diagonal: int = 0) -> Value:
    if g.opset < 14:
        g.refuse("with an opset below 14")
    return g.value(input).op("Trilu", g.value(int(diagonal), np.int64), upper=int(g.origin == "triu"))


@converter("pad")
def _pad(g: Graph, input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    kinds = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    if mode not in kinds:
        g.refuse(f"with mode={mode!r}")
    pairs = [(0, 0)] * (rank(input) - len(pad) // 2) + list(zip(pad[-2::-2], pad[-1::-2], strict=True))
    ends = g.ints([int(a) for a, _ in pairs] + [int(b) for _, b in pairs])
    x = g.value(input)
    fill = x._same(value or 0) if mode == "constant" else None
    return x.op("Pad", ends, fill, mode=kinds[mode])


# -- Indexing ---------------------------------------------------------------------------------


@converter("index_select")
def _index_select(g: Graph, input: Tensor, dim: int, index: Any) -> Value:
    return g.value(input).op("Gather", g.value(index), axis=axis_of(input, dim))


@converter("gather")
def _gather(g: Graph, input: Tensor, dim: int, index: Any) -> Value:
    return g.value(input).op("GatherElements", g.value(index), axis=axis_of(input, dim))


@converter("scatter", "scatter_add")
def _scatter(
    g: Graph, input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Any:
    src = value if src is None else src
    if reduce is not None:
        g.refuse("with reduce")
    adds = g.origin == "scatter_add"
    if adds and g.opset < 16:
        g.refuse("with an opset below 16")
    if isinstance(src, Tensor) and rank(src):
        if src._data.shape != index._data.shape:
            g.refuse("with a source of another shape than the index")
        values = g.value(src, kind_of(g))
    else:
        values = g.value(src, kind_of(g)).op("Expand", g.shape(g.sizes(index)))
    options = {"reduction": "add"} if adds else {}
    return g.value(input).op("ScatterElements", g.value(index), values, axis=axis_of(input, dim), **options)


@converter("__setitem__")
def _setitem(g: Graph, input: Tensor, index: Any, value: Any) -> Value:
    x, sizes = g.value(input), g.sizes(input)
    if isinstance(index, Tensor) and index._data.dtype.kind == "b" and rank(index) == rank(input):
        mask = g.value(index)
    else:
        mask = _mask(g, sizes, index)
    if not isinstance(value, Tensor) or not rank(value):
        return mask.where(value, x, x.dtype)
    if isinstance(index, Tensor):
        g.refuse("by a mask with a tensor of values")
    part = g.op("Shape", _getitem(g, input, index))
    updates = g.reshape(g.value(value, x.dtype).op("Expand", part), (-1,))
    everywhere = mask.op("Expand", g.shape(sizes))
    places = everywhere.op("NonZero", dtype=np.int64).op("Transpose", perm=[1, 0])
    return x.op("ScatterND", places, updates)


def _mask(g: Graph, sizes: Sequence[Any], index: Any) -> Value:
    """Where integers and slices point to, for the last of the dimensions that they are about."""
    parts = [p for p in (index if isinstance(index, tuple) else (index,)) if p is not None]
    if not all(p is Ellipsis or (isinstance(p, (slice, int, np.integer)) and not isinstance(p, bool)) for p in parts):
        g.refuse("by tensors")
    place = next((i for i, p in enumerate(parts) if p is Ellipsis), len(parts))
    parts[place : place + 1] = [slice(None)] * (len(sizes) - len(parts) + (place < len(parts)))
    mask = g.value(True, bool)
    for axis, (size, part) in enumerate(zip(sizes, parts, strict=True)):
        if part == slice(None):
            continue
        n = g.value(size, np.int64)
        steps = g.value(0, np.int64).op("Range", n, g.value(1, np.int64))
        if isinstance(part, slice):
            if part.step not in (None, 1):
                g.refuse("with steps")
            chosen = steps >= _from_front(g, part.start or 0, n)
            if part.stop is not None:
                chosen = chosen.op("And", steps < _from_front(g, part.stop, n))
        else:
            chosen = steps.equals(_from_front(g, part, n))
        behind = len(sizes) - 1 - axis
        mask = mask.op("And", chosen.unsqueeze(*range(1, behind + 1)) if behind else chosen)
    return mask


def _from_front(g: Graph, place: Any, size: Value) -> Value:
    found = g.value(place, np.int64)
    return found + size if int(place) < 0 else found


@converter("take_along_dim")
def _take_along_dim(g: Graph, input: Tensor, indices: Any, dim: int | None = None) -> Value:
    if dim is None:
        return g.reshape(input, (-1,)).op("Gather", g.reshape(indices, (-1,)), axis=0)
    return g.value(input).op("GatherElements", g.value(indices), axis=axis_of(input, dim))


@converter("embedding")
def _embedding(g: Graph, input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *rest: Any) -> Value:
    if max_norm is not None:
        g.refuse("with max_norm")
    return g.value(weight).op("Gather", g.value(input), axis=0)


@converter("one_hot")
def _one_hot(g: Graph, tensor: Any, num_classes: int = -1) -> Value:
    if num_classes == -1:
        g.refuse("without num_classes")
    steps = g.constant(np.arange(num_classes))
    return g.value(tensor, np.int64).unsqueeze(rank(tensor)).op("Equal", steps, dtype=bool).to(np.int64)


@converter("__getitem__")
def _getitem(g: Graph, input: Tensor, index: Any) -> Value:
    parts = list(index) if isinstance(index, tuple) else [index]
    used = sum(_dimensions(p) for p in parts if p is not None and p is not Ellipsis)
    places = [i for i, p in enumerate(parts) if p is Ellipsis] or [len(parts)]
    fill = [slice(None)] * (rank(input) - used)
    parts[places[0] : places[0] + 1] = fill
    x = g.value(input)
    # First the slices, whose axes are those of the input; then, from behind, the integers and new axes.
    axis, starts, stops, axes, steps = 0, [], [], [], []
    work: list[tuple[str, int, Any]] = []
    for part in parts:
        if part is None:
            work.append(("new", axis, None))
            continue
        if isinstance(part, slice):
            if part != slice(None):
                step = 1 if part.step is None else int(part.step)
                starts.append(0 if part.start is None else part.start)
                stops.append(np.iinfo(np.int64).max if part.stop is None else part.stop)
                axes.append(axis)
                steps.append(step)
        elif isinstance(part, (bool, np.bool_)):
            g.refuse("by a truth value")
        elif isinstance(part, (int, np.integer)) or (isinstance(part, Tensor) and _is_integer(part) and not rank(part)):
            work.append(("integer", axis, part))
        else:
            work.append(("tensor", axis, part))
        axis += _dimensions(part)
    if axes:
        x = x.op("Slice", g.shape(starts), g.shape(stops), g.ints(axes), g.ints(steps))
    tensors = [(at, part) for kind, at, part in work if kind == "tensor"]
    if len(tensors) > 1:
        return _by_tensors(g, x, rank(input), work, tensors)
    for kind, at, part in reversed(work):
        if kind == "new":
            x = x.unsqueeze(at)
        elif kind == "integer" or _is_integer(part):
            x = x.op("Gather", _indices(g, part), axis=at)
        elif len(parts) == len(fill) + 1 and not at:
            # A mask.
            places_of = g.value(part, bool).op("NonZero", dtype=np.int64).op("Transpose", perm=[1, 0])
            x = x.op("GatherND", places_of)
        else:
            g.refuse("by a mask among other indices")
    return x


def _is_integer(part: Any) -> bool:
    array = part._data if isinstance(part, Tensor) else np.asarray(part)
    return array.dtype.kind in "iu" and array.dtype != np.uint8


def _indices(g: Graph, part: Any) -> Value:
    return g.value(part, np.int64)


def _dimensions(part: Any) -> int:
    """How many dimensions an index takes."""
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, Tensor) and not _is_integer(part):
        return rank(part)
    return 1


def _by_tensors(g: Graph, x: Value, ndim: int, work: Any, tensors: Any) -> Value:
    """Several tensors of indices: their axes go to the front, and their results to the place of the first."""
    if len(tensors) != len(work) or not all(_is_integer(part) for _, part in tensors):
        g.refuse("by several tensors among integers, new axes or masks")
    axes = [at for at, _ in tensors]
    rest = [d for d in range(ndim) if d not in axes]
    indices = [_indices(g, part) for _, part in tensors]
    total = indices[0]
    for other in indices[1:]:
        total = total + other
    shape = g.op("Shape", total)
    ndims = len(np.broadcast_shapes(*[np.shape(p._data if isinstance(p, Tensor) else p) for _, p in tensors]))
    stacked = [i.op("Expand", shape).unsqueeze(ndims) for i in indices]
    places = stacked[0].op("Concat", *stacked[1:], axis=ndims)
    found = x.op("Transpose", perm=[*axes, *rest]).op("GatherND", places)
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    if not adjacent or not axes[0]:
        return found
    front, first = list(range(ndims)), axes[0]
    others = list(range(ndims, ndims + len(rest)))
    return found.op("Transpose", perm=[*others[:first], *front, *others[first:]])


# -- Tensors of sizes -------------------------------------------------------------------------


def _filled(g: Graph, sizes: Sequence[Any], value: Any) -> Value:
    return g.value(value, kind_of(g)).op("Expand", g.shape(sizes))


@converter("zeros", "ones", "empty", "new_zeros", "new_ones", "new_empty")
def _constant_of_sizes(g: Graph, *sizes: Any, size: Any = None, **kwargs: Any) -> Value:
    given = sizes[1:] if g.origin.startswith("new_") else sizes
    return _filled(g, _sizes_given(given if size is None else (size,)), int(g.origin.endswith("ones")))


@converter("full", "new_full")
def _full(g: Graph, *args: Any, **kwargs: Any) -> Value:
    given = list(args[1:] if g.origin.startswith("new_") else args)
    size = kwargs["size"] if "size" in kwargs else given.pop(0)
    value = kwargs["fill_value"] if "fill_value" in kwargs else given.pop(0)
    return _filled(g, [size] if isinstance(size, int) else list(size), value)


@converter("zeros_like", "ones_like", "empty_like")
def _constant_like(g: Graph, input: Tensor, **kwargs: Any) -> Value:
    return _filled(g, g.sizes(input), int(g.origin == "ones_like"))


@converter("full_like")
def _full_like(g: Graph, input: Tensor, fill_value: Any, **kwargs: Any) -> Value:
    return _filled(g, g.sizes(input), fill_value)


@converter("zero_")
def _zero(g: Graph, input: Tensor) -> Value:
    return _filled(g, g.sizes(input), 0)


@converter("fill_")
def _fill(g: Graph, input: Tensor, value: Any) -> Value:
    return _filled(g, g.sizes(input), value)


@converter("copy_")
def _copy(g: Graph, input: Tensor, src: Any, non_blocking: bool = False) -> Value:
    return _filled(g, g.sizes(input), src)


@converter("arange")
def _arange(g: Graph, *args: Any, start: Any = 0, end: Any = None, step: Any = 1, **kwargs: Any) -> Value:
    if len(args) == 1:
        end = args[0]
    elif args:
        start, end = args[:2]
        step = args[2] if len(args) > 2 else step
    first, *others = [g.value(n, kind_of(g)) for n in (start, end, step)]
    return first.op("Range", *others)


@converter("tensor", "as_tensor", "scalar_tensor")
def _tensor(g: Graph, data: Any, *args: Any, **kwargs: Any) -> Value:
    if isinstance(data, Tensor) or type(data) is SymbolicSize:
        return g.value(data, kind_of(g))
    if all(isinstance(n, int) for n in data):
        return Value(g, g.shape(data), np.int64).to(kind_of(g))
    return g.refuse("of other tensors")


@converter("randn", "rand")
def _random(g: Graph, *sizes: Any, size: Any = None, **kwargs: Any) -> Value:
    kind = "RandomNormalLike" if g.origin == "randn" else "RandomUniformLike"
    return _filled(g, _sizes_given(sizes if size is None else (size,)), 0).op(kind)


@converter("randn_like", "rand_like")
def _random_like(g: Graph, input: Tensor, **kwargs: Any) -> Value:
    kind = "RandomNormalLike" if g.origin == "randn_like" else "RandomUniformLike"
    return g.value(input, kind_of(g)).op(kind)


# -- Normalisation ----------------------------------------------------------------------------


def _channels(g: Graph, x: Any, count: int, extra: int) -> Value:
    """A vector of channels, for values with ``extra`` dimensions after them."""
    return g.reshape(x, (count, *[1] * extra)) if extra else g.value(x)


@converter("batch_norm")
def _batch_norm(
    g: Graph, input: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    x, channels, kind = g.value(input), input._data.shape[1], kind_of(g)
    scale = g.value(np.ones(channels, kind) if weight is None else weight, kind)
    shift = g.value(np.zeros(channels, kind) if bias is None else bias, kind)
    if not training:
        return x.op("BatchNormalization", scale, shift, g.value(running_mean), g.value(running_var), epsilon=float(eps))
    if g.training and running_mean is not None and g.opset >= 14:
        return g.op(
            "BatchNormalization", x, scale, shift, running_mean, running_var, outputs=3, epsilon=float(eps),
            momentum=1 - float(momentum), training_mode=1,
        )[0]  # fmt: skip
    axes, extra = [0, *range(2, rank(input))], rank(input) - 2
    centred = x - x.reduce("ReduceMean", axes, True)
    spread = (centred * centred).reduce("ReduceMean", axes, True)
    normal = centred / (spread + float(eps)).op("Sqrt")
    return normal * _channels(g, scale, channels, extra) + _channels(g, shift, channels, extra)


@converter("layer_norm")
def _layer_norm(
    g: Graph, input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Value:
    shape = [int(normalized_shape)] if isinstance(normalized_shape, int) else [int(n) for n in normalized_shape]
    x, kind = g.value(input), kind_of(g)
    if g.opset >= 17:
        scale = g.value(np.ones(shape, kind) if weight is None else weight)
        shift = None if bias is None else g.value(bias)
        return x.op("LayerNormalization", scale, shift, axis=-len(shape), epsilon=float(eps))
    axes = list(range(rank(input) - len(shape), rank(input)))
    centred = x - x.reduce("ReduceMean", axes, True)
    normal = centred / ((centred * centred).reduce("ReduceMean", axes, True) + float(eps)).op("Sqrt")
    normal = normal if weight is None else normal * g.value(weight)
    return normal if bias is None else normal + g.value(bias)


@converter("rms_norm")
def _rms_norm(g: Graph, input: Tensor, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Value:
    count = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    x = g.value(input)
    axes = list(range(rank(input) - count, rank(input)))
    small = float(np.finfo(x.dtype).eps) if eps is None else float(eps)
    normal = x / ((x * x).reduce("ReduceMean", axes, True) + small).op("Sqrt")
    return normal if weight is None else normal * g.value(weight)


@converter("group_norm")
def _group_norm(
    g: Graph, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Value:
    channels, extra, sizes = input._data.shape[1], rank(input) - 2, g.sizes(input)
    x = g.reshape(input, (sizes[0], num_groups, -1 if input._data.size else 0))
    centred = x - x.reduce("ReduceMean", [2], True)
    normal = centred / ((centred * centred).reduce("ReduceMean", [2], True) + float(eps)).op("Sqrt")
    normal = g.reshape(normal, sizes)
    normal = normal if weight is None else normal * _channels(g, weight, channels, extra)
    return normal if bias is None else normal + _channels(g, bias, channels, extra)


@converter("instance_norm")
def _instance_norm(
    g: Graph, input: Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(g, input, running_mean, running_var, weight, bias, False, momentum, eps)
    channels, extra = input._data.shape[1], rank(input) - 2
    x, axes = g.value(input), list(range(2, rank(input)))
    centred = x - x.reduce("ReduceMean", axes, True)
    normal = centred / ((centred * centred).reduce("ReduceMean", axes, True) + float(eps)).op("Sqrt")
    normal = normal if weight is None else normal * _channels(g, weight, channels, extra)
    return normal if bias is None else normal + _channels(g, bias, channels, extra)


@converter("normalize")
def _normalize(g: Graph, input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Value:
    x = g.value(input)
    return x / norm_of(x, p, axes_of(input, dim), True).op("Max", x._same(eps))


@converter("cosine_similarity")
def _cosine_similarity(g: Graph, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Value:
    a, b = _pair(g, x1, x2)
    return cosine(a, b, int(dim) % max(rank(x1), rank(x2)), eps)


def cosine(a: Value, b: Value, axis: int, eps: float) -> Value:
    """The cosine of the angle between vectors along an axis."""
    sizes = [v.reduce("ReduceL2", [axis], True).op("Max", v._same(eps)) for v in (a, b)]
    return ((a / sizes[0]) * (b / sizes[1])).sum([axis])


@converter("pairwise_distance")
def _pairwise_distance(g: Graph, x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Value:
    a, b = _pair(g, x1, x2)
    return norm_of(a - b + float(eps), p, [-1], keepdim)


@converter("embedding_bag")
def _embedding_bag(
    g: Graph, input: Tensor, weight: Tensor, offsets: Any = None, max_norm: Any = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: Any = None,
) -> Value:  # fmt: skip
    if max_norm is not None:
        g.refuse("with max_norm")
    index = g.value(input)
    rows = g.value(weight).op("Gather", index, axis=0)
    kind = kind_of(g)
    # (bags, items) of what counts, and (bags or 1, items, features) of the rows.
    if offsets is None:
        counts = None if padding_idx is None else index.equals(int(padding_idx) % len(weight._data)).op("Not")
        shares = None if per_sample_weights is None else g.value(per_sample_weights)
    else:
        n = g.sizes(input)[0]
        items = g.value(0, np.int64).op("Range", g.value(n, np.int64), g.value(1, np.int64))
        starts = g.value(offsets, np.int64)
        if include_last_offset:
            ends = starts.op("Slice", g.ints([1]), g.ints([np.iinfo(np.int64).max]), g.ints([0]))
            starts = starts.op("Slice", g.ints([0]), g.ints([-1]), g.ints([0]))
        else:
            rest = starts.op("Slice", g.ints([1]), g.ints([np.iinfo(np.int64).max]), g.ints([0]))
            ends = rest.op("Concat", g.size(n), axis=0)
        counts = (items >= starts.unsqueeze(1)).op("And", items < ends.unsqueeze(1))
        if padding_idx is not None:
            counts = counts.op("And", index.equals(int(padding_idx) % len(weight._data)).op("Not"))
        shares = None if per_sample_weights is None else g.value(per_sample_weights).unsqueeze(0)
        rows = rows.unsqueeze(0)
    if mode == "max":
        if counts is None:
            return rows.reduce("ReduceMax", [1])
        masked = counts.unsqueeze(2).where(rows, -math.inf)
        found = masked.reduce("ReduceMax", [1])
        return found.equals(-math.inf).where(0.0, found)
    if shares is not None:
        rows = rows * shares.unsqueeze(2)
    if counts is not None:
        rows = counts.unsqueeze(2).where(rows, 0.0)
    if mode == "sum":
        return rows.sum([1])
    if counts is None:
        return rows.reduce("ReduceMean", [1])
    return rows.sum([1]) / counts.to(kind).sum([1], True).op("Max", g.value(1.0, kind))
