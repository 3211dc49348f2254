"""``torch.xpu``: not available."""

from __future__ import annotations

from typing import Any, NoReturn

from fastnn._core.devices import check_device
from fastnn.mps import device_count, empty_cache, is_available, manual_seed

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]


def synchronize(*args: Any) -> NoReturn:
    """Raises: DeviceError, an AssertionError and a RuntimeError."""
    check_device("xpu")
    raise AssertionError
