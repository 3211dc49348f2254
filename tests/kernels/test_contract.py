"""Contracts: Python and compiled code accept the same arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import misaligned, read_only
from numba import types

from fastnn.kernels.runtime import contract, program
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Entry
from fastnn.kernels.runtime.contract import Contract, Layout

_LAYOUTS = {name: layout for name, layout in vars(contract).items() if isinstance(layout, Layout)}
_has_layout = contract._has_layout


def _enter_has_layout(context, array, size, bits, rows, columns):
    return 1 if _has_layout(context, array, size, bits, rows, columns) else 0


_HAS_LAYOUT = Entry(_enter_has_layout, [types.int64] * 6, types.int64)


class _Subclass(np.ndarray):
    pass


def _arrays() -> list[Any]:
    """Arrays of (4, 6), (6,), () and neighbours, in every layout that a caller may come with."""
    found: list[Any] = [None, 3, "text", [1.0], object(), np.float32(1)]
    for dtype in (np.float32, np.float64, np.int64, np.float16, np.dtype(">f4")):
        wide = np.zeros((12, 18), dtype)
        matrix = wide[:4, :6].copy()
        overlapping = np.lib.stride_tricks.as_strided(matrix, (4, 6), (matrix.itemsize * 2, matrix.itemsize))
        found += [
            matrix, np.asfortranarray(matrix), wide[:4, :6], wide[:6, :4].T, wide[:8:2, :12:2], matrix[::-1],
            matrix[:, ::-1], overlapping, overlapping.T, np.broadcast_to(matrix[:1], (4, 6)), matrix[:3], matrix[:, :5],
            matrix[None], matrix.view(_Subclass), read_only(matrix), misaligned(matrix), wide[:4, :1], wide[:1, :6],
            wide[:1, :1], np.zeros(6, dtype), np.zeros(5, dtype), np.zeros(12, dtype)[::2], np.zeros(6, dtype)[::-1],
            np.broadcast_to(np.zeros(1, dtype), 6), read_only(np.zeros(6, dtype)), misaligned(np.zeros(6, dtype)),
            np.zeros(1, dtype), np.zeros((), dtype), read_only(np.zeros((), dtype)),
        ]  # fmt: skip
    return found


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("name", _LAYOUTS)
def test_python_and_compiled_code_accept_the_same_arrays(name: str, dtype: np.dtype) -> None:
    layout, accepted = _LAYOUTS[name], 0
    dimensions = layout.bits & contract._DIMENSIONS
    for array in _arrays():
        shapes = {(4, 6)[2 - dimensions :], getattr(array, "shape", ())}
        for shape in (shape for shape in shapes if len(shape) == dimensions):
            try:
                layout.check("a", array, layout.dtype or dtype, shape)
                holds = True
            except (TypeError, ValueError):
                holds = False
            rows, columns = (*shape, 1, 1)[:2]
            compiled = _HAS_LAYOUT.call(program.context, id(array), dtype.itemsize, layout.bits, rows, columns)
            # Python alone takes one number with dimensions.
            if not (name == "OUTPUT_NUMBER" and np.size(array) == 1 and np.ndim(array)):
                assert compiled == holds, (array, shape)
            accepted += compiled
    assert accepted


def test_the_error_names_the_argument() -> None:
    two = Contract("rows columns", [("x", contract.MATRIX, "rows columns"), ("bias?", contract.VECTOR, "columns")])
    x, bias = np.zeros((4, 6), np.float32), np.zeros(6, np.float32)
    two.check(FLOAT32, (4, 6), x, None)
    two.check(FLOAT32, (4, 6), x, bias)
    with pytest.raises(ValueError, match=r"^bias must have shape \(6,\), found \(5,\)$"):
        two.check(FLOAT32, (4, 6), x, bias[:5])
    with pytest.raises(TypeError, match="x must be a NumPy array, found NoneType"):
        two.check(FLOAT32, (4, 6), None, bias)
