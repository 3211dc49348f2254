"""``torch.cpu``: the functions of a device for the CPU, which has nothing to wait for."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = [
    "Event", "Stream", "StreamContext", "amp", "current_device", "current_stream", "device_count", "is_available",
    "is_initialized", "set_device", "stream", "synchronize",
]  # fmt: skip


class Stream:
    """The order of the computations; there is one."""

    def __init__(self, priority: int = -1) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        """Does nothing."""

    def record_event(self) -> None:
        """Does nothing."""

    def wait_event(self, event: Any) -> None:
        """Does nothing."""


class Event:
    """A point in the order of the computations, which has passed when it is recorded."""

    def query(self) -> bool:
        """True."""
        return True

    def record(self, stream: Any = None) -> None:
        """Does nothing."""

    def synchronize(self) -> None:
        """Does nothing."""

    def wait(self, stream: Any = None) -> None:
        """Does nothing."""


_stream = Stream()


def is_available() -> bool:
    """True.

    >>> is_available(), current_device(), device_count()
    (True, 'cpu', 1)
    """
    return True


def is_initialized() -> bool:
    """True."""
    return True


def synchronize(device: Any = None) -> None:
    """Does nothing: each operation is complete when it returns."""


def current_device() -> str:
    """'cpu'."""
    return "cpu"


def device_count() -> int:
    """1."""
    return 1


def set_device(device: Any) -> None:
    """Does nothing."""


def current_stream(device: Any = None) -> Stream:
    """The one stream."""
    return _stream


def stream(stream: Stream | None) -> AbstractContextManager[None]:
    """A block that changes nothing."""
    return nullcontext()


StreamContext = stream


def __getattr__(name: str) -> Any:
    # Imported on first use.
    if name == "amp":
        return importlib.import_module("fastnn.cpu.amp")
    raise AttributeError(f"module 'fastnn.cpu' has no attribute {name!r}")
