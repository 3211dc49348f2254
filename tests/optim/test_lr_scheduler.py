"""Schedules: saved and resumed, called in the wrong order, subclassed; ``cases_optim`` compares their values."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
from cases_optim import SCHEDULES, follow, two_groups


def sgd(lib: Any, lr: float = 1.0) -> Any:
    return lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=lr)


@pytest.mark.parametrize("name", SCHEDULES)
def test_saved_and_continued(lib, name):
    """20 epochs, a restart from the saved states, 10 more."""
    whole = two_groups(lib)
    expected = follow(whole, SCHEDULES[name](lib.optim.lr_scheduler, whole), 30)
    optimizer = two_groups(lib)
    schedule = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
    assert follow(optimizer, schedule, 20) == expected[:20]
    saved = copy.deepcopy((schedule.state_dict(), optimizer.state_dict()))
    fresh = two_groups(lib)
    other = SCHEDULES[name](lib.optim.lr_scheduler, fresh)
    other.load_state_dict(saved[0])
    fresh.load_state_dict(saved[1])
    assert follow(fresh, other, 10, first=20) == expected[20:]


def test_resuming_needs_the_first_learning_rate(lib):
    with pytest.raises(KeyError, match="initial_lr"):
        lib.optim.lr_scheduler.StepLR(sgd(lib), 2, last_epoch=3)


@pytest.mark.parametrize("name", ["step", "cosine", "chained", "sequential", "cyclic", "one_cycle", "restarts"])
def test_pickled(lib, name):
    optimizer = two_groups(lib)
    schedule = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
    follow(optimizer, schedule, 4)
    state = pickle.loads(pickle.dumps(schedule.state_dict()))
    fresh = two_groups(lib)
    other = SCHEDULES[name](lib.optim.lr_scheduler, fresh)
    other.load_state_dict(state)
    assert other.last_epoch == schedule.last_epoch if hasattr(schedule, "last_epoch") else True
    assert [float(lr) for lr in other.get_last_lr()] == [float(lr) for lr in schedule.get_last_lr()]


# -- Warnings ----------------------------------------------------------------------------------------


def test_step_before_the_optimizers(lib):
    schedule = lib.optim.lr_scheduler.StepLR(sgd(lib), 1)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.step()
    # Once is enough.
    schedule.step()


def test_step_of_the_optimizer_before_there_was_a_schedule_does_not_count(lib):
    optimizer = sgd(lib)
    optimizer.step()
    schedule = lib.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match="before `optimizer"):
        schedule.step()
    optimizer.step()
    second = lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    second.step()


def test_step_of_the_optimizer_replaced(lib):
    optimizer = sgd(lib)
    schedule = lib.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="overridden"):
        schedule.step()


def test_get_lr_is_not_for_users(lib):
    schedule = lib.optim.lr_scheduler.ExponentialLR(sgd(lib), 0.5)
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()


def test_epoch_as_an_argument(lib):
    """The closed forms, with a warning."""
    s = lib.optim.lr_scheduler
    for build, expected in (
        (lambda o: s.StepLR(o, 2, 0.5), [1.0, 0.25, 0.5]),
        (lambda o: s.MultiStepLR(o, [1, 4], 0.5), [1.0, 0.25, 0.5]),
        (lambda o: s.ConstantLR(o, 0.5, 3), [0.5, 1.0, 0.5]),
        (lambda o: s.LinearLR(o, 0.5, 1.0, 4), [0.5, 1.0, 0.75]),
        (lambda o: s.ExponentialLR(o, 0.5), [1.0, 0.03125, 0.25]),
        (lambda o: s.PolynomialLR(o, 4), [1.0, 0.0, 0.5]),
        (lambda o: s.CosineAnnealingLR(o, 4), [1.0, 0.14644660940672627, 0.5]),
        (lambda o: s.LambdaLR(o, lambda at: 1 / (1 + at)), [1.0, 1 / 6, 1 / 3]),
    ):
        optimizer = sgd(lib)
        schedule = build(optimizer)
        optimizer.step()
        found = schedule.get_last_lr()
        for epoch in (5, 2):
            with pytest.warns(UserWarning, match="epoch parameter"):
                schedule.step(epoch)
            found = found + schedule.get_last_lr()
        assert found == pytest.approx(expected)


def test_warm_restarts_at_a_fraction_of_an_epoch(lib):
    for T_mult in (1, 2):
        optimizer = sgd(lib)
        schedule = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, T_mult)
        found = []
        for epoch in (0.5, 1, 2, 3.5, 7):
            optimizer.step()
            schedule.step(epoch)
            found.append(schedule.get_last_lr()[0])
        assert found == pytest.approx(
            [0.8535533905932737, 0.5, 1.0, 0.14644660940672627, 0.5] if T_mult == 1
            else [0.8535533905932737, 0.5, 1.0, 0.6913417161825449, 0.9619397662556434]
        )  # fmt: skip
        with pytest.raises(ValueError, match="non-negative epoch"):
            schedule.step(-1)


# -- Custom schedules, and objects as functions --------------------------------------------------------


def test_own_schedule(lib):
    for base in (lib.optim.lr_scheduler._LRScheduler, lib.optim.lr_scheduler.LRScheduler):

        class Warmup(base):
            def __init__(self, optimizer: Any, steps: int, last_epoch: int = -1) -> None:
                self.steps = steps
                super().__init__(optimizer, last_epoch)

            def get_lr(self) -> list[float]:
                assert self._get_lr_called_within_step
                return [base * min(1.0, (self.last_epoch + 1) / self.steps) for base in self.base_lrs]

        optimizer = sgd(lib)
        schedule = Warmup(optimizer, 4)
        seen = []
        for _ in range(6):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert seen == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
        assert {"steps", "base_lrs", "last_epoch", "_step_count", "_last_lr"} <= schedule.state_dict().keys()
        assert "optimizer" not in schedule.state_dict()


class Decay:
    """A function with state."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, epoch: float) -> float:
        return self.rate**epoch


def test_objects_as_functions_are_saved(lib):
    s = lib.optim.lr_scheduler
    for build in (
        lambda o, f: s.LambdaLR(o, [f]),
        lambda o, f: s.MultiplicativeLR(o, f),
        lambda o, f: s.CyclicLR(o, 0.1, 0.5, 5, scale_fn=f, cycle_momentum=False),
    ):
        first, second = Decay(0.5), Decay(0.9)
        saved = build(sgd(lib), first).state_dict()
        build(sgd(lib), second).load_state_dict(saved)
        assert second.rate == 0.5


def test_plateau_takes_tensors(lib):
    optimizer = sgd(lib)
    schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    for loss in (1.0, 1.0, float("nan")):
        schedule.step(lib.tensor(loss))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(0.5, 7)
    assert schedule.last_epoch == 7


def test_plateau_with_a_group_more(lib):
    for min_lr, error in ((0, None), ([0.0], RuntimeError)):
        optimizer = sgd(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=min_lr)
        optimizer.add_param_group({"params": [lib.nn.Parameter(lib.ones(1))]})
        schedule.step(1.0)
        if error:
            with pytest.raises(error, match="min_lrs"):
                schedule.step(1.0)
        else:
            schedule.step(1.0)
            assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


def test_after_the_last_step(lib):
    optimizer = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.1, momentum=0.9)
    schedule = lib.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=3)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        schedule.step()


def test_several_at_once(lib):
    """Chained by hand, as scripts do without ChainedScheduler."""
    optimizer = sgd(lib)
    schedules = [lib.optim.lr_scheduler.StepLR(optimizer, 2, 0.5), lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]
    for _ in range(4):
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.25 * 0.9**4)


def test_no_warnings_in_a_plain_loop(lib):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, build in SCHEDULES.items():
            optimizer = two_groups(lib)
            follow(optimizer, build(lib.optim.lr_scheduler, optimizer), 3)
            assert name
