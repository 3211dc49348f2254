"""Measures of a whole process: import, start to the first step, the first run ever, peak memory.

Each figure is one fresh ``python -m benchmarks.child``, which runs the same lines for fastnn and
PyTorch. The parent times the two starts, beginning before it creates the process.
"""

from __future__ import annotations

import shutil
import tempfile

from benchmarks.pool import Child, run_child
from benchmarks.registry import Case, Figure, ProcessWork, Unavailable

_MODELS = tuple(
    # T plain is a substitute for T until fastnn has its layers; no target uses it.
    Case(name, {"model": name}, target=name == "T")
    for name in ("T", "T plain")
)


def _warm(arguments: list[str], threads: int) -> Child:
    """Run a child that compiles nothing: in a fresh clone the first one does, so it is run again."""
    child = run_child(arguments, threads)
    return run_child(arguments, threads) if "once" in child.messages else child


def _import(library: str, case: Case, threads: int, number: int) -> Figure:
    return Figure(run_child(["import", library], threads).value)


def _first_step(library: str, case: Case, threads: int, number: int) -> Figure:
    return Figure(_warm(["first-step", library, case["model"]], threads).seconds)


def _cold_start(library: str, case: Case, threads: int, number: int) -> Figure:
    folder = tempfile.mkdtemp(prefix="fastnn-cold-")
    try:
        child = run_child(["first-step", library, case["model"]], threads, {"FASTNN_CACHE_DIR": folder})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if "once" not in child.messages:
        raise Unavailable(f"silent: took {child.seconds:.1f} s and did not say that it happens once")
    return Figure(child.seconds)


def _peak_memory(library: str, case: Case, threads: int, number: int) -> Figure:
    return Figure(_warm(["epoch", library, case["model"]], threads).value)


WORKS = (
    ProcessWork("import", (Case("warm", {}),), ("fastnn", "numba", "torch", "jax"), _import, extras=("jax",)),
    ProcessWork("first_step", _MODELS, ("fastnn", "torch"), _first_step, extras=("torch",)),
    ProcessWork("cold_start", _MODELS, ("fastnn",), _cold_start, slow=True),
    ProcessWork("peak_memory", _MODELS, ("fastnn", "torch"), _peak_memory, unit="bytes", slow=True),
)
