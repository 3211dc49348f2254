"""Rows of a matrix, chosen by index, into a matrix of float32 or float64: a batch of samples.

Rows are converted, so that a data set may stay in bytes or in float32 for a network of any dtype.
``gather`` does the same with scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import (
    FLOAT32,
    FLOAT64,
    INT64,
    Kernel,
    Words,
    array,
    inline,
    integer,
    part,
    pointer,
    real,
)
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import prefetch
from fastnn.kernels.runtime.thread_count import chunks_for

# Operations per number: rows are unlikely to be in a cache. Two threads take a batch of 32 rows
# of 784 float64 in 0.6 of the time of one.
_COST = 16
# The dtypes of a row.
SOURCES = (np.dtype(np.uint8), FLOAT32, FLOAT64)


@inline
def ask_for(data, first, count, size):
    """Prefetch the next row: the hardware prefetches within a row, but not from one row to another.

    The row is ``count`` numbers of ``size`` bytes, starting at ``data[first]``.

    Batches of 32 to 64 rows of 784 numbers, in data sets of 10 to 80 MB, take 0.8 to 0.9 of the time on two threads.
    """
    for k in range(0, count, 64 // size):
        prefetch(data, first + k)


@inline
def _convert(out, row, scale, shift):
    kind = out.dtype.type
    for j in range(out.size):
        out[j] = kind(row[j])


WORDS = Words("out data indices; batch rows features")


def rows_slice(kind: Any, source: Any, copy: Any = _convert, words: Words = WORDS) -> Callable[..., None]:
    """The slice that writes the chosen rows of dtype ``source`` as ``kind``.

    ``copy(out, row, scale, shift)`` writes one row. The words begin with those of :data:`WORDS`; if scale and shift
    are not among them, they are 1 and 0.
    """
    scale_word, shift_word = getattr(words, "scale", -1), getattr(words, "shift", -1)

    def take_rows_slice(args, t, n):
        # out[batch, features], data[rows, features], indices[batch]
        batch, rows, features = integer(args, WORDS.batch), integer(args, WORDS.rows), integer(args, WORDS.features)
        out = array(args, WORDS.out, (batch, features), kind)
        data = array(args, WORDS.data, (rows, features), source)
        indices = array(args, WORDS.indices, (batch,), np.int64)
        # Read before the loop, in which the output might overlap them.
        scale, shift = kind(1), kind(0)
        if scale_word >= 0:
            scale, shift = kind(real(args, scale_word)), kind(real(args, shift_word))
        first, last = part(batch, t, n)
        start = pointer(args, WORDS.data, source(0))
        for i in range(first, last):
            index = indices[i]
            if i + 1 < last:
                ask_for(start, indices[i + 1] * features, features, data.itemsize)
            # Checked before the launch and again here: an output that overlaps the indices overwrites them.
            if 0 <= index < rows:
                copy(out[i], data[index], scale, shift)

    return take_rows_slice


_KERNELS = {
    source: {
        kind: Kernel(
            f"take_rows.{source.name}.{kind.name}", rows_slice(kind.type, source.type), WORDS
        )
        for kind in (FLOAT32, FLOAT64)
    }
    for source in SOURCES
}  # fmt: skip


def check_indices(indices: np.ndarray, rows: int, message: str = "index {} is out of range for {} rows") -> None:
    """IndexError with this message unless every number in ``indices`` is in [0, rows)."""
    # As unsigned numbers, negative indices are large.
    if indices.size and int(indices.view(np.uint64).max()) >= rows:
        wrong = indices[(indices < 0) | (indices >= rows)][0]
        raise IndexError(message.format(wrong, rows))


def check_chosen_rows(
    kernels: dict[np.dtype, dict[np.dtype, Kernel]], out: np.ndarray, data: np.ndarray, indices: np.ndarray,
    name: str = "data", message: str = "index {} is out of range for {} rows",
) -> tuple[Kernel, int, int]:  # fmt: skip
    """The kernel that writes rows of ``data`` to ``out``, and the shape of ``data``; raises for wrong arrays.

    Args:
        kernels: by the dtypes of ``data`` and of ``out``.
        name: of ``data``, for errors.
        message: see :func:`check_indices`.
    """
    rows, features = matrix_shape(name, data)
    kernel = kernel_for(kernel_for(kernels, name, data), "out", out)
    check(name, data, data.dtype, (rows, features))
    check("indices", indices, INT64, (getattr(indices, "size", 0),))
    check_output("out", out, out.dtype, (indices.size, features))
    check_indices(indices, rows, message)
    return kernel, rows, features


def take_rows(out: np.ndarray, data: np.ndarray, indices: np.ndarray) -> None:
    """``out[i] = data[indices[i]]``, converted to the dtype of ``out``.

    Args:
        out: (batch, features) float32 or float64, C-contiguous.
        data: (rows, features) uint8, float32 or float64, C-contiguous; must not overlap ``out``.
        indices: (batch,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    kernel, rows, features = check_chosen_rows(_KERNELS, out, data, indices)
    parts = max(1, min(chunks_for(_COST * out.size), indices.size))
    launch(kernel, parts, (out, data, indices), indices.size, rows, features)
