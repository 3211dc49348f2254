"""The targets as data: required figures relative to peers, relative to the machine's limits, and absolute.

Each target derives its verdicts from the results. It is 'not yet' if fastnn cannot do its work yet,
and 'not measured' if its peer is not installed; neither counts as met.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.registry import all_works
from benchmarks.results import Results, Row
from benchmarks.work import contended, eager, scripts
from benchmarks.work.classic import FORMULAS, LARGE, SMALL

MET, MISSED, NOT_YET, NOT_MEASURED = "met", "missed", "not yet", "not measured"


class Verdict(NamedTuple):
    """The verdict on one demand: its state, the figure, and the source of the figure."""

    state: str
    figure: str
    demand: str
    detail: str = ""


class Gap(NamedTuple):
    """Why there is no figure, or only one of a substitute case."""

    state: str
    reason: str
    stands_in: bool = False


@dataclass(frozen=True)
class Target(ABC):
    """A demand on one piece of work.

    Args:
        work: its name in the registry; an unknown name makes the target 'not yet'.
        cases: by name; none means all that the registry marks with ``target``.
        subjects: rows of fastnn; the first with figures counts.
    """

    work: str
    cases: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ("fastnn",)

    @abstractmethod
    def verdicts(self, results: Results) -> list[Verdict]:
        """The verdicts."""

    def _names(self) -> tuple[str, ...]:
        work = all_works().get(self.work)
        return self.cases or tuple(case.name for case in work.cases if case.target) if work else ()

    def _what(self) -> str:
        return f"{self.work} {', '.join(self.cases)}".strip()

    def _subject(self, row: Row) -> str:
        return next((name for name in self.subjects if row.is_live(name)), self.subjects[-1])

    def _sorted(self, results: Results, others: Sequence[str] = ()) -> tuple[list[Row], list[Gap]]:
        """The rows with figures of the subject and of at least one of the others, if any; and the gaps."""
        if self.work not in all_works():
            return [], [Gap(NOT_YET, "nothing in the registry measures it")]
        rows, gaps = [], []
        for name in self._names():
            row = results.row(self.work, name)
            if row is None:
                gaps.append(Gap(NOT_MEASURED, name))
                continue
            status = row.status(self._subject(row))
            absent = [f"{other}: {row.status(other)}" for other in others if not row.is_live(other)]
            if status:
                state = NOT_YET if status.startswith("not yet") else MISSED
                gaps.append(Gap(state, f"{name}: {status}"))
            else:
                if len(absent) < max(len(others), 1):
                    rows.append(row)
                gaps += [Gap(NOT_MEASURED, text) for text in absent]
        if not rows and any(gap.state == NOT_YET for gap in gaps):
            rows = [
                row for name in self._names()
                if (row := results.row(self.work, f"{name} plain")) and row.is_live(self._subject(row))
                and all(row.is_live(other) for other in others)
            ]  # fmt: skip
            gaps += [Gap(NOT_YET, f"the figure is that of {row.case}", stands_in=True) for row in rows]
        return rows, gaps

    @staticmethod
    def _judged(reached: bool, gaps: Sequence[Gap]) -> str:
        states = {gap.state for gap in gaps}
        if any(gap.stands_in for gap in gaps):
            return NOT_YET
        if MISSED in states or not reached:
            return MISSED
        return next((state for state in (NOT_YET, NOT_MEASURED) if state in states), MET)


def _reasons(gaps: Sequence[Gap]) -> str:
    return "; ".join(dict.fromkeys(gap.reason for gap in gaps))


def _join(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _geometric_mean(numbers: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


@dataclass(frozen=True)
class Faster(Target):
    """Ratios against the fastest of some peers: their geometric mean, and the smallest.

    Args:
        peers: rows to compare with.
        mean: the geometric mean has to be at least this; 0 for no demand.
        least: no ratio may be smaller; 0 for no demand.
    """

    peers: tuple[str, ...] = ()
    mean: float = 0.0
    least: float = 0.0

    def verdicts(self, results: Results) -> list[Verdict]:
        rows, gaps = self._sorted(results, self.peers)
        whom = self.peers[0] if len(self.peers) == 1 else f"the fastest of {', '.join(self.peers)}"
        what = f"{self._what()}, {whom} over fastnn"
        found = {row.case: row.fastest(self.peers, self._subject(row)) for row in rows}
        verdicts = []
        if self.mean:
            demand = f"{what}: geometric mean at least {self.mean:g}x"
            if found:
                mean = _geometric_mean([ratio.median for _, ratio in found.values()])
                state = self._judged(mean >= self.mean, gaps)
                verdicts.append(Verdict(state, f"{mean:.2f}x", demand, _reasons(gaps)))
            else:
                verdicts.append(Verdict(self._judged(True, gaps), "-", demand, _reasons(gaps)))
        if self.least:
            demand = f"{what}: none under {self.least:g}x"
            if found:
                worst = min(ratio.median for _, ratio in found.values())
                below = ", ".join(
                    f"{case} {ratio.median:.2f}x ({peer})"
                    for case, (peer, ratio) in found.items() if ratio.median < self.least
                )  # fmt: skip
                state = self._judged(worst >= self.least, gaps)
                verdicts.append(Verdict(state, f"{worst:.2f}x", demand, _join(below, _reasons(gaps))))
            else:
                verdicts.append(Verdict(self._judged(True, gaps), "-", demand, _reasons(gaps)))
        return verdicts


@dataclass(frozen=True)
class Share(Target):
    """A share of the machine's limit: at least ``least`` of it in every case.

    Args:
        least: such as 0.85.
        most: given instead, an upper bound on the reciprocal: measured time over time of the arithmetic alone.
    """

    least: float = 0.0
    most: float = 0.0

    def verdicts(self, results: Results) -> list[Verdict]:
        rows, gaps = self._sorted(results)
        shares = {row.case: share for row in rows if (share := results.share(row, self._subject(row)))}
        if rows and not shares:
            gaps.append(Gap(NOT_MEASURED, "the limit"))
        least = self.least or 1 / self.most
        # A demand of 1.5 times is met at 1.504.
        below = {case: share for case, share in shares.items() if share < least * 0.995}
        limit = "share of the multiply-add limit"
        if self.most:
            demand = f"{self._what()}: at most {self.most:g}x the arithmetic alone"
            figures = {case: f"{1 / share:.2f}x" for case, share in shares.items()}
        else:
            demand = f"{self._what()}: {limit} at least {self.least:.0%}"
            figures = {case: f"{share:.0%}" for case, share in shares.items()}
        worst = min(shares, key=lambda case: shares[case], default="")
        detail = ", ".join(f"{case} {figures[case]}" for case in below)
        state = self._judged(not below, gaps)
        return [Verdict(state, figures.get(worst, "-"), demand, _join(detail, _reasons(gaps)))]


@dataclass(frozen=True)
class AtMost(Target):
    """A bound on fastnn's own figure, or on its excess over another row's.

    Args:
        most: in seconds.
        beyond: the row whose figure is subtracted round by round.
    """

    most: float = 0.0
    beyond: str = ""

    def verdicts(self, results: Results) -> list[Verdict]:
        rows, gaps = self._sorted(results, (self.beyond,) if self.beyond else ())
        demand = f"{self._what()}: at most {self.most:g} s"
        if self.beyond:
            demand += f" over that of {self.beyond}"
        if not rows:
            return [Verdict(self._judged(True, gaps), "-", demand, _reasons(gaps))]
        figure = max(self._beyond(row) for row in rows)
        text = f"{figure:.2f} s" if self.most >= 0.01 else f"{figure * 1e6:.2f} us"
        return [Verdict(self._judged(figure <= self.most, gaps), text, demand, _reasons(gaps))]

    def _beyond(self, row: Row) -> float:
        if not self.beyond:
            return row.median(self._subject(row))
        rounds = zip(row.values(self._subject(row)), row.values(self.beyond), strict=False)
        return statistics.median(ours - theirs for ours, theirs in rounds)


CONTENDED = tuple(case.name for case in contended.CASES if case["busy"])

# The captured step if it exists, otherwise the plain loop.
_STEP = ("fastnn_step", "fastnn")

TARGETS: tuple[Target, ...] = (
    Faster("linear_forward", peers=("numpy", "torch", "jax"), mean=1.3, least=1.0),
    Share("linear_forward", ("64x784x256",), least=0.85),
    Share("linear_forward", ("512x784x256", "512x1024x1024", "2048x1024x1024"), least=0.90),
    Faster("linear_backward", peers=("numpy", "torch", "jax"), mean=1.3, least=1.0),
    Faster("softmax_cross_entropy", peers=("torch", "jax"), mean=2.0),
    Faster("adam", peers=("torch",), mean=2.0, least=1.0),
    Faster("batch_norm_relu_dropout", peers=("torch", "jax"), mean=2.0),
    Faster("training_step", subjects=_STEP, peers=("jax",), mean=2.0, least=1.2),
    Faster("training_step", subjects=_STEP, peers=("torch",), mean=3.0, least=2.0),
    Share("training_step", ("S 64", "S 512"), subjects=_STEP, most=2.0),
    Share("training_step", ("T 64", "T 512", "W 64"), subjects=_STEP, most=1.5),
    Share("training_step", ("W 512",), subjects=_STEP, most=1.2),
    # The captured step over the plain loop: at least 1 / 1.25.
    Faster("training_step", ("S 64", "T 64", "W 64"), peers=("fastnn_step",), least=0.8),
    Faster("epoch", peers=("jax",), least=2.0),
    Faster("inference", peers=("onnxruntime",), mean=1.3, least=1.0),
    # At most 1.2 times the time of one thread next to the same programs.
    Faster("contended", CONTENDED, peers=("fastnn@1",), least=1 / 1.2),
    Faster("contended", CONTENDED, peers=("jax",), least=2.0),
    Faster("contended", CONTENDED, peers=("torch",), least=5.0),
    Faster("eager", tuple(case.name for case in eager.CASES), peers=("torch",), mean=1.0, least=0.8),
    Faster("scripts", scripts.NAMES, peers=("torch",), mean=3.0, least=1.5),
    Faster("import", peers=("torch",), least=3.0),
    AtMost("import", ("warm",), beyond="numba", most=0.15),
    AtMost("first_step", ("T",), most=1.0),
    AtMost("cold_start", ("T",), most=25.0),
    Faster("peak_memory", ("T",), peers=("torch",), least=2.0),
    Faster("threads", peers=("fastnn@1",), least=1.85),
    Faster("classic_train", peers=("numpy",), least=5.0),
    Faster("classic_functions", tuple(f"{name} {LARGE}" for name in FORMULAS), peers=("numpy",), least=2.0),
    AtMost("classic_functions", tuple(f"{name} {SMALL}" for name in FORMULAS), beyond="numpy", most=3e-6),
    AtMost("speedrun", most=1.0),
    Faster("speedrun", peers=("torch",), least=3.0),
    Faster("estimators", ("mnist", "mnist float64"), peers=("sklearn",), least=4.0),
    Faster("estimators", ("digits", "digits float64"), peers=("sklearn",), least=2.0),
    Faster("estimators", peers=("sklearn",), least=1.0),
)
