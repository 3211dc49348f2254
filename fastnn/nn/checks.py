"""What functions of tensors check first. May import ``errors`` and ``tensor``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.errors import DTypeError
from fastnn.tensor import Tensor


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a Tensor, found {type(value).__name__}")


def _check_floating(function: str, *tensors: Tensor) -> None:
    for t in tensors:
        _check_tensor("input", t)
        if t._data.dtype.kind != "f":
            raise DTypeError(f"{function} is for float32 and float64, found {t.dtype}")


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
