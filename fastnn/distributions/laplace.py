"""The Laplace distribution."""

from __future__ import annotations

import math
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.distributions.distribution import draw
from fastnn.distributions.location_scale import Symmetric


class Laplace(Symmetric):
    """Numbers with density ``exp(-|x - loc| / scale) / (2 scale)``.

    Args:
        loc: the mean.
        scale: the mean distance from it, positive.

    >>> from fastnn.distributions import Laplace
    >>> Laplace(0.0, 1.0).variance
    tensor(2.)
    """

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale**2

    @property
    def stddev(self) -> Tensor:
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        # Uniform in [-1, 1): the sign is that of the result, the magnitude a probability.
        points = draw("random", self._sizes(sample_shape), self.loc._data.dtype) * 2 - 1
        size = points.abs().clamp(max=1 - 2.0**-24)
        return self.loc - self.scale * points.sign() * (-size).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = value - self.loc
        return 0.5 - 0.5 * distance.sign() * (-distance.abs() / self.scale).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        middle = value - 0.5
        return self.loc - self.scale * middle.sign() * (-2 * middle.abs()).log1p()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()
