"""Derivatives of activation functions, from their input.

``activation_backward`` computes them from the forward's saved values and multiplies by a gradient;
this is the plain derivative, as in a textbook.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.fused_activations import (
    FORWARD_WORDS,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    TANH,
    activation_code,
    forward_slice,
)
from fastnn.kernels.llvm.math import exp
from fastnn.kernels.llvm.simd import fabs
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import by_dtype, inline
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Floating-point operations per number.
_COSTS = {RELU: 1, LEAKY_RELU: 2, SIGMOID: 25, TANH: 27}


@inline
def _sigmoid_derivative(x):
    # exp(-|x|) / (1 + exp(-|x|))**2: the textbook's s * (1 - s) loses precision for s near 1.
    one = type(x)(1)
    e = exp(-fabs(x))
    return e / ((one + e) * (one + e))


@inline
def _derivative(out, x, code, slope):
    kind = x.dtype.type
    zero, one, two, four = kind(0), kind(1), kind(2), kind(4)
    if code == RELU:
        for i in range(x.size):
            # The last branch keeps NaN.
            out[i] = one if x[i] > zero else zero if x[i] <= zero else x[i]
    elif code == LEAKY_RELU:
        for i in range(x.size):
            out[i] = one if x[i] > zero else slope if x[i] <= zero else x[i]
    elif code == SIGMOID:
        for i in range(x.size):
            out[i] = _sigmoid_derivative(x[i])
    else:
        for i in range(x.size):
            # tanh(x) = 2 * sigmoid(2 * x) - 1
            out[i] = four * _sigmoid_derivative(two * x[i])


_KERNEL = by_dtype("activation_derivative", forward_slice(_derivative, _derivative), FORWARD_WORDS, outputs="out")


def activation_derivative(out: np.ndarray, x: np.ndarray, activation: str, slope: float = 0.01) -> None:
    """``out = activation'(x)``, elementwise; at 0 it is 0 for ReLU and ``slope`` for leaky ReLU.

    Args:
        out, x: C-contiguous arrays of one shape and dtype, float32 or float64; they may be the same.
        activation: 'relu', 'leaky_relu', 'sigmoid' or 'tanh'.
        slope: of leaky ReLU, for negative x.
    """
    code = activation_code(activation)
    if code not in _COSTS:
        raise ValueError(f"activation must be one of relu, leaky_relu, sigmoid, tanh, found {activation!r}")
    kernel = kernel_for(_KERNEL, "x", x)
    check("x", x, x.dtype, x.shape)
    check_output("out", out, x.dtype, x.shape)
    launch(kernel, chunks_for(x.size * _COSTS[code]), (out, x), x.size, code, slope)
