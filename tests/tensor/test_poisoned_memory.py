"""``FASTNN_POISON=1``: what nobody has written is NaN, and memory that is in use is not handed out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn.kernels.runtime import allocation

ROOT = Path(__file__).parents[2]


def test_where_arrays_come_from() -> None:
    """All that are not filled come from one place."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("fastnn", "kernels")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\bnp\.(empty|empty_like|ndarray)\((?!.*(buffer|memory|owner|part, 0|array, offset))", line)
    ]
    # One that is asked for its strides, and those that `allocation` makes.
    allowed = {"fastnn/_core/flat_storage.py", "kernels/runtime/allocation.py"}
    assert [place for place in found if place.partition(":")[0] not in allowed] == []


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int32", "int16", "uint8"])
def test_what_must_not_be_seen(kind: str) -> None:
    array = allocation.poison(np.zeros((2, 3), kind))
    if array.dtype.kind == "f":
        assert np.isnan(array).all()
    else:
        assert (array >= np.iinfo(kind).max // 3).all()


def run(code: str, poisoned: bool = True) -> str:
    """What a program prints, in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FASTNN_POISON": str(int(poisoned)), "FASTNN_QUIET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr
    return done.stdout


TRAINED = """
import fastnn as torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
x = torch.rand(5, 3, requires_grad=True)
for _ in range(5):
    model.zero_grad()
    loss = model(x).pow(2).sum()
    loss.backward()
print(loss.item(), x.grad.tolist(), [p.grad.tolist() for p in model.parameters()])
"""
# What the library should never do is done by hand.
WRONG = """
import numpy as np
from fastnn.kernels.runtime import allocation, launcher
from fastnn._tensor.tensor import _wrap
arrays = allocation.empty((2, 2)), allocation.empty_like(np.zeros(3)), launcher.aligned((2, 2), np.dtype("f4"))
arrays += (torch.empty(2).numpy(),)
print(*[np.isnan(a).all() for a in arrays], allocation.empty is np.empty)

(kind,) = model.__dict__["_replays"].kinds.values()
back = kind.free[-1]
inner = _wrap(getattr(back, "recording", back).forward.launches[0][2][0])
try:
    model(x)
except AssertionError as error:
    print(error)
del inner

loss, parameter = model(x).sum(), model[0].weight
type(parameter)._grad_is_free = lambda self: True
view = _wrap(parameter._grad_place)
model.zero_grad()
try:
    loss.backward()
except AssertionError as error:
    print(error)
"""


def test_what_is_poisoned() -> None:
    """Training is as it was; what is not written is NaN; and memory that is in use is not handed out."""
    first, *rest = run(TRAINED + WRONG).splitlines()
    assert first == run(TRAINED, poisoned=False).strip()
    assert rest == [
        "True True True True False",
        "a tensor of shape (5, 4) is alive in the arrays of a recording that is handed out",
        "a tensor of shape (4, 3) is alive in what a recorded backward pass writes over",
    ]
