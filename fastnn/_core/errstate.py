"""NumPy without its warnings: overflow and division by zero are visible in the numbers."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core.capture_state import active, is_mine
from fastnn._core.numpy_trace import recorded

try:
    # As np.errstate, in an eighth of its 0.7 us, which is more than an operation on a small array takes.
    from numpy._core.umath import _extobj_contextvar, _make_extobj

    _IGNORE = _make_extobj(all="ignore")
    _get, _set = _extobj_contextvar.get, _extobj_contextvar.set

    def quiet(operate: Callable[..., Any], *args: Any) -> Any:
        """``operate(*args)`` without warnings; recorded in a trace."""
        before = _get()
        try:
            # Inside the block: Ctrl-C may arrive as soon as it returns.
            _set(_IGNORE)
            return recorded(operate, *args) if active and is_mine() else operate(*args)
        finally:
            _set(before)

    # A context in which NumPy does not warn: `run_quiet(operate, *args)` is `quiet(operate, *args)` without a call of
    # a Python function. RuntimeError if `operate` raises one, or if a context is entered within itself or by a second
    # thread at the same time: then call `quiet`.
    _context = contextvars.Context()
    _context.run(_set, _IGNORE)
    run_quiet: Callable[..., Any] = _context.run

except (ImportError, TypeError):  # a NumPy that has them no longer

    def quiet(operate: Callable[..., Any], *args: Any) -> Any:
        """``operate(*args)`` without warnings; recorded in a trace."""
        with np.errstate(all="ignore"):
            return recorded(operate, *args) if active and is_mine() else operate(*args)

    run_quiet = quiet
