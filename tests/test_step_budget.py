"""What a training step costs, without a clock: kernel launches, arrays made, memory, compilations.

The numbers below were recorded. A change that makes them grow fails here; one that makes them
fall should lower them. The model is T of the targets, 784-256-128-64-10 with BatchNorm, ReLU and
Dropout, and the same without those two.
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
from fastnn.kernels import jit

BATCH, WIDTHS = 64, (784, 256, 128, 64, 10)
# The functions of NumPy by which the library makes arrays.
MAKERS = ("array", "asarray", "ascontiguousarray", "empty", "empty_like", "full", "ones", "zeros", "zeros_like")


@dataclass(frozen=True)
class Budget:
    """The most that a step may take.

    Args:
        launches: kernels launched.
        arrays: calls of NumPy's functions that make arrays.
        kilobytes: at the peak, more than before the step.
    """

    launches: int
    arrays: int
    kilobytes: int


# Recorded: 4 + 1 forward (layers, loss, its mean), 3 in each layer backward but 2 in the first
# (activation and bias, weight, input), 1 for Adam.
PLAIN = Budget(launches=18, arrays=17, kilobytes=300)
# Not recorded yet: BatchNorm and Dropout may add one launch each way, an output and a gradient.
EXTRA = 2 * 2 * (len(WIDTHS) - 2)
T = Budget(launches=PLAIN.launches + EXTRA, arrays=PLAIN.arrays + 2 * EXTRA, kilobytes=2 * PLAIN.kilobytes)


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
    with jit.recording(lambda kernel, *_: launched.update([kernel.name])):
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
            patch.setattr(np, name, counted(name, getattr(np, name)))
        step()
    return made


def peak_kilobytes(step: Callable[[], None]) -> float:
    """Memory at the step's peak, over what there was before; NumPy reports its arrays to tracemalloc."""
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


@pytest.mark.parametrize(
    ("regularized", "budget"), [pytest.param(False, PLAIN, id="plain"), pytest.param(True, T, id="T")]
)
def test_training_step_stays_in_its_budget(regularized: bool, budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    if regularized and not (hasattr(nn, "BatchNorm1d") and hasattr(nn, "Dropout")):
        pytest.skip("not yet: nn.BatchNorm1d and nn.Dropout")
    step = training_step(regularized)
    step()
    compiled = list(jit.compilations)
    launched = count_launches(step)
    assert jit.compilations == compiled, "the second step compiled"
    made = count_arrays(step, monkeypatch)
    kilobytes = peak_kilobytes(step)
    assert launched.total() <= budget.launches, launched
    assert made.total() <= budget.arrays, made
    assert kilobytes <= budget.kilobytes


def test_steps_cost_the_same_however_many_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    step = training_step(regularized=False)
    step()
    launched, made = count_launches(step), count_arrays(step, monkeypatch)
    for _ in range(10):
        step()
    assert count_launches(step) == launched
    assert count_arrays(step, monkeypatch) == made


def test_a_longer_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The instrument itself: an extra launch, an extra array and extra memory all count.
    step, extra = training_step(regularized=False), np.ones(100_000, np.float32)
    step()

    def longer() -> None:
        step()
        fastnn.nn.functional.relu(fastnn.from_numpy(extra))

    assert count_launches(longer).total() == count_launches(step).total() + 1
    assert count_arrays(longer, monkeypatch).total() > count_arrays(step, monkeypatch).total()
    assert peak_kilobytes(lambda: np.ones(500_000)) > 4000 > peak_kilobytes(step)
