"""The binomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import fastnn
from fastnn._core import capture_state
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.bernoulli import _softplus
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    Distribution,
    broadcast_all,
    either,
)
from fastnn.distributions.success import OfSuccesses
from fastnn.ops.gamma_sampling import binomial


class Binomial(OfSuccesses, Distribution):
    """The number of successes of n trials: k with probability ``n! / (k! (n - k)!) p**k (1 - p)**(n - k)``.

    Args:
        total_count: the number n of trials, one or one for each distribution.
        probs: the probability p of a success, in [0, 1]; or
        logits: its log-odds.

    >>> import fastnn
    >>> from fastnn.distributions import Binomial
    >>> Binomial(2, fastnn.tensor(0.5)).log_prob(fastnn.tensor(1.0)).exp()
    tensor(0.5000)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if either("probs", probs, "logits", logits):
            self.total_count, self.probs = broadcast_all(total_count, probs)
            given = self.probs
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
            given = self.logits
        self.total_count = self.total_count.to(given.dtype)
        super().__init__(given.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return fastnn.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sizes(sample_shape)
        return binomial(self.total_count.detach().expand(*shape), self.probs.detach().expand(*shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        ways = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        return ways + value * self.logits - n * _softplus(self.logits)

    def entropy(self) -> Tensor:
        self._count("entropy")
        logs = self.log_prob(self.enumerate_support(False))
        return -(logs.exp() * logs).sum(0)

    def _count(self, name: str) -> int:
        """The number of trials; NotImplementedError unless all distributions have the same."""
        capture_state.stop("a number is read in Python")
        most = int(self.total_count.max())
        if int(self.total_count.min()) != most:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{name}`.")
        return most

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = 1 + self._count("enumerate_support")
        values = fastnn.arange(n, dtype=self._param.dtype).reshape(n, *[1] * len(self._batch_shape))
        return values.expand(n, *self._batch_shape) if expand else values
