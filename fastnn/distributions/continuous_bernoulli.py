"""The continuous Bernoulli distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.bernoulli import _softplus
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    broadcast_all,
    clamp_probs,
    draw,
    either,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from fastnn.distributions.exp_family import ExponentialFamily


class ContinuousBernoulli(ExponentialFamily):
    """Numbers in [0, 1] with density proportional to ``probs**x (1 - probs)**(1 - x)``.

    G. Loaiza-Ganem and J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders", 2019. Near ``probs == 0.5``, where the formulas are 0 / 0, their Taylor series are used.

    Args:
        probs: the parameter, in (0, 1); or
        logits: its log-odds.
        lims: between these values of ``probs`` the series are used.

    >>> from fastnn.distributions import ContinuousBernoulli
    >>> ContinuousBernoulli(0.5).mean
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support: Constraint = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(
        self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if either("probs", probs, "logits", logits):
            (given,) = broadcast_all(probs)
            # By default a number outside [0, 1] becomes the nearest inside, as in PyTorch.
            if validate_args and not self.arg_constraints["probs"].check(given).all():
                raise ValueError(f"The parameter probs has invalid values: expected numbers in [0, 1], found\n{given}")
            self.probs = given = clamp_probs(given)
        else:
            (self.logits,) = (given,) = broadcast_all(logits)
        self._lims = lims
        super().__init__(given.shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """The log-odds of the parameter."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The parameter."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    @property
    def _param(self) -> Tensor:
        return self.probs if "probs" in self.__dict__ else self.logits

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._param.new(*args, **kwargs)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._param.shape

    def _outside_unstable_region(self) -> Tensor:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self) -> Tensor:
        """The parameter, or a bound of the region where the series are used."""
        return fastnn.where(self._outside_unstable_region(), self.probs, self._lims[0])

    def _either(self, formula: Tensor, series: Tensor) -> Tensor:
        return fastnn.where(self._outside_unstable_region(), formula, series)

    def _cont_bern_log_norm(self) -> Tensor:
        """The logarithm of ``2 artanh(1 - 2 probs) / (1 - 2 probs)``."""
        cut = self._cut_probs()
        formula = ((-cut).log1p() - cut.log()).abs().log() - (1 - 2 * cut).abs().log()
        x = (self.probs - 0.5) ** 2
        return self._either(formula, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self) -> Tensor:
        cut, x = self._cut_probs(), self.probs - 0.5
        formula = cut / (2 * cut - 1) + 1 / ((-cut).log1p() - cut.log())
        return self._either(formula, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x)

    @property
    def variance(self) -> Tensor:
        cut, x = self._cut_probs(), (self.probs - 0.5) ** 2
        formula = cut * (cut - 1) / (1 - 2 * cut) ** 2 + 1 / ((-cut).log1p() - cut.log()) ** 2
        return self._either(formula, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(draw("random", self._sizes(sample_shape), self.probs._data.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * value - _softplus(self.logits) + self._cont_bern_log_norm()

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        cut = self._cut_probs()
        formula = (cut**value * (1 - cut) ** (1 - value) + cut - 1) / (2 * cut - 1)
        inside = self._either(formula, value)
        return inside.masked_fill(value <= 0, 0.0).masked_fill(value >= 1, 1.0)

    def icdf(self, value: Tensor) -> Tensor:
        cut = self._cut_probs()
        formula = ((-cut + value * (2 * cut - 1)).log1p() - (-cut).log1p()) / (cut.log() - (-cut).log1p())
        return self._either(formula, value)

    def entropy(self) -> Tensor:
        first, second = (-self.probs).log1p(), self.probs.log()
        return self.mean * (first - second) - self._cont_bern_log_norm() - first

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        (x,) = natural_params
        low, high = (limit - 0.5 for limit in self._lims)
        outside = (x <= low) | (x > high)
        cut = fastnn.where(outside, x, low)
        formula = cut.expm1().abs().log() - cut.abs().log()
        return fastnn.where(outside, formula, 0.5 * x + x**2 / 24.0 - x**4 / 2880.0)
