"""What a criterion changes outside itself is found in its source; ordinary loss functions change nothing."""

from __future__ import annotations

import functools
import logging
import math
import queue
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.capture.changes import code_of, what_is_changed
from fastnn.nn import functional as F

SCALE, CALLS = 2.0, 0
HIST: list[Any] = []
NAMES: set[Any] = set()
WAITING: Any = queue.Queue()
NUMBERS = iter(range(1000))
LOG = logging.getLogger("losses")
HELD = fastnn.ones(3)


class Writer:
    def add_scalar(self, *args: Any) -> None:
        pass


WRITER = Writer()


def helper(*args: Any) -> Any:
    return args[0]


class Kept:
    """Methods that change nothing."""

    def __init__(self) -> None:
        self.eps, self.weight, self.log, self.n = 0.1, fastnn.ones(3), [], 0
        self.ce = nn.CrossEntropyLoss()

    def plain(self, o: Any, t: Any) -> Any:
        eps = self.eps
        eps *= 2
        loss = self.ce(o, t)
        loss += eps
        return loss * self.weight.add(1).sum()

    def __call__(self, o: Any, t: Any) -> Any:
        return self.plain(o, t)


class Module(nn.Module):
    def __init__(self, gamma: float = 2.0, weight: Any = None) -> None:
        super().__init__()
        self.gamma, self.ce, self.layer = gamma, nn.CrossEntropyLoss(reduction="none"), nn.Linear(2, 2)
        self.register_buffer("weight", weight)

    def forward(self, o: Any, t: Any) -> Any:
        """The focal loss."""
        losses = self.ce(o, t)
        kind = next(self.layer.parameters()).dtype
        p = fastnn.exp(-losses).to(kind)
        weight = self.weight
        if weight is not None:
            losses = losses * weight[t]
        total = ((1 - p) ** self.gamma * losses).mean()
        for parameter in self.layer.parameters():
            total += 1e-4 * parameter.pow(2).sum()
        return total


def local_function(o: Any, t: Any) -> Any:
    def add(parts: list[Any], value: Any) -> None:
        mine = []
        mine.append(value)
        parts.append(mine[0])

    parts: list[Any] = []
    add(parts, F.cross_entropy(o, t))
    return parts[0]


def local_nonlocal(o: Any, t: Any) -> Any:
    n = 0

    def count() -> None:
        nonlocal n
        n += 1

    count()
    return F.cross_entropy(o, t) * n


def reads_a_global(o: Any, t: Any) -> Any:
    global SCALE
    return F.cross_entropy(o, t) * SCALE


def fresh_objects(o: Any, t: Any) -> Any:
    options, extra = {"a": 1}, np.append([1.0], 2.0)
    dict(a=1).setdefault("b", 2)  # noqa: C408  # a call that makes a container is what is tested
    options.update(b=2)
    extra.tolist().append(1)
    sums = defaultdict(list)
    sums["a"].append(F.cross_entropy(o, t))
    with fastnn.no_grad():
        w = o.detach().clone()
        w.clamp_(0, 1)
        w[0] = 0
    assert o.dim() == 2, "two dimensions"
    if t.ndim != 1:
        raise ValueError("targets")
    return sum(sums["a"]) * float(extra[0]) * math.log(2)


def several_outputs(o: Any, t: Any, weight: float = 0.5, kind: Any = F.cross_entropy) -> Any:
    first, second = o, o * 2
    loss, losses = 0, []
    for k, part in enumerate((first, second)):
        losses.append(weight**k * kind(part, t))
    loss += sum(losses)
    loss = helper(loss)
    loss *= 2
    return loss


HARMLESS = [
    nn.CrossEntropyLoss(), F.cross_entropy, Kept().plain, Kept(), Module(), local_function, local_nonlocal,
    reads_a_global, fresh_objects, several_outputs, functools.partial(several_outputs, weight=0.3),
    functools.partial(F.cross_entropy, label_smoothing=0.1), lambda o, t: F.mse_loss(o, t) + 0.1 * o.abs().mean(),
]  # fmt: skip


@pytest.mark.parametrize("criterion", HARMLESS, ids=lambda c: getattr(c, "__name__", type(c).__name__))
def test_ordinary_criteria_change_nothing(criterion: Any) -> None:
    assert what_is_changed(criterion) == ""


class Changing(Kept):
    """Methods that change something."""

    def __call__(self, o: Any, t: Any) -> Any:
        self.n += 1
        return o

    def pair(self, o: Any, t: Any) -> Any:
        self.n, z = 1, 2
        return o * z

    def annotated(self, o: Any, t: Any) -> Any:
        self.n: int = 3
        return o

    def of_the_class(self, o: Any, t: Any) -> Any:
        type(self).total = 1  # type: ignore[attr-defined]  # that it is new is what is tested
        return o

    def set_by_the_parent(self, o: Any, t: Any) -> Any:
        super().__setattr__("n", 1)
        return o

    def set_attribute(self, o: Any, t: Any) -> Any:
        setattr(self, "n", 1)  # noqa: B010  # the call is what is tested
        return o

    def alias(self, o: Any, t: Any) -> Any:
        log = self.log
        log.append(1)
        return o

    def alias_in_a_loop(self, o: Any, t: Any) -> Any:
        for log in (self.log, []):
            log += [1]
        return o

    def alias_to_a_function(self, o: Any, t: Any) -> Any:
        def add(log: Any) -> None:
            log.append(1)

        add(self.log)
        return o

    def alias_to_a_lambda(self, o: Any, t: Any) -> Any:
        add = lambda log: log.append(1)  # noqa: E731  # as users write it
        add(self.log)
        return o

    def method(self, o: Any, t: Any) -> Any:
        self.plain(o, t)
        return o


def deletes(o: Any, t: Any) -> Any:
    del HIST[:]
    return o


def takes_the_next(o: Any, t: Any) -> Any:
    return o * next(NUMBERS)


def adds_to_a_set(o: Any, t: Any) -> Any:
    NAMES.add(1)
    return o


def adds_to_a_set_in_passing(o: Any, t: Any) -> Any:
    return (NAMES.add(1), o)[1]


def puts(o: Any, t: Any) -> Any:
    WAITING.put(1)
    return o


def writes(o: Any, t: Any) -> Any:
    WRITER.add_scalar("loss", 1)
    return o


def warns(o: Any, t: Any) -> Any:
    logging.warning("loss")
    return o


def warns_by_a_logger(o: Any, t: Any) -> Any:
    LOG.warning("loss")
    return o


def keeps_in_a_default(o: Any, t: Any, seen: list[Any] = []) -> Any:  # noqa: B006  # the fault that is tested
    seen.append(1)
    return o


def keeps_in_an_argument(seen: Any, o: Any, t: Any) -> Any:
    seen.append(1)
    return o


def counts(o: Any, t: Any) -> Any:
    global CALLS
    CALLS += 1
    return o


def counts_inside(o: Any, t: Any) -> Any:
    CALLS = 0

    def count() -> None:
        global CALLS
        CALLS += 1

    count()
    return o * CALLS


def calls_a_function(o: Any, t: Any) -> Any:
    helper(o)
    return o


def seeds(o: Any, t: Any) -> Any:
    fastnn.manual_seed(0)
    return o


def counted(function: Any) -> Any:
    calls = [0]

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        calls[0] += 1
        return function(*args)

    return wrapper


def passed_on(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def counts_outside() -> Any:
    n = 0

    def criterion(o: Any, t: Any) -> Any:
        nonlocal n
        n += 1
        return o

    return criterion


class ModuleWithACall(Module):
    def __call__(self, *args: Any) -> Any:
        HIST.append(1)
        return super().__call__(*args)


change = Changing()
CHANGES = [
    change, change.pair, change.annotated, change.set_attribute,
    change.of_the_class, change.set_by_the_parent, change.alias, change.alias_in_a_loop,
    change.alias_to_a_function, change.alias_to_a_lambda, change.method, deletes, takes_the_next, adds_to_a_set,
    adds_to_a_set_in_passing, puts, writes, warns, warns_by_a_logger, keeps_in_a_default,
    functools.partial(keeps_in_an_argument, HIST), counts, functools.partial(functools.partial(deletes)),
    counts_inside,
    calls_a_function, seeds, counted(F.cross_entropy), passed_on(deletes), counts_outside(), ModuleWithACall(),
    functools.partial(lambda o, t, seen: (seen.append(1), o)[1], seen=HIST), lambda o, t: (print(1), o)[1],
]  # fmt: skip


@pytest.mark.parametrize("criterion", CHANGES, ids=lambda c: getattr(c, "__name__", type(c).__name__))
def test_changes_are_found(criterion: Any) -> None:
    assert what_is_changed(criterion)
    # The code that a refusal watches can be found, whatever the criterion is.
    assert all(hasattr(owner, name) for owner, name, _ in code_of(criterion))
