"""Launches recorded once and replayed in one call, over the same arrays.

For work that is repeated many times and whose launches never change: what is computed is the same,
to the bit; what is saved is Python between the launches, and a fork and join for each of them.

May import ``jit``, ``program`` and ``words``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import types

from fastnn.kernels import jit, program
from fastnn.kernels.jit import Entry, Kernel
from fastnn.kernels.program import BLOCK, MOST_PARTS, PARTS, ROW, SLICE, WAIT, can_run, run

Launch = tuple[Kernel, int, tuple[np.ndarray, ...], tuple[float, ...]]


@contextmanager
def recorded() -> Iterator[Recorded]:
    """Run the block and record its launches; those of other Python threads are not recorded.

    The caller sees to it that no array in use is made anew or resized between the replays.

    >>> import numpy as np
    >>> from fastnn import kernels
    >>> from fastnn.kernels.recorded import recorded
    >>> p, g = np.zeros(3), np.ones(3)
    >>> with recorded() as step:
    ...     kernels.sgd(p, g, lr=1.0)
    >>> step.replay()
    >>> p
    array([-2., -2., -2.])
    """
    launches: list[Launch] = []
    here = threading.get_ident()

    def watch(kernel: Kernel, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> None:
        if threading.get_ident() == here:
            launches.append((kernel, parts, arrays, scalars))

    result = Recorded(launches)
    with jit.recording(watch):
        yield result


class Recorded:
    """A list of launches; see :func:`recorded`."""

    def __init__(self, launches: list[Launch]) -> None:
        self.launches = launches
        self._table: np.ndarray | None = None
        self._threads = 1

    def replay(self) -> None:
        """Run the launches once more, in order."""
        if jit.is_watched():
            self._launch_all()
            return
        if self._table is None:
            self._prepare()
        assert self._table is not None
        if not _ENTER.call(program.context, self._address, len(self.launches), self._threads):
            # Under workqueue, and in a forked child.
            self._launch_all()

    def _launch_all(self) -> None:
        for kernel, parts, arrays, scalars in self.launches:
            jit.launch(kernel, parts, arrays, *scalars)

    def _prepare(self) -> None:
        program.start()
        self._threads = max([parts for _, parts, _, _ in self.launches], default=1)
        if self._threads > MOST_PARTS:
            # A program has no room for so many: can_run says so, and each is launched by itself.
            self._threads = MOST_PARTS + 1
        blocks, line = [], 8
        for kernel, _, arrays, scalars in self.launches:
            packed = kernel.pack(*[a.ctypes.data for a in arrays], *scalars)
            blocks.append(np.frombuffer(packed, np.int64))
        # A table begins at a cache line, and so does each block.
        starts = np.cumsum([0] + [-(-block.size // line) * line for block in blocks])
        raw = np.zeros(len(blocks) * ROW + int(starts[-1]) + line, np.int64)
        table = raw[-raw.ctypes.data % 64 // 8 :]
        words = table[len(blocks) * ROW :]
        for row, (block, (kernel, parts, _, _)) in enumerate(zip(blocks, self.launches, strict=True)):
            place = words[starts[row] : starts[row] + block.size]
            place[...] = block
            columns = table[row * ROW : (row + 1) * ROW]
            columns[[SLICE, BLOCK, PARTS, WAIT]] = kernel.address, place.ctypes.data, parts, 1
        self._table, self._address = table, table.ctypes.data


def _enter_recorded(context: Any, table: Any, count: Any, threads: Any) -> Any:
    if not can_run(context, threads):
        return 0
    run(context, table, count, threads)
    return 1


_ENTER = Entry(_enter_recorded, [types.int64] * 4, types.int64)
