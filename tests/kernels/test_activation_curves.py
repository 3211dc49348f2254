"""The second derivatives of sigmoid and tanh against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Canary, assert_close, assert_same_bits, assert_same_bits_in_any_parts, no_launch

from fastnn.kernels import activation_curve, activation_curve_backward, activation_slope_backward

DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 2, 7, 16, 67, 256, 300]


def numbers(dtype: Any, *shape: int) -> list[np.ndarray]:
    """A gradient, two factors and outputs of an activation."""
    rng = np.random.default_rng(sum(shape))
    made = [*rng.standard_normal((3, *shape)), rng.uniform(-1, 1, shape)]
    return [a.astype(dtype) for a in made]


def formulas(activation: str, d: Any, a: Any, b: Any, y: Any) -> dict[str, tuple[np.ndarray, ...]]:
    d, a, b, y = [v.astype(np.float64) for v in (d, a, b, y)]
    slope, bend = (1 - y * y, -2 * y) if activation == "tanh" else (y * (1 - y), 1 - 2 * y)
    return {
        "curve": (a * b * bend,),
        "slope": (d * slope, d * a * bend),
        "whole": (d * b * bend, d * a * bend, -2 * d * a * b),
    }


def found(activation: str, d: Any, a: Any, b: Any, y: Any, make: Any = np.empty_like) -> dict[str, tuple[Any, ...]]:
    out, da, ds, dp, dq, dy = [make(y) for _ in range(6)]
    arrays = [getattr(o, "array", o) for o in (out, da, ds, dp, dq, dy)]
    activation_curve(arrays[0], a, b, y, activation)
    activation_slope_backward(arrays[1], arrays[2], d, a, y, activation)
    activation_curve_backward(*arrays[3:], d, a, b, y, activation)
    return {"curve": (out,), "slope": (da, ds), "whole": (dp, dq, dy)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("size", SIZES)
def test_formulas_and_the_bytes_around(dtype, activation, size):
    given = numbers(dtype, size)
    d, a, b, _ = [np.abs(v.astype(np.float64)) for v in given]
    largest = {"curve": [a * b * 3], "slope": [d * 2, d * a * 3], "whole": [d * b * 3, d * a * 3, d * a * b * 2]}
    results = found(activation, *given, make=lambda like: Canary(like.shape, like.dtype))
    for name, expected in formulas(activation, *given).items():
        for result, values, magnitude in zip(results[name], expected, largest[name], strict=True):
            result.check()
            assert_close(result.array, values, dtype, roundings=6, magnitude=magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_same_bits_in_any_parts_and_any_shape(dtype, activation):
    given = numbers(dtype, 20_011)

    def run():
        return [array for arrays in found(activation, *given).values() for array in arrays]

    assert_same_bits_in_any_parts(run)
    folded = found(activation, *[v[:20_000].reshape(20, 50, 20) for v in given])
    for one, other in zip([a for arrays in folded.values() for a in arrays], run(), strict=True):
        assert_same_bits(one.reshape(-1), other[:20_000])


@pytest.mark.parametrize("activation", ["relu", "gelu", "none", "Tanh"])
def test_other_activations_are_refused(activation):
    v = np.ones(3, np.float32)
    calls = (
        lambda: activation_curve(v, v, v, v, activation),
        lambda: activation_slope_backward(v, v, v, v, v, activation),
        lambda: activation_curve_backward(v, v, v, v, v, v, v, activation),
    )
    for call in calls:
        with no_launch(), pytest.raises(ValueError, match="activation must be"):
            call()


@pytest.mark.parametrize("place", range(7))
def test_wrong_arrays_are_refused(place):
    for wrong in (np.ones(4, np.float32), np.ones(3), np.ones(6, np.float32)[::2], [1.0, 1.0, 1.0]):
        for function, count in ((activation_curve, 4), (activation_slope_backward, 5), (activation_curve_backward, 7)):
            arrays: list[Any] = [np.ones(3, np.float32) for _ in range(count)]
            arrays[place % count] = wrong
            with no_launch(), pytest.raises((TypeError, ValueError)):
                function(*arrays, "tanh")
    read_only = np.ones(3, np.float32)
    read_only.flags.writeable = False
    v = np.ones(3, np.float32)
    with no_launch(), pytest.raises(ValueError, match="writeable"):
        activation_curve(read_only, v, v, v, "tanh")
