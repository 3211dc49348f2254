"""The half-normal distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.normal import Normal
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import AbsTransform


class HalfNormal(TransformedDistribution):
    """The absolute values of numbers with the distribution ``Normal(0, scale)``.

    The density is ``exp(-(x / scale)**2 / 2) sqrt(2 / pi) / scale``.

    Args:
        scale: the scale of :class:`Normal`, positive.

    >>> import fastnn
    >>> from fastnn.distributions import HalfNormal
    >>> HalfNormal(1.0).log_prob(fastnn.tensor(0.0))
    tensor(-0.2258)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"scale": constraints.positive}
    support: Constraint = constraints.nonnegative
    has_rsample = True
    base_dist: Normal

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The scale of the distribution with both signs."""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Tensor:
        return fastnn.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return self.scale**2 * (1 - 2 / math.pi)

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
