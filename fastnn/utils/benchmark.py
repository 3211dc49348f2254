"""``torch.utils.benchmark``: the time of a statement, by ``timeit``."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastnn.kernels.runtime.thread_count import get_num_threads, set_num_threads

__all__ = ["Measurement", "TaskSpec", "Timer"]


@dataclass(frozen=True)
class TaskSpec:
    """The statement that was timed."""

    stmt: str
    setup: str = "pass"
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, by default the statement."""
        if self.label is None:
            return self.stmt
        return f"{self.label}: {self.sub_label}" if self.sub_label else self.label


@dataclass
class Measurement:
    """Times of a statement in seconds: ``raw_times`` of rounds with ``number_per_run`` calls each.

    >>> measurement = Measurement(2, [2.0, 4.0, 12.0], TaskSpec("f()"))
    >>> measurement.times, measurement.mean, measurement.median
    ([1.0, 2.0, 6.0], 3.0, 2.0)
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = field(default=None)

    @property
    def times(self) -> list[float]:
        """The time of one call, by round."""
        return [time / self.number_per_run for time in self.raw_times]

    @property
    def mean(self) -> float:
        """The mean of ``times``."""
        return statistics.fmean(self.times)

    @property
    def median(self) -> float:
        """The median of ``times``."""
        return statistics.median(self.times)

    @property
    def iqr(self) -> float:
        """The distance of the quartiles of ``times``; 0 for one round."""
        if len(self.raw_times) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.times, method="inclusive")
        return third - first

    @property
    def title(self) -> str:
        """The statement that was timed."""
        return self.task_spec.title

    def __repr__(self) -> str:
        value, unit = self.median, "s"
        for name in ("ms", "us", "ns"):
            if value >= 1:
                break
            value, unit = value * 1000, name
        rounds = f"{len(self.raw_times)} measurement{'s' if len(self.raw_times) > 1 else ''}"
        threads = f"{self.task_spec.num_threads} thread{'s' if self.task_spec.num_threads > 1 else ''}"
        return f"{self.title}\n  {value:.2f} {unit}\n  {rounds}, {self.number_per_run} runs, {threads}"


class Timer:
    """Times a statement with a given number of threads.

    Args:
        stmt, setup: code; ``setup`` runs first.
        global_setup: for C++; ignored.
        timer: a clock.
        globals: names for the code.
        label, sub_label, description, env: texts that the results keep.
        num_threads: set while it runs.
        language: must be Python's.

    Raises: NotImplementedError for another language.

    >>> Timer("x + 1", globals={"x": 1}).timeit(10).number_per_run
    10
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timeit.default_timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Any = "python",
    ) -> None:
        if str(language).lower() not in ("python", "py", "0"):
            raise NotImplementedError(f"fastnn's Timer times Python only, found language={language!r}")
        self._timer = timeit.Timer(stmt, setup or "pass", timer, {} if globals is None else globals)
        self._spec = TaskSpec(stmt, setup, label, sub_label, description, env, num_threads)

    def _times(self, number: int, is_enough: Callable[[list[float]], bool]) -> Measurement:
        before = get_num_threads()
        set_num_threads(self._spec.num_threads)
        try:
            times: list[float] = []
            while not is_enough(times):
                times.append(self._timer.timeit(number))
        finally:
            set_num_threads(before)
        return Measurement(number, times, self._spec)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One round of ``number`` calls, after some to warm up."""
        self._times(max(number // 100, 2), bool)
        return self._times(number, bool)

    def blocked_autorange(self, callback: Any = None, min_run_time: float = 0.2) -> Measurement:
        """Rounds that take ``min_run_time`` seconds together; the number of calls in a round is chosen.

        Args:
            callback: called with the number and the time of each try to choose it.
            min_run_time: in seconds.
        """
        number = 1
        while True:
            seconds = self._times(number, bool).raw_times[0]
            if callback is not None:
                callback(number, seconds)
            if seconds >= min(min_run_time / 1000, 1e-3) or number >= 10**9:
                break
            number *= 10
        return self._times(number, lambda times: bool(times) and sum(times) >= min_run_time)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0, callback: Any = None
    ) -> Measurement:
        """Rounds until the distance of the quartiles is below ``threshold`` times the median."""
        number = self.blocked_autorange(callback, min_run_time).number_per_run

        def is_enough(times: list[float]) -> bool:
            if len(times) < 4 or sum(times) < min_run_time:
                return False
            found = Measurement(number, times, self._spec)
            return found.iqr < threshold * found.median or sum(times) >= max_run_time

        return self._times(number, is_enough)
