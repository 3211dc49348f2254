"""Batch normalisation with the activation and the dropout behind it: forward and backward of all three at once.

Statistics are taken down the columns of a matrix, over chunks of rows, each around a guess of its mean
from its first rows: sums of ``x - guess`` and of its square lose nothing where the mean is far larger
than the deviations. The chunks' moments are put together in float64 (the shifted and the combined
formulas of T. F. Chan, G. H. Golub and R. J. LeVeque, The American Statistician 37 (1983) 242-247).
The mean is kept as two numbers of the input's type, and always subtracted before anything is multiplied.

A launch goes through *phases*: sums, what follows from them for each column, the pass that uses it. A
part that owns whole columns runs all three, while the columns are in its cache; a matrix of few columns
is cut by rows, with a launch for each phase. The mask of the dropout is computed from its position
again in the backward, and so is the value before the activation: beside the input, only numbers per
column are saved.

May import ``jit``, ``simd``, ``activations``, ``dropout`` and ``random``.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activations import (
    COSTS,
    NONE,
    activate,
    activation_code,
    differentiate,
    saves_input,
)
from fastnn.kernels.dropout import check_drop, drop, drop_factor
from fastnn.kernels.jit import (
    array,
    by_dtype,
    check,
    check_output,
    inline,
    integer,
    kernel_for,
    launch,
    matrix_shape,
    part,
    parts_for,
    real,
    stack_array,
)
from fastnn.kernels.random import random_bits, random_keys, random_threshold
from fastnn.kernels.simd import sqrt

# Columns that are walked down together at most, as their sums lie on the stack, and at least in each part of a
# launch that is cut by columns; rows whose sums are one number.
COLUMNS, _FEWEST, ROWS = 1024, 64, 128
# Rows that the guess of a chunk's mean is taken from. If these are outliers, the variance loses up to
# ROWS / _GUESS of its precision, never more.
_GUESS = 8
# The phases of a launch.
_SUM, _SOLVE, _APPLY = 1, 2, 4
_ALL = _SUM | _SOLVE | _APPLY
_COUNT = np.dtype(np.int64)
# Rows of `saved`.
_MEAN, _REST, _INVERSE, _SCALE, _SHIFT = range(5)
# Bits of `flags`: what there is and what is wanted.
_TRAINING, _WEIGHT, _BIAS, _RUNNING, _COUNTER, _DROP, _NEEDS_INPUT, _DX, _ADD_WEIGHT, _ADD_BIAS = (
    1 << bit for bit in range(10)
)
# Floating-point operations per number, beside those of the activation.
_COST = 12


@inline
def _copy(to, row):
    for j in range(row.size):
        to[j] = row[j]


@inline
def _widen(to, row):
    for j in range(row.size):
        to[j] = float(row[j])


@inline
def _fill(to, value):
    for j in range(to.size):
        to[j] = value


@inline
def _add_share(guess, row, base, share):
    for j in range(guess.size):
        guess[j] += (row[j] - base[j]) * share


@inline
def _add_four(total, square, guess, a, b, c, d):
    for j in range(a.size):
        p, q, r, s = a[j] - guess[j], b[j] - guess[j], c[j] - guess[j], d[j] - guess[j]
        total[j] += (p + q) + (r + s)
        square[j] += (p * p + q * q) + (r * r + s * s)


@inline
def _add_one(total, square, guess, row):
    for j in range(row.size):
        d = row[j] - guess[j]
        total[j] += d
        square[j] += d * d


@inline
def _sum_chunk(sums, x, first, last, lo, hi):
    """``guess``, ``sum(x - guess)`` and ``sum((x - guess)**2)`` of rows first to last, columns lo to hi."""
    kind = x.dtype.type
    width = hi - lo
    guess = stack_array(COLUMNS, kind(0))[:width]
    total = stack_array(COLUMNS, kind(0))[:width]
    square = stack_array(COLUMNS, kind(0))[:width]
    _copy(guess, x[first, lo:hi])
    _copy(total, guess)
    guessed = min(last, first + _GUESS)
    share = kind(1) / kind(guessed - first)
    for i in range(first + 1, guessed):
        # Relative to the first row: of equal numbers the mean is that number, to the last bit.
        _add_share(guess, x[i, lo:hi], total, share)
    _fill(total, kind(0))
    _fill(square, kind(0))
    for j in range(width):
        # An infinite guess would make NaN of an infinite mean.
        guess[j] = guess[j] if guess[j] - guess[j] == kind(0) else kind(0)
    i = first
    while i + 4 <= last:
        _add_four(total, square, guess, x[i, lo:hi], x[i + 1, lo:hi], x[i + 2, lo:hi], x[i + 3, lo:hi])
        i += 4
    while i < last:
        _add_one(total, square, guess, x[i, lo:hi])
        i += 1
    _copy(sums[0, lo:hi], guess)
    _copy(sums[1, lo:hi], total)
    _copy(sums[2, lo:hi], square)


@inline
def _add_means(mean, guesses, totals, base, per_row, share):
    for j in range(mean.size):
        mean[j] += (float(guesses[j]) - float(base[j]) + float(totals[j]) * per_row) * share


@inline
def _add_squares(square, mean, guesses, totals, squares, rows, per_row):
    for j in range(mean.size):
        total = float(totals[j])
        step = float(guesses[j]) + total * per_row - mean[j]
        spread = float(squares[j]) - total * total * per_row
        # A rounded difference may be below zero; NaN is not, and stays.
        square[j] += (0.0 if spread < 0.0 else spread) + step * step * rows


@inline
def _moments(mean, square, sums, batch, lo, hi):
    """Mean and sum of squared deviations, float64, from the sums of all chunks."""
    base = sums[0, 0, lo:hi]
    _widen(mean, base)
    _fill(square, 0.0)
    for chunk in range(sums.shape[0]):
        rows = float(min(batch - chunk * ROWS, ROWS))
        _add_means(mean, sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi], base, 1.0 / rows, rows / float(batch))
    for chunk in range(sums.shape[0]):
        rows = float(min(batch - chunk * ROWS, ROWS))
        _add_squares(
            square, mean, sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi], sums[chunk, 2, lo:hi], rows, 1.0 / rows
        )


@inline
def _solve_forward(near, rest, inverse, scale, shift, mean, variance, weight, bias, eps):
    # All on the stack: with arrays of the caller's, which might overlap, no such loop is vectorised.
    kind = near.dtype.type
    for j in range(mean.size):
        root = kind(1) / sqrt(kind(variance[j] + eps))
        slope = float(root) * float(weight[j])
        near[j] = kind(mean[j])
        # An infinite mean leaves no rest, not NaN.
        left = mean[j] - float(near[j]) if mean[j] - mean[j] == 0.0 else 0.0
        rest[j], inverse[j], scale[j] = kind(left), root, kind(slope)
        shift[j] = kind(float(bias[j]) - left * slope)


@inline
def _follow(running, value, momentum, share):
    kind = running.dtype.type
    for j in range(running.size):
        running[j] = kind(float(running[j]) * (1.0 - momentum) + value[j] * share)


@inline
def _scale(to, factor):
    for j in range(to.size):
        to[j] *= factor


@inline
def _normalise(out, x, mean, scale, shift):
    for j in range(x.size):
        out[j] = (x[j] - mean[j]) * scale[j] + shift[j]


@inline
def _normalise_relu(out, x, mean, scale, shift):
    zero = x.dtype.type(0)
    for j in range(x.size):
        z = (x[j] - mean[j]) * scale[j] + shift[j]
        out[j] = zero if z <= zero else z


@inline
def _normalise_relu_drop(out, x, mean, scale, shift, position, key0, key1, threshold, factor):
    zero = x.dtype.type(0)
    for j in range(x.size):
        z = (x[j] - mean[j]) * scale[j] + shift[j]
        kept = factor if random_bits(position + j, key0, key1) < threshold else zero
        out[j] = (zero if z <= zero else z) * kept


def _forward(dtype, smooth):
    def batch_norm_forward_slice(args, t, n):
        # out, x[batch, columns]; weight, bias, running_mean, running_var[columns]; counter[1]; saved[5, columns];
        # sums[chunks, 3, columns]; state[2]
        batch, columns, chunks = integer(args, 10), integer(args, 11), integer(args, 12)
        phases, by_rows, width = integer(args, 13), integer(args, 14), integer(args, 15)
        flags, code = integer(args, 16), integer(args, 17)
        slope, keep = dtype(real(args, 18)), dtype(real(args, 19))
        momentum, eps = real(args, 20), real(args, 21)
        out, x = array(args, 0, (batch, columns), dtype), array(args, 1, (batch, columns), dtype)
        weight, bias = array(args, 2, (columns,), dtype), array(args, 3, (columns,), dtype)
        running_mean, running_var = array(args, 4, (columns,), dtype), array(args, 5, (columns,), dtype)
        counter = array(args, 6, (1,), np.int64)
        saved = array(args, 7, (5, columns), dtype)
        sums = array(args, 8, (chunks, 3, columns), dtype)
        centres, variances = stack_array(COLUMNS, 0.0), stack_array(COLUMNS, 0.0)
        near, scale, shift = (
            stack_array(COLUMNS, dtype(0)),
            stack_array(COLUMNS, dtype(0)),
            stack_array(COLUMNS, dtype(0)),
        )
        rest, inverse = stack_array(COLUMNS, dtype(0)), stack_array(COLUMNS, dtype(0))
        key0, key1 = np.uint32(0), np.uint32(0)
        threshold, factor = random_threshold(real(args, 19)), dtype(0)
        if flags & _DROP:
            key0, key1 = random_keys(array(args, 9, (2,), np.int64))
            factor = drop_factor(keep)
        blocks = -(-columns // width)
        first_block, last_block, first_chunk, last_chunk, span = 0, blocks, 0, chunks, chunks
        if by_rows:
            first_chunk, last_chunk = part(chunks, t, n)
            span = 1
        else:
            first_block, last_block = part(blocks, t, n)
        for span_first in range(first_chunk, last_chunk, span):
            span_last = min(last_chunk, span_first + span)
            for block in range(first_block, last_block):
                lo, hi = block * width, min(columns, (block + 1) * width)
                count = hi - lo
                m, s, b = near[:count], scale[:count], shift[:count]
                centre, variance = centres[:count], variances[:count]
                if phases & _SUM:
                    for chunk in range(span_first, span_last):
                        _sum_chunk(sums[chunk], x, chunk * ROWS, min(batch, (chunk + 1) * ROWS), lo, hi)
                if phases & _SOLVE and span_first == first_chunk:
                    if flags & _TRAINING:
                        _moments(centre, variance, sums, batch, lo, hi)
                        if flags & _RUNNING:
                            _follow(running_mean[lo:hi], centre, momentum, momentum)
                            _follow(running_var[lo:hi], variance, momentum, momentum / float(batch - 1))
                        _scale(variance, 1.0 / float(batch))
                        if block == 0 and flags & _COUNTER:
                            counter[0] += 1
                    else:
                        _widen(centre, running_mean[lo:hi])
                        _widen(variance, running_var[lo:hi])
                    if flags & _WEIGHT:
                        _copy(scale[:count], weight[lo:hi])
                    else:
                        _fill(scale[:count], dtype(1))
                    if flags & _BIAS:
                        _copy(shift[:count], bias[lo:hi])
                    else:
                        _fill(shift[:count], dtype(0))
                    _solve_forward(m, rest[:count], inverse[:count], s, b, centre, variance, s, b, eps)
                    _copy(saved[_MEAN, lo:hi], m)
                    _copy(saved[_REST, lo:hi], rest[:count])
                    _copy(saved[_INVERSE, lo:hi], inverse[:count])
                    _copy(saved[_SCALE, lo:hi], s)
                    _copy(saved[_SHIFT, lo:hi], b)
                elif phases & _APPLY:
                    _copy(m, saved[_MEAN, lo:hi])
                    _copy(s, saved[_SCALE, lo:hi])
                    _copy(b, saved[_SHIFT, lo:hi])
                if phases & _APPLY:
                    for i in range(span_first * ROWS, min(batch, span_last * ROWS)):
                        to, row, position = out[i, lo:hi], x[i, lo:hi], i * columns + lo
                        if smooth or code == NONE:
                            _normalise(to, row, m, s, b)
                            if smooth:
                                activate(to, to, code, slope)
                            if flags & _DROP:
                                drop(to, to, position, key0, key1, threshold, factor)
                        elif flags & _DROP:
                            _normalise_relu_drop(to, row, m, s, b, position, key0, key1, threshold, factor)
                        else:
                            _normalise_relu(to, row, m, s, b)

    return batch_norm_forward_slice


@inline
def _add_gradient(total, product, dz, x, mean):
    for j in range(x.size):
        total[j] += dz[j]
        product[j] += dz[j] * (x[j] - mean[j])


@inline
def _add_gradient_relu(dz, total, product, dy, x, mean, scale, shift):
    zero = x.dtype.type(0)
    for j in range(x.size):
        centred, gradient = x[j] - mean[j], dy[j]
        d = zero if centred * scale[j] + shift[j] <= zero else gradient
        dz[j] = d
        total[j] += d
        product[j] += d * centred


@inline
def _add_gradient_relu_drop(dz, total, product, dy, x, mean, scale, shift, position, key0, key1, threshold, factor):
    zero = x.dtype.type(0)
    for j in range(x.size):
        centred = x[j] - mean[j]
        kept = dy[j] * (factor if random_bits(position + j, key0, key1) < threshold else zero)
        d = zero if centred * scale[j] + shift[j] <= zero else kept
        dz[j] = d
        total[j] += d
        product[j] += d * centred


@inline
def _add_chunk(total, product, sums, other):
    for j in range(total.size):
        total[j] += float(sums[j])
        product[j] += float(other[j])


@inline
def _solve_backward(gradient, slope, offset, total, product, rest, inverse, scale, batch):
    """The gradient of the weight, and the statistics' share of ``dx``: ``offset - (x - mean) * slope``."""
    kind = slope.dtype.type
    for j in range(gradient.size):
        root, steep, left = float(inverse[j]), float(scale[j]), float(rest[j])
        g = (product[j] - left * total[j]) * root
        bend = steep * root * g / batch
        gradient[j], slope[j], offset[j] = kind(g), kind(bend), kind(left * bend - steep * total[j] / batch)


@inline
def _put(to, value, accumulate):
    if accumulate:
        for j in range(to.size):
            to[j] += value[j]
    else:
        for j in range(to.size):
            to[j] = value[j]


@inline
def _narrow(to, row):
    kind = to.dtype.type
    for j in range(row.size):
        to[j] = kind(row[j])


@inline
def _input_gradient(dx, dz, x, mean, scale, slope, offset):
    for j in range(x.size):
        dx[j] = dz[j] * scale[j] + (offset[j] - (x[j] - mean[j]) * slope[j])


@inline
def _scaled(dx, dz, scale):
    for j in range(dz.size):
        dx[j] = dz[j] * scale[j]


def _backward(dtype, smooth):
    def batch_norm_backward_slice(args, t, n):
        # dx[batch, columns]; dweight, dbias[columns]; dy, x[batch, columns]; saved[5, columns];
        # sums[chunks, 2, columns]; correction[2, columns]; state[2]
        batch, columns, chunks = integer(args, 9), integer(args, 10), integer(args, 11)
        phases, by_rows, width = integer(args, 12), integer(args, 13), integer(args, 14)
        flags, code = integer(args, 15), integer(args, 16)
        slope, keep = dtype(real(args, 17)), dtype(real(args, 18))
        dx = array(args, 0, (batch, columns), dtype)
        dweight, dbias = array(args, 1, (columns,), dtype), array(args, 2, (columns,), dtype)
        dy, x = array(args, 3, (batch, columns), dtype), array(args, 4, (batch, columns), dtype)
        saved = array(args, 5, (5, columns), dtype)
        sums = array(args, 6, (chunks, 2, columns), dtype)
        correction = array(args, 7, (2, columns), dtype)
        zero = dtype(0)
        near, scale, shift = stack_array(COLUMNS, zero), stack_array(COLUMNS, zero), stack_array(COLUMNS, zero)
        total, product = stack_array(COLUMNS, zero), stack_array(COLUMNS, zero)
        z, dropped = stack_array(COLUMNS, zero), stack_array(COLUMNS, zero)
        totals, products = stack_array(COLUMNS, 0.0), stack_array(COLUMNS, 0.0)
        key0, key1 = np.uint32(0), np.uint32(0)
        threshold, factor = random_threshold(real(args, 18)), zero
        if flags & _DROP:
            key0, key1 = random_keys(array(args, 8, (2,), np.int64))
            factor = drop_factor(keep)
        # Without activation and dropout dz is dy, and not written to dx before the last phase.
        plain = not smooth and code == NONE and not flags & _DROP
        blocks = -(-columns // width)
        first_block, last_block, first_chunk, last_chunk = 0, blocks, 0, chunks
        if by_rows:
            first_chunk, last_chunk = part(chunks, t, n)
        else:
            first_block, last_block = part(blocks, t, n)
        for block in range(first_block, last_block):
            lo, hi = block * width, min(columns, (block + 1) * width)
            count = hi - lo
            m, s, b = near[:count], scale[:count], shift[:count]
            _copy(m, saved[_MEAN, lo:hi])
            _copy(s, saved[_SCALE, lo:hi])
            _copy(b, saved[_SHIFT, lo:hi])
            if phases & _SUM:
                first, second = total[:count], product[:count]
                for chunk in range(first_chunk, last_chunk):
                    _fill(first, zero)
                    _fill(second, zero)
                    for i in range(chunk * ROWS, min(batch, (chunk + 1) * ROWS)):
                        to, gradient, row, position = dx[i, lo:hi], dy[i, lo:hi], x[i, lo:hi], i * columns + lo
                        if plain:
                            _add_gradient(first, second, gradient, row, m)
                        elif smooth or code == NONE:
                            if flags & _DROP:
                                drop(dropped[:count], gradient, position, key0, key1, threshold, factor)
                            else:
                                _copy(dropped[:count], gradient)
                            if smooth:
                                _normalise(z[:count], row, m, s, b)
                                if not flags & _NEEDS_INPUT:
                                    activate(z[:count], z[:count], code, slope)
                                differentiate(dropped[:count], dropped[:count], z[:count], code, slope)
                            _add_gradient(first, second, dropped[:count], row, m)
                            _copy(to, dropped[:count])
                        elif flags & _DROP:
                            _add_gradient_relu_drop(
                                to, first, second, gradient, row, m, s, b, position, key0, key1, threshold, factor
                            )
                        else:
                            _add_gradient_relu(to, first, second, gradient, row, m, s, b)
                    _copy(sums[chunk, 0, lo:hi], first)
                    _copy(sums[chunk, 1, lo:hi], second)
            if phases & _SOLVE:
                _fill(totals[:count], 0.0)
                _fill(products[:count], 0.0)
                for chunk in range(chunks):
                    _add_chunk(totals[:count], products[:count], sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi])
                _copy(z[:count], saved[_REST, lo:hi])
                _copy(dropped[:count], saved[_INVERSE, lo:hi])
                _solve_backward(
                    z[:count], total[:count], product[:count], totals[:count], products[:count],
                    z[:count], dropped[:count], s, float(batch),
                )
                _copy(correction[0, lo:hi], total[:count])
                _copy(correction[1, lo:hi], product[:count])
                if flags & _WEIGHT:
                    _put(dweight[lo:hi], z[:count], flags & _ADD_WEIGHT)
                if flags & _BIAS:
                    _narrow(z[:count], totals[:count])
                    _put(dbias[lo:hi], z[:count], flags & _ADD_BIAS)
            elif phases & _APPLY:
                _copy(total[:count], correction[0, lo:hi])
                _copy(product[:count], correction[1, lo:hi])
            if phases & _APPLY and flags & _DX:
                slopes, offsets = total[:count], product[:count]
                for i in range(first_chunk * ROWS, min(batch, last_chunk * ROWS)):
                    to, row = dx[i, lo:hi], x[i, lo:hi]
                    # Onto the stack first: with dy or dx as its source, which may be its target, no loop is vectorised.
                    source = dropped[:count]
                    _copy(source, dy[i, lo:hi] if plain else to)
                    if flags & _TRAINING:
                        _input_gradient(to, source, row, m, s, slopes, offsets)
                    else:
                        _scaled(to, source, s)

    return batch_norm_backward_slice


# Activations other than ReLU are kernels of their own, compiled where they are used.
_FORWARD = by_dtype("batch_norm_forward", lambda dtype: _forward(dtype, False), arrays=10, integers=8, reals=4)
_FORWARD_SMOOTH = by_dtype(
    "batch_norm_smooth_forward", lambda dtype: _forward(dtype, True), arrays=10, integers=8, reals=4
)
_BACKWARD = by_dtype("batch_norm_backward", lambda dtype: _backward(dtype, False), arrays=9, integers=8, reals=2)
_BACKWARD_SMOOTH = by_dtype(
    "batch_norm_smooth_backward", lambda dtype: _backward(dtype, True), arrays=9, integers=8, reals=2
)


def saved_shape(columns: int) -> tuple[int, int]:
    """The shape of what the forward saves for the backward."""
    return 5, columns


def _launch_phases(kernel, phases, operations, batch, columns, arrays, flags, code, *reals):
    """One launch with all phases, cut by columns, or one for each phase, cut by rows where columns are too few."""
    chunks, parts = -(-batch // ROWS), parts_for(operations)
    # A number's value does not depend on the width that it is computed in.
    width = min(columns, COLUMNS)
    if parts == 1 or (phases & _SUM and columns >= min(parts, chunks) * _FEWEST):
        if parts > 1:
            width = min(width, max(_FEWEST, -(-columns // (16 * parts)) * 16))
        parts = min(parts, -(-columns // width))
        launch(kernel, parts, arrays, batch, columns, chunks, phases, False, width, flags, code, *reals)
        return
    for phase in (_SUM, _SOLVE, _APPLY):
        if phases & phase:
            cut = 1 if phase == _SOLVE else min(parts, chunks)
            launch(kernel, cut, arrays, batch, columns, chunks, phase, phase != _SOLVE, width, flags, code, *reals)


def batch_norm_forward(
    out: np.ndarray,
    saved: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    counter: np.ndarray | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    state: np.ndarray | None = None,
    sums: np.ndarray | None = None,
) -> None:
    """``out = dropout(activation((x - mean) / sqrt(var + eps) * weight + bias))`` over the columns of ``x``.

    In training mean and (biased) variance are those of ``x``, and the running ones follow by
    ``running += momentum * (new - running)``, the variance unbiased; otherwise the running ones are used.
    Source: S. Ioffe and C. Szegedy, arXiv:1502.03167.

    Args:
        out, x: (batch, columns), C-contiguous, float32 or float64; at least 2 rows in training. They may be the
            same where no backward follows.
        saved: :func:`saved_shape`, for the backward: mean (as two numbers), 1 / sqrt(var + eps), scale, shift.
        weight, bias: (columns,), or None for 1 and 0.
        running_mean, running_var: (columns,) both or neither; updated in training.
        counter: (1,) or () int64, increased by one in training, or None.
        activation, slope: see :mod:`fastnn.kernels.activations`.
        p, state: probability of zeroing a number, and the draw (seed, call), needed where ``p`` > 0.
        sums: (chunks of ROWS rows, 3, columns): a guess of each chunk's mean, and the sums of ``x - guess`` and of
            its square, where somebody has taken them already.
    """
    smooth = activation not in ("none", "relu")
    kernel = kernel_for(_FORWARD_SMOOTH if smooth else _FORWARD, "x", x)
    code, dtype = activation_code(activation), x.dtype
    shape = batch, columns = matrix_shape("x", x)
    check("x", x, dtype, shape)
    check_output("out", out, dtype, shape)
    check_output("saved", saved, dtype, (5, columns))
    flags = _TRAINING if training else 0
    if weight is not None:
        check("weight", weight, dtype, (columns,))
        flags |= _WEIGHT
    if bias is not None:
        check("bias", bias, dtype, (columns,))
        flags |= _BIAS
    if running_mean is not None and running_var is not None:
        (check_output if training else check)("running_mean", running_mean, dtype, (columns,))
        (check_output if training else check)("running_var", running_var, dtype, (columns,))
        flags |= _RUNNING
    elif running_mean is not None or running_var is not None or not training:
        raise ValueError("running_mean and running_var must be given both, and always where training is false")
    if counter is not None:
        check_output("counter", counter, _COUNT, counter.shape if getattr(counter, "size", 0) == 1 else (1,))
        flags |= _COUNTER
    if p:
        check_drop(p, state)
        flags |= _DROP
    if training and batch < 2:
        raise ValueError(f"x must have more than one row in training, found shape {shape}")
    phases = _ALL if training and sums is None else _SOLVE | _APPLY
    chunks = -(-batch // ROWS)
    if sums is None:
        sums = np.empty((chunks if training else 0, 3, columns), dtype)
    else:
        check("sums", sums, dtype, (chunks, 3, columns))
    if not batch or not columns:
        return
    _launch_phases(
        kernel, phases, x.size * (_COST + COSTS[code]), batch, columns,
        (out, x, saved if weight is None else weight, saved if bias is None else bias,
         saved if running_mean is None else running_mean, saved if running_var is None else running_var,
         saved if counter is None else counter, saved, sums, saved if state is None else state),
        flags, code, slope, 1.0 - p, momentum, eps,
    )  # fmt: skip


def batch_norm_backward(
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    dy: np.ndarray,
    x: np.ndarray,
    saved: np.ndarray,
    *,
    training: bool = True,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    state: np.ndarray | None = None,
    accumulate_weight: bool = False,
    accumulate_bias: bool = False,
) -> None:
    """Gradients of :func:`batch_norm_forward`; None for one not wanted.

    With dz the gradient before activation and dropout and xhat the normalised input: ``dbias = sum(dz)``,
    ``dweight = sum(dz * xhat)``, and ``dx = weight / sqrt(var + eps) * (dz - (dbias + xhat * dweight) / batch)``,
    without the difference where the statistics are not those of ``x``.

    Args:
        dx: (batch, columns), C-contiguous; not ``dy`` or ``x``.
        dweight, dbias: (columns,).
        dy, x: (batch, columns), C-contiguous.
        saved: what the forward saved.
        training, activation, slope, p, state: as in the forward.
        accumulate_weight, accumulate_bias: add to what ``dweight``, ``dbias`` hold.
    """
    smooth = activation not in ("none", "relu")
    kernel = kernel_for(_BACKWARD_SMOOTH if smooth else _BACKWARD, "x", x)
    code, dtype = activation_code(activation), x.dtype
    shape = batch, columns = matrix_shape("x", x)
    check("x", x, dtype, shape)
    check("dy", dy, dtype, shape)
    check("saved", saved, dtype, (5, columns))
    flags = _TRAINING if training else 0
    if dx is not None:
        check_output("dx", dx, dtype, shape)
        flags |= _DX
    if dweight is not None:
        check_output("dweight", dweight, dtype, (columns,))
        flags |= _WEIGHT | (_ADD_WEIGHT if accumulate_weight else 0)
    if dbias is not None:
        check_output("dbias", dbias, dtype, (columns,))
        flags |= _BIAS | (_ADD_BIAS if accumulate_bias else 0)
    if p:
        check_drop(p, state)
        flags |= _DROP
    if smooth and (saves_input(activation) or activation == "leaky_relu"):
        flags |= _NEEDS_INPUT
    chunks = -(-batch // ROWS)
    if not chunks or not columns:
        for gradient, accumulate in ((dweight, accumulate_weight), (dbias, accumulate_bias)):
            if gradient is not None and not accumulate:
                gradient[...] = 0
        return
    sums = np.empty((chunks + 1, 2, columns), dtype)
    _launch_phases(
        kernel, _ALL, x.size * (_COST + COSTS[code]), batch, columns,
        (np.empty_like(x) if dx is None else dx, saved if dweight is None else dweight,
         saved if dbias is None else dbias, dy, x, saved, sums, sums[chunks], saved if state is None else state),
        flags, code, slope, 1.0 - p,
    )  # fmt: skip
