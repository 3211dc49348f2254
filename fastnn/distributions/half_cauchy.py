"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.cauchy import Cauchy
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import AbsTransform


class HalfCauchy(TransformedDistribution):
    """The absolute values of numbers with the distribution ``Cauchy(0, scale)``.

    The density is ``2 / (pi scale (1 + (x / scale)**2))``.

    Args:
        scale: the scale of :class:`Cauchy`, positive.

    >>> import fastnn
    >>> from fastnn.distributions import HalfCauchy
    >>> HalfCauchy(1.0).cdf(fastnn.tensor(1.0))
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"scale": constraints.positive}
    support: Constraint = constraints.nonnegative
    has_rsample = True
    base_dist: Cauchy

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The scale of the distribution with both signs."""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        return fastnn.full_like(self.scale, math.inf)

    @property
    def mode(self) -> Tensor:
        return fastnn.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        both = self.base_dist.log_prob(value) + math.log(2)
        return both.masked_fill((value < 0).expand(*both.shape), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, prob: Tensor) -> Tensor:
        return self.base_dist.icdf((prob + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)
