"""The base of the half-normal and half-Cauchy distributions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.transformed_distribution import TransformedDistribution


class Half(TransformedDistribution):
    """The absolute values of numbers with a distribution that is symmetric about 0, ``base_dist``."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {"scale": constraints.positive}
    support: Constraint = constraints.nonnegative
    has_rsample = True
    base_dist: Any

    @property
    def scale(self) -> Tensor:
        """The scale of the distribution with both signs."""
        return self.base_dist.scale

    @property
    def mode(self) -> Tensor:
        return fastnn.zeros_like(self.scale)

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
