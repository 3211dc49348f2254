"""Views and rearrangements of the same elements in other shapes."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import DTypeError, RangeError, ShapeError
from fastnn._core.sums import add_up
from fastnn._tensor.tensor import Tensor, _recorded, _sizes, _wrap
from fastnn._tensor.views import linear_map, mapped, view
from fastnn.ops.core import check_tensor, dimension, named, reduced, whole

__all__ = [
    "broadcast_shapes", "broadcast_tensors", "broadcast_to", "flatten", "ravel", "repeat_interleave", "reshape",
    "squeeze", "tile", "unflatten", "unsqueeze", "view_copy",
]  # fmt: skip


# -- Other shapes ------------------------------------------------------------------------------


def _as_shape(array: np.ndarray, sizes: tuple[Any, ...]) -> np.ndarray:
    try:
        return array.reshape(sizes)
    except ValueError:
        raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {array.size}") from None


def _reshaped(x: Tensor, sizes: tuple[Any, ...]) -> Tensor:
    array = x._data
    before = array.shape
    if array.flags.c_contiguous:
        try:
            return view(x, "View", lambda a: a.reshape(sizes), lambda g: g.reshape(before))
        except ValueError:
            _as_shape(array, sizes)
            raise
    result = _as_shape(array, sizes)
    after = result.shape
    if np.may_share_memory(result, array):
        return view(x, "View", lambda a: a.reshape(after), lambda g: g.reshape(before))
    if not _recorded(x):
        return _wrap(result)
    return mapped("UnsafeView", x, result, lambda grad: grad.reshape(before))


def _method_reshape(self: Tensor, *given: Any, shape: Any = None) -> Tensor:
    """The same elements in another shape; one size may be -1. Shares memory where it can."""
    return _reshaped(self, _sizes(given) if shape is None else tuple(shape))


@named
def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; one size may be -1. Shares memory where it can.

    >>> import fastnn
    >>> fastnn.reshape(fastnn.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    check_tensor("input", input)
    return _reshaped(input, (shape,) if isinstance(shape, int) else tuple(shape))


def _view(self: Tensor, *shape: Any, size: Any = None, dtype: Any = None) -> Tensor:
    """As ``reshape``, but RuntimeError if memory cannot be shared. With a dtype, the bytes reinterpreted in it.

    PyTorch stores most results in index order; fastnn does not always. A view of such a tensor can be read as in
    PyTorch, but writing to it is an error.
    """
    if shape and type(shape[0]) is int and size is None and dtype is None and self._data.flags.c_contiguous:
        return _reshaped(self, shape)
    kind = dtype if dtype is not None else shape[0] if len(shape) == 1 else None
    if isinstance(kind, _dtype):
        try:
            made = _wrap(self._data.view(kind.numpy))
        except ValueError:
            raise ShapeError(
                f"a tensor of shape {list(self._data.shape)} and dtype {self.dtype} cannot be viewed as {kind}"
            ) from None
        made._memory = self._memory
        return made
    result = _reshaped(self, _sizes(shape) if size is None else tuple(size))
    if not self._data.flags.c_contiguous and not np.may_share_memory(result._data, self._data):
        base = None if self._view is None else self._view[0]._data
        if base is not None and base.flags.c_contiguous and result._data.size:
            # A view of memory in PyTorch's order: PyTorch raises this too.
            raise RuntimeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
                "two contiguous subspaces). Use .reshape(...) instead."
            )
        copied: Any = result._data
        while isinstance(copied, np.ndarray):
            # The owner of the memory as well, so that no part of the copy can be made writeable.
            copied.flags.writeable = False
            copied = copied.base
    return result


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of ``other``."""
    check_tensor("other", other)
    return _view(self, other._data.shape)


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the shape of ``other``."""
    check_tensor("other", other)
    return _reshaped(self, other._data.shape)


def view_copy(input: Tensor, size: Any) -> Tensor:
    """A copy in another shape."""
    return _reshaped(input, tuple(size)).clone()


@named
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from ``start_dim`` to ``end_dim`` into one."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    shape = input._data.shape
    if start_dim == 0 and end_dim == -1 and len(shape) > 1:
        return _reshaped(input, (input._data.size,))
    first, last = dimension(start_dim, len(shape)), dimension(end_dim, len(shape))
    if not shape:
        return _reshaped(input, (1,))
    if first > last:
        raise RuntimeError(
            "flatten() has invalid args: start_dim cannot come after end_dim, found "
            f"{start_dim} and {end_dim} for {len(shape)} dimensions"
        )
    if first == last:
        return input
    return _reshaped(input, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


@named
def ravel(input: Tensor) -> Tensor:
    """Flatten all elements into one dimension."""
    check_tensor("input", input)
    return _reshaped(input, (-1,)) if input._data.size else _reshaped(input, (0,))


@named
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """Split one dimension into several of the given sizes; one size may be -1."""
    check_tensor("input", input)
    if not input._data.ndim:
        raise RangeError("unflatten: a tensor of no dimension has none to unflatten")
    axis = dimension(dim, input._data.ndim)
    shape = input._data.shape
    given = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    if not given:
        raise RuntimeError(f"unflatten: sizes must be non-empty, found {sizes!r}")
    known = math.prod([n for n in given if n != -1])
    fits = shape[axis] % known == 0 if -1 in given and known else known == shape[axis]
    if fits and known and given.count(-1) == 1:
        given = tuple([shape[axis] // known if n == -1 else n for n in given])
    if not fits:
        raise ShapeError(
            f"unflatten: Provided sizes {list(given)} don't multiply up to the size of dim {axis} ({shape[axis]}) in "
            "the input tensor"
        )
    return _reshaped(input, (*shape[:axis], *given, *shape[axis + 1 :]))


@named
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert a dimension of size 1 at ``dim``."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    shape = input._data.shape
    at = dimension(dim, len(shape) + 1)
    after = (*shape[:at], 1, *shape[at:]) if at else (1, *shape)
    return view(input, "Unsqueeze", lambda a: a.reshape(after), lambda g: g.reshape(shape))


@named
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Remove dimensions of size 1: all, or those in ``dim``."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    shape = input._data.shape
    if dim is None:
        after = shape if 1 not in shape else tuple([n for n in shape if n != 1])
        return view(input, "Squeeze", lambda a: a.reshape(after), lambda g: g.reshape(shape))
    drop = () if isinstance(dim, (tuple, list)) and not dim else reduced(dim, len(shape))
    after = tuple([n for d, n in enumerate(shape) if not (d in drop and n == 1)])
    return view(input, "SqueezeBackward1", lambda a: a.reshape(after), lambda g: g.reshape(shape))


def repeated(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``np.broadcast_to(a, shape)``, in a quarter of its time for an array without gaps."""
    if not a.flags.carray or not a.size:
        return np.broadcast_to(a, shape)
    extra = len(shape) - a.ndim
    if extra > 0 and shape[extra:] == a.shape:
        strides = (0,) * extra + a.strides
    else:
        strides = (0,) * extra
        for n, m, step in zip(a.shape, shape[extra:], a.strides, strict=True):
            if n != m and n != 1:
                return np.broadcast_to(a, shape)
            strides += (step if n == m else 0,)
    found: np.ndarray = np.ndarray(shape, a.dtype, buffer=a, strides=strides)
    found.flags.writeable = False
    return found


def _expanded(input: Tensor, sizes: tuple[int, ...]) -> Tensor:
    shape = input._data.shape
    extra = len(sizes) - len(shape)
    if extra < 0:
        for n in sizes:
            whole("size", n)
        raise ShapeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be greater or equal to the number of dimensions "
            f"in the tensor ({len(shape)})"
        )
    target: list[int] = []
    for d, n in enumerate(sizes):
        size = n if type(n) is int else operator.index(n)
        if size == -1:
            if d < extra:
                raise ShapeError(f"expand: -1 is not allowed in a leading, non-existing dimension {d}")
            size = shape[d - extra]
        elif size < 0:
            raise ShapeError(f"expand: sizes must not be negative, found {list(sizes)}")
        target.append(size)
    goal = tuple(target)
    if goal == shape:
        # Nothing is repeated, so it is writable.
        return view(input, "Expand", lambda a: a[...], lambda g: g)

    def put(g: np.ndarray) -> np.ndarray:
        axes = (*range(extra), *[d + extra for d, n in enumerate(shape) if n == 1 and goal[d + extra] != 1])
        return add_up(g, axes, None, True).reshape(shape)

    try:
        return view(input, "Expand", lambda a: repeated(a, goal), put)
    except ValueError:
        raise ShapeError(
            f"The expanded size of the tensor {list(goal)} must match the existing size {list(shape)} at non-singleton "
            "dimensions"
        ) from None


def _expand(self: Tensor, *given: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Expand dimensions of size 1 and add leading ones, sharing memory; -1 keeps a size."""
    return _expanded(self, _sizes(given) if size is None else tuple(size))


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expand to the shape of ``other``."""
    check_tensor("other", other)
    return _expanded(self, other._data.shape)


@named
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Expand dimensions of size 1 and add leading ones, sharing memory."""
    check_tensor("input", input)
    return _expanded(input, (size,) if isinstance(size, int) else tuple(size))


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape of the result of an operation on tensors of these shapes."""
    from fastnn._tensor.tensor import Size

    sizes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    try:
        return Size(np.broadcast_shapes(*sizes))
    except ValueError:
        raise ShapeError(f"Shape mismatch: objects of shapes {sizes} cannot be broadcast to a single shape") from None


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All of them expanded to their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    for t in given:
        check_tensor("tensors", t)
    shape = broadcast_shapes(*[t._data.shape for t in given])
    return tuple([_expanded(t, shape) for t in given])


# -- Repetition --------------------------------------------------------------------------------


def _repeated(input: Tensor, sizes: tuple[int, ...]) -> Tensor:
    shape = input._data.shape
    extra = len(sizes) - len(shape)
    if extra < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: found "
            f"repeats {list(sizes)} for shape {list(shape)}"
        )
    if any(n < 0 for n in sizes):
        raise RuntimeError(f"Trying to create tensor with negative dimension: repeats {list(sizes)}")
    padded = (1,) * extra + shape
    split = tuple([n for pair in zip(sizes, padded, strict=True) for n in pair])

    def together(g: np.ndarray) -> np.ndarray:
        return add_up(g.reshape(split), tuple(range(0, len(split), 2))).reshape(shape)

    return linear_map("Repeat", input, lambda a: np.tile(a, sizes), together)


def _repeat(self: Tensor, *given: Any, repeats: Any = None) -> Tensor:
    """Repeat the tensor this many times along each dimension."""
    return _repeated(self, tuple([whole("repeats", n) for n in _sizes(given if repeats is None else (repeats,))]))


@named
def tile(input: Tensor, *given: Any, dims: Any = None) -> Tensor:
    """As ``repeat``, but with possibly fewer counts than dimensions."""
    check_tensor("input", input)
    sizes = tuple([whole("dims", n) for n in _sizes(given if dims is None else (dims,))])
    return _repeated(input, (1,) * (input._data.ndim - len(sizes)) + sizes)


@named
def repeat_interleave(input: Any, repeats: Any = None, dim: int | None = None, *, output_size: Any = None) -> Tensor:
    """Repeat each element consecutively, of all elements or along ``dim``."""
    check_tensor("input", input)
    if repeats is None:
        if input._data.ndim != 1:
            raise RuntimeError(f"repeat_interleave only accept 1D vector as repeat, found shape {tuple(input.shape)}")
        if input._data.dtype not in (np.int32, np.int64):
            raise DTypeError(f"repeats has to be Long or Int tensor, found {input.dtype}")
        capture_state.stop("the shape of a result depends on numbers")
        return _wrap(np.repeat(np.arange(input._data.size, dtype=input._data.dtype), input._data))
    if isinstance(repeats, Tensor):
        capture_state.stop("the shape of a result depends on numbers")
    counts: Any = repeats._data if isinstance(repeats, Tensor) else repeats
    if not isinstance(counts, (np.ndarray, list, tuple)):
        counts = whole("repeats", counts)
    if np.any(np.asarray(counts) < 0):
        raise RuntimeError(f"repeats can not be negative, found {np.min(counts)}")
    x = input
    if dim is None:
        x, axis = ravel(input), 0
    else:
        if not x._data.ndim:
            raise RangeError(f"Dimension specified as {dim} but tensor has no dimensions")
        axis = dimension(dim, x._data.ndim)
    n = x._data.shape[axis]
    if np.ndim(counts) == 1 and len(counts) not in (1, n):
        raise RuntimeError(f"repeats must have the same size as input along dim, {n}, found {len(counts)}")
    places = np.repeat(np.arange(n), counts)
    shape = x._data.shape

    def together(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        np.add.at(np.moveaxis(full, axis, 0), places, np.moveaxis(g, axis, 0))
        return full

    return linear_map("RepeatInterleave", x, lambda a: np.take(a, places, axis), together)


# -- Memory ------------------------------------------------------------------------------------


def _contiguous(self: Tensor, *, memory_format: Any = None) -> Tensor:
    """The tensor itself if it is contiguous in memory, otherwise a contiguous copy."""
    if self._data.flags.c_contiguous:
        return self
    return mapped("Clone", self, np.ascontiguousarray(self._data), lambda grad: grad)


def _is_contiguous(self: Tensor, *, memory_format: Any = None) -> bool:
    """Whether the elements are stored in index order without gaps."""
    return self._data.flags.c_contiguous


def _stride(self: Tensor, dim: int | None = None) -> Any:
    """The step in memory, in elements, along each dimension, or along one."""
    steps = tuple([s // self._data.itemsize for s in self._data.strides])
    if 0 in steps:
        # NumPy has 0 for a new dimension of size 1, PyTorch the contiguous stride.
        shape, found = self._data.shape, list(steps)
        for d in range(len(found) - 1, -1, -1):
            if shape[d] == 1 and not found[d]:
                found[d] = shape[d + 1] * found[d + 1] if d + 1 < len(found) else 1
        steps = tuple(found)
    return steps if dim is None else steps[dimension(dim, len(steps))]


def _storage_offset(self: Tensor) -> int:
    """The offset of the first element in its memory."""
    owner = self._data
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if owner is self._data:
        return 0  # An address takes ten times as long.
    return (self._data.ctypes.data - owner.ctypes.data) // self._data.itemsize


def _data_ptr(self: Tensor) -> int:
    """The address of the first element, 0 if there is none."""
    return self._data.ctypes.data if self._data.size else 0


def _size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    if dim is None:
        return self.shape
    if not self._data.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return self._data.shape[dimension(dim, self._data.ndim)]


# Their in-place forms change the tensor's shape, not its elements.
RESHAPES = ("squeeze", "unsqueeze")


METHODS = {
    "reshape": _method_reshape, "view": _view, "view_as": _view_as, "reshape_as": _reshape_as, "expand": _expand,
    "expand_as": _expand_as, "repeat": _repeat, "contiguous": _contiguous, "is_contiguous": _is_contiguous,
    "stride": _stride, "storage_offset": _storage_offset, "data_ptr": _data_ptr, "size": _size,
}  # fmt: skip
