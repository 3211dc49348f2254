"""Categorical distributions, one for each row of a matrix: normalisation, log-probability, entropy, draws.

A kernel cannot raise. Each part counts the rows that it cannot compute; the Python function returns their number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn.kernels.llvm.math import exp, log
from fastnn.kernels.llvm.sums import sum_of, sum_of_products
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import INT64, Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.launcher import guard_contents, launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Floating-point operations per number, with and without a logarithm or an exponential.
_COST, _LOGARITHM_COST = 6, 30
# As PyTorch's simplex: the sum of probabilities may differ from 1 by less.
_TOLERANCE = 1e-6


@inline
def _is_simplex(x):
    for j in range(x.size):
        # Not x[j] < 0: NaN is no probability.
        if not x[j] >= 0:
            return False
    return abs(sum_of(x) - x.dtype.type(1)) < _TOLERANCE


@inline
def _inside(p, eps):
    """A probability from ``eps`` to ``1 - eps``; NaN stays NaN."""
    top = type(p)(1) - eps
    return eps if p < eps else top if p > top else p


@inline
def _slope(p, eps):
    """The derivative of ``log(_inside(p))``."""
    return type(p)(1) / p if p >= eps and p <= type(p)(1) - eps else type(p)(0)


# -- Normalisation ----------------------------------------------------------------------------

_NORMALIZE = Words("out x wrong; rows columns")


def _normalize(dtype):
    def normalize_slice(args, t, n):
        # out[rows, columns], x[rows, columns], wrong[n]
        rows, columns = integer(args, _NORMALIZE.rows), integer(args, _NORMALIZE.columns)
        out = array(args, _NORMALIZE.out, (rows, columns), dtype)
        x = array(args, _NORMALIZE.x, (rows, columns), dtype)
        first, last = part(rows, t, n)
        wrong = 0
        for i in range(first, last):
            total = sum_of(x[i])
            for j in range(columns):
                out[i, j] = x[i, j] / total
            wrong += not _is_simplex(out[i])
        array(args, _NORMALIZE.wrong, (n,), np.int64)[t] = wrong

    return normalize_slice


_NORMALIZE_BACKWARD = Words("dx dy x; rows columns")


def _normalize_backward(dtype):
    def normalize_backward_slice(args, t, n):
        # dx, dy, x[rows, columns]
        w = _NORMALIZE_BACKWARD
        shape = integer(args, w.rows), integer(args, w.columns)
        dx, dy = array(args, w.dx, shape, dtype), array(args, w.dy, shape, dtype)
        x = array(args, w.x, shape, dtype)
        first, last = part(shape[0], t, n)
        for i in range(first, last):
            total = sum_of(x[i])
            mean = sum_of_products(dy[i], x[i]) / total
            for j in range(shape[1]):
                dx[i, j] = (dy[i, j] - mean) / total

    return normalize_backward_slice


# -- Log-probability --------------------------------------------------------------------------

_LOG_PROB = Words("out x index wrong; rows batch columns logarithms")


def _log_prob(dtype):
    eps = np.finfo(dtype).eps

    def categorical_log_prob_slice(args, t, n):
        # out[rows], x[batch, columns], index[rows], wrong[n]
        w = _LOG_PROB
        rows, batch, columns = integer(args, w.rows), integer(args, w.batch), integer(args, w.columns)
        out, x = array(args, w.out, (rows,), dtype), array(args, w.x, (batch, columns), dtype)
        index, logarithms = array(args, w.index, (rows,), np.int64), integer(args, w.logarithms)
        first, last = part(rows, t, n)
        wrong = 0
        for i in range(first, last):
            j = index[i]
            # An output that overlaps the indices overwrites them, so each is read once.
            if 0 <= j < columns:
                p = x[i % batch, j]
                out[i] = p if logarithms else log(_inside(p, eps))
            else:
                wrong += 1
        array(args, w.wrong, (n,), np.int64)[t] = wrong

    return categorical_log_prob_slice


_LOG_PROB_BACKWARD = Words("dx dy x index; rows batch columns logarithms")


def _log_prob_backward(dtype):
    eps = np.finfo(dtype).eps

    def categorical_log_prob_backward_slice(args, t, n):
        # dx[batch, columns], dy[rows], x[batch, columns], index[rows]
        w = _LOG_PROB_BACKWARD
        rows, batch, columns = integer(args, w.rows), integer(args, w.batch), integer(args, w.columns)
        dx, dy = array(args, w.dx, (batch, columns), dtype), array(args, w.dy, (rows,), dtype)
        x, index = array(args, w.x, (batch, columns), dtype), array(args, w.index, (rows,), np.int64)
        logarithms = integer(args, w.logarithms)
        first, last = part(batch, t, n)
        for k in range(first, last):
            dx[k, :] = dtype(0)
            for i in range(k, rows, batch):
                j = index[i]
                if 0 <= j < columns:
                    dx[k, j] += dy[i] if logarithms else dy[i] * _slope(x[k, j], eps)

    return categorical_log_prob_backward_slice


# -- Entropy ----------------------------------------------------------------------------------

_ENTROPY = Words("out x; rows columns logarithms")


def _entropy(dtype):
    eps, least = np.finfo(dtype).eps, np.finfo(dtype).min

    def categorical_entropy_slice(args, t, n):
        # out[rows], x[rows, columns]
        rows, columns = integer(args, _ENTROPY.rows), integer(args, _ENTROPY.columns)
        logarithms = integer(args, _ENTROPY.logarithms)
        out, x = array(args, _ENTROPY.out, (rows,), dtype), array(args, _ENTROPY.x, (rows, columns), dtype)
        first, last = part(rows, t, n)
        for i in range(first, last):
            total = dtype(0)
            for j in range(columns):
                v = x[i, j]
                # A logarithm of -infinity has the probability 0 and adds nothing.
                total += (least if v < least else v) * exp(v) if logarithms else log(_inside(v, eps)) * v
            out[i] = -total

    return categorical_entropy_slice


_ENTROPY_BACKWARD = Words("dx dy out x; rows columns logarithms")


def _entropy_backward(dtype):
    eps, least = np.finfo(dtype).eps, np.finfo(dtype).min

    def categorical_entropy_backward_slice(args, t, n):
        # dx[rows, columns], dy[rows], out[rows], x[rows, columns]
        w = _ENTROPY_BACKWARD
        rows, columns, logarithms = integer(args, w.rows), integer(args, w.columns), integer(args, w.logarithms)
        dx, dy = array(args, w.dx, (rows, columns), dtype), array(args, w.dy, (rows,), dtype)
        out, x = array(args, w.out, (rows,), dtype), array(args, w.x, (rows, columns), dtype)
        first, last = part(rows, t, n)
        for i in range(first, last):
            for j in range(columns):
                v = x[i, j]
                if logarithms:
                    # Through the logarithm, and through the softmax that makes probabilities of it.
                    through = dtype(0) if v < least else dtype(1)
                    slope = exp(v) * (through + (least if v < least else v) + out[i])
                else:
                    slope = log(_inside(v, eps)) + v * _slope(v, eps)
                dx[i, j] = -dy[i] * slope

    return categorical_entropy_backward_slice


# -- Draws ------------------------------------------------------------------------------------

_DRAW = Words("out weights points wrong; rows columns count")


def _draw(dtype):
    def categorical_draw_slice(args, t, n):
        # out[rows, count], weights[rows, columns], points[rows, count], wrong[n]
        rows, columns, count = integer(args, _DRAW.rows), integer(args, _DRAW.columns), integer(args, _DRAW.count)
        out = array(args, _DRAW.out, (rows, count), np.int64)
        points = array(args, _DRAW.points, (rows, count), np.float64)
        weights = array(args, _DRAW.weights, (rows, columns), dtype)
        first, last = part(rows, t, n)
        wrong = 0
        for i in range(first, last):
            total, most = 0.0, -1
            for j in range(columns):
                w = np.float64(weights[i, j])
                if not (w >= 0 and w < np.inf):
                    most = -1
                    total = np.nan
                    break
                total += w
                most = j if w > 0 else most
            if not total > 0:
                wrong += 1
                continue
            for k in range(count):
                point, below, chosen = points[i, k] * total, 0.0, 0
                # The number of sums that do not exceed the point.
                for j in range(columns):
                    below += np.float64(weights[i, j])
                    chosen += below <= point
                # Rounding may reach the sum; that belongs to the last category with a positive weight.
                out[i, k] = min(chosen, most)
        array(args, _DRAW.wrong, (n,), np.int64)[t] = wrong

    return categorical_draw_slice


_NORMALIZES = by_dtype("normalize", _normalize, _NORMALIZE, outputs="out wrong")
_NORMALIZES_BACK = by_dtype("normalize_backward", _normalize_backward, _NORMALIZE_BACKWARD, outputs="dx")
_LOG_PROBS = by_dtype("categorical_log_prob", _log_prob, _LOG_PROB, outputs="out wrong")
_LOG_PROBS_BACK = by_dtype(
    "categorical_log_prob_backward", _log_prob_backward, _LOG_PROB_BACKWARD, outputs="dx"
)
_ENTROPIES = by_dtype("categorical_entropy", _entropy, _ENTROPY, outputs="out")
_ENTROPIES_BACK = by_dtype("categorical_entropy_backward", _entropy_backward, _ENTROPY_BACKWARD, outputs="dx")
_DRAWS = by_dtype("categorical_draw", _draw, _DRAW, outputs="out wrong")


def _parts(rows: int, size: int, cost: int) -> int:
    return max(1, min(chunks_for(cost * size), rows))


def _found(wrong: np.ndarray, read: np.ndarray, holds: Callable[[np.ndarray], bool]) -> int:
    """The number of rows that a launch could not compute; in a recording 0, and ``holds(read)`` is checked later."""
    if guard_contents(read, holds):
        return 0
    return int(wrong.item() if wrong.size == 1 else wrong.sum())


def normalize_forward(out: np.ndarray, x: np.ndarray) -> int:
    """``out[i] = x[i] / sum(x[i])`` for each row.

    Args:
        out, x: (rows, columns), C-contiguous, float32 or float64; they may be the same.

    Returns: the number of rows of ``out`` that are no probabilities: negative, NaN, or with a sum that is not 1.
    """
    kernel = kernel_for(_NORMALIZES, "x", x)
    rows, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (rows, columns))
    check_output("out", out, x.dtype, (rows, columns))
    if not rows:
        return 0
    parts = _parts(rows, x.size, _COST)
    wrong = allocation.empty(parts, INT64)
    launch(kernel, parts, (out, x, wrong), rows, columns)
    return _found(wrong, out, lambda out: bool((out >= 0).all() and (abs(out.sum(-1) - 1) < _TOLERANCE).all()))


def normalize_backward(dx: np.ndarray, dy: np.ndarray, x: np.ndarray) -> None:
    """``dx[i] = (dy[i] - sum(dy[i] * x[i]) / sum(x[i])) / sum(x[i])`` for each row.

    Args:
        dx, dy, x: (rows, columns), C-contiguous; ``dx`` may be ``dy``; ``x`` is the operand of the forward.
    """
    kernel = kernel_for(_NORMALIZES_BACK, "x", x)
    shape = matrix_shape("x", x)
    check("x", x, x.dtype, shape)
    check("dy", dy, x.dtype, shape)
    check_output("dx", dx, x.dtype, shape)
    if x.size:
        launch(kernel, _parts(shape[0], x.size, _COST), (dx, dy, x), *shape)


def _check_rows(x: np.ndarray, index: np.ndarray) -> tuple[int, int, int]:
    batch, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (batch, columns))
    rows = index.size if type(index) is np.ndarray else 0
    check("index", index, INT64, (rows,))
    if rows % batch if batch else rows:
        raise ValueError(f"index must have a multiple of {batch} elements, one for each row of x, found {rows}")
    return rows, batch, columns


def categorical_log_prob_forward(out: np.ndarray, x: np.ndarray, index: np.ndarray, logarithms: bool) -> int:
    """The logarithm of the probability of ``index[i]``, for row ``i`` of ``x``.

    ``out[i] = log(x[i, index[i]])``, with the probability in [eps, 1 - eps], or ``x[i, index[i]]`` of logarithms.

    Args:
        out: (rows,)
        x: (batch, columns) probabilities or their logarithms, C-contiguous, float32 or float64.
        index: (rows,) int64; rows is a multiple of batch, and ``x`` is repeated.
        logarithms: whether ``x`` has logarithms.

    Returns: the number of indices outside [0, columns), for which nothing is written.
    """
    kernel = kernel_for(_LOG_PROBS, "x", x)
    rows, batch, columns = _check_rows(x, index)
    check_output("out", out, x.dtype, (rows,))
    if not rows:
        return 0
    parts = _parts(rows, rows, _LOGARITHM_COST)
    wrong = allocation.empty(parts, INT64)
    launch(kernel, parts, (out, x, index, wrong), rows, batch, columns, bool(logarithms))
    return _found(wrong, index, lambda index: bool(((index >= 0) & (index < columns)).all()))


def categorical_log_prob_backward(
    dx: np.ndarray, dy: np.ndarray, x: np.ndarray, index: np.ndarray, logarithms: bool
) -> None:
    """The gradient of :func:`categorical_log_prob_forward` with respect to ``x``.

    Args:
        dx: (batch, columns), written whole.
        dy: (rows,)
        x, index, logarithms: as for the forward.
    """
    kernel = kernel_for(_LOG_PROBS_BACK, "x", x)
    rows, batch, columns = _check_rows(x, index)
    check("dy", dy, x.dtype, (rows,))
    check_output("dx", dx, x.dtype, (batch, columns))
    if x.size:
        parts = _parts(batch, x.size + _COST * rows, 1)
        launch(kernel, parts, (dx, dy, x, index), rows, batch, columns, bool(logarithms))


def categorical_entropy_forward(out: np.ndarray, x: np.ndarray, logarithms: bool) -> None:
    """``out[i] = -sum(p * log(p))`` of the probabilities of each row, with the logarithm of p in [eps, 1 - eps].

    Args:
        out: (rows,)
        x: (rows, columns) probabilities or their logarithms, C-contiguous, float32 or float64.
        logarithms: whether ``x`` has logarithms; the smallest float is read as -infinity.
    """
    kernel = kernel_for(_ENTROPIES, "x", x)
    rows, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (rows, columns))
    check_output("out", out, x.dtype, (rows,))
    if rows:
        launch(kernel, _parts(rows, x.size, _LOGARITHM_COST), (out, x), rows, columns, bool(logarithms))


def categorical_entropy_backward(
    dx: np.ndarray, dy: np.ndarray, out: np.ndarray, x: np.ndarray, logarithms: bool
) -> None:
    """The gradient of :func:`categorical_entropy_forward` with respect to ``x``.

    Args:
        dx: (rows, columns)
        dy, out: (rows,); ``out`` is the forward's result.
        x, logarithms: as for the forward.
    """
    kernel = kernel_for(_ENTROPIES_BACK, "x", x)
    rows, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (rows, columns))
    check("dy", dy, x.dtype, (rows,))
    check("out", out, x.dtype, (rows,))
    check_output("dx", dx, x.dtype, (rows, columns))
    if x.size:
        parts = _parts(rows, x.size, _LOGARITHM_COST)
        launch(kernel, parts, (dx, dy, out, x), rows, columns, bool(logarithms))


def categorical_draw(out: np.ndarray, weights: np.ndarray, points: np.ndarray) -> int:
    """Indices drawn with probabilities that are proportional to weights: the inverse of their cumulative sum.

    Args:
        out: (rows, count) int64.
        weights: (rows, columns), not negative, C-contiguous, float32 or float64; sums are made in float64.
        points: (rows, count) float64, uniform in [0, 1).

    Returns: the number of rows with a weight that is negative, infinite or NaN, or with a sum of 0; nothing is
        written for these.
    """
    kernel = kernel_for(_DRAWS, "weights", weights)
    rows, columns = matrix_shape("weights", weights)
    check("weights", weights, weights.dtype, (rows, columns))
    count = points.shape[-1] if type(points) is np.ndarray and points.ndim == 2 else 0
    check("points", points, np.dtype(np.float64), (rows, count))
    check_output("out", out, INT64, (rows, count))
    if not rows:
        return 0
    parts = _parts(rows, (1 + count) * weights.size, _COST)
    wrong = allocation.empty(parts, INT64)
    launch(kernel, parts, (out, weights, points, wrong), rows, columns, count)
    return _found(wrong, out, lambda out: False)
