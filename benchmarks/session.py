"""A whole run: the machine's limits, every piece of work, and a description of the machine."""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks import ROOT, libraries, machine, protocol
from benchmarks.pool import Pool
from benchmarks.protocol import Conditions, Entry, Figures
from benchmarks.registry import Case, ProcessWork, Work, all_works
from benchmarks.results import Results, Row


def default_threads() -> int:
    """One thread per core that this process may use."""
    return len(libraries.usable_cpus()) or os.cpu_count() or 1


def chosen(work: Work | ProcessWork, quick: bool) -> list[str]:
    """The libraries to measure; a quick run leaves out the extras."""
    names = work.setups if isinstance(work, Work) else work.libraries
    return [name for name in names if not (quick and name in work.extras)]


def measure_limits(threads: int) -> dict[str, float]:
    """The machine's limits, measured by a process of its own; empty if that fails."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits", str(threads)], cwd=ROOT, env=libraries.environment(threads),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    return json.loads(run.stdout) if run.returncode == 0 else {}


class Session:
    """One run.

    Args:
        quick: short rounds, and only the cases that targets use.
        threads: for every library.
        say: receives progress messages.
    """

    def __init__(self, quick: bool, threads: int, say: Callable[[str], None]) -> None:
        self.quick, self.threads, self._say_plainly = quick, threads, say
        self.plan = protocol.QUICK if quick else protocol.FULL
        self.started = time.monotonic()
        self.low_latency = 0.0

    def say(self, message: str) -> None:
        """Report progress, with the time since the start."""
        self._say_plainly(f"{time.monotonic() - self.started:4.0f} s  {message}")

    def run(self, names: Sequence[str]) -> Results:
        """Measure these pieces of work."""
        self.say("limits of the machine")
        limits = measure_limits(self.threads)
        works = [all_works()[name] for name in names]
        with Pool(self.threads) as pool:
            rows = self._repeated(pool, [work for work in works if isinstance(work, Work)])
            about = {
                name: described
                for name, described in sorted(pool.descriptions.items())
                if name != "core_latency" and "@" not in name
            }
        # The workers have ended: their memory and threads would disturb the measures of whole processes.
        rows += [row for work in works if isinstance(work, ProcessWork) for row in self._processes(work)]
        self.say("limits of the machine, again")
        again = measure_limits(self.threads)
        limits = {key: max(value, again.get(key, 0.0)) for key, value in limits.items()}
        rows.sort(key=lambda row: names.index(row.work))
        return Results(self._header(about), limits, rows)

    def _cases(self, work: Work | ProcessWork, measure: Callable[[Case], Figures]) -> None:
        """Call ``measure`` for the cases to measure: in a quick run those of the targets, and their substitutes."""
        figures = [measure(case) for case in work.cases if case.target]
        missing = any(f["fastnn"].get("status", "").startswith("not yet") for f in figures)
        if not self.quick or not figures or missing:
            for case in work.cases:
                if not case.target:
                    measure(case)

    def _repeated(self, pool: Pool, works: Sequence[Work]) -> list[Row]:
        if not works:
            return []
        comparison = protocol.Comparison(pool)
        entries: list[Entry] = []

        def compare(work: Work, case: Case) -> Figures:
            self.say(f"results of {work.name} {case.name}")
            entries.append(protocol.compare(comparison, work, case, chosen(work, self.quick)))
            return entries[-1].figures

        self.say("imports of the libraries")
        pool.start(work.worker_of(name) for work in works for name in chosen(work, self.quick))
        for work in works:
            self._cases(work, functools.partial(compare, work))
        pool.ask("core_latency", do="core_latency")  # compiles
        others = machine.Others(pool.cpu_seconds)

        def watch() -> Conditions:
            return Conditions(others.share(), pool.ask("core_latency", do="core_latency").get("seconds", 0.0))

        self.low_latency = protocol.measure(pool, entries, self.plan, watch, self.say, started=self.started)
        return [_row(e.work, e.case, e.work.limit, e.figures, e.conditions) for e in entries]

    def _processes(self, work: ProcessWork) -> list[Row]:
        rows: list[Row] = []
        others = machine.Others(machine.own_seconds)

        def measure(case: Case) -> Figures:
            self.say(f"{work.name} {case.name}")
            others.share()
            figures = protocol.measure_processes(work, case, chosen(work, self.quick), self.threads, self.plan)
            rows.append(_row(work, case, "", figures, [Conditions(others.share())]))
            return figures

        self._cases(work, measure)
        return rows

    def _header(self, about: dict[str, dict[str, Any]]) -> dict[str, Any]:
        return {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "cpu": machine.cpu_name(),
            "cores": len(libraries.usable_cpus()),
            "threads": self.threads,
            "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
            "quick": self.quick,
            "rounds": self.plan.rounds,
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            "low_latency": self.low_latency,
            "libraries": about,
        }


def _row(work: Work | ProcessWork, case: Case, limit: str, figures: Figures, conditions: Sequence[Conditions]) -> Row:
    busy = round(statistics.mean(c.busy for c in conditions), 3) if conditions else 0.0
    apart = [c.apart for c in conditions] or [0.0]
    return Row(
        work.name, case.name, work.unit, limit, case.flops, case.bytes, case.target, figures,
        busy, [min(apart), max(apart)],
    )  # fmt: skip
