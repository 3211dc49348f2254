"""Normalisation of rows, or of groups of neighbours in a row, with the activation and the dropout after it.

Layer normalisation has one group, group normalisation several; root-mean-square normalisation does not
subtract the mean. Statistics take two passes over numbers that are in the cache: the mean, then sums of
deviations from it, which also give the rounding error of the mean. This error is stored as an offset of
the normalised numbers. The backward recomputes the value before the activation and the mask of the
dropout; the gradients of weight and bias are sums over chunks of rows, added in order.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.dropout import draw_of, drop
from fastnn.kernels.activation.fused_activations import COSTS, NONE, activate, differentiate
from fastnn.kernels.llvm.random import random_threshold
from fastnn.kernels.llvm.simd import multiply_add, sqrt
from fastnn.kernels.llvm.sums import sum_of
from fastnn.kernels.norm.column_statistics import copy
from fastnn.kernels.norm.normalization import (
    ADD_BIAS,
    ADD_WEIGHT,
    BIAS,
    DROP,
    DX,
    NEEDS_INPUT,
    OWN,
    WEIGHT,
    check_affine,
    check_following,
    check_gradients,
    check_input,
    kernels_of,
)
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output
from fastnn.kernels.runtime.compiler import FAST, Words, array, inline, integer, part, real
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Bytes of a vector, in PyTorch's terms.
_VECTOR_BYTES = 64
# Rows in one partial sum of the gradients of weight and bias.
ROWS = 64
_SUM, _SOLVE = 1, 2
# Bits of `flags`, in addition to those of every normalisation.
_CENTRED, _SHORT_IS_NAN = OWN, 2 * OWN
# Floating-point operations per number, without those of the activation.
_COST = 15


@inline(fastmath=FAST)
def _deviations(x, mean):
    """``sum(x - mean)`` and ``sum((x - mean)**2)``."""
    total = square = x.dtype.type(0)
    for j in range(x.size):
        d = x[j] - mean
        total += d
        square += d * d
    return total, square


@inline
def _normalise(out, x, mean, offset, inverse):
    for j in range(x.size):
        out[j] = multiply_add(x[j] - mean, inverse, offset)


@inline
def _times(out, x, weight):
    for j in range(x.size):
        out[j] = x[j] * weight[j]


@inline
def _plus(out, x, bias):
    for j in range(x.size):
        out[j] = x[j] + bias[j]


@inline
def _rectify(out, x):
    zero = x.dtype.type(0)
    for j in range(x.size):
        out[j] = zero if x[j] <= zero else x[j]


@inline
def _before_activation(out, x, mean, offset, inverse, weight, bias, flags):
    _normalise(out, x, mean, offset, inverse)
    if flags & WEIGHT:
        _times(out, out, weight)
    if flags & BIAS:
        _plus(out, out, bias)


_FORWARD_WORDS = Words("out x weight bias saved state; rows columns groups flags code; slope keep eps")


def _forward(dtype, smooth):
    short = _VECTOR_BYTES // np.dtype(dtype).itemsize

    def layer_norm_forward_slice(args, t, n):
        # out, x[rows, columns]; weight, bias[columns]; saved[rows * groups, 3]; state[2]
        rows, columns = integer(args, _FORWARD_WORDS.rows), integer(args, _FORWARD_WORDS.columns)
        groups = integer(args, _FORWARD_WORDS.groups)
        flags, code = integer(args, _FORWARD_WORDS.flags), integer(args, _FORWARD_WORDS.code)
        slope, keep = dtype(real(args, _FORWARD_WORDS.slope)), dtype(real(args, _FORWARD_WORDS.keep))
        eps = real(args, _FORWARD_WORDS.eps)
        out = array(args, _FORWARD_WORDS.out, (rows, columns), dtype)
        x = array(args, _FORWARD_WORDS.x, (rows, columns), dtype)
        weight = array(args, _FORWARD_WORDS.weight, (columns,), dtype)
        bias = array(args, _FORWARD_WORDS.bias, (columns,), dtype)
        saved = array(args, _FORWARD_WORDS.saved, (rows * groups, 3), dtype)
        key0, key1, factor = draw_of(args, _FORWARD_WORDS.state, keep, flags & DROP)
        threshold = random_threshold(real(args, _FORWARD_WORDS.keep))
        size = columns // groups
        # One division instead of several for each row.
        share = 1.0 / float(size)
        first, last = part(rows * groups, t, n)
        for i in range(first, last):
            row, lo = i // groups, (i % groups) * size
            hi = lo + size
            source, to = x[row, lo:hi], out[row, lo:hi]
            mean = offset = dtype(0)
            centre = 0.0
            if flags & _CENTRED:
                guess = sum_of(source) * dtype(share)
                # An infinite guess would turn an infinite mean into NaN.
                guess = guess if guess - guess == dtype(0) else dtype(0)
                total, square = _deviations(source, guess)
                # float() would keep float32, and the square of a large sum would be infinite.
                wide: float = np.float64(total)
                centre = float(guess) + wide * share
                spread = float(square) - wide * wide * share
                mean = dtype(centre)
                if flags & _SHORT_IS_NAN and size < short and mean * mean - mean * mean != dtype(0):
                    spread = np.nan
            else:
                total, square = _deviations(source, dtype(0))
                spread = float(square)
            spread = 0.0 if spread < 0.0 else spread
            root = 1.0 / sqrt(spread * share + eps)
            inverse = dtype(root)
            # The rounding error of the mean. If it were a separate number, reordered sums could add it to the mean
            # again.
            offset = dtype((float(mean) - centre) * root) if centre - centre == 0.0 else dtype(0)
            saved[i, 0], saved[i, 1], saved[i, 2] = mean, offset, inverse
            _before_activation(to, source, mean, offset, inverse, weight[lo:hi], bias[lo:hi], flags)
            if smooth:
                activate(to, to, code, slope)
            elif code != NONE:
                _rectify(to, to)
            if flags & DROP:
                drop(to, to, row * columns + lo, key0, key1, threshold, factor)

    return layer_norm_forward_slice


@inline
def _add_to(total, product, dz, x, mean, offset, inverse):
    for j in range(x.size):
        total[j] += dz[j]
        product[j] = multiply_add(dz[j], multiply_add(x[j] - mean, inverse, offset), product[j])


@inline(fastmath=FAST)
def _projections(g, x, mean, offset, inverse):
    """``sum(g)`` and ``sum(g * xhat)``."""
    total = product = x.dtype.type(0)
    for j in range(x.size):
        total += g[j]
        product += g[j] * ((x[j] - mean) * inverse + offset)
    return total, product


@inline(fastmath=FAST)
def _unscaled_product(g, x):
    total = x.dtype.type(0)
    for j in range(x.size):
        total += g[j] * x[j]
    return total


@inline
def _input_gradient(dx, x, mean, offset, inverse, level, slope):
    for j in range(x.size):
        dx[j] = multiply_add(-multiply_add(x[j] - mean, inverse, offset), slope, dx[j] - level) * inverse


@inline
def _add_doubles(to, x, zero):
    # 0, or NaN where twice the number overflows, as in PyTorch.
    for j in range(x.size):
        to[j] += (x[j] + x[j]) * zero


@inline
def _rectified(dz, dy, z):
    zero = dy.dtype.type(0)
    for j in range(dy.size):
        gradient = dy[j]
        dz[j] = zero if z[j] <= zero else gradient


@inline(fastmath=FAST)
def _sum_of_chunks(sums, which, j):
    total = 0.0
    for chunk in range(sums.shape[0]):
        total += float(sums[chunk, which, j])
    return total


@inline
def _add_chunks(to, sums, which, accumulate):
    kind = to.dtype.type
    for j in range(to.size):
        to[j] = kind(_sum_of_chunks(sums, which, j)) + (to[j] if accumulate else kind(0))


_BACKWARD_WORDS = Words(
    "dx dweight dbias dy x weight bias saved sums scratch state; "
    "rows columns groups chunks phases flags wanted code; slope keep"
)


def _backward(dtype, smooth):
    def layer_norm_backward_slice(args, t, n):
        # dx[rows, columns]; dweight, dbias[columns]; dy, x[rows, columns]; weight, bias[columns];
        # saved[rows * groups, 3]; sums[chunks, 2, columns]; scratch[chunks, columns]; state[2]
        rows, columns = integer(args, _BACKWARD_WORDS.rows), integer(args, _BACKWARD_WORDS.columns)
        groups = integer(args, _BACKWARD_WORDS.groups)
        chunks, phases = integer(args, _BACKWARD_WORDS.chunks), integer(args, _BACKWARD_WORDS.phases)
        flags, wanted = integer(args, _BACKWARD_WORDS.flags), integer(args, _BACKWARD_WORDS.wanted)
        code = integer(args, _BACKWARD_WORDS.code)
        slope, keep = dtype(real(args, _BACKWARD_WORDS.slope)), dtype(real(args, _BACKWARD_WORDS.keep))
        dx = array(args, _BACKWARD_WORDS.dx, (rows, columns), dtype)
        dweight = array(args, _BACKWARD_WORDS.dweight, (columns,), dtype)
        dbias = array(args, _BACKWARD_WORDS.dbias, (columns,), dtype)
        dy = array(args, _BACKWARD_WORDS.dy, (rows, columns), dtype)
        x = array(args, _BACKWARD_WORDS.x, (rows, columns), dtype)
        weight = array(args, _BACKWARD_WORDS.weight, (columns,), dtype)
        bias = array(args, _BACKWARD_WORDS.bias, (columns,), dtype)
        saved = array(args, _BACKWARD_WORDS.saved, (rows * groups, 3), dtype)
        sums = array(args, _BACKWARD_WORDS.sums, (chunks, 2, columns), dtype)
        scratch = array(args, _BACKWARD_WORDS.scratch, (chunks, columns), dtype)
        key0, key1, factor = draw_of(args, _BACKWARD_WORDS.state, keep, flags & DROP)
        threshold = random_threshold(real(args, _BACKWARD_WORDS.keep))
        size = columns // groups
        share = dtype(1.0 / float(size))
        first, last = part(chunks, t, n)
        if phases & _SUM:
            for chunk in range(first, last):
                sums[chunk, :, :] = dtype(0)
                for i in range(chunk * ROWS * groups, min(rows, (chunk + 1) * ROWS) * groups):
                    row, lo = i // groups, (i % groups) * size
                    hi = lo + size
                    source, to, z = x[row, lo:hi], dx[row, lo:hi], scratch[chunk, lo:hi]
                    mean, offset, inverse = saved[i, 0], saved[i, 1], saved[i, 2]
                    if flags & DROP:
                        drop(to, dy[row, lo:hi], row * columns + lo, key0, key1, threshold, factor)
                    else:
                        copy(to, dy[row, lo:hi])
                    if smooth or code != NONE:
                        _before_activation(z, source, mean, offset, inverse, weight[lo:hi], bias[lo:hi], flags)
                        if smooth:
                            if not flags & NEEDS_INPUT:
                                activate(z, z, code, slope)
                            differentiate(to, to, z, code, slope)
                        else:
                            _rectified(to, to, z)
                    _add_to(sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi], to, source, mean, offset, inverse)
                    if wanted & DX:
                        if flags & WEIGHT:
                            _times(to, to, weight[lo:hi])
                        total, product = _projections(to, source, mean, offset, inverse)
                        if inverse == dtype(0):
                            # The variance overflowed: 0, or NaN if this sum overflows too, as in PyTorch.
                            product = _unscaled_product(to, source) * inverse
                        level = total * share if flags & _CENTRED else dtype(0)
                        _input_gradient(to, source, mean, offset, inverse, level, product * share)
                        if inverse == dtype(0) and not flags & _CENTRED:
                            _add_doubles(to, source, inverse)
        if phases & _SOLVE:
            if wanted & WEIGHT:
                _add_chunks(dweight, sums, 1, wanted & ADD_WEIGHT)
            if wanted & BIAS:
                _add_chunks(dbias, sums, 0, wanted & ADD_BIAS)

    return layer_norm_backward_slice


_FORWARD = kernels_of(
    "layer_norm", "forward", _forward, _FORWARD_WORDS,
    outputs="out saved", stand_in="saved", shared="weight bias",
)  # fmt: skip
_BACKWARD = kernels_of("layer_norm", "backward", _backward, _BACKWARD_WORDS, outputs="dx dweight dbias sums scratch")


def layer_norm_forward(
    out: np.ndarray,
    saved: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    groups: int = 1,
    centred: bool = True,
    eps: float = 1e-5,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    state: np.ndarray | None = None,
    short_is_nan: bool = True,
) -> None:
    """``out = dropout(activation((x - mean) / sqrt(var + eps) * weight + bias))``, mean and var by row and group.

    Sources: J. L. Ba et al., arXiv:1607.06450; Y. Wu and K. He, arXiv:1803.08494 (``groups``); B. Zhang and
    R. Sennrich, arXiv:1910.07467 (not ``centred``: the mean is not subtracted, and var is the mean square).

    Args:
        out, x: (rows, columns), C-contiguous, float32 or float64.
        saved: (rows * groups, 3), for the backward: mean, offset (from the rounding error of the mean)
            and 1 / sqrt(var + eps).
        weight, bias: (columns,), or None for 1 and 0.
        groups: divides columns.
        activation, slope: see :mod:`fastnn.kernels.activation.fused_activations`.
        p, state: probability of zeroing a number, and the draw (seed, call), needed if ``p`` > 0.
        short_is_nan: whether a group shorter than a vector becomes NaN if the square of its mean overflows, as in
            PyTorch; it becomes 0 otherwise.
    """
    kernel, code, rows, columns = check_input(_FORWARD, activation, x)
    dtype = x.dtype
    check_output("out", out, dtype, x.shape)
    _check_groups(columns, groups)
    check_output("saved", saved, dtype, (rows * groups, 3))
    flags = check_affine(weight, bias, dtype, columns) | (_CENTRED if centred else 0)
    flags |= check_following(activation, p, state) | (_SHORT_IS_NAN if short_is_nan else 0)
    if not x.size:
        return
    parts = min(chunks_for(x.size * (_COST + COSTS[code])), rows * groups)
    launch(
        kernel, parts,
        (out, x, saved if weight is None else weight, saved if bias is None else bias, saved,
         saved if state is None else state),
        rows, columns, groups, flags, code, slope, 1.0 - p, eps,
    )  # fmt: skip


def _check_groups(columns: int, groups: int) -> None:
    if groups < 1 or columns % groups:
        raise ValueError(f"groups must divide the {columns} columns, found {groups}")


def layer_norm_backward(
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    saved: np.ndarray,
    *,
    groups: int = 1,
    centred: bool = True,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    state: np.ndarray | None = None,
    accumulate_weight: bool = False,
    accumulate_bias: bool = False,
) -> None:
    """Gradients of :func:`layer_norm_forward`; pass None to skip one.

    With dz the gradient before activation and dropout, xhat the normalised input and ``g = dz * weight``:
    ``dbias = sum(dz)`` and ``dweight = sum(dz * xhat)`` over the rows, and
    ``dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps)`` with means over the group.

    Args:
        dx: (rows, columns), C-contiguous; not ``dy`` or ``x``.
        dweight, dbias: (columns,).
        dy, x, weight, bias, saved, groups, centred, activation, slope, p, state: as in the forward.
        accumulate_weight, accumulate_bias: add to ``dweight``, ``dbias`` instead of overwriting them.
    """
    kernel, code, rows, columns = check_input(_BACKWARD, activation, x)
    dtype = x.dtype
    check("dy", dy, dtype, x.shape)
    _check_groups(columns, groups)
    check("saved", saved, dtype, (rows * groups, 3))
    flags = check_affine(weight, bias, dtype, columns) | (_CENTRED if centred else 0)
    wanted = check_gradients(dx, dweight, dbias, x, accumulate_weight, accumulate_bias)
    flags |= check_following(activation, p, state, backward=True)
    chunks = -(-rows // ROWS)
    arrays = (
        allocation.empty_like(x) if dx is None else dx, saved if dweight is None else dweight,
        saved if dbias is None else dbias, dy, x, saved if weight is None else weight, saved if bias is None else bias,
        saved, allocation.empty((chunks, 2, columns), dtype), allocation.empty((chunks, columns), dtype),
        saved if state is None else state,
    )  # fmt: skip
    parts = max(1, min(chunks_for(x.size * (_COST + COSTS[code])), chunks))
    for cut, phases in ((1, _SUM | _SOLVE),) if parts == 1 else ((parts, _SUM), (1, _SOLVE)):
        launch(kernel, cut, arrays, rows, columns, groups, chunks, phases, flags, wanted, code, slope, 1.0 - p)
