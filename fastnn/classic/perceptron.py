"""The perceptron: one neuron with a step function, trained by the perceptron rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.classic.arrays import FLOAT64, KERNEL_DTYPES, as_dtype, number, random_state, real_array, whole
from fastnn.kernels.runtime import allocation


class Perceptron:
    """``1 if x @ weights + bias >= 0 else 0``, a line between two classes.

    ``train`` processes one sample at a time: ``error = y - prediction``, then
    ``weights += lr * error * x`` and ``bias += lr * error`` (F. Rosenblatt, Psychological Review 65, 1958).
    If a line separates the classes, it is found after finitely many errors.

    The weights start as random numbers scaled by a tenth of the learning rate, the unit of their updates. The
    textbook uses a scale of 1, from which its learning rate of 0.01 rarely converges in ten epochs.

    Args:
        n_inputs: numbers in a sample.
        learning_rate: the size of a step, at least 0; ``lr`` afterwards.
        seed: the seed of the weights; None draws from ``np.random``, which ``np.random.seed`` seeds.

    Attributes: ``weights``, (n_inputs,) float64; ``bias``; ``lr``.

    >>> import numpy as np
    >>> from fastnn.classic import Perceptron
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> perceptron = Perceptron(n_inputs=2, seed=0)
    >>> perceptron.train(X, np.array([0, 0, 0, 1]), epochs=10)
    >>> perceptron.predict(X)
    array([0, 0, 0, 1])
    """

    def __init__(self, n_inputs: int, learning_rate: float = 0.01, *, seed: int | None = None) -> None:
        n_inputs = whole("n_inputs", n_inputs, 1)
        self.lr = number("learning_rate", learning_rate, least=0)
        self.weights: np.ndarray = 0.1 * self.lr * random_state(seed).randn(n_inputs)
        self.bias = 0.0

    def activation(self, x: Any) -> Any:
        """The step function: 1 where ``x >= 0``, else 0; an int for a number, int64 for an array."""
        x = real_array("x", x)
        return (x >= 0).astype(np.int64) if x.ndim else int(x >= 0)

    def predict(self, X: Any) -> Any:
        """The class of one sample (an int), or of each row of a matrix.

        Args:
            X: (n_inputs,) or (samples, n_inputs).

        Returns: 0 or 1; for a matrix (samples,) int64.

        Raises: ValueError for a wrong shape.
        """
        X = real_array("X", X)
        weights = self._weights()
        if X.ndim not in (1, 2) or X.shape[-1] != weights.size:
            raise ValueError(f"X must have shape ({weights.size},) or (samples, {weights.size}), found {X.shape}")
        rows = _samples(X.reshape(1, -1) if X.ndim == 1 else X)
        out = allocation.empty(len(rows), np.int64)
        kernels.perceptron_predict(out, rows, weights, float(self.bias))
        return out if X.ndim == 2 else int(out[0])

    def train(self, X: Any, y: Any, epochs: int = 100) -> None:
        """Go through the samples in order, ``epochs`` times; stop if a pass changes nothing.

        Args:
            X: (samples, n_inputs).
            y: (samples,), 0 or 1.
            epochs: passes, at least 0.

        Raises: ValueError for wrong shapes, TypeError unless the values are real numbers; nothing is changed then.
        """
        X, y, weights = real_array("X", X), real_array("y", y), self._weights()
        epochs, lr = whole("epochs", epochs, 0), number("lr", self.lr)
        if X.ndim != 2 or X.shape[1] != weights.size:
            raise ValueError(f"X must have shape (samples, {weights.size}), found {X.shape}")
        if y.shape != (len(X),):
            raise ValueError(f"y must have shape ({len(X)},), one number for each row of X, found {y.shape}")
        X, y, state = _samples(X), as_dtype("y", y, FLOAT64), np.array([self.bias, 0.0])
        for _ in range(epochs):
            kernels.perceptron_train(weights, state, X, y, learning_rate=lr)
            # Even after Ctrl-C the bias matches the weights.
            self.bias = float(state[0])
            if not state[1]:
                break

    def _weights(self) -> np.ndarray:
        """The weights, converted to the form kernels require."""
        if not (type(self.weights) is np.ndarray and self.weights.dtype == FLOAT64 and self.weights.flags.carray):
            self.weights = np.array(real_array("weights", self.weights), FLOAT64, order="C")
        if self.weights.ndim != 1:
            raise ValueError(f"weights must have one axis, found shape {self.weights.shape}")
        return self.weights


def _samples(X: np.ndarray) -> np.ndarray:
    return as_dtype("X", X, X.dtype if X.dtype in KERNEL_DTYPES else FLOAT64)
