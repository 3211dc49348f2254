"""A captured step gives the same bits as the eager one, in every situation; otherwise it gives the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import cut_in

import fastnn
from fastnn import nn

Step = Callable[..., Any]


class Twin:
    """The same model twice: one trained with a captured step, one with the equivalent lines."""

    def __init__(self, make: Callable[[], nn.Module], optimizer: Callable[..., Any], criterion: Any = None) -> None:
        self.models, self.optimizers = [], []
        self.criterion = criterion or nn.CrossEntropyLoss()
        for _ in range(2):
            fastnn.manual_seed(3)
            model = make()
            self.models.append(model)
            self.optimizers.append(optimizer([p for p in model.parameters() if p.requires_grad]))
        self.step = fastnn.compile_step(self.models[0], self.criterion, self.optimizers[0])
        self.states = [fastnn.get_rng_state()] * 2

    def both(self, *batch: Any) -> float:
        """One step of each from the same random state; the loss. All bits must agree."""
        losses = []
        for which, run in enumerate((self.step, self.eager)):
            fastnn.set_rng_state(self.states[which])
            losses.append(run(*batch).item())
            self.states[which] = fastnn.get_rng_state()
        assert losses[0] == losses[1] or np.isnan(losses).all()
        self.compare()
        return losses[0]

    def eager(self, *batch: Any) -> Any:
        """The lines equivalent to a step."""
        self.optimizers[1].zero_grad()
        loss = self.criterion(self.models[1](*batch[:-1]), batch[-1])
        loss.backward()
        self.optimizers[1].step()
        return loss

    def compare(self) -> None:
        """Parameters, buffers, gradients and the optimizers' states are bit-identical."""
        a, b = (m.state_dict() for m in self.models)
        assert a.keys() == b.keys()
        for name in a:
            assert bits(a[name]) == bits(b[name]), name
        for p, q in zip(self.models[0].parameters(), self.models[1].parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                assert bits(p.grad) == bits(q.grad)
        s, t = (o.state_dict()["state"] for o in self.optimizers)
        assert s.keys() == t.keys()
        for key in s:
            assert {n: bits(v) for n, v in s[key].items()} == {n: bits(v) for n, v in t[key].items()}


def bits(t: Any) -> bytes:
    """The bytes of a tensor's numbers."""
    return np.ascontiguousarray(t.detach().numpy()).tobytes()


def batches(count: int, size: int, features: int = 12, classes: int = 5, seed: int = 0) -> list[tuple[Any, Any]]:
    """Random inputs and labels."""
    rng = np.random.default_rng(seed)
    return [
        (
            fastnn.tensor(rng.standard_normal((size, features)).astype(np.float32)),
            fastnn.tensor(rng.integers(0, classes, size)),
        )
        for _ in range(count)
    ]


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 5))


def normalised() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(20, 9), nn.LayerNorm(9), nn.GELU(), nn.Dropout(0.2), nn.Linear(9, 5),
    )  # fmt: skip


def adam(params: Any) -> Any:
    return fastnn.optim.Adam(params, lr=0.01)


OPTIMIZERS = {
    "sgd": lambda p: fastnn.optim.SGD(p, lr=0.1),
    "momentum": lambda p: fastnn.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": adam,
    "adamw": lambda p: fastnn.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: fastnn.optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: fastnn.optim.Adagrad(p, lr=0.1),
}


@pytest.mark.parametrize("size", [16, 600])
def test_smoothed_labels(size: int) -> None:
    twin = Twin(plain, adam, nn.CrossEntropyLoss(label_smoothing=0.1))
    for batch in batches(5, size):
        twin.both(*batch)
    assert twin.step.explain() == "captured: 1 program"


def _labels_of_rows(out: Any, target: Any) -> Any:
    rows = nn.functional.cross_entropy(out, target, reduction="none")
    return (rows * (1 + rows.detach())).sum()


def _numbers_of_rows(out: Any, target: Any) -> Any:
    truth = out.detach() * 0 + 0.25
    rows = nn.functional.mse_loss(out, truth, reduction="none") + nn.functional.binary_cross_entropy_with_logits(
        out, truth, reduction="none"
    )
    return (rows * 0.3).mean()


def _scaled(out: Any, target: Any) -> Any:
    return nn.functional.cross_entropy(out, target) * 0.5 + nn.functional.mse_loss(out, out.detach() * 0) * 2


@pytest.mark.parametrize("criterion", [_labels_of_rows, _numbers_of_rows, _scaled])
def test_losses_that_are_weighted_are_captured(criterion: Any) -> None:
    twin = Twin(plain, adam, criterion)
    for batch in batches(5, 16):
        twin.both(*batch)
    assert twin.step.explain() == "captured: 1 program"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make", [plain, normalised])
def test_same_bits_as_the_eager_step(make: Callable[[], nn.Module], optimizer: str) -> None:
    twin = Twin(make, OPTIMIZERS[optimizer])
    for x, y in batches(8, 16):
        twin.both(x, y)
    assert twin.step.explain() == "captured: 1 program"


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_same_bits_at_any_thread_count(parts: int) -> None:
    def weights() -> list[bytes]:
        fastnn.manual_seed(1)
        model = normalised()
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), adam(model.parameters()))
        for x, y in batches(20, 64):
            step(x, y)
        assert step.explain() == "captured: 1 program"
        return [bits(p) for p in model.parameters()]

    expected = weights()
    with cut_in(parts):
        assert weights() == expected


def test_batch_sizes_come_and_go() -> None:
    twin = Twin(normalised, adam)
    for size in (16, 7, 16, 16, 7, 16, 7, 2, 2, 2, 7):
        twin.both(*batches(1, size, seed=size)[0])
    assert twin.step.explain() == "captured: 3 programs"


def test_layouts_and_copies() -> None:
    twin = Twin(plain, adam)
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((16, 24)).astype(np.float32)
    y = fastnn.tensor(rng.integers(0, 5, 16))
    layouts = [wide[:, :12], wide[:, 12:], wide[:, ::2], np.asfortranarray(wide[:, :12]), wide[:, :12].copy()]
    for layout in layouts * 2:
        twin.both(fastnn.from_numpy(layout), y)
        twin.both(fastnn.from_numpy(layout), y.flip(0))


def test_modes_and_frozen_parameters_and_replaced_ones() -> None:
    twin = Twin(normalised, adam)
    data = batches(4, 16)

    def train(times: int = 4) -> None:
        for x, y in data[:times]:
            twin.both(x, y)

    train()
    for model in twin.models:
        model.eval()
    train()
    for model in twin.models:
        model.train()
        model[1].eval()
    train()
    for model in twin.models:
        model[3].p = 0.9
    train()
    for model in twin.models:
        model[0].weight.requires_grad_(False)
        model[0].weight.grad = None
    train()
    for model in twin.models:
        model[4].weight.data = model[4].weight.data * 0.5
    train()
    for model in twin.models:
        model[2] = nn.Sigmoid()
    train()


def test_learning_rate_and_parameters_changed_by_hand() -> None:
    twin = Twin(plain, OPTIMIZERS["momentum"])
    schedules = [fastnn.optim.lr_scheduler.StepLR(o, 2, 0.5) for o in twin.optimizers]
    for i, (x, y) in enumerate(batches(9, 16)):
        twin.both(x, y)
        for schedule in schedules:
            schedule.step()
        if i % 3 == 0:
            with fastnn.no_grad():
                for model in twin.models:
                    model[0].weight.mul_(0.9)
                    model[0].bias[1:3] = 0.25
    assert twin.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)


def test_gradients_that_are_kept_stay() -> None:
    twin = Twin(plain, adam)
    kept: list[tuple[Any, bytes]] = []
    for x, y in batches(8, 16):
        twin.both(x, y)
        grad = twin.models[0][0].weight.grad
        kept.append((grad, bits(grad)))
    assert "still held" in twin.step.explain()
    for grad, expected in kept:
        assert bits(grad) == expected
    del kept, grad
    twin.both(*batches(1, 16)[0])


def test_losses_that_are_kept_stay() -> None:
    twin = Twin(plain, adam)
    losses = [twin.step(x, y) for x, y in batches(6, 16)]
    again = Twin(plain, adam)
    assert [loss.item() for loss in losses] == [again.eager(x, y).item() for x, y in batches(6, 16)]
    assert not any(loss.requires_grad for loss in losses)


def test_a_wrong_label_changes_nothing() -> None:
    twin = Twin(plain, adam)
    (x, y), *_ = batches(1, 16)
    for _ in range(4):
        twin.both(x, y)
    before = [bits(p) for p in twin.models[0].parameters()]
    wrong = y.clone()
    wrong[3] = 5
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        twin.step(x, wrong)
    assert [bits(p) for p in twin.models[0].parameters()] == before
    ignored = y.clone()
    ignored[3] = -100
    for label in (ignored, y, ignored):
        twin.both(x, label)
    assert twin.step.explain().startswith("captured: 1 program")


class Branches(nn.Module):
    """Reads a number in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        out = self.layer(x)
        return out if out.sum() > 0 else self.layer(-x)


class Outside(Branches):
    """Computes outside the kernels."""

    def forward(self, x: Any) -> Any:
        return self.layer(x.cumsum(1)) + 1.0


class Changing(Branches):
    """A different computation at each call."""

    calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        out = self.layer(x)
        return nn.functional.relu(out) if self.calls % 2 else nn.functional.tanh(out)


class Straight(Branches):
    """Straight-line, with a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(12, 16), nn.Linear(16, 16)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu(self.first(x.flatten(1)))
        x = nn.functional.dropout(nn.functional.relu(self.middle(x)), 0.1, self.training)
        return self.last(x)


def test_straight_line_modules_are_captured() -> None:
    twin = Twin(Straight, adam)
    for model in twin.models:
        del model.layer
    twin = Twin(lambda: _without(Straight(), "layer"), adam)
    for x, y in batches(6, 16):
        twin.both(x, y)
    assert twin.step.explain() == "captured: 1 program"


def _without(module: nn.Module, name: str) -> nn.Module:
    delattr(module, name)
    return module


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Branches, "read in Python"), (Outside, "outside the kernels"), (Changing, "assigned in the step")],
)
def test_what_cannot_be_captured_runs_eagerly_and_says_why(kind: type[nn.Module], reason: str) -> None:
    if kind is Changing:
        # Each of its two traces sees one call.
        model = kind()
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), adam(model.parameters()))
        for x, y in batches(4, 16):
            step(x, y)
    else:
        twin = Twin(kind, adam)
        for x, y in batches(5, 16):
            twin.both(x, y)
        step = twin.step
    assert step.explain().startswith("captured: 0 programs\neager for float32 of shape (16, 12)")
    assert reason in step.explain()


def test_regression_with_float64() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    twin = Twin(make, adam, nn.MSELoss())
    rng = np.random.default_rng(0)
    for _ in range(6):
        x = fastnn.tensor(rng.standard_normal((10, 3)))
        twin.both(x, (x * x).sum(1, keepdim=True))
    assert twin.step.explain() == "captured: 1 program"


def test_an_error_in_the_model_leaves_the_step_usable() -> None:
    twin = Twin(plain, adam)
    (x, y), *_ = batches(1, 16)
    for _ in range(3):
        twin.both(x, y)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        twin.step(x[:, :3], y)
    with pytest.raises(ValueError, match="batch_size"):
        twin.step(x, y[:3])
    twin.both(x, y)


def test_a_model_is_freed_with_its_step() -> None:
    import gc
    import weakref

    twin = Twin(plain, adam)
    for x, y in batches(4, 16):
        twin.both(x, y)
    gone = weakref.ref(twin.models[0])
    del twin, x, y
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [((3, len, None), "model"), ((plain(), 3, None), "criterion"), ((plain(), len, None), "optimizer")],
)
def test_wrong_arguments(arguments: tuple[Any, ...], kind: str) -> None:
    with pytest.raises(TypeError, match=kind):
        fastnn.compile_step(*arguments)


def test_a_batch_of_something_else() -> None:
    model = plain()
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), adam(model.parameters()))
    with pytest.raises(TypeError, match="takes tensors or arrays, found list"):
        step([1.0], [1])


class Scaled(Branches):
    """Arithmetic between the last layer and the loss."""

    def forward(self, x: Any) -> Any:
        return self.layer(x) * 2.0


class Follows(Branches):
    """A buffer that follows the input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", fastnn.zeros(12))

    def forward(self, x: Any) -> Any:
        with fastnn.no_grad():
            self.mean.mul_(0.9).add_(x.mean(0) * 0.1)
        return self.layer(x)


class Assigns(Follows):
    """The same, by assignment."""

    def forward(self, x: Any) -> Any:
        self.mean = (self.mean * 0.9 + x.mean(0) * 0.1).detach()
        return self.layer(x)


class Configured(Branches):
    """Reads an option from a place that is not guarded."""

    def __init__(self) -> None:
        super().__init__()
        self.options = {"slope": 0.1}

    def forward(self, x: Any) -> Any:
        return nn.functional.leaky_relu(self.layer(x), self.options["slope"])


def cumulative() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 5))


class Residual(Branches):
    """Arithmetic, comparisons and sums between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(12, 12)

    def forward(self, x: Any) -> Any:
        h = x + self.inner(x).tanh() / 2
        h = fastnn.where(h > 0, h, 0.1 * h) * h.mean(1, keepdim=True)
        return fastnn.maximum(self.layer(h), h.clamp(-1, 1)[:, :5]) - h.sum(0)[:5].masked_fill(h[0, :5] < 0, 0.5)


def by_hand(out: Any, target: Any) -> Any:
    """A loss of elementwise operations and a mean."""
    return ((out - target) ** 2 + 1).sqrt().mean() + 0.01 * out.exp().log().abs().sum()


@pytest.mark.parametrize("make", [plain, Scaled, Residual])
@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.SmoothL1Loss(), by_hand])
@pytest.mark.parametrize("size", [1, 16, 130])
def test_arithmetic_is_captured(make: Any, criterion: Any, size: int) -> None:
    twin = Twin(make, OPTIMIZERS["momentum"], criterion)
    for x, _ in batches(6, size):
        twin.both(x, x[:, :5] * 0.5)
    assert twin.step.explain() == "captured: 1 program"


@pytest.mark.parametrize("make", [Follows, Assigns, Configured, cumulative])
@pytest.mark.parametrize("criterion", [nn.MSELoss, nn.SmoothL1Loss])
def test_what_only_looks_captured_stays_eager(make: Any, criterion: Any) -> None:
    twin = Twin(make, OPTIMIZERS["momentum"], criterion())
    for x, _ in batches(6, 16):
        twin.both(x, x[:, :5] * 0.5)
    assert twin.step.explain().startswith("captured: 0 programs")


def test_embeddings_read_the_indices_of_each_batch() -> None:
    twin = Twin(lambda: nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 5)), adam)
    rng = np.random.default_rng(0)
    for _ in range(6):
        twin.both(fastnn.tensor(rng.integers(0, 7, (6, 2))), fastnn.tensor(rng.integers(0, 5, 6)))


def test_inputs_that_share_memory_and_then_do_not() -> None:
    twin = Twin(lambda: nn.Linear(5, 5), adam, nn.MSELoss())
    (a, _), (b, _) = batches(2, 9, features=5)
    for x, y in ((a, a), (a, a), (a, a), (a, b), (a[1:], b[1:]), (a[1:], a[:-1]), (a[1:], a[:-1]), (b[1:], a[:-1])):
        twin.both(x, y)


def test_hooks_and_functions_that_come_later() -> None:
    twin = Twin(plain, OPTIMIZERS["sgd"])
    data = batches(3, 16)

    def train() -> None:
        for x, y in data:
            twin.both(x, y)

    train()
    handles = [m[0].register_forward_hook(lambda module, args, out: out * 2) for m in twin.models]
    train()
    for handle in handles:
        handle.remove()
    train()
    handles = [m[0].weight.register_hook(lambda grad: grad * 0.5) for m in twin.models]
    train()
    for handle in handles:
        handle.remove()
    for optimizer in twin.optimizers:
        parameters = optimizer.param_groups[0]["params"]

        def double(*arguments: Any, parameters: list[Any] = parameters) -> None:
            for p in parameters:
                p.grad.mul_(2)

        optimizer.register_step_pre_hook(double)
    train()
    for model in twin.models:
        model[1].forward = nn.functional.tanh
    train()


def test_momentum_switched_on_later() -> None:
    twin = Twin(plain, OPTIMIZERS["sgd"])
    for i, (x, y) in enumerate(batches(9, 16)):
        if i == 5:
            for optimizer in twin.optimizers:
                optimizer.param_groups[0]["momentum"] = 0.9
        twin.both(x, y)


def test_steps_in_several_threads() -> None:
    import threading

    def train(seed: int) -> list[bytes]:
        model = fastnn.nn.Linear(12, 5)
        with fastnn.no_grad():
            for p in model.parameters():
                p.copy_(fastnn.from_numpy(np.random.default_rng(seed).standard_normal(tuple(p.shape)).astype(np.float32)))
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), adam(model.parameters()))
        for x, y in batches(40, 16, seed=seed):
            step(x, y)
        return [bits(p) for p in model.parameters()]

    expected = [train(seed) for seed in range(4)]
    found: dict[int, Any] = {}

    def work(seed: int) -> None:
        try:
            found[seed] = train(seed)
        except BaseException as error:
            found[seed] = error

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(4)] == expected


SEEN: list[Any] = []
COUNT = [0]


def appends(out: Any, target: Any) -> Any:
    SEEN.append(1)
    return nn.functional.cross_entropy(out, target)


def counts(out: Any, target: Any) -> Any:
    COUNT[0] += 1
    return nn.functional.cross_entropy(out, target)


def keeps_in_a_local_list(out: Any, target: Any) -> Any:
    parts, named = [], {}
    parts.append(nn.functional.cross_entropy(out, target))
    named["loss"] = parts[0]
    return named["loss"]


class Counting:
    """Criteria that change something: an attribute, a list of a list."""

    def __init__(self) -> None:
        self.calls, self.lists = 0, [[0]]

    def attribute(self, out: Any, target: Any) -> Any:
        self.calls += 1
        return nn.functional.cross_entropy(out, target)

    def element(self, out: Any, target: Any) -> Any:
        self.lists[0].append(1)
        return nn.functional.cross_entropy(out, target)


@pytest.mark.parametrize("criterion", [appends, counts, Counting().attribute, Counting().element])
def test_criterion_with_side_effects_is_not_captured(criterion: Any) -> None:
    model = nn.Linear(3, 3)
    step = fastnn.compile_step(model, criterion, fastnn.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(5):
        step(fastnn.randn(4, 3), fastnn.tensor([0, 1, 2, 0]))
    assert "the criterion changes something outside itself" in step.explain()
    owner = getattr(criterion, "__self__", None)
    if owner is None:
        assert (len(SEEN) if criterion is appends else COUNT[0]) == 5
    else:
        assert owner.calls == 5 or len(owner.lists[0]) == 6


def test_criterion_that_changes_local_lists_is_captured() -> None:
    model = nn.Linear(3, 3)
    step = fastnn.compile_step(model, keeps_in_a_local_list, fastnn.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(4):
        step(fastnn.randn(4, 3), fastnn.tensor([0, 1, 2, 0]))
    assert step.explain() == "captured: 1 program"


def test_criteria_on_one_line_are_told_apart() -> None:
    """Lambdas on one line are found by their columns."""
    entropy, kept = nn.functional.cross_entropy, []
    criteria = [lambda o, t: (kept.append(1), entropy(o, t))[1], lambda o, t: entropy(o, t)]  # fmt: skip
    captured = []
    for criterion in criteria:
        model = nn.Linear(3, 3)
        step = fastnn.compile_step(model, criterion, fastnn.optim.SGD(model.parameters(), lr=0.1))
        for _ in range(4):
            step(fastnn.randn(4, 3), fastnn.tensor([0, 1, 2, 0]))
        captured.append(step.explain())
    assert len(kept) == 4
    assert captured[0].startswith("captured: 0 programs")
    assert captured[1] == "captured: 1 program"
