"""PyTorch's settings that scripts may change and that have no effect in fastnn.

Results are the same bits in every run and at any number of threads, in full precision, whatever is set here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from fastnn._core.errors import DTypeError

_state: dict[str, Any] = {"deterministic": False, "warn_only": False, "precision": "highest", "interop": 1}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for algorithms that give the same result in every run, as all of fastnn's do.

    Raises: TypeError for a ``mode`` that is not a bool.
    """
    if not isinstance(mode, bool):
        raise TypeError(f"mode must be bool, not {type(mode).__name__}")
    _state["deterministic"], _state["warn_only"] = mode, bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """The last value given to ``use_deterministic_algorithms``."""
    return _state["deterministic"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """The last ``warn_only`` given to ``use_deterministic_algorithms``."""
    return _state["deterministic"] and _state["warn_only"]


def set_float32_matmul_precision(precision: str) -> None:
    """Accept "highest", "high" or "medium"; products are always computed in float32.

    Another value is ignored with a warning, as in PyTorch.
    """
    if precision not in ("highest", "high", "medium"):
        message = f"{precision} is not one of 'highest', 'high', or 'medium'; the call has no effect"
        warnings.warn(message, stacklevel=2)
        return
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """The last value given to ``set_float32_matmul_precision``; "highest" at first."""
    return _state["precision"]


def set_num_interop_threads(n: int) -> None:
    """Accept a positive number; operations run one after the other.

    Raises: RuntimeError for a number that is not positive.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise DTypeError(f"set_num_interop_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer, found {n}")
    _state["interop"] = n


def get_num_interop_threads() -> int:
    """The last value given to ``set_num_interop_threads``; 1 at first."""
    return _state["interop"]


def compile(
    model: Callable[..., Any] | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: Any = "inductor", mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """Return the module or function itself: its kernels are compiled already.

    Args:
        model: a module or function; without one, the result is a decorator.
        fullgraph, dynamic, backend, mode, options, disable: accepted.

    Raises: RuntimeError for ``mode`` and ``options`` together; TypeError if ``model`` is not callable.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(1, 1)
    >>> fastnn.compile(model) is model
    True
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time: found "
            f"mode={mode!r} and options={options!r}"
        )
    if model is None:
        return compile
    if not callable(model):
        raise TypeError(f"compile() takes a module or function, found {type(model).__name__}")
    return model
