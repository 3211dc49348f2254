"""Sorting, and order statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import linear_map, mapped
from fastnn.ops.core import NUMBERS, check_tensor, dimension, named, no_gradient, refuse, whole
from fastnn.ops.extrema import _along, chosen, shared

__all__ = [
    "argsort", "cummax", "cummin", "kthvalue", "median", "mode", "msort", "nanmedian", "nanquantile", "quantile",
    "sort", "topk",
]  # fmt: skip


# -- Sorting -----------------------------------------------------------------------------------


def order(a: np.ndarray, axis: int, descending: bool = False) -> np.ndarray:
    """The indices of a stable sort; NaN counts as the largest."""
    if not descending:
        return a.argsort(axis, "stable")
    backwards = np.argsort(np.flip(a, axis), axis=axis, kind="stable")
    return a.shape[axis] - 1 - np.flip(backwards, axis)


@named
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The sorted elements along ``dim`` and their indices: ``(values, indices)``.

    >>> import fastnn
    >>> fastnn.tensor([3.0, 1.0, 2.0]).sort().values
    tensor([1., 2., 3.])
    """
    check_tensor("input", input)
    axis = dimension(dim, input._data.ndim)
    if not input._data.ndim:
        return return_types.sort(input.clone(), _wrap(np.zeros((), np.int64)))
    indices = order(input._data, axis, descending)
    found = _wrap(indices)
    return return_types.sort(chosen("Sort", input, indices, axis, True, found), found)


@named
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort along ``dim``."""
    check_tensor("input", input)
    return sort(input.detach(), dim, descending).indices


@named
def msort(input: Tensor) -> Tensor:
    """The elements sorted along the first dimension."""
    return sort(input, 0).values


@named
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest or smallest elements along ``dim``, in order: ``(values, indices)``."""
    check_tensor("input", input)
    refuse("topk", input, "b")
    axis = dimension(dim, input._data.ndim)
    size = input._data.shape[axis] if input._data.ndim else 1
    k = whole("k", k)
    if not 0 <= k <= size:
        raise RuntimeError(f"selected index k out of range: found {k}, expected 0 to {size}")
    if not input._data.ndim:
        return return_types.topk(input.clone(), _wrap(np.zeros((), np.int64)))
    indices = order(input._data, axis, largest).take(range(k), axis)
    found = _wrap(indices)
    return return_types.topk(chosen("Topk", input, indices, axis, True, found), found)


@named
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along ``dim``, counted from 1: ``(values, indices)``."""
    check_tensor("input", input)
    refuse("kthvalue_cpu", input, "b")
    axis = dimension(dim, input._data.ndim)
    size = input._data.shape[axis] if input._data.ndim else 1
    k = whole("k", k)
    if not size:
        raise IndexError(f"kthvalue(): Expected reduction dim {axis} to have non-zero size.")
    if not 1 <= k <= size:
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {dim}: found {k}, expected 1 to {size}"
        )
    return _along("kthvalue", return_types.kthvalue, input, dim, keepdim,
                  lambda a, axis: order(a, axis).take([k - 1], axis))  # fmt: skip


def _places_of_median(missing: Any, n: int, ignore_nan: bool) -> Any:
    """The positions of lower medians among sorted numbers: a NaN counts as the median, or is ignored."""
    if ignore_nan:
        return np.maximum(n - missing - 1, 0) // 2
    # The first NaN is right after the numbers.
    return np.where(missing > 0, n - missing, (n - 1) // 2)


def _middle(a: np.ndarray, axis: int, ignore_nan: bool) -> np.ndarray:
    """The index of the lower median."""
    indices = order(a, axis)
    missing = (a != a).sum(axis=axis, keepdims=True)
    return np.take_along_axis(indices, _places_of_median(missing, a.shape[axis], ignore_nan), axis)


def _value_of_median(a: np.ndarray, ignore_nan: bool) -> Any:
    """The lower median of all elements, whose place is not needed: 20 us for 4,096 numbers, 230 by their order."""
    flat = a.reshape(-1)
    missing = int(np.count_nonzero(flat != flat))
    if missing and (not ignore_nan or missing == flat.size):
        return flat.dtype.type(np.nan)
    place = (flat.size - missing - 1) // 2
    # NaN comes last.
    found = np.partition(flat, place)[place]
    # Equal numbers of both signs: the first in the order of the array, as a stable sort has it.
    return found if found != 0 else flat[_middle(flat, 0, ignore_nan)[0]]


def _median(name: str, input: Tensor, dim: Any, keepdim: bool, ignore_nan: bool) -> Any:
    check_tensor("input", input)
    refuse("median_cpu", input, "b")
    if dim is None:
        if not input._data.size:
            kind = input._data.dtype
            nothing = np.asarray(np.nan if kind.kind == "f" else np.iinfo(kind).min, kind)
            return mapped(name.title(), input, nothing, lambda grad: no_gradient(input, None, None))
        value = np.asarray(_value_of_median(input._data, ignore_nan))
        return shared(name.title(), input, tuple(range(input._data.ndim)), False, lambda a, axis: value)
    return _along(name, getattr(return_types, name), input, dim, keepdim, lambda a, axis: _middle(a, axis, ignore_nan))


@named
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; along ``dim`` the pair ``(values, indices)``."""
    return _median("median", input, dim, keepdim, False)


@named
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are not NaN."""
    return _median("nanmedian", input, dim, keepdim, True)


def _commonest(a: np.ndarray, axis: int) -> np.ndarray:
    """The last index of the most frequent value; the smallest value if tied."""
    indices = order(a, axis)
    ordered = np.moveaxis(np.take_along_axis(a, indices, axis), axis, -1)
    indices = np.moveaxis(indices, axis, -1)
    n = ordered.shape[-1]
    if not n:
        return np.moveaxis(indices, -1, axis)
    # How often each element has come up to its place: the difference to the place where its run of equals begins.
    places = np.arange(n)
    begins = np.ones(ordered.shape, bool)
    np.not_equal(ordered[..., 1:], ordered[..., :-1], out=begins[..., 1:])
    counts = places - np.maximum.accumulate(np.where(begins, places, 0), axis=-1)
    found = np.take_along_axis(indices, counts.argmax(-1)[..., None], -1)
    return np.moveaxis(found, -1, axis)


@named
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along ``dim``, the smallest if tied: ``(values, indices)``."""
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
        # An element equal to the best so far becomes the record; a NaN stays the record.
        record = (array == best) | np.isnan(array)
        indices = np.maximum.accumulate(np.where(record, positions, 0), axis=axis)

    def take(a: np.ndarray) -> np.ndarray:
        return np.take_along_axis(a, indices, axis)

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(array.shape, g.dtype)
        where: list[Any] = list(np.indices(array.shape))
        where[axis] = indices
        np.add.at(full, tuple(where), g)
        return full

    found = _wrap(indices)
    return kind(linear_map(name.title(), input, take, put, (input, found), keeps=True), found)


@named
def cummax(input: Tensor, dim: int) -> Any:
    """The cumulative maximum along ``dim``: ``(values, indices)``."""
    return _running("cummax", input, dim, np.maximum)


@named
def cummin(input: Tensor, dim: int) -> Any:
    """The cumulative minimum along ``dim``: ``(values, indices)``."""
    return _running("cummin", input, dim, np.minimum)


# -- Quantiles ---------------------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    check_tensor("input", input)
    if input._data.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, found {input.dtype}")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of {', '.join(_INTERPOLATIONS)}, but got {interpolation}"
        )
    if not isinstance(q, (Tensor, *NUMBERS)):
        raise TypeError(f"{name}(): q must be a number or a Tensor, found {type(q).__name__}")
    values = q if isinstance(q, Tensor) else _wrap(np.asarray(q, input._data.dtype))
    if values._data.dtype != input._data.dtype:
        raise RuntimeError(
            f"{name}() q tensor must be same dtype as the input tensor, found {values.dtype} and {input.dtype}"
        )
    if values._data.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, found shape {tuple(values.shape)}")
    probabilities = values._data
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q if values is not q else q.tolist()}")
    x = input
    if dim is None:
        shape_kept = (1,) * x._data.ndim
        x, axis = x.reshape(-1), 0
    else:
        axis = dimension(dim, x._data.ndim)
        x = x.reshape(1) if not x._data.ndim else x
        shape_kept = tuple([1 if d == axis else n for d, n in enumerate(x._data.shape)])
    n = x._data.shape[axis]
    if not x._data.size:
        raise RuntimeError(f"{name}() input tensor must be non-empty, found shape {tuple(input.shape)}")
    ordered = sort(x, axis).values.movedim(axis, -1)
    missing = np.isnan(x._data).sum(axis=axis)[..., None]
    # In the dtype of the elements, as in PyTorch.
    count = np.asarray(np.maximum(n - missing - 1, 0) if skip_nan else np.full_like(missing, n - 1), x._data.dtype)
    ranks = values.reshape(-1) * _wrap(count)
    if not skip_nan:
        # A NaN is sorted last, and is the result.
        ranks = ranks.masked_fill(_wrap(missing > 0), n - 1)
    rank = ranks._data
    steps: Any = {"higher": np.ceil, "nearest": np.rint}
    low = steps.get(interpolation, np.floor)(rank)
    found = chosen("Gather", ordered, low.astype(np.int64), ordered._data.ndim - 1)
    if interpolation in ("linear", "midpoint"):
        # The other modes read only one element: its neighbour may be infinite.
        upper = chosen("Gather", ordered, np.ceil(rank).astype(np.int64), ordered._data.ndim - 1)
        found = found.lerp(upper, ranks - _wrap(low) if interpolation == "linear" else _wrap(np.full_like(rank, 0.5)))
    found = found.movedim(-1, 0)
    if keepdim:
        found = found.reshape(found._data.shape[:1] + (shape_kept if input._data.ndim else ()))
    elif not input._data.ndim:
        found = found.reshape(found._data.shape[:1])
    return found if probabilities.ndim else found.squeeze(0)


@named
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The ``q``-quantiles of all elements or along ``dim``."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@named
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """As ``quantile``, of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)
