"""The base of transforms, their inverse, and bases of transforms without parameters."""

from __future__ import annotations

import weakref
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints

_FOLDER = f"{__package__}."



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


class PlainTransform(Transform):
    """A transform without parameters: all instances are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) or (isinstance(other, Transform) and isinstance(other, self._kind()))

    __hash__ = None

    def _kind(self) -> type:
        """The class of this folder that it is an instance of."""
        return next(kind for kind in type(self).__mro__ if kind.__module__.startswith(_FOLDER))


class IncreasingTransform(PlainTransform):
    bijective = True
    domain: Any = constraints.real
    sign = 1
