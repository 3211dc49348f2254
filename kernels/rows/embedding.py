"""Rows of a table by index, and the gradient of the table."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.rows.take_rows import WORDS, check_chosen_rows, check_indices, rows_slice
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import INT64, Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for


@inline
def _add(total, row):
    for j in range(total.size):
        total[j] += row[j]


_BACKWARD_WORDS = Words("dweight dy indices; count rows columns padding_idx accumulate")


def _backward(dtype):
    def embedding_backward_slice(args, t, n):
        # dweight[rows, columns], dy[count, columns], indices[count]
        count, rows = integer(args, _BACKWARD_WORDS.count), integer(args, _BACKWARD_WORDS.rows)
        columns = integer(args, _BACKWARD_WORDS.columns)
        padding, accumulate = integer(args, _BACKWARD_WORDS.padding_idx), integer(args, _BACKWARD_WORDS.accumulate)
        dweight = array(args, _BACKWARD_WORDS.dweight, (rows, columns), dtype)
        dy = array(args, _BACKWARD_WORDS.dy, (count, columns), dtype)
        indices = array(args, _BACKWARD_WORDS.indices, (count,), np.int64)
        # A part owns rows of the table and scans all indices, so each sum is in their order.
        first, last = part(rows, t, n)
        if not accumulate:
            dweight[first:last, :] = dtype(0)
        for i in range(count):
            index = indices[i]
            if first <= index < last and index != padding:
                _add(dweight[index], dy[i])

    return embedding_backward_slice


_FORWARD = by_dtype("embedding_forward", lambda dtype: rows_slice(dtype, dtype), WORDS)
_BACKWARD = by_dtype("embedding_backward", _backward, _BACKWARD_WORDS)
# Rows are not converted.
_KERNELS = {dtype: {dtype: kernel} for dtype, kernel in _FORWARD.items()}


_OUT_OF_RANGE = "index out of range in self: index {} of an embedding with {} rows"


def embedding_forward(out: np.ndarray, weight: np.ndarray, indices: np.ndarray) -> None:
    """``out[i] = weight[indices[i]]``.

    Args:
        out: (count, columns), C-contiguous.
        weight: (rows, columns), C-contiguous, float32 or float64.
        indices: (count,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    kernel, rows, columns = check_chosen_rows(_KERNELS, out, weight, indices, "weight", message=_OUT_OF_RANGE)
    launch(kernel, chunks_for(2 * out.size), (out, weight, indices), indices.size, rows, columns)


def embedding_backward(
    dweight: np.ndarray,
    dy: np.ndarray,
    indices: np.ndarray,
    padding_idx: int | None = None,
    accumulate: bool = False,
) -> None:
    """``dweight[indices[i]] += dy[i]`` for each i, from zero unless ``accumulate``.

    Args:
        dweight: (rows, columns), C-contiguous.
        dy: (count, columns), C-contiguous.
        indices: (count,) int64, each in [0, rows).
        padding_idx: a row that gets no gradient, in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    kernel = kernel_for(_BACKWARD, "dy", dy)
    count, columns = matrix_shape("dy", dy)
    check("dy", dy, dy.dtype, (count, columns))
    check("indices", indices, INT64, (count,))
    rows, _ = matrix_shape("dweight", dweight)
    check_output("dweight", dweight, dy.dtype, (rows, columns))
    check_indices(indices, rows, _OUT_OF_RANGE)
    launch(
        kernel, min(chunks_for(2 * dy.size + dweight.size), max(rows, 1)), (dweight, dy, indices),
        count, rows, columns, -1 if padding_idx is None else padding_idx, accumulate,
    )  # fmt: skip
