"""``torch.amp``: mixed precision by ``autocast``, and ``GradScaler``."""

from __future__ import annotations

import importlib
from typing import Any

from fastnn.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from fastnn.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def __getattr__(name: str) -> Any:
    if name in ("autocast_mode", "grad_scaler"):
        return importlib.import_module(f"fastnn.amp.{name}")
    raise AttributeError(f"module 'fastnn.amp' has no attribute {name!r}")
