"""Thousands of steps and of models without growth of memory, and Ctrl-C in the middle of all kinds of work."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from textwrap import indent

import pytest
from counts import LEVEL, count
from helpers import start_python

import fastnn
from fastnn import nn
from fastnn.kernels.runtime import cache

# Growth of the process: a hundredth, as is promised, and never less than what a block of the allocator takes.
SHARE, LEAST = 0.01, 2 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def assert_no_growth(work: Callable[[], object], times: int, first: int = 100) -> None:
    """Call ``work`` so often; neither memory nor objects grow after the first hundred."""
    for _ in range(first):
        work()
    gc.collect()
    before, objects = resident(), len(gc.get_objects())
    for _ in range(times - first):
        work()
    gc.collect()
    grown, more = resident() - before, len(gc.get_objects()) - objects
    assert more < 100, f"{more} objects more after {times} calls"
    assert grown <= max(SHARE * before, LEAST), f"{grown} of {before} bytes more after {times} calls"


def _training() -> tuple[nn.Module, fastnn.optim.Optimizer, fastnn.Tensor, fastnn.Tensor]:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
    x, y = fastnn.linspace(-1, 1, 256).reshape(32, 8), fastnn.arange(32) % 3
    return model, fastnn.optim.Adam(model.parameters(), lr=1e-3), x, y


def plain_loop() -> Callable[[], object]:
    model, optimizer, x, y = _training()
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def compiled_step() -> Callable[[], object]:
    model, optimizer, x, y = _training()
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), optimizer)
    return lambda: step(x, y)


def epochs_of_fit() -> Callable[[], object]:
    model, optimizer, x, y = _training()
    return lambda: fastnn.fit(model, x, y, epochs=1, batch_size=8, optimizer=optimizer)


def failing_step() -> Callable[[], object]:
    """Every step raises; the traceback of the last one is not kept."""
    model, optimizer, x, _ = _training()
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        with pytest.raises(IndexError):
            criterion(model(x), fastnn.full((32,), 7)).backward()

    return step


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")


@on_linux
@pytest.mark.parametrize(
    ("make", "times"),
    [
        (plain_loop, count(400, 8000, 50_000)), (compiled_step, count(400, 8000, 50_000)),
        (epochs_of_fit, count(125, 1000, 10_000)), (failing_step, count(140, 1000, 10_000)),
    ],
)  # fmt: skip
def test_steps_do_not_grow(make: Callable[[], Callable[[], object]], times: int) -> None:
    assert_no_growth(make(), times)


@on_linux
def test_models_that_are_dropped_leave_nothing() -> None:
    made = 0

    def use() -> None:
        nonlocal made
        made += 1
        width = 8 + made % 24
        model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
        optimizer = fastnn.optim.AdamW(model.parameters())
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), optimizer)
        x, y = fastnn.ones(16, 8), fastnn.arange(16) % 3
        for _ in range(4):
            step(x, y)
        with fastnn.inference_mode():
            for _ in range(3):
                model(x)

    assert_no_growth(use, count(115, 600, 5000))


# -- Ctrl-C -----------------------------------------------------------------------------------

BEGIN = """
import threading, time
import fastnn
from fastnn import nn
from fastnn.kernels.matmul.gemm import GEMM
from fastnn.kernels.runtime import compiler
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3))
optimizer = fastnn.optim.Adam(model.parameters())
x, y = fastnn.ones(64, 32), fastnn.arange(64) % 3
criterion = nn.CrossEntropyLoss()
def step():
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
step()
print("begins", flush=True)
"""
WORK = {
    "a plain loop": "while True: step()",
    "compiled steps": "s = fastnn.compile_step(model, criterion, optimizer)\nwhile True: s(x, y)",
    "fit": "fastnn.fit(model, x, y, epochs=10**9, optimizer=optimizer)",
    "inference": "with fastnn.inference_mode():\n    while True: model(x)",
    "a thread at work": (
        "threading.Thread(target=lambda: [step() for _ in iter(int, 1)], daemon=True).start()\n"
        "while True: time.sleep(100)"
    ),
    "compilation": (
        "with compiler.starting():\n    while True: compiler._compile(GEMM[compiler.FLOAT64].build().compile, False)"
    ),
}
if LEVEL != "suite":  # `capture/test_interrupts.py`, `capture/test_notebook.py`, `kernels/test_runtime.py` have more.

    @pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
    @pytest.mark.parametrize("name", WORK)
    def test_ctrl_c_ends_it_within_a_second(name: str) -> None:
        folder = cache.cache_folder()
        variables = {} if folder is None else {"FASTNN_CACHE_DIR": str(folder.parent)}
        took = []
        code = f"try:\n{indent(WORK[name], '    ')}\nexcept KeyboardInterrupt:\n    print(time.monotonic())\n    raise"
        for i in range(count(1, 2, 40)):
            process = start_python(BEGIN + code, **variables)
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            time.sleep(0.3 + 0.13 * (i % 10))
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            took.append(float(out.split()[-1]) - started)
            assert process.returncode in (-signal.SIGINT, 130), err
            assert "KeyboardInterrupt" in err.rstrip().splitlines()[-1], err
        print(name, [round(seconds, 2) for seconds in took])
        # The best: other programs may have the cores.
        assert min(took) < 1
