"""Indexing, gathering and scattering as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.table import axis_of, converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value


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
    # First the slices, as their axes are those of the input; then, from the last axis, the integers and new axes.
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
