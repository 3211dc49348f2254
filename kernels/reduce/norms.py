"""Norms and scaling of flat buffers, for gradient clipping.

Gradients are clipped either in place, by `power_sum` and `scale`, or when an optimizer's kernel reads
them, by `block_norms` and `clip_factor`, with no read of the norm in Python in between.
"""

from __future__ import annotations

import math

import numpy as np

from fastnn.kernels.llvm.simd import fabs, maximum, sqrt
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import FAST, FLOAT64, Words, array, by_dtype, inline, integer, part, real
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Numbers in one partial sum, for any number of threads.
_BLOCK = 4096
_ONE, _TWO, _LARGEST = range(3)
_KINDS = {1.0: _ONE, 2.0: _TWO, math.inf: _LARGEST}


@inline(fastmath=FAST)
def _sum_of_sizes(x):
    total = 0.0
    for i in range(x.size):
        total += fabs(np.float64(x[i]))
    return total


@inline(fastmath=FAST)
def _sum_of_squares(x):
    # In float64: the square of a float32 does not overflow, and a sum of a million keeps its precision.
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


_NORM_WORDS = Words("out x; size blocks kind")


def _block_norms(dtype):
    def block_norms_slice(args, t, n):
        # out[blocks], x[size]
        size, blocks = integer(args, _NORM_WORDS.size), integer(args, _NORM_WORDS.blocks)
        kind = integer(args, _NORM_WORDS.kind)
        out = array(args, _NORM_WORDS.out, (blocks,), np.float64)
        x = array(args, _NORM_WORDS.x, (size,), dtype)
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


_SCALE_WORDS = Words("x; size; factor")


def _scale(dtype):
    def scale_slice(args, t, n):
        # x[size]
        size = integer(args, _SCALE_WORDS.size)
        first, last = part(-(-size // 16), t, n)
        x = array(args, _SCALE_WORDS.x, (size,), dtype)[16 * first : min(size, 16 * last)]
        _times(x, dtype(real(args, _SCALE_WORDS.factor)))

    return scale_slice


_CLIP_WORDS = Words("factor norm sums; size kind; max_norm")


def _clip_factor(dtype):
    largest = float(np.finfo(dtype).max)

    def clip_factor_slice(args, t, n):
        # factor[1], norm[1], sums[size]
        if t > 0:
            return
        size, kind = integer(args, _CLIP_WORDS.size), integer(args, _CLIP_WORDS.kind)
        factor, norm = array(args, _CLIP_WORDS.factor, (1,), np.float64), array(args, _CLIP_WORDS.norm, (1,), dtype)
        sums = array(args, _CLIP_WORDS.sums, (size,), np.float64)
        total = _largest(sums) if kind == _LARGEST else _sum_of_sizes(sums)
        # As in clip_grad_norm_, squares whose sum the gradients' dtype cannot hold make the norm infinite.
        total = np.inf if total > largest else total
        norm[0] = sqrt(total) if kind == _TWO else total
        quotient = dtype(real(args, _CLIP_WORDS.max_norm)) / (norm[0] + dtype(1e-6))
        # NaN stays NaN.
        factor[0] = 1.0 if quotient > dtype(1) else np.float64(quotient)

    return clip_factor_slice


_BLOCK_NORMS = by_dtype("block_norms", _block_norms, _NORM_WORDS, outputs="out")
_SCALE = by_dtype("scale", _scale, _SCALE_WORDS, outputs="x")
_CLIP_FACTOR = by_dtype("clip_factor", _clip_factor, _CLIP_WORDS, outputs="factor norm")


def blocks_of(size: int) -> int:
    """The number of partial sums that :func:`block_norms` computes for ``size`` numbers."""
    return -(-size // _BLOCK)


def block_norms(sums: np.ndarray, x: np.ndarray, p: float) -> None:
    """Partial sums of the norm of ``x``: :func:`power_sum` of each block, the same for any number of threads.

    Args:
        sums: float64, ``blocks_of(x.size)`` numbers.
        x: C-contiguous, float32 or float64.
        p: 1, 2 or infinity.
    """
    kernel = kernel_for(_BLOCK_NORMS, "x", x)
    kind = _kind_of(p)
    check("x", x, x.dtype, x.shape)
    blocks = blocks_of(x.size)
    check_output("sums", sums, FLOAT64, (blocks,))
    if blocks:
        launch(kernel, min(chunks_for(4 * x.size), blocks), (sums, x), x.size, blocks, kind)


def clip_factor(factor: np.ndarray, norm: np.ndarray, sums: np.ndarray, p: float, max_norm: float) -> None:
    """``factor = min(1, max_norm / (norm + 1e-6))``, with the norm from the partial sums in ``sums``.

    Args:
        factor: one float64, the ``grad_scale`` of an optimizer's kernel; NaN if the norm is.
        norm: one number; float32 or float64, in which the quotient is computed, as by ``clip_grad_norm_``.
        sums: float64, flat, all results of :func:`block_norms`.
        p: 1, 2 or infinity.
        max_norm: the limit.
    """
    kernel = kernel_for(_CLIP_FACTOR, "norm", norm)
    kind = _kind_of(p)
    check_output("factor", factor, FLOAT64, (1,))
    check_output("norm", norm, norm.dtype, (1,))
    check("sums", sums, FLOAT64, (sums.size,) if isinstance(sums, np.ndarray) else (0,))
    launch(kernel, 1, (factor, norm, sums), sums.size, kind, max_norm)


def _kind_of(p: float) -> int:
    if p not in _KINDS:
        raise ValueError(f"p must be 1, 2 or infinity, found {p!r}")
    return _KINDS[p]


def power_sum(x: np.ndarray, p: float) -> float:
    """``sum(|x|)`` for p = 1, ``sum(x**2)`` for 2, ``max(|x|)`` for infinity; 0 for no numbers, NaN if any is NaN.

    In float64; blocks have a fixed size, so the result is the same for any number of threads.

    Args:
        x: C-contiguous, float32 or float64.
    """
    kernel_for(_BLOCK_NORMS, "x", x)
    sums = allocation.empty(blocks_of(x.size), FLOAT64)
    block_norms(sums, x, p)
    if not sums.size:
        return 0.0
    return float(sums.max() if math.isinf(p) else sums.sum())


def scale(x: np.ndarray, factor: float) -> None:
    """``x *= factor`` in place.

    Args:
        x: C-contiguous, float32 or float64.
    """
    kernel = kernel_for(_SCALE, "x", x)
    check_output("x", x, x.dtype, x.shape)
    launch(kernel, chunks_for(x.size), (x,), x.size, factor)
