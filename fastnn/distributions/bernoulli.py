"""The Bernoulli distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    broadcast_all,
    draw,
    either,
)
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.distributions.success import OfSuccesses
from fastnn.nn.functional import logsigmoid


class Bernoulli(OfSuccesses, ExponentialFamily):
    """1 with a probability, otherwise 0.

    Args:
        probs: the probability of 1, in [0, 1]; or
        logits: the log-odds of 1.

    >>> import fastnn
    >>> from fastnn.distributions import Bernoulli
    >>> Bernoulli(fastnn.tensor([0.5, 1.0])).mean
    tensor([0.5000, 1.0000])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support: Constraint = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        if either("probs", probs, "logits", logits):
            (self.probs,) = (given,) = broadcast_all(probs)
        else:
            (self.logits,) = (given,) = broadcast_all(logits)
        super().__init__(given.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        probs = self.probs.detach()._data
        return _wrap(np.where(probs == 0.5, np.nan, probs >= 0.5).astype(probs.dtype))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        probs = self.probs.detach()._data
        points = draw("random", self._sizes(sample_shape), probs.dtype)._data
        return _wrap((points < probs).astype(probs.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return logits * value - _softplus(logits)

    def entropy(self) -> Tensor:
        return _softplus(self.logits) - self.logits * self.probs

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = fastnn.arange(2, dtype=self._param.dtype).reshape(2, *[1] * len(self._batch_shape))
        return values.expand(2, *self._batch_shape) if expand else values

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.probs.logit(),)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        return _softplus(natural_params[0])


def _softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))`` without overflow; the function of ``nn`` is x itself above a threshold."""
    return -logsigmoid(-x)
