"""The multinomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.binomial import Binomial
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all
from fastnn.random import default_generator


class Multinomial(Distribution):
    """How often each category occurs in n draws: ``n! / (x1! x2! ...) p1**x1 p2**x2 ...``.

    Args:
        total_count: the number n of draws.
        probs, logits: as for :class:`Categorical`.

    Raises: NotImplementedError for different numbers of draws.

    >>> import fastnn
    >>> from fastnn.distributions import Multinomial
    >>> Multinomial(4, fastnn.tensor([1.0, 3.0])).mean
    tensor([1., 3.])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    total_count: int
    _checked_inside = ("probs", "logits")

    def __init__(
        self, total_count: int = 1, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(total_count, (int, np.integer)):
            raise NotImplementedError(
                f"inhomogeneous total_count is not supported: expected an integer, found {type(total_count).__name__}"
            )
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits, validate_args=validate_args)
        self._binomial = Binomial(total_count=total_count, probs=self._categorical.probs, validate_args=False)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._categorical = self._categorical.expand(batch_shape)
        new._binomial = self._binomial.expand((*batch_shape, *self._event_shape))
        return new

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Constraint:
        return constraints.multinomial(self.total_count)

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._categorical._new(*args, **kwargs)

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._categorical.param_shape

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        probs = self.probs._data
        rows = probs.astype(np.float64)
        rows = rows / rows.sum(-1, keepdims=True)
        shape = (*sample_shape, *self._batch_shape)
        drawn = default_generator().numpy.multinomial(self.total_count, rows, shape)
        return _wrap(np.asarray(drawn).astype(probs.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        logits = logits.masked_fill((value == 0) & (logits == -np.inf), 0.0)
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return ways + (logits * value).sum(-1)

    def entropy(self) -> Tensor:
        n = self.total_count
        counts = self._binomial.enumerate_support(expand=False)[1:]
        # The mean of log(x!) of all categories.
        factorials = (self._binomial.log_prob(counts).exp() * (counts + 1).lgamma()).sum((0, -1))
        size = counts.new_full((), float(n + 1)).lgamma()
        return n * self._categorical.entropy() - size + factorials
