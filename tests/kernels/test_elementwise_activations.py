"""The elementwise activations against NumPy and SciPy in float64, and finite differences."""

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
    check_gradient,
    cut_in,
    guarded,
    no_launch,
)
from operations import ACTIVATIONS

from fastnn.kernels import elementwise_backward, elementwise_forward
from fastnn.kernels.activation.elementwise_activations import FUNCTIONS

ROWS = {row.name: row for row in ACTIVATIONS}
CONSTANTS = {name: row.constants for name, row in ROWS.items() if row.constants}
CASES = [(name, row.constants) for name, row in ROWS.items()]
CASES += [(name, constants) for name, row in ROWS.items() for constants in row.more]
NAMES = list(ROWS)


def test_each_kernel_has_a_row():
    assert set(ROWS) == set(FUNCTIONS)


def inputs(dtype, size=None):
    """Numbers of every kind: dense around zero, the tails, huge, tiny, subnormal; none at a corner by rounding."""
    info = np.finfo(dtype)
    edges = [0.0, -0.0, info.tiny, -info.tiny, info.smallest_subnormal, 1e4, -1e4, 88.0, -88.0, 3.0, -3.0, 1e30, -1e30]
    x = np.concatenate([edges, np.linspace(-12.1, 12.3, 1001), np.linspace(-110, 110, 499), np.geomspace(1e-30, 1, 99)])
    x = np.random.default_rng(0).permutation(x.astype(dtype))
    return x if size is None else np.resize(x, size)


def forward(x, name, *constants):
    out = np.full_like(x, np.nan)
    elementwise_forward(out, x, name, *constants)
    return out


def backward(dy, x, name, *constants):
    dx = np.full_like(x, np.nan)
    elementwise_backward(dx, dy, x, name, *constants)
    return dx


def rounded(constants, dtype):
    """The constants rounded to the dtype, as in the kernel."""
    return [float(dtype(c)) for c in constants]


def reference(x, name, a=0.0, b=0.0, c=0.0):
    with np.errstate(all="ignore"):
        return ROWS[name].value(np.asarray(x, np.float64), a, b, c)


def reference_backward(dy, x, name, a=0.0, b=0.0, c=0.0):
    with np.errstate(all="ignore"):
        return ROWS[name].derivative(np.asarray(dy, np.float64), np.asarray(x, np.float64), a, b, c)


def magnitude(x, name):
    """The magnitude that is rounded."""
    return ROWS[name].magnitude(np.abs(x.astype(np.float64)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "constants"), CASES)
def test_forward(dtype, name, constants):
    x = inputs(dtype)
    expected = reference(x, name, *rounded(constants, dtype))
    assert_close(
        forward(x, name, *constants), expected, dtype,
        roundings=8, magnitude=np.maximum(np.abs(expected), magnitude(x, name)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["logsigmoid", "softplus", "silu", "mish"])
def test_tails_keep_their_relative_precision(dtype, name):
    x = np.linspace(-80, 80, 3001).astype(dtype)
    constants = {"softplus": (1.0, 1e9)}.get(name, ())
    expected = reference(x, name, *constants)
    # exp(x) has the relative error of x, which is |x| roundings.
    assert_close(forward(x, name, *constants), expected, dtype, roundings=10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "constants"), CASES)
def test_backward(dtype, name, constants):
    x = inputs(dtype)
    dy = np.random.default_rng(1).standard_normal(x.size).astype(dtype)
    expected = reference_backward(dy, x, name, *rounded(constants, dtype))
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(expected), np.abs(dy) * magnitude(x, name))
    assert_close(backward(dy, x, name, *constants), expected, dtype, roundings=12, magnitude=size)


@pytest.mark.parametrize(("name", "constants"), CASES)
def test_backward_against_finite_differences(name, constants):
    rng = np.random.default_rng(0)
    x, dy = rng.uniform(-4, 4, 67), rng.standard_normal(67)
    # Away from the corners.
    for corner in (0, 3, -3, *constants, *[-c for c in constants]):
        x = np.where(np.abs(x - corner) < 1e-3, corner + 0.01, x)
    dx = backward(dy, x, name, *constants)
    check_gradient(lambda x: np.sum(dy * forward(x, name, *constants)), dx, x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_the_bytes_around(name, size):
    constants = CONSTANTS.get(name, ())
    x, dy = inputs(np.float32, size), np.roll(inputs(np.float32, size), 1)
    out, dx = Canary((size,), np.float32), Canary((size,), np.float32)
    elementwise_forward(out.array, x, name, *constants)
    elementwise_backward(dx.array, dy, x, name, *constants)
    # One number at a time, without vectors or a remainder loop.
    for i in range(size):
        assert_same_bits(out.array[i : i + 1], forward(x[i : i + 1], name, *constants))
        alone = backward(dy[i : i + 1], x[i : i + 1], name, *constants)
        np.testing.assert_array_equal(dx.array[i : i + 1], alone)
    out.check()
    dx.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_the_arrays_is_touched(dtype, name):
    for size, side in ((1, "start"), (67, "start"), (67, "end")):
        x = inputs(dtype, size)
        out, dx = guarded(x, side), guarded(x, side)
        with cut_in(3):
            elementwise_forward(out, guarded(x, side), name, *CONSTANTS.get(name, ()))
            elementwise_backward(dx, guarded(x, side), guarded(x, side), name, *CONSTANTS.get(name, ()))
        assert_same_bits(out, forward(x, name, *CONSTANTS.get(name, ())))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinity_come_out(dtype, name):
    x = np.array([np.nan, np.inf, -np.inf] * 23, dtype)
    constants = CONSTANTS.get(name, ())
    expected = reference(x, name, *rounded(constants, dtype))
    assert_close(forward(x, name, *constants), expected, dtype)
    expected = reference_backward(np.ones(69), x, name, *rounded(constants, dtype))
    found = backward(np.ones(69, dtype), x, name, *constants)
    np.testing.assert_array_equal(np.isnan(found[::3]), np.isnan(expected[::3]))
    # A gradient of NaN remains NaN where the derivative is not zero.
    dy, x = np.full(40, np.nan, dtype), np.linspace(-8, 8.1, 40).astype(dtype)
    expected = reference_backward(dy, x, name, *rounded(constants, dtype))
    assert_close(backward(dy, x, name, *constants), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_derivative_at_nan_of_the_last_numbers(dtype, name):
    """Beyond the last two whole vectors of 32 bytes PyTorch has another derivative at NaN, for any number of parts."""
    constants, two_vectors = CONSTANTS.get(name, ()), 64 // np.dtype(dtype).itemsize
    for size in (1, two_vectors - 1, two_vectors, two_vectors + 3, 1000):
        whole = size - size % two_vectors
        x, dy = np.full(size, np.nan, dtype), np.arange(1, size + 1, dtype=dtype)
        with cut_in(3):
            found = backward(dy, x, name, *constants)
        expected = reference_backward(dy, x, name, *rounded(constants, dtype))
        if FUNCTIONS[name].passes_nan:
            expected[whole:] = dy[whole:]
            # In whole vectors it is 0, also for a gradient of NaN.
            flat = backward(np.full(size, np.nan, dtype), x, name, *constants)
            np.testing.assert_array_equal(np.isnan(flat), np.arange(size) >= whole)
        np.testing.assert_allclose(found, expected, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_in_place_and_any_shape(name):
    constants = CONSTANTS.get(name, ())
    x = inputs(np.float32, 3 * 5 * 7).reshape(3, 5, 7)
    dy = x[::-1].copy()
    out, dx = forward(x, name, *constants), backward(dy, x, name, *constants)
    elementwise_backward(dy, dy, x, name, *constants)
    assert_same_bits(np.nan_to_num(dy), np.nan_to_num(dx))
    elementwise_forward(x, x, name, *constants)
    assert_same_bits(x, out)
    assert forward(np.array(0.5), name, *constants).shape == ()


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_in_any_parts(name):
    constants = CONSTANTS.get(name, ())
    x = inputs(np.float32, 20_011)
    dy = np.roll(x, 1)
    assert_same_bits_in_any_parts(lambda: (forward(x, name, *constants), backward(dy, x, name, *constants)))


@pytest.mark.parametrize("name", ["out", "x"])
def test_wrong_arrays_of_the_forward_are_refused(name):
    good = {"out": np.zeros((3, 5), np.float32), "x": np.ones((3, 5), np.float32), "activation": "silu"}
    assert_refuses(elementwise_forward, good, name, output=name == "out")


@pytest.mark.parametrize("name", ["dx", "dy", "x"])
def test_wrong_arrays_of_the_backward_are_refused(name):
    good = {name: np.ones((3, 5), np.float32) for name in ("dx", "dy", "x")} | {"activation": "silu"}
    assert_refuses(elementwise_backward, good, name, output=name == "dx")


def test_wrong_options_are_refused():
    a = np.ones(5, np.float32)
    for name in ("relu", "SiLU", 1, None):
        with no_launch(), pytest.raises(ValueError, match="activation must be one of elu, hardshrink"):
            elementwise_forward(a, a, name)
        with no_launch(), pytest.raises(ValueError, match="activation must be one of"):
            elementwise_backward(a, a, a, name)
    with no_launch(), pytest.raises(TypeError, match="scalar argument of elu_forward"):
        elementwise_forward(a, a, "elu", "steep")
    np.testing.assert_array_equal(a, 1)
