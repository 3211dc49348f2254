"""Checks of arrays before a launch; kernels get raw addresses and check nothing."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from fastnn.kernels.runtime.compiler import FLOAT32, both

T = TypeVar("T")

# NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED of NumPy's C API.
_READABLE = 0x0001 | 0x0100


def check(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Raise unless ``a`` is an aligned, C-contiguous ndarray of this dtype and shape (about 100 ns)."""
    if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or ~a.flags.num & _READABLE:
        raise _explain(name, a, dtype, shape, "C-contiguous and aligned")


def check_output(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """As :func:`check`, for an array that the kernel writes."""
    if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or not a.flags.carray:
        raise _explain(name, a, dtype, shape, "C-contiguous, aligned and writeable")


def check_scalar(name: str, out: np.ndarray, dtype: np.dtype, shape: tuple[()] = ()) -> None:
    """Raise unless ``out`` holds one number of ``dtype``, in any number of dimensions."""
    check_output(name, out, dtype, out.shape if type(out) is np.ndarray and out.size == 1 else shape)


def check_strided(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, int]) -> tuple[int, int]:
    """Raise unless ``a`` is an aligned matrix of this dtype and shape; return its strides in numbers."""
    if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or not a.flags.aligned:
        raise _explain(name, a, dtype, shape, "aligned")
    size = a.itemsize
    rows, columns = a.strides
    return rows // size, columns // size


def matrix_shape(name: str, a: np.ndarray) -> tuple[int, int]:
    """The shape of a matrix; TypeError if ``a`` is not an array, ValueError if it does not have 2 dimensions."""
    if type(a) is not np.ndarray:
        raise _explain(name, a, FLOAT32, (), "")
    if a.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, found shape {a.shape}")
    return a.shape


def check_rows(
    name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, int], *, output: bool = False
) -> int:
    """Raise unless ``a`` is a matrix whose rows are contiguous; return the elements between rows."""
    # The strides of an empty array can be anything.
    if (
        type(a) is not np.ndarray
        or a.dtype != dtype
        or a.shape != shape
        or not (a.flags.behaved if output else a.flags.aligned)
        or (a.size and shape[1] > 1 and a.strides[1] != a.itemsize)
        or (a.size and a.strides[0] % a.itemsize)
        or (output and a.size and shape[0] > 1 and a.strides[0] < shape[1] * a.itemsize)
    ):
        raise _explain(name, a, dtype, shape, "aligned, with contiguous rows")
    return a.strides[0] // a.itemsize


@both
def is_turned(rows: int, columns: int, row_stride: int, column_stride: int, size: int) -> bool:
    """Whether a matrix with these strides in bytes has contiguous columns, and not contiguous rows."""
    return rows > 1 and row_stride == size and (columns == 1 or column_stride != size)


def check_rows_or_columns(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, int]) -> None:
    """Raise unless ``a`` is a writeable matrix whose rows or columns are contiguous."""
    if type(a) is np.ndarray and a.ndim == 2 and is_turned(*a.shape, *a.strides, a.itemsize):
        check_rows(f"{name}.T", a.T, dtype, shape[::-1], output=True)
    else:
        check_rows(name, a, dtype, shape, output=True)


def check_batch(
    name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], *, rows: bool = False, output: bool = False
) -> tuple[int, ...]:
    """Raise unless ``a`` is an aligned array of this dtype and shape; return its strides in numbers.

    ``rows``: its last dimension must be contiguous, and is not among the strides; the others may not be negative.
    """
    size = getattr(a, "itemsize", 1)
    if (
        type(a) is not np.ndarray
        or a.dtype != dtype
        or a.shape != shape
        or not (a.flags.behaved if output else a.flags.aligned)
        or (a.size and rows and ((shape[-1] > 1 and a.strides[-1] != size) or min(a.strides) < 0))
        or (a.size and any(stride % size for stride in a.strides))
    ):
        raise _explain(name, a, dtype, shape, "aligned, with contiguous rows" if rows else "aligned")
    strides = tuple([stride // size for stride in a.strides])
    return strides[:-1] if rows else strides


def _explain(name: str, a: Any, dtype: np.dtype, shape: tuple[int, ...], layout: str) -> Exception:
    if not isinstance(a, np.ndarray):
        return TypeError(f"{name} must be a NumPy array, found {type(a).__name__}")
    if type(a) is not np.ndarray:
        return TypeError(f"{name} must be a plain NumPy array, found the subclass {type(a).__name__}")
    if a.dtype != dtype:
        return TypeError(f"{name} must have dtype {dtype}, found {a.dtype}")
    if a.shape != shape:
        return ValueError(f"{name} must have shape {shape}, found {a.shape}")
    alignment = "aligned" if a.flags.aligned else "misaligned"
    access = "writeable" if a.flags.writeable else "read-only"
    return ValueError(f"{name} must be {layout}, found strides {a.strides}, {alignment}, {access}")


def kernel_for(kernels: dict[np.dtype, T], name: str, a: np.ndarray) -> T:
    """The kernel for the dtype of ``a``, or the kernels; TypeError if there is none."""
    try:
        return kernels[a.dtype]
    except (KeyError, AttributeError, TypeError):
        found = getattr(a, "dtype", type(a).__name__)
        *names, last = [dtype.name for dtype in kernels]
        dtypes = f"{', '.join(names)} or {last}" if names else last
        raise TypeError(f"{name} must have dtype {dtypes}, found {found}") from None
