"""Dropout layers."""

from __future__ import annotations

from collections.abc import Callable

from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.functional.dropout import check_probability
from fastnn.nn.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    """Base of the dropout layers: each calls a function of input, probability, mode and ``inplace``.

    Args:
        p: the probability of dropping, in [0, 1].
        inplace: whether to write into the input.
    """

    p: float
    inplace: bool
    _function: Callable[[Tensor, float, bool, bool], Tensor]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(p)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input itself in evaluation mode."""
        return type(self)._function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


# PyTorch's name of the base.
_DropoutNd = _Dropout


class Dropout(_Dropout):
    """In training each number becomes 0 with probability ``p``, and the others are divided by ``1 - p``.

    Args:
        p: in [0, 1].
        inplace: whether to write into the input.

    Shape: any. Source: N. Srivastava et al., JMLR 15 (2014).

    >>> import fastnn
    >>> layer = fastnn.nn.Dropout(0.5)
    >>> sorted(set(layer(fastnn.ones(100)).tolist())), layer.eval()(fastnn.ones(2)).tolist()
    ([0.0, 2.0], [1.0, 1.0])
    """

    _function = staticmethod(functional.dropout)


class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1, for SELU; see :func:`functional.alpha_dropout`.

    Args:
        p: in [0, 1].
        inplace: whether to write into the input.

    Shape: any. Source: G. Klambauer et al., arXiv:1706.02515.

    >>> import fastnn
    >>> fastnn.nn.AlphaDropout(0.5)
    AlphaDropout(p=0.5, inplace=False)
    """

    _function = staticmethod(functional.alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """:class:`AlphaDropout` of whole channels.

    Args:
        p: in [0, 1].
        inplace: whether to write into the input.

    Shape: (batch, channels, ...).
    """

    _function = staticmethod(functional.feature_alpha_dropout)


class Dropout1d(_Dropout):
    """:class:`Dropout` of whole channels.

    Args:
        p: in [0, 1].
        inplace: whether to write into the input.

    Shape: (batch, channels, length) or (channels, length).
    """

    _function = staticmethod(functional.dropout1d)


class Dropout2d(_Dropout):
    """:class:`Dropout` of whole channels.

    Args:
        p: in [0, 1].
        inplace: whether to write into the input.

    Shape: (batch, channels, height, width), or (batch, channels, length).
    """

    _function = staticmethod(functional.dropout2d)


class Dropout3d(_Dropout):
    """:class:`Dropout` of whole channels.

    Args:
        p: in [0, 1].
        inplace: whether to write into the input.

    Shape: (batch, channels, depth, height, width), or without batch.
    """

    _function = staticmethod(functional.dropout3d)
