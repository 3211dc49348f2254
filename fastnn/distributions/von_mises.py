"""The von Mises distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all, lazy_property
from fastnn.random import default_generator
from fastnn.special import i0e, i1e

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles in [-pi, pi) with density ``exp(k cos(x - loc)) / (2 pi I0(k))``, where I0 is a Bessel function.

    Args:
        loc: the mean angle.
        concentration: k, positive.

    >>> import fastnn
    >>> from fastnn.distributions import VonMises
    >>> VonMises(0.0, 1.0).log_prob(fastnn.tensor(0.0))
    tensor(-1.0738)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"loc": constraints.real, "concentration": constraints.positive}
    support: Constraint = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, (), validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        # log(I0(k)) is log(i0e(k)) + k.
        return k * ((value - self.loc).cos() - 1) - math.log(2 * math.pi) - i0e(k).log()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        loc, k = self.loc.detach()._data, self.concentration.detach()._data.astype(np.float64)
        drawn = default_generator().numpy.vonmises(0.0, k, self._sizes(sample_shape)) + loc
        return _wrap(np.asarray((drawn + math.pi) % (2 * math.pi) - math.pi).astype(loc.dtype))

    @property
    def mean(self) -> Tensor:
        """The mean angle."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Any:
        """The circular variance, ``1 - I1(k) / I0(k)``."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        # That of the smaller batch.
        new.__dict__.pop("variance", None)
        return new
