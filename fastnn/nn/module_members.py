"""The dictionaries in which a module keeps its parameters, buffers and children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Counts changes of modules: attribute assignments, new members and new hooks. Code that relies on a model's
# structure checks it again only if this has changed.
changes = [0]


def _counted(method: Callable[..., Any]) -> Callable[..., Any]:
    def change(self: Registry, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            # Counted after the change, so that no thread reads the new count with the old contents.
            changes[0] += 1

    change.__name__ = change.__qualname__ = method.__name__
    return change


class Registry(dict[str, Any]):
    """A dictionary whose changes are counted.

    >>> registry = Registry()
    >>> before = changes[0]
    >>> registry["weight"] = None
    >>> changes[0] - before
    1
    """

    __setitem__ = _counted(dict.__setitem__)
    __delitem__ = _counted(dict.__delitem__)
    __ior__ = _counted(dict.__ior__)
    clear = _counted(dict.clear)
    pop = _counted(dict.pop)
    popitem = _counted(dict.popitem)
    setdefault = _counted(dict.setdefault)
    update = _counted(dict.update)

    def __reduce__(self) -> Any:
        # A file or another process gets an ordinary dictionary, as it would from PyTorch.
        return dict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Registry:
        from copy import deepcopy

        made = memo[id(self)] = Registry()
        for name, value in self.items():
            made[name] = deepcopy(value, memo)
        return made

    def copy(self) -> Registry:
        """Another dictionary with the same members."""
        return Registry(self)
