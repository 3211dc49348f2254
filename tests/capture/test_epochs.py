"""Many steps in one call: the numbers of single steps, bit for bit."""

from __future__ import annotations

import functools
import gc
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.capture import epoch
from fastnn.optim import flat_runs

ROWS, BATCH = 192, 16


class Noisy(nn.Module):
    """A module whose forward draws numbers of NumPy's stream and of the kernels'."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(5, 12), nn.Dropout(0.3), nn.Linear(12, 3)

    def forward(self, x):
        x = self.drop(self.first(x).relu())
        return self.last(x + 0.1 * fastnn.randn(16, 12))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(5, 3), nn.Linear(2, 3)

    def forward(self, x, z):
        return self.left(x) + self.right(z)


def tanh_net():
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3))


def full_net():
    return nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 3))


def frozen_net():
    model = nn.Sequential(nn.Linear(5, 12), nn.Sigmoid(), nn.Linear(12, 3))
    model[0].weight.requires_grad_(False)
    return model


CASES = {
    "adam": (tanh_net, lambda p: optim.Adam(p, lr=0.01), nn.CrossEntropyLoss(), {}),
    "adamw": (full_net, lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1), nn.CrossEntropyLoss(), {}),
    "amsgrad, clipped": (
        tanh_net, lambda p: optim.Adam(p, amsgrad=True), nn.CrossEntropyLoss(), {"max_grad_norm": 0.1},
    ),
    "sgd": (frozen_net, lambda p: optim.SGD([q for q in p if q.requires_grad], lr=0.1), nn.MSELoss(), {}),
    "frozen": (frozen_net, lambda p: optim.SGD(p, lr=0.1), nn.MSELoss(), {}),
    "momentum": (tanh_net, lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), nn.L1Loss(), {}),
    "rmsprop": (full_net, lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5), nn.SmoothL1Loss(), {}),
    "adagrad": (tanh_net, lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.1), nn.MSELoss(), {}),
    "nadam": (tanh_net, lambda p: optim.NAdam(p, lr=0.01), nn.CrossEntropyLoss(), {}),
    "draws": (Noisy, lambda p: optim.Adam(p, lr=0.01), nn.CrossEntropyLoss(), {}),
    "two inputs": (Pair, lambda p: optim.Adam(p, lr=0.01), nn.MSELoss(), {}),
    # NumPy's sums write to the loss as to an array of the shape of the summands, without strides.
    "sum": (tanh_net, lambda p: optim.SGD(p, lr=1e-3), nn.MSELoss(reduction="sum"), {}),
    "sum of products": (
        tanh_net, lambda p: optim.Adam(p, lr=0.01),
        lambda out, y: (nn.functional.l1_loss(out, y, reduction="none") * y).sum() + (out * out).mean(), {},
    ),
    "groups": (
        tanh_net,
        lambda p: optim.Adam([{"params": p[:2], "lr": 0.1}, {"params": p[2:], "weight_decay": 0.01}], lr=0.01),
        nn.CrossEntropyLoss(), {},
    ),
}  # fmt: skip


def make(name):
    """A step, its model and the data."""
    fastnn.manual_seed(1)
    build, optimizer, criterion, options = CASES[name]
    model = build()
    step = fastnn.compile_step(model, criterion, optimizer(list(model.parameters())), **options)
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((ROWS, n)).astype(np.float32) for n in ((5, 2) if name == "two inputs" else (5,))]
    labels = isinstance(criterion, nn.CrossEntropyLoss)
    y = rng.integers(0, 3, ROWS) if labels else rng.standard_normal((ROWS, 3)).astype(np.float32)
    order = rng.integers(0, ROWS, (40, BATCH))
    return step, model, [fastnn.from_numpy(a) for a in (*x, y, order)]


class Each(fastnn.callbacks.Callback):
    """With such a method every batch is a single step."""

    def on_batch_end(self, run):
        pass


def state_of(step, model):
    """All that training changes, as bytes."""
    optimizer = step.optimizer.state_dict()["state"]
    tensors = [*model.state_dict().values(), *[t for entry in optimizer.values() for t in entry.values()]]
    tensors += [p.grad for p in model.parameters() if p.grad is not None]
    return [t.numpy().tobytes() for t in tensors], fastnn.get_rng_state().tolist()


def single_steps(step, arrays, order):
    return [step(*[a[i] for a in arrays]).item() for i in order]


@pytest.mark.parametrize("name", CASES)
def test_same_bits_as_single_steps(name, monkeypatch):
    # Several calls.
    monkeypatch.setattr(epoch, "_FIRST", 5)
    step, model, (*arrays, order) = make(name)
    expected = single_steps(step, arrays, order)
    expected_state = state_of(step, model)
    step, model, (*arrays, order) = make(name)
    calls = count_calls(monkeypatch)
    losses = step.run(*arrays, order)
    assert losses.tolist() == expected
    assert state_of(step, model) == expected_state
    # NAdam's scalars are no function of the rate and the count; a frozen parameter divides the update.
    assert (len(calls) == 0) == (name in ("nadam", "frozen"))
    if name == "amsgrad, clipped":
        assert step.grad_norm.item() > 0


def count_calls(monkeypatch):
    calls = []
    run = epoch.Steps.run

    def counted(self, *args):
        found = run(self, *args)
        if found is not None:
            calls.append(len(found))
        return found

    monkeypatch.setattr(epoch.Steps, "run", counted)
    return calls


def test_steps_alternate_with_runs_and_changed_options(monkeypatch):
    results = []
    for many in (False, True):
        step, model, (x, y, order) = make("adam")
        losses = []
        for i, part in enumerate(order.split(10)):
            losses += step.run(x, y, part).tolist() if many else single_steps(step, (x, y), part)
            losses.append(step(x[:BATCH], y[:BATCH]).item())
            step.optimizer.param_groups[0]["lr"] *= 0.5
            if i == 1:
                step.optimizer.param_groups[0]["weight_decay"] = 0.1
            if i == 2:
                model[0].weight.data.mul_(0.5)
        results.append((losses, state_of(step, model)))
    assert results[0] == results[1]


@pytest.mark.parametrize("size", [16, 1, 7, 192])
def test_other_sizes_of_batches_and_layouts(size):
    step, model, (x, y, _) = make("adam")
    wide = fastnn.zeros(ROWS, 10)
    wide[:, ::2] = x
    order = fastnn.from_numpy(np.random.default_rng(2).integers(0, ROWS, (12, size)))
    losses = step.run(wide[:, ::2], y, order.to(fastnn.int32))
    other, other_model, _ = make("adam")
    assert losses.tolist() == single_steps(other, (x, y), order)
    assert state_of(step, model) == state_of(other, other_model)


def test_columns_of_other_types():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.last = nn.Embedding(7, 4), nn.Linear(4, 1)

        def forward(self, codes, mask):
            return self.last(self.table(codes) * mask.unsqueeze(1))

    results = []
    for many in (False, True):
        fastnn.manual_seed(0)
        model = Embedded()
        step = fastnn.compile_step(model, nn.BCEWithLogitsLoss(), optim.Adam(model.parameters()))
        rng = np.random.default_rng(0)
        mask = rng.integers(0, 2, 64).astype(bool)
        arrays = rng.integers(0, 7, 64), mask, rng.random((64, 1)).astype(np.float32)
        columns = [fastnn.from_numpy(a) for a in arrays]
        order = fastnn.from_numpy(rng.integers(0, 64, (9, 8)))
        losses = step.run(*columns, order).tolist() if many else single_steps(step, columns, order)
        results.append((losses, state_of(step, model)))
    assert results[0] == results[1]


def in_sequence(optimizer):
    warm_up = optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=9)
    return optim.lr_scheduler.SequentialLR(
        optimizer, [warm_up, optim.lr_scheduler.CosineAnnealingLR(optimizer, 90)], [10]
    )


SCHEDULES = {
    "exponential": lambda optimizer: optim.lr_scheduler.ExponentialLR(optimizer, 0.97),
    "one cycle": lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100),
    "in sequence": in_sequence,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_of_batches(name):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (ROWS, 5)).astype(np.uint8), rng.integers(0, 3, ROWS)
    results = []
    for callbacks in ([], [Each()]):
        fastnn.manual_seed(0)
        model = full_net()
        adam = optim.Adam(model.parameters(), lr=0.02)
        schedule = SCHEDULES[name](adam)
        history = fastnn.fit(
            model, x, y, epochs=4, batch_size=16, optimizer=adam, step_scheduler=schedule, callbacks=callbacks
        )
        results.append((history["loss"], schedule.state_dict(), [p.tolist() for p in model.parameters()]))
    assert results[0] == results[1]


def until(epoch):
    """A function of the epoch that raises from this one on."""

    def factor(now):
        if now >= epoch:
            raise ValueError("the schedule ends")
        return 0.97**now

    return factor


def of_weights(model):
    return lambda epoch: 1 / (1 + float(model[0].weight.detach().abs().sum()))


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 0.99**self.calls


LAMBDAS = {
    "raises": (lambda model, adam: optim.lr_scheduler.LambdaLR(adam, until(9)), True),
    "ends": (lambda model, adam: optim.lr_scheduler.OneCycleLR(adam, 0.1, total_steps=9, cycle_momentum=False), True),
    "reads a weight": (lambda model, adam: optim.lr_scheduler.LambdaLR(adam, of_weights(model)), False),
    "changes itself": (lambda model, adam: optim.lr_scheduler.LambdaLR(adam, Counted()), False),
    "inside another": (
        lambda model, adam: optim.lr_scheduler.ChainedScheduler([
            optim.lr_scheduler.ExponentialLR(adam, 0.99), optim.lr_scheduler.LambdaLR(adam, of_weights(model)),
        ]),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAMBDAS)
def test_schedules_with_functions(name, monkeypatch):
    """A function that reads a weight is called after the step; an error of a schedule comes after its step."""
    make_schedule, is_ahead = LAMBDAS[name]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, 5)).astype(np.float32), rng.integers(0, 3, ROWS)
    calls, results = count_calls(monkeypatch), []
    for callbacks in ([], [Each()]):
        fastnn.manual_seed(0)
        model = tanh_net()
        adam = optim.Adam(model.parameters(), lr=0.02)
        schedule = make_schedule(model, adam)
        try:
            fastnn.fit(model, x, y, batch_size=16, optimizer=adam, step_scheduler=schedule, callbacks=callbacks)
            raised = ""
        except ValueError as error:
            raised = str(error)
        steps = [float(entry["step"]) for entry in adam.state.values()]
        results.append((raised, schedule.get_last_lr(), steps, [p.tolist() for p in model.parameters()]))
    assert results[0] == results[1]
    assert bool(calls) == is_ahead
    assert bool(results[0][0]) == (name in ("raises", "ends"))


def test_functions_of_numbers_run_ahead():
    adam = optim.Adam([nn.Parameter(fastnn.ones(2))])
    warm_up, table = 5, [1.0, 0.5]

    def factor(epoch, scale=2.0):
        return min(1.0, epoch / warm_up) * scale * np.cos(epoch) * table[epoch % 2]

    for function in (factor, functools.partial(factor, scale=3.0), lambda epoch: 0.9**epoch):
        assert epoch.can_run_ahead(optim.lr_scheduler.LambdaLR(adam, function))
    assert not epoch.can_run_ahead(optim.lr_scheduler.LambdaLR(adam, functools.partial(lambda a, now: 0.9, adam)))


def test_a_slow_first_call_is_measured_again():
    """As after a suspension: a step that seemed to take long does not end the calls of many steps."""
    step, _, (x, y, order) = make("adam")
    step.run(x, y, order[:4])
    steps = next(iter(step._programs.values())).steps[1]
    steps._pace = 0.5
    step.run(x, y, order)
    assert steps._pace < 0.05


def test_a_dropped_step_needs_no_garbage_collection():
    """The data and the model may be large, and a cycle of few objects is not collected soon."""
    step, model, (x, y, order) = make("adam")
    schedule = optim.lr_scheduler.ExponentialLR(step.optimizer, 0.9)
    fastnn.fit(model, x, y, batch_size=16, optimizer=step.optimizer, step_scheduler=schedule, epochs=2)
    step.run(x, y, order)
    gc.collect()
    gc.disable()
    try:
        seen = weakref.ref(model)
        del step, model, schedule
        assert seen() is None
    finally:
        gc.enable()


def test_inputs_that_need_gradients():
    results = []
    for many in (False, True):
        step, model, (x, y, order) = make("adam")
        x.requires_grad_()
        losses = step.run(x, y, order[:6]).tolist() if many else single_steps(step, (x, y), order[:6])
        results.append((losses, x.grad.tolist(), state_of(step, model)))
    assert results[0] == results[1]


def test_first_loss_that_is_not_finite_is_the_last(monkeypatch):
    monkeypatch.setattr(epoch, "_FIRST", 50)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, 5)).astype(np.float32), rng.integers(0, 3, ROWS)
    x[100] = np.inf
    results = []
    for each in (False, True):
        fastnn.manual_seed(0)
        model = full_net()
        adam = optim.Adam(model.parameters(), lr=0.02)
        schedule = optim.lr_scheduler.ExponentialLR(adam, 0.9)
        with pytest.raises(FloatingPointError) as caught:
            fastnn.fit(
                model, x, y, batch_size=16, optimizer=adam, step_scheduler=schedule, shuffle=False,
                callbacks=[Each()] if each else [],
            )  # fmt: skip
        results.append((
            str(caught.value), schedule.last_epoch, [p.detach().numpy().tobytes() for p in model.parameters()],
            [float(entry["step"]) for entry in adam.state.values()], fastnn.get_rng_state().tolist(),
        ))  # fmt: skip
    assert results[0] == results[1]


def test_an_interrupt_while_steps_are_counted(monkeypatch):
    """The first of two groups is not counted twice."""
    step, model, (x, y, order) = make("groups")
    other, other_model, _ = make("groups")
    for part in (order[:6], order[6:14]):
        other.run(x, y, part)
    step.run(x, y, order[:6])
    next(iter(step._programs.values())).steps[1]._pace = None
    finish, calls = flat_runs.ReusableStep.finish, []

    def interrupted(self, *args):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        finish(self, *args)

    monkeypatch.setattr(flat_runs.ReusableStep, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step.run(x, y, order[6:14])
    assert len(calls) == 4
    assert state_of(step, model) == state_of(other, other_model)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_leaves_whole_steps(when, monkeypatch):
    """Before the call nothing has changed; after it, everything has."""
    step, model, (x, y, order) = make("draws")
    step.run(x, y, order[:6])
    other, other_model, _ = make("draws")
    other.run(x, y, order[: 6 if when == "before" else 14])
    expected = state_of(other, other_model)
    fastnn.manual_seed(1)
    step, model, _ = make("draws")
    step.run(x, y, order[:6])
    replay = epoch.Program.replay_over

    def interrupted(self, *args):
        if when == "after":
            replay(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(epoch.Program, "replay_over", interrupted)
    captured = next(iter(step._programs.values()))
    if captured.steps is not None and captured.steps[1] is not None:
        captured.steps[1]._pace = None
    with pytest.raises(KeyboardInterrupt):
        step.run(x, y, order[6:14])
    monkeypatch.undo()
    if when == "before":
        assert all(p.grad is None for p in model.parameters())
        gradients = [p.grad for p in other_model.parameters()]
        assert None not in gradients
        for p in other_model.parameters():
            p.grad = None
        expected = state_of(other, other_model)
    assert state_of(step, model) == expected
    # Training goes on.
    position = fastnn.get_rng_state()
    losses = step.run(x, y, order[14:]).tolist()
    fastnn.set_rng_state(position)
    assert losses == other.run(x, y, order[14:]).tolist()


def test_invalid_arguments():
    step, model, (x, y, order) = make("adam")
    before = [p.tolist() for p in model.parameters()]
    with pytest.raises(TypeError, match="run takes inputs, a target and indices, found 2 arguments"):
        step.run(x, y)
    with pytest.raises(TypeError, match="indices must be integers, found float32"):
        step.run(x, y, order.float())
    with pytest.raises(ValueError, match=r"indices must have the shape \(steps, .*\), found shape \(640,\)"):
        step.run(x, y, order.reshape(-1))
    with pytest.raises(ValueError, match=r"the target must have \(192,\) rows as input 0, found shape \(191,\)"):
        step.run(x, y[1:], order)
    with pytest.raises(IndexError, match="index 192 is out of range for 192 rows"):
        step.run(x, y, order.clamp(max=0) + 192)
    assert [p.tolist() for p in model.parameters()] == before
    assert step.run(x, y, order[:0]).shape == (0,)


def test_labels_out_of_range_are_the_error_of_the_step():
    step, _, (x, y, order) = make("adam")
    step.run(x, y, order)
    y[int(order[20, 3])] = 3
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        step.run(x, y, order)
