"""Softmax as the output of a network: probabilities, and with targets the loss and the error.

``softmax_cross_entropy`` starts from logits and does not return the probabilities; this module does,
as in a textbook: the loss uses ``log(p + 1e-8)``, and the error is ``p - y``.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.math import exp, log
from fastnn.kernels.llvm.sums import sum_of
from fastnn.kernels.reduce.softmax import largest, softmax_row
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import FAST, INT64, Words, array, by_dtype, inline, integer, part, real
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

_COST = 25
# A longer row is split among several threads, in pieces of this length.
_PIECE = 8192


@inline
def _exponentials(out, x, top):
    # Two loops, for the reason given in `softmax_row`.
    for j in range(x.size):
        out[j] = exp(x[j] - top)
    return sum_of(out)


@inline
def _multiply(out, factor):
    for j in range(out.size):
        out[j] *= factor


_ROWS_WORDS = Words("out x; rows columns")


def _softmax_rows(dtype):
    def softmax_rows_slice(args, t, n):
        # out[rows, columns], x[rows, columns]
        rows, columns = integer(args, _ROWS_WORDS.rows), integer(args, _ROWS_WORDS.columns)
        out = array(args, _ROWS_WORDS.out, (rows, columns), dtype)
        x = array(args, _ROWS_WORDS.x, (rows, columns), dtype)
        first, last = part(rows, t, n)
        for row in range(first, last):
            softmax_row(out[row], x[row])

    return softmax_rows_slice


_PIECES_WORDS = Words("out tops sums x; rows columns pieces")


def _softmax_pieces(dtype):
    def softmax_pieces_slice(args, t, n):
        # out[rows, columns], tops[rows, pieces], sums[rows, pieces], x[rows, columns]
        rows, columns = integer(args, _PIECES_WORDS.rows), integer(args, _PIECES_WORDS.columns)
        pieces = integer(args, _PIECES_WORDS.pieces)
        out = array(args, _PIECES_WORDS.out, (rows, columns), dtype)
        x = array(args, _PIECES_WORDS.x, (rows, columns), dtype)
        tops = array(args, _PIECES_WORDS.tops, (rows, pieces), dtype)
        sums = array(args, _PIECES_WORDS.sums, (rows, pieces), dtype)
        first, last = part(rows * pieces, t, n)
        for number in range(first, last):
            row, piece = number // pieces, number % pieces
            lo, hi = piece * _PIECE, min(columns, (piece + 1) * _PIECE)
            top = largest(x[row, lo:hi])
            tops[row, piece] = top
            # A piece of only -inf gives zeros, unless the whole row is -inf.
            if top == dtype(-np.inf):
                out[row, lo:hi] = dtype(0)
                sums[row, piece] = dtype(0)
            else:
                sums[row, piece] = _exponentials(out[row, lo:hi], x[row, lo:hi], top)

    return softmax_pieces_slice


@inline(fastmath=FAST)
def _total_of_pieces(tops, sums, top):
    total = tops.dtype.type(0)
    for i in range(tops.size):
        total += sums[i] * exp(tops[i] - top)
    return total


_JOIN_WORDS = Words("out tops sums; rows columns pieces")


def _softmax_join(dtype):
    def softmax_join_slice(args, t, n):
        # out[rows, columns], tops[rows, pieces], sums[rows, pieces]
        rows, columns = integer(args, _JOIN_WORDS.rows), integer(args, _JOIN_WORDS.columns)
        pieces = integer(args, _JOIN_WORDS.pieces)
        out = array(args, _JOIN_WORDS.out, (rows, columns), dtype)
        tops = array(args, _JOIN_WORDS.tops, (rows, pieces), dtype)
        sums = array(args, _JOIN_WORDS.sums, (rows, pieces), dtype)
        first, last = part(rows * pieces, t, n)
        known, top, total = -1, dtype(0), dtype(0)
        for number in range(first, last):
            row, piece = number // pieces, number % pieces
            if row != known:
                top = largest(tops[row])
                total = _total_of_pieces(tops[row], sums[row], top)
                known = row
            lo, hi = piece * _PIECE, min(columns, (piece + 1) * _PIECE)
            _multiply(out[row, lo:hi], exp(tops[row, piece] - top) / total)

    return softmax_join_slice


@inline(fastmath=FAST)
def _loss_of_row(y, p):
    total = y.dtype.type(0)
    for j in range(y.size):
        total -= y[j] * log(p[j] + y.dtype.type(1e-8))
    return total


@inline
def _subtract(error, p, y):
    for j in range(error.size):
        error[j] = p[j] - y[j]


_ERROR_WORDS = Words("out error losses x y; rows columns has_labels; scale")


def _softmax_error(dtype):
    def softmax_error_slice(args, t, n):
        # out[rows, columns], error[rows, columns], losses[rows], x[rows, columns], y[rows, columns] or labels[rows]
        rows, columns = integer(args, _ERROR_WORDS.rows), integer(args, _ERROR_WORDS.columns)
        has_labels, scale = integer(args, _ERROR_WORDS.has_labels), dtype(real(args, _ERROR_WORDS.scale))
        out = array(args, _ERROR_WORDS.out, (rows, columns), dtype)
        error = array(args, _ERROR_WORDS.error, (rows, columns), dtype)
        losses = array(args, _ERROR_WORDS.losses, (rows,), np.float64)
        x = array(args, _ERROR_WORDS.x, (rows, columns), dtype)
        labels, y = array(args, _ERROR_WORDS.y, (rows,), np.int64), array(args, _ERROR_WORDS.y, (rows, columns), dtype)
        first, last = part(rows, t, n)
        for row in range(first, last):
            p, e = out[row], error[row]
            softmax_row(p, x[row])
            if has_labels:
                label = labels[row]
                e[:] = p
                # The caller has checked the labels; this test keeps accesses inside the row if it has not.
                if 0 <= label < columns:
                    e[label] -= dtype(1)
                    losses[row] = -log(p[label] + dtype(1e-8))
            else:
                losses[row] = _loss_of_row(y[row], p)
                _subtract(e, p, y[row])
            _multiply(e, scale)

    return softmax_error_slice


_ROWS = by_dtype("softmax_rows", _softmax_rows, _ROWS_WORDS)
_PIECES = by_dtype("softmax_pieces", _softmax_pieces, _PIECES_WORDS)
_JOIN = by_dtype("softmax_join", _softmax_join, _JOIN_WORDS)
_ERROR = by_dtype("softmax_error", _softmax_error, _ERROR_WORDS)


def probabilities(out: np.ndarray, x: np.ndarray) -> None:
    """``out[i] = exp(x[i] - max(x[i])) / sum(exp(x[i] - max(x[i])))``, the softmax of each row.

    A row with NaN or +inf, or of only -inf, becomes NaN, as in the formula.

    Args:
        out, x: (rows, columns), C-contiguous, of one dtype, float32 or float64; they may be the same.
    """
    kernel = kernel_for(_ROWS, "x", x)
    dtype = x.dtype
    rows, columns = shape = matrix_shape("x", x)
    check("x", x, dtype, shape)
    check_output("out", out, dtype, shape)
    if not x.size:
        return
    parts = chunks_for(_COST * x.size)
    pieces = -(-columns // _PIECE)
    if pieces == 1:
        launch(kernel, min(parts, rows), (out, x), rows, columns)
        return
    # The choice depends on the shape alone, so the bits do not depend on the number of threads.
    tops, sums = allocation.empty((rows, pieces), dtype), allocation.empty((rows, pieces), dtype)
    parts = min(parts, rows * pieces)
    launch(_PIECES[dtype], parts, (out, tops, sums, x), rows, columns, pieces)
    launch(_JOIN[dtype], parts, (out, tops, sums), rows, columns, pieces)


def probabilities_and_error(
    out: np.ndarray, error: np.ndarray, losses: np.ndarray, x: np.ndarray, y: np.ndarray, scale: float = 1.0
) -> None:
    """Softmax of each row, ``error = scale * (out - y)`` and ``losses[i] = -sum(y[i] * log(out[i] + 1e-8))``.

    Args:
        out, error, x: (rows, columns), C-contiguous, of one dtype; three different arrays.
        losses: (rows,) float64.
        y: (rows, columns) of the same dtype, or (rows,) int64 labels in [0, columns), for one-hot rows. A
            label out of range leaves its loss unchanged and has no other effect.
    """
    kernel = kernel_for(_ERROR, "x", x)
    dtype = x.dtype
    rows, columns = shape = matrix_shape("x", x)
    check("x", x, dtype, shape)
    has_labels = type(y) is np.ndarray and y.ndim == 1
    check("y", y, *((INT64, (rows,)) if has_labels else (dtype, shape)))
    check_output("out", out, dtype, shape)
    check_output("error", error, dtype, shape)
    check_output("losses", losses, np.dtype(np.float64), (rows,))
    if x.size:
        parts = min(chunks_for(_COST * x.size), rows)
        launch(kernel, parts, (out, error, losses, x, y), rows, columns, has_labels, scale)
