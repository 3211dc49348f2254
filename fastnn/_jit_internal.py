"""The one name of ``torch._jit_internal`` that Python libraries import."""

from __future__ import annotations

from typing import Any

__all__ = ["_copy_to_script_wrapper"]


def _copy_to_script_wrapper(fn: Any) -> Any:
    """A decorator that changes nothing."""
    return fn
