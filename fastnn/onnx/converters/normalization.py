"""Normalisation and softmax as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.elementwise import _pair
from fastnn.onnx.converters.reductions import norm_of
from fastnn.onnx.converters.table import axes_of, converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value


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
