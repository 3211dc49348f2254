"""Functions of ``torch`` that make tensors of complex numbers, or take their parts; see ``ops/complex_tensor.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.runtime import allocation
from fastnn.ops import complex_tensor
from fastnn.ops.core import broadcast, check_tensor, check_tensors

__all__ = ["angle", "complex", "imag", "polar", "view_as_complex", "view_as_real"]


def _pair(name: str, a: Any, b: Any) -> None:
    check_tensors(name, a, b)
    if a._data.dtype != b._data.dtype or a._data.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"{name}(): expected two tensors of float32 or of float64, found {a.dtype} and {b.dtype}")
    complex_tensor._check_detached(a, b)


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """``real + 1j * imag``, of complex64 for float32 and complex128 for float64.

    >>> import fastnn
    >>> fastnn.complex(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.5, -1.0]))
    tensor([1.+0.5000j, 2.-1.0000j])
    """
    _pair("complex", real, imag)

    def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        made = allocation.empty(np.broadcast_shapes(a.shape, b.shape), complex_tensor.complex_of(a.dtype))
        made.real, made.imag = a, b
        return made

    return complex_tensor.wrap(broadcast(join, real._data, imag._data))


def imag(input: Tensor) -> Tensor:
    """The imaginary parts of complex numbers, in the same memory.

    >>> import fastnn
    >>> fastnn.imag(fastnn.tensor([1 + 2j]))
    tensor([2.])
    """
    check_tensor("input", input)
    return input.imag


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Complex numbers of these sizes and angles.

    >>> import fastnn
    >>> fastnn.polar(fastnn.tensor([2.0]), fastnn.tensor([0.0]))
    tensor([2.+0.j])
    """
    _pair("polar", abs, angle)
    a, b = abs._data, angle._data
    made = broadcast(lambda r, phi: r * (np.cos(phi) + 1j * np.sin(phi)), a, b)
    return complex_tensor.wrap(made.astype(complex_tensor.complex_of(a.dtype)))


def view_as_complex(input: Tensor) -> Tensor:
    """A tensor whose last dimension has the size 2 as complex numbers in the same memory.

    >>> import fastnn
    >>> fastnn.view_as_complex(fastnn.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    check_tensor("input", input)
    array = input._data
    if array.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"view_as_complex is only supported for float and double tensors, found {input.dtype}")
    complex_tensor._check_detached(input)
    if array.ndim == 0 or array.shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2, found shape {tuple(array.shape)}")
    if array.strides[-1] != array.itemsize:
        raise RuntimeError(f"Tensor must have a last dimension with stride 1, found strides {input.stride()}")
    made = array.view(complex_tensor.complex_of(array.dtype))[..., 0]
    return complex_tensor.as_complex(Tensor._remade(made, input._memory, None))


def view_as_real(input: Tensor) -> Tensor:
    """Complex numbers as pairs of numbers in the same memory, in one more dimension of size 2.

    >>> import fastnn
    >>> fastnn.view_as_real(fastnn.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    check_tensor("input", input)
    if not isinstance(input, complex_tensor.ComplexTensor):
        raise RuntimeError(f"view_as_real is only supported for complex tensors, found {input.dtype}")
    return complex_tensor.TABLE["view_as_real"](input)


def angle(input: Tensor) -> Tensor:
    """The angle of complex numbers; of real ones 0, or pi if they are negative.

    >>> import fastnn
    >>> fastnn.angle(fastnn.tensor([1j, -1.0]))
    tensor([1.5708, 3.1416])
    """
    check_tensor("input", input)
    array = input._data
    if array.dtype.kind == "c":
        return complex_tensor.wrap(np.angle(array))
    complex_tensor._check_detached(input)
    kind = array.dtype if array.dtype.kind == "f" else complex_tensor.default_numpy()
    values = np.where(array < 0, np.pi, 0.0)
    return complex_tensor.wrap(np.where(np.isnan(array), np.nan, values).astype(kind))
