"""Reports of many kinds, for the tests of the page and of what a browser shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn import nn
from fastnn.training.loop import Epoch, History
from fastnn.training.profiling import Line

# Names that must not change a page.
NAMES = [
    "<script>alert(1)</script>", "a" * 200, "مرحبا", "x\u202ey", "&amp;", "quote\"'", "\x00\ud800bad", "", "b" * 31,
    "one of the longer class names of this data set", "</style>", "x' onload='alert(1)",
]  # fmt: skip
TITLE = '<img src="https://example.org/x.png" onerror=alert(1)> & more'


class Profile:
    """The parts of a profile that a report reads."""

    seconds, starting = 0.5, 0.1

    def lines(self) -> list[Line]:
        return [Line(f"gemm.float{i}", 7 + i, 0.3 / 2**i, 1e9 * (i == 0), 1e6) for i in range(25)]


def history(epochs: int, loss: Callable[[int], float] = lambda i: 2 * 0.9**i, validation: bool = True) -> History:
    found = [Epoch(i + 1, loss(i), 0.25, 0.1 * 0.97**i) for i in range(epochs)]
    for i, epoch in enumerate(found if validation else []):
        epoch.validation_loss, epoch.validation_accuracy = 1.1 * loss(i), 1 - 0.5 * 0.9**i
    return History(found, "captured: 2 programs")


def classified(rows: int, classes: int, sharpness: float = 2.0, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    targets, outputs = rng.integers(0, classes, rows), rng.normal(size=(rows, classes))
    outputs[np.arange(rows), targets] += sharpness
    return {"model": None, "history": None, "kind": "classification", "targets": targets, "outputs": outputs, **more}


def fitted(rows: int, outputs: int = 1, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(rows, outputs)) * 10.0 ** np.arange(0, 3 * outputs, 3)
    predictions = targets + 0.3 * targets.std(0, keepdims=True) * rng.normal(size=(rows, outputs))
    return {"model": None, "history": None, "kind": "regression", "targets": targets, "outputs": predictions, **more}


def _pictures() -> dict[str, Any]:
    data = np.random.default_rng(0).integers(0, 256, (500, 12, 12)).astype(np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 70), nn.ReLU(), nn.Linear(70, 10))
    return classified(
        500, 10, model=model, history=history(12), data=data, profile=Profile(), settings={"lr": 0.1}, title="Pictures"
    )


def _names() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return classified(
        400, len(NAMES), model=nn.Linear(20, len(NAMES)), history=history(100), class_names=NAMES, title=TITLE,
        data=rng.normal(size=(400, 20)), feature_names=[f"{NAMES[i % 12]} {chr(97 + i)}" for i in range(20)],
        settings={"<b>": "</style><script>1</script>", "a long one": "z" * 5000},
    )  # fmt: skip


def _colours() -> dict[str, Any]:
    data = np.random.default_rng(0).random((2000, 3, 8, 8))
    return classified(2000, 300, 4.0, model=nn.Linear(192, 4), data=data, history=history(3000))


def _not_finite() -> dict[str, Any]:
    case = classified(60, 3, history=history(20, lambda i: math.nan if i > 7 else 2 / (i + 1)))
    case["outputs"][:40, 1] = np.nan
    case["outputs"][40, 1] = -np.inf
    return case


def _measured() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return fitted(
        1500, model=nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)), history=history(60),
        profile=Profile(),
        data=rng.normal(size=(1500, 6)) * 100, feature_names=["age", "weight", "x" * 40, "<i>", "d", "e"],
        target_name="price in €", settings={"epochs": 60},
    )  # fmt: skip


# Each makes the arguments of a report; two calls make equal ones.
PAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "pictures": _pictures,
    "names": _names,
    "colours": _colours,
    "not finite": _not_finite,
    "measured": _measured,
    "forty classes": lambda: classified(900, 40, class_names=[f"class number {i}" for i in range(40)]),
    "one class": lambda: classified(5, 1, model=nn.Linear(3, 1), history=history(1)),
    "no rows": lambda: classified(0, 3, history=history(2, validation=False), data=np.zeros((0, 4))),
    "no values": lambda: fitted(4, history=history(3, lambda i: math.nan)) | {"outputs": np.full((4, 1), np.nan)},
    "several targets": lambda: fitted(700, 6, data=np.array([["a", "b"]] * 700, dtype=object)),
    "exact": lambda: {**fitted(3), "targets": [1.0, 1.0, 1.0], "outputs": [1.0, 1.0, 1.0]},
    "huge numbers": lambda: {**fitted(3), "targets": [1e308, -1e308, 0.0], "outputs": [-1e308, 1e308, 1e-300]},
    "one logit": lambda: {
        **classified(3, 2), "targets": fastnn.tensor([[0.0], [1.0], [1.0]]), "outputs": [[-1.0], [2.0], [-3.0]],
    },
}  # fmt: skip
