"""Products of two batches of small matrices, in one launch.

Each product is done by one part, tile by tile, with the micro-kernel of :mod:`fastnn.kernels.matmul.gemm`. Large
matrices are better multiplied one after the other by :func:`fastnn.kernels.matmul.gemm.gemm`, which cuts each of them.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.micro_kernel import (
    lanes,
    limits,
    register_count,
    row_limit,
    tile,
    vector_limit,
    vectors_for,
)
from fastnn.kernels.matmul.gemm import _pack
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check_batch, check_output, kernel_for
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer, part, pointer
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import ahead
from fastnn.kernels.runtime.thread_count import chunks_for


@inline
def multiply(like, rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, mode):
    """``C = A @ B``, or ``C += A @ B`` with ACCUMULATE, of matrices that need no blocks.

    The rows of B and C are contiguous. Strides are not to be literals: LLVM would compile the tiles once for each.
    """
    step = lanes(like)
    row_tiles = -(-rows // row_limit())
    vectors = -(-columns // step)
    panels = -(-vectors // vectors_for(-(-rows // row_tiles), register_count(), vector_limit()))
    for p in range(panels):
        j = vectors * p // panels * step
        width = min(vectors * (p + 1) // panels * step, columns) - j
        for tile_row in range(row_tiles):
            i = rows * tile_row // row_tiles
            tile(
                like, rows * (tile_row + 1) // row_tiles - i, width, depth, ahead(a, i * a_row), a_row, a_column,
                ahead(b, j), b_row, ahead(c, i * c_row + j), c_row, c, mode,
            )  # fmt: skip


_WORDS = Words("y packed a b; count rows columns depth a_batch a_row a_column b_batch b_row b_column width")


def _batched(dtype):
    def batched_gemm_slice(args, t, n):
        # y[count, rows, columns], packed[n, depth, width], a[count, rows, depth], b[count, depth, columns]
        like = dtype(0)
        y, packed = pointer(args, _WORDS.y, like), pointer(args, _WORDS.packed, like)
        a, b = pointer(args, _WORDS.a, like), pointer(args, _WORDS.b, like)
        count, rows = integer(args, _WORDS.count), integer(args, _WORDS.rows)
        columns, depth = integer(args, _WORDS.columns), integer(args, _WORDS.depth)
        a_batch, a_row, a_column = (
            integer(args, _WORDS.a_batch), integer(args, _WORDS.a_row), integer(args, _WORDS.a_column)
        )  # fmt: skip
        b_batch, b_row, b_column = (
            integer(args, _WORDS.b_batch), integer(args, _WORDS.b_row), integer(args, _WORDS.b_column)
        )  # fmt: skip
        width = integer(args, _WORDS.width)
        first, last = part(count, t, n)
        for i in range(first, last):
            factor, pitch = ahead(b, i * b_batch), b_row
            if width:
                target = ahead(packed, t * depth * width)
                _pack(like, target, width, factor, b_row, b_column, depth, columns)
                factor, pitch = target, width
            multiply(
                like, rows, columns, depth, ahead(a, i * a_batch), a_row, a_column, factor, pitch,
                ahead(y, i * rows * columns), columns, 0,
            )  # fmt: skip

    return batched_gemm_slice


_BATCHED = by_dtype(
    "batched_gemm", _batched, _WORDS, outputs="y packed", stand_in="y",
    operations=lambda count, rows, columns, depth, *_: 2.0 * count * rows * columns * depth,
)  # fmt: skip


def batched_gemm(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """``y[i] = a[i] @ b[i]`` for each i.

    Args:
        y: (count, M, N), C-contiguous; must not overlap the other arrays.
        a: (count, M, K), any strides.
        b: (count, K, N), any strides; contiguous rows are fastest, contiguous columns come next.

    All are float32 or all float64. Any of the sizes may be 0; a product over K = 0 is zero.
    """
    kernel = kernel_for(_BATCHED, "a", a)
    dtype = a.dtype
    if a.ndim != 3 or getattr(b, "ndim", 3) != 3:
        raise ValueError(f"a and b must have 3 dimensions, found shapes {a.shape} and {np.shape(b)}")
    count, m, depth = a.shape
    columns = b.shape[2] if isinstance(b, np.ndarray) else 0
    a_batch, a_row, a_column = check_batch("a", a, dtype, (count, m, depth))
    b_batch, b_row, b_column = check_batch("b", b, dtype, (count, depth, columns))
    check_output("y", y, dtype, (count, m, columns))
    if not y.size:
        return
    if not depth:
        y[...] = 0
        return
    width = 0
    if columns > 1 and b_column != 1:
        step = limits()[3] // dtype.itemsize
        width = -(-columns // step) * step
    parts = min(chunks_for(2.0 * y.size * depth), count)
    packed = allocation.empty(parts * depth * width, dtype) if width else y
    launch(
        kernel, parts, (y, packed, a, b), count, m, columns, depth, a_batch, a_row, a_column, b_batch, b_row, b_column,
        width,
    )  # fmt: skip
