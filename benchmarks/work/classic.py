"""fastnn.classic compared with the same programs in plain NumPy, in textbook style, float64.

The network trains an epoch on a part of MNIST in batches of 32. The functions are called on
existing arrays and allocate a new one for the result, like the textbook's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Work

SIZES, BATCH, LR = (784, 128, 64, 10), 32, 0.1
_PRODUCTS = sum(m * n for m, n in itertools.pairwise(SIZES))


# -- Training --------------------------------------------------------------------------------


def _train_case(name: str, dtype: str, target: bool) -> Case:
    samples = 12_800
    # Forward, weight gradient and, after the first layer, input gradient; the data set is read once.
    flops = 2.0 * samples * (3 * _PRODUCTS - SIZES[0] * SIZES[1])
    sizes = {"samples": samples, "size": samples, "dtype": dtype}
    return Case(name, sizes, flops=flops, bytes=8.0 * samples * SIZES[0], target=target)


def _train_inputs(case: Case) -> Inputs:
    from fastnn.datasets import load_mnist

    mnist, samples = load_mnist(), case["samples"]
    return {
        "x": mnist.train_images[:samples].reshape(samples, -1) / 255,
        "y": np.eye(SIZES[-1])[mnist.train_labels[:samples]],
    }


class TextbookNetwork:
    """The network as textbooks teach it."""

    def __init__(self) -> None:
        np.random.seed(0)  # noqa: NPY002  # the textbook and fastnn.classic draw from it
        draw: Callable[..., Any] = np.random.randn
        self.weights = [draw(m, n) * np.sqrt(2 / m) for m, n in itertools.pairwise(SIZES)]
        self.offsets = [np.zeros((1, n)) for n in SIZES[1:]]

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.outputs, self.sums = [x], []
        last = len(self.weights) - 1
        for i in range(len(self.weights)):
            z = np.dot(self.outputs[-1], self.weights[i]) + self.offsets[i]
            self.sums.append(z)
            if i < last:
                self.outputs.append(np.maximum(0, z))
            else:
                e = np.exp(z - np.max(z, axis=1, keepdims=True))
                self.outputs.append(e / np.sum(e, axis=1, keepdims=True))
        return self.outputs[-1]

    def backward(self, y: np.ndarray) -> None:
        count, error = len(y), self.outputs[-1] - y
        gradients: list[tuple[np.ndarray, np.ndarray]] = []
        for i in reversed(range(len(self.weights))):
            weight_gradient = np.dot(self.outputs[i].T, error) / count
            gradients.insert(0, (weight_gradient, np.sum(error, axis=0, keepdims=True) / count))
            if i:
                error = np.dot(error, self.weights[i].T) * (self.sums[i - 1] > 0).astype(float)
        for i, (dw, db) in enumerate(gradients):
            self.weights[i] -= LR * dw
            self.offsets[i] -= LR * db

    def epoch(self, x: np.ndarray, y: np.ndarray) -> float:
        order = np.random.permutation(len(x))  # noqa: NPY002  # as above
        x, y, total = x[order], y[order], 0.0
        for start in range(0, len(x), BATCH):
            truth = y[start : start + BATCH]
            out = self.forward(x[start : start + BATCH])
            total += len(truth) * -np.mean(np.sum(truth * np.log(out + 1e-8), axis=1))
            self.backward(truth)
        return total / len(x)


def _fastnn_train(inputs: Inputs, case: Case) -> Job:
    from fastnn.classic import NeuralNetwork

    x, y, network = inputs["x"], inputs["y"], NeuralNetwork(list(SIZES), dtype=case["dtype"], seed=0)

    def run() -> list[float]:
        return network.train(x, y, 1, LR, BATCH, verbose=False)

    return Job(run, read=lambda losses: [np.array(losses[0]), *(w.copy() for w in network.layers)])


def _numpy_train(inputs: Inputs, case: Case) -> Job:
    network = TextbookNetwork()
    return Job(
        lambda: network.epoch(inputs["x"], inputs["y"]),
        read=lambda loss: [np.array(loss), *(w.copy() for w in network.weights)],
    )


# -- Functions -------------------------------------------------------------------------------


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - np.max(x))
    return e / e.sum()


def _sigmoid_derivative(x: np.ndarray) -> np.ndarray:
    s = _sigmoid(x)
    return s * (1 - s)


FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(0, x),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "softmax": _softmax,
    "sigmoid_derivative": _sigmoid_derivative,
    "tanh_derivative": lambda x: 1 - np.tanh(x) ** 2,
    "relu_derivative": lambda x: np.where(x > 0, 1, 0),
    "leaky_relu_derivative": lambda x: np.where(x > 0, 1.0, 0.01),
}
LARGE, SMALL = 1_000_000, 100


def _function_case(name: str, size: int) -> Case:
    return Case(f"{name} {size}", {"function": name, "size": size}, flops=20.0 * size, bytes=16.0 * size)


def _function_inputs(case: Case) -> Inputs:
    return {"x": 3 * np.random.default_rng(case["size"]).standard_normal(case["size"])}


def _fastnn_function(inputs: Inputs, case: Case) -> Job:
    from fastnn import classic

    function, x = getattr(classic, case["function"]), inputs["x"]
    return Job(lambda: function(x))


def _numpy_function(inputs: Inputs, case: Case) -> Job:
    function, x = FORMULAS[case["function"]], inputs["x"]
    return Job(lambda: function(x))


WORKS = (
    Work(
        "classic_train", (_train_case("float64", "float64", True),), _train_inputs, tolerance=1e-10,
        setups={"fastnn": _fastnn_train, "numpy": _numpy_train},
        check_calls=2, check_sizes={"samples": 650}, chained=True,
    ),
    # The textbook's program stays in float64.
    Work(
        "classic_train_single", (_train_case("float32", "float32", False),), _train_inputs, tolerance=1e-4,
        setups={"fastnn": _fastnn_train, "numpy": _numpy_train},
        check_calls=2, check_sizes={"samples": 650}, chained=True,
    ),
    Work(
        "classic_functions", tuple(_function_case(name, size) for size in (LARGE, SMALL) for name in FORMULAS),
        _function_inputs, tolerance=4e-15, limit="copy",
        setups={"fastnn": _fastnn_function, "numpy": _numpy_function}, brief=True,
    ),
)  # fmt: skip
