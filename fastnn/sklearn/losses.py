"""The losses of the estimators, as criteria of captured steps.

The gradients are scikit-learn's: those of the sum over the outputs of the mean over the rows. That is also the reported
loss, except for the squared error, which is reported as a mean over the outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import xlogy

from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional as F
from fastnn.nn.loss import BCEWithLogitsLoss
from fastnn.nn.module import Module

Criterion = Callable[[Any, Tensor], Tensor]


class Loss:
    """A loss of the network's result and a target.

    Args:
        kind: 'softmax', 'logistic', 'identity' or 'exp', the output's activation.
        outputs: their number.
        custom: a callable of result and target; None for scikit-learn's loss of this kind.
    """

    def __init__(self, kind: str, outputs: int, custom: Callable[..., Any] | None = None) -> None:
        self.kind, self.outputs, self.custom = kind, outputs, custom
        squared = custom is None and kind == "identity"
        # Of the weights of the rows, and of the reported loss.
        self.weight, self.reported = 0.5 if squared else 1.0, 1 / outputs if squared else 1.0
        self._rows = self._choose_rows()

    def is_like(self, other: Loss) -> bool:
        """Whether the other loss computes the same."""
        return (self.kind, self.outputs) == (other.kind, other.outputs) and self.custom is other.custom

    def constants(self, target: np.ndarray) -> np.ndarray | None:
        """What the reported loss of each row has in addition: the Poisson deviance is 0 for a perfect result."""
        if self.custom is not None or self.kind != "exp":
            return None
        y = target.astype(np.float64)
        return (xlogy(y, y) - y).sum(1)

    def plain(self) -> Criterion:
        """The criterion of (result, target): the mean over rows of equal weights."""
        factor = self.weight * self.outputs
        if self.custom is not None:
            return _mean_of(self.custom)
        if self.kind == "softmax":
            return F.cross_entropy
        whole: dict[str, Criterion] = {
            "logistic": F.binary_cross_entropy_with_logits, "identity": F.mse_loss, "exp": _poisson,
        }  # fmt: skip
        function = whole[self.kind]
        return function if factor == 1 else lambda out, target: function(out, target) * factor

    def weighted(self) -> Criterion:
        """The criterion of ((result, target), weights): the sum over rows, times their weights."""
        rows = self._rows

        def criterion(pair: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
            return (rows(*pair) * weights).sum()

        return criterion

    def _choose_rows(self) -> Criterion:
        if self.custom is not None:
            return _rows_of(self.custom)
        rows: dict[str, Criterion] = {
            "softmax": _cross_entropies, "logistic": _logistic_losses, "identity": _squares, "exp": _poisson_losses,
        }  # fmt: skip
        return rows[self.kind]

    def dimensions_of_rows(self, out: Tensor, target: Tensor) -> int:
        """Dimensions of the losses of rows; ValueError unless there is a number for each row, as weights need."""
        found = self._rows(out, target)
        if not isinstance(found, Tensor) or not found.ndim or found.shape[0] != out.shape[0]:
            raise ValueError(
                f"weights of samples or classes need a loss that returns a number for each row, found {_named(found)}"
            )
        return found.ndim


def wants_one_logit(loss: Any) -> bool:
    """Whether a custom loss of two classes is one of one number, not of a number for each class."""
    return isinstance(loss, BCEWithLogitsLoss)


def _poisson(out: Tensor, target: Tensor) -> Tensor:
    return F.poisson_nll_loss(out, target, log_input=True)


def _cross_entropies(out: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(out, target, reduction="none")


def _logistic_losses(out: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(out, target, reduction="none")


def _squares(out: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(out, target, reduction="none")


def _poisson_losses(out: Tensor, target: Tensor) -> Tensor:
    return F.poisson_nll_loss(out, target, log_input=True, reduction="none")


def _mean_of(custom: Callable[..., Any]) -> Criterion:
    """A criterion that takes the mean over the rows if the loss has a number for each."""

    def criterion(out: Tensor, target: Tensor) -> Tensor:
        found = custom(out, target)
        if not isinstance(found, Tensor) or (found.ndim and found.shape[0] != out.shape[0]):
            raise ValueError(
                f"loss must return a mean or a number for each of the {out.shape[0]} rows, found {_named(found)}"
            )
        return found if found.ndim == 0 else found.sum() * (1 / found.shape[0])

    return criterion


def _named(found: Any) -> str:
    return f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def _rows_of(custom: Callable[..., Any]) -> Criterion:
    reduction = getattr(custom, "reduction", "none") if isinstance(custom, Module) else "none"
    if reduction == "none":
        return custom
    each: Any = copy.copy(custom)
    each.reduction = "none"

    def rows(out: Tensor, target: Tensor) -> Tensor:
        found = each(out, target)
        if reduction == "mean" and found.ndim > 1:
            return found.reshape(found.shape[0], -1).mean(1)
        return found

    return rows
