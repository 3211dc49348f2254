"""Activation layers. Each names its kernel, so that ``Sequential`` can fuse it with the preceding layer."""

from __future__ import annotations

import numbers

from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.module import Module


class _Activation(Module):
    """An elementwise function that the linear kernel can apply to its result."""

    inplace: bool = False

    def fused(self) -> tuple[str, float]:
        """The kernel's name for the activation, and its slope."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional._activation(input, *self.fused(), inplace=self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Activation):
    """``max(x, 0)``.

    >>> import fastnn
    >>> fastnn.nn.ReLU()(fastnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def fused(self) -> tuple[str, float]:
        return "relu", 0.0


class LeakyReLU(_Activation):
    """``x`` where positive, ``negative_slope * x`` elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        if not isinstance(negative_slope, numbers.Real):
            raise TypeError(f"negative_slope must be a number, found {negative_slope!r}")
        self.negative_slope: float = negative_slope
        self.inplace = inplace

    def fused(self) -> tuple[str, float]:
        return "leaky_relu", self.negative_slope

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Sigmoid(_Activation):
    """``1 / (1 + exp(-x))``."""

    def fused(self) -> tuple[str, float]:
        return "sigmoid", 0.0


class Tanh(_Activation):
    """The hyperbolic tangent."""

    def fused(self) -> tuple[str, float]:
        return "tanh", 0.0


class GELU(_Activation):
    """``x * Phi(x)``, Phi the normal distribution function (arXiv:1606.08415); 'tanh' approximates it."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        functional.gelu_name(approximate)
        self.approximate = approximate

    def fused(self) -> tuple[str, float]:
        return functional.gelu_name(self.approximate), 0.0

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"
