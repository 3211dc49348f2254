"""Argument checks of functions of tensors."""

from __future__ import annotations

import numpy as np

from fastnn._core.errors import DTypeError
from fastnn._core.numpy_trace import dense
from fastnn._tensor.tensor import Tensor
from fastnn.ops.core import check_tensor as _check_tensor


def _check_floating(function: str, *tensors: Tensor) -> None:
    for t in tensors:
        _check_tensor("input", t)
        if t._data.dtype.kind != "f":
            raise DTypeError(f"{function} is for float32 and float64, found {t.dtype}")


def _half(error: TypeError, *tensors: Tensor | None) -> None:
    """Raise the error of a kernel, unless one of these is float16, which is computed in float32 and rounded."""
    if not any(isinstance(t, Tensor) and t._data.dtype == np.float16 for t in tensors):
        raise error


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else dense(array)
