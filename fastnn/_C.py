"""The few names of ``torch._C``, PyTorch's side in C++, that Python libraries use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastnn._core.absent import absent_class
from fastnn._core.devices import device as _device
from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import LinAlgError as _LinAlgError
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.torch_function import disabled as DisableTorchFunctionSubclass
from fastnn._tensor.torch_function import disabled_torch_function as _disabled_torch_function_impl
from fastnn.nn.module import _parse_to as _parsed
from fastnn.random import Generator

__all__ = ["DisableTorchFunctionSubclass", "Generator", "_LinAlgError", "_disabled_torch_function_impl"]

_TensorMeta = type(Tensor)
PyTorchFileReader = absent_class("torch.PyTorchFileReader", module="fastnn._C")
PyTorchFileWriter = absent_class("torch.PyTorchFileWriter", module="fastnn._C")


def _log_api_usage_once(event: str) -> None:
    """Does nothing: there is no log."""


def _cuda_isInBadFork() -> bool:
    """False."""
    return False


def _get_tracing_state() -> None:
    """None: ``torch.jit.trace`` does not trace."""


def _parse_to(*args: Any, **kwargs: Any) -> tuple[_device | None, _dtype | None, bool, Any]:
    """Device, dtype, ``non_blocking`` and memory format of the arguments of ``Module.to``.

    >>> import fastnn
    >>> _parse_to("cpu", fastnn.float64)
    (device(type='cpu'), torch.float64, False, None)
    """
    place, kind = _parsed(args, kwargs)
    return None if place is None else _device(place), kind, bool(kwargs.get("non_blocking")), None


def _get_privateuse1_backend_name() -> str:
    """PyTorch's name for a device of another kind; fastnn has none."""
    return "privateuseone"


_nn = SimpleNamespace(_parse_to=_parse_to)
