"""Operations of ONNX as functions of fastnn's tensors: a table by domain and name.

An entry gets the attributes of a node and returns its function, of whether the module is in training and of the inputs.
Attributes are checked when the file is loaded, before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.onnx.errors import package

F = fastnn.nn.functional
OPERATORS: dict[tuple[str, str], Callable[[Any], Callable[..., Any]]] = {}


class Skipped(Exception):
    """What of an operation fastnn does not compute."""


class Attributes:
    """The attributes of a node, by name; ``opset`` is the version of its operators."""

    def __init__(self, node: Any, opset: int) -> None:
        self.opset = opset
        self.values = {a.name: package().helper.get_attribute_value(a) for a in node.attribute}
        self.outputs = len(node.output)

    def get(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name, default)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, list) and value and isinstance(value[0], bytes):
            return [v.decode() for v in value]
        return value


def operator(*names: str, domain: str = "") -> Callable[[Any], Any]:
    """Enter a function of attributes into the table."""

    def enter(build: Any) -> Any:
        for name in names:
            OPERATORS[domain, name] = build
        return build

    return enter


def _plain(name: str, function: Callable[..., Any]) -> None:
    """An operation without attributes."""

    def run(training: bool, *inputs: Any) -> Any:
        return function(*inputs)

    OPERATORS["", name] = lambda a: run


def _ints(x: Any) -> list[int]:
    """The numbers of a vector of sizes or axes."""
    found = x.tolist()
    return found if isinstance(found, list) else [found]


def _dtype(code: int) -> Any:
    helper = package().helper
    try:
        return fastnn._core.dtypes.from_numpy_dtype(np.dtype(helper.tensor_dtype_to_np_dtype(code)))
    except (TypeError, KeyError, ValueError):
        raise Skipped(f"to the dtype {package().TensorProto.DataType.Name(code)}") from None


# -- Elementwise ------------------------------------------------------------------------------

for _name, _function in {
    "Abs": fastnn.abs, "Acos": fastnn.acos, "Acosh": fastnn.acosh, "Asin": fastnn.asin, "Asinh": fastnn.asinh,
    "Atan": fastnn.atan, "Atanh": fastnn.atanh, "Ceil": fastnn.ceil, "Cos": fastnn.cos, "Cosh": fastnn.cosh,
    "Erf": fastnn.erf, "Exp": fastnn.exp, "Floor": fastnn.floor, "IsNaN": fastnn.isnan, "Log": fastnn.log,
    "Neg": fastnn.neg, "Not": fastnn.logical_not, "Reciprocal": fastnn.reciprocal, "Relu": F.relu,
    "Round": fastnn.round, "Sigmoid": fastnn.sigmoid, "Sign": fastnn.sign, "Sin": fastnn.sin, "Sinh": fastnn.sinh,
    "Softsign": F.softsign, "Sqrt": fastnn.sqrt, "Tan": fastnn.tan, "Tanh": fastnn.tanh, "HardSwish": F.hardswish,
    "Mish": F.mish, "Add": fastnn.add, "Sub": fastnn.sub, "Mul": fastnn.mul, "And": fastnn.logical_and,
    "Or": fastnn.logical_or, "Xor": fastnn.logical_xor, "Equal": fastnn.eq, "Greater": fastnn.gt,
    "GreaterOrEqual": fastnn.ge, "Less": fastnn.lt, "LessOrEqual": fastnn.le, "BitwiseAnd": fastnn.bitwise_and,
    "BitwiseOr": fastnn.bitwise_or, "BitwiseXor": fastnn.bitwise_xor, "BitwiseNot": fastnn.bitwise_not,
    "Where": fastnn.where, "MatMul": fastnn.matmul, "Det": fastnn.det,
}.items():  # fmt: skip
    _plain(_name, _function)


def _softplus(x: Tensor) -> Tensor:
    # Without the threshold of PyTorch's.
    return F.softplus(x, 1.0, math.inf)


def _divided(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else fastnn.div(a, b, rounding_mode="trunc")


def _power(a: Tensor, b: Tensor) -> Tensor:
    return (a**b).to(a.dtype)


def _same(x: Any) -> Any:
    return x


_plain("Softplus", _softplus)
_plain("Div", _divided)
_plain("Pow", _power)
_plain("Identity", _same)


def _folded(name: str, function: Callable[..., Any], mean: bool = False) -> None:
    def run(training: bool, *inputs: Any) -> Any:
        result = inputs[0]
        for other in inputs[1:]:
            result = function(result, other)
        return result / len(inputs) if mean else result

    OPERATORS["", name] = lambda a: run


_folded("Max", fastnn.maximum)
_folded("Min", fastnn.minimum)
_folded("Sum", fastnn.add)
_folded("Mean", fastnn.add, True)


@operator("Mod")
def _mod(a: Attributes) -> Any:
    function = fastnn.fmod if a.get("fmod", 0) else fastnn.remainder
    return lambda training, x, y: function(x, y)


@operator("IsInf")
def _isinf(a: Attributes) -> Any:
    if not a.get("detect_negative", 1):
        return lambda training, x: fastnn.isposinf(x)
    return lambda training, x: fastnn.isinf(x) if a.get("detect_positive", 1) else fastnn.isneginf(x)


@operator("Celu")
def _celu(a: Attributes) -> Any:
    alpha = a.get("alpha", 1.0)
    return lambda training, x: F.celu(x, alpha)


@operator("Elu")
def _elu(a: Attributes) -> Any:
    alpha = a.get("alpha", 1.0)
    return lambda training, x: F.elu(x, alpha)


@operator("Selu")
def _selu(a: Attributes) -> Any:
    alpha, gamma = a.get("alpha", 1.67326319217681884765625), a.get("gamma", 1.05070102214813232421875)
    return lambda training, x: F.elu(x, alpha) * gamma


@operator("Gelu")
def _gelu(a: Attributes) -> Any:
    approximate = a.get("approximate", "none")
    return lambda training, x: F.gelu(x, approximate)


@operator("HardSigmoid")
def _hardsigmoid(a: Attributes) -> Any:
    alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
    return lambda training, x: (x * alpha + beta).clamp(0, 1)


@operator("LeakyRelu")
def _leaky_relu(a: Attributes) -> Any:
    alpha = a.get("alpha", 0.01)
    return lambda training, x: F.leaky_relu(x, alpha)


@operator("PRelu")
def _prelu(a: Attributes) -> Any:
    def run(training: bool, x: Tensor, slope: Tensor) -> Tensor:
        if slope.numel() == 1 and x.is_floating_point():
            return F.prelu(x, slope.reshape(1))
        return fastnn.where(x >= 0, x, x * slope)

    return run


@operator("Swish")
def _swish(a: Attributes) -> Any:
    alpha = a.get("alpha", 1.0)
    return lambda training, x: x * fastnn.sigmoid(x * alpha)


@operator("Shrink")
def _shrink(a: Attributes) -> Any:
    bias, lambd = a.get("bias", 0.0), a.get("lambd", 0.5)

    def run(training: bool, x: Tensor) -> Tensor:
        return fastnn.where(x < -lambd, x + bias, fastnn.where(x > lambd, x - bias, x * 0))

    return run


@operator("ThresholdedRelu")
def _thresholded(a: Attributes) -> Any:
    alpha = a.get("alpha", 1.0)
    return lambda training, x: F.threshold(x, alpha, 0.0)


@operator("Clip")
def _clip(a: Attributes) -> Any:
    low, high = a.get("min"), a.get("max")

    def run(training: bool, x: Tensor, least: Any = None, most: Any = None) -> Tensor:
        least, most = low if least is None else least, high if most is None else most
        if least is not None:
            x = x.clamp_min(least)
        return x if most is None else x.clamp_max(most)

    return run


@operator("Cast")
def _cast(a: Attributes) -> Any:
    if a.get("to") == package().TensorProto.STRING:
        return lambda training, x: x if isinstance(x, np.ndarray) else np.asarray(x.numpy().astype(str), object)
    kind = _dtype(a.get("to"))

    def run(training: bool, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return _wrap(x.astype(kind.numpy))
        return x.to(kind)

    return run


@operator("CastLike")
def _cast_like(a: Attributes) -> Any:
    return lambda training, x, y: x.to(y.dtype)


# -- Layers -----------------------------------------------------------------------------------


@operator("Gemm")
def _gemm(a: Attributes) -> Any:
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    by_a, by_b = a.get("transA", 0), a.get("transB", 0)

    def run(training: bool, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if by_a:
            x = x.t()
        weight = weight if by_b else weight.t()
        if alpha == 1 and (bias is None or (beta == 1 and bias.dim() == 1 and bias.shape[0] == weight.shape[0])):
            return F.linear(x, weight, bias)
        product = F.linear(x, weight)
        product = product if alpha == 1 else product * alpha
        return product if bias is None else product + (bias if beta == 1 else bias * beta)

    return run


@operator("Einsum")
def _einsum(a: Attributes) -> Any:
    equation = a.get("equation")
    return lambda training, *inputs: fastnn.einsum(equation, *inputs)


@operator("BatchNormalization")
def _batch_norm(a: Attributes) -> Any:
    eps, momentum = a.get("epsilon", 1e-5), 1 - a.get("momentum", 0.9)
    if not a.get("spatial", 1):
        raise Skipped("with spatial=0")

    def run(training: bool, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Any:
        return F.batch_norm(x, mean, var, scale, bias, training, momentum, eps), mean, var

    return run


@operator("LayerNormalization")
def _layer_norm(a: Attributes) -> Any:
    axis, eps = a.get("axis", -1), a.get("epsilon", 1e-5)
    if a.outputs > 1:
        raise Skipped("with the mean as a second output")

    def run(training: bool, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis % x.dim() :]
        if tuple(scale.shape) != tuple(shape):
            scale = scale.expand(shape)
            bias = None if bias is None else bias.expand(shape)
        return F.layer_norm(x, shape, scale, bias, eps)

    return run


@operator("RMSNormalization")
def _rms_norm(a: Attributes) -> Any:
    axis, eps = a.get("axis", -1), a.get("epsilon", 1e-5)
    return lambda training, x, scale: F.rms_norm(x, x.shape[axis % x.dim() :], None, eps) * scale


@operator("InstanceNormalization")
def _instance_norm(a: Attributes) -> Any:
    eps = a.get("epsilon", 1e-5)
    return lambda training, x, scale, bias: F.instance_norm(x, None, None, scale, bias, True, 0.1, eps)


@operator("GroupNormalization")
def _group_norm(a: Attributes) -> Any:
    eps, groups, by_group = a.get("epsilon", 1e-5), a.get("num_groups"), a.opset < 21

    def run(training: bool, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if by_group and scale.shape[0] != x.shape[1]:
            scale, bias = (t.repeat_interleave(x.shape[1] // groups) for t in (scale, bias))
        return F.group_norm(x, groups, scale, bias, eps)

    return run


@operator("LpNormalization")
def _lp_normalization(a: Attributes) -> Any:
    axis, p = a.get("axis", -1), a.get("p", 2)
    return lambda training, x: x / x.norm(p, axis, keepdim=True)


@operator("MeanVarianceNormalization")
def _mean_variance(a: Attributes) -> Any:
    axes = tuple(a.get("axes", [0, 2, 3]))

    def run(training: bool, x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / ((centred * centred).mean(axes, keepdim=True).sqrt() + 1e-9)

    return run


def _softmaxes(function: Callable[..., Any]) -> Callable[[Attributes], Any]:
    def build(a: Attributes) -> Any:
        axis = a.get("axis", -1 if a.opset >= 13 else 1)
        if a.opset >= 13:
            return lambda training, x: function(x, axis)

        def flattened(training: bool, x: Tensor) -> Tensor:
            first = axis % max(x.dim(), 1)
            if first == x.dim() - 1:
                return function(x, -1)
            return function(x.flatten(first), -1).reshape(x.shape)

        return flattened

    return build


def _hardmax(x: Tensor, axis: int) -> Tensor:
    place = x.argmax(axis, keepdim=True)
    return fastnn.zeros_like(x).scatter(axis, place, 1.0)


operator("Softmax")(_softmaxes(fastnn.softmax))
operator("LogSoftmax")(_softmaxes(fastnn.log_softmax))
operator("Hardmax")(_softmaxes(_hardmax))


@operator("Dropout")
def _dropout(a: Attributes) -> Any:
    given, has_mask = a.get("ratio", 0.5), a.outputs > 1

    def run(training: bool, x: Tensor, ratio: Tensor | None = None, mode: Any = None) -> Any:
        if not has_mask:
            return F.dropout(x, given if ratio is None else float(ratio), True) if training else x
        scale = F.dropout(fastnn.ones_like(x), given if ratio is None else float(ratio), training)
        return x * scale, scale != 0

    return run


# -- Reductions -------------------------------------------------------------------------------


def _squares(x: Tensor, axes: Any, keep: bool) -> Tensor:
    return (x * x).sum(axes, keep)


def _product(x: Tensor, axes: Any, keep: bool) -> Tensor:
    for axis in sorted([d % x.dim() for d in axes], reverse=True):
        x = x.prod(axis, keep)
    return x


def _sum(x: Tensor, axes: Any, keep: bool) -> Tensor:
    return x.sum(axes, keep, dtype=x.dtype)


def _mean(x: Tensor, axes: Any, keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keep)
    return fastnn.div(x.sum(axes, keep), math.prod(x.shape[d] for d in axes), rounding_mode="trunc")


def _extremum(function: Callable[..., Tensor], sign: int) -> Callable[..., Tensor]:
    def run(x: Tensor, axes: Any, keep: bool) -> Tensor:
        if all(x.shape[d] for d in axes):
            return function(x, axes, keep)
        # Of no numbers: what any number replaces.
        fill: Any = sign * math.inf
        if x.dtype == fastnn.bool:
            fill = sign > 0
        elif not x.is_floating_point():
            limits = np.iinfo(x._data.dtype)
            fill = limits.max if sign > 0 else limits.min
        return fastnn.full_like(x.sum(axes, keep), fill, dtype=x.dtype)

    return run


def _reduction(name: str, function: Callable[..., Any]) -> None:
    def build(a: Attributes) -> Any:
        keep, given = bool(a.get("keepdims", 1)), a.get("axes")
        nothing = a.get("noop_with_empty_axes", 0)

        def run(training: bool, x: Tensor, axes: Any = None) -> Tensor:
            dims = given if axes is None else _ints(axes)
            if not dims:
                if nothing:
                    # Each element is reduced by itself: a square or an absolute value differs from it.
                    return function(x.unsqueeze(-1), (-1,), False).to(x.dtype)
                dims = list(range(x.dim()))
            return function(x, tuple(dims), keep).to(x.dtype) if dims else function(x.reshape(1), (0,), False)

        return run

    OPERATORS["", name] = build


for _name, _reduce in {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _extremum(fastnn.amax, -1),
    "ReduceMin": _extremum(fastnn.amin, 1),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: _squares(x, axes, keep).sqrt(),
    "ReduceSumSquare": _squares,
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
}.items():
    _reduction(_name, _reduce)


def _arg(function: Callable[..., Any]) -> Callable[[Attributes], Any]:
    def build(a: Attributes) -> Any:
        axis, keep, last = a.get("axis", 0), bool(a.get("keepdims", 1)), a.get("select_last_index", 0)

        def run(training: bool, x: Tensor) -> Tensor:
            if last:
                return x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
            return function(x, axis, keep)

        return run

    return build


operator("ArgMax")(_arg(fastnn.argmax))
operator("ArgMin")(_arg(fastnn.argmin))


@operator("CumSum")
def _cumsum(a: Attributes) -> Any:
    if a.get("exclusive", 0) or a.get("reverse", 0):
        raise Skipped("with exclusive or reverse")
    return lambda training, x, axis: x.cumsum(int(axis))


@operator("TopK")
def _topk(a: Attributes) -> Any:
    axis, largest, ordered, given = a.get("axis", -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1)), a.get("k")

    def run(training: bool, x: Tensor, k: Any = None) -> Any:
        return tuple(x.topk(given if k is None else _ints(k)[0], axis, largest, ordered))

    return run


# -- Shapes -----------------------------------------------------------------------------------


@operator("Reshape")
def _reshape(a: Attributes) -> Any:
    zero, given = a.get("allowzero", 0), a.get("shape")

    def run(training: bool, x: Any, shape: Any = None) -> Any:
        sizes = list(given) if shape is None else _ints(shape)
        if not zero:
            sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@operator("Flatten")
def _flatten(a: Attributes) -> Any:
    axis = a.get("axis", 1)

    def run(training: bool, x: Tensor) -> Tensor:
        first = axis % x.dim() if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:first]), math.prod(x.shape[first:]))

    return run


@operator("Transpose")
def _transpose(a: Attributes) -> Any:
    order = a.get("perm")
    return lambda training, x: x.permute(*(order or range(x.dim())[::-1])) if x.dim() else x


@operator("Squeeze")
def _squeeze(a: Attributes) -> Any:
    given = a.get("axes")

    def run(training: bool, x: Any, axes: Any = None) -> Any:
        dims = given if axes is None else _ints(axes)
        if isinstance(x, np.ndarray):
            return np.squeeze(x, None if dims is None else tuple(dims))
        if dims is None:
            return x.squeeze()
        wrong = [d for d in dims if x.shape[d] != 1]
        if wrong:
            raise ValueError(f"dimension {wrong[0]} cannot be squeezed, its size is {x.shape[wrong[0]]}")
        return x.squeeze(tuple(dims))

    return run


@operator("Unsqueeze")
def _unsqueeze(a: Attributes) -> Any:
    given = a.get("axes")

    def run(training: bool, x: Tensor, axes: Any = None) -> Tensor:
        dims = given if axes is None else _ints(axes)
        rank = x.dim() + len(dims)
        for axis in sorted([d % rank for d in dims]):
            x = x.unsqueeze(axis)
        return x

    return run


@operator("Concat")
def _concat(a: Attributes) -> Any:
    axis = a.get("axis", 1)
    return lambda training, *inputs: fastnn.cat(inputs, axis)


@operator("Split")
def _split(a: Attributes) -> Any:
    axis, given, count = a.get("axis", 0), a.get("split"), a.get("num_outputs") or a.outputs

    def run(training: bool, x: Tensor, split: Any = None) -> Any:
        sizes = given if split is None else _ints(split)
        if sizes is None:
            size = -(-x.shape[axis] // count)
            sizes = [size] * (count - 1) + [x.shape[axis] - size * (count - 1)]
        return tuple(x.split(sizes, axis))

    return run


@operator("Slice")
def _slice(a: Attributes) -> Any:
    given = a.get("starts"), a.get("ends"), a.get("axes")

    def run(
        training: bool, x: Tensor, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
    ) -> Tensor:
        first, last, dims = given if starts is None else (_ints(starts), _ints(ends), axes)
        dims = range(len(first)) if dims is None else dims if isinstance(dims, list) else _ints(dims)
        strides = [1] * len(first) if steps is None else _ints(steps)
        for start, end, axis, step in zip(first, last, dims, strides, strict=True):
            if step > 0:
                x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
                continue
            places = range(*slice(start, end, step).indices(x.shape[axis]))
            x = x.index_select(axis, fastnn.tensor(list(places), dtype=fastnn.int64))
        return x

    return run


def _positive(index: Tensor, size: int) -> Tensor:
    """Indices from the front."""
    return fastnn.where(index < 0, index + size, index).long()


@operator("Gather")
def _gather(a: Attributes) -> Any:
    axis = a.get("axis", 0)

    def run(training: bool, x: Any, index: Tensor) -> Any:
        if isinstance(x, np.ndarray):
            return np.asarray(np.take(x, index.numpy(), axis), object)
        index = _positive(index, x.shape[axis])
        if x.dim() == 2 and axis == 0:
            return F.embedding(index, x)
        place = axis % x.dim()
        found = x.index_select(place, index.reshape(-1))
        return found.reshape(*x.shape[:place], *index.shape, *x.shape[place + 1 :])

    return run


@operator("GatherElements")
def _gather_elements(a: Attributes) -> Any:
    axis = a.get("axis", 0)
    return lambda training, x, index: x.gather(axis, _positive(index, x.shape[axis]))


@operator("GatherND")
def _gather_nd(a: Attributes) -> Any:
    if a.get("batch_dims", 0):
        raise Skipped("with batch_dims")
    return lambda training, x, index: x[tuple(index.long().unbind(-1))]


def _adds(a: Attributes) -> bool:
    reduction = a.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise Skipped(f"with reduction {reduction}")
    return bool(reduction == "add")


@operator("ScatterElements")
def _scatter_elements(a: Attributes) -> Any:
    axis, adds = a.get("axis", 0), _adds(a)

    def run(training: bool, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        index = _positive(index, x.shape[axis])
        return x.scatter_add(axis, index, updates) if adds else x.scatter(axis, index, updates)

    return run


@operator("ScatterND")
def _scatter_nd(a: Attributes) -> Any:
    adds = _adds(a)
    return lambda training, x, index, updates: x.index_put(tuple(index.long().unbind(-1)), updates, adds)


@operator("RandomNormalLike")
def _random_normal(a: Attributes) -> Any:
    mean, scale = a.get("mean", 0.0), a.get("scale", 1.0)
    return lambda training, x: fastnn.randn_like(x) * scale + mean


@operator("RandomUniformLike")
def _random_uniform(a: Attributes) -> Any:
    low, high = a.get("low", 0.0), a.get("high", 1.0)
    return lambda training, x: fastnn.rand_like(x) * (high - low) + low


@operator("Expand")
def _expand(a: Attributes) -> Any:
    def run(training: bool, x: Tensor, shape: Tensor) -> Tensor:
        return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))

    return run


@operator("Tile")
def _tile(a: Attributes) -> Any:
    return lambda training, x, repeats: x.repeat(*_ints(repeats))


@operator("Pad")
def _pad(a: Attributes) -> Any:
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    mode, given, fill = modes.get(a.get("mode", "constant")), a.get("pads"), a.get("value", 0.0)
    if mode is None:
        raise Skipped(f"with mode {a.get('mode')}")

    def run(training: bool, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
        ends = given if pads is None else _ints(pads)
        half = len(ends) // 2
        pairs = dict.fromkeys(range(x.dim()), (0, 0))
        for i, axis in enumerate(range(half) if axes is None else _ints(axes)):
            pairs[axis % x.dim()] = ends[i], ends[half + i]
        flat = [n for axis in reversed(range(x.dim())) for n in pairs[axis]]
        if mode == "constant":
            return F.pad(x, flat, value=fill if value is None else value.item())
        return F.pad(x, flat, mode)

    return run


@operator("Shape")
def _shape(a: Attributes) -> Any:
    start, end = a.get("start", 0), a.get("end")
    return lambda training, x: fastnn.tensor(list(x.shape)[start:end], dtype=fastnn.int64)


@operator("Size")
def _size(a: Attributes) -> Any:
    return lambda training, x: fastnn.tensor(x.numel())


@operator("ConstantOfShape")
def _constant_of_shape(a: Attributes) -> Any:
    value = a.get("value")
    fill = np.zeros(1, np.float32) if value is None else package().numpy_helper.to_array(value)

    def run(training: bool, shape: Tensor) -> Tensor:
        return _wrap(np.full(_ints(shape), fill.reshape(-1)[0], fill.dtype))

    return run


@operator("Range")
def _range(a: Attributes) -> Any:
    def run(training: bool, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        return fastnn.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


@operator("Trilu")
def _trilu(a: Attributes) -> Any:
    function = fastnn.triu if a.get("upper", 1) else fastnn.tril
    return lambda training, x, k=None: function(x, 0 if k is None else int(k))


@operator("OneHot")
def _one_hot(a: Attributes) -> Any:
    axis = a.get("axis", -1)

    def run(training: bool, index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        classes = _ints(depth)[0]
        hot = _positive(index, classes).unsqueeze(-1) == fastnn.arange(classes)
        hot = hot.movedim(-1, axis)
        return fastnn.where(hot, values[1], values[0])

    return run


@operator("NonZero")
def _nonzero(a: Attributes) -> Any:
    return lambda training, x: x.nonzero().t()


# -- ai.onnx.ml -------------------------------------------------------------------------------


@operator("Scaler", domain="ml")
def _scaler(a: Attributes) -> Any:
    offset, scale = (
        fastnn.tensor(a.get(name, [default]), dtype=fastnn.float32)
        for name, default in (("offset", 0.0), ("scale", 1.0))
    )
    return lambda training, x: (x.float() - offset) * scale


@operator("Normalizer", domain="ml")
def _normalizer(a: Attributes) -> Any:
    kind = a.get("norm", "MAX")

    def run(training: bool, x: Tensor) -> Tensor:
        x = x.float()
        size = x.norm({"MAX": math.inf, "L1": 1}.get(kind, 2), -1, keepdim=True)
        return x / fastnn.where(size == 0, fastnn.ones_like(size), size)

    return run


@operator("Binarizer", domain="ml")
def _binarizer(a: Attributes) -> Any:
    threshold = a.get("threshold", 0.0)
    return lambda training, x: (x > threshold).to(x.dtype)


@operator("FeatureVectorizer", domain="ml")
def _feature_vectorizer(a: Attributes) -> Any:
    return lambda training, *inputs: fastnn.cat([x.float() for x in inputs], -1)


@operator("ZipMap", domain="ml")
def _zip_map(a: Attributes) -> Any:
    return lambda training, x: x


@operator("ArrayFeatureExtractor", domain="ml")
def _array_feature_extractor(a: Attributes) -> Any:
    def run(training: bool, x: Any, index: Tensor) -> Any:
        places = index.reshape(-1)
        if isinstance(x, np.ndarray):
            found = np.take(x, places.numpy(), -1)
            return found.reshape(1, -1) if found.ndim == 1 else found
        found = x.index_select(-1, _positive(places, x.shape[-1]))
        return found.reshape(1, -1) if found.dim() == 1 else found

    return run


@operator("LabelEncoder", domain="ml")
def _label_encoder(a: Attributes) -> Any:
    kinds = ("strings", "int64s", "floats")
    classes = a.get("classes_strings")
    if classes is not None:
        raise Skipped("with classes_strings")
    keys = next((a.get(f"keys_{k}") for k in kinds if a.get(f"keys_{k}") is not None), None)
    kind = next((k for k in kinds if a.get(f"values_{k}") is not None), None)
    if keys is None or kind is None:
        raise Skipped("without lists of keys and values")
    values = a.get(f"values_{kind}")
    default = a.get({"strings": "default_string", "int64s": "default_int64", "floats": "default_float"}[kind])
    if default is None:
        default = {"strings": "_Unused", "int64s": -1, "floats": -0.0}[kind]
    table = dict(zip(keys, values, strict=True))
    dtype: Any = {"strings": object, "int64s": np.int64, "floats": np.float32}[kind]

    def run(training: bool, x: Any) -> Any:
        array = x if isinstance(x, np.ndarray) else x.numpy()
        unique, places = np.unique(array, return_inverse=True)
        # One look-up for each label.
        known = np.array([table.get(key, default) for key in unique.tolist()], dtype)
        found = known[places.reshape(array.shape)]
        return found if dtype is object else _wrap(found)

    return run


