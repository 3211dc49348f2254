"""Losses that compare embeddings or scores with each other: compositions of tensor operations."""

from __future__ import annotations

from collections.abc import Callable

from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.nn.functional.vector import pairwise_distance
from fastnn.nn.loss_core import _check_tensors, _reduced_by, _reduction
from fastnn.ops.binary_math import minimum
from fastnn.ops.comparison import keep_where
from fastnn.ops.shapes import broadcast_tensors

__all__ = ["cosine_embedding_loss", "margin_ranking_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss"]


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``max(0, margin - target (input1 - input2))``: the first should be larger where the target is 1.

    Args:
        input1, input2: scores; target: 1 or -1. All with the same number of dimensions, broadcast together.
        margin: the required difference.
        size_average, reduce: older names of the reduction.
        reduction: 'mean', 'sum' or 'none'.

    >>> import fastnn
    >>> a, b = fastnn.tensor([1.0]), fastnn.tensor([3.0])
    >>> fastnn.nn.functional.margin_ranking_loss(a, b, fastnn.tensor([1.0]))
    tensor(2.)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input1=input1, input2=input2, target=target)
    margin = float(margin)
    if not input1._data.ndim == input2._data.ndim == target._data.ndim:
        raise ShapeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return _reduced_by((-target * (input1 - input2) + margin).clamp_min(0), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``1 - cos(input1, input2)`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        input1, input2: (batch, features) or (features,).
        target: (batch,) or (), 1 or -1.
        margin: from -1 to 1.
        size_average, reduce, reduction: as in :func:`margin_ranking_loss`.

    >>> import fastnn
    >>> a, b = fastnn.tensor([[1.0, 0.0]]), fastnn.tensor([[0.0, 2.0]])
    >>> fastnn.nn.functional.cosine_embedding_loss(a, b, fastnn.tensor([1.0]))
    tensor(1.)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input1=input1, input2=input2, target=target)
    if target._data.ndim > 1:
        raise ShapeError(f"0D or 1D target tensor expected, multi-target not supported: found {tuple(target.shape)}")
    for name, t in (("input1", input1), ("input2", input2)):
        if t._data.ndim != target._data.ndim + 1:
            raise ShapeError(f"{name} must have one dimension more than target, found {tuple(t.shape)}")
    # Added under the root, as in PyTorch, so that a row of zeros has a gradient.
    epsilon = 1e-12
    squares = ((input1 * input1).sum(-1) + epsilon) * ((input2 * input2).sum(-1) + epsilon)
    cosine = (input1 * input2).sum(-1) / squares.sqrt()
    cosine, target = broadcast_tensors(cosine, target)
    losses = keep_where(1 - cosine, target._data == 1) + keep_where((cosine - margin).clamp_min(0), target._data == -1)
    return _reduced_by(losses, reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``max(0, |anchor - positive| - |anchor - negative| + margin)`` with the p-norm of rows.

    Args:
        anchor, positive, negative: (batch, features) or (features,), broadcast together.
        margin: how much farther away the negative should be; positive.
        p: of the norm.
        eps: added to the differences.
        swap: take the distance from the positive to the negative where that is smaller (V. Balntas and others,
            Learning shallow convolutional feature descriptors with triplet losses, 2016).
        size_average, reduce, reduction: as in :func:`margin_ranking_loss`.

    >>> import fastnn
    >>> a, n = fastnn.zeros(1, 2), fastnn.tensor([[3.0, 4.0]])
    >>> round(fastnn.nn.functional.triplet_margin_loss(a, a, n, margin=6.0).item(), 4)
    1.0
    """
    reduction = _reduction(reduction, size_average, reduce)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """:func:`triplet_margin_loss` with a custom distance.

    Args:
        anchor, positive, negative: arguments of the function, with the same number of dimensions.
        distance_function: from two tensors to their distances; the Euclidean distance of rows if None.
        margin, swap, reduction: as in :func:`triplet_margin_loss`.

    >>> import fastnn
    >>> a, n = fastnn.zeros(1, 2), fastnn.tensor([[3.0, 4.0]])
    >>> fastnn.nn.functional.triplet_margin_with_distance_loss(
    ...     a, a, n, distance_function=lambda x, y: (x - y).abs().sum(-1), margin=8.0)
    tensor(1.)
    """
    reduction = _reduction(reduction, None, None)
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Callable[[Tensor, Tensor], Tensor], margin: float,
    swap: bool, reduction: str,
) -> Tensor:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    _check_tensors(anchor=anchor, positive=positive, negative=negative)
    if not anchor._data.ndim == positive._data.ndim == negative._data.ndim:
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor._data.ndim}D, positive {positive._data.ndim}D, and negative {negative._data.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return _reduced_by((margin + near - far).clamp_min(0), reduction)
