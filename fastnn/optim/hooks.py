"""Hooks that can be taken out again. Imports nothing of fastnn."""

from __future__ import annotations

import itertools
from typing import Any


class RemovableHandle:
    """Takes a hook out again: by ``remove()``, or at the end of a ``with`` block."""

    _next = itertools.count()

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = next(self._next)
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hook out; harmless if it is out."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: Any) -> None:
        self.remove()


class HookList(dict[int, Any]):
    """Hooks by their number, in the order in which they were added."""

    def add(self, hook: Any) -> RemovableHandle:
        """Add a hook, and return what takes it out."""
        handle = RemovableHandle(self)
        self[handle.id] = hook
        return handle
