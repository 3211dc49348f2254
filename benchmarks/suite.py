"""pytest-benchmark suites made from the registry: ``bench_*.py`` have one line per piece of work.

The benchmark fixture runs in pytest's process, the library in a worker of its own. The fixture's
clock moves only when a worker has measured. The fixture reads it before and after its target, so it
finds exactly the worker's seconds per call, without the communication between the two processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks import protocol
from benchmarks.registry import Case, Work, repeated_work

LIBRARIES = ("fastnn", "numpy", "torch", "jax", "onnxruntime")
ROUNDS, SECONDS, WARM = 7, 0.02, 0.01


class VirtualClock:
    """A timer for pytest-benchmark that is advanced by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


clock = VirtualClock()


class Runner:
    """Compares and measures in workers for the benchmark fixture."""

    def __init__(self, pool: protocol.Asks) -> None:
        self.pool = pool
        self.comparison = protocol.Comparison(pool)

    def run(self, benchmark: Callable[[], Any], work: Work, case: Case, library: str) -> None:
        """One row: skipped with its reason, failed if results differ, measured otherwise."""
        status = self.comparison.status(work, case, library)
        if status.startswith(("differs", "failed")):
            pytest.fail(f"{library}: {status}", pytrace=False)
        if status:
            pytest.skip(status)
        fixture: Any = benchmark()
        fixture.group = f"{work.name} {case.name}"
        worker = work.worker_of(library)

        def target() -> None:
            answer = self.pool.ask(worker, do="time", work=work.name, case=case.name, seconds=SECONDS, warm=WARM)
            if "status" in answer:
                pytest.fail(f"{library}: {answer['status']}", pytrace=False)
            clock.advance(answer["seconds"])

        fixture.pedantic(target, rounds=ROUNDS)
        self.pool.ask(worker, do="forget")


def rows(work: Work, libraries: Sequence[str] = LIBRARIES) -> list[Any]:
    """A parameter for each case and library."""
    return [
        pytest.param(case, library, id=f"{case.name.replace(' ', '-')}-{library}")
        for case in work.cases for library in libraries if library in work.setups
    ]  # fmt: skip


def benchmarks_of(name: str, libraries: Sequence[str] = LIBRARIES) -> Callable[..., None]:
    """A test function for a piece of work, with all its cases and these libraries."""
    work = repeated_work(name)

    @pytest.mark.benchmark(timer=clock)
    @pytest.mark.parametrize(("case", "library"), rows(work, libraries))
    def test(case: Case, library: str, runner: Runner, request: pytest.FixtureRequest) -> None:
        runner.run(lambda: request.getfixturevalue("benchmark"), work, case, library)

    test.__doc__ = f"{name}, timed in a worker process."
    return test
