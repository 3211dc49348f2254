"""Mean and variance of the columns of a matrix, for slices, from sums over chunks of rows.

The sums of a chunk are shifted by a guess of its mean from its first rows: sums of ``x - guess`` and of its
square keep their precision if the mean is far larger than the deviations. The chunks' moments are combined in
float64 (the shifted and the combined formulas of T. F. Chan, G. H. Golub and R. J. LeVeque, The American
Statistician 37 (1983) 242-247).

Loops run over short arrays on the stack of the slice.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add
from fastnn.kernels.runtime.compiler import array_at, inline, stack_array
from fastnn.kernels.runtime.raw_memory import ahead

# The most columns processed together, as their sums are on the stack. ROOM is a cache line larger: arrays 4 KB apart
# would share sets of the first-level cache.
COLUMNS = 1024
ROOM = COLUMNS + 16
# Rows that are added in sequence before their sum is added to the total: float32 loses precision over very many.
TOGETHER = 128
# Rows for the guess of a chunk's mean. If these are outliers, the variance loses at most 128 / _GUESS of
# its precision.
_GUESS = 8


def rows_of_chunk(batch: int) -> int:
    """Rows in a chunk: few enough that several threads have chunks, but not many more chunks than that."""
    return 32 if batch <= 256 else 64 if batch <= 512 else 128


@inline
def copy(to, row):
    for j in range(row.size):
        to[j] = row[j]


@inline
def widen(to, row):
    for j in range(row.size):
        to[j] = float(row[j])


@inline
def fill(to, value):
    for j in range(to.size):
        to[j] = value


@inline
def _add_row(total, row):
    for j in range(total.size):
        total[j] += row[j]


@inline
def sum_rows(sums, rows, distance, count, overwrite):
    """Add ``count`` rows to ``sums``, or set ``sums`` to their sum if ``overwrite``.

    ``rows`` is a pointer; ``distance`` is the number of elements from one row to the next.
    """
    kind = sums.dtype.type
    total = stack_array(ROOM, kind(0))[: sums.size]
    if overwrite:
        fill(sums, kind(0))
    for start in range(0, count, TOGETHER):
        fill(total, kind(0))
        for i in range(start, min(count, start + TOGETHER)):
            _add_row(total, array_at(ahead(rows, i * distance), (total.size,)))
        _add_row(sums, total)


@inline
def _add_share(guess, row, base, share):
    for j in range(guess.size):
        guess[j] = multiply_add(row[j] - base[j], share, guess[j])


@inline
def _add_four(total, square, guess, a, b, c, d):
    for j in range(a.size):
        p, q, r, s = a[j] - guess[j], b[j] - guess[j], c[j] - guess[j], d[j] - guess[j]
        total[j] += (p + q) + (r + s)
        square[j] = multiply_add(p, p, multiply_add(q, q, multiply_add(r, r, multiply_add(s, s, square[j]))))


@inline
def _add_one(total, square, guess, row):
    for j in range(row.size):
        d = row[j] - guess[j]
        total[j] += d
        square[j] = multiply_add(d, d, square[j])


@inline
def sum_chunk(sums, x, first, last, lo, hi):
    """``guess``, ``sum(x - guess)`` and ``sum((x - guess)**2)`` of rows first to last, columns lo to hi."""
    kind = x.dtype.type
    width = hi - lo
    guess = stack_array(ROOM, kind(0))[:width]
    total = stack_array(ROOM, kind(0))[:width]
    square = stack_array(ROOM, kind(0))[:width]
    copy(guess, x[first, lo:hi])
    copy(total, guess)
    guessed = min(last, first + _GUESS)
    share = kind(1) / kind(guessed - first)
    for i in range(first + 1, guessed):
        # Relative to the first row: the mean of equal numbers is exactly that number.
        _add_share(guess, x[i, lo:hi], total, share)
    fill(total, kind(0))
    fill(square, kind(0))
    for j in range(width):
        # An infinite guess would turn an infinite mean into NaN.
        guess[j] = guess[j] if guess[j] - guess[j] == kind(0) else kind(0)
    i = first
    while i + 4 <= last:
        _add_four(total, square, guess, x[i, lo:hi], x[i + 1, lo:hi], x[i + 2, lo:hi], x[i + 3, lo:hi])
        i += 4
    while i < last:
        _add_one(total, square, guess, x[i, lo:hi])
        i += 1
    copy(sums[0, lo:hi], guess)
    copy(sums[1, lo:hi], total)
    copy(sums[2, lo:hi], square)


@inline
def _add_means(mean, guesses, totals, base, per_row, share):
    for j in range(mean.size):
        mean[j] += (float(guesses[j]) - float(base[j]) + float(totals[j]) * per_row) * share


@inline
def _add_squares(square, mean, guesses, totals, squares, rows, per_row):
    for j in range(mean.size):
        # float() would keep float32, and the square of a large sum would be infinite.
        total = np.float64(totals[j])
        step = float(guesses[j]) + total * per_row - mean[j]
        spread = float(squares[j]) - total * total * per_row
        # Rounding may make the difference negative; NaN is kept.
        square[j] += (0.0 if spread < 0.0 else spread) + step * step * rows


@inline
def moments(mean, square, sums, batch, chunk_rows, lo, hi):
    """Mean and sum of squared deviations, float64, from the sums of all chunks of ``chunk_rows`` rows."""
    base = sums[0, 0, lo:hi]
    widen(mean, base)
    fill(square, 0.0)
    for chunk in range(sums.shape[0]):
        rows = float(min(batch - chunk * chunk_rows, chunk_rows))
        _add_means(mean, sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi], base, 1.0 / rows, rows / float(batch))
    for chunk in range(sums.shape[0]):
        rows = float(min(batch - chunk * chunk_rows, chunk_rows))
        guesses, totals, squares = sums[chunk, 0, lo:hi], sums[chunk, 1, lo:hi], sums[chunk, 2, lo:hi]
        _add_squares(square, mean, guesses, totals, squares, rows, 1.0 / rows)
