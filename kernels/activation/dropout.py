"""Dropout and alpha dropout: the mask is a function of the position and is never stored.

A draw is identified by ``state``, an int64 array (seed, call); the forward and the backward of one call
get the same one. See :mod:`fastnn.kernels.llvm.random`.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.random import check_state, random_bits, random_keys, random_threshold
from fastnn.kernels.llvm.simd import multiply_add
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer, part, real
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# The size of a part is a multiple of this, which is a multiple of every cache line.
_BLOCK = 1024
# Floating-point operations per number.
_COST = 12


@inline
def drop_factor(keep):
    """The factor of kept numbers; 0 if none is kept, so that 0 times it is not NaN."""
    kind = type(keep)
    return kind(1) / keep if keep > kind(0) else kind(0)


@inline
def draw_of(args, state, keep, is_drawn):
    """The two keys, the threshold and the factor of the draw in word ``state``, for :func:`drop`; 0 without a draw."""
    key0, key1, factor = np.uint32(0), np.uint32(0), type(keep)(0)
    if is_drawn:
        key0, key1 = random_keys(array(args, state, (2,), np.int64))
        factor = drop_factor(keep)
    return key0, key1, factor


@inline
def drop(out, x, position, key0, key1, threshold, factor):
    """``out = x * factor`` where kept and ``x * 0`` elsewhere, for the numbers from ``position`` on.

    A product, not a select: NaN and infinity become NaN, as in PyTorch.
    """
    zero = x.dtype.type(0)
    for j in range(x.size):
        out[j] = x[j] * (factor if random_bits(position + j, key0, key1) < threshold else zero)


@inline
def _drop_affine(out, x, position, key0, key1, threshold, factor, shift, dropped):
    """``out = x * factor + shift`` where kept and ``x * 0 + dropped`` elsewhere."""
    zero = x.dtype.type(0)
    for j in range(x.size):
        kept = random_bits(position + j, key0, key1) < threshold
        out[j] = multiply_add(x[j], factor if kept else zero, shift if kept else dropped)


_WORDS = Words("out x state; size width affine; keep factor shift dropped")


def _dropout(dtype):
    def dropout_slice(args, t, n):
        # out[size], x[size], state[2]
        size, width, affine = integer(args, _WORDS.size), integer(args, _WORDS.width), integer(args, _WORDS.affine)
        threshold = random_threshold(real(args, _WORDS.keep))
        factor, shift = dtype(real(args, _WORDS.factor)), dtype(real(args, _WORDS.shift))
        dropped = dtype(real(args, _WORDS.dropped))
        if not affine:
            factor = drop_factor(dtype(real(args, _WORDS.keep)))
        out, x = array(args, _WORDS.out, (size,), dtype), array(args, _WORDS.x, (size,), dtype)
        key0, key1 = random_keys(array(args, _WORDS.state, (2,), np.int64))
        if width > 1:
            # One draw for every `width` numbers.
            first, last = part(size // width, t, n)
            for i in range(first, last):
                kept = random_bits(i, key0, key1) < threshold
                times, plus = (factor, shift) if kept else (dtype(0), dropped)
                for j in range(i * width, (i + 1) * width):
                    out[j] = multiply_add(x[j], times, plus)
            return
        first, last = part(-(-size // _BLOCK), t, n)
        for block in range(first, last):
            lo, hi = block * _BLOCK, min(size, (block + 1) * _BLOCK)
            if affine:
                _drop_affine(out[lo:hi], x[lo:hi], lo, key0, key1, threshold, factor, shift, dropped)
            else:
                drop(out[lo:hi], x[lo:hi], lo, key0, key1, threshold, factor)

    return dropout_slice


_DROPOUT = by_dtype("dropout", _dropout, _WORDS, outputs="out")
# The names of the two arrays in messages.
_FORWARD, _BACKWARD = ("out", "x"), ("dx", "dy")


def check_drop(p: float, state: np.ndarray | None) -> None:
    """Raise unless ``p`` is a probability and ``state`` a draw."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must be in [0, 1], found {p}")
    if state is None:
        raise ValueError(f"state must be given for p = {p}, found None")
    check_state(state)


def _run(
    names: tuple[str, str], out: np.ndarray, x: np.ndarray, state: np.ndarray, width: int, *scalars: float
) -> None:
    kernel = kernel_for(_DROPOUT, names[1], x)
    check(names[1], x, x.dtype, x.shape)
    check_output(names[0], out, x.dtype, x.shape)
    check_drop(1.0 - scalars[1], state)
    size = x.size
    if width < 1 or size % width:
        raise ValueError(f"width must divide the {size} numbers, found {width}")
    # A part is at least one block; a number costs little if one draw is for many numbers.
    parts = chunks_for(size * (_COST if width == 1 else 2))
    launch(kernel, parts, (out, x, state), size, width, *scalars)


def dropout_forward(out: np.ndarray, x: np.ndarray, state: np.ndarray, p: float = 0.5, width: int = 1) -> None:
    """``out = x / (1 - p)`` with probability ``1 - p`` and ``x * 0`` elsewhere.

    Source: N. Srivastava et al., JMLR 15 (2014).

    Args:
        out, x: C-contiguous arrays of one shape, float32 or float64; they may be the same.
        state: (seed, call), int64: identifies the draw.
        p: the probability of zeroing.
        width: the number of consecutive numbers that are kept or zeroed together.
    """
    _run(_FORWARD, out, x, state, width, 0, 1.0 - p, 0.0, 0.0, 0.0)


def dropout_backward(dx: np.ndarray, dy: np.ndarray, state: np.ndarray, p: float = 0.5, width: int = 1) -> None:
    """The gradient of :func:`dropout_forward`: the same product with the same mask."""
    _run(_BACKWARD, dx, dy, state, width, 0, 1.0 - p, 0.0, 0.0, 0.0)


# -scale * alpha of SELU (G. Klambauer et al., arXiv:1706.02515): its limit at -infinity.
_SATURATION = -1.7580993408473766


def _alpha_scale(p: float) -> float:
    """The factor that keeps the variance of standard normal numbers at 1."""
    return ((_SATURATION**2 * p + 1) * (1 - p)) ** -0.5 if p < 1 else 0.0


def alpha_dropout_forward(
    out: np.ndarray, x: np.ndarray, state: np.ndarray, p: float = 0.5, width: int = 1
) -> None:
    """Dropout that keeps mean 0 and variance 1: dropped numbers become SELU's saturation, then all are scaled.

    ``a * x + b`` where kept and ``a * s + b`` elsewhere, with s = -1.7581,
    ``a = ((1 - p) * (1 + p * s**2)) ** -0.5`` and ``b = -a * p * s``. Source: arXiv:1706.02515.

    Args:
        out, x, state, p, width: as in :func:`dropout_forward`.
    """
    a = _alpha_scale(p)
    b = -a * p * _SATURATION
    _run(_FORWARD, out, x, state, width, 1, 1.0 - p, a, b, a * _SATURATION + b)


def alpha_dropout_backward(dx: np.ndarray, dy: np.ndarray, state: np.ndarray, p: float = 0.5, width: int = 1) -> None:
    """The gradient of :func:`alpha_dropout_forward`: ``a * dy`` where kept, ``dy * 0`` elsewhere."""
    _run(_BACKWARD, dx, dy, state, width, 1, 1.0 - p, _alpha_scale(p), 0.0, 0.0)
