"""Transforms of single numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.distribution import Distribution, broadcast_all, lazy_property, sum_rightmost
from fastnn.distributions.transforms.transform import IncreasingTransform, PlainTransform, Transform
from fastnn.nn.functional import softplus


class ExpTransform(IncreasingTransform):
    """``y = exp(x)``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ExpTransform
    >>> ExpTransform()(fastnn.tensor(0.0))
    tensor(1.)
    """

    codomain: Any = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


def _number_shape(shape: Any, *parameters: Any) -> Any:
    shapes = [p.shape for p in parameters if isinstance(p, Tensor)]
    return fastnn.broadcast_shapes(shape, *shapes) if shapes else shape


def _same(first: Any, second: Any) -> bool:
    """Whether two parameters, numbers or tensors, are equal."""
    equal = first == second
    return bool(equal.all()) if isinstance(equal, Tensor) else bool(equal)


class PowerTransform(Transform):
    """``y = x ** exponent`` for positive x.

    Args:
        exponent: a number or a tensor, not 0.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import PowerTransform
    >>> PowerTransform(2.0)(fastnn.tensor(3.0))
    tensor(9.)
    """

    domain: Any = constraints.positive
    codomain: Any = constraints.positive
    bijective = True

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        (self.exponent,) = broadcast_all(exponent)

    def with_cache(self, cache_size: int = 1) -> Any:
        return self if self._cache_size == cache_size else PowerTransform(self.exponent, cache_size=cache_size)

    @lazy_property
    def sign(self) -> Any:
        """The sign of the exponent."""
        return self.exponent.sign()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and _same(self.exponent, other.exponent)

    __hash__ = None

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.exponent)

    def inverse_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.exponent)


class SigmoidTransform(IncreasingTransform):
    """``y = 1 / (1 + exp(-x))``, and ``x = log(y) - log(1 - y)``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import SigmoidTransform
    >>> SigmoidTransform()(fastnn.tensor(0.0))
    tensor(0.5000)
    """

    codomain: Any = constraints.unit_interval

    def _call(self, x: Tensor) -> Tensor:
        kind = np.finfo(x._data.dtype)
        return x.sigmoid().clamp(min=float(kind.tiny), max=1.0 - float(kind.eps))

    def _inverse(self, y: Tensor) -> Tensor:
        kind = np.finfo(y._data.dtype)
        y = y.clamp(min=float(kind.tiny), max=1.0 - float(kind.eps))
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -softplus(-x) - softplus(x)


class SoftplusTransform(IncreasingTransform):
    """``y = log(1 + exp(x))``, and y = x above 20.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import SoftplusTransform
    >>> SoftplusTransform()(fastnn.tensor(0.0))
    tensor(0.6931)
    """

    codomain: Any = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -softplus(-x)


class TanhTransform(IncreasingTransform):
    """``y = tanh(x)``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import TanhTransform
    >>> TanhTransform()(fastnn.tensor(0.0))
    tensor(0.)
    """

    codomain: Any = constraints.interval(-1.0, 1.0)

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        # log(1 - tanh(x)**2) without cancellation.
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))


class AbsTransform(PlainTransform):
    """``y = abs(x)``; the inverse is the positive one of the two.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import AbsTransform
    >>> AbsTransform()(fastnn.tensor(-2.0))
    tensor(2.)
    """

    domain: Any = constraints.real
    codomain: Any = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """``y = loc + scale * x``.

    Args:
        loc, scale: numbers or tensors; ``scale`` not 0.
        event_dim: the number of dimensions of one argument: 0 for numbers, 1 for vectors.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import AffineTransform
    >>> AffineTransform(1.0, 2.0)(fastnn.tensor(3.0))
    tensor(7.)
    """

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        """The number of dimensions of one argument."""
        return self._event_dim

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Any:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Any:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return AffineTransform(self.loc, self.scale, self._event_dim, cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AffineTransform) and _same(self.loc, other.loc) and _same(self.scale, other.scale)
        )

    __hash__ = None

    @property
    def sign(self) -> Any:
        if isinstance(self.scale, Tensor):
            return self.scale.sign()
        return (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.scale, Tensor):
            each = self.scale.abs().log()
        else:
            each = fastnn.full_like(x, math.log(abs(self.scale)))
        shape = x.shape
        if self._event_dim:
            # One term for each element of an event, summed over it.
            each = sum_rightmost(each.expand(*np.broadcast_shapes(each.shape, shape)), self._event_dim)
            shape = shape[: -self._event_dim]
        return each.expand(*np.broadcast_shapes(each.shape, shape))

    def forward_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.loc, self.scale)

    def inverse_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.loc, self.scale)


class CumulativeDistributionTransform(Transform):
    """The distribution function of a distribution of numbers.

    Args:
        distribution: with ``cdf``, ``icdf`` and ``log_prob``.

    >>> import fastnn
    >>> from fastnn.distributions import Normal
    >>> from fastnn.distributions.transforms import CumulativeDistributionTransform
    >>> CumulativeDistributionTransform(Normal(0.0, 1.0))(fastnn.tensor(0.0))
    tensor(0.5000)
    """

    bijective = True
    codomain: Any = constraints.unit_interval
    sign = 1

    def __init__(self, distribution: Distribution, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Any:
        """The support of the distribution."""
        return self.distribution.support

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distribution.log_prob(x)

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return CumulativeDistributionTransform(self.distribution, cache_size=cache_size)
