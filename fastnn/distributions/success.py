"""What distributions of successes share: the probability of a success, or its log-odds."""

from __future__ import annotations

from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.distributions.distribution import lazy_property, logits_to_probs, probs_to_logits


class OfSuccesses:
    """Each of ``probs`` and ``logits``, if it was not given, is computed from the other at first use."""

    @lazy_property
    def logits(self) -> Tensor:
        """The log-odds of a success."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of a success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def _param(self) -> Tensor:
        return self.probs if "probs" in self.__dict__ else self.logits

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._param.new(*args, **kwargs)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._param.shape
