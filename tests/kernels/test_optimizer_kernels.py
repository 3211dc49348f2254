"""The optimizers' kernels against NumPy in float64, step by step: the table of ``naive_optimizers``."""

import itertools

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
from naive_optimizers import RULES

from fastnn import kernels
from fastnn.kernels import adam
from fastnn.kernels.optim import RULES as kernel_rules
from fastnn.kernels.optim.optimizers import HYPER, LR, STEP
from fastnn.kernels.runtime import launcher


def buffers(size, dtype, count, seed=0):
    """Parameters and gradients with a sign, then states without."""
    rng = np.random.default_rng([seed, size])
    arrays = [rng.standard_normal(size).astype(dtype) for _ in range(2)]
    return arrays + [rng.random(size).astype(dtype) for _ in range(count - 2)]


RULE = {rule.name: rule for rule in RULES}
# Kernel, reference, arrays, options; the second array is the gradient, which is not changed.
CASES = {rule.name: (rule.run, rule.reference, 2 + len(rule.state), rule.options) for rule in RULES}


def test_each_rule_has_a_row():
    assert {rule.kernel for rule in RULES} == {*kernel_rules, "sgd_momentum"}


def for_case(name, arrays):
    """Make the arrays valid for the rule: the square of the mean gradient is below the mean of the squares."""
    if name in ("rmsprop_centered", "rmsprop_both"):
        arrays[2] += 1
        arrays[-1] *= 0.5
    return arrays


def made(name, size, dtype, seed=0):
    """Arrays for a case."""
    return for_case(name, buffers(size, dtype, CASES[name][2], seed))


def assert_step(name, arrays, options, roundings=8):
    """One step in place: new values, an untouched gradient.

    The rounding of an operand is weighted by the result's sensitivity to it, measured with a small change.
    """
    kernel, reference, *_ = CASES[name]
    before = [a.copy() for a in arrays]
    expected = reference(*before, **options)
    kernel(*arrays, **options)
    assert_same_bits(arrays[1], before[1])
    exact = [a.astype(np.float64) for a in before]
    sizes = [np.abs(a) for a in exact]
    sizes[1] = sizes[1] + options.get("weight_decay", 0) * sizes[0] / options.get("grad_scale", [1.0])[0]
    magnitudes = [np.abs(old) + np.abs(new) for old, new in zip([exact[0], *exact[2:]], expected, strict=True)]
    change = 1e-3
    for which in range(1, len(exact)):
        moved = [a + change * sizes[i] if i == which else a for i, a in enumerate(exact)]
        for magnitude, new, other in zip(magnitudes, expected, reference(*moved, **options), strict=True):
            magnitude += np.abs(other - new) / change
    for found, right, magnitude in zip([arrays[0], *arrays[2:]], expected, magnitudes, strict=True):
        assert_close(found, right, found.dtype.type, roundings=roundings, magnitude=magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_options(dtype, name):
    for choice in CASES[name][3]:
        assert_step(name, made(name, 67, dtype), choice)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_the_bytes_around(dtype, name, size):
    *_, count, options = CASES[name]
    canaries = [Canary((size,), dtype) for _ in range(count)]
    for canary, values in zip(canaries, made(name, size, dtype), strict=True):
        canary.array[...] = values
    with cut_in(3):
        assert_step(name, [canary.array for canary in canaries], options[-1])
    for canary in canaries:
        canary.check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_from_zero(dtype, name):
    *_, count, options = CASES[name]
    arrays = buffers(33, dtype, count)
    for a in arrays[2:]:
        a[...] = 0
    for step in range(1, 11):
        arrays[1][...] = np.random.default_rng(step).standard_normal(33)
        choice = options[0] | ({"step": step} if "step" in options[0] else {})
        assert_step(name, arrays, choice)


def test_first_step_of_adam_is_the_learning_rate():
    """The two bias corrections cancel the initial zeros of the moments, to float32's precision."""
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
        arrays = made(name, 55, dtype)
        arrays[which][:50] = np.repeat(values if which < 2 else np.abs(values), 10)
        before = [a.copy() for a in arrays]
        with np.errstate(invalid="ignore", over="ignore"):
            expected = reference(*before, **choice)
        kernel(*arrays, **choice)
        for found, right in zip([arrays[0], *arrays[2:]], expected, strict=True):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(right))
            np.testing.assert_array_equal(found[np.isinf(right)], right[np.isinf(right)])


# A centred variance would be a difference of infinities, in PyTorch as well.
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("rmsprop_centered", "rmsprop_both")])
def test_a_gradient_whose_square_overflows_makes_no_nan(name):
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
    for size in (1, 16, 67):
        with cut_in(2):
            assert_step(name, [guarded(a, side) for a in made(name, size, dtype)], CASES[name][3][0])


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


def kernel_of(name):
    """The kernel itself, which takes arrays by name."""
    return getattr(kernels, RULE[name].kernel)


def arguments(name, dtype=np.float32):
    """Good arguments of a kernel by name."""
    names = ["parameters", "gradients", *RULE[name].state]
    return dict(zip(names, buffers(5, dtype, len(names)), strict=True)) | CASES[name][3][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "which"), [(name, which) for name in RULE for which in ["parameters", "gradients", *RULE[name].state]]
)
def test_wrong_arrays_are_refused(dtype, name, which):
    assert_refuses(kernel_of(name), arguments(name, dtype), which, output=which != "gradients")


@pytest.mark.parametrize("name", RULE)
def test_wrong_arrays_of_scalars_are_refused(name):
    good = arguments(name) | {"hyper": np.zeros(HYPER), "grad_scale": np.ones(1)}
    assert_refuses(kernel_of(name), good, "hyper", output=True)
    assert_refuses(kernel_of(name), good, "grad_scale", except_for=("every other row", "reversed", "broadcast"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_scaled(dtype, name):
    """The scale is read from an array of one number, as written by clipping by the norm."""
    for choice in CASES[name][3][:: max(1, len(CASES[name][3]) // 3)]:
        assert_step(name, made(name, 35, dtype), choice | {"grad_scale": np.array([0.37])})


@pytest.mark.parametrize("name", ["sgd_momentum", "adam", "amsgrad", "adamax", "radam", "adagrad"])
def test_a_launch_is_replayed_with_other_scalars(name):
    """The learning rate and the count of steps are read from the array ``hyper`` at each launch."""
    kernel, *_, options = CASES[name]
    seen, hyper = [], np.zeros(HYPER)
    choice = options[-1] | {"step": 1, "lr": 0.01}
    first, second = made(name, 20, np.float32), made(name, 20, np.float32)
    with launcher.recording(lambda *launched: seen.append(launched)):
        kernel(*first, **choice, hyper=hyper)
    [(launched, parts, arrays, scalars)] = seen
    assert (hyper[LR], hyper[STEP]) == (0.01, 1)
    for step in (2, 3):
        hyper[LR], hyper[STEP] = 0.01 / step, step
        launcher.launch(launched, parts, arrays, *scalars)
    for step in (1, 2, 3):
        kernel(*second, **choice | {"step": step, "lr": 0.01 / step})
    for a, b in zip(first, second, strict=True):
        assert_same_bits(a, b)


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
        *[(name, {"step": 0}, ValueError, "step must be") for name in ("sgd_momentum", "nadam", "radam", "adagrad")],
        *[(name, {"betas": (0.9, 1.0)}, ValueError, "betas must be") for name in ("adamax", "nadam", "radam")],
        ("rprop", {"etas": (0.5, None)}, TypeError, "scalar argument of rprop.float32"),
    ],
)
def test_wrong_options_are_refused(name, options, exception, message):
    kernel, _, count, good = CASES[name]
    arrays = buffers(5, np.float32, count)
    before = [a.copy() for a in arrays]
    with no_launch(), pytest.raises(exception, match=message):
        kernel(*arrays, **good[0] | options)
    for a, b in zip(arrays, before, strict=True):
        assert_same_bits(a, b)
