"""A step that repeats the previous launch: the same bits as a step that is checked and packed again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn as torch
from fastnn import nn
from fastnn.kernels.runtime import launcher, thread_count
from fastnn.optim.flat_runs import FlatRun, ReusableStep

Change = Callable[[Any], None]


def _group(name: str, value: Any) -> Change:
    def change(optimizer: Any) -> None:
        optimizer.param_groups[0][name] = value

    return change


def _moved(optimizer: Any) -> None:
    group = optimizer.param_groups[0]
    group["lr"] = group.pop("lr")


def _state(optimizer: Any) -> None:
    for entry in optimizer.state.values():
        for value in entry.values():
            value.mul_(0.5)


def _counted(optimizer: Any) -> None:
    for entry in optimizer.state.values():
        if "step" in entry:
            entry["step"].fill_(40.0)


def _one_counted(optimizer: Any) -> None:
    entry = next(iter(optimizer.state.values()), {})
    if "step" in entry:
        entry["step"].add_(3.0)


def _replaced(optimizer: Any) -> None:
    for entry in optimizer.state.values():
        for name, value in dict(entry).items():
            entry[name] = value.clone()


def _forgotten(optimizer: Any) -> None:
    optimizer.state.clear()


def _loaded(optimizer: Any) -> None:
    optimizer.load_state_dict(optimizer.state_dict())


def _frozen(optimizer: Any) -> None:
    optimizer.param_groups[0]["params"][1].requires_grad_(False)


def _moved_memory(optimizer: Any) -> None:
    p = optimizer.param_groups[0]["params"][0]
    p.data = p.data * 2


CHANGES: dict[str, Change] = {
    "nothing": lambda optimizer: None,
    "lr": _group("lr", 0.003),
    "an integer": _group("lr", 1),
    "a tensor": _group("lr", torch.tensor(0.004)),
    "weight decay": _group("weight_decay", 0.2),
    "maximize": _group("maximize", True),
    "another order": _moved,
    "state": _state,
    "count": _counted,
    "count of one": _one_counted,
    "replaced state": _replaced,
    "no state": _forgotten,
    "loaded state": _loaded,
    "frozen": _frozen,
    "memory": _moved_memory,
}
RULES: dict[str, dict[str, Any]] = {
    "SGD": {}, "SGD momentum": {"momentum": 0.9, "dampening": 0.1}, "Adam": {}, "AdamW": {"amsgrad": True},
    "RMSprop": {"momentum": 0.5}, "Adagrad": {"lr_decay": 0.1}, "Adamax": {}, "Adadelta": {}, "Rprop": {}, "RAdam": {},
    "NAdam": {}, "ASGD": {},
}  # fmt: skip


def trained(rule: str, change: Change, captured: bool, limit: float | None = None) -> list[Any]:
    """The parameters after eight steps, with a change in the middle."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    kind = getattr(torch.optim, rule.split()[0])
    optimizer = kind(model.parameters(), lr=0.01, **RULES[rule])
    criterion = nn.CrossEntropyLoss()
    step = torch.compile_step(model, criterion, optimizer, max_grad_norm=limit)
    x, y = torch.randn(8, 4, 5), torch.randint(0, 3, (8, 4))
    for i in range(8):
        if i == 5:
            change(optimizer)
        if captured:
            step(x[i], y[i])
        else:
            optimizer.zero_grad()
            criterion(model(x[i]), y[i]).backward()
            if limit is not None:
                nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
    state = [t for entry in optimizer.state.values() for t in entry.values() if isinstance(t, torch.Tensor)]
    return [t.tolist() for t in [*model.parameters(), *state]]


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates of repeated steps."""
    noted: list[float] = []
    step = ReusableStep.step

    def note(self: ReusableStep, run: FlatRun, lr: float) -> None:
        noted.append(lr)
        step(self, run, lr)

    monkeypatch.setattr(ReusableStep, "step", note)
    return noted


@pytest.mark.parametrize("captured", [False, True], ids=["loop", "step"])
@pytest.mark.parametrize(
    ("rule", "change"), [(r, c) for r in RULES for c in CHANGES if (r, c) != ("Rprop", "weight decay")]
)
def test_a_repeated_step_has_the_same_bits(
    rule: str, change: str, captured: bool, repeated: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trained(rule, CHANGES[change], captured)
    # Rules with numbers other than the count of steps are checked every time.
    assert bool(repeated) == (rule not in ("NAdam", "ASGD"))
    if rule not in ("NAdam", "ASGD") and change in ("nothing", "lr"):
        assert len(repeated) == 6
        assert repeated[-1] == (0.003 if change == "lr" else 0.01)
    monkeypatch.setattr(ReusableStep, "fits", lambda *args: False)
    repeated.clear()
    assert found == trained(rule, CHANGES[change], captured)
    assert not repeated


def test_a_limit_of_the_norm_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    change = _group("lr", 0.02)
    found = [trained("Adam", change, True, limit) for limit in (0.01, 100.0, None)]
    monkeypatch.setattr(ReusableStep, "fits", lambda *args: False)
    assert found == [trained("Adam", change, True, limit) for limit in (0.01, 100.0, None)]
    assert found[0] != found[1] == found[2]


def test_another_number_of_threads_cuts_the_work_again(repeated: list[float]) -> None:
    w = nn.Parameter(torch.ones(200_000))
    optimizer = torch.optim.Adam([w], lr=0.1)
    seen = []

    def watch(kernel: Any, parts: int, *rest: Any) -> bool:
        seen.append(parts)
        return False

    threads = thread_count.get_num_threads()
    try:
        with launcher.recording(watch):
            for n in (1, 1, 1, 1, 2, 2, 2, 1):
                thread_count.set_num_threads(n)
                optimizer.zero_grad()
                w._accumulate_grad(torch.ones(200_000))
                optimizer.step()
    finally:
        thread_count.set_num_threads(threads)
    assert seen == [1, 1, 1, 1, 2, 2, 2, 1]
    assert len(repeated) == 4


def test_an_option_that_comes_back_after_a_step_with_a_users_gradient(repeated: list[float]) -> None:
    """That step takes another code path, with the same scalars."""
    for name, there, back in (("maximize", True, False), ("weight_decay", 0.5, 0)):
        w = nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([w], lr=1.0)
        found = []
        repeated.clear()
        for value in (back, back, back, there, back, back, back):
            optimizer.param_groups[0][name] = value
            optimizer.zero_grad()
            w.sum().backward()
            if value == there:
                w.grad = torch.ones(1)
            optimizer.step()
            found.append(w.item())
        by = 1.0 if name == "maximize" else -1.0 + 0.5 * 2.0
        assert found == [0.0, -1.0, -2.0, -2.0 + by, -3.0 + by, -4.0 + by, -5.0 + by]
        assert repeated == [1.0, 1.0]


def test_options_that_change_every_time_are_not_prepared_for(repeated: list[float]) -> None:
    class Noting(ReusableStep):
        made = 0

        def __init__(self, *args: Any) -> None:
            Noting.made += 1
            super().__init__(*args)

    w = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([w], lr=1.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fastnn.optim.elementwise.ReusableStep", Noting)
        for i in range(6):
            optimizer.param_groups[0]["betas"] = (0.9, 0.9 + 0.01 * i)
            optimizer.zero_grad()
            w.sum().backward()
            optimizer.step()
        for lr in (1, np.float64(0.5), torch.tensor(0.5)):
            optimizer.param_groups[0]["lr"] = lr
            for _ in range(3):
                optimizer.zero_grad()
                w.sum().backward()
                optimizer.step()
    assert Noting.made == 0
    assert not repeated


def test_a_users_update_is_called_in_every_step() -> None:
    class Scaled(torch.optim.SGD):
        factor = 1.0

        def _update(self, cut: Any, grads: Any, group: Any) -> Any:
            grads *= self.factor
            return super()._update(cut, grads, group)

    w = nn.Parameter(torch.zeros(1))
    optimizer = Scaled([w], lr=1.0)
    found = []
    for factor in (1.0, 1.0, 1.0, 100.0):
        optimizer.factor = factor
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
        found.append(w.item())
    assert found == [-1.0, -2.0, -3.0, -103.0]


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_nothing_is_held_when_the_optimizer_has_gone(rule: str, repeated: list[float]) -> None:
    model = nn.Linear(4, 3)
    optimizer = getattr(torch.optim, rule)(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
    assert repeated
    state, weight = weakref.ref(optimizer._layouts[0].runs[0].numbers), weakref.ref(model.weight)
    gc.disable()
    try:
        del model, optimizer
        assert weight() is None
        assert state() is None
    finally:
        gc.enable()


def test_an_option_that_was_taken_away_is_not_held() -> None:
    class Tag:
        pass

    tag, w = Tag(), nn.Parameter(torch.ones(1))
    optimizer, held = torch.optim.SGD([w], lr=1.0), weakref.ref(tag)
    optimizer.param_groups[0]["tag"] = tag
    for lr in (1.0, 1.0, torch.tensor(1.0)):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
    del tag, optimizer.param_groups[0]["tag"]
    assert held() is None


def test_an_update_of_this_object_is_called_in_every_step() -> None:
    w = nn.Parameter(torch.zeros(1))
    optimizer, seen = torch.optim.SGD([w], lr=1.0), []
    update = optimizer._update
    optimizer._update = lambda *args: (seen.append(1), update(*args))[1]  # type: ignore[method-assign]  # what is tested
    for _ in range(5):
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
    assert len(seen) == 5


def test_a_step_with_several_groups_keeps_their_options_apart(repeated: list[float]) -> None:
    a, b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    optimizer = torch.optim.SGD([{"params": a.parameters()}, {"params": b.parameters(), "lr": 0.5}], lr=1.0)
    with torch.no_grad():
        a.weight.zero_()
        b.weight.zero_()
    for lr in (1.0, 1.0, 1.0, 2.0):
        optimizer.param_groups[0]["lr"] = lr
        for p in (a.weight, b.weight):
            p.grad = None
            p._accumulate_grad(torch.ones(2, 2))
        optimizer.step()
    assert a.weight.tolist() == [[-5.0] * 2] * 2
    assert b.weight.tolist() == [[-2.0] * 2] * 2
    assert repeated == [1.0, 0.5, 2.0, 0.5]
