"""The gradients of every training step, captured and split into parts, against plain NumPy in float64.

Run on every kind of machine: if a launch of a backward pass is lost, the loss may still fall.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import cut_in

import fastnn
from fastnn import nn

WIDTHS, BATCH, STEPS = (20, 33, 17, 5), 24, 200


def _reference(
    parameters: list[np.ndarray], x: np.ndarray, y: np.ndarray, is_open: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients of the mean cross-entropy of Linear, ReLU, Linear, Tanh, Linear; and the magnitudes of their terms.

    The second list has the same sums over absolute values: rounding errors are relative to those. ``is_open``: where
    ReLU passes a number, which depends on rounding for numbers near 0.
    """
    w1, b1, w2, b2, w3, b3 = (p.astype(np.float64) for p in parameters)
    z1 = x @ w1.T + b1
    a1 = z1 * is_open
    a2 = np.tanh(a1 @ w2.T + b2)
    logits = a2 @ w3.T + b3
    e = np.exp(logits - logits.max(1, keepdims=True))
    chosen = np.eye(WIDTHS[-1])[y] / len(y)
    share = e / e.sum(1, keepdims=True) / len(y)
    d3 = share - chosen
    # The sums of absolute values of the logits and of the inputs of tanh: their errors affect everything else.
    sums = abs(x) @ abs(w1.T) + abs(b1)
    sums = sums @ abs(w2.T) + abs(b2)
    m3 = (share + chosen) * (1 + sums.max(1, keepdims=True))
    d2 = d3 @ w3 * (1 - a2**2)
    d1 = d2 @ w2 * is_open
    m2 = m3 @ abs(w3)
    m1 = m2 @ abs(w2)
    pairs = ((d1, x, m1), (d2, a1, m2), (d3, a2, m3))
    found = [g for d, a, _ in pairs for g in (d.T @ a, d.sum(0))]
    scales = [g for _, a, m in pairs for g in (m.T @ abs(a), m.sum(0))]
    return found, scales


@pytest.mark.parametrize("parts", [1, 2])
def test_every_gradient_of_a_training(parts: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((STEPS, BATCH, WIDTHS[0]), np.float32), rng.integers(0, WIDTHS[-1], (STEPS, BATCH))
    layers = [nn.Linear(m, n) for m, n in itertools.pairwise(WIDTHS)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.Tanh(), layers[2])
    criterion, optimizer = nn.CrossEntropyLoss(), fastnn.optim.Adam(model.parameters(), lr=1e-2)
    with cut_in(parts):
        for step in range(STEPS):
            before = [p.detach().numpy().copy() for p in model.parameters()]
            with fastnn.no_grad():
                is_open = layers[0](fastnn.from_numpy(x[step])).numpy() > 0
            optimizer.zero_grad()
            criterion(model(fastnn.from_numpy(x[step])), fastnn.from_numpy(y[step])).backward()
            expected, scales = _reference(before, x[step].astype(np.float64), y[step], is_open)
            for p, right, scale in zip(model.parameters(), expected, scales, strict=True):
                assert p.grad is not None
                # Sums of 24 to 33 products, three deep, each rounded once.
                error = np.abs(p.grad.numpy() - right) / scale
                assert error.max() < 8 * np.finfo(np.float32).eps, f"step {step}"
            optimizer.step()
    assert "captured" in str(fastnn.explain(model))
