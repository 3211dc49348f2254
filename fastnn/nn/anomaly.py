"""What ``detect_anomaly`` says of modules: the layer whose numbers became NaN or infinite.

While the mode is on, hooks of all modules note which operations belong to which call. The tape asks here for the
layer of an operation whose gradient is NaN.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node, anomaly, anomaly_listeners, next_sequence
from fastnn._core.errors import AnomalyError
from fastnn._tensor.tensor import Tensor
from fastnn.nn.hooks import register_module_forward_hook, register_module_forward_pre_hook
from fastnn.nn.module import Module

# The most calls of modules whose operations are known: those of the last steps.
_KEPT = 10_000


class _Calls(threading.local):
    """The calls of modules in one thread."""

    def __init__(self) -> None:
        # The calls that have begun: module, and the number of its first operation.
        self.open: list[tuple[Module, int]] = []
        # The calls that have ended: the numbers of their operations, the module, and the one that was called first.
        self.ended: deque[tuple[int, int, Any, Any]] = deque(maxlen=_KEPT)
        # The first layer of this call whose output was not finite.
        self.first_bad = ""
        # Whether the first number that is not finite is an error.
        self.strict = False


_calls = _Calls()
_handles: list[Any] = []


def kind_of(values: Any) -> str:
    """ "NaN" or "infinity" if tensors, also in containers, have one; empty otherwise."""
    if isinstance(values, Tensor):
        data = values._data
        if data.dtype.kind not in "fcV" or np.isfinite(data).all():
            return ""
        return "NaN" if np.isnan(data).any() else "infinity"
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (tuple, list)):
        return ""
    return next(filter(None, map(kind_of, values)), "")


def layer(module: Any, root: Any) -> str:
    """A module by its name in the one that holds it, and its class."""
    kind = type(module).__name__
    if module is root:
        return kind
    name = next((name for name, m in root.named_modules() if m is module), "") if root is not None else ""
    return f"layer {name!r} ({kind})" if name else kind


def _begin(module: Module, args: Any) -> None:
    calls = _calls
    if not calls.open:
        calls.first_bad = ""
    if not calls.first_bad and (found := kind_of(args)):
        root = calls.open[0][0] if calls.open else None
        place = layer(calls.open[-1][0], root) if calls.open else ""
        name = layer(module, root or module)
        _note(f"{place} made {found} before it called {name}" if place else f"the input of {name} has {found}")
    calls.open.append((module, next_sequence()))


def _end(module: Module, args: Any, result: Any) -> None:
    calls = _calls
    # Ctrl-C ends a call without this one.
    while calls.open and calls.open[-1][0] is not module:
        calls.open.pop()
    if not calls.open:
        return
    root = calls.open[0][0]
    _, first = calls.open.pop()
    calls.ended.append((first, next_sequence(), weakref.ref(module), weakref.ref(root)))
    if not calls.first_bad and (found := kind_of(result)):
        _note(f"{layer(module, root)} made {found} in the forward pass")


def _note(text: str) -> None:
    _calls.first_bad = text
    if _calls.strict:
        raise AnomalyError(text)


def _layer_of(node: Node) -> str:
    """The innermost call that an operation belongs to; empty if there is none."""
    found = [call for call in _calls.ended if call[0] < node.sequence < call[1]]
    if not found:
        return ""
    _, _, module, root = min(found, key=lambda call: call[1] - call[0])
    return layer(module(), root()) if module() is not None else ""


def _describe(node: Node) -> str:
    """A description of the layers, after a gradient was not finite."""
    place, first = _layer_of(node), _calls.first_bad
    texts = [f"The operation belongs to {place}."] if place else []
    texts += [f"Before that, {first}."] if first else []
    return " ".join(texts)


def _switched() -> None:
    """Watch the calls of modules if the mode is on."""
    if anomaly["enabled"] and not _handles:
        _calls.open.clear()
        _handles.append(register_module_forward_pre_hook(_begin))
        _handles.append(register_module_forward_hook(_end, always_call=True))
        anomaly["describe"] = _describe
    elif not anomaly["enabled"] and _handles:
        for handle in _handles:
            handle.remove()
        _handles.clear()
        _calls.ended.clear()


anomaly_listeners.append(_switched)


@contextmanager
def strict() -> Iterator[None]:
    """A block in which the first NaN or infinity of a layer or a gradient is an AnomalyError."""
    _calls.open.clear()
    _calls.first_bad, _calls.strict = "", True
    before = anomaly["infinite"]
    anomaly["infinite"] = True
    try:
        yield
    finally:
        _calls.strict, anomaly["infinite"] = False, before
        _calls.open.clear()
