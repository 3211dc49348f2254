"""PReLU against NumPy, and finite differences."""

import numpy as np
import pytest
from helpers import (
    DTYPES,
    Canary,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    check_gradient,
    cut_in,
    guarded,
)

from fastnn.kernels import prelu_backward, prelu_forward

SHAPES = [((5,), 1), ((), 1), ((4, 3), 1), ((4, 3), 3), ((2, 3, 5), 3), ((2, 3, 1), 3), ((0, 3), 3), ((17, 33), 33)]


def make(shape, channels, dtype=np.float32):
    rng = np.random.default_rng(0)
    x, dy = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    if x.size > 3:
        x.flat[::3] = 0
    return x, dy, rng.standard_normal(channels).astype(dtype)


def naive(x, weight, dy):
    """The result, and the gradients of x and of the slope for each number."""
    slopes = weight if weight.size == 1 else weight.reshape(-1, *(1,) * (x.ndim - 2))
    slopes = slopes.reshape(()) if weight.size == 1 else slopes
    return np.where(x > 0, x, slopes * x), np.where(x > 0, dy, slopes * dy), np.where(x > 0, 0, x * dy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "channels"), SHAPES, ids=str)
def test_both_ways(dtype, shape, channels):
    x, dy, weight = make(shape, channels, dtype)
    found = [np.full_like(x, np.nan) for _ in range(3)]
    for parts in (1, 3):
        with cut_in(parts):
            prelu_forward(found[0], x, weight)
            prelu_backward(found[1], found[2], dy, x, weight)
        # One product each, so the results are exact.
        for a, b in zip(found, naive(x, weight, dy), strict=True):
            np.testing.assert_array_equal(a, b.astype(dtype))


def test_backward_against_finite_differences():
    x, dy, weight = make((5, 3), 3, np.float64)
    x = np.where(np.abs(x) < 1e-3, 0.5, x)
    out, dx, each = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    prelu_backward(dx, each, dy, x, weight)

    def loss(x, weight):
        prelu_forward(out, x, weight)
        return np.sum(dy * out)

    check_gradient(lambda x: loss(x, weight), dx, x)
    check_gradient(lambda w: loss(x, w), each.sum(0), weight)


@pytest.mark.parametrize(("shape", "channels"), [((4, 5), 5), ((4, 5), 1), ((2, 3), 3)], ids=str)
def test_memory_around_and_in_place(shape, channels):
    x, dy, weight = make(shape, channels)
    expected = [a.astype(np.float32) for a in naive(x, weight, dy)]
    for side in ("start", "end"):
        out, each = guarded(x, side), guarded(x, side)
        prelu_forward(out, guarded(x, side), guarded(weight, side))
        assert_same_bits(out, expected[0])
        prelu_backward(out, each, guarded(dy, side), guarded(x, side), guarded(weight, side))
        np.testing.assert_array_equal(out, expected[1])
    out = Canary(shape, np.float32)
    prelu_forward(out.array, x, weight)
    out.check()
    with cut_in(3):
        prelu_backward(dy, np.empty_like(dy), dy, x, weight)
    np.testing.assert_array_equal(dy, expected[1])
    prelu_forward(x, x, weight)
    assert_same_bits(x, expected[0])


@pytest.mark.parametrize("channels", [1, 67])
def test_same_bits_in_any_parts(channels):
    x, dy, weight = make((301, 67), channels)

    def run():
        found = [np.empty_like(x) for _ in range(3)]
        prelu_forward(found[0], x, weight)
        prelu_backward(found[1], found[2], dy, x, weight)
        return found

    assert_same_bits_in_any_parts(run)


def test_wrong_arrays_are_refused():
    good = {name: np.ones((3, 5), np.float32) for name in ("out", "x")} | {"weight": np.ones(5, np.float32)}
    for name in good:
        assert_refuses(prelu_forward, good, name, output=name == "out")
    good = {n: np.ones((3, 5), np.float32) for n in ("dx", "dweight", "dy", "x")} | {"weight": np.ones(5, np.float32)}
    for name in good:
        assert_refuses(prelu_backward, good, name, output=name in ("dx", "dweight"))
