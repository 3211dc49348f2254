"""Norms of flat buffers and scaling against NumPy in float64."""

import math

import numpy as np
import pytest
from helpers import (
    DTYPES,
    Canary,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)

from fastnn.kernels import block_norms, clip_factor, power_sum, scale
from fastnn.kernels.reduce.norms import blocks_of

SIZES = [0, 1, 7, 4095, 4096, 4097, 20_011]
NAIVE = {
    1.0: lambda x: math.fsum(np.abs(x)), 2.0: lambda x: math.fsum(x * x), math.inf: lambda x: max(abs(x), default=0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p", [1, 2.0, math.inf])
def test_power_sum(dtype, size, p):
    x = np.random.default_rng(0).standard_normal(size).astype(dtype)
    expected = NAIVE[float(p)](x.astype(np.float64))
    for parts in (1, 3):
        with cut_in(parts):
            # Sums of numbers of one sign, in float64.
            assert power_sum(x, p) == pytest.approx(expected, rel=1e-16 * (10 + size), abs=0)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_special_numbers(p):
    for wrong, expected in ((np.nan, math.isnan), (np.inf, math.isinf), (-np.inf, math.isinf)):
        x = np.ones(5000, np.float32)
        x[4500] = wrong
        assert expected(power_sum(x, p))
    huge = np.full(3, 3e38, np.float32)
    assert math.isfinite(power_sum(huge, p))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_scale(dtype, size):
    x = np.random.default_rng(0).standard_normal(size).astype(dtype)
    expected = x * dtype(0.3)
    for parts in (1, 3):
        target = Canary((size,), dtype)
        target.array[...] = x
        with cut_in(parts):
            scale(target.array, 0.3)
        assert_same_bits(target.array, expected)
        target.check()
    scale(x, math.nan)
    assert np.isnan(x).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 2.0, math.inf])
def test_clip_factor(dtype, p):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size).astype(dtype) for size in SIZES]
    expected = math.sqrt(sum(power_sum(x, 2) for x in arrays)) if p == 2 else None
    expected = sum(power_sum(x, 1) for x in arrays) if p == 1 else expected
    expected = max(power_sum(x, p) for x in arrays) if p == math.inf else expected
    counts = [blocks_of(x.size) for x in arrays]
    for parts in (1, 3):
        sums, norm, factor = Canary((sum(counts),), np.float64), Canary((1,), dtype), Canary((1,), np.float64)
        with cut_in(parts):
            for x, count, last in zip(arrays, counts, np.cumsum(counts), strict=True):
                block_norms(sums.array[last - count : last], x, p)
            for limit in (0.0, expected / 3, 2 * expected, math.inf):
                clip_factor(factor.array, norm.array, sums.array, p, limit)
                assert norm.array[0] == pytest.approx(expected, rel=2 * float(np.finfo(dtype).eps), abs=0)
                quotient = dtype(limit) / (norm.array[0] + dtype(1e-6))
                assert factor.array[0] == min(1.0, quotient)
        for canary in (sums, norm, factor):
            canary.check()


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize(("wrong", "expected"), [(np.nan, np.nan), (np.inf, 0.0)])
def test_clip_factor_of_special_numbers(p, wrong, expected):
    norm, factor = np.zeros(1, np.float32), np.zeros(1)
    clip_factor(factor, norm, np.array([1.0, wrong, 1.0]), p, 1.0)
    np.testing.assert_array_equal(factor, expected)
    clip_factor(factor, norm, np.empty(0), p, 1.0)
    assert (norm[0], factor[0]) == (0, 1)


def test_memory_around():
    x = np.ones(67, np.float32)
    for side in ("start", "end"):
        assert power_sum(guarded(x, side), 2) == 67
        scale(guarded(x, side), 2)


def test_same_bits_in_any_parts():
    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)

    def run():
        y = x.copy()
        scale(y, 0.7)
        return np.array([power_sum(x, p) for p in (1, 2, math.inf)]), y

    assert_same_bits_in_any_parts(run)


def test_wrong_arguments_are_refused():
    a = np.ones((3, 5), np.float32)
    one_more = ("an axis more", "an axis less", "a row more", "a row less", "another dtype", "a column more",
                "a column less")  # fmt: skip
    assert_refuses(power_sum, {"x": a, "p": 2}, "x", one_more)
    assert_refuses(scale, {"x": a, "factor": 2}, "x", one_more, output=True)
    sums = {"sums": np.ones(3), "x": np.ones(3 * 4096, np.float32), "p": 2}
    assert_refuses(block_norms, sums, "sums", output=True)
    factor = {"factor": np.ones(1), "norm": np.ones(1), "sums": np.ones(3), "p": 2, "max_norm": 1.0}
    # One number has only one order.
    one = ("every other row", "reversed", "broadcast")
    assert_refuses(clip_factor, factor, "factor", one, output=True)
    assert_refuses(clip_factor, factor, "norm", (*one, "another dtype"), output=True)
    assert_refuses(clip_factor, factor, "sums", ("a row more", "a row less"))
    for call in (
        lambda: power_sum(a, 3), lambda: block_norms(np.ones(1), a, 3), lambda: clip_factor(**factor | {"p": 3})
    ):
        with no_launch(), pytest.raises(ValueError, match="p must be 1, 2 or infinity, found 3"):
            call()
