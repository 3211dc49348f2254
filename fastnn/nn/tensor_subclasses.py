"""Modules called with a subclass of ``Tensor``: see :mod:`fastnn._tensor.torch_function`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn._autograd.saved_hooks import saving_on
from fastnn._autograd.saved_hooks import state as saving
from fastnn._core.autocast import state as autocast
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.torch_function import (
    as_kind,
    asks,
    change,
    converters,
    converting,
    in_mode,
    is_off,
    on_activation,
    running,
)
from fastnn.nn.activation_core import _activation, _elementwise
from fastnn.nn.container import Sequential
from fastnn.nn.functional.attention import _attend
from fastnn.nn.functional.batch_norm import batch_norm_activation
from fastnn.nn.functional.normalization import layer_norm_activation
from fastnn.nn.hooks import EVERYWHERE
from fastnn.nn.module import Module, _run_eagerly, runner, without_recordings

_FORWARD = Sequential.forward
# Layers that compute nothing themselves, and take complex numbers.
_MOVE_ONLY = frozenset(("Flatten", "Identity", "Sequential", "Unflatten"))


def _call(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """``Module.__call__``: layers run one by one for a subclass, and their results are of it."""

    def run(args: Any, kwargs: Any) -> Any:
        if in_mode():
            from fastnn._core.absent import NotComputedError

            raise NotComputedError(
                "torch.overrides.TorchFunctionMode",
                "fastnn's modules cannot be called in a torch.overrides.TorchFunctionMode: their kernels do not ask it",
            )
        asked = next((a for a in args if asks(type(a))), None)
        if saving_on and saving.pairs and runner and runner[0] is not _run_eagerly:
            # A recording has no hooks on saved tensors.
            with without_recordings():
                return run(args, kwargs)
        if converters and _is_low(args):
            model = args[0]
            if EVERYWHERE or model._has_hooks():
                return original(*args, **kwargs)
            if type(model).forward is _FORWARD and len(args) == 2:
                # Layer by layer, so that each result is rounded as in PyTorch.
                return _in_order(model, args[1])
            # A recording is of float32.
            return model.forward(*args[1:], **kwargs)
        if (asked is None and not running.levels and not (saving_on and saving.pairs)) or is_off():
            return original(*args, **kwargs)
        model, kind = args[0], type(args[0])
        is_layer = kind.__module__.startswith("fastnn.nn.") and kind.__name__ not in _MOVE_ONLY
        if asked is not None and is_layer and getattr(asked, "_is_complex", False):
            raise NotImplementedError(f'"{kind.__name__}" not implemented for {asked.dtype}')
        if kind.forward is _FORWARD and len(args) == 2 and not model._has_hooks():
            return _in_order(model, args[1])
        result = original(*args, **kwargs)
        if asked is None or getattr(asked, "_is_batch", False):
            return result
        # Some layers call kernels, and no function that asks.
        return as_kind(result, type(asked)) if kind.__module__.startswith("fastnn.nn.") else result

    return run


def _in_order(model: Any, result: Any) -> Any:
    for layer in model:
        result = layer(result)
    return result


def _is_low(args: Any) -> bool:
    """Whether a module is called under autocast or with bfloat16."""
    return autocast.enabled or any(isinstance(a, Tensor) and a._data.dtype.kind == "V" for a in args)


def _with_saved_hooks(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """A function that computes what a layer returns: its saved tensors go through the hooks that are on."""
    original = converting(original, original.__name__)

    def run(args: Any, kwargs: Any) -> Any:
        if saving_on and saving.pairs:
            return saving_on[0](original, args, kwargs)
        return original(*args, **kwargs)

    return run


def _with_lowering(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    converting_form = converting(original, original.__name__)
    return lambda args, kwargs: converting_form(*args, **kwargs)


def _change_modules() -> None:
    call: Any = Module.__call__
    change(call, _call)
    # Layers call these, and no public function.
    for function in (_activation, layer_norm_activation):
        kernel: Any = function
        change(kernel, _with_saved_hooks)
    others: tuple[Any, ...] = (_attend, _elementwise, batch_norm_activation)
    for function in others:
        change(function, _with_lowering)


on_activation.append(_change_modules)
