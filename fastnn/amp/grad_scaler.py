"""PyTorch's path to ``GradScaler``."""

from __future__ import annotations

from fastnn.amp import GradScaler

__all__ = ["GradScaler"]
