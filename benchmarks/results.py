"""The results, and the figures derived from them: medians, ratios round by round, shares of the limits.

A result file is their JSON form.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Ratio(NamedTuple):
    """How many times as long (or as much) a peer takes: the median of the rounds, and their extremes."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One case of a piece of work, with the figures of every library.

    ``busy`` is the share of the processors that other programs used meanwhile, ``apart`` the fewest and
    the most seconds of a round trip between two cores.
    """

    work: str
    case: str
    unit: str
    limit: str
    flops: float
    bytes: float
    target: bool
    libraries: dict[str, dict[str, Any]]
    busy: float = 0.0
    apart: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def status(self, name: str) -> str:
        """Why there is no figure; empty if there is one."""
        return str(self.libraries.get(name, {"status": "not measured"}).get("status", ""))

    def is_live(self, name: str) -> bool:
        """Whether there is a figure."""
        return not self.status(name)

    def values(self, name: str) -> list[float]:
        """The figures of the rounds."""
        return list(self.libraries[name]["values"])

    def median(self, name: str) -> float:
        """The median over the rounds, in seconds or bytes."""
        return statistics.median(self.values(name))

    def score(self, name: str) -> float | None:
        """The median score of its results, if that was measured."""
        scores = self.libraries[name].get("scores")
        return statistics.median(scores) if scores else None

    def ratio(self, peer: str, subject: str = "fastnn") -> Ratio:
        """The peer's figure over the subject's, round by round."""
        rounds = [theirs / ours for theirs, ours in zip(self.values(peer), self.values(subject), strict=False)]
        return Ratio(statistics.median(rounds), min(rounds), max(rounds))

    def fastest(self, peers: Sequence[str], subject: str = "fastnn") -> tuple[str, Ratio]:
        """The peer with the smallest ratio, among those with figures."""
        ratios = {peer: self.ratio(peer, subject) for peer in peers if self.is_live(peer)}
        best = min(ratios, key=lambda peer: ratios[peer].median)
        return best, ratios[best]


@dataclass
class Results:
    """A whole run: its header, the machine's limits and the rows."""

    header: dict[str, Any]
    limits: dict[str, float]
    rows: list[Row] = field(default_factory=list)

    def of(self, work: str) -> list[Row]:
        """The rows of a piece of work."""
        return [row for row in self.rows if row.work == work]

    def row(self, work: str, case: str) -> Row | None:
        """One row, or None if it was not measured."""
        return next((row for row in self.of(work) if row.case == case), None)

    def works(self) -> list[str]:
        """The names of the pieces of work, in order."""
        return list(dict.fromkeys(row.work for row in self.rows))

    def share(self, row: Row, name: str) -> float | None:
        """The share of the machine's limit that was reached: time at the limit over measured time."""
        rate, need = ("flops", row.flops) if row.limit == "arithmetic" else ("bytes", row.bytes)
        limit = self.limits.get(rate)
        if not limit or not need or not row.is_live(name):
            return None
        return need / limit / row.median(name)

    def as_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return {"header": self.header, "limits": self.limits, "rows": [vars(row) for row in self.rows]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Results:
        """The inverse of ``as_json``."""
        return cls(data["header"], data["limits"], [Row(**row) for row in data["rows"]])
