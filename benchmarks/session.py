"""A whole run: the machine's limits, every piece of work, and a description of the machine.

May import ``registry``, ``pool``, ``protocol``, ``results``, ``libraries`` and ``machine``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks import ROOT, libraries, machine, protocol
from benchmarks.pool import Pool
from benchmarks.registry import Case, ProcessWork, Work, all_works
from benchmarks.results import Results, Row


def measure_limits(threads: int) -> dict[str, float]:
    """The machine's limits, by a process of its own; empty where that fails."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits", str(threads)], cwd=ROOT, env=libraries.environment(threads),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    return json.loads(run.stdout) if run.returncode == 0 else {}


def _header(pool: Pool, quick: bool, plan: protocol.Plan) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": machine.cpu_name(),
        "cores": len(libraries.usable_cpus()),
        "threads": pool.threads,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "quick": quick,
        "rounds": plan.rounds,
        "libraries": {name: about for name, about in sorted(pool.descriptions.items()) if "@" not in name},
    }


def chosen(work: Work | ProcessWork, quick: bool) -> list[str]:
    """The libraries to measure: without the extras in a quick run."""
    names = work.setups if isinstance(work, Work) else work.libraries
    return [name for name in names if not (quick and name in work.extras)]


def _run_case(
    pool: Pool, others: machine.Others, work: Work | ProcessWork, case: Case, quick: bool, plan: protocol.Plan
) -> Row:
    names = chosen(work, quick)
    others.share()
    if isinstance(work, Work):
        figures = protocol.measure(pool, work, case, names, plan)
        pool.forget()
        limit = work.limit
    else:
        figures, limit = protocol.measure_processes(work, case, names, pool.threads, plan), ""
    return Row(
        work.name, case.name, work.unit, limit, case.flops, case.bytes, case.target, figures, round(others.share(), 3)
    )


def _cases(work: Work | ProcessWork, quick: bool, rows: Sequence[Row]) -> list[Case]:
    """What is left to measure of a piece of work; in a quick run what the targets speak of, and stand-ins for it."""
    done = {row.case for row in rows}
    wanted = [case for case in work.cases if case.target]
    if not quick or not wanted or any(row.status("fastnn").startswith("not yet") for row in rows):
        wanted = list(work.cases)
    return [case for case in wanted if case.name not in done]


def run(works: Sequence[str], quick: bool, threads: int, say: Callable[[str], None]) -> Results:
    """Measure these pieces of work and return the results.

    Args:
        works: their names.
        quick: short rounds, and only what the targets speak of.
        threads: for every library.
        say: is told what is going on.
    """
    plan = protocol.QUICK if quick else protocol.FULL
    started = time.monotonic()
    say("limits of the machine")
    limits = measure_limits(threads)
    rows: list[Row] = []
    with Pool(threads) as pool:
        others = machine.Others(pool.cpu_seconds)
        for name in works:
            work = all_works()[name]
            mine: list[Row] = []
            while cases := _cases(work, quick, mine):
                say(f"{name} {cases[0].name} ({time.monotonic() - started:.0f} s)")
                mine.append(_run_case(pool, others, work, cases[0], quick, plan))
            rows += mine
            if isinstance(work, Work) and any(n.startswith("torch_compile") for n in work.setups):
                # Its compiled models and the compiler's own processes are not needed again.
                pool.end("torch_compile")
        header = _header(pool, quick, plan)
    if not quick:
        say("limits of the machine, again")
        again = measure_limits(threads)
        limits = {key: max(value, again.get(key, 0.0)) for key, value in limits.items()}
    header["minutes"] = round((time.monotonic() - started) / 60, 1)
    return Results(header, limits, rows)


def default_threads() -> int:
    """One thread per core that this process may use."""
    return len(libraries.usable_cpus()) or os.cpu_count() or 1
