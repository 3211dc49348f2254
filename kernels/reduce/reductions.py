"""Sums over an array, in a fixed order.

A loss writes the sums of its blocks to a *work* array: ``work[0]`` is the position of a wrong label
or -1, ``work[1]`` the count, ``work[2]`` the divisor of the sum, and the blocks' sums follow.
``finish`` adds these in order, so that the bits do not depend on the caller.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import FAST, FLOAT64, STRICT, Words, array, by_dtype, inline, integer, real
from fastnn.kernels.runtime.launcher import launch

WRONG, COUNTED, DIVISOR, HEAD = range(4)


@inline(fastmath=FAST)
def add_up(x):
    """The sum of the numbers of an array."""
    # In float64 for any input: the total of a million losses keeps float32's precision.
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


_TOTAL_WORDS = Words("out x; size; scale")


def _total(dtype):
    def total_slice(args, t, n):
        # out[1], x[size]
        x = array(args, _TOTAL_WORDS.x, (integer(args, _TOTAL_WORDS.size),), dtype)
        array(args, _TOTAL_WORDS.out, (1,), dtype)[0] = dtype(add_up(x) * real(args, _TOTAL_WORDS.scale))

    return total_slice


_TOTAL = by_dtype("total", _total, _TOTAL_WORDS, outputs="out")


def total(out: np.ndarray, x: np.ndarray, scale: float = 1.0) -> None:
    """``out = scale * sum(x)``, summed in float64 on one thread.

    Args:
        out: shape () or (1,); x: C-contiguous; both float32 or both float64.
        scale: may be NaN, as for the mean of no numbers.
    """
    kernel = kernel_for(_TOTAL, "x", x)
    check("x", x, x.dtype, x.shape)
    check_output("out", out, x.dtype, out.shape if isinstance(out, np.ndarray) and out.size == 1 else (1,))
    launch(kernel, 1, (out, x), x.size, scale)


@inline(fastmath=STRICT)
def finish(work, blocks):
    """The blocks' sums added in order, over the divisor."""
    total = 0.0
    for block in range(HEAD, HEAD + blocks):
        total += work[block]
    return total / work[DIVISOR]


_FINISH_WORDS = Words("out work; blocks")


def _finish(dtype):
    def finish_slice(args, t, n):
        # out[1], work[HEAD + blocks]
        blocks = integer(args, _FINISH_WORDS.blocks)
        work = array(args, _FINISH_WORDS.work, (HEAD + blocks,), np.float64)
        array(args, _FINISH_WORDS.out, (1,), dtype)[0] = dtype(finish(work, blocks))

    return finish_slice


_FINISH = by_dtype("finish", _finish, _FINISH_WORDS, outputs="out")


def finish_parts(out: np.ndarray, work: np.ndarray, blocks: int) -> None:
    """``out`` from the ``work`` of a launch in several parts; with one part the slice does this itself."""
    launch(_FINISH[out.dtype], 1, (out, work), blocks)


def requested(outputs: tuple[np.ndarray | None, ...], other: np.ndarray) -> tuple[list[np.ndarray], int]:
    """The outputs, with ``other`` in place of None, and a bit for each that is not None, the lowest for the first."""
    arrays, wanted, bit = [], 0, 1
    for a in outputs:
        if a is None:
            # It is not used; any address works.
            arrays.append(other)
        else:
            arrays.append(a)
            wanted |= bit
        bit *= 2
    return arrays, wanted


def new_work(blocks: int) -> np.ndarray:
    """A work array for ``blocks`` blocks."""
    return allocation.empty(HEAD + blocks, FLOAT64)
