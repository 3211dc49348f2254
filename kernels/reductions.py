"""Sums over an array, in a fixed order.

May import ``jit``.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.jit import array, by_dtype, check, check_output, inline, integer, kernel_for, launch, real


@inline
def _sum(x):
    # In float64 whatever the input: the total of a million losses keeps float32's precision.
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


def _total(dtype):
    def total_slice(args, t, n):
        # out[1], x[size]; size; scale
        x = array(args, 1, (integer(args, 2),), dtype)
        array(args, 0, (1,), dtype)[0] = dtype(_sum(x) * real(args, 3))

    return total_slice


_TOTAL = by_dtype("total", _total, arrays=2, integers=1, reals=1, outputs=1)


def total(out: np.ndarray, x: np.ndarray, scale: float = 1.0) -> None:
    """``out = scale * sum(x)``, summed in float64 on one thread.

    Args:
        out: shape () or (1,); x: C-contiguous; both float32 or both float64.
        scale: may be NaN, as for the mean of nothing.
    """
    kernel = kernel_for(_TOTAL, "x", x)
    check("x", x, x.dtype, x.shape)
    check_output("out", out, x.dtype, out.shape if isinstance(out, np.ndarray) and out.size == 1 else (1,))
    launch(kernel, 1, (out, x), x.size, scale)
