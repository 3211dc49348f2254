"""Devices: only the CPU is present; the names of all others exist and report that they are absent.

Functions that make or move tensors call :func:`check_device` with their
``device`` argument.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

# The types that PyTorch knows, so that a script's `device("cuda")` is an object until it is used.
_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip


class DeviceError(AssertionError, RuntimeError):
    """A requested device is not available. PyTorch raises one or the other error, depending on the device."""


class _Default(threading.local):
    device: device | None = None


class device:
    """The name of a device; as a context manager, it is the default device inside the block.

    Args:
        type: a device type, optionally with an index after a colon; or a device, which is copied.
        index: the number of the device, if ``type`` has none.

    Raises: RuntimeError for an unknown type or a string that is no device; TypeError for anything else.

    >>> import fastnn
    >>> fastnn.device("cuda:1"), fastnn.device("cpu").index
    (device(type='cuda', index=1), None)
    >>> fastnn.device("cpu") == fastnn.device("cpu")
    True
    """

    __slots__ = ("_before", "index", "type")

    type: str
    index: int | None

    def __init__(self, type: str | int | device, index: int | None = None) -> None:
        self._before: list[device | None] = []
        if isinstance(type, device):
            self.type, self.index = type.type, type.index
            return
        if isinstance(type, int) and not isinstance(type, bool):
            raise DeviceError(f"Cannot access accelerator device when none is available: found the index {type}")
        if not isinstance(type, str):
            raise TypeError(f"device() takes a device, or a type as a string, and an index; found {type!r}")
        if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
            raise TypeError(f"index must be an integer, found {index!r}")
        name, colon, number = type.partition(":")
        if name not in _TYPES:
            raise RuntimeError(f"Expected one of {', '.join(_TYPES)} device type at start of device string: {name}")
        if colon:
            if not (number.isascii() and number.isdecimal()) or (len(number) > 1 and number[0] == "0"):
                raise RuntimeError(f"Invalid device string: {type!r}")
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {type}"
                )
            index = int(number)
        self.type, self.index = name, index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __repr__(self) -> str:
        return f"device(type={self.type!r}{'' if self.index is None else f', index={self.index}'})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> Any:
        return device, (self.type,) if self.index is None else (self.type, self.index)

    def __enter__(self) -> device:
        self._before.append(_default.device)
        _default.device = self
        return self

    # `type` is the attribute of this class here.
    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        _default.device = self._before.pop()


_default = _Default()
CPU = device("cpu")


def as_device(value: Any) -> device:
    """A device from a ``device=`` argument: a device, a string or a number."""
    return value if isinstance(value, device) else device(value)


def check_device(value: Any = None) -> None:
    """Raise for any device but the CPU, as PyTorch does without that device.

    Args:
        value: the ``device=`` argument; None is the default device.

    Raises: DeviceError, an AssertionError and a RuntimeError, for a device that fastnn does not have.
    """
    if value is None:
        value = _default.device
        if value is None:
            return
    chosen = as_device(value)
    if chosen.type == "cpu":
        return
    if chosen.type in ("cuda", "xpu"):
        raise DeviceError(f"Torch not compiled with {chosen.type.upper()} enabled: fastnn computes on the CPU only")
    raise DeviceError(f"fastnn computes on the CPU only and has no device '{chosen}'")


def set_default_device(device: Any) -> None:
    """Set the device of new tensors if none is named; None resets it to the CPU.

    As in PyTorch, an absent device is an error only when a tensor is made on it.

    >>> import fastnn
    >>> fastnn.set_default_device("cpu")
    >>> fastnn.get_default_device()
    device(type='cpu')
    """
    _default.device = None if device is None else as_device(device)


def get_default_device() -> device:
    """The device of new tensors if none is named."""
    chosen = _default.device or CPU
    check_device(chosen)
    return chosen
