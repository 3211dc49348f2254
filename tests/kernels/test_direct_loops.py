"""NumPy's inner loops called directly: the same bits as NumPy's own calls, and no call that NumPy would refuse."""

from __future__ import annotations

import itertools
import operator
import sys
from typing import Any

import numpy as np
import pytest

from fastnn._core.sums import add_up
from fastnn.kernels.runtime import direct_loops
from fastnn.kernels.runtime.direct_loops import CHOICE, FEW, MOST, SUM, Direct

ARITHMETIC = (np.add, np.subtract, np.multiply, np.true_divide)
RELATIONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
FUNCTIONS = (
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sqrt, np.reciprocal, np.sin, np.cos, np.tan,
    np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.arcsinh, np.arccosh, np.arctanh, np.negative, np.abs,
    np.square,
)  # fmt: skip
SHAPES = [(), (1,), (7,), (64,), (64, 10), (1, 10), (64, 1), (10,), (3, 4, 5), (3, 1, 1), (4, 5), (0,), (0, 5)]
NUMBERS = (1.7, -3, 1e300, float("nan"), 10**400, True, 2j, np.float32(1))


def assert_same(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape, found.strides) == (expected.dtype, expected.shape, expected.strides)
    assert found.tobytes() == expected.tobytes()


def asked(ufunc: np.ufunc, *args: Any) -> Any:
    """What NumPy returns; None if it raises."""
    try:
        with np.errstate(all="ignore"):
            return ufunc(*args)
    except (TypeError, ValueError, OverflowError):
        return None


@pytest.mark.parametrize("dtype", "fdle?F")
@pytest.mark.parametrize("ufunc", ARITHMETIC + RELATIONS, ids=operator.attrgetter("__name__"))
def test_two_operands(ufunc: np.ufunc, dtype: str) -> None:
    direct = Direct(ufunc, ufunc in RELATIONS)
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.normal(0, 3, shape).astype(dtype)) for shape in SHAPES]
    taken = 0
    for x, y in [*itertools.product(arrays, arrays), *itertools.product(arrays, NUMBERS)]:
        for pair in ((x, y), (y, x)):
            expected, found = asked(ufunc, *pair), direct.call(*pair)
            if found is not None:
                taken += 1
                assert_same(found, expected)
            if type(pair[0]) is np.ndarray:
                out, target = pair[0].copy(), pair[0].copy()
                result = asked(ufunc, *pair, out)
                if direct.call(target, pair[1], target) is None:
                    assert target.tobytes() == pair[0].tobytes()
                else:
                    assert result is not None
                    assert_same(target, out)
    assert (taken > 100) == (dtype in "fd" or (dtype == "l" and ufunc is not np.true_divide) or (
        dtype == "?" and ufunc not in (np.subtract, np.true_divide)
    ))  # fmt: skip


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("ufunc", FUNCTIONS, ids=operator.attrgetter("__name__"))
def test_one_operand(ufunc: np.ufunc, dtype: str) -> None:
    direct = Direct(ufunc)
    rng = np.random.default_rng(1)
    for shape in ((), (1,), (3,), (17,), (64, 10), (4096,), (5, 1, 7)):
        x = np.asarray(rng.normal(0, 2, shape).astype(dtype))
        assert_same(direct.call(x), asked(ufunc, x))
        target = x.copy()
        assert direct.call(target, target) is target
        assert_same(target, asked(ufunc, x))
    assert direct.call(np.zeros(0, dtype)) is None


def test_left_to_numpy() -> None:
    add = Direct(np.add)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert add.call(x.T, x.T) is None
    assert add.call(x[:, ::2], 1.0) is None
    assert add.call(x, x.astype(np.float64)) is None
    assert add.call(x, x.astype(">f4")) is None
    assert add.call(x, [1.0]) is None
    assert add.call(1.0, 2.0) is None
    assert add.call(np.zeros(MOST + 1, np.float32), 1.0) is None
    assert add.call(np.zeros(10, np.float32).view(type("Sub", (np.ndarray,), {})), 1.0) is None


def test_overlap_and_read_only_memory_are_left_to_numpy() -> None:
    add = Direct(np.add)
    z = np.arange(10, dtype=np.float32)
    for target, operand in ((z[:9], z[1:]), (z[1:], z[:9]), (z[:4], z[:1])):
        before = z.copy()
        assert add.call(target, operand, target) is None
        np.testing.assert_array_equal(z, before)
    halves = z[:5], z[5:]
    assert add.call(*halves, halves[0]) is halves[0]
    z.flags.writeable = False
    assert add.call(z, 1.0, z) is None


def test_references() -> None:
    add, less = Direct(np.add), Direct(np.less, True)
    x, text = np.ones(5, np.float32), "text"
    objects = (None, x, text, np.dtype(np.float32), np.dtype(np.bool_))

    def calls() -> None:
        for _ in range(1000):
            add.call(x, x)
            add.call(x, 2.0, x)
            add.call(x, text)
            add.call(x, 10**400)
            less.call(x, x)
            SUM.call(x, 0, 1, False)
            SUM.call(x, 0, 1, text)
            CHOICE.call(x, x, x)
            CHOICE.call(x < 1, x, x)

    calls()
    before = [sys.getrefcount(o) for o in objects]
    calls()
    assert max(abs(sys.getrefcount(o) - n) for o, n in zip(objects, before, strict=True)) < 50


@pytest.mark.parametrize("dtype", "fd")
def test_sums(dtype: str) -> None:
    rng = np.random.default_rng(2)
    shapes = [
        (), (1,), (5,), (2000,), (64, 64), (64, 1), (1, 64), (3, 4, 5), (600, 2), (2, 600), (8, 32, 32), (1, 1, 1),
        (3, 1, 4), (520, 1), (40, 1),
    ]  # fmt: skip
    for shape in shapes:
        x = np.asarray(rng.normal(0, 100, shape).astype(dtype))
        for first, last in itertools.combinations(range(x.ndim + 1), 2) if x.ndim else [(0, 0)]:
            axes = None if (first, last) == (0, x.ndim) else tuple(range(first, last))
            for keep in (False, True):
                found = SUM.call(x, first, last, keep)
                if found is not None:
                    assert_same(found, numpys_sum(x, axes, keep))
                    assert np.asarray(add_up(x, axes, None, keep)).tobytes() == found.tobytes()
        assert SUM.call(x, 0, x.ndim, False) is not None
    assert SUM.call(np.zeros((FEW + 1, 2), dtype), 0, 1, False) is None
    assert SUM.call(np.zeros((2, 3, 2), dtype), 1, 2, False) is None
    assert SUM.call(np.zeros((3, 2), dtype).T, 0, 1, False) is None
    assert SUM.call(np.zeros(3, np.int64), 0, 1, False) is None


def numpys_sum(x: np.ndarray, axes: Any, keep: bool) -> Any:
    reduce: Any = np.add.reduce
    return reduce(x, axes, None, None, keep)


@pytest.mark.parametrize("dtype", "fdl")
def test_choices(dtype: str) -> None:
    rng = np.random.default_rng(3)
    number = np.asarray(rng.normal(0, 9)).astype(dtype)
    for shape in ((), (1,), (7,), (64, 10)):
        mask = np.asarray(rng.random(shape) < 0.5)
        x, y = (np.asarray(rng.normal(0, 9, shape).astype(dtype)) for _ in range(2))
        for pair in itertools.product((x, y, number), repeat=2):
            assert_same(CHOICE.call(mask, *pair), np.where(mask, *pair))
    mask, x = np.ones((3, 4), bool), np.ones((3, 4), dtype)
    assert CHOICE.call(mask, x, x[0]) is None
    assert CHOICE.call(mask[0], x, x) is None
    assert CHOICE.call(mask.view(np.uint8), x, x) is None
    assert CHOICE.call(mask, x, x.astype(np.float16)) is None
    assert CHOICE.call(mask, x, 0.0) is None


def test_another_layout_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_loops, "find_loop", lambda *args: None)
    x = np.ones(3, np.float32)
    assert Direct(np.add).call(x, x) is None
    assert direct_loops._make_sum()(x, 0, 1, False) is None
