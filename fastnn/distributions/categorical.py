"""The categorical distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, clamp_probs, either, lazy_property
from fastnn.ops.sampling import draw_categories


class Categorical(Distribution):
    """Integers from 0 to n - 1, each with its probability.

    Args:
        probs: (..., n) not negative; divided by their sum; or
        logits: (..., n) their logarithms, up to a constant.

    >>> import fastnn
    >>> from fastnn.distributions import Categorical
    >>> Categorical(fastnn.tensor([1.0, 3.0])).log_prob(fastnn.tensor(1)).exp()
    tensor(0.7500)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        name, given = ("probs", probs) if either("probs", probs, "logits", logits) else ("logits", logits)
        if not isinstance(given, Tensor):
            raise TypeError(f"`{name}` must be a Tensor, found {type(given).__name__}")
        if not given._data.ndim:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if name == "probs":
            self.probs = given / given.sum(-1, True)
        else:
            self.logits = given - given.logsumexp(-1, True)
        shape = given._data.shape
        self._num_events = shape[-1]
        super().__init__(shape[:-1], validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return clamp_probs(self.probs).log()

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.logits.softmax(-1)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return fastnn.Size((*self._batch_shape, self._num_events))

    @property
    def support(self) -> Constraint:  # type: ignore[override]  # read, never set
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Tensor:
        return fastnn.full(tuple(self._batch_shape), math.nan, dtype=self.probs.dtype)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Tensor:
        return self.mean

    def sample(self, sample_shape: Any = ()) -> Tensor:
        sizes = tuple(sample_shape)
        rows = self.probs.detach()._data.reshape(-1, self._num_events)
        count = math.prod(sizes)
        if count == 0:
            return _wrap(np.zeros((*sizes, *self._batch_shape), np.int64))
        drawn = draw_categories(rows, count, True)
        return _wrap(np.ascontiguousarray(drawn.T).reshape((*sizes, *self._batch_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_sample(value)
        shape, index = value._data.shape, value.long()
        if shape != self._batch_shape:
            shape = np.broadcast_shapes(shape, tuple(self._batch_shape))
            index = index.expand(*shape)
        index = index.unsqueeze(-1)
        return self.logits.expand(*shape, self._num_events).gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        # A probability of 0 has the logarithm -inf, and must add 0 to the sum.
        logits = self.logits.clamp(min=float(np.finfo(self.logits._data.dtype).min))
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = fastnn.arange(self._num_events).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values
