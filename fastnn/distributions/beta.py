"""The beta distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all
from fastnn.distributions.gamma import standard_gamma


class Beta(Distribution):
    """Numbers in [0, 1] with density proportional to ``x**(a - 1) (1 - x)**(b - 1)``.

    Unlike PyTorch there is no ``rsample``, only ``sample``.

    Args:
        concentration1, concentration0: a and b, positive.

    >>> from fastnn.distributions import Beta
    >>> Beta(1.0, 3.0).mean
    tensor(0.2500)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip
    support: Constraint = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1.detach()._data, self.concentration0.detach()._data
        with np.errstate(all="ignore"):
            inside = np.maximum(a - 1, 0) / (np.maximum(a - 1, 0) + np.maximum(b - 1, 0))
        # Without an interior peak, the end with the larger exponent.
        return _wrap(np.where((a < 1) & (b < 1), (a >= b).astype(a.dtype), inside))

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        a, b = (standard_gamma(c.detach()._data, shape) for c in (self.concentration1, self.concentration0))
        return _wrap(a / (a + b))

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_sample(value)
        a, b = self.concentration1, self.concentration0
        return fastnn.xlogy(a - 1, value) + fastnn.xlogy(b - 1, 1 - value) + (a + b).lgamma() - a.lgamma() - b.lgamma()

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        total = a + b
        size = a.lgamma() + b.lgamma() - total.lgamma()
        return size - (2 - total) * total.digamma() - (a - 1) * a.digamma() - (b - 1) * b.digamma()
