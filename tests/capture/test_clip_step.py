"""Gradients clipped in the optimizer's kernels: as by clip_grad_norm_, with the same bits captured and eager."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases_clip import RULES
from comparison import assert_matches
from helpers import cut_in
from test_compiled_step import batches, bits, plain

import fastnn
from fastnn import nn

LIMIT = 0.3


def trained(how: str, name: str = "adamw", limit: float = LIMIT, norm_type: float = 2.0, **options: Any) -> list[Any]:
    """Losses, norms, parameters and optimizer state of some steps."""
    fastnn.manual_seed(1)
    model = options.pop("make", plain)()
    criterion = nn.CrossEntropyLoss()
    cls, given = RULES[name]
    params = model.parameters()
    if options.get("groups"):
        params = [{"params": list(model[0].parameters())}, {"params": list(model[2:].parameters()), "lr": 0.2}]
    if options.get("frozen"):
        model[2].weight.requires_grad_(False)
    optimizer = getattr(fastnn.optim, cls)(params, **given)
    step = fastnn.compile_step(model, criterion, optimizer, max_grad_norm=limit, norm_type=norm_type)
    found: list[Any] = []
    for x, y in batches(5, 16):
        if how == "by hand":
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), limit, norm_type)
            optimizer.step()
        else:
            loss = step(x, y) if how == "captured" else step._eager([x, y])
            norm = step.grad_norm
        found += [loss.detach(), norm]
    if how == "captured":
        assert step.explain() == "captured: 1 program"
    found += [p.detach() for p in model.parameters()]
    found += [p.grad for p in model.parameters() if p.grad is not None]
    found += [v for entry in optimizer.state.values() for v in entry.values() if isinstance(v, fastnn.Tensor)]
    return found


VARIANTS: list[dict[str, Any]] = [
    *[{"name": name} for name in RULES],
    {"norm_type": 1.0}, {"norm_type": math.inf}, {"groups": True}, {"frozen": True}, {"limit": 0}, {"limit": math.inf},
    {"groups": True, "frozen": True, "name": "momentum"},
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_captured_and_eager_are_the_same_bits_and_the_numbers_those_of_clip_grad_norm(variant: dict[str, Any]) -> None:
    captured, eager, by_hand = (trained(how, **variant) for how in ("captured", "eager", "by hand"))
    assert [bits(t) for t in captured] == [bits(t) for t in eager]
    for found, expected in zip(captured, by_hand, strict=True):
        # A few roundings in each of five steps, hardly amplified by later steps.
        assert_matches(found.numpy(), expected.numpy(), roundings=30, least=1.0)


def large() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 300), nn.ReLU(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 5))


def test_same_bits_at_any_thread_count() -> None:
    found = []
    for parts in (1, 2, 3, 8):
        with cut_in(parts):
            found.append([bits(t) for t in trained("captured", groups=True, make=large)])
    assert all(other == found[0] for other in found)


def test_gradients_are_scaled_and_the_norm_is_told() -> None:
    fastnn.manual_seed(0)
    model = nn.Linear(12, 5)
    sgd = fastnn.optim.SGD(model.parameters(), lr=1.0)
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd, max_grad_norm=0.01)
    assert step.grad_norm is None
    for batch in batches(4, 16):
        before = [p.detach().clone() for p in model.parameters()]
        step(*batch)
        grads = [p.grad for p in model.parameters()]
        assert step.grad_norm.item() > 0.1
        assert nn.utils.get_total_norm(grads).item() == pytest.approx(0.01, rel=1e-4)
        for p, was, grad in zip(model.parameters(), before, grads, strict=True):
            assert_matches((was - p.detach()).numpy(), grad.numpy(), 2, least=1.0)
        del grads, grad
    assert fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd).grad_norm is None
    # A plain step takes the gradients as they are.
    before = model.weight.detach().clone()
    sgd.step()
    np.testing.assert_array_equal((before - model.weight.grad).numpy(), model.weight.detach().numpy())


@pytest.mark.parametrize("limit", [0.01, 1e9])
def test_gradients_after_many_steps_in_one_call(limit: float) -> None:
    """Those of the last step, scaled, as after single steps."""
    x, y = batches(1, 64)[0]
    order = fastnn.arange(64).reshape(8, 8)
    found = []
    for is_run in (True, False):
        fastnn.manual_seed(2)
        model = plain()
        sgd = fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd, max_grad_norm=limit)
        if is_run:
            step.run(x, y, order)
        else:
            for rows in order:
                step(x[rows], y[rows])
        found.append([bits(p.grad) for p in model.parameters()])
        assert nn.utils.get_total_norm([p.grad for p in model.parameters()]).item() <= limit * 1.0001
    assert found[0] == found[1]


def test_an_interrupted_step_leaves_no_gradient_that_is_not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the update and the scaling: the step is done, and the gradients are None."""
    x, y = batches(1, 16)[0]
    for steps in (0, 4):  # Eager and captured.
        model = plain()
        sgd = fastnn.optim.SGD(model.parameters(), lr=0.1)
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd, max_grad_norm=0.01)
        for _ in range(steps):
            step(x, y)
        before = [bits(p) for p in model.parameters()]

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("fastnn.capture.step.scale_gradients", interrupt)
            with pytest.raises(KeyboardInterrupt):
                step(x, y)
        assert all(p.grad is None for p in model.parameters())
        assert all(bits(p) != was for p, was in zip(model.parameters(), before, strict=True))
        step(x, y)
        assert nn.utils.get_total_norm([p.grad for p in model.parameters()]).item() <= 0.0101


@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_a_norm_that_is_nan_makes_everything_nan(norm_type: float) -> None:
    model = plain()
    adam = fastnn.optim.Adam(model.parameters())
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), adam, max_grad_norm=1.0, norm_type=norm_type)
    x, y = batches(1, 16)[0]
    for _ in range(3):
        step(x, y)
    x[0, 0] = math.nan
    step(x, y)
    assert step.explain() == "captured: 1 program"
    assert step.grad_norm.isnan().item()
    assert all(p.isnan().all().item() for p in model.parameters())


class Doubled(fastnn.optim.SGD):
    """Doubles its steps, as a user might write it."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad *= 2
        return super().step(closure)


def test_a_step_of_the_users_own_gets_scaled_gradients() -> None:
    fastnn.manual_seed(0)
    model = nn.Linear(12, 5)
    doubled = Doubled(model.parameters(), lr=1.0)
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), doubled, max_grad_norm=0.01)
    for batch in batches(4, 16):
        before = [p.detach().clone() for p in model.parameters()]
        step(*batch)
        assert step.grad_norm.item() > 0.1
        moved = nn.utils.get_total_norm([p.detach() - b for p, b in zip(model.parameters(), before, strict=True)])
        assert moved.item() == pytest.approx(0.02, rel=1e-4)
    assert "Doubled does not update by launches alone" in step.explain()


def test_hooks_of_all_optimizers_are_called_behind_the_gradients() -> None:
    model = nn.Linear(12, 5)
    sgd = fastnn.optim.SGD(model.parameters(), lr=1.0)
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd)
    for batch in batches(3, 16):
        step(*batch)
    seen = []
    handle = fastnn.optim.optimizer.register_optimizer_step_pre_hook(
        lambda optimizer, args, kwargs: seen.append(model.weight.grad.clone())
    )
    try:
        step(*batches(1, 16, seed=5)[0])
    finally:
        handle.remove()
    assert bits(seen[0]) == bits(model.weight.grad)


def test_a_step_that_fails_leaves_no_limit_behind() -> None:
    model = nn.Linear(12, 5)
    sgd = fastnn.optim.SGD(model.parameters(), lr=1.0)
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd, max_grad_norm=1.0)
    x, y = batches(1, 16)[0]
    sgd.param_groups[0]["lr"] = "much"
    with pytest.raises(TypeError):
        step(x, y)
    assert "_clip" not in vars(sgd)


def test_fit_clips() -> None:
    x = 100 * np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    moves = []
    for limit in (None, 0.01):
        fastnn.manual_seed(0)
        model = nn.Linear(12, 2)
        before = model.weight.detach().clone()
        sgd = fastnn.optim.SGD(model.parameters(), lr=1.0)
        fastnn.fit(model, x, y, epochs=1, batch_size=16, optimizer=sgd, max_grad_norm=limit)
        moves.append((model.weight.detach() - before).norm().item())
    assert moves[0] > 1
    assert 0.01 < moves[1] <= 0.04


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"max_grad_norm": -1}, ValueError, "max_grad_norm must not be negative or NaN, found -1"),
        ({"max_grad_norm": math.nan}, ValueError, "max_grad_norm must not be negative or NaN, found nan"),
        ({"max_grad_norm": "1"}, TypeError, "max_grad_norm must be a number, found '1'"),
        ({"max_grad_norm": True}, TypeError, "max_grad_norm must be a number, found True"),
        ({"max_grad_norm": 1, "norm_type": 3}, ValueError, "norm_type must be 1, 2 or infinity, found 3"),
        ({"max_grad_norm": 1, "norm_type": None}, TypeError, "norm_type must be a number, found None"),
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, Any], kind: type[Exception], text: str) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(kind, match=text):
        fastnn.compile_step(model, nn.MSELoss(), fastnn.optim.SGD(model.parameters(), lr=0.1), **wrong)
    if "norm_type" not in wrong:
        with pytest.raises(kind, match=text):
            fastnn.fit(model, np.zeros((4, 2)), np.zeros((4, 2)), criterion=nn.MSELoss(), **wrong)


@pytest.mark.parametrize("limit", [None, 1.0])
@pytest.mark.parametrize("name", ["step", "zero_grad"])
def test_what_a_user_has_put_in_place_of_a_method_runs(name: str, limit: float | None) -> None:
    def train(compiled: bool) -> list[np.ndarray]:
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1)
        original = getattr(optimizer, name)

        def mine(*args: Any, **options: Any) -> Any:
            for p in model.parameters():
                if p.grad is not None:
                    p.data.sub_(p.grad, alpha=0.01)
            return original(*args, **options)

        setattr(optimizer, name, mine)
        criterion = nn.MSELoss()
        step = fastnn.compile_step(model, criterion, optimizer, max_grad_norm=limit)
        x, y = fastnn.ones(4, 2), fastnn.ones(4, 1)
        for _ in range(6):
            if compiled:
                step(x, y)
                continue
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            if limit is not None:
                nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
        return [p.detach().numpy().copy() for p in model.parameters()]

    for found, expected in zip(train(True), train(False), strict=True):
        np.testing.assert_array_equal(found, expected)
