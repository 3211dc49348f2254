"""The pool: workers that sleep and wake, and a governor that yields the cores to other programs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from numba.core import config

from fastnn.kernels.runtime import compiler, launcher, pool, program
from fastnn.kernels.runtime.raw_memory import atomic_add, integer, load_acquire, pause, put_integer

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


_COUNT = compiler.Kernel("test.count", _count_slice, compiler.Words("seen"))


def _all_parts_run(parts: int) -> bool:
    seen = np.zeros(200, np.int64)
    launcher.launch(_COUNT, parts, (seen,))
    return seen.tolist() == [1] * parts + [0] * (200 - parts)


def _runs() -> int:
    return int(_words()[pool._GATE]) >> pool._RUN_BITS


def _meet_slice(args, t, n):
    # state[2]: number of parts that have begun, pauses of the last part
    state = integer(args, 0)
    atomic_add(state, 0, 1)
    # With a limit: a single thread would wait for itself.
    for _ in range(20_000_000):
        if load_acquire(state, 0) == n:
            break
        pause()
    if t == n - 1:
        for _ in range(load_acquire(state, 1)):
            pause()


_MEET = compiler.Kernel("test.meet", _meet_slice, compiler.Words("state"))


def test_idle_workers_sleep_and_wake() -> None:
    assert _all_parts_run(2)
    seat, deadline = pool._SEATS + pool._ASLEEP, time.monotonic() + 30
    while not _words()[seat] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _words()[seat] == 1
    # It wakes, as the parts of this launch wait for each other.
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
        # The previous quiet period has just ended.
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


def _run_slice(args, t, n):
    # pool, tables, the output for the time of a run
    pool_words, row, at = integer(args, 0), integer(args, 1), integer(args, 2)
    times = integer(args, 3)
    alone = 1 if pool._is_alone(pool_words, row) else 0
    put_integer(at, 0, alone)
    pool._count_run(pool_words, row, integer(times, alone), alone != 0)


_RUN = compiler.Kernel("test.run", _run_slice, compiler.Words("pool row alone times"))


class _Tables:
    """Tables of a pool without workers, with given times for running together and alone."""

    def __init__(self, count: int) -> None:
        self.words = np.zeros(pool._SEATS, np.int64)
        self.rows = np.zeros((count, pool.ROW), np.int64)
        self._alone = np.zeros(1, np.int64)

    def run(self, *times: tuple[int, int], rounds: int) -> list[tuple[bool, ...]]:
        """For each round of all tables, which of them ran alone."""
        arrays = [np.array(t) for t in times]
        found = []
        for _ in range(rounds):
            alone = []
            for row, spent in zip(self.rows, arrays, strict=True):
                launcher.launch(_RUN, 1, (self.words, row, self._alone, spent))
                alone.append(bool(self._alone[0]))
            found.append(tuple(alone))
        return found


_STAGE_RUNS = pool._SKIPPED + pool._TIMED


def test_a_table_runs_the_faster_way() -> None:
    tables = _Tables(1)
    found = [alone for (alone,) in tables.run((100_000, 80_000), rounds=1000)]
    first = 1 + pool._FEWEST + _STAGE_RUNS
    assert not any(found[:first])
    assert all(found[first : first + _STAGE_RUNS + pool._FEWEST])
    assert sum(found[first:]) == 1000 - first - _STAGE_RUNS
    # Core-to-core latency is low again: a trial detects it.
    assert tables.run((50_000, 80_000), rounds=5000)[-1] == (False,)


def test_each_table_runs_its_own_way() -> None:
    tables = _Tables(3)
    found = tables.run((100_000, 80_000), (100_000, 120_000), (800_000, 500_000), rounds=2000)
    assert found[-1] == (True, False, False)
    # In a trial all run together, then all but the large ones run alone.
    assert (False, False, False) in found
    assert (True, True, False) in found
    assert not any(large for _, _, large in found)


def test_the_faster_way_is_seldom_doubted() -> None:
    for times, most in (((80_000, 79_000), _STAGE_RUNS), ((60_000, 80_000), pool._SKIPPED + pool._ENOUGH)):
        found = _Tables(1).run(times, rounds=40_000)
        assert 0 < found.count((True,)) <= 9 * most


def test_programs_count_their_runs() -> None:
    seen, recorded = np.zeros(200, np.int64), program.Program()
    with recorded.recording():
        launcher.launch(_COUNT, 2, (seen,))
    row = recorded._table[0]
    for _ in range(500):
        recorded.replay()
    assert seen.tolist() == [500] * 2 + [0] * 198
    assert _words()[pool._GAP] >= pool._FEWEST or pool.quiet_seconds()
    # Without the governor there are no trials either: tests run on all threads.
    pool.govern(False)
    row[pool._IS_ALONE], before = 1, _runs()
    recorded.replay()
    assert _runs() == before + 1
