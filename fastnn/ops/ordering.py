"""The largest, the smallest, and everything that sorts or counts. May import ``core`` and ``return_types``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import return_types
from fastnn.errors import ShapeError
from fastnn.ops.arithmetic import maximum, minimum
from fastnn.ops.core import check_tensor, dimension, linear_map, mapped, named, reduced, refuse
from fastnn.tensor import Tensor, _wrap

__all__ = [
    "amax", "amin", "aminmax", "argmax", "argmin", "argsort", "bincount", "bucketize", "cummax", "cummin", "histc",
    "kthvalue", "max", "median", "min", "mode", "msort", "nanmedian", "nanquantile", "quantile", "searchsorted", "sort",
    "topk", "unique", "unique_consecutive",
]  # fmt: skip


def chosen(name: str, input: Tensor, indices: np.ndarray, axis: int, keepdim: bool = True) -> Tensor:
    """The elements at ``indices`` along ``axis``, of which there is one if the dimension is dropped."""
    shape = input._data.shape
    kept = indices.shape
    out_shape = kept if keepdim else kept[:axis] + kept[axis + 1 :]

    def take(a: np.ndarray) -> np.ndarray:
        return np.take_along_axis(a, indices, axis).reshape(out_shape)

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        np.put_along_axis(full, indices, g.reshape(kept), axis)
        return full

    return linear_map(name, input, take, put, keeps=True)


def _axis(name: str, input: Tensor, dim: Any) -> int:
    axis = dimension(dim, input._data.ndim)
    if input._data.ndim and input._data.shape[axis] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
    return axis


def _along(name: str, kind: Any, input: Tensor, dim: Any, keepdim: bool, find: Any) -> Any:
    """Values and indices along a dimension; ``find(array, axis)`` gives the indices, with the dimension kept."""
    check_tensor("input", input)
    axis = _axis(name, input, dim)
    if not input._data.ndim:
        return kind(input.clone(), _wrap(np.zeros((), np.int64)))
    indices = np.asarray(find(input._data, axis), np.int64)
    values = chosen(name.title(), input, indices, axis, keepdim)
    # A copy: the backward pass reads `indices`, and the caller may write to what it gets.
    return kind(values, _wrap(indices.reshape(values._data.shape).copy()))


def _extreme(name: str, input: Tensor, operate: Any) -> Tensor:
    """Of all elements; equal ones share the gradient."""
    array = input._data
    if array.size == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
            "the 'dim' argument."
        )
    return _shared(f"{name.title()}Backward1", input, tuple(range(array.ndim)), False, operate)


def _shared(name: str, input: Tensor, axes: tuple[int, ...], keepdim: bool, operate: Any) -> Tensor:
    array = input._data
    result = np.asarray(operate(array, axis=axes, keepdims=bool(keepdim)))
    kept = tuple([1 if d in axes else n for d, n in enumerate(array.shape)])

    def run(grad: Tensor) -> Tensor:
        y = result.reshape(kept)
        # NaN wins, and equals nothing.
        equal = (input._data == y) | (np.isnan(input._data) & np.isnan(y))
        share = equal / equal.sum(axis=axes, keepdims=True) if axes else equal
        return grad.reshape(kept) * _wrap(np.asarray(share, grad._data.dtype))

    return mapped(name, input, result, run, (input,))


def _reduction_or_pair(name: str, input: Tensor, dim: Any, keepdim: bool, other: Any, pair: Any) -> Any:
    check_tensor("input", input)
    if isinstance(dim, Tensor):
        dim, other = None, dim
    if other is not None:
        return pair(input, other)
    if dim is None:
        return _extreme(name, input, np.max if name == "max" else np.min)
    if name == "max":
        return _along(name, return_types.max, input, dim, keepdim, lambda a, axis: a.argmax(axis, keepdims=True))
    return _along(name, return_types.min, input, dim, keepdim, lambda a, axis: a.argmin(axis, keepdims=True))


@named
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The largest element; along ``dim`` the pair ``(values, indices)``; beside a tensor, the larger of each two.

    The gradient goes to the first of equal elements along a dimension, and is shared among
    equal elements of the whole tensor, as in PyTorch.

    >>> import fastnn
    >>> fastnn.max(fastnn.tensor([[1.0, 5.0], [7.0, 3.0]]), 1).indices
    tensor([1, 0])
    """
    return _reduction_or_pair("max", input, dim, keepdim, other, maximum)


@named
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The smallest element; along ``dim`` the pair ``(values, indices)``; beside a tensor, the smaller of each two."""
    return _reduction_or_pair("min", input, dim, keepdim, other, minimum)


def _all_axes(name: str, input: Tensor, dim: Any) -> tuple[int, ...]:
    check_tensor("input", input)
    axes = reduced(dim, input._data.ndim)
    for d in axes:
        if input._data.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return axes


@named
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest element over the dimensions ``dim``; equal ones share the gradient."""
    return _shared("Amax", input, _all_axes("amax", input, dim), keepdim, np.max)


@named
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest element over the dimensions ``dim``; equal ones share the gradient."""
    return _shared("Amin", input, _all_axes("amin", input, dim), keepdim, np.min)


@named
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest."""
    axes: Any = () if dim is None else dim
    if dim is None and input._data.size == 0:
        raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.")
    return return_types.aminmax(amin(input, axes, keepdim), amax(input, axes, keepdim))


def _position(name: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    check_tensor("input", input)
    array = input._data
    find = getattr(array, name)
    if array.dtype == np.bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is None:
        if array.size == 0:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        position = np.asarray(find(), np.int64)
        return _wrap(position.reshape((1,) * array.ndim) if keepdim else position)
    axis = _axis(name, input, dim)
    if not array.ndim:
        return _wrap(np.zeros((), np.int64))
    return _wrap(np.asarray(find(axis, keepdims=bool(keepdim)), np.int64))


@named
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element, of all or along ``dim``; the first among equals."""
    return _position("argmax", input, dim, keepdim)


@named
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element, of all or along ``dim``; the first among equals."""
    return _position("argmin", input, dim, keepdim)


# -- Sorting -----------------------------------------------------------------------------------


def order(a: np.ndarray, axis: int, descending: bool = False) -> np.ndarray:
    """The indices that sort, equal elements in their order; NaN counts as the largest."""
    if not descending:
        return np.argsort(a, axis=axis, kind="stable")
    backwards = np.argsort(np.flip(a, axis), axis=axis, kind="stable")
    return a.shape[axis] - 1 - np.flip(backwards, axis)


@named
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The elements in order along ``dim``, and their indices: ``(values, indices)``.

    >>> import fastnn
    >>> fastnn.tensor([3.0, 1.0, 2.0]).sort().values
    tensor([1., 2., 3.])
    """
    check_tensor("input", input)
    axis = dimension(dim, input._data.ndim)
    if not input._data.ndim:
        return return_types.sort(input.clone(), _wrap(np.zeros((), np.int64)))
    indices = order(input._data, axis, descending)
    return return_types.sort(chosen("Sort", input, indices, axis), _wrap(indices.copy()))


@named
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort along ``dim``."""
    return sort(input.detach(), dim, descending).indices


@named
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension."""
    return sort(input, 0).values


@named
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest or smallest elements along ``dim``, in order: ``(values, indices)``."""
    check_tensor("input", input)
    refuse("topk", input, "b")
    axis = dimension(dim, input._data.ndim)
    size = input._data.shape[axis] if input._data.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError("selected index k out of range")
    if not input._data.ndim:
        return return_types.topk(input.clone(), _wrap(np.zeros((), np.int64)))
    indices = order(input._data, axis, largest).take(range(k), axis)
    return return_types.topk(chosen("Topk", input, indices, axis), _wrap(indices.copy()))


@named
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along ``dim``, counted from 1: ``(values, indices)``."""
    check_tensor("input", input)
    refuse("kthvalue_cpu", input, "b")
    axis = dimension(dim, input._data.ndim)
    size = input._data.shape[axis] if input._data.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(dim))
    return _along("kthvalue", return_types.kthvalue, input, dim, keepdim,
                  lambda a, axis: order(a, axis).take([k - 1], axis))  # fmt: skip


def _middle(a: np.ndarray, axis: int, ignore_nan: bool) -> np.ndarray:
    """Where the lower median is: a NaN counts as the median, or not at all."""
    indices = order(a, axis)
    n = a.shape[axis]
    missing = np.isnan(a).sum(axis=axis, keepdims=True) if a.dtype.kind == "f" else np.zeros_like(indices.take([0], axis))
    if ignore_nan:
        position = np.maximum(n - missing - 1, 0) // 2
    else:
        # The first NaN stands right behind the numbers.
        position = np.where(missing > 0, n - missing, (n - 1) // 2)
    return np.take_along_axis(indices, position, axis)


def _median(name: str, input: Tensor, dim: Any, keepdim: bool, ignore_nan: bool) -> Any:
    check_tensor("input", input)
    refuse("median_cpu", input, "b")
    if dim is None:
        if not input._data.size:
            return input.new_tensor(float("nan")) if input._data.dtype.kind == "f" else _wrap(
                np.asarray(np.iinfo(input._data.dtype).min, input._data.dtype)
            )
        return _median(name, input.reshape(-1), 0, False, ignore_nan).values
    return _along(name, getattr(return_types, name), input, dim, keepdim, lambda a, axis: _middle(a, axis, ignore_nan))


@named
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; along ``dim`` the pair ``(values, indices)``."""
    return _median("median", input, dim, keepdim, False)


@named
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle one of the elements that are not NaN."""
    return _median("nanmedian", input, dim, keepdim, True)


def _commonest(a: np.ndarray, axis: int) -> np.ndarray:
    """The last index of the most frequent value, the smallest of several."""
    indices = order(a, axis)
    ordered = np.moveaxis(np.take_along_axis(a, indices, axis), axis, -1)
    indices = np.moveaxis(indices, axis, -1)
    n = ordered.shape[-1]
    counts = (ordered[..., :, None] == ordered[..., None, :]).sum(-1)
    first = counts.argmax(-1)
    last = first + np.take_along_axis(counts, first[..., None], -1)[..., 0] - 1
    found = np.take_along_axis(indices, np.clip(last, 0, n - 1)[..., None], -1)
    return np.moveaxis(found, -1, axis)


@named
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along ``dim``, the smallest of several: ``(values, indices)``."""
    return _along("mode", return_types.mode, input, dim, keepdim, _commonest)


def _running(name: str, input: Tensor, dim: int, better: Any) -> Any:
    check_tensor("input", input)
    axis = dimension(dim, input._data.ndim)
    kind = getattr(return_types, name)
    if not input._data.ndim:
        return kind(input.clone(), _wrap(np.zeros((), np.int64)))
    array = input._data
    indices = np.zeros(array.shape, np.int64)
    if array.size:
        best = better.accumulate(array, axis=axis)
        n = array.shape[axis]
        positions = np.arange(n).reshape([n if d == axis else 1 for d in range(array.ndim)])
        # An element that is as good as all before it holds the record; a NaN does from then on.
        record = (array == best) | np.isnan(array)
        indices = np.maximum.accumulate(np.where(record, positions, 0), axis=axis)

    def take(a: np.ndarray) -> np.ndarray:
        return np.take_along_axis(a, indices, axis)

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(array.shape, g.dtype)
        where = list(np.indices(array.shape))
        where[axis] = indices
        np.add.at(full, tuple(where), g)
        return full

    return kind(linear_map(name.title(), input, take, put, keeps=True), _wrap(indices.copy()))


@named
def cummax(input: Tensor, dim: int) -> Any:
    """The largest of the elements along ``dim`` up to each of them: ``(values, indices)``."""
    return _running("cummax", input, dim, np.maximum)


@named
def cummin(input: Tensor, dim: int) -> Any:
    """The smallest of the elements along ``dim`` up to each of them: ``(values, indices)``."""
    return _running("cummin", input, dim, np.minimum)


# -- Quantiles ---------------------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    check_tensor("input", input)
    if input._data.dtype.kind != "f":
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(f"{name}() interpolation must be one of {', '.join(_INTERPOLATIONS)}, but got {interpolation}")
    values = q if isinstance(q, Tensor) else _wrap(np.asarray(q, input._data.dtype))
    if values._data.dtype != input._data.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if values._data.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    probabilities = values._data
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    x = input
    if dim is None:
        shape_kept = (1,) * x._data.ndim
        x, axis = x.reshape(-1), 0
    else:
        axis = dimension(dim, x._data.ndim)
        x = x.reshape(1) if not x._data.ndim else x
        shape_kept = tuple([1 if d == axis else n for d, n in enumerate(x._data.shape)])
    n = x._data.shape[axis]
    if not n:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    ordered = sort(x, axis).values.movedim(axis, -1)
    missing = np.isnan(x._data).sum(axis=axis)[..., None]
    count = n - missing if skip_nan else np.full_like(missing, n)
    rank = probabilities.reshape(-1) * np.maximum(count - 1, 0)
    if not skip_nan:
        # A NaN stands at the end, and is the answer.
        rank = np.where(missing > 0, n - 1.0, rank)
    low = np.floor(rank)
    high = np.ceil(rank)
    fraction = (rank - low).astype(x._data.dtype)
    if interpolation == "lower":
        high, fraction = low, fraction * 0
    elif interpolation == "higher":
        low, fraction = high, fraction * 0
    elif interpolation == "nearest":
        low = high = np.rint(rank)
        fraction = fraction * 0
    elif interpolation == "midpoint":
        fraction = np.full_like(fraction, 0.5)
    lower = chosen("Quantile", ordered, low.astype(np.int64), ordered._data.ndim - 1)
    upper = chosen("Quantile", ordered, high.astype(np.int64), ordered._data.ndim - 1)
    found = lower.lerp(upper, _wrap(fraction)).movedim(-1, 0)
    if keepdim:
        found = found.reshape(found._data.shape[:1] + (shape_kept if input._data.ndim else ()))
    elif not input._data.ndim:
        found = found.reshape(found._data.shape[:1])
    return found if probabilities.ndim else found.squeeze(0)


@named
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The numbers below which a share ``q`` of the elements lies, of all or along ``dim``."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@named
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """As ``quantile``, of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


# -- Counting ----------------------------------------------------------------------------------


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
    where = "right" if right or side == "right" else "left"
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


IN_PLACE: tuple[str, ...] = ()
METHODS: dict[str, Any] = {}
OPERATORS: dict[str, Any] = {}
