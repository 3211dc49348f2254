"""Maxima and minima, and their indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._core.errors import RangeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn._tensor.views import linear_map
from fastnn.ops.binary_math import maximum, minimum
from fastnn.ops.core import also_read, check_tensor, dimension, named, recorded_result, reduced
from fastnn.ops.scatter import along

__all__ = ["amax", "amin", "aminmax", "argmax", "argmin", "max", "min"]


# In half the time of np.max and np.min.
_largest: Any = np.maximum.reduce
_smallest: Any = np.minimum.reduce


def chosen(
    name: str, input: Tensor, indices: np.ndarray, axis: int, keepdim: bool = True, *saved: Tensor
) -> Tensor:
    """The elements at ``indices`` along ``axis``; one index if the dimension is dropped.

    ``saved``: tensors that must not change before the backward pass, such as indices that the caller holds.
    """
    shape = input._data.shape
    kept = indices.shape
    out_shape = kept if keepdim else kept[:axis] + kept[axis + 1 :]

    def take(a: np.ndarray) -> np.ndarray:
        return along(a, indices, axis).reshape(out_shape)

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        np.put_along_axis(full, indices, g.reshape(kept), axis)
        return full

    return linear_map(name, input, take, put, saved, keeps=True)


def _axis(name: str, input: Tensor, dim: Any) -> int:
    axis = dimension(dim, input._data.ndim)
    if input._data.ndim and input._data.shape[axis] == 0:
        raise RangeError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
    return axis


def _along(name: str, kind: Any, input: Tensor, dim: Any, keepdim: bool, find: Any) -> Any:
    """Values and indices along a dimension; ``find(array, axis)`` returns the indices and keeps the dimension."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    axis = _axis(name, input, dim)
    if not input._data.ndim:
        return kind(input.clone(), _wrap(np.zeros((), np.int64)))
    indices = np.asarray(find(input._data, axis), np.int64)
    kept = indices.shape
    if not _recorded(input):
        best = along(input._data, indices, axis)
        if not keepdim:
            shape = kept[:axis] + kept[axis + 1 :]
            best, indices = best.reshape(shape), indices.reshape(shape)
        return kind(_wrap(best), _wrap(indices))
    found = _wrap(indices if keepdim else indices.reshape(kept[:axis] + kept[axis + 1 :]))
    return kind(chosen(name.title(), input, indices, axis, keepdim, found), found)


def _extreme(name: str, input: Tensor, operate: Any) -> Tensor:
    """The extreme of all elements; equal ones share the gradient."""
    array = input._data
    if array.size == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
            "the 'dim' argument."
        )
    if not _recorded(input):
        return _wrap(np.asarray(operate(array, None)))
    return shared(f"{name.title()}Backward1", input, tuple(range(array.ndim)), False, operate)


def shared(
    name: str, input: Tensor, axes: tuple[int, ...], keepdim: bool, operate: Any, nan_is_found: bool = True
) -> Tensor:
    """``operate(array, axis, keepdims=keepdims)``; the elements of ``input`` equal to the result share the gradient.

    ``nan_is_found``: whether a NaN also shares it; otherwise its whole slice gets NaN, as in PyTorch's amax.
    """
    array = input._data
    result = operate(array, axes, keepdims=True) if keepdim else operate(array, axes)
    if type(result) is not np.ndarray:
        result = np.asarray(result)
    if not _recorded(input):
        return _wrap(result)
    kept = tuple([1 if d in axes else n for d, n in enumerate(array.shape)])

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        best = y._data.reshape(kept)
        equal = array == best
        if nan_is_found and np.isnan(best).any():
            equal |= np.isnan(array) & np.isnan(best)
        share = equal / equal.sum(axis=axes, keepdims=True) if axes else equal
        return (grad.reshape(kept) * _wrap(np.asarray(share, grad._data.dtype)),)

    return recorded_result(name, (input,), result, run, (input,))


def _reduction_or_pair(name: str, input: Tensor, dim: Any, keepdim: bool, other: Any, pair: Any) -> Any:
    if type(input) is not Tensor:
        check_tensor("input", input)
    if isinstance(dim, Tensor):
        dim, other = None, dim
    if other is not None:
        return pair(input, other)
    if dim is None:
        return _extreme(name, input, _largest if name == "max" else _smallest)
    if name == "max":
        return _along(name, return_types.max, input, dim, keepdim, lambda a, axis: a.argmax(axis, keepdims=True))
    return _along(name, return_types.min, input, dim, keepdim, lambda a, axis: a.argmin(axis, keepdims=True))


@named
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The largest element; along ``dim`` the pair ``(values, indices)``; with a tensor, the elementwise maximum.

    Along a dimension the first of equal elements gets the gradient; over the whole tensor equal elements
    share it, as in PyTorch.

    >>> import fastnn
    >>> fastnn.max(fastnn.tensor([[1.0, 5.0], [7.0, 3.0]]), 1).indices
    tensor([1, 0])
    """
    return _reduction_or_pair("max", input, dim, keepdim, other, maximum)


@named
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The smallest element; along ``dim`` the pair ``(values, indices)``; with a tensor, the elementwise minimum."""
    return _reduction_or_pair("min", input, dim, keepdim, other, minimum)


def _all_axes(name: str, input: Tensor, dim: Any) -> tuple[int, ...]:
    check_tensor("input", input)
    axes = reduced(dim, input._data.ndim)
    for d in axes:
        if input._data.shape[d] == 0:
            raise RangeError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return axes


@named
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest element over the dimensions ``dim``; equal ones share the gradient."""
    return shared("Amax", input, _all_axes("amax", input, dim), keepdim, _largest, False)


@named
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest element over the dimensions ``dim``; equal ones share the gradient."""
    return shared("Amin", input, _all_axes("amin", input, dim), keepdim, _smallest, False)


@named
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest element."""
    axes: Any = () if dim is None else dim
    if dim is None and input._data.size == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity: input has "
            f"shape {tuple(input.shape)}"
        )
    low, high = amin(input, axes, keepdim), amax(input, axes, keepdim)
    # PyTorch has one operation, which reads both.
    return return_types.aminmax(also_read(low, high), also_read(high, low))


def _position(name: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if type(input) is not Tensor:
        check_tensor("input", input)
    array = input._data
    find = getattr(array, name)
    if array.dtype.kind == "b":
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is None:
        if array.size == 0:
            raise RangeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
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
