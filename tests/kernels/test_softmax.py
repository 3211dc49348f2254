"""Softmax and log-softmax of rows against NumPy in float64, and finite differences."""

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
    check_gradient,
    cut_in,
    guarded,
)

from fastnn.kernels import softmax_backward, softmax_forward

SHAPES = [(1, 1), (1, 2), (3, 7), (64, 10), (5, 16), (2, 1023), (0, 4), (4, 0)]


def forward(x, logarithm=False):
    out = np.full_like(x, np.nan)
    softmax_forward(out, x, logarithm)
    return out


def backward(dy, out, logarithm=False):
    dx = np.full_like(dy, np.nan)
    softmax_backward(dx, dy, out, logarithm)
    return dx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("spread", [1.0, 100.0, 1e6])
def test_both_ways(dtype, shape, logarithm, spread):
    rng = np.random.default_rng(0)
    x, dy = (spread * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    expected = naive_nn.softmax(x, logarithm)
    # The difference x - top is rounded, and exp multiplies its relative error by its size.
    with np.errstate(under="ignore"):
        distance = np.abs(x.astype(np.float64) - x.max(1, keepdims=True, initial=-np.inf))
    size = (distance + 3 + shape[1]) if logarithm else expected * (3 + distance + shape[1])
    out = forward(x, logarithm)
    assert_close(out, expected, dtype, roundings=2, magnitude=size, floor=4 * np.finfo(dtype).tiny)
    expected = naive_nn.softmax_backward(dy, out, logarithm)
    total = np.abs(dy.astype(np.float64)).sum(1, keepdims=True)
    # In exp(out) the reduced argument of exp is also rounded.
    share = np.exp(np.minimum(out.astype(np.float64), 0)) * (1 + np.abs(out))
    assert_close(
        backward(dy, out, logarithm), expected, dtype,
        roundings=4 + shape[1], magnitude=np.abs(dy) + share * total,
        floor=4 * np.finfo(dtype).tiny,
    )  # fmt: skip


@pytest.mark.parametrize("logarithm", [False, True])
def test_backward_against_finite_differences(logarithm):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((5, 7)), rng.standard_normal((5, 7))
    dx = backward(dy, forward(x, logarithm), logarithm)
    check_gradient(lambda x: np.sum(dy * forward(x, logarithm)), dx, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logarithm", [False, True])
def test_special_rows(dtype, logarithm):
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, 0, 0], [inf, 0, 0], [nan, 0, 0], [-inf, -inf, -inf], [-inf, -inf, 3], [0, 0, 0]], dtype)
    assert_close(forward(x, logarithm), naive_nn.softmax(x, logarithm), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logarithm", [False, True])
def test_memory_around_and_in_place(dtype, logarithm):
    x = np.random.default_rng(0).standard_normal((5, 17)).astype(dtype)
    expected = forward(x, logarithm)
    out, dx = Canary((5, 17), dtype), Canary((5, 17), dtype)
    softmax_forward(out.array, x, logarithm)
    softmax_backward(dx.array, x, expected, logarithm)
    out.check()
    dx.check()
    assert_same_bits(out.array, expected)
    with cut_in(3):
        for side in ("start", "end"):
            target = guarded(x, side)
            softmax_forward(target, guarded(x, side), logarithm)
            softmax_backward(target, guarded(x, side), guarded(expected, side), logarithm)
            assert_same_bits(target, dx.array)
    same = x.copy()
    softmax_backward(same, same, expected, logarithm)
    assert_same_bits(same, dx.array)
    # In place the sum may have another order: that of the compiler's loop for overlapping arrays.
    softmax_forward(x, x, logarithm)
    assert_close(x, expected.astype(np.float64), dtype, roundings=17)


@pytest.mark.parametrize("logarithm", [False, True])
def test_same_bits_in_any_parts(logarithm):
    x = np.random.default_rng(0).standard_normal((301, 37)).astype(np.float32)
    assert_same_bits_in_any_parts(lambda: (forward(x, logarithm), backward(x, forward(x, logarithm), logarithm)))


@pytest.mark.parametrize("name", ["out", "x"])
def test_wrong_arrays_of_the_forward_are_refused(name):
    good = {"out": np.zeros((3, 5), np.float32), "x": np.ones((3, 5), np.float32)}
    assert_refuses(softmax_forward, good, name, output=name == "out")


@pytest.mark.parametrize("name", ["dx", "dy", "out"])
def test_wrong_arrays_of_the_backward_are_refused(name):
    good = {name: np.ones((3, 5), np.float32) for name in ("dx", "dy", "out")}
    assert_refuses(softmax_backward, good, name, output=name == "dx")
