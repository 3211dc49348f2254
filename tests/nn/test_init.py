"""Initial values: bounds, moments and structure, in both libraries; in place with any memory layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import nn


def filled(lib: Any, name: str, shape: Any = (200, 300), **options: Any) -> np.ndarray:
    w = lib.empty(*shape)
    assert getattr(lib.nn.init, name)(w, **options) is w
    return as_array(w).astype("f8")


def assert_moments(a: np.ndarray, mean: float, std: float) -> None:
    # Five standard errors of mean and standard deviation; the latter's assumes a normal distribution.
    assert abs(a.mean() - mean) < 5 * std / a.size**0.5
    assert abs(a.std() - std) < 5 * std / (2 * a.size) ** 0.5


@pytest.mark.parametrize(
    ("name", "options", "bound"),
    [
        ("uniform_", {}, None),
        ("uniform_", {"a": -2.0, "b": 3.0}, None),
        ("xavier_uniform_", {}, math.sqrt(6 / 500)),
        ("xavier_uniform_", {"gain": 2.0}, 2 * math.sqrt(6 / 500)),
        ("kaiming_uniform_", {}, math.sqrt(6 / 300)),
        ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(6 / 200)),
        ("kaiming_uniform_", {"a": math.sqrt(5)}, math.sqrt(1 / 300)),
        ("kaiming_uniform_", {"nonlinearity": "tanh"}, 5 / 3 * math.sqrt(3 / 300)),
    ],
)
def test_uniform(lib, name, options, bound):
    a = filled(lib, name, **options)
    low, high = (options.get("a", 0), options.get("b", 1)) if bound is None else (-bound, bound)
    assert low * (1 + 1e-6) - 1e-9 <= a.min() < low + 0.001 * (high - low)
    assert high - 0.001 * (high - low) < a.max() <= high * (1 + 1e-6)
    assert_moments(a, (low + high) / 2, (high - low) / math.sqrt(12))


@pytest.mark.parametrize(
    ("name", "options", "std"),
    [
        ("normal_", {}, 1.0),
        ("normal_", {"mean": 3.0, "std": 0.1}, 0.1),
        ("xavier_normal_", {"gain": 3.0}, 3 * math.sqrt(2 / 500)),
        ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / 300)),
        ("kaiming_normal_", {"mode": "fan_out", "a": 1.0}, math.sqrt(1 / 200)),
    ],
)
def test_normal(lib, name, options, std):
    assert_moments(filled(lib, name, **options), options.get("mean", 0.0), std)


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0, 1, -2, 2), (0, 0.02, -2, 2), (1, 1, 0, 1.5), (0, 1, -0.1, 0.3)]
)
def test_truncated_normal(lib, mean, std, a, b):
    from scipy import stats

    found = filled(lib, "trunc_normal_", mean=mean, std=std, a=a, b=b)
    assert a <= found.min()
    assert found.max() <= b
    exact = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert_moments(found, exact.mean(), exact.std())
    assert stats.kstest(found.ravel(), exact.cdf).pvalue > 1e-6


@pytest.mark.parametrize(("low", "high"), [(3, 4), (4, 60), (-30, -5), (2, math.inf)])
def test_truncated_normal_far_from_the_mean(low, high):
    """PyTorch warns that its result may be wrong there."""
    from scipy import stats

    found = filled(fastnn, "trunc_normal_", (100, 50), a=low, b=high)
    assert low <= found.min()
    assert found.max() <= high
    assert stats.kstest(found.ravel(), stats.truncnorm(low, high).cdf).pvalue > 1e-6


def test_constants(lib):
    assert (filled(lib, "ones_", (2, 3)) == 1).all()
    assert (filled(lib, "zeros_", (2, 3)) == 0).all()
    assert (filled(lib, "constant_", (2, 3), val=0.5) == 0.5).all()
    np.testing.assert_array_equal(filled(lib, "eye_", (2, 3)), np.eye(2, 3))
    np.testing.assert_array_equal(filled(lib, "eye_", (3, 2)), np.eye(3, 2))
    kernel = filled(lib, "dirac_", (4, 2, 3), groups=2)
    assert kernel.sum() == 4
    assert kernel[0, 0, 1] == kernel[1, 1, 1] == kernel[2, 0, 1] == kernel[3, 1, 1] == 1


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3), (1, 4)])
def test_orthogonal(lib, shape):
    w = filled(lib, "orthogonal_", shape, gain=2.0).reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_sparse(lib):
    w = filled(lib, "sparse_", (40, 30), sparsity=0.31, std=2.0)
    assert ((w == 0).sum(0) == math.ceil(0.31 * 40)).all()
    assert_moments(w[w != 0], 0, 2)


def test_gains(lib):
    gain = lib.nn.init.calculate_gain
    gains = {"linear": 1, "conv2d": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": 2**0.5, "selu": 0.75}
    for name, value in gains.items():
        assert gain(name) == pytest.approx(value, rel=1e-15)
    assert gain("leaky_relu") == pytest.approx(math.sqrt(2 / (1 + 0.01**2)), rel=1e-15)
    assert gain("leaky_relu", 1) == 1
    for wrong in (lambda: gain("swish"), lambda: gain("leaky_relu", "steep"), lambda: gain("leaky_relu", True)):
        with pytest.raises(ValueError, match=r"Unsupported|not a valid number"):
            wrong()


def test_errors(lib):
    init, vector, matrix = lib.nn.init, lib.zeros(3), lib.zeros(3, 3)
    for wrong in (lambda: init.xavier_uniform_(vector), lambda: init.kaiming_normal_(vector), lambda: init.eye_(vector),
                  lambda: init.orthogonal_(vector), lambda: init.sparse_(vector, 0.1), lambda: init.dirac_(matrix),
                  lambda: init.kaiming_uniform_(matrix, mode="fan_on"),
                  lambda: init.kaiming_uniform_(matrix, nonlinearity="swish")):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            wrong()
    for wrong in (lambda: init.uniform_(vector, 2, 1), lambda: init.normal_(vector, 0, -1)):
        with pytest.raises(RuntimeError):
            wrong()


def test_old_names(lib):
    w = lib.zeros(3, 4)
    for name in ("uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal",
                 "orthogonal", "eye"):  # fmt: skip
        with pytest.warns(FutureWarning, match=rf"nn\.init\.{name}"):
            assert getattr(lib.nn.init, name)(w) is w
    with pytest.warns(FutureWarning, match="deprecated"):
        lib.nn.init.constant(w, 3)
    with pytest.warns(FutureWarning, match="deprecated"):
        lib.nn.init.sparse(w, 0.5)


def test_nothing_to_fill(lib):
    with pytest.warns(UserWarning, match="zero-element"):
        lib.nn.init.kaiming_uniform_(lib.zeros(0, 3))


def test_in_the_memory_of_a_parameter(lib):
    """A Linear's weight, stored in fastnn with gaps and in another order."""
    layer = lib.nn.Linear(3, 256)
    held = layer.weight.data
    before = layer.weight._version
    lib.nn.init.normal_(layer.weight, 5.0, 0.1)
    assert layer.weight.requires_grad
    assert layer.weight.is_leaf
    assert layer.weight._version > before
    np.testing.assert_array_equal(as_array(held), as_array(layer.weight))
    lib.nn.init.eye_(layer.weight.data)
    np.testing.assert_array_equal(as_array(layer.weight), np.eye(256, 3))
    lib.nn.init.constant_(layer.weight.data[0], 7.0)
    assert layer.weight[0].tolist() == [7.0] * 3
    # The gaps stay zero, as an optimizer updates them as well.
    if lib is fastnn:
        flat = layer.weight._slot.chunk.values[layer.weight._slot.start : layer.weight._slot.stop]
        assert np.count_nonzero(flat) == np.count_nonzero(as_array(layer.weight))


def test_generators(lib):
    draws = []
    for seed in (3, 3, 4):
        generator = lib.Generator()
        generator.manual_seed(seed)
        w = lib.nn.init.kaiming_normal_(lib.zeros(4, 5), generator=generator)
        draws.append(as_array(w))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    state = []
    for _ in range(2):
        lib.manual_seed(7)
        state.append(filled(lib, "orthogonal_", (3, 3)))
    np.testing.assert_array_equal(*state)


def test_init_by_apply(lib):
    def reset(module: Any) -> None:
        if isinstance(module, lib.nn.Linear):
            lib.nn.init.xavier_uniform_(module.weight)
            lib.nn.init.zeros_(module.bias)

    model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.ReLU(), lib.nn.Linear(4, 1)).apply(reset)
    assert model[2].bias.item() == 0
    assert np.abs(as_array(model[0].weight)).max() <= math.sqrt(6 / 7)


def test_what_is_no_tensor():
    with pytest.raises(TypeError, match="tensor must be a Tensor"):
        nn.init.ones_([1.0])
