"""Products of quantized rows and a quantized weight: the linear layer of models for inference in 8-bit integers.

    y = activation((q @ weight.T - zero * sums) * (step * scale) + bias),  q = round(x / step) + zero

The rows of ``x`` are quantized to 7 bits where they are multiplied: numbers from 0 to 127, where rounding can reach
128. ``step`` and ``zero`` come from the smallest and the largest number of the whole batch, as in PyTorch's dynamic
quantization on x86 with ``reduce_range``, or of each row. The sums are exact, and each number of ``y`` is rounded in
one order: the same bits at any thread count.

The range of a batch is found by a launch of its own, :func:`int8_range`. In a recording the product that writes the
batch finds it, while its tile is in registers (``fusion.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastnn.kernels.activation.fused_activations import NONE, activate, activation_code
from fastnn.kernels.activation.fused_activations import RELU as RELU_CODE
from fastnn.kernels.llvm.int8_tile import (
    GROUP,
    IN_WORDS,
    PANELS_OF_ONE_ROW,
    RANGE,
    RELU,
    VECTORS,
    fits_words,
    int8_tile,
    panel_width,
    quantize_row,
    tile_columns,
    tile_rows,
)
from fastnn.kernels.llvm.simd import maximum
from fastnn.kernels.runtime import launcher
from fastnn.kernels.runtime.checks import check, check_output, check_rows, matrix_shape
from fastnn.kernels.runtime.compiler import (
    FLOAT32,
    Kernel,
    Words,
    array,
    array_at,
    both,
    inline,
    part,
    pointer,
    stack_pointer,
)
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import ahead, integer, number_at, put_number, real
from fastnn.kernels.runtime.thread_count import chunks_for

_INT8, _INT32, _UINT8 = np.dtype(np.int8), np.dtype(np.int32), np.dtype(np.uint8)

# Rows that are quantized together; they stay in the first or second-level cache while all panels are computed.
_BLOCK = 48
# Up to this many rows are cut by columns, more by rows.
_FEW_ROWS = 8
# The most units that a product or a range is cut into; each has a range.
MOST_UNITS = 256
# Rows of the smallest unit.
_LEAST_ROWS = 4
# Numbers of the smallest unit of a range.
_LEAST_NUMBERS = 4096
# A product of one row reads the weight once: up to this many bytes, which one core has in its caches, on one thread.
_BYTES_ALONE = 2**20
# A multiply-add takes a quarter of the time of one in float32, or half of it without dot product instructions.
_SPEED = 2.0
# Sums of this many products cannot exceed 32 bits.
MOST_DEPTH = (2**31 - 1) // (128 * 128)
# Numbers of the two vectors of a range, on every CPU.
_LIMITS = 32
# Steps below this are not used, and 0 or one whose inverse is infinite becomes 0.1: as in PyTorch.
_SMALLEST_STEP = np.float32(6.1e-5)


@inline
def _quantization(low, high):
    """The step and the zero point for numbers from ``low`` to ``high``, in the arithmetic of PyTorch."""
    if low != low or high != high:
        return np.float32(np.nan), np.int32(0)
    low, high = min(low, np.float32(0)), max(high, np.float32(0))
    step = (np.float64(high) - np.float64(low)) / 127.0
    if np.float32(step) == np.float32(0) or np.float32(1) / np.float32(step) == np.float32(np.inf):
        step = np.float64(0.1)
    if step < np.float64(_SMALLEST_STEP):
        growth = _SMALLEST_STEP / np.float32(step)
        if low == np.float32(0):
            high = _SMALLEST_STEP * np.float32(127)
        elif high == np.float32(0):
            low = -_SMALLEST_STEP * np.float32(127)
        else:
            low, high = low * growth, high * growth
        step = np.float64(_SMALLEST_STEP)
    from_low, from_high = -np.float64(low) / step, 127.0 - np.float64(high) / step
    # The one with the smaller terms is rounded less.
    nearer = from_low if -abs(np.float64(low) / step) < 127.0 - abs(np.float64(high) / step) else from_high
    zero = 0.0
    # False for NaN.
    if nearer > 0.0:
        zero = np.rint(min(nearer, 127.0))
    return np.float32(step), np.int32(zero)


@inline
def _widen(low, high, x):
    """The range from ``low`` to ``high``, extended to the numbers of ``x``; NaN if one of them is."""
    below, above = -low, high
    for j in range(x.size):
        below = maximum(below, -x[j])
        above = maximum(above, x[j])
    return -below, above


_RANGE_WORDS = Words("ranges x; rows columns row units")


def _int8_range_slice(args, t, n):
    # ranges[units, 2], x[rows, columns], rows `row` numbers apart
    rows, columns = integer(args, _RANGE_WORDS.rows), integer(args, _RANGE_WORDS.columns)
    row, units = integer(args, _RANGE_WORDS.row), integer(args, _RANGE_WORDS.units)
    x, zero = pointer(args, _RANGE_WORDS.x, np.float32(0)), np.float32(0)
    ranges = array(args, _RANGE_WORDS.ranges, (units, 2), np.float32)
    first, last = part(units, t, n)
    for unit in range(first, last):
        low, high = zero, zero
        top, bottom = part(rows, unit, units)
        for i in range(top, bottom):
            low, high = _widen(low, high, array_at(ahead(x, i * row), (columns,)))
        ranges[unit, 0], ranges[unit, 1] = low, high


RANGE_OF = Kernel("int8_range", _int8_range_slice, _RANGE_WORDS, outputs="ranges")


def int8_units(rows: int, columns: int) -> int:
    """The units that the range of a matrix of this shape is found in."""
    return max(1, min(MOST_UNITS, rows, rows * columns // _LEAST_NUMBERS))


def int8_range(ranges: np.ndarray, x: np.ndarray) -> None:
    """The smallest and the largest number of each unit of a matrix, and 0.

    Args:
        ranges: (units, 2) float32, C-contiguous, of ``int8_units(*x.shape)`` units.
        x: (M, K) float32, rows contiguous. A NaN makes the range NaN.
    """
    rows, columns = matrix_shape("x", x)
    row = check_rows("x", x, FLOAT32, (rows, columns))
    units = int8_units(rows, columns)
    check_output("ranges", ranges, FLOAT32, (units, 2))
    launch(RANGE_OF, min(chunks_for(x.size), units), (ranges, x), rows, columns, row, units)


# --------------------------------------------------------------------------------------------
# The weight, packed once


@both
def steps_of(depth: int) -> int:
    """The groups of numbers along the depth, an even number from 2 on, for Python and compiled code.

    The tile's loop has at least one round: a depth of 0 has zeros.
    """
    return max(1, -(-depth // (2 * GROUP))) * 2


class PackedWeight(NamedTuple):
    """A quantized weight in the order in which the kernel reads it; made by :func:`pack_int8`.

    Args:
        weight: (panels, steps, width, 4) int8, of an even number of steps; zero beyond the depth and the columns.
        fits: (panels,) uint8: whether the sums of a panel may be added in 16 bits.
        sums: (panels * width,) int32, of each column.
        scale, bias: (panels * width,) float32.
        columns, depth: of the product.
    """

    weight: np.ndarray
    fits: np.ndarray
    sums: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    columns: int
    depth: int


def pack_int8(weight: np.ndarray, scale: np.ndarray | float, bias: np.ndarray | None = None) -> PackedWeight:
    """Pack a weight of which ``weight * scale`` are the real numbers.

    Args:
        weight: (out_features, in_features) int8, any strides.
        scale: of all numbers, or (out_features,) float32 for each row.
        bias: (out_features,) float32, or None.

    Raises: TypeError for other dtypes; ValueError for other shapes, and for more than ``MOST_DEPTH`` in_features.
    """
    columns, depth = matrix_shape("weight", weight)
    if weight.dtype != _INT8:
        raise TypeError(f"weight must have dtype int8, found {weight.dtype}")
    if depth > MOST_DEPTH:
        raise ValueError(f"weight must have up to {MOST_DEPTH} in_features, found {depth}")
    if isinstance(scale, np.ndarray):
        check("scale", scale, FLOAT32, (columns,))
    if bias is not None:
        check("bias", bias, FLOAT32, (columns,))
    width = panel_width()
    panels, steps = -(-columns // width), steps_of(depth)
    whole = np.zeros((panels * width, steps * GROUP), np.int8)
    whole[:columns, :depth] = weight
    packed = launcher.aligned((panels, steps, width, GROUP), _INT8)
    packed[...] = whole.reshape(panels, width, steps, GROUP).transpose(0, 2, 1, 3)
    sums, scales, biases = (launcher.aligned((panels * width,), kind) for kind in (_INT32, FLOAT32, FLOAT32))
    sums[...] = whole.sum(1, dtype=np.int32)
    for padded, given in ((scales, scale), (biases, 0 if bias is None else bias)):
        padded[columns:] = 0
        padded[:columns] = given
    fits = launcher.aligned((panels,), _UINT8)
    fits[...] = fits_words(packed)
    return PackedWeight(packed, fits, sums, scales, biases, columns, depth)


# --------------------------------------------------------------------------------------------
# The product

WORDS = Words(
    "y quantized found x ranges weight fits sums scale bias; "
    "rows columns depth y_row x_row panels pitch units given by_panels code finds; slope"
)


def _product(by_rows):
    def int8_linear_slice(args, t, n):
        # y[rows, columns], quantized[n, block, pitch], found[units, 2], x[rows, depth], ranges[given, 2],
        # weight[panels, steps, width, 4], fits[panels], sums[panels * width], scale[panels * width],
        # bias[panels * width]
        nothing, width = np.float32(0), tile_columns()
        rows, columns, depth = integer(args, WORDS.rows), integer(args, WORDS.columns), integer(args, WORDS.depth)
        y_row, x_row, panels = integer(args, WORDS.y_row), integer(args, WORDS.x_row), integer(args, WORDS.panels)
        pitch, units, given = integer(args, WORDS.pitch), integer(args, WORDS.units), integer(args, WORDS.given)
        by_panels, code, finds = integer(args, WORDS.by_panels), integer(args, WORDS.code), integer(args, WORDS.finds)
        slope = np.float32(real(args, WORDS.slope))
        y, x = pointer(args, WORDS.y, nothing), pointer(args, WORDS.x, nothing)
        weight, sums = pointer(args, WORDS.weight, np.int8(0)), pointer(args, WORDS.sums, np.int32(0))
        scale, bias = pointer(args, WORDS.scale, nothing), pointer(args, WORDS.bias, nothing)
        fits = pointer(args, WORDS.fits, np.uint8(0))
        block = min(rows, _BLOCK)
        quantized = ahead(pointer(args, WORDS.quantized, np.uint8(0)), t * block * pitch)
        found = array(args, WORDS.found, (units, 2), np.float32)
        zeros, factors = stack_pointer(_BLOCK, np.int32(0)), stack_pointer(_BLOCK, nothing)
        ends = stack_pointer(_LIMITS, nothing)
        limits = array_at(ends, (_LIMITS,))
        steps, lanes = steps_of(depth), width // VECTORS
        panel = steps * width * GROUP
        # Other activations than ReLU follow the product, and their range.
        activates = code != RELU_CODE and code != NONE
        mode = (RELU if code == RELU_CODE else 0) | (RANGE if finds and not activates else 0)
        low, high, factor, zero = nothing, nothing, nothing, np.int32(0)
        if not by_rows:
            ranges = array(args, WORDS.ranges, (given, 2), np.float32)
            for i in range(given):
                low, high = -maximum(-low, -ranges[i, 0]), maximum(high, ranges[i, 1])
            factor, zero = _quantization(low, high)
            for i in range(_BLOCK):
                put_number(factors, i, factor)
                put_number(zeros, i, zero)
        first, last = part(units, t, n)
        for unit in range(first, last):
            top, bottom, left, right = 0, rows, 0, panels
            if by_panels:
                left = unit * PANELS_OF_ONE_ROW
                right = min(panels, left + PANELS_OF_ONE_ROW)
            else:
                top, bottom = part(rows, unit, units)
            end = min(columns, right * width)
            limits[:] = nothing
            for start in range(top, bottom, _BLOCK):
                here = min(_BLOCK, bottom - start)
                if not by_panels or unit == first:
                    for i in range(here):
                        source = ahead(x, (start + i) * x_row)
                        if by_rows:
                            low, high = _widen(nothing, nothing, array_at(source, (depth,)))
                            factor, zero = _quantization(low, high)
                            put_number(factors, i, factor)
                            put_number(zeros, i, zero)
                        quantize_row(
                            ahead(quantized, i * pitch), source, depth, pitch, np.float32(1) / factor, np.float32(zero)
                        )
                row_tiles = -(-here // tile_rows())
                p = left
                while p < right:
                    together = PANELS_OF_ONE_ROW if here == 1 and p + PANELS_OF_ONE_ROW <= right else 1
                    in_words = IN_WORDS if number_at(fits, p) != 0 else 0
                    for tile_row in range(row_tiles):
                        i = here * tile_row // row_tiles
                        int8_tile(
                            here * (tile_row + 1) // row_tiles - i, together, steps, ahead(quantized, i * pitch), pitch,
                            ahead(weight, p * panel), panel, ahead(y, (start + i) * y_row + p * width), y_row,
                            columns - p * width, ahead(sums, p * width), ahead(scale, p * width),
                            ahead(bias, p * width), ahead(zeros, i), ahead(factors, i), ends, mode | in_words,
                        )  # fmt: skip
                    p += together
                if activates:
                    for i in range(start, start + here):
                        row = array_at(ahead(y, i * y_row + left * width), (end - left * width,))
                        activate(row, row, code, slope)
                        if finds:
                            limits[0], limits[lanes] = _widen(limits[0], limits[lanes], row)
            if finds:
                low, high = _widen(nothing, nothing, limits[: 2 * lanes])
                found[unit, 0], found[unit, 1] = low, high

    return int8_linear_slice


def _operations(rows, columns, depth, *_):
    return 2.0 * rows * columns * depth


# One step for the batch, from `ranges`, and one for each row.
BY_BATCH = Kernel(
    "int8_linear", _product(False), WORDS, outputs="y quantized found", stand_in="y", operations=_operations
)  # fmt: skip
BY_ROWS = Kernel(
    "int8_linear_rows", _product(True), WORDS, outputs="y quantized found", stand_in="y",
    shared="weight fits sums scale bias", operations=_operations,
)  # fmt: skip


def int8_linear(
    y: np.ndarray, x: np.ndarray, packed: PackedWeight, ranges: np.ndarray | None = None, activation: str = "none",
    slope: float = 0.01, found: np.ndarray | None = None,
) -> None:  # fmt: skip
    """``y = activation(x @ weight.T * scale + bias)`` with quantized ``x``; see the head of this file.

    Args:
        y: (M, N) float32, rows contiguous; must not overlap the other arrays.
        x: (M, K) float32, rows contiguous.
        packed: the weight and bias.
        ranges: (units, 2) float32, C-contiguous, from :func:`int8_range` of ``x``: one step for the batch. None: each
            row has a step of its own.
        activation, slope: as in :mod:`fastnn.kernels.activation.fused_activations`.
        found: receives the range of ``y``, as :func:`int8_range` does, in ``product_units(packed, M)`` units, or None.

    M, N and K may be 0.
    """
    code = activation_code(activation)
    weight, fits, sums, scale, bias, columns, depth = packed
    rows = matrix_shape("x", x)[0]
    width = panel_width()
    panels, steps = -(-columns // width), steps_of(depth)
    x_row = check_rows("x", x, FLOAT32, (rows, depth))
    y_row = check_rows("y", y, FLOAT32, (rows, columns), output=True)
    check("packed.weight", weight, _INT8, (panels, steps, width, GROUP))
    check("packed.fits", fits, _UINT8, (panels,))
    check("packed.sums", sums, _INT32, (panels * width,))
    check("packed.scale", scale, FLOAT32, (panels * width,))
    check("packed.bias", bias, FLOAT32, (panels * width,))
    units = product_units(packed, rows)
    if ranges is not None:
        check("ranges", ranges, FLOAT32, (matrix_shape("ranges", ranges)[0], 2))
    if found is not None:
        check_output("found", found, FLOAT32, (units, 2))
    if not y.size:
        return
    pitch = max(1, -(-depth // 64)) * 64
    parts = 1
    if rows > 1 or weight.nbytes > _BYTES_ALONE:
        parts = min(chunks_for(2.0 * rows * columns * depth / _SPEED), units)
    quantized = launcher.aligned((parts, min(rows, _BLOCK), pitch), _UINT8)
    kernel = BY_ROWS if ranges is None else BY_BATCH
    launch(
        kernel, parts,
        (y, quantized, y if found is None else found, x, y if ranges is None else ranges, weight, fits, sums, scale,
         bias),
        rows, columns, depth, y_row, x_row, panels, pitch, units, 0 if ranges is None else len(ranges),
        rows <= _FEW_ROWS, code, found is not None, slope,
    )  # fmt: skip


def product_units(packed: PackedWeight, rows: int) -> int:
    """The units that a product is cut into, each of whole rows or, if there are few, of whole panels."""
    if rows <= _FEW_ROWS:
        return -(-len(packed.weight) // PANELS_OF_ONE_ROW)
    return min(MOST_UNITS, -(-rows // _LEAST_ROWS))
