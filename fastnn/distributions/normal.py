"""The normal distribution."""

from __future__ import annotations

import math
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.distributions.distribution import draw
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.distributions.location_scale import Symmetric


class Normal(Symmetric, ExponentialFamily):
    """Numbers with density ``exp(-((x - loc) / scale)**2 / 2) / (scale sqrt(2 pi))``.

    Args:
        loc: the mean.
        scale: the standard deviation, positive.

    >>> import fastnn
    >>> from fastnn.distributions import Normal
    >>> Normal(0.0, 1.0).log_prob(fastnn.tensor([0.0, 1.0]))
    tensor([-0.9189, -1.4189])
    """

    _mean_carrier_measure = 0

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = draw("standard_normal", self._sizes(sample_shape), self.loc._data.dtype)
        return self.loc + noise * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 0.5 * (1 + ((value - self.loc) / self.scale / math.sqrt(2)).erf())

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.loc / self.scale**2, -0.5 / self.scale**2

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        x, y = natural_params
        return -0.25 * x**2 / y + 0.5 * (-math.pi / y).log()
