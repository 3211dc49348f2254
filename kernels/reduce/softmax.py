"""Softmax and its logarithm over the rows of a matrix, forward and backward."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.math import exp, log
from fastnn.kernels.llvm.simd import maximum, multiply_add
from fastnn.kernels.llvm.sums import sum_of, sum_of_products
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import FAST, FLOAT32, STRICT, Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.direct_loops import DirectKernel
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import SERIAL_OPERATIONS, chunks_for

# Floating-point operations per number: an exponential and a few passes; the softmax's backward has none.
_COST, _BACKWARD_COST = 25, 6


@inline(fastmath=STRICT)
def _below(x, top):
    # Strict, or LLVM computes x - (top + below), which loses precision if top is large.
    return x - top


@inline
def largest(x):
    """The largest number of a row; NaN if there is one."""
    # Start from the first number, not from -infinity: a row of -infinities has to give NaN.
    top = x[0]
    for j in range(x.size):
        top = maximum(top, x[j])
    return top


@inline(fastmath=FAST)
def _sum_of_exponentials(x, top):
    total = x.dtype.type(0)
    for j in range(x.size):
        total += exp(_below(x[j], top))
    return total


@inline
def softmax_row(out, x):
    """The softmax of a row; ``out`` may be ``x``."""
    top = largest(x)
    # Two loops: a single one would be vectorised only if its arrays are far enough apart, and the order of the sum,
    # and so its last bit, would depend on addresses.
    for j in range(x.size):
        out[j] = exp(_below(x[j], top))
    factor = x.dtype.type(1) / sum_of(out)
    for j in range(x.size):
        out[j] *= factor


@inline
def _log_softmax_row(out, x):
    top = largest(x)
    below = log(_sum_of_exponentials(x, top))
    for j in range(x.size):
        out[j] = _below(_below(x[j], top), below)


@inline
def _softmax_backward_row(dx, dy, out):
    total = sum_of_products(dy, out)
    for j in range(dy.size):
        dx[j] = out[j] * (dy[j] - total)


@inline
def _log_softmax_backward_row(dx, dy, out):
    total = sum_of(dy)
    for j in range(dy.size):
        dx[j] = multiply_add(-exp(out[j]), total, dy[j])


_FORWARD_WORDS = Words("out x; rows columns logarithm")


def _forward(dtype):
    def softmax_forward_slice(args, t, n):
        # out[rows, columns], x[rows, columns]
        rows, columns = integer(args, _FORWARD_WORDS.rows), integer(args, _FORWARD_WORDS.columns)
        logarithm = integer(args, _FORWARD_WORDS.logarithm)
        out = array(args, _FORWARD_WORDS.out, (rows, columns), dtype)
        x = array(args, _FORWARD_WORDS.x, (rows, columns), dtype)
        first, last = part(rows, t, n)
        for row in range(first, last):
            if logarithm:
                _log_softmax_row(out[row], x[row])
            else:
                softmax_row(out[row], x[row])

    return softmax_forward_slice


_BACKWARD_WORDS = Words("dx dy out; rows columns logarithm")


def _backward(dtype):
    def softmax_backward_slice(args, t, n):
        # dx[rows, columns], dy[rows, columns], out[rows, columns]
        rows, columns = integer(args, _BACKWARD_WORDS.rows), integer(args, _BACKWARD_WORDS.columns)
        logarithm = integer(args, _BACKWARD_WORDS.logarithm)
        dx = array(args, _BACKWARD_WORDS.dx, (rows, columns), dtype)
        dy = array(args, _BACKWARD_WORDS.dy, (rows, columns), dtype)
        out = array(args, _BACKWARD_WORDS.out, (rows, columns), dtype)
        first, last = part(rows, t, n)
        for row in range(first, last):
            if logarithm:
                _log_softmax_backward_row(dx[row], dy[row], out[row])
            else:
                _softmax_backward_row(dx[row], dy[row], out[row])

    return softmax_backward_slice


_FORWARD = by_dtype("softmax_forward", _forward, _FORWARD_WORDS, outputs="out")
_BACKWARD = by_dtype("softmax_backward", _backward, _BACKWARD_WORDS, outputs="dx")
# The functions of small float32 arrays, by `logarithm`: `run(x)` and `run(dy, out)`, along the last dimension.
DIRECT = tuple(
    DirectKernel(
        lambda: _FORWARD[FLOAT32], 1, most=SERIAL_OPERATIONS // _COST, constants=(logarithm,), is_by_rows=True
    )
    for logarithm in (0, 1)
)
DIRECT_BACKWARD = tuple(
    DirectKernel(
        lambda: _BACKWARD[FLOAT32], 2, most=SERIAL_OPERATIONS // _COST, constants=(logarithm,), is_by_rows=True
    )
    for logarithm in (0, 1)
)


def softmax_forward(out: np.ndarray, x: np.ndarray, logarithm: bool = False) -> None:
    """``out[i] = exp(x[i]) / sum(exp(x[i]))`` for each row, or the logarithm of that.

    The largest number of a row is subtracted first, so no finite numbers overflow.

    Args:
        out, x: (rows, columns), C-contiguous, float32 or float64; they may be the same.
        logarithm: whether ``out`` is the log-softmax.
    """
    kernel = kernel_for(_FORWARD, "x", x)
    rows, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (rows, columns))
    check_output("out", out, x.dtype, (rows, columns))
    if x.size:
        launch(kernel, min(chunks_for(_COST * x.size), rows), (out, x), rows, columns, bool(logarithm))


def softmax_backward(dx: np.ndarray, dy: np.ndarray, out: np.ndarray, logarithm: bool = False) -> None:
    """``dx = out * (dy - sum(dy * out))`` for each row; ``dx = dy - exp(out) * sum(dy)`` for the log-softmax.

    Args:
        dx, dy, out: (rows, columns), C-contiguous; ``dx`` may be ``dy``; ``out`` is the forward's result.
        logarithm: whether ``out`` is the log-softmax.
    """
    kernel = kernel_for(_BACKWARD, "dy", dy)
    rows, columns = matrix_shape("dy", dy)
    check("dy", dy, dy.dtype, (rows, columns))
    check("out", out, dy.dtype, (rows, columns))
    check_output("dx", dx, dy.dtype, (rows, columns))
    if dy.size:
        cost = _COST if logarithm else _BACKWARD_COST
        launch(kernel, min(chunks_for(cost * dy.size), rows), (dx, dy, out), rows, columns, bool(logarithm))
