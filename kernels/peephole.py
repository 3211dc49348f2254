"""Peephole: neighbouring launches of a recording that fewer launches can do, with the same bits.

The input gradient of a layer goes through the gate of the ReLU before it while the product has it in registers, and
the product that then reads the result for the weight gradient takes the sums of its columns for the bias. As a
launch of its own, over 512x128 numbers, that takes 23 us where the product takes 20: what one core has written the
other has to fetch. For other activations, row by row behind each tile, it takes longer than the launch (100 us).

May import ``jit``, ``activations``, ``gemm``, ``linear`` and ``micro_kernel``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastnn.kernels.activations import RELU
from fastnn.kernels.gemm import ADD_SUM_B, GEMM, SUM_B
from fastnn.kernels.jit import Launch
from fastnn.kernels.linear import ACTIVATION_BIAS_BACKWARD
from fastnn.kernels.micro_kernel import ACCUMULATE, RELU_GATE

# Places of a product's scalars in its launch, and of its arrays.
_ROWS, _COLUMNS, _Y_ROW, _Z_ROW, _MODE, _CODE = 0, 1, 7, 8, 9, 10
_Y, _Z, _B = 0, 1, 4
_PRODUCTS = {id(kernel) for kernel in GEMM.values()}
_DERIVATIVES = {id(kernel) for kernel in ACTIVATION_BIAS_BACKWARD.values()}


def joined(launches: list[Launch], kept: Iterable[np.ndarray]) -> list[Launch]:
    """The launches, with derivatives of activations inside the products before and behind them.

    Args:
        launches: recorded; they are not changed.
        kept: arrays that somebody reads after the last launch, or writes before the first.
    """
    found, outside = list(launches), [_span(a) for a in kept]
    for derivative in launches:
        if id(derivative[0]) in _DERIVATIVES:
            _join(found, derivative, outside)
    return found


def _join(launches: list[Launch], derivative: Launch, outside: list[tuple[int, int]]) -> None:
    """Take one launch out of the list, if its neighbours can do its work."""
    at = next(i for i, launch in enumerate(launches) if launch is derivative)
    (dz, dbias, dy, saved), (batch, columns, code, accumulate, _) = derivative[2], derivative[3]
    before = [i for i, launch in enumerate(launches[:at]) if _touches(launch, dy)]
    behind = [i for i, launch in enumerate(launches) if i > at and _touches(launch, dz)]
    if code != RELU or len(before) != 1 or not behind:
        return
    i, k = before[0], behind[0]
    first, last = launches[i], launches[k]
    if not (_is_plain(first, (0,), columns) and _is_plain(last, (0, ACCUMULATE), columns) and first[3][_ROWS] == batch):
        return
    if not (_same(first[2][_Y], dy) and _same(first[2][_Z], dy) and _same(last[2][_B], dz)):
        return
    # From the first launch that may run beside the one, to the last that may run beside the other.
    start, end = i, k + 1
    while start and not launches[start][-1]:
        start -= 1
    while end < len(launches) and not launches[end][-1]:
        end += 1
    others = [launch for j, launch in enumerate(launches[start:end], start) if j not in (i, at, k)]
    # The gradient is written earlier than it was, and what it was made of not at all.
    if any(_touches(launch, dbias) or _writes(launch, saved) for launch in others):
        return
    if any(_touches(launch, dz) for launch in launches[start:at]) or _meets(dz, saved) or _meets(dz, dbias):
        return
    if any(_touches(launch, dy) for launch in launches[at + 1 :]):
        return
    if any(_overlap(_span(a), other) for a in (dy, dz) for other in outside):
        return
    launches[i] = _with_gate(first, dy, dz, saved)
    launches[k] = _with_sums(last, dbias, bool(accumulate), derivative[-1])
    del launches[at]


def _is_plain(launch: Launch, modes: tuple[int, ...], columns: float) -> bool:
    """Whether this is a product of so many columns with nothing done to it but what one of the modes says."""
    kernel, _, _, scalars, _ = launch
    is_product = id(kernel) in _PRODUCTS
    return is_product and scalars[_MODE] in modes and not scalars[_CODE] and scalars[_COLUMNS] == columns


def _with_gate(launch: Launch, dy: np.ndarray, dz: np.ndarray, saved: np.ndarray) -> Launch:
    kernel, parts, arrays, scalars, waits = launch
    moved = [dz if _same(a, dy) else a for a in arrays]
    moved[_Z] = saved
    changed = list(scalars)
    changed[_Y_ROW] = changed[_Z_ROW] = dz.shape[1]
    changed[_MODE] = int(changed[_MODE]) | RELU_GATE
    return kernel, parts, tuple(moved), tuple(changed), waits


def _with_sums(launch: Launch, dbias: np.ndarray, accumulate: bool, waited: bool) -> Launch:
    kernel, parts, arrays, scalars, waits = launch
    changed = list(scalars)
    changed[_MODE] = int(changed[_MODE]) | SUM_B | (ADD_SUM_B if accumulate else 0)
    return kernel, parts, (arrays[_Y], dbias, *arrays[_Z + 1 :]), tuple(changed), waits or waited


def _span(array: np.ndarray) -> tuple[int, int]:
    low, high = np.lib.array_utils.byte_bounds(array)
    return (low, high) if array.size else (low, low)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _meets(a: np.ndarray, b: np.ndarray) -> bool:
    return _overlap(_span(a), _span(b))


def _touches(launch: Launch, array: np.ndarray) -> bool:
    return any(_meets(a, array) for a in launch[2])


def _writes(launch: Launch, array: np.ndarray) -> bool:
    kernel, _, arrays, _, _ = launch
    outputs = range(len(arrays)) if kernel.outputs is None else kernel.outputs
    return any(_meets(arrays[i], array) for i in outputs)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides
