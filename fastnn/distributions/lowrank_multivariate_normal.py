"""The normal distribution of vectors whose covariance is a diagonal and a matrix of low rank."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn import linalg
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, draw, lazy_property
from fastnn.distributions.multivariate_normal import _solved

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(Distribution):
    """Vectors with mean ``loc`` and covariance ``W @ W.T + diag(D)``.

    Densities cost the factorization of a matrix of r rows, ``C = I + W.T @ diag(1 / D) @ W`` (Woodbury's formula and
    the matrix determinant lemma).

    Args:
        loc: (..., n).
        cov_factor: W, (..., n, r).
        cov_diag: D, (..., n), positive.

    >>> import fastnn
    >>> from fastnn.distributions import LowRankMultivariateNormal
    >>> LowRankMultivariateNormal(fastnn.zeros(2), fastnn.ones(2, 1), fastnn.ones(2)).variance
    tensor([2., 2.])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }  # fmt: skip
    support: Constraint = constraints.real_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional, found a single number.")
        n = loc.shape[-1]
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading batch dimensions, found shape "
                f"{tuple(cov_factor.shape)}"
            )
        if cov_factor.shape[-2] != n:
            raise ValueError(
                f"cov_factor must be a batch of matrices with shape {n} x m, found shape {tuple(cov_factor.shape)}"
            )
        if cov_diag.dim() < 1 or cov_diag.shape[-1] != n:
            raise ValueError(
                f"cov_diag must be a batch of vectors with shape {(n,)}, found shape {tuple(cov_diag.shape)}"
            )
        shapes = loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]
        try:
            batch = np.broadcast_shapes(*[tuple(s) for s in shapes])
        except ValueError:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from None
        self.loc, self.cov_diag = loc.expand(*batch, n), cov_diag.expand(*batch, n)
        self.cov_factor = cov_factor.expand(*batch, *cov_factor.shape[-2:])
        # Without the dimensions that only other parameters have, whose results would all be equal.
        own = fastnn.broadcast_shapes(tuple(shapes[1]), tuple(shapes[2]))
        self._unbroadcasted_cov_factor = cov_factor.expand(*own, *cov_factor.shape[-2:])
        self._unbroadcasted_cov_diag = cov_diag.expand(*own, n)
        self._capacitance_tril = _capacitance(self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag)
        super().__init__(batch, (n,), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Any:
        """The diagonal of the covariance."""
        each = (self._unbroadcasted_cov_factor**2).sum(-1) + self._unbroadcasted_cov_diag
        return each.expand(*self._batch_shape, *self._event_shape)

    def _expanded(self, matrix: Tensor) -> Tensor:
        return matrix.expand(*self._batch_shape, *self._event_shape, *self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        factor = self._unbroadcasted_cov_factor / root
        inner = factor @ factor.mT + fastnn.eye(self._event_shape[0], dtype=factor.dtype)
        return self._expanded(root * linalg.cholesky(inner))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance of the elements."""
        factor = self._unbroadcasted_cov_factor
        return self._expanded(factor @ factor.mT + self._unbroadcasted_cov_diag.diag_embed())

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        diagonal = self._unbroadcasted_cov_diag
        inner = _solved(self._capacitance_tril, self._unbroadcasted_cov_factor.mT / diagonal.unsqueeze(-2))
        return self._expanded(diagonal.reciprocal().diag_embed() - inner.mT @ inner)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        for name in ("variance", "scale_tril", "covariance_matrix", "precision_matrix"):
            # Those of the smaller batch.
            new.__dict__.pop(name, None)
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape, kind = self._sizes(sample_shape), self.loc._data.dtype
        inner = draw("standard_normal", (*shape[:-1], self.cov_factor.shape[-1], 1), kind)
        outer = draw("standard_normal", tuple(shape), kind)
        low = (self._unbroadcasted_cov_factor @ inner).squeeze(-1)
        return self.loc + low + self._unbroadcasted_cov_diag.sqrt() * outer

    def _half_log_det(self) -> Tensor:
        return _half_log_det(self._unbroadcasted_cov_diag, self._capacitance_tril)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = _distance(
            self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, value - self.loc, self._capacitance_tril
        )
        size = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (size + distance) - self._half_log_det()

    def entropy(self) -> Tensor:
        half = 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._half_log_det()
        return half.expand(*self._batch_shape)


def _capacitance(factor: Tensor, diagonal: Tensor) -> Tensor:
    """The Cholesky factor of ``I + W.T @ diag(1 / D) @ W``."""
    inner = (factor.mT / diagonal.unsqueeze(-2)) @ factor
    return linalg.cholesky(inner + fastnn.eye(factor.shape[-1], dtype=factor.dtype))


def _half_log_det(diagonal: Tensor, capacitance: Tensor) -> Tensor:
    """Half of the logarithm of the determinant of ``W @ W.T + diag(D)``."""
    return capacitance.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * diagonal.log().sum(-1)


def _distance(factor: Tensor, diagonal: Tensor, x: Tensor, capacitance: Tensor) -> Tensor:
    """``x.T @ (W @ W.T + diag(D))**-1 @ x``."""
    inner = factor.mT @ (x / diagonal).unsqueeze(-1)
    return (x**2 / diagonal).sum(-1) - (_solved(capacitance, inner) ** 2).sum((-2, -1))
