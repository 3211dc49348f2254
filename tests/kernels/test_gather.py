"""Gathering rows: values, indices out of range, wrong arrays, memory."""

import naive
import numpy as np
import pytest
from helpers import (
    SIZES,
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)

from fastnn.kernels import gather

DATA = [np.uint8, np.float32]


def rows_of(rows, features, dtype, batch, seed=0):
    rng = np.random.default_rng([seed, rows, features])
    data = rng.integers(0, 256, (rows, features)).astype(dtype)
    return data, rng.integers(0, max(rows, 1), batch if rows else 0)


def run(data, indices, *scaling):
    out = np.full((len(indices), data.shape[1]), np.nan, np.float32)
    gather(out, data, indices, *scaling)
    return out


@pytest.mark.parametrize("dtype", DATA)
@pytest.mark.parametrize("features", SIZES)
def test_rows_are_copied_exactly(dtype, features):
    for rows, batch in [(0, 0), (1, 0), (1, 5), (23, 67)]:
        data, indices = rows_of(rows, features, dtype, batch)
        assert_same_bits(run(data, indices), data[indices].astype(np.float32))


@pytest.mark.parametrize("dtype", DATA)
@pytest.mark.parametrize("scaling", [(1 / 255,), (0.5, -1.0), (3.25, 0.1307), (0.0, 2.0), (1 / 0.3081 / 255, -0.42)])
def test_scale_and_shift(dtype, scaling):
    data, indices = rows_of(23, 67, dtype, 100)
    scale, shift = (float(np.float32(s)) for s in (*scaling, 0.0)[:2])
    magnitude = np.abs(naive.gather(data, indices, scale)) + abs(shift)
    expected = naive.gather(data, indices, scale, shift)
    assert_close(run(data, indices, *scaling), expected, np.float32, roundings=1, magnitude=magnitude)


def test_every_byte_has_its_own_value():
    data = np.arange(256, dtype=np.uint8).reshape(1, 256)
    np.testing.assert_array_equal(run(data, np.zeros(3, np.int64)), np.tile(np.arange(256), (3, 1)))


def test_nan_and_infinity_come_out():
    data = np.array([[np.nan, np.inf, -np.inf, 1.0] * 9] * 2, np.float32)
    np.testing.assert_array_equal(run(data, np.array([1, 0])), data)
    np.testing.assert_array_equal(run(data, np.array([1, 0]), 1.0, np.inf)[0, 1::2], np.inf)
    assert np.isnan(run(data, np.array([1, 0]), 0.0)[:, :3]).all()


@pytest.mark.parametrize("dtype", DATA)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, side):
    for rows, features, batch in [(1, 1, 1), (5, 67, 13), (3, 784, 2)]:
        data, indices = rows_of(rows, features, dtype, batch)
        indices[0], indices[-1] = 0, rows - 1
        expected = run(data, indices, 0.5)
        out, around = guarded(expected, side), Canary(expected.shape, np.float32)
        with cut_in(3):
            gather(out, guarded(data, side), guarded(indices, side), 0.5)
            gather(around.array, data, indices, 0.5)
        around.check()
        assert_same_bits(out, expected)
        assert_same_bits(around.array.copy(), expected)


@pytest.mark.parametrize("dtype", DATA)
def test_same_bits_in_any_parts(dtype):
    data, indices = rows_of(300, 131, dtype, 257)
    assert_same_bits_in_any_parts(lambda: [run(data, indices, 1 / 0.3081 / 255, -0.1307 / 0.3081)])


@pytest.mark.parametrize("dtype", DATA)
@pytest.mark.parametrize("wrong", [23, 24, -1, -23, 2**40, -(2**63)])
def test_indices_out_of_range_never_reach_the_kernel(dtype, wrong):
    data, indices = rows_of(23, 7, dtype, 13)
    out = np.zeros((13, 7), np.float32)
    for position in (0, 6, 12):
        bad = indices.copy()
        bad[position] = wrong
        with no_launch(), pytest.raises(IndexError, match=f"index {wrong} is out of range for 23 rows"):
            gather(out, data, bad)
    assert not out.any()


def test_no_index_is_in_range_of_no_rows():
    with no_launch(), pytest.raises(IndexError, match="index 0 is out of range for 0 rows"):
        gather(np.empty((1, 3), np.float32), np.empty((0, 3), np.uint8), np.array([0]))


@pytest.mark.parametrize("dtype", DATA)
@pytest.mark.parametrize("name", ["out", "data", "indices"])
def test_wrong_arrays_are_refused(dtype, name):
    data, indices = rows_of(9, 7, dtype, 5)
    good = {"out": np.zeros((5, 7), np.float32), "data": data, "indices": np.minimum(indices, 7)}
    # A data set may have any number of rows.
    free = ("a row more", "a row less") if name == "data" else ()
    assert_refuses(gather, good, name, free, output=name == "out")


def test_wrong_options_are_refused():
    data, indices = rows_of(9, 7, np.uint8, 5)
    for scaling in [("1",), (1.0, None), (1.0 + 1j,)]:
        with no_launch(), pytest.raises(TypeError, match=r"scalar argument of gather\.uint8"):
            run(data, indices, *scaling)
