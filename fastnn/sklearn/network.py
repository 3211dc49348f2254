"""The network of an estimator: layers made of its parameters, and their numbers as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastnn import kernels
from fastnn._autograd.modes import no_grad
from fastnn._core.dtypes import float32, float64
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.matmul.sparse_rows import CompressedRows
from fastnn.kernels.reduce.norms import blocks_of
from fastnn.kernels.runtime import allocation
from fastnn.nn import activation as _activation
from fastnn.nn.container import Sequential
from fastnn.nn.dropout import Dropout
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d
from fastnn.nn.parameter import Parameter
from fastnn.random import fork_rng
from fastnn.sklearn.sparse import SparseLinear

# Activations with a parameter to learn, a random slope, required arguments or another number of outputs.
_EXCLUDED = {"glu", "prelu", "rrelu", "threshold"}


def _activation_classes() -> dict[str, type[Module] | None]:
    """Every elementwise activation of fastnn by the name of its function, and scikit-learn's two other names."""
    names = [name for name in _activation.__all__ if name.islower() and not name.endswith("_")]
    classes = {name.lower(): getattr(_activation, name) for name in _activation.__all__ if not name.islower()}
    found = {name: classes[name.replace("_", "")] for name in names if name not in _EXCLUDED}
    return {**found, "identity": None, "logistic": _activation.Sigmoid}


ACTIVATIONS = _activation_classes()


class Numbers(NamedTuple):
    """The numbers of a network: for each layer a matrix (inputs, outputs) and a vector, and its normalisations'."""

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    norms: list[dict[str, np.ndarray]]

    def copy(self) -> Numbers:
        return Numbers(
            [c.copy() for c in self.coefs], [i.copy() for i in self.intercepts],
            [{name: array.copy() for name, array in norm.items()} for norm in self.norms],
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a network is made of.

    Args:
        sizes: units of the input, of each hidden layer, and of the output.
        activations, dropouts: of each hidden layer.
        batch_norm: whether each hidden layer is normalised before its activation.
        dtype: float32 or float64.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    dropouts: tuple[float, ...]
    batch_norm: bool
    dtype: np.dtype


# The arrays of a normalisation.
_NORM = ("weight", "bias", "running_mean", "running_var")


class Network:
    """The layers of a plan.

    The matrices are neighbours in memory, and so are the other parameters: one launch updates each kind.

    Args:
        plan: of the network.
        numbers: to share the memory of, for inference. Without them the network has memory of its own, for training.
        rows: of mostly zeros, whose sorted batches the model is called on.
    """

    def __init__(self, plan: Plan, numbers: Numbers | None = None, rows: CompressedRows | None = None) -> None:
        self.plan = plan
        self.sparse: SparseLinear | None = None
        self.layers: list[Linear | SparseLinear] = []
        count, kind = len(plan.sizes) - 1, float32 if plan.dtype == np.float32 else float64
        if numbers is None:
            # The layers draw numbers that are overwritten.
            with fork_rng():
                if rows is not None:
                    self.sparse = SparseLinear(plan.sizes[0], plan.sizes[1], plan.dtype, rows)
                    self.layers.append(self.sparse)
                self.layers += [
                    Linear(plan.sizes[i], plan.sizes[i + 1], bias=False, dtype=kind)
                    for i in range(len(self.layers), count)
                ]
            for layer, size in zip(self.layers, plan.sizes[1:], strict=True):
                layer.bias = Parameter._empty((size,), plan.dtype)
        else:
            for coef, intercept in zip(numbers.coefs, numbers.intercepts, strict=True):
                layer = Linear(0, 0, bias=False, dtype=kind)
                layer.in_features, layer.out_features = coef.shape
                layer.weight = Parameter(_wrap(coef.T), requires_grad=False)
                layer.bias = Parameter(_wrap(intercept), requires_grad=False)
                self.layers.append(layer)
        hidden = plan.sizes[1:-1] if plan.batch_norm else ()
        self.norms = [BatchNorm1d(size, dtype=kind) for size in hidden]
        if numbers is not None:
            for norm, arrays in zip(self.norms, numbers.norms, strict=True):
                norm.weight, norm.bias = (Parameter(_wrap(arrays[n]), requires_grad=False) for n in ("weight", "bias"))
                norm.running_mean, norm.running_var = _wrap(arrays["running_mean"]), _wrap(arrays["running_var"])
        modules = list(self._modules())
        self.model: Module = Sequential(*modules) if self.sparse is None else AfterSparse(self.sparse, modules[1:])
        self.coefs = [layer.weight for layer in self.layers]
        biases = [layer.bias for layer in self.layers if layer.bias is not None]
        self.others = [*biases, *[p for norm in self.norms for p in norm.parameters()]]

    def _modules(self) -> Iterator[Module]:
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            yield layer
            if i == last:
                return
            if self.norms:
                yield self.norms[i]
            kind = ACTIVATIONS[self.plan.activations[i]]
            if kind is not None:
                yield kind()
            if self.plan.dropouts[i]:
                yield Dropout(self.plan.dropouts[i])

    def load(self, numbers: Numbers) -> None:
        """Set all parameters."""
        with no_grad():
            for layer, coef, intercept in zip(self.layers, numbers.coefs, numbers.intercepts, strict=True):
                if isinstance(layer, SparseLinear):
                    layer.load(np.asarray(coef, self.plan.dtype))
                else:
                    layer.weight.copy_(_wrap(np.asarray(coef, self.plan.dtype).T))
                _of(layer.bias).copy_(_wrap(np.asarray(intercept, self.plan.dtype)))
        self._load_norms(numbers)

    def _load_norms(self, numbers: Numbers) -> None:
        with no_grad():
            for norm, arrays in zip(self.norms, numbers.norms, strict=True):
                for name in _NORM:
                    getattr(norm, name).copy_(_wrap(arrays[name]))

    def numbers(self) -> Numbers:
        """Copies of all parameters."""
        return Numbers(
            [
                layer.coef() if isinstance(layer, SparseLinear) else layer.weight.detach().numpy().T.copy("C")
                for layer in self.layers
            ],
            [_of(layer.bias).detach().numpy().copy() for layer in self.layers],
            [{name: getattr(norm, name).detach().numpy().copy() for name in _NORM} for norm in self.norms],
        )

    def outputs(self, rows: Any) -> np.ndarray:
        """The results before the output's activation, in evaluation mode, of (rows, features) of :class:`Rows`."""
        if self.sparse is not None:
            return Network(self.plan, self.numbers()).outputs(rows)
        was_training = self.model.training
        self.model.eval()
        out = allocation.empty((len(rows), self.plan.sizes[-1]), self.plan.dtype)
        try:
            with no_grad():
                chunk = rows.chunk
                for first in range(0, len(rows), chunk):
                    last = min(first + chunk, len(rows))
                    out[first:last] = self.model(rows.inputs(first, last))._data
        finally:
            self.model.train(was_training)
        return out


def _of(bias: Parameter | None) -> Parameter:
    assert bias is not None
    return bias


class SquaredNorm:
    """The sum of the squares of all matrices, computed by launches that a captured step records.

    Args:
        coefs: the matrices.
    """

    def __init__(self, coefs: list[Parameter]) -> None:
        self.coefs = coefs
        counts = [blocks_of(_memory_of(p).size) for p in coefs]
        self.sums = np.zeros(sum(counts))
        ends = np.cumsum(counts).tolist()
        self.parts = [self.sums[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def measure(self) -> None:
        """Launch the sums."""
        for p, part in zip(self.coefs, self.parts, strict=True):
            kernels.block_norms(part, _memory_of(p), 2.0)

    def value(self) -> float:
        """The result of the last launch."""
        return float(self.sums.sum())


def _memory_of(p: Tensor) -> np.ndarray:
    """The numbers of a parameter in the order of their addresses, flat. Between rows lies padding, which is zero."""
    array = p._data
    low, high = np.lib.array_utils.byte_bounds(array)
    size = (high - low) // array.itemsize if array.size else 0
    return np.lib.stride_tricks.as_strided(array, (size,), (array.itemsize,))


class AfterSparse(Module):
    """A network whose first layer takes the arrays of a sorted batch."""

    def __init__(self, first: SparseLinear, rest: list[Module]) -> None:
        super().__init__()
        self.first, self.rest = first, Sequential(*rest)

    def forward(self, ends: Tensor, samples: Tensor, values: Tensor) -> Tensor:
        """The result for the batch."""
        return self.rest(self.first(ends, samples, values))


class Objective(Module):
    """The model of a captured step: the network's result, with the target if weights follow.

    Args:
        model: the network.
        norm: measured before each forward pass, if given.
        weighted: whether the step is called with ``(*inputs, target, weights)``.
    """

    def __init__(self, model: Module, norm: SquaredNorm | None, weighted: bool) -> None:
        super().__init__()
        self.model, self.weighted = model, weighted
        # A bound method: captures take it for a constant, which it is.
        self.measure = None if norm is None else norm.measure

    def forward(self, *inputs: Tensor) -> Any:
        """The result, or a pair of the result and the target, the last input."""
        if self.measure is not None:
            self.measure()
        if self.weighted:
            return self.model(*inputs[:-1]), inputs[-1]
        return self.model(*inputs)
