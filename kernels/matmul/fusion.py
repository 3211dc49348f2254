"""Fusion: combines neighbouring launches of a recording into one, with the same bits.

The range of a batch that a quantized layer wrote is found by that layer (:func:`fuse_int8_ranges`).

The input gradient of a layer goes through the ReLU of the previous layer tile by tile, while a tile is in cache. A
separate launch writes, reads and writes it again (W = 784-1024-1024-10 at batch 512: 0.3 ms of 13). For other
activations, row by row after each tile, fusion is slower than the launch: 100 us instead of 23 for 512x128 numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastnn.kernels.activation.fused_activations import BACKWARD, RELU
from fastnn.kernels.matmul.gemm import GEMM, PLAIN, RELU_GATE
from fastnn.kernels.matmul.int8 import BY_BATCH, BY_ROWS, RANGE_OF
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.launcher import Launch

# Indices of a product's words, which are the same for all dtypes.
_PLACE = next(iter(GEMM.values())).place
_ROWS, _COLUMNS, _Y_ROW, _MODE, _CODE = (_PLACE[word] for word in ("rows", "columns", "y_row", "mode", "code"))
_Y, _Z = _PLACE["y"], _PLACE["z"]
_PRODUCTS = {id(kernel) for kernel in GEMM.values()}
_DERIVATIVES = {id(kernel) for kernel in BACKWARD.values()}


def fuse_relu_backward(launches: list[Launch], kept: Iterable[np.ndarray]) -> list[Launch]:
    """The launches, with the backward passes of ReLU fused into the products before them.

    Args:
        launches: recorded; they are not changed.
        kept: arrays that are read after the last launch, or written before the first.
    """
    found, outside, at = list(launches), list(kept), 0
    while at < len(found):
        kernel, _, _, scalars, _ = found[at]
        # After a removal, the next launch is at the same index.
        if id(kernel) not in _DERIVATIVES or scalars[1] != RELU or not _join(found, at, outside):
            at += 1
    return found


_INT8 = BY_BATCH.place
_FOUND, _RANGES, _UNITS, _GIVEN, _FINDS = (_INT8[word] for word in ("found", "ranges", "units", "given", "finds"))


def fuse_int8_ranges(launches: list[Launch]) -> list[Launch]:
    """The launches, without those that find the range of what a quantized product wrote: the product finds it.

    The smallest and the largest number are the same in any order. It saves a launch, and a pass over the numbers.
    """
    found = list(launches)
    for ranged in [launch for launch in launches if launch[0] is RANGE_OF]:
        ranges, x = ranged[2]
        at = next(i for i, launch in enumerate(found) if launch is ranged)
        i = next((j for j in range(at - 1, -1, -1) if _writes(found[j], x)), -1)
        if i < 0 or found[i][0] not in (BY_BATCH, BY_ROWS) or found[i][3][_FINDS]:
            continue
        y = found[i][2][0]
        if (y.ctypes.data, y.shape, y.strides) != (x.ctypes.data, x.shape, x.strides):
            continue
        # Few units: those of the product.
        made = allocation.empty((int(found[i][3][_UNITS]), 2), x.dtype)
        found[i] = _changed(found[i], {_FOUND: made}, {_FINDS: 1})
        for j in range(at + 1, len(found)):
            if found[j][0] is BY_BATCH and found[j][2][_RANGES] is ranges:
                found[j] = _changed(found[j], {_RANGES: made}, {_GIVEN: len(made)})
        if ranged[-1] and at + 1 < len(found):
            # The next launch waited for the removed one, at least indirectly.
            found[at + 1] = (*found[at + 1][:-1], True)
        del found[at]
    return found


def _changed(launch: Launch, arrays: dict[int, np.ndarray], scalars: dict[int, float]) -> Launch:
    """A launch with other arrays and scalars at some places."""
    kernel, parts, old, numbers, waits = launch
    return (
        kernel, parts, tuple([arrays.get(i, a) for i, a in enumerate(old)]),
        tuple([scalars.get(i, n) for i, n in enumerate(numbers)]), waits,
    )  # fmt: skip


def _join(launches: list[Launch], at: int, outside: list[np.ndarray]) -> bool:
    """Fuse launch ``at`` into the product before it, if possible; return whether it was."""
    dz, dy, saved = launches[at][2]
    i = next((j for j in range(at - 1, -1, -1) if _touches(launches[j], dy)), -1)
    if i < 0 or not _is_plain(launches[i], dy):
        return False
    # The first launch that may run in parallel with the product.
    start = i
    while start and not launches[start][-1]:
        start -= 1
    beside = [launch for j, launch in enumerate(launches[start:at], start) if j != i]
    # After fusion the result is written earlier, and the intermediate gradient is not written at all.
    if any(_touches(launch, dz) or _writes(launch, saved) for launch in (*beside, launches[i])):
        return False
    if any(_touches(launch, dy) for j, launch in enumerate(launches) if j not in (i, at)):
        return False
    if _meet(dz, saved) or any(_meet(a, other) for a in (dy, dz) for other in outside):
        return False
    kernel, parts, arrays, scalars, waits = launches[i]
    changed, moved = list(scalars), [dz if a.ctypes.data == dy.ctypes.data else a for a in arrays]
    moved[_Z], changed[_MODE] = saved, int(changed[_MODE]) | RELU_GATE
    launches[i] = kernel, parts, tuple(moved), tuple(changed), waits
    if launches[at][-1] and at + 1 < len(launches):
        # The next launch waited for the removed one, at least indirectly.
        kernel, parts, arrays, scalars, _ = launches[at + 1]
        launches[at + 1] = kernel, parts, arrays, scalars, True
    del launches[at]
    return True


def _is_plain(launch: Launch, y: np.ndarray) -> bool:
    """Whether this is a plain product into these rows, on a path that can apply the ReLU gate."""
    kernel, _, arrays, scalars, _ = launch
    if id(kernel) not in _PRODUCTS or scalars[_MODE] not in PLAIN or scalars[_CODE]:
        return False
    same = all(arrays[k].ctypes.data == y.ctypes.data for k in (_Y, _Z))
    return same and scalars[_ROWS] * scalars[_COLUMNS] == y.size and scalars[_Y_ROW] == scalars[_COLUMNS]


def _meet(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share memory."""
    (low, high), (start, stop) = np.lib.array_utils.byte_bounds(a), np.lib.array_utils.byte_bounds(b)
    return bool(a.size and b.size and low < stop and start < high)


def _touches(launch: Launch, array: np.ndarray) -> bool:
    return any(_meet(a, array) for a in launch[2])


def _writes(launch: Launch, array: np.ndarray) -> bool:
    kernel, _, arrays, _, _ = launch
    outputs = range(len(arrays)) if kernel.outputs is None else kernel.outputs
    return any(_meet(arrays[i], array) for i in outputs)
