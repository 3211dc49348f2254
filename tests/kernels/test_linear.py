"""The fully connected layer, forward and backward, against NumPy in float64 and finite differences."""

import naive
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
    no_launch,
)

from fastnn.kernels import linear_backward, linear_forward
from fastnn.kernels.activation.fused_activations import CODES, saves_input
from fastnn.kernels.matmul.linear import activation_bias_backward
from fastnn.kernels.runtime.program import Program

# batch, in_features, out_features: around the 64 columns of one part of the bias gradient.
# Weights and their gradients with contiguous rows, or with contiguous columns as in the modules.
LAYOUTS = ["rows", "columns"]
SHAPES = [(1, 1, 1), (5, 3, 7), (17, 31, 63), (3, 33, 64), (13, 16, 65), (67, 129, 130), (2, 7, 1023), (1023, 2, 3)]
EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)]


def layer(batch, in_features, out_features, dtype, seed=0):
    rng = np.random.default_rng([seed, batch, in_features, out_features])
    x = rng.standard_normal((batch, in_features)).astype(dtype)
    weight = (rng.standard_normal((in_features, out_features)) / max(in_features, 1) ** 0.5).astype(dtype)
    bias = rng.standard_normal(out_features).astype(dtype)
    dy = rng.standard_normal((batch, out_features)).astype(dtype)
    return x, weight, bias, dy


def laid(weight, layout):
    """A copy with contiguous rows or columns."""
    return np.array(weight, order="C" if layout == "rows" else "F")


def forward(x, weight, bias, activation, slope=0.01):
    """The output, and the array saved for the backward."""
    out, z = (np.full((len(x), weight.shape[1]), np.nan, x.dtype) for _ in range(2))
    keep = saves_input(activation)
    linear_forward(out, x, weight, bias, activation, slope, z if keep else None)
    return out, z if keep else out


def dz_of(dy, saved, activation, slope=0.01):
    """The kernel's dz, computed in float64 from the same input."""
    return naive.activation_backward(dy, saved, activation, slope)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + EMPTY)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward(dtype, shape, with_bias, layout):
    x, weight, bias, _ = layer(*shape, dtype)
    weight, bias = laid(weight, layout), bias if with_bias else None
    z = naive.gemm(x, weight, bias)
    magnitude = naive.gemm_magnitude(x, weight, bias)
    for activation in CODES:
        out, _ = forward(x, weight, bias, activation)
        # The steepest activation, GELU, multiplies errors by 1.13.
        assert_close(
            out, naive.activation(z, activation), dtype, roundings=1.2 * shape[1] + 10, magnitude=magnitude + 1
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + EMPTY)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_backward(dtype, shape, activation, layout):
    batch, in_features, out_features = shape
    x, weight, bias, dy = layer(*shape, dtype)
    weight = laid(weight, layout)
    _, saved = forward(x, weight, bias, activation)
    dx, dbias = Canary((batch, in_features), dtype, 3), Canary((out_features,), dtype)
    dweight = Canary((in_features, out_features) if layout == "rows" else (out_features, in_features), dtype, 5)
    for a in (dx, dweight, dbias):
        a.array[...] = np.nan
    by_row = dweight.array if layout == "rows" else dweight.array.T
    linear_backward(dx.array, by_row, dbias.array, dy, x, weight, saved, activation)
    dz = dz_of(dy, saved, activation)
    # dz itself has an error of a few roundings of numbers below |dy| times 2 (GELU: |z| times the density).
    size = np.abs(dy).astype(np.float64) * 2
    for found, expected, magnitude, length in zip(
        (dx, dweight, dbias),
        naive.linear_backward(dz, x, weight),
        naive.linear_backward(size, np.abs(x), np.abs(weight)),
        (out_features, batch, batch),
        strict=True,
    ):
        found.check()
        array = by_row if found is dweight else found.array
        assert_close(array, expected, dtype, roundings=length + 20, magnitude=magnitude)


@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (17, 31, 70)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_backward_against_finite_differences(shape, activation, layout):
    x, weight, bias, dy = layer(*shape, np.float64)
    weight = laid(weight, layout)
    if activation in ("relu", "leaky_relu"):
        # No value is close to the corner.
        z = naive.gemm(x, weight, bias)
        dy = np.where(np.abs(z) < 1e-3, 0, dy)
    _, saved = forward(x, weight, bias, activation, 0.3)
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty_like(bias)
    linear_backward(dx, dweight, dbias, dy, x, weight, saved, activation, 0.3)
    check_gradient(lambda x: np.sum(dy * forward(x, weight, bias, activation, 0.3)[0]), dx, x)
    check_gradient(lambda w: np.sum(dy * forward(x, w, bias, activation, 0.3)[0]), dweight, weight)
    check_gradient(lambda b: np.sum(dy * forward(x, weight, b, activation, 0.3)[0]), dbias, bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_gradient_may_be_left_out(dtype, activation, layout):
    x, weight, bias, dy = layer(13, 5, 67, dtype)
    weight = laid(weight, layout)
    _, saved = forward(x, weight, bias, activation)
    full = [np.empty_like(x), np.empty_like(weight), np.empty_like(bias)]
    linear_backward(*full, dy, x, weight, saved, activation)
    for wanted in range(8):
        some = [np.empty_like(a) if wanted >> i & 1 else None for i, a in enumerate(full)]
        linear_backward(*some, dy, x, weight, saved, activation)
        for found, expected in zip(some, full, strict=True):
            if found is not None:
                assert_same_bits(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "tanh"])
@pytest.mark.parametrize("shape", [(13, 5, 67), *EMPTY])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_accumulate(dtype, activation, shape, layout):
    x, weight, bias, dy = layer(*shape, dtype)
    weight = laid(weight, layout)
    _, saved = forward(x, weight, bias, activation)
    fresh = [np.empty_like(weight), np.empty_like(bias)]
    linear_backward(None, *fresh, dy, x, weight, saved, activation)
    for weight_too, bias_too in [(True, False), (False, True), (True, True)]:
        dweight, dbias = np.full_like(weight, 3), np.full_like(bias, 3)
        linear_backward(None, dweight, dbias, dy, x, weight, saved, activation, 0.01, weight_too, bias_too)
        for found, new, accumulated in [(dweight, fresh[0], weight_too), (dbias, fresh[1], bias_too)]:
            expected = new.astype(np.float64) + 3 * accumulated
            assert_close(found, expected, dtype, roundings=2 * shape[0] + 4, magnitude=np.abs(expected) + 3 + shape[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_any_layout(dtype):
    x, weight, bias, dy = layer(13, 9, 35, dtype)
    out, _ = forward(x, weight, bias, "relu")
    expected = [np.empty_like(x), np.empty_like(weight), np.empty_like(bias)]
    linear_backward(*expected, dy, x, weight, out, "relu")
    padded = np.full((9, 40), np.nan, dtype)[:, :35]
    padded[...] = weight
    for x_too in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], np.ascontiguousarray(x[::-1])[::-1]):
        for weight_too in (padded, np.asfortranarray(weight)):
            assert_same_bits(forward(x_too, weight_too, bias, "relu")[0], out)
            for layout in LAYOUTS:
                found = [np.empty_like(a) for a in expected]
                found[1] = laid(found[1], layout)
                linear_backward(*found, dy, x_too, weight_too, out, "relu")
                for a, b in zip(found, expected, strict=True):
                    assert_same_bits(np.ascontiguousarray(a), b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize(
    "shape", [(1, 3, 4), (1, 9, 2), (1, 1, 1), (2, 3, 4), (4, 9, 3), (4, 40, 4), (3, 1, 2), (3, 2, 1)]
)
def test_few_rows_of_any_layout(dtype, layout, side, shape):
    """A product with one row or number has no strides to go by: another kind of product must not be taken for it."""
    x, weight, bias, dy = layer(*shape, dtype)
    weight = laid(weight, layout)
    expected = naive.linear_backward(dy, x, weight)
    for x_too in (x, np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], np.repeat(x, 2, 0)[::2]):
        y, dx, dbias = (guarded(np.full_like(a, np.nan), side) for a in (dy, x, bias))
        dweight = guarded(np.full(weight.shape if layout == "rows" else weight.T.shape, np.nan, dtype), side)
        dweight = dweight if layout == "rows" else dweight.T
        linear_forward(y, x_too, weight, bias)
        assert_close(y, naive.gemm(x, weight, bias), dtype, roundings=shape[1] + 4, magnitude=10)
        linear_backward(dx, dweight, dbias, dy, x_too, weight)
        for found, right in zip((dx, dweight, dbias), expected, strict=True):
            assert_close(found, right, dtype, roundings=max(shape) + 4, magnitude=10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 9, 35), (4, 200, 17), (13, 9, 2), (13, 9, 1)])
def test_products_of_few_rows_with_inputs_of_any_layout(dtype, shape):
    """A replay copies an input to the layout that was recorded."""
    x, weight, bias, dy = layer(*shape, dtype)
    # Also rows that repeat a number.
    x[:] = x[:, :1]
    weight, found = np.asfortranarray(weight), []
    for x_too in (x, np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], np.broadcast_to(x[:, :1].copy(), x.shape)):
        grads = [laid(weight, "columns"), laid(weight, "columns"), np.empty_like(bias)]
        linear_backward(None, grads[0], None, dy, x_too, weight)
        for parts in (1, 3):
            with cut_in(parts):
                linear_backward(None, *grads[1:], dy, x_too, weight)
                found.append([forward(x_too, weight, bias, "none")[0], *map(np.ascontiguousarray, grads)])
    for arrays in found[1:]:
        for a, b in zip(arrays, found[0], strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_one_row_that_repeats_a_number(dtype, outputs, layout):
    """The strides of the input fit dot products, which compute no sums."""
    x, weight, _, dy = layer(1, 9, outputs, dtype)
    dweight, dbias = laid(weight, layout), Canary((outputs,), dtype)
    linear_backward(None, dweight, dbias.array, dy, np.broadcast_to(x[:, :1], x.shape), weight)
    dbias.check()
    assert_same_bits(dbias.array, dy[0])
    assert_same_bits(np.ascontiguousarray(dweight), np.repeat(x[0, 0] * dy, 9, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
def test_nan_and_infinity_come_out(dtype, activation):
    x = np.array([[np.nan], [np.inf], [-np.inf], [0], [2], [-2]], dtype)
    weight, bias = np.ones((1, 40), dtype), np.zeros(40, dtype)
    out, _ = forward(x, weight, bias, activation)
    # At -infinity GELU is -infinity times 0, here as in PyTorch.
    assert_close(out, np.repeat(naive.activation(x, activation), 40, 1), dtype, roundings=20)
    dy = np.repeat(np.array([[np.nan], [np.inf], [-np.inf], [1], [2], [3]], dtype), 40, 1)
    saved = np.full_like(dy, 0.5)
    dbias = np.empty(40, dtype)
    for rows in ([0, 3], [1, 3], [2, 3], [1, 2], [3, 4, 5]):
        dz = dz_of(dy[rows], saved[rows], activation)
        linear_backward(None, None, dbias, dy[rows], x[rows], weight, saved[rows], activation)
        with np.errstate(invalid="ignore"):
            assert_close(dbias, dz.sum(0), dtype, roundings=20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activation_bias_backward_in_place(dtype):
    _, _, _, dy = layer(13, 1, 130, dtype)
    saved = np.tanh(dy)
    dz, dbias, other = np.empty_like(dy), np.empty(130, dtype), np.empty(130, dtype)
    activation_bias_backward(dz, dbias, dy, saved, "tanh")
    activation_bias_backward(dy, other, dy, saved, "tanh")
    assert_same_bits(dy, dz)
    assert_same_bits(other, dbias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("activation", ["none", "leaky_relu", "gelu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_outside_the_arrays_is_touched(dtype, side, activation, layout):
    def placed(a):
        turn = layout == "columns" and a.ndim == 2 and a.shape == weight_shape
        return guarded(np.ascontiguousarray(a.T), side).T if turn else guarded(np.ascontiguousarray(a), side)

    for shape in [(1, 1, 1), (13, 9, 35), (3, 5, 67), (2, 3, 129)]:
        x, weight, *rest = layer(*shape, dtype)
        arrays, weight_shape = (x, laid(weight, layout), *rest), shape[1:]
        x, weight, bias, dy = map(placed, arrays)
        out, saved = forward(*arrays[:3], activation)
        found, z = guarded(np.empty_like(out), side), guarded(np.empty_like(out), side)
        expected = [np.empty_like(a) for a in arrays[:3]]
        linear_backward(*expected, arrays[3], *arrays[:2], saved, activation)
        gradients = [*map(placed, expected)]
        for parts in (1, 3):
            with cut_in(parts):
                linear_forward(found, x, weight, bias, activation, z=z)
                linear_backward(*gradients, dy, x, weight, guarded(saved, side), activation)
            assert_same_bits(found, out)
            for a, b in zip(gradients, expected, strict=True):
                assert_same_bits(np.ascontiguousarray(a), b)


@pytest.mark.parametrize("dtype", DTYPES)
# One row, more rows than a panel of the product holds, and a packed panel.
@pytest.mark.parametrize("shape", [(1, 1, 1), (13, 5, 67), (2500, 13, 40), (200, 40, 256), (300, 3, 1040)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_bias_gradient_is_that_of_its_own_kernel(dtype, shape, layout):
    x, weight, bias, dy = layer(*shape, dtype)
    weight = laid(weight, layout)
    dweight = np.empty_like(weight)
    for accumulate in (False, True):
        expected = bias.copy()
        activation_bias_backward(dy, expected, dy, dy, "none", accumulate=accumulate)
        options = {"accumulate_weight": False, "accumulate_bias": accumulate}
        for parts in (1, 3):
            with cut_in(parts):
                found, recorded = bias.copy(), bias.copy()
                linear_backward(None, dweight, found, dy, x, weight, **options)
                program = Program()
                with program.recording():
                    linear_backward(None, dweight, recorded, dy, x, weight, **options)
                assert len(program) == 1
                program.replay()
            assert_same_bits(found, expected)
            assert_same_bits(recorded, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_bits_in_any_parts(dtype, activation, layout):
    x, weight, bias, dy = layer(67, 50, 333, dtype)
    weight = laid(weight, layout)

    def run():
        out, saved = forward(x, weight, bias, activation)
        gradients = [np.empty_like(x), np.empty_like(weight), np.empty_like(bias)]
        linear_backward(*gradients, dy, x, weight, saved, activation)
        return out, *gradients

    assert_same_bits_in_any_parts(run)


def backward_arguments(dtype):
    x, weight, _, dy = layer(5, 6, 7, dtype)
    return {
        "dx": np.zeros((5, 6), dtype), "dweight": np.zeros((6, 7), dtype), "dbias": np.zeros(7, dtype),
        "dy": dy, "x": x, "weight": weight, "saved": np.ones((5, 7), dtype),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("name", ["dx", "dweight", "dbias", "dy", "x", "weight", "saved"])
def test_wrong_arrays_are_refused_before_anything_is_written(dtype, activation, name):
    layout = "rows" if name in ("dx", "dweight") else "strided" if name in ("x", "weight") else "contiguous"
    good = backward_arguments(dtype) | {"activation": activation}
    fine = ("Fortran order",) if name == "dweight" else ()
    assert_refuses(linear_backward, good, name, fine, output=name.startswith("d") and name != "dy", layout=layout)


@pytest.mark.parametrize("name", ["out", "x", "weight", "bias", "z"])
def test_wrong_arrays_of_the_forward_are_refused(name):
    x, weight, bias, dy = layer(5, 6, 7, np.float32)
    # gemm's messages use the names of y = a @ b.
    good = {"out": dy, "x": x, "weight": weight, "bias": bias, "z": dy.copy(), "a": 0, "b": 0, "y": 0}
    output = name in ("out", "z")

    def call(a, b, y, **arguments):
        linear_forward(**arguments)

    layout = "rows" if output else "contiguous" if name == "bias" else "strided"
    assert_refuses(call, good, name, output=output, layout=layout)


def test_wrong_options_are_refused():
    good = backward_arguments(np.float32)
    for options, exception, message in [
        ({"activation": "swish"}, ValueError, "activation must be one of"),
        ({"activation": "relu", "saved": None}, ValueError, "saved must be given for activation 'relu'"),
        ({"activation": "relu", "slope": "1"}, TypeError, "scalar argument"),
    ]:
        with no_launch(), pytest.raises(exception, match=message):
            linear_backward(**{**good, **options})
    assert not any(good[name].any() for name in ("dx", "dweight", "dbias"))
