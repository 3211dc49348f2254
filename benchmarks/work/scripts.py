"""Ten small programs in PyTorch's style, of ``benchmarks/scripts``: the time of a step of each.

Each figure is a fresh process. The first losses of a program are checked against those that PyTorch gave.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from benchmarks.pool import run_child
from benchmarks.registry import Case, Figure, ProcessWork

NAMES = (
    "actor_critic", "ppo", "dqn", "vae", "gan", "physics_informed", "dynamic_net", "hand_written_adam",
    "micro_batches", "custom_function",
)  # fmt: skip


def run(name: str) -> Any:
    """Run a program in this process, whose library is in SCRIPT_LIBRARY, and return its log; once per process.

    Raises: AssertionError if its first losses are not PyTorch's.
    """
    program = importlib.import_module(f"benchmarks.scripts.{name}")
    program.log.check(program.LOSSES)
    return program.log


def seconds_per_step(library: str, name: str) -> float:
    """The mean time of a step of a program."""
    os.environ["SCRIPT_LIBRARY"] = library
    return run(name).seconds


def _measure(library: str, case: Case, threads: int, number: int) -> Figure:
    return Figure(run_child(["script", library, case.name], threads).value)


# A quick run has two of them.
_CASES = tuple(Case(name, {}, target=name in ("actor_critic", "vae")) for name in NAMES)
WORKS = (ProcessWork("scripts", _CASES, ("fastnn", "torch"), _measure, slow=True),)
