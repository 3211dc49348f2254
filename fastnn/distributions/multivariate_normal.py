"""The normal distribution of vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn import linalg
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, draw, lazy_property

_MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


class MultivariateNormal(Distribution):
    """Vectors with mean ``loc`` and a covariance.

    Args:
        loc: (..., n).
        covariance_matrix: (..., n, n) positive definite; or
        precision_matrix: its inverse; or
        scale_tril: its Cholesky factor, lower triangular with a positive diagonal.

    >>> import fastnn
    >>> from fastnn.distributions import MultivariateNormal
    >>> MultivariateNormal(fastnn.zeros(2), fastnn.eye(2)).log_prob(fastnn.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support: Constraint = constraints.real_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional, found a single number.")
        name, matrix = given_matrix(covariance_matrix, precision_matrix, scale_tril)
        n = loc.shape[-1]
        batch = fastnn.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        self.loc = loc.expand(*batch, n)
        # Replaces the lazy property of this name.
        self.__dict__[name] = matrix.expand(*batch, n, n)
        super().__init__(batch, (n,), validate_args)
        # A matrix that is not positive definite fails here and not in a later call.
        self._unbroadcasted_scale_tril = factor_of(name, matrix)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        return self._expanded(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance of the elements."""
        return self._expanded(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return linalg.inv(self.covariance_matrix)

    def _expanded(self, matrix: Tensor) -> Tensor:
        return matrix.expand(*self._batch_shape, *self._event_shape, *self._event_shape)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        each = (self._unbroadcasted_scale_tril**2).sum(-1)
        return each.expand(*self._batch_shape, *self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = draw("standard_normal", self._sizes(sample_shape), self.loc._data.dtype)
        return self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        scaled = _solved(self._unbroadcasted_scale_tril, (value - self.loc).unsqueeze(-1)).squeeze(-1)
        size = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (size + (scaled**2).sum(-1)) - self._half_log_det()

    def entropy(self) -> Tensor:
        half = 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._half_log_det()
        return half.expand(*self._batch_shape)


def given_matrix(*matrices: Tensor | None, error: type[Exception] = ValueError) -> tuple[str, Tensor]:
    """The one matrix of the three that is given, with its name; an error of this kind unless there is one."""
    found = [(name, matrix) for name, matrix in zip(_MATRICES, matrices, strict=True) if matrix is not None]
    if len(found) != 1:
        raise error(
            "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified, found "
            f"{' and '.join(name for name, _ in found) or 'none'}."
        )
    name, matrix = found[0]
    if matrix.dim() < 2:
        raise ValueError(
            f"{name} must be at least two-dimensional, with optional leading batch dimensions, found shape "
            f"{tuple(matrix.shape)}"
        )
    return name, matrix


def factor_of(name: str, matrix: Tensor) -> Tensor:
    """The Cholesky factor of the covariance, from the matrix of this name."""
    if name == "scale_tril":
        return matrix
    return linalg.cholesky(linalg.inv(matrix) if name == "precision_matrix" else matrix)


def _solved(lower: Tensor, right: Tensor) -> Tensor:
    """``lower^-1 @ right`` for batches of lower triangular matrices."""
    shape = fastnn.broadcast_shapes(tuple(lower.shape[:-2]), tuple(right.shape[:-2]))
    left = lower.expand(*shape, *lower.shape[-2:])
    return linalg.solve_triangular(left, right.expand(*shape, *right.shape[-2:]), upper=False)


# -- Helpers under PyTorch's names, for libraries --------------------------------------------------


def _batch_mv(bmat: Tensor, bvec: Tensor) -> Tensor:
    """``bmat @ bvec`` for batches of matrices and vectors."""
    return (bmat @ bvec.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(bL: Tensor, bx: Tensor) -> Tensor:  # PyTorch's name
    """``x.T @ (L @ L.T)**-1 @ x`` for batches of lower triangular matrices L and vectors x."""
    return (_solved(bL, bx.unsqueeze(-1)) ** 2).sum((-2, -1))


def _precision_to_scale_tril(P: Tensor) -> Tensor:  # PyTorch's name
    """The Cholesky factor of the inverse."""
    return linalg.cholesky(linalg.inv(P))
