"""Class labels: their count, range check and weights.

A kernel cannot raise. It scans its labels before it writes anything and stores the result in the head
of its *work* (see ``reductions``). If a label is wrong it writes nothing else, and the Python function
raises after the launch.
"""

from __future__ import annotations

import operator

import numpy as np

from fastnn.kernels.reduce.reductions import COUNTED, DIVISOR, WRONG, check_scalar
from fastnn.kernels.runtime.checks import check, check_output
from fastnn.kernels.runtime.compiler import STRICT, inline
from fastnn.kernels.runtime.launcher import guard_contents

# Bits of `wanted`: the outputs and inputs that are given.
OUT, LOSSES, GRADIENT, WEIGHT, MEAN = 1, 2, 4, 8, 16


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


def check_classes(
    name: str, labels: np.ndarray, batch: int, weight: np.ndarray | None, classes: int, dtype: np.dtype
) -> None:
    """Raise unless there is a label for each row, and a weight for each class if weights are given."""
    check(name, labels, np.dtype(np.int64), (batch,))
    if weight is not None:
        check("weight", weight, dtype, (classes,))


def check_outputs(
    out: np.ndarray | None, losses: np.ndarray | None, name: str, gradient: np.ndarray | None, x: np.ndarray
) -> tuple[list[np.ndarray], int]:
    """The outputs of a loss of the rows of ``x``, with ``x`` for those not requested, and the bits of the others."""
    # An array that is not requested is not used; any address works.
    outputs, wanted = [x, x, x], 0
    if out is not None:
        check_scalar("out", out, x.dtype)
        outputs[0] = out
        wanted |= OUT
    if losses is not None:
        check_output("losses", losses, x.dtype, x.shape[:1])
        outputs[1] = losses
        wanted |= LOSSES
    if gradient is not None:
        check_output(name, gradient, x.dtype, x.shape)
        outputs[2] = gradient
        wanted |= GRADIENT
    return outputs, wanted


def as_label(ignore_index: int) -> int:
    """``ignore_index`` as an integer; TypeError if it is not an integer or does not fit in int64."""
    index = operator.index(ignore_index)
    if not -(2**63) <= index < 2**63:
        raise TypeError(f"ignore_index must fit in int64, found {index}")
    return index
