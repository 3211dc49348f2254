"""The categorical distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core.capture_state import active
from fastnn._core.dtypes import limits
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, clamp_probs, either, lazy_property
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64
from fastnn.ops.sampling import draw_categories
from fastnn.random import default_generator

_INT64 = np.dtype(np.int64)
_add, _empty = np.add.reduce, allocation.empty


def _as_rows(array: np.ndarray) -> np.ndarray | None:
    """An array as a matrix that the kernels take; None for others, and in a trace, which cannot check probabilities."""
    if active or not array.flags.carray or not array.size or (array.dtype != FLOAT32 and array.dtype != FLOAT64):
        return None
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def _dense(grad: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(grad._data).reshape(shape)


def _normalized(given: Tensor) -> tuple[Tensor, bool]:
    """``given / given.sum(-1, True)``, and whether it is known that all rows are probabilities."""
    x = _as_rows(given._data)
    if x is None:
        return given / given.sum(-1, True), False
    rows, shape = _empty(x.shape, x.dtype), given._data.shape
    is_valid = not kernels.normalize_forward(rows, x)
    out = rows if rows.shape == shape else rows.reshape(shape)
    if not _recorded(given):
        return _wrap(out), is_valid

    def run(grad: Tensor) -> tuple[Tensor]:
        dx = _empty(x.shape, x.dtype)
        kernels.normalize_backward(dx, _dense(grad, x.shape), x)
        return (_wrap(dx.reshape(shape)),)

    def recompute() -> Tensor:
        return given / given.sum(-1, True)

    return _wrap(out, Node("Div", (given,), run, (given,), recompute=recompute)), is_valid


def _log_softmax(given: Tensor) -> tuple[Tensor, bool]:
    """``given - given.logsumexp(-1, True)``, and whether it is known that it has no NaN."""
    x = _as_rows(given._data)
    if x is None:
        return given - given.logsumexp(-1, True), False
    rows, shape = _empty(x.shape, x.dtype), given._data.shape
    kernels.softmax_forward(rows, x, True)
    # No number is +infinity, so a sum is NaN only if a number is.
    if math.isnan(_add(rows, None)):
        # Infinite logits make the whole row NaN in the kernel.
        return given - given.logsumexp(-1, True), False
    out = rows if rows.shape == shape else rows.reshape(shape)
    if not _recorded(given):
        return _wrap(out), True

    def run(grad: Tensor) -> tuple[Tensor]:
        dx = _empty(rows.shape, rows.dtype)
        kernels.softmax_backward(dx, _dense(grad, rows.shape), rows, True)
        return (_wrap(dx.reshape(shape)),)

    def recompute() -> Tensor:
        return given - given.logsumexp(-1, True)

    node = Node("Sub", (given,), run, (given,), True, recompute)
    return node.guard(_wrap(out, node)), True


def _log_prob(given: Tensor, logarithms: bool, value: Tensor, batch: tuple[int, ...]) -> Tensor | None:
    """The logarithms of the probabilities of int64 values; None if another way has to find them, or the error."""
    x, index = _as_rows(given._data), value._data
    if x is None or index.dtype != _INT64 or not index.flags.carray:
        return None
    shape = index.shape
    if not (shape == batch or (shape[len(shape) - len(batch) :] == batch and index.size)):
        return None
    out = _empty(shape, x.dtype)
    if kernels.categorical_log_prob_forward(out.reshape(-1), x, index.reshape(-1), logarithms):
        return None
    if not _recorded(given):
        return _wrap(out)

    def run(grad: Tensor) -> tuple[Tensor]:
        dx = _empty(x.shape, x.dtype)
        kernels.categorical_log_prob_backward(dx, _dense(grad, (-1,)), x, index.reshape(-1), logarithms)
        return (_wrap(dx.reshape(given._data.shape)),)

    def recompute() -> Tensor:
        return _gathered(given if logarithms else clamp_probs(given).log(), value)

    saved = (value,) if logarithms else (given, value)
    return _wrap(out, Node("Squeeze", (given,), run, saved, recompute=recompute))


def _gathered(logits: Tensor, value: Tensor) -> Tensor:
    """``logits[..., value]`` for each distribution of the batch."""
    shape, batch = value._data.shape, logits._data.shape[:-1]
    if shape != batch:
        shape = np.broadcast_shapes(shape, batch)
        value = value.expand(*shape)
    return logits.expand(*shape, logits._data.shape[-1]).gather(-1, value.unsqueeze(-1)).squeeze(-1)


def _entropy(given: Tensor, logarithms: bool) -> Tensor | None:
    """The entropy by the kernel; None if the kernel does not take the array."""
    x = _as_rows(given._data)
    if x is None:
        return None
    out = _empty(given._data.shape[:-1], x.dtype)
    rows = out.reshape(-1)
    kernels.categorical_entropy_forward(rows, x, logarithms)
    if not _recorded(given):
        return _wrap(out)
    if logarithms:
        # The result may be changed in place before the backward pass.
        rows = rows.copy()

    def run(grad: Tensor) -> tuple[Tensor]:
        dx = _empty(x.shape, x.dtype)
        kernels.categorical_entropy_backward(dx, _dense(grad, (-1,)), rows, x, logarithms)
        return (_wrap(dx.reshape(given._data.shape)),)

    def recompute() -> Tensor:
        return _mean_of(given, given.softmax(-1)) if logarithms else _mean_of(clamp_probs(given).log(), given)

    return _wrap(out, Node("Neg", (given,), run, (given,), True, recompute))


def _mean_of(logits: Tensor, probs: Tensor) -> Tensor:
    # A probability of 0 has the logarithm -inf, and must add 0 to the sum.
    return -(logits.clamp(min=float(limits(logits._data.dtype).min)) * probs).sum(-1)


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
            raise ValueError(f"`{name}` parameter must be at least one-dimensional, found a single number.")
        if name == "probs":
            self.probs, is_valid = _normalized(given)
        else:
            self.logits, is_valid = _log_softmax(given)
        shape = given._data.shape
        self._num_events = shape[-1]
        super().__init__(shape[:-1], validate_args=validate_args, is_valid=is_valid)

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
    def _param(self) -> Tensor:
        return self.probs if "probs" in self.__dict__ else self.logits

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._param.new(*args, **kwargs)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Constraint:
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
        sizes, probs = tuple(sample_shape), self.probs._data
        count = math.prod(sizes)
        if count == 0:
            return _wrap(np.zeros((*sizes, *self._batch_shape), np.int64))
        rows = _as_rows(probs) if self._is_valid else None
        if rows is not None:
            points, drawn = default_generator().numpy.random((len(rows), count)), _empty((len(rows), count), _INT64)
            if not kernels.categorical_draw(drawn, rows, points):
                drawn = drawn if count == 1 else np.ascontiguousarray(drawn.T)
                return _wrap(drawn.reshape((*sizes, *self._batch_shape)))
        drawn = draw_categories(probs.reshape(-1, self._num_events), count, True)
        return _wrap(np.ascontiguousarray(drawn.T).reshape((*sizes, *self._batch_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if not isinstance(value, Tensor) or value._data.dtype != _INT64:
            if self._validate_args:
                self._validate_sample(value)
            value = value.long()
        logarithms = "logits" in self.__dict__
        found = _log_prob(self.logits if logarithms else self.probs, logarithms, value, self._batch_shape)
        if found is None:
            if self._validate_args:
                self._validate_sample(value)
            return _gathered(self.logits, value)
        return found

    def entropy(self) -> Tensor:
        logarithms = "logits" in self.__dict__
        found = _entropy(self.logits if logarithms else self.probs, logarithms)
        return _mean_of(self.logits, self.probs) if found is None else found

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = fastnn.arange(self._num_events).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values
