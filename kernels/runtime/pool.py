"""The pool: fastnn's own threads, which walk tables of launches together with the calling thread.

A table has one row of 64-bit words for each launch (the columns are below). Every thread walks the rows in
order and claims parts: thread ``t`` first claims part ``t``, which keeps its data in its own caches, then any
unclaimed part. A row with ``WAIT`` begins when all parts of all rows above it are done. No thread waits for one
that has not begun: the caller can do every part itself.

Idle workers spin for ``_IDLE`` nanoseconds, then sleep on a lock of CPython's thread library, which is the same on
every system and may be used without the interpreter. One Python thread owns the pool at a time; launches of other
threads meanwhile run on the thread that launches. Both give the same bits.

The governor: if other programs need the cores, a worker is preempted in the middle of a part, and the caller waits
milliseconds for it. A run that spends a third of its time in such waits makes the pool quiet: everything runs on the
calling thread and the workers sleep, for a period that doubles each time. docs/architecture/threads.md has the
figures.

The trial: if core-to-core latency is high, or other programs use the cores, a table of small launches is faster on
one thread. At intervals all kept tables run on the pool for a while, then on one thread; each table then runs the
way that was faster for it. An optimizer's launch has no table that is kept: it runs alone if the kept table before
it did, a moment ago.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from fastnn.kernels.runtime import compiler, thread_count
from fastnn.kernels.runtime.python_calls import keep_forever
from fastnn.kernels.runtime.raw_memory import (
    WORD,
    atomic_add,
    atomic_and,
    atomic_exchange,
    atomic_or,
    call_plain,
    call_slice,
    compare_exchange,
    fence,
    integer,
    load_acquire,
    lock_acquire,
    lock_release,
    nanoseconds,
    pause,
    put_integer,
    stack_words,
)

# Columns of a row. A row fills two cache lines, so that writes to one row do not disturb readers of
# the next.
SLICE, BLOCK, PARTS, WAIT, CLAIMED, DONE = range(6)
ROW = 16
# Columns of the first row of a kept table: whether it runs alone, the last trial that it took part in, the trial that
# decided, and the trial's time and runs, on the pool and alone.
_IS_ALONE, _TRIAL, _DECIDED, _TIME, _RUNS, _TIME_ALONE, _RUNS_ALONE = range(8, 15)
# The claims of a row are bits of one word. A row with more parts uses a counter instead.
MOST_PARTS = 63

# The pool's words; words that are written together share a row of 16.
# Gate: the number of workers inside, a bit that lets them in, and above it the number of the run.
_GATE, _RUN, _OWNER, _QUIET, _SYSTEM, _SEATS = (16 * i for i in range(6))
_OPEN, _RUN_BITS = 1 << 16, 17
_INSIDE = _OPEN - 1
# The run: the table, its rows, and the number of workers wanted.
_TABLE, _COUNT, _WANTED = _RUN, _RUN + 1, _RUN + 2
# The trial: its stage (0 between trials, 1 on the pool, 2 alone), runs left of the stage, runs of the last gap, number.
_STAGE, _LEFT, _GAP, _NUMBER = range(_QUIET + 3, _QUIET + 7)
# Until when launches that follow run alone, as the last kept table did; 0 if it ran on the pool.
_ALONE_UNTIL = _QUIET + 7
# The governor: when the quiet period ends, its length, and whether the governor and the trials are off.
_UNTIL, _PENALTY, _UNGOVERNED = _QUIET, _QUIET + 1, _QUIET + 2
# Set once: addresses of C functions, the clock's number, the number of workers; and whether they must end.
_YIELD, _CLOCK, _CLOCK_ID, _ACQUIRE, _RELEASE, _WORKERS, _STOP = range(_SYSTEM, _SYSTEM + 7)
# A seat of 16 words for each worker: whether it sleeps, and its lock.
_ASLEEP, _LOCK = 0, 1

# Rounds of waiting before the clock is read and the processor is yielded: about 20 us.
_SPINS = 1000
# The time in ns that a worker without work spins before it sleeps.
_IDLE = 150_000
# The governor's figures, in ns: the shortest wait that counts, the shortest and the longest quiet period.
_LONG_WAIT, _SHORTEST, _LONGEST = 200_000, 5_000_000, 320_000_000
# The time in ns for which launches follow the kept table before them.
_FOLLOWS = 1_000_000
# The trial's figures: runs of each way that are not timed, as their data is in another core's caches, and runs that
# are; the fewest and the most runs between trials; the time in ns at which a run is capped, and from which a table is
# not tried alone: it gains more from two threads than high core-to-core latency costs.
_SKIPPED, _TIMED, _ENOUGH, _FEWEST, _MOST, _LARGE = 6, 96, 8, 250, 16_000, 800_000


@compiler.inline
def put_row(table, row, address, block, parts, wait):
    """Write row number ``row`` of a table; ``wait``: 1 to begin after all rows above."""
    put_integer(table, row * ROW + SLICE, address)
    put_integer(table, row * ROW + BLOCK, block)
    put_integer(table, row * ROW + PARTS, parts)
    put_integer(table, row * ROW + WAIT, wait)


@compiler.inline
def run_alone(table, count):
    """Run the rows of a table on this thread, in order, without claims."""
    for row in range(count):
        parts = integer(table, row * ROW + PARTS)
        for t in range(parts):
            call_slice(integer(table, row * ROW + SLICE), integer(table, row * ROW + BLOCK), t, parts)


@compiler.inline
def _now(pool):
    return nanoseconds(integer(pool, _CLOCK), integer(pool, _CLOCK_ID))


@compiler.inline
def _wait_for_row(pool, table, row):
    """Wait until all parts of a row are done; return the time in ns, or 0 if it was short."""
    parts, spins, start = integer(table, row * ROW + PARTS), 0, 0
    while load_acquire(table, row * ROW + DONE) < parts:
        pause()
        spins += 1
        if spins > _SPINS:
            if start == 0:
                start = _now(pool)
            call_plain(integer(pool, _YIELD))
    return _now(pool) - start if start else 0


@compiler.inline
def _walk(pool, table, count, t):
    """Do the work of thread ``t``; return the time it waited and the number of rows it saw finished."""
    finished, waited = 0, 0
    for row in range(count):
        if integer(table, row * ROW + WAIT):
            while finished < row:
                waited += _wait_for_row(pool, table, finished)
                finished += 1
        parts = integer(table, row * ROW + PARTS)
        address, block = integer(table, row * ROW + SLICE), integer(table, row * ROW + BLOCK)
        if parts > MOST_PARTS:
            mine = atomic_add(table, row * ROW + CLAIMED, 1)
            while mine < parts:
                call_slice(address, block, mine, parts)
                atomic_add(table, row * ROW + DONE, 1)
                mine = atomic_add(table, row * ROW + CLAIMED, 1)
            continue
        everything = (1 << parts) - 1
        for s in range(parts):
            claimed = load_acquire(table, row * ROW + CLAIMED)
            if claimed == everything:
                break
            mine = (t + s) % parts
            if claimed & (1 << mine) == 0 and atomic_or(table, row * ROW + CLAIMED, 1 << mine) & (1 << mine) == 0:
                call_slice(address, block, mine, parts)
                atomic_add(table, row * ROW + DONE, 1)
    return waited, finished


@compiler.inline
def _decide(pool, table):
    """Set a table to run the way that was faster in its last trial."""
    put_integer(table, _DECIDED, integer(table, _TRIAL))
    runs, runs_alone = integer(table, _RUNS), integer(table, _RUNS_ALONE)
    if runs and runs_alone:
        # At least 3% faster, or noise would decide.
        alone = 1 if 33 * integer(table, _TIME_ALONE) * runs < 32 * integer(table, _TIME) * runs_alone else 0
        if alone != integer(table, _IS_ALONE):
            put_integer(table, _IS_ALONE, alone)
            put_integer(pool, _GAP, _FEWEST)
            put_integer(pool, _LEFT, min(integer(pool, _LEFT), _FEWEST))


@compiler.inline
def _is_alone(pool, table):
    """Whether a kept table runs on this thread alone."""
    stage = integer(pool, _STAGE)
    if stage == 0 and integer(table, _DECIDED) != integer(table, _TRIAL):
        _decide(pool, table)
    if stage == 2 and integer(table, _TRIAL) == integer(pool, _NUMBER):
        time, runs = integer(table, _TIME), integer(table, _RUNS)
        time_alone, runs_alone = integer(table, _TIME_ALONE), integer(table, _RUNS_ALONE)
        # A table that is slower by a fifth is not tried to the end: a trial costs it 14 runs alone, not 102.
        is_slow = runs_alone >= _ENOUGH and 5 * time_alone * runs > 6 * time * runs_alone
        return time < _LARGE * runs and not is_slow
    return stage != 1 and integer(table, _IS_ALONE) != 0


@compiler.inline
def _count_run(pool, table, spent, was_alone):
    """Count a run of a kept table; ``spent``: its time in ns, used during a trial."""
    stage, left = integer(pool, _STAGE), integer(pool, _LEFT)
    if stage:
        if integer(table, _TRIAL) != integer(pool, _NUMBER):
            put_integer(table, _TRIAL, integer(pool, _NUMBER))
            for column in range(_TIME, _RUNS_ALONE + 1):
                put_integer(table, column, 0)
        if left <= _TIMED and spent and (stage == 1 or was_alone):
            column = _TIME if stage == 1 else _TIME_ALONE
            put_integer(table, column, integer(table, column) + min(spent, _LARGE))
            put_integer(table, column + 1, integer(table, column + 1) + 1)
    if left > 1:
        put_integer(pool, _LEFT, left - 1)
    elif integer(pool, _GAP) == 0:
        # The caches are cold in the first runs.
        put_integer(pool, _GAP, _FEWEST)
        put_integer(pool, _LEFT, _FEWEST)
    elif stage == 2:
        put_integer(pool, _STAGE, 0)
        put_integer(pool, _GAP, min(2 * integer(pool, _GAP), _MOST))
        put_integer(pool, _LEFT, integer(pool, _GAP))
    else:
        # The stage last: another thread may run a table alone meanwhile, and count it.
        put_integer(pool, _LEFT, _SKIPPED + _TIMED)
        put_integer(pool, _NUMBER, integer(pool, _NUMBER) + 1 - stage)
        put_integer(pool, _STAGE, stage + 1)


def _run_together(pool, table, count, threads, kind):
    """Run the rows of a table on this thread and on up to ``threads - 1`` workers.

    ``kind``: 1 if the table keeps its address, for :func:`_count_run`; 2 for a launch that runs as the kept table
    before it; 0 for others.
    """
    start = _now(pool)
    if start < integer(pool, _UNTIL):
        run_alone(table, count)
        return
    is_kept = kind == 1 and integer(pool, _UNGOVERNED) == 0
    if is_kept and _is_alone(pool, table):
        run_alone(table, count)
        now = _now(pool)
        if integer(pool, _STAGE) == 0:
            put_integer(pool, _ALONE_UNTIL, now + _FOLLOWS)
        _count_run(pool, table, now - start if integer(pool, _STAGE) else 0, True)
        return
    if is_kept:
        put_integer(pool, _ALONE_UNTIL, 0)
    elif kind == 2 and start < integer(pool, _ALONE_UNTIL):
        run_alone(table, count)
        return
    if not compare_exchange(pool, _OWNER, 0, 1):
        run_alone(table, count)
        return
    for row in range(count):
        put_integer(table, row * ROW + CLAIMED, 0)
        put_integer(table, row * ROW + DONE, 0)
    wanted = min(threads - 1, integer(pool, _WORKERS))
    put_integer(pool, _TABLE, table)
    put_integer(pool, _COUNT, count)
    put_integer(pool, _WANTED, wanted)
    atomic_add(pool, _GATE, (1 << _RUN_BITS) + _OPEN)
    # A worker sets its sleep flag, then reads the gate; this thread does it in the other order, so one sees the other.
    fence()
    for i in range(wanted):
        seat = _SEATS + 16 * i
        if load_acquire(pool, seat + _ASLEEP) and atomic_exchange(pool, seat + _ASLEEP, 0):
            lock_release(integer(pool, _RELEASE), integer(pool, seat + _LOCK))
    waited, finished = _walk(pool, table, count, 0)
    while finished < count:
        waited += _wait_for_row(pool, table, finished)
        finished += 1
    # The table may only be written again when all workers have left it.
    inside = atomic_and(pool, _GATE, ~_OPEN) & _INSIDE
    spins, left = 0, 0
    while inside:
        pause()
        spins += 1
        if spins > _SPINS:
            if left == 0:
                left = _now(pool)
            call_plain(integer(pool, _YIELD))
        inside = load_acquire(pool, _GATE) & _INSIDE
    if left:
        waited += _now(pool) - left
    if waited > _LONG_WAIT and integer(pool, _UNGOVERNED) == 0:
        now = _now(pool)
        if 3 * waited > now - start:
            penalty = integer(pool, _PENALTY)
            # After a long time without such a wait the penalty starts again.
            if now - integer(pool, _UNTIL) > 4 * penalty + 50_000_000:
                penalty = 0
            # The first one costs nothing: even on an idle machine a worker loses its core now and then.
            put_integer(pool, _UNTIL, now + penalty)
            put_integer(pool, _PENALTY, min(max(2 * penalty, _SHORTEST), _LONGEST))
    if is_kept:
        _count_run(pool, table, _now(pool) - start if integer(pool, _STAGE) else 0, False)
    atomic_exchange(pool, _OWNER, 0)


def _work_in_pool(pool, index):
    """The main loop of a worker."""
    seat = _SEATS + 16 * index
    last = load_acquire(pool, _GATE) >> _RUN_BITS
    idle, spins = _now(pool), 0
    while load_acquire(pool, _STOP) == 0:
        gate = load_acquire(pool, _GATE)
        if gate & _OPEN and gate >> _RUN_BITS != last:
            # A worker that enters gets the run whose gate it read: that run cannot end before the worker leaves.
            if compare_exchange(pool, _GATE, gate, gate + 1):
                last = gate >> _RUN_BITS
                if index < integer(pool, _WANTED):
                    _walk(pool, integer(pool, _TABLE), integer(pool, _COUNT), index + 1)
                atomic_add(pool, _GATE, -1)
                idle, spins = _now(pool), 0
            continue
        pause()
        spins += 1
        if spins % 64 == 0:
            now = _now(pool)
            if now - idle > _IDLE or now < integer(pool, _UNTIL):
                atomic_exchange(pool, seat + _ASLEEP, 1)
                fence()
                gate = load_acquire(pool, _GATE)
                is_called = load_acquire(pool, _STOP) != 0 or (gate & _OPEN != 0 and gate >> _RUN_BITS != last)
                # If the lock was already released, it must be taken once.
                if not is_called or atomic_exchange(pool, seat + _ASLEEP, 0) == 0:
                    lock_acquire(integer(pool, _ACQUIRE), integer(pool, seat + _LOCK))
                idle, spins = _now(pool), 0


_WORK = compiler.Entry(_work_in_pool, [types.int64] * 2, types.void)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _yield_address() -> int:
    """The address of the C function that yields the processor; 0 if there is none."""
    try:
        if sys.platform == "win32":
            return _address(ctypes.windll.kernel32.SwitchToThread)
        return _address(ctypes.CDLL(None).sched_yield)
    except (OSError, AttributeError):
        return 0


def _clock_address() -> int:
    if sys.platform == "win32":
        return _address(ctypes.windll.kernel32.QueryPerformanceCounter)
    return _address(ctypes.CDLL(None).clock_gettime)


@intrinsic
def call_runner(typingctx, runner, pool, table, count, threads, kind):
    """Call :func:`_run_together` at its address."""

    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 5)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


# For compiled code: the addresses of ``_run_together`` and of the pool, 0 without workers, and whether a start was
# attempted.
RUNNER, POOL, STARTED = range(3)
_context = np.zeros(3, np.int64)
context: int = _context.ctypes.data


class _Pool:
    """The pool's words, and its threads. The words live as long as the process: workers read them until it ends."""

    def __init__(self, workers: int, runner: CFunc) -> None:
        self._runner = runner
        memory = np.zeros(_SEATS + 16 * (workers + 1), np.int64)
        keep_forever(memory)
        skip = -memory.ctypes.data % 128 // 8
        self.words = memory[skip : skip + _SEATS + 16 * workers]
        self.address: int = self.words.ctypes.data
        api = ctypes.pythonapi
        api.PyThread_allocate_lock.restype = ctypes.c_void_p
        api.PyThread_acquire_lock.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self.words[[_YIELD, _CLOCK]] = _yield_address(), _clock_address()
        self.words[_CLOCK_ID] = getattr(time, "CLOCK_MONOTONIC", 0)
        self.words[[_ACQUIRE, _RELEASE]] = _address(api.PyThread_acquire_lock), _address(api.PyThread_release_lock)
        self.threads: list[threading.Thread] = []
        # This call compiles the loop: with _STOP set it returns at once.
        self.words[_STOP] = 1
        _WORK.call(self.address, 0)
        self.words[_STOP] = 0
        for i in range(workers):
            lock = api.PyThread_allocate_lock()
            if not lock:
                break
            api.PyThread_acquire_lock(lock, 1)
            self.words[_SEATS + 16 * i + _LOCK] = lock
            thread = threading.Thread(target=_WORK.call, args=(self.address, i), name=f"fastnn-{i + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break  # The system allows no more threads; continue with fewer.
            self.threads.append(thread)
            self.words[_WORKERS] = i + 1

    def stop(self) -> None:
        """End the workers: compiled code must not run while the interpreter frees its memory."""
        self.words[_STOP] = 1
        release = ctypes.pythonapi.PyThread_release_lock
        release.argtypes = [ctypes.c_void_p]
        for i in range(len(self.threads)):
            # Whether or not it sleeps, it takes the lock at most once more.
            release(int(self.words[_SEATS + 16 * i + _LOCK]))
        for thread in self.threads:
            thread.join(1.0)


is_started = False
_pool: _Pool | None = None
# In a forked child, where the workers are gone, and while the interpreter ends.
_is_over = False


def start() -> bool:
    """Start the workers if they are not started; return whether there are any."""
    global _pool, is_started
    is_started = True
    # Before the compiler's lock is taken: the check compiles, too.
    compiler.make_sure()
    if _pool is None and not _is_over and thread_count.AVAILABLE > 1:
        with compiler.starting():
            if _pool is None:
                runner = compiler.compile_callback(_run_together, types.void(*[types.int64] * 5))
                _pool = _Pool(thread_count.AVAILABLE - 1, runner)
                if _pool.threads:
                    _context[[RUNNER, POOL]] = int(runner.address or 0), _pool.address
                atexit.register(_end)
    _context[STARTED] = 1
    return bool(_context[RUNNER])


def govern(is_on: bool) -> None:
    """Set whether launches may run on one thread for a while if that is faster; tests switch it off."""
    if start() and _pool is not None:
        _pool.words[[_UNTIL, _PENALTY, _UNGOVERNED, _ALONE_UNTIL]] = 0, 0, not is_on, 0


def quiet_seconds() -> float:
    """The time for which everything still runs on one thread, because other programs need the cores."""
    if _pool is None:
        return 0.0
    clock = getattr(time, "CLOCK_MONOTONIC", None)
    now = time.perf_counter_ns() if clock is None else time.clock_gettime_ns(clock)
    return max(0, int(_pool.words[_UNTIL]) - now) / 1e9


def _end() -> None:
    """Run before the interpreter ends: from now on launches run on the calling thread."""
    global _is_over
    _is_over = True
    # The words stay: compiled code may have read the runner already.
    _context[RUNNER] = 0
    if _pool is not None:
        _pool.stop()


def _after_fork_in_child() -> None:
    # The workers belong to the parent. A child runs everything on one thread: programs fork to use cores themselves.
    global _pool, _is_over
    _pool, _is_over = None, True
    _context[[RUNNER, POOL]] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --------------------------------------------------------------------------------------------
# One launch

_table = stack_words(ROW)


def _launch_block(context, address, block, words, arrays, parts, follows):
    args = compiler.unpack(block, words, arrays)
    runner = integer(context, RUNNER)
    if parts == 1 or runner == 0:
        for t in range(parts):
            call_slice(address, args, t, parts)
    else:
        table = _table()
        put_row(table, 0, address, args, parts, 0)
        call_runner(runner, integer(context, POOL), table, 1, parts, 2 * follows)


LAUNCH = compiler.Entry(_launch_block, [types.int64] * 7, types.void)
