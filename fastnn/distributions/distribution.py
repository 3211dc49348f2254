"""Distribution: the base class."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._autograd.modes import _mode, enable_grad, no_grad
from fastnn._tensor.tensor import Size, Tensor, _wrap
from fastnn.distributions.constraints import Constraint
from fastnn.random import default_generator

_every = np.logical_and.reduce


class lazy_property:
    """An attribute computed and recorded on first access, and cached."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        # sample() may read it without recording, but log_prob() uses the cached value as well.
        if _mode.enabled:
            value = instance.__dict__[self.name] = self.compute(instance)
            return value
        with enable_grad():
            value = instance.__dict__[self.name] = self.compute(instance)
        return value


class Distribution:
    """A probability distribution, or a batch of independent ones.

    Args:
        batch_shape: the shape of the batch of distributions.
        event_shape: the shape of one draw from one distribution.
        validate_args: whether parameters and values are checked; True by default.
        is_valid: whether it is known that the parameters are in range, so that they are not checked again.

    Raises: ValueError for a parameter, or a value given to ``log_prob`` or ``cdf``, that is out of range or does
        not match the batch.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    # The possible values; a property if they depend on the parameters.
    support: Constraint
    _validate_args: bool = __debug__

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None, *,
        is_valid: bool = False,
    ) -> None:
        self._is_valid = is_valid
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if is_valid or not self._validate_args:
            return
        for name, constraint in self.arg_constraints.items():
            if name not in self.__dict__:
                # Computed from the other parameters.
                continue
            value = self.__dict__[name]
            if not _every(constraint.check(value)._data, None):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Set the default of ``validate_args``."""
        if value not in (True, False):
            raise ValueError(f"value must be True or False, found {value!r}")
        Distribution._validate_args = value

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one draw from one distribution."""
        return self._event_shape

    @property
    def mean(self) -> Tensor:
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The mode: where the density is largest."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``sample_shape`` values from each distribution, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """As ``sample``, but differentiable with respect to the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no rsample(): draw with sample()")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at ``value``."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of values up to ``value``."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of ``cdf`` at ``value``."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All possible values, along a new first dimension."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Minus the mean of ``log_prob``."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """The exponential of the entropy."""
        return self.entropy().exp()

    def expand(self, batch_shape: Any) -> Any:
        """The same distributions in a larger batch, with parameters that are views."""
        new, shape, before = copy.copy(self), tuple(batch_shape), len(self._batch_shape)
        for name in self.arg_constraints:
            if name in self.__dict__:
                value = self.__dict__[name]
                new.__dict__[name] = value.expand(*shape, *value.shape[before:])
        new._batch_shape = Size(shape)
        return new

    def _extended_shape(self, sample_shape: Any = ()) -> tuple[int, ...]:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def _check_sample(self, value: Any) -> None:
        """ValueError for a value that is not a tensor, has a wrong shape or is outside the support."""
        if not self._validate_args:
            return
        if not isinstance(value, Tensor):
            raise ValueError(f"The value argument to log_prob must be a Tensor, found {type(value).__name__}")
        shape, expected = value._data.shape, self._extended_shape()
        start = len(shape) - len(self._event_shape)
        if start < 0 or shape[start:] != tuple(self._event_shape):
            raise ValueError(
                f"The right-most size of value must match event_shape: {shape} vs {tuple(self._event_shape)}."
            )
        for i, j in () if shape == expected else zip(reversed(shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {expected}.")
        if not _every(self.support.check(value)._data, None):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within the support "
                f"({self.support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        shown = {name: self.__dict__[name] for name in self.arg_constraints if name in self.__dict__}
        parts = [f"{name}: {v if v.numel() == 1 else v.size()}" for name, v in shown.items()]
        return f"{type(self).__name__}({', '.join(parts)})"


def broadcast_all(*values: Any) -> list[Tensor]:
    """Broadcast numbers and tensors to tensors of one shape; numbers take the dtype of the first tensor.

    Raises: ValueError for anything else.
    """
    if {type(v) for v in values} == {Tensor}:
        shape = values[0]._data.shape
        if {v._data.shape for v in values} == {shape}:
            return list(values)
    if not all(isinstance(v, (Tensor, int, float, np.integer, np.floating)) for v in values):
        kinds = [type(v).__name__ for v in values]
        raise ValueError(f"Input arguments must all be instances of Number or torch.Tensor, found {kinds}")
    first = next((v for v in values if isinstance(v, Tensor)), None)
    kind = fastnn.get_default_dtype() if first is None else first.dtype
    tensors = [v if isinstance(v, Tensor) else fastnn.tensor(v, dtype=kind) for v in values]
    shape = np.broadcast_shapes(*[t._data.shape for t in tensors])
    return [t if t._data.shape == shape else t.expand(*shape) for t in tensors]


def either(name: str, first: Any, other: str, second: Any) -> bool:
    """Whether the first of two parameters is given; ValueError unless exactly one of them is."""
    if (first is None) == (second is None):
        raise ValueError(f"Either `{name}` or `{other}` must be specified, but not both.")
    return first is not None


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities in the open interval (0, 1)."""
    eps = float(np.finfo(probs._data.dtype).eps)
    return probs.clamp(eps, 1 - eps)


def draw(method: str, shape: tuple[int, ...], kind: np.dtype) -> Tensor:
    """A tensor of draws from the default generator, by the name of its NumPy method."""
    if kind == np.float16:
        return draw(method, shape, np.dtype(np.float32)).to(fastnn.float16)
    return _wrap(default_generator().numbers(method, shape, kind))
