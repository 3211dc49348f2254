"""The gamma distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all
from fastnn.random import default_generator


def standard_gamma(concentration: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Positive draws from gamma distributions of rate 1, in the dtype of ``concentration``."""
    drawn = default_generator().numpy.standard_gamma(concentration.astype(np.float64), shape)
    return np.maximum(np.asarray(drawn).astype(concentration.dtype), np.finfo(concentration.dtype).tiny)


class Gamma(Distribution):
    """Positive numbers with density ``rate**a x**(a - 1) exp(-rate x) / gamma(a)``, where a is ``concentration``.

    Unlike PyTorch there is no ``rsample``, only ``sample``.

    Args:
        concentration: the shape parameter, positive.
        rate: positive.

    >>> from fastnn.distributions import Gamma
    >>> Gamma(3.0, 2.0).mean
    tensor(1.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "concentration": constraints.positive, "rate": constraints.positive,
    }  # fmt: skip
    support: Constraint = constraints.nonnegative

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate**2

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return _wrap(standard_gamma(self.concentration.detach()._data, shape) / self.rate.detach()._data)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_sample(value)
        a, rate = self.concentration, self.rate
        return fastnn.xlogy(a, rate) + fastnn.xlogy(a - 1, value) - rate * value - a.lgamma()

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of values up to ``value``, without a gradient."""
        from scipy import special

        self._check_sample(value)
        scaled = np.asarray((self.rate * value).detach()._data)
        return _wrap(np.asarray(special.gammainc(self.concentration.detach()._data, scaled)))

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()
