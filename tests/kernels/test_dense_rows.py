"""Dense batches of sparse rows: values, entries that are out of place, wrong arrays, memory."""

import numpy as np
import pytest
import scipy.sparse
from helpers import (
    SIZES,
    Canary,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)

from fastnn.kernels import dense_rows

DTYPES, PLACES = [np.float32, np.float64], [np.int32, np.int64]


def sparse(rows, features, dtype, place, density=0.3):
    rng = np.random.default_rng([rows, features])
    x = rng.standard_normal((rows, features)) * (rng.random((rows, features)) < density)
    made = scipy.sparse.csr_array(x.astype(dtype))
    return made.data, made.indices.astype(place), made.indptr.astype(place), made.toarray()


def run(data, columns, starts, indices, features):
    out = np.full((len(indices), features), np.nan, data.dtype)
    dense_rows(out, data, columns, starts, indices)
    return out


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", SIZES)
def test_rows_are_those_of_the_matrix(dtype, place, features):
    for rows, batch, density in [(0, 0, 0.3), (1, 0, 0.3), (1, 5, 1.0), (23, 67, 0.3), (4, 9, 0.0)]:
        *arrays, whole = sparse(rows, features, dtype, place, density)
        indices = np.random.default_rng(0).integers(0, max(rows, 1), batch)
        assert_same_bits(run(*arrays, indices, features), whole[indices])


@pytest.mark.parametrize("dtype", DTYPES)
def test_entries_in_any_order_and_twice(dtype):
    made = scipy.sparse.csr_array(
        (np.array([1, 2, 3, np.nan, np.inf, -0.0], dtype), [4, 0, 4, 2, 1, 0], [0, 3, 5, 5, 6]), shape=(4, 5)
    )
    indices = np.array([0, 1, 2, 3, 0])
    found = run(made.data, made.indices, made.indptr, indices, 5)
    assert_same_bits(found, made.toarray()[indices])
    assert found[0].tolist() == [2, 0, 0, 0, 4]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, place, side):
    for rows, features, batch in [(1, 1, 1), (5, 67, 13), (3, 784, 2)]:
        *arrays, whole = sparse(rows, features, dtype, place, 0.5)
        indices = np.arange(batch) % rows
        out, around = guarded(np.zeros((batch, features), dtype), side), Canary((batch, features), dtype)
        with cut_in(3):
            dense_rows(out, *[guarded(a, side) for a in (*arrays, indices)])
            dense_rows(around.array, *arrays, indices)
        around.check()
        assert_same_bits(out, whole[indices])
        assert_same_bits(around.array.copy(), whole[indices])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_entries_out_of_place_touch_nothing_else(place, side):
    data = np.array([1.0, 2.0, 3.0])
    for columns, starts, expected in [
        ([-1, 3, 1], [0, 2, 3], [[0, 0, 0], [0, 3, 0]]),
        ([2**31 - 1, 0, -(2**31)], [0, 3, 3], [[2, 0, 0], [0, 0, 0]]),
        ([0, 1, 2], [-1, 2, 3], [[0, 0, 0], [0, 0, 3]]),
        ([0, 1, 2], [0, 4, 3], [[0, 0, 0], [0, 0, 0]]),
        ([0, 1, 2], [2, 1, 2**31 - 1], [[0, 0, 0], [0, 0, 0]]),
    ]:
        out = guarded(np.full((2, 3), np.nan), side)
        arrays = [data, np.array(columns, place), np.array(starts, place), np.arange(2)]
        dense_rows(out, *[guarded(a, side) for a in arrays])
        assert out.tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_any_parts(dtype):
    *arrays, _ = sparse(300, 200, dtype, np.int32)
    indices = np.random.default_rng(0).integers(0, 300, 500)
    assert_same_bits_in_any_parts(lambda: [run(*arrays, indices, 200)])


@pytest.mark.parametrize("name", ["out", "data", "columns", "starts", "indices"])
def test_wrong_arrays_are_refused(name):
    data, columns, starts, _ = sparse(4, 5, np.float32, np.int64, 1.0)
    good = {"out": np.zeros((3, 5), np.float32), "data": data, "columns": columns, "starts": starts,
            "indices": np.arange(3)}  # fmt: skip
    # With other starts the matrix has other rows, with another output other columns.
    free = {"starts": ("a row more", "a row less"), "out": ("a column more", "a column less")}.get(name, ())
    assert_refuses(dense_rows, good, name, output=name == "out", except_for=free)


def test_messages():
    data, columns, starts, _ = sparse(4, 5, np.float32, np.int32, 1.0)
    out = np.zeros((2, 5), np.float32)
    for bad in ([4, 0], [0, -1]):
        with no_launch(), pytest.raises(IndexError, match="out of range for 4 rows"):
            dense_rows(out, data, columns, starts, np.array(bad))
    with no_launch(), pytest.raises(ValueError, match="starts must have a number for each row and one more"):
        dense_rows(out, data, columns, starts[:0], np.zeros(2, np.int64))
    with no_launch(), pytest.raises(TypeError, match="columns must have dtype int32 or int64, found uint8"):
        dense_rows(out, data, columns.astype(np.uint8), starts, np.zeros(2, np.int64))
