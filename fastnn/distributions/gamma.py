"""The gamma distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._autograd.engine import Node
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import broadcast_all
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.ops.gamma_sampling import _standard_gamma, without_derivative
from fastnn.ops.implicit_gradients import standard_gamma_slope


class Gamma(ExponentialFamily):
    """Positive numbers with density ``rate**a x**(a - 1) exp(-rate x) / gamma(a)``, where a is ``concentration``.

    Draws are differentiable with respect to both parameters (see ``fastnn.ops.implicit_gradients``).

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
    has_rsample = True
    _mean_carrier_measure = 0

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

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return _standard_gamma(self.concentration.expand(*self._sizes(sample_shape))) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            # PyTorch takes numbers here, and only here.
            value = fastnn.as_tensor(value, dtype=self.rate.dtype)
        if self._validate_args:
            self._validate_sample(value)
        a, rate = self.concentration, self.rate
        return fastnn.xlogy(a, rate) + fastnn.xlogy(a - 1, value) - rate * value - a.lgamma()

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return _gammainc(*broadcast_all(self.concentration, self.rate * value))

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        x, y = natural_params
        return (x + 1).lgamma() + (x + 1) * (-y.reciprocal()).log()


def _gammainc(a: Tensor, x: Tensor) -> Tensor:
    """The distribution function of the gamma distribution of rate 1, differentiable once."""
    from scipy import special

    result = np.asarray(special.gammainc(a._data, x._data))
    if not _recorded(a, x):
        return _wrap(result)

    def run(grad: Tensor) -> tuple[Tensor, Tensor]:
        density = (fastnn.xlogy(a - 1, x) - x - a.lgamma()).exp()
        slope = without_derivative("igamma", standard_gamma_slope(a._data, x._data).astype(result.dtype), a, x)
        return -grad * density * slope, grad * density

    return _wrap(result, Node("Igamma", (a, x), run, (a, x)))
