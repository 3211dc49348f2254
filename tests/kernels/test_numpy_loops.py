"""NumPy's inner loops as launches: the same bits as NumPy's own calls."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastnn.kernels.runtime import numpy_loops
from fastnn.kernels.runtime.program import Program

FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]
SHAPES = [(), (1,), (7,), (64,), (3, 5), (64, 10), (1, 9), (9, 1), (4, 3, 5), (513, 7), (2, 3, 4, 5), (0,), (3, 0)]
UFUNCS = sorted(numpy_loops.EXACT | numpy_loops.ROUNDED, key=operator.attrgetter("__name__"))


def replayed(record: Callable[[], bool]) -> bool:
    """Record launches and run them; whether there are any."""
    program = Program()
    with program.recording():
        can = record()
    program.replay()
    return can


def bits(a: np.ndarray) -> bytes:
    return np.ascontiguousarray(a).tobytes()


def operands(shape: tuple[int, ...], dtype: np.dtype, count: int) -> list[tuple[np.ndarray, ...]]:
    """Contiguous, transposed, broadcast and strided arrays, and arrays of one number."""
    rng = np.random.default_rng(len(shape))
    a, b = (np.asarray(rng.normal(size=shape)).astype(dtype) for _ in range(2))
    number = np.asarray(2.5, dtype)
    if count == 1:
        return [(a,), (a.T,), (a[..., ::2],) if shape else (a,)]
    if count == 3:
        return [(a, np.asarray(-2.5, dtype), number), (a, b, number), (a.T, b.T, b.T)]
    found: list[tuple[np.ndarray, ...]] = [(a, b), (a.T, b.T), (a, number), (number, a), (a, a)]
    if len(shape) == 2 and a.size:
        found += [(a, b[0]), (b[:, :1], a), (a[:, ::2], b[:, ::2]), (a.T, b.T.copy())]
    return found


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("ufunc", UFUNCS, ids=operator.attrgetter("__name__"))
def test_elementwise(ufunc: np.ufunc, dtype: np.dtype) -> None:
    launched = 0
    for shape in SHAPES:
        for given in operands(shape, dtype, ufunc.nin):
            try:
                with np.errstate(all="ignore"):
                    expected = np.asarray(ufunc(*given))
            except TypeError:
                # Bitwise operations of floats.
                continue
            out = np.empty_like(expected)
            if replayed(lambda given=given, out=out: numpy_loops.record_loop(ufunc, given, out)):
                launched += 1
                assert bits(out) == bits(expected), (shape, [np.shape(a) for a in given])
            else:
                assert ufunc not in numpy_loops.EXACT
    assert launched or ufunc in (np.bitwise_and, np.bitwise_or)


@pytest.mark.parametrize(
    "ufunc", [np.logical_and, np.logical_or, np.logical_not, np.bitwise_and, np.bitwise_or, np.equal, np.not_equal]
)
def test_bools(ufunc: np.ufunc) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        given = tuple([np.asarray(rng.random(shape) < 0.5) for _ in range(ufunc.nin)])
        for sides in (given, tuple([a.T for a in given])):
            expected = np.asarray(ufunc(*sides))
            out = np.empty_like(expected)
            assert replayed(lambda sides=sides, out=out: numpy_loops.record_loop(ufunc, sides, out))
            assert bits(out) == bits(expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "shape", [(1,), (7,), (129,), (1000,), (8193,), (100_003,), (3, 5), (64, 10), (1, 9), (9, 1), (513, 7), (7, 513),
              (20, 9000), (4, 3, 5), (2, 3, 4, 5), (300, 300)], ids=str,
)  # fmt: skip
def test_sums(shape: tuple[int, ...], dtype: np.dtype) -> None:
    a, zero = np.random.default_rng(0).normal(size=shape).astype(dtype), np.zeros((), dtype)
    for count in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            expected = np.asarray(np.add.reduce(a, axes))
            out = np.full_like(expected, np.nan)
            is_recorded = replayed(lambda axes=axes, out=out: numpy_loops.record_total(a, axes, zero, out))
            if not is_recorded:
                # NumPy 2.0 adds the sums of its buffer.
                assert a.size > np.getbufsize()
                assert not numpy_loops._sums_at_once()
                continue
            assert bits(out) == bits(expected), axes
            # Nothing is left of the run before.
            kept = np.full_like(np.asarray(np.add.reduce(a, axes, keepdims=True)), 3)
            assert replayed(lambda axes=axes, kept=kept: numpy_loops.record_total(a, axes, zero, kept))
            assert bits(kept) == bits(expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("shape", "key"),
    [((9, 7), np.s_[:, 1:]), ((9, 700), np.s_[:, 3:]), ((700, 9), np.s_[1:, :-1]), ((9, 7), np.s_[::2]),
     ((30, 40), np.s_[:, ::3]), ((6, 5, 7), np.s_[:, 1:4]), ((6, 5, 7), np.s_[1:, :, 2:5]), ((60, 4, 40), np.s_[:, 1])],
    ids=str,
)  # fmt: skip
def test_sums_of_parts(shape: tuple[int, ...], key: Any, dtype: np.dtype) -> None:
    a, zero = np.random.default_rng(0).normal(size=shape).astype(dtype)[key], np.zeros((), dtype)
    for axis in range(a.ndim):
        expected = np.asarray(np.add.reduce(a, axis))
        out = np.full_like(expected, np.nan)
        assert replayed(lambda axis=axis, out=out: numpy_loops.record_total(a, (axis,), zero, out))
        assert bits(out) == bits(expected), axis
    if not a.flags.c_contiguous:
        assert not replayed(lambda: numpy_loops.record_total(a, (0, 1), zero, out))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("ufunc", sorted(numpy_loops.ROUNDED, key=str), ids=str)
def test_rounding_functions_of_repeated_rows_and_parts(ufunc: np.ufunc, dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.uniform(0.1, 2, shape).astype(dtype)

    shape, launched = (5, 3, 37), 0
    cases = [some(37), some(3, 37), some(3, 1), some(5, 1, 37), some(5, 1, 1), some(1, 3, 1), some(1)]
    cases += [some(5, 3, 41)[:, :, 2:39], some(5, 4, 37)[:, 1:], some(9, 3, 37)[::2], some(5, 3, 74)[..., ::2]]
    cases += [some(37, 3, 5).T, some(3, 5, 37).transpose(1, 0, 2), some(5, 3, 37)[:, :, ::-1]]
    for a in cases:
        for b in cases if ufunc.nin == 2 else [a]:
            given = tuple([np.broadcast_to(x, shape) for x in (a, b)][: ufunc.nin])
            out, expected = np.empty(shape, dtype), np.empty(shape, dtype)
            ufunc(*given, expected)
            if replayed(lambda given=given, out=out: numpy_loops.record_loop(ufunc, given, out)):
                launched += 1
                assert bits(out) == bits(expected), [x.strides for x in given]
    assert launched > 8


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_where(dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        a, b = (np.asarray(rng.normal(size=shape)).astype(dtype) for _ in range(2))
        mask = np.asarray(rng.random(shape) < 0.5)
        one, zero = np.asarray(1.5, dtype), np.asarray(-0.0, dtype)
        for m, x, y in [(mask, a, b), (mask.T, a.T, b.T), (mask, one, b), (mask, a, zero), (mask, one, zero)]:
            expected = np.where(m, x, y)
            out = np.empty_like(expected)
            assert replayed(lambda m=m, x=x, y=y, out=out: numpy_loops.record_where(m, x, y, out))
            assert bits(out) == bits(expected)


def test_what_has_no_launch_is_left_to_numpy() -> None:
    a, out = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    five = np.ones((2, 3, 2, 3, 2, 3), np.float32)[:, ::2, :, ::2, :, ::2]
    assert not replayed(lambda: numpy_loops.record_loop(np.add, (a, a.astype(np.float64)), out))
    assert not replayed(lambda: numpy_loops.record_loop(np.add, (a.astype(np.int32), a.astype(np.int32)), out))
    assert not replayed(lambda: numpy_loops.record_loop(np.exp, (a[:, ::2],), out[:, ::2]))
    assert not replayed(lambda: numpy_loops.record_loop(np.add, (five, five), np.empty(five.shape, np.float32)))
    assert not replayed(lambda: numpy_loops.record_total(a.T, (0,), out[0, 0], out[0]))
    assert not replayed(lambda: numpy_loops.record_total(a[::-1], (0,), out[0, 0], out[0]))
    assert not replayed(lambda: numpy_loops.record_where(a, a, a, out))
    assert not out.any()
