"""Activations as plain formulas of recorded operations: what is differentiated a second time in place of a kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import alloc
from fastnn.nn.checks import _contiguous
from fastnn.ops.core import piece, pieces


def _mask(x: Tensor, condition: Any) -> Tensor:
    return _wrap(np.asarray(condition, x._data.dtype))


def _sigmoid_again(x: Tensor) -> Tensor:
    # With exp(-|x|), which does not overflow. Not abs(): its derivative at 0 is 0, and here it is that of x.
    right = x._data >= 0
    e = (x * _mask(x, np.where(right, -1, 1))).exp()
    return (_mask(x, right) + e * _mask(x, ~right)) / (e + 1)


def _softplus_again(x: Tensor) -> Tensor:
    right = x._data >= 0
    e = (x * _mask(x, np.where(right, -1, 1))).exp()
    return x * _mask(x, right) + (e + 1).log()


def _tanh_again(x: Tensor) -> Tensor:
    return _sigmoid_again(x * 2) * 2 - 1


def _erf_slope(x: Tensor) -> Tensor:
    """A tensor whose derivative is the density of the normal distribution, and whose value is that of Phi."""
    value = alloc.empty_like(_contiguous(x._data))
    one = _contiguous(np.where(x._data == 0, 1, x._data).astype(x._data.dtype))
    kernels.activation_forward(value, one, "gelu")
    phi = np.where(x._data == 0, 0.5, value / one).astype(x._data.dtype)

    def run(grad: Tensor) -> tuple[Tensor]:
        return (grad * ((x * x) * -0.5).exp() * (1 / math.sqrt(2 * math.pi)),)

    return _wrap(phi, Node("NormalCdf", (x,), run, (x,)) if _recorded(x) else None)


def _fused_again(x: Tensor, activation: str, slope: float, inplace: bool = False) -> Tensor:
    if activation == "relu":
        return piece(x, ~(x._data <= 0), reads_result=True)
    if activation == "leaky_relu":
        return pieces(x, np.where(x._data > 0, 1, slope), inplace)
    if activation == "sigmoid":
        return _sigmoid_again(x)
    if activation == "tanh":
        return _tanh_again(x)
    if activation == "gelu":
        return x * _erf_slope(x)
    if activation == "gelu_tanh":
        return x * _sigmoid_again((x + x * x * x * 0.044715) * (2 * math.sqrt(2 / math.pi)))
    return x


def _tail_recomputed(x: Tensor, name: str, a: float, b: float, c: float) -> Tensor:
    d = x._data
    if name == "elu":
        # At 0 it is taken to be straight, as in PyTorch.
        return piece(x, ~(d <= 0), b) + piece(x, d == 0, a * c) + (piece(x, d < 0, c).exp() - 1) * a
    if name in ("hardshrink", "softshrink"):
        return piece(x, (d > a) | (d < -a))
    if name == "hardsigmoid":
        return piece(x, (d > -3) & (d < 3), 1 / 6)
    if name == "hardswish":
        middle = piece(x, (d > -3) & (d < 3))
        return piece(x, ~((d <= -3) | (d < 3))) + middle * (middle + 3) * (1 / 6)
    if name == "hardtanh":
        return piece(x, (a < d) & (d < b))
    if name == "logsigmoid":
        return -_softplus_again(-x)
    if name == "mish":
        return x * _tanh_again(_softplus_again(x))
    if name == "silu":
        return x * _sigmoid_again(x)
    if name == "softplus":
        right = a * d > b
        return piece(x, right) + _softplus_again(piece(x, ~right, a)) * (1 / a)
    if name == "softsign":
        return x / (x * _mask(x, np.sign(d)) + 1)
    if name == "tanhshrink":
        return x - _tanh_again(x)
    return piece(x, ~(d <= a))  # threshold
