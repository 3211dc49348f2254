"""How a piece of work is measured: results first, then alternating rounds.

Every library's results are compared with the reference (NumPy's, unless a work names another library)
before anything is timed; a library whose results differ is not timed. Then the libraries take turns,
A B C A B C, each in its own process. Each turn starts with a warm-up, after the previous library's threads have gone to
sleep. Figures are compared round by round.
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
SUBJECT = "fastnn"
FEWEST_ROUNDS = 5
# Core-to-core latency is high where a round trip takes this many times the usual low one. The low one is the lowest
# decile of a run, not its minimum: with latencies of 120 to 180 and of 450 to 500 ns, a single 67 was seen.
HIGH_LATENCY = 2.0
LOW_QUANTILE = 0.1
# A ratio is settled when the standard error of its median is below this: two runs then differ by less than a tenth
# in 99 of 100 rows. For a normal distribution it is 1.253 sigma / sqrt(n), and sigma is the interquartile range
# over 1.349.
UNCERTAIN = 0.02
_ERROR_OF_MEDIAN = 1.253 / 1.349


def uncertainty(ratios: Sequence[float]) -> float:
    """The standard error of the median of some ratios, as a share of it."""
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return float(_ERROR_OF_MEDIAN * (high - low) / math.sqrt(len(ratios)) / middle)


class Asks(Protocol):
    """The interface of a pool of workers; tests have an implementation of their own."""

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """A worker's answer, or ``{"status": why there is none}``."""


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Args:
        rounds: per library, alternating.
        seconds: about how long one figure takes; ``warm``: the warm-up before it.
        brief: factor on both for works marked ``brief``.
        process_rounds, slow_rounds: rounds of measures of whole processes.
        more_rounds: limit of extra rounds for rows that are not settled (see ``Entry.is_settled``).
        more_seconds: no extra round starts after this time.
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
    # The rest of the run, after the rounds, takes 45 to 57 s.
    most_seconds=112.0,
)  # fmt: skip
FULL = Plan(
    rounds=9, seconds=0.1, warm=0.02, brief=1.0, process_rounds=9, slow_rounds=3, more_rounds=12, more_seconds=120.0,
    most_seconds=900.0,
)  # fmt: skip


def difference(results: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest number of its array; inf if the shapes differ."""
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
    """Compares every library's results for a piece of work with the reference, which is computed once."""

    def __init__(self, pool: Asks) -> None:
        self.pool = pool
        self._key: tuple[str, str] | None = None
        self._reference: list[np.ndarray] | str = ""

    def status(self, work: Work, case: Case, name: str) -> str:
        """Empty if the results agree, otherwise what to show instead of a figure."""
        if self._key != (work.name, case.name):
            self._key, self._reference = (work.name, case.name), self._results(work, case, work.reference)
        if isinstance(self._reference, str):
            return f"no reference to compare with: {self._reference}"
        if name == work.reference:
            return ""
        results = self._results(work, case, name)
        if isinstance(results, str):
            return results
        found = difference(results, self._reference)
        if found > work.tolerance:
            return f"differs from {work.reference} by {found:.1e}, tolerance {work.tolerance:.0e}"
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
    """The state of the machine during a round.

    Args:
        busy: the share of the processors used by other programs.
        apart: seconds of a round trip between two cores (see ``core_latency``); 0 if unknown.
    """

    busy: float = 0.0
    apart: float = 0.0

    def is_quiet(self) -> bool:
        """Whether no other programs disturbed the round."""
        return self.busy <= DISTURBED

    def has_low_latency(self, low: float) -> bool:
        """Whether core-to-core latency was low; ``low``: seconds of a round trip at low latency."""
        return self.apart <= HIGH_LATENCY * low


@dataclass
class Entry:
    """A row that is being measured.

    Args:
        figures: by library, ``{"values": seconds per round}`` or ``{"status": why there are none}``.
        conditions: one per round.
    """

    work: Work
    case: Case
    figures: Figures
    conditions: list[Conditions] = field(default_factory=list)

    def is_live(self) -> bool:
        """Whether any library can do it."""
        return any("values" in figure for figure in self.figures.values())

    def best_rounds(self, low: float) -> list[int]:
        """Rounds without other programs at work and with low core-to-core latency."""
        return [i for i, c in enumerate(self.conditions) if c.is_quiet() and c.has_low_latency(low)]

    def is_settled(self, low: float, rounds: int) -> bool:
        """Whether there are enough of the best rounds, and the ratios in them agree."""
        best = self.best_rounds(low)
        if len(best) < rounds:
            return False
        live = {name: figure["values"] for name, figure in self.figures.items() if "values" in figure}
        ours = live.get(SUBJECT)
        return ours is None or all(
            uncertainty([theirs[i] / ours[i] for i in best]) <= UNCERTAIN
            for name, theirs in live.items() if name != SUBJECT
        )  # fmt: skip

    def settle(self, low: float) -> None:
        """Keep rounds of one kind, if there are enough of it: the best, or those with high core-to-core latency."""
        quiet = [i for i, c in enumerate(self.conditions) if c.is_quiet()]
        best = self.best_rounds(low)
        high = [i for i in quiet if i not in best]
        kept = next((kind for kind in (best, high, quiet) if len(kind) >= FEWEST_ROUNDS), None)
        if kept is None:
            return
        self.conditions = [self.conditions[i] for i in kept]
        for figure in self.figures.values():
            if "values" in figure:
                figure["values"] = [figure["values"][i] for i in kept]


def compare(comparison: Comparison, work: Work, case: Case, names: Iterable[str]) -> Entry:
    """An entry without figures; libraries whose results do not agree have a status."""
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
    """Run the rounds of all entries, then extra rounds of those that are not settled.

    The rounds of an entry are far apart in time on purpose: a shared machine stays slow or fast for a while.

    Args:
        watch: returns the conditions since its last call.
        say: receives progress messages.
        clock: limits the time of extra rounds; ``started``: its reading at the start of the run, now if not given.

    Returns: seconds of a round trip between two cores at low latency; 0 if unknown.
    """
    live = [entry for entry in entries if entry.is_live()]
    low, trips, before = 0.0, list[float](), watch()
    started, end = clock() if started is None else started, math.inf
    for number in range(plan.rounds + plan.more_rounds):
        if number == plan.rounds:
            end = min(clock() + plan.more_seconds, started + plan.most_seconds)
        if clock() > end:
            break
        waiting = [entry for entry in live if not entry.is_settled(low, plan.rounds)]
        for i, entry in enumerate(waiting):
            if i == 0 or entry.work is not waiting[i - 1].work:
                say(f"round {number + 1}: {entry.work.name}")
            play_round(pool, entry, plan)
            after = watch()
            entry.conditions.append(Conditions(after.busy, max(before.apart, after.apart)))
            before = after
            trips += [after.apart] if after.apart else []
            low = float(np.quantile(trips, LOW_QUANTILE)) if trips else 0.0
    for entry in live:
        entry.settle(low)
    return low


def measure_processes(work: ProcessWork, case: Case, names: Iterable[str], threads: int, plan: Plan) -> Figures:
    """The same for whole processes, in alternating rounds."""
    figures: Figures = {name: {"values": []} for name in names}
    for number in range(plan.slow_rounds if work.slow else plan.process_rounds):
        for name, figure in figures.items():
            # A peer's figure alone is of no use, and takes long.
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
