"""Transforms to triangular and positive definite matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.distribution import tril_matrix_to_vec, vec_to_tril_matrix
from fastnn.distributions.transforms.transform import PlainTransform, Transform
from fastnn.distributions.transforms.vectors import shape_of
from fastnn.nn.functional import pad, softplus


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
        # The rest of the length of a row, before each element.
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

        return shape_of(shape, 1, change)

    def inverse_shape(self, shape: Any) -> Any:
        def change(*sizes: int) -> tuple[int, ...]:
            if sizes[-2] != sizes[-1]:
                raise ValueError(f"Input is not square: found {sizes[-2]} by {sizes[-1]}")
            return (*sizes[:-2], sizes[-1] * (sizes[-1] - 1) // 2)

        return shape_of(shape, 2, change)


class LowerCholeskyTransform(PlainTransform):
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


class PositiveDefiniteTransform(PlainTransform):
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
