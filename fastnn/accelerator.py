"""``torch.accelerator``: none is available."""

from __future__ import annotations

from typing import Any, NoReturn

from fastnn._core.devices import DeviceError


def is_available() -> bool:
    """False.

    >>> import fastnn
    >>> fastnn.accelerator.current_accelerator().type if fastnn.accelerator.is_available() else "cpu"
    'cpu'
    """
    return False


def device_count() -> int:
    """0."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None."""
    return


def _absent(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises: DeviceError, an AssertionError and a RuntimeError."""
    raise DeviceError("Cannot access accelerator device when none is available.")


current_device_index = set_device_index = synchronize = _absent
