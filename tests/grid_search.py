"""A grid search in a process pool. It does not import pytest, as every process of a pool imports this module."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import fastnn
from fastnn import nn

GRID = [(4, 0.1), (8, 0.1), (8, 0.5), (16, 0.02)]
CAPTURED = "captured for float32 of shape (32, 4)"


class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, hidden), nn.Linear(hidden, 3)

    def forward(self, x: Any) -> Any:
        return self.last(fastnn.relu(self.first(x)))


def score(kind: Any, hidden: int, rate: float) -> dict[str, Any]:
    """One point of a grid search: build, train, return the score."""
    rng = np.random.default_rng(0)
    x, y = fastnn.from_numpy(rng.standard_normal((32, 4), np.float32)), fastnn.from_numpy(rng.integers(0, 3, 32))
    model = kind(hidden)
    with fastnn.no_grad():
        # Not from the global generator, which threads share.
        for p in model.parameters():
            p.copy_(fastnn.from_numpy(rng.standard_normal(p.shape, np.float32)))
    optimizer = fastnn.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    bits = b"".join(p.detach().numpy().tobytes() for p in model.parameters()).hex()
    return {"loss": loss.item(), "bits": bits, "said": fastnn.explain(model), "process": os.getpid()}
