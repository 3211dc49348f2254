"""Sums of arrays without loss of digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.runtime.direct_loops import FEW, SUM

# At most about so many numbers are added sequentially, and then as many partial sums.
_BLOCK = 128
_add: Any = np.add.reduce


def add_up_small(a: np.ndarray, axes: Any, keepdims: bool) -> np.ndarray | None:
    """:func:`add_up` of neighbouring dimensions, the first or the last ones, of a small array; None for others."""
    if axes is None:
        return SUM.call(a, 0, a.ndim, keepdims)
    if type(axes) is not tuple or not axes:
        return None
    first, last = axes[0], axes[-1] + 1
    count = last - first
    if count > 1 and (axes != tuple(range(first, last)) or (count == a.ndim and a.size > FEW)):
        # Several dimensions of many numbers are added one after the other.
        return None
    return None if first < 0 else SUM.call(a, first, last, keepdims)


def add_up(a: np.ndarray, axes: Any = None, kind: Any = None, keepdims: bool = False) -> Any:
    """``np.add.reduce``, without loss of digits for many floats in any memory order.

    NumPy uses pairwise summation only along the contiguous dimension. Along others it adds row by row: 100,000 times
    0.1 in float32 gives 9,998.56. Here the rows are added in blocks. float16 and bfloat16 are summed in float32.
    """
    found = add_up_small(a, axes, keepdims) if kind is None else None
    if found is not None:
        return found
    if a.dtype.kind not in "fV":
        return _add(a, axes, kind, None, keepdims)
    if a.dtype.itemsize == 2:
        return np.asarray(add_up(a.astype(np.float32), axes, None, keepdims)).astype(a.dtype)
    if a.size <= FEW:
        return _add(a, axes, kind, None, keepdims)
    shape = a.shape
    if axes is None or (len(shape) == 1 and axes == (0,)):
        if a.flags.c_contiguous:
            return _add(a, None, None, None, keepdims)
        axes = tuple(range(a.ndim))
    elif isinstance(axes, int):
        axes = (axes,)
    count = 1
    for d in axes:
        count *= shape[d]
    if count <= FEW:
        return _add(a, axes, None, None, keepdims)
    strides = a.strides
    axes = [d % len(shape) for d in axes]
    for d in sorted(axes, key=lambda d: abs(strides[d])):
        a = _add_along(a, d)
    return a if keepdims else a.reshape([n for d, n in enumerate(shape) if d not in axes])


def _add_along(a: np.ndarray, axis: int) -> np.ndarray:
    """The sums along one dimension, with ``keepdims``."""
    n, stride = a.shape[axis], abs(a.strides[axis])
    nearest = stride and all(abs(s) >= stride or not s for s, m in zip(a.strides, a.shape, strict=True) if m > 1)
    if n > 2 * _BLOCK and not nearest:
        before = (slice(None),) * axis
        blocks = n // _BLOCK
        whole = a[(*before, slice(blocks * _BLOCK))]
        sums = _add(whole.reshape(*a.shape[:axis], blocks, _BLOCK, *a.shape[axis + 1 :]), axis + 1)
        if blocks * _BLOCK < n:
            sums = np.concatenate([sums, _add(a[(*before, slice(blocks * _BLOCK, n))], axis, keepdims=True)], axis)
        return _add_along(sums, axis)
    return _add(a, axis, keepdims=True)
