"""Layer, group and root-mean-square normalisation with activation and dropout, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import naive_normalization as naive
import numpy as np
import pytest
from helpers import (
    DTYPES,
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)
from normalization_helpers import STATE, assert_gradients, factors_of

from fastnn.kernels import layer_norm_backward, layer_norm_forward
from fastnn.kernels.activation.fused_activations import CODES
from fastnn.kernels.norm.layer_norm import ROWS

SHAPES = [(1, 1), (3, 7), (5, 33), (ROWS + 1, 16), (2 * ROWS + 3, 67), (1, 1023)]
EPS = 1e-5


def batch_of(rows: int, columns: int, dtype: type, mean: float = 0.5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([rows, columns])
    made = {
        "x": rng.standard_normal((rows, columns)) * rng.uniform(0.2, 3, (rows, 1))
        + mean * rng.standard_normal((rows, 1)),
        "dy": rng.standard_normal((rows, columns)),
        "weight": rng.uniform(-1.5, 1.5, columns),
        "bias": rng.standard_normal(columns),
    }
    return {name: a.astype(dtype) for name, a in made.items()}


def run(a: dict[str, np.ndarray], backward: bool = True, **options: Any) -> dict[str, np.ndarray]:
    x = a["x"]
    found = {"out": np.full_like(x, np.nan), "saved": np.full((len(x) * options.get("groups", 1), 3), np.nan, x.dtype)}
    layer_norm_forward(found["out"], found["saved"], x, a["weight"], a["bias"], **options)
    if backward:
        grads = {name: np.full_like(a[name[1:]], np.nan) for name in ("dx", "dweight", "dbias")}
        common = {k: v for k, v in options.items() if k != "eps"}
        layer_norm_backward(*grads.values(), a["dy"], x, a["weight"], a["bias"], found["saved"], **common)
        found |= grads
    return found


def assert_right(a: dict[str, np.ndarray], *, groups: int = 1, centred: bool = True, **options: Any) -> None:
    x, dtype = a["x"], a["x"].dtype.type
    activation, p = options.get("activation", "none"), options.get("p", 0.0)
    found = run(a, groups=groups, centred=centred, eps=EPS, state=STATE, **options)
    factors = factors_of(x, p).astype(np.float64)
    grouped = (len(x) * groups, x.shape[1] // groups)
    xhat, mean, var = naive.normalised(x.reshape(grouped), EPS, 1, None if centred else np.zeros((grouped[0], 1)))
    size_of = np.broadcast_to(np.abs(mean) / np.sqrt(var + EPS) if dtype == np.float64 else 0 * var, grouped)
    inverse = np.broadcast_to(1 / np.sqrt(var + EPS), grouped).reshape(x.shape)
    xhat_rows, weight = xhat.reshape(x.shape), a["weight"].astype(np.float64)
    z = xhat_rows * weight + a["bias"]
    # The error of the mean is that of a sum of deviations, which have magnitude 1 relative to xhat.
    magnitude = (np.abs(xhat_rows) + 1 + size_of.reshape(x.shape)) * np.abs(weight) + np.abs(a["bias"])
    length = 10 + grouped[1] / 8
    assert_close(found["out"], naive.following(z, activation, 0.01, factors), dtype, roundings=length,
                 magnitude=magnitude * (1 + factors))  # fmt: skip
    near = np.abs(z) < 4 * length * np.finfo(dtype).eps * magnitude
    assert not near.any() or activation not in ("relu", "leaky_relu"), "choose another seed: numbers at the kink"
    dz = naive.gradient_before(a["dy"], z, activation, 0.01, factors)
    own = np.abs(dz)
    if activation not in ("none", "relu", "leaky_relu"):
        length += 10 + np.abs(z).max(initial=0) ** 2
        own = own + np.abs(a["dy"]) * factors * (1 + magnitude)
    down = length + 4 + ROWS
    assert_close(found["dbias"], dz.sum(0), dtype, roundings=down, magnitude=own.sum(0))
    spread = 1 + np.abs(xhat_rows) + size_of.reshape(x.shape)
    assert_close(found["dweight"], (dz * xhat_rows).sum(0), dtype, roundings=down, magnitude=(own * spread).sum(0))
    g = (dz * weight).reshape(grouped)
    if centred:
        dx = naive.through_statistics(g, xhat, var, EPS, 1)
    else:
        dx = (g - xhat * (g * xhat).mean(1, keepdims=True)) / np.sqrt(var + EPS)
    terms = (own * np.abs(weight)).reshape(grouped)
    along = terms.mean(1, keepdims=True)
    across = (terms * spread.reshape(grouped)).mean(1, keepdims=True) * spread.reshape(grouped)
    size = (terms + along + across).reshape(x.shape) * inverse
    assert_close(found["dx"], dx.reshape(x.shape), dtype, roundings=2 * length, magnitude=size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_against_reference(dtype, centred, p, activation):
    for rows, columns in SHAPES:
        assert_right(batch_of(rows, columns, dtype), centred=centred, activation=activation, p=p)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [2, 3, 6])
def test_groups(dtype, groups):
    for rows in (1, 5, ROWS + 2):
        assert_right(batch_of(rows, 6 * 5, dtype), groups=groups, activation="relu", p=0.2)
        assert_right(batch_of(rows, 6, dtype), groups=groups)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("activation", [name for name in CODES if name not in ("none", "relu")])
def test_other_activations(p, activation):
    for rows, columns in [(3, 7), (ROWS + 1, 17)]:
        assert_right(batch_of(rows, columns, np.float64), activation=activation, p=p)


@pytest.mark.parametrize("mean", [1e3, -1e5])
def test_a_mean_far_larger_than_the_deviations(mean):
    assert_right(batch_of(9, 300, np.float32, mean), activation="none", p=0.2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_rows(dtype):
    a = batch_of(4, 33, dtype)
    a["x"][:] = np.array([0, 1, -3.5, 1e6], dtype)[:, None]
    assert_same_bits(run(a)["out"], np.broadcast_to(a["bias"], (4, 33)).copy())


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "tanh"])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_gradients_against_finite_differences(centred, activation, p):
    a = batch_of(5, 8, np.float64)
    assert_gradients(run, a, centred=centred, activation=activation, p=p, groups=2)


def test_without_weight_and_bias():
    a = batch_of(70, 6, np.float32)
    expected = run(a | {"weight": np.ones(6, np.float32), "bias": np.zeros(6, np.float32)}, activation="relu")
    out, saved, x = np.empty_like(a["x"]), np.empty((70, 3), np.float32), a["x"]
    layer_norm_forward(out, saved, x, activation="relu")
    assert_same_bits(out, expected["out"])
    dx, dweight = np.empty_like(x), np.empty(6, np.float32)
    layer_norm_backward(dx, None, None, a["dy"], x, None, None, saved, activation="relu")
    assert_same_bits(dx, expected["dx"])
    layer_norm_backward(None, dweight, None, a["dy"], x, None, None, saved, activation="relu")
    assert_same_bits(dweight, expected["dweight"])


def test_accumulation():
    a = batch_of(70, 6, np.float32)
    once = run(a)
    dweight, dbias = np.full(6, 2, np.float32), np.full(6, -3, np.float32)
    layer_norm_backward(
        None, dweight, dbias, a["dy"], a["x"], a["weight"], a["bias"], once["saved"], accumulate_weight=True,
        accumulate_bias=True,
    )  # fmt: skip
    assert_same_bits(dweight, once["dweight"] + np.float32(2))
    assert_same_bits(dbias, once["dbias"] - np.float32(3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_row(dtype, value):
    a = batch_of(6, 40, dtype)
    expected = run(a)
    a["x"][3, 17] = value
    found = run(a)
    assert np.isnan(found["out"][3]).all()
    assert np.isnan(found["dx"][3]).all()
    others = np.arange(6) != 3
    for name in ("out", "dx"):
        assert_same_bits(found[name][others], expected[name][others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_same_bits_in_any_parts(dtype, activation):
    a = batch_of(10 * ROWS + 3, 20, dtype)

    def everything():
        yield from run(a, activation=activation, p=0.3, state=STATE, groups=4).values()

    assert_same_bits_in_any_parts(everything)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 18), (ROWS + 3, 34)])
def test_nothing_outside_the_arrays_is_touched(dtype, side, shape):
    a = batch_of(*shape, dtype)
    for activation, p in (("none", 0.0), ("relu", 0.3), ("tanh", 0.3)):
        options: dict[str, Any] = {"activation": activation, "p": p, "state": STATE}
        expected = run(a, **options)
        with cut_in(2):
            found = run({name: guarded(value, side) for name, value in a.items()}, **options)
        around = {name: Canary(expected[name].shape, dtype) for name in expected}
        arrays = {name: canary.array for name, canary in around.items()}
        layer_norm_forward(arrays["out"], arrays["saved"], a["x"], a["weight"], a["bias"], **options)
        layer_norm_backward(
            arrays["dx"], arrays["dweight"], arrays["dbias"], a["dy"], a["x"], a["weight"], a["bias"], arrays["saved"],
            **options,
        )  # fmt: skip
        for name, canary in around.items():
            canary.check()
            assert_same_bits(canary.array.copy(), expected[name])
            assert_same_bits(found[name], expected[name])


def test_empty():
    for shape in ((0, 3), (5, 0), (0, 0)):
        found = run(batch_of(*shape, np.float32))
        assert found["out"].shape == found["dx"].shape == shape
        assert not found["dweight"].any()


@pytest.mark.parametrize("name", ["out", "saved", "x", "weight", "bias", "state"])
def test_wrong_arrays_are_refused_forward(name):
    good: dict[str, Any] = {k: v for k, v in batch_of(6, 5, np.float32).items() if k != "dy"}
    good |= {"out": np.zeros((6, 5), np.float32), "saved": np.zeros((6, 3), np.float32)}
    good |= {"state": STATE.copy(), "p": 0.5}
    assert_refuses(layer_norm_forward, good, name, output=name in ("out", "saved"))


@pytest.mark.parametrize("name", ["dx", "dweight", "dbias", "dy", "x", "weight", "bias", "saved", "state"])
def test_wrong_arrays_are_refused_backward(name):
    good: dict[str, Any] = {**batch_of(6, 5, np.float32), "saved": np.ones((6, 3), np.float32)}
    good |= {"state": STATE, "p": 0.5, "dx": np.zeros((6, 5), np.float32)}
    good |= {"dweight": np.zeros(5, np.float32), "dbias": np.zeros(5, np.float32)}
    assert_refuses(layer_norm_backward, good, name, output=name in ("dx", "dweight", "dbias"))


def test_wrong_options_are_refused():
    a = batch_of(6, 5, np.float32)
    for options, message in (
        ({"activation": "softmax"}, "activation must be one of"),
        ({"groups": 2}, "groups must divide"),
        ({"groups": 0}, "groups must divide"),
        ({"p": 1.5, "state": STATE}, "p must be in"),
        ({"p": 0.5}, "state must be given"),
    ):
        with no_launch(), pytest.raises(ValueError, match=message):
            run(a, **options)
