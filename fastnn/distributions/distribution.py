"""Distribution: the base class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn._autograd.modes import _mode, enable_grad, no_grad
from fastnn._core.dtypes import from_numpy_dtype, limits
from fastnn._tensor.tensor import Size, Tensor, _wrap
from fastnn.distributions.constraints import is_dependent
from fastnn.random import default_generator

_every = np.logical_and.reduce
_FOLDER = "fastnn.distributions."


class lazy_property:
    """An attribute computed and recorded on first access, and cached."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped, self.__doc__ = wrapped, wrapped.__doc__
        self.name = wrapped.__name__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        # sample() may read it without recording, but log_prob() uses the cached value as well.
        if _mode.enabled:
            value = instance.__dict__[self.name] = self.wrapped(instance)
            return value
        with enable_grad():
            value = instance.__dict__[self.name] = self.wrapped(instance)
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

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args: bool = __debug__
    _is_valid = False
    _has_other_bases = False

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None, *,
        is_valid: bool = False,
    ) -> None:
        self._is_valid = is_valid
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args and not is_valid:
            own = self.__dict__
            try:
                arg_constraints = self.arg_constraints
            except NotImplementedError:
                arg_constraints = {}
                warnings.warn(
                    f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or "
                    "initialize the distribution with `validate_args=False` to turn off validation.",
                    stacklevel=2,
                )
            for name, constraint in arg_constraints.items():
                value = own.get(name)
                if value is None:
                    if name in self._checked_inside or isinstance(getattr(type(self), name, None), lazy_property):
                        # Computed from the other parameters, or checked already.
                        continue
                    value = getattr(self, name)
                try:
                    good = _every(constraint.check(value)._data, None)
                except ValueError:
                    if not is_dependent(constraint):
                        raise
                    continue
                if not good:
                    raise ValueError(
                        f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of "
                        f"distribution {self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n"
                        f"{value}"
                    )
        if self._has_other_bases:
            super().__init__()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__
        if cls.__module__.startswith(_FOLDER) and "_stored" not in own and isinstance(own.get("arg_constraints"), dict):
            cls._stored = tuple(own["arg_constraints"])
        # A call of object's function is left out.
        cls._has_other_bases = any(
            "__init__" in k.__dict__ for k in cls.__mro__ if k is not object and not issubclass(k, Distribution)
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
    def arg_constraints(self) -> Any:
        """The parameters by name, with their constraints; a dictionary in the class unless it depends on them."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint of the possible values; it is in the class unless it depends on the parameters."""
        raise NotImplementedError

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

    def sample_n(self, n: int) -> Tensor:
        """``sample((n,))``; deprecated in PyTorch."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

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

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions in a larger batch, with parameters that are views.

        Args:
            batch_shape: the new shape, to which the batch must broadcast.
            _instance: an instance without attributes that a subclass has made; its method sets its own ones.

        Raises: NotImplementedError for a subclass that defines ``__init__``, but not ``expand``.
        """
        new, shape, before = self._copy(_instance), tuple(batch_shape), len(self._batch_shape)
        self._expand_parameters(new, shape, before)
        new._batch_shape = Size(shape)
        return new

    # Parameters that another distribution has checked, because this one is made from it.
    _checked_inside: tuple[str, ...] = ()
    # The tensors that `expand` expands: of a class of this folder its parameters. A subclass elsewhere may have others.
    _stored: tuple[str, ...] = ()

    def _expand_parameters(self, new: Any, shape: tuple[int, ...], before: int) -> None:
        for name in self._stored:
            value = self.__dict__.get(name)
            # A subclass may have set its own.
            if isinstance(value, Tensor) and new.__dict__.get(name) is value:
                new.__dict__[name] = value.expand(*shape, *value.shape[before:])

    def _copy(self, instance: Any) -> Any:
        """A copy for ``expand``, or ``instance`` with the attributes that it does not have yet."""
        if instance is None:
            owner = next(kind for kind in type(self).__mro__ if "__init__" in kind.__dict__)
            if not owner.__module__.startswith(_FOLDER):
                raise NotImplementedError(
                    f"Subclass {type(self).__name__} of {type(self).__mro__[1].__name__} that defines a custom "
                    "__init__ method must also define a custom .expand() method."
                )
            instance = type(self).__new__(type(self))
        own = instance.__dict__
        for name, value in self.__dict__.items():
            own.setdefault(name, value)
        return instance

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """The instance that ``expand`` of a subclass fills, as :meth:`_copy` checks it."""
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]  # compared only
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        return type(self).__new__(type(self)) if _instance is None else _instance

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size(self._sizes(sample_shape))

    def _sizes(self, sample_shape: Any) -> tuple[int, ...]:
        """The shape of draws."""
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def _validate_sample(self, value: Any) -> None:
        """ValueError for a value that is not a tensor, has a wrong shape or is outside the support."""
        if not isinstance(value, Tensor):
            raise ValueError(f"The value argument to log_prob must be a Tensor, found {type(value).__name__}")
        shape, expected = value._data.shape, (*self._batch_shape, *self._event_shape)
        start = len(shape) - len(self._event_shape)
        if start < 0 or shape[start:] != tuple(self._event_shape):
            raise ValueError(
                f"The right-most size of value must match event_shape: {shape} vs {tuple(self._event_shape)}."
            )
        for i, j in () if shape == expected else zip(reversed(shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {expected}.")
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not _every(support.check(value)._data, None):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
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
    shape = fastnn.broadcast_shapes(*[t._data.shape for t in tensors])
    return [t if t._data.shape == shape else t.expand(*shape) for t in tensors]


def either(name: str, first: Any, other: str, second: Any) -> bool:
    """Whether the first of two parameters is given; ValueError unless exactly one of them is."""
    if (first is None) == (second is None):
        raise ValueError(f"Either `{name}` or `{other}` must be specified, but not both.")
    return first is not None


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities in the open interval (0, 1)."""
    eps = float(limits(probs._data.dtype).eps)
    return probs.clamp(eps, 1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """The logarithms of probabilities, or their log-odds if ``is_binary``.

    >>> import fastnn
    >>> from fastnn.distributions.utils import probs_to_logits
    >>> probs_to_logits(fastnn.tensor([0.5]), is_binary=True)
    tensor([0.])
    """
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """The probabilities with these logarithms, up to a constant, or with these log-odds if ``is_binary``.

    >>> import fastnn
    >>> from fastnn.distributions.utils import logits_to_probs
    >>> logits_to_probs(fastnn.tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """The sum over the last ``dim`` dimensions."""
    return value.sum(tuple(range(-dim, 0))) if dim else value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The lower triangle of (..., n, n) matrices, up to the diagonal ``diag``, row by row.

    Raises: ValueError for a diagonal outside [-n, n).

    >>> import fastnn
    >>> from fastnn.distributions.utils import tril_matrix_to_vec
    >>> tril_matrix_to_vec(fastnn.tensor([[1.0, 0.0], [2.0, 3.0]]))
    tensor([1., 2., 3.])
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = np.tril_indices(n, diag)
    return mat.reshape(*mat.shape[:-2], n * n)[..., _wrap(rows * n + columns)]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The matrices (..., n, n) whose lower triangle, up to the diagonal ``diag``, has the elements of ``vec``.

    Raises: ValueError if the number of elements is not that of a triangle.

    >>> import fastnn
    >>> from fastnn.distributions.utils import vec_to_tril_matrix
    >>> vec_to_tril_matrix(fastnn.tensor([1.0, 2.0, 3.0]))
    tensor([[1., 0.],
            [2., 3.]])
    """
    count = vec.shape[-1]
    # count = (n + diag) (n + diag + 1) / 2, less the triangle that a positive diagonal cuts off.
    n = (math.sqrt((1 + 2 * diag) ** 2 + 8 * count + 4 * abs(diag) * (diag + 1)) - 1 - 2 * diag) / 2
    if abs(n - round(n)) > float(limits(vec._data.dtype).eps):
        raise ValueError(
            f"The size of last dimension is {count} which cannot be expressed as the lower triangular part of a "
            "square D x D matrix."
        )
    size = round(n)
    rows, columns = np.tril_indices(size, diag)
    index = _wrap(np.broadcast_to(rows * size + columns, vec.shape).copy())
    flat = vec.new_zeros(*vec.shape[:-1], size * size)
    return flat.scatter(-1, index, vec).reshape(*vec.shape[:-1], size, size)


def standard_normal(shape: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Draws from the standard normal distribution."""
    return fastnn.randn(tuple(shape), dtype=dtype, device=device)


def draw(method: str, shape: tuple[int, ...], kind: np.dtype) -> Tensor:
    """A tensor of draws from the default generator, by the name of its NumPy method."""
    if kind.itemsize == 2:
        return draw(method, shape, np.dtype(np.float32)).to(from_numpy_dtype(kind))
    return _wrap(default_generator().numbers(method, shape, kind))
