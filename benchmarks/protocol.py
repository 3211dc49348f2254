"""How a piece of work is measured: results first, then alternating rounds.

Every library's results are compared with the reference (NumPy's) before anything is timed; one
that differs is not timed. Then the libraries take turns, A B C A B C, each in its own process and
each time after a warm-up, when the threads of the one before sleep; figures are compared round by
round. May import ``registry`` and ``machine``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.machine import DISTURBED
from benchmarks.registry import Case, ProcessWork, Unavailable, Work

Figures = dict[str, dict[str, Any]]
REFERENCE = "numpy"
FEWEST_ROUNDS = 5


class Asks(Protocol):
    """What is asked of a pool of workers; tests have one of their own."""

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """A worker's answer, or ``{"status": why there is none}``."""


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Args:
        rounds: of each library, alternating.
        seconds: of one figure, about; ``warm``: before it.
        process_rounds, slow_rounds: of measures of whole processes.
        more_rounds: at most, where other programs were at work.
    """

    rounds: int
    seconds: float
    warm: float
    process_rounds: int
    slow_rounds: int
    more_rounds: int


QUICK = Plan(rounds=7, seconds=0.03, warm=0.01, process_rounds=5, slow_rounds=1, more_rounds=3)
FULL = Plan(rounds=11, seconds=0.15, warm=0.03, process_rounds=9, slow_rounds=3, more_rounds=5)


def difference(results: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest number of the array it is in; inf for other shapes."""
    if len(results) != len(reference):
        return float("inf")
    worst = 0.0
    for ours, theirs in zip(results, reference, strict=True):
        if ours.shape != theirs.shape or not np.isfinite(ours).all():
            return float("inf")
        scale = float(np.abs(theirs).max()) or 1.0
        worst = max(worst, float(np.abs(ours.astype(np.float64) - theirs).max()) / scale)
    return worst


class Comparison:
    """Compares every library's results for a piece of work with the reference, which is asked for once."""

    def __init__(self, pool: Asks) -> None:
        self.pool = pool
        self._key: tuple[str, str] | None = None
        self._reference: list[np.ndarray] | str = ""

    def status(self, work: Work, case: Case, name: str) -> str:
        """Empty if the results agree, otherwise what to show instead of a figure."""
        if self._key != (work.name, case.name):
            self._key, self._reference = (work.name, case.name), self._results(work, case, REFERENCE)
        if isinstance(self._reference, str):
            return f"no reference to compare with: {self._reference}"
        if name == REFERENCE:
            return ""
        results = self._results(work, case, name)
        if isinstance(results, str):
            return results
        found = difference(results, self._reference)
        if found > work.tolerance:
            return f"differs from {REFERENCE} by {found:.1e}, tolerance {work.tolerance:.0e}"
        return ""

    def _results(self, work: Work, case: Case, name: str) -> list[np.ndarray] | str:
        with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
            file = Path(folder) / "results.npz"
            answer = self.pool.ask(name, do="check", work=work.name, case=case.name, file=str(file))
            if "status" in answer:
                return str(answer["status"])
            with np.load(file) as arrays:
                return [arrays[key] for key in arrays.files]


@dataclass
class Entry:
    """A row in the making.

    Args:
        figures: by library, ``{"values": seconds per round}`` or ``{"status": why there are none}``.
        busy: the share of the processors that other programs had, by round.
    """

    work: Work
    case: Case
    figures: Figures
    busy: list[float] = field(default_factory=list)

    def is_live(self) -> bool:
        """Whether anybody can do it."""
        return any("values" in figure for figure in self.figures.values())

    def quiet_rounds(self) -> list[int]:
        """Rounds that other programs left in peace."""
        return [i for i, share in enumerate(self.busy) if share <= DISTURBED]

    def settle(self) -> None:
        """Keep the quiet rounds, if there are enough; otherwise all, for the row to be marked."""
        quiet = self.quiet_rounds()
        if len(quiet) < FEWEST_ROUNDS:
            return
        self.busy = [self.busy[i] for i in quiet]
        for figure in self.figures.values():
            if "values" in figure:
                figure["values"] = [figure["values"][i] for i in quiet]


def compare(comparison: Comparison, work: Work, case: Case, names: Iterable[str]) -> Entry:
    """An entry without figures yet: libraries whose results do not agree have a status."""
    statuses = {name: comparison.status(work, case, name) for name in names}
    return Entry(work, case, {name: {"status": s} if s else {"values": []} for name, s in statuses.items()})


def play_round(pool: Asks, entry: Entry, plan: Plan) -> None:
    """Time every library once, one after the other."""
    for name, figure in entry.figures.items():
        if "status" in figure:
            continue
        answer = pool.ask(
            name, do="time", work=entry.work.name, case=entry.case.name, seconds=plan.seconds, warm=plan.warm
        )  # fmt: skip
        if "status" in answer:
            entry.figures[name] = {"status": answer["status"]}
        else:
            figure["values"].append(answer["seconds"])


def measure(
    pool: Asks, entries: Sequence[Entry], plan: Plan, others: Callable[[], float], say: Callable[[str], None]
) -> None:
    """Round after round through all entries; rounds in which other programs were at work are played again.

    The rounds of an entry are far apart in time on purpose: a shared machine has moods that last for
    seconds (measured: the same call at 26 and at 41 us, each steady for a while).

    Args:
        others: the share of the processors that other programs had since it was last called.
        say: is told what is going on.
    """
    live = [entry for entry in entries if entry.is_live()]
    for number in range(plan.rounds + plan.more_rounds):
        waiting = [entry for entry in live if len(entry.quiet_rounds()) < plan.rounds]
        for i, entry in enumerate(waiting):
            if i == 0 or entry.work is not waiting[i - 1].work:
                say(f"round {number + 1}: {entry.work.name}")
            others()
            play_round(pool, entry, plan)
            entry.busy.append(others())
    for entry in live:
        entry.settle()


def measure_processes(work: ProcessWork, case: Case, names: Iterable[str], threads: int, plan: Plan) -> Figures:
    """The same for whole processes, one after the other in alternating rounds."""
    figures: Figures = {name: {"values": []} for name in names}
    for _ in range(plan.slow_rounds if work.slow else plan.process_rounds):
        for name, figure in figures.items():
            # A peer's figure by itself says nothing, and takes long.
            if "status" in figure or ("status" in figures["fastnn"] and name != "fastnn"):
                continue
            try:
                figure["values"].append(work.measure(name, case, threads))
            except Unavailable as error:
                figures[name] = {"status": str(error)}
    return {name: figure if any(figure.values()) else {"status": "not measured"} for name, figure in figures.items()}
