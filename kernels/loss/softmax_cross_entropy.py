"""Softmax cross-entropy of logits against class labels or probabilities: loss and gradient in one pass."""

from __future__ import annotations

import numpy as np
from numba import types

from fastnn.kernels.llvm.math import log
from fastnn.kernels.llvm.row_loops import (
    lanes,
    row_exp,
    row_max,
    row_scale,
    row_scale_past_caches,
    scratch,
    short_rows,
)
from fastnn.kernels.loss.labels import (
    CLASS_WORDS,
    GRADIENT,
    LOSSES,
    MEAN,
    OUT,
    WEIGHT,
    as_label,
    class_arrays,
    class_contract,
    class_sizes,
    counted_labels,
    finish_alone,
    scan_labels,
)
from fastnn.kernels.reduce.reductions import COUNTED, DIVISOR, HEAD, WRONG, finish_parts, new_work, requested
from fastnn.kernels.runtime import launcher, program, thread_count
from fastnn.kernels.runtime.checks import kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import (
    FAST,
    STRICT,
    Entry,
    Words,
    array,
    array_at,
    by_dtype,
    inline,
    integer,
    part,
    pointer,
    real,
)
from fastnn.kernels.runtime.contract import MATRIX
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.program import number_size
from fastnn.kernels.runtime.raw_memory import (
    ahead,
    call_slice,
    data_of,
    dimension_of,
    fence,
    ndim_of,
    number_at,
    put_integer,
    stack_words,
)
from fastnn.kernels.runtime.thread_count import chunks_for

# Floating-point operations per logit: equivalent to 0.2 ns on the machine for which chunks_for was tuned.
_COST = 12
# Rows whose logarithms are computed together, a vector at a time; the batch is cut at multiples of it.
_BLOCK = 16

# A gradient of this many bytes does not stay in the caches together with its logits; it is written with streaming
# stores if a row of it fits on the stack.
_PAST_CACHES = 8 * 2**20
_WIDEST = 2048
# A bit of `wanted`, in addition to those of `labels`.
_PROBABILITIES = 32


@inline
def _logarithms(totals, count):
    for i in range(count):
        totals[i] = log(totals[i])


_WORDS = Words(CLASS_WORDS)
_CONTRACT = class_contract("logits", "target", "dlogits")
_PROBABILITY_CONTRACT = class_contract("logits", "target", "dlogits", MATRIX, "batch classes")
_fits = _CONTRACT.holds


def _softmax_cross_entropy(dtype):
    size_of = np.dtype(dtype).itemsize

    def softmax_cross_entropy_slice(args, t, n):
        # dlogits[batch, classes], logits[batch, classes]; the others: see `class_arrays`
        batch, classes, ignored, wanted = class_sizes(args)
        blocks = (batch + _BLOCK - 1) // _BLOCK
        losses, labels, weight, work = class_arrays(args, blocks, dtype)
        weighted = wanted & WEIGHT != 0
        with_losses, with_gradient = wanted & LOSSES != 0, wanted & GRADIENT != 0
        if not scan_labels(work, labels, classes, ignored, weight, weighted, wanted & MEAN != 0):
            return
        scale = dtype(1.0 / work[DIVISOR])
        like = dtype(0)
        totals_at, below_top_at, weights_at = scratch(_BLOCK, like), scratch(_BLOCK, like), scratch(_BLOCK, like)
        totals, below_top = array_at(totals_at, (_BLOCK,)), array_at(below_top_at, (_BLOCK,))
        weights = array_at(weights_at, (_BLOCK,))
        dlogits_at, logits_at = pointer(args, _WORDS.dx, like), pointer(args, _WORDS.x, like)
        labels_at = pointer(args, _WORDS.labels, np.int64(0))
        step = lanes(like)
        room = scratch(_WIDEST, like)
        past_caches = with_gradient and classes <= _WIDEST and batch * classes * size_of >= _PAST_CACHES
        first, last = part(blocks, t, n)
        for i in range(_BLOCK):
            totals[i], below_top[i], weights[i] = dtype(1), dtype(0), dtype(1)
        for block in range(first, last):
            start = block * _BLOCK
            count = min(_BLOCK, batch - start)
            if weighted:
                for i in range(count):
                    label = labels[start + i]
                    if label != ignored and 0 <= label < classes:
                        weights[i] = weight[label]
            if classes <= step:
                for i in range(0, count, step):
                    at = (start + i) * classes
                    short_rows(
                        scale, ahead(dlogits_at, at), ahead(logits_at, at), ahead(labels_at, start + i),
                        ahead(weights_at, i), ahead(totals_at, i), ahead(below_top_at, i), classes, ignored,
                        min(step, count - i), with_gradient,
                    )  # fmt: skip
            else:
                for i in range(count):
                    label, at = labels[start + i], (start + i) * classes
                    x, d = ahead(logits_at, at), ahead(dlogits_at, at)
                    # Scanned above and checked again here: an output that overlaps the labels overwrites them.
                    if label == ignored or label < 0 or label >= classes:
                        totals[i], below_top[i] = dtype(1), dtype(0)
                        if with_gradient:
                            array_at(d, (classes,))[:] = dtype(0)
                        continue
                    # Read now, as the gradient may overwrite the logits.
                    right = number_at(x, label)
                    top = row_max(x, classes)
                    below_top[i] = right - top
                    e = room if past_caches else d
                    totals[i] = row_exp(top, e, x, classes, with_gradient)
                    factor = scale * weights[i] / totals[i]
                    if past_caches:
                        array_at(e, (classes,))[label] -= totals[i]
                        row_scale_past_caches(factor, d, e, classes)
                    elif with_gradient:
                        row_scale(factor, e, classes)
                        array_at(e, (classes,))[label] -= scale * weights[i]
            _logarithms(totals, count)
            total = 0.0
            for i in range(count):
                loss = weights[i] * (totals[i] - below_top[i])
                total += loss
                if with_losses:
                    losses[start + i] = loss
            work[HEAD + block] = total
        if past_caches:
            fence()
        finish_alone(args, work, blocks, n, wanted, dtype)

    return softmax_cross_entropy_slice


@inline(fastmath=STRICT)
def _log_softmax(x, top, lse):
    # Subtract the largest logit first: added to the logarithm it would absorb it.
    return (x - top) - lse


@inline(fastmath=FAST)
def _against_labels(x, top, lse, weight, even):
    """The sums over the classes of ``c`` and of ``-c * log(softmax(x))`` for ``c = weight * even``."""
    total, loss = x.dtype.type(0), x.dtype.type(0)
    for j in range(x.size):
        c = weight[j] * even
        total += c
        loss -= c * _log_softmax(x[j], top, lse)
    return total, loss


@inline(fastmath=FAST)
def _against_probabilities(x, top, lse, weight, even, p, rest):
    """As above for ``c = weight * (rest * p + even)``."""
    total, loss = x.dtype.type(0), x.dtype.type(0)
    for j in range(x.size):
        c = weight[j] * (rest * p[j] + even)
        total += c
        loss -= c * _log_softmax(x[j], top, lse)
    return total, loss


_SOFT_WORDS = Words(f"{CLASS_WORDS}; label_smoothing")


def _soft_cross_entropy(dtype):
    def soft_cross_entropy_slice(args, t, n):
        # dlogits[batch, classes], logits[batch, classes]; labels[batch] or probabilities[batch, classes]; the others:
        # see `class_arrays`
        batch, classes, ignored, wanted = class_sizes(args)
        smoothing = dtype(real(args, _SOFT_WORDS.label_smoothing))
        even, rest = smoothing / dtype(classes), dtype(1) - smoothing
        blocks = (batch + _BLOCK - 1) // _BLOCK
        losses, labels, weight, work = class_arrays(args, blocks, dtype)
        with_losses, with_gradient = wanted & LOSSES != 0, wanted & GRADIENT != 0
        with_labels = wanted & _PROBABILITIES == 0
        if with_labels:
            if not scan_labels(work, labels, classes, ignored, weight, wanted & WEIGHT != 0, wanted & MEAN != 0):
                return
        else:
            work[WRONG], work[COUNTED], work[DIVISOR] = -1.0, batch, batch if wanted & MEAN else 1.0
        scale = dtype(1.0 / work[DIVISOR])
        dlogits_at = pointer(args, _SOFT_WORDS.dx, dtype(0))
        logits_at = pointer(args, _SOFT_WORDS.x, dtype(0))
        first, last = part(blocks, t, n)
        for block in range(first, last):
            block_total = 0.0
            for row in range(block * _BLOCK, min(batch, (block + 1) * _BLOCK)):
                label = labels[row] if with_labels else 0
                x_at, d_at = ahead(logits_at, row * classes), ahead(dlogits_at, row * classes)
                x, d = array_at(x_at, (classes,)), array_at(d_at, (classes,))
                if with_labels and (label == ignored or label < 0 or label >= classes):
                    if with_gradient:
                        d[:] = dtype(0)
                    if with_losses:
                        losses[row] = dtype(0)
                    continue
                top = row_max(x_at, classes)
                exponentials = row_exp(top, d_at, x_at, classes, with_gradient)
                lse = log(exponentials)
                if with_labels:
                    onehot = rest * weight[label]
                    total, loss = _against_labels(x, top, lse, weight, even)
                    total += onehot
                    loss -= onehot * _log_softmax(x[label], top, lse)
                    if with_gradient:
                        for j in range(classes):
                            d[j] = scale * (total / exponentials * d[j] - weight[j] * even)
                        d[label] -= scale * onehot
                else:
                    p = array(args, _SOFT_WORDS.labels, (batch, classes), dtype)[row]
                    total, loss = _against_probabilities(x, top, lse, weight, even, p, rest)
                    if with_gradient:
                        for j in range(classes):
                            d[j] = scale * (total / exponentials * d[j] - weight[j] * (rest * p[j] + even))
                block_total += loss
                if with_losses:
                    losses[row] = loss
            work[HEAD + block] = block_total
        finish_alone(args, work, blocks, n, wanted, dtype)

    return soft_cross_entropy_slice


_KERNEL = by_dtype("softmax_cross_entropy", _softmax_cross_entropy, _WORDS, outputs="out losses dx work")
_SOFT = by_dtype("soft_cross_entropy", _soft_cross_entropy, _SOFT_WORDS, outputs="out losses dx work")

_block = stack_words(len(_WORDS))


def _enter_softmax_cross_entropy(
    context, kernel, size, out, gradient, logits, labels, mean, ignored, room, threads, serial
):
    """The loss and gradient of a batch small enough for one thread; returns the number of rows that counted.

    -1 for arguments that are not accepted and for a label out of range: Python then checks everything and raises.
    """
    if number_size(context, logits) != size or ndim_of(logits) != 2:
        return -1
    batch, classes = dimension_of(logits, 0), dimension_of(logits, 1)
    blocks, none = (batch + _BLOCK - 1) // _BLOCK, integer(context, program.NONE)
    if (
        batch == 0 or classes == 0 or out == none or 8 * (HEAD + blocks) > dimension_of(room, 0)
        or (threads > 1 and _COST * batch * classes >= serial)
        or not _fits(context, size, (batch, classes), (logits, labels, none, out, none, gradient))
    ):  # fmt: skip
        return -1
    with_gradient = gradient != none
    block, work, x = _block(), data_of(room), data_of(logits)
    put_integer(block, _WORDS.out, data_of(out))
    put_integer(block, _WORDS.losses, x)
    put_integer(block, _WORDS.dx, data_of(gradient) if with_gradient else x)
    put_integer(block, _WORDS.x, x)
    put_integer(block, _WORDS.labels, data_of(labels))
    put_integer(block, _WORDS.weight, x)
    put_integer(block, _WORDS.work, work)
    put_integer(block, _WORDS.batch, batch)
    put_integer(block, _WORDS.classes, classes)
    put_integer(block, _WORDS.ignored, ignored)
    put_integer(block, _WORDS.wanted, OUT | (GRADIENT if with_gradient else 0) | (MEAN if mean else 0))
    call_slice(kernel, block, 0, 1)
    return -1 if real(work, WRONG) >= 0 else int(real(work, COUNTED))


_ENTER = Entry(_enter_softmax_cross_entropy, [types.int64] * 12, types.int64)
# The most bytes that this needs, as SERIAL_OPERATIONS bounds the work of one thread: a number for each block of rows.
_ROOM = 8 * (HEAD + thread_count.SERIAL_OPERATIONS // (_COST * _BLOCK) + 1)
# From this many logits on, more than one call is needed if there is more than one thread.
MOST_IN_ONE_CALL = thread_count.SERIAL_OPERATIONS // _COST


def softmax_cross_entropy(
    losses: np.ndarray | None,
    dlogits: np.ndarray | None,
    logits: np.ndarray,
    target: np.ndarray,
    mean: bool = False,
    ignore_index: int = -100,
    weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
) -> int:
    """``-sum(c * log(softmax(logits)))`` of each row, the sum or mean of these, and its gradient.

    For a label, ``c`` is ``weight * ((1 - label_smoothing) * onehot(label) + label_smoothing / classes)``;
    probabilities replace ``onehot(label)``. The mean is over the rows that count, each weighted by
    ``weight[label]``; for probabilities, over all rows. The largest logit of a row is subtracted first, so
    no finite logits overflow.

    Args:
        losses: (batch,), receives the loss of each row, 0 if the label is ``ignore_index``; or None.
        dlogits: (batch, classes), receives the gradient of the sum or mean; or None. May be ``logits`` for
            labels without smoothing.
        logits: (batch, classes), C-contiguous, float32 or float64.
        target: (batch,) int64 labels, or (batch, classes) probabilities of the dtype of ``logits``.
        mean: whether the gradient and ``out`` are of the mean; otherwise of the sum.
        ignore_index: rows with this label do not count.
        weight: (classes,), of the dtype of ``logits``; or None for ones.
        label_smoothing: from 0 to 1.
        out: (), receives the sum or mean, NaN if no row counts; or None.

    Returns: the number of rows that counted.

    Raises: IndexError for a label outside [0, classes); nothing has been written then.
    """
    with_labels = type(target) is not np.ndarray or target.ndim != 2 or target.dtype.kind != "f"
    soft = label_smoothing != 0.0 or not with_labels
    kernel = kernel_for(_SOFT if soft else _KERNEL, "logits", logits)
    ignored = as_label(ignore_index)
    if with_labels and not soft and losses is None and weight is None and out is not None:
        counted = softmax_cross_entropy_in_one_call(dlogits, logits, target, bool(mean), ignored, out)
        if counted >= 0:
            return counted
    batch, classes = matrix_shape("logits", logits)
    contract = _CONTRACT if with_labels else _PROBABILITY_CONTRACT
    contract.check(logits.dtype, (batch, classes), logits, target, weight, out, losses, dlogits)
    (*outputs, weights), wanted = requested((out, losses, dlogits, weight), logits)
    if soft and weight is None:
        weights = launcher.ones(classes, logits.dtype)
    wanted |= (MEAN if mean else 0) | (0 if with_labels else _PROBABILITIES)
    blocks = (batch + _BLOCK - 1) // _BLOCK
    work = new_work(blocks)
    parts = min(chunks_for(_COST * logits.size), blocks) or 1
    arrays = (*outputs, logits, target, weights, work)
    if soft:
        launch(kernel, parts, arrays, batch, classes, ignored, wanted, float(label_smoothing))
    else:
        launch(kernel, parts, arrays, batch, classes, ignored, wanted)
    counted = batch if wanted & _PROBABILITIES else counted_labels(target, work, classes, ignored)
    if out is not None and parts > 1:
        finish_parts(out, work, blocks)
    return counted


def softmax_cross_entropy_in_one_call(
    dlogits: np.ndarray | None, logits: np.ndarray, labels: np.ndarray, mean: bool, ignore_index: int, out: np.ndarray
) -> int:
    """:func:`softmax_cross_entropy` of a small batch and plain labels in one compiled call, with all checks.

    Returns: the number of rows that counted; -1, with nothing changed, for a case that it does not accept
    (another dtype or layout, a batch for several threads, a label out of range, launches that are recorded):
    :func:`softmax_cross_entropy` then computes it or raises.

    Args:
        ignore_index: fits in int64.
        dlogits, logits, labels, mean, out: as in :func:`softmax_cross_entropy`.
    """
    kernel, room = _KERNEL.get(logits.dtype), program.scratch()
    if kernel is None or launcher.is_watched():
        return -1
    if not room.size:
        program.grow_scratch(_ROOM)
        room = program.scratch()
    return _ENTER.call(
        program.context, kernel.address or kernel.compile(), logits.itemsize, id(out), id(dlogits), id(logits),
        id(labels), mean, ignore_index, id(room), thread_count._threads, thread_count.SERIAL_OPERATIONS,
    )  # fmt: skip
