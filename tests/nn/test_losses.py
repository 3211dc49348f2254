"""The losses: kernels against NumPy in float64, functions against finite differences up to second order, modules."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import cases_losses
import naive
import naive_losses
import numpy as np
import pytest
from comparison import as_array, assert_matches, check_gradient
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

import fastnn
from fastnn.kernels import multilabel_margin, nll_loss, pointwise_loss, softmax_cross_entropy
from fastnn.kernels.loss.losses import LOSSES, THREE_ARRAYS
from fastnn.nn import functional

# -- Kernels: a number against a number ------------------------------------------------------------


def test_each_loss_has_a_reference():
    assert set(naive_losses.REFERENCES) == set(LOSSES)


def operands(loss: str, shape: Any, dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng([seed, len(loss)])
    x, y, z = rng.normal(0, 2, shape), rng.normal(0, 2, shape), None
    if loss == "bce":
        x, y = rng.uniform(0, 1, shape), rng.uniform(0, 1, shape)
    elif loss in ("kl_div", "poisson_nll"):
        x, y = rng.uniform(0.1, 4, shape), rng.uniform(0, 2, shape)
    elif loss in ("soft_margin", "hinge_embedding"):
        y = np.where(y > 0, 1.0, -1.0)
    elif loss.startswith("bce_with"):
        y = rng.uniform(0, 1, shape)
    if loss in THREE_ARRAYS:
        z = rng.uniform(0.2, 3, shape).astype(dtype)
    return x.astype(dtype), y.astype(dtype), z


def run_pointwise(loss: str, x: Any, y: Any, z: Any, mean: bool = False, a: float = 0.75) -> Any:
    """All results, from two launches: losses and gradients, then the sum or mean alone."""
    out, losses, dx = np.full((), np.nan, x.dtype), np.full_like(x, np.nan), np.full_like(x, np.nan)
    dz = None if z is None else np.full_like(x, np.nan)
    assert pointwise_loss(loss, None, losses, dx, x, y, mean, a, z, dz)
    assert pointwise_loss(loss, out, None, None, x, y, mean, a, z)
    return out, losses, dx, dz


# The magnitude of the terms whose difference is the value.
def terms(loss: str, x: Any, y: Any) -> np.ndarray:
    x, y = np.abs(x.astype(np.float64)), np.abs(y.astype(np.float64))
    if loss in ("kl_div_log", "poisson_nll_log"):
        return (1 + np.exp(np.maximum(x, y))) * (1 + x + y)
    return (1 + x) * (1 + y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_pointwise_loss(loss, dtype):
    for size in (*SIZES, 511, 512, 513, 3000):
        for mean in (False, True):
            x, y, z = operands(loss, size, dtype, size)
            out, losses, *slopes = run_pointwise(loss, x, y, z, mean)
            # The reference also rounds the parameter to the dtype of the numbers.
            value, *derivatives = naive_losses.pointwise_loss(loss, x, y, dtype(0.75), z)
            size_of_terms = terms(loss, x, y)
            assert_close(losses, value, dtype, roundings=8, magnitude=size_of_terms)
            scale = 1 / size if mean and size else 1.0
            for found, expected in zip([s for s in slopes if s is not None], derivatives, strict=True):
                least = np.abs(expected) if loss == "bce" else size_of_terms * (8 if loss == "gaussian_nll" else 1)
                assert_close(found, expected * scale, dtype, roundings=12, magnitude=least * scale)
            if size == 0:
                assert math.isnan(out) if mean else out == 0
            else:
                magnitude = np.abs(value).sum() * scale + size_of_terms.sum() * scale
                length = 4 if dtype == np.float32 else 4 + size
                assert_close(out, np.array(value.sum() * scale), dtype, roundings=length, magnitude=magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_and_large_logits_keep_their_precision(dtype):
    x = np.array([-1e4, -300, -50, -20, -1e-3, -0.0, 0.0, 1e-3, 20, 50, 300, 1e4], dtype)
    for y in (np.zeros_like(x), np.ones_like(x)):
        for loss, target in (("bce_with_logits", y), ("soft_margin", 2 * y - 1)):
            losses, dx = np.empty_like(x), np.empty_like(x)
            pointwise_loss(loss, None, losses, dx, x, target)
            value, slope = naive_losses.pointwise_loss(loss, x, target, 0)
            # Relative to the value itself: log(1 + exp(-50)) is not 0.
            tiny = float(np.finfo(dtype).tiny)
            assert_close(losses, value, dtype, roundings=6, floor=tiny)
            assert_close(dx, slope, dtype, roundings=6, floor=tiny)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_of_exactly_0_and_1(dtype):
    x, y = np.array([0, 0, 1, 1, 1e-30], dtype), np.array([0, 1, 0, 1, 0], dtype)
    losses, dx = np.empty_like(x), np.empty_like(x)
    assert pointwise_loss("bce", None, losses, dx, x, y)
    np.testing.assert_allclose(losses, [0, 100, 100, 0, 1e-30], rtol=1e-6)
    np.testing.assert_allclose(dx, [0, -1e12, 1e12, 0, 1e-18], rtol=1e-6)


@pytest.mark.parametrize("bad", [-1e-3, 1.001, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_no_probability_is_reported(bad, parts):
    for size, place in ((1, 0), (1700, 0), (1700, 1699), (1700, 800)):
        for array in range(2):
            arrays = [np.full(size, 0.5), np.full(size, 0.5)]
            with cut_in(parts):
                assert pointwise_loss("bce", np.empty(()), None, None, *arrays)
                arrays[array][place] = bad
                assert not pointwise_loss("bce", np.empty(()), None, None, *arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [n for n in LOSSES if n != "bce"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_come_out(loss, dtype, value):
    x, y, z = operands(loss, 600, dtype)
    x[[3, 520]] = value
    _, losses, dx, _ = run_pointwise(loss, x, y, z)
    expected, slope = naive_losses.pointwise_loss(loss, x, y, dtype(0.75), z)[:2]
    if loss == "l1" and np.isnan(value):
        slope[[3, 520]] = 0  # As in PyTorch.
    with np.errstate(all="ignore"):
        for found, wanted in ((losses, expected), (dx, slope)):
            if loss == "hinge_embedding" and np.isnan(value):
                np.testing.assert_array_equal(np.isnan(losses), np.isnan(expected))
                continue
            if loss in ("smooth_l1", "huber") and found is dx and np.isnan(value):
                assert np.isnan(found[[3, 520]]).all()
                continue
            for i in (3, 520):
                if loss == "soft_margin" and np.isinf(wanted[i]):
                    assert found[i] == wanted[i]
                np.testing.assert_array_equal(np.isnan(found[i]), np.isnan(wanted[i]), f"{loss} {i}")
                if np.isinf(wanted[i]):
                    assert found[i] == wanted[i]
    rest = np.delete(np.arange(600), [3, 520])
    assert np.isfinite(losses[rest]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["mse", "bce", "gaussian_nll"])
def test_pointwise_loss_in_any_parts(loss, dtype):
    x, y, z = operands(loss, 5000, dtype)

    def everything():
        return [n for n in run_pointwise(loss, x, y, z, True) if n is not None]

    assert_same_bits_in_any_parts(everything)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(loss, side):
    for size in (1, 17, 530):
        x, y, z = operands(loss, size, np.float32)
        expected = run_pointwise(loss, x, y, z)
        outputs = [guarded(n, side) for n in expected[1:] if n is not None]
        inputs = [guarded(n, side) for n in (x, y)]
        third = {} if z is None else {"z": guarded(z, side), "dz": outputs[2]}
        with cut_in(2):
            pointwise_loss(loss, None, outputs[0], outputs[1], *inputs, False, 0.75, **third)
        for found, wanted in zip(outputs, expected[1:], strict=False):
            assert_same_bits(found, wanted)
        around = Canary((size,), np.float32)
        pointwise_loss(loss, None, None, around.array, x, y, False, 0.75, z)
        around.check()
        assert_same_bits(around.array.copy(), expected[2])


@pytest.mark.parametrize("name", ["x", "y", "losses", "dx", "z", "dz"])
def test_wrong_arrays_are_refused(name):
    x, y, z = operands("gaussian_nll", (5, 7), np.float32)
    outputs: dict[str, Any] = {"out": None} | {n: np.zeros_like(x) for n in ("losses", "dx", "dz")}
    good = {"loss": "gaussian_nll", "x": x, "y": y, "z": z} | outputs
    assert_refuses(pointwise_loss, good, name, output=name in ("losses", "dx", "dz"))


def test_wrong_options_of_the_kernel_are_refused():
    x = np.zeros(3)
    with no_launch():
        for loss in ("none", None, ["mse"]):
            with pytest.raises(ValueError, match="loss must be one of mse, l1"):
                pointwise_loss(loss, None, None, None, x, x)
        with pytest.raises(TypeError, match="z must be given for loss"):
            pointwise_loss("gaussian_nll", None, None, None, x, x)
        with pytest.raises(TypeError, match="z and dz must be None for loss"):
            pointwise_loss("mse", None, None, None, x, x, z=x)
        for out in (np.zeros(2), np.zeros((), np.float32), 0.0):
            with pytest.raises((TypeError, ValueError), match="out"):
                pointwise_loss("mse", out, None, None, x, x)


# -- Kernels: rows against labels ------------------------------------------------------------------


def rows_and_labels(batch: int, classes: int, dtype: Any, ignored: float = 0.2) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng([batch, classes])
    labels = np.where(rng.random(batch) < ignored, -100, rng.integers(0, classes, batch))
    x = (3 * rng.standard_normal((batch, classes))).astype(dtype)
    return x, labels, rng.uniform(0.5, 2, classes).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("probabilities", [False, True])
def test_cross_entropy_of_weights_smoothing_and_probabilities(dtype, mean, smoothing, weighted, probabilities):
    for batch, classes in ((1, 1), (13, 5), (40, 17), (9, 133), (0, 3)):
        x, labels, weight = rows_and_labels(batch, classes, dtype, 0.0 if probabilities else 0.3)
        counts = labels != -100
        target = np.eye(classes)[np.where(counts, labels, 0)]
        if probabilities:
            target = np.random.default_rng(1).dirichlet(np.ones(classes), batch).astype(dtype)
        w = weight.astype(np.float64) if weighted else np.ones(classes)
        coefficients = w * ((1 - smoothing) * target + smoothing / classes) * counts[:, None]
        total = batch if probabilities else w[labels[counts]].sum()
        scale = 1 / total if mean and total else 1.0
        losses, dlogits, out = np.empty(batch, dtype), np.empty_like(x), np.empty((), dtype)
        counted = softmax_cross_entropy(losses, dlogits, x, target if probabilities else labels, mean, -100,
                                        weight if weighted else None, smoothing, out)  # fmt: skip
        assert counted == counts.sum()
        expected, gradient = naive_losses.soft_cross_entropy(x, coefficients, scale)
        roundings = 16 + classes / 4
        # A sum of the differences between all logits and the largest, each rounded.
        depth = np.abs(x.astype(np.float64) - x.max(1, keepdims=True, initial=-np.inf)) + np.log(classes) + 1
        assert_close(losses, expected, dtype, roundings=roundings, magnitude=(coefficients * depth).sum(1))
        size = scale * np.maximum(coefficients.sum(1, keepdims=True), coefficients)
        assert_close(dlogits, gradient, dtype, roundings=roundings, magnitude=np.broadcast_to(size, x.shape))
        if total:
            magnitude = scale * (coefficients * depth).sum()
            assert_close(out, np.array(scale * expected.sum()), dtype, roundings=roundings + 4, magnitude=magnitude)
        else:
            assert math.isnan(out) if mean else out == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss(dtype, mean, weighted):
    for batch, classes in ((1, 1), (13, 5), (200, 7), (0, 3)):
        x, labels, weight = rows_and_labels(batch, classes, dtype)
        w = weight.astype(np.float64) if weighted else np.ones(classes)
        counts = labels != -100
        onehot = np.eye(classes)[np.where(counts, labels, 0)] * counts[:, None] * w
        total = onehot.sum() if mean else 1.0
        losses, dx, out = np.empty(batch, dtype), np.empty_like(x), np.empty((), dtype)
        assert nll_loss(losses, dx, x, labels, mean, -100, weight if weighted else None, out) == counts.sum()
        assert_close(losses, -(onehot * x).sum(1), dtype, roundings=2)
        if total:
            assert_close(dx, -onehot / total, dtype, roundings=4)
            magnitude = np.abs(onehot * x).sum() / total
            assert_close(out, np.array(-(onehot * x).sum() / total), dtype, roundings=batch + 4, magnitude=magnitude)


def test_nll_loss_in_any_parts():
    x, labels, weight = rows_and_labels(700, 9, np.float32)

    def everything():
        losses, dx, out = np.empty(700, np.float32), np.empty_like(x), np.empty((), np.float32)
        nll_loss(losses, dx, x, labels, True, -100, weight, out)
        return losses, dx, out

    assert_same_bits_in_any_parts(everything)


def test_soft_cross_entropy_in_any_parts():
    x, labels, weight = rows_and_labels(160, 33, np.float32)
    p = np.random.default_rng(0).dirichlet(np.ones(33), 160).astype(np.float32)

    def everything():
        results = []
        for target in (labels, p):
            losses, dlogits, out = np.empty(160, np.float32), np.empty_like(x), np.empty((), np.float32)
            softmax_cross_entropy(losses, dlogits, x, target, True, -100, weight, 0.1, out)
            results += [losses, dlogits, out]
        return results

    assert_same_bits_in_any_parts(everything)


@pytest.mark.parametrize("wrong", [5, -1, -101, 2**62, -(2**63)])
def test_wrong_labels_of_nll_write_nothing(wrong):
    x, labels, _ = rows_and_labels(70, 5, np.float32)
    labels[66] = wrong
    losses, dx, out = np.zeros(70, np.float32), np.zeros_like(x), np.zeros((), np.float32)
    with pytest.raises(IndexError, match=f"Target {wrong} is out of bounds"):
        nll_loss(losses, dx, x, labels, out=out)
    assert not losses.any()
    assert not dx.any()
    assert not out


@pytest.mark.parametrize("name", ["losses", "dx", "x", "labels"])
def test_wrong_arrays_of_nll_are_refused(name):
    x, labels, _ = rows_and_labels(5, 7, np.float32)
    good = {"losses": np.zeros(5, np.float32), "dx": np.zeros_like(x), "x": x, "labels": labels}
    assert_refuses(nll_loss, good, name, output=name in ("losses", "dx"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_multilabel_margin(dtype):
    rng = np.random.default_rng(0)
    for batch, classes in ((1, 1), (7, 4), (20, 9), (0, 3)):
        x = rng.standard_normal((batch, classes)).astype(dtype)
        labels = cases_losses.label_lists(rng, (batch, classes))
        losses, dx = np.empty(batch, dtype), np.empty_like(x)
        multilabel_margin(losses, dx, x, labels)
        expected, gradient = naive_losses.multilabel_margin(x, labels)
        assert_close(losses, expected, dtype, roundings=classes**2, magnitude=1 + np.abs(expected))
        assert_close(dx, gradient, dtype, roundings=classes, magnitude=1 + np.abs(gradient))


@pytest.mark.parametrize("name", ["losses", "dx", "x", "labels"])
def test_wrong_arrays_of_multilabel_margin_are_refused(name):
    x, labels = np.zeros((5, 7), np.float32), np.full((5, 7), -1)
    good = {"losses": np.zeros(5, np.float32), "dx": np.zeros_like(x), "x": x, "labels": labels}
    assert_refuses(multilabel_margin, good, name, output=name in ("losses", "dx"))


# -- Functions: derivatives by finite differences ------------------------------------------------------


def float_operands(name: str, shapes: Any) -> tuple[Any, list[np.ndarray]]:
    """The loss as a function of its differentiable operands alone."""
    loss = cases_losses.LOSSES[name]
    arrays = cases_losses.operands_of(loss, shapes, np.random.default_rng(5), np.float64)

    def function(*tensors: Any, reduction: str = "none") -> Any:
        given = dict(zip(loss.gradients, tensors, strict=True))
        full = [given[i] if i in given else fastnn.tensor(a) for i, a in enumerate(arrays)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loss.call(functional, *full, reduction)

    return function, [arrays[i] for i in loss.gradients]


# Variances below eps count as eps, but still have a gradient.
CLAMPED = ("gaussian_nll_full",)


@pytest.mark.parametrize("name", [n for n in cases_losses.LOSSES if n not in CLAMPED])
def test_gradient_against_finite_differences(name):
    function, arrays = float_operands(name, cases_losses.LOSSES[name].shapes[0])
    for reduction in ("mean", "none"):
        check_gradient(lambda *t, r=reduction: function(*t, reduction=r), *arrays)


# Losses whose gradient is discontinuous or constant.
STEPS = ("l1", "smooth_l1_0", "hinge_embedding", "hinge_embedding_other", "margin_ranking", "multi_margin", "nll",
         "nll_weight", "multilabel_margin", "triplet_p1", "triplet_with_distance", "kl_div",
         "kl_div_batchmean")  # fmt: skip


@pytest.mark.parametrize("name", [n for n in cases_losses.LOSSES if n not in (*STEPS, *CLAMPED)])
def test_second_derivative_against_finite_differences(name):
    function, arrays = float_operands(name, cases_losses.LOSSES[name].shapes[0])

    def slope(*tensors: Any) -> Any:
        inputs = [t if t.requires_grad else t.requires_grad_() for t in tensors]
        losses = function(*inputs)
        grads = fastnn.autograd.grad(losses, inputs, fastnn.ones(*losses.shape, dtype=losses.dtype) * 1.5,
                                     create_graph=True)  # fmt: skip
        # All of them, concatenated.
        return fastnn.cat([g.reshape(-1) for g in grads])

    check_gradient(slope, *arrays)


@pytest.mark.parametrize("name", ["mse", "bce_with_logits", "cross_entropy", "nll", "gaussian_nll"])
def test_a_graph_can_be_walked_twice(name):
    function, arrays = float_operands(name, cases_losses.LOSSES[name].shapes[0])
    tensors = [fastnn.tensor(a, requires_grad=True) for a in arrays]
    loss = function(*tensors, reduction="mean")
    loss.backward(retain_graph=True)
    once = [as_array(t.grad) for t in tensors]
    loss.backward()
    for t, first in zip(tensors, once, strict=True):
        np.testing.assert_array_equal(as_array(t.grad), 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


# -- Functions: documented behaviour ------------------------------------------------------------------


def test_shapes_that_differ_are_broadcast_with_a_warning(lib):
    x, y = lib.tensor(np.zeros((3, 2), "f4"), requires_grad=True), lib.tensor(np.ones(2, "f4"), requires_grad=True)
    for function in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        with pytest.warns(UserWarning, match="Using a target size .*2.* that is different to the input size .*3, 2"):
            loss = getattr(lib.nn.functional, function)(x, y)
        loss.backward()
        assert tuple(y.grad.shape) == (2,)
        with pytest.warns(UserWarning, match="Using a target size"), pytest.raises(RuntimeError):
            getattr(lib.nn.functional, function)(x, lib.zeros(3))


@pytest.mark.parametrize(("size_average", "reduce", "reduction"), [
    (True, None, "mean"), (False, None, "sum"), (None, False, "none"), (True, False, "none"), (False, True, "sum"),
])  # fmt: skip
def test_older_names_of_the_reduction(lib, size_average, reduce, reduction):
    x, y = lib.tensor([0.0, 1.0]), lib.tensor([3.0, 3.0])
    expected = as_array(lib.nn.functional.mse_loss(x, y, reduction=reduction))
    with pytest.warns(UserWarning, match=f"please use reduction='{reduction}' instead"):
        found = lib.nn.functional.mse_loss(x, y, size_average, reduce)
    np.testing.assert_array_equal(as_array(found), expected)
    with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
        module = lib.nn.MSELoss(size_average, reduce)
    assert module.reduction == reduction
    np.testing.assert_array_equal(as_array(module(x, y)), expected)
    with pytest.warns(UserWarning, match="will be deprecated"):
        assert lib.nn.CrossEntropyLoss(size_average=size_average, reduce=reduce).reduction == reduction


def test_mean_of_a_divergence_warns(lib):
    x = lib.zeros(2, 2)
    with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
        lib.nn.functional.kl_div(x, x)
    with pytest.warns(UserWarning, match="'batchmean' divides only by the batch size"):
        lib.nn.KLDivLoss()(x, x)


MODULES: dict[str, Any] = {
    "L1Loss": ({}, "xy"), "MSELoss": ({}, "xy"),
    "SmoothL1Loss": ({"beta": 0.5}, "xy"), "HuberLoss": ({"delta": 0.5}, "xy"),
    "BCELoss": ({}, "pp"), "BCEWithLogitsLoss": ({}, "xp"), "KLDivLoss": ({"reduction": "batchmean"}, "xp"),
    "PoissonNLLLoss": ({"full": True, "eps": 0.1}, "xp"), "GaussianNLLLoss": ({"full": True, "eps": 0.1}, "xyp"),
    "SoftMarginLoss": ({}, "xs"), "HingeEmbeddingLoss": ({"margin": 0.5}, "xs"), "CrossEntropyLoss": (
        {"ignore_index": 1, "label_smoothing": 0.1}, "xl"), "NLLLoss": ({"ignore_index": 1}, "xl"),
    "MultiMarginLoss": ({"p": 2, "margin": 0.5}, "xl"), "MultiLabelMarginLoss": ({}, "xL"),
    "MultiLabelSoftMarginLoss": ({}, "xp"), "CosineEmbeddingLoss": ({"margin": 0.1}, "xyS"),
    "MarginRankingLoss": ({"margin": 0.5}, "xys"), "TripletMarginLoss": ({"p": 1.0, "swap": True}, "xyx"),
    "TripletMarginWithDistanceLoss": ({"margin": 2.0, "swap": True}, "xyx"),
}  # fmt: skip


def module_operand(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (6, 4)
    if kind == "l":
        return rng.integers(0, 4, 6)
    if kind == "L":
        return cases_losses.label_lists(rng, shape)
    if kind == "S":
        return cases_losses.signs(rng, (6,)).astype("f4")
    made = {"x": rng.standard_normal, "y": rng.standard_normal, "s": lambda s: cases_losses.signs(rng, s)}
    return np.asarray(made.get(kind, lambda s: rng.uniform(0.1, 0.9, s))(shape), "f4")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", MODULES)
def test_module_is_its_function(lib, name, reduction):
    options, kinds = MODULES[name]
    options = {"reduction": reduction, **options}
    module = getattr(lib.nn, name)(**options)
    tensors = [lib.tensor(module_operand(kind, i)) for i, kind in enumerate(kinds)]
    function = {
        "L1Loss": "l1_loss", "MSELoss": "mse_loss", "SmoothL1Loss": "smooth_l1_loss", "BCELoss": "binary_cross_entropy",
        "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "KLDivLoss": "kl_div",
        "PoissonNLLLoss": "poisson_nll_loss",
        "GaussianNLLLoss": "gaussian_nll_loss", "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss",
        "MultiLabelMarginLoss": "multilabel_margin_loss", "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    }  # fmt: skip
    plain = "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
    expected = getattr(lib.nn.functional, function.get(name, plain))(*tensors, **options)
    np.testing.assert_array_equal(as_array(module(*tensors)), as_array(expected))
    assert not list(module.parameters())
    assert not module.state_dict()
    again = copy.deepcopy(module)
    np.testing.assert_array_equal(as_array(again(*tensors)), as_array(expected))
    assert repr(module).startswith(f"{name}(")


@pytest.mark.parametrize("name", ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "NLLLoss", "MultiMarginLoss",
                                  "MultiLabelSoftMarginLoss"])  # fmt: skip
def test_weight_is_a_buffer(lib, name):
    weight = lib.tensor([1.0, 2.0, 0.5, 3.0])
    module = getattr(lib.nn, name)(weight=weight)
    assert list(module.state_dict()) == ["weight"]
    assert [n for n, _ in module.named_buffers()] == ["weight"]
    kinds = MODULES[name][1]
    x, y = (lib.tensor(module_operand(kind, i)) for i, kind in enumerate(kinds))
    weighted, plain = module(x, y), getattr(lib.nn, name)()(x, y)
    assert weighted.item() != plain.item()
    module.load_state_dict({"weight": lib.ones(4)})
    assert module(x, y).item() == pytest.approx(plain.item(), rel=1e-6)


def test_pos_weight_is_a_buffer(lib):
    module = lib.nn.BCEWithLogitsLoss(pos_weight=lib.tensor([3.0]))
    assert list(module.state_dict()) == ["pos_weight"]
    assert module(lib.zeros(1), lib.ones(1)).item() == pytest.approx(3 * math.log(2))


def test_empty_batches(lib):
    x = lib.zeros(0, 3)
    F = lib.nn.functional
    for loss in (F.mse_loss, F.l1_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.soft_margin_loss):
        assert math.isnan(loss(x, x).item())
        assert loss(x, x, reduction="sum").item() == 0
        assert tuple(loss(x, x, reduction="none").shape) == (0, 3)


def test_targets_that_are_not_contiguous(lib):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 4)).astype("f4"), rng.standard_normal((4, 3)).astype("f4")
    x = lib.tensor(a, requires_grad=True)
    loss = lib.nn.functional.mse_loss(x.t(), lib.tensor(b))
    assert loss.item() == pytest.approx(float(((a.T - b) ** 2).mean()), rel=1e-6)
    loss.backward()
    assert_matches(as_array(x.grad), (2 * (a - b.T) / 12).astype("f4"), 4)


def test_mixed_dtypes_are_promoted(lib):
    x, y = lib.tensor([1.0, 2.0]), lib.tensor(np.array([0.0, 4.0]))
    assert lib.nn.functional.mse_loss(x, y).dtype == lib.float64
    assert lib.nn.functional.mse_loss(x, lib.tensor([1, 4])).item() == 2.0
    assert lib.nn.functional.cross_entropy(x, y / 4).dtype == lib.float64


def test_losses_scale_with_what_follows():
    x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    v = fastnn.tensor([1.0, 4.0], requires_grad=True)
    (functional.gaussian_nll_loss(x, fastnn.zeros(2), v, reduction="sum") * 4).backward()
    assert x.grad.tolist() == [4.0, 2.0]
    assert v.grad.tolist() == [0.0, 0.0]


def test_no_gradient_is_computed_where_none_is_wanted():
    x = fastnn.tensor([0.5], requires_grad=True)
    with fastnn.no_grad():
        assert functional.mse_loss(x, x).grad_fn is None
    assert functional.mse_loss(x.detach(), fastnn.zeros(1)).grad_fn is None


def test_second_derivative_through_a_network():
    """The curvature of a loss along a direction, as in second-order methods."""
    rng = np.random.default_rng(0)
    x, y = fastnn.tensor(rng.standard_normal((8, 3))), fastnn.tensor(rng.integers(0, 4, 8))
    w0, v = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))

    def gradient(w: np.ndarray) -> np.ndarray:
        p = fastnn.tensor(w, requires_grad=True)
        functional.cross_entropy(functional.linear(x, p), y).backward()
        return as_array(p.grad)

    p = fastnn.tensor(w0, requires_grad=True)
    loss = functional.cross_entropy(functional.linear(x, p), y)
    (g,) = fastnn.autograd.grad(loss, p, create_graph=True)
    (g * fastnn.tensor(v)).sum().backward()
    h = 1e-5
    np.testing.assert_allclose(as_array(p.grad), (gradient(w0 + h * v) - gradient(w0 - h * v)) / (2 * h), atol=1e-8)


def test_reference_of_soft_targets_is_that_of_labels():
    x, labels, _ = rows_and_labels(6, 4, np.float64, 0.0)
    one, two = naive.softmax_cross_entropy(x, labels), naive_losses.soft_cross_entropy(x, np.eye(4)[labels])
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_labels_that_an_output_writes_over_are_refused():
    from fastnn import kernels

    memory = np.zeros(64, np.int64)
    labels = memory[:8].reshape(2, 4)
    x, losses = np.ones((2, 4)), np.empty(2)
    dx = memory[4:12].view(np.float64).reshape(2, 4)
    with pytest.raises(ValueError, match="dx must have memory of its own"):
        kernels.multilabel_margin(losses, dx, x, labels)
    with pytest.raises(ValueError, match="losses must have memory of its own"):
        kernels.multilabel_margin(x[0, :2], np.empty((2, 4)), x, labels)
    assert not memory.any()


def test_huber_loss_of_a_target_of_another_dtype_has_no_gradient(lib):
    x = lib.zeros(2, requires_grad=True)
    loss = lib.nn.functional.huber_loss(x, lib.ones(2, dtype=lib.float64))
    assert loss.dtype == lib.float32
    with pytest.raises(RuntimeError, match=r"Found dtype .* but expected"):
        loss.backward()
    lib.nn.functional.huber_loss(x, lib.ones(2)).backward()
