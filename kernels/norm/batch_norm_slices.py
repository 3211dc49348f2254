"""The slices of batch normalisation with the activation and the dropout after it, forward and backward.

A launch has two *phases*: the sums, then the statistics of each column and the pass that uses them. Cut by rows,
there is one launch for each phase, and in the second every part computes the statistics itself; a part that owns
whole columns runs both. The backward recomputes the mask of the dropout from the position, and the value before the
activation: apart from the input, only numbers per column are saved.

The mean is stored as two numbers of the input's type, and is always subtracted before any multiplication.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.dropout import draw_of, drop
from fastnn.kernels.activation.fused_activations import NONE, activate, differentiate
from fastnn.kernels.llvm.random import random_bits, random_threshold
from fastnn.kernels.llvm.simd import multiply_add, sqrt
from fastnn.kernels.norm.column_statistics import ROOM, copy, fill, moments, sum_chunk, widen
from fastnn.kernels.norm.normalization import ADD_BIAS, ADD_WEIGHT, BIAS, DROP, DX, NEEDS_INPUT, OWN, WEIGHT
from fastnn.kernels.runtime.compiler import Words, array, inline, integer, part, real, stack_array

# The phases of a launch.
SUM, APPLY = 1, 2
# Rows of `saved`.
MEAN, REST, INVERSE, SCALE, SHIFT = range(5)
# Bits of `flags`, in addition to those of every normalisation.
TRAINING, RUNNING, COUNTER = OWN, 2 * OWN, 4 * OWN


@inline
def _solve_forward(near, rest, inverse, scale, shift, mean, variance, weight, bias, eps):
    # All on the stack: with the caller's arrays, which might overlap, the loop is not vectorised.
    kind = near.dtype.type
    for j in range(mean.size):
        root = kind(1) / sqrt(kind(variance[j] + eps))
        slope = float(root) * float(weight[j])
        near[j] = kind(mean[j])
        # For an infinite mean the rest is 0, not NaN.
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
        out[j] = multiply_add(x[j] - mean[j], scale[j], shift[j])


@inline
def _normalise_relu(out, x, mean, scale, shift):
    zero = x.dtype.type(0)
    for j in range(x.size):
        z = multiply_add(x[j] - mean[j], scale[j], shift[j])
        out[j] = zero if z <= zero else z


@inline
def _normalise_relu_drop(out, x, mean, scale, shift, position, key0, key1, threshold, factor):
    zero = x.dtype.type(0)
    for j in range(x.size):
        z = multiply_add(x[j] - mean[j], scale[j], shift[j])
        kept = factor if random_bits(position + j, key0, key1) < threshold else zero
        out[j] = (zero if z <= zero else z) * kept


@inline
def _blocks_and_chunks(columns, width, chunks, by_rows, t, n):
    """The blocks of ``width`` columns and the chunks of rows of part ``t``: a part of the one and all of the other."""
    blocks = -(-columns // width)
    first_block, last_block, first_chunk, last_chunk = 0, blocks, 0, chunks
    if by_rows:
        first_chunk, last_chunk = part(chunks, t, n)
    else:
        first_block, last_block = part(blocks, t, n)
    return first_block, last_block, first_chunk, last_chunk


FORWARD_WORDS = Words(
    "out x weight bias running_mean running_var counter saved sums state; "
    "batch columns chunks rows phases by_rows width flags code; slope keep momentum eps"
)


def forward_slice(dtype, smooth):
    def batch_norm_forward_slice(args, t, n):
        # out, x[batch, columns]; weight, bias, running_mean, running_var[columns]; counter[1]; saved[5, columns];
        # sums[chunks, 3, columns]; state[2]
        batch, columns = integer(args, FORWARD_WORDS.batch), integer(args, FORWARD_WORDS.columns)
        chunks = integer(args, FORWARD_WORDS.chunks)
        rows, phases = integer(args, FORWARD_WORDS.rows), integer(args, FORWARD_WORDS.phases)
        by_rows, width = integer(args, FORWARD_WORDS.by_rows), integer(args, FORWARD_WORDS.width)
        flags, code = integer(args, FORWARD_WORDS.flags), integer(args, FORWARD_WORDS.code)
        slope, keep = dtype(real(args, FORWARD_WORDS.slope)), dtype(real(args, FORWARD_WORDS.keep))
        momentum, eps = real(args, FORWARD_WORDS.momentum), real(args, FORWARD_WORDS.eps)
        out = array(args, FORWARD_WORDS.out, (batch, columns), dtype)
        x = array(args, FORWARD_WORDS.x, (batch, columns), dtype)
        weight = array(args, FORWARD_WORDS.weight, (columns,), dtype)
        bias = array(args, FORWARD_WORDS.bias, (columns,), dtype)
        running_mean = array(args, FORWARD_WORDS.running_mean, (columns,), dtype)
        running_var = array(args, FORWARD_WORDS.running_var, (columns,), dtype)
        counter = array(args, FORWARD_WORDS.counter, (1,), np.int64)
        saved = array(args, FORWARD_WORDS.saved, (5, columns), dtype)
        sums = array(args, FORWARD_WORDS.sums, (chunks, 3, columns), dtype)
        centres, variances = stack_array(ROOM, 0.0), stack_array(ROOM, 0.0)
        zero = dtype(0)
        near, scale, shift = stack_array(ROOM, zero), stack_array(ROOM, zero), stack_array(ROOM, zero)
        rest, inverse = stack_array(ROOM, zero), stack_array(ROOM, zero)
        key0, key1, factor = draw_of(args, FORWARD_WORDS.state, keep, flags & DROP)
        threshold = random_threshold(real(args, FORWARD_WORDS.keep))
        first_block, last_block, first_chunk, last_chunk = _blocks_and_chunks(columns, width, chunks, by_rows, t, n)
        # If a launch is cut by rows, all parts compute the same statistics and one writes them.
        writes = not by_rows or t == 0
        for block in range(first_block, last_block):
            lo, hi = block * width, min(columns, (block + 1) * width)
            count = hi - lo
            m, s, b = near[:count], scale[:count], shift[:count]
            centre, variance = centres[:count], variances[:count]
            if phases & SUM:
                for chunk in range(first_chunk, last_chunk):
                    sum_chunk(sums[chunk], x, chunk * rows, min(batch, (chunk + 1) * rows), lo, hi)
            if phases & APPLY:
                if flags & TRAINING:
                    moments(centre, variance, sums, batch, rows, lo, hi)
                    if flags & RUNNING and writes:
                        _follow(running_mean[lo:hi], centre, momentum, momentum)
                        _follow(running_var[lo:hi], variance, momentum, momentum / float(batch - 1))
                    _scale(variance, 1.0 / float(batch))
                    if block == 0 and flags & COUNTER and writes:
                        counter[0] += 1
                else:
                    widen(centre, running_mean[lo:hi])
                    widen(variance, running_var[lo:hi])
                if flags & WEIGHT:
                    copy(s, weight[lo:hi])
                else:
                    fill(s, dtype(1))
                if flags & BIAS:
                    copy(b, bias[lo:hi])
                else:
                    fill(b, dtype(0))
                _solve_forward(m, rest[:count], inverse[:count], s, b, centre, variance, s, b, eps)
                if writes:
                    copy(saved[MEAN, lo:hi], m)
                    copy(saved[REST, lo:hi], rest[:count])
                    copy(saved[INVERSE, lo:hi], inverse[:count])
                    copy(saved[SCALE, lo:hi], s)
                    copy(saved[SHIFT, lo:hi], b)
                for i in range(first_chunk * rows, min(batch, last_chunk * rows)):
                    to, row, position = out[i, lo:hi], x[i, lo:hi], i * columns + lo
                    if smooth or code == NONE:
                        _normalise(to, row, m, s, b)
                        if smooth:
                            activate(to, to, code, slope)
                        if flags & DROP:
                            drop(to, to, position, key0, key1, threshold, factor)
                    elif flags & DROP:
                        _normalise_relu_drop(to, row, m, s, b, position, key0, key1, threshold, factor)
                    else:
                        _normalise_relu(to, row, m, s, b)

    return batch_norm_forward_slice


@inline
def _add_gradient(total, product, dz, x, mean):
    for j in range(x.size):
        total[j] += dz[j]
        product[j] = multiply_add(dz[j], x[j] - mean[j], product[j])


@inline
def _add_gradient_relu(dz, total, product, dy, x, mean, scale, shift):
    zero = x.dtype.type(0)
    for j in range(x.size):
        centred, gradient = x[j] - mean[j], dy[j]
        d = zero if multiply_add(centred, scale[j], shift[j]) <= zero else gradient
        dz[j] = d
        total[j] += d
        product[j] = multiply_add(d, centred, product[j])


@inline
def _add_gradient_relu_drop(dz, total, product, dy, x, mean, scale, shift, position, key0, key1, threshold, factor):
    zero = x.dtype.type(0)
    for j in range(x.size):
        centred = x[j] - mean[j]
        kept = dy[j] * (factor if random_bits(position + j, key0, key1) < threshold else zero)
        d = zero if multiply_add(centred, scale[j], shift[j]) <= zero else kept
        dz[j] = d
        total[j] += d
        product[j] = multiply_add(d, centred, product[j])


@inline
def _add_chunk(total, product, sums, other):
    for j in range(total.size):
        total[j] += float(sums[j])
        product[j] += float(other[j])


@inline
def _solve_backward(gradient, slope, offset, total, product, rest, inverse, scale, batch):
    """The gradient of the weight, and the part of ``dx`` from the statistics: ``offset - (x - mean) * slope``."""
    kind, share = slope.dtype.type, 1.0 / batch
    for j in range(gradient.size):
        root, steep, left = float(inverse[j]), float(scale[j]), float(rest[j])
        g = (product[j] - left * total[j]) * root
        correction = steep * root * g * share
        gradient[j], slope[j] = kind(g), kind(correction)
        offset[j] = kind(left * correction - steep * total[j] * share)


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
        dx[j] = multiply_add(dz[j], scale[j], multiply_add(mean[j] - x[j], slope[j], offset[j]))


@inline
def _scaled(dx, dz, scale):
    for j in range(dz.size):
        dx[j] = dz[j] * scale[j]


BACKWARD_WORDS = Words(
    "dx dweight dbias dy x saved sums state; batch columns chunks rows phases by_rows width flags code; slope keep"
)


def backward_slice(dtype, smooth):
    def batch_norm_backward_slice(args, t, n):
        # dx[batch, columns]; dweight, dbias[columns]; dy, x[batch, columns]; saved[5, columns];
        # sums[chunks, 2, columns]; state[2]
        batch, columns = integer(args, BACKWARD_WORDS.batch), integer(args, BACKWARD_WORDS.columns)
        chunks = integer(args, BACKWARD_WORDS.chunks)
        rows, phases = integer(args, BACKWARD_WORDS.rows), integer(args, BACKWARD_WORDS.phases)
        by_rows, width = integer(args, BACKWARD_WORDS.by_rows), integer(args, BACKWARD_WORDS.width)
        flags, code = integer(args, BACKWARD_WORDS.flags), integer(args, BACKWARD_WORDS.code)
        slope, keep = dtype(real(args, BACKWARD_WORDS.slope)), dtype(real(args, BACKWARD_WORDS.keep))
        dx = array(args, BACKWARD_WORDS.dx, (batch, columns), dtype)
        dweight = array(args, BACKWARD_WORDS.dweight, (columns,), dtype)
        dbias = array(args, BACKWARD_WORDS.dbias, (columns,), dtype)
        dy = array(args, BACKWARD_WORDS.dy, (batch, columns), dtype)
        x = array(args, BACKWARD_WORDS.x, (batch, columns), dtype)
        saved = array(args, BACKWARD_WORDS.saved, (5, columns), dtype)
        sums = array(args, BACKWARD_WORDS.sums, (chunks, 2, columns), dtype)
        zero = dtype(0)
        near, scale, shift = stack_array(ROOM, zero), stack_array(ROOM, zero), stack_array(ROOM, zero)
        total, product = stack_array(ROOM, zero), stack_array(ROOM, zero)
        z, dropped = stack_array(ROOM, zero), stack_array(ROOM, zero)
        totals, products = stack_array(ROOM, 0.0), stack_array(ROOM, 0.0)
        key0, key1, factor = draw_of(args, BACKWARD_WORDS.state, keep, flags & DROP)
        threshold = random_threshold(real(args, BACKWARD_WORDS.keep))
        # Without activation and dropout, dz is dy, and is not written to dx before the last phase.
        plain = not smooth and code == NONE and not flags & DROP
        first_block, last_block, first_chunk, last_chunk = _blocks_and_chunks(columns, width, chunks, by_rows, t, n)
        writes = not by_rows or t == 0
        for block in range(first_block, last_block):
            lo, hi = block * width, min(columns, (block + 1) * width)
            count = hi - lo
            m, s, b = near[:count], scale[:count], shift[:count]
            copy(m, saved[MEAN, lo:hi])
            copy(s, saved[SCALE, lo:hi])
            copy(b, saved[SHIFT, lo:hi])
            if phases & SUM:
                first, second = total[:count], product[:count]
                for chunk in range(first_chunk, last_chunk):
                    fill(first, zero)
                    fill(second, zero)
                    for i in range(chunk * rows, min(batch, (chunk + 1) * rows)):
                        to, gradient, row, position = dx[i, lo:hi], dy[i, lo:hi], x[i, lo:hi], i * columns + lo
                        if plain:
                            _add_gradient(first, second, gradient, row, m)
                        elif smooth or code == NONE:
                            if flags & DROP:
                                drop(dropped[:count], gradient, position, key0, key1, threshold, factor)
                            else:
                                copy(dropped[:count], gradient)
                            if smooth:
                                _normalise(z[:count], row, m, s, b)
                                if not flags & NEEDS_INPUT:
                                    activate(z[:count], z[:count], code, slope)
                                differentiate(dropped[:count], dropped[:count], z[:count], code, slope)
                            _add_gradient(first, second, dropped[:count], row, m)
                            copy(to, dropped[:count])
                        elif flags & DROP:
                            # To the stack first, as below: 256x256 takes 0.9 of the time.
                            _add_gradient_relu_drop(
                                dropped[:count], first, second, gradient, row, m, s, b, position, key0, key1,
                                threshold, factor,
                            )  # fmt: skip
                            copy(to, dropped[:count])
                        else:
                            _add_gradient_relu(dropped[:count], first, second, gradient, row, m, s, b)
                            copy(to, dropped[:count])
                    copy(sums[chunk, 0, lo:hi], first)
                    copy(sums[chunk, 1, lo:hi], second)
            if phases & APPLY:
                fill(totals[:count], 0.0)
                fill(products[:count], 0.0)
                for chunk in range(chunks):
                    _add_chunk(totals[:count], products[:count], sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi])
                copy(z[:count], saved[REST, lo:hi])
                copy(dropped[:count], saved[INVERSE, lo:hi])
                _solve_backward(
                    z[:count], total[:count], product[:count], totals[:count], products[:count],
                    z[:count], dropped[:count], s, float(batch),
                )
                if flags & WEIGHT and writes:
                    _put(dweight[lo:hi], z[:count], flags & ADD_WEIGHT)
                if flags & BIAS and writes:
                    _narrow(z[:count], totals[:count])
                    _put(dbias[lo:hi], z[:count], flags & ADD_BIAS)
            if phases & APPLY and flags & DX:
                slopes, offsets = total[:count], product[:count]
                for i in range(first_chunk * rows, min(batch, last_chunk * rows)):
                    to, row = dx[i, lo:hi], x[i, lo:hi]
                    # To the stack first: a loop from dy or dx, which may be its target, is not vectorised.
                    source = dropped[:count]
                    copy(source, dy[i, lo:hi] if plain else to)
                    if flags & TRAINING:
                        _input_gradient(to, source, row, m, s, slopes, offsets)
                    else:
                        _scaled(to, source, s)

    return batch_norm_backward_slice
