"""Shapes, views and copies as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.table import axes_of, axis_of, converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value
from fastnn.onnx.tracing import SymbolicSize


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
def _permute(g: Graph, input: Tensor, *given: Any, dims: Any = None) -> Value:
    return _permuted(g, input, [axis_of(input, d) for d in _sizes_given(given if dims is None else (dims,))])


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
def _repeat(g: Graph, input: Tensor, *given: Any, dims: Any = None, repeats: Any = None) -> Value:
    sizes = repeats if dims is None else dims
    times = _sizes_given(given if sizes is None else (sizes,))
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
def _flip(g: Graph, input: Tensor, *given: Any, dims: Any = None) -> Value:
    axes = [axis_of(input, d) for d in _sizes_given(given if dims is None else (dims,))]
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
