"""The Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions.distribution import draw
from fastnn.distributions.location_scale import Symmetric


class Cauchy(Symmetric):
    """Numbers with density ``1 / (pi scale (1 + ((x - loc) / scale)**2))``.

    Args:
        loc: the median.
        scale: half of the width at half of the height, positive.

    >>> import fastnn
    >>> from fastnn.distributions import Cauchy
    >>> Cauchy(0.0, 1.0).cdf(fastnn.tensor(1.0))
    tensor(0.7500)
    """

    @property
    def mean(self) -> Tensor:
        return fastnn.full_like(self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        return fastnn.full_like(self.loc, math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        points = draw("random", self._sizes(sample_shape), self.loc._data.dtype)
        return self.loc + ((points - 0.5) * math.pi).tan() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()
