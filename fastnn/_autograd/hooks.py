"""Hooks: functions that are called with gradients, and their removal."""

from __future__ import annotations

import itertools
from typing import Any


class RemovableHandle:
    """Removes a hook: by ``remove()``, or at the end of a ``with`` block."""

    _next = itertools.count()

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = next(self._next)
        self._hooks = hooks

    def remove(self) -> None:
        """Remove the hook; does nothing if it is removed already."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: Any) -> None:
        self.remove()


class HookList(dict[int, Any]):
    """Hooks by their number, in the order in which they were added."""

    def add(self, hook: Any) -> RemovableHandle:
        """Add a hook, and return its handle."""
        handle = RemovableHandle(self)
        self[handle.id] = hook
        return handle

    def apply(self, grad: Any) -> Any:
        """The gradient after all hooks."""
        for hook in list(self.values()):
            replaced = hook(grad)
            if replaced is not None:
                name = getattr(hook, "__name__", type(hook).__name__)
                if not hasattr(replaced, "_data"):
                    raise TypeError(f"expected Variable, but hook {name!r} returned {type(replaced).__name__!r}")
                if replaced._data.dtype != grad._data.dtype:
                    raise RuntimeError(
                        f"hook {name!r} has changed the type of value (was {grad.dtype} got {replaced.dtype})"
                    )
                if replaced._data.shape != grad._data.shape:
                    raise RuntimeError(
                        f"hook {name!r} has changed the size of value: shape {tuple(grad.shape)} became "
                        f"{tuple(replaced.shape)}"
                    )
                grad = replaced
        return grad


class Hooks:
    """The hooks on the gradient of a result, or of a leaf."""

    __slots__ = ("after", "before", "retain")

    def __init__(self) -> None:
        # Called with the gradient before it is used; called with all gradients of the operation afterwards.
        self.before, self.after = HookList(), HookList()
        # A weak reference to the result, if it retains its gradient.
        self.retain: Any = None


def leaf_hooks(leaf: Any) -> Hooks | None:
    """The hooks of a leaf; None if all of them were removed (the object is then dropped)."""
    hooks = leaf._hooks
    if hooks is not None and not (hooks.before or hooks.after or hooks.retain):
        leaf._hooks = hooks = None
    return hooks
