"""Contracts: what the arrays of a function must be, declared once for Python and for compiled code.

A small call is checked in compiled code, which only says yes or no. After a no, Python checks the same
contract, raises the error, or takes the arrays that only it accepts (empty ones).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.runtime.checks import (
    check,
    check_output,
    check_rows,
    check_rows_or_columns,
    check_scalar,
    check_strided,
    is_turned,
)
from fastnn.kernels.runtime.compiler import INT64, inline
from fastnn.kernels.runtime.program import INT64 as INT64_WORD
from fastnn.kernels.runtime.program import NONE, is_plain, is_writeable, number_size
from fastnn.kernels.runtime.raw_memory import (
    descriptor_of,
    dimension_of,
    integer,
    ndim_of,
    stride_of,
)

# Bits of a layout in compiled code: the number of dimensions, and what an array must be.
_DIMENSIONS, _OUTPUT, _DENSE, _ROWS, _COLUMNS, _LABELS = 3, 4, 8, 16, 32, 64
# Bits of an argument above those: whether it may be None, and the indices of its sizes.
_OPTIONAL, _FIRST, _LAST = 128, 8, 10


class Layout(NamedTuple):
    """How the numbers of an array may lie in memory.

    Attributes:
        check: ``check(name, array, dtype, shape)`` raises unless an array has this layout.
        bits: the same for :func:`_has_layout`.
        dtype: of the numbers; None for that of the other arrays.
    """

    check: Callable[..., Any]
    bits: int
    dtype: np.dtype | None = None


def _check_output_rows(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, int]) -> None:
    check_rows(name, a, dtype, shape, output=True)


STRIDED = Layout(check_strided, 2)
OUTPUT_ROWS = Layout(_check_output_rows, 2 | _OUTPUT | _ROWS)
OUTPUT_ROWS_OR_COLUMNS = Layout(check_rows_or_columns, 2 | _OUTPUT | _ROWS | _COLUMNS)
MATRIX = Layout(check, 2 | _DENSE)
OUTPUT_MATRIX = Layout(check_output, 2 | _OUTPUT | _DENSE)
VECTOR = Layout(check, 1 | _DENSE)
OUTPUT_VECTOR = Layout(check_output, 1 | _OUTPUT | _DENSE)
LABELS = Layout(check, 1 | _DENSE | _LABELS, INT64)
OUTPUT_NUMBER = Layout(check_scalar, _OUTPUT)


@inline
def _has_layout(context, array, size, bits, rows, columns):
    """Whether an array, given by id, has a layout, numbers of ``size`` bytes and this shape, without 0 in it."""
    if bits & _LABELS:
        size = 8
        if not is_plain(context, array) or descriptor_of(array) != integer(context, INT64_WORD):
            return False
    elif number_size(context, array) != size:
        return False
    dimensions = bits & _DIMENSIONS
    if ndim_of(array) != dimensions or (bits & _OUTPUT and not is_writeable(array)):
        return False
    if dimensions == 0:
        return True
    row = stride_of(array, 0)
    if dimensions == 1:
        return dimension_of(array, 0) == rows and (rows == 1 or row == size)
    column = stride_of(array, 1)
    if dimension_of(array, 0) != rows or dimension_of(array, 1) != columns or (row | column) % size != 0:
        return False
    if bits & _COLUMNS and is_turned(rows, columns, row, column, size):
        # The same of the transpose.
        rows, columns, row, column = columns, rows, column, row
    if bits & (_ROWS | _DENSE) and not (columns == 1 or column == size):
        return False
    if bits & _DENSE:
        return rows == 1 or row == columns * size
    # The rows of an output must not overlap.
    return bits & _ROWS == 0 or rows == 1 or row >= columns * size


class Contract:
    """The arguments of a function: their names, shapes and layouts.

    Args:
        sizes: the names of up to four sizes, as in ``"m depth columns"``.
        arguments: ``(name, layout, shape)`` each, in the order of the checks; a shape is names of sizes. A name that
            ends in ``?`` may be None.

    All arrays have one dtype, except labels.
    """

    def __init__(self, sizes: str, arguments: Sequence[tuple[str, Layout, str]]) -> None:
        places = {name: i for i, name in enumerate(sizes.split())}
        self._arguments = [
            (name.rstrip("?"), name.endswith("?"), layout, tuple([places[size] for size in shape.split()]))
            for name, layout, shape in arguments
        ]
        self._checks: list[tuple[Any, ...]] = [
            (name, may_be_none, layout.check, layout.dtype, _enough(layout), len(shape), *(*shape, 0, 0)[:2])
            for name, may_be_none, layout, shape in self._arguments
        ]
        # `holds(context, size, sizes, arrays)` in compiled code: whether these arrays, given by id, are accepted.
        self.holds = _compiled(tuple([_bits(*argument[1:]) for argument in self._arguments]))

    def check(self, dtype: np.dtype, sizes: tuple[int, ...], *arrays: np.ndarray | None) -> None:
        """Raise for the first array that breaks the contract."""
        for (name, may_be_none, check_layout, own, enough, dimensions, first, last), a in zip(
            self._checks, arrays, strict=True
        ):
            if a is None and may_be_none:
                continue
            shape = (sizes[first], sizes[last]) if dimensions == 2 else (sizes[first],) if dimensions else ()
            wanted = dtype if own is None else own
            # Most arrays pass here, in 0.3 us instead of 0.4.
            if type(a) is not np.ndarray or a.dtype is not wanted or a.shape != shape or ~a.flags.num & enough:
                check_layout(name, a, wanted, shape)


def _enough(layout: Layout) -> int:
    """NumPy's flags that suffice for a layout: aligned, C-contiguous unless strided, writeable if output."""
    return 0x0100 | (0x0001 if layout.bits & (_DENSE | _ROWS) else 0) | (0x0400 if layout.bits & _OUTPUT else 0)


def _bits(may_be_none: bool, layout: Layout, shape: tuple[int, ...]) -> int:
    first, last = (*shape, 0, 0)[:2]
    return layout.bits | may_be_none * _OPTIONAL | first << _FIRST | last << _LAST


def _compiled(arguments: tuple[int, ...]) -> Any:
    @inline
    def holds(context, size, sizes, arrays):
        # A loop: a check of its own for each argument took 0.6 to 1.2 s more to compile in an entry.
        for i in range(len(arguments)):
            bits, array = arguments[i], arrays[i]
            if bits & _OPTIONAL and array == integer(context, NONE):
                continue
            if not _has_layout(context, array, size, bits, sizes[bits >> _FIRST & 3], sizes[bits >> _LAST & 3]):
                return False
        return True

    return holds
