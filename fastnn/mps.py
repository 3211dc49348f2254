"""``torch.mps``: not available."""

from __future__ import annotations

from typing import Any, NoReturn

from fastnn._core.devices import check_device


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Does nothing: no generator exists."""
    int(seed)


def empty_cache() -> None:
    """Does nothing: no cache exists."""


def synchronize(*args: Any) -> NoReturn:
    """Raises: DeviceError, an AssertionError and a RuntimeError."""
    check_device("mps")
    raise AssertionError
