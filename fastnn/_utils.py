"""``torch._utils`` as far as libraries look into it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from fastnn._core.devices import device as _device
from fastnn._tensor.tensor import Tensor
from fastnn.ops.joining import cat


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> Any:
    """The index of a device: -1 for the CPU with ``allow_cpu``.

    Raises: ValueError for the CPU without ``allow_cpu``, and for None without ``optional``.

    >>> _get_device_index("cpu", allow_cpu=True), _get_device_index("cuda:1")
    (-1, 1)
    """
    if isinstance(device, int) and not isinstance(device, bool):
        return device
    if device is None and optional:
        return None
    found = _device(device) if isinstance(device, str) else device
    if not isinstance(found, _device):
        raise ValueError(
            f"Expected a torch.device with a specified index or an integer, but got:{device}"
        )
    if found.type == "cpu":
        if not allow_cpu:
            raise ValueError(f"Expected a non cpu device, but got: {device}")
        return -1 if found.index is None else found.index
    return found.index


def _get_all_device_indices() -> list[int]:
    """No devices but the CPU."""
    return []


def _get_available_device_type() -> None:
    """None."""
    return


class KeyErrorMessage(str):
    """A message that ``KeyError`` prints without quotes and with its line breaks."""

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An error of a worker with its traceback as text, to raise it in another thread or process.

    Args:
        exc_info: of the error, by default the one that is handled now.
        where: where it occurred, for the message.

    >>> try:
    ...     [][0]
    ... except IndexError:
    ...     wrapper = ExceptionWrapper(where="in a thread")
    >>> wrapper.exc_type.__name__, wrapper.exc_msg.splitlines()[-1]
    ('IndexError', 'IndexError: list index out of range')
    """

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        kind, error, trace = exc_info or sys.exc_info()
        if kind is None:
            raise ValueError("exc_info must be given where no error is handled")
        self.exc_type = kind
        self.exc_msg = "".join(traceback.format_exception(kind, error, trace))
        self.where = where

    def reraise(self) -> NoReturn:
        """Raise an error of the same class; a RuntimeError if that class takes other arguments than a message."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            raise KeyError(KeyErrorMessage(message))
        try:
            error = self.exc_type(message)
        except Exception:
            raise RuntimeError(message) from None
        raise error


def _flatten_dense_tensors(tensors: Iterable[Tensor]) -> Tensor:
    """One vector of all elements.

    >>> import fastnn
    >>> _flatten_dense_tensors([fastnn.ones(1), fastnn.zeros(1, 2)])
    tensor([1., 0., 0.])
    """
    return cat([tensor.reshape(-1) for tensor in tensors])


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of a vector in the shapes of ``tensors``."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))


def is_compiling() -> bool:
    """False."""
    return False


# What PyTorch's pickles call, imported on first use.
_REBUILDS = {
    "_rebuild_parameter": "_rebuild_parameter", "_rebuild_parameter_with_state": "_rebuild_parameter",
    "_rebuild_tensor": "_rebuild_tensor", "_rebuild_tensor_v2": "_rebuild_tensor_v2",
    "_rebuild_tensor_v3": "_rebuild_tensor_v3",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _REBUILDS:
        return getattr(import_module("fastnn._checkpoint.unpickler"), _REBUILDS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
