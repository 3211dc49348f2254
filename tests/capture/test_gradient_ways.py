"""Every way to compute gradients after every other one: captured as eager, with exact values where known.

A recorded backward pass is chosen by the gradients that already exist. Each has arrays of its own, and none may
rely on the contents left by another one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.nn import functional as F

ROWS = 4


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    fastnn.set_capture(True)
    yield
    fastnn.set_capture(True)


def network() -> Any:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2))


class Case:
    """A model, an input that needs a gradient, and the results so far."""

    def __init__(self) -> None:
        fastnn.manual_seed(3)
        self.model = network()
        self.x = fastnn.rand(ROWS, 3).requires_grad_()
        self.y = fastnn.tensor([0, 1, 0, 1])
        self.found: list[Any] = []
        self.held: list[Any] = []

    def loss(self) -> Any:
        return F.cross_entropy(self.model(self.x), self.y)

    def note(self, *tensors: Any) -> None:
        """Record copies, or None."""
        self.found += [None if t is None else t.detach().clone() for t in tensors]


def accumulate(case: Case) -> None:
    case.loss().backward()


def zeroed(case: Case) -> None:
    case.model.zero_grad()
    case.x.grad = None
    case.loss().backward()


def from_zero(case: Case) -> None:
    case.model.zero_grad(set_to_none=False)
    case.loss().backward()


def by_input(case: Case) -> None:
    case.note(*fastnn.autograd.grad(case.loss(), case.x))


def by_weight(case: Case) -> None:
    case.note(*fastnn.autograd.grad(case.loss(), [case.model[0].weight]))


def by_all(case: Case) -> None:
    case.note(*fastnn.autograd.grad(case.loss(), [case.x, *case.model.parameters()]))


def some_are_new(case: Case) -> None:
    case.model[3].zero_grad()
    case.loss().backward()


def one_is_preset(case: Case) -> None:
    case.model.zero_grad()
    case.model[0].bias.grad = fastnn.ones(5)
    case.loss().backward()


def one_is_shared(case: Case) -> None:
    """One tensor is the gradient of two parameters, and both accumulate into it."""
    case.model.zero_grad()
    case.model[0].bias.grad = case.model[3].bias.grad = fastnn.ones(5)
    case.loss().backward()
    case.note(case.model[0].bias.grad)
    case.model.zero_grad()


def one_is_anothers(case: Case) -> None:
    case.loss().backward()
    case.model[0].bias.grad = case.model[3].bias.grad
    case.model[3].bias.grad = None
    case.loss().backward()


def one_is_a_view(case: Case) -> None:
    case.model.zero_grad()
    whole = fastnn.ones(2, 5)
    case.model[0].bias.grad = whole[1]
    case.loss().backward()
    case.note(whole)


def held(case: Case) -> None:
    case.loss().backward()
    case.held.append([p.grad for p in case.model.parameters()])
    case.model.zero_grad()
    case.loss().backward()


def twice(case: Case) -> None:
    loss = case.loss()
    loss.backward(retain_graph=True)
    case.note(*fastnn.autograd.grad(loss, case.x, retain_graph=True))
    loss.backward()


def interleaved(case: Case) -> None:
    first, second = case.loss(), (case.model(case.x) ** 2).sum()
    case.note(*fastnn.autograd.grad(second, case.x, retain_graph=True))
    first.backward()
    second.backward()


def of_some(case: Case) -> None:
    case.loss().backward(inputs=[case.model[0].weight, case.x])


def hooked(case: Case) -> None:
    loss = case.loss()
    handle = case.model[3].weight.register_hook(lambda grad: grad * 2)
    loss.backward()
    handle.remove()


def frozen_since(case: Case) -> None:
    loss = case.loss()
    case.model[0].weight.requires_grad_(False)
    loss.backward()
    case.model[0].weight.requires_grad_(True)


def thawed_since(case: Case) -> None:
    case.model[3].requires_grad_(False)
    loss = case.loss()
    case.model[3].requires_grad_(True)
    loss.backward()


def without_input(case: Case) -> None:
    F.cross_entropy(case.model(case.x.detach()), case.y).backward()


WAYS = [
    accumulate, zeroed, from_zero, by_input, by_weight, by_all, some_are_new, one_is_preset, one_is_shared,
    one_is_anothers, one_is_a_view, held, twice, interleaved, of_some, hooked, frozen_since, thawed_since,
    without_input,
]  # fmt: skip


def walked(ways: list[Callable[[Case], None]], captured: bool) -> list[Any]:
    """The results of the ways, run in sequence."""
    fastnn.set_capture(captured)
    case = Case()
    for way in ways:
        way(case)
        case.note(case.x.grad, *[p.grad for p in case.model.parameters()])
    case.note(*itertools.chain.from_iterable(case.held))
    if captured:
        assert "captured" in fastnn.explain(case.model)
    return [None if t is None else t.numpy().tobytes() for t in case.found]


@pytest.mark.parametrize("first", WAYS, ids=lambda way: way.__name__)
def test_one_way_after_another(first: Callable[[Case], None]) -> None:
    for second in WAYS:
        ways = [zeroed, zeroed, zeroed, first, second, first]
        assert walked(ways, True) == walked(ways, False), second.__name__


def test_saliency_beside_gradients_that_accumulate() -> None:
    """The gradient by x does not depend on the accumulated gradients of the parameters."""
    case = Case()
    found = []
    for _ in range(8):
        case.loss().backward()
        found.append(fastnn.autograd.grad(case.loss(), case.x)[0].numpy().tobytes())
    assert len(set(found)) == 1
    assert np.isfinite(np.frombuffer(found[0], np.float32)).all()


class Aliased(nn.Module):
    """A parameter that belongs to two modules; only one of them is used."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 5), nn.Linear(3, 5)
        self.unused.weight = self.used.weight

    def forward(self, x: Any) -> Any:
        return self.used(x)


def test_a_parameter_that_is_registered_twice() -> None:
    def work(captured: bool) -> list[Any]:
        fastnn.set_capture(captured)
        fastnn.manual_seed(3)
        model, x = Aliased(), fastnn.rand(ROWS, 3)
        found = []
        for i in range(12):
            out = model(x).sum()
            model.used.bias.requires_grad_(i % 3 != 1)
            out.backward()
            model.used.bias.requires_grad_(True)
            found += [None if p.grad is None else p.grad.tolist() for p in model.used.parameters()]
            if i % 4 == 3:
                model.zero_grad()
        assert not captured or "captured" in fastnn.explain(model)
        return found

    assert work(True) == work(False)


# -- The forward decides what is recorded ------------------------------------------------------


def layers() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Modules that compute the gradients of their parameters themselves, each with an input."""
    x = fastnn.rand(ROWS, 3)
    return {
        "linear": lambda: (nn.Linear(3, 5), x),
        "batch norm": lambda: (nn.BatchNorm1d(3), x),
        "batch norm in evaluation mode": lambda: (nn.BatchNorm1d(3).eval(), x),
        "layer norm": lambda: (nn.LayerNorm(3), x),
        "group norm": lambda: (nn.GroupNorm(3, 3), fastnn.rand(2, 3, 4)),
        "rms norm": lambda: (nn.RMSNorm(3), x),
        "prelu": lambda: (nn.PReLU(), -x),
        "bilinear": lambda: (nn.Bilinear(3, 3, 2), x),
        "embedding": lambda: (nn.Embedding(3, 2), fastnn.tensor([0, 1])),
        "embedding bag": lambda: (nn.EmbeddingBag(3, 2), fastnn.tensor([[0, 1]])),
        "captured": lambda: (nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5)), x),
    }


LAYERS = layers()


def applied(module: Any, x: Any) -> Any:
    return module(x, x) if isinstance(module, nn.Bilinear) else module(x)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_that_are_frozen_in_the_forward(name: str) -> None:
    """Enabled after the forward they get no gradient; disabled after it they get none either."""
    module, x = LAYERS[name]()
    for _ in range(3):
        applied(module, x).sum().backward()
    for p in module.parameters():
        module.zero_grad()
        given = x.clone().requires_grad_() if x.is_floating_point() else x
        # Requires a backward pass even if everything else is frozen.
        extra = fastnn.zeros((), requires_grad=True)
        p.requires_grad_(False)
        loss = applied(module, given).sum() + extra
        p.requires_grad_(True)
        loss.backward()
        assert p.grad is None
        assert all(other.grad is not None for other in module.parameters() if other is not p)
        loss = applied(module, given).sum() + extra
        p.requires_grad_(False)
        loss.backward()
        assert p.grad is None
        p.requires_grad_(True)


def test_an_operand_of_a_loss_that_is_frozen_in_the_forward() -> None:
    x, y = fastnn.ones(3), fastnn.zeros(3, requires_grad=True)
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss):
        x.requires_grad_(False)
        out = loss(x, y)
        x.requires_grad_(True)
        out.backward()
        assert x.grad is None
        assert y.grad is not None


def test_hooks_of_a_parameter_that_was_frozen_since() -> None:
    """They are called with the gradient, which is then not stored."""
    for captured in (False, True):
        fastnn.set_capture(captured)
        model, seen = network(), list[Any]()
        for _ in range(3):
            loss = model(fastnn.ones(ROWS, 3)).sum()
        p = model[0].weight
        p.register_hook(lambda grad, seen=seen: seen.append(grad.shape))
        p.register_post_accumulate_grad_hook(lambda p, seen=seen: seen.append(p.grad))
        p.requires_grad_(False)
        loss.backward()
        assert seen == [(5, 3), None]


def test_second_derivatives_leave_out_what_was_frozen_in_the_forward() -> None:
    for captured in (False, True):
        fastnn.set_capture(captured)
        fastnn.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), fastnn.rand(ROWS, 3).requires_grad_()
        for _ in range(3):
            model(x).sum().backward()
        model.zero_grad()
        frozen, found = model[0].weight.requires_grad_(False), []
        for _ in range(3):
            loss = model(x).pow(2).sum()
        frozen.requires_grad_(True)
        (dx,) = fastnn.autograd.grad(loss, x, create_graph=True)
        dx.pow(2).sum().backward()
        assert frozen.grad is None
        assert frozen.requires_grad
        found.append([p.grad for p in model.parameters() if p is not frozen])
        assert all(g is not None for g in found[-1])


def test_a_leaf_that_has_become_a_result_since() -> None:
    x = fastnn.ones(3, requires_grad=True)
    y = x * 2
    x.requires_grad_(False)
    x.mul_(fastnn.ones(3, requires_grad=True))
    with pytest.raises(RuntimeError, match="moved into the graph interior"):
        y.sum().backward()


# -- Hooks -----------------------------------------------------------------------------------------


def four_layers(lib: Any) -> Any:
    model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.LayerNorm(3), lib.nn.Tanh(), lib.nn.Linear(3, 2))
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.sin(lib.arange(1.0, p.numel() + 1)).reshape(p.shape))
    return model


@pytest.mark.parametrize("calls", [0, 4])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_is_called_once(lib: Any, calls: int, create_graph: bool) -> None:
    """Also if operations are computed again, to be differentiated."""
    model, x, seen = four_layers(lib), lib.ones(2, 2, requires_grad=True), list[str]()
    for _ in range(calls):
        model(x).sum()

    def doubled(name: str) -> Callable[[Any], Any]:
        def hook(grad: Any) -> Any:
            seen.append(name)
            return grad * 2

        return hook

    loss = model(x).pow(2).sum()
    targets = [x, *model.parameters()]
    plain = lib.autograd.grad(loss, targets, retain_graph=True)
    for i, t in enumerate(targets):
        t.register_hook(doubled(str(i)))
    found = lib.autograd.grad(loss, targets, create_graph=create_graph)
    assert sorted(seen) == [str(i) for i in range(len(targets))]
    for f, p in zip(found, plain, strict=True):
        np.testing.assert_allclose(f.detach().numpy(), 2 * p.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_of_a_result_is_called_once(lib: Any, create_graph: bool) -> None:
    model, x = four_layers(lib), lib.ones(2, 2, requires_grad=True)
    hidden = model[1](model[0](x))
    loss = model[3](model[2](hidden)).pow(2).sum()
    (plain,) = lib.autograd.grad(loss, x, retain_graph=True)
    hidden.retain_grad()
    hidden.register_hook(lambda grad: grad * 2)
    (found,) = lib.autograd.grad(loss, x, create_graph=create_graph)
    np.testing.assert_allclose(found.detach().numpy(), 2 * plain.numpy(), rtol=1e-5, atol=1e-6)


def test_the_order_of_hooks(lib: Any) -> None:
    """A hook of a leaf is called as soon as its gradient is complete."""
    model, x, seen = four_layers(lib), lib.ones(2, 2, requires_grad=True), list[str]()
    for name, p in [*model.named_parameters(), ("x", x)]:
        p.register_hook(lambda grad, name=name: seen.append(name))
        p.register_post_accumulate_grad_hook(lambda p, name=name: seen.append(f"{name} is there"))
    hidden = model[0](x)
    hidden.register_hook(lambda grad: seen.append("hidden"))
    out = model[3](model[2](model[1](hidden))) + lib.nn.functional.linear(x[:, :1], model[0].weight[:2, :1])
    out.register_hook(lambda grad: seen.append("out"))
    out.sum().backward()
    names = ["3.bias", "3.weight", "1.weight", "1.bias"], ["0.bias", "x", "0.weight"]
    twice = [[part for name in group for part in (name, f"{name} is there")] for group in names]
    assert seen == ["out", *twice[0], "hidden", *twice[1]]


def test_the_order_of_hooks_of_a_recorded_module() -> None:
    def work(captured: bool) -> list[str]:
        fastnn.set_capture(captured)
        model, x, seen = four_layers(fastnn), fastnn.ones(2, 2, requires_grad=True), list[str]()
        for _ in range(4):
            loss = model(x).sum()
        for name, p in [*model.named_parameters(), ("x", x)]:
            p.register_hook(lambda grad, name=name: seen.append(name))
        loss.backward()
        return seen

    assert work(True) == work(False) == ["3.bias", "3.weight", "1.weight", "1.bias", "0.bias", "x", "0.weight"]


# -- Changes between the passes --------------------------------------------------------------------


@pytest.mark.parametrize("calls", [0, 4])
def test_what_only_other_gradients_read_may_change(lib: Any, calls: int) -> None:
    """The same as if each operation were recorded separately."""
    model, x = four_layers(lib), lib.ones(2, 2)
    for _ in range(calls):
        model(x).sum()
    last = list(model[3].parameters())
    loss = model(x).sum()
    with lib.no_grad():
        x.add_(1)
    assert all(g is not None for g in lib.autograd.grad(loss, last, retain_graph=True))
    loss.backward(inputs=last, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        lib.autograd.grad(loss, [model[0].weight], retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


CHANGES: dict[str, Callable[[Any, Any], None]] = {
    "a parameter replaced": lambda lib, m: setattr(m[0], "weight", lib.nn.Parameter(lib.ones(3, 2))),
    "a layer replaced": lambda lib, m: m.__setitem__(2, lib.nn.ReLU()),
    "a layer added": lambda lib, m: m.append(lib.nn.ReLU()),
    "a hook": lambda lib, m: m[2].register_forward_hook(lambda module, args, out: out * 3) and None,
    "the mode": lambda lib, m: m.eval() and None,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("calls", [0, 4])
def test_a_model_that_changes_before_a_second_derivative(lib: Any, calls: int, change: str) -> None:
    """The gradient is that of the forward that ran."""
    model, x = four_layers(lib), lib.ones(2, 2, requires_grad=True)
    for _ in range(calls):
        model(x).sum()
    loss = model(x).pow(2).sum()
    (plain,) = lib.autograd.grad(loss, x, retain_graph=True)
    CHANGES[change](lib, model)
    members = list(model.children())
    (found,) = lib.autograd.grad(loss, x, create_graph=True)
    np.testing.assert_allclose(found.detach().numpy(), plain.numpy(), rtol=1e-5, atol=1e-6)
    assert list(model.children()) == members


def test_a_constant_that_changes_before_a_second_derivative() -> None:
    """A tensor that a recorded module reads without a gradient is not saved, so its change is detected."""
    model, x = four_layers(fastnn), fastnn.ones(2, 2, requires_grad=True)
    model[0].requires_grad_(False)
    for _ in range(4):
        loss = model(x).pow(2).sum()
    with fastnn.no_grad():
        model[0].bias.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        fastnn.autograd.grad(loss, x, create_graph=True)


# -- Around the passes -------------------------------------------------------------------------------


def test_an_error_in_a_call_leaves_behind_what_the_eager_one_does() -> None:
    """In particular, the random numbers drawn before it."""

    def work(captured: bool) -> list[Any]:
        fastnn.set_capture(captured)
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3), nn.BatchNorm1d(3))
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
        for _ in range(6):
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                model(fastnn.ones(1, 3))
            if captured:
                with pytest.raises(ValueError, match="more than 1 value per channel"):
                    step(fastnn.ones(1, 3), fastnn.tensor([0]))
            else:
                with pytest.raises(ValueError, match="more than 1 value per channel"):
                    model(fastnn.ones(1, 3))
        return model(fastnn.ones(4, 3)).tolist()

    assert work(True) == work(False)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_compiled_step_forgets_gradients_of_frozen_parameters(momentum: float) -> None:
    def work(compiled: bool) -> list[Any]:
        fastnn.manual_seed(3)
        model, x, y = network(), fastnn.rand(ROWS, 3), fastnn.tensor([0, 1, 0, 1])
        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), optimizer)
        found = []
        for i in range(12):
            model[3].requires_grad_(i < 3 or i > 8)
            if compiled:
                step(x, y)
            else:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            if i == 5:
                # Ignored by a step, which begins without gradients.
                model[3].bias.grad = fastnn.ones(5)
            found += [[p.tolist(), None if p.grad is None else p.grad.tolist()] for p in model.parameters()]
        assert not compiled or "captured: 1 program" in step.explain()
        return found

    assert work(True) == work(False)


def test_a_tied_weight_in_a_step_that_is_refused() -> None:
    """The error that ends the trace does not keep gradients out of their memory: their sums would round differently."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Linear(64, 64), nn.Linear(64, 64), nn.PReLU()
            self.second.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.second(self.act(self.first(x)))

    def work(compiled: bool) -> list[Any]:
        fastnn.manual_seed(3)
        model, x, y = Net(), fastnn.rand(300, 64), fastnn.randint(0, 64, (300,))
        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1)
        step = fastnn.compile_step(model, nn.CrossEntropyLoss(), optimizer)
        for _ in range(4):
            if compiled:
                step(x, y)
            else:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        return [p.tolist() for p in model.parameters()]

    assert work(True) == work(False)


def test_a_gradient_that_nothing_can_be_added_to(lib: Any) -> None:
    model, x = four_layers(lib), lib.ones(2, 2)
    for _ in range(4):
        loss = model(x).sum()
    model[0].bias.grad = lib.ones(1).expand(3)
    with pytest.raises(RuntimeError, match=r"Please clone\(\) the tensor"):
        loss.backward()


@pytest.mark.parametrize(
    ("layer", "x", "kernel"),
    [
        (lambda: nn.Embedding(4, 3), fastnn.tensor([1, 0, 3]), "embedding_forward.float32"),
        (lambda: nn.Embedding(3, 4), fastnn.tensor([0, 2]), "embedding_forward.float32"),
    ],
)
def test_a_kernel_without_declared_outputs_runs_eagerly_and_says_so(layer, x, kernel) -> None:
    model = nn.Sequential(layer())
    expected = model(x).tolist()
    for _ in range(4):
        assert model(x).tolist() == expected
    text = fastnn.explain(model)
    assert f"what {kernel} writes is not known" in text
    assert "1 program" not in text
