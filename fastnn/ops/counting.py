"""How often elements occur, and where they would stand. May import ``core``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.errors import ShapeError
from fastnn.ops.core import check_tensor, dimension, named
from fastnn.tensor import Tensor, _wrap

__all__ = ["bincount", "bucketize", "histc", "searchsorted", "unique", "unique_consecutive"]


@named
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The different elements in order, or along ``dim`` the different slices.

    Returns: them, then the index of each element among them, then how often each occurs, as asked for.
    """
    check_tensor("input", input)
    axis = None if dim is None else dimension(dim, input._data.ndim)
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
    """The elements without those that equal the one before."""
    check_tensor("input", input)
    axis = 0 if dim is None else dimension(dim, input._data.ndim)
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
    """How often each number 0, 1, ... occurs, or the sum of the weights where it does."""
    check_tensor("input", input)
    if input._data.dtype.kind not in "iu":
        raise RuntimeError(f'"bincount_cpu" not implemented for {input.dtype}')
    if input._data.ndim != 1 or (input._data.size and input._data.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is None:
        return _wrap(np.bincount(input._data, minlength=minlength).astype(np.int64))
    if weights._data.shape != input._data.shape:
        raise ShapeError("weights should be 1-d and have the same length as input")
    kind = weights._data.dtype if weights._data.dtype == np.float32 else np.dtype(np.float64)
    return _wrap(np.bincount(input._data, weights._data, minlength).astype(kind))


@named
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of ``bins`` parts of [min, max], or of the range of the elements."""
    check_tensor("input", input)
    if input._data.dtype.kind != "f":
        raise RuntimeError(f'"histogram_cpu" not implemented for {input.dtype}')
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    low, high = float(min), float(max)
    if low > high:
        raise RuntimeError("max must be larger than min")
    array = input._data
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    counts, _ = np.histogram(array[(array >= low) & (array <= high)].astype(np.float64), bins, (low, high))
    return _wrap(counts.astype(array.dtype))


@named
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where each element would have to be put into the sorted sequence; row by row if that has several.

    Args:
        right, side: behind equal elements, not before them.
        sorter: the indices that sort the sequence, if it is not.
    """
    check_tensor("sorted_sequence", sorted_sequence)
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites")
    where: Any = "right" if right or side == "right" else "left"
    values = input._data if isinstance(input, Tensor) else np.asarray(input)
    sequence = sorted_sequence._data
    if sorter is not None:
        sequence = np.take_along_axis(sequence, sorter._data, -1)
    kind = np.int32 if out_int32 else np.int64
    if sequence.ndim <= 1:
        return _wrap(np.asarray(np.searchsorted(sequence, values, where), kind))
    if values.shape[:-1] != sequence.shape[:-1]:
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(sequence.shape)} and input "
            f"value tensor {list(values.shape)}"
        )
    # Counted, row by row at once: how many of the sequence lie before each value.
    before = np.less_equal if where == "right" else np.less
    counts = before(sequence[..., None, :], values[..., :, None]).sum(-1)
    return _wrap(np.asarray(counts, kind))


@named
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket between ``boundaries`` that each element falls into."""
    check_tensor("boundaries", boundaries)
    if boundaries._data.ndim != 1:
        raise ShapeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries._data.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
