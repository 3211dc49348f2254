"""Negative log-likelihood: the entry of each row at its label. Loss and gradient in one pass."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.loss.labels import (
    CLASS_WORDS,
    GRADIENT,
    LOSSES,
    MEAN,
    WEIGHT,
    as_label,
    class_arrays,
    class_contract,
    class_sizes,
    counted_labels,
    finish_alone,
    scan_labels,
)
from fastnn.kernels.reduce.reductions import DIVISOR, HEAD, finish_parts, new_work, requested
from fastnn.kernels.runtime.checks import kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Rows in one sum; the batch is cut at multiples of it.
_BLOCK = 64


_WORDS = Words(CLASS_WORDS)
_CONTRACT = class_contract("x", "labels", "dx")


def _nll_loss(dtype):
    def nll_loss_slice(args, t, n):
        # dx[batch, classes], x[batch, classes]; the others: see `class_arrays`
        batch, classes, ignored, wanted = class_sizes(args)
        blocks = (batch + _BLOCK - 1) // _BLOCK
        losses, labels, weight, work = class_arrays(args, blocks, dtype)
        dx, x = array(args, _WORDS.dx, (batch, classes), dtype), array(args, _WORDS.x, (batch, classes), dtype)
        weighted = wanted & WEIGHT != 0
        with_losses, with_gradient = wanted & LOSSES != 0, wanted & GRADIENT != 0
        if not scan_labels(work, labels, classes, ignored, weight, weighted, wanted & MEAN != 0):
            return
        scale = dtype(1.0 / work[DIVISOR])
        first, last = part(blocks, t, n)
        for block in range(first, last):
            total = 0.0
            for row in range(block * _BLOCK, min(batch, (block + 1) * _BLOCK)):
                # As in softmax_cross_entropy: an output may overlap the labels.
                label = labels[row]
                counts = label != ignored and label >= 0 and label < classes
                w, loss = dtype(0), dtype(0)
                if counts:
                    w = weight[label] if weighted else dtype(1)
                    loss = -w * x[row, label]
                total += loss
                if with_losses:
                    losses[row] = loss
                if with_gradient:
                    dx[row, :] = dtype(0)
                    if counts:
                        dx[row, label] = -scale * w
            work[HEAD + block] = total
        finish_alone(args, work, blocks, n, wanted, dtype)

    return nll_loss_slice


_KERNEL = by_dtype("nll_loss", _nll_loss, _WORDS, outputs="out losses dx work")


def nll_loss(
    losses: np.ndarray | None,
    dx: np.ndarray | None,
    x: np.ndarray,
    labels: np.ndarray,
    mean: bool = False,
    ignore_index: int = -100,
    weight: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> int:
    """``-weight[label] * x[row, label]`` of each row, the sum or mean of these, and its gradient.

    Args:
        losses: (batch,), or None.
        dx: (batch, classes), receives the gradient of the sum or mean; or None.
        x: (batch, classes) logarithms of probabilities, C-contiguous, float32 or float64.
        labels: (batch,) int64.
        mean: over the rows that count, each weighted by ``weight[label]``; otherwise the sum.
        ignore_index: rows with this label do not count.
        weight: (classes,), or None for ones.
        out: (), receives the sum or mean, NaN if no row counts; or None.

    Returns: the number of rows that counted.

    Raises: IndexError for a label outside [0, classes); nothing has been written then.
    """
    kernel = kernel_for(_KERNEL, "x", x)
    ignored = as_label(ignore_index)
    batch, classes = matrix_shape("x", x)
    _CONTRACT.check(x.dtype, (batch, classes), x, labels, weight, out, losses, dx)
    arrays, wanted = requested((out, losses, dx, weight), x)
    wanted |= MEAN if mean else 0
    blocks = (batch + _BLOCK - 1) // _BLOCK
    work = new_work(blocks)
    parts = min(chunks_for(batch * (4 + (0 if dx is None else classes))), blocks) or 1
    *outputs, weights = arrays
    launch(kernel, parts, (*outputs, x, labels, weights, work), batch, classes, ignored, wanted)
    counted = counted_labels(labels, work, classes, ignored)
    if out is not None and parts > 1:
        finish_parts(out, work, blocks)
    return counted
