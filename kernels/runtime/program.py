"""Programs: lists of launches that run in one call, on one thread or on the pool."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.runtime import allocation, compiler, launcher, pool
from fastnn.kernels.runtime.host_calls import HostCall
from fastnn.kernels.runtime.pool import (
    BLOCK,
    MOST_PARTS,
    PARTS,
    POOL,
    ROW,
    RUNNER,
    SLICE,
    STARTED,
    WAIT,
    call_runner,
    run_alone,
)
from fastnn.kernels.runtime.pool import put_row as put_row
from fastnn.kernels.runtime.pool import start as start
from fastnn.kernels.runtime.raw_memory import (
    data_of,
    descriptor_of,
    flags_of,
    integer,
    number_at,
    pointer,
    put_integer,
    type_of,
)

# --------------------------------------------------------------------------------------------
# Values of this process that compiled code needs: words at an address

ARRAY_TYPE, FLOAT32, FLOAT64, POOLED, INT64, NONE = range(6)
_context = np.array(
    [id(np.ndarray), id(compiler.FLOAT32), id(compiler.FLOAT64), pool.context, id(compiler.INT64), id(None)], np.int64
)
context: int = _context.ctypes.data


@compiler.inline
def can_run(context, threads):
    """Whether :func:`run` may use this many threads."""
    return threads == 1 or (threads <= MOST_PARTS and integer(integer(context, POOLED), STARTED) != 0)


@compiler.inline
def run(context, table, count, threads):
    """Run the first ``count`` rows of a table on ``threads`` threads; on one, in order and without claims."""
    _run_rows(integer(context, POOLED), table, count, threads, 0)


@compiler.inline
def _run_rows(pooled, table, count, threads, is_kept):
    # Read once: the interpreter's end may take it away meanwhile.
    runner = integer(pooled, RUNNER)
    if threads == 1 or runner == 0:
        run_alone(table, count)
    else:
        call_runner(runner, integer(pooled, POOL), table, count, threads, is_kept)


# NumPy's flags: NPY_ARRAY_ALIGNED, NPY_ARRAY_WRITEABLE.
_ALIGNED, _WRITEABLE = 0x0100, 0x0400


@compiler.inline
def is_plain(context, array):
    """Whether an object, given by id, is an aligned array, and of no subclass."""
    return type_of(array) == integer(context, ARRAY_TYPE) and flags_of(array) & _ALIGNED != 0


@compiler.inline
def number_size(context, array):
    """Bytes per number of an array object; 0 unless it is a plain array of native float32 or float64."""
    if not is_plain(context, array):
        return 0
    descriptor = descriptor_of(array)
    return 4 if descriptor == integer(context, FLOAT32) else 8 if descriptor == integer(context, FLOAT64) else 0


@compiler.inline
def is_writeable(array):
    """Whether an array object may be written."""
    return flags_of(array) & _WRITEABLE != 0


@compiler.inline
def parts_of(operations, threads, serial):
    """As ``thread_count.chunks_for``, in compiled code; ``serial``: operations below which one thread is faster."""
    if operations < serial:
        return 1
    return min(threads, int(2.0 * operations / serial)) if serial else threads


# --------------------------------------------------------------------------------------------
# Scratch memory, valid during one call

# A call that needs more than this allocates it for itself.
MOST_SCRATCH = 4 * 2**20


class _Scratch(threading.local):
    array = allocation.empty(0, np.uint8)


_scratch = _Scratch()


def scratch() -> np.ndarray:
    """This thread's scratch memory: bytes that any call may overwrite."""
    return _scratch.array


if allocation.IS_POISONED:

    def scratch() -> np.ndarray:
        return allocation.poison(_scratch.array)


def grow_scratch(size: int) -> None:
    """Grow this thread's scratch memory to at least ``size`` bytes."""
    raw = allocation.empty(size + 4096 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    _scratch.array = raw[start : start + size + 4096]


# --------------------------------------------------------------------------------------------
# Programs that Python records and replays


@compiler.inline
def _put_addresses(places, count, arrays):
    for i in range(count):
        address = data_of(integer(arrays, integer(places, 3 * i + 1))) + integer(places, 3 * i + 2)
        put_integer(integer(places, 3 * i), 0, address)


def _play_program(words):
    # places, their count, arrays; table, its rows, threads, the pool: one argument instead of seven saves 0.3 us
    _put_addresses(integer(words, 0), integer(words, 1), integer(words, 2))
    table, count, threads = integer(words, 3), integer(words, 4), integer(words, 5)
    if threads:
        _run_rows(integer(words, 6), table, count, threads, 1)


_PLAY = compiler.Entry(_play_program, [types.int64], types.void)


# The words of a check between replays: the address of one number for each replay, its size, and the replays so far.
_NUMBERS, _NUMBER_SIZE, _REPLAYED = range(3)
# The exponents of NaN and infinity.
_NOT_FINITE32, _NOT_FINITE64 = 0x7F800000, 0x7FF0000000000000


@compiler.inline
def _is_finite(checked, i):
    """Whether number ``i`` is finite; by its bits, as fast arithmetic assumes that all numbers are."""
    if integer(checked, _NUMBER_SIZE) == 4:
        return np.int64(number_at(pointer(checked, _NUMBERS, np.int32(0)), i)) & _NOT_FINITE32 != _NOT_FINITE32
    return number_at(pointer(checked, _NUMBERS, np.int64(0)), i) & _NOT_FINITE64 != _NOT_FINITE64


def _replay_program(pooled, table, count, threads, moves, moving, times, checked):
    for time in range(times):
        _run_rows(pooled, table, count, threads, 1)
        for i in range(moving):
            at = integer(moves, 2 * i)
            put_integer(at, 0, integer(at, 0) + integer(moves, 2 * i + 1))
        if checked:
            put_integer(checked, _REPLAYED, time + 1)
            if not _is_finite(checked, time):
                break


_REPLAY = compiler.Entry(_replay_program, [types.int64] * 8, types.void)


class Places:
    """The positions of some arrays' addresses in a program's blocks, to replace them in one call.

    Args:
        program: already built; after another build, make a new ``Places``.
        words: for each array a list of ``(launch, word, offset in bytes)``.
    """

    def __init__(self, program: Program, words: list[list[tuple[int, int, int]]]) -> None:
        rows = [
            (program._blocks[launch, word:].ctypes.data, k, offset)
            for k, found in enumerate(words) for launch, word, offset in found
        ]  # fmt: skip
        self._program = program
        self._rows, self._ids = np.array(rows, np.int64).reshape(-1, 3), np.zeros(len(words), np.int64)
        # Takes a third of the time of an assignment from a list.
        self._write = struct.Struct(f"={len(words)}q").pack_into
        places = self._rows.ctypes.data, len(rows), self._ids.ctypes.data
        run = *program._rows, program.threads, pool.context
        self._words = np.array([[*places, *run], [*places, 0, 0, 0, 0]], np.int64)
        self._run, self._put = self._words[0].ctypes.data, self._words[1].ctypes.data

    def replay(self, arrays: list[np.ndarray]) -> None:
        """Replay over these arrays, of the recorded shapes, strides and dtypes; the caller keeps them alive."""
        self._write(self._ids, 0, *map(id, arrays))  # type: ignore[arg-type]  # arrays are buffers
        if self._program._stretches or (launcher._recorders and launcher.is_watched()):
            _PLAY.call(self._put)
            self._program.replay()
        else:
            _PLAY.call(self._run)


class Program:
    """Launches over fixed arrays, recorded once and replayed in one call.

    Inside ``with program.recording():`` kernels are called as usual but do not run. Each ``replay()`` then
    runs them all. The contents of the arrays may change in between, and so may their addresses, by
    ``set_address`` and :class:`Places`.
    """

    def __init__(self) -> None:
        self.launches: list[launcher.Launch] = []
        self.content_guards: list[launcher.Guard] = []
        self._table: np.ndarray = np.zeros((0, ROW), np.int64)
        self._blocks: np.ndarray = np.zeros((0, compiler.MAX_WORDS), np.int64)
        self._rows = self._table.ctypes.data, 0
        # The positions of each recorded array, by its address: launch and word.
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._waits, self._owner, self.threads = True, 0, 1
        # With calls of Python: the launches before each as an address and a number, the call and its arrays.
        self._stretches: list[tuple[int, int, HostCall, tuple[np.ndarray, ...]]] = []

    def __len__(self) -> int:
        return len(self.launches)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the launches of this thread inside the block; they do not run."""
        self._owner = threading.get_ident()
        with launcher.recording(self._watch), launcher.guarding(self.content_guards):
            yield
        self.build()

    def _watch(self, kernel: compiler.Kernel | None, parts: int, arrays: tuple[np.ndarray, ...], scalars: Any) -> bool:
        if threading.get_ident() != self._owner:
            return False
        if kernel is None:
            self._waits = False
        else:
            self.launches.append((kernel, min(parts, MOST_PARTS), arrays, scalars, self._waits))
            self._waits = True
        return True

    def build(self) -> None:
        """Write the launches into a table and blocks, aligned to cache lines."""
        count = len(self.launches)
        raw = np.zeros(count * (ROW + compiler.MAX_WORDS) + 16, np.int64)
        start = -raw.ctypes.data % 128 // 8
        self._table = raw[start : start + count * ROW].reshape(count, ROW)
        blocks = raw[start + count * ROW : start + count * (ROW + compiler.MAX_WORDS)]
        self._blocks = blocks.reshape(count, compiler.MAX_WORDS)
        self._rows, self._places, self.threads = (self._table.ctypes.data, count), {}, 1
        self._stretches, first = [], 0
        for i, (kernel, parts, arrays, scalars, waits) in enumerate(self.launches):
            block = self._blocks[i]
            if isinstance(kernel, HostCall):
                self._stretches.append((self._table[first:].ctypes.data, i - first, kernel, arrays))
                first = i + 1
                continue
            block[: kernel.words] = np.frombuffer(kernel.pack(*map(id, arrays), *scalars), np.int64)
            for word, array in enumerate(arrays):
                block[word] = at = array.ctypes.data
                self._places.setdefault(at, []).append((i, word))
            address = kernel.address or kernel.compile()
            self._table[i, [SLICE, BLOCK, PARTS, WAIT]] = address, block.ctypes.data, parts, waits
            self.threads = max(self.threads, parts)
        # The launches after the last call.
        self._rows = (self._table[first:].ctypes.data, count - first)
        if self.threads > 1:
            pool.start()

    def set_address(self, launch: int, word: int, address: int) -> None:
        """Let a launch use another array of the same shape, strides and dtype; the caller keeps it alive."""
        self._blocks[launch, word] = address

    def replay(self) -> None:
        """Run all launches in order; one by one if launches are recorded."""
        if launcher._recorders and launcher.is_watched():
            launcher.launch_each([self._now(i) for i in range(len(self.launches))])
            return
        self._run_stretches()
        _replay(self._rows, self.threads)

    def _run_stretches(self) -> None:
        """Run the launches up to the last call of Python, if there is one, and the calls."""
        for address, count, host, arrays in self._stretches:
            if count:
                _replay((address, count), self.threads)
            host.call(*arrays)

    def _now(self, i: int) -> launcher.Launch:
        """A launch with its current arrays, whose addresses may have replaced the recorded ones."""
        kernel, parts, arrays, scalars, waits = self.launches[i]
        if isinstance(kernel, HostCall):
            return self.launches[i]
        found = []
        for array, address in zip(arrays, self._blocks[i].tolist(), strict=False):
            if array.ctypes.data != address:
                memory: Any = (ctypes.c_char * _extent(array)).from_address(address)
                array = np.ndarray(array.shape, array.dtype, memory, 0, array.strides)
            found.append(array)
        return kernel, parts, tuple(found), scalars, waits

    def replay_over(
        self, batches: Sequence[tuple[np.ndarray, np.ndarray]], times: int, finite: np.ndarray | None = None
    ) -> int:
        """Replay ``times`` times in one call, the i-th time with part ``i`` of some arrays; how often it ran.

        Args:
            batches: pairs of a recorded array and its replacement: C-contiguous, of the same dtype,
                with ``times`` as many numbers. Each replay uses the next part.
                Writeable, unless no launch writes it.
            finite: one of the replacements, of one float32 or float64 for each replay: the first replay in which
                this number is NaN or infinite is the last.
        """
        for part, whole in batches:
            layout = whole.flags
            fits = layout.c_contiguous and layout.aligned
            if whole.dtype != part.dtype or whole.size != times * part.size or not fits:
                raise ValueError(
                    f"batches for {times} replays must be C-contiguous, of {times * part.size} numbers of "
                    f"{part.dtype}, found {whole.size} of {whole.dtype}"
                    + ("" if fits else f" with strides {whole.strides}")
                )
        if finite is not None and (finite.size != times or finite.dtype.kind != "f"):
            raise ValueError(f"finite must be {times} floating-point numbers, found {finite.size} of {finite.dtype}")
        if launcher.is_watched():
            return self._show_over(batches, times, finite)
        places, moves, starts = [], [], []
        for part, whole in batches:
            at = part.ctypes.data
            for i, word in self._places.get(at, ()):
                kernel, _, arrays, _, _ = self.launches[i]
                needed = _extent(arrays[word])
                if needed > part.nbytes:
                    raise ValueError(f"batches must replace {needed} bytes that {kernel} reads, found {part.nbytes}")
                if not whole.flags.writeable and (kernel.outputs is None or word in kernel.outputs):
                    raise ValueError(f"batches must be writeable where {kernel} may write, found a read-only array")
                places.append((i, word, at))
                moves.append((self._blocks[i, word:].ctypes.data, part.nbytes))
                starts.append(whole.ctypes.data)
        try:
            for (i, word, _), start in zip(places, starts, strict=True):
                self.set_address(i, word, start)
            over = np.array(moves, np.int64).reshape(-1, 2)
            if not self._stretches:
                return _replay(self._rows, self.threads, over, times, finite)
            for time in range(times):
                self._run_stretches()
                _replay(self._rows, self.threads, over)
                if finite is not None and not np.isfinite(finite.reshape(-1)[time]):
                    return time + 1
            return times
        finally:
            for place in places:
                self.set_address(*place)

    def _show_over(
        self, batches: Sequence[tuple[np.ndarray, np.ndarray]], times: int, finite: np.ndarray | None
    ) -> int:
        for time in range(times):
            parts = {
                part.ctypes.data: whole.reshape(-1)[time * part.size : (time + 1) * part.size]
                for part, whole in batches
            }

            def moved(array: np.ndarray, parts: dict[int, np.ndarray] = parts) -> np.ndarray:
                part = parts.get(array.ctypes.data)
                return array if part is None else np.ndarray(array.shape, array.dtype, part, 0, array.strides)

            launcher.launch_each([
                (kernel, count, tuple(map(moved, arrays)), scalars, waits)
                for kernel, count, arrays, scalars, waits in self.launches
            ])  # fmt: skip
            if finite is not None and not np.isfinite(finite[time]):
                return time + 1
        return times


def _extent(array: np.ndarray) -> int:
    """Bytes from the first number of an array to the end of its last; strides are not negative."""
    if not array.size:
        return 0
    return array.itemsize + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))


def _replay(
    rows: tuple[int, int], threads: int, moves: np.ndarray | None = None, times: int = 1,
    finite: np.ndarray | None = None,
) -> int:  # fmt: skip
    over = (0, 0, times) if moves is None else (moves.ctypes.data, len(moves), times)
    # Without rows there is nothing for the pool, and no first row for its trials.
    threads = threads if rows[1] else 1
    if finite is None:
        _REPLAY.call(pool.context, *rows, threads, *over, 0)
        return times
    checked = np.array([finite.ctypes.data, finite.itemsize, 0], np.int64)
    _REPLAY.call(pool.context, *rows, threads, *over, checked.ctypes.data)
    return int(checked[_REPLAYED])
