"""``quantize_per_tensor``, ``quantize_per_channel``, and what quantized tensors answer, as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core.errors import DTypeError, RangeError, ShapeError
from fastnn._core.quantized_dtypes import QuantizedDtype
from fastnn._tensor.quantized import QuantizedTensor, quantized_integers, wrap_quantized
from fastnn._tensor.tensor import Tensor
from fastnn.kernels.runtime import allocation

__all__ = [
    "dequantize", "int_repr", "q_per_channel_axis", "q_per_channel_scales", "q_per_channel_zero_points", "q_scale",
    "q_zero_point", "quantize_per_channel", "quantize_per_tensor",
]  # fmt: skip


def _numbers(input: Any, kind: Any) -> np.ndarray:
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor, found {type(input).__name__}")
    if not isinstance(kind, QuantizedDtype):
        raise DTypeError(f"dtype must be torch.qint8, torch.quint8 or torch.qint32, found {kind!r}")
    if input.dtype.name != "float32":
        raise DTypeError(f"Quantize only works on Float Tensor, got {input.dtype}")
    return input._data


def _check_zero_points(zero_points: np.ndarray, kind: QuantizedDtype) -> None:
    low, high = kind.limits
    for zero in zero_points.reshape(-1).tolist():
        if not low <= zero <= high:
            raise RuntimeError(f"zero_point must be in [{low}, {high}] for {kind}, found {zero}")


def quantize_per_tensor(input: Tensor, scale: Any, zero_point: Any, dtype: QuantizedDtype) -> QuantizedTensor:
    """A quantized tensor of ``round(input / scale + zero_point)``, limited to the range of the dtype.

    Args:
        input: float32.
        scale, zero_point: a number each, or a tensor of one.
        dtype: qint8, quint8 or qint32.

    Raises: TypeError for an ``input`` that is no tensor; DTypeError for other dtypes; RuntimeError for a zero point out
        of the range of the dtype.

    >>> import fastnn
    >>> fastnn.quantize_per_tensor(fastnn.tensor([-1.0, 0.0, 1.0, 9.0]), 0.02, 5, fastnn.qint8).int_repr()
    tensor([-45,   5,  55, 127], dtype=torch.int8)
    """
    x = _numbers(input, dtype)
    scale, zero_point = float(scale), int(zero_point)
    _check_zero_points(np.asarray(zero_point), dtype)
    return wrap_quantized(quantized_integers(x, scale, zero_point, dtype), scale, zero_point)


def quantize_per_channel(
    input: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: QuantizedDtype
) -> QuantizedTensor:
    """As :func:`quantize_per_tensor`, with a scale and a zero point for each channel.

    Args:
        input: float32.
        scales, zero_points: (channels,).
        axis: the dimension of the channels.
        dtype: qint8, quint8 or qint32.

    Raises: as above; ShapeError unless there is one scale and one zero point for each channel; RangeError for another
        ``axis``.

    >>> import fastnn
    >>> x, scales = fastnn.tensor([[1.0], [1.0]]), fastnn.tensor([0.5, 0.25])
    >>> fastnn.quantize_per_channel(x, scales, fastnn.tensor([0, 0]), 0, fastnn.qint8).int_repr()
    tensor([[2],
            [4]], dtype=torch.int8)
    """
    x = _numbers(input, dtype)
    if not 0 <= axis < x.ndim:
        raise RangeError(f"axis must be in [0, {x.ndim - 1}], found {axis}")
    for name, given in (("scales", scales), ("zero_points", zero_points)):
        if not isinstance(given, Tensor):
            raise TypeError(f"{name} must be a Tensor, found {type(given).__name__}")
        if given._data.shape != (x.shape[axis],):
            raise ShapeError(
                f"{name} must have shape ({x.shape[axis]},), one for each channel, found {tuple(given.shape)}"
            )
    by_channel, zeros = scales._data.astype(np.float64), zero_points._data.astype(np.int64)
    _check_zero_points(zeros, dtype)
    made = wrap_quantized(allocation.empty(x.shape, dtype.integers), by_channel, zeros, axis)
    made._integers[...] = quantized_integers(x, made._by_channel(by_channel), made._by_channel(zeros), dtype)
    return made


def _of_quantized(name: str) -> Callable[[Any], Any]:
    def ask(input: Any) -> Any:
        if not isinstance(input, QuantizedTensor):
            found = input.dtype if isinstance(input, Tensor) else type(input).__name__
            raise NotImplementedError(f"{name}() takes a quantized tensor, found {found}")
        return getattr(input, name)()

    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = f"``input.{name}()`` of a quantized tensor; NotImplementedError for others."
    return ask


int_repr, q_scale, q_zero_point = map(_of_quantized, ("int_repr", "q_scale", "q_zero_point"))
q_per_channel_scales, q_per_channel_zero_points, q_per_channel_axis = map(
    _of_quantized, ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis")
)


def dequantize(tensor: Any) -> Any:
    """The real numbers of a quantized tensor, or of each in a list or tuple; other tensors as float32.

    >>> import fastnn
    >>> fastnn.dequantize(fastnn.quantize_per_tensor(fastnn.tensor([0.26]), 0.1, 0, fastnn.qint8))
    tensor([0.3000])
    """
    if isinstance(tensor, (list, tuple)):
        return type(tensor)([dequantize(t) for t in tensor])
    if not isinstance(tensor, Tensor):
        raise TypeError(f"dequantize() takes tensors, found {type(tensor).__name__}")
    return tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor.float()
