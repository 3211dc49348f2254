"""PyTorch's names for annotations: ``Number``, ``Device``, ``Tensor``."""

from __future__ import annotations

import builtins
from typing import Any, TypeAlias

from fastnn._core.devices import device as _device
from fastnn._core.size import Size
from fastnn._tensor.tensor import Tensor

__all__ = ["Device", "FileLike", "Number", "Size", "Storage", "Tensor"]

_int, _float, _bool = builtins.int, builtins.float, builtins.bool

Number: TypeAlias = int | float | bool
_Number = (int, float, bool)
Device: TypeAlias = _device | str | int | None
FileLike: TypeAlias = Any
Storage: TypeAlias = Any
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | tuple[Tensor, ...]
