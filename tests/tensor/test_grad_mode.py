"""When operations are recorded: grad mode, and threads. Also run with PyTorch if it is installed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from comparison import as_array, leaf

import fastnn

# -- Grad mode --------------------------------------------------------------------------------


def test_no_grad_block(lib):
    x = leaf(lib, 1.0)
    with lib.no_grad():
        assert not lib.is_grad_enabled()
        y = x * 2
        with lib.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert lib.is_grad_enabled()
    assert (y.requires_grad, y.is_leaf, y.grad_fn) == (False, True, None)


def test_no_grad_ends_with_an_exception(lib):
    with pytest.raises(KeyError), lib.no_grad():
        raise KeyError
    assert lib.is_grad_enabled()

    @lib.no_grad()
    def fails():
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert lib.is_grad_enabled()


def test_no_grad_as_decorator_with_and_without_parentheses(lib):
    @lib.no_grad()
    def with_parentheses(x):
        """Documented."""
        return x * 2

    @lib.no_grad
    def without(x):
        return x * 2

    class Model:
        @lib.no_grad()
        def predict(self, x):
            return x * 2

    x = leaf(lib, 1.0)
    for function in (with_parentheses, without, Model().predict):
        assert not function(x).requires_grad
        assert lib.is_grad_enabled()
    assert with_parentheses.__name__ == "with_parentheses"
    assert with_parentheses.__doc__ == "Documented."


def test_enable_grad_as_decorator(lib):
    @lib.enable_grad()
    def recorded(x):
        return x * 2

    with lib.no_grad():
        assert recorded(leaf(lib, 1.0)).requires_grad
        assert not lib.is_grad_enabled()


def test_one_block_object_nested_in_itself():
    """PyTorch loses the mode before the outer block, and leaves recording off."""
    block = fastnn.no_grad()
    with block:
        with block:
            assert not fastnn.is_grad_enabled()
        assert not fastnn.is_grad_enabled()
    assert fastnn.is_grad_enabled()


def test_set_grad_enabled(lib):
    with lib.set_grad_enabled(False):
        assert not lib.is_grad_enabled()
        with lib.set_grad_enabled(True):
            assert lib.is_grad_enabled()
        assert not lib.is_grad_enabled()
    assert lib.is_grad_enabled()
    try:
        lib.set_grad_enabled(False)
        assert not lib.is_grad_enabled()
    finally:
        lib.set_grad_enabled(True)


def test_set_grad_enabled_as_decorator(lib):
    @lib.set_grad_enabled(False)
    def function():
        return lib.is_grad_enabled()

    assert lib.is_grad_enabled()
    assert function() is False
    assert lib.is_grad_enabled()


def test_no_grad_generator_holds_while_it_runs(lib):
    @lib.no_grad()
    def numbers():
        yield lib.is_grad_enabled()
        yield lib.is_grad_enabled()

    seen = [(inside, lib.is_grad_enabled()) for inside in numbers()]
    assert seen == [(False, True), (False, True)]


def test_backward_inside_no_grad(lib):
    x = leaf(lib, 1.0, 2.0)
    y = (x * x).sum()
    with lib.no_grad():
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_gradients_are_not_recorded(lib):
    x = leaf(lib, 1.0, 2.0)
    (x * x).sum().backward()
    assert not x.grad.requires_grad
    assert x.grad.is_leaf


# -- Threads ----------------------------------------------------------------------------------


def run_in_threads(*functions: Any) -> None:
    errors: list[BaseException] = []

    def guarded(function: Any) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


def test_grad_mode_is_that_of_the_thread(lib):
    seen = []
    with lib.no_grad():
        run_in_threads(lambda: seen.append(lib.is_grad_enabled()))
    assert seen == [True]


def test_two_threads_train_at_once(lib):
    """Two models with adjacent parameters, trained in two threads, give the same numbers as in sequence."""

    def make() -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        model = lib.nn.Sequential(lib.nn.Linear(30, 70), lib.nn.ReLU(), lib.nn.Linear(70, 5))
        state = {n: lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4")) for n, p in model.state_dict().items()}
        model.load_state_dict(state)
        return model, lib.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    x = lib.tensor(np.random.default_rng(1).standard_normal((16, 30)).astype("f4"))
    target = lib.tensor(np.arange(16) % 5)

    def train(model: Any, optimizer: Any) -> None:
        for _ in range(50):
            optimizer.zero_grad()
            lib.nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()

    pairs = [make() for _ in range(3)]
    train(*pairs[0])
    run_in_threads(*(lambda pair=pair: train(*pair) for pair in pairs[1:]))
    expected = [as_array(p) for p in pairs[0][0].parameters()]
    for model, _ in pairs[1:]:
        for p, e in zip(model.parameters(), expected, strict=True):
            np.testing.assert_array_equal(as_array(p), e)


def test_backward_in_another_thread(lib):
    x = leaf(lib, 1.0, 2.0)
    y = (x * x).sum()
    run_in_threads(y.backward)
    assert x.grad.tolist() == [2.0, 4.0]


# -- Generators under a decorator -------------------------------------------------------------

DECORATORS = {
    "no_grad": lambda lib: lib.no_grad(),
    "no_grad without parentheses": lambda lib: lib.no_grad,
    "set_grad_enabled": lambda lib: lib.set_grad_enabled(False),
    "inference_mode": lambda lib: lib.inference_mode(),
}


@pytest.mark.parametrize("name", DECORATORS)
def test_a_generator_is_the_generator_that_it_was(lib, name):
    seen = []

    @DECORATORS[name](lib)
    def steps(first):
        value = first
        try:
            while value is not None:
                try:
                    value = yield value, lib.is_grad_enabled()
                except KeyError as error:
                    value = error.args[0]
                    seen.append(lib.is_grad_enabled())
            return "end"
        finally:
            seen.append(lib.is_grad_enabled())

    items = steps(1)
    assert next(items) == (1, False)
    assert lib.is_grad_enabled()
    assert items.send(5) == (5, False)
    assert items.throw(KeyError("caught")) == ("caught", False)
    assert lib.is_grad_enabled()
    with pytest.raises(StopIteration) as end:
        items.send(None)
    assert end.value.value == "end"
    assert seen == [False, False]
    # A generator that is closed, and one ended by an uncaught exception.
    items = steps(1)
    next(items)
    items.close()
    items = steps(1)
    next(items)
    with pytest.raises(ZeroDivisionError, match="mine"):
        items.throw(ZeroDivisionError("mine"))
    assert seen == [False] * 4
    assert lib.is_grad_enabled()
    with pytest.raises(StopIteration):
        next(items)

    def outer():
        return (yield from steps(7))

    assert list(outer()) == [(7, False)]


def test_a_generator_under_enable_grad(lib):
    @lib.enable_grad()
    def steps():
        yield lib.is_grad_enabled()

    with lib.no_grad():
        assert list(steps()) == [True]
        assert not lib.is_grad_enabled()


def test_decorated_coroutines_are_coroutines(lib):
    # As in PyTorch, the mode applies to its creation, not to its execution.
    @lib.no_grad()
    async def work():
        return lib.is_grad_enabled()

    @lib.no_grad()
    async def items():
        yield lib.is_grad_enabled()

    async def both():
        return await work(), [item async for item in items()]

    assert asyncio.run(both()) == (True, [True])


def test_decorated_classes_are_deprecated(lib):
    class Model:
        def __init__(self):
            self.mode = lib.is_grad_enabled()

    for decorator in (lib.no_grad(), lib.inference_mode()):
        with pytest.warns(FutureWarning, match="Decorating classes is deprecated"):
            found = decorator(Model)
        assert not found().mode
