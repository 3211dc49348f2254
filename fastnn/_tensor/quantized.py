"""Quantized tensors: integers with a scale and a zero point for all of them, or for each channel.

They hold the weights of quantized models. Operations of other tensors do not take them: ``dequantize`` makes a tensor
of real numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.quantized_dtypes import BY_INTEGERS, QuantizedDtype, per_channel_affine, per_tensor_affine, qscheme
from fastnn._core.size import Size
from fastnn._tensor.printing import quantized_text
from fastnn._tensor.tensor import Tensor, _wrap, new_memory
from fastnn._tensor.torch_function import disabled_torch_function


class QuantizedTensor(Tensor):
    """A tensor of ``scale * (integer - zero_point)``; made by :func:`wrap_quantized`.

    >>> import fastnn
    >>> t = fastnn.quantize_per_tensor(fastnn.tensor([0.1, 0.52]), 0.1, 0, fastnn.qint8)
    >>> t.int_repr(), t.q_scale(), t.dequantize()
    (tensor([1, 5], dtype=torch.int8), 0.1, tensor([0.1000, 0.5000]))
    """

    __slots__ = ("_axis", "_integers", "_scale", "_zero_point")

    # Operations get no other code for it: they fail where they ask for its numbers.
    _of_user = False
    __torch_function__ = disabled_torch_function  # type: ignore[assignment]  # takes no part

    # Shape, strides and memory are those of the integers.
    _integers: np.ndarray
    # A number, or an array of one for each channel.
    _scale: Any
    _zero_point: Any
    # The dimension of the channels; None for one scale.
    _axis: int | None

    @property
    def _data(self) -> np.ndarray:  # type: ignore[override]  # there is none
        raise NotImplementedError(
            f"this operation is not implemented for a tensor of {self.dtype}: use dequantize() or int_repr()"
        )

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._integers.shape)

    @property
    def dtype(self) -> Any:
        """qint8, quint8 or qint32."""
        return BY_INTEGERS[self._integers.dtype]

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._integers.ndim

    @property
    def is_quantized(self) -> bool:
        """True."""
        return True

    def __len__(self) -> int:
        return len(self._integers)

    def __repr__(self) -> str:
        return quantized_text(self)

    def dim(self) -> int:
        """The number of dimensions."""
        return self._integers.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._integers.size

    nelement = numel

    def size(self, dim: int | None = None) -> Any:
        """The size of each dimension, or of one."""
        return self.shape if dim is None else self._integers.shape[dim]

    def stride(self) -> tuple[int, ...]:
        """The elements between neighbours along each dimension."""
        return tuple([s // self._integers.itemsize for s in self._integers.strides])

    def element_size(self) -> int:
        """The bytes of an element."""
        return self._integers.itemsize

    def is_contiguous(self, **options: Any) -> bool:
        """Whether the elements are in row-major order."""
        return self._integers.flags.c_contiguous

    def is_floating_point(self) -> bool:
        """False."""
        return False

    def qscheme(self) -> qscheme:
        """``per_tensor_affine`` or ``per_channel_affine``."""
        return per_tensor_affine if self._axis is None else per_channel_affine

    def q_scale(self) -> float:
        """The scale; RuntimeError if there is one for each channel."""
        return float(self._per_tensor("q_scale")._scale)

    def q_zero_point(self) -> int:
        """The zero point; RuntimeError if there is one for each channel."""
        return int(self._per_tensor("q_zero_point")._zero_point)

    def q_per_channel_scales(self) -> Tensor:
        """The scales, float64; RuntimeError if there is one for all channels."""
        return _wrap(self._per_channel("q_per_channel_scales")._scale)

    def q_per_channel_zero_points(self) -> Tensor:
        """The zero points, int64; RuntimeError if there is one for all channels."""
        return _wrap(self._per_channel("q_per_channel_zero_points")._zero_point)

    def q_per_channel_axis(self) -> int:
        """The dimension of the channels; RuntimeError if there is one scale for all."""
        axis = self._per_channel("q_per_channel_axis")._axis
        assert axis is not None
        return axis

    def _per_tensor(self, name: str) -> QuantizedTensor:
        if self._axis is not None:
            raise RuntimeError(f"{name}() takes a tensor of torch.per_tensor_affine, found {self.qscheme()}")
        return self

    def _per_channel(self, name: str) -> QuantizedTensor:
        if self._axis is None:
            raise RuntimeError(f"{name}() takes a tensor of torch.per_channel_affine, found {self.qscheme()}")
        return self

    def _by_channel(self, values: Any) -> Any:
        """A number, or one for each channel in a shape that broadcasts."""
        if self._axis is None:
            return values
        return values.reshape([-1 if d == self._axis else 1 for d in range(self._integers.ndim)])

    def int_repr(self) -> Tensor:
        """A copy of the integers."""
        return _wrap(self._integers.copy())

    def dequantize(self) -> Tensor:
        """The real numbers, float32."""
        zero = self._by_channel(self._zero_point)
        scale = np.asarray(self._by_channel(self._scale), np.float32)
        return _wrap((self._integers.astype(np.int64) - zero).astype(np.float32) * scale)

    def detach(self) -> QuantizedTensor:
        """A tensor over the same integers."""
        return wrap_quantized(self._integers, self._scale, self._zero_point, self._axis)

    def clone(self, **options: Any) -> QuantizedTensor:
        """A copy."""
        return wrap_quantized(self._integers.copy(), self._scale, self._zero_point, self._axis)

    def contiguous(self, **options: Any) -> QuantizedTensor:
        """The tensor itself, or a copy in row-major order."""
        if self._integers.flags.c_contiguous:
            return self
        return wrap_quantized(np.ascontiguousarray(self._integers), self._scale, self._zero_point, self._axis)

    def cpu(self) -> QuantizedTensor:
        """The tensor itself."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> QuantizedTensor:
        """The tensor itself; RuntimeError for True, as integers have no gradient."""
        if requires_grad:
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, found {self.dtype}")
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantizedTensor:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = self.clone()
        return found

    def __reduce__(self) -> Any:
        return wrap_quantized, (np.ascontiguousarray(self._integers), self._scale, self._zero_point, self._axis)


def wrap_quantized(integers: np.ndarray, scale: Any, zero_point: Any, axis: int | None = None) -> QuantizedTensor:
    """A quantized tensor over an array of integers, without checks.

    Args:
        scale, zero_point: numbers, or float64 and int64 arrays of one number for each channel.
        axis: the dimension of the channels.
    """
    made = object.__new__(QuantizedTensor)
    made._integers, made._scale, made._zero_point, made._axis = integers, scale, zero_point, axis
    made._node, made._requires_grad, made._grad, made._history, made._view = None, False, None, 0, None
    made._memory = new_memory()
    return made


def quantized_integers(x: np.ndarray, scale: Any, zero_point: Any, kind: QuantizedDtype) -> np.ndarray:
    """``round(x / scale + zero_point)`` in the range of the dtype, rounded to nearest even; ``scale`` is float32."""
    low, high = kind.limits
    with np.errstate(all="ignore"):
        # PyTorch multiplies by the inverse, and NaN gives the largest number.
        steps = x * (np.float32(1) / np.asarray(scale, np.float32))
        rounded = np.rint(steps.astype(np.float64) + zero_point)
    return np.clip(np.where(np.isnan(rounded), high, rounded), low, high).astype(kind.integers)
