"""Every way to ask for gradients after every other one: captured as eager, and where it can be written down, exact.

A recorded backward pass is chosen by which gradients are there already. Each has arrays of its own, and none may
rely on what another one has left behind.
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
    """A model, an input that needs a gradient, and what the ways have found so far."""

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
        """Copies, of None too."""
        self.found += [None if t is None else t.detach().clone() for t in tensors]


def accumulate(case: Case) -> None:
    case.loss().backward()


def anew(case: Case) -> None:
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
    """One tensor is the gradient of two parameters, which both add to it."""
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
    accumulate, anew, from_zero, by_input, by_weight, by_all, some_are_new, one_is_preset, one_is_shared,
    one_is_anothers, one_is_a_view, held, twice, interleaved, of_some, hooked, frozen_since, thawed_since,
    without_input,
]  # fmt: skip


def walked(ways: list[Callable[[Case], None]], captured: bool) -> list[Any]:
    """What the ways find, one after the other."""
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
        ways = [anew, anew, anew, first, second, first, second, second]
        assert walked(ways, True) == walked(ways, False), second.__name__


def test_saliency_beside_gradients_that_accumulate() -> None:
    """The gradient by x is the same however many gradients have been added up beside it."""
    case = Case()
    found = []
    for _ in range(8):
        case.loss().backward()
        found.append(fastnn.autograd.grad(case.loss(), case.x)[0].numpy().tobytes())
    assert len(set(found)) == 1
    assert np.isfinite(np.frombuffer(found[0], np.float32)).all()


class Aliased(nn.Module):
    """A parameter that two modules have, and one uses."""

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


# -- What is recorded is decided in the forward ------------------------------------------------


def layers() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Modules that compute the gradients of their parameters themselves, with an input each."""
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
    """Switched on afterwards they get no gradient; switched off afterwards they get none either."""
    module, x = LAYERS[name]()
    for _ in range(3):
        applied(module, x).sum().backward()
    for p in module.parameters():
        module.zero_grad()
        given = x.clone().requires_grad_() if x.is_floating_point() else x
        # Another reason to walk back where all else is frozen.
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
    """They are called, with the gradient that is then not kept."""
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
