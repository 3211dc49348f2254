"""The generalized Pareto distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all, draw


class GeneralizedPareto(Distribution):
    """Numbers above ``loc`` with ``P(X > x) = (1 + k z)**(-1 / k)``, ``z = (x - loc) / scale``; ``exp(-z)`` for k = 0.

    Args:
        loc: the smallest number.
        scale: positive.
        concentration: k; for a negative one the largest number is ``loc - scale / k``.

    >>> import fastnn
    >>> from fastnn.distributions import GeneralizedPareto
    >>> GeneralizedPareto(0.0, 1.0, 1.0).cdf(fastnn.tensor(1.0))
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real,
    }  # fmt: skip
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        falling = self.concentration < 0
        last = self.loc - self.scale / self.concentration.masked_fill(~falling, -1.0)
        return constraints.interval(self.loc, last.masked_fill(~falling, math.inf))

    def _shape(self) -> tuple[Tensor, Tensor]:
        """Where k is 0, up to roundings, and k with 1 there."""
        flat = self.concentration.abs() <= 1e-8
        return flat, self.concentration.masked_fill(flat, 1.0)

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    @property
    def mean(self) -> Tensor:
        infinite = self.concentration >= 1
        k = self.concentration.masked_fill(infinite, 0.0)
        return (self.loc + self.scale / (1 - k)).masked_fill(infinite, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        infinite = self.concentration >= 0.5
        k = self.concentration.masked_fill(infinite, 0.0)
        return (self.scale**2 / ((1 - k) ** 2 * (1 - 2 * k))).masked_fill(infinite, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(draw("random", self._sizes(sample_shape), self.loc._data.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        (flat, k), z = self._shape(), self._z(value)
        return -self.scale.log() - fastnn.where(flat, z, (1 / k + 1) * (k * z).log1p())

    def log_survival_function(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of values above ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        (flat, k), z = self._shape(), self._z(value)
        return -fastnn.where(flat, z, (k * z).log1p() / k)

    def cdf(self, value: Tensor) -> Tensor:
        return -self.log_survival_function(value).expm1()

    def log_cdf(self, value: Tensor) -> Tensor:
        """The logarithm of ``cdf``."""
        return self.cdf(value).log()

    def icdf(self, value: Tensor) -> Tensor:
        flat, k = self._shape()
        logarithm = (-value).log1p()
        return self.loc + self.scale * fastnn.where(flat, -logarithm, (-k * logarithm).expm1() / k)

    def entropy(self) -> Tensor:
        return self.scale.log() + self.concentration + 1
