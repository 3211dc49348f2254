"""The multi-layer perceptron of the textbook: ReLU between the layers, softmax at the end, plain SGD.

``minibatch`` has the training step.
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
from fastnn.classic.minibatch import Places, descend, minibatches
from fastnn.kernels.rows.take_rows import SOURCES
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.launcher import aligned

# Rows per chunk of a prediction, which avoids a copy of the whole data set.
_CHUNK = 2048
# Approximate interval in seconds at which Ctrl-C is handled.
_PATIENCE = 0.05


class NeuralNetwork:
    """A multi-layer perceptron for classification, trained by minibatch gradient descent.

    Hidden layers are ``relu(x @ w + b)``, the last one ``softmax(x @ w + b)``; the loss is the
    cross-entropy ``-mean(sum(y * log(output + 1e-8)))``. Weights start as normal numbers times
    ``sqrt(2 / inputs)`` (K. He et al., arXiv:1502.01852), biases at 0.

    Args:
        layer_sizes: inputs, hidden widths, classes, such as ``[784, 128, 64, 10]``.
        dtype: of weights and arithmetic: float64 as in the textbook, or float32, about twice as fast.
        seed: of weights and shuffling; None draws from ``np.random``, which ``np.random.seed`` seeds. The
            textbook's program draws the same numbers from the same seed.

    Attributes: ``layers``, a list of weights (inputs, outputs), and ``biases``, of (1, outputs); after a
    forward ``z_values``, the result of each layer before its activation, and ``activations``, the
    input and the output of each layer. All are NumPy arrays and may be read and set.

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
            # Padding rows of 1024 bytes, to spread them over the cache, does not make a step faster (190 us both).
            self.layers.append(aligned(weight.shape, self.dtype))
            self.layers[-1][...] = weight
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

        Raises: ValueError for a wrong shape, TypeError unless the values are real numbers.
        """
        layers = self._layers()
        x = as_dtype("X", self._matrix(X), self.dtype)
        places = Places(layers, len(x), x)
        places.forward()
        # New lists and arrays: references to the results of the last forward stay valid.
        self.activations, self.z_values = places.activations, places.z_values
        return self.activations[-1]

    def backward(self, y_true: Any, learning_rate: float = 0.01) -> None:
        """One step of gradient descent for the batch of the last ``forward``.

        ``w -= learning_rate * dw``, with the gradients of the mean cross-entropy: the error of the last
        layer is ``output - y``, that of an earlier layer ``(error @ w.T) * relu'(z)``, and
        ``dw = input.T @ error / samples``, ``db = sum(error) / samples``.

        Args:
            y_true: (samples, classes), one-hot or probabilities, or (samples,) integer labels.
            learning_rate: the size of the step.

        Raises: RuntimeError without a previous forward, ValueError for a wrong shape, IndexError for a label
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
        descend(layers, activations, [None] * len(layers), error)

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
            X: (samples, inputs). uint8, float32 and float64 are read in place and converted batch by batch;
                others are converted as a whole.
            y: (samples, classes), one-hot or probabilities, or (samples,) integer labels.
            epochs: passes over the data.
            learning_rate: the size of a step.
            batch_size: samples per step; the last step of a pass takes the rest.
            verbose: print the loss of every tenth epoch.
            progress: show a tqdm progress bar.

        Returns: the loss of each epoch, the mean over all samples at the time of their batch.

        Raises: ValueError for wrong shapes and for no samples, IndexError for a label out of range, TypeError
            unless the values are real numbers; nothing is changed then.
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
        batches = minibatches(layers, sizes if epochs else set(), X, y, lr)
        losses, history = allocation.empty(samples), []
        try:
            with _bar(epochs * -(-samples // batch_size), progress) as (advance, say):
                for epoch in range(epochs):
                    order = self._draws().permutation(samples).astype(np.int64, copy=False)
                    for first, last, count in _runs(samples, batch_size):
                        batch = batches[(last - first) // count]
                        batch.steps(order[first:last], losses[first:last])
                        advance(count)
                    history.append(float(losses.mean()))
                    batch.finish(order)
                    self.activations, self.z_values = batch.activations, batch.z_values
                    if verbose and epoch % 10 == 0:
                        # The printing code may read and change the weights.
                        batch.settle()
                        say(f"Epoch {epoch}, Loss: {history[-1]:.4f}")
                        batch.resume()
        finally:
            for batch in batches.values():
                batch.settle()
        return history

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes, (samples, classes); ``activations`` stay those of the last forward.

        Args and errors: as for :meth:`forward`.
        """
        layers, X = self._layers(), self._matrix(X)
        out = allocation.empty((len(X), layers[-1][0].shape[1]), self.dtype)
        for start in range(0, len(X), _CHUNK):
            x = as_dtype("X", X[start : start + _CHUNK], self.dtype)
            for weight, bias in layers[:-1]:
                h = allocation.empty((len(x), weight.shape[1]), self.dtype)
                kernels.linear_forward(h, x, weight, bias, "relu")
                x = h
            rows = out[start : start + _CHUNK]
            kernels.linear_forward(rows, x, *layers[-1])
            kernels.probabilities(rows, rows)
        return out

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each sample, (samples,) int64. Args and errors: as for :meth:`forward`."""
        return self.predict_proba(X).argmax(1)

    def score(self, X: Any, y: Any) -> float:
        """The accuracy: the share of samples classified correctly, in [0, 1]; NaN for no samples.

        Args:
            X: as in :meth:`forward`.
            y: labels, or rows with the largest number at the right class.
        """
        X = self._matrix(X)
        y = self._targets("y", y, len(X))
        if not len(X):
            return float("nan")
        return float((self.predict(X) == (y if y.ndim == 1 else y.argmax(1))).mean())

    # -- Checks of arguments and attributes ------------------------------------------------------

    def _layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights and biases (one axis), converted to the form kernels require."""
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
        # Read-only arrays and those of another kind are copied; the network's own arrays are kept.
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


def _runs(samples: int, size: int) -> Iterator[tuple[int, int, int]]:
    """The batches of an epoch in runs: first and last sample, and the number of batches; the rest comes separately.

    Ctrl-C and the progress bar are handled between runs. Faster batches make longer runs.
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
    """A function that advances the bar by a number of batches, and one that prints a line."""
    if not shown:
        yield lambda count: None, print
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="batch") as bar:
        yield bar.update, bar.write
