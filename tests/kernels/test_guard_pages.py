"""Every launch of the rows and cases, with each array between two pages of memory that cannot be read or written."""

from __future__ import annotations

import ctypes
import functools
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES
from cross_compile import import_kernels, values_of
from helpers import cut_in, guarded
from operations import OPERATIONS, everything

import fastnn
from fastnn import kernels
from fastnn.kernels.runtime import launcher, numpy_loops
from fastnn.kernels.runtime.compiler import Kernel

GROUPS = sorted({case.group for case in CASES})
# Around the vector lengths of AVX-512 and AVX2, for rows that are defined for any size.
NUMBERS = (1, 17, 67)
# Kernels that no row launches, and the files below tests/ that have guard pages for them.
ELSEWHERE = {
    "activation_derivative": "programs/test_classic_kernels.py",
    "categorical_draw": "kernels/test_categorical.py",
    "categorical_entropy": "kernels/test_categorical.py",
    "categorical_entropy_backward": "kernels/test_categorical.py",
    "categorical_log_prob": "kernels/test_categorical.py",
    "categorical_log_prob_backward": "kernels/test_categorical.py",
    "compress_rows": "kernels/test_sparse_linear.py",
    "dense_rows": "kernels/test_dense_rows.py",
    "gather": "kernels/test_gather.py",
    "int8_linear": "kernels/test_int8.py",
    "int8_linear_rows": "kernels/test_int8.py",
    "int8_range": "kernels/test_int8.py",
    "normalize": "kernels/test_categorical.py",
    "normalize_backward": "kernels/test_categorical.py",
    "paired_loss": "programs/test_classic_kernels.py",
    "paired_loss_gradient": "programs/test_classic_kernels.py",
    "perceptron_predict": "programs/test_classic_kernels.py",
    "perceptron_train": "programs/test_classic_kernels.py",
    "softmax_error": "programs/test_classic_kernels.py",
    "softmax_rows": "programs/test_classic_kernels.py",
    "sort_columns": "kernels/test_sparse_linear.py",
    "sparse_forward": "kernels/test_sparse_linear.py",
    "sparse_update": "kernels/test_sparse_linear.py",
    "take_rows": "programs/test_classic_kernels.py",
}

_launched: set[str] = set()
# The steps of an optimizer are launches of the same sizes: the first few are enough.
_ENOUGH = 3
_seen: Counter[Any] = Counter()


def _name(kernel: Kernel) -> str:
    """Its name without dtypes."""
    return re.sub(r"\.(float|u?int)\d+", "", kernel.name)


def _bytes(first: int, last: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_char * (last - first)).from_address(first), np.uint8)


class Fenced:
    """Copies of a launch's arrays next to a protected page; arrays that overlap share a copy.

    Args:
        side: the end of the copies that touches the page, 'start' or 'end'.
    """

    def __init__(self, arrays: tuple[np.ndarray, ...], side: str) -> None:
        self.spans: list[tuple[int, int]] = []
        for first, last in sorted(np.lib.array_utils.byte_bounds(a) for a in arrays if a.size):
            if self.spans and first < self.spans[-1][1]:
                self.spans[-1] = self.spans[-1][0], max(last, self.spans[-1][1])
            else:
                self.spans.append((first, last))
        self.copies = [guarded(_bytes(*span), side) for span in self.spans]
        self.arrays = tuple([self._copy(a) if a.size else guarded(a, side) for a in arrays])

    def _copy(self, a: np.ndarray) -> np.ndarray:
        [(start, copy)] = [
            (first, copy)
            for (first, last), copy in zip(self.spans, self.copies, strict=True)
            if first <= a.ctypes.data < last
        ]
        return np.ndarray(a.shape, a.dtype, copy, a.ctypes.data - start, a.strides)

    def assert_as_original(self) -> None:
        """The same bytes are in the copies as in the arrays themselves."""
        for span, copy in zip(self.spans, self.copies, strict=True):
            assert _bytes(*span).tobytes() == copy.tobytes()


@contextmanager
def fences() -> Iterator[None]:
    """Run launches inside three times: as it is, and on copies at either page."""

    def watch(kernel: Kernel | None, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bool:
        if kernel is None:
            return False
        _launched.add(_name(kernel))
        like = kernel.name, parts, tuple([(a.shape, a.strides) for a in arrays]), scalars
        _seen[like] += 1
        if _seen[like] > _ENOUGH:
            return False
        fenced = [Fenced(arrays, side) for side in ("start", "end")]
        launcher.launch_unwatched(kernel, parts, arrays, *scalars)
        for copies in fenced:
            launcher.launch_unwatched(kernel, parts, copies.arrays, *scalars)
            copies.assert_as_original()
        return True

    with launcher.recording(watch):
        yield


@functools.cache
def launch_cases(group: str, parts: int) -> None:
    for case in CASES:
        if case.group == group:
            with cut_in(parts), fences():
                case.run(fastnn, case.make_inputs())


@functools.cache
def launch_rows(kind: Any, numbers: int) -> None:
    for operation in OPERATIONS:
        for shapes in operation.shapes if (sized := operation.sized(numbers)) is None else [sized]:
            with cut_in(3), fences():
                everything(operation, operation.arrays(shapes, kind), operation.most != 0, "contiguous")(fastnn)


@functools.cache
def launch_others(kind: Any) -> None:
    """Launches of recordings, and of sizes that no row has."""
    x, long = np.linspace(-1, 1, 77, dtype=kind).reshape(7, 11), np.linspace(-1, 1, 18_002, dtype=kind).reshape(2, -1)
    out, column, total, zero = np.empty((7, 11), kind), np.empty(11, kind), np.empty((), kind), np.zeros((), kind)
    with cut_in(3), fences():
        assert numpy_loops.record_loop(np.add, (x, x[0]), out)
        assert numpy_loops.record_loop(np.sqrt, (np.abs(x),), out)
        assert numpy_loops.record_total(x, (0,), zero, column)
        assert numpy_loops.record_where(x > 0, x, x[:, :1], out)
        kernels.activation_curve(out, x, x, x, "tanh")
        kernels.activation_slope_backward(out, out.copy(), x, x, x, "tanh")
        kernels.activation_curve_backward(out, out.copy(), out.copy(), x, x, x, x, "sigmoid")
        kernels.total(total, long.reshape(-1))
        kernels.pointwise_loss("mse", total, None, None, long, 2 * long)
        kernels.probabilities(np.empty_like(long), long)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("group", GROUPS)
def test_cases(group: str, parts: int) -> None:
    launch_cases(group, parts)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows(kind: Any, numbers: int) -> None:
    launch_rows(kind, numbers)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_other_launches(kind: Any) -> None:
    launch_others(kind)


def test_every_kernel_is_launched() -> None:
    import_kernels()
    for group in GROUPS:
        launch_cases(group, 1)
    for kind in (np.float32, np.float64):
        launch_rows(kind, 17)
        launch_others(kind)
    found = [k for k in values_of(Kernel) if k.function.__module__.startswith("fastnn.kernels.")]
    assert {_name(kernel) for kernel in found} - _launched == set(ELSEWHERE)
    for name, file in ELSEWHERE.items():
        assert "guarded(" in (Path(__file__).parents[1] / file).read_text(encoding="utf-8"), name
