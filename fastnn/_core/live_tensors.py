"""The tensors that are alive, for the checks of tests: see ``_debug.ownership``."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from fastnn._core import capture_state

# The tensors that are alive, by their ids.
_alive: dict[int, weakref.ref[Any]] = {}


def tracked(make: Callable[..., Any]) -> Callable[..., Any]:
    """``make``, with its tensors registered for the checks, except in a trace, whose numbers mean nothing."""

    def made(*args: Any, **options: Any) -> Any:
        tensor = make(*args, **options)
        if not capture_state.is_mine():
            _alive[id(tensor)] = weakref.ref(tensor, functools.partial(_forget, id(tensor)))
        return tensor

    return functools.wraps(make)(made)


def _forget(key: int, ref: Any) -> None:
    # Another tensor may have the id by now.
    if _alive.get(key) is ref:
        del _alive[key]
