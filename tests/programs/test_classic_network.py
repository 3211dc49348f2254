"""fastnn.classic's perceptron, network and layers against the textbook's, and that they learn."""

# ruff: noqa: NPY002  (the textbook draws from NumPy's global numbers)

import copy
import pickle

import numpy as np
import pytest
import textbook
from helpers import assert_close, assert_same_bits, assert_same_bits_in_any_parts, no_launch

from fastnn import classic
from fastnn.classic import BatchNorm, Dropout, NeuralNetwork, Perceptron
from fastnn.datasets import load_mnist

AND = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 0, 1])


# -- Perceptron ------------------------------------------------------------------------------


def test_and_gate_is_right_after_ten_epochs_from_any_start():
    X, y = AND
    for seed in range(200):
        perceptron = Perceptron(n_inputs=2, seed=seed)
        perceptron.train(X, y, epochs=10)
        assert [perceptron.predict(x) for x in X] == y.tolist()
    np.random.seed(0)
    perceptron = Perceptron(n_inputs=2)
    perceptron.train(X, y, epochs=10)
    assert perceptron.predict(X).tolist() == y.tolist()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("n", [1, 2, 17])
def test_perceptron_against_the_textbook(n, dtype):
    rng = np.random.default_rng(n)
    X = (rng.standard_normal((300, n)) * 3).astype(dtype)
    y = rng.integers(0, 2, 300)
    ours = Perceptron(n, learning_rate=0.3, seed=1)
    theirs = textbook.Perceptron(ours.weights, ours.bias, 0.3)
    for epochs in (1, 3):
        ours.train(X, y, epochs)
        theirs.train(X, y, epochs)
        assert_close(ours.weights, theirs.weights, np.float64, magnitude=np.float64(100), roundings=1000)
        assert_close(np.asarray(ours.bias), np.asarray(theirs.bias), np.float64, magnitude=np.float64(100))
    assert ours.predict(X).tolist() == [theirs.predict(x) for x in X]


def test_perceptron_with_nan_and_infinity():
    X, y = np.array([[1.0, np.nan], [np.inf, 0.0], [1.0, 1.0]]), np.array([0, 1, 1])
    for rows in ([0], [1], [2], [0, 1, 2]):
        ours = Perceptron(2, seed=0)
        theirs = textbook.Perceptron(ours.weights, ours.bias, ours.lr)
        ours.train(X[rows], y[rows], 2)
        theirs.train(X[rows], y[rows], 2)
        assert_close(ours.weights, theirs.weights, np.float64)
        assert_close(np.asarray(ours.bias), np.asarray(theirs.bias), np.float64)
    assert Perceptron(2).predict([np.nan, 1.0]) == 0


def test_perceptron_seeds_shapes_and_attributes():
    np.random.seed(5)
    unseeded = Perceptron(3)
    assert_same_bits(unseeded.weights, Perceptron(3, seed=5).weights)
    assert unseeded.bias == 0
    assert unseeded.lr == 0.01
    assert unseeded.activation(0) == 1
    assert unseeded.activation([-1.0, 0.0, np.nan]).tolist() == [0, 1, 0]
    unseeded.weights = [1, -2, 0]
    assert unseeded.predict([1, 1, 5]) == 0
    assert unseeded.predict([[2, 1, 5], [1, 1, 5]]).tolist() == [1, 0]
    assert unseeded.predict(np.empty((0, 3))).shape == (0,)
    unseeded.train(np.empty((0, 3)), np.empty(0), epochs=3)
    assert unseeded.weights.tolist() == [1, -2, 0]


def test_perceptron_refuses_what_does_not_fit():
    perceptron = Perceptron(2, seed=0)
    before = perceptron.weights.copy()
    X, y = AND
    for exception, arguments in [
        (ValueError, (X[:, :1], y, 1)), (ValueError, (X[0], y, 1)), (ValueError, (X, y[:3], 1)),
        (ValueError, (X, y.reshape(-1, 1), 1)), (ValueError, (X, y, -1)), (TypeError, (X, y, 1.5)),
        (TypeError, (X.astype(complex), y, 1)), (TypeError, (X, ["a"] * 4, 1)),
    ]:  # fmt: skip
        with no_launch(), pytest.raises(exception, match="must"):
            perceptron.train(*arguments)
    for bad in (X[:, :1], X[None], 1.0):
        with no_launch(), pytest.raises(ValueError, match="X must have shape"):
            perceptron.predict(bad)
    assert_same_bits(perceptron.weights, before)
    for exception, arguments in [(ValueError, (0,)), (TypeError, (2.0,)), (ValueError, (2, -1.0))]:
        with pytest.raises(exception, match="must be"):
            Perceptron(*arguments)
    for exception, seed in [(TypeError, "a"), (ValueError, -1), (TypeError, True)]:
        with pytest.raises(exception, match="seed must be"):
            Perceptron(2, seed=seed)


# -- NeuralNetwork ---------------------------------------------------------------------------


def twins(sizes=(20, 16, 12, 5), seed=0):
    """A network and the textbook's, from one seed."""
    np.random.seed(seed)
    return NeuralNetwork(list(sizes), seed=seed), textbook.Network(list(sizes))


def data(samples=70, inputs=20, classes=5):
    rng = np.random.default_rng(samples)
    labels = rng.integers(0, classes, samples)
    return rng.standard_normal((samples, inputs)) + labels[:, None] * 0.2, labels


def assert_same_network(ours, theirs, roundings=2000):
    for name in ("layers", "biases", "activations", "z_values"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, np.float64, magnitude=np.float64(1 + np.abs(b).max(initial=0)), roundings=roundings)


@pytest.mark.parametrize("labels_as", ["one-hot", "labels", "soft"])
@pytest.mark.parametrize("samples", [1, 7, 70])
def test_forward_and_backward(samples, labels_as):
    ours, theirs = twins()
    X, labels = data(samples)
    y = np.eye(5)[labels]
    if labels_as == "soft":
        y = y * 0.9 + 0.02
    for _ in range(3):
        assert_same_bits(ours.forward(X), ours.activations[-1])
        theirs.forward(X)
        assert_same_network(ours, theirs)
        ours.backward(labels if labels_as == "labels" else y, 0.1)
        theirs.backward(y, 0.1)
        assert_same_network(ours, theirs)
    assert ours.activations[0] is X


@pytest.mark.parametrize("labels_as", ["one-hot", "labels", "soft"])
@pytest.mark.parametrize(("batch_size", "lr"), [(32, 0.1), (7, 0.05), (70, 0.5), (1000, 0.5), (1, 0.01)])
def test_train_draws_and_computes_what_the_textbook_does(batch_size, lr, labels_as, capsys):
    ours, theirs = twins()
    X, labels = data()
    y = np.eye(5)[labels]
    if labels_as == "soft":
        y = y * 0.9 + 0.02
    losses = ours.train(X, labels if labels_as == "labels" else y, 12, lr, batch_size)
    expected = theirs.train(X, y, 12, lr, batch_size)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    assert_same_network(ours, theirs, roundings=1e6)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Epoch {e}, Loss: {expected[e]:.4f}" for e in (0, 10)]


def test_extreme_logits():
    ours, theirs = twins((3, 2, 3))
    for network in (ours, theirs):
        network.layers = [np.array([[1e4, 0], [0, 1e4], [0, 0]]), np.array([[1.0, 0, 0], [0, 1.0, 0]])]
    X, y = np.eye(3), np.eye(3)[[1, 1, 0]]
    np.testing.assert_array_equal(ours.forward(X), theirs.forward(X))
    assert ours.activations[-1][0].tolist() == [1, 0, 0]
    ours.backward(y, 0.1)
    theirs.backward(y, 0.1)
    assert_same_network(ours, theirs, roundings=8)
    [loss] = ours.train(X, y, 1, 0.0, verbose=False)
    # -log(0 + 1e-8) for a confident wrong answer, about 0 for a confident right one.
    out = theirs.forward(X)
    np.testing.assert_allclose(loss, -np.log((out * y).sum(1) + 1e-8).mean(), rtol=1e-12)


def test_nan_stays_nan():
    network, _ = twins()
    X, y = data(8)
    X[3, 2] = np.nan
    probabilities = network.forward(X)
    assert np.isnan(probabilities).all(1).tolist() == [i == 3 for i in range(8)]
    network.backward(y, 0.1)
    assert all(np.isnan(w).any() for w in network.layers)


def test_kinds_of_data_give_the_same_training():
    X, labels = data()
    X = np.round(np.abs(X) * 40).astype(np.uint8)
    runs = []
    for kind in (np.float64, np.float32, np.uint8, np.int64):
        for layout in (np.ascontiguousarray, np.asfortranarray):
            network = NeuralNetwork([20, 9, 5], seed=3)
            network.train(layout(X.astype(kind)), labels.astype(np.int16), 2, 1e-4, verbose=False)
            runs.append(network.layers[0])
    for run in runs:
        assert_same_bits(run, runs[0])
    assert network.score(X, labels) == (network.predict(X) == labels).mean()


def test_float32():
    single, double = NeuralNetwork([20, 9, 5], seed=3, dtype=np.float32), NeuralNetwork([20, 9, 5], seed=3)
    X, labels = data()
    losses = [network.train(X, labels, 5, 0.1, verbose=False) for network in (single, double)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    arrays = [*single.layers, *single.biases, *single.activations, *single.z_values, single.predict_proba(X)]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_prediction_leaves_the_activations_alone():
    network, theirs = twins()
    X, labels = data(4500)
    network.forward(X[:3])
    kept = network.activations
    found = network.predict_proba(X)
    assert network.activations is kept
    assert_close(found, theirs.forward(X), np.float64, roundings=2000)
    assert network.predict(X).tolist() == found.argmax(1).tolist()
    assert network.score(X, np.eye(5)[labels]) == network.score(X, labels)
    assert network.predict(X[0]).shape == (1,)
    assert network.predict(np.empty((0, 20))).shape == (0,)
    assert np.isnan(network.score(np.empty((0, 20)), np.empty(0, int)))


def test_forward_gives_arrays_of_its_own():
    network, _ = twins()
    X, _ = data()
    first = network.forward(X)
    before = first.copy()
    network.forward(X + 1)
    assert_same_bits(first, before)


def test_layers_may_be_set():
    ours, theirs = twins()
    X, labels = data()
    weights = [np.random.default_rng(i).standard_normal(w.shape) for i, w in enumerate(theirs.layers)]
    theirs.layers = weights
    # Of another dtype, layout and shape: their values are used.
    ours.layers = [np.asfortranarray(weights[0]), weights[1].tolist(), weights[2].astype(np.float64)]
    ours.biases = [np.zeros(len(b[0]), int) for b in theirs.biases]
    ours.forward(X)
    theirs.forward(X)
    ours.backward(labels, 0.1)
    theirs.backward(np.eye(5)[labels], 0.1)
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert_close(a, b, np.float64, magnitude=np.float64(4), roundings=1000)
    ours.layers[0] = np.ones((3, 3))
    with no_launch(), pytest.raises(ValueError, match=r"biases\[0\] must have shape \(1, 3\)"):
        ours.forward(np.ones((2, 3)))


def test_pickle_and_deepcopy():
    network, _ = twins()
    X, labels = data()
    network.train(X, labels, 1, 0.1, verbose=False)
    others = pickle.loads(pickle.dumps(network)), copy.deepcopy(network)
    expected = network.train(X, labels, 2, 0.1, verbose=False)
    for other in others:
        assert other.train(X, labels, 2, 0.1, verbose=False) == expected


def test_same_bits_on_any_number_of_threads():
    X, labels = data(130)

    def run():
        network = NeuralNetwork([20, 40, 5], seed=0)
        losses = network.train(X, labels, 2, 0.1, verbose=False)
        return [*network.layers, *network.biases, np.array(losses)]

    assert_same_bits_in_any_parts(run)


def test_silence_and_the_bar(capsys):
    network, _ = twins()
    X, labels = data()
    network.train(X, labels, 1, verbose=False)
    assert capsys.readouterr() == ("", "")
    network.train(X, labels, 1, progress=True)
    out, err = capsys.readouterr()
    assert "Epoch 0, Loss: " in out
    assert "3/3" in err
    assert network.train(X, labels, 0) == []


def test_network_refuses_what_does_not_fit():
    network, _ = twins()
    X, y = data()
    before = [w.copy() for w in network.layers]
    with pytest.raises(RuntimeError, match="needs a forward"):
        network.backward(y)
    network.forward(X)
    for exception, call in [
        (ValueError, lambda: network.train(X[:, 1:], y, 1)),
        (ValueError, lambda: network.train(X, y[1:], 1)),
        (ValueError, lambda: network.train(X, np.eye(6)[y], 1)),
        (ValueError, lambda: network.train(X[:0], y[:0], 1)),
        (ValueError, lambda: network.train(X, y, 1, batch_size=0)),
        (ValueError, lambda: network.train(X, y, -1)),
        (ValueError, lambda: network.train(X, y, 1, float("nan"))),
        (TypeError, lambda: network.train(X, y, 1.0)),
        (TypeError, lambda: network.train(X, y, 1, "0.1")),
        (TypeError, lambda: network.train(X, y.astype(float), 1)),
        (TypeError, lambda: network.train(X.astype(complex), y, 1)),
        (IndexError, lambda: network.train(X, y + 1, 1)),
        (IndexError, lambda: network.backward(y - 1)),
        (ValueError, lambda: network.backward(y[1:])),
        (TypeError, lambda: network.backward(y, None)),
        (ValueError, lambda: network.forward(X[:, 1:])),
        (ValueError, lambda: network.predict(X[None])),
        (ValueError, lambda: network.score(X, y[1:])),
    ]:
        with no_launch(), pytest.raises(exception):
            call()
    for w, old in zip(network.layers, before, strict=True):
        assert_same_bits(w, old)
    for exception, arguments, options in [
        (ValueError, ([3],), {}), (ValueError, ([3, 0],), {}), (TypeError, ([3, 2.5],), {}), (TypeError, (3,), {}),
        (TypeError, ("34",), {}), (TypeError, ([3, 2],), {"dtype": np.int64}), (ValueError, ([3, 2],), {"seed": -1}),
    ]:  # fmt: skip
        with pytest.raises(exception, match="must"):
            NeuralNetwork(*arguments, **options)


def test_mnist_to_97_percent():
    mnist = load_mnist()
    X, X_test = (images.reshape(len(images), -1) / 255 for images in (mnist.train_images, mnist.test_images))
    network = NeuralNetwork([784, 128, 64, 10], seed=0)
    network.train(X, np.eye(10)[mnist.train_labels], epochs=5, learning_rate=0.1, verbose=False)
    assert network.score(X_test, mnist.test_labels) >= 0.97


# -- Dropout and BatchNorm -------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.3, 0.5, 0.7, 0.99])
def test_dropout_has_the_masks_of_numpys_binomial(rate):
    x = np.random.default_rng(0).standard_normal((100, 77))
    dropout = Dropout(rate, seed=4)
    np.random.seed(4)
    mask = np.random.binomial(1, 1 - rate, size=x.shape)
    out = dropout.forward(x)
    np.testing.assert_array_equal(dropout.mask, mask)
    assert_close(out, x * mask / (1 - rate), np.float64)
    assert_close(dropout.backward(2 * x), 2 * x * mask / (1 - rate), np.float64)
    assert dropout.forward(x, training=False) is x
    # The gradient remains that of the forward in training mode.
    assert_close(dropout.backward(x), x * mask / (1 - rate), np.float64)


def test_dropout_of_everything_of_nothing_and_of_nan():
    x = np.array([1.0, np.nan, np.inf])
    assert np.isnan(Dropout(1.0).forward(x)).tolist() == [False, True, True]
    assert Dropout(1.0).forward(np.ones(3)).tolist() == [0, 0, 0]
    assert Dropout(0.5).forward(np.ones((0, 3))).shape == (0, 3)
    assert float(Dropout(0.0).forward(2.0)) == 2.0
    np.random.seed(1)
    first = Dropout().forward(np.ones(50))
    np.random.seed(1)
    assert_same_bits(Dropout().forward(np.ones(50)), first)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64), (np.int8, np.float64)],
)
def test_dtype_of_dropout(given, kept):
    dropout = Dropout(0.5, seed=0)
    assert dropout.forward(np.ones(3, given)).dtype == kept
    assert dropout.backward(np.ones(3, given)).dtype == kept


def test_dropout_refuses_what_does_not_fit():
    for exception, rate in [(ValueError, -0.1), (ValueError, 1.1), (ValueError, float("nan")), (TypeError, "half")]:
        with pytest.raises(exception, match="drop_rate must be"):
            Dropout(rate)
    dropout = Dropout()
    with pytest.raises(RuntimeError, match="forward with training=True"):
        dropout.backward(np.ones(3))
    dropout.forward(np.ones(3))
    with pytest.raises(ValueError, match="grad must have shape"):
        dropout.backward(np.ones(4))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(2, 3), (7, 1), (64, 33), (300, 5)])
def test_batch_norm(shape, dtype):
    rng = np.random.default_rng(0)
    ours, theirs = BatchNorm(shape[1], 1e-3, 0.3, dtype=dtype), textbook.BatchNorm(shape[1], 1e-3, 0.3)
    for name in ("gamma", "beta"):
        values = rng.standard_normal(shape[1]).astype(dtype)
        setattr(ours, name, values)
        setattr(theirs, name, values.astype(float))
    loose = {"magnitude": np.float64(10), "roundings": 4 * np.sqrt(shape[0])}
    for _ in range(3):
        x, grad = (rng.standard_normal(shape) * 2 + 1).astype(dtype), rng.standard_normal(shape).astype(dtype)
        assert_close(ours.forward(x), theirs.forward(x), dtype, **loose)
        assert_close(ours.running_mean, theirs.mean, dtype, **loose)
        assert_close(ours.running_var, theirs.var, dtype, **loose)
        x[...] = 0  # The backward does not read it.
        assert_close(ours.backward(grad), theirs.backward(grad.astype(float)), dtype, **loose)
        sums = {"magnitude": np.abs(grad).sum(0).astype(float) * 4}
        assert_close(ours.dbeta, theirs.dbeta, dtype, roundings=shape[0], **sums)
        assert_close(ours.dgamma, theirs.dgamma, dtype, roundings=shape[0], **sums)
        x = rng.standard_normal(shape).astype(dtype)
        assert_close(ours.forward(x, training=False), theirs.forward(x, training=False), dtype, **loose)


def test_batch_norm_backward_against_finite_differences():
    rng = np.random.default_rng(1)
    x, grad, d = (rng.standard_normal((6, 4)) for _ in range(3))
    norm = BatchNorm(4)
    norm.gamma, norm.beta = rng.standard_normal(4), rng.standard_normal(4)

    def f(x):
        return (copy.deepcopy(norm).forward(x) * grad).sum()

    norm.forward(x)
    difference = (f(x + 1e-6 * d) - f(x - 1e-6 * d)) / 2e-6
    np.testing.assert_allclose((norm.backward(grad) * d).sum(), difference, rtol=1e-7)


def test_batch_norm_of_one_row_and_of_none():
    ours, theirs = BatchNorm(3), textbook.BatchNorm(3)
    ours.beta = theirs.beta = np.array([1.0, 2.0, 3.0])
    x = np.array([[5.0, -1.0, 1e6]])
    assert_close(ours.forward(x), theirs.forward(x), np.float64)
    assert_close(ours.running_mean, theirs.mean, np.float64)
    assert_close(ours.running_var, theirs.var, np.float64)
    assert ours.backward(np.ones((1, 3))).tolist() == [[0, 0, 0]]
    before = ours.running_mean.copy(), ours.running_var.copy()
    assert ours.forward(np.empty((0, 3))).shape == (0, 3)
    assert ours.backward(np.empty((0, 3))).shape == (0, 3)
    assert_same_bits(ours.running_mean, before[0])
    assert_same_bits(ours.running_var, before[1])
    nan = ours.forward(np.array([[1.0, np.nan, 3.0], [2.0, 2.0, 2.0]]))
    assert np.isnan(nan).tolist() == [[False, True, False]] * 2


def test_batch_norm_takes_integers_and_other_layouts():
    x = np.arange(12).reshape(4, 3)
    expected = textbook.BatchNorm(3).forward(x)
    for other in (x, x.tolist(), np.asfortranarray(x.astype(float)), x.astype(np.float32)):
        assert_close(BatchNorm(3).forward(other), expected, np.float64, roundings=20)


def test_batch_norm_refuses_what_does_not_fit():
    norm = BatchNorm(3)
    with pytest.raises(RuntimeError, match="forward with training=True"):
        norm.backward(np.ones((2, 3)))
    for bad in (np.ones(3), np.ones((2, 4)), np.ones((2, 3, 1))):
        with no_launch(), pytest.raises(ValueError, match="x must have shape"):
            norm.forward(bad)
    norm.forward(np.ones((2, 3)))
    with no_launch(), pytest.raises(ValueError, match="grad must have shape"):
        norm.backward(np.ones((3, 3)))
    norm.beta = np.zeros(2)
    with no_launch(), pytest.raises(ValueError, match="beta must have shape"):
        norm.forward(np.ones((2, 3)))
    for exception, arguments in [
        (ValueError, (0,)), (TypeError, (1.5,)), (ValueError, (3, -1)), (ValueError, (3, 1e-5, 2)),
    ]:  # fmt: skip
        with pytest.raises(exception, match="must be"):
            BatchNorm(*arguments)
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        BatchNorm(3, dtype=np.float16)


def test_every_name_is_there():
    for name in classic.__all__:
        assert getattr(classic, name).__doc__
