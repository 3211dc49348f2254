"""Activations as plain formulas of recorded operations: second derivatives differentiate these, not the kernels.

Each kernel has a formula of the same name here. A missing formula is an error when this module is imported.
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
from fastnn.ops.core import piece, pieces


def _mask(x: Tensor, condition: Any) -> Tensor:
    return _wrap(np.asarray(condition, x._data.dtype))


def _sigmoid(x: Tensor) -> Tensor:
    # exp(-|x|) does not overflow. Not abs(): its derivative at 0 is 0; here it must be that of x.
    right = x._data >= 0
    e = (x * _mask(x, np.where(right, -1, 1))).exp()
    return (_mask(x, right) + e * _mask(x, ~right)) / (e + 1)


def _softplus(x: Tensor) -> Tensor:
    right = x._data >= 0
    e = (x * _mask(x, np.where(right, -1, 1))).exp()
    return x * _mask(x, right) + (e + 1).log()


def _tanh(x: Tensor) -> Tensor:
    return _sigmoid(x * 2) * 2 - 1


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
    return piece(x, ~(x._data <= 0), reads_result=True)


def _leaky_relu(x: Tensor, slope: float, inplace: bool) -> Tensor:
    return pieces(x, np.where(x._data > 0, 1, slope), inplace)


def _gelu_tanh(x: Tensor) -> Tensor:
    return x * _sigmoid((x + x * x * x * 0.044715) * (2 * math.sqrt(2 / math.pi)))


_FUSED: dict[str, Callable[[Tensor, float, bool], Tensor]] = {
    "none": lambda x, slope, inplace: x,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "sigmoid": lambda x, slope, inplace: _sigmoid(x),
    "tanh": lambda x, slope, inplace: _tanh(x),
    "gelu": lambda x, slope, inplace: x * _erf_slope(x),
    "gelu_tanh": lambda x, slope, inplace: _gelu_tanh(x),
}


def recorded_activation(x: Tensor, activation: str, slope: float, inplace: bool = False) -> Tensor:
    """``activation(x)`` in recorded operations; with ``inplace``, x already holds the result."""
    return _FUSED[activation](x, slope, inplace)


# -- The activations that are not fused: of x and their constants -------------------------------------------------


def _elu(x: Tensor, a: float, b: float, c: float) -> Tensor:
    d = x._data
    # At 0 it is treated as linear, as in PyTorch.
    return piece(x, ~(d <= 0), b) + piece(x, d == 0, a * c) + (piece(x, d < 0, c).exp() - 1) * a


def _shrink(x: Tensor, a: float, b: float, c: float) -> Tensor:
    return piece(x, (x._data > a) | (x._data < -a))


def _hardsigmoid(x: Tensor, a: float, b: float, c: float) -> Tensor:
    return piece(x, (x._data > -3) & (x._data < 3), 1 / 6)


def _hardswish(x: Tensor, a: float, b: float, c: float) -> Tensor:
    d = x._data
    middle = piece(x, (d > -3) & (d < 3))
    return piece(x, ~((d <= -3) | (d < 3))) + middle * (middle + 3) * (1 / 6)


def _hardtanh(x: Tensor, a: float, b: float, c: float) -> Tensor:
    return piece(x, (a < x._data) & (x._data < b))


def _scaled_softplus(x: Tensor, a: float, b: float, c: float) -> Tensor:
    right = a * x._data > b
    return piece(x, right) + _softplus(piece(x, ~right, a)) * (1 / a)


def _softsign(x: Tensor, a: float, b: float, c: float) -> Tensor:
    return x / (x * _mask(x, np.sign(x._data)) + 1)


def _threshold(x: Tensor, a: float, b: float, c: float) -> Tensor:
    return piece(x, ~(x._data <= a))


_ELEMENTWISE: dict[str, Callable[[Tensor, float, float, float], Tensor]] = {
    "elu": _elu,
    "hardshrink": _shrink,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "hardtanh": _hardtanh,
    "logsigmoid": lambda x, a, b, c: -_softplus(-x),
    "mish": lambda x, a, b, c: x * _tanh(_softplus(x)),
    "silu": lambda x, a, b, c: x * _sigmoid(x),
    "softplus": _scaled_softplus,
    "softshrink": _shrink,
    "softsign": _softsign,
    "tanhshrink": lambda x, a, b, c: x - _tanh(x),
    "threshold": _threshold,
}


def recorded_elementwise(x: Tensor, name: str, a: float, b: float, c: float) -> Tensor:
    """The elementwise activation of this name in recorded operations."""
    return _ELEMENTWISE[name](x, a, b, c)


def check_formulas() -> None:
    """RuntimeError unless the activations with a kernel are exactly those with a formula."""
    for kernels_of, formulas in ((CODES, _FUSED), (FUNCTIONS, _ELEMENTWISE)):
        odd = sorted(set(kernels_of) ^ set(formulas))
        if odd:
            raise RuntimeError(f"activations need a kernel and a formula, found one of the two for {', '.join(odd)}")


check_formulas()
