"""The log-normal distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.normal import Normal
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import ExpTransform


class LogNormal(TransformedDistribution):
    """Numbers whose logarithm is normally distributed.

    Args:
        loc: the mean of the logarithm.
        scale: the standard deviation of the logarithm, positive.

    >>> from fastnn.distributions import LogNormal
    >>> LogNormal(0.0, 1.0).mean
    tensor(1.6487)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"loc": constraints.real, "scale": constraints.positive}
    support: Constraint = constraints.positive
    has_rsample = True
    base_dist: Normal
    _checked_inside = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.base_dist, self.transforms = Normal(loc, scale, validate_args=validate_args), [ExpTransform()]
        # The values that the constructor of the base class would compute.
        super(TransformedDistribution, self).__init__(self.base_dist._batch_shape, validate_args=validate_args)

    @property
    def loc(self) -> Tensor:
        """The mean of the logarithm."""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """The standard deviation of the logarithm."""
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale**2 / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale**2).exp()

    @property
    def variance(self) -> Tensor:
        return (self.scale**2).expm1() * (2 * self.loc + self.scale**2).exp()

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc
