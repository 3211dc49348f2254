"""Solvers in older forms and for tensors, and views with strides of one's own.

Public under ``fastnn.linalg`` and ``fastnn``. Gradients are those of compositions of other operations.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._core.errors import LinAlgError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.ops.core import also_read, check_tensor, named
from fastnn.ops.decompositions import _matrix, _t, inv, lu_factor_ex, solve, solve_triangular, svd
from fastnn.ops.decompositions import lu_solve as linalg_lu_solve
from fastnn.ops.slicing import as_strided

__all__ = [
    "as_strided_scatter", "lu_solve", "orgqr", "svd_lowrank", "triangular_solve", "unravel_index",
]  # fmt: skip
FUNCTIONS_ONLY = ("svd_lowrank", "unravel_index")


@named
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with ``A X = input``, from the results of ``lu_factor``; see ``linalg.lu_solve``."""
    return linalg_lu_solve(LU_data, LU_pivots, input)


@named
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """X with ``A X = B``, and 0 or the place of the first 0 on the diagonal of U in ``A = P L U``.

    Args:
        A, B, left: as of ``solve``. Where a matrix has no inverse, X is NaN.
        check_errors: whether such a matrix is a LinAlgError.
    """
    a = _matrix("solve_ex", A)
    info = lu_factor_ex(a.detach()).info
    if not info._data.any():
        return return_types.linalg_solve_ex(solve(a, B, left=left), info)
    if check_errors:
        raise LinAlgError("linalg.solve: The solver failed because the input matrix is singular.")
    n, wrong = a._data.shape[-1], _wrap(np.asarray(info._data != 0)[..., None, None])
    good = a.masked_fill(wrong, 0) + wrong.to(a.dtype) * _wrap(np.eye(n, dtype=a._data.dtype))
    x = solve(good, B, left=left)
    mask = wrong if x._data.ndim == a._data.ndim else wrong.squeeze(-1)
    return return_types.linalg_solve_ex(x.masked_fill(mask, math.nan), info)


@named
def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """The older form of ``linalg.solve_triangular``: the solution of ``A X = input``, and a copy of A."""
    warnings.warn(
        "torch.triangular_solve is deprecated in favor of torch.linalg.solve_triangular and will be removed in a "
        "future PyTorch release.",
        UserWarning, stacklevel=3,
    )  # fmt: skip
    a = _matrix("triangular_solve", A)
    matrix, half = (_t(a), not upper) if transpose else (a, upper)
    x = solve_triangular(matrix, input, upper=half, unitriangular=unitriangular)
    return return_types.triangular_solve(also_read(x, input), a.clone())


# -- Others -------------------------------------------------------------------------------------------


@named
def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of Householder matrices ``I - tau v v^T``.

    Args:
        input: (..., m, n), the vectors as columns below the diagonal, which is taken as 1.
        tau: (..., k), k <= n.
    """
    a = _matrix("householder_product", input, square=False)
    check_tensor("tau", tau)
    m, n = a._data.shape[-2:]
    eye = _wrap(np.eye(m, n, dtype=a._data.dtype))
    vectors = a.tril(-1) + eye
    result = eye.expand(*a._data.shape)
    for k in range(tau._data.shape[-1] - 1, -1, -1):
        v = vectors[..., k : k + 1]
        result = result - tau[..., k, None, None] * (v @ (_t(v) @ result))
    return result


@named
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with ``tensordot(A, X, X.ndim) = B``.

    Args:
        A: its first dimensions are those of B, and the product of the sizes of the others is that of these.
        dims: dimensions of A to move to the end first.
    """
    check_tensor("A", A)
    check_tensor("B", B)
    if dims is not None:
        kept = [d for d in range(A._data.ndim) if d not in [k % A._data.ndim for k in dims]]
        A = A.permute(*kept, *[k % A._data.ndim for k in dims])
    shape = A._data.shape[B._data.ndim :]
    size = math.prod(shape)
    if size != B._data.size or A._data.size != size * size:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {size} != {math.prod(A._data.shape[: B._data.ndim])}"
        )
    return solve(A.reshape(size, size), B.reshape(size)).reshape(shape)


@named
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse for ``tensordot``: ``tensordot(tensorinv(A), A, ind)`` is the identity.

    Args:
        ind: of the first dimensions, those that are the rows of the matrix.
    """
    check_tensor("A", A)
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', found {ind}")
    first, last = A._data.shape[:ind], A._data.shape[ind:]
    if math.prod(first) != math.prod(last):
        raise ShapeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(last)} != {math.prod(first)}"
        )
    size = math.prod(first)
    return inv(A.reshape(size, size)).reshape(*last, *first)


@named
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> Any:
    """The first ``q`` singular values and vectors of ``A - M``: U, S and V. Exact, not by random projections.

    Args:
        niter: accepted, without effect.
    """
    a = A if M is None else A - M
    u, s, vh = svd(a, full_matrices=False)
    count = 6 if q is None else q
    return u[..., :count], s[..., :count], _t(vh)[..., :count]


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The places of elements of a tensor of a shape, from their numbers.

    >>> import fastnn
    >>> fastnn.unravel_index(fastnn.tensor([5, 1]), (2, 3))
    (tensor([1, 0]), tensor([2, 1]))
    """
    check_tensor("indices", indices)
    if indices._data.dtype.kind not in "iu":
        raise ValueError(f"expect index tensor to be integers, found {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    found, rest = [], indices
    for size in reversed(sizes):
        found.append(rest % size)
        rest = rest // size
    return tuple(found[::-1])


@named
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """A copy of ``input`` in which ``as_strided`` of it is ``src``."""
    made = input.clone()
    offset = None if storage_offset is None else storage_offset - input.storage_offset()
    as_strided(made, size, stride, offset).copy_(src)
    return made
