"""The models of the targets, and their form in the libraries with PyTorch's names.

S and W are linear layers with ReLU between them. T has BatchNorm, ReLU and Dropout after each
hidden layer; 'T plain' is T without BatchNorm and Dropout, and the model of the inference work.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs
from benchmarks.work import labels, numbers

CLASSES, LR = 10, 1e-3


@dataclass(frozen=True)
class Model:
    """Widths from input to output, whether hidden layers have BatchNorm and Dropout 0.3, and their activation."""

    widths: tuple[int, ...]
    regularized: bool = False
    activation: str = "ReLU"

    def training_flops(self, batch: int) -> float:
        """Forward, weight gradients, and input gradients of all layers but the first."""
        sizes = [m * n for m, n in itertools.pairwise(self.widths)]
        return 2.0 * batch * (3 * sum(sizes) - sizes[0])

    def inference_flops(self, batch: int) -> float:
        """The products of the forward pass."""
        return 2.0 * batch * sum(m * n for m, n in itertools.pairwise(self.widths))

    def parameters(self) -> int:
        """Weights and biases."""
        return sum((m + 1) * n for m, n in itertools.pairwise(self.widths))


MODELS = {
    "S": Model((784, 128, 64, CLASSES)),
    "T": Model((784, 256, 128, 64, CLASSES), regularized=True),
    "W": Model((784, 1024, 1024, CLASSES)),
    "T plain": Model((784, 256, 128, 64, CLASSES)),
    "policy": Model((8, 64, 64, 4), activation="Tanh"),
    "tabular": Model((54, 256, 256, 7)),
    "tiny": Model((4, 32, 16, 4), activation="Tanh"),
}


def weights(model: Model) -> Inputs:
    """Initial weights 'w0', (in, out), and biases 'b0' and so on."""
    arrays: Inputs = {}
    for i, (m, n) in enumerate(itertools.pairwise(model.widths)):
        arrays[f"w{i}"] = numbers(10 + i, m, n) * np.float32(2 / m) ** 0.5
        arrays[f"b{i}"] = numbers(20 + i, n) / 10
    return arrays


def training_inputs(case: Case) -> Inputs:
    """Weights, ``batches`` batches of features, and one more batch of labels.

    The extra batch keeps a pair from recurring soon: the model cannot memorise random labels that
    change, so gradients stay as large as in training and never become denormal numbers.
    """
    batch, batches, model = case["batch"], case["batches"], MODELS[case["model"]]
    return {
        **weights(model),
        "x": numbers(1, batches, batch, model.widths[0]),
        "y": labels(2, model.widths[-1], 1 if batches == 1 else batches + 1, batch),
    }


def layers(inputs: Inputs) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases, layer by layer."""
    return [(inputs[f"w{i}"], inputs[f"b{i}"]) for i in itertools.takewhile(lambda i: f"w{i}" in inputs, range(99))]


def batches(inputs: Inputs, convert: Callable[[np.ndarray], Any]) -> Iterator[tuple[Any, Any]]:
    """An endless cycle of pairs of features and labels, converted beforehand."""
    xs = [convert(x) for x in inputs["x"]]
    ys = [convert(y) for y in inputs["y"]]
    return zip(itertools.cycle(xs), itertools.cycle(ys), strict=True)


def modules(library: Any, model: Model, dropout: float = 0.3) -> Any:
    """The model as a ``Sequential`` of fastnn or PyTorch."""
    nn, stack = library.nn, []
    for m, n in itertools.pairwise(model.widths[:-1]):
        stack.append(nn.Linear(m, n))
        if model.regularized:
            stack += [nn.BatchNorm1d(n), nn.ReLU(), nn.Dropout(dropout)]
        else:
            stack.append(getattr(nn, model.activation)())
    return nn.Sequential(*stack, nn.Linear(*model.widths[-2:]))


def load_weights(library: Any, model: Any, inputs: Inputs) -> None:
    """Copy initial weights into a model of fastnn or PyTorch."""
    linear = [module for module in model if isinstance(module, library.nn.Linear)]
    with library.no_grad():
        for module, (weight, bias) in zip(linear, layers(inputs), strict=True):
            module.weight.copy_(library.from_numpy(np.ascontiguousarray(weight.T)))
            module.bias.copy_(library.from_numpy(bias))
