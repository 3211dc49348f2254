"""Activation functions and their derivatives: the kernels of ``nn.ReLU`` and similar layers.

An activation has a name in Python and a number in kernels. If possible, the derivative is computed
from the output (ReLU, leaky ReLU, sigmoid, tanh): then a layer needs to keep only its output. GELU
needs the input: ``saves_input`` tells which ones do.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.math import normal_cdf, normal_pdf, sigmoid, tanh
from fastnn.kernels.llvm.simd import multiply_add
from fastnn.kernels.runtime.alike import Alike
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import (
    FLOAT32,
    Words,
    array,
    both,
    by_dtype,
    inline,
    integer,
    part,
    real,
    stack_array,
)
from fastnn.kernels.runtime.direct_loops import DirectKernel, DirectKernels
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import SERIAL_OPERATIONS, chunks_for

NONE, RELU, LEAKY_RELU, SIGMOID, TANH, GELU, GELU_TANH = range(7)
CODES = {
    "none": NONE, "relu": RELU, "leaky_relu": LEAKY_RELU, "sigmoid": SIGMOID, "tanh": TANH,
    "gelu": GELU, "gelu_tanh": GELU_TANH,
}  # fmt: skip
# Floating-point operations per number by code, to choose a thread count.
COSTS = (1, 1, 2, 25, 30, 50, 40)


@both
def cost(code: int) -> int:
    """Floating-point operations per number, for Python and compiled code."""
    return COSTS[code]


def activation_code(activation: str) -> int:
    """The number of an activation; ValueError for an unknown name."""
    try:
        return CODES[activation]
    except KeyError:
        raise ValueError(f"activation must be one of {', '.join(CODES)}, found {activation!r}") from None


def saves_input(activation: str) -> bool:
    """Whether the backward of this activation needs its input; the others need its output."""
    return activation_code(activation) >= GELU


@inline
def _gelu_tanh_inner(z):
    """``2 u``, ``u = sqrt(2 / pi) * (z + 0.044715 z**3)`` (Hendrycks and Gimpel, arXiv:1606.08415).

    ``(1 + tanh(u)) / 2`` is ``sigmoid(2 u)``, which keeps its relative precision for large negative z.
    """
    kind = type(z)
    return kind(1.5957691216057308) * z * multiply_add(kind(0.044715), z * z, kind(1))


# Numbers that are copied together to the stack.
_STRIP = 256


@inline
def activate(out, z, code, slope):
    """``out = activation(z)`` over two flat arrays of one size, which may be the same array.

    The input goes by way of the stack: a loop over two arrays that may be one runs number by number. tanh of 8,192
    numbers after LayerNorm took 37 us, and takes 8. If they do not overlap, :func:`activate_apart` takes 5.
    """
    strip = stack_array(_STRIP, slope)
    for first in range(0, z.size, _STRIP):
        source = strip[: min(_STRIP, z.size - first)]
        for i in range(source.size):
            source[i] = z[first + i]
        activate_apart(out[first : first + source.size], source, code, slope)


@inline
def activate_apart(out, z, code, slope):
    """As :func:`activate`, fast for arrays that do not overlap."""
    kind = z.dtype.type
    zero, one = kind(0), kind(1)
    if code == RELU:
        for i in range(z.size):
            out[i] = zero if z[i] <= zero else z[i]
    elif code == LEAKY_RELU:
        for i in range(z.size):
            out[i] = z[i] * (one if z[i] > zero else slope)
    elif code == SIGMOID:
        for i in range(z.size):
            out[i] = sigmoid(z[i])
    elif code == TANH:
        for i in range(z.size):
            out[i] = tanh(z[i])
    elif code == GELU:
        for i in range(z.size):
            out[i] = z[i] * normal_cdf(z[i])
    elif code == GELU_TANH:
        for i in range(z.size):
            out[i] = z[i] * sigmoid(_gelu_tanh_inner(z[i]))
    else:
        for i in range(z.size):
            out[i] = z[i]


@inline
def differentiate(dz, dy, saved, code, slope):
    """``dz = dy * activation'(z)`` over flat arrays; ``saved`` is the output, or z if that is needed.

    ``dz`` may be ``dy``, which goes by way of the stack.
    """
    strip = stack_array(_STRIP, slope)
    for first in range(0, dy.size, _STRIP):
        source = strip[: min(_STRIP, dy.size - first)]
        for i in range(source.size):
            source[i] = dy[first + i]
        end = first + source.size
        differentiate_apart(dz[first:end], source, saved[first:end], code, slope)


@inline
def differentiate_apart(dz, dy, saved, code, slope):
    """As :func:`differentiate`, fast for arrays that do not overlap."""
    kind = dy.dtype.type
    zero, one = kind(0), kind(1)
    if code == RELU:
        for i in range(dy.size):
            dz[i] = zero if saved[i] <= zero else dy[i]
    elif code == LEAKY_RELU:
        for i in range(dy.size):
            dz[i] = dy[i] * (one if saved[i] > zero else slope)
    elif code == SIGMOID:
        for i in range(dy.size):
            dz[i] = dy[i] * saved[i] * (one - saved[i])
    elif code == TANH:
        for i in range(dy.size):
            dz[i] = dy[i] * multiply_add(-saved[i], saved[i], one)
    elif code == GELU:
        for i in range(dy.size):
            dz[i] = dy[i] * multiply_add(saved[i], normal_pdf(saved[i]), normal_cdf(saved[i]))
    elif code == GELU_TANH:
        for i in range(dy.size):
            z = saved[i]
            inner = _gelu_tanh_inner(z)
            slope_of_inner = kind(1.5957691216057308) * multiply_add(kind(3 * 0.044715), z * z, one)
            gate = sigmoid(inner)
            # sigmoid(-x) is 1 - sigmoid(x) without cancellation.
            dz[i] = dy[i] * multiply_add(z * gate * sigmoid(-inner), slope_of_inner, gate)
    else:
        for i in range(dy.size):
            dz[i] = dy[i]


FORWARD_WORDS = Words("out z; size code; slope")


def forward_slice(function, apart):
    """The slice of a ``function(out, z, code, slope)`` of flat arrays; ``apart`` is faster if they do not overlap."""

    def build(dtype):
        def activation_forward_slice(args, t, n):
            # out[size], z[size]
            size, code = integer(args, FORWARD_WORDS.size), integer(args, FORWARD_WORDS.code)
            first, last = part(size, t, n)
            out = array(args, FORWARD_WORDS.out, (size,), dtype)[first:last]
            z = array(args, FORWARD_WORDS.z, (size,), dtype)[first:last]
            slope = dtype(real(args, FORWARD_WORDS.slope))
            if integer(args, FORWARD_WORDS.out) == integer(args, FORWARD_WORDS.z):
                function(out, z, code, slope)
            else:
                apart(out, z, code, slope)

        return activation_forward_slice

    return build


BACKWARD_WORDS = Words("dz dy saved; size code; slope")


def _backward(dtype):
    def activation_backward_slice(args, t, n):
        # dz[size], dy[size], saved[size]
        size, code = integer(args, BACKWARD_WORDS.size), integer(args, BACKWARD_WORDS.code)
        first, last = part(size, t, n)
        dz = array(args, BACKWARD_WORDS.dz, (size,), dtype)[first:last]
        dy = array(args, BACKWARD_WORDS.dy, (size,), dtype)[first:last]
        saved = array(args, BACKWARD_WORDS.saved, (size,), dtype)[first:last]
        slope = dtype(real(args, BACKWARD_WORDS.slope))
        if integer(args, BACKWARD_WORDS.dz) == integer(args, BACKWARD_WORDS.dy):
            differentiate(dz, dy, saved, code, slope)
        else:
            differentiate_apart(dz, dy, saved, code, slope)

    return activation_backward_slice


_FORWARD = by_dtype(
    "activation_forward", forward_slice(activate, activate_apart), FORWARD_WORDS, outputs="out", shared=""
)  # fmt: skip
BACKWARD = by_dtype("activation_backward", _backward, BACKWARD_WORDS, outputs="dz")
_FORWARD_ALIKE, _BACKWARD_ALIKE = Alike(_FORWARD), Alike(BACKWARD)


def _direct(activation: str, slope: float) -> DirectKernel:
    code = activation_code(activation)
    most = SERIAL_OPERATIONS // cost(code)
    return DirectKernel(lambda: _FORWARD[FLOAT32], 1, most=most, constants=(code, float(slope)))


# The activations of small float32 arrays: ``DIRECT.run(z, activation, slope)``.
DIRECT = DirectKernels(_direct, 1)


def activation_forward(out: np.ndarray, z: np.ndarray, activation: str, slope: float = 0.01) -> None:
    """``out = activation(z)``, elementwise.

    Args:
        out, z: C-contiguous arrays of one shape and dtype, float32 or float64; they may be the same.
        activation: a key of :data:`CODES`.
        slope: of leaky ReLU, for negative z.
    """
    code = activation_code(activation)
    if _FORWARD_ALIKE.run(cost(code), out, z, None, code, slope):
        return
    kernel = kernel_for(_FORWARD, "z", z)
    check("z", z, z.dtype, z.shape)
    check_output("out", out, z.dtype, z.shape)
    launch(kernel, chunks_for(z.size * cost(code)), (out, z), z.size, code, slope)


def activation_backward(
    dz: np.ndarray, dy: np.ndarray, saved: np.ndarray, activation: str, slope: float = 0.01
) -> None:
    """``dz = dy * activation'(z)``, elementwise.

    Args:
        dz, dy, saved: C-contiguous arrays of one shape and dtype; ``dz`` may be ``dy``.
        saved: z if :func:`saves_input`, otherwise the activation's output; also z for leaky ReLU
            with a slope below zero.
        activation, slope: as in :func:`activation_forward`.
    """
    code = activation_code(activation)
    if _BACKWARD_ALIKE.run(cost(code), dz, dy, saved, code, slope):
        return
    kernel = kernel_for(BACKWARD, "dy", dy)
    check("dy", dy, dy.dtype, dy.shape)
    check("saved", saved, dy.dtype, dy.shape)
    check_output("dz", dz, dy.dtype, dy.shape)
    launch(kernel, chunks_for(dy.size * cost(code)), (dz, dy, saved), dy.size, code, slope)
