"""What changes with the first call of ``vmap``: functions and layers that do not ask subclasses of ``Tensor``.

They get other code, as the operations do (:mod:`fastnn._tensor.torch_function`). Until then nothing costs anything.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from fastnn._functorch.batched import (
    RANDOM,
    RULES,
    calls,
    dispatch,
    innermost,
    refuse_random,
    wrapped,
)
from fastnn._functorch.rules import randomness
from fastnn._tensor.torch_function import activate_for_a_while, change, running

_lock = threading.Lock()
_done: list[bool] = []
# Random functions that make tensors from sizes.
_MAKERS = ("normal", "rand", "randint", "randn", "randperm")


def prepare() -> None:
    """Make operations look for elements of a batch, until ``release()``."""
    activate_for_a_while()
    if _done:
        return
    with _lock:
        if not _done:
            _change_kernels()
            _done.append(True)


def _asking(func: Any) -> Callable[[Callable[..., Any]], Callable[[Any, Any], Any]]:
    """Other code for a function: it calls the rule of ``func`` if an argument is an element of a batch."""

    def make(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def run(args: Any, kwargs: Any) -> Any:
            if running.levels and innermost(args, kwargs) is not None:
                return dispatch(func, args, kwargs)
            return original(*args, **kwargs)

        return run

    return make


def _asking_module(func: Any) -> Callable[[Callable[..., Any]], Callable[[Any, Any], Any]]:
    """As ``_asking``, for a method of a module whose own tensors may be elements of a batch."""

    def make(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def run(args: Any, kwargs: Any) -> Any:
            if running.levels:
                module = args[0]
                tensors = [*module._parameters.values(), *module._buffers.values()]
                if innermost((*args, *tensors), kwargs) is not None:
                    return RULES["_fused"](func, running.levels[-1], args, kwargs)
            return original(*args, **kwargs)

        return run

    return make


def _random(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Other code for a function that makes a tensor of random numbers: as many as the batch needs."""
    name = original.__name__

    def run(args: Any, kwargs: Any) -> Any:
        levels = running.levels
        drops_nothing = "dropout" in name and randomness.is_quiet(name, args, kwargs)
        if not levels or kwargs.get("out") is not None or drops_nothing:
            return original(*args, **kwargs)
        level = levels[-1]
        if level.randomness == "error":
            refuse_random()
        if innermost(args, kwargs) is not None:
            return original(*args, **kwargs)
        from fastnn.ops.joining import stack

        again = getattr(sys.modules["fastnn.nn.functional" if "dropout" in name else "fastnn"], name)
        found = []
        for call in calls(name, level):
            found.append(call(again, *args, **kwargs))
            if level.randomness == "same":
                return found[0]
        return wrapped(stack(found), level)

    return run


def _change_kernels() -> None:
    from fastnn._tensor import views
    from fastnn.autograd import grad
    from fastnn.autograd.function import Function
    from fastnn.nn import activation_core, activation_formulas, functional
    from fastnn.nn.functional import attention, normalization
    from fastnn.nn.normalization import BatchNorm1d
    from fastnn.ops import core, products, sampling

    kernels: tuple[Any, ...] = (
        activation_core._activation, functional.linear_activation, normalization.layer_norm_activation,
        views.linear_map, views.view, core.step_map, products._mm, products._bmm, products._dot,
        activation_formulas.slope_of, activation_formulas._curve, activation_formulas.elementwise_slope_of,
        activation_formulas._of_result, attention._attend, Function.__dict__["apply"].__func__, grad,
    )  # fmt: skip
    for function in kernels:
        # Those of a backward pass that is recorded are called with a batch of gradients.
        change(function, _asking(function))
    fused: Any = BatchNorm1d._fused
    change(fused, _asking_module(fused))
    assert RANDOM.issuperset(_MAKERS)
    for name in _MAKERS:
        change(getattr(sampling, name), _random)
    for name in randomness.DROPOUTS:
        change(getattr(functional, name), _random)
