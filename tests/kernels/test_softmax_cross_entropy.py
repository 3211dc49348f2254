"""Softmax cross-entropy: losses and gradient against NumPy in float64, huge logits, wrong labels."""

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

from fastnn.kernels import softmax_cross_entropy


def batch_of(batch, classes, dtype, scale=3.0, ignored=0.0, seed=0):
    rng = np.random.default_rng([seed, batch, classes])
    logits = (scale * rng.standard_normal((batch, classes))).astype(dtype)
    labels = rng.integers(0, max(classes, 1), batch)
    return logits, np.where(rng.random(batch) < ignored, -100, labels)


def run(logits, labels, mean=False, ignore_index=-100):
    losses, dlogits = np.full(len(labels), np.nan, logits.dtype), np.full_like(logits, np.nan)
    counted = softmax_cross_entropy(losses, dlogits, logits, labels, mean, ignore_index)
    return losses, dlogits, counted


def assert_right(logits, labels, mean=False, ignore_index=-100):
    """Losses and gradient agree with the reference up to the rounding of a sum over the classes."""
    losses, dlogits, counted = run(logits, labels, mean, ignore_index)
    dtype, classes = logits.dtype.type, logits.shape[1]
    assert counted == np.sum(labels != ignore_index)
    expected, gradient = naive.softmax_cross_entropy(logits, labels, mean, ignore_index)
    # A sum of exponentials, in several partial sums; then a logarithm and a difference.
    length = 10 + classes / 8
    assert_close(losses, expected, dtype, roundings=length, magnitude=1 + np.abs(expected))
    scale = 1 / counted if mean and counted else 1.0
    onehot = np.zeros(logits.shape)
    onehot[labels != ignore_index, labels[labels != ignore_index]] = scale
    with np.errstate(invalid="ignore", divide="ignore"):
        depth = np.abs(logits.astype(np.float64) - logits.max(1, keepdims=True, initial=-np.inf))
        depth = np.where(np.isfinite(depth), depth, 0)
    assert_close(
        dlogits, gradient, dtype, roundings=length + depth, magnitude=np.abs(gradient) + 2 * onehot,
        floor=np.finfo(dtype).tiny,
    )  # fmt: skip
    only_losses = np.full_like(losses, np.nan)
    assert softmax_cross_entropy(only_losses, None, logits, labels, mean, ignore_index) == counted
    assert_close(only_losses, expected, dtype, roundings=length, magnitude=1 + np.abs(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [size for size in SIZES if size])
@pytest.mark.parametrize("mean", [False, True])
def test_losses_and_gradient(dtype, classes, mean):
    for batch in (0, 1, 13):
        assert_right(*batch_of(batch, classes, dtype), mean)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [False, True])
def test_many_rows(dtype, mean):
    assert_right(*batch_of(1023, 10, dtype, ignored=0.3), mean)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 10, 33])
def test_gradient_against_finite_differences(mean, classes):
    logits, labels = batch_of(7, classes, np.float64, ignored=0.2)
    _, dlogits, counted = run(logits, labels, mean)
    scale = 1 / counted if mean else 1.0
    check_gradient(lambda x: scale * run(x, labels)[0].sum(), dlogits, logits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10, 67])
@pytest.mark.parametrize("height", [1e4, -1e4, 1e30])
def test_huge_logits(dtype, classes, height):
    base, labels = batch_of(9, classes, dtype)
    one_high = base.copy()
    one_high[:, classes // 2] = height
    for logits in (one_high, np.full_like(base, height), base * dtype(1e4), (base + dtype(height)).astype(dtype)):
        assert_right(logits, labels)
        losses, dlogits, _ = run(logits, labels)
        assert np.isfinite(losses).all()
        assert np.isfinite(dlogits).all()
    equal = run(np.full_like(base, height), labels)
    np.testing.assert_allclose(equal[0], np.log(classes), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_difference_beyond_the_largest_number_is_an_infinite_loss(dtype):
    big = np.finfo(dtype).max
    losses, dlogits, _ = run(np.array([[big, -big, 0]], dtype), np.array([1]))
    assert losses[0] == np.inf
    np.testing.assert_array_equal(dlogits, [[1, -1, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [3, 33])
@pytest.mark.parametrize("values", [[-np.inf], [np.inf], [np.nan], [-np.inf, np.inf], [np.nan, np.inf]])
def test_nan_and_infinity_come_out(dtype, classes, values):
    logits, labels = batch_of(12, classes, dtype)
    for row, value in enumerate(values * 3):
        logits[row, row * classes // 4 % classes] = value
    logits[8, :] = values[0]
    logits[9, 0] = values[0]
    labels[9] = 0
    assert_right(logits, labels)
    # The other rows are not affected.
    assert np.isfinite(run(logits, labels)[0][10:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 3, 10, 2**62])
@pytest.mark.parametrize("mean", [False, True])
def test_ignored_rows(dtype, ignore_index, mean):
    logits, labels = batch_of(29, 10, dtype)
    labels[::3] = ignore_index
    logits[::6] = np.nan  # Never read.
    assert_right(logits, labels, mean, ignore_index)
    losses, dlogits, _ = run(logits, labels, mean, ignore_index)
    assert not losses[::3].any()
    assert not dlogits[::3].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [0, 1, 10])
def test_all_rows_ignored(dtype, classes):
    logits = np.ones((5, classes), dtype)
    losses, dlogits, counted = run(logits, np.full(5, -100), mean=True)
    assert counted == 0
    assert not losses.any()
    assert not dlogits.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_may_overwrite_the_logits(dtype):
    logits, labels = batch_of(13, 67, dtype)
    losses, dlogits, _ = run(logits, labels)
    other = np.empty_like(losses)
    softmax_cross_entropy(other, logits, logits, labels)
    # Not the same bits: in place the sum is one chain, as that loop cannot be vectorised.
    assert_close(logits, dlogits.astype(np.float64), dtype, roundings=20)
    assert_close(other, losses.astype(np.float64), dtype, roundings=20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(dtype, side):
    for batch, classes in [(1, 1), (5, 10), (3, 67)]:
        logits, labels = batch_of(batch, classes, dtype, ignored=0.2)
        expected = run(logits, labels)
        losses, dlogits = guarded(expected[0], side), guarded(expected[1], side)
        with cut_in(2):
            softmax_cross_entropy(losses, dlogits, guarded(logits, side), guarded(labels, side))
            softmax_cross_entropy(losses, None, guarded(logits, side), guarded(labels, side))
        assert_same_bits(dlogits, expected[1])
        around = Canary((batch,), dtype), Canary((batch, classes), dtype)
        softmax_cross_entropy(around[0].array, around[1].array, logits, labels)
        for canary, array in zip(around, expected[:2], strict=True):
            canary.check()
            assert_same_bits(canary.array.copy(), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_any_parts(dtype):
    logits, labels = batch_of(133, 67, dtype, ignored=0.1)

    def both():
        losses = np.empty(133, dtype)
        softmax_cross_entropy(losses, None, logits, labels)
        return *run(logits, labels, mean=True)[:2], losses

    assert_same_bits_in_any_parts(both)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrong", [10, 11, -1, -99, -101, 2**62, -(2**63)])
@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_labels_out_of_range_write_nothing(dtype, wrong, with_gradient, ignore_index):
    logits, labels = batch_of(13, 10, dtype)
    losses, dlogits = np.zeros(13, dtype), np.zeros_like(logits) if with_gradient else None
    out = np.zeros((), dtype)
    for row in (0, 7, 12):
        bad = labels.copy()
        bad[row] = wrong
        for smoothing in (0.0, 0.1):
            with pytest.raises(IndexError, match=rf"Target {wrong} is out of bounds.*\[0, 10\)"):
                softmax_cross_entropy(losses, dlogits, logits, bad, False, ignore_index, None, smoothing, out)
    assert not losses.any()
    assert out == 0
    assert dlogits is None or not dlogits.any()


def test_no_label_is_in_range_of_no_classes():
    with pytest.raises(IndexError, match="Target 0 is out of bounds"):
        run(np.empty((2, 0)), np.zeros(2, np.int64))


@pytest.mark.parametrize(("labels", "ignore_index", "expected"), [
    ([], -100, 0), ([0, 1, 2], -100, 3), ([0, -100, 2], -100, 2), ([0, 1, 2, 1], 1, 2), ([7, 7], 7, 0),
])  # fmt: skip
def test_counted_rows(labels, ignore_index, expected):
    logits = np.zeros((len(labels), 3))
    assert run(logits, np.array(labels, np.int64), ignore_index=ignore_index)[2] == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["losses", "dlogits", "logits", "target"])
def test_wrong_arrays_are_refused(dtype, name):
    logits, labels = batch_of(5, 7, dtype)
    good = {"losses": np.zeros(5, dtype), "dlogits": np.zeros((5, 7), dtype), "logits": logits, "target": labels}
    assert_refuses(softmax_cross_entropy, good, name, output=name in ("losses", "dlogits"))


def test_wrong_options_are_refused():
    logits, labels = batch_of(5, 7, np.float32)
    for ignore_index in ("none", 1.5, 2**70):
        with no_launch(), pytest.raises(TypeError):
            run(logits, labels, ignore_index=ignore_index)
