"""Negative log-likelihood: the entry of each row at its label. Loss and gradient in one pass."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.loss.labels import (
    GRADIENT,
    LOSSES,
    MEAN,
    OUT,
    WEIGHT,
    as_label,
    check_classes,
    check_outputs,
    counted_labels,
    scan_labels,
)
from fastnn.kernels.reduce.reductions import DIVISOR, HEAD, finish, finish_parts, new_work
from fastnn.kernels.runtime.checks import check, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Rows in one sum; the batch is cut at multiples of it.
_BLOCK = 64


_WORDS = Words("out losses dx x labels weight work; batch classes ignored wanted")


def _nll_loss(dtype):
    def nll_loss_slice(args, t, n):
        # out[1], losses[batch], dx[batch, classes], x[batch, classes], labels[batch], weight[classes],
        # work[HEAD + blocks]
        batch, classes = integer(args, _WORDS.batch), integer(args, _WORDS.classes)
        ignored, wanted = integer(args, _WORDS.ignored), integer(args, _WORDS.wanted)
        blocks = (batch + _BLOCK - 1) // _BLOCK
        losses, labels = array(args, _WORDS.losses, (batch,), dtype), array(args, _WORDS.labels, (batch,), np.int64)
        dx, x = array(args, _WORDS.dx, (batch, classes), dtype), array(args, _WORDS.x, (batch, classes), dtype)
        weight = array(args, _WORDS.weight, (classes,), dtype)
        work = array(args, _WORDS.work, (HEAD + blocks,), np.float64)
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
        if n == 1 and wanted & OUT:
            array(args, _WORDS.out, (1,), dtype)[0] = dtype(finish(work, blocks))

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
    dtype = x.dtype
    check("x", x, dtype, (batch, classes))
    check_classes("labels", labels, batch, weight, classes, dtype)
    outputs, wanted = check_outputs(out, losses, "dx", dx, x)
    if mean:
        wanted |= MEAN
    if weight is not None:
        wanted |= WEIGHT
    blocks = (batch + _BLOCK - 1) // _BLOCK
    work = new_work(blocks)
    parts = min(chunks_for(batch * (4 + (0 if dx is None else classes))), blocks) or 1
    launch(
        kernel, parts, (*outputs, x, labels, x if weight is None else weight, work), batch, classes, ignored, wanted
    )
    counted = counted_labels(labels, work, classes, ignored)
    if out is not None and parts > 1:
        finish_parts(out, work, blocks)
    return counted
