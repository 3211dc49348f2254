"""Writes of attributes between calls: a recording stays valid unless its forward reads the attribute."""

from __future__ import annotations

import copy
import itertools
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
from test_captured_forwards import batch, plain, twice

import fastnn
from fastnn import nn
from fastnn.capture.guards import Guards
from fastnn.nn import functional as F
from fastnn.nn.module_members import changes


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.factor, self.calls = nn.Linear(12, 12), 1.0, 0

    def forward(self, x: Any) -> Any:
        return self.layer(x)


class Whole(nn.Module):
    """Reads ``slope``, ``limit`` (of the class), ``part.factor`` and its method; it does not read ``calls``."""

    limit = 6.0

    def __init__(self) -> None:
        super().__init__()
        self.part, self.last = Part(), nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3))
        self.slope, self.calls, self.log = 0.1, 0, list[int]()

    def features(self, x: Any) -> Any:
        return F.leaky_relu(self.part(x), self.slope)

    def forward(self, x: Any) -> Any:
        return self.last(self.features(x).clamp(max=self.limit) * self.part.factor)

    @property
    def steepness(self) -> float:
        return self.slope

    @steepness.setter
    def steepness(self, value: float) -> None:
        vars(self)["slope"] = value


def warmed(make: Callable[[], Any] = Whole) -> Any:
    model = make()
    for seed in range(5):
        model(batch(seed=seed)[0])
    return model


def recordings(model: nn.Module) -> list[Any]:
    return [site.guards for site in model._replays.kinds.values()]


READ: dict[str, Callable[[Any], Any]] = {
    "its own": lambda model: setattr(model, "slope", 0.7),
    "a part's": lambda model: setattr(model.part, "factor", 3.0),
    "one of the class": lambda model: setattr(model, "limit", 0.1),
    "a method": lambda model: setattr(model, "features", lambda x: x * 2),
    "a forward": lambda model: setattr(model.part, "forward", lambda x: x * 2),
    "a forward of fastnn": lambda model: setattr(model.last, "forward", lambda x: x * 2),
    "by a property": lambda model: setattr(model, "steepness", 0.7),
    "a layer's": lambda model: setattr(model.last[1], "forward", lambda x: x * 2),
    "a class": lambda model: setattr(model.last[1], "__class__", nn.Sigmoid),
    "a mode": lambda model: setattr(model.part, "training", False),
    "members": lambda model: setattr(model.last, "_modules", {"0": nn.Identity()}),
    "a part": lambda model: setattr(model.last, "1", nn.Sigmoid()),
    "a deleted one": lambda model: delattr(model, "slope"),
}


@pytest.mark.parametrize("case", READ)
def test_an_attribute_that_is_read(case: str) -> None:
    def work() -> Any:
        model = warmed()
        kept = dict(vars(model.last))
        READ[case](model)
        try:
            found = [model(batch(seed=seed)[0]) for seed in range(5)]
        except AttributeError as error:
            found = [str(error)]
        vars(model.last).update(kept)
        return model, *[0.0 if isinstance(t, str) else t for t in found]

    twice(work, None)


@pytest.mark.parametrize("make", [Whole, plain])
def test_an_attribute_that_is_not_read(make: Callable[[], Any]) -> None:
    model = warmed(make)
    before = recordings(model)
    assert None not in before
    for seed in range(4):
        model.calls = seed
        model.log = [seed]
        model.added = object()
        model(batch(seed=seed)[0])
    assert all(now is then for now, then in zip(recordings(model), before, strict=True))


def test_writes_that_make_no_guard_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = warmed(), Whole()
    looks: list[int] = []
    may_hold = Guards.may_hold
    monkeypatch.setattr(Guards, "may_hold", lambda self: looks.append(1) or may_hold(self))
    x = batch()[0]
    for write in (
        lambda: setattr(model, "calls", model.calls + 1),
        lambda: setattr(model, "slope", model.slope),
        lambda: model.train(),
        lambda: setattr(other, "slope", 0.3),
        lambda: other.eval(),
        lambda: other.register_buffer("kept", x),
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        lambda: copy.deepcopy(model).train(False),
    ):
        write()
        model(x)
        assert not looks, write
    model.slope = 0.3
    model(x)
    assert looks


def test_copies_are_guarded_by_themselves() -> None:
    def work() -> Any:
        made = copy.deepcopy(warmed())
        found = [made(batch(seed=seed)[0]) for seed in range(5)]
        made.slope = 0.9
        return made, *found, *[made(batch(seed=seed)[0]) for seed in range(5)]

    twice(work)


class Attending(nn.TransformerEncoderLayer):
    """A method of a user's that a forward of fastnn calls: it counts, in an attribute that nothing reads."""

    def __init__(self) -> None:
        super().__init__(12, 2, 16, dropout=0.0, batch_first=True)
        self.calls = 0

    def _ff_block(self, x: Any) -> Any:
        self.calls += 1
        return super()._ff_block(x)


def test_a_count_in_a_method_that_a_layer_of_fastnn_calls() -> None:
    model = Attending()
    for seed in range(6):
        model(batch(seed=seed)[0])
    assert model.calls == 6


def test_writes_by_other_threads_are_noticed() -> None:
    """Every change of a value that is read is found, whenever a guard is made."""
    x = batch()[0]
    stop = threading.Event()
    model = warmed()

    def write_others() -> None:
        while not stop.is_set():
            model.calls += 1
            Whole().slope = 0.4

    thread = threading.Thread(target=write_others)
    thread.start()
    try:
        for k in range(60):
            model.slope = k / 60
            found = model(x)
            fastnn.set_capture(False)
            expected = model(x)
            fastnn.set_capture(True)
            assert found.tolist() == expected.tolist()
    finally:
        stop.set()
        thread.join()


def test_an_ordinary_dictionary_of_members_counts_every_write() -> None:
    model = Whole()
    vars(model)["_parameters"] = {}
    before = changes[0]
    model.calls = 3
    assert changes[0] == before + 1


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), F.cross_entropy])
@pytest.mark.parametrize("make", [Part, plain])
def test_a_compiled_step_and_an_attribute_that_is_not_read(make: Callable[[], Any], criterion: Any) -> None:
    model = make()
    step = fastnn.compile_step(model, criterion, fastnn.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(3):
        step(*batch())
    programs = dict(step._programs)
    assert len(programs) == 1
    for k in range(3):
        model.calls = k
        step(*batch())
    assert step._programs == programs


def test_a_compiled_step_whose_criterion_may_read_any_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops making programs that the next count makes useless."""
    # A program is made in ten seconds, and dropped after one: on a busy machine the times vary.
    clock = itertools.accumulate(itertools.cycle([1.0, 10.0, 1.0]))
    monkeypatch.setattr("fastnn.capture.step.time", types.SimpleNamespace(perf_counter=clock.__next__))

    def losses(is_compiled: bool) -> list[float]:
        fastnn.manual_seed(3)
        model = plain()
        model.calls = 0

        def criterion(out: Any, target: Any) -> Any:
            return F.cross_entropy(out, target) * (1 + model.calls % 3)

        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1)
        step, found = fastnn.compile_step(model, criterion, optimizer), []
        for _ in range(40):
            if is_compiled:
                loss = step(*batch())
            else:
                x, y = batch()
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            found.append(loss.item())
            model.calls += 1
        if is_compiled:
            assert "changes all the time: calls" in step.explain()
        return found

    assert losses(True) == losses(False)
