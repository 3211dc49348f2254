"""Changes that a replay must detect: rebound names, some gradients accumulated, other memory layouts, a profile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from test_captured_forwards import batch, plain, twice

import fastnn
from fastnn import nn
from fastnn.capture import auto
from fastnn.nn import functional as F

activation = F.relu


class Layer(nn.Module):
    """One layer, for subclasses with different forwards."""

    slope = 0.1
    shared = nn.Dropout(0.5)
    act: Any = nn.ReLU()

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.own_slope, self.act = nn.Linear(12, 12), 0.1, nn.Tanh()


class ByGlobal(Layer):
    def forward(self, x: Any) -> Any:
        return activation(self.layer(x))


class ByFunction(Layer):
    def forward(self, x: Any) -> Any:
        return F.relu(self.layer(x))


class ByMethod(Layer):
    def features(self, x: Any) -> Any:
        return F.relu(self.layer(x))

    def forward(self, x: Any) -> Any:
        return self.layer(self.features(x))


class ByClass(Layer):
    def forward(self, x: Any) -> Any:
        return F.leaky_relu(self.layer(x), self.slope)


class ByAttribute(Layer):
    def forward(self, x: Any) -> Any:
        return F.leaky_relu(self.layer(x), self.own_slope)


class ByShared(Layer):
    def forward(self, x: Any) -> Any:
        return self.shared(self.layer(x))


class ByHidden(Layer):
    """The class's ReLU hides the registered Tanh."""

    def forward(self, x: Any) -> Any:
        return self.act(self.layer(x))


def by_closure(function: Any) -> tuple[type[Layer], Callable[[Any], None]]:
    class ByClosure(Layer):
        def forward(self, x: Any) -> Any:
            return function(self.layer(x))

    def change(other: Any) -> None:
        nonlocal function
        function = other

    return ByClosure, change


class Tripled(nn.Linear):
    def forward(self, x: Any) -> Any:
        return 3 * super().forward(x)


def linear(self: nn.Linear, x: Any) -> Any:
    return 3 * F.linear(x, self.weight, self.bias)


def also(call: Any, calls: list[int]) -> Any:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return call(self, *args, **kwargs)

    return __call__


CHANGES: dict[str, tuple[Any, Callable[[Any, pytest.MonkeyPatch], Any]]] = {
    "a global": (ByGlobal, lambda model, patch: patch.setitem(globals(), "activation", F.tanh)),
    "a function": (ByFunction, lambda model, patch: patch.setattr(F, "relu", F.tanh)),
    "a method": (ByMethod, lambda model, patch: patch.setattr(ByMethod, "features", lambda self, x: x * 2)),
    "a constant": (ByClass, lambda model, patch: patch.setattr(ByClass, "slope", 0.7)),
    "an attribute": (ByAttribute, lambda model, patch: delattr(model, "own_slope")),
    "a forward": (plain, lambda model, patch: patch.setattr(nn.Linear, "forward", linear)),
    "a class": (plain, lambda model, patch: setattr(model[4], "__class__", Tripled)),
    "every call": (ByFunction, lambda model, patch: patch.setattr(nn.Module, "__call__", also(nn.Module.__call__, []))),
    "a shared part": (ByShared, lambda model, patch: patch.setattr(model.shared, "p", 0.0)),
    "a hidden part": (ByHidden, lambda model, patch: patch.setattr(Layer, "act", nn.Sigmoid())),
}


@pytest.mark.parametrize("what", CHANGES)
def test_names_that_stand_for_something_else_later(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, change = CHANGES[what]

    def work() -> Any:
        with monkeypatch.context() as patch:
            model = make()
            found: list[Any] = [model(batch(seed=seed)[0]) for seed in range(5)]
            change(model, patch)
            try:
                found += [model(batch(seed=seed)[0]) for seed in range(5)]
            except AttributeError as error:
                found.append([str(error)])
            # Undo the change, so that the parameters can be compared.
            return model, *found

    twice(work, None)


def test_a_closure_that_changes() -> None:
    def work() -> Any:
        kind, change = by_closure(F.relu)
        model = kind()
        found = [model(batch(seed=seed)[0]) for seed in range(5)]
        change(F.tanh)
        return model, *found, model(batch()[0])

    twice(work, None)


def test_a_call_that_was_replaced_is_called_for_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = ByFunction(), list[int]()
    for _ in range(5):
        model(batch()[0])
    monkeypatch.setattr(nn.Module, "__call__", also(nn.Module.__call__, calls))
    model(batch()[0])
    assert len(calls) == 2
    for _ in range(40):
        model(batch()[0])
    assert "Module.__call__ was replaced" in fastnn.explain(model)


class Sized(Layer):
    def forward(self, x: Any) -> Any:
        return F.leaky_relu(self.layer(x), x.nonzero().size(0) / 1000)


class Masked(Layer):
    def forward(self, x: Any) -> Any:
        return F.leaky_relu(self.layer(x), x[x > 0].shape[0] / 1000)


class Same(Layer):
    def forward(self, x: Any, y: Any) -> Any:
        if x is y:
            return F.relu(self.layer(x))
        return self.layer(x)


class Watched(Layer):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)

    def forward(self, x: Any) -> Any:
        return self.layer(x)


class Parts(nn.ModuleList):
    def __iter__(self) -> Any:
        return reversed(list(super().__iter__()))


class Reversed(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.parts = Parts([nn.Linear(12, 12), nn.Linear(12, 12)])

    def forward(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x


class Twice(Layer):
    def forward(self, x: Any) -> Any:
        return self.layer(F.relu(self.layer(x)))


class Plainly(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.layer._parameters["weight"] = (self.layer.weight * 2).detach().requires_grad_()

    def forward(self, x: Any) -> Any:
        return self.layer(x)


REFUSED = {
    Sized: "calls 'nonzero' of a tensor",
    Masked: "the index 'x > 0'",
    Same: "a branch on 'x'",
    Watched: "a __getattribute__ of its own",
    Reversed: "a loop over something that is no list of its own parts",
    ByShared: "reads 'shared', which belongs to the class",
    ByHidden: "reads 'act', which belongs to the class",
    Twice: "a parameter is used more than once",
    Plainly: "a parameter is a plain tensor",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_is_not_captured(kind: type[nn.Module]) -> None:
    def work() -> Any:
        model, found = kind(), []
        for seed in range(6):
            x, _ = batch(seed=seed)
            out = model(x, x.clone() if seed < 4 else x) if kind is Same else model(x)
            out.sum().backward()
            found.append(out)
        return model, *found

    twice(work, REFUSED[kind])


def test_a_function_that_pretends_to_be_another() -> None:
    """``inspect`` returns the source of the wrapped function."""
    calls = []

    class Wrapped(Layer):
        def forward(self, x: Any) -> Any:
            return self.layer(x)

    def wrapped(original: Any) -> Any:
        @functools.wraps(original)
        def forward(self: Any, x: Any) -> Any:
            calls.append(1)
            return original(self, x)

        return forward

    Wrapped.forward = wrapped(Wrapped.forward)  # type: ignore[method-assign]  # as decorators do
    model = Wrapped()
    for _ in range(6):
        model(batch()[0])
    assert len(calls) == 6


@pytest.mark.parametrize("how", ["zeroed", "assigned", "held", "zeroed and held", "asked for"])
def test_gradients_of_some_parameters_accumulate(how: str) -> None:
    """The batches are long enough for an accumulating kernel to round differently from a sum."""

    def work() -> Any:
        model, found, held = plain(), list[Any](), list[Any]()
        for seed in range(8):
            loss = model(batch(700, seed)[0]).pow(2).sum()
            if how == "asked for" and seed % 2:
                found += fastnn.autograd.grad(loss, list(model.parameters()))
                continue
            loss.backward()
            if "held" in how:
                held += [p.grad for p in model[0].parameters()]
            if "zeroed" in how and seed % 2:
                model[0].zero_grad()
            if how == "assigned":
                for p in model[0].parameters():
                    p.grad = p.grad * 0.5
            found += [p.grad.clone() for p in model.parameters() if p.grad is not None]
        return model, *found, *held

    twice(work)


def test_parameters_frozen_between_forward_and_backward() -> None:
    def work() -> Any:
        model, found = plain(), list[Any]()
        for seed in range(20):
            out = model(batch(seed=seed)[0])
            model[0].weight.requires_grad_(seed % 4 != 1)
            out.sum().backward()
            model[0].weight.requires_grad_(True)
            found += [p.grad.clone() for p in model.parameters() if p.grad is not None]
            if seed % 5 == 0:
                model.zero_grad()
        return model, *found

    twice(work)


def test_a_mode_that_changes_before_a_second_derivative() -> None:
    def work() -> Any:
        model = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.Dropout(0.4), nn.Tanh(), nn.Linear(12, 2))
        for seed in range(5):
            x = batch(seed=seed)[0].requires_grad_()
            out = model.train()(x)
            model.eval()
            out.sum().backward()
        out = model.train()(x)
        model.eval()
        (dx,) = fastnn.autograd.grad(out.sum(), x, create_graph=True)
        dx.pow(2).sum().backward()
        assert not any(m.training for m in model.modules())
        return model, dx, x.grad

    twice(work, None)


def test_the_output_of_a_linear_layer_may_be_changed() -> None:
    """The backward pass does not read it; it reads the output of an activation."""

    def work() -> Any:
        model, found = plain(), []
        for seed in range(5):
            out = model(batch(seed=seed)[0])
            out.mul_(2)
            out += 1
            out.sum().backward()
            found.append(out)
        return model, *found

    twice(work)
    model = nn.Sequential(nn.Linear(12, 12), nn.ReLU())
    for seed in range(5):
        out = model(batch(seed=seed)[0])
        out.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_inputs_that_overlap_themselves_and_then_do_not() -> None:
    def work() -> Any:
        model, row = plain(), batch(1)[0]
        found = [model(row.expand(16, 12)) for _ in range(4)]
        return model, *found, *[model(batch(seed=seed)[0]) for seed in range(16)]

    twice(work, None)


def test_a_profile_shows_what_is_replayed() -> None:
    """It launches the kernels one by one, on the arrays of that call."""

    def work() -> Any:
        model, found = plain(), []
        for seed in range(8):
            with fastnn.profile() as prof:
                out = model(batch(seed=seed)[0])
                out.pow(2).sum().backward()
            assert sum(line.calls for line in prof.lines()) >= 6
            found.append(out)
        return model, *found

    twice(work)


def test_a_profile_around_a_compiled_step() -> None:
    def work(profiled: bool) -> list[Any]:
        fastnn.manual_seed(0)
        model = plain()
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
        losses = []
        for seed in range(6):
            if profiled and seed > 3:
                with fastnn.profile():
                    losses.append(step(*batch(seed=seed)).item())
            else:
                losses.append(step(*batch(seed=seed)).item())
        return [losses, *[p.tolist() for p in model.parameters()]]

    assert work(True) == work(False)


class Policy(nn.Module):
    """A policy that keeps what happened in an episode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.rewards, self.limit = nn.Linear(12, 12), [], 1.0

    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.limit


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models of the recordings that are made."""
    made: list[Any] = []

    class Counted(auto.Recording):
        def __init__(self, model: Any, *rest: Any) -> None:
            made.append(model)
            super().__init__(model, *rest)

    monkeypatch.setattr(auto, "Recording", Counted)
    return made


def test_a_list_that_is_replaced_after_each_episode(recorded: list[Any]) -> None:
    policy, x = Policy(), batch()[0]
    for _ in range(6):
        for _ in range(3):
            policy.rewards.append(policy(x).sum())
        sum(policy.rewards).backward()
        policy.rewards = []
    assert fastnn.explain(policy) == "captured for float32 of shape (16, 12)"
    for value in (list, None, 1.0):
        policy.rewards = value
        for _ in range(4):
            policy(x)
    assert len(recorded) == 1
    # What the forward reads is a change.
    for value in (2.0, 3, False):
        policy.limit = value
        for _ in range(4):
            policy(x)
    assert len(recorded) == 4
    # The forward reads it from now on.
    policy.limit = []
    with pytest.raises(TypeError):
        policy(x)
    policy.limit = 0.0
    assert policy(x).abs().max().item() == 0.0


def test_batches_of_many_sizes_are_recorded_more_rarely(recorded: list[Any]) -> None:
    model = nn.Sequential(nn.Linear(12, 12), nn.ReLU())
    for size in range(1, 30):
        for _ in range(3):
            model(batch()[0][:1].repeat(size, 1))
    assert len(recorded) == 4
    for _ in range(200):
        model(batch()[0])
    assert len(recorded) == 5
