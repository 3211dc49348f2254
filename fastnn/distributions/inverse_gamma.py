"""The inverse gamma distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.gamma import Gamma
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import PowerTransform


class InverseGamma(TransformedDistribution):
    """Numbers whose reciprocals have the distribution :class:`Gamma`.

    The density is ``r**a x**(-a - 1) exp(-r / x) / gamma(a)``.

    Args:
        concentration: a, positive.
        rate: r, positive.

    >>> from fastnn.distributions import InverseGamma
    >>> InverseGamma(3.0, 1.0).mean
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "concentration": constraints.positive, "rate": constraints.positive,
    }  # fmt: skip
    support: Constraint = constraints.positive
    has_rsample = True
    base_dist: Gamma
    _checked_inside = ("concentration", "rate")

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(base.rate.new_full((), -1.0)), validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:
        """The parameter a."""
        return self.base_dist.concentration

    @property
    def rate(self) -> Tensor:
        """The parameter r."""
        return self.base_dist.rate

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return (self.rate / (a - 1)).masked_fill(a <= 1, math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        return (self.rate**2 / ((a - 1) ** 2 * (a - 2))).masked_fill(a <= 2, math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()
