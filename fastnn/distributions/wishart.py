"""The Wishart distribution."""

from __future__ import annotations

import math
import warnings
from typing import Any

import fastnn
from fastnn import linalg
from fastnn._core import capture_state
from fastnn._core.dtypes import limits
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.chi2 import Chi2
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import draw, lazy_property
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.distributions.multivariate_normal import _solved, factor_of, given_matrix

__all__ = ["Wishart"]


class Wishart(ExponentialFamily):
    """The sum of ``x @ x.T`` of ``df`` normal vectors of n numbers with mean 0 and a covariance V.

    The density is proportional to ``det(X)**((df - n - 1) / 2) exp(-trace(V**-1 @ X) / 2)``.

    Args:
        df: the degrees of freedom, above n - 1.
        covariance_matrix: V, (..., n, n) positive definite; or
        precision_matrix: its inverse; or
        scale_tril: its Cholesky factor, lower triangular with a positive diagonal.

    >>> import fastnn
    >>> from fastnn.distributions import Wishart
    >>> Wishart(3.0, fastnn.eye(2)).mean
    tensor([[3., 0.],
            [0., 3.]])
    """

    support: Constraint = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _stored = ("df", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(
        self, df: Any, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        name, matrix = given_matrix(covariance_matrix, precision_matrix, scale_tril, error=AssertionError)
        if not isinstance(df, Tensor):
            df = fastnn.tensor(df, dtype=matrix.dtype)
        n, batch = matrix.shape[-1], fastnn.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(df.shape))
        self.df = df.expand(*batch)
        # Replaces the lazy property of this name.
        self.__dict__[name] = matrix.expand(*batch, n, n)
        if (df.detach()._data <= n - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        super().__init__(batch, (n, n), validate_args)
        self._batch_dims = [-(i + 1) for i in range(len(batch))]
        if (df.detach()._data < n).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        # A matrix that is not positive definite fails here and not in a later call.
        self._unbroadcasted_scale_tril = factor_of(name, matrix)
        self._dist_chi2 = Chi2(self.df.unsqueeze(-1) - fastnn.arange(n, dtype=df.dtype), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        return {
            "covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(self._event_shape[-1] - 1),
        }  # fmt: skip

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._batch_dims = [-(i + 1) for i in range(len(new._batch_shape))]
        new._dist_chi2 = self._dist_chi2.expand((*batch_shape, self._event_shape[-1]))
        return new

    def _expanded(self, matrix: Tensor) -> Tensor:
        return matrix.expand(*self._batch_shape, *self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of V."""
        return self._expanded(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The matrix V."""
        return self._expanded(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of V."""
        return linalg.inv(self.covariance_matrix)

    @property
    def mean(self) -> Tensor:
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        factor = self.df - self._event_shape[-1] - 1
        return factor.masked_fill(factor <= 0, math.nan)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v**2 + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _bartlett_sampling(self, sample_shape: Any = ()) -> Tensor:
        """A draw by M. S. Bartlett's decomposition: ``L A A.T L.T`` with a triangular A of independent numbers."""
        kind = self.df._data.dtype
        noise = draw("standard_normal", self._sizes(sample_shape), kind).tril(-1)
        diagonal = self._dist_chi2.rsample(sample_shape).clamp(min=float(limits(kind).tiny)).sqrt()
        root = self._unbroadcasted_scale_tril @ (noise + diagonal.diag_embed())
        return root @ root.mT

    def rsample(self, sample_shape: Any = (), max_try_correction: int | None = None) -> Tensor:
        """Draws that pass gradients; those that roundings have made singular are drawn again, some times."""
        tries = (3 if self._batch_dims else 10) if max_try_correction is None else max_try_correction
        drawn = self._bartlett_sampling(sample_shape)
        capture_state.stop("a number is read in Python")
        singular = ~self.support.check(drawn)
        for _ in range(tries if self._validate_args and singular.any() else 0):
            drawn = fastnn.where(singular[..., None, None], self._bartlett_sampling(sample_shape), drawn)
            singular = ~self.support.check(drawn)
            if not singular.any():
                break
        return drawn

    def _log_det(self) -> Tensor:
        """Half of the logarithm of the determinant of V."""
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, df = self._event_shape[-1], self.df
        size = df * (0.5 * n * math.log(2) + self._log_det()) + (df / 2).mvlgamma(n)
        lower = self._unbroadcasted_scale_tril
        trace = _solved(lower, _solved(lower, value).mT).diagonal(dim1=-2, dim2=-1).sum(-1)
        return 0.5 * (df - n - 1) * linalg.slogdet(value)[1] - 0.5 * trace - size

    def entropy(self) -> Tensor:
        n, df = self._event_shape[-1], self.df
        digammas = (0.5 * (df.unsqueeze(-1) - fastnn.arange(n, dtype=df.dtype))).digamma().sum(-1)
        size = 0.5 * n * (n + 1) * math.log(2) + (n + 1) * self._log_det() + (df / 2).mvlgamma(n)
        return size - 0.5 * (df - n - 1) * digammas + 0.5 * df * n

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return -0.5 * self.precision_matrix, 0.5 * (self.df - self._event_shape[-1] - 1)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        x, y = natural_params
        n = self._event_shape[-1]
        half = y + 0.5 * (n + 1)
        return half.mvlgamma(n) - half * linalg.slogdet(-x)[1]
