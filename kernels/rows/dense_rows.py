"""Rows of a compressed sparse matrix, chosen by index, into a dense matrix: a batch of samples.

The matrix is in the CSR layout of SciPy. ``take_rows`` does the same for dense rows.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.rows.take_rows import check_indices
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Kernel, Words, array, inline, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

_INDEX = np.dtype(np.int64)
# The dtypes of SciPy's indices.
_PLACES = (np.dtype(np.int32), _INDEX)
# Operations for a number that is stored, and for one that is written: the former is unlikely to be in a cache.
_STORED_COST, _COST = 16, 2


@inline
def _add_row(out, data, columns, first, last):
    for j in range(out.size):
        out[j] = out.dtype.type(0)
    for k in range(first, last):
        j = columns[k]
        if 0 <= j < out.size:
            out[j] += data[k]


_WORDS = Words("out data columns starts indices; batch features stored rows")


def _dense_rows(kind, place):
    def dense_rows_slice(args, t, n):
        # out[batch, features], data[stored], columns[stored], starts[rows + 1], indices[batch]
        batch, features = integer(args, _WORDS.batch), integer(args, _WORDS.features)
        stored, rows = integer(args, _WORDS.stored), integer(args, _WORDS.rows)
        out = array(args, _WORDS.out, (batch, features), kind)
        data = array(args, _WORDS.data, (stored,), kind)
        columns = array(args, _WORDS.columns, (stored,), place)
        starts = array(args, _WORDS.starts, (rows + 1,), place)
        indices = array(args, _WORDS.indices, (batch,), np.int64)
        first, last = part(batch, t, n)
        for i in range(first, last):
            index, start, end = indices[i], np.int64(0), np.int64(0)
            # Indices were checked before the launch; they are checked again here, like all values read from arrays.
            if 0 <= index < rows:
                start, end = np.int64(starts[index]), np.int64(starts[index + 1])
            if 0 <= start <= end <= stored:
                _add_row(out[i], data, columns, start, end)
            else:
                _add_row(out[i], data, columns, 0, 0)

    return dense_rows_slice


_KERNELS = {
    place: {
        kind: Kernel(f"dense_rows.{place.name}.{kind.name}", _dense_rows(kind.type, place.type), _WORDS)
        for kind in (FLOAT32, FLOAT64)
    }
    for place in _PLACES
}  # fmt: skip


def dense_rows(
    out: np.ndarray, data: np.ndarray, columns: np.ndarray, starts: np.ndarray, indices: np.ndarray
) -> None:
    """``out[i] = x[indices[i]]`` for the sparse matrix x, whose row r has ``data[k]`` in column ``columns[k]`` for k
    from ``starts[r]`` to ``starts[r + 1]``, and zeros elsewhere. Numbers in one place are added.

    Args:
        out: (batch, features) float32 or float64, C-contiguous.
        data: (stored,), the dtype of ``out``; must not overlap it.
        columns: (stored,) int32 or int64, each in [0, features); others are left out.
        starts: (rows + 1,), the dtype of ``columns``, from 0 to stored, ascending; other rows are zeros.
        indices: (batch,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    batch, features = matrix_shape("out", out)
    place = getattr(columns, "dtype", None)
    if place not in _KERNELS:
        raise TypeError(f"columns must have dtype int32 or int64, found {place or type(columns).__name__}")
    kernel = kernel_for(_KERNELS[place], "out", out)
    check_output("out", out, out.dtype, (batch, features))
    stored, rows = getattr(data, "size", 0), getattr(starts, "size", 0) - 1
    check("data", data, out.dtype, (stored,))
    check("columns", columns, place, (stored,))
    check("starts", starts, place, (rows + 1,))
    if rows < 0:
        raise ValueError("starts must have a number for each row and one more, found none")
    check("indices", indices, _INDEX, (batch,))
    check_indices(indices, rows)
    mean = stored / max(1, rows)
    parts = max(1, min(chunks_for(batch * (_COST * features + _STORED_COST * mean)), batch))
    launch(kernel, parts, (out, data, columns, starts, indices), batch, features, stored, rows)
