"""A barrier for processes that share memory: each has a word there, in which it counts the meetings that it came to."""

from __future__ import annotations

import numpy as np
from numba import types

from fastnn.kernels.runtime import compiler
from fastnn.kernels.runtime.raw_memory import atomic_exchange, load_acquire, pause

# Words from one process's count to that of the next: two cache lines.
_APART = 16


def _arrive(marks, count, rank, number, rounds):
    atomic_exchange(marks, rank * _APART, number)
    for other in range(count):
        waited = 0
        while load_acquire(marks, other * _APART) < number:
            if waited == rounds:
                return 0
            pause()
            waited += 1
    return 1


_ARRIVE = compiler.Entry(_arrive, [types.int64] * 5, types.int64)


def room(count: int) -> int:
    """The bytes that the counts of so many processes take."""
    return 8 * _APART * count


def arrive(marks: np.ndarray, rank: int, number: int, rounds: int = 100) -> bool:
    """Tell that this process has come to meeting ``number``; whether all have.

    What a process wrote to the shared memory before it came can be read by all after this has returned True. It may be
    called again until then.

    Args:
        marks: int64, :func:`room` bytes of shared memory, zero at first.
        rank: the number of this process.
        number: of the meeting, from 1, one more for each.
        rounds: of waiting for each process; a round takes 10 to 50 ns.
    """
    return bool(_ARRIVE.call(marks.ctypes.data, marks.size // _APART, rank, number, rounds))
