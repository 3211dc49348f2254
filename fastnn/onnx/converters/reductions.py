"""Reductions and norms as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.elementwise import _pair
from fastnn.onnx.converters.table import axes_of, axis_of, converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value


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
