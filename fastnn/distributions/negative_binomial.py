"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import fastnn
from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    Distribution,
    broadcast_all,
    either,
)
from fastnn.distributions.gamma import Gamma
from fastnn.distributions.success import OfSuccesses
from fastnn.nn.functional import logsigmoid


class NegativeBinomial(OfSuccesses, Distribution):
    """The number of successes before n failures: k with probability ``gamma(n + k) / (k! gamma(n)) (1 - p)**n p**k``.

    Args:
        total_count: n, not negative; need not be an integer.
        probs: the probability p of a success, in [0, 1); or
        logits: its log-odds.

    >>> import fastnn
    >>> from fastnn.distributions import NegativeBinomial
    >>> NegativeBinomial(3.0, fastnn.tensor(0.5)).mean
    tensor(3.)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip
    support: Constraint = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if either("probs", probs, "logits", logits):
            self.total_count, self.probs = broadcast_all(total_count, probs)
            given = self.probs
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
            given = self.logits
        self.total_count = self.total_count.to(given.dtype)
        super().__init__(given.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    @property
    def _gamma(self) -> Gamma:
        """The distribution of the rate of a Poisson distribution: the mixture is the negative binomial one."""
        return Gamma(self.total_count, (-self.logits).exp(), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return fastnn.poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        chances = n * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        ways = (n + value).lgamma() - (1 + value).lgamma() - n.lgamma()
        # No failure to wait for: always 0 successes.
        return chances + ways.masked_fill(n + value == 0, 0.0)
