"""The multi-layer perceptron of the textbook: ReLU between the layers, softmax at the end, plain SGD.

A minibatch is a handful of kernels over arrays that are made once: its rows are gathered, each layer
is one product with its bias and ReLU, softmax gives the loss and the error together, and the
products of the backward pass add the step straight to the weights, as
``w -= lr * (x.T @ delta) / m`` is ``w += x.T @ (-lr / m * delta)``. The launches of the first batch are
recorded, and replayed for all others in one call each.

May import ``arrays``, ``activations``, ``layers`` and ``fastnn.kernels``.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import kernels
from fastnn.classic.activations import relu, relu_derivative, softmax
from fastnn.classic.arrays import as_dtype, class_labels, number, random_state, real_array, whole
from fastnn.classic.layers import float_dtype
from fastnn.kernels.jit import together
from fastnn.kernels.linear import activation_bias_backward
from fastnn.kernels.program import Program
from fastnn.kernels.take_rows import SOURCES

# Rows of a prediction that are worked on at a time: no copy of a whole data set is made.
_CHUNK = 2048
# Seconds between two moments at which Ctrl-C is heard, about.
_PATIENCE = 0.05


class NeuralNetwork:
    """A multi-layer perceptron for classification, trained by minibatch gradient descent.

    Hidden layers are ``relu(x @ w + b)``, the last one ``softmax(x @ w + b)``; the loss is the
    cross-entropy ``-mean(sum(y * log(output + 1e-8)))``. Weights start as normal numbers times
    ``sqrt(2 / inputs)`` (K. He et al., arXiv:1502.01852), biases at 0.

    Args:
        layer_sizes: inputs, hidden widths, classes, such as ``[784, 128, 64, 10]``.
        dtype: of weights and arithmetic: float64 as in the textbook, or float32, about twice as fast.
        seed: of weights and shuffling; None draws from ``np.random``, which ``np.random.seed`` seeds. From
            one seed the textbook's program draws the same numbers.

    Attributes: ``layers``, a list of weights (inputs, outputs), and ``biases``, of (1, outputs); after a
    forward ``z_values``, what each layer computes before its activation, and ``activations``, the
    input and what each layer returns. All are NumPy arrays and may be read and set.

    >>> import numpy as np
    >>> from fastnn.classic import NeuralNetwork
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> network = NeuralNetwork([2, 16, 2], seed=0)
    >>> losses = network.train(X, y, epochs=300, learning_rate=0.5, batch_size=4, verbose=False)
    >>> network.predict(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self, layer_sizes: Sequence[int], *, dtype: npt.DTypeLike = np.float64, seed: int | None = None
    ) -> None:
        try:
            sizes = [whole("layer_sizes", size, 1) for size in layer_sizes]
        except TypeError as error:
            raise TypeError(f"layer_sizes must be a list of integers: {error}") from None
        if len(sizes) < 2:
            raise ValueError(f"layer_sizes must have at least an input and an output, found {list(layer_sizes)}")
        self.dtype = float_dtype(dtype)
        self._random = None if seed is None else random_state(seed)
        self.layers: list[np.ndarray] = []
        self.biases: list[np.ndarray] = []
        for inputs, outputs in itertools.pairwise(sizes):
            weight = self._draws().randn(inputs, outputs) * np.sqrt(2 / inputs)
            # Room between rows of 1024 bytes, to spread them over the cache, does not make a step faster (190 us both).
            self.layers.append(weight.astype(self.dtype, copy=False))
            self.biases.append(np.zeros((1, outputs), self.dtype))
        self.activations: list[np.ndarray] = []
        self.z_values: list[np.ndarray] = []

    def _draws(self) -> Any:
        return random_state(None) if self._random is None else self._random

    @staticmethod
    def relu(x: Any) -> Any:
        """``max(0, x)``, see :func:`fastnn.classic.relu`."""
        return relu(x)

    @staticmethod
    def relu_derivative(x: Any) -> Any:
        """1 where ``x > 0``, else 0, see :func:`fastnn.classic.relu_derivative`."""
        return relu_derivative(x)

    @staticmethod
    def softmax(x: Any) -> Any:
        """Softmax of each row, see :func:`fastnn.classic.softmax`."""
        return softmax(x)

    def forward(self, X: Any) -> np.ndarray:
        """The probabilities of the classes; keeps ``activations`` and ``z_values`` for ``backward``.

        Args:
            X: (samples, inputs), or one sample (inputs,), of any real dtype.

        Returns: (samples, classes).

        Raises: ValueError for another shape, TypeError for what holds no real numbers.
        """
        layers = self._layers()
        x = as_dtype("X", self._matrix(X), self.dtype)
        places = _Places(layers, len(x), x)
        places.forward()
        # New lists with arrays of their own: what a caller kept of the last forward stays as it was.
        self.activations, self.z_values = places.activations, places.z_values
        return self.activations[-1]

    def backward(self, y_true: Any, learning_rate: float = 0.01) -> None:
        """One step of gradient descent for the batch of the last ``forward``.

        ``w -= learning_rate * dw``, with the gradients of the mean cross-entropy: the error of the last
        layer is ``output - y``, that of a layer before it ``(error @ w.T) * relu'(z)``, and
        ``dw = input.T @ error / samples``, ``db = sum(error) / samples``.

        Args:
            y_true: (samples, classes), one-hot or probabilities, or (samples,) integer labels.
            learning_rate: the size of the step.

        Raises: RuntimeError without a forward before it, ValueError for another shape, IndexError for a label
            out of range; nothing is changed then.
        """
        if not self.activations:
            raise RuntimeError("backward needs a forward before it")
        layers, lr = self._layers(), number("learning_rate", learning_rate)
        activations = [as_dtype("activations", a, self.dtype) for a in self.activations]
        samples = len(activations[-1])
        self._check_activations(activations)
        y = self._targets("y_true", y_true, samples)
        if not samples:
            return
        error = activations[-1].copy()
        if y.ndim == 1:
            error[np.arange(samples), y] -= 1
        else:
            error -= y
        error *= -lr / samples
        _descend(layers, activations, [None] * len(layers), error)

    def train(
        self,
        X: Any,
        y: Any,
        epochs: int,
        learning_rate: float = 0.01,
        batch_size: int = 32,
        *,
        verbose: bool = True,
        progress: bool = False,
    ) -> list[float]:
        """Minibatch gradient descent over shuffled data.

        Args:
            X: (samples, inputs). uint8, float32 and float64 are read where they lie, and converted batch by
                batch; others are converted as a whole.
            y: (samples, classes), one-hot or probabilities, or (samples,) integer labels.
            epochs: passes over the data.
            learning_rate: the size of a step.
            batch_size: samples in a step; the last one of a pass takes what is left.
            verbose: print the loss of every tenth epoch.
            progress: show a bar, by tqdm.

        Returns: the loss of each epoch, the mean over all samples as the batches met them.

        Raises: ValueError for other shapes and for no samples, IndexError for a label out of range, TypeError
            for what holds no real numbers; nothing is changed then.
        """
        layers, X = self._layers(), self._matrix(X)
        if X.dtype not in SOURCES or not X.flags.c_contiguous or not X.flags.aligned:
            X = as_dtype("X", X, self.dtype)
        samples = len(X)
        y = self._targets("y", y, samples)
        epochs, batch_size = whole("epochs", epochs, 0), whole("batch_size", batch_size, 1)
        lr = number("learning_rate", learning_rate)
        if not samples:
            raise ValueError(f"X must have at least one row, found shape {X.shape}")
        batch_size = min(batch_size, samples)
        sizes = {batch_size, samples % batch_size or batch_size}
        batches = {size: _Minibatch(layers, size, X, y, lr) for size in sizes}
        losses, history = np.empty(samples), []
        with _bar(epochs * -(-samples // batch_size), progress) as (advance, say):
            for epoch in range(epochs):
                order = self._draws().permutation(samples).astype(np.int64, copy=False)
                for first, last, count in _runs(samples, batch_size):
                    batch = batches[(last - first) // count]
                    batch.steps(order[first:last], losses[first:last])
                    advance(count)
                history.append(float(losses.mean()))
                self.activations, self.z_values = batch.activations, batch.z_values
                if verbose and epoch % 10 == 0:
                    say(f"Epoch {epoch}, Loss: {history[-1]:.4f}")
        return history

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes, (samples, classes); ``activations`` stay those of the last forward.

        Args and errors: as :meth:`forward`.
        """
        layers, X = self._layers(), self._matrix(X)
        out = np.empty((len(X), layers[-1][0].shape[1]), self.dtype)
        for start in range(0, len(X), _CHUNK):
            x = as_dtype("X", X[start : start + _CHUNK], self.dtype)
            for weight, bias in layers[:-1]:
                h = np.empty((len(x), weight.shape[1]), self.dtype)
                kernels.linear_forward(h, x, weight, bias, "relu")
                x = h
            rows = out[start : start + _CHUNK]
            kernels.linear_forward(rows, x, *layers[-1])
            kernels.probabilities(rows, rows)
        return out

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each sample, (samples,) int64. Args and errors: as :meth:`forward`."""
        return self.predict_proba(X).argmax(1)

    def score(self, X: Any, y: Any) -> float:
        """The share of samples whose most probable class is the right one, in [0, 1]; NaN for no samples.

        Args:
            X: as in :meth:`forward`.
            y: labels, or rows whose largest number is at the right class.
        """
        X = self._matrix(X)
        y = self._targets("y", y, len(X))
        if not len(X):
            return float("nan")
        return float((self.predict(X) == (y if y.ndim == 1 else y.argmax(1))).mean())

    # -- What arguments and attributes have to be ------------------------------------------------

    def _layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights and biases (one axis) as kernels take them, whatever the two lists have been set to."""
        if len(self.layers) != len(self.biases) or not self.layers:
            raise ValueError(f"found {len(self.layers)} layers and {len(self.biases)} biases, expected one for each")
        inputs, result = None, []
        for i, (weight, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            weight, bias = real_array(f"layers[{i}]", weight), real_array(f"biases[{i}]", bias)
            if weight.ndim != 2 or inputs not in (None, weight.shape[0]):
                raise ValueError(f"layers[{i}] must have shape ({inputs or 'inputs'}, outputs), found {weight.shape}")
            inputs = weight.shape[1]
            if bias.size != inputs or bias.ndim > 2:
                raise ValueError(f"biases[{i}] must have shape (1, {inputs}), found {bias.shape}")
            result.append((weight, bias))
        # A copy where one is read-only or of another kind; the network's own arrays stay.
        for i, (weight, bias) in enumerate(result):
            if not (weight is self.layers[i] and weight.dtype == self.dtype and weight.flags.carray):
                weight = self.layers[i] = np.array(weight, self.dtype, order="C")
            if not (bias is self.biases[i] and bias.dtype == self.dtype and bias.flags.carray):
                bias = self.biases[i] = np.array(bias, self.dtype, order="C")
            result[i] = weight, bias.reshape(-1)
        return result

    def _matrix(self, X: Any) -> np.ndarray:
        X, inputs = real_array("X", X), self.layers[0].shape[0]
        if X.ndim == 1 and X.size == inputs:
            X = X.reshape(1, -1)
        if X.ndim != 2 or X.shape[1] != inputs:
            raise ValueError(f"X must have shape (samples, {inputs}), found {X.shape}")
        return X

    def _targets(self, name: str, y: Any, samples: int) -> np.ndarray:
        """int64 labels (samples,), or (samples, classes) in the network's dtype."""
        y, classes = real_array(name, y), self.layers[-1].shape[1]
        if y.shape == (samples,):
            if y.dtype.kind == "f":
                raise TypeError(f"{name} must be integer labels, or one-hot with a column a class, found {y.dtype}")
            return class_labels(name, y, classes)
        if y.shape != (samples, classes):
            raise ValueError(f"{name} must have shape ({samples}, {classes}) or ({samples},), found {y.shape}")
        return as_dtype(name, y, self.dtype)

    def _check_activations(self, activations: list[np.ndarray]) -> None:
        samples, widths = len(activations[-1]), [w.shape[0] for w in self.layers] + [self.layers[-1].shape[1]]
        expected = [(samples, width) for width in widths]
        if [a.shape for a in activations] != expected:
            raise ValueError(f"activations must have shapes {expected}, found {[a.shape for a in activations]}")



class _Places:
    """Where one batch is worked on: arrays for the input, and for what each layer computes.

    Args:
        layers: weights and biases.
        samples: rows of the batch.
        x: (samples, inputs), the batch; None for a new array.
    """

    def __init__(self, layers: list[tuple[np.ndarray, np.ndarray]], samples: int, x: np.ndarray | None = None) -> None:
        dtype = layers[0][0].dtype
        self.layers, self.samples = layers, samples
        first = np.empty((samples, layers[0][0].shape[0]), dtype) if x is None else x
        self.z_values = [np.empty((samples, weight.shape[1]), dtype) for weight, _ in layers]
        self.activations = [first, *map(np.empty_like, self.z_values)]

    def forward(self, with_probabilities: bool = True) -> None:
        """Everything from ``activations[0]`` on."""
        last = len(self.layers) - 1
        for i, (weight, bias) in enumerate(self.layers[:-1]):
            x, out = self.activations[i : i + 2]
            kernels.linear_forward(out, x, weight, bias, "relu", z=self.z_values[i])
        kernels.linear_forward(self.z_values[last], self.activations[last], *self.layers[last])
        if with_probabilities:
            kernels.probabilities(self.activations[-1], self.z_values[last])


class _Minibatch(_Places):
    """A step of training on batches of one size: recorded once, then replayed for a row of batches in one call.

    Args:
        layers, samples: as above.
        X, y: the data set.
        lr: learning rate.
    """

    def __init__(
        self, layers: list[tuple[np.ndarray, np.ndarray]], samples: int, X: np.ndarray, y: np.ndarray, lr: float
    ) -> None:
        super().__init__(layers, samples)
        self._chosen, self._losses = np.zeros(samples, np.int64), np.empty(samples)
        errors = [np.empty_like(z) for z in self.z_values]
        targets = np.empty((samples, *y.shape[1:]), y.dtype)
        self._program = Program()
        with self._program.recording():
            kernels.take_rows(self.activations[0], X, self._chosen)
            together()
            kernels.take_rows(_as_floats(targets), _as_floats(y), self._chosen)
            self.forward(with_probabilities=False)
            kernels.probabilities_and_error(
                self.activations[-1], errors[-1], self._losses, self.z_values[-1], targets, -lr / samples
            )
            _descend(layers, self.activations, errors[:-1], errors[-1])

    def steps(self, chosen: np.ndarray, losses: np.ndarray) -> None:
        """For each batch: gather the chosen rows, compute their losses, and move the weights.

        Args:
            chosen: numbers of rows, batch after batch.
            losses: as many, written.
        """
        batches = ((self._chosen, chosen), (self._losses, losses))
        self._program.replay_over(batches, len(chosen) // self.samples)


def _as_floats(y: np.ndarray) -> np.ndarray:
    """Labels or targets as a matrix of floating-point numbers with the same bits, for a kernel that copies them."""
    return y if y.ndim == 2 else y.view(np.float64).reshape(-1, 1)


def _descend(
    layers: list[tuple[np.ndarray, np.ndarray]],
    activations: list[np.ndarray],
    errors: Sequence[np.ndarray | None],
    error: np.ndarray,
) -> None:
    """Add the step to weights and biases.

    Args:
        errors: arrays for the errors of the layers but the last, or None for new ones.
        error: that of the last layer, times ``-learning_rate / samples``: the gradients are linear in it.
    """
    activation_bias_backward(error, layers[-1][1], error, error, "none", accumulate=True)
    for i in reversed(range(len(layers))):
        weight, x = layers[i][0], activations[i]
        if i:
            # Before the weight moves.
            found = errors[i - 1]
            before = np.empty_like(x) if found is None else found
            if i == len(layers) - 1:
                together()
            kernels.gemm(before, error, weight.T)
        kernels.gemm(weight, x.T, error, accumulate=True)
        if i:
            together()
            activation_bias_backward(before, layers[i - 1][1], before, x, "relu", accumulate=True)
            error = before


def _runs(samples: int, size: int) -> Iterator[tuple[int, int, int]]:
    """The batches of an epoch, many at a time: first and last sample, and how many batches; what is left comes alone.

    Between them Ctrl-C is heard, and a bar moves: so not all at once, but the more the quicker they are.
    """
    first, count, full = 0, 1, samples - samples % size
    while first < full:
        start = time.perf_counter()
        last = min(first + count * size, full)
        yield first, last, (last - first) // size
        first = last
        if time.perf_counter() - start < _PATIENCE / 2:
            count *= 2
    if full < samples:
        yield full, samples, 1


@contextlib.contextmanager
def _bar(total: int, shown: bool) -> Iterator[Any]:
    """A function to be told how many batches are done, and one that prints a line."""
    if not shown:
        yield lambda count: None, print
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="batch") as bar:
        yield bar.update, bar.write
