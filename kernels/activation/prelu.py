"""Leaky ReLU with trained slopes, one for all numbers or one per channel (arXiv:1502.01852)."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

_COST = 3


@inline
def _one_slope(out, x, slope):
    for i in range(x.size):
        out[i] = x[i] if x[i] > 0 else slope * x[i]


@inline
def _slope_each(out, x, slopes):
    for i in range(x.size):
        out[i] = x[i] if x[i] > 0 else slopes[i] * x[i]


@inline
def _one_slope_backward(dx, dslope, dy, x, slope):
    for i in range(x.size):
        dslope[i] = type(slope)(0) if x[i] > 0 else x[i] * dy[i]
        dx[i] = dy[i] if x[i] > 0 else slope * dy[i]


@inline
def _slope_each_backward(dx, dslope, dy, x, slopes):
    zero = slopes.dtype.type(0)
    for i in range(x.size):
        dslope[i] = zero if x[i] > 0 else x[i] * dy[i]
        dx[i] = dy[i] if x[i] > 0 else slopes[i] * dy[i]


_FORWARD_WORDS = Words("out x weight; outer channels inner")


def _forward(dtype):
    def prelu_forward_slice(args, t, n):
        # out[outer, channels, inner], x[outer, channels, inner], weight[channels]
        outer, channels = integer(args, _FORWARD_WORDS.outer), integer(args, _FORWARD_WORDS.channels)
        inner = integer(args, _FORWARD_WORDS.inner)
        weight = array(args, _FORWARD_WORDS.weight, (channels,), dtype)
        # A matrix; a row is all channels of a sample, or one channel.
        rows, columns = (outer, channels) if inner == 1 else (outer * channels, inner)
        out = array(args, _FORWARD_WORDS.out, (rows, columns), dtype)
        x = array(args, _FORWARD_WORDS.x, (rows, columns), dtype)
        # With one slope for all numbers there is one row, and its columns are split among the parts.
        first, last = part(rows, t, n) if channels > 1 else (0, rows)
        lo, hi = part(columns, t, n) if channels == 1 else (0, columns)
        for row in range(first, last):
            if channels > 1 and inner == 1:
                _slope_each(out[row], x[row], weight)
            else:
                _one_slope(out[row, lo:hi], x[row, lo:hi], weight[row % channels])

    return prelu_forward_slice


_BACKWARD_WORDS = Words("dx dweight dy x weight; outer channels inner")


def _backward(dtype):
    def prelu_backward_slice(args, t, n):
        # dx, dweight, dy, x: all [outer, channels, inner]; weight[channels]
        outer, channels = integer(args, _BACKWARD_WORDS.outer), integer(args, _BACKWARD_WORDS.channels)
        inner = integer(args, _BACKWARD_WORDS.inner)
        weight = array(args, _BACKWARD_WORDS.weight, (channels,), dtype)
        rows, columns = (outer, channels) if inner == 1 else (outer * channels, inner)
        dx = array(args, _BACKWARD_WORDS.dx, (rows, columns), dtype)
        dweight = array(args, _BACKWARD_WORDS.dweight, (rows, columns), dtype)
        dy = array(args, _BACKWARD_WORDS.dy, (rows, columns), dtype)
        x = array(args, _BACKWARD_WORDS.x, (rows, columns), dtype)
        first, last = part(rows, t, n) if channels > 1 else (0, rows)
        lo, hi = part(columns, t, n) if channels == 1 else (0, columns)
        for row in range(first, last):
            if channels > 1 and inner == 1:
                _slope_each_backward(dx[row], dweight[row], dy[row], x[row], weight)
            else:
                slope = weight[row % channels]
                _one_slope_backward(dx[row, lo:hi], dweight[row, lo:hi], dy[row, lo:hi], x[row, lo:hi], slope)

    return prelu_backward_slice


_FORWARD = by_dtype("prelu_forward", _forward, _FORWARD_WORDS, outputs="out")
_BACKWARD = by_dtype("prelu_backward", _backward, _BACKWARD_WORDS, outputs="dx dweight")


def _sizes(name: str, x: np.ndarray, weight: np.ndarray) -> tuple[int, int, int]:
    check("weight", weight, x.dtype, (getattr(weight, "size", 0),))
    if weight.size == 1:
        return 1, 1, x.size
    if x.ndim < 2 or x.shape[1] != weight.size:
        raise ValueError(f"{name} must have {weight.size} channels in its second dimension, found shape {x.shape}")
    return x.shape[0], x.shape[1], x.size // max(x.shape[0] * x.shape[1], 1)


def prelu_forward(out: np.ndarray, x: np.ndarray, weight: np.ndarray) -> None:
    """``out = x`` where positive, ``weight * x`` elsewhere.

    Args:
        out, x: C-contiguous arrays of one shape and dtype; they may be the same.
        weight: (1,), or (channels,) where x is (batch, channels, ...).
    """
    kernel = kernel_for(_FORWARD, "x", x)
    check("x", x, x.dtype, x.shape)
    check_output("out", out, x.dtype, x.shape)
    sizes = _sizes("x", x, weight)
    if x.size:
        launch(kernel, chunks_for(_COST * x.size), (out, x, weight), *sizes)


def prelu_backward(dx: np.ndarray, dweight: np.ndarray, dy: np.ndarray, x: np.ndarray, weight: np.ndarray) -> None:
    """``dx = dy`` where x is positive, ``weight * dy`` elsewhere, and the weight's gradient before summation.

    Args:
        dx, dweight, dy, x: C-contiguous arrays of one shape and dtype; ``dx`` may be ``dy``. ``dweight``
            receives ``x * dy`` where x is not positive: its sum over a channel is the gradient.
        weight: as in :func:`prelu_forward`.
    """
    kernel = kernel_for(_BACKWARD, "dy", dy)
    check("dy", dy, dy.dtype, dy.shape)
    check("x", x, dy.dtype, dy.shape)
    check_output("dx", dx, dy.dtype, dy.shape)
    check_output("dweight", dweight, dy.dtype, dy.shape)
    sizes = _sizes("x", x, weight)
    if x.size:
        launch(kernel, chunks_for(2 * _COST * x.size), (dx, dweight, dy, x, weight), *sizes)
