"""Activations as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.elementwise import expm1, softplus
from fastnn.onnx.converters.table import axis_of, converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value


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
