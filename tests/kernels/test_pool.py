"""The pool: workers that sleep and wake, and a governor that leaves the cores to other programs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from numba.core import config

from fastnn.kernels.runtime import compiler, launcher, pool, program
from fastnn.kernels.runtime.memory import atomic_add, integer, load_acquire, pause

pytestmark = pytest.mark.skipif(config.NUMBA_NUM_THREADS < 2, reason="one core has no pool")


@pytest.fixture(autouse=True)
def _governed() -> Iterator[None]:
    pool.govern(True)
    yield
    pool.govern(True)


def _words() -> np.ndarray:
    assert pool._pool is not None
    return pool._pool.words


def _count_slice(args, t, n):
    # seen[n]
    atomic_add(integer(args, 0), t, 1)


_COUNT = compiler.Kernel("test.count", _count_slice, arrays=1)


def _all_parts_run(parts: int) -> bool:
    seen = np.zeros(200, np.int64)
    launcher.launch(_COUNT, parts, (seen,))
    return seen.tolist() == [1] * parts + [0] * (200 - parts)


def _runs() -> int:
    return int(_words()[pool._GATE]) >> pool._RUN_BITS


def _meet_slice(args, t, n):
    # state[2]: parts that have begun, rounds that the last part to begin stays
    state = integer(args, 0)
    atomic_add(state, 0, 1)
    # Not for ever: one thread alone would wait for itself.
    for _ in range(20_000_000):
        if load_acquire(state, 0) == n:
            break
        pause()
    if t == n - 1:
        for _ in range(load_acquire(state, 1)):
            pause()


_MEET = compiler.Kernel("test.meet", _meet_slice, arrays=1)


def test_idle_workers_sleep_and_wake() -> None:
    assert _all_parts_run(2)
    seat, deadline = pool._SEATS + pool._ASLEEP, time.monotonic() + 30
    while not _words()[seat] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _words()[seat] == 1
    # It wakes: the parts of this launch wait for each other.
    pool.govern(False)
    launcher.launch(_MEET, 2, (np.array([0, 0]),))


def test_a_long_wait_for_a_worker_makes_the_pool_quiet() -> None:
    deadline = time.monotonic() + 60
    while not pool.quiet_seconds() and time.monotonic() < deadline:
        launcher.launch(_MEET, 2, (np.array([0, 100_000]),))
    assert 0 < pool.quiet_seconds() < 1
    _words()[pool._UNTIL] += 10**12
    before = _runs()
    assert _all_parts_run(2)
    assert _runs() == before
    pool.govern(True)
    assert pool.quiet_seconds() == 0
    assert _all_parts_run(2)
    assert _runs() == before + 1


def test_silence_doubles_and_is_forgotten() -> None:
    pool.govern(True)
    penalties: list[int] = []
    while len(penalties) < 3:
        # The silence before has just ended.
        _words()[pool._UNTIL] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) if penalties else 0
        launcher.launch(_MEET, 2, (np.array([0, 100_000]),))
        penalty = int(_words()[pool._PENALTY])
        if penalty and penalty not in penalties:
            penalties.append(penalty)
    assert penalties == [pool._SHORTEST, 2 * pool._SHORTEST, 4 * pool._SHORTEST]


def test_more_parts_than_a_word_has_bits() -> None:
    pool.govern(False)
    for parts in (63, 64, 65, 200):
        assert _all_parts_run(parts)


def _count_slice_runs(args, t, n):
    # row[ROW], spent: the time of a run on two threads and on one
    row, spent = integer(args, 0), integer(args, 1)
    pool._count_run(row, integer(spent, integer(row, pool._IS_ALONE)))


_COUNT_RUN = compiler.Kernel("test.count_run", _count_slice_runs, arrays=2)


def _ways(together: int, alone: int, runs: int, row: np.ndarray | None = None) -> list[bool]:
    """For each run of a kept table whether it was on one thread, where the two ways take so long."""
    row, spent, found = np.zeros(pool.ROW, np.int64) if row is None else row, np.array([together, alone]), []
    for _ in range(runs):
        found.append(bool(row[pool._IS_ALONE]))
        launcher.launch(_COUNT_RUN, 1, (row, spent))
    return found


def test_a_program_runs_the_faster_way() -> None:
    trial = pool._SKIPPED + pool._TIMED
    row = np.zeros(pool.ROW, np.int64)
    found = _ways(100_000, 80_000, 1000, row)
    # First two threads, then a trial of both, then one thread.
    first = 1 + pool._FEWEST + trial
    assert not any(found[:first])
    assert all(found[first : first + trial + pool._FEWEST + trial])
    assert sum(found) == 1000 - first - sum(not way for way in found[first:])
    # The cores are near again: the next trial finds it.
    assert _ways(50_000, 80_000, 5000, row)[-1] is False


def test_the_faster_way_is_seldom_doubted() -> None:
    trial = pool._SKIPPED + pool._TIMED
    for together, alone in ((60_000, 80_000), (80_000, 79_000)):
        found = _ways(together, alone, 40_000)
        assert found.count(True) <= 10 * trial
    # One thread is not tried where a run takes long.
    assert not any(_ways(2 * pool._LARGE, pool._LARGE // 2, 40_000))


def test_programs_count_their_runs() -> None:
    seen, recorded = np.zeros(200, np.int64), program.Program()
    with recorded.recording():
        launcher.launch(_COUNT, 2, (seen,))
    row = recorded._table[0]
    for _ in range(500):
        recorded.replay()
    assert seen.tolist() == [500] * 2 + [0] * 198
    assert row[pool._GAP] >= pool._FEWEST or pool.quiet_seconds()
    # Where the governor is off there are no trials either: tests run on all threads.
    pool.govern(False)
    row[pool._IS_ALONE], before = 1, _runs()
    recorded.replay()
    assert _runs() == before + 1
