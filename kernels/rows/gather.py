"""Rows of a data set into a batch: gathered, converted and scaled in one pass."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add
from fastnn.kernels.rows.take_rows import check_chosen_rows, rows_slice
from fastnn.kernels.runtime.compiler import FLOAT32, Kernel, Words, inline
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

_WORDS = Words("out data indices; batch rows features; scale shift")


@inline
def _scale_row(out, row, scale, shift):
    kind = out.dtype.type
    for j in range(out.size):
        out[j] = multiply_add(kind(row[j]), scale, shift)


_KERNELS = {
    np.dtype(source): {
        FLOAT32: Kernel(f"gather.{source.__name__}", rows_slice(np.float32, source, _scale_row, _WORDS), _WORDS)
    }
    for source in (np.uint8, np.float32)
}


def gather(
    out: np.ndarray, data: np.ndarray, indices: np.ndarray, scale: float = 1.0, shift: float = 0.0
) -> None:
    """``out[i] = data[indices[i]] * scale + shift``, as float32.

    Args:
        out: (batch, features) float32, C-contiguous.
        data: (rows, features) uint8 or float32, C-contiguous.
        indices: (batch,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    kernel, rows, features = check_chosen_rows(_KERNELS, out, data, indices)
    launch(kernel, chunks_for(2 * out.size), (out, data, indices), indices.size, rows, features, scale, shift)
