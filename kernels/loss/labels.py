"""Class labels: their count, range check and weights.

A kernel cannot raise. It scans its labels before it writes anything and stores the result in the head
of its *work* (see ``reductions``). If a label is wrong it writes nothing else, and the Python function
raises after the launch.
"""

from __future__ import annotations

import operator

import numpy as np

from fastnn.kernels.reduce.reductions import COUNTED, DIVISOR, HEAD, WRONG, finish
from fastnn.kernels.runtime.compiler import STRICT, Words, array, inline, integer
from fastnn.kernels.runtime.contract import (
    LABELS,
    MATRIX,
    OUTPUT_MATRIX,
    OUTPUT_NUMBER,
    OUTPUT_VECTOR,
    VECTOR,
    Contract,
    Layout,
)
from fastnn.kernels.runtime.launcher import guard_contents

# Bits of `wanted`: the outputs and inputs that are given, in the order of `requested`, and whether to take the mean.
OUT, LOSSES, GRADIENT, WEIGHT, MEAN = 1, 2, 4, 8, 16

# The block of a loss of classes; a kernel may have more numbers after these.
CLASS_WORDS = "out losses dx x labels weight work; batch classes ignored wanted"
_WORDS = Words(CLASS_WORDS)


@inline
def class_sizes(args):
    """``batch``, ``classes``, ``ignored`` and ``wanted`` of a block of :data:`CLASS_WORDS`."""
    return (
        integer(args, _WORDS.batch), integer(args, _WORDS.classes), integer(args, _WORDS.ignored),
        integer(args, _WORDS.wanted),
    )  # fmt: skip


@inline
def class_arrays(args, blocks, dtype):
    """losses[batch], labels[batch], weight[classes] and work[HEAD + blocks] of a block of :data:`CLASS_WORDS`."""
    batch, classes = integer(args, _WORDS.batch), integer(args, _WORDS.classes)
    return (
        array(args, _WORDS.losses, (batch,), dtype), array(args, _WORDS.labels, (batch,), np.int64),
        array(args, _WORDS.weight, (classes,), dtype), array(args, _WORDS.work, (HEAD + blocks,), np.float64),
    )  # fmt: skip


@inline
def finish_alone(args, work, blocks, n, wanted, dtype):
    """Write the loss if this part is the only one; otherwise ``finish_parts`` does, after the launch."""
    if n == 1 and wanted & OUT:
        array(args, _WORDS.out, (1,), dtype)[0] = dtype(finish(work, blocks))


@inline
def _scan(labels, classes, ignored):
    counted, wrong = np.int64(0), np.int64(0)
    for row in range(labels.size):
        counts = np.int64(labels[row] != ignored)
        outside = np.int64(labels[row] < 0) | np.int64(labels[row] >= classes)
        counted += counts
        wrong += counts & outside
    return counted, wrong


@inline
def _first_wrong(labels, classes, ignored):
    for row in range(labels.size):
        if labels[row] != ignored and (labels[row] < 0 or labels[row] >= classes):
            return row
    return -1


@inline(fastmath=STRICT)
def _weight_of(labels, classes, ignored, weight):
    total = 0.0
    for row in range(labels.size):
        label = labels[row]
        if label != ignored and label >= 0 and label < classes:
            total += weight[label]
    return total


@inline
def scan_labels(work, labels, classes, ignored, weight, weighted, mean):
    """Fill the head of ``work``; return whether all labels that count are in [0, classes).

    Every part of a launch does this and writes the same numbers: the labels are few compared to the other arrays.
    """
    counted, wrong = _scan(labels, classes, ignored)
    work[WRONG] = -1.0
    if wrong:
        work[WRONG] = _first_wrong(labels, classes, ignored)
        return False
    total = _weight_of(labels, classes, ignored, weight) if weighted else np.float64(counted)
    work[COUNTED] = counted
    # The mean of rows without weight is NaN, also if smoothing counts classes with weight.
    work[DIVISOR] = 1.0 if not mean else np.nan if total == 0.0 else total
    return True


def counted_labels(labels: np.ndarray, work: np.ndarray, classes: int, ignored: int) -> int:
    """The number of labels that counted in a launch; IndexError if one was out of range."""
    if guard_contents(labels, lambda labels: _all_fit(labels, classes, ignored)):
        return labels.size
    wrong = work.item(WRONG)
    if wrong >= 0:
        raise IndexError(f"Target {labels[int(wrong)]} is out of bounds: labels must be in [0, {classes})")
    return int(work.item(COUNTED))


# Takes half the time of the array's own method.
_largest = np.maximum.reduce


def _all_fit(labels: np.ndarray, classes: int, ignored: int) -> bool:
    # As unsigned numbers, negative labels are large: one comparison finds both kinds of error.
    if labels.size == 0 or int(_largest(labels.view(np.uint64))) < classes:
        return True
    return bool(((labels == ignored) | ((labels >= 0) & (labels < classes))).all())


def class_contract(x: str, target: str, gradient: str, layout: Layout = LABELS, shape: str = "batch") -> Contract:
    """The contract of a loss of classes, with the names of three of its arrays."""
    return Contract(
        "batch classes",
        [
            (x, MATRIX, "batch classes"),
            (target, layout, shape),
            ("weight?", VECTOR, "classes"),
            ("out?", OUTPUT_NUMBER, ""),
            ("losses?", OUTPUT_VECTOR, "batch"),
            (f"{gradient}?", OUTPUT_MATRIX, "batch classes"),
        ],
    )


def as_label(ignore_index: int) -> int:
    """``ignore_index`` as an integer; TypeError if it is not an integer or does not fit in int64."""
    index = operator.index(ignore_index)
    if not -(2**63) <= index < 2**63:
        raise TypeError(f"ignore_index must fit in int64, found {index}")
    return index
