"""PyTorch's path to ``autocast`` and its decorators."""

from __future__ import annotations

from fastnn.amp import autocast, custom_bwd, custom_fwd, is_autocast_available

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
