"""Captured forwards that return several tensors."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn


class ActorCritic(nn.Module):
    """A policy and a value over common layers."""

    def __init__(self, kind: type = tuple) -> None:
        super().__init__()
        self.trunk, self.actor, self.critic = nn.Linear(4, 16), nn.Linear(16, 3), nn.Linear(16, 1)
        self.kind = kind

    def forward(self, x: Any) -> Any:
        h = nn.functional.relu(self.trunk(x))
        return nn.functional.softmax(self.actor(h), dim=-1), self.critic(h)


class Listed(ActorCritic):
    def forward(self, x: Any) -> Any:
        h = nn.functional.relu(self.trunk(x))
        return [self.actor(h), self.critic(h).tanh() + 1, h]


LOSSES: dict[str, Callable[[Any], Any]] = {
    "all": lambda outs: sum((out**2).mean() for out in outs),
    "product": lambda outs: (outs[0] * outs[1]).sum(),
    "first": lambda outs: outs[0].exp().mean(),
    "second": lambda outs: (outs[1] - 1).pow(2).sum(),
}


def train(make: Any, loss: Any, captured: bool, rows: int = 8, steps: int = 7) -> tuple[list[Any], str]:
    """Outputs, losses, gradients and parameters of some steps, and what `explain` says."""
    fastnn.set_capture(captured)
    try:
        fastnn.manual_seed(0)
        model = make()
        optimizer = fastnn.optim.Adam(model.parameters(), lr=0.01)
        found: list[Any] = []
        for _ in range(steps):
            x = fastnn.randn(rows, 4).requires_grad_()
            optimizer.zero_grad()
            outs = model(x)
            assert type(outs) is (list if make is Listed else tuple)
            value = loss(outs)
            value.backward()
            optimizer.step()
            grads = [None if p.grad is None else p.grad.numpy().copy() for p in (*model.parameters(), x)]
            found += [*[o.detach().numpy() for o in outs], value.item(), *grads]
        return found, fastnn.explain(model)
    finally:
        fastnn.set_capture(True)


@pytest.mark.parametrize("rows", [1, 8, 300])
@pytest.mark.parametrize("make", [ActorCritic, Listed])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_bits_as_eagerly(make: Any, loss: str, rows: int) -> None:
    eager, _ = train(make, LOSSES[loss], False, rows)
    found, said = train(make, LOSSES[loss], True, rows)
    for a, b in zip(found, eager, strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b)
    if loss == "all" or (loss == "product" and make is ActorCritic):
        assert said == f"captured for float32 of shape ({rows}, 4)"
    else:
        # Found at the third call; the next ones run eagerly.
        assert said.endswith("some of the outputs get no gradient")


def test_without_gradients() -> None:
    model = ActorCritic()
    with fastnn.no_grad():
        runs = [model(fastnn.full((2, 4), 0.5)) for _ in range(5)]
        assert fastnn.explain(model) == "captured for float32 of shape (2, 4) without gradients"
    for probabilities, value in runs:
        assert np.array_equal(probabilities.numpy(), runs[0][0].numpy())
        assert np.array_equal(value.numpy(), runs[0][1].numpy())
    # New arrays each time.
    assert runs[3][0].data_ptr() != runs[4][0].data_ptr()


def test_one_output_after_the_other() -> None:
    def work() -> list[Any]:
        fastnn.manual_seed(1)
        model, x = ActorCritic(), fastnn.ones(5, 4)
        found = []
        for _ in range(6):
            model.zero_grad()
            probabilities, value = model(x)
            probabilities.log().sum().backward(retain_graph=True)
            value.sum().backward()
            found += [p.grad.numpy().copy() for p in model.parameters()]
        return found

    fastnn.set_capture(False)
    try:
        eager = work()
    finally:
        fastnn.set_capture(True)
    assert all(np.array_equal(a, b) for a, b in zip(work(), eager, strict=True))


def test_second_derivatives() -> None:
    model = ActorCritic()
    for _ in range(5):
        x = fastnn.ones(3, 4, requires_grad=True)
        probabilities, value = model(x)
        (slope,) = fastnn.autograd.grad((probabilities.log() * value).sum(), x, create_graph=True)
        model.zero_grad()
        slope.pow(2).sum().backward()
        found = [p.grad.numpy().copy() for p in model.parameters()]
        fastnn.set_capture(False)
        try:
            x = fastnn.ones(3, 4, requires_grad=True)
            probabilities, value = model(x)
            (slope,) = fastnn.autograd.grad((probabilities.log() * value).sum(), x, create_graph=True)
            model.zero_grad()
            slope.pow(2).sum().backward()
        finally:
            fastnn.set_capture(True)
        for a, p in zip(found, model.parameters(), strict=True):
            np.testing.assert_allclose(a, p.grad.numpy(), rtol=1e-6)


def test_a_hook_beside_a_backward_pass_from_one_output() -> None:
    """Only the parameter with the hook gets its gradient as a sum outside the kernels."""
    found = []
    for captured in (True, False):
        fastnn.set_capture(captured)
        try:
            fastnn.manual_seed(0)
            model, calls = ActorCritic(), []
            for _ in range(3):
                waiting = model(fastnn.randn(8, 4))[1].exp().mean()
            model.trunk.bias.register_hook(calls.append)
            model(fastnn.randn(8, 4))[1].pow(2).mean().backward()
            waiting.backward()
            assert len(calls) == 2
            found.append([p.grad.numpy().copy() for p in (*model.trunk.parameters(), *model.critic.parameters())])
        finally:
            fastnn.set_capture(True)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_a_change_of_an_output_that_the_backward_pass_reads() -> None:
    model = ActorCritic()
    for _ in range(5):
        probabilities, value = model(fastnn.ones(3, 4))
        loss = probabilities.sum() + value.sum()
        with fastnn.no_grad():
            probabilities.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_what_is_not_known_is_left_alone() -> None:
    class Mixed(ActorCritic):
        def forward(self, x: Any) -> Any:
            return self.critic(nn.functional.relu(self.trunk(x))), x.dtype

    model = Mixed()
    for _ in range(4):
        assert model(fastnn.ones(3, 4))[1] is fastnn.float32
    assert "the forward returns a dtype" in fastnn.explain(model)


def test_gradients_of_an_input_that_is_read_twice() -> None:
    class Residual(ActorCritic):
        def forward(self, x: Any) -> Any:
            return self.actor(self.trunk(x)).tanh().sum(1, keepdim=True) * x + x

    def work(captured: bool) -> tuple[list[Any], str]:
        fastnn.set_capture(captured)
        try:
            fastnn.manual_seed(0)
            model, x = Residual(), fastnn.randn(9, 4).requires_grad_()
            # Gradients that are added up: the sum of all in one pass would round differently.
            for _ in range(8):
                model(x).pow(2).sum().backward()
            return [x.grad.numpy(), model.trunk.weight.grad.numpy()], fastnn.explain(model)
        finally:
            fastnn.set_capture(True)

    (found, said), (expected, _) = work(True), work(False)
    assert all(map(np.array_equal, found, expected))
    assert said.endswith("an input that needs a gradient is used more than once")


def test_outputs_that_are_dropped_free_the_recording() -> None:
    model, x = ActorCritic(), fastnn.randn(1, 4)
    for _ in range(3):
        model(x)
    [site] = model.__dict__["_replays"].kinds.values()
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            probs, _ = model(x)
            assert not site.free
            del probs, _
            assert len(site.free) == len(site.made) == 1
    finally:
        gc.enable()


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize(
    ("changed", "position", "is_error"),
    [
        ("critic.weight", 0, False), ("critic.bias", 0, False), ("actor.weight", 1, False), ("actor.weight", 0, True),
        ("critic.weight", 1, True), ("critic.weight", None, True),
    ],
)  # fmt: skip
def test_a_parameter_that_only_another_output_needs_may_change(
    lib: Any, changed: str, position: int | None, is_error: bool, captured: bool
) -> None:
    if lib is fastnn:
        fastnn.set_capture(captured)

    class Policy(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.actor, self.critic = lib.nn.Linear(4, 16), lib.nn.Linear(16, 3), lib.nn.Linear(16, 1)

        def forward(self, x: Any) -> Any:
            h = lib.nn.functional.relu(self.trunk(x))
            return self.actor(h), self.critic(h)

    try:
        model, x, found = Policy(), lib.ones(5, 4), []
        for step in range(6):
            outs = model(x)
            if step > 3:
                with lib.no_grad():
                    dict(model.named_parameters())[changed].mul_(2)
            used = outs if position is None else (outs[position],)
            model.zero_grad()
            if step > 3 and is_error:
                with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                    sum(out.sum() for out in used).backward()
                continue
            sum(out.sum() for out in used).backward()
            found.append(model.trunk.weight.grad.tolist())
    finally:
        if lib is fastnn:
            fastnn.set_capture(True)
    assert found == found[:1] * len(found)
