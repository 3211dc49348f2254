"""Transforms of random variables, under the names of ``torch.distributions.transforms``.

A transform maps a set (``domain``) to a set (``codomain``), and computes the inverse and the logarithm of the absolute
value of the determinant of its Jacobian matrix. Its methods use recorded tensor operations.
"""

from __future__ import annotations

import functools
import math
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import (
    Distribution,
    broadcast_all,
    lazy_property,
    sum_rightmost,
    tril_matrix_to_vec,
    vec_to_tril_matrix,
)
from fastnn.nn.functional import logsigmoid, pad, softplus

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "ExpTransform",
    "IndependentTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "identity_transform",
]


class Transform:
    """A map of tensors with an inverse and the logarithm of its Jacobian determinant.

    A subclass defines ``domain``, ``codomain``, ``_call``, and, as far as they exist, ``_inverse`` and
    ``log_abs_det_jacobian``.

    Args:
        cache_size: 1 to keep the last argument with its result, so that the inverse of a result is the argument
            itself, or 0.

    Attributes:
        domain, codomain: the constraints of arguments and results.
        bijective: whether ``t.inv(t(x)) == x`` and ``t(t.inv(y)) == y``.
        sign: 1 or -1 for a monotone function of numbers.

    Raises: ValueError for another ``cache_size``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ExpTransform
    >>> t = ExpTransform()
    >>> t(fastnn.tensor(0.0)), t.inv(fastnn.tensor(1.0))
    (tensor(1.), tensor(0.))
    """

    bijective: Any = False
    domain: Any
    codomain: Any

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError(f"cache_size must be 0 or 1, found {cache_size}")
        self._cache_size = cache_size
        self._inv: Any = None
        if cache_size:
            self._cached_x_y: Any = None, None
        super().__init__()

    def __getstate__(self) -> dict[str, Any]:
        # A weak reference cannot be pickled.
        return self.__dict__ | {"_inv": None}

    @property
    def event_dim(self) -> int:
        """The number of dimensions of one argument and result; ValueError if the two differ."""
        if self.domain.event_dim == self.codomain.event_dim:
            return self.domain.event_dim
        raise ValueError(
            "Please use either .domain.event_dim or .codomain.event_dim: they differ, "
            f"{self.domain.event_dim} and {self.codomain.event_dim}"
        )

    @property
    def inv(self) -> Any:
        """The inverse transform; its ``inv`` is this one."""
        inverse = None if self._inv is None else self._inv()
        if inverse is None:
            inverse = _InverseTransform(self)
            self._inv = weakref.ref(inverse)
        return inverse

    @property
    def sign(self) -> Any:
        """The sign of the derivative, for a monotone function of numbers."""
        raise NotImplementedError

    def with_cache(self, cache_size: int = 1) -> Any:
        """The same transform with this ``cache_size``."""
        if self._cache_size == cache_size:
            return self
        if type(self).__init__ is Transform.__init__:
            return type(self)(cache_size=cache_size)
        raise NotImplementedError(f"{type(self)}.with_cache is not implemented")

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__: Any = None

    def __call__(self, x: Tensor) -> Tensor:
        """``y``."""
        if not self._cache_size:
            return self._call(x)
        before, result = self._cached_x_y
        if x is not before:
            result = self._call(x)
            self._cached_x_y = x, result
        return result

    def _inv_call(self, y: Tensor) -> Tensor:
        if not self._cache_size:
            return self._inverse(y)
        argument, before = self._cached_x_y
        if y is not before:
            argument = self._inverse(y)
            self._cached_x_y = argument, y
        return argument

    def _call(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """``log |det dy/dx|`` of an argument and its result."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def forward_shape(self, shape: Any) -> Any:
        """The shape of the result for an argument of this shape."""
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        """The shape of the argument for a result of this shape."""
        return shape


class _InverseTransform(Transform):
    """The inverse of a transform: see ``Transform.inv``."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(cache_size=transform._cache_size)
        self._inv: Transform = transform

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Any:
        return self._inv.codomain

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Any:
        return self._inv.domain

    @property
    def bijective(self) -> bool:
        return self._inv.bijective

    @property
    def sign(self) -> Any:
        return self._inv.sign

    @property
    def inv(self) -> Transform:
        return self._inv

    def with_cache(self, cache_size: int = 1) -> Any:
        return self._inv.with_cache(cache_size).inv

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InverseTransform) and self._inv == other._inv

    __hash__ = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inv!r})"

    def __call__(self, x: Tensor) -> Tensor:
        return self._inv._inv_call(x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._inv.forward_shape(shape)


# -- Combinations ---------------------------------------------------------------------------------


def _outer(parts: Sequence[Transform], inner: str, outer: str, start: Constraint) -> Constraint:
    """``start``, the constraint of one end of a chain, on events as large as the largest of the parts.

    The names are those of the ends of each part: ``inner`` faces the other end of the chain.
    """
    dim = getattr(parts[-1], inner).event_dim
    for part in reversed(parts):
        dim = max(dim + getattr(part, outer).event_dim - getattr(part, inner).event_dim, getattr(part, outer).event_dim)
    return constraints.independent(start, dim - start.event_dim) if dim > start.event_dim else start


class ComposeTransform(Transform):
    """Several transforms, one after the other.

    Args:
        parts: the transforms, the first one first.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import AffineTransform, ComposeTransform, ExpTransform
    >>> ComposeTransform([ExpTransform(), AffineTransform(1.0, 2.0)])(fastnn.tensor(0.0))
    tensor(3.)
    """

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        self.parts = [part.with_cache(cache_size) for part in parts] if cache_size else list(parts)
        super().__init__(cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = None

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Any:
        return _outer(self.parts, "codomain", "domain", self.parts[0].domain) if self.parts else constraints.real

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Any:
        if not self.parts:
            return constraints.real
        return _outer(self.parts[::-1], "domain", "codomain", self.parts[-1].codomain)

    @lazy_property
    def bijective(self) -> Any:
        """Whether all parts are."""
        return all(p.bijective for p in self.parts)

    @lazy_property
    def sign(self) -> Any:
        """The product of the signs of the parts."""
        return functools.reduce(operator.mul, [p.sign for p in self.parts], 1)

    @property
    def inv(self) -> Any:
        inverse = None if self._inv is None else self._inv()
        if inverse is None:
            inverse = ComposeTransform([p.inv for p in reversed(self.parts)])
            self._inv, inverse._inv = weakref.ref(inverse), weakref.ref(self)
        return inverse

    def with_cache(self, cache_size: int = 1) -> Any:
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size=cache_size)

    def __call__(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.parts:
            return fastnn.zeros_like(x)
        points = [x]
        for part in self.parts[:-1]:
            points.append(part(points[-1]))
        points.append(y)
        terms: list[Tensor] = []
        dim = self.domain.event_dim
        for part, before, after in zip(self.parts, points[:-1], points[1:], strict=True):
            terms.append(sum_rightmost(part.log_abs_det_jacobian(before, after), dim - part.domain.event_dim))
            dim += part.codomain.event_dim - part.domain.event_dim
        return functools.reduce(operator.add, terms)

    def forward_shape(self, shape: Any) -> Any:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self) -> str:
        parts = ",\n    ".join([repr(p) for p in self.parts])
        return f"{type(self).__name__}(\n    {parts}\n)"


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform of numbers as one of vectors or larger arrays: the last dimensions are those of one argument.

    Args:
        base_transform: the transform.
        reinterpreted_batch_ndims: the number of these dimensions.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ExpTransform, IndependentTransform
    >>> t, x = IndependentTransform(ExpTransform(), 1), fastnn.tensor([1.0, 2.0])
    >>> t.log_abs_det_jacobian(x, t(x))
    tensor(3.)
    """

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return IndependentTransform(self.base_transform, self.reinterpreted_batch_ndims, cache_size=cache_size)

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Any:
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Any:
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self) -> bool:
        return self.base_transform.bijective

    @property
    def sign(self) -> Any:
        return self.base_transform.sign

    def _call(self, x: Tensor) -> Tensor:
        if x.dim() < self.domain.event_dim:
            raise ValueError(f"Too few dimensions on input: expected at least {self.domain.event_dim}, found {x.dim()}")
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        if y.dim() < self.codomain.event_dim:
            raise ValueError(
                f"Too few dimensions on input: expected at least {self.codomain.event_dim}, found {y.dim()}"
            )
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_transform!r}, {self.reinterpreted_batch_ndims})"

    def forward_shape(self, shape: Any) -> Any:
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self.base_transform.inverse_shape(shape)


class ReshapeTransform(Transform):
    """The last dimensions in another shape.

    Args:
        in_shape, out_shape: the shapes of one argument and of its result.

    Raises: ValueError if they have different numbers of elements.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ReshapeTransform
    >>> ReshapeTransform((4,), (2, 2))(fastnn.zeros(3, 4)).shape
    torch.Size([3, 2, 2])
    """

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0) -> None:
        self.in_shape, self.out_shape = fastnn.Size(in_shape), fastnn.Size(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError(
                "in_shape, out_shape have different numbers of elements: found "
                f"{tuple(self.in_shape)} and {tuple(self.out_shape)}"
            )
        super().__init__(cache_size=cache_size)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.independent(constraints.real, len(self.in_shape))

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.independent(constraints.real, len(self.out_shape))

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return ReshapeTransform(self.in_shape, self.out_shape, cache_size=cache_size)

    def _batch(self, shape: Any, event: Any) -> tuple[int, ...]:
        """The shape without the last dimensions, which are those of the event."""
        return tuple(shape)[: len(shape) - len(event)]

    def _call(self, x: Tensor) -> Tensor:
        return x.reshape(*self._batch(x.shape, self.in_shape), *self.out_shape)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.reshape(*self._batch(y.shape, self.out_shape), *self.in_shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(self._batch(x.shape, self.in_shape))

    def _exchanged(self, shape: Any, old: Any, new: Any) -> Any:
        if len(shape) < len(old):
            raise ValueError(f"Too few dimensions on input: expected at least {len(old)}, found {len(shape)}")
        if tuple(shape)[len(shape) - len(old) :] != tuple(old):
            raise ValueError(f"Shape mismatch: expected {tuple(shape)[len(shape) - len(old) :]} but got {tuple(old)}")
        return fastnn.Size((*self._batch(shape, old), *new))

    def forward_shape(self, shape: Any) -> Any:
        return self._exchanged(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._exchanged(shape, self.out_shape, self.in_shape)


class _SeveralTransforms(Transform):
    """Several transforms, each of a part of the argument along dimension ``dim``."""

    dim: int
    transforms: list[Any]

    def _split(self, value: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def _join(self, values: list[Tensor], dim: int) -> Tensor:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        return self._join([t(v) for v, t in zip(self._split(x), self.transforms, strict=True)], self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._join([t.inv(v) for v, t in zip(self._split(y), self.transforms, strict=True)], self.dim)

    @property
    def bijective(self) -> bool:
        return all(t.bijective for t in self.transforms)


def _check_transforms(tseq: Sequence[Any]) -> None:
    if not all(isinstance(t, Transform) for t in tseq):
        raise AssertionError(
            f"All elements of tseq must be Transform instances, found {[type(t).__name__ for t in tseq]}"
        )


def _check_dim(dim: int, value: Tensor) -> None:
    if not -value.dim() <= dim < value.dim():
        raise AssertionError(f"dim {dim} out of range for tensor with {value.dim()} dims")


class CatTransform(_SeveralTransforms):
    """Transforms of slices of an argument along a dimension, joined as ``torch.cat`` does.

    Args:
        tseq: the transforms.
        dim: the dimension.
        lengths: the lengths of the slices; by default 1 each.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import CatTransform, ExpTransform, identity_transform
    >>> CatTransform([ExpTransform(), identity_transform], lengths=[1, 2])(fastnn.tensor([0.0, 1.0, 2.0]))
    tensor([1., 1., 2.])
    """

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0
    ) -> None:
        _check_transforms(tseq)
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(f"lengths ({len(self.lengths)}) must match the transforms ({len(self.transforms)})")
        self.dim = dim

    @lazy_property
    def event_dim(self) -> int:
        """The largest of the transforms."""
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self) -> int:
        """The number of elements along the dimension."""
        return sum(self.lengths)

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _split(self, value: Tensor) -> list[Tensor]:
        _check_dim(self.dim, value)
        if value.shape[self.dim] != self.length:
            raise AssertionError(f"size {value.shape[self.dim]} of dimension {self.dim} must be {self.length}")
        return list(value.split(self.lengths, self.dim))

    def _join(self, values: list[Tensor], dim: int) -> Tensor:
        return fastnn.cat(values, dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        terms = []
        for t, before, after in zip(self.transforms, self._split(x), self._split(y), strict=True):
            term = t.log_abs_det_jacobian(before, after)
            terms.append(sum_rightmost(term, self.event_dim - t.event_dim) if t.event_dim < self.event_dim else term)
        dim = self.dim if self.dim < 0 else self.dim - x.dim()
        dim += self.event_dim
        return fastnn.cat(terms, dim) if dim < 0 else functools.reduce(operator.add, terms)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_SeveralTransforms):
    """Transforms of the slices at 0, 1, 2 ... of a dimension, joined as ``torch.stack`` does.

    Args:
        tseq: the transforms.
        dim: the dimension.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ExpTransform, StackTransform, identity_transform
    >>> StackTransform([ExpTransform(), identity_transform], dim=1)(fastnn.zeros(2, 2))
    tensor([[1., 0.],
            [1., 0.]])
    """

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        _check_transforms(tseq)
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    def with_cache(self, cache_size: int = 1) -> Any:
        return self if self._cache_size == cache_size else StackTransform(self.transforms, self.dim, cache_size)

    def _split(self, value: Tensor) -> list[Tensor]:
        _check_dim(self.dim, value)
        if value.shape[self.dim] != len(self.transforms):
            raise AssertionError(
                f"size {value.shape[self.dim]} of dimension {self.dim} must be {len(self.transforms)}"
            )
        return [value.select(self.dim, i) for i in range(len(self.transforms))]

    def _join(self, values: list[Tensor], dim: int) -> Tensor:
        return fastnn.stack(values, dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._split(x), self._split(y), strict=True)
        return fastnn.stack([t.log_abs_det_jacobian(before, after) for t, before, after in parts], dim=self.dim)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.stack([t.codomain for t in self.transforms], self.dim)


# -- Numbers --------------------------------------------------------------------------------------


class _Plain(Transform):
    """A transform without parameters: all instances are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) or (isinstance(other, Transform) and isinstance(other, self._kind()))

    __hash__ = None

    def _kind(self) -> type:
        """The class of this module that it is an instance of."""
        return next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)


class _Increasing(_Plain):
    bijective = True
    domain: Any = constraints.real
    sign = 1


class ExpTransform(_Increasing):
    """``y = exp(x)``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ExpTransform
    >>> ExpTransform()(fastnn.tensor(0.0))
    tensor(1.)
    """

    codomain: Any = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


def _number_shape(shape: Any, *parameters: Any) -> Any:
    shapes = [p.shape for p in parameters if isinstance(p, Tensor)]
    return fastnn.broadcast_shapes(shape, *shapes) if shapes else shape


def _same(first: Any, second: Any) -> bool:
    """Whether two parameters, numbers or tensors, are equal."""
    equal = first == second
    return bool(equal.all()) if isinstance(equal, Tensor) else bool(equal)


class PowerTransform(Transform):
    """``y = x ** exponent`` for positive x.

    Args:
        exponent: a number or a tensor, not 0.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import PowerTransform
    >>> PowerTransform(2.0)(fastnn.tensor(3.0))
    tensor(9.)
    """

    domain: Any = constraints.positive
    codomain: Any = constraints.positive
    bijective = True

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        (self.exponent,) = broadcast_all(exponent)

    def with_cache(self, cache_size: int = 1) -> Any:
        return self if self._cache_size == cache_size else PowerTransform(self.exponent, cache_size=cache_size)

    @lazy_property
    def sign(self) -> Any:
        """The sign of the exponent."""
        return self.exponent.sign()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and _same(self.exponent, other.exponent)

    __hash__ = None

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.exponent)

    def inverse_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.exponent)


class SigmoidTransform(_Increasing):
    """``y = 1 / (1 + exp(-x))``, and ``x = log(y) - log(1 - y)``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import SigmoidTransform
    >>> SigmoidTransform()(fastnn.tensor(0.0))
    tensor(0.5000)
    """

    codomain: Any = constraints.unit_interval

    def _call(self, x: Tensor) -> Tensor:
        kind = np.finfo(x._data.dtype)
        return x.sigmoid().clamp(min=float(kind.tiny), max=1.0 - float(kind.eps))

    def _inverse(self, y: Tensor) -> Tensor:
        kind = np.finfo(y._data.dtype)
        y = y.clamp(min=float(kind.tiny), max=1.0 - float(kind.eps))
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -softplus(-x) - softplus(x)


class SoftplusTransform(_Increasing):
    """``y = log(1 + exp(x))``, and y = x above 20.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import SoftplusTransform
    >>> SoftplusTransform()(fastnn.tensor(0.0))
    tensor(0.6931)
    """

    codomain: Any = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -softplus(-x)


class TanhTransform(_Increasing):
    """``y = tanh(x)``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import TanhTransform
    >>> TanhTransform()(fastnn.tensor(0.0))
    tensor(0.)
    """

    codomain: Any = constraints.interval(-1.0, 1.0)

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        # log(1 - tanh(x)**2) without cancellation.
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))


class AbsTransform(_Plain):
    """``y = abs(x)``; the inverse is the positive one of the two.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import AbsTransform
    >>> AbsTransform()(fastnn.tensor(-2.0))
    tensor(2.)
    """

    domain: Any = constraints.real
    codomain: Any = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """``y = loc + scale * x``.

    Args:
        loc, scale: numbers or tensors; ``scale`` not 0.
        event_dim: the number of dimensions of one argument: 0 for numbers, 1 for vectors.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import AffineTransform
    >>> AffineTransform(1.0, 2.0)(fastnn.tensor(3.0))
    tensor(7.)
    """

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        """The number of dimensions of one argument."""
        return self._event_dim

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Any:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Any:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return AffineTransform(self.loc, self.scale, self._event_dim, cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AffineTransform) and _same(self.loc, other.loc) and _same(self.scale, other.scale)
        )

    __hash__ = None

    @property
    def sign(self) -> Any:
        if isinstance(self.scale, Tensor):
            return self.scale.sign()
        return (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.scale, Tensor):
            each = self.scale.abs().log()
        else:
            each = fastnn.full_like(x, math.log(abs(self.scale)))
        shape = x.shape
        if self._event_dim:
            # One term for each element of an event, summed over it.
            each = sum_rightmost(each.expand(*np.broadcast_shapes(each.shape, shape)), self._event_dim)
            shape = shape[: -self._event_dim]
        return each.expand(*np.broadcast_shapes(each.shape, shape))

    def forward_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.loc, self.scale)

    def inverse_shape(self, shape: Any) -> Any:
        return _number_shape(shape, self.loc, self.scale)


class CumulativeDistributionTransform(Transform):
    """The distribution function of a distribution of numbers.

    Args:
        distribution: with ``cdf``, ``icdf`` and ``log_prob``.

    >>> import fastnn
    >>> from fastnn.distributions import Normal
    >>> from fastnn.distributions.transforms import CumulativeDistributionTransform
    >>> CumulativeDistributionTransform(Normal(0.0, 1.0))(fastnn.tensor(0.0))
    tensor(0.5000)
    """

    bijective = True
    codomain: Any = constraints.unit_interval
    sign = 1

    def __init__(self, distribution: Distribution, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Any:
        """The support of the distribution."""
        return self.distribution.support

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distribution.log_prob(x)

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return CumulativeDistributionTransform(self.distribution, cache_size=cache_size)


# -- Vectors and matrices -------------------------------------------------------------------------


def _shape_of(shape: Any, least: int, change: Callable[..., tuple[int, ...]]) -> Any:
    if len(shape) < least:
        raise ValueError(f"Too few dimensions on input: expected at least {least}, found {len(shape)}")
    return fastnn.Size(change(*shape))


class SoftmaxTransform(_Plain):
    """``y = softmax(x)``; the inverse is ``log(y)``, one of many.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import SoftmaxTransform
    >>> SoftmaxTransform()(fastnn.tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """

    domain: Any = constraints.real_vector
    codomain: Any = constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def forward_shape(self, shape: Any) -> Any:
        return _shape_of(shape, 1, lambda *sizes: sizes)

    def inverse_shape(self, shape: Any) -> Any:
        return _shape_of(shape, 1, lambda *sizes: sizes)


class StickBreakingTransform(_Plain):
    """n - 1 real numbers to n positive ones that sum to 1.

    A stick of length 1 is broken n - 1 times: element i is the share ``sigmoid(x[i] - log(n - 1 - i))`` of what is
    left, and the last element is the rest.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import StickBreakingTransform
    >>> StickBreakingTransform()(fastnn.zeros(1))
    tensor([0.5000, 0.5000])
    """

    domain: Any = constraints.real_vector
    codomain: Any = constraints.simplex
    bijective = True

    def _shift(self, x: Tensor, count: int) -> Tensor:
        """The logarithms of the numbers of pieces that follow each one."""
        return fastnn.arange(count, 0, -1, dtype=x.dtype).log()

    def _call(self, x: Tensor) -> Tensor:
        share = (x - self._shift(x, x.shape[-1])).sigmoid()
        rest = (1 - share).cumprod(-1)
        return pad(share, [0, 1], value=1) * pad(rest, [1, 0], value=1)

    def _inverse(self, y: Tensor) -> Tensor:
        pieces = y[..., :-1]
        # Rounding may make the rest 0.
        rest = (1 - pieces.cumsum(-1)).clamp(min=float(np.finfo(y._data.dtype).tiny))
        return pieces.log() - rest.log() + self._shift(y, pieces.shape[-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        x = x - self._shift(x, x.shape[-1])
        return (-x + logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        return _shape_of(shape, 1, lambda *sizes: (*sizes[:-1], sizes[-1] + 1))

    def inverse_shape(self, shape: Any) -> Any:
        return _shape_of(shape, 1, lambda *sizes: (*sizes[:-1], sizes[-1] - 1))


class CorrCholeskyTransform(Transform):
    """n (n - 1) / 2 real numbers to the Cholesky factor of a correlation matrix.

    The numbers ``z = tanh(x)`` fill the lower triangle row by row; row i is then
    ``y[i, j] = z[i, j] * sqrt((1 - z[i, 0]**2) ... (1 - z[i, j - 1]**2))``, with ``z[i, i] = 1``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import CorrCholeskyTransform
    >>> CorrCholeskyTransform()(fastnn.zeros(1))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain: Any = constraints.real_vector
    codomain: Any = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        eps = float(np.finfo(x._data.dtype).eps)
        z = vec_to_tril_matrix(x.tanh().clamp(min=-1 + eps, max=1 - eps), diag=-1)
        left = (1 - z**2).sqrt().cumprod(-1)
        z = z + fastnn.eye(z.shape[-1], dtype=z.dtype)
        return z * pad(left[..., :-1], [1, 0], value=1)

    def _inverse(self, y: Tensor) -> Tensor:
        # What is left of the length of a row, before each element.
        left = pad((1 - (y * y).cumsum(-1))[..., :-1], [1, 0], value=1)
        z = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(left, diag=-1).sqrt()
        return (z.log1p() - (-z).log1p()) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor, intermediates: Any = None) -> Tensor:
        left = tril_matrix_to_vec(1 - (y * y).cumsum(-1), diag=-2)
        slopes = -2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)
        return 0.5 * left.log().sum(-1) + slopes

    def forward_shape(self, shape: Any) -> Any:
        def change(*sizes: int) -> tuple[int, ...]:
            count = sizes[-1]
            n = round((0.25 + 2 * count) ** 0.5 + 0.5)
            if n * (n - 1) // 2 != count:
                raise ValueError(
                    f"Input is not a flattened lower-diagonal number: expected n * (n - 1) / 2, found {count}"
                )
            return (*sizes[:-1], n, n)

        return _shape_of(shape, 1, change)

    def inverse_shape(self, shape: Any) -> Any:
        def change(*sizes: int) -> tuple[int, ...]:
            if sizes[-2] != sizes[-1]:
                raise ValueError(f"Input is not square: found {sizes[-2]} by {sizes[-1]}")
            return (*sizes[:-2], sizes[-1] * (sizes[-1] - 1) // 2)

        return _shape_of(shape, 2, change)


class LowerCholeskyTransform(_Plain):
    """Matrices to lower triangular ones with a positive diagonal: ``y = tril(x, -1) + diag(exp(diag(x)))``.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import LowerCholeskyTransform
    >>> LowerCholeskyTransform()(fastnn.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain: Any = constraints.independent(constraints.real, 2)
    codomain: Any = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(_Plain):
    """Matrices to positive definite ones: ``y = L @ L.T`` with L of :class:`LowerCholeskyTransform`.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import PositiveDefiniteTransform
    >>> PositiveDefiniteTransform()(fastnn.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain: Any = constraints.independent(constraints.real, 2)
    codomain: Any = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        lower = LowerCholeskyTransform()(x)
        return lower @ lower.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(fastnn.linalg.cholesky(y))
