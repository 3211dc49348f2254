"""Relaxations of the categorical distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all, clamp_probs, draw
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import ExpTransform

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(Distribution):
    """The logarithms of :class:`RelaxedOneHotCategorical` vectors.

    Args:
        temperature: positive.
        probs, logits: as for :class:`Categorical`.

    >>> import fastnn
    >>> from fastnn.distributions.relaxed_categorical import ExpRelaxedCategorical
    >>> ExpRelaxedCategorical(fastnn.tensor(1.0), fastnn.ones(3)).event_shape
    torch.Size([3])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    # Vectors whose exponentials sum to 1, for which there is no constraint.
    support: Constraint = constraints.real_vector
    has_rsample = True
    _checked_inside = ("probs", "logits")

    def __init__(
        self, temperature: Any, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._categorical = self._categorical.expand(batch_shape)
        return new

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._categorical._new(*args, **kwargs)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._categorical.param_shape

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        points = draw("random", self._sizes(sample_shape), self.logits._data.dtype)
        noise = -(-clamp_probs(points).log()).log()
        return ((self.logits + noise) / self.temperature).log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self._categorical._num_events
        logits, value = broadcast_all(self.logits, value)
        t = self.temperature
        log_t = t.log() if isinstance(t, Tensor) else math.log(t)
        scores = (logits - value * t).log_softmax(-1).sum(-1)
        return scores + (math.lgamma(n) + log_t * (n - 1))


class RelaxedOneHotCategorical(TransformedDistribution):
    """Vectors that sum to 1 and approach one-hot ones at small temperatures, with draws that pass gradients.

    C. J. Maddison, A. Mnih and Y. W. Teh, "The concrete distribution", 2017; E. Jang, S. Gu and B. Poole,
    "Categorical reparameterization with Gumbel-softmax", 2017.

    Args:
        temperature: positive.
        probs, logits: as for :class:`Categorical`.

    >>> import fastnn
    >>> from fastnn.distributions import RelaxedOneHotCategorical
    >>> RelaxedOneHotCategorical(fastnn.tensor(1.0), fastnn.ones(3)).rsample().shape
    torch.Size([3])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support: Constraint = constraints.simplex
    has_rsample = True
    base_dist: ExpRelaxedCategorical
    # Those of the base distribution.
    _stored = ()
    _checked_inside = ("probs", "logits")

    def __init__(
        self, temperature: Any, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """The temperature."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.base_dist.probs
