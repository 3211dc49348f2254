"""The optimizers' kernels against NumPy in float64, step by step."""

import itertools

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
    cut_in,
    guarded,
    no_launch,
)

from fastnn.kernels import adam, sgd, sgd_momentum


def buffers(size, dtype, count, seed=0):
    """Parameters and gradients with a sign, then states without."""
    rng = np.random.default_rng([seed, size])
    arrays = [rng.standard_normal(size).astype(dtype) for _ in range(2)]
    return arrays + [rng.random(size).astype(dtype) for _ in range(count - 2)]


SGD = [
    {"lr": lr, "weight_decay": decay, "maximize": maximize}
    for lr, decay, maximize in itertools.product([0.1, 0.0], [0.0, 0.3], [False, True])
]
MOMENTUM = [
    {"lr": 0.1, "momentum": momentum, "dampening": dampening, "weight_decay": decay, "nesterov": nesterov,
     "maximize": maximize}
    for momentum, dampening, decay, nesterov, maximize in itertools.product(
        [0.9, 0.0], [0.0, 0.4], [0.0, 0.3], [False, True], [False, True]
    )
]  # fmt: skip
ADAM = [
    {"lr": 0.01, "step": step, "betas": betas, "eps": eps, "weight_decay": decay, "maximize": maximize}
    for step, betas, (eps, decay, maximize) in itertools.product(
        [1, 2, 1000], [(0.9, 0.999), (0.0, 0.0), (0.5, 0.9999)], [(1e-8, 0.0, False), (1e-3, 0.3, True)]
    )
]  # fmt: skip
# Kernel, reference, arrays, options; the second array is the gradient, which stays as it is.
CASES = {
    "sgd": (sgd, naive.sgd, 2, SGD),
    "sgd_momentum": (sgd_momentum, naive.sgd_momentum, 3, MOMENTUM),
    "adam": (adam, naive.adam, 4, ADAM),
    "amsgrad": (adam, naive.adam, 5, ADAM),
}


def assert_step(kernel, reference, arrays, options, roundings=8):
    """One step in place: new values, an untouched gradient."""
    dtype = arrays[0].dtype.type
    before = [a.copy() for a in arrays]
    expected = reference(*before, **options)
    expected = expected if isinstance(expected, tuple) else (expected,)
    kernel(*arrays, **options)
    assert_same_bits(arrays[1], before[1])
    p, _, *state = arrays
    size = np.abs(before[1]).astype(np.float64) + options.get("weight_decay", 0) * np.abs(before[0])
    # A moment is a sum of the old one and the gradient, or its square.
    for number, (new, old, right) in enumerate(zip(state, before[2:], expected[1:], strict=False)):
        size_here = size**2 if number else size
        assert_close(new, right, dtype, roundings=roundings, magnitude=np.abs(old) + np.abs(right) + size_here)
    if reference is naive.adam:
        # A cancelled first moment has the absolute error of its terms.
        beta1, beta2 = (beta ** options["step"] for beta in options["betas"])
        largest = expected[2] if expected[3] is None else expected[3]
        step = options["lr"] * (before[2] + size) / (1 - beta1) / (np.sqrt(largest / (1 - beta2)) + options["eps"])
    else:
        step = options["lr"] * (2 * size + sum(np.abs(a).astype(np.float64) for a in before[2:]))
    assert_close(p, expected[0], dtype, roundings=roundings, magnitude=np.abs(before[0]) + step)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_options(dtype, name):
    kernel, reference, count, options = CASES[name]
    for choice in options:
        assert_step(kernel, reference, buffers(67, dtype, count), choice)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_the_bytes_around(dtype, name, size):
    kernel, reference, count, options = CASES[name]
    canaries = [Canary((size,), dtype) for _ in range(count)]
    for canary, values in zip(canaries, buffers(size, dtype, count), strict=True):
        canary.array[...] = values
    with cut_in(3):
        assert_step(kernel, reference, [canary.array for canary in canaries], options[-1])
    for canary in canaries:
        canary.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_from_zero(dtype, name):
    kernel, reference, count, options = CASES[name]
    arrays = buffers(33, dtype, count)
    for a in arrays[2:]:
        a[...] = 0
    for step in range(1, 11):
        arrays[1][...] = np.random.default_rng(step).standard_normal(33)
        choice = options[0] | ({"step": step} if "step" in options[0] else {})
        assert_step(kernel, reference, arrays, choice)


def test_first_step_of_adam_is_the_learning_rate():
    """The two bias corrections cancel the zeros that the moments start with, to float32's precision."""
    p, g = np.zeros(67, np.float32), np.geomspace(1e-4, 10, 67).astype(np.float32)
    adam(p, g, np.zeros_like(p), np.zeros_like(p), step=1, lr=1.0, eps=0.0)
    np.testing.assert_allclose(p, -1, rtol=5e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_nan_and_infinity_come_out(dtype, name):
    kernel, reference, count, options = CASES[name]
    values = np.array([np.nan, np.inf, -np.inf, 1.0, -2.0], dtype)
    options = [options[0], options[-1]]
    for which, choice in itertools.product(range(count), options):
        arrays = buffers(55, dtype, count)
        arrays[which][:50] = np.repeat(values if which < 2 else np.abs(values), 10)
        before = [a.copy() for a in arrays]
        with np.errstate(invalid="ignore", over="ignore"):
            expected = reference(*before, **choice)
        expected = expected if isinstance(expected, tuple) else (expected,)
        kernel(*arrays, **choice)
        for found, right in zip([arrays[0], *arrays[2:]], expected, strict=False):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(right))
            np.testing.assert_array_equal(found[np.isinf(right)], right[np.isinf(right)])


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_whose_square_overflows_stops_adam_without_nan(name):
    kernel, _, count, options = CASES[name]
    arrays = [np.full(67, value, np.float32) for value in (1.0, 1e30, 0.0, 0.0, 0.0)[:count]]
    kernel(*arrays, **options[0])
    assert not any(np.isnan(a).any() for a in arrays)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinite_parameter_without_decay_stays(dtype):
    for kernel, _, count, options in CASES.values():
        arrays = buffers(20, dtype, count)
        arrays[0][...] = np.inf
        kernel(*arrays, **options[0])
        np.testing.assert_array_equal(arrays[0], np.inf)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_gradient_of_adam_moves_nothing(dtype):
    zeros = [np.zeros(33, dtype) for _ in range(4)]
    adam(*zeros, step=1, lr=0.1)
    assert not any(a.any() for a in zeros)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, name, side):
    kernel, reference, count, options = CASES[name]
    for size in (1, 16, 67):
        with cut_in(2):
            assert_step(kernel, reference, [guarded(a, side) for a in buffers(size, dtype, count)], options[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_same_bits_in_any_parts(dtype, name):
    kernel, _, count, options = CASES[name]

    def run():
        arrays = [a for size in (100, 20_011) for a in buffers(size, dtype, count)]
        kernel(*arrays[:count], **options[-1])
        kernel(*arrays[count:], **options[-1])
        return arrays

    assert_same_bits_in_any_parts(run)


ARGUMENTS = ["parameters", "gradients", "velocity", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
TAKEN = {"sgd": [0, 1], "sgd_momentum": [0, 1, 2], "adam": [0, 1, 3, 4], "amsgrad": [0, 1, 3, 4, 5]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "which"), [(name, which) for name in CASES for which in TAKEN[name]])
def test_wrong_arrays_are_refused(dtype, name, which):
    kernel, _, count, options = CASES[name]
    arrays = dict(zip([ARGUMENTS[i] for i in TAKEN[name]], buffers(5, dtype, count), strict=True))
    assert_refuses(kernel, arrays | options[0], ARGUMENTS[which], output=which != 1)


def test_a_read_only_gradient_is_fine():
    for kernel, _, count, options in CASES.values():
        arrays = buffers(5, np.float32, count)
        arrays[1].flags.writeable = False
        kernel(*arrays, **options[0])


@pytest.mark.parametrize(
    ("name", "options", "exception", "message"),
    [
        ("sgd", {"lr": "0.1"}, TypeError, "scalar argument of sgd.float32"),
        ("sgd", {"weight_decay": None}, TypeError, "scalar argument"),
        ("sgd_momentum", {"momentum": "0.9"}, TypeError, "scalar argument"),
        ("adam", {"step": 0}, ValueError, "step must be at least 1, found 0"),
        ("adam", {"betas": (1.0, 0.999)}, ValueError, r"betas must be in \[0, 1\), found \(1.0, 0.999\)"),
        ("adam", {"betas": (0.9, -0.1)}, ValueError, "betas must be"),
        ("adam", {"betas": (0.9, float("nan"))}, ValueError, "betas must be"),
        ("adam", {"eps": "small"}, TypeError, "scalar argument"),
    ],
)
def test_wrong_options_are_refused(name, options, exception, message):
    kernel, _, count, choices = CASES[name]
    arrays = buffers(5, np.float32, count)
    before = [a.copy() for a in arrays]
    with no_launch(), pytest.raises(exception, match=message):
        kernel(*arrays, **choices[0] | options)
    for a, b in zip(arrays, before, strict=True):
        assert_same_bits(a, b)
