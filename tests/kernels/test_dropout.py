"""Dropout and alpha dropout: which numbers are kept, and their values; a mask is a function of position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import (
    DTYPES,
    SIZES,
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    guarded,
    no_launch,
)

from fastnn.kernels import alpha_dropout_backward, alpha_dropout_forward, dropout_backward, dropout_forward

STATE = np.array([11, 5])
FUNCTIONS = [dropout_forward, dropout_backward, alpha_dropout_forward, alpha_dropout_backward]


def run(function: Any, x: np.ndarray, p: float = 0.3, width: int = 1, state: np.ndarray = STATE) -> np.ndarray:
    out = np.full_like(x, np.nan)
    function(out, x, state, p, width)
    return out


def kept(size: int, p: float = 0.3, state: np.ndarray = STATE) -> np.ndarray:
    return run(dropout_forward, np.ones(size), p, state=state) != 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_values(dtype):
    for size in SIZES:
        x = np.random.default_rng(size).standard_normal(size).astype(dtype)
        mask = kept(size)
        factor = np.divide(dtype(1), dtype(1 - 0.3))
        assert_same_bits(run(dropout_forward, x), np.where(mask, x * factor, x * dtype(0)))
        assert_same_bits(run(dropout_backward, x), run(dropout_forward, x))
        # S. Klambauer et al.: a x + b, and the saturation value for dropped numbers.
        saturation = -1.7580993408473766
        a = ((1 - 0.3) * (1 + 0.3 * saturation**2)) ** -0.5
        b = -a * 0.3 * saturation
        expected = np.where(mask, a * x.astype(np.float64) + b, a * saturation + b)
        assert_close(run(alpha_dropout_forward, x), expected, dtype, roundings=3, magnitude=np.abs(a * x) + a + b)
        assert_close(run(alpha_dropout_backward, x), np.where(mask, a * x.astype(np.float64), 0), dtype, roundings=2)


def test_a_mask_depends_on_the_position_alone():
    """Not on the size, the dtype or the number of threads; in-place results are the same."""
    full = kept(5000)
    for size in (1, 17, 1024, 1025, 4999):
        np.testing.assert_array_equal(kept(size), full[:size])
    for dtype in DTYPES:
        x = np.ones((50, 100), dtype)
        dropout_forward(x, x, STATE, 0.3)
        np.testing.assert_array_equal(x.reshape(-1) != 0, full)


def test_what_is_kept_at_a_higher_probability_is_kept_at_a_lower():
    assert (kept(10000, 0.6) <= kept(10000, 0.3)).all()


def test_channels():
    x = np.arange(1.0, 61).reshape(5, 4, 3)
    mask = kept(20).reshape(5, 4, 1)
    np.testing.assert_allclose(run(dropout_forward, x, width=3), np.where(mask, x / 0.7, 0), rtol=1e-15)
    alone = run(alpha_dropout_forward, x[..., 0].copy())
    assert_same_bits(run(alpha_dropout_forward, x, width=3)[..., 0].copy(), alone)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 1.0, 0.5, 1e-9])
def test_extreme_probabilities(dtype, p):
    x = np.full(4096, 3, dtype)
    out = run(dropout_forward, x, p)
    if p < 0.5:
        np.testing.assert_allclose(out, x / (1 - p), rtol=1e-6)
    else:
        assert set(np.unique(out)) == ({0} if p == 1 else {0, 6})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_and_infinity_stay_visible(function):
    x = np.ones(1000, np.float32)
    x[::3], x[1::3] = np.nan, np.inf
    out = run(function, x)
    assert np.isnan(out[::3]).all()
    assert not np.isfinite(out[1::3]).any()
    assert np.isfinite(out[2::3]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_same_bits_in_any_parts(function, dtype):
    x = np.random.default_rng(0).standard_normal(9000).astype(dtype)
    assert_same_bits_in_any_parts(lambda: [run(function, x), run(function, x, width=10)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, side):
    for size in (0, 1, 17, 1030):
        x = np.random.default_rng(size).standard_normal(size).astype(dtype)
        for function in FUNCTIONS:
            expected = run(function, x)
            if size:
                assert_same_bits(run(function, guarded(x, side), state=guarded(STATE, side)), expected)
            canary = Canary((size,), dtype)
            function(canary.array, x, STATE, 0.3)
            canary.check()
            assert_same_bits(canary.array.copy(), expected)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["out", "x", "state"])
def test_wrong_arrays_are_refused(function, name):
    names = ("dx", "dy") if function.__name__.endswith("backward") else ("out", "x")
    name = {"out": names[0], "x": names[1]}.get(name, name)
    x = np.ones((4, 6), np.float32)
    good = {names[0]: np.zeros_like(x), names[1]: x, "state": STATE.copy()}
    assert_refuses(lambda **a: function(*a.values()), good, name, output=name == names[0])


def test_wrong_options_are_refused():
    x = np.ones(6)
    for p in (-0.1, 1.1, np.nan):
        with no_launch(), pytest.raises(ValueError, match="p must be in"):
            run(dropout_forward, x, p)
    for width in (0, -1, 4):
        with no_launch(), pytest.raises(ValueError, match="width must divide"):
            run(dropout_forward, x, width=width)
