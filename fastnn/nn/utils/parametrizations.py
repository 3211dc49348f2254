"""Parametrisations of weights: normalised, of spectral norm 1, orthogonal."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.nn.utils.parametrize import register_parametrization
from fastnn.nn.utils.weight_norm import (
    as_matrix,
    norm_except_dim,
    power_iteration,
    spectral_start,
    weighted_direction,
)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """``g * v / |v|``."""
        return weighted_direction(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The lengths, and the weight itself as the direction."""
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train the length and the direction of a weight separately (arXiv:1602.07868).

    They are ``parametrizations.<name>.original0`` and ``original1``.

    >>> import fastnn
    >>> layer = fastnn.nn.utils.parametrizations.weight_norm(fastnn.nn.Linear(3, 2))
    >>> [(name, tuple(p.shape)) for name, p in layer.named_parameters()][1:]
    [('parametrizations.weight.original0', (2, 1)), ('parametrizations.weight.original1', (2, 3))]
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        if not -weight.dim() <= dim < weight.dim():
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{weight.dim()}, {weight.dim() - 1}] but got "
                f"{dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.n_power_iterations, self.eps = dim % weight.dim(), n_power_iterations, eps
        if weight.dim() > 1:
            # Well converged from the start, as in PyTorch.
            u, v = spectral_start(as_matrix(weight.detach(), self.dim)._data, 15, eps)
            self.register_buffer("_u", _wrap(u))
            self.register_buffer("_v", _wrap(v))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by its largest singular value."""
        if weight.dim() == 1:
            return weight / weight.norm(2, 0, keepdim=True).clamp_min(self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            with no_grad():
                found = power_iteration(
                    matrix._data, self._u._data, self._v._data, self.n_power_iterations, self.eps
                )
                self._u._data[...], self._v._data[...] = found
        u, v = _wrap(self._u._data.copy()), _wrap(self._v._data.copy())
        return weight / (u * (matrix @ v)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: the scale is not known."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value (arXiv:1802.05957), found by power iteration.

    Args:
        module: the owner of the parameter.
        name: of the parameter.
        n_power_iterations: iterations per read of the weight in training.
        eps: the lower bound of a norm that is divided by.
        dim: the dimension of the outputs, 0 by default.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    made = _SpectralNorm(weight, n_power_iterations, dim or 0, eps)
    return register_parametrization(module, name, made)


class _Orthogonal(Module):
    """The Q of the QR decomposition of the trained matrix, with the signs that make R's diagonal positive."""

    def forward(self, x: Tensor) -> Tensor:
        """A matrix with orthonormal columns, or rows if it has more columns."""
        wide = x.shape[-2] < x.shape[-1]
        q = _gram_schmidt(x.t() if wide else x)
        return q.t() if wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        """An orthogonal matrix near the value; ``forward`` leaves it unchanged."""
        array = value.detach()._data
        wide = array.shape[0] < array.shape[1]
        q, r = np.linalg.qr(array.T if wide else array)
        q = q * np.where(np.diag(r) < 0, -1, 1).astype(q.dtype)
        return _wrap(np.ascontiguousarray(q.T if wide else q))


def _gram_schmidt(x: Tensor) -> Tensor:
    """The Q of the QR decomposition ``x = Q R`` with a positive diagonal of R, in tensor operations.

    R is the Cholesky factor of ``x.T x``; its derivative follows S. F. Walter and L. Lehmann (arXiv:1001.1654).
    """
    from fastnn._autograd.engine import Node
    from fastnn._tensor.tensor import _recorded

    q, r = np.linalg.qr(x._data)
    signs = np.where(np.diag(r) < 0, -1, 1).astype(q.dtype)
    q, r = q * signs, r * signs[:, None]
    if not _recorded(x):
        return _wrap(q)

    def run(grad: Tensor) -> tuple[Tensor]:
        g = grad._data
        m = q.T @ g
        lower = np.tril(m - m.T, -1)
        return (_wrap(np.linalg.solve(r, (g - q @ m + q @ lower).T).T),)

    return _wrap(q, Node("LinalgQr", (x,), run, keeps=True))


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a matrix orthogonal: its rows, or its columns if there are fewer of them, are orthonormal.

    Differs from PyTorch, which reaches the same set of matrices by the matrix exponential or the Cayley map:
    here the matrix is the Q of the QR decomposition of the trained one.

    Args:
        module: the owner of the parameter.
        name: of the parameter, a matrix.
        orthogonal_map: accepted: 'matrix_exp', 'cayley' or 'householder'.
        use_trivialization: accepted and ignored.
    """
    weight: Any = getattr(module, name, None)
    if not isinstance(weight, Parameter):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() != 2:
        raise ValueError(f"Expected a matrix. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map not in (None, "matrix_exp", "cayley", "householder"):
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: ' + str(orthogonal_map)
        )
    return register_parametrization(module, name, _Orthogonal())
