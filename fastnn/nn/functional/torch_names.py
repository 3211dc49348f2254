"""The activations in the top namespace of ``torch``: those of ``nn.functional``, also for integers.

Imported last, because it depends on ``nn``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn import functional
from fastnn.ops.core import as_floating, check_tensor, method_of, named, original

__all__ = [
    "celu", "celu_", "cosine_similarity", "dropout", "hardshrink", "log_softmax", "pairwise_distance", "pdist",
    "prelu", "relu", "relu_", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "sigmoid_", "softmax", "tanh", "tanh_",
    "threshold", "threshold_",
]  # fmt: skip


def relu(input: Tensor) -> Tensor:
    """``max(input, 0)``, elementwise.

    >>> import fastnn
    >>> fastnn.relu(fastnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if isinstance(input, Tensor) and input._data.dtype.kind in "iu":
        return _wrap(np.maximum(input._data, 0))
    return functional.relu(input)


@named
def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``, elementwise."""
    check_tensor("input", input)
    return functional.sigmoid(input if input._data.dtype.kind == "f" else as_floating(input))


@named
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, elementwise."""
    check_tensor("input", input)
    return functional.tanh(input if input._data.dtype.kind == "f" else as_floating(input))


def relu_(input: Tensor) -> Tensor:
    """``relu`` in place."""
    return functional.relu(input, inplace=True)


def sigmoid_(input: Tensor) -> Tensor:
    """``sigmoid`` in place."""
    return input._in_place(sigmoid(original(input)))


def tanh_(input: Tensor) -> Tensor:
    """``tanh`` in place."""
    return input._in_place(tanh(original(input)))


@named
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """``exp(input) / exp(input).sum(dim)``.

    >>> import fastnn
    >>> fastnn.softmax(fastnn.zeros(4), 0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return functional.softmax(input, dim, 3, dtype)


@named
def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """``log(softmax(input, dim))``, accurate where the probability is close to 0."""
    return functional.log_softmax(input, dim, 3, dtype)


celu, celu_, selu, selu_ = functional.celu, functional.celu_, functional.selu, functional.selu_
prelu, rrelu, rrelu_, hardshrink = functional.prelu, functional.rrelu, functional.rrelu_, functional.hardshrink
threshold, threshold_ = functional.threshold, functional.threshold_
cosine_similarity, pairwise_distance, pdist = (
    functional.cosine_similarity, functional.pairwise_distance, functional.pdist,
)  # fmt: skip


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Set elements to 0 with probability p and divide the others by ``1 - p``; in training only."""
    return functional.dropout(input, p, train)


# Functions of `nn.functional` that `torch` has as well.
for _name in (
    "alpha_dropout", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "embedding", "embedding_bag",
    "hinge_embedding_loss", "kl_div", "layer_norm", "margin_ranking_loss", "poisson_nll_loss", "rms_norm",
    "triplet_margin_loss",
):  # fmt: skip
    if hasattr(functional, _name):
        globals()[_name] = getattr(functional, _name)
        __all__.append(_name)

for _name in ("hardshrink", "log_softmax", "prelu", "relu", "relu_", "sigmoid", "sigmoid_", "softmax", "tanh", "tanh_"):
    _method = method_of(globals()[_name])
    if _method is not globals()[_name]:
        # So that it is pickled by name.
        _method.__module__, _method.__qualname__ = Tensor.__module__, f"Tensor.{_name}"
    setattr(Tensor, _name, _method)
