"""Flat storage: the parameters of a model side by side in one buffer, their gradients in another.

Parameters are laid into large chunks one after the other, in the order in which they are made,
so a model's parameters are neighbours and an optimizer updates them all in one launch. Nothing is
moved later: an array once handed out stays where it is.

Sizes are rounded up to whole cache lines; what lies between two parameters is zero and stays zero,
because its gradient is. Imports nothing of fastnn.
"""

from __future__ import annotations

import os
import threading
from pickle import PickleBuffer
from typing import Any

import numpy as np

_LINE = 64
# Bytes of a chunk. The memory is zero pages that the operating system provides at first touch.
_CHUNK = 32 * 2**20
# Rows of a weight whose length is a multiple of this fall on the same cache sets; one more vector
# after each row spreads them (64x1024 by 1024x1024: 310 to 340 GFLOP/s without, 465 to 490 with).
_CONFLICT = 1024


class _Chunk:
    """A buffer of numbers, and another of the same size for their gradients."""

    __slots__ = ("_grads", "used", "values")

    def __init__(self, size: int, dtype: np.dtype) -> None:
        self.values = _aligned_zeros(size, dtype)
        self._grads: np.ndarray | None = None
        self.used = 0

    @property
    def grads(self) -> np.ndarray:
        if self._grads is None:
            with _grads_lock:
                if self._grads is None:
                    self._grads = _aligned_zeros(self.values.size, self.values.dtype)
        return self._grads


def _aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    raw = np.zeros(size * dtype.itemsize + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


class Slot:
    """The place of one parameter: numbers ``start`` to ``stop`` of a chunk, and an array over them.

    Args:
        shape: of the array.
        dtype: of the numbers, floating point.
        transposed: store a matrix of shape (m, n) as n rows of m numbers, padded where m asks for it.
    """

    __slots__ = ("array", "chunk", "shape", "start", "stop", "strides")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, transposed: bool = False) -> None:
        self.shape = shape
        self.strides: tuple[int, ...]
        if transposed:
            m, n = shape
            pitch = m
            if m and m * dtype.itemsize % _CONFLICT == 0:
                pitch += _LINE // dtype.itemsize
            size = n * pitch
            self.strides = (dtype.itemsize, pitch * dtype.itemsize)
        else:
            # An empty array of the shape is the shortest way to its strides; none of it is touched.
            empty = np.empty(shape, dtype)
            size, self.strides = empty.size, empty.strides
        line = _LINE // dtype.itemsize
        size = -(-size // line) * line
        self.chunk, self.start = _take(size, dtype)
        self.stop = self.start + size
        self.array = self.over(self.chunk.values[self.start : self.stop])

    def over(self, flat: np.ndarray) -> np.ndarray:
        """An array of this slot's shape and strides over the first numbers of another flat buffer.

        NumPy makes the owner of the memory the base of a view of a view, unless what lies between is
        no array. A PickleBuffer, the plainest such thing, makes this array the base of all views of
        it: its reference count then tells whether anyone else can see this memory.
        """
        owner: Any = PickleBuffer(flat.data)
        return np.ndarray(self.shape, flat.dtype, owner, 0, self.strides)

    @property
    def grad_array(self) -> np.ndarray:
        """The array over the gradient's place."""
        return self.over(self.chunk.grads[self.start : self.stop])


def is_place(array: np.ndarray) -> bool:
    """Whether this is a slot's own array, and not a view or copy of it."""
    return type(array.base) is PickleBuffer


_chunks: dict[np.dtype, _Chunk] = {}
_lock, _grads_lock = threading.Lock(), threading.Lock()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held them.
    for lock in (_lock, _grads_lock):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # what `threading` itself does to its locks


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _take(size: int, dtype: np.dtype) -> tuple[_Chunk, int]:
    """Room for ``size`` numbers: the chunk and where in it. A large parameter gets its own chunk."""
    capacity = _CHUNK // dtype.itemsize
    if size > capacity // 2:
        chunk = _Chunk(size, dtype)
        chunk.used = size
        return chunk, 0
    with _lock:
        chunk_now = _chunks.get(dtype)
        if chunk_now is None or chunk_now.used + size > capacity:
            chunk_now = _chunks[dtype] = _Chunk(capacity, dtype)
        start = chunk_now.used
        chunk_now.used += size
        return chunk_now, start
