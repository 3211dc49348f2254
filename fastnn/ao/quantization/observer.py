"""Observers: they find the range of a weight, and from it the scale and the zero point."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastnn._core import dtypes
from fastnn._core.quantized_dtypes import (
    QuantizedDtype,
    per_channel_affine,
    per_channel_symmetric,
    per_tensor_affine,
    per_tensor_symmetric,
    qint8,
    quint8,
)
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.module import Module

__all__ = [
    "MinMaxObserver", "ObserverBase", "PerChannelMinMaxObserver", "PlaceholderObserver",
    "default_dynamic_quant_observer",
    "default_per_channel_weight_observer", "default_placeholder_observer", "default_weight_observer",
]  # fmt: skip

_EPS = float(np.finfo(np.float32).eps)


class _Maker:
    """A class with some arguments given; called, it makes an instance."""

    def __init__(self, partial: functools.partial[Any]) -> None:
        self.p = partial

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.p(*args, **options)

    def __repr__(self) -> str:
        return f"{self.p!r}{{}}"

    def with_args(self, **options: Any) -> _Maker:
        """The same with more arguments."""
        return _Maker(functools.partial(self.p, **options))


class ObserverBase(Module):
    """The base of observers: called with a tensor, they note its range and return it.

    Args:
        dtype: of the quantized tensor.
        is_dynamic: whether the range is found in each call of the quantized module.
    """

    def __init__(self, dtype: Any, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    @classmethod
    def with_args(cls, **options: Any) -> _Maker:
        """A maker of observers with these arguments."""
        return _Maker(functools.partial(cls, **options))

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """The scale and the zero point, each a tensor of one number or of one for each channel."""
        raise NotImplementedError(f"{type(self).__name__} has no calculate_qparams()")


class PlaceholderObserver(ObserverBase):
    """Notes nothing: it says that activations are quantized in each call.

    Args:
        dtype, is_dynamic: as above.
        quant_min, quant_max, qscheme, eps: kept as attributes.
    """

    def __init__(
        self, dtype: Any = dtypes.float32, quant_min: int | None = None, quant_max: int | None = None,
        qscheme: Any = per_tensor_affine, eps: float = _EPS, is_dynamic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        self.qscheme, self.quant_min, self.quant_max, self.eps = qscheme, quant_min, quant_max, eps

    def forward(self, x: Any) -> Any:
        """The argument itself."""
        return x

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"


class _RangeObserver(ObserverBase):
    """What observers of ranges share.

    Args:
        dtype: qint8 or quint8.
        qscheme: affine, or symmetric around 0.
        reduce_range: leave out one bit.
        quant_min, quant_max: the integers to use, both or none.
        eps: the smallest scale.
        is_dynamic: as above.

    Raises: AssertionError for another dtype, another scheme, or integers that are out of range.
    """

    _SCHEMES: tuple[Any, ...] = ()
    min_val: Tensor
    max_val: Tensor

    def __init__(
        self, dtype: Any = quint8, qscheme: Any = per_tensor_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, eps: float = _EPS, is_dynamic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        if qscheme not in self._SCHEMES:
            raise NotImplementedError(
                f"{type(self).__name__}'s qscheme must be one of {', '.join(map(repr, self._SCHEMES))}, found {qscheme}"
            )
        if not isinstance(dtype, QuantizedDtype):
            raise AssertionError(f"dtype must be torch.qint8 or torch.quint8, found {dtype}")
        low, high = dtype.limits
        if reduce_range:
            # -128 to 127 becomes -64 to 63, and 0 to 255 becomes 0 to 127.
            low, high = -(-low // 2), high // 2
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        if quant_min is not None and quant_max is not None:
            if not low <= quant_min <= 0 <= quant_max <= high or quant_min == quant_max:
                raise AssertionError(
                    f"quant_min and quant_max must be in [{low}, {high}] with 0 between them, found {quant_min} and "
                    f"{quant_max}"
                )
            low, high = quant_min, quant_max
        self.qscheme, self.reduce_range, self.quant_min, self.quant_max = qscheme, reduce_range, low, high
        self.register_buffer("eps", _wrap(np.array([eps], np.float32)))

    def _qparams(self, low: np.ndarray, high: np.ndarray) -> tuple[Tensor, Tensor]:
        """For the smallest and the largest number, of all or of each channel, in PyTorch's arithmetic (float32)."""
        if not np.all(low <= high):
            return _wrap(np.ones(1, np.float32)), _wrap(np.zeros(1, np.int64))
        below, above = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
        eps, steps = self.eps._data[0], float(self.quant_max - self.quant_min)
        if self.qscheme in (per_tensor_symmetric, per_channel_symmetric):
            scale = np.maximum(np.maximum(-below, above) / np.float32(steps / 2), eps)
            middle = (self.quant_min + self.quant_max) // 2 if self.has_customized_qrange else 128
            zero = np.full(scale.shape, middle if self.dtype is quint8 else 0, np.int64)
        else:
            scale = np.maximum((above - below) / np.float32(steps), eps)
            zero = self.quant_min - np.rint(below / scale).astype(np.int64)
            zero = np.clip(zero, self.quant_min, self.quant_max)
        return _wrap(scale.astype(np.float32).reshape(-1)), _wrap(zero.reshape(-1))

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """The scale and the zero point for what was observed; 1 and 0 before that."""
        return self._qparams(self.min_val._data, self.max_val._data)

    def _note(self, low: np.ndarray, high: np.ndarray) -> None:
        if self.min_val._data.shape == low.shape:
            low, high = np.minimum(low, self.min_val._data), np.maximum(high, self.max_val._data)
        self.min_val, self.max_val = _wrap(np.asarray(low)), _wrap(np.asarray(high))

    def extra_repr(self) -> str:
        """The range."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class MinMaxObserver(_RangeObserver):
    """Notes the smallest and the largest number of all tensors that it is called with.

    >>> import fastnn
    >>> observer = MinMaxObserver(dtype=fastnn.qint8, qscheme=fastnn.per_tensor_symmetric)
    >>> _ = observer(fastnn.tensor([-1.0, 2.55]))
    >>> observer.calculate_qparams()
    (tensor([0.0200]), tensor([0]))
    """

    _SCHEMES = (per_tensor_affine, per_tensor_symmetric)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("min_val", _wrap(np.array(np.inf, np.float32)))
        self.register_buffer("max_val", _wrap(np.array(-np.inf, np.float32)))

    def forward(self, x_orig: Tensor) -> Tensor:
        """The argument itself."""
        numbers = x_orig.detach()._data.astype(np.float32)
        if numbers.size:
            self._note(numbers.min(), numbers.max())
        return x_orig


class PerChannelMinMaxObserver(_RangeObserver):
    """Notes the smallest and the largest number of each channel.

    Args:
        ch_axis: the dimension of the channels.
        args, options: as for :class:`MinMaxObserver`.
    """

    _SCHEMES = (per_channel_affine, per_channel_symmetric)

    def __init__(self, ch_axis: int = 0, dtype: Any = quint8, qscheme: Any = per_channel_affine, *args: Any,
                 **options: Any) -> None:  # fmt: skip
        super().__init__(dtype, qscheme, *args, **options)
        self.ch_axis = ch_axis
        self.register_buffer("min_val", _wrap(np.zeros(0, np.float32)))
        self.register_buffer("max_val", _wrap(np.zeros(0, np.float32)))

    def forward(self, x_orig: Tensor) -> Tensor:
        """The argument itself."""
        numbers = x_orig.detach()._data.astype(np.float32)
        if numbers.size:
            rows = np.moveaxis(numbers, self.ch_axis, 0).reshape(numbers.shape[self.ch_axis], -1)
            self._note(rows.min(1), rows.max(1))
        return x_orig


default_weight_observer = MinMaxObserver.with_args(dtype=qint8, qscheme=per_tensor_symmetric)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(dtype=qint8, qscheme=per_channel_symmetric)
default_dynamic_quant_observer = PlaceholderObserver.with_args(
    dtype=quint8, quant_min=0, quant_max=255, is_dynamic=True
)  # fmt: skip
default_placeholder_observer = PlaceholderObserver
