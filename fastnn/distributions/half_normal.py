"""The half-normal distribution."""

from __future__ import annotations

import math
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.distributions.half import Half
from fastnn.distributions.normal import Normal
from fastnn.distributions.transforms import AbsTransform


class HalfNormal(Half):
    """The absolute values of numbers with the distribution ``Normal(0, scale)``.

    The density is ``exp(-(x / scale)**2 / 2) sqrt(2 / pi) / scale``.

    Args:
        scale: the scale of :class:`Normal`, positive.

    >>> import fastnn
    >>> from fastnn.distributions import HalfNormal
    >>> HalfNormal(1.0).log_prob(fastnn.tensor(0.0))
    tensor(-0.2258)
    """

    base_dist: Normal

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale**2 * (1 - 2 / math.pi)
