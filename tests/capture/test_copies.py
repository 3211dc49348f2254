"""Copies of a recording: many outputs of one model that wait for their backward pass at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.capture import auto


def _net(*middle: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), *[make() for make in middle], nn.Linear(16, 3))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.second = nn.Linear(5, 16), nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, x: Any) -> Any:
        h = fastnn.relu(self.trunk(x))
        return self.first(h), self.second(h)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: _net(nn.ReLU),
    "gelu": lambda: _net(nn.GELU),
    "dropout": lambda: _net(nn.ReLU, lambda: nn.Dropout(0.4)),
    "batch norm": lambda: _net(lambda: nn.BatchNorm1d(16), nn.Tanh),
    "layer norm": lambda: _net(lambda: nn.LayerNorm(16), nn.SiLU),
    "two heads": TwoHeads,
}
ORDERS: dict[str, Callable[[list[Any]], Any]] = {
    "together": lambda losses: sum(losses).backward(),
    "as they came": lambda losses: [loss.backward() for loss in losses],
    "last first": lambda losses: [loss.backward() for loss in reversed(losses)],
    "some": lambda losses: sum(losses[::3]).backward(),
}


def _episodes(make: Callable[[], nn.Module], order: Callable[[list[Any]], Any], captured: bool) -> list[Any]:
    """Outputs and gradients of some episodes of 3 to 14 calls before a backward pass."""
    fastnn.set_capture(captured)
    try:
        fastnn.manual_seed(0)
        model = make()
        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.05)
        found: list[Any] = []
        for length in (3, 14, 9, 14, 14, 1, 14, 14):
            losses, inputs = [], [fastnn.randn(4, 5).requires_grad_() for _ in range(length)]
            for x in inputs:
                out = model(x)
                outs = out if isinstance(out, tuple) else (out,)
                found += [o.detach().numpy() for o in outs]
                losses.append(sum((o**2).mean() for o in outs))
            optimizer.zero_grad()
            order(losses)
            found += [None if t.grad is None else t.grad.numpy().copy() for t in (*model.parameters(), *inputs)]
            optimizer.step()
        found += [b.numpy().copy() for b in model.buffers()]
        if captured:
            [site] = model.__dict__["_replays"].kinds.values()
            assert auto._COPIED_AT_ONCE < len(site.made) <= 14
        return found
    finally:
        fastnn.set_capture(True)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_as_eagerly(model: str, order: str) -> None:
    captured, eager = [_episodes(MODELS[model], ORDERS[order], on) for on in (True, False)]
    assert len(captured) == len(eager)
    for a, b in zip(captured, eager, strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b)


def test_threads_use_copies_of_one_recording() -> None:
    """Outputs and gradients of inputs in four threads at once."""
    model = MODELS["gelu"]()
    x = [fastnn.randn(4, 5) for _ in range(4)]

    def run(i: int) -> np.ndarray:
        inputs = x[i].clone().requires_grad_()
        [grad] = fastnn.autograd.grad((model(inputs) ** 2).sum(), inputs)
        return grad.numpy()

    expected = [run(i) for i in range(4)]
    wrong: list[Any] = []

    def work(i: int) -> None:
        for _ in range(200):
            if not np.array_equal(run(i), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_large_recordings_have_few_copies() -> None:
    model = nn.Sequential(nn.Linear(64, 1024), nn.Tanh(), nn.Linear(1024, 4))
    x = fastnn.randn(512, 64)
    kept = [model(x) for _ in range(40)]
    [site] = model.__dict__["_replays"].kinds.values()
    assert len(site.made) == site.most < 8
    assert all(np.array_equal(kept[0].detach().numpy(), out.detach().numpy()) for out in kept)
