"""PyTorch's path to ``pin_memory``."""

from __future__ import annotations

from typing import Any


def pin_memory(data: Any, device: Any = None) -> Any:
    """``data``, unchanged: there is no device to copy to."""
    return data
