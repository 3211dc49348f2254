"""The fully connected layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.checks import _kind
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter, UninitializedParameter, is_lazy
from fastnn.random import default_generator

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear"]


def _feature_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, found {type(value).__name__}")
    if value < 0:
        raise ShapeError(f"{name} must not be negative, found {value}")
    return int(value)


def _draw_uniform(bound: float, *parameters: Parameter | None) -> None:
    """Fill parameters with uniform numbers in ±bound."""
    uniform = default_generator().numpy.uniform
    for p in parameters:
        if p is not None:
            p._data[...] = uniform(-bound, bound, p._data.shape)
            p._memory.version += 1


class Identity(Module):
    """Returns its input; constructor arguments are ignored.

    >>> import fastnn
    >>> fastnn.nn.Identity(54, unused=True)(fastnn.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The argument itself."""
        return input


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Args:
        in_features, out_features: sizes of the last dimension of input and output.
        bias: whether to add a bias.
        device: None or 'cpu'.
        dtype: float32 (the default) or float64.

    Shape: (..., in_features) to (..., out_features). ``weight`` is (out_features, in_features) as
    in PyTorch, C-contiguous.

    Both start uniform in ±1 / sqrt(in_features), as PyTorch's do.

    >>> import fastnn
    >>> fastnn.nn.Linear(3, 2)(fastnn.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: _dtype | None = None
    ) -> None:
        super().__init__()
        self.in_features = _feature_count("in_features", in_features)
        self.out_features = _feature_count("out_features", out_features)
        kind = _kind(dtype, device)
        self.weight = Parameter._empty((self.out_features, self.in_features), kind)
        self.register_parameter("bias", Parameter._empty((self.out_features,), kind) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Redraw weight and bias, uniform in ±1 / sqrt(in_features)."""
        _draw_uniform(1 / math.sqrt(self.in_features) if self.in_features else 0.0, self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return functional.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class LazyLinear(Linear):
    """A :class:`Linear` that takes ``in_features`` from its first input, and then becomes an ordinary one.

    Args:
        out_features, bias, device, dtype: as for :class:`Linear`.

    >>> import fastnn
    >>> layer = fastnn.nn.LazyLinear(3)
    >>> layer(fastnn.zeros(5, 7)).shape, layer
    (torch.Size([5, 3]), Linear(in_features=7, out_features=3, bias=True))
    """

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: _dtype | None = None
    ) -> None:
        Module.__init__(self)
        self.in_features, self.out_features = 0, _feature_count("out_features", out_features)
        _kind(dtype, device)
        self.weight = UninitializedParameter(dtype=dtype)
        self.register_parameter("bias", UninitializedParameter(dtype=dtype) if bias else None)

    def has_uninitialized_params(self) -> bool:
        """Whether the shape of the weight is not known yet."""
        return is_lazy(self.weight)

    def reset_parameters(self) -> None:
        """Redraw the parameters, if they exist."""
        if not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Create the parameters for inputs of this shape."""
        if isinstance(self.weight, UninitializedParameter):
            self.in_features = input.shape[-1]
            self.weight.materialize((self.out_features, self.in_features))
            if isinstance(self.bias, UninitializedParameter):
                self.bias.materialize((self.out_features,))
            self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """(..., any number of features) to (..., out_features)."""
        if not isinstance(input, Tensor):
            raise TypeError(f"input must be a Tensor, found {type(input).__name__}")
        if not input.dim():
            raise IndexError("the first input of a LazyLinear must have a dimension of features, found a scalar")
        self.initialize_parameters(input)
        self.in_features = self.weight.shape[-1]
        self.__class__ = self.cls_to_become  # type: ignore[assignment]  # the class that it becomes
        return self.forward(input)


class Bilinear(Module):
    """``y[k] = x1 @ weight[k] @ x2 + bias[k]``.

    Args:
        in1_features, in2_features, out_features: sizes of the last dimensions of the inputs and the output.
        bias, device, dtype: as for :class:`Linear`.

    Shape: (..., in1_features) and (..., in2_features) to (..., out_features). ``weight`` is (out_features,
    in1_features, in2_features). Both parameters start uniform in ±1 / sqrt(in1_features), as PyTorch's do.

    >>> import fastnn
    >>> fastnn.nn.Bilinear(3, 4, 2)(fastnn.zeros(5, 3), fastnn.zeros(5, 4)).shape
    torch.Size([5, 2])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__()
        self.in1_features = _feature_count("in1_features", in1_features)
        if not self.in1_features:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in2_features = _feature_count("in2_features", in2_features)
        self.out_features = _feature_count("out_features", out_features)
        kind = _kind(dtype, device)
        self.weight = Parameter._empty((self.out_features, self.in1_features, self.in2_features), kind)
        self.register_parameter("bias", Parameter._empty((self.out_features,), kind) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Redraw weight and bias, uniform in ±1 / sqrt(in1_features)."""
        _draw_uniform(1 / math.sqrt(self.in1_features), self.weight, self.bias)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(..., in1_features) and (..., in2_features) to (..., out_features)."""
        return functional.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
