"""Softmax layers."""

from __future__ import annotations

from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.module import Module

__all__ = ["LogSoftmax", "Softmax", "Softmax2d", "Softmin"]


class _AlongDim(Module):
    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """``exp(x) / sum(exp(x))`` along ``dim``.

    >>> import fastnn
    >>> fastnn.nn.Softmax(dim=1)(fastnn.tensor([[0.0, 0.0]]))
    tensor([[0.5000, 0.5000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape."""
        return functional.softmax(input, self.dim, _stacklevel=5)


class LogSoftmax(_AlongDim):
    """``log(softmax(x))`` along ``dim``, finite even where the softmax is 0.

    >>> import fastnn
    >>> fastnn.nn.LogSoftmax(dim=0)(fastnn.tensor([1000.0, 0.0])).tolist()
    [0.0, -1000.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape."""
        return functional.log_softmax(input, self.dim, _stacklevel=5)


class Softmin(_AlongDim):
    """``softmax(-x)`` along ``dim``.

    >>> import fastnn
    >>> fastnn.nn.Softmin(dim=0)(fastnn.tensor([1000.0, 0.0])).tolist()
    [0.0, 1.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape."""
        return functional.softmin(input, self.dim, _stacklevel=5)


class Softmax2d(Module):
    """Softmax over the channels at each position of an image: (batch, channels, height, width), or without batch.

    >>> import fastnn
    >>> fastnn.nn.Softmax2d()(fastnn.zeros(2, 1, 1)).tolist()
    [[[0.5]], [[0.5]]]
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        if input.dim() not in (3, 4):
            raise ShapeError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return functional.softmax(input, -3, _stacklevel=5)
