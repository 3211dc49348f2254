"""Losses that compare tensors with each other, as modules."""

from __future__ import annotations

from collections.abc import Callable

from fastnn._tensor.tensor import Tensor
from fastnn.nn.distance import PairwiseDistance
from fastnn.nn.functional import pair_loss as functional
from fastnn.nn.loss import _Loss

__all__ = ["CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss"]


class _MarginLoss(_Loss):
    def __init__(
        self, margin: float = 0.0, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin


class MarginRankingLoss(_MarginLoss):
    """``max(0, margin - target (input1 - input2))``: the first should be larger where the target is 1.

    Args:
        margin: the required difference.
        size_average, reduce: older names of the reduction.
        reduction: 'mean', 'sum' or 'none'.

    >>> import fastnn
    >>> fastnn.nn.MarginRankingLoss()(fastnn.tensor([1.0]), fastnn.tensor([3.0]), fastnn.tensor([1.0]))
    tensor(2.)
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss of the scores ``input1`` and ``input2`` against their order ``target``."""
        return functional.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_MarginLoss):
    """``1 - cos(input1, input2)`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        margin: from -1 to 1.
        size_average, reduce, reduction: as for :class:`MarginRankingLoss`.

    Shape: inputs (batch, features) or (features,), target (batch,) or ().

    >>> import fastnn
    >>> a, b = fastnn.tensor([[1.0, 0.0]]), fastnn.tensor([[0.0, 2.0]])
    >>> fastnn.nn.CosineEmbeddingLoss()(a, b, fastnn.tensor([1.0]))
    tensor(1.)
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss of rows ``input1`` and ``input2``, which should be similar where ``target`` is 1."""
        return functional.cosine_embedding_loss(input1, input2, target, self.margin, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    """``max(0, |anchor - positive| - |anchor - negative| + margin)`` with the p-norm of rows.

    Args:
        margin: how much farther away the negative should be.
        p: of the norm.
        eps: added to the differences.
        swap: take the distance from the positive to the negative where that is smaller.
        size_average, reduce, reduction: as for :class:`MarginRankingLoss`.

    >>> import fastnn
    >>> a, n = fastnn.zeros(1, 2), fastnn.tensor([[3.0, 4.0]])
    >>> fastnn.nn.TripletMarginLoss(margin=6.0)(a, a, n).item() > 0.99
    True
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
        size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: expected margin to be greater than 0, found {margin} instead")
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of rows that should be near ``anchor`` and far from it."""
        return functional.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


class TripletMarginWithDistanceLoss(_Loss):
    """:class:`TripletMarginLoss` with a custom distance.

    Args:
        distance_function: from two tensors to their distances; the Euclidean distance of rows if None.
        margin, swap, reduction: as for :class:`TripletMarginLoss`.

    >>> import fastnn
    >>> a, n = fastnn.zeros(1, 2), fastnn.tensor([[3.0, 4.0]])
    >>> distance = lambda x, y: (x - y).abs().sum(-1)
    >>> fastnn.nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=8.0)(a, a, n)
    tensor(1.)
    """

    def __init__(
        self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
        swap: bool = False, reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: expected margin to be greater than 0, found {margin} instead"
            )
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of inputs that should be near ``anchor`` and far from it."""
        return functional.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function, margin=self.margin,
            swap=self.swap, reduction=self.reduction,
        )
