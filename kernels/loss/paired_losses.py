"""Elementwise losses of predictions against targets, and their gradients.

Everything is computed in float64 for arrays of any dtype: probabilities are clipped to
[1e-15, 1 - 1e-15], and the upper bound would be 1 in float32. Sums are computed over fixed
chunks and added in order: the same bits at any number of threads.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.math import log
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import FAST, FLOAT64, Words, array, by_dtype, inline, integer, part, real
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

SQUARED_ERROR, BINARY_CROSS_ENTROPY, CATEGORICAL_CROSS_ENTROPY, SQUARE = range(4)
KINDS = {
    "squared_error": SQUARED_ERROR, "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "categorical_cross_entropy": CATEGORICAL_CROSS_ENTROPY, "square": SQUARE,
}  # fmt: skip
_COSTS = {SQUARED_ERROR: 3, BINARY_CROSS_ENTROPY: 60, CATEGORICAL_CROSS_ENTROPY: 30, SQUARE: 2}
# Numbers in one partial sum.
_CHUNK = 4096


@inline
def _clipped(p):
    # Both tests are false for NaN, so NaN is kept.
    p = 1e-15 if p < 1e-15 else p
    return 1.0 - 1e-15 if p > 1.0 - 1e-15 else p


@inline(fastmath=FAST)
def _sum_of_terms(y, p, kind):
    total = 0.0
    if kind == SQUARED_ERROR:
        for i in range(p.size):
            difference = np.float64(y[i]) - np.float64(p[i])
            total += difference * difference
    elif kind == BINARY_CROSS_ENTROPY:
        for i in range(p.size):
            target, chance = np.float64(y[i]), _clipped(np.float64(p[i]))
            total -= target * log(chance) + (1.0 - target) * log(1.0 - chance)
    elif kind == CATEGORICAL_CROSS_ENTROPY:
        for i in range(p.size):
            total -= np.float64(y[i]) * log(_clipped(np.float64(p[i])))
    else:
        for i in range(p.size):
            total += np.float64(p[i]) * np.float64(p[i])
    return total


@inline
def _gradient(out, y, p, kind, scale):
    dtype = out.dtype.type
    if kind == SQUARED_ERROR:
        for i in range(p.size):
            out[i] = dtype(scale * 2.0 * (np.float64(p[i]) - np.float64(y[i])))
    elif kind == BINARY_CROSS_ENTROPY:
        for i in range(p.size):
            chance = _clipped(np.float64(p[i]))
            out[i] = dtype(scale * (chance - np.float64(y[i])) / (chance * (1.0 - chance)))
    elif kind == CATEGORICAL_CROSS_ENTROPY:
        for i in range(p.size):
            out[i] = dtype(-scale * np.float64(y[i]) / _clipped(np.float64(p[i])))
    else:
        for i in range(p.size):
            out[i] = dtype(scale * 2.0 * np.float64(p[i]))


_LOSS_WORDS = Words("sums y p; chunks size kind")


def _paired_loss(dtype):
    def paired_loss_slice(args, t, n):
        # sums[chunks], y[size], p[size]
        chunks, size = integer(args, _LOSS_WORDS.chunks), integer(args, _LOSS_WORDS.size)
        kind = integer(args, _LOSS_WORDS.kind)
        sums = array(args, _LOSS_WORDS.sums, (chunks,), np.float64)
        y, p = array(args, _LOSS_WORDS.y, (size,), dtype), array(args, _LOSS_WORDS.p, (size,), dtype)
        first, last = part(chunks, t, n)
        for chunk in range(first, last):
            lo, hi = chunk * _CHUNK, min(size, (chunk + 1) * _CHUNK)
            sums[chunk] = _sum_of_terms(y[lo:hi], p[lo:hi], kind)

    return paired_loss_slice


_GRADIENT_WORDS = Words("out y p; size kind; scale")


def _paired_loss_gradient(dtype):
    def paired_loss_gradient_slice(args, t, n):
        # out[size], y[size], p[size]
        size, kind = integer(args, _GRADIENT_WORDS.size), integer(args, _GRADIENT_WORDS.kind)
        first, last = part(size, t, n)
        out = array(args, _GRADIENT_WORDS.out, (size,), dtype)[first:last]
        y = array(args, _GRADIENT_WORDS.y, (size,), dtype)[first:last]
        p = array(args, _GRADIENT_WORDS.p, (size,), dtype)[first:last]
        _gradient(out, y, p, kind, real(args, _GRADIENT_WORDS.scale))

    return paired_loss_gradient_slice


_LOSS = by_dtype("paired_loss", _paired_loss, _LOSS_WORDS)
_GRADIENT = by_dtype("paired_loss_gradient", _paired_loss_gradient, _GRADIENT_WORDS)


def _code(kind: str) -> int:
    try:
        return KINDS[kind]
    except KeyError:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, found {kind!r}") from None


def paired_loss(y: np.ndarray, p: np.ndarray, kind: str) -> float:
    """The sum of a loss over pairs of a target y and a prediction p.

    ``squared_error``: (y - p)**2; ``binary_cross_entropy``: -(y log p + (1 - y) log(1 - p));
    ``categorical_cross_entropy``: -y log p; ``square``: p**2, for any y.

    Args:
        y, p: C-contiguous arrays of one shape and dtype, float32 or float64.
        kind: a key of :data:`KINDS`.
    """
    code = _code(kind)
    kernel = kernel_for(_LOSS, "p", p)
    check("p", p, p.dtype, p.shape)
    check("y", y, p.dtype, p.shape)
    chunks = -(-p.size // _CHUNK)
    sums = allocation.empty(chunks, FLOAT64)
    launch(kernel, max(1, min(chunks_for(_COSTS[code] * p.size), chunks)), (sums, y, p), chunks, p.size, code)
    return float(sums.sum())


def paired_loss_gradient(out: np.ndarray, y: np.ndarray, p: np.ndarray, kind: str, scale: float = 1.0) -> None:
    """``out = scale * d loss / d p``, elementwise, at the clipped p where the loss clips it.

    Args:
        out, y, p: C-contiguous arrays of one shape and dtype; ``out`` may be one of the others.
        kind: a key of :data:`KINDS`.
    """
    code = _code(kind)
    kernel = kernel_for(_GRADIENT, "p", p)
    check("p", p, p.dtype, p.shape)
    check("y", y, p.dtype, p.shape)
    check_output("out", out, p.dtype, p.shape)
    launch(kernel, chunks_for(6 * p.size), (out, y, p), p.size, code, scale)
