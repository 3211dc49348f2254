"""Linear: the fully connected layer. May import ``functional``, ``module`` and ``parameter``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.dtypes import dtype as _dtype
from fastnn.dtypes import float32
from fastnn.errors import DTypeError, ShapeError
from fastnn.nn import functional
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.random import default_generator
from fastnn.tensor import Tensor


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Args:
        in_features, out_features: sizes of the last dimension of input and output.
        bias: whether to add a bias.
        device: None or 'cpu'.
        dtype: float32 (the default) or float64.

    Shape: (..., in_features) to (..., out_features). ``weight`` is (out_features, in_features) as
    in PyTorch, stored with one row per input feature.

    Both start uniform in ±1 / sqrt(in_features), as PyTorch's do.

    >>> import fastnn
    >>> fastnn.nn.Linear(3, 2)(fastnn.zeros(5, 3)).shape
    fastnn.Size([5, 2])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: _dtype | None = None
    ) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, found {type(value).__name__}")
            if value < 0:
                raise ShapeError(f"{name} must not be negative, found {value}")
        if device is not None and str(device) != "cpu":
            raise RuntimeError(f"fastnn runs on the CPU only, found device {device!r}")
        kind = (dtype or float32).numpy
        if kind.kind != "f":
            raise DTypeError(f"dtype must be float32 or float64, found {dtype}")
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.weight = Parameter._empty((self.out_features, self.in_features), kind, transposed=True)
        self.bias = Parameter._empty((self.out_features,), kind) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform in ±1 / sqrt(in_features)."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        uniform = default_generator().numpy.uniform
        self.weight._data[...] = uniform(-bound, bound, self.weight._data.shape)
        if self.bias is not None:
            self.bias._data[...] = uniform(-bound, bound, self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return functional.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
