"""Functions of ``torch`` that make tensors, and those that are a tensor's methods by another name.

May import ``tensor``, ``dtypes`` and ``errors``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.dtypes import dtype, float32, from_numpy_dtype
from fastnn.errors import ShapeError
from fastnn.tensor import Tensor, _sizes, _wrap


def tensor(data: Any, *, dtype: dtype | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of ``data``: floats become float32, integers int64; arrays keep their dtype.

    >>> import fastnn
    >>> fastnn.tensor([[1, 2], [3, 4]]).dtype
    fastnn.int64
    """
    source = data._data if isinstance(data, Tensor) else data
    if isinstance(source, (list, tuple)):
        source = _plain(source)
    array = np.array(source)
    if dtype is not None:
        array = array.astype(dtype.numpy)
    elif not isinstance(source, (np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(np.float32)
    from_numpy_dtype(array.dtype)
    return _wrap(array).requires_grad_(requires_grad)


def _plain(data: Any) -> Any:
    """Nested sequences with tensors inside as nested sequences of arrays."""
    if isinstance(data, Tensor):
        return data.tolist()
    return [_plain(d) for d in data] if isinstance(data, (list, tuple)) else data


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares memory with ``array``.

    >>> import fastnn, numpy as np
    >>> a = np.zeros(2)
    >>> t = fastnn.from_numpy(a)
    >>> a[0] = 1
    >>> t
    tensor([1., 0.], dtype=fastnn.float64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    from_numpy_dtype(array.dtype)
    return _wrap(np.asarray(array))


def _shape_of(size: tuple[Any, ...]) -> tuple[int, ...]:
    shape = _sizes(size)
    if any(n < 0 for n in shape):
        raise ShapeError(f"sizes must not be negative, found {list(shape)}")
    return shape


def zeros(*size: Any, dtype: dtype = float32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros of shape ``size``."""
    return _wrap(np.zeros(_shape_of(size), dtype.numpy)).requires_grad_(requires_grad)


def ones(*size: Any, dtype: dtype = float32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones of shape ``size``."""
    return _wrap(np.ones(_shape_of(size), dtype.numpy)).requires_grad_(requires_grad)


def max(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """``input.max(dim, keepdim)``."""
    return input.max(dim, keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """``input.argmax(dim, keepdim)``."""
    return input.argmax(dim, keepdim)
