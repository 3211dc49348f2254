"""Tensors made from sizes as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.shapes import _sizes_given
from fastnn.onnx.converters.table import converter, kind_of
from fastnn.onnx.graph import Graph, Value
from fastnn.onnx.tracing import SymbolicSize


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
