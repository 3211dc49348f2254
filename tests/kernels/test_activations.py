"""Activation functions and their derivatives against NumPy and SciPy in float64, and finite differences."""

import naive
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

from fastnn.kernels import activation_backward, activation_forward
from fastnn.kernels.activation.fused_activations import CODES, activation_code, saves_input

SLOPES = [0.01, 0.0, 1.0, 2.5]


def inputs(dtype, size=None):
    """Numbers of every kind: dense around zero, the tails, huge, tiny, subnormal."""
    info = np.finfo(dtype)
    edges = [0.0, -0.0, info.max, info.min, info.tiny, -info.tiny, info.smallest_subnormal, 1e4, -1e4, 88.0, -88.0]
    z = np.concatenate([edges, np.linspace(-12, 12, 2001), np.linspace(-110, 110, 499), np.geomspace(1e-30, 1, 99)])
    z = np.random.default_rng(0).permutation(z.astype(dtype))
    return z if size is None else np.resize(z, size)


def forward(z, activation, slope=0.01):
    out = np.full_like(z, np.nan)
    activation_forward(out, z, activation, slope)
    return out


def backward(dy, saved, activation, slope=0.01):
    dz = np.full_like(dy, np.nan)
    activation_backward(dz, dy, saved, activation, slope)
    return dz


def condition(z, activation):
    """The factor by which the activation multiplies a relative error of z, in the GELUs' left tail."""
    z = np.abs(z.astype(np.float64))
    if activation == "gelu":
        return 1 + np.minimum(z, 1e3) ** 2
    if activation == "gelu_tanh":
        return 1 + 3.2 * (np.minimum(z, 1e3) + 0.045 * np.minimum(z, 1e3) ** 3)
    return np.ones(z.shape)


def floor_of(activation, dtype):
    """Subnormal results of sigmoid are flushed to zero; the GELUs multiply that by up to 16."""
    return 16 * np.finfo(dtype).tiny if activation in ("sigmoid", "gelu", "gelu_tanh") else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_forward(dtype, activation):
    z = inputs(dtype)
    assert_close(
        forward(z, activation), naive.activation(z, activation), dtype,
        roundings=5 * condition(z, activation), floor=floor_of(activation, dtype),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("slope", [*SLOPES, -0.5])
def test_slope_of_leaky_relu(dtype, slope):
    z = inputs(dtype)
    z = z[np.abs(z) < 1e30]
    dy = np.roll(z, 1)
    # A negative slope makes the output positive on both sides, so the backward gets the input.
    saved = z if slope < 0 else forward(z, "leaky_relu", slope)
    assert_close(forward(z, "leaky_relu", slope), naive.activation(z, "leaky_relu", slope), dtype)
    assert_close(backward(dy, saved, "leaky_relu", slope), np.where(z > 0, 1.0, slope) * dy, dtype, floor=1e-37)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_backward(dtype, activation):
    z = inputs(dtype)
    z = z[np.abs(z) < 1e12]
    dy = np.random.default_rng(1).standard_normal(z.size).astype(dtype)
    saved = z if saves_input(activation) else forward(z, activation)
    s = np.abs(saved.astype(np.float64))
    magnitude = np.abs(dy) * {"sigmoid": s, "tanh": 1 + s * s}.get(activation, 1 + 0 * s)
    if saves_input(activation):
        tail = 1.0 * np.exp(-0.5 * np.minimum(s, 20) ** 2)
        magnitude = np.abs(dy) * np.where(saved < 0, tail, 1) * (1 + s)
    assert_close(
        backward(dy, saved, activation), naive.activation_backward(dy, saved, activation), dtype,
        roundings=6 * condition(saved, activation), magnitude=magnitude, floor=100 * np.finfo(dtype).tiny,
    )  # fmt: skip


@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("slope", SLOPES)
def test_backward_against_finite_differences(activation, slope):
    rng = np.random.default_rng(0)
    z, dy = rng.uniform(-4, 4, 67), rng.standard_normal(67)
    z = np.where(np.abs(z) < 1e-3, 1.0, z)
    saved = z if saves_input(activation) else forward(z, activation, slope)
    dz = backward(dy, saved, activation, slope)
    check_gradient(lambda z: np.sum(dy * forward(z, activation, slope)), dz, z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_the_bytes_around(dtype, activation, size):
    z, dy = inputs(dtype, size), np.roll(inputs(dtype, size), 1)
    # One number at a time, without vectors or a remainder loop.
    one_by_one = np.concatenate([forward(z[i : i + 1], activation) for i in range(size)] or [z])
    out, dz = Canary((size,), dtype), Canary((size,), dtype)
    activation_forward(out.array, z, activation)
    assert_same_bits(out.array, one_by_one)
    activation_backward(dz.array, dy, z, activation)
    one_by_one = np.concatenate([backward(dy[i : i + 1], z[i : i + 1], activation) for i in range(size)] or [z])
    np.testing.assert_array_equal(np.isnan(dz.array), np.isnan(one_by_one))
    assert_same_bits(np.nan_to_num(dz.array), np.nan_to_num(one_by_one))
    out.check()
    dz.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, activation, side):
    for size in (1, 16, 67):
        z = inputs(dtype, size)
        out, dz = guarded(z, side), guarded(z, side)
        with cut_in(3):
            activation_forward(out, guarded(z, side), activation)
            activation_backward(dz, guarded(z, side), guarded(z, side), activation)
        assert_same_bits(out, forward(z, activation))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_nan_and_infinity_come_out(dtype, activation):
    z = np.array([np.nan, np.inf, -np.inf] * 23, dtype)
    assert_close(forward(z, activation), naive.activation(z, activation), dtype)
    dy = np.repeat(np.array([1, -2, np.nan, np.inf, -np.inf], dtype), 20)
    saved = np.tile(np.array([0.25, -0.5, 0.75, np.nan, 0.0], dtype), 20)
    expected = naive.activation_backward(dy, saved, activation)
    assert_close(backward(dy, saved, activation), expected, dtype, roundings=20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_in_place_and_any_shape(dtype, activation):
    z = np.abs(inputs(dtype, 3 * 5 * 7)).reshape(3, 5, 7)
    dy = z[::-1].copy()
    out, dz = forward(z, activation), backward(dy, z, activation)
    activation_backward(dy, dy, z, activation)
    assert_same_bits(np.nan_to_num(dy), np.nan_to_num(dz))
    activation_forward(z, z, activation)
    assert_same_bits(z, out)
    point = forward(np.array(0.5, dtype), activation)
    assert point.shape == ()
    assert_close(point, naive.activation(np.array(0.5), activation), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_same_bits_in_any_parts(dtype, activation):
    z = inputs(dtype, 20_011)
    dy = np.roll(z, 1)

    def run():
        return np.nan_to_num(forward(z, activation)), np.nan_to_num(backward(dy, z, activation))

    assert_same_bits_in_any_parts(run)


def test_read_only_inputs_are_fine():
    z = np.ones(5, np.float32)
    z.flags.writeable = False
    np.testing.assert_array_equal(forward(z, "relu"), 1)
    np.testing.assert_array_equal(backward(z, z, "relu"), 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (3, 5)])
@pytest.mark.parametrize("name", ["out", "z"])
def test_wrong_arrays_of_the_forward_are_refused(dtype, shape, name):
    good = {"out": np.zeros(shape, dtype), "z": np.ones(shape, dtype), "activation": "gelu"}
    assert_refuses(activation_forward, good, name, output=name == "out")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (3, 5)])
@pytest.mark.parametrize("name", ["dz", "dy", "saved"])
def test_wrong_arrays_of_the_backward_are_refused(dtype, shape, name):
    good = {name: np.ones(shape, dtype) for name in ("dz", "dy", "saved")} | {"activation": "tanh"}
    assert_refuses(activation_backward, good, name, output=name == "dz")


def test_wrong_options_are_refused():
    a = np.ones(5, np.float32)
    for options, exception, message in [
        ({"activation": "Relu"}, ValueError, "must be one of none, relu, leaky_relu.*found 'Relu'"),
        ({"activation": 1}, ValueError, "must be one of"),
        ({"activation": "leaky_relu", "slope": "steep"}, TypeError, "scalar argument of activation_"),
    ]:
        with no_launch(), pytest.raises(exception, match=message):
            activation_forward(a, a, **options)
        with no_launch(), pytest.raises(exception, match=message):
            activation_backward(a, a, a, **options)
    np.testing.assert_array_equal(a, 1)


def test_names():
    assert [activation_code(name) for name in CODES] == list(range(7))
    assert [name for name in CODES if saves_input(name)] == ["gelu", "gelu_tanh"]
    with pytest.raises(ValueError, match="found 'elu'"):
        saves_input("elu")
