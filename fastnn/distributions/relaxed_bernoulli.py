"""Relaxations of the Bernoulli distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.bernoulli import _softplus
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    Distribution,
    broadcast_all,
    clamp_probs,
    draw,
    either,
)
from fastnn.distributions.success import OfSuccesses
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import SigmoidTransform

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]


class LogitRelaxedBernoulli(OfSuccesses, Distribution):
    """The log-odds of :class:`RelaxedBernoulli` numbers: logistic ones with mean ``logits / t``, scaled by ``1 / t``.

    Args:
        temperature: t, positive.
        probs: the probability of 1, in [0, 1]; or
        logits: the log-odds of 1.

    >>> import fastnn
    >>> from fastnn.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
    >>> LogitRelaxedBernoulli(fastnn.tensor(1.0), probs=0.5).log_prob(fastnn.tensor(0.0)).exp()
    tensor(0.2500)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support: Constraint = constraints.real

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        if either("probs", probs, "logits", logits):
            (self.probs,) = (given,) = broadcast_all(probs)
        else:
            (self.logits,) = (given,) = broadcast_all(logits)
        super().__init__(given.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        probs = clamp_probs(self.probs)
        points = clamp_probs(draw("random", self._sizes(sample_shape), probs._data.dtype))
        return (points.log() - (-points).log1p() + probs.log() - (-probs).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value, t = broadcast_all(self.logits, value, self.temperature)
        distance = logits - value * t
        return t.log() + distance - 2 * _softplus(distance)


class RelaxedBernoulli(TransformedDistribution):
    """Numbers in (0, 1) that approach :class:`Bernoulli` ones at small temperatures, with draws that pass gradients.

    C. J. Maddison, A. Mnih and Y. W. Teh, "The concrete distribution", 2017; E. Jang, S. Gu and B. Poole,
    "Categorical reparameterization with Gumbel-softmax", 2017.

    Args:
        temperature: positive.
        probs: the probability of 1, in [0, 1]; or
        logits: the log-odds of 1.

    >>> import fastnn
    >>> from fastnn.distributions import RelaxedBernoulli
    >>> RelaxedBernoulli(fastnn.tensor(1.0), probs=0.5).log_prob(fastnn.tensor(0.5)).exp()
    tensor(1.)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support: Constraint = constraints.unit_interval
    has_rsample = True
    base_dist: LogitRelaxedBernoulli
    # Those of the base distribution.
    _stored = ()
    _checked_inside = ("probs", "logits")

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """The temperature."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """The log-odds of 1."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """The probability of 1."""
        return self.base_dist.probs
