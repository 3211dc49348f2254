"""``--check``: every target as met, missed, not yet or not measured, with its figure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Results
from benchmarks.targets import MET, TARGETS, Target, Verdict


def verdicts(
    results: Results, works: Sequence[str] | None = None, targets: Sequence[Target] = TARGETS
) -> list[Verdict]:
    """The verdicts on the targets; only on those of the given works, if any are given."""
    return [
        verdict for target in targets if works is None or target.work in works for verdict in target.verdicts(results)
    ]


def lines(found: Sequence[Verdict]) -> list[str]:
    """One line per target, a second one for details, and the count."""
    text = []
    for verdict in found:
        text.append(f"{verdict.state:12}  {verdict.figure:>8}  {verdict.demand}")
        if verdict.detail:
            text.append(f"{'':24}{verdict.detail}")
    counts: dict[str, int] = {}
    for verdict in found:
        counts[verdict.state] = counts.get(verdict.state, 0) + 1
    text.append("targets: " + (", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"))
    return text


def exit_status(found: Sequence[Verdict]) -> int:
    """1 unless every target is met; a target that cannot be measured counts as not met."""
    return 0 if all(verdict.state == MET for verdict in found) else 1
