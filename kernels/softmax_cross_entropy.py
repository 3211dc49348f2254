"""Softmax cross-entropy of logits against class labels: loss and gradient in one pass.

May import ``jit``, ``simd`` and ``math``.
"""

from __future__ import annotations

import operator

import numpy as np

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
)
from fastnn.kernels.math import exp, log
from fastnn.kernels.simd import maximum

# Floating-point operations per logit: an exponential and a few passes.
_COST = 25


@inline
def _largest(x):
    # Starting from the first number, not from -infinity: a row of -infinities has to give NaN.
    top = x[0]
    for j in range(x.size):
        top = maximum(top, x[j])
    return top


@inline
def _exponentials(e, x, top):
    """``e = exp(x - top)``; returns their sum."""
    total = x.dtype.type(0)
    for j in range(x.size):
        e[j] = exp(x[j] - top)
        total += e[j]
    return total


@inline
def _sum_of_exponentials(x, top):
    total = x.dtype.type(0)
    for j in range(x.size):
        total += exp(x[j] - top)
    return total


def _softmax_cross_entropy(dtype):
    def softmax_cross_entropy_slice(args, t, n):
        # losses[batch], dlogits[batch, classes], logits[batch, classes], labels[batch]
        batch, classes, ignored, with_gradient = integer(args, 4), integer(args, 5), integer(args, 6), integer(args, 7)
        scale = dtype(real(args, 8))
        losses = array(args, 0, (batch,), dtype)
        dlogits = array(args, 1, (batch, classes), dtype)
        logits = array(args, 2, (batch, classes), dtype)
        labels = array(args, 3, (batch,), np.int64)
        first, last = part(batch, t, n)
        for row in range(first, last):
            label = labels[row]
            x = logits[row]
            # Checked before the launch, and here once more: an output that overlaps the labels writes over them.
            if label == ignored or label < 0 or label >= classes:
                losses[row] = dtype(0)
                if with_gradient:
                    dlogits[row, :] = dtype(0)
                continue
            top = _largest(x)
            below_top = x[label] - top  # Now, as the gradient may overwrite the logits.
            if with_gradient:
                d = dlogits[row]
                total = _exponentials(d, x, top)
                factor = scale / total
                for j in range(classes):
                    d[j] *= factor
                d[label] -= scale
            else:
                total = _sum_of_exponentials(x, top)
            losses[row] = log(total) - below_top

    return softmax_cross_entropy_slice


_KERNEL = by_dtype("softmax_cross_entropy", _softmax_cross_entropy, arrays=4, integers=4, reals=1, outputs=2)


def check_labels(labels: np.ndarray, classes: int, ignore_index: int = -100) -> int:
    """How many labels are not ``ignore_index``; IndexError unless all of these are in [0, classes).

    Args:
        labels: (batch,) int64.
        classes: number of classes.
        ignore_index: a label that marks a row without one.
    """
    if labels.size == 0:
        return 0
    # As unsigned numbers the negative ones are large: one comparison finds both kinds of error.
    if int(labels.view(np.uint64).max()) < classes and not 0 <= ignore_index < classes:
        return labels.size
    counted = labels[labels != ignore_index]
    wrong = counted[(counted < 0) | (counted >= classes)]
    if wrong.size:
        raise IndexError(f"Target {wrong[0]} is out of bounds: labels must be in [0, {classes})")
    return counted.size


def softmax_cross_entropy(
    losses: np.ndarray,
    dlogits: np.ndarray | None,
    logits: np.ndarray,
    labels: np.ndarray,
    mean: bool = False,
    ignore_index: int = -100,
) -> int:
    """``losses[i] = -log(softmax(logits[i])[labels[i]])`` and the gradient of their sum or mean.

    ``dlogits[i] = scale * (softmax(logits[i]) - onehot(labels[i]))`` where ``scale`` is 1, or one
    over the number of rows that count. The largest logit of a row is subtracted first, so no finite
    logits overflow.

    Args:
        losses: (batch,), receives the loss of each row; 0 where the label is ``ignore_index``.
        dlogits: (batch, classes), or None where no gradient is wanted; may be ``logits``.
        logits: (batch, classes), C-contiguous, float32 or float64.
        labels: (batch,) int64.
        mean: whether the gradient is that of the mean; otherwise that of the sum.
        ignore_index: rows with this label count for nothing.

    Returns: how many rows counted.

    Raises: IndexError for a label outside [0, classes), before anything is written.
    """
    kernel = kernel_for(_KERNEL, "logits", logits)
    ignore_index = operator.index(ignore_index)
    batch, classes = matrix_shape("logits", logits)
    dtype = logits.dtype
    check("logits", logits, dtype, (batch, classes))
    check("labels", labels, np.dtype(np.int64), (batch,))
    check_output("losses", losses, dtype, (batch,))
    if dlogits is not None:
        check_output("dlogits", dlogits, dtype, (batch, classes))
    counted = check_labels(labels, classes, ignore_index)
    if batch:
        parts = min(parts_for(_COST * logits.size), batch)
        launch(
            kernel, parts, (losses, logits if dlogits is None else dlogits, logits, labels),
            batch, classes, ignore_index, dlogits is not None, 1.0 / counted if mean and counted else 1.0,
        )  # fmt: skip
    return counted
