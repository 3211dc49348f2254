"""``torch.utils._python_dispatch``: a name only, as no operation asks a mode."""

from __future__ import annotations

from typing import Any

from fastnn._core.absent import absent_class

__all__ = ["TorchDispatchMode", "is_traceable_wrapper_subclass"]

TorchDispatchMode = absent_class("torch.utils._python_dispatch.TorchDispatchMode")


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """False: there are no such classes."""
    return False
