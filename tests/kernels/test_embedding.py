"""The embedding kernels against NumPy, and all invalid indices."""

import naive_nn
import numpy as np
import pytest
from helpers import (
    DTYPES,
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)

from fastnn.kernels import embedding_backward, embedding_forward

SHAPES = [(5, 3, 7), (1, 1, 1), (10, 16, 0), (300, 33, 64), (4, 0, 3), (7, 130, 200)]


def make(rows, columns, count, dtype=np.float32):
    rng = np.random.default_rng(0)
    weight, dy = (rng.standard_normal((n, columns)).astype(dtype) for n in (rows, count))
    return weight, dy, rng.integers(0, rows, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns", "count"), SHAPES)
def test_both_ways(dtype, rows, columns, count):
    weight, dy, indices = make(rows, columns, count, dtype)
    for parts in (1, 3):
        out = np.full((count, columns), np.nan, dtype)
        dweight = np.full((rows, columns), np.nan, dtype)
        with cut_in(parts):
            embedding_forward(out, weight, indices)
            embedding_backward(dweight, dy, indices)
        assert_same_bits(out, weight[indices])
        longest = max(np.bincount(indices).max(initial=0), 1)
        size = naive_nn.embedding_backward(rows, np.abs(dy), indices)
        expected = naive_nn.embedding_backward(rows, dy, indices)
        assert_close(dweight, expected, dtype, roundings=longest, magnitude=size)
        with cut_in(parts):
            embedding_backward(dweight, dy, indices, padding_idx=int(rows // 2), accumulate=True)
        again = expected + naive_nn.embedding_backward(rows, dy, indices, rows // 2)
        assert_close(dweight, again, dtype, roundings=2 * longest, magnitude=2 * size)


def test_memory_around():
    weight, dy, indices = make(5, 17, 9)
    out, dweight = Canary((9, 17), np.float32), Canary((5, 17), np.float32)
    embedding_forward(out.array, weight, indices)
    embedding_backward(dweight.array, dy, indices)
    out.check()
    dweight.check()
    for side in ("start", "end"):
        with cut_in(3):
            embedding_forward(guarded(dy, side), guarded(weight, side), guarded(indices, side))
            embedding_backward(guarded(weight, side), guarded(dy, side), guarded(indices, side))


@pytest.mark.parametrize("wrong", [-1, 5, 2**62, -(2**63)])
def test_index_out_of_range(wrong):
    weight, dy, indices = make(5, 3, 4)
    indices[2] = wrong
    before = weight.copy()
    with no_launch(), pytest.raises(IndexError, match=f"index out of range in self: index {wrong}"):
        embedding_forward(dy, weight, indices)
    with no_launch(), pytest.raises(IndexError, match="5 rows"):
        embedding_backward(weight, dy, indices)
    assert_same_bits(weight, before)


def test_no_rows():
    empty = np.zeros((0, 3), np.float32)
    embedding_forward(empty, empty, np.zeros(0, np.int64))
    embedding_backward(empty, empty, np.zeros(0, np.int64))
    with pytest.raises(IndexError):
        embedding_forward(np.zeros((1, 3), np.float32), empty, np.zeros(1, np.int64))


def test_same_bits_in_any_parts():
    weight, dy, indices = make(50, 33, 3000)

    def run():
        out, dweight = np.empty_like(dy), np.empty_like(weight)
        embedding_forward(out, weight, indices)
        embedding_backward(dweight, dy, indices, 3)
        return out, dweight

    assert_same_bits_in_any_parts(run)


def test_wrong_arrays_are_refused():
    weight, dy, indices = make(5, 3, 4)
    good = {"out": dy, "weight": weight, "indices": indices}
    refused_by_rows = {"weight": ("a row more", "a row less")}
    for name in good:
        # A table may have any number of rows.
        assert_refuses(embedding_forward, good, name, refused_by_rows.get(name, ()), output=name == "out")
    good = {"dweight": weight, "dy": dy, "indices": indices}
    for name in good:
        rows = ("a row more", "a row less") if name == "dweight" else ()
        assert_refuses(embedding_backward, good, name, rows, output=name == "dweight")
