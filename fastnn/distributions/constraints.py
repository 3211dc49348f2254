"""Constraints on the parameters and values of distributions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.errstate import quiet
from fastnn._tensor.tensor import Tensor, _wrap

_all, _add = np.logical_and.reduce, np.add.reduce


class Constraint:
    """A set of numbers, vectors or matrices; ``check`` tests which elements of a tensor are in it."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        """Whether each element (or vector, or matrix) is in the set.

        >>> import fastnn
        >>> from fastnn.distributions import constraints
        >>> constraints.positive.check(fastnn.tensor([1.0, 0.0]))
        tensor([ True, False])
        """
        return _wrap(np.asarray(quiet(self._holds, value._data)))

    def _holds(self, x: np.ndarray) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}()"


class _Real(Constraint):
    def _holds(self, x: np.ndarray) -> Any:
        return ~np.isnan(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)


class _Boolean(Constraint):
    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return (x == 0) | (x == 1)


class _Bounded(Constraint):
    """Numbers between bounds, which may be tensors."""

    def __init__(self, lower_bound: Any = None, upper_bound: Any = None) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def __repr__(self) -> str:
        bounds = (("lower_bound", self.lower_bound), ("upper_bound", self.upper_bound))
        return f"{type(self).__name__.lstrip('_')}({', '.join(f'{n}={b}' for n, b in bounds if b is not None)})"


def _number(bound: Any) -> Any:
    return bound._data if isinstance(bound, Tensor) else bound


class interval(_Bounded):
    """Numbers from ``lower_bound`` to ``upper_bound``, both included."""

    def _holds(self, x: np.ndarray) -> Any:
        return (_number(self.lower_bound) <= x) & (x <= _number(self.upper_bound))


class integer_interval(interval):
    """Integers from ``lower_bound`` to ``upper_bound``, both included."""

    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        held = super()._holds(x)
        return held if x.dtype.kind in "iu" else held & (x % 1 == 0)


class greater_than(_Bounded):
    """Numbers above ``lower_bound``."""

    def _holds(self, x: np.ndarray) -> Any:
        return x > _number(self.lower_bound)


class greater_than_eq(_Bounded):
    """Numbers not below ``lower_bound``."""

    def _holds(self, x: np.ndarray) -> Any:
        return x >= _number(self.lower_bound)


class _NonnegativeInteger(Constraint):
    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return (x >= 0) & (x % 1 == 0)


class _Simplex(Constraint):
    event_dim = 1

    def _holds(self, x: np.ndarray) -> Any:
        return _all(x >= 0, -1) & (np.abs(_add(x, -1) - 1) < 1e-6)


class _OneHot(Constraint):
    event_dim = 1
    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)


class independent(Constraint):
    """A constraint on vectors or larger arrays: all elements satisfy another constraint."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def _holds(self, x: np.ndarray) -> Any:
        each = np.asarray(self.base_constraint._holds(x))
        if each.ndim < self.reinterpreted_batch_ndims:
            raise ValueError(f"expected at least {self.event_dim} dimensions, found {x.ndim}")
        return _all(each, tuple(range(each.ndim - self.reinterpreted_batch_ndims, each.ndim)))

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class _LowerCholesky(Constraint):
    event_dim = 2

    def _holds(self, x: np.ndarray) -> Any:
        diagonal = np.diagonal(x, axis1=-2, axis2=-1)
        return (np.tril(x) == x).all((-2, -1)) & (diagonal > 0).all(-1)


class _PositiveDefinite(Constraint):
    event_dim = 2

    def _holds(self, x: np.ndarray) -> Any:
        symmetric = np.isclose(x, np.swapaxes(x, -2, -1), atol=1e-6).all((-2, -1))
        if not np.isfinite(x).all():
            return np.zeros(x.shape[:-2], bool)
        return symmetric & (np.linalg.eigvalsh(x) > 0).all(-1)


real, boolean, nonnegative_integer = _Real(), _Boolean(), _NonnegativeInteger()
positive, nonnegative = greater_than(0.0), greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
simplex, one_hot, real_vector = _Simplex(), _OneHot(), independent(real, 1)
lower_cholesky, positive_definite = _LowerCholesky(), _PositiveDefinite()
