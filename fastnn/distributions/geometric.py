"""The geometric distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import fastnn
from fastnn._core.dtypes import limits
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.bernoulli import _softplus
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    Distribution,
    broadcast_all,
    draw,
    either,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)


class Geometric(Distribution):
    """The number of failures before the first success: k with probability ``(1 - p)**k p``.

    Args:
        probs: the probability p of a success, in (0, 1]; or
        logits: its log-odds.

    >>> import fastnn
    >>> from fastnn.distributions import Geometric
    >>> Geometric(0.25).mean
    tensor(3.)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support: Constraint = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        is_probs = either("probs", probs, "logits", logits)
        if is_probs:
            (self.probs,) = (given,) = broadcast_all(probs)
        else:
            (self.logits,) = (given,) = broadcast_all(logits)
        super().__init__(given.shape, validate_args=validate_args)
        if self._validate_args and is_probs and not (given._data > 0).all():
            raise ValueError(
                f"Expected parameter probs ({type(given).__name__} of shape {tuple(given.shape)}) of distribution "
                f"{self!r} to be positive but found invalid values:\n{given}"
            )

    @lazy_property
    def logits(self) -> Tensor:
        """The log-odds of a success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of a success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Tensor:
        return fastnn.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        probs = self.probs.detach()
        points = draw("random", self._sizes(sample_shape), probs._data.dtype)
        return (points.clamp(min=float(limits(points._data.dtype).tiny)).log() / (-probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        # 0 * log(0) is 0.
        failures = probs.masked_fill((probs == 1) & (value == 0), 0.0)
        return value * (-failures).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        return (_softplus(self.logits) - self.logits * self.probs) / self.probs
