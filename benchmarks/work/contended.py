"""Training while other programs run: steps while none, one or two of them keep the cores busy.

Each figure is a fresh process that trains for a second and reports the mean time of a step: a median would hide the
steps that waited for a thread without a core. The busy programs are Python loops without a pause.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from benchmarks.pool import run_child
from benchmarks.registry import Case, Figure, ProcessWork
from benchmarks.work import mlp, mlp_jax, training_step

_SECONDS, _WARM, _STEPS = 1.0, 0.3, 50
# The busy programs and the measured one have ordinary priority. They would inherit real-time priority (chrt) from a
# benchmark that has it, and two busy programs with that leave no time for anything else.
_ORDINARY = """
import os
if hasattr(os, "sched_setscheduler"):
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
"""


def _case(way: str, model: str, batch: int, busy: int) -> Case:
    sizes = {"way": way, "model": model, "batch": batch, "batches": 32, "dropout": 0.3, "busy": busy}
    # A quick run has two of them.
    return Case(f"{way} {model} {batch}, {busy} busy", sizes, target=busy == 2 and (way, model) in _QUICK)


_QUICK = (("step", "S"), ("fit", "tabular"))
_WAYS = (
    ("step", "S", 64), ("step", "T", 64), ("step", "W", 64), ("step", "W", 512), ("step", "policy", 64),
    ("loop", "S", 64), ("fit", "tabular", 64), ("fit", "policy", 64),
)  # fmt: skip
CASES = tuple(_case(*way, busy) for way in _WAYS for busy in (0, 1, 2))


def seconds_per_step(library: str, name: str) -> float:
    """The mean time of a training step of a case, by its name."""
    exec(_ORDINARY, {})
    case = next(case for case in CASES if case.name == name)
    if library == "torch":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    elif library == "fastnn@1":
        import fastnn

        fastnn.set_num_threads(1)
    run = _ways(library, case)
    start = perf_counter()
    run(_STEPS)
    while perf_counter() - start < _WARM:
        run(_STEPS)
    steps, start = 0, perf_counter()
    while (spent := perf_counter() - start) < _SECONDS:
        run(_STEPS)
        steps += _STEPS
    return spent / steps


def _ways(library: str, case: Case) -> Callable[[int], None]:
    """A function that does a given number of steps."""
    if library.startswith("fastnn") and case["way"] == "fit":
        return _fit(case)
    setups: dict[str, Any] = {"torch": training_step._torch, "jax": mlp_jax.training_step}
    ours = training_step._fastnn_step if case["way"] == "step" else training_step._fastnn
    job = setups.get(library, ours)(mlp.training_inputs(case), case)

    def run(steps: int) -> None:
        result = None
        for _ in range(steps):
            result = job.run()
        if job.wait:
            job.wait(result)

    return run


def _fit(case: Case) -> Callable[[int], None]:
    """fastnn's own training loop over data in memory, including shuffling and gathering."""
    import fastnn

    inputs = mlp.training_inputs(replace(case, sizes={**case.sizes, "batches": _STEPS}))
    x = fastnn.from_numpy(inputs["x"].reshape(-1, inputs["x"].shape[-1]))
    y = fastnn.from_numpy(inputs["y"][:_STEPS].reshape(-1))
    model = mlp.modules(fastnn, mlp.MODELS[case["model"]])
    optimizer = fastnn.optim.Adam(model.parameters(), lr=mlp.LR)

    def run(steps: int) -> None:
        fastnn.fit(
            model, x, y, epochs=1, batch_size=case["batch"], optimizer=optimizer,
            criterion=fastnn.nn.CrossEntropyLoss(), progress=False,
        )  # fmt: skip

    return run


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Start a number of programs that never pause."""
    command = [sys.executable, "-c", f"{_ORDINARY}\nwhile True: pass"]
    programs = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _measure(library: str, case: Case, threads: int, number: int) -> Figure:
    with _busy(case["busy"]):
        return Figure(run_child(["contended", library, case.name], threads).value)


WORKS = (
    ProcessWork("contended", CASES, ("fastnn", "fastnn@1", "torch", "jax"), _measure, slow=True, extras=("jax",)),
)
