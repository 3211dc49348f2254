"""Counts of elements, histograms, and positions in sorted sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._core import capture_state
from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.ops.core import check_tensor, dimension, named
from fastnn.ops.creation import _between

__all__ = [
    "bincount", "bucketize", "histc", "histogram", "histogramdd", "searchsorted", "unique", "unique_consecutive",
]  # fmt: skip
FUNCTIONS_ONLY = ("histogramdd",)


@named
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The sorted unique elements, or the unique slices along ``dim``.

    Returns: the unique elements, then the index of each element among them and their counts, if requested.
    """
    check_tensor("input", input)
    if type(sorted) is not bool:
        raise TypeError(f"sorted must be a bool, found {type(sorted).__name__}")
    axis = None if dim is None else dimension(dim, input._data.ndim)
    capture_state.stop("the shape of a result depends on numbers")
    values, inverse, counts = np.unique(
        input._data, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    inverse = inverse.reshape(input._data.shape) if axis is None else inverse.reshape(-1)
    return _several(values, inverse, counts, return_inverse, return_counts)


def _several(values: np.ndarray, inverse: np.ndarray, counts: np.ndarray, with_inverse: bool, with_counts: bool) -> Any:
    found = [_wrap(values)]
    if with_inverse:
        found.append(_wrap(np.asarray(inverse, np.int64)))
    if with_counts:
        found.append(_wrap(np.asarray(counts, np.int64)))
    return found[0] if len(found) == 1 else tuple(found)


@named
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without those that equal their predecessor."""
    check_tensor("input", input)
    axis = 0 if dim is None else dimension(dim, input._data.ndim)
    capture_state.stop("the shape of a result depends on numbers")
    rows = input._data.reshape(-1) if dim is None else np.moveaxis(input._data, axis, 0)
    n = rows.shape[0]
    new = np.ones(n, bool)
    if n > 1:
        new[1:] = (rows[1:] != rows[:-1]).reshape(n - 1, -1).any(axis=1)
    starts = np.flatnonzero(new)
    values = np.moveaxis(rows[new], 0, axis) if dim is not None else rows[new]
    inverse = np.cumsum(new) - 1
    if dim is None:
        inverse = inverse.reshape(input._data.shape)
    return _several(np.ascontiguousarray(values), inverse, np.diff(np.append(starts, n)), return_inverse, return_counts)


@named
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """The count of each number 0, 1, ..., or the sum of its weights."""
    check_tensor("input", input)
    if weights is not None:
        check_tensor("weights", weights)
    if input._data.dtype.kind not in "iu":
        raise NotImplementedError(f'"bincount_cpu" not implemented for {input.dtype}')
    capture_state.stop("the shape of a result depends on numbers")
    if input._data.ndim != 1 or (input._data.size and input._data.min() < 0):
        found = f"the number {input._data.min()}" if input._data.ndim == 1 else f"shape {tuple(input.shape)}"
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, found {found}.")
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, found {minlength}")
    if weights is None:
        return _wrap(np.bincount(input._data, minlength=minlength).astype(np.int64))
    if weights._data.shape != input._data.shape:
        raise ShapeError(
            "weights should be 1-d and have the same length as input, found shapes "
            f"{tuple(weights.shape)} and {tuple(input.shape)}"
        )
    kind = weights._data.dtype if weights._data.dtype == np.float32 else np.dtype(np.float64)
    return _wrap(np.bincount(input._data, weights._data, minlength).astype(kind))


@named
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """The counts of elements in ``bins`` equal parts of [min, max], or of the range of the elements."""
    check_tensor("input", input)
    if input._data.dtype.kind != "f":
        raise NotImplementedError(f'"histogram_cpu" not implemented for {input.dtype}')
    _check_count(bins)
    low, high = float(min), float(max)
    if low > high:
        raise RuntimeError(f"max must be larger than min, found {max} and {min}")
    array = input._data
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    _check_fits(array.dtype, low, high)
    # In the dtype itself and in this order, so that elements close to an edge are counted as in PyTorch.
    kind = np.result_type(array, np.float32).type
    with np.errstate(over="ignore", invalid="ignore"):
        edges = _between(low, high, bins + 1, array.dtype)
        inside = array[(array >= edges[0]) & (array <= edges[-1])].astype(kind)
        width = kind(edges[-1]) - kind(edges[0])
        # If the width is 0 all are in the middle bin, as in PyTorch.
        cells = (inside - kind(edges[0])) * kind(bins) / width if width else np.full(inside.shape, bins // 2)
    counts = np.bincount(np.minimum(cells, bins - 1).astype(np.int64), minlength=bins)
    return _wrap(counts.astype(array.dtype))


def _check_fits(kind: np.dtype, *limits: float) -> None:
    """RuntimeError if the dtype of the elements cannot hold the limits of the range."""
    most = float(np.finfo(kind).max)
    if any(abs(limit) > most for limit in limits):
        raise RuntimeError(f"value cannot be converted to type {kind} without overflow, found {limits}")


@named
def histogram(
    input: Tensor, bins: int | Tensor = 100, *, range: Sequence[float] | None = None, weight: Tensor | None = None,
    density: bool = False,
) -> Any:  # fmt: skip
    """The counts of elements between neighbouring edges, and the edges.

    A bin holds the elements with ``edge[i] <= x < edge[i + 1]``; the last one includes its upper edge.

    Args:
        input: float32 or float64, of any shape.
        bins: the number of bins of equal width, or the ``bins + 1`` edges in ascending order, in the dtype of
            ``input``.
        range: the lowest and the highest edge, if ``bins`` is a number; by default those of the elements.
        weight: the weight of each element, of the dtype and number of elements of ``input``; 1 by default.
        density: divide by the total and by the width of each bin, so that the integral is 1.

    Returns: ``hist`` ``(bins,)`` and ``bin_edges`` ``(bins + 1,)``, in the dtype of ``input``.

    Raises:
        TypeError: an argument of another type.
        RuntimeError: no bin, other dtypes or shapes, or a range that is not finite or not ascending.

    >>> import fastnn
    >>> fastnn.histogram(fastnn.tensor([1.0, 2.0, 1.0, 3.0]), 2)
    torch.return_types.histogram(
    hist=tensor([2., 2.]),
    bin_edges=tensor([1., 2., 3.]))
    """
    check_tensor("input", input)
    if isinstance(bins, Tensor) and range is not None:
        raise TypeError("histogram(): range goes with a number of bins, found edges")
    rows = input._data.reshape(-1, 1)
    if weight is not None:
        check_tensor("weight", weight)
        if weight._data.size == rows.size:
            weight = weight.reshape(-1)
    hist, edges = _histogram(rows, [bins], range, weight, density)
    return return_types.histogram(hist, edges[0])


@named
def histogramdd(
    input: Tensor, bins: int | Sequence[int] | Sequence[Tensor], range: Sequence[float] | None = None,
    weight: Tensor | None = None, density: bool = False,
) -> Any:  # fmt: skip
    """:func:`histogram` of points in D dimensions: the counts in the cells between the edges.

    Args:
        input: float32 or float64 ``(..., D)``; every row of the last axis is a point.
        bins: the number of bins, for all dimensions or one each, or D tensors of edges.
        range: lowest and highest edge of each dimension, ``2 * D`` numbers; ignored if edges are given.
        weight: the weight of each point, of the dtype of ``input`` and its shape without the last axis.
        density: divide by the total and by the volume of each cell.

    Returns: ``hist``, with an axis for each dimension, and ``bin_edges``, a tuple of D tensors.

    Raises:
        TypeError: an argument of another type.
        RuntimeError: as for :func:`histogram`, and for another number of dimensions.

    >>> import fastnn
    >>> points = fastnn.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> fastnn.histogramdd(points, [2, 2]).hist
    tensor([[0., 1.],
            [1., 1.]])
    """
    check_tensor("input", input)
    if input._data.ndim < 2:
        raise RuntimeError(
            f"torch.histogramdd: input tensor should have at least 2 dimensions, found shape {tuple(input.shape)}"
        )
    *shape, count = input._data.shape
    if isinstance(bins, Tensor):
        raise TypeError("histogramdd(): bins must be an int or a sequence, one for each dimension, found a Tensor")
    each: Sequence[Any] = bins if isinstance(bins, (list, tuple)) else [bins] * count
    if len(each) != count:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input: "
            f"{count}, found {len(each)}"
        )
    if len({isinstance(b, Tensor) for b in each}) > 1:
        raise TypeError("histogramdd(): bins must be numbers or tensors of edges, found both")
    if weight is not None:
        check_tensor("weight", weight)
        if weight._data.shape == tuple(shape):
            weight = weight.reshape(-1)
    rows = input._data.reshape(math.prod(shape), count)
    return return_types.histogramdd(*_histogram(rows, each, range, weight, density))


def _check_count(bins: Any, axis: int = 0) -> None:
    """TypeError unless it is an integer, RuntimeError if it is not a valid number of bins."""
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise TypeError(f"bins must be an int, found {type(bins).__name__}")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension {axis}")


def _histogram(
    rows: np.ndarray, bins: Sequence[Any], range: Sequence[float] | None, weight: Tensor | None, density: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Counts of points ``(N, D)`` in cells, and their edges; a valid ``weight`` has the shape ``(N,)``."""
    kind, size = rows.dtype, len(rows)
    if kind not in (np.float32, np.float64):
        raise NotImplementedError(f'"histogramdd" not implemented for {kind}')
    if not isinstance(density, bool):
        raise TypeError(f"density must be a bool, found {type(density).__name__}")
    if weight is not None and weight._data.dtype != kind:
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should have the same "
            f"dtype, but got input({kind}), and weight({weight._data.dtype})"
        )
    if weight is not None and weight._data.shape != (size,):
        raise ShapeError(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
            f"excluding its innermost dimension, but got {size} points and weight with shape {list(weight.shape)}"
        )
    if any(isinstance(b, Tensor) for b in bins):
        edges = [_edges_given(b, kind, axis) for axis, b in enumerate(bins)]
    else:
        edges = _equal_edges(rows, bins, range)
    inside, cells = np.ones(size, bool), np.zeros(size, np.int64)
    for axis, edge in enumerate(edges):
        column, most = rows[:, axis], edge.size - 1
        # NaN is in no cell.
        inside &= (column >= edge[0]) & (column <= edge[-1])
        # Unsorted edges still give a valid cell.
        cells = cells * most + np.clip(np.searchsorted(edge, column, "right") - 1, 0, most - 1)
    shape = tuple(edge.size - 1 for edge in edges)
    weights = None if weight is None else weight._data[inside]
    counts = np.bincount(cells[inside], weights, math.prod(shape)) if rows.size else np.zeros(math.prod(shape))
    hist = counts.astype(kind).reshape(shape)
    if density:
        with np.errstate(divide="ignore", invalid="ignore"):
            hist = hist / hist.sum()
            for axis, edge in enumerate(edges):
                hist = hist / np.diff(edge).reshape([-1 if i == axis else 1 for i, _ in enumerate(edges)])
    return _wrap(hist), tuple(_wrap(edge) for edge in edges)


def _edges_given(bins: Tensor, kind: np.dtype, axis: int) -> np.ndarray:
    """A copy of the edges of one dimension, checked."""
    where = f"in the bins tensor for dimension {axis}"
    if bins._data.dtype != kind:
        raise RuntimeError(
            "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got input with dtype "
            f"{kind} and bins for dimension {axis} with dtype {bins._data.dtype}"
        )
    if bins._data.ndim != 1:
        raise RuntimeError(
            f"torch.histogramdd: bins tensor should have one dimension, but got {bins._data.ndim} dimensions {where}"
        )
    if not bins._data.size:
        raise RuntimeError(f"torch.histogramdd: bins tensor should have at least 1 element, but got 0 elements {where}")
    _check_count(bins._data.size - 1, axis)
    return bins._data.copy()


def _equal_edges(rows: np.ndarray, bins: Sequence[int], range: Sequence[float] | None) -> list[np.ndarray]:
    """The edges of bins of equal width, in every dimension."""
    size, count = rows.shape
    for axis, number in enumerate(bins):
        _check_count(number, axis)
    if range is not None:
        if not isinstance(range, (list, tuple)) or not all(isinstance(limit, (int, float)) for limit in range):
            raise TypeError(f"range must be a sequence of floats, found {range!r}")
        if len(range) != 2 * count:
            raise RuntimeError(
                f"torch.histogramdd: for a {count}-dimensional histogram range should have {2 * count} elements, "
                f"but got {len(range)}"
            )
        limits = [(float(low), float(high)) for low, high in zip(range[::2], range[1::2], strict=True)]
    elif size:
        limits = [(float(low), float(high)) for low, high in zip(rows.min(0), rows.max(0), strict=True)]
    else:
        limits = [(0.0, 1.0)] * count
    edges = []
    for axis, ((low, high), number) in enumerate(zip(limits, bins, strict=True)):
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RuntimeError(f"torch.histogramdd: dimension {axis}'s range [{low:g}, {high:g}] is not finite")
        if low > high:
            raise RuntimeError(
                f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for dimension {axis}"
            )
        if low == high:
            low, high = low - 0.5, high + 0.5
        _check_fits(rows.dtype, low, high)
        edges.append(_between(low, high, int(number) + 1, rows.dtype))
    return edges


def _halved(sequence: np.ndarray, values: np.ndarray, right: bool) -> np.ndarray:
    """The result of PyTorch's binary search in a sequence with NaN: no value compares as smaller than NaN."""
    low = np.zeros(values.shape, np.int64)
    high = np.full(values.shape, sequence.size, np.int64)
    for _ in range(sequence.size.bit_length()):
        middle = np.minimum((low + high) // 2, sequence.size - 1)
        found = sequence[middle]
        goes_on = ~(found > values if right else found >= values) & (low < high)
        low, high = np.where(goes_on, middle + 1, low), np.where(goes_on, high, np.minimum(middle, high))
    return low


@named
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The insertion index of each element in the sorted sequence; row by row if that has several rows.

    Args:
        right, side: insert after equal elements, not before them.
        sorter: the indices that sort the sequence, if it is not sorted.
    """
    check_tensor("sorted_sequence", sorted_sequence)
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, found side='left' and right=True"
        )
    where: Any = "right" if right or side == "right" else "left"
    values = input._data if isinstance(input, Tensor) else np.asarray(input)
    sequence = sorted_sequence._data
    if sorter is not None:
        sequence = np.take_along_axis(sequence, sorter._data, -1)
    kind = np.int32 if out_int32 else np.int64
    if sequence.ndim <= 1:
        if sequence.dtype.kind == "f" and np.isnan(sequence).any():
            return _wrap(np.asarray(_halved(sequence, values, where == "right"), kind))
        return _wrap(np.asarray(np.searchsorted(sequence, values, where), kind))
    if values.shape[:-1] != sequence.shape[:-1]:
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(sequence.shape)} and input "
            f"value tensor {list(values.shape)}"
        )
    # Counts, for all rows at once, the elements of the sequence before each value.
    before = np.less_equal if where == "right" else np.less
    counts = before(sequence[..., None, :], values[..., :, None]).sum(-1)
    return _wrap(np.asarray(counts, kind))


@named
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The index of the bucket between ``boundaries`` for each element."""
    check_tensor("boundaries", boundaries)
    if boundaries._data.ndim != 1:
        raise ShapeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries._data.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
