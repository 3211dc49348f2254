"""Norms of flat buffers, and buffers times a number: what clipping gradients is made of.

May import ``jit`` and ``simd``.
"""

from __future__ import annotations

import math

import numpy as np

from fastnn.kernels.jit import (
    FLOAT64,
    array,
    by_dtype,
    check,
    check_output,
    inline,
    integer,
    kernel_for,
    launch,
    part,
    parts_for,
    real,
)
from fastnn.kernels.simd import fabs, maximum

# Numbers that one partial sum runs over, whatever the number of threads.
_BLOCK = 4096
_ONE, _TWO, _LARGEST = range(3)
_KINDS = {1.0: _ONE, 2.0: _TWO, math.inf: _LARGEST}


@inline
def _sum_of_sizes(x):
    total = 0.0
    for i in range(x.size):
        total += fabs(np.float64(x[i]))
    return total


@inline
def _sum_of_squares(x):
    # In float64: no float32 overflows when it is squared, and a million of them keep their precision.
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@inline
def _largest(x):
    top = x.dtype.type(0)
    for i in range(x.size):
        top = maximum(top, fabs(x[i]))
    return np.float64(top)


def _block_norms(dtype):
    def block_norms_slice(args, t, n):
        # out[blocks], x[size]; size, blocks, kind
        size, blocks, kind = integer(args, 2), integer(args, 3), integer(args, 4)
        out = array(args, 0, (blocks,), np.float64)
        x = array(args, 1, (size,), dtype)
        first, last = part(blocks, t, n)
        for block in range(first, last):
            lo, hi = block * _BLOCK, min(size, (block + 1) * _BLOCK)
            if kind == _ONE:
                out[block] = _sum_of_sizes(x[lo:hi])
            elif kind == _TWO:
                out[block] = _sum_of_squares(x[lo:hi])
            else:
                out[block] = _largest(x[lo:hi])

    return block_norms_slice


@inline
def _times(x, factor):
    for i in range(x.size):
        x[i] *= factor


def _scale(dtype):
    def scale_slice(args, t, n):
        # x[size]; size; factor
        size = integer(args, 1)
        first, last = part(-(-size // 16), t, n)
        x = array(args, 0, (size,), dtype)[16 * first : min(size, 16 * last)]
        _times(x, dtype(real(args, 2)))

    return scale_slice


_BLOCK_NORMS = by_dtype("block_norms", _block_norms, arrays=2, integers=3)
_SCALE = by_dtype("scale", _scale, arrays=1, integers=1, reals=1)


def power_sum(x: np.ndarray, p: float) -> float:
    """``sum(|x|)`` for p = 1, ``sum(x**2)`` for 2, ``max(|x|)`` for infinity; 0 for no numbers, NaN if any is NaN.

    In float64; the partial sums are of blocks of a fixed size, so it is the same for any number of threads.

    Args:
        x: C-contiguous, float32 or float64.
    """
    kernel = kernel_for(_BLOCK_NORMS, "x", x)
    if p not in _KINDS:
        raise ValueError(f"p must be 1, 2 or infinity, found {p!r}")
    check("x", x, x.dtype, x.shape)
    blocks = -(-x.size // _BLOCK)
    if not blocks:
        return 0.0
    sums = np.empty(blocks, FLOAT64)
    launch(kernel, min(parts_for(2 * x.size), blocks), (sums, x), x.size, blocks, _KINDS[p])
    return float(sums.max() if math.isinf(p) else sums.sum())


def scale(x: np.ndarray, factor: float) -> None:
    """``x *= factor`` in place.

    Args:
        x: C-contiguous, float32 or float64.
    """
    kernel = kernel_for(_SCALE, "x", x)
    check_output("x", x, x.dtype, x.shape)
    launch(kernel, parts_for(x.size), (x,), x.size, factor)
