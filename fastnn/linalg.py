"""``torch.linalg``: decompositions and solvers, norms and other properties of a matrix, powers and products."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._core.dtypes import from_numpy_dtype, promoted
from fastnn._core.errors import DTypeError, LinAlgError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.ops import slicing, vectors
from fastnn.ops.core import also_read, check_tensor, named
from fastnn.ops.decompositions import (
    _matrix,
    _singular,
    _t,
    cholesky,
    cholesky_ex,
    cholesky_inverse,
    cholesky_solve,
    det,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    inv,
    inv_ex,
    logdet,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    matrix_exp,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)
from fastnn.ops.factorizations import orgqr as householder_product
from fastnn.ops.factorizations import solve_ex, tensorinv, tensorsolve
from fastnn.ops.joining import cat, stack
from fastnn.ops.norms import matrix_norm, vector_norm
from fastnn.ops.products import matmul, multi_dot

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals",
    "eigvalsh", "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve",
    "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr",
    "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander",
    "vecdot", "vector_norm",
]  # fmt: skip


@named
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of length 3 along ``dim``."""
    return vectors.cross(input, other, dim)


@named
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices as the last dimension; shares memory."""
    return slicing.diagonal(A, offset, dim1, dim2)


# -- Solvers by singular values -------------------------------------------------------------------


@named
def pinv(
    A: Tensor, rcond: float | None = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudoinverse, from the singular values that are not close to 0."""
    u, s, vh = svd(_matrix("pinv", A, square=False), full_matrices=False)
    limit = rcond if rcond is not None else rtol
    if limit is None:
        limit = max(A._data.shape[-2:]) * np.finfo(A._data.dtype).eps
    kept = s._data > float(limit) * s._data.max(axis=-1, initial=0, keepdims=True)
    inverse = (1 / s.masked_fill(_wrap(~kept), 1)).masked_fill(_wrap(~kept), 0)
    result = _t(vh) @ (inverse.unsqueeze(-1) * _t(u))
    return also_read(result, result, A)


@named
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """X with the smallest ``norm(A X - B)``; with residuals, rank and singular values."""
    a = _matrix("lstsq", A, square=False)
    check_tensor("B", B)
    if a._data.shape[-2] != (B._data.shape[-2] if B._data.ndim >= a._data.ndim else B._data.shape[-1]):
        raise ShapeError(f"linalg.lstsq: the rows of A and B must agree, found {list(a.shape)} and {list(B.shape)}")
    vector = B._data.ndim == a._data.ndim - 1
    b = B.unsqueeze(-1) if vector else B
    x = pinv(a) @ b
    also_read(x, x)
    rank = matrix_rank(a)
    residuals = _wrap(allocation.empty(0, a._data.dtype))
    if a._data.shape[-2] > a._data.shape[-1] and bool((rank == a._data.shape[-1]).all()):
        residuals = ((a @ x - b) ** 2).sum(-2)
    return return_types.linalg_lstsq(
        x.squeeze(-1) if vector else x, residuals.squeeze(-1) if vector and residuals._data.ndim else residuals, rank,
        _wrap(allocation.empty(0, a._data.dtype)),
    )  # fmt: skip


# -- Properties of a matrix ----------------------------------------------------------------------


@named
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The number of singular values that are not close to 0."""
    a = _matrix("matrix_rank", A, square=False)
    s = _singular("matrix_rank", a._data, compute_uv=False)
    limit = rtol if rtol is not None else max(a._data.shape[-2:]) * np.finfo(a._data.dtype).eps
    least = np.maximum(float(limit) * s.max(axis=-1, initial=0, keepdims=True), float(tol or atol or 0))
    return _wrap(np.asarray((s > least).sum(-1), np.int64))


@named
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors along one dimension, or of all elements; of matrices along two."""
    check_tensor("A", A)
    if dim is None and ord is None:
        return vector_norm(A.reshape(-1), 2, dtype=dtype).reshape((1,) * A._data.ndim if keepdim else ())
    if dim is None and A._data.ndim == 2:
        return matrix_norm(A, ord, (0, 1), keepdim, dtype=dtype)
    if dim is None and A._data.ndim > 2:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D, found shape "
            f"{tuple(A.shape)}."
        )
    if isinstance(ord, str) or (isinstance(dim, (tuple, list)) and len(dim) == 2 and ord is not None):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype)


@named
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the largest singular value over the smallest, or by another norm."""
    a = _matrix("cond", A, square=p not in (None, 2, -2))
    if not a._data.size:
        return _wrap(np.zeros(a._data.shape[:-2], a._data.dtype))
    if p in (None, 2, -2):
        s = svdvals(a)
        return s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    try:
        inverse = inv(a)
    except LinAlgError:
        if a._data.ndim > 2:
            # One of several: each on its own.
            return stack([cond(one, p) for one in a])
        return _wrap(np.full((), np.inf, a._data.dtype))
    return matrix_norm(a, p) * matrix_norm(inverse, p)


def _square(A: Tensor) -> Tensor:
    """A tensor of square matrices of any dtype."""
    check_tensor("A", A)
    if A._data.dtype.kind == "f" or A._data.ndim < 2 or A._data.shape[-1] != A._data.shape[-2]:
        return _matrix("matrix_power", A)
    return A


@named
def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times; its inverse for a negative n."""
    a = _square(A)
    if n < 0:
        return matrix_power(inv(a), -n)
    result = _wrap(np.broadcast_to(np.eye(a._data.shape[-1], dtype=a._data.dtype), a._data.shape).copy())
    if n == 0:
        return result
    found = None
    while n:
        if n & 1:
            found = a if found is None else found @ a
        n >>= 1
        if n:
            a = a @ a
    assert found is not None
    return found


@named
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sums of products along a dimension."""
    check_tensor("x", x)
    check_tensor("y", y)
    if x._data.dtype != y._data.dtype:
        raise DTypeError(f"linalg.vecdot: expected x and y of one dtype, found {x.dtype} and {y.dtype}")
    return (x * y).sum(dim)


@named
def vander(x: Tensor, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of each element, as rows."""
    check_tensor("x", x)
    if x._data.dtype == np.bool_:
        raise RuntimeError("linalg.vander supports floating point and integer tensors, but got bool")
    count = (x._data.shape or (1,))[-1] if N is None else N
    if count < 2:
        raise RuntimeError(f"N must be greater than 1, found {count}")
    x = x.to(from_numpy_dtype(promoted(x._data.dtype, np.dtype(np.int64))))
    column = x.unsqueeze(-1)
    powers = column.expand(*x._data.shape, count - 1).cumprod(-1)
    return cat([column.new_ones((*x._data.shape, 1)), powers], -1)


def svd_classic(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V (not transposed) with ``input = U diag(S) V^T``."""
    u, s, vh = svd(input, not some)
    return return_types.svd(u, s, _t(vh))


# Functions that are also in `torch` itself.
inverse = inv


METHODS = {
    "det": det, "inverse": inv, "pinverse": pinv, "slogdet": slogdet, "logdet": logdet, "matrix_power": matrix_power,
    "cholesky": lambda self, upper=False: cholesky(self, upper=upper),
    "cholesky_inverse": cholesky_inverse, "cholesky_solve": cholesky_solve,
    "matrix_exp": matrix_exp,
    "svd": lambda self, some=True: svd_classic(self, some),
    "qr": lambda self, some=True: qr(self, "reduced" if some else "complete"),
}  # fmt: skip
for _name, _function in METHODS.items():
    setattr(Tensor, _name, _function)
