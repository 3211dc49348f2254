"""Activations in recorded operations: second derivatives differentiate these formulas, not the kernels.

The formulas of the elementwise activations are registered with their kernels. Those that the linear kernel can apply
to its result are here; one without a formula is an error when this module is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.activation.elementwise_activations import FUNCTIONS
from fastnn.kernels.activation.fused_activations import CODES
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _contiguous
from fastnn.ops import core
from fastnn.ops.core import pieces


def _mask(x: Tensor, condition: Any) -> Tensor:
    return _wrap(np.asarray(condition, x._data.dtype))


class Maths:
    """The functions of a tensor that formulas are made of: ``m`` of the formulas registered with kernels."""

    @staticmethod
    def exp(x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def sigmoid(x: Tensor) -> Tensor:
        # exp(-|x|) does not overflow. Not abs(): its derivative at 0 is 0; here it must be that of x.
        right = x._data >= 0
        e = (x * _mask(x, np.where(right, -1, 1))).exp()
        return (_mask(x, right) + e * _mask(x, ~right)) / (e + 1)

    @staticmethod
    def softplus(x: Tensor) -> Tensor:
        right = x._data >= 0
        e = (x * _mask(x, np.where(right, -1, 1))).exp()
        return x * _mask(x, right) + (e + 1).log()

    @staticmethod
    def tanh(x: Tensor) -> Tensor:
        return Maths.sigmoid(x * 2) * 2 - 1

    @staticmethod
    def magnitude(x: Tensor) -> Tensor:
        """``x`` times its sign, which counts as a constant."""
        return x * _mask(x, np.sign(x._data))

    piece = staticmethod(core.piece)


def _erf_slope(x: Tensor) -> Tensor:
    """A tensor with the value of Phi, whose derivative is the density of the normal distribution."""
    value = allocation.empty_like(_contiguous(x._data))
    one = _contiguous(np.where(x._data == 0, 1, x._data).astype(x._data.dtype))
    kernels.activation_forward(value, one, "gelu")
    phi = np.where(x._data == 0, 0.5, value / one).astype(x._data.dtype)

    def run(grad: Tensor) -> tuple[Tensor]:
        return (grad * ((x * x) * -0.5).exp() * (1 / math.sqrt(2 * math.pi)),)

    return _wrap(phi, Node("NormalCdf", (x,), run, (x,)) if _recorded(x) else None)


# -- The activations that the linear kernel can apply to its result: of x, the slope, and whether it was in place -----


def _relu(x: Tensor, slope: float, inplace: bool) -> Tensor:
    return core.piece(x, ~(x._data <= 0), reads_result=True)


def _leaky_relu(x: Tensor, slope: float, inplace: bool) -> Tensor:
    return pieces(x, np.where(x._data > 0, 1, slope), inplace)


def _gelu_tanh(x: Tensor) -> Tensor:
    return x * Maths.sigmoid((x + x * x * x * 0.044715) * (2 * math.sqrt(2 / math.pi)))


_FUSED: dict[str, Callable[[Tensor, float, bool], Tensor]] = {
    "none": lambda x, slope, inplace: x,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "sigmoid": lambda x, slope, inplace: Maths.sigmoid(x),
    "tanh": lambda x, slope, inplace: Maths.tanh(x),
    "gelu": lambda x, slope, inplace: x * _erf_slope(x),
    "gelu_tanh": lambda x, slope, inplace: _gelu_tanh(x),
}


def recorded_activation(x: Tensor, activation: str, slope: float, inplace: bool = False) -> Tensor:
    """``activation(x)`` in recorded operations; with ``inplace``, x already holds the result."""
    return _FUSED[activation](x, slope, inplace)


def recorded_elementwise(x: Tensor, name: str, a: float, b: float, c: float) -> Tensor:
    """The elementwise activation of this name in recorded operations."""
    return FUNCTIONS[name].formula(Maths, x, x._data, a, b, c)


def check_formulas() -> None:
    """RuntimeError unless the activations that can be fused are exactly those with a formula."""
    odd = sorted(set(CODES) ^ set(_FUSED))
    if odd:
        raise RuntimeError(f"activations need a kernel and a formula, found one of the two for {', '.join(odd)}")


check_formulas()
