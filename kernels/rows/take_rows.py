"""Rows of a matrix, chosen by index, into a matrix of float32 or float64: a batch of samples.

Rows are converted, so that a data set may stay in bytes or in float32 for a network of any dtype.
``gather`` does the same with scaling.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.rows.gather import ask_for, check_indices
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Kernel, Words, array, inline, integer, part, pointer
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Operations per number: rows are unlikely to be in a cache. Two threads take a batch of 32 rows
# of 784 float64 in 0.6 of the time of one.
_COST = 16
_INDEX = np.dtype(np.int64)
# The dtypes of a row.
SOURCES = (np.dtype(np.uint8), FLOAT32, FLOAT64)


@inline
def _convert(out, row):
    kind = out.dtype.type
    for j in range(out.size):
        out[j] = kind(row[j])


WORDS = Words("out data indices; batch rows features")


def rows_slice(kind, source):
    """The slice that converts rows of dtype ``source`` to ``kind``."""

    def take_rows_slice(args, t, n):
        # out[batch, features], data[rows, features], indices[batch]
        batch, rows, features = integer(args, WORDS.batch), integer(args, WORDS.rows), integer(args, WORDS.features)
        out = array(args, WORDS.out, (batch, features), kind)
        data = array(args, WORDS.data, (rows, features), source)
        indices = array(args, WORDS.indices, (batch,), np.int64)
        first, last = part(batch, t, n)
        start = pointer(args, WORDS.data, source(0))
        for i in range(first, last):
            index = indices[i]
            if i + 1 < last:
                ask_for(start, indices[i + 1] * features, features, data.itemsize)
            # Checked before the launch and again here: an output that overlaps the indices overwrites them.
            if 0 <= index < rows:
                _convert(out[i], data[index])

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


def take_rows(out: np.ndarray, data: np.ndarray, indices: np.ndarray) -> None:
    """``out[i] = data[indices[i]]``, converted to the dtype of ``out``.

    Args:
        out: (batch, features) float32 or float64, C-contiguous.
        data: (rows, features) uint8, float32 or float64, C-contiguous; must not overlap ``out``.
        indices: (batch,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    rows, features = matrix_shape("data", data)
    if data.dtype not in _KERNELS:
        raise TypeError(f"data must have dtype uint8, float32 or float64, found {data.dtype}")
    kernel = kernel_for(_KERNELS[data.dtype], "out", out)
    check("data", data, data.dtype, (rows, features))
    check("indices", indices, _INDEX, (getattr(indices, "size", 0),))
    batch = indices.size
    check_output("out", out, out.dtype, (batch, features))
    check_indices(indices, rows)
    parts = max(1, min(chunks_for(_COST * out.size), batch))
    launch(kernel, parts, (out, data, indices), batch, rows, features)
