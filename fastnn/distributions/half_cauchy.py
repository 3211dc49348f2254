"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions.cauchy import Cauchy
from fastnn.distributions.half import Half
from fastnn.distributions.transforms import AbsTransform


class HalfCauchy(Half):
    """The absolute values of numbers with the distribution ``Cauchy(0, scale)``.

    The density is ``2 / (pi scale (1 + (x / scale)**2))``.

    Args:
        scale: the scale of :class:`Cauchy`, positive.

    >>> import fastnn
    >>> from fastnn.distributions import HalfCauchy
    >>> HalfCauchy(1.0).cdf(fastnn.tensor(1.0))
    tensor(0.5000)
    """

    base_dist: Cauchy

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return fastnn.full_like(self.scale, math.inf)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance
