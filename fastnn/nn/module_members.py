"""The dictionaries in which a module keeps its parameters, buffers and children."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

# Counts changes of guarded modules: assignments to attributes that guards compare, new members and new hooks. Code that
# relies on a model's structure checks it again only if this has changed.
changes = [0]
# Counts changes of all modules, including attributes that nothing compares.
writes = [0]


class AllNames:
    """Contains every name: for a module whose attributes may all be read."""

    def __contains__(self, name: object) -> bool:
        return True

    def update(self, names: Any) -> None:
        """Nothing: every name is there."""


ALL_NAMES = AllNames()


def _counted(method: Callable[..., Any]) -> Callable[..., Any]:
    def change(self: Registry, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            # Counted after the change, so that no thread reads the new count with the old contents.
            writes[0] += 1
            if self.compared:
                changes[0] += 1

    change.__name__ = change.__qualname__ = method.__name__
    return change


class Registry(dict[str, Any]):
    """A dictionary whose changes are counted.

    >>> registry = Registry()
    >>> before = changes[0], writes[0]
    >>> registry["weight"] = None
    >>> changes[0] - before[0], writes[0] - before[1]
    (0, 1)
    >>> registry.compare(["scale"])
    >>> registry["bias"] = None
    >>> changes[0] - before[0], writes[0] - before[1]
    (1, 2)
    """

    # The attributes of the module that guards compare; empty while there are none. Here, not in the module's own
    # dictionary, which a trace restores, and which copies and files take over.
    compared: Container[str] = ()

    def compare(self, names: Any) -> None:
        """Count changes from now on, and those of these attributes of the module.

        Args:
            names: an iterable, or ``ALL_NAMES``.
        """
        if names is ALL_NAMES:
            self.compared = names
        else:
            # Each call is atomic: two threads may guard one module.
            self.__dict__.setdefault("compared", set()).update(names)

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
