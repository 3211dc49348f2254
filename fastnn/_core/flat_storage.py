"""Flat storage: the parameters of a model contiguous in one buffer, their gradients in another.

Parameters are placed in large chunks one after the other, in the order of their creation, so a model's
parameters are neighbours and an optimizer updates them all in one launch. Nothing is moved later: an
array keeps its address.

The memory of a parameter is free again when nobody holds an array over its numbers or its gradient. Space
at the end of a chunk is used first. A hole between parameters is used once it is large enough for a model,
so that the parameters of a model stay neighbours.

Sizes are rounded up to whole cache lines; the padding between two parameters is zero and stays zero,
because its gradient is.
"""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import operator
import os
import sys
import threading
import weakref
from bisect import insort
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any

import numpy as np

from fastnn._core.errors import ShapeError

_LINE = 64
# Bytes of a chunk. The operating system provides zero pages on first touch.
_CHUNK = 32 * 2**20
# A hole between parameters is used if it has at least so many bytes and the parameter fits so many times:
# a model that is split between two holes is updated by two launches.
_HOLE, _HOLE_TIMES = 2**19, 4
# Bytes freed in a chunk before their pages are returned to the operating system.
_RETURNED = 4 * 2**20


class _Chunk:
    """A buffer of numbers, and another of the same size for their gradients.

    Holes are half-open ranges, in order. The last one reaches from ``used`` to the end of the chunk.
    """

    __slots__ = ("__weakref__", "_grads", "dirty", "holes", "reached", "used", "values")

    def __init__(self, size: int, dtype: np.dtype) -> None:
        self.values = _aligned_zeros(size, dtype)
        self._grads: np.ndarray | None = None
        self.used = 0
        # Beyond this nothing was ever written.
        self.reached = 0
        self.holes: list[tuple[int, int]] = []
        self.dirty = 0

    @property
    def grads(self) -> np.ndarray:
        if self._grads is None:
            with _grads_lock:
                if self._grads is None:
                    self._grads = _aligned_zeros(self.values.size, self.values.dtype)
        return self._grads

    def take(self, start: int, stop: int) -> None:
        """Use this range, at the start of a hole or of the free end; its numbers are zero afterwards."""
        if start == self.used:
            self.used = stop
        else:
            at = next(i for i, hole in enumerate(self.holes) if hole[0] == start)
            end = self.holes[at][1]
            self.holes[at : at + 1] = [(stop, end)] if stop < end else []
        if start < self.reached:
            for numbers in self._buffers():
                numbers[start : min(stop, self.reached)] = 0
        self.reached = max(self.reached, stop)

    def give(self, start: int, stop: int) -> None:
        """Free this range."""
        if start == stop:
            return
        insort(self.holes, (start, stop))
        at = self.holes.index((start, stop))
        if at + 1 < len(self.holes) and self.holes[at + 1][0] == stop:
            self.holes[at : at + 2] = [(start, self.holes[at + 1][1])]
        if at and self.holes[at - 1][1] == start:
            self.holes[at - 1 : at + 1] = [(self.holes[at - 1][0], self.holes[at][1])]
        if self.holes[-1][1] == self.used:
            self.used = self.holes.pop()[0]
        self.dirty += (stop - start) * self.values.itemsize
        if self.dirty >= _RETURNED:
            self.dirty = 0
            for numbers in self._buffers():
                for low, high in (*self.holes, (self.used, self.reached)):
                    _return_pages(numbers[low:high])

    def _buffers(self) -> list[np.ndarray]:
        return [self.values] if self._grads is None else [self.values, self._grads]


@functools.cache
def _madvise() -> Callable[..., int] | None:
    """The system's ``madvise`` if it frees private pages at once; elsewhere the memory is only reused."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int), ctypes.c_int
    return found


def _return_pages(numbers: np.ndarray) -> None:
    """Return the whole pages of an array to the operating system; their contents are undefined afterwards."""
    advise, page = _madvise(), mmap.PAGESIZE
    at = numbers.ctypes.data
    low, high = -(-at // page) * page, (at + numbers.nbytes) // page * page
    if advise is not None and low < high:
        advise(low, high - low, mmap.MADV_DONTNEED)


def _aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    raw = np.zeros(size * dtype.itemsize + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _lendable(numbers: np.ndarray) -> np.ndarray:
    """The numbers, or the bits of bfloat16, which NumPy does not lend as a buffer."""
    return numbers.view(np.uint16) if numbers.dtype.kind == "V" else numbers


class Slot:
    """The place of one parameter: numbers ``start`` to ``stop`` of a chunk, and a C-contiguous array over them.

    Args:
        shape: of the array.
        dtype: of the numbers, floating point.
    """

    __slots__ = ("_room", "array", "chunk", "shape", "start", "stop")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        # An invalid size must not reach the books of a chunk: all later parameters would suffer.
        shape = tuple([operator.index(n) for n in shape])
        if shape and min(shape) < 0:
            raise ShapeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
        self.shape = shape
        line = _LINE // dtype.itemsize
        size = -(-math.prod(shape) // line) * line
        self.chunk, self._room = _take(size, dtype)
        self.start, self.stop = self._room.start, self._room.stop
        self.array = self.over(self._room.part_of(self.chunk.values))

    def over(self, flat: np.ndarray) -> np.ndarray:
        """An array of this slot's shape over the first numbers of another flat buffer.

        NumPy makes the owner of the memory the base of a view of a view, unless an object in between is
        not an array. With a PickleBuffer, the simplest such object, this array is the base of all views
        of it: its reference count then tells whether anyone else can see this memory.
        """
        owner: Any = PickleBuffer(_lendable(flat).data)
        return np.ndarray(self.shape, self.chunk.values.dtype, owner)

    @property
    def grad_array(self) -> np.ndarray:
        """The array over the gradient's slot."""
        return self.over(self._room.part_of(self.chunk.grads))


class _Room:
    """A range of a chunk that is in use while arrays over it are alive.

    Args:
        chunk: None if nobody else can use the range; not held.
    """

    __slots__ = ("chunk", "start", "stop", "users")

    def __init__(self, chunk: _Chunk | None, start: int, stop: int) -> None:
        self.chunk = None if chunk is None else weakref.ref(chunk)
        self.start, self.stop = start, stop
        self.users: set[_User] = set()

    def part_of(self, numbers: np.ndarray) -> np.ndarray:
        """This range of the values or the gradients, or its bits; it must be the owner of arrays over it."""
        part = _lendable(numbers)[self.start : self.stop]
        if self.chunk is None:
            # The last array over the memory frees it.
            return part
        # No lock, as Ctrl-C in a step might leave it locked: each line is one operation on a set. The range cannot be
        # freed meanwhile: its first array is made before others can see it, and lives as long as its Slot.
        user = _made(_User, part, _gone.append)
        user.room = self
        _users.add(user)
        self.users.add(user)
        return part


class _User(weakref.ref):
    """Appends itself to a list when the array over a room is freed.

    All of it runs in C: a Ctrl-C that arrives in a Python finalizer is lost.
    """

    __slots__ = ("room",)

    room: _Room

    # A freed array cannot be compared, only the reference itself.
    __hash__ = object.__hash__
    __eq__ = object.__eq__


_made = weakref.ref.__new__
# The references must stay alive for their callbacks to run.
_users: set[_User] = set()
_gone: list[_User] = []


class _Shared:
    """The chunks of one dtype that parameters share, and where the last parameter ended.

    Only the last chunk is held: the others are freed with their parameters.
    """

    __slots__ = ("chunks", "end", "last")

    def __init__(self) -> None:
        self.last: _Chunk | None = None
        self.chunks: list[weakref.ref[_Chunk]] = []
        self.end: tuple[weakref.ref[_Chunk] | None, int] = (None, 0)

    def take(self, size: int, dtype: np.dtype) -> tuple[_Chunk, _Room]:
        """Room for ``size`` numbers that are zero."""
        chunk, start = self._find(size, dtype)
        chunk.take(start, start + size)
        self.end = weakref.ref(chunk), start + size
        return chunk, _Room(chunk, start, start + size)

    def _find(self, size: int, dtype: np.dtype) -> tuple[_Chunk, int]:
        """Find free space: after the last parameter if possible, so that neighbours stay together."""
        capacity = _CHUNK // dtype.itemsize
        before, end = self.end
        chunk = before() if before is not None else None
        if chunk is not None and any(a == end and b - a >= size for a, b in chunk.holes):
            return chunk, end
        last = self.last
        if last is not None and last.used + size > capacity:
            last = None
        if last is not None and last.used < last.reached:
            return last, last.used
        chunks = [c for c in [ref() for ref in self.chunks] if c is not None]
        holes = [(b - a, i, a) for i, c in enumerate(chunks) for a, b in c.holes]
        holes += [(capacity - c.used, i, c.used) for i, c in enumerate(chunks) if c is not last]
        length, i, start = max(holes, default=(0, 0, 0))
        if length * dtype.itemsize >= min(_HOLE, _CHUNK // 4) and length >= _HOLE_TIMES * size:
            return chunks[i], start
        if last is None:
            self.last = last = _Chunk(capacity, dtype)
            self.chunks = [weakref.ref(c) for c in (*chunks, last)]
        return last, last.used


_chunks: dict[np.dtype, _Shared] = {}
_lock, _grads_lock = threading.Lock(), threading.Lock()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held them.
    for lock in (_lock, _grads_lock):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # what `threading` itself does to its locks


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _take(size: int, dtype: np.dtype) -> tuple[_Chunk, _Room]:
    """Room for ``size`` numbers that are zero. A large parameter gets its own chunk."""
    if 2 * size > _CHUNK // dtype.itemsize:
        return _Chunk(size, dtype), _Room(None, 0, size)
    with _lock:
        while _gone:
            user = _gone.pop()
            _users.discard(user)
            room = getattr(user, "room", None)
            if room is None:
                # Ctrl-C came between the two lines that make a user.
                continue
            room.users.discard(user)
            chunk = room.chunk() if room.chunk is not None else None
            if chunk is not None and not room.users:
                chunk.give(room.start, room.stop)
        shared = _chunks.get(dtype) or _chunks.setdefault(dtype, _Shared())
        return shared.take(size, dtype)
