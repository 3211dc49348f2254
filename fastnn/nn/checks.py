"""Argument checks of functions of tensors and of layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.devices import check_device
from fastnn._core.dtypes import FLOATING, as_numpy_dtype, default_numpy
from fastnn._core.dtypes import dtype as _dtype
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


def _kind(dtype: _dtype | None, device: Any) -> np.dtype:
    """The dtype of a layer's parameters; an error if it cannot be trained or the device does not exist."""
    check_device(device)
    kind = as_numpy_dtype(dtype, default_numpy())
    if kind.kind not in FLOATING:
        raise DTypeError(f"dtype must be float32 or float64, found {dtype}")
    return kind
