"""Distributions of transformed random variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fastnn._autograd.modes import no_grad
from fastnn._core.size import Size
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, sum_rightmost
from fastnn.distributions.independent import Independent
from fastnn.distributions.transforms import ComposeTransform, Transform

__all__ = ["TransformedDistribution"]


class TransformedDistribution(Distribution):
    """The distribution of ``y = f(x)`` for x with a base distribution: ``log p(y) = log p(x) - log |det dy/dx|``.

    Args:
        base_distribution: that of x.
        transforms: f, or several functions, the first one first.

    Raises: ValueError for anything but transforms, or if draws have fewer dimensions than f takes.

    >>> import fastnn
    >>> from fastnn.distributions import AffineTransform, Normal, TransformedDistribution
    >>> TransformedDistribution(Normal(0.0, 1.0), AffineTransform(1.0, 2.0)).cdf(fastnn.tensor(1.0))
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if isinstance(transforms, Transform):
            self.transforms = [transforms]
        elif not isinstance(transforms, list):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        elif not all(isinstance(t, Transform) for t in transforms):
            kinds = [type(t).__name__ for t in transforms]
            raise ValueError(f"transforms must be a Transform or a list of Transforms, found {kinds}")
        else:
            self.transforms = transforms
        shape = base_distribution.batch_shape + base_distribution.event_shape
        own_dim, transform = len(base_distribution.event_shape), ComposeTransform(self.transforms)
        needed = transform.domain.event_dim
        if len(shape) < needed:
            raise ValueError(
                f"base_distribution needs to have shape with size at least {needed}, but got {tuple(shape)}."
            )
        result = transform.forward_shape(shape)
        larger = transform.inverse_shape(result)
        if tuple(larger) != tuple(shape):
            base_distribution = base_distribution.expand(larger[: len(larger) - own_dim])
        if needed > own_dim:
            base_distribution = Independent(base_distribution, needed - own_dim)
        self.base_dist = base_distribution
        given = transform.codomain.event_dim
        cut = len(result) - max(given, own_dim + given - needed)
        super().__init__(result[:cut], result[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        shape = Size((*batch_shape, *self._event_shape))
        for t in reversed(self.transforms):
            shape = t.inverse_shape(shape)
        new.base_dist = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        return new

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        if not self.transforms:
            return self.base_dist.support
        own = self.transforms[-1].codomain
        more = len(self._event_shape) - own.event_dim
        return constraints.independent(own, more) if more > 0 else own

    @property
    def has_rsample(self) -> bool:
        """Whether draws are differentiable."""
        return self.base_dist.has_rsample

    def _transformed(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return self._transformed(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._transformed(self.base_dist.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        dim, y, total = len(self._event_shape), value, None
        for t in reversed(self.transforms):
            x = _inverted(t, y)
            dim += t.domain.event_dim - t.codomain.event_dim
            term = sum_rightmost(t.log_abs_det_jacobian(x, y), dim - t.domain.event_dim)
            total, y = -term if total is None else total - term, x
        base = sum_rightmost(self.base_dist.log_prob(y), dim - len(self.base_dist.event_shape))
        return base if total is None else total + base

    def _monotonize_cdf(self, value: Tensor) -> Tensor:
        """``value``, or ``1 - value`` where the transforms decrease."""
        sign: Any = 1
        for t in self.transforms:
            sign = sign * t.sign
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def cdf(self, value: Tensor) -> Tensor:
        for t in reversed(self.transforms):
            value = _inverted(t, value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._monotonize_cdf(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        return self._transformed(self.base_dist.icdf(self._monotonize_cdf(value)))


def _inverted(t: Transform, y: Tensor) -> Tensor:
    """``t.inv(y)``; without the inverse transform, where the class has no other."""
    return t._inv_call(y) if type(t).inv is Transform.inv else t.inv(y)
