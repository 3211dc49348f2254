"""Conversion of parameters to one vector and back."""

from __future__ import annotations

from collections.abc import Iterable

from fastnn._tensor.tensor import Tensor
from fastnn.ops.joining import cat


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters concatenated to one vector, differentiably.

    >>> import fastnn
    >>> layer = fastnn.nn.Linear(3, 2)
    >>> fastnn.nn.utils.parameters_to_vector(layer.parameters()).shape
    torch.Size([8])
    """
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make the parameters consecutive slices of a vector; they share its memory."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    found = list(parameters)
    needed = sum(p.numel() for p in found)
    if vec.dim() != 1 or vec.numel() < needed:
        raise RuntimeError(f"vec must have {needed} numbers for these parameters, found shape {tuple(vec.shape)}")
    first = 0
    for p in found:
        last = first + p.numel()
        p.data = vec.detach()[first:last].reshape(*p.shape)
        first = last
