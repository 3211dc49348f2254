"""Distances of vectors as layers."""

from __future__ import annotations

from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class CosineSimilarity(Module):
    """``sum(x1 * x2) / (max(|x1|, eps) * max(|x2|, eps))`` along ``dim``.

    >>> import fastnn
    >>> fastnn.nn.CosineSimilarity()(fastnn.tensor([[2.0, 0.0]]), fastnn.tensor([[3.0, 0.0]])).item()
    1.0
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The shape of the broadcast inputs without ``dim``."""
        return functional.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of ``x1 - x2 + eps`` along the last dimension.

    >>> import fastnn
    >>> fastnn.nn.PairwiseDistance(p=1, eps=0)(fastnn.tensor([[1.0, 5.0]]), fastnn.tensor([[0.0, 3.0]])).item()
    3.0
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The shape of the broadcast inputs without the last dimension."""
        return functional.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
