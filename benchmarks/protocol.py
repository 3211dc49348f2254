"""How a piece of work is measured: results first, then alternating rounds.

Every library's results are compared with the reference (NumPy's) before anything is timed; one
that differs is not timed. Then the libraries take turns, A B C A B C, each in its own process and
each time after a warm-up, when the threads of the one before sleep; figures are compared round by
round. May import ``registry`` and ``pool``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.registry import Case, ProcessWork, Unavailable, Work

Figures = dict[str, dict[str, Any]]
REFERENCE = "numpy"


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
    """

    rounds: int
    seconds: float
    warm: float
    process_rounds: int
    slow_rounds: int


QUICK = Plan(rounds=7, seconds=0.03, warm=0.01, process_rounds=5, slow_rounds=1)
FULL = Plan(rounds=11, seconds=0.15, warm=0.03, process_rounds=9, slow_rounds=3)


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


def measure(pool: Asks, work: Work, case: Case, names: Iterable[str], plan: Plan) -> Figures:
    """Compare, then time in alternating rounds: ``{"values": seconds per round}`` or ``{"status": ...}`` by name."""
    comparison = Comparison(pool)
    figures: Figures = {}
    for name in names:
        status = comparison.status(work, case, name)
        figures[name] = {"status": status} if status else {"values": []}
    for _ in range(plan.rounds):
        for name, figure in figures.items():
            if "status" in figure:
                continue
            answer = pool.ask(
                name, do="time", work=work.name, case=case.name, seconds=plan.seconds, warm=plan.warm
            )  # fmt: skip
            if "status" in answer:
                figures[name] = {"status": answer["status"]}
            else:
                figure["values"].append(answer["seconds"])
    return figures


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
