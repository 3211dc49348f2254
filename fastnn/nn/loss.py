"""Losses as modules. May import ``functional`` and ``module``."""

from __future__ import annotations

import operator

from fastnn.nn import functional
from fastnn.nn.module import Module
from fastnn.tensor import Tensor


class CrossEntropyLoss(Module):
    """``-log(softmax(input)[target])``, mean or sum over the batch.

    Args:
        ignore_index: a label that marks a row which counts for nothing.
        reduction: 'mean' over the rows that count, 'sum' or 'none'.

    Shape: input (batch, classes) or (classes,), target (batch,) or () of int64.

    >>> import fastnn
    >>> fastnn.nn.CrossEntropyLoss()(fastnn.tensor([[0.0, 0.0]]), fastnn.tensor([1])).item()
    0.6931471824645996
    """

    def __init__(self, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__()
        try:
            self.ignore_index = operator.index(ignore_index)
        except TypeError:
            raise TypeError(f"ignore_index must be an integer, found {ignore_index!r}") from None
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits ``input`` against labels ``target``."""
        return functional.cross_entropy(input, target, self.ignore_index, self.reduction)
