"""How a piece of work is measured: results first, then alternating rounds.

Every library's results are compared with the reference (NumPy's) before anything is timed; one
that differs is not timed. Then the libraries take turns, A B C A B C, each in its own process and
each time after a warm-up, when the threads of the one before sleep; figures are compared round by
round. May import ``registry`` and ``machine``.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.machine import DISTURBED
from benchmarks.registry import Case, ProcessWork, Unavailable, Work

Figures = dict[str, dict[str, Any]]
REFERENCE, SUBJECT = "numpy", "fastnn"
FEWEST_ROUNDS = 5
# Cores are far apart where a round trip takes so many times the usual one while they are near. That is the
# lower tenth of a run's, not its least: among moods of 120 to 180 and of 450 to 500 ns, 67 were seen once.
FAR = 2.0
NEAR_QUANTILE = 0.1
# A ratio is known well enough when its median has a standard error below this: two runs then differ by less than a
# tenth in 99 of 100 rows. Of a normal distribution it is 1.253 sigma / sqrt(n), and sigma the distance between the
# quartiles over 1.349.
UNCERTAIN = 0.02
_ERROR_OF_MEDIAN = 1.253 / 1.349


def uncertainty(ratios: Sequence[float]) -> float:
    """The standard error of the median of some ratios, as a share of it."""
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return float(_ERROR_OF_MEDIAN * (high - low) / math.sqrt(len(ratios)) / middle)


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
        brief: both are multiplied by it for works that are brief.
        process_rounds, slow_rounds: of measures of whole processes.
        more_rounds: at most, for rows that are not settled (see ``Entry.is_settled``).
        more_seconds: when they have taken so long, the last of them has begun.
        most_seconds: the same, counted from the start of the run.
    """

    rounds: int
    seconds: float
    warm: float
    brief: float
    process_rounds: int
    slow_rounds: int
    more_rounds: int
    more_seconds: float
    most_seconds: float

    def lengths(self, work: Work) -> dict[str, float]:
        """Seconds of a figure and of its warm-up."""
        factor = self.brief if work.brief else 1.0
        return {"seconds": self.seconds * factor, "warm": self.warm * factor}


QUICK = Plan(
    rounds=5, seconds=0.03, warm=0.01, brief=0.5, process_rounds=3, slow_rounds=1, more_rounds=20, more_seconds=40.0,
    # What comes after the rounds takes 45 to 57 s.
    most_seconds=112.0,
)  # fmt: skip
FULL = Plan(
    rounds=9, seconds=0.1, warm=0.02, brief=1.0, process_rounds=9, slow_rounds=3, more_rounds=12, more_seconds=120.0,
    most_seconds=900.0,
)  # fmt: skip


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
            answer = self.pool.ask(
                work.worker_of(name), do="check", work=work.name, case=case.name, file=str(file)
            )  # fmt: skip
            if "status" in answer:
                return str(answer["status"])
            with np.load(file) as arrays:
                return [arrays[key] for key in arrays.files]


class Conditions(NamedTuple):
    """What a round was played under.

    Args:
        busy: the share of the processors that other programs had.
        apart: seconds of a round trip between two cores (see ``core_latency``); 0 if unknown.
    """

    busy: float = 0.0
    apart: float = 0.0

    def is_quiet(self) -> bool:
        """Whether other programs left the round in peace."""
        return self.busy <= DISTURBED

    def is_near(self, near: float) -> bool:
        """Whether the cores were near each other; ``near``: seconds of a round trip while they are."""
        return self.apart <= FAR * near


@dataclass
class Entry:
    """A row in the making.

    Args:
        figures: by library, ``{"values": seconds per round}`` or ``{"status": why there are none}``.
        conditions: of each round.
    """

    work: Work
    case: Case
    figures: Figures
    conditions: list[Conditions] = field(default_factory=list)

    def is_live(self) -> bool:
        """Whether anybody can do it."""
        return any("values" in figure for figure in self.figures.values())

    def best_rounds(self, near: float) -> list[int]:
        """Rounds that other programs left in peace, with the cores near each other."""
        return [i for i, c in enumerate(self.conditions) if c.is_quiet() and c.is_near(near)]

    def is_settled(self, near: float, rounds: int) -> bool:
        """Whether there are so many of the best rounds, and the ratios in them agree with each other."""
        best = self.best_rounds(near)
        if len(best) < rounds:
            return False
        live = {name: figure["values"] for name, figure in self.figures.items() if "values" in figure}
        ours = live.get(SUBJECT)
        return ours is None or all(
            uncertainty([theirs[i] / ours[i] for i in best]) <= UNCERTAIN
            for name, theirs in live.items() if name != SUBJECT
        )  # fmt: skip

    def settle(self, near: float) -> None:
        """Keep rounds of one kind, if there are enough of it: the best, or those with the cores far apart."""
        quiet = [i for i, c in enumerate(self.conditions) if c.is_quiet()]
        best = self.best_rounds(near)
        far = [i for i in quiet if i not in best]
        kept = next((kind for kind in (best, far, quiet) if len(kind) >= FEWEST_ROUNDS), None)
        if kept is None:
            return
        self.conditions = [self.conditions[i] for i in kept]
        for figure in self.figures.values():
            if "values" in figure:
                figure["values"] = [figure["values"][i] for i in kept]


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
            entry.work.worker_of(name), do="time", work=entry.work.name, case=entry.case.name,
            **plan.lengths(entry.work),
        )  # fmt: skip
        if "status" in answer:
            entry.figures[name] = {"status": answer["status"]}
        else:
            figure["values"].append(answer["seconds"])


def measure(
    pool: Asks,
    entries: Sequence[Entry],
    plan: Plan,
    watch: Callable[[], Conditions],
    say: Callable[[str], None] = lambda message: None,
    clock: Callable[[], float] = time.monotonic,
    started: float | None = None,
) -> float:
    """Round after round through all entries, and again through those that are not settled.

    The rounds of an entry are far apart in time on purpose: the moods of a shared machine last.

    Args:
        watch: the conditions since it was last called.
        say: is told what is going on.
        clock: of the time for more rounds; ``started``: when by it the run began, now if not given.

    Returns: seconds of a round trip between two cores while they are near; 0 if unknown.
    """
    live = [entry for entry in entries if entry.is_live()]
    near, trips, before = 0.0, list[float](), watch()
    started, end = clock() if started is None else started, math.inf
    for number in range(plan.rounds + plan.more_rounds):
        if number == plan.rounds:
            end = min(clock() + plan.more_seconds, started + plan.most_seconds)
        if clock() > end:
            break
        waiting = [entry for entry in live if not entry.is_settled(near, plan.rounds)]
        for i, entry in enumerate(waiting):
            if i == 0 or entry.work is not waiting[i - 1].work:
                say(f"round {number + 1}: {entry.work.name}")
            play_round(pool, entry, plan)
            after = watch()
            entry.conditions.append(Conditions(after.busy, max(before.apart, after.apart)))
            before = after
            trips += [after.apart] if after.apart else []
            near = float(np.quantile(trips, NEAR_QUANTILE)) if trips else 0.0
    for entry in live:
        entry.settle(near)
    return near


def measure_processes(work: ProcessWork, case: Case, names: Iterable[str], threads: int, plan: Plan) -> Figures:
    """The same for whole processes, one after the other in alternating rounds."""
    figures: Figures = {name: {"values": []} for name in names}
    for number in range(plan.slow_rounds if work.slow else plan.process_rounds):
        for name, figure in figures.items():
            # A peer's figure by itself says nothing, and takes long.
            if "status" in figure or ("status" in figures["fastnn"] and name != "fastnn"):
                continue
            try:
                found = work.measure(name, case, threads, number)
                figure["values"].append(found.value)
                if found.score is not None:
                    figure.setdefault("scores", []).append(found.score)
            except Unavailable as error:
                figures[name] = {"status": str(error)}
    for figure in figures.values():
        reached = statistics.median(figure["scores"]) if figure.get("scores") else work.goal
        if reached < work.goal:
            figure["status"] = f"reached {reached:.2%} only, not {work.goal:.1%}"
    return {name: figure if any(figure.values()) else {"status": "not measured"} for name, figure in figures.items()}
