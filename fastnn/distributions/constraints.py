"""Constraints on the parameters and values of distributions, under the names of ``torch.distributions.constraints``.

A constraint is a set of numbers, vectors or matrices, and ``check`` tests which elements of a tensor are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core.errstate import quiet
from fastnn._tensor.tensor import Tensor, _wrap

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]

_all, _any, _add = np.logical_and.reduce, np.logical_or.reduce, np.add.reduce


class Constraint:
    """A set of numbers, vectors or matrices.

    Attributes:
        is_discrete: whether the set is countable.
        event_dim: the number of dimensions of one element: 0 for numbers, 1 for vectors, 2 for matrices.
    """

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: Tensor) -> Tensor:
        """Whether each element (or vector, or matrix) is in the set, as a boolean tensor.

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


# -- Constraints that depend on parameters ------------------------------------------------------


class _Dependent(Constraint):
    """Stands for a set that depends on the parameters, in the class of a distribution."""

    def __init__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented) -> None:
        self._is_discrete, self._event_dim = is_discrete, event_dim
        super().__init__()

    @property
    def is_discrete(self) -> Any:
        """Whether the set is countable; NotImplementedError if that depends on the parameters."""
        if self._is_discrete is NotImplemented:
            raise NotImplementedError(".is_discrete cannot be determined statically")
        return self._is_discrete

    @property
    def event_dim(self) -> Any:
        """The number of dimensions of one element; NotImplementedError if that depends on the parameters."""
        if self._event_dim is NotImplemented:
            raise NotImplementedError(".event_dim cannot be determined statically")
        return self._event_dim

    def __call__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented) -> Any:
        """The same with these attributes, for those that are known."""
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is NotImplemented else is_discrete,
            event_dim=self._event_dim if event_dim is NotImplemented else event_dim,
        )

    def check(self, x: Tensor) -> Tensor:
        """ValueError: the set is not known."""
        raise ValueError("Cannot determine validity of dependent constraint")


def is_dependent(constraint: Any) -> bool:
    """Whether the set of a constraint depends on the parameters."""
    return isinstance(constraint, _Dependent)


class _DependentProperty(property, _Dependent):
    """A property that returns a constraint; read from the class it is a constraint itself.

    >>> from fastnn.distributions import Uniform
    >>> Uniform.support.event_dim, Uniform(0.0, 2.0).support
    (0, Interval(lower_bound=0.0, upper_bound=2.0))
    """

    def __init__(
        self, fn: Callable[..., Any] | None = None, *, is_discrete: Any = NotImplemented,
        event_dim: Any = NotImplemented,
    ) -> None:  # fmt: skip
        super().__init__(fn)
        self._is_discrete, self._event_dim = is_discrete, event_dim

    def __call__(self, fn: Callable[..., Any]) -> Any:  # type: ignore[override]  # as a decorator with arguments
        return _DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


# -- Numbers --------------------------------------------------------------------------------------


def _number(bound: Any) -> Any:
    return bound._data if isinstance(bound, Tensor) else bound


def _whole(x: np.ndarray) -> Any:
    return np.ones(x.shape, bool) if x.dtype.kind in "iub" else x % 1 == 0


class _Bounded(Constraint):
    """Numbers with bounds, which may be tensors."""

    lower_bound: Any
    upper_bound: Any

    def __repr__(self) -> str:
        bounds = [f"{name}={vars(self)[name]}" for name in ("lower_bound", "upper_bound") if name in vars(self)]
        return f"{type(self).__name__.lstrip('_')}({', '.join(bounds)})"


class _Between(_Bounded):
    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        super().__init__()


class _Above(_Bounded):
    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound
        super().__init__()


class _Below(_Bounded):
    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound
        super().__init__()


class _Real(Constraint):
    """All numbers but NaN."""

    def _holds(self, x: np.ndarray) -> Any:
        return ~np.isnan(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)


class _Boolean(Constraint):
    """0 and 1."""

    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return (x == 0) | (x == 1)


class _Interval(_Between):
    """Numbers from ``lower_bound`` to ``upper_bound``, both included."""

    def _holds(self, x: np.ndarray) -> Any:
        return (_number(self.lower_bound) <= x) & (x <= _number(self.upper_bound))


class _HalfOpenInterval(_Between):
    """Numbers from ``lower_bound`` to ``upper_bound``, the latter excluded."""

    def _holds(self, x: np.ndarray) -> Any:
        return (_number(self.lower_bound) <= x) & (x < _number(self.upper_bound))


class _IntegerInterval(_Between):
    """Integers from ``lower_bound`` to ``upper_bound``, both included."""

    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return (_number(self.lower_bound) <= x) & (x <= _number(self.upper_bound)) & _whole(x)


class _GreaterThan(_Above):
    """Numbers above ``lower_bound``."""

    def _holds(self, x: np.ndarray) -> Any:
        return x > _number(self.lower_bound)


class _GreaterThanEq(_Above):
    """Numbers not below ``lower_bound``."""

    def _holds(self, x: np.ndarray) -> Any:
        return x >= _number(self.lower_bound)


class _IntegerGreaterThan(_Above):
    """Integers not below ``lower_bound``."""

    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return (x >= _number(self.lower_bound)) & _whole(x)


class _LessThan(_Below):
    """Numbers below ``upper_bound``."""

    def _holds(self, x: np.ndarray) -> Any:
        return x < _number(self.upper_bound)


class _IntegerLessThan(_Below):
    """Integers not above ``upper_bound``."""

    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return (x <= _number(self.upper_bound)) & _whole(x)


# -- Vectors --------------------------------------------------------------------------------------


class _Simplex(Constraint):
    """Vectors of numbers that are not negative and sum to 1."""

    event_dim = 1

    def _holds(self, x: np.ndarray) -> Any:
        return _all(x >= 0, -1) & (np.abs(_add(x, -1) - 1) < 1e-6)


class _OneHot(Constraint):
    """Vectors of one 1 and zeros."""

    event_dim = 1
    is_discrete = True

    def _holds(self, x: np.ndarray) -> Any:
        return _all((x == 0) | (x == 1), -1) & (_add(x, -1) == 1)


class _Multinomial(Constraint):
    """Vectors of numbers that are not negative and sum to ``upper_bound`` at most."""

    event_dim = 1
    is_discrete = True

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound
        super().__init__()

    def _holds(self, x: np.ndarray) -> Any:
        return _all(x >= 0, -1) & (_add(x, -1) <= _number(self.upper_bound))


class _IndependentConstraint(Constraint):
    """A constraint on vectors or larger arrays: all elements satisfy another constraint."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(f"base_constraint must be a Constraint, got {type(base_constraint).__name__}")
        if not isinstance(reinterpreted_batch_ndims, int) or reinterpreted_batch_ndims < 0:
            raise AssertionError(
                f"reinterpreted_batch_ndims must be an integer that is not negative, found {reinterpreted_batch_ndims}"
            )
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        super().__init__()

    @property
    def is_discrete(self) -> Any:
        """Whether the set is countable."""
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> Any:
        """The number of dimensions of one element."""
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Tensor:
        """Whether all numbers of each element satisfy the base constraint; ValueError for too few dimensions."""
        each, count = self.base_constraint.check(value)._data, self.reinterpreted_batch_ndims
        if each.ndim < count:
            raise ValueError(
                f"Expected value.dim() >= {self.base_constraint.event_dim + count} but got {len(value.shape)}"
            )
        return _wrap(np.asarray(_all(each, tuple(range(each.ndim - count, each.ndim)))))

    def __repr__(self) -> str:
        return f"{type(self).__name__[1:]}({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """The support of a :class:`MixtureSameFamily`: values that are in that of every component.

    Args:
        base_constraint: the support of the components, whose last batch dimension is that of the components.
    """

    def __init__(self, base_constraint: Constraint) -> None:
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(f"base_constraint must be a Constraint, got {type(base_constraint).__name__}")
        self.base_constraint = base_constraint
        super().__init__()

    @property
    def is_discrete(self) -> Any:
        """Whether the set is countable."""
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> Any:
        """The number of dimensions of one element."""
        return self.base_constraint.event_dim

    def check(self, value: Tensor) -> Tensor:
        """Whether each element is in the support of all components; ValueError for too few dimensions."""
        count = self.event_dim
        if len(value.shape) < count:
            raise ValueError(f"Expected value.dim() >= {count} but got {len(value.shape)}")
        each = self.base_constraint.check(value.unsqueeze(-1 - count))._data
        # The last remaining dimension is that of the components, the others are of the batch.
        return _wrap(np.asarray(_all(each, -1) if each.ndim else each))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_constraint!r})"


# -- Matrices -------------------------------------------------------------------------------------


def _diagonal(x: np.ndarray) -> np.ndarray:
    return np.diagonal(x, axis1=-2, axis2=-1)


def _is_lower(x: np.ndarray) -> Any:
    """Whether all elements above the diagonal are 0; RuntimeError for a vector or a number."""
    if x.ndim < 2:
        raise RuntimeError(f"tril: input tensor must have at least 2 dimensions, found {x.ndim}")
    return _all(np.tril(x) == x, (-2, -1))


class _LowerTriangular(Constraint):
    """Lower triangular matrices."""

    event_dim = 2

    def _holds(self, x: np.ndarray) -> Any:
        return _is_lower(x)


class _LowerCholesky(Constraint):
    """Lower triangular matrices with a positive diagonal."""

    event_dim = 2

    def _holds(self, x: np.ndarray) -> Any:
        return _is_lower(x) & _all(_diagonal(x) > 0, -1)


class _CorrCholesky(Constraint):
    """Lower triangular matrices with a positive diagonal, whose rows have length 1."""

    event_dim = 2

    def _holds(self, x: np.ndarray) -> Any:
        # The rounding error of a squared row, with room for the factor 10.
        if x.dtype.kind != "f":
            raise TypeError(f"the matrices must be floating point, found {x.dtype}")
        tolerance = np.finfo(x.dtype).eps * x.shape[-1] * 10
        lengths = np.sqrt(_add(np.square(x), -1))
        return _all(np.abs(lengths - 1) < tolerance, -1) & _is_lower(x) & _all(_diagonal(x) > 0, -1)


class _Square(Constraint):
    """Square matrices."""

    event_dim = 2

    def _holds(self, x: np.ndarray) -> Any:
        return np.full(x.shape[:-2], x.shape[-2] == x.shape[-1])


class _Symmetric(_Square):
    """Symmetric matrices, up to roundings."""

    def _holds(self, x: np.ndarray) -> Any:
        if x.shape[-2] != x.shape[-1]:
            return np.zeros(x.shape[:-2], bool)
        return _all(np.isclose(x, np.swapaxes(x, -2, -1), atol=1e-6), (-2, -1))


class _PositiveSemidefinite(_Symmetric):
    """Symmetric matrices without a negative eigenvalue."""

    def _holds(self, x: np.ndarray) -> Any:
        return self._eigenvalues(x, np.greater_equal)

    def _eigenvalues(self, x: np.ndarray, compare: Callable[..., Any]) -> Any:
        good = _Symmetric._holds(self, x) & _all(np.isfinite(x), (-2, -1))
        if not _any(good, None):
            return good
        # The eigenvalues of the others do not matter, and LAPACK may not find those of NaN.
        x = np.where(good[..., None, None], x, 1)
        return good & _all(compare(np.linalg.eigvalsh(x), 0), -1)


class _PositiveDefinite(_PositiveSemidefinite):
    """Symmetric matrices with positive eigenvalues only."""

    def _holds(self, x: np.ndarray) -> Any:
        return self._eigenvalues(x, np.greater)


# -- Several constraints --------------------------------------------------------------------------


class _Several(Constraint):
    """Several constraints, each for a part of the elements along a dimension."""

    dim: int

    def __init__(self, cseq: Sequence[Constraint]) -> None:
        if not all(isinstance(c, Constraint) for c in cseq):
            raise AssertionError(
                f"all elements of cseq must be Constraint instances, found {[type(c).__name__ for c in cseq]}"
            )
        self.cseq = list(cseq)
        super().__init__()

    @property
    def is_discrete(self) -> Any:
        """Whether one of the sets is countable."""
        return any(c.is_discrete for c in self.cseq)

    def _check_dim(self, value: Tensor) -> None:
        if not -value.dim() <= self.dim < value.dim():
            raise AssertionError(f"dim {self.dim} out of range for value with {value.dim()} dimensions")


class _Cat(_Several):
    """Constraints on slices of lengths ``lengths`` along dimension ``dim``."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        super().__init__(cseq)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise AssertionError(f"lengths ({len(self.lengths)}) must match cseq ({len(self.cseq)})")
        self.dim = dim

    @property
    def event_dim(self) -> Any:
        """The largest number of dimensions of an element of the sets."""
        return max(c.event_dim for c in self.cseq)

    def check(self, value: Tensor) -> Tensor:
        """Whether the elements of each slice are in its set."""
        from fastnn import cat as join

        self._check_dim(value)
        parts = value.split(self.lengths, self.dim) if sum(self.lengths) == value.shape[self.dim] else None
        if parts is None:
            ends = np.cumsum(self.lengths)
            parts = [value.narrow(self.dim, int(e) - n, n) for e, n in zip(ends, self.lengths, strict=True)]
        return join([c.check(part) for c, part in zip(self.cseq, parts, strict=True)], self.dim)


class _Stack(_Several):
    """Constraints on the slices at 0, 1, 2 ... of dimension ``dim``."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        super().__init__(cseq)
        self.dim = dim

    @property
    def event_dim(self) -> Any:
        """The largest number of dimensions of an element of the stack."""
        most = max(c.event_dim for c in self.cseq)
        return most + 1 if self.dim + most < 0 else most

    def check(self, value: Tensor) -> Tensor:
        """Whether the elements of each slice are in its set."""
        from fastnn import stack as join

        self._check_dim(value)
        slices = [value.select(self.dim, i) for i in range(value.shape[self.dim])]
        return join([c.check(v) for v, c in zip(slices, self.cseq, strict=True)], self.dim)


# -- Names ----------------------------------------------------------------------------------------

dependent, dependent_property = _Dependent(), _DependentProperty
independent, cat, stack, multinomial = _IndependentConstraint, _Cat, _Stack, _Multinomial
interval, half_open_interval, integer_interval = _Interval, _HalfOpenInterval, _IntegerInterval
greater_than, greater_than_eq, less_than = _GreaterThan, _GreaterThanEq, _LessThan

boolean, one_hot, real, simplex = _Boolean(), _OneHot(), _Real(), _Simplex()
nonnegative_integer, positive_integer = _IntegerGreaterThan(0), _IntegerGreaterThan(1)
positive, nonnegative = _GreaterThan(0.0), _GreaterThanEq(0.0)
unit_interval, real_vector = _Interval(0.0, 1.0), _IndependentConstraint(real, 1)
lower_triangular, lower_cholesky, corr_cholesky = _LowerTriangular(), _LowerCholesky(), _CorrCholesky()
square, symmetric = _Square(), _Symmetric()
positive_semidefinite, positive_definite = _PositiveSemidefinite(), _PositiveDefinite()
