"""The cost of a training step, without a clock: kernel launches, allocated arrays, memory, compilations.

The numbers below were recorded. A change that increases them fails here; a change that reduces
them should lower them. The model is T of the targets, 784-256-128-64-10 with BatchNorm, ReLU and
Dropout, and the same without BatchNorm and Dropout.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn._core import flat_storage as flat
from fastnn.kernels.runtime import allocation, compiler, launcher

pytestmark = pytest.mark.skipif(allocation.IS_POISONED, reason="the checks under FASTNN_POISON make arrays, too")

BATCH, WIDTHS = 64, (784, 256, 128, 64, 10)
# The NumPy functions with which the library makes arrays.
MAKERS = ("array", "asarray", "ascontiguousarray", "empty", "empty_like", "full", "ones", "zeros", "zeros_like")


@dataclass(frozen=True)
class Budget:
    """The limits of a step.

    Args:
        launches: kernels launched.
        arrays: calls of NumPy's functions that make arrays.
        kilobytes: peak memory above that before the step.
    """

    launches: int
    arrays: int
    kilobytes: int


# Recorded, by whether the model is captured and has BatchNorm and Dropout. Forward: 4 layers and the loss. Backward:
# 3 launches per layer (activation and bias, weight, input), without the first layer's input, and without the first of
# the 3 if no activation is fused, or if the products around it do its work in a captured step. Each BatchNorm with its
# ReLU and Dropout: one each way, or two in a captured step, where two launches split by rows take less time than one
# split by columns. 1 for Adam.
BUDGETS = {
    (False, False): Budget(launches=16, arrays=9, kilobytes=230),
    (False, True): Budget(launches=19, arrays=24, kilobytes=310),
    (True, False): Budget(launches=13, arrays=3, kilobytes=15),
    (True, True): Budget(launches=25, arrays=3, kilobytes=15),
}


def build(regularized: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for m, n in itertools.pairwise(WIDTHS[:-1]):
        layers.append(nn.Linear(m, n))
        if regularized:
            layers.append(nn.BatchNorm1d(n))
        layers.append(nn.ReLU())
        if regularized:
            layers.append(nn.Dropout(0.3))
    return nn.Sequential(*layers, nn.Linear(*WIDTHS[-2:]))


def training_step(regularized: bool) -> Callable[[], None]:
    """A step of the plain loop, with the loss read."""
    fastnn.manual_seed(0)
    model, criterion = build(regularized), nn.CrossEntropyLoss()
    optimizer = fastnn.optim.Adam(model.parameters())
    x = fastnn.from_numpy(np.random.default_rng(0).standard_normal((BATCH, WIDTHS[0]), dtype=np.float32))
    y = fastnn.from_numpy(np.arange(BATCH) % WIDTHS[-1])

    def step() -> None:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def count_launches(step: Callable[[], None]) -> Counter[str]:
    launched: Counter[str] = Counter()
    with launcher.recording(lambda kernel, *_: launched.update([kernel.name])):
        step()
    return launched


def count_arrays(step: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    made: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            made[name] += 1
            return function(*args, **kwargs)

        return make

    with monkeypatch.context() as patch:
        for name in MAKERS:
            counting = counted(name, getattr(np, name))
            for module in (np, allocation):
                if hasattr(module, name):
                    patch.setattr(module, name, counting)
        step()
    return made


def peak_kilobytes(step: Callable[[], None]) -> float:
    """The step's peak memory above that before it; NumPy reports its arrays to tracemalloc."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - before) / 1000


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    # Some arrays are made per part of a launch.
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(2)
    yield
    fastnn.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of other tests must not fragment the chunks, or an optimizer updates this one in two launches."""
    monkeypatch.setattr(flat, "_chunks", {})


@pytest.fixture
def captured(request: pytest.FixtureRequest) -> Iterator[bool]:
    fastnn.set_capture(request.param)
    yield request.param
    fastnn.set_capture(True)


either = pytest.mark.parametrize("captured", [False, True], indirect=True, ids=["eager", "captured"])


@either
@pytest.mark.parametrize("regularized", [False, True], ids=["plain", "T"])
def test_training_step_stays_in_its_budget(captured: bool, regularized: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    step, budget = training_step(regularized), BUDGETS[captured, regularized]
    step()
    compiled = list(compiler.compilations)
    # The third call of the model is recorded.
    for _ in range(2 if captured else 0):
        step()
    launched = count_launches(step)
    assert captured or compiler.compilations == compiled, "the second step compiled"
    compiled = list(compiler.compilations)
    made = count_arrays(step, monkeypatch)
    kilobytes = peak_kilobytes(step)
    assert compiler.compilations == compiled, "a step compiled"
    assert launched.total() <= budget.launches, launched
    assert made.total() <= budget.arrays, made
    assert kilobytes <= budget.kilobytes


@either
def test_steps_cost_the_same_however_many_there_were(captured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    step = training_step(regularized=False)
    for _ in range(3):
        step()
    launched, made = count_launches(step), count_arrays(step, monkeypatch)
    for _ in range(10):
        step()
    assert count_launches(step) == launched
    assert count_arrays(step, monkeypatch) == made


def test_a_longer_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The measurement itself: an extra launch, an extra array and extra memory are all counted.
    step, extra = training_step(regularized=False), np.ones(100_000, np.float32)
    for _ in range(3):
        step()

    def longer() -> None:
        step()
        fastnn.nn.functional.relu(fastnn.from_numpy(extra))

    assert count_launches(longer).total() == count_launches(step).total() + 1
    assert count_arrays(longer, monkeypatch).total() > count_arrays(step, monkeypatch).total()
    assert peak_kilobytes(lambda: np.ones(500_000)) > 4000 > peak_kilobytes(step)
