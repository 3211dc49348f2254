"""Criteria that read numbers in Python: as an index, a shape, or a truth; a compiled step runs them eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn as torch
from fastnn import nn

F = nn.functional


def _ints(y: Any) -> Any:
    return (2 * y).abs().long()


# The loss of an output, a target, and the mean square of their difference.
CRITERIA: dict[str, Callable[[Any, Any, Any], Any]] = {
    "an index": lambda out, y, loss: loss + out[:, y[0].argmax()].sum(),
    "a row": lambda out, y, loss: loss + out[y[:, 0].argmax()].sum(),
    "a mask": lambda out, y, loss: loss * out[y > 0].numel(),
    "masked_select": lambda out, y, loss: loss * torch.masked_select(out, y > 0).numel(),
    "nonzero": lambda out, y, loss: loss * len((y > 0).nonzero()),
    "argwhere": lambda out, y, loss: loss * len(torch.argwhere(y > 0)),
    "where": lambda out, y, loss: loss * len(torch.where(y > 0)[0]),
    "unique": lambda out, y, loss: loss * len(torch.unique(_ints(y))),
    "unique_consecutive": lambda out, y, loss: loss * len(torch.unique_consecutive(y > 0)),
    "bincount": lambda out, y, loss: loss * len(torch.bincount(_ints(y).reshape(-1))),
    "repeat_interleave": lambda out, y, loss: loss * torch.repeat_interleave(_ints(y).reshape(-1)).numel(),
    "one_hot": lambda out, y, loss: loss * F.one_hot(_ints(y)).shape[-1],
    "equal": lambda out, y, loss: loss * 2 if torch.equal(y[0, :1] > 0, y[0, :1].abs() > 0) else loss,
    "allclose": lambda out, y, loss: loss * 2 if torch.allclose(y[0], 0 * y[0], atol=1.5) else loss,
}


def _trained(name: str, captured: bool) -> tuple[list[np.ndarray], str]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def criterion(out: Any, y: Any) -> Any:
        return CRITERIA[name](out, y, F.mse_loss(out, y))

    step, found = torch.compile_step(model, criterion, optimizer), []
    for _ in range(8):
        x, y = torch.randn(3, 4), torch.randn(3, 4)
        if captured:
            loss = step(x, y)
        else:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        found.append(loss.detach().numpy().copy())
    return [*found, *[p.detach().numpy().copy() for p in model.parameters()]], step.explain()


@pytest.mark.parametrize("name", CRITERIA)
def test_the_step_computes_the_same_as_eagerly(name: str) -> None:
    (found, explained), (expected, _) = [_trained(name, captured) for captured in (True, False)]
    assert "a number is read in Python" in explained or "depends on numbers" in explained, explained
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
