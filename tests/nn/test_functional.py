"""Layers and losses as functions: values by hand, every option, every form of a target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from comparison import as_array, assert_matches, check_gradient

import fastnn
from fastnn.nn import functional


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and gradients of their sum, row by row, in float64."""
    losses, gradients = [], []
    for x, label in zip(logits.astype(np.float64), labels, strict=True):
        e = np.exp(x - x.max())
        losses.append(np.log(e.sum()) - (x[label] - x.max()))
        gradients.append(e / e.sum() - np.eye(len(x))[label])
    return np.array(losses), np.array(gradients)


# -- Linear -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (2, 2, 3), (0, 3), (2, 0, 3), (1, 1, 1, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(lib, shape, bias):
    rng = np.random.default_rng(0)
    x, w, b = rng.integers(-9, 9, shape), rng.integers(-9, 9, (4, 3)), rng.integers(-9, 9, 4)
    tensors = [lib.tensor(a.astype("f4")) for a in (x, w, b)]
    out = lib.nn.functional.linear(tensors[0], tensors[1], tensors[2] if bias else None)
    # Small integers: no rounding.
    np.testing.assert_array_equal(as_array(out), (x @ w.T + (b if bias else 0)).astype("f4"))
    assert out.is_contiguous()


def test_linear_of_a_vector_weight(lib):
    x, w = lib.tensor([[1.0, 2.0], [3.0, 4.0]]), lib.tensor([10.0, 1.0])
    assert lib.nn.functional.linear(x, w).tolist() == [12.0, 34.0]
    assert lib.nn.functional.linear(x[0], w).item() == 12.0


def test_linear_does_not_change_its_operands():
    x, w, b = (fastnn.tensor(np.random.default_rng(i).standard_normal(s)) for i, s in enumerate([(5, 3), (4, 3), (4,)]))
    before = [as_array(t) for t in (x, w, b)]
    for t in (x, w, b):
        t.requires_grad_()
    functional.linear_activation(x, w, b, "gelu").sum().backward()
    for t, a in zip((x, w, b), before, strict=True):
        np.testing.assert_array_equal(as_array(t), a)


@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("slope", [0.3, -0.3])
def test_linear_activation_gradient(activation, slope):
    rng = np.random.default_rng(1)
    arrays = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), rng.standard_normal(5)
    check_gradient(lambda x, w, b: functional.linear_activation(x, w, b, activation, slope), *arrays)
    check_gradient(lambda x, w: functional.linear_activation(x, w, None, activation, slope), *arrays[:2])


def test_unknown_activation():
    with pytest.raises(ValueError, match="relu, leaky_relu"):
        functional.linear_activation(fastnn.ones(1, 1), fastnn.ones(1, 1), activation="swish")


# -- Activations ----------------------------------------------------------------------------------


def gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: float) -> float:
    return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "relu": (lambda lib, x: lib.relu(x), lambda x: max(x, 0.0)),
    "functional_relu": (lambda lib, x: lib.nn.functional.relu(x), lambda x: max(x, 0.0)),
    "leaky_relu": (lambda lib, x: lib.nn.functional.leaky_relu(x), lambda x: x if x > 0 else 0.01 * x),
    "leaky_relu_0": (lambda lib, x: lib.nn.functional.leaky_relu(x, 0.0), lambda x: max(x, 0.0)),
    "leaky_relu_steep": (lambda lib, x: lib.nn.functional.leaky_relu(x, negative_slope=3), lambda x: min(x, 3 * x)),
    "sigmoid": (lambda lib, x: lib.sigmoid(x), lambda x: 1 / (1 + math.exp(-x))),
    "functional_sigmoid": (lambda lib, x: lib.nn.functional.sigmoid(x), lambda x: 1 / (1 + math.exp(-x))),
    "tanh": (lambda lib, x: lib.tanh(x), math.tanh),
    "functional_tanh": (lambda lib, x: lib.nn.functional.tanh(x), math.tanh),
    "gelu": (lambda lib, x: lib.nn.functional.gelu(x), gelu),
    "gelu_tanh": (lambda lib, x: lib.nn.functional.gelu(x, approximate="tanh"), gelu_tanh),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activation(lib, name, kind):
    function, exact = FUNCTIONS[name]
    x = np.linspace(-4, 4, 81).astype(kind)
    expected = np.array([exact(float(v)) for v in x]).astype(kind)
    found = function(lib, lib.tensor(x))
    assert_matches(as_array(found), expected, 8, least=1.0)
    for strange in (x.reshape(3, 27).T, x[::2], x[:0], x[40], x.reshape(3, 1, 27)):
        moved = function(lib, lib.from_numpy(np.asarray(strange)))
        assert tuple(moved.shape) == strange.shape


def test_gelu_of_infinity():
    """PyTorch's vectorised GELU is NaN there."""
    assert functional.gelu(fastnn.tensor([float("inf")] * 20)).tolist() == [float("inf")] * 20


def test_leaky_relu_with_a_negative_slope_in_place():
    """PyTorch raises, as the sign of the result does not determine that of the input. fastnn keeps the input."""
    x = np.random.default_rng(0).standard_normal(20)
    check_gradient(lambda x: functional.leaky_relu(x * 1, -0.5, inplace=True), x)


def test_activation_of_a_transposed_result():
    rng = np.random.default_rng(0)
    for name in ("relu", "gelu"):
        check_gradient(lambda x, name=name: functional._activation(x.t(), name) * 2, rng.standard_normal((3, 4)))


# -- Cross-entropy ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (7, 3), (64, 10), (3, 1000)], ids=str)
def test_cross_entropy(lib, shape, kind):
    rng = np.random.default_rng(0)
    logits, labels = (2 * rng.standard_normal(shape)).astype(kind), rng.integers(0, shape[1], shape[0])
    losses, gradients = softmax_cross_entropy(logits, labels)
    for reduction, loss, scale in (
        ("none", losses, 1.0), ("sum", losses.sum(), 1.0), ("mean", losses.mean(), 1 / shape[0]),
    ):  # fmt: skip
        x = lib.tensor(logits, requires_grad=True)
        found = lib.nn.functional.cross_entropy(x, lib.tensor(labels), reduction=reduction)
        assert_matches(as_array(found), np.asarray(loss, kind), 8 + shape[1] ** 0.5, least=None)
        found.sum().backward()
        assert_matches(as_array(x.grad), (scale * gradients).astype(kind), 8 + shape[1] ** 0.5, least=None)


def test_cross_entropy_weighs_rows_by_the_gradient(lib):
    x = lib.tensor(np.zeros((2, 4), np.float32), requires_grad=True)
    loss = lib.nn.functional.cross_entropy(x, lib.tensor([0, 1]), reduction="none")
    (loss * lib.tensor([4.0, 8.0])).sum().backward()
    assert x.grad.tolist() == [[-3.0, 1.0, 1.0, 1.0], [2.0, -6.0, 2.0, 2.0]]


def test_cross_entropy_scales_with_what_follows(lib):
    x = lib.tensor(np.zeros((2, 4), np.float32), requires_grad=True)
    (lib.nn.functional.cross_entropy(x, lib.tensor([0, 1])) * 8).backward()
    assert x.grad.tolist() == [[-3.0, 1.0, 1.0, 1.0], [1.0, -3.0, 1.0, 1.0]]


@pytest.mark.parametrize("ignored", [-100, 2, 77, -1])
def test_cross_entropy_ignores(lib, ignored):
    x = lib.tensor(np.zeros((3, 4), np.float32), requires_grad=True)
    labels = lib.tensor([ignored, 1, ignored])
    loss = lib.nn.functional.cross_entropy(x, labels, ignore_index=ignored)
    assert loss.item() == pytest.approx(math.log(4))
    loss.backward()
    assert x.grad.tolist() == [[0.0] * 4, [0.25, -0.75, 0.25, 0.25], [0.0] * 4]
    assert lib.nn.CrossEntropyLoss(ignore_index=ignored, reduction="none")(x, labels)[0].item() == 0.0


@pytest.mark.parametrize("count", [0, 3])
def test_cross_entropy_of_no_row_that_counts(lib, count):
    x = lib.tensor(np.ones((count, 4), np.float32), requires_grad=True)
    labels = lib.tensor(np.full(count, -100))
    assert math.isnan(lib.nn.functional.cross_entropy(x, labels).item())
    assert lib.nn.functional.cross_entropy(x, labels, reduction="sum").item() == 0.0
    assert lib.nn.functional.cross_entropy(x, labels, reduction="none").tolist() == [0.0] * count
    lib.nn.functional.cross_entropy(x, labels).backward()
    assert x.grad.tolist() == [[0.0] * 4] * count


def test_cross_entropy_of_one_row_without_a_batch(lib):
    x = lib.tensor([1.0, 2.0, 3.0])
    expected = lib.nn.functional.cross_entropy(x.unsqueeze(0), lib.tensor([1])).item()
    for reduction in ("mean", "sum", "none"):
        for target in (lib.tensor(1), lib.tensor([1])):
            loss = lib.nn.functional.cross_entropy(x, target, reduction=reduction)
            assert tuple(loss.shape) == ()
            assert loss.item() == expected


def test_cross_entropy_of_extreme_logits(lib):
    x = lib.tensor([[1e30, 0.0, -1e30], [-1e30, -1e30, -1e30]], requires_grad=True)
    loss = lib.nn.functional.cross_entropy(x, lib.tensor([0, 2]), reduction="none")
    assert loss[0].item() == 0.0
    assert loss[1].item() == pytest.approx(math.log(3))
    assert lib.nn.functional.cross_entropy(x, lib.tensor([2, 0]), reduction="none")[0].item() == np.float32(2e30)


def test_cross_entropy_reads_any_layout(lib):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 6)).astype("f4")
    plain = lib.nn.functional.cross_entropy(lib.tensor(a[:, ::2].copy()), lib.tensor([0, 1, 2, 0])).item()
    x = lib.tensor(a, requires_grad=True)
    labels = lib.tensor([[0, 9], [1, 9], [2, 9], [0, 9]])[:, 0]
    loss = lib.nn.functional.cross_entropy(x[:, ::2], labels)
    assert loss.item() == plain
    loss.backward()
    assert (as_array(x.grad)[:, 1::2] == 0).all()
    assert (as_array(x.grad)[:, ::2] != 0).all()


def test_cross_entropy_module(lib):
    x, y = lib.tensor([[0.0, 0.0]]), lib.tensor([1])
    assert lib.nn.CrossEntropyLoss()(x, y).item() == pytest.approx(math.log(2))
    assert tuple(lib.nn.CrossEntropyLoss(reduction="none")(x, y).shape) == (1,)
    assert not list(lib.nn.CrossEntropyLoss().parameters())


def test_cross_entropy_without_gradient_computes_none():
    x = fastnn.tensor([[0.0, 1.0]], requires_grad=True)
    with fastnn.no_grad():
        loss = functional.cross_entropy(x, fastnn.tensor([1]))
    assert loss.grad_fn is None
    assert not functional.cross_entropy(x.detach(), fastnn.tensor([1])).requires_grad


def test_cross_entropy_changes_neither_operand():
    a, b = np.zeros((2, 3), np.float32), np.array([0, 1])
    functional.cross_entropy(fastnn.from_numpy(a).requires_grad_(), fastnn.from_numpy(b)).backward()
    assert not a.any()
    assert b.tolist() == [0, 1]
