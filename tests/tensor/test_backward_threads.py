"""Backward passes of several threads at once into the same leaves."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn._autograd import leaf_writers

THREADS, PASSES = 4, 40


@pytest.fixture(autouse=True)
def _quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run(work: Callable[[], Any]) -> None:
    failed: list[BaseException] = []

    def repeat() -> None:
        try:
            for _ in range(PASSES):
                work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def leaf() -> tuple[list[Any], Callable[[], Any]]:
    w = fastnn.zeros(200, 200, requires_grad=True)
    return [w], lambda: (w * 2).sum().backward()


def layer() -> tuple[list[Any], Callable[[], Any]]:
    module, x = nn.Linear(100, 100), fastnn.ones(16, 100)
    parameters = list(module.parameters())
    return parameters, lambda: nn.functional.linear(x, *parameters).sum().backward()


def module() -> tuple[list[Any], Callable[[], Any]]:
    model, x = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10)), fastnn.ones(16, 100)
    return list(model.parameters()), lambda: model(x).sum().backward()


def hooked() -> tuple[list[Any], Callable[[], Any]]:
    w = fastnn.zeros(200, 200, requires_grad=True)
    w.register_hook(lambda grad: grad * 2)
    return [w], lambda: w.sum().backward()


@pytest.mark.parametrize("make", [leaf, layer, module, hooked])
def test_no_gradient_is_lost(make: Callable[[], tuple[list[Any], Callable[[], Any]]]) -> None:
    leaves, work = make()
    work()
    once = [t.grad.numpy().copy() for t in leaves]
    for t in leaves:
        t.grad = None
    run(work)
    for t, one in zip(leaves, once, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), THREADS * PASSES * one, rtol=1e-4, atol=1e-3)
    assert not leaf_writers._writers


def test_a_pass_that_fails_leaves_nothing_claimed() -> None:
    class Fails(fastnn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            assert leaf_writers.claim(w)
            raise ValueError("not today")

    w = fastnn.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="not today"):
        Fails.apply(w).sum().backward()
    assert not leaf_writers._writers
    run(lambda: (w * 1).sum().backward())
    assert w.grad.tolist() == [float(THREADS * PASSES)] * 3


def test_waiting_for_another_thread() -> None:
    w = fastnn.ones(3, requires_grad=True)
    # No thread has this number.
    leaf_writers._writers[id(w)] = -1
    thread = threading.Thread(target=(w * 1).sum().backward)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert w.grad is None
    leaf_writers._writers.clear()
    thread.join(10)
    assert w.grad.tolist() == [1.0, 1.0, 1.0]
