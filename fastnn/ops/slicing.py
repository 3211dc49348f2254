"""Slices, diagonals, triangles and windows of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.numpy_trace import padded
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import linear_map, view
from fastnn.kernels.runtime import allocation
from fastnn.ops.core import check_tensor, dimension, named, whole

__all__ = [
    "as_strided", "as_strided_copy", "diag", "diag_embed", "diagflat", "diagonal", "narrow", "narrow_copy", "select",
    "tril", "tril_indices", "triu", "triu_indices", "unfold_copy",
]  # fmt: skip


@named
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """``length`` elements from ``start`` along ``dim``, sharing memory."""
    check_tensor("input", input)
    if not input._data.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    axis = dimension(dim, input._data.ndim)
    size = input._data.shape[axis]
    first, length = whole("start", start), whole("length", length)
    if not -size <= first <= size:
        raise IndexError(f"Dimension out of range (expected to be in range of [-{size}, {size}], but got {first})")
    first += size if first < 0 else 0
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, found {length}.")
    if first + length > size:
        raise RuntimeError(f"start ({first}) + length ({length}) exceeds dimension size ({size}).")
    return sliced(input, (slice(None),) * axis + (slice(first, first + length),), "Slice")


def sliced(input: Tensor, key: Any, name: str) -> Tensor:
    """``input[key]`` for a key of numbers, slices and None: a view."""
    shape = input._data.shape

    return view(input, name, lambda a: a[key], lambda g: padded(g, shape, key))


@named
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A copy of ``narrow``'s result."""
    return narrow(input, dim, start, length).clone()


@named
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Element ``index`` along ``dim``, sharing memory."""
    check_tensor("input", input)
    if not input._data.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis = dimension(dim, input._data.ndim)
    size = input._data.shape[axis]
    index = whole("index", index)
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {axis}"
        )
    return sliced(input, (*(slice(None),) * axis, index, ...), "Select")


@named
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions as the last dimension; shares memory."""
    check_tensor("input", input)
    ndim, shape = input._data.ndim, input._data.shape
    a, b = dimension(dim1, ndim), dimension(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")

    def take(x: np.ndarray) -> np.ndarray:
        return _writable_diagonal(x, offset, a, b)

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        _writable_diagonal(full, offset, a, b)[...] = g
        return full

    return view(input, "Diagonal", take, put)


def _writable_diagonal(x: np.ndarray, offset: int, a: int, b: int) -> np.ndarray:
    # NumPy's diagonal is read-only.
    seen = np.diagonal(x, offset, a, b)
    if x.flags.writeable:
        seen.flags.writeable = True
    return seen


@named
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal."""
    check_tensor("input", input)
    if input._data.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input._data.ndim}D")
    if input._data.ndim == 2:
        return globals()["diagonal"](input, diagonal).clone()
    return diag_embed(input, diagonal)


@named
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements on its diagonal."""
    check_tensor("input", input)
    return diag_embed(input.reshape(-1), offset)


@named
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices in two new dimensions, with the last dimension as their diagonals."""
    check_tensor("input", input)
    array = input._data
    ndim = array.ndim + 1
    a, b = dimension(dim1, ndim), dimension(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = array.shape[-1] + abs(offset)
    rest = list(array.shape[:-1])
    for d in sorted((a, b)):
        rest.insert(d, n)
    shape = tuple(rest)

    def put(x: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, x.dtype)
        _writable_diagonal(full, offset, a, b)[...] = x
        return full

    return linear_map("DiagEmbed", input, put, lambda g: np.diagonal(g, offset, a, b).copy())


def _triangle(name: str, input: Tensor, diagonal: int, keep: Any) -> Tensor:
    check_tensor("input", input)
    if input._data.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, found shape {tuple(input.shape)}")
    return linear_map(name.title(), input, lambda a: keep(a, diagonal), lambda g: keep(g, diagonal))


@named
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Zeros above the diagonal."""
    return _triangle("tril", input, whole("diagonal", diagonal), np.tril)


@named
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Zeros below the diagonal."""
    return _triangle("triu", input, whole("diagonal", diagonal), np.triu)


def _indices(numbers: Any, row: Any, col: Any, offset: Any, dtype: Any) -> Tensor:
    rows, columns, offset = whole("row", row), whole("col", col), whole("offset", offset)
    if bool in (type(row), type(col)):
        raise TypeError("row and col must be integers, found bool")
    if rows < 0 or columns < 0:
        raise RuntimeError(f"row and col must be non-negative, found {rows} and {columns}")
    return _wrap(np.stack(numbers(rows, offset, columns)).astype(np.int64 if dtype is None else dtype.numpy))


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None
) -> Tensor:
    """The row and column indices of the elements on and below the diagonal."""
    return _indices(np.tril_indices, row, col, offset, dtype)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None
) -> Tensor:
    """The row and column indices of the elements on and above the diagonal."""
    return _indices(np.triu_indices, row, col, offset, dtype)


def _unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` elements along a dimension, ``step`` apart, in a new last dimension; shares memory."""
    return _windows(self, dimension, size, step)


def _windows(input: Tensor, dim: int, size: int, step: int) -> Tensor:
    axis, shape = dimension(dim, input._data.ndim), input._data.shape
    length = shape[axis] if shape else 1
    if not 0 <= size <= length:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {length} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (length - size) // step + 1

    def take(a: np.ndarray) -> np.ndarray:
        a = a if a.ndim else a.reshape(1)
        windows = np.lib.stride_tricks.sliding_window_view(a, size, axis, writeable=a.flags.writeable) if size else (
            allocation.empty((*a.shape[:axis], length + 1, *a.shape[axis + 1 :], 0), a.dtype)
        )
        return windows[(slice(None),) * axis + (slice(0, (count - 1) * step + 1, step),)]

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape or (1,), g.dtype)
        places = np.arange(count)[:, None] * step + np.arange(size)
        np.add.at(np.moveaxis(full, axis, 0), places, np.moveaxis(np.moveaxis(g, axis, 0), -1, 1))
        return full.reshape(shape)

    if not shape:
        # The window itself, as in PyTorch.
        return view(input, "Unfold", lambda a: take(a)[0], lambda g: put(g.reshape(1, -1)))
    return view(input, "Unfold", take, put)


def unfold_copy(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A copy of the method ``unfold``'s result."""
    return _windows(input, dimension, size, step).clone()


def _positions(shape: Any, strides: Any, offset: int) -> np.ndarray:
    """Where the elements are in a memory, counted in elements."""
    places = np.full(shape, offset)
    for axis, (n, step) in enumerate(zip(shape, strides, strict=True)):
        places += (np.arange(n) * step).reshape((n,) + (1,) * (len(shape) - axis - 1))
    return places


@named
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """The elements of the tensor's memory at ``offset + sum(index * stride)``; shares memory.

    Args:
        input: a tensor.
        size: the shape of the result.
        stride: the distance between neighbours of each dimension, in elements.
        storage_offset: the place of the first element in the memory, by default that of the tensor.

    Returns: a view; its gradient reaches the elements of ``input`` that it has, each as often as it has them.

    Raises: RuntimeError if an element lies outside of the memory, or if sizes and strides do not match.

    >>> import fastnn
    >>> fastnn.as_strided(fastnn.arange(6), (2, 3), (1, 2))
    tensor([[0, 2, 4],
            [1, 3, 5]])
    """
    from fastnn.storage import part

    shape, steps = tuple(whole("size", n) for n in size), tuple(whole("stride", n) for n in stride)
    if len(shape) != len(steps):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(shape)} and {list(steps)}")
    if min(steps, default=0) < 0:
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(steps)}"
        )
    if min(shape, default=0) < 0:
        raise RuntimeError(f"as_strided: sizes must not be negative, found {list(shape)}")
    tensor: Any = input
    own, own_shape, own_steps = tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride())
    first = own if storage_offset is None else whole("storage_offset", storage_offset)

    def take(a: np.ndarray) -> np.ndarray:
        found: Any = _wrap(a)
        if found.stride() == own_steps:
            return part(found.untyped_storage(), a.dtype, found.storage_offset() + first - own, shape, steps)
        # Elements in another order, as of a gradient: a copy, which nothing may be written to.
        memory, places, others = _memory_between()
        full = np.zeros(memory, a.dtype)
        full[others] = a
        result = full[places]
        result.flags.writeable = False
        return result

    def put(g: np.ndarray) -> np.ndarray:
        memory, places, others = _memory_between()
        full = np.zeros(memory, g.dtype)
        np.add.at(full, places, g)
        # An element that the input has several times shares its gradient among them.
        times = np.bincount(others.ravel(), minlength=memory)[others]
        return full[others] if others.size == memory else (full[others] / np.maximum(times, 1)).astype(g.dtype)

    def _memory_between() -> tuple[int, np.ndarray, np.ndarray]:
        """Its size, and the places in it of the elements of the result and of the input."""
        places, others = _positions(shape, steps, first), _positions(own_shape, own_steps, own)
        low = min(places.min(initial=first), others.min(initial=own))
        return int(max(places.max(initial=0), others.max(initial=0)) - low + 1), places - low, others - low

    return view(input, "AsStrided", take, put)


@named
def as_strided_copy(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of the result of ``as_strided``."""
    return as_strided(input, size, stride, storage_offset).clone()


IN_PLACE = ("tril", "triu")
METHODS = {"unfold": _unfold}
