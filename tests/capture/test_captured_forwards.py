"""Captured forward and backward passes give the same bits as eager ones, in every situation."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import cut_in

import fastnn
from fastnn import nn
from fastnn.nn import functional as F


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    fastnn.set_capture(True)
    yield
    fastnn.set_capture(True)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3))


def regularized() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, 8), nn.LayerNorm(8), nn.GELU(),
        nn.Dropout(0.5), nn.Linear(8, 3),
    )  # fmt: skip


class Written(nn.Module):
    """A typical forward: functions, methods, a branch on the mode, a loop over layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.width = nn.Linear(12, 20), nn.ReLU(), 20
        self.hidden = nn.ModuleList([nn.Linear(20, 20) for _ in range(2)])
        self.norm, self.drop, self.last = nn.BatchNorm1d(20), nn.Dropout(0.2), nn.Linear(20, 3)

    def features(self, x: Any) -> Any:
        """A helper method."""
        x = x.view(x.size(0), -1)
        return self.act(self.first(x))

    def forward(self, x: Any, mask: Any = None) -> Any:
        if mask is not None:
            x = x * mask
        x = self.features(x)
        for layer in self.hidden:
            x = F.relu(layer(x))
        if self.training and self.width > 10:
            x = self.drop(x)
        return self.last(self.norm(x))


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside = nn.Linear(12, 12), nn.Linear(12, 12)
        self.outside.weight = self.inside.weight

    def forward(self, x: Any) -> Any:
        return self.outside(torch_relu(self.inside(x)))


torch_relu = fastnn.relu


def wide() -> nn.Module:
    """The rows of the last weight map to the same cache sets."""
    return nn.Sequential(nn.Linear(12, 256), nn.ReLU(), nn.Linear(256, 3))


MODELS = {"plain": plain, "wide": wide, "regularized": regularized, "written": Written}


def batch(rows: int = 16, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return fastnn.tensor(rng.standard_normal((rows, 12)).astype(np.float32)), fastnn.tensor(rng.integers(0, 3, rows))


def twice(work: Callable[[], Any], expected: str | None = "captured") -> None:
    """``work`` returns the same bits without and with capture, from one seed.

    It returns the model, whose parameters, gradients and buffers are compared, then other results to compare.
    """
    found = []
    for on in (False, True):
        fastnn.set_capture(on)
        fastnn.manual_seed(5)
        model, *others = work()
        if on and expected is not None:
            assert expected in fastnn.explain(model)
        state = [*model.state_dict().values(), *[p.grad for p in model.parameters()], *others]
        found.append([np.asarray(t.detach() if hasattr(t, "detach") else t).tolist() for t in state if t is not None])
    assert found[0] == found[1]


def train(model: nn.Module, steps: int = 6, rows: tuple[int, ...] = (16,), **zero: Any) -> list[float]:
    """The plain loop; losses."""
    optimizer, losses = fastnn.optim.Adam(model.parameters(), lr=0.01), []
    for step in range(steps):
        x, y = batch(rows[step % len(rows)], step)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(**zero)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_training(name: str, threads: int) -> None:
    def work() -> Any:
        model = MODELS[name]()
        with cut_in(threads):
            return model, train(model, 8)

    twice(work, None)
    model = MODELS[name]()
    train(model)
    assert fastnn.explain(model) == "captured for float32 of shape (16, 12)"


def test_other_batch_sizes_and_modes() -> None:
    def work() -> Any:
        model, found = regularized(), []
        for _ in range(4):
            found += train(model, 6, (16, 5))
            model.eval()
            with fastnn.no_grad():
                found += [model(batch(7, seed)[0]) for seed in range(4)]
            model.train()
        return model, *found

    twice(work, "captured for float32 of shape (7, 12) in evaluation mode without gradients")


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_are_zeroed_or_forgotten(set_to_none: bool) -> None:
    def work() -> Any:
        model = plain()
        return model, train(model, set_to_none=set_to_none)

    twice(work)


def test_gradients_accumulate() -> None:
    """The batches are long enough for a product to be summed in pieces."""

    def work() -> Any:
        model = plain()
        for seed in range(7):
            x, y = batch(700, seed)
            F.cross_entropy(model(x), y).backward()
        return (model,)

    twice(work)


def test_several_forwards_before_the_backward() -> None:
    def work() -> Any:
        model, found = regularized(), []
        for _ in range(5):
            outputs = [model(batch(seed=seed)[0]) for seed in range(3)]
            for out in outputs[::-1]:
                (out * out).sum().backward()
            found += outputs
        return model, *found

    twice(work)


def test_more_forwards_than_are_kept() -> None:
    def work() -> Any:
        model = plain()
        outputs = [model(batch(seed=seed)[0]) for seed in range(12)]
        sum(out.sum() for out in outputs).backward()
        return model, *outputs

    twice(work)


@pytest.mark.parametrize("make", [plain, wide])
def test_gradients_of_inputs_and_of_chosen_parameters(make: Callable[[], nn.Module]) -> None:
    def work() -> Any:
        model, found = make(), []
        for seed in range(5):
            x = batch(seed=seed)[0].requires_grad_()
            found += fastnn.autograd.grad(model(x).sum(), [x, next(model.parameters())])
            y = x * 2
            y.retain_grad()
            model(y).pow(2).sum().backward()
            found += [x.grad, y.grad]
        return model, *found

    twice(work)


def test_a_graph_is_walked_twice() -> None:
    def work() -> Any:
        model, found = regularized(), []
        for seed in range(5):
            out = model(batch(seed=seed)[0])
            out.sum().backward(retain_graph=True)
            out.pow(2).sum().backward()
            found.append(out)
        with pytest.raises(RuntimeError, match="second time"):
            out.sum().backward()
        return model, *found

    twice(work)


@pytest.mark.parametrize("name", MODELS)
def test_second_derivatives(name: str) -> None:
    def work(before: int = 0) -> Any:
        model, found = MODELS[name](), []
        for seed in range(6):
            x = batch(seed=seed)[0].requires_grad_()
            if seed < before:
                model(x).sum().backward()
            else:
                (dx,) = fastnn.autograd.grad(model(x).sum(), x, create_graph=True)
                (dx**2).sum().backward()
                found += [dx, x.grad]
        return model, *found

    twice(work, "eager for float32 of shape (16, 12): backward passes are differentiated again")
    # The model is captured first.
    twice(lambda: work(4), "eager for float32 of shape (16, 12): backward passes are differentiated again")


def test_shared_and_frozen_parameters() -> None:
    def work() -> Any:
        model = Tied()
        model.outside.bias.requires_grad_(False)
        found: list[Any] = []
        for seed in range(9):
            model.inside.bias.requires_grad_(seed < 5)
            out = model(batch(seed=seed)[0])
            out.sum().backward()
            found.append(out)
        return model, *found

    twice(work, None)


def test_what_is_changed_in_between() -> None:
    """Weights assigned, loaded, moved; a layer replaced; a probability changed; the number of threads changed."""

    def work() -> Any:
        model, found = regularized(), []
        found += train(model)
        model[0].weight.data = fastnn.ones(20, 12)
        found += train(model)
        model.load_state_dict(regularized().state_dict())
        found += train(model)
        with fastnn.no_grad():
            model[4].weight.mul_(2)
        found += train(model)
        model[0] = nn.Linear(12, 20)
        found += train(model)
        model[3].p = 0.9
        found += train(model)
        model[3] = nn.Identity()
        found += train(model)
        model[4].register_parameter("bias", None)
        found += train(model)
        model[4]._parameters["bias"] = nn.Parameter(fastnn.ones(8))
        found += train(model)
        model[1].eval()
        return model, found + train(model)

    twice(work)


def test_hooks_are_called() -> None:
    def work() -> Any:
        model, seen = plain(), []
        train(model)
        handles = [
            model[2].register_forward_hook(lambda module, inputs, output: seen.append(output.sum().item())),
            model[0].weight.register_hook(lambda grad: seen.append(grad.sum().item())),
        ]
        train(model)
        for handle in handles:
            handle.remove()
        out = model(batch()[0])
        out.register_hook(lambda grad: grad * 2)
        out.sum().backward()
        return model, seen

    twice(work, None)


def test_a_hook_that_comes_between_forward_and_backward() -> None:
    def work() -> Any:
        model, seen = plain(), []
        train(model)
        model.zero_grad()
        out = model(batch()[0])
        model[0].bias.register_hook(lambda grad: seen.append(grad.clone()))
        out.sum().backward()
        return model, *seen

    twice(work)


def test_what_was_read_must_not_change_before_the_backward() -> None:
    model = plain()
    train(model)
    x, _ = batch()
    for change in (lambda: x.add_(1), lambda: model[2].weight.add_(0)):
        out = model(x)
        with fastnn.no_grad():
            change()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_the_output_is_the_callers() -> None:
    model = plain()
    train(model)
    with fastnn.no_grad():
        first = model(batch(seed=1)[0])
        kept = first.clone()
        second = model(batch(seed=2)[0])
    assert not np.shares_memory(first.numpy(), second.numpy())
    first.zero_()
    with fastnn.no_grad():
        assert model(batch(seed=1)[0]).tolist() == kept.tolist()


@pytest.mark.parametrize("make", [plain, wide])
def test_gradients_that_are_held_are_not_written_over(make: Callable[[], nn.Module]) -> None:
    model = make()
    train(model)
    held = [p.grad for p in model.parameters()]
    before = [g.clone() for g in held]
    model.zero_grad()
    model(batch(seed=9)[0]).sum().backward()
    for g, b, p in zip(held, before, model.parameters(), strict=True):
        assert g.tolist() == b.tolist()
        assert not np.shares_memory(g.numpy(), p.grad.numpy())


def test_errors_are_those_of_the_eager_call() -> None:
    model = plain()
    train(model)
    for wrong in (fastnn.zeros(16, 11), fastnn.zeros(16, 12, dtype=fastnn.float64), fastnn.zeros(16, 12).long()):
        for _ in range(4):
            with pytest.raises(RuntimeError, match=r"cannot be multiplied|same dtype|floating|float32"):
                model(wrong)
    x, _ = batch()
    assert model(x).tolist() == copy.deepcopy(model)(x).tolist()


def test_several_threads_call_one_model() -> None:
    model = regularized().eval()
    inputs = [batch(seed=seed)[0] for seed in range(4)]
    with fastnn.no_grad():
        fastnn.set_capture(False)
        expected = [model(x).tolist() for x in inputs]
        fastnn.set_capture(True)
    wrong: list[int] = []

    def work(i: int) -> None:
        with fastnn.no_grad():
            for _ in range(50):
                if model(inputs[i]).tolist() != expected[i]:
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_models_are_freed_copied_and_pickled() -> None:
    model = plain()
    train(model)
    model.zero_grad()
    twin, read = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    assert twin.__dict__.get("_replays") is None
    assert isinstance(read._modules, dict)
    assert copy.copy(model)(batch()[0]).tolist() == model(batch()[0]).tolist()
    x, _ = batch()
    for other in (twin, read):
        losses = train(other), train(copy.deepcopy(model))
        assert losses[0] == losses[1]
        assert other(x).tolist() != model(x).tolist()
        assert "captured" in fastnn.explain(other)
    gc.collect()
    gc.disable()
    try:
        dead = weakref.ref(model)
        del model
        assert dead() is None
    finally:
        gc.enable()


def test_inputs_in_another_layout() -> None:
    def work() -> Any:
        model, found = plain(), []
        for seed in range(6):
            x = batch(seed=seed)[0]
            turned = fastnn.tensor(x.numpy().T.copy()).T
            found += [model(x), model(turned), model(fastnn.cat([x, x], 1)[:, :12]), model(x.double().float())]
        return model, *found

    twice(work)


def test_an_exact_layout_of_float64() -> None:
    def work() -> Any:
        model, found = plain().double(), []
        for seed in range(5):
            out = model(batch(seed=seed)[0].double())
            out.sum().backward()
            found.append(out)
        return model, *found

    twice(work, "captured for float64 of shape (16, 12)")


@pytest.mark.parametrize("rows", [4096, 4097, 5000, 6143])
@pytest.mark.parametrize("make", [plain, wide, regularized, Tied])
def test_a_large_batch_in_pieces(make: Callable[[], nn.Module], rows: int) -> None:
    def work() -> Any:
        model, found = make().eval(), []
        with fastnn.no_grad():
            for seed in range(4):
                x = batch(rows, seed)[0]
                x.numpy().flags.writeable = seed % 2 == 0
                found += [model(x), model(fastnn.tensor(x.numpy().T.copy()).T)]
        return model, *found

    # A BatchNorm updates its statistics itself, so its computation is not analysed.
    twice(work, "may depend on each other" if make is regularized else "captured for float32 of shape (2048, 12)")


def test_a_rest_of_few_rows() -> None:
    def work() -> Any:
        model = plain().eval()
        # Up to four rows are computed as dot products.
        with fastnn.no_grad():
            return model, *[model(batch(rows, rows)[0]) for rows in (4097, 4097, 4097, 4098, 4100, 4101, 4160)]

    twice(work)


class Rows(nn.Module):
    """Rows that depend on each other: this must not be split by rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 12)

    def forward(self, x: Any) -> Any:
        h = self.layer(x)
        return fastnn.mm(h, fastnn.mm(h.t(), x))


def test_rows_that_depend_on_each_other_stay_together() -> None:
    def work() -> Any:
        model = Rows().eval()
        with fastnn.no_grad():
            return model, *[model(batch(4096, seed)[0]) for seed in range(5)]

    twice(work, None)


def test_a_large_batch_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2048), nn.ReLU(), nn.Linear(2048, 1))
    with fastnn.no_grad():
        for _ in range(4):
            model(fastnn.zeros(4096, 2))
    assert fastnn.explain(model).endswith("what lies between input and output is too large to be kept")


def test_arguments() -> None:
    with pytest.raises(TypeError, match="on must be True or False, found int"):
        fastnn.set_capture(1)
    with pytest.raises(TypeError, match="model must be a Module, found int"):
        fastnn.explain(1)
    assert fastnn.explain(plain()) == "nothing captured: fewer than 3 calls of a kind"


def test_a_change_through_data_is_found_before_it_is_differentiated_twice():
    model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 3), fastnn.nn.Linear(3, 2))
    x = fastnn.randn(4, 2)
    for _ in range(5):
        out = model(x)
    assert "captured" in fastnn.explain(model)
    model[0].weight.data.add_(0.1)
    with pytest.raises(RuntimeError, match=r"through \.data"):
        fastnn.autograd.grad(out.pow(2).sum(), list(model.parameters()), create_graph=True)
    # The next call runs eagerly, and what has changed before it does not matter.
    out = model(x)
    assert len(fastnn.autograd.grad(out.pow(2).sum(), list(model.parameters()), create_graph=True)) == 4


def test_a_trace_draws_no_numbers_of_other_threads():
    def draw() -> list[float]:
        fastnn.manual_seed(3)
        return [fastnn.rand(50)[0].item() for _ in range(1500)]

    def forwards() -> None:
        while not done.is_set():
            model = fastnn.nn.Sequential(*[layer for _, layer in layers.named_children()])
            for _ in range(4):
                model(x)

    expected, done, x = draw(), threading.Event(), fastnn.ones(4, 3)
    layers = fastnn.nn.Sequential(fastnn.nn.Linear(3, 3), fastnn.nn.ReLU(), fastnn.nn.Linear(3, 3))
    thread = threading.Thread(target=forwards)
    thread.start()
    try:
        assert draw() == expected
    finally:
        done.set()
        thread.join()


def test_a_forward_that_draws_in_numpy_says_so():
    class Noisy(fastnn.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = fastnn.nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(x) + fastnn.randn(3)

    model, x = Noisy(), fastnn.zeros(4, 3)
    fastnn.manual_seed(0)
    found = [model(x)[0] for _ in range(5)]
    fastnn.manual_seed(0)
    expected = [model.layer(x)[0] + fastnn.randn(3) for _ in range(5)]
    assert [t.tolist() for t in found] == [t.tolist() for t in expected]
