"""PyTorch's path to the handle of a hook, and its mark of hooks that are not pickled."""

from __future__ import annotations

import warnings
from typing import Any

from fastnn._autograd.hooks import RemovableHandle
from fastnn._core.absent import absent_class

__all__ = ["BackwardHook", "RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]


BackwardHook = absent_class("torch.utils.hooks.BackwardHook")


def unserializable_hook(f: Any) -> Any:
    """Mark a hook, for the warning of :func:`warn_if_has_hooks`."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor: Any) -> None:
    """Warn of each hook of a tensor that is marked by :func:`unserializable_hook`."""
    for hook in (getattr(tensor, "_backward_hooks", None) or {}).values():
        if hasattr(hook, "__torch_unserializable__"):
            warnings.warn(f"backward hook {hook!r} on tensor will not be serialized.", stacklevel=2)
