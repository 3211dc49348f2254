"""Rows of numbers that the ranks of one host share: means and copies without messages."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.distributed.communicator import ByMPI, Pending
from fastnn.kernels.runtime import allocation, meeting

# Numbers that are added at once: their sum stays in the cache (2**13: 15% slower, for the calls of NumPy).
_BLOCK = 2**15
# The most bytes of a row: longer ones are averaged in pieces.
_LONGEST = 2**21
_PAGE = 4096
# Set to 0 to send everything by MPI.
_VARIABLE = "FASTNN_SHARED_MEMORY"


class _Meeting:
    """A wait for all ranks, for :meth:`fastnn.distributed.faults.Faults.wait`."""

    __slots__ = ("marks", "name", "number", "rank", "ranks")

    def __init__(self, name: str, marks: np.ndarray, rank: int, ranks: Sequence[int]) -> None:
        self.name, self.marks, self.rank, self.ranks = name, marks, rank, ranks
        self.number = 0

    def test(self) -> bool:
        """Whether all have come."""
        return meeting.arrive(self.marks, self.rank, self.number)


class SharedRows:
    """A row of numbers for each rank, in memory that all of them have mapped.

    Args:
        memory: the counts of meetings, then the rows, and a row for results.
        communicator: of the ranks.
        size, dtype: of a row.
    """

    def __init__(self, memory: mmap.mmap, communicator: ByMPI, size: int, dtype: np.dtype) -> None:
        count, first = communicator.size, _first(communicator.size)
        self._faults, self._rank = communicator.faults, communicator.rank
        length = _row_bytes(size, dtype)
        *self._rows, self._result = [np.frombuffer(memory, dtype, size, first + k * length) for k in range(count + 1)]
        marks = np.frombuffer(memory, np.int64, meeting.room(count) // 8)
        self._meeting = _Meeting("", marks, self._rank, communicator.ranks)
        self._sum = allocation.empty(min(_BLOCK, size), dtype)

    def _meet(self, name: str, timeout: float) -> None:
        self._meeting.name = name
        self._meeting.number += 1
        if not self._meeting.test():
            self._faults.wait(self._meeting, timeout)

    def mean(self, row: np.ndarray, divisor: int, name: str, timeout: float) -> None:
        """Replace a row by the sum of all ranks' rows, in the order of the ranks, divided by ``divisor``.

        Args:
            row: of the dtype of the shared ones; it may be longer.
            name: of what waits, for errors.
            timeout: of each wait, in seconds.
        """
        for first in range(0, row.size, self._rows[0].size):
            self._mean_of_piece(row[first : first + self._rows[0].size], divisor, name, timeout)

    def _mean_of_piece(self, row: np.ndarray, divisor: int, name: str, timeout: float) -> None:
        rows, count = self._rows, len(self._rows)
        begin, end = row.size * self._rank // count, row.size * (self._rank + 1) // count
        rows[self._rank][: row.size] = row
        self._meet(name, timeout)
        for first in range(begin, end, _BLOCK):
            last = min(first + _BLOCK, end)
            total = self._sum[: last - first]
            np.add(rows[0][first:last], rows[1][first:last], out=total)
            for other in rows[2:]:
                np.add(total, other[first:last], out=total)
            np.divide(total, divisor, out=row[first:last])
            self._result[first:last] = row[first:last]
        # Nobody writes results again before all have met for the next mean.
        self._meet(name, timeout)
        row[:begin] = self._result[:begin]
        row[end:] = self._result[end : row.size]

    def copy_from(self, root: int, arrays: Sequence[np.ndarray], name: str, timeout: float) -> None:
        """Copy the numbers of the root's arrays to all ranks, by rows of bytes."""
        row, at, is_root = self._rows[root], 0, root == self._rank
        if not is_root:
            self._meet(name, timeout)
        for array in arrays:
            part = row[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
            if is_root:
                part[...] = array
            else:
                array[...] = part
            at += -(-array.nbytes // 8) * 8
        if is_root:
            self._meet(name, timeout)
        # The next copy may write the row once all have read this one.
        self._meet(name, timeout)


def _first(count: int) -> int:
    """The offset of the first row."""
    return -(-meeting.room(count) // _PAGE) * _PAGE


def _row_bytes(size: int, dtype: np.dtype) -> int:
    # Whole pages: the page of a row lies near the core that has written it first.
    return -(-size * dtype.itemsize // _PAGE) * _PAGE


def _open_new(length: int) -> tuple[int, str]:
    """A new file of this many bytes; the system has reserved the room for them."""
    for folder in ("/dev/shm", tempfile.gettempdir()):
        try:
            file, path = tempfile.mkstemp(prefix="fastnn-", dir=folder)
        except OSError:
            continue
        try:
            # Without it, a full /dev/shm would kill the process at its first write.
            os.posix_fallocate(file, 0, length)
            return file, path
        except OSError:
            os.close(file)
            os.unlink(path)
    raise OSError("no room for shared memory")


def _agree(is_well: bool, communicator: ByMPI) -> bool:
    """Whether all is well on all ranks."""
    found = np.array([is_well], np.int32)
    Pending("a model's shared memory", communicator.all_reduce(found, "MIN", False), communicator.ranks,
            communicator.faults, None).wait(1800)  # fmt: skip
    return bool(found[0])


def shared_rows(communicator: Any, size: int, dtype: np.dtype, is_whole: bool = False) -> SharedRows | None:
    """Rows for all ranks of a communicator, for means of rows of this size; None unless all are on one host with room.

    All ranks must call it. ``is_whole``: for copies, the row must have this size.
    """
    if communicator.size == 1 or not size:
        return None
    if not is_whole:
        size = min(size, _LONGEST // dtype.itemsize)
    length = _first(communicator.size) + (communicator.size + 1) * _row_bytes(size, dtype)
    has_files = hasattr(os, "posix_fallocate") and os.environ.get(_VARIABLE, "1") != "0"
    name, file, memory = np.zeros(256, np.uint8), -1, None
    if communicator.rank == 0 and has_files:
        try:
            file, path = _open_new(length)
            found = path.encode()
            name[: len(found)] = np.frombuffer(found, np.uint8)
        except OSError:
            pass
    Pending("a model's shared memory", communicator.broadcast(name, 0), communicator.ranks, communicator.faults,
            None).wait(1800)  # fmt: skip
    path = bytes(name).rstrip(b"\0").decode()
    try:
        if path and has_files and communicator.rank > 0:
            # The name is random: on another host there is no such file.
            file = os.open(path, os.O_RDWR)
        if file >= 0:
            memory = mmap.mmap(file, length)
    except (OSError, ValueError):
        pass
    finally:
        if file >= 0:
            os.close(file)
    is_shared = _agree(memory is not None, communicator)
    if path and communicator.rank == 0:
        os.unlink(path)
    return SharedRows(memory, communicator, size, dtype) if is_shared and memory is not None else None
