"""The total of an array."""

import math

import numpy as np
import pytest
from helpers import (
    DTYPES,
    SIZES,
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits_in_any_parts,
    guarded,
    no_launch,
)

from fastnn.kernels import total


def run(x, scale=1.0):
    out = np.full((), np.nan, x.dtype)
    total(out, x, scale)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [1.0, 0.125, -3.0, 1 / 3])
def test_total(dtype, size, scale):
    x = np.random.default_rng(size).standard_normal(size).astype(dtype)
    exact, magnitude = math.fsum(x) * scale, math.fsum(abs(x)) * abs(scale)
    # Summed in float64 for any dtype: float32 only adds one rounding at the end.
    length = 2 if dtype == np.float32 else size + 2
    magnitude = abs(exact) + size * 1e-16 * magnitude if dtype == np.float32 else magnitude
    assert_close(run(x, scale), np.array(exact), dtype, roundings=length, magnitude=magnitude)


def test_a_million_losses_keep_their_precision():
    x = np.full(1_000_003, 0.1, np.float32)
    assert run(x) == np.float32(1_000_003 * float(np.float32(0.1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_integers_are_exact(dtype):
    x = np.arange(1023, dtype=dtype).reshape(33, 31)
    assert run(x) == 1023 * 511


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_come_out(dtype):
    for special, expected in [
        ([np.nan], np.nan), ([np.inf], np.inf), ([-np.inf], -np.inf), ([np.inf, -np.inf], np.nan), ([], 60),
    ]:  # fmt: skip
        x = np.array([1.0] * 60 + special, dtype)
        np.testing.assert_array_equal(run(x), expected)
    # The mean of nothing.
    assert np.isnan(run(np.empty(0, dtype), np.nan))
    assert run(np.empty(0, dtype)) == 0
    assert run(np.full(3, np.finfo(dtype).max, dtype)) == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes_of_the_result(dtype):
    for shape in [(), (1,), (1, 1, 1)]:
        out = np.empty(shape, dtype)
        total(out, np.ones((2, 3), dtype))
        np.testing.assert_array_equal(out, np.full(shape, 6))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, side):
    for size in (1, 16, 67):
        out = Canary((1,), dtype)
        total(out.array, guarded(np.ones(size, dtype), side))
        out.check()
        assert out.array[0] == size


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_any_parts(dtype):
    x = np.random.default_rng(0).standard_normal(100_003).astype(dtype)
    assert_same_bits_in_any_parts(lambda: [run(x)], parallel=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["out", "x"])
def test_wrong_arrays_are_refused(dtype, name):
    good = {"out": np.zeros(1, dtype), "x": np.ones((5, 3), dtype)}
    if name == "x":
        # Any shape has a total.
        shapes = ("an axis more", "an axis less", "a row more", "a row less", "a column more", "a column less")
        assert_refuses(total, good, name, shapes)
    else:
        # One number is contiguous with any strides.
        free = ("an axis more", "an axis less", "every other row", "reversed", "broadcast")
        assert_refuses(total, good, name, free, output=True)


def test_wrong_scale_is_refused():
    out = np.zeros(1)
    with no_launch(), pytest.raises(TypeError, match=r"scalar argument of total\.float64"):
        total(out, np.ones(3), "half")
    assert not out.any()
