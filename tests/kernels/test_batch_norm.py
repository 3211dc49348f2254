"""Batch normalisation with activation and dropout: forward, statistics and gradients against NumPy in float64."""

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

from fastnn.kernels import batch_norm_backward, batch_norm_forward
from fastnn.kernels.activation.fused_activations import CODES
from fastnn.kernels.norm.column_statistics import COLUMNS, rows_of_chunk

# Around vector lengths, blocks of columns and chunks of rows, the shortest and the longest of each.
FEW, ROWS = rows_of_chunk(2), rows_of_chunk(9999)
SHAPES = [
    (2, 1), (3, 7), (2 * FEW, 16), (5, 33), (13, COLUMNS + 1), (FEW, 3), (FEW + 1, 5), (5 * ROWS + 2, 130),
]  # fmt: skip
EPS = 1e-5


def batch_of(batch: int, columns: int, dtype: type, mean: float = 0.5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, batch, columns])
    made = {
        "x": rng.standard_normal((batch, columns)) * rng.uniform(0.2, 3, columns) + mean * rng.standard_normal(columns),
        "dy": rng.standard_normal((batch, columns)),
        "weight": rng.uniform(-1.5, 1.5, columns),
        "bias": rng.standard_normal(columns),
        "running_mean": rng.standard_normal(columns),
        "running_var": rng.uniform(0.1, 3, columns),
    }
    return {name: a.astype(dtype) for name, a in made.items()}


def run(a: dict[str, np.ndarray], backward: bool = True, **options: Any) -> dict[str, np.ndarray]:
    x = a["x"]
    found = {"out": np.full_like(x, np.nan), "saved": np.full((5, x.shape[1]), np.nan, x.dtype)}
    tracked = {name: a[name].copy() for name in ("running_mean", "running_var")}
    common = {k: v for k, v in options.items() if k in ("training", "activation", "slope", "p", "state")}
    batch_norm_forward(found["out"], found["saved"], x, a["weight"], a["bias"], *tracked.values(), **options)
    if backward:
        grads = {name: np.full_like(a[name[1:]], np.nan) for name in ("dx", "dweight", "dbias")}
        batch_norm_backward(*grads.values(), a["dy"], x, found["saved"], **common)
        found |= grads
    return found | tracked


def assert_right(a: dict[str, np.ndarray], *, training: bool = True, momentum: float = 0.1, **options: Any) -> None:
    """All results agree with the reference up to the rounding of sums over the batch."""
    x, weight, dtype = a["x"], a["weight"].astype(np.float64), a["x"].dtype.type
    activation, slope, p = options.get("activation", "none"), options.get("slope", 0.01), options.get("p", 0.0)
    batch = len(x)
    found = run(a, training=training, momentum=momentum, eps=EPS, state=STATE, **options)
    factors = factors_of(x, p).astype(np.float64)
    given = () if training else (a["running_mean"], a["running_var"])
    xhat, mean, var = naive.normalised(x, EPS, 0, *given)
    z = xhat * weight + a["bias"]
    # The error of the mean is that of a sum of deviations, which have magnitude 1 relative to xhat.
    magnitude = (np.abs(xhat) + 1) * np.abs(weight) + np.abs(a["bias"])
    if dtype == np.float64:
        # The reference also rounds its mean; in float32 the mean is kept as two numbers.
        magnitude = magnitude + np.abs(mean * weight) / np.sqrt(var + EPS)
    # A sum over a chunk, four rows at a time; the variance's error counts half because of its square root.
    length = 8 + min(batch, rows_of_chunk(batch)) / 8
    assert_close(found["out"], naive.following(z, activation, slope, factors), dtype, roundings=length,
                 magnitude=magnitude * (1 + factors))  # fmt: skip
    for name, new in (("running_mean", mean), ("running_var", var * batch / max(batch - 1, 1))):
        old = a[name].astype(np.float64)
        expected = old * (1 - momentum) + momentum * new.reshape(-1) if training else old
        size = np.abs(old) + np.abs(new.reshape(-1)) + (np.abs(x).max(0) if training and name == "running_mean" else 0)
        assert_close(found[name], expected, dtype, roundings=length, magnitude=size)
    # Numbers at the kink of a ReLU may fall on either side.
    near = np.abs(z) < 4 * length * np.finfo(dtype).eps * magnitude
    clear = ~near.any(0) | (activation not in ("relu", "leaky_relu"))
    dz = naive.gradient_before(a["dy"], z, activation, slope, factors)
    total = np.abs(dz).sum(0)
    if activation not in ("none", "relu", "leaky_relu"):
        # The second derivative multiplies the rounding error of z; the kernels' functions add a few roundings.
        length += 10 + np.abs(z).max(initial=0) ** 2
        total = total + (np.abs(a["dy"]) * factors * (1 + magnitude)).sum(0)
    length += 4 + min(batch, rows_of_chunk(batch))
    assert_close(found["dbias"][clear], dz.sum(0)[clear], dtype, roundings=length, magnitude=total[clear])
    product = total * (1 + np.abs(xhat).max(0, initial=0))
    assert_close(
        found["dweight"][clear], (dz * xhat).sum(0)[clear], dtype, roundings=length, magnitude=product[clear]
    )  # fmt: skip
    g = dz * weight
    scale = np.abs(weight) / np.sqrt(var + EPS)
    dx = naive.through_statistics(g, xhat, var, EPS, 0) if training else g / np.sqrt(var + EPS)
    own = np.abs(dz)
    if activation not in ("none", "relu", "leaky_relu"):
        own = own + np.abs(a["dy"]) * factors * (1 + magnitude)
    size = scale * (own + (total + np.abs(xhat) * product) / batch if training else own)
    assert_close(
        found["dx"][:, clear], dx[:, clear], dtype, roundings=length, magnitude=np.broadcast_to(size, x.shape)[:, clear]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_against_reference(dtype, training, p, activation):
    for batch, columns in SHAPES:
        assert_right(batch_of(batch, columns, dtype), training=training, activation=activation, p=p)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("activation", [name for name in CODES if name not in ("none", "relu")])
def test_other_activations(training, p, activation):
    for slope in (0.2, -0.5) if activation == "leaky_relu" else (0.01,):
        for batch, columns in [(3, 7), (ROWS + 1, 17)]:
            a = batch_of(batch, columns, np.float64)
            assert_right(a, training=training, activation=activation, p=p, slope=slope)


@pytest.mark.parametrize("shape", [(64, 7), (1000, 33)])
@pytest.mark.parametrize("mean", [1e3, -1e5])
def test_a_mean_far_larger_than_the_deviations(shape, mean):
    """In float32 the precision is the same as without it: a formula with E(x**2) - E(x)**2 would return noise."""
    assert_right(batch_of(*shape, np.float32, mean), activation="relu", p=0.2)


def test_outliers_where_the_guess_comes_from():
    a = batch_of(8 * ROWS, 9, np.float32)
    a["x"][:8] += 1e4
    a["x"][128:132, ::2] = -1e6
    x, found = a["x"], run(a)
    var = x.astype(np.float64).var(0)
    # The estimate of a chunk comes from 8 rows of 128: up to 16 times the roundings of a sum of 32 terms.
    np.testing.assert_allclose(found["saved"][2], 1 / np.sqrt(var + EPS), rtol=16 * 16 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_columns(dtype):
    a = batch_of(300, 5, dtype)
    a["x"][:] = np.array([0, 1, -3.7, 1e6, 1e-6], dtype)
    found = run(a)
    assert_same_bits(found["out"], np.broadcast_to(a["bias"], found["out"].shape).copy())
    np.testing.assert_allclose(found["saved"][2], EPS**-0.5, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "tanh"])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_gradients_against_finite_differences(training, activation, p):
    a = batch_of(9, 5, np.float64)
    assert_gradients(run, a, training=training, activation=activation, p=p)


@pytest.mark.parametrize("training", [True, False])
def test_without_weight_and_bias_and_statistics(training):
    a = batch_of(30, 6, np.float32)
    plain = a | {"weight": np.ones(6, np.float32), "bias": np.zeros(6, np.float32)}
    expected = run(plain, training=training)
    out, saved, x = np.empty_like(a["x"]), np.empty((5, 6), np.float32), a["x"]
    tracked = () if training else (a["running_mean"], a["running_var"])
    batch_norm_forward(out, saved, x, None, None, *tracked, training=training)
    assert_same_bits(out, expected["out"])
    assert_same_bits(saved, expected["saved"])
    dx, dweight = np.empty_like(x), np.empty(6, np.float32)
    batch_norm_backward(dx, None, None, a["dy"], x, saved, training=training)
    assert_same_bits(dx, expected["dx"])
    batch_norm_backward(None, dweight, None, a["dy"], x, saved, training=training)
    assert_same_bits(dweight, expected["dweight"])


def test_accumulation_and_counter():
    a = batch_of(30, 6, np.float32)
    once = run(a)
    out, saved, counter = np.empty_like(a["x"]), np.empty((5, 6), np.float32), np.array(41)
    batch_norm_forward(out, saved, a["x"], a["weight"], a["bias"], counter=counter)
    assert counter == 42
    dweight, dbias = np.full(6, 2, np.float32), np.full(6, -3, np.float32)
    batch_norm_backward(
        None, dweight, dbias, a["dy"], a["x"], saved, accumulate_weight=True, accumulate_bias=True
    )  # fmt: skip
    assert_same_bits(dweight, once["dweight"] + np.float32(2))
    assert_same_bits(dbias, once["dbias"] - np.float32(3))
    batch_norm_forward(out, saved, a["x"], None, None, a["running_mean"], a["running_var"], counter, training=False)
    assert counter == 42


def test_chunks_of_rows():
    lengths = [rows_of_chunk(batch) for batch in range(1, 2000)]
    assert lengths == sorted(lengths)
    # Large enough for two threads in each direction.
    assert all(batch > length for batch, length in enumerate(lengths, 1) if batch > FEW)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_column(dtype, value):
    a = batch_of(200, 40, dtype)
    expected = run(a)
    for row in (0, 3, 150):
        a["x"][row, 17] = value
    found = run(a)
    assert np.isnan(found["out"][:, 17]).all()
    assert np.isnan(found["dx"][:, 17]).all()
    assert np.isnan(found["running_var"][17])
    assert_same_bits(found["running_mean"][17], dtype(value))
    others = np.arange(40) != 17
    for name in ("out", "dx"):
        assert_same_bits(found[name][:, others], expected[name][:, others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinity_in_evaluation(dtype):
    a = batch_of(3, 20, dtype)
    a["x"][1, 4], a["x"][2, 5], a["weight"][:] = -np.inf, np.inf, 1
    found = run(a, training=False, activation="relu")
    assert found["out"][1, 4] == 0
    assert found["out"][2, 5] == np.inf
    assert np.isfinite(found["dx"]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(300, 5), (FEW + 9, 150), (5 * ROWS + 1, COLUMNS + 200)])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_same_bits_in_any_parts(dtype, shape, activation):
    a = batch_of(*shape, dtype)

    def everything():
        for training in (True, False):
            yield from run(a, training=training, activation=activation, p=0.3, state=STATE).values()
        yield from run(a).values()

    assert_same_bits_in_any_parts(everything, parallel=False)


def test_launches_are_cut():
    from fastnn.kernels.runtime import launcher

    for shape, cut in (((64, 600), 8), ((8 * ROWS, 5), 8)):
        parts = []
        with cut_in(8), launcher.recording(lambda kernel, n, *_, parts=parts: parts.append(n)):
            run(batch_of(*shape, np.float32))
        assert cut in parts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("shape", [(2, 1), (5, 17), (ROWS + 3, 33)])
def test_nothing_outside_the_arrays_is_touched(dtype, side, shape):
    a = batch_of(*shape, dtype)
    for activation, p in (("none", 0.0), ("relu", 0.3), ("tanh", 0.3)):
        options = {"activation": activation, "p": p, "state": STATE}
        expected = run(a, **options)
        with cut_in(2):
            found = run({name: guarded(value, side) for name, value in a.items()}, **options)
        around = {name: Canary(expected[name].shape, dtype) for name in ("out", "saved", "dx", "dweight", "dbias")}
        arrays = {name: canary.array for name, canary in around.items()}
        tracked = a["running_mean"].copy(), a["running_var"].copy()
        batch_norm_forward(arrays["out"], arrays["saved"], a["x"], a["weight"], a["bias"], *tracked, **options)
        grads = [arrays[name] for name in ("dx", "dweight", "dbias")]
        batch_norm_backward(*grads, a["dy"], a["x"], arrays["saved"], **options)
        for name, canary in around.items():
            canary.check()
            assert_same_bits(canary.array.copy(), expected[name])
            assert_same_bits(found[name], expected[name])


def test_empty():
    for shape in ((0, 3), (5, 0), (0, 0)):
        a = batch_of(*shape, np.float32)
        for training in (True, False) if shape[0] else (False,):
            found = run(a, training=training)
            assert found["out"].shape == found["dx"].shape == shape
            assert not found["dweight"].any()


def test_one_row():
    a = batch_of(1, 3, np.float32)
    with no_launch(), pytest.raises(ValueError, match=r"more than one row in training, found shape \(1, 3\)"):
        run(a)
    assert_right(a, training=False, activation="relu")


OUTPUTS = ("out", "saved", "running_mean", "running_var")


@pytest.mark.parametrize("name", [*OUTPUTS, "x", "weight", "bias", "counter", "state"])
def test_wrong_arrays_are_refused_forward(name):
    good: dict[str, Any] = {k: v for k, v in batch_of(6, 5, np.float32).items() if k != "dy"}
    good |= {"out": np.zeros((6, 5), np.float32), "saved": np.zeros((5, 5), np.float32)}
    good |= {"counter": np.zeros(1, np.int64), "state": STATE.copy(), "p": 0.5}
    batch_norm_forward(**good)
    # One number has one layout and any number of dimensions.
    allowed = ("an axis less", "an axis more", "every other row", "reversed", "broadcast") if name == "counter" else ()
    assert_refuses(batch_norm_forward, good, name, allowed, output=name in (*OUTPUTS, "counter"))


@pytest.mark.parametrize("name", ["dx", "dweight", "dbias", "dy", "x", "saved", "state"])
def test_wrong_arrays_are_refused_backward(name):
    a = batch_of(6, 5, np.float32)
    good: dict[str, Any] = {"x": a["x"], "dy": a["dy"], "saved": np.ones((5, 5), np.float32), "state": STATE, "p": 0.5}
    good |= {"dx": np.zeros((6, 5), np.float32), "dweight": np.zeros(5, np.float32), "dbias": np.zeros(5, np.float32)}
    assert_refuses(batch_norm_backward, good, name, output=name in ("dx", "dweight", "dbias"))


def test_wrong_options_are_refused():
    a = batch_of(6, 5, np.float32)
    for options, message in (
        ({"activation": "softmax"}, "activation must be one of"),
        ({"p": 1.5, "state": STATE}, "p must be in"),
        ({"p": 0.5}, "state must be given"),
    ):
        with no_launch(), pytest.raises(ValueError, match=message):
            run(a, **options)
    with no_launch(), pytest.raises(ValueError, match="running_mean and running_var"):
        batch_norm_forward(np.empty_like(a["x"]), np.empty((5, 5), np.float32), a["x"], training=False)
