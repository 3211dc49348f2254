"""One training step of the textbook's network: arrays allocated once, and a program of launches over them.

A batch's rows are gathered, each layer is one product with its bias and ReLU, one kernel computes softmax, loss
and error, and the products of the backward pass add the step directly to the weights, because
``w -= lr * (x.T @ delta) / m`` is ``w += x.T @ (-lr / m * delta)``. The launches of the first batch are
recorded, and replayed for all others in one call each.

Data that are mostly zeros, such as images of digits, are compressed once, and the first layer skips the zeros.
They add nothing, so every result has the same bits except for the sign of zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fastnn import kernels
from fastnn.kernels.matmul.linear import activation_bias_backward
from fastnn.kernels.matmul.sparse_linear import copy_columns, join_columns, split_columns
from fastnn.kernels.matmul.sparse_rows import CompressedRows, batch_of, compress_rows
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64
from fastnn.kernels.runtime.launcher import aligned, independent
from fastnn.kernels.runtime.program import Program

Layers = list[tuple[np.ndarray, np.ndarray]]

# Limits within which skipping zeros is faster, including compression in one epoch: the share of nonzero column pairs
# (MNIST: 0.22), the minimum bytes of a row and of a layer, and the maximum number of samples.
# 784-128-64-10 on MNIST, batch 32: 65 us a step instead of 95 in float64, 51 instead of 54 in float32; at random
# positions 86 instead of 96 in float64 at a share of 0.4, 97 at 0.5; in float32 58 instead of 53 at 0.3.
_SHARE = {FLOAT32: 0.25, FLOAT64: 0.4}
_LEAST_ROW, _LEAST_LAYER = 512, 2**18
_MOST_SAMPLES = 512


class Places:
    """Work arrays of one batch: the input and the results of each layer.

    Args:
        layers: weights and biases.
        samples: the number of rows of the batch.
        x: (samples, inputs), the batch; None for a new array.
    """

    def __init__(self, layers: Layers, samples: int, x: np.ndarray | None = None) -> None:
        dtype = layers[0][0].dtype
        self.layers, self.samples = layers, samples
        first = allocation.empty((samples, layers[0][0].shape[0]), dtype) if x is None else x
        self.z_values = [aligned((samples, weight.shape[1]), dtype) for weight, _ in layers]
        self.activations = [first, *(aligned(z.shape, dtype) for z in self.z_values)]

    def forward(self, with_probabilities: bool = True) -> None:
        """Compute all layers from ``activations[0]``."""
        last = len(self.layers) - 1
        for i in range(last):
            self._layer(i, self.activations[i + 1], "relu", self.z_values[i])
        self._layer(last, self.z_values[last], "none", None)
        if with_probabilities:
            kernels.probabilities(self.activations[-1], self.z_values[last])

    def _layer(self, i: int, out: np.ndarray, activation: str, z: np.ndarray | None) -> None:
        kernels.linear_forward(out, self.activations[i], *self.layers[i], activation, z=z)


class Minibatch(Places):
    """A training step for batches of one size: recorded once, then replayed for a series of batches in one call.

    Args:
        layers, samples: as above.
        X, y: the data set.
        lr: learning rate.
    """

    def __init__(self, layers: Layers, samples: int, X: np.ndarray, y: np.ndarray, lr: float) -> None:
        super().__init__(layers, samples)
        self._X, self._chosen, self._losses = X, np.zeros(samples, np.int64), allocation.empty(samples)
        last = aligned(self.z_values[-1].shape, self.z_values[-1].dtype)
        errors = [(aligned(z.shape, z.dtype), aligned(z.shape, z.dtype)) for z in self.z_values[:-1]]
        targets = allocation.empty((samples, *y.shape[1:]), y.dtype)
        self._program = Program()
        with self._program.recording():
            self._take()
            independent()
            kernels.take_rows(_as_floats(targets), _as_floats(y), self._chosen)
            self.forward(with_probabilities=False)
            kernels.probabilities_and_error(
                self.activations[-1], last, self._losses, self.z_values[-1], targets, -lr / samples
            )
            descend(layers, self.activations, errors, last, self._descend_first)

    def _take(self) -> None:
        kernels.take_rows(self.activations[0], self._X, self._chosen)

    def _descend_first(self, error: np.ndarray) -> None:
        kernels.gemm(self.layers[0][0], self.activations[0].T, error, accumulate=True)

    def steps(self, chosen: np.ndarray, losses: np.ndarray) -> None:
        """For each batch: gather the chosen rows, compute their losses, and update the weights.

        Args:
            chosen: row indices, batch after batch.
            losses: output array of the same size.
        """
        batches = ((self._chosen, chosen), (self._losses, losses))
        self._program.replay_over(batches, len(chosen) // self.samples)

    def finish(self, chosen: np.ndarray) -> None:
        """After the steps over ``chosen``, set ``activations`` to what the plain formulas leave there."""

    def settle(self) -> None:
        """Write the weights back to the layers, before other code may read them and when training ends or fails."""

    def resume(self) -> None:
        """Continue with the current weights of the layers, which may have been changed."""


class FirstLayer(NamedTuple):
    """Data of the first layer when zeros are skipped.

    Attributes:
        rows: the data set without its zeros.
        panels: a copy of the weight, which is updated instead.
        spoiled: (1,), 0 while the weight is finite.
    """

    rows: CompressedRows
    panels: np.ndarray
    spoiled: np.ndarray


class SparseMinibatch(Minibatch):
    """A :class:`Minibatch` for data that are mostly zeros.

    If a weight is not finite, zeros matter: 0 * inf is NaN. From then on the loss is NaN, as in the plain
    program, and :meth:`settle` sets the columns of such weights to NaN.

    Args:
        first: data shared by batches of all sizes.
    """

    def __init__(
        self, layers: Layers, samples: int, X: np.ndarray, y: np.ndarray, lr: float, first: FirstLayer
    ) -> None:
        self._first, self._sorted = first, batch_of(first.rows, samples, first.panels.dtype)
        super().__init__(layers, samples, X, y, lr)

    def _take(self) -> None:
        kernels.sort_columns(self._sorted, self._first.rows, self._chosen)

    def _layer(self, i: int, out: np.ndarray, activation: str, z: np.ndarray | None) -> None:
        if i:
            super()._layer(i, out, activation, z)
        else:
            _, panels, spoiled = self._first
            kernels.sparse_forward(out, self._sorted, panels, self.layers[0][1], spoiled, activation, z=z)

    def _descend_first(self, error: np.ndarray) -> None:
        kernels.sparse_update(self._first.panels, self._first.spoiled, self._sorted, error)

    def finish(self, chosen: np.ndarray) -> None:
        kernels.take_rows(self.activations[0], self._X, chosen[-self.samples :])

    def settle(self) -> None:
        weight = self.layers[0][0]
        join_columns(weight, self._first.panels)
        if self._first.spoiled[0] != 0:
            weight[:, ~np.isfinite(weight).all(0)] = np.nan

    def resume(self) -> None:
        weight = self.layers[0][0]
        copy_columns(self._first.panels, weight)
        self._first.spoiled[0] = 0 if np.isfinite(weight).all() else np.nan


def minibatches(
    layers: Layers, sizes: Iterable[int], X: np.ndarray, y: np.ndarray, lr: float
) -> dict[int, Minibatch]:
    """A training step for each of these batch sizes, by size."""
    sizes, weight = set(sizes), layers[0][0]
    rows = None
    if (
        sizes and max(sizes) <= _MOST_SAMPLES and weight.nbytes >= max(_LEAST_LAYER, _LEAST_ROW * len(weight))
        and np.isfinite(weight).all() and not _is_shared(layers)
    ):  # fmt: skip
        rows = compress_rows(X, _SHARE[weight.dtype])
    if rows is None:
        return {size: Minibatch(layers, size, X, y, lr) for size in sizes}
    first = FirstLayer(rows, split_columns(weight), np.zeros(1, weight.dtype))
    return {size: SparseMinibatch(layers, size, X, y, lr, first) for size in sizes}


def _is_shared(layers: Layers) -> bool:
    """Whether the first weight, which is updated in panels, shares memory with an array updated in place."""
    weight, others = layers[0][0], [array for layer in layers for array in layer][1:]
    return any(np.may_share_memory(weight, other) for other in others)


def _as_floats(y: np.ndarray) -> np.ndarray:
    """Labels or targets as a matrix of floating-point numbers with the same bits, for a kernel that copies them."""
    return y if y.ndim == 2 else y.view(np.float64).reshape(-1, 1)


def descend(
    layers: Layers,
    activations: list[np.ndarray],
    errors: Sequence[tuple[np.ndarray, np.ndarray] | None],
    error: np.ndarray,
    first: Callable[[np.ndarray], None] | None = None,
) -> None:
    """Add the update to weights and biases.

    Args:
        errors: arrays for the errors of all layers but the last, after and before their ReLU; None for new ones.
            With a single array the derivative of ReLU took 15.5 us for 32 x 128 numbers: it was not vectorised.
        error: that of the last layer, times ``-learning_rate / samples``: the gradients are linear in it.
        first: adds the update to the first layer's weight, given its error; None for the plain product.
    """
    activation_bias_backward(error, layers[-1][1], error, error, "none", accumulate=True)
    for i in reversed(range(len(layers))):
        weight, x = layers[i][0], activations[i]
        if i:
            # Before the weight is updated.
            after, before = errors[i - 1] or (allocation.empty_like(x), allocation.empty_like(x))
            if i == len(layers) - 1:
                independent()
            kernels.gemm(after, error, weight.T)
        if i or first is None:
            kernels.gemm(weight, x.T, error, accumulate=True)
        else:
            first(error)
        if i:
            independent()
            activation_bias_backward(before, layers[i - 1][1], after, x, "relu", accumulate=True)
            error = before
