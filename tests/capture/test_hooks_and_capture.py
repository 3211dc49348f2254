"""External obstacles to a capture, hooks above all, prevent it only as long as they are present."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_compiled_step import batches, bits, plain

import fastnn
from fastnn import nn

Undo = Callable[[], Any]


def forward_hook(model: Any) -> Undo:
    return model[0].register_forward_hook(lambda module, args, out: out * 2).remove


def pre_hook(model: Any) -> Undo:
    return model[2].register_forward_pre_hook(lambda module, args: None).remove


def cleared_hook(model: Any) -> Undo:
    """A common way to remove all hooks."""
    model[0].register_forward_hook(lambda module, args, out: None)
    return model[0]._forward_hooks.clear


def backward_hook(model: Any) -> Undo:
    return model[4].register_full_backward_hook(lambda module, grad_in, grad_out: None).remove


def parameter_hook(model: Any) -> Undo:
    return model[0].weight.register_hook(lambda grad: grad / 2).remove


def accumulated_hook(model: Any) -> Undo:
    return model[0].weight.register_post_accumulate_grad_hook(lambda p: None).remove


def hook_of_all(model: Any) -> Undo:
    return nn.modules.module.register_module_forward_hook(lambda module, args, out: None).remove


def hooked_part_replaced(model: Any) -> Undo:
    part = nn.Tanh()
    model[3] = part
    part.register_forward_hook(lambda module, args, out: None)

    def replace() -> None:
        model[3] = nn.Tanh()

    return replace


def own_call(model: Any) -> Undo:
    before = nn.Module.__call__
    nn.Module.__call__ = lambda self, *args, **kwargs: before(self, *args, **kwargs)  # type: ignore[method-assign]

    def put_back() -> None:
        nn.Module.__call__ = before  # type: ignore[method-assign]

    return put_back


OBSTACLES = [
    forward_hook, pre_hook, cleared_hook, backward_hook, parameter_hook, accumulated_hook, hook_of_all,
    hooked_part_replaced, own_call,
]  # fmt: skip


def trained(captured: bool, whole: bool, obstacle: Callable[[Any], Undo], early: bool, calls: int) -> list[bytes]:
    """Parameters after some steps without an obstacle, some with it, and some without it again."""
    fastnn.manual_seed(0)
    model = plain()
    sgd = fastnn.optim.SGD(model.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()
    step = fastnn.compile_step(model, criterion, sgd)

    def run(count: int) -> None:
        for x, y in batches(count, 8):
            if captured and whole:
                step(x, y)
                continue
            sgd.zero_grad()
            criterion(model(x), y).backward()
            sgd.step()

    def said() -> str:
        return step.explain() if whole else fastnn.explain(model)

    fastnn.set_capture(captured)
    try:
        if not early:
            run(4)
            assert not captured or said().startswith("captured")
        undo = obstacle(model)
        try:
            run(calls)
            # With global hooks every module has hooks, and a module with hooks does not look for a recording.
            if captured and (whole or obstacle is not hook_of_all):
                assert "eager for float32" in said()
                assert "hooks" in said() or "replaced" in said()
        finally:
            undo()
        run(3)
        assert not captured or said().startswith("captured: 1 program" if whole else "captured for")
        assert "eager" not in said()
    finally:
        fastnn.set_capture(True)
    return [bits(p) for p in model.parameters()]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("whole", [False, True], ids=["plain loop", "compile_step"])
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_hooks_and_capture(obstacle: Callable[[Any], Undo], whole: bool, early: bool) -> None:
    assert trained(True, whole, obstacle, early, 30) == trained(False, whole, obstacle, early, 30)


def made() -> tuple[Any, Any, Any]:
    fastnn.manual_seed(0)
    model = plain()
    sgd = fastnn.optim.SGD(model.parameters(), lr=0.1)
    return model, sgd, fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd)


def test_a_gradient_that_is_held_for_a_while() -> None:
    model, _, step = made()
    data = batches(6, 8)
    step(*data[0])
    held = model[0].weight.grad
    step(*data[1])
    assert "a gradient of an earlier step is still held" in step.explain()
    del held
    step(*data[2])
    step(*data[3])
    assert step.explain() == "captured: 1 program"


def test_a_hook_of_the_optimizer_for_a_while() -> None:
    _, sgd, step = made()
    handle = sgd.register_step_pre_hook(lambda *arguments: None)
    for batch in batches(3, 8):
        step(*batch)
    assert "SGD does not update by launches alone" in step.explain()
    handle.remove()
    step(*batches(1, 8)[0])
    assert step.explain() == "captured: 1 program"


def test_inputs_that_share_memory_once() -> None:
    model = nn.Bilinear(12, 12, 5)
    step = fastnn.compile_step(model, nn.MSELoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
    a, b, y = fastnn.rand(4, 12), fastnn.rand(4, 12), fastnn.rand(4, 5)
    for _ in range(3):
        step(a, a, y)
    assert "two inputs share memory" in step.explain()
    step(a, b, y)
    assert "two inputs share memory" not in step.explain()


def test_a_parameter_that_the_optimizer_gets_later() -> None:
    model = plain()
    first, *others = model.parameters()
    sgd = fastnn.optim.SGD(others, lr=0.1)
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), sgd)
    for batch in batches(3, 8):
        step(*batch)
    assert "a parameter that needs a gradient is not the optimizer's" in step.explain()
    sgd.add_param_group({"params": [first]})
    for batch in batches(3, 8):
        step(*batch)
    assert step.explain() == "captured: 1 program"


def test_what_the_step_itself_does_is_not_asked_again() -> None:
    """A trace runs the user's code, so it is not repeated without a reason."""
    model, calls = plain(), []

    def note() -> float:
        # In a function of its own: a criterion that appends to a list is not traced at all.
        calls.append(None)
        return 1.0

    def criterion(out: Any, y: Any) -> Any:
        return note() * nn.functional.cross_entropy(out, y) * float(out.detach().sum() > 1e9 or 1)

    step = fastnn.compile_step(model, criterion, fastnn.optim.SGD(model.parameters(), lr=0.1))
    for batch in batches(20, 8):
        step(*batch)
    assert step.explain().startswith("captured: 0 programs\neager for float32")
    assert len(calls) == 21
