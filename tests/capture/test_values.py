"""A compiled step uses what its functions would read now: numbers in globals, closures, attributes and containers."""

from __future__ import annotations

import functools
import itertools
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.capture.values import Values

AMOUNT = 0.1
TABLE = [0.1, 0.2]
SETTINGS = {"amount": 0.1, "steps": 0}
ORDERED = OrderedDict(amount=0.1)
ARRAY = np.array([0.1, 0.2])


class Plain:
    amount = 0.1


class Slots:
    __slots__ = ("amount",)


class WithProperty:
    def __init__(self) -> None:
        self.inner = 0.1

    @property
    def amount(self) -> float:
        return self.inner


class Method:
    def __init__(self) -> None:
        self.amount = 0.1
        self.loss = nn.functional.cross_entropy

    def __call__(self, out: Any, target: Any) -> Any:
        return self.loss(out, target, label_smoothing=self.amount)

    def bound(self, out: Any, target: Any) -> Any:
        return self(out, target)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Any) -> Any:
        return nn.functional.leaky_relu(self.linear(x), SETTINGS["amount"])


def smoothed(amount: Callable[[], float]) -> Callable[[Any, Any], Any]:
    return lambda out, target: nn.functional.cross_entropy(out, target, label_smoothing=amount())


def _global() -> float:
    return AMOUNT


def of_global() -> tuple[Any, Callable[[], Any]]:
    criterion = lambda out, target: nn.functional.cross_entropy(out, target, label_smoothing=AMOUNT)  # noqa: E731  # reads a name
    return criterion, lambda: globals().update(AMOUNT=0.3)


def of_closure() -> tuple[Any, Callable[[], Any]]:
    amount = 0.1

    def change() -> None:
        nonlocal amount
        amount = 0.3

    return lambda out, target: nn.functional.cross_entropy(out, target, label_smoothing=amount), change


def of_attribute(owner: Any, name: str = "amount") -> tuple[Any, Callable[[], Any]]:
    criterion = lambda out, target: nn.functional.cross_entropy(out, target, label_smoothing=owner.amount)  # noqa: E731  # reads a name
    return criterion, lambda: setattr(owner, name, 0.3)


def with_slots() -> Slots:
    owner = Slots()
    owner.amount = 0.1
    return owner


def of_deep() -> tuple[Any, Callable[[], Any]]:
    space = types.SimpleNamespace(inner=types.SimpleNamespace(amounts=[[0.1]]))

    def criterion(out: Any, target: Any) -> Any:
        return nn.functional.cross_entropy(out, target, label_smoothing=space.inner.amounts[0][0])

    return criterion, lambda: space.inner.amounts[0].__setitem__(0, 0.3)


def of_partial() -> tuple[Any, Callable[[], Any]]:
    settings = {"amount": 0.1}

    def criterion(out: Any, target: Any, given: Any) -> Any:
        return nn.functional.cross_entropy(out, target, label_smoothing=given["amount"])

    return functools.partial(criterion, given=settings), lambda: settings.update(amount=0.3)


def of_default() -> tuple[Any, Callable[[], Any]]:
    def criterion(out: Any, target: Any, amount: float = 0.1) -> Any:
        return nn.functional.cross_entropy(out, target, label_smoothing=amount)

    return criterion, lambda: setattr(criterion, "__defaults__", (0.3,))


def of_method(name: str, value: Any) -> tuple[Any, Callable[[], Any]]:
    owner = Method()
    return owner.bound if name == "amount" else owner, lambda: setattr(owner, name, value)


def half(out: Any, target: Any, label_smoothing: float) -> Any:
    return nn.functional.cross_entropy(out, target, label_smoothing=label_smoothing / 2)


CASES: dict[str, Callable[[], tuple[Any, Callable[[], Any]]]] = {
    "global": of_global,
    "global of a helper": lambda: (smoothed(_global), of_global()[1]),
    "closure": of_closure,
    "list": lambda: (smoothed(lambda: TABLE[0]), lambda: TABLE.__setitem__(0, 0.3)),
    "dictionary": lambda: (smoothed(lambda: SETTINGS["amount"]), lambda: SETTINGS.update(amount=0.3)),
    "ordered dictionary": lambda: (smoothed(lambda: ORDERED["amount"]), lambda: ORDERED.update(amount=0.3)),
    "array": lambda: (smoothed(lambda: float(ARRAY[0])), lambda: ARRAY.__setitem__(0, 0.3)),
    "attribute": lambda: of_attribute(types.SimpleNamespace(amount=0.1)),
    "attribute of a class": lambda: of_attribute(type("Kind", (Plain,), {})),
    "attribute over that of a class": lambda: of_attribute(Plain()),
    "slot": lambda: of_attribute(with_slots()),
    "property": lambda: of_attribute(WithProperty(), "inner"),
    "deep": of_deep,
    "partial": of_partial,
    "default": of_default,
    "method": lambda: of_method("amount", 0.3),
    "function in an attribute": lambda: of_method("loss", half),
}


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "AMOUNT", 0.1)
    monkeypatch.setitem(globals(), "TABLE", [0.1, 0.2])
    monkeypatch.setitem(globals(), "SETTINGS", {"amount": 0.1, "steps": 0})
    monkeypatch.setitem(globals(), "ORDERED", OrderedDict(amount=0.1))
    monkeypatch.setitem(globals(), "ARRAY", np.array([0.1, 0.2]))


def step_of(criterion: Any, model: nn.Module | None = None) -> tuple[Any, Callable[[], float]]:
    """A compiled step, and a function that runs it once and checks its loss."""
    model = nn.Linear(3, 4) if model is None else model
    x = fastnn.from_numpy(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32))
    y = fastnn.tensor([0, 1, 2, 3, 0, 1])
    step = fastnn.compile_step(model, criterion, fastnn.optim.SGD(model.parameters(), lr=0.1))

    def run() -> float:
        with fastnn.no_grad():
            expected = criterion(model(x), y).item()
        found = step(x, y).item()
        assert found == expected
        return found

    return step, run


@pytest.mark.parametrize("case", CASES)
def test_values_that_change(case: str) -> None:
    criterion, change = CASES[case]()
    step, run = step_of(criterion)
    for _ in range(4):
        run()
    assert step.explain() == "captured: 1 program"
    change()
    for _ in range(4):
        run()
    assert step.explain() == "captured: 1 program"


def test_a_value_that_the_model_reads() -> None:
    step, run = step_of(nn.CrossEntropyLoss(), Scaled())
    for k in range(9):
        if k == 4:
            SETTINGS["amount"] = 0.3
        run()
    assert step.explain() == "captured: 1 program"


def test_what_is_not_read_may_change() -> None:
    step, run = step_of(smoothed(lambda: SETTINGS["amount"]))
    for _ in range(3):
        run()
    programs = dict(step._programs)
    for _ in range(3):
        # Another entry, and an equal number.
        SETTINGS["steps"] += 1
        SETTINGS["amount"] = float("0.1")
        run()
    assert step._programs == programs


def test_a_value_that_changes_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # A capture takes ten seconds, and one passes until the value changes.
    seconds = itertools.accumulate(itertools.cycle([1, 10, 1]))
    clock = types.SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr(fastnn.capture.step, "time", clock)
    step, run = step_of(smoothed(lambda: SETTINGS["amount"]))
    for k in range(40):
        SETTINGS["amount"] = k / 40
        run()
    assert "changes all the time: amount" in step.explain()


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(), nn.functional.mse_loss, lambda out, target: nn.functional.mse_loss(out, target) * np.pi,
        functools.partial(nn.functional.mse_loss, reduction="sum"),
    ],
)  # fmt: skip
def test_ordinary_criteria_read_nothing(criterion: Any) -> None:
    assert not Values([], [criterion])
