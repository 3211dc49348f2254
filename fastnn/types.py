"""PyTorch's names for annotations: ``Number``, ``Device``, ``Tensor``."""

from __future__ import annotations

import builtins
from typing import Any, TypeAlias

from fastnn._core.devices import device as _device
from fastnn._core.dtypes import dtype
from fastnn._core.size import Size
from fastnn._tensor.tensor import Tensor

__all__ = [
    "BoolLikeType", "Device", "FileLike", "FloatLikeType", "IntLikeType", "Number", "Size", "Storage", "Tensor",
]  # fmt: skip

_int, _float, _bool = builtins.int, builtins.float, builtins.bool

Number: TypeAlias = int | float | bool
_Number = (int, float, bool)
Device: TypeAlias = _device | str | int | None
FileLike: TypeAlias = Any
Storage: TypeAlias = Any
IntLikeType: TypeAlias = int
FloatLikeType: TypeAlias = float
BoolLikeType: TypeAlias = bool
_dtype = dtype
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | tuple[Tensor, ...]
