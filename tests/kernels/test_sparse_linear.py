"""Compressed rows and the layer that skips zeros: against NumPy, bit by bit against the dense kernels, in training."""

import numpy as np
import pytest
from helpers import (
    DTYPES,
    assert_close,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)

from fastnn import kernels
from fastnn.classic import NeuralNetwork, minibatch
from fastnn.kernels.llvm.sparse_tile import PAIR
from fastnn.kernels.matmul.sparse_linear import join_columns, split_columns
from fastnn.kernels.matmul.sparse_rows import CompressedRows, SortedBatch, batch_of, compress_rows, sort_columns
from fastnn.kernels.runtime import launcher

SOURCES = [np.uint8, np.float32, np.float64]
NAN, INF = float("nan"), float("inf")


def sparse(rows, features, dtype=np.float64, density=0.2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features)) * 40
    x[rng.random(x.shape) >= density] = 0
    return np.abs(x).astype(dtype) if dtype is np.uint8 else x.astype(dtype)


def dense(c, rows):
    """The dense form of a compressed matrix."""
    pairs = -(-c.features // PAIR)
    x = np.zeros((rows, pairs, PAIR), c.values.dtype)
    for i in range(rows):
        entries = slice(c.starts[i], c.starts[i] + c.counts[i])
        assert (np.diff(c.pairs[entries].astype(int)) > 0).all()
        x[i, c.pairs[entries]] = c.values[entries]
    x = x.reshape(rows, pairs * PAIR)
    assert not x[:, c.features :].any()
    return x[:, : c.features]


def batch(x, dtype, chosen=None):
    """Rows of ``x``, compressed and sorted."""
    c = compress_rows(x, 1.0)
    chosen = np.arange(len(x)) if chosen is None else np.array(chosen, np.int64)
    out = batch_of(c, len(chosen), np.dtype(dtype))
    sort_columns(out, c, chosen)
    return out


# -- Kernels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 2), (8, 3), (9, 33), (40, 64), (17, 0), (0, 5)])
def test_compression(shape, source):
    for density in (0.0, 0.1, 1.0):
        x = sparse(*shape, source, density)
        for parts in (1, 3):
            with cut_in(parts):
                c = compress_rows(x, 1.0)
            np.testing.assert_array_equal(dense(c, len(x)), x)
            assert c.most == c.counts.max(initial=0)
            assert len(c.values) == len(c.pairs) == c.counts.sum()
        whole = np.zeros((shape[0], -(-shape[1] // PAIR) * PAIR), bool)
        whole[:, : shape[1]] = x != 0
        assert len(c.values) == whole.reshape(-1, PAIR).any(1).sum()


def test_compression_keeps_nan_and_infinity_and_drops_negative_zero():
    for dtype in DTYPES:
        x = np.zeros((3, 11), dtype)
        x[0, [0, 5, 10]], x[1], x[2, 3] = [NAN, INF, -INF], -0.0, np.finfo(dtype).smallest_subnormal
        c = compress_rows(x, 1.0)
        assert c.counts.tolist() == [3, 0, 1]
        np.testing.assert_array_equal(dense(c, 3), x)


def test_data_that_are_too_dense_or_too_wide_are_not_compressed():
    x = np.zeros((20, 40))
    x[:, : 10 * PAIR] = 1
    x[:, 30:] = 0
    share = np.count_nonzero(x.reshape(20, -1, PAIR).any(2)) / (800 // PAIR)
    for parts in (1, 3):
        with cut_in(parts):
            assert compress_rows(x, share) is not None
            assert compress_rows(x, share - 0.001) is None
            assert compress_rows(np.ones((300, 40)), 0.4) is None
    assert compress_rows(np.zeros((1, PAIR * 2**16), np.uint8), 0.4) is not None
    assert compress_rows(np.zeros((1, PAIR * 2**16 + 1), np.uint8), 0.4) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", SOURCES)
def test_sorting(source, dtype):
    x = sparse(30, 37, source)
    chosen = np.array([3, 29, 3, 0, 17, 8, 8])
    for parts in (1, 3, 8):
        with cut_in(parts):
            s = batch(x, dtype, chosen)
        found, start = np.zeros((len(chosen), -(-37 // PAIR), PAIR), dtype), 0
        for k, end in enumerate(s.ends):
            assert (np.diff(s.samples[start:end]) > 0).all()
            found[s.samples[start:end], k] = s.values[start:end]
            start = end
        np.testing.assert_array_equal(found.reshape(len(chosen), -1)[:, :37], x[chosen].astype(dtype))


SHAPES = [(1, 1, 1), (1, 3, 5), (5, 2, 8), (32, 784, 128), (33, 31, 65), (3, 100, 17), (70, 9, 200), (4, 0, 6)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_update_have_the_bits_of_the_dense_product(shape, dtype):
    samples, features, columns = shape
    rng = np.random.default_rng(1)
    x = sparse(samples, features, dtype)
    weight, bias = rng.standard_normal((features, columns)).astype(dtype), rng.standard_normal(columns).astype(dtype)
    error, spoiled = rng.standard_normal((samples, columns)).astype(dtype), np.zeros(1, dtype)
    s = batch(x, dtype)
    out, z, expected, z_expected = (np.empty((samples, columns), dtype) for _ in range(4))
    panels = split_columns(weight)
    kernels.sparse_forward(out, s, panels, bias, spoiled, "relu", z=z)
    kernels.linear_forward(expected, x, weight, bias, "relu", z=z_expected)
    np.testing.assert_array_equal(z, z_expected)
    np.testing.assert_array_equal(out, expected)
    kernels.sparse_forward(out, s, panels, bias, spoiled)
    np.testing.assert_array_equal(out, z_expected)
    wide = [a.astype(np.longdouble) for a in (x, weight, bias, error)]
    magnitude = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    assert_close(z, wide[0] @ wide[1] + wide[2], dtype, roundings=features + 1, magnitude=magnitude)

    moved, found = weight.copy(), np.empty_like(weight)
    kernels.gemm(moved, x.T, error, accumulate=True)
    kernels.sparse_update(panels, spoiled, s, error)
    join_columns(found, panels)
    np.testing.assert_array_equal(found, moved)
    magnitude = np.abs(wide[1]) + np.abs(wide[0]).T @ np.abs(wide[3])
    assert_close(found, wide[1] + wide[0].T @ wide[3], dtype, roundings=samples + 1, magnitude=magnitude)
    assert spoiled[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_any_parts(dtype):
    x, rng = sparse(40, 300, dtype), np.random.default_rng(2)
    weight, bias = rng.standard_normal((300, 129)).astype(dtype), rng.standard_normal(129).astype(dtype)

    def run():
        panels, moved = split_columns(weight), np.empty_like(weight)
        spoiled, s = np.zeros(1, dtype), batch(x, dtype, np.arange(40)[::-1])
        out, z = np.empty((40, 129), dtype), np.empty((40, 129), dtype)
        kernels.sparse_forward(out, s, panels, bias, spoiled, "tanh", z=z)
        kernels.sparse_update(panels, spoiled, s, z)
        join_columns(moved, panels)
        used = s.ends[-1]
        return out, z, moved, s.ends, s.samples[:used], s.values[:used]

    assert_same_bits_in_any_parts(run)


@pytest.mark.parametrize("dtype", DTYPES)
def test_update_tells_when_a_weight_is_not_finite(dtype):
    x = np.zeros((2, 5), dtype)
    x[:, 1], x[0, 4] = 1, 2
    for bad in (NAN, INF, -INF):
        for columns in (1, 8, 35):
            for place in ((1, 0), (4, columns - 1)):
                weight, spoiled = np.ones((5, columns), dtype), np.zeros(1, dtype)
                kernels.sparse_update(split_columns(weight), spoiled, batch(x, dtype), np.ones((2, columns), dtype))
                assert spoiled[0] == 0
                weight[place] = bad
                kernels.sparse_update(split_columns(weight), spoiled, batch(x, dtype), np.ones((2, columns), dtype))
                assert np.isnan(spoiled[0])
    out = np.empty((2, 3), dtype)
    panels = split_columns(np.ones((5, 3), dtype))
    kernels.sparse_forward(out, batch(x, dtype), panels, np.zeros(3, dtype), np.array([NAN], dtype))
    assert np.isnan(out).all()


def fenced(arrays, side):
    return type(arrays)(*(guarded(a, side) if isinstance(a, np.ndarray) and a.size else a for a in arrays))


@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 35, 70), (3, 8, 8), (1, 1, 1)])
def test_nothing_outside_the_arrays_is_touched(shape, dtype, side):
    samples, features, columns = shape
    x = guarded(sparse(samples, features, dtype, 0.5), side)
    with cut_in(3):
        c = fenced(compress_rows(x, 1.0), side)
        s = fenced(batch_of(c, samples, np.dtype(dtype)), side)
        sort_columns(s, c, guarded(np.arange(samples), side))
        weight = guarded(split_columns(np.ones((features, columns), dtype)), side)
        error, spoiled = guarded(np.ones((samples, columns), dtype), side), guarded(np.zeros(1, dtype), side)
        out, z = guarded(error, side), guarded(error, side)
        kernels.sparse_forward(out, s, weight, guarded(error[0], side), spoiled, "relu", z=z)
        kernels.sparse_update(weight, spoiled, s, error)


@pytest.mark.parametrize("side", ["start", "end"])
def test_corrupted_entries_touch_nothing_outside(side):
    x, rng = sparse(9, 35, np.float64, 0.5), np.random.default_rng(0)
    c = compress_rows(x, 1.0)
    s = batch(x, np.float64)
    wild = {name: rng.integers(-(2**31), 2**31, 500) for name in ("ends", "samples", "starts", "counts", "pairs")}

    def spoil(a, name):
        return guarded(wild[name][: a.size].astype(a.dtype), side)

    weight, spoiled = guarded(split_columns(np.ones((35, 70))), side), guarded(np.zeros(1), side)
    error, out = guarded(np.ones((9, 70)), side), guarded(np.ones((9, 70)), side)
    for names in (["ends"], ["samples"], ["ends", "samples"]):
        bad = fenced(s._replace(**{name: spoil(getattr(s, name), name) for name in names}), side)
        kernels.sparse_forward(out, bad, weight, guarded(np.ones(70), side), spoiled)
        kernels.sparse_update(weight, spoiled, bad, error)
    for names in (["pairs"], ["starts"], ["counts"], ["pairs", "starts", "counts"]):
        bad = fenced(c._replace(**{name: spoil(getattr(c, name), name) for name in names}), side)
        for parts in (1, 3):
            with cut_in(parts):
                sort_columns(fenced(batch_of(c, 9, np.dtype(float)), side), bad, guarded(np.arange(9), side))


def test_wrong_arrays_are_refused():
    x = sparse(6, 20)
    c, s = compress_rows(x, 1.0), batch(x, np.float64)
    weight, bias, spoiled, error = split_columns(np.ones((20, 7))), np.ones(7), np.zeros(1), np.ones((6, 7))
    read_only = weight.copy()
    read_only.flags.writeable = False

    def forward(out=error, s=s, weight=weight, bias=bias, spoiled=spoiled, activation="none", z=None):
        kernels.sparse_forward(out, s, weight, bias, spoiled, activation, z=z)

    def update(weight=weight, spoiled=spoiled, s=s, error=error):
        kernels.sparse_update(weight, spoiled, s, error)

    def sort(out=s, rows=c, indices=None):
        sort_columns(out, rows, np.arange(6) if indices is None else indices)

    for exception, call in [
        (TypeError, lambda: compress_rows([[1.0]], 1.0)), (TypeError, lambda: compress_rows(x.astype(int), 1.0)),
        (ValueError, lambda: compress_rows(x.T, 1.0)), (ValueError, lambda: compress_rows(x[0], 1.0)),
        (ValueError, lambda: compress_rows(x, -0.1)), (ValueError, lambda: compress_rows(x, NAN)),
        (IndexError, lambda: sort(indices=np.arange(1, 7))), (IndexError, lambda: sort(indices=np.arange(-1, 5))),
        (ValueError, lambda: sort(indices=np.arange(5))), (TypeError, lambda: sort(indices=np.arange(6.0))),
        (ValueError, lambda: sort(out=s._replace(ends=s.ends[1:]))),
        (ValueError, lambda: sort(out=s._replace(samples=s.samples[1:]))),
        (ValueError, lambda: sort(out=s._replace(values=s.values[1:], samples=s.samples[1:]), rows=c)),
        (TypeError, lambda: sort(out=s._replace(values=s.values.astype(int)))),
        (TypeError, lambda: sort(rows=c._replace(values=c.values.astype(int)))),
        (TypeError, lambda: sort(rows=c._replace(pairs=c.pairs.astype(np.int32)))),
        (ValueError, lambda: sort(rows=c._replace(pairs=c.pairs[1:]))),
        (ValueError, lambda: sort(rows=c._replace(counts=c.counts[1:]))),
        (TypeError, lambda: sort(rows=c._replace(starts=c.starts.astype(np.int32)))),
        (ValueError, lambda: sort(rows=c._replace(features=24))),
        (ValueError, lambda: forward(weight=weight[0])), (ValueError, lambda: update(weight=np.ones((2, 20, 8)))),
        (ValueError, lambda: forward(out=error[1:])), (TypeError, lambda: forward(out=error.astype(np.float32))),
        (ValueError, lambda: forward(weight=weight[:, :-3].copy())),
        (TypeError, lambda: forward(weight=weight.astype(int))),
        (ValueError, lambda: forward(weight=weight[:, ::2])), (ValueError, lambda: forward(bias=bias[1:])),
        (ValueError, lambda: forward(spoiled=np.zeros(2))), (ValueError, lambda: forward(activation="relu")),
        (ValueError, lambda: forward(activation="sine", z=error)), (ValueError, lambda: forward(z=error.copy())),
        (ValueError, lambda: forward(activation="relu", z=error[1:])),
        (TypeError, lambda: forward(s=s._replace(values=s.values.astype(np.float32)))),
        (TypeError, lambda: forward(s=s._replace(samples=s.samples.astype(np.int64)))),
        (ValueError, lambda: forward(s=s._replace(samples=s.samples[1:]))),
        (ValueError, lambda: forward(s=s._replace(ends=s.ends[1:]))),
        (ValueError, lambda: update(weight=read_only)), (ValueError, lambda: update(error=error[1:])),
        (ValueError, lambda: update(weight=weight[:, :-3].copy())), (ValueError, lambda: update(spoiled=np.zeros(2))),
        (TypeError, lambda: update(error=error.astype(np.float32))),
        (ValueError, lambda: update(s=s._replace(ends=s.ends[1:]))),
    ]:  # fmt: skip
        with no_launch(), pytest.raises(exception):
            call()
    assert isinstance(c, CompressedRows)
    assert isinstance(s, SortedBatch)
    many = CompressedRows(*c[:5], 2**20)
    with pytest.raises(ValueError, match="at most"):
        batch_of(many, 2**12, np.dtype(np.float32))


# -- Training --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_networks_too(monkeypatch):
    monkeypatch.setattr(minibatch, "_LEAST_LAYER", 1)
    monkeypatch.setattr(minibatch, "_LEAST_ROW", 1)
    monkeypatch.setattr(minibatch, "_SHARE", dict.fromkeys(minibatch._SHARE, 0.5))


def launched(run):
    """The kernels that ``run()`` launches."""
    names = set()
    with launcher.recording(lambda kernel, *_: names.add(kernel.name.split(".")[0])):
        run()
    return names


def trained(x, y, sizes, monkeypatch, skip=True, **options):
    """A network after training on ``x``, and its losses."""
    network = NeuralNetwork(list(sizes), seed=1, dtype=options.pop("dtype", np.float64))
    with monkeypatch.context() as patch:
        if not skip:
            patch.setattr(minibatch, "_MOST_SAMPLES", 0)
        losses: list[float] = []
        names = launched(lambda: losses.extend(network.train(x, y, options.pop("epochs", 2), verbose=False, **options)))
    assert ("sparse_forward" in names) == skip
    return network, losses


def assert_same_training(x, y, sizes, monkeypatch, **options):
    with np.errstate(all="ignore"):
        skipping, losses = trained(x, y, sizes, monkeypatch, **options)
        plain, expected = trained(x, y, sizes, monkeypatch, skip=False, **options)
    np.testing.assert_array_equal(losses, expected)
    assert np.isfinite(losses).all()
    for name in ("layers", "biases", "activations", "z_values"):
        for a, b in zip(getattr(skipping, name), getattr(plain, name), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", [*SOURCES, np.int64])
def test_training_has_the_bits_of_the_dense_one(source, dtype, monkeypatch):
    x, labels = sparse(75, 30, np.uint8, 0.15).astype(source), np.arange(75) % 4
    for options in ({"batch_size": 32}, {"batch_size": 1, "epochs": 1}, {"batch_size": 100}):
        assert_same_training(x, labels, (30, 17, 9, 4), monkeypatch, dtype=dtype, learning_rate=1e-5, **options)
    assert_same_training(x, np.eye(4)[labels], (30, 33, 4), monkeypatch, dtype=dtype, learning_rate=1e-5)


@pytest.mark.parametrize(
    ("shape", "sizes"), [((1, 6), (6, 3, 2)), ((40, 7), (7, 2)), ((9, 1), (1, 2)), ((33, 64), (64, 1, 1, 2))]
)
def test_training_of_odd_networks(shape, sizes, monkeypatch):
    for x in (sparse(*shape, density=0.1), np.zeros(shape)):
        assert_same_training(x, np.arange(shape[0]) % 2, sizes, monkeypatch, learning_rate=0.1, batch_size=8)


def test_training_on_any_number_of_threads(monkeypatch):
    x, labels = sparse(130, 50, density=0.1), np.arange(130) % 5

    def run():
        network = NeuralNetwork([50, 40, 5], seed=0)
        losses = network.train(x, labels, 2, 0.1, verbose=False)
        return [*network.layers, *network.biases, np.array(losses)]

    assert_same_bits_in_any_parts(run)


def test_dense_and_wide_data_and_large_batches_take_the_dense_path(monkeypatch):
    labels = np.arange(60) % 3
    x, empty = sparse(60, 20, density=0.9), sparse(60, 20, density=0.05)
    changes = [{"_MOST_SAMPLES": 31}, {"_LEAST_LAYER": 10_000}, {"_LEAST_ROW": 100}, {}]
    for data, change in [(x, {}), *((empty, change) for change in changes)]:
        with monkeypatch.context() as patch:
            for name, value in change.items():
                patch.setattr(minibatch, name, value)
            network = NeuralNetwork([20, 8, 3], seed=0)
            names = launched(lambda: network.train(data, labels, 1, verbose=False))  # noqa: B023
        assert ("sparse_forward" in names) == (data is empty and not change)


def test_nan_and_infinity_in_the_data(monkeypatch):
    labels = np.arange(64) % 3
    for bad in (NAN, INF, -INF):
        x = sparse(64, 20, density=0.1)
        x[5, 7] = bad
        with np.errstate(all="ignore"):
            ours, losses = trained(x, labels, (20, 8, 3), monkeypatch, epochs=3)
            plain, expected = trained(x, labels, (20, 8, 3), monkeypatch, skip=False, epochs=3)
        np.testing.assert_array_equal(losses, expected)
        for a, b in zip(ours.layers, plain.layers, strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))


def test_weights_that_are_not_finite(monkeypatch):
    x, labels = sparse(64, 20, density=0.1), np.arange(64) % 3
    x[:, 3] = 0
    for bad in (NAN, INF, -INF):
        network = NeuralNetwork([20, 8, 3], seed=0)
        network.layers[0][3, 2] = bad
        with np.errstate(all="ignore"):
            names = launched(lambda: network.train(x, labels, 1, verbose=False))  # noqa: B023
            assert "sparse_forward" not in names
            assert np.isnan(network.train(x, labels, 1, verbose=False)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_that_diverges_says_so(dtype, monkeypatch):
    x, labels = sparse(64, 20, density=0.1), np.arange(64) % 3
    huge = float(np.finfo(dtype).max) / 100
    for sizes in ((20, 8, 3), (20, 3)):
        for lr in (huge, -huge):
            with np.errstate(all="ignore"):
                ours, losses = trained(x, labels, sizes, monkeypatch, epochs=4, learning_rate=lr, dtype=dtype)
                plain, expected = trained(x, labels, sizes, monkeypatch, False, epochs=4, learning_rate=lr, dtype=dtype)
            np.testing.assert_array_equal(np.isnan(losses), np.isnan(expected))
            assert np.isnan(losses[-1])
            assert np.isnan(ours.layers[0]).any()
            assert np.isnan(plain.layers[0]).any()


def test_an_interrupt_leaves_the_weights_where_they_are_looked_for(monkeypatch):
    x, labels, steps = sparse(64, 20, density=0.1), np.arange(64) % 3, minibatch.Minibatch.steps
    found = []
    for most in (512, 0):
        calls = []

        def interrupted(self, *arguments, calls=calls):
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append(steps(self, *arguments))

        network = NeuralNetwork([20, 8, 3], seed=0)
        before = network.layers[0].copy()
        monkeypatch.setattr(minibatch, "_MOST_SAMPLES", most)
        monkeypatch.setattr(minibatch.Minibatch, "steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            network.train(x, labels, 5, 0.1, 16, verbose=False)
        assert (network.layers[0] != before).any()
        found.append(network.layers)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_are_where_they_are_looked_for_when_a_loss_is_printed(monkeypatch):
    x, labels = sparse(64, 20, density=0.1), np.arange(64) % 3
    found = []
    for most in (512, 0):
        network, seen = NeuralNetwork([20, 8, 3], seed=0), []

        def look(line, network=network, seen=seen):
            seen.append(network.layers[0].copy())
            network.layers[0][:, :3] *= 0.5

        monkeypatch.setattr(minibatch, "_MOST_SAMPLES", most)
        monkeypatch.setattr("builtins.print", look)
        network.train(x, labels, 21, 0.1, 16)
        assert len(seen) == 3
        found.append([*seen, *network.layers])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_that_share_memory(monkeypatch):
    x, labels = sparse(64, 12, density=0.1), np.arange(64) % 12
    found = []
    for most in (512, 0):
        network = NeuralNetwork([12, 12, 12], seed=0)
        network.layers[1] = network.layers[0]
        monkeypatch.setattr(minibatch, "_MOST_SAMPLES", most)
        network.train(x, labels, 2, 0.1, 16, verbose=False)
        found.append(network.layers[0])
    np.testing.assert_array_equal(*found)


def test_errors_and_the_bar(monkeypatch, capsys):
    x, labels = sparse(64, 20, density=0.1), np.arange(64) % 3
    network = NeuralNetwork([20, 8, 3], seed=0)
    before = network.layers[0].copy()
    for exception, arguments in [(IndexError, (x, labels + 1, 1)), (ValueError, (x[:, 1:], labels, 1))]:
        with no_launch(), pytest.raises(exception):
            network.train(*arguments)
    np.testing.assert_array_equal(network.layers[0], before)
    assert network.train(x, labels, 0) == []
    network.train(x, labels, 1, progress=True)
    out, err = capsys.readouterr()
    assert "Epoch 0, Loss: " in out
    assert "2/2" in err
    assert network.activations[0].shape == (32, 20)
