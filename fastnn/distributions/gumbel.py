"""The Gumbel distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._core.dtypes import limits
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import broadcast_all
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import AffineTransform, ExpTransform
from fastnn.distributions.uniform import Uniform
from fastnn.distributions.utils import euler_constant


class Gumbel(TransformedDistribution):
    """Numbers with the distribution function ``exp(-exp(-(x - loc) / scale))``.

    Args:
        loc: the mode.
        scale: positive.

    >>> from fastnn.distributions import Gumbel
    >>> Gumbel(0.0, 1.0).mean
    tensor(0.5772)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"loc": constraints.real, "scale": constraints.positive}
    support: Constraint = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        kind = limits(self.loc._data.dtype)
        low, high = (fastnn.full_like(self.loc.detach(), float(b)) for b in (kind.tiny, 1 - kind.eps))
        transforms = [
            ExpTransform().inv, AffineTransform(loc=0, scale=-fastnn.ones_like(self.scale)),
            ExpTransform().inv, AffineTransform(loc=self.loc, scale=-self.scale),
        ]  # fmt: skip
        super().__init__(Uniform(low, high, validate_args=False), transforms, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        z = (self.loc - value) / self.scale
        return z - z.exp() - self.scale.log()

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev**2

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + euler_constant)
