"""The margin loss of rows with several labels: loss and gradient in one pass."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import INT64, Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for


@inline
def _is_among(labels, count, i):
    found = False
    for k in range(count):
        found |= labels[k] == i
    return found


_WORDS = Words("losses dx x labels; batch classes")


def _multilabel_margin(dtype):
    def multilabel_margin_slice(args, t, n):
        # losses[batch], dx[batch, classes], x[batch, classes], labels[batch, classes]
        batch, classes = integer(args, _WORDS.batch), integer(args, _WORDS.classes)
        losses, dx = array(args, _WORDS.losses, (batch,), dtype), array(args, _WORDS.dx, (batch, classes), dtype)
        x = array(args, _WORDS.x, (batch, classes), dtype)
        labels = array(args, _WORDS.labels, (batch, classes), np.int64)
        one, zero = dtype(1), dtype(0)
        inverse = one / dtype(classes)
        first, last = part(batch, t, n)
        for row in range(first, last):
            count = 0
            while count < classes and labels[row, count] >= 0 and labels[row, count] < classes:
                count += 1
            loss = zero
            dx[row, :] = zero
            for i in range(classes):
                if _is_among(labels[row], count, i):
                    continue
                for k in range(count):
                    label = labels[row, k]
                    gap = one - x[row, label] + x[row, i]
                    # Skips NaN, as in PyTorch.
                    if gap > zero:
                        loss += gap
                        dx[row, i] += inverse
                        dx[row, label] -= inverse
            losses[row] = loss * inverse

    return multilabel_margin_slice


_KERNEL = by_dtype("multilabel_margin", _multilabel_margin, _WORDS)


def multilabel_margin(losses: np.ndarray, dx: np.ndarray, x: np.ndarray, labels: np.ndarray) -> None:
    """``sum(max(0, 1 - x[j] + x[i]) for labels j, for i no label) / classes`` of each row, and its gradient.

    Args:
        losses: (batch,).
        dx: (batch, classes), receives the gradient of the sum over the rows.
        x: (batch, classes), C-contiguous, float32 or float64.
        labels: (batch, classes) int64; the first one that is not in [0, classes) ends the labels of a row.

    Raises: ValueError for an output that overlaps another array.
    """
    kernel = kernel_for(_KERNEL, "x", x)
    batch, classes = matrix_shape("x", x)
    check("x", x, x.dtype, (batch, classes))
    check("labels", labels, INT64, (batch, classes))
    check_output("losses", losses, x.dtype, (batch,))
    check_output("dx", dx, x.dtype, (batch, classes))
    for name, output, others in (("losses", losses, (dx, x, labels)), ("dx", dx, (x, labels))):
        # Overwritten labels could index any address.
        if any(np.may_share_memory(output, other) for other in others):
            raise ValueError(f"{name} must have memory of its own, found one that overlaps another array")
    parts = min(chunks_for(4 * batch * classes), batch) or 1
    launch(kernel, parts, (losses, dx, x, labels), batch, classes)
