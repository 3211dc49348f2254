"""LU and Cholesky factorizations and what solves with them, the exponential of a matrix, and tensor equations.

Public under ``fastnn.linalg`` and ``fastnn``. Gradients are those of compositions of other operations, and of LU those
of square matrices, from ``P^T A = L U``.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._core.errors import LinAlgError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import view
from fastnn.ops.core import check_tensor, named, quiet
from fastnn.ops.decompositions import _joint, _matrix, _t, cholesky, inv, solve, solve_triangular, svd
from fastnn.ops.joining import cat
from fastnn.ops.products import matmul

__all__ = [
    "as_strided", "as_strided_scatter", "cholesky_inverse", "cholesky_solve", "lu_solve", "lu_unpack", "matrix_exp",
    "orgqr", "svd_lowrank", "triangular_solve", "unravel_index",
]  # fmt: skip
FUNCTIONS_ONLY = ("lu_unpack", "svd_lowrank", "unravel_index")


# -- Cholesky -----------------------------------------------------------------------------------------


@named
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The Cholesky factor of each matrix, and 0, or the order of its first minor that is not positive.

    Args:
        A: (..., n, n), symmetric. Of a matrix that is not positive definite the factor is NaN.
        check_errors: whether such a matrix is a LinAlgError.

    >>> import fastnn
    >>> fastnn.linalg.cholesky_ex(fastnn.tensor([[4.0, 2.0], [2.0, -1.0]])).info
    tensor(2, dtype=torch.int32)
    """
    a = _matrix("cholesky_ex", A)
    try:
        return return_types.linalg_cholesky_ex(
            cholesky(a, upper=upper), _wrap(np.zeros(a._data.shape[:-2], np.int32))
        )
    except LinAlgError:
        if check_errors:
            raise
    n = a._data.shape[-1]
    info = np.asarray(np.zeros(a._data.shape[:-2], np.int32))
    for place in np.ndindex(info.shape):
        info[place] = _first_minor(a._data[place])
    wrong = _wrap(np.asarray(info != 0)[..., None, None])
    # The others' factors, and their gradients.
    good = a.masked_fill(wrong, 0) + wrong.to(a.dtype) * _wrap(np.eye(n, dtype=a._data.dtype))
    found = cholesky(good, upper=upper).masked_fill(wrong, math.nan)
    return return_types.linalg_cholesky_ex(found, _wrap(info))


def _first_minor(a: np.ndarray) -> int:
    """The order of the first leading minor that is not positive; 0 if there is none."""
    low, high = 0, a.shape[0]
    if _is_definite(a):
        return 0
    # The leading minors of a positive definite matrix are positive definite.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_definite(a[:middle, :middle]) else (low, middle)
    return high


def _is_definite(a: np.ndarray) -> bool:
    try:
        np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return False
    return True


@named
def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with ``A X = input``, from the Cholesky factor of A.

    Args:
        input: (..., n, k).
        L: (..., n, n), ``A = L L^T``; with ``upper``, ``A = L^T L``.

    >>> import fastnn
    >>> fastnn.cholesky_solve(fastnn.tensor([[8.0]]), fastnn.tensor([[2.0]]))
    tensor([[2.]])
    """
    factor = _matrix("cholesky_solve", L)
    check_tensor("input", input)
    if input._data.ndim < 2:
        raise ShapeError(f"b should have at least 2 dimensions, but has {input._data.ndim} dimensions instead")
    half = _t(factor) if upper else factor
    return solve_triangular(_t(half), solve_triangular(half, input, upper=False), upper=True)


@named
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of a matrix, from its Cholesky factor (..., n, n)."""
    factor = _matrix("cholesky_inverse", input)
    return cholesky_solve(_wrap(np.eye(factor._data.shape[-1], dtype=factor._data.dtype)), factor, upper)


# -- LU -----------------------------------------------------------------------------------------------


def _factorized(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L and U of each matrix in one array, and the row that each row was exchanged with, from 0."""
    *lead, m, n = a.shape
    work = a.reshape(-1, m, n).copy()
    count = min(m, n)
    pivots = np.zeros((work.shape[0], count), np.int64)
    every = np.arange(work.shape[0])
    for k in range(count):
        row = np.abs(work[:, k:, k]).argmax(1) + k
        pivots[:, k] = row
        work[every, k], work[every, row] = work[every, row], work[every, k].copy()
        divisor = work[:, k, k]
        work[:, k + 1 :, k] /= np.where(divisor == 0, 1, divisor)[:, None]
        work[:, k + 1 :, k + 1 :] -= work[:, k + 1 :, k, None] * work[:, k, None, k + 1 :]
    return work.reshape(a.shape), pivots.reshape(*lead, count)


def _order(pivots: np.ndarray, rows: int) -> np.ndarray:
    """Where each row of ``L U`` is in A, from the exchanges."""
    flat = pivots.reshape(-1, pivots.shape[-1])
    order = np.tile(np.arange(rows), (flat.shape[0], 1))
    every = np.arange(flat.shape[0])
    for k in range(flat.shape[1]):
        order[every, k], order[every, flat[:, k]] = order[every, flat[:, k]], order[every, k].copy()
    return order.reshape(*pivots.shape[:-1], rows)


def _permutation(order: np.ndarray, dtype: Any) -> Tensor:
    """P with ``A = P L U``."""
    rows = order.shape[-1]
    made = np.zeros((*order.shape, rows), dtype)
    np.put_along_axis(made, order[..., None, :], 1, -2)
    return _wrap(made)


def _triangles(a: Tensor) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
    """P, L and U, and the exchanges of rows."""
    m, n = a._data.shape[-2:]
    count = min(m, n)
    both, pivots = quiet(_factorized, a._data)
    eye = np.eye(m, count, dtype=both.dtype)
    p = _permutation(_order(pivots, m), both.dtype)
    if m == n:
        low, u = _square(a, p, np.tril(both, -1) + eye, np.triu(both))
        return p, low, u, pivots
    sorted_rows = matmul(_t(p), a)
    one = _wrap(np.broadcast_to(np.eye(count, dtype=both.dtype), (*a._data.shape[:-2], count, count)).copy())
    low, u = _square(
        sorted_rows[..., :count, :count], one, (np.tril(both, -1)[..., :count] + eye)[..., :count, :],
        np.triu(both)[..., :count, :count],
    )  # fmt: skip
    if m > n:
        rest = solve_triangular(u, sorted_rows[..., count:, :], upper=True, left=False)
        return p, cat([low, rest], -2), u, pivots
    rest = solve_triangular(low, sorted_rows[..., count:], upper=False, unitriangular=True)
    return p, low, cat([u, rest], -1), pivots


def _square(a: Tensor, p: Tensor, lower: np.ndarray, upper: np.ndarray) -> list[Tensor]:
    """L and U of square matrices with ``A = P L U``, recorded."""

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        low, u = results
        inner: Any = 0
        if grads[0] is not None:
            inner = (_t(low) @ grads[0]).tril(-1)
        if grads[1] is not None:
            inner = inner + (grads[1] @ _t(u)).triu()
        middle = solve_triangular(_t(low), inner, upper=True, unitriangular=True)
        return p @ solve_triangular(_t(u), middle, upper=False, left=False)

    return _joint("LinalgLu", a, (lower, upper), run, reads_results=True)


def _pivoted(name: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")


@named
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L and U with ``A = P L U``: a permutation, and a lower and an upper triangular matrix.

    Args:
        A: (..., m, n).
        pivot: True.

    >>> import fastnn
    >>> p, lower, upper = fastnn.linalg.lu(fastnn.tensor([[1.0, 2.0], [4.0, 4.0]]))
    >>> lower, upper
    (tensor([[1.0000, 0.0000],
            [0.2500, 1.0000]]), tensor([[4., 4.],
            [0., 1.]]))
    """
    _pivoted("linalg.lu", pivot)
    p, low, u, _ = _triangles(_matrix("lu", A, square=False))
    return return_types.linalg_lu(p, low, u)


@named
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U in one matrix, the exchanges of rows from 1, and 0 or the place of the first 0 on the diagonal of U."""
    _pivoted("linalg.lu_factor", pivot)
    a = _matrix("lu_factor", A, square=False)
    _, low, u, pivots = _triangles(a)
    m, n = a._data.shape[-2:]
    lower = low.tril(-1)
    if m > n:
        u = cat([u, _wrap(np.zeros((*a._data.shape[:-2], m - n, n), a._data.dtype))], -2)
    elif n > m:
        lower = cat([lower, _wrap(np.zeros((*a._data.shape[:-2], m, n - m), a._data.dtype))], -1)
    diagonal = np.diagonal(u._data, 0, -2, -1) == 0
    info = np.where(diagonal.any(-1), diagonal.argmax(-1) + 1, 0).astype(np.int32)
    if check_errors and info.any():
        raise LinAlgError(
            f"linalg.lu_factor: U[{info.max()},{info.max()}] is zero and using it on lu_solve would result in a "
            "division by zero."
        )
    return return_types.linalg_lu_factor_ex(
        lower + u, _wrap((pivots + 1).astype(np.int32)), _wrap(np.asarray(info))
    )


@named
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U in one matrix, and the exchanges of rows from 1: the arguments of ``lu_solve``.

    >>> import fastnn
    >>> a, b = fastnn.tensor([[1.0, 2.0], [4.0, 4.0]]), fastnn.tensor([[5.0], [12.0]])
    >>> fastnn.linalg.lu_solve(*fastnn.linalg.lu_factor(a), b)
    tensor([[1.],
            [2.]])
    """
    return return_types.linalg_lu_factor(*lu_factor_ex(A, pivot=pivot, check_errors=False)[:2])


@named
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U from the results of ``lu_factor``."""
    both = _matrix("lu_unpack", LU_data, square=False)
    m, n = both._data.shape[-2:]
    count = min(m, n)
    empty = both.new_empty(0)
    p, low, u = empty, empty, empty
    if unpack_pivots:
        p = _permutation(_order(LU_pivots._data.astype(np.int64) - 1, m), both._data.dtype)
    if unpack_data:
        eye = _wrap(np.eye(m, count, dtype=both._data.dtype))
        low, u = both[..., :count].tril(-1) + eye, both[..., :count, :].triu()
    return return_types.lu_unpack(p, low, u)


@named
def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with ``A X = B``, from the results of ``lu_factor``.

    Args:
        LU, pivots: of ``A``, (..., n, n).
        B: (..., n, k).
        left: False for ``X A = B``.
        adjoint: whether to solve with the transpose of A.
    """
    both = _matrix("lu_solve", LU)
    check_tensor("B", B)
    if not left:
        return _t(linalg_lu_solve(both, pivots, _t(B), adjoint=not adjoint))
    p = _permutation(_order(pivots._data.astype(np.int64) - 1, both._data.shape[-1]), both._data.dtype)
    if adjoint:
        middle = solve_triangular(_t(both), B, upper=False)
        return p @ solve_triangular(_t(both), middle, upper=True, unitriangular=True)
    return solve_triangular(both, solve_triangular(both, _t(p) @ B, upper=False, unitriangular=True), upper=True)


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
    return return_types.triangular_solve(
        solve_triangular(matrix, input, upper=half, unitriangular=unitriangular), a.clone()
    )


# -- Others -------------------------------------------------------------------------------------------


@named
def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of each matrix, ``I + A + A^2 / 2! + ...``, by scaling and squaring.

    >>> import fastnn
    >>> fastnn.matrix_exp(fastnn.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    a = _matrix("matrix_exp", input)
    size = float(np.abs(a._data).sum(-2).max(initial=0))
    # The series of a matrix of norm 1/2: 2**-n / n! is below the rounding of float64 at the 14th power.
    squarings = max(0, math.ceil(math.log2(size * 2))) if math.isfinite(size) and size > 0 else 0
    x = a * 0.5**squarings
    eye = _wrap(np.eye(a._data.shape[-1], dtype=a._data.dtype))
    result = eye + x / 15
    for k in range(14, 0, -1):
        result = eye + (x @ result) / k
    for _ in range(squarings):
        result = result @ result
    return result


@named
def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of Householder matrices ``I - tau v v^T``.

    Args:
        input: (..., m, n), the vectors as columns below the diagonal, which is taken as 1.
        tau: (..., k), k <= n.
    """
    a = _matrix("householder_product", input, square=False)
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
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
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


def _strided(array: np.ndarray, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> np.ndarray:
    flat = array.reshape(-1)
    step = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat[offset:], size, [s * step for s in stride])


@named
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the memory of a contiguous tensor with these sizes and strides.

    Args:
        storage_offset: of the first element in the storage; None for that of the tensor.

    Raises: RuntimeError if elements are outside of the tensor; NotImplementedError if it is not contiguous.

    >>> import fastnn
    >>> fastnn.arange(4.0).as_strided((3, 2), (1, 1))
    tensor([[0., 1.],
            [1., 2.],
            [2., 3.]])
    """
    check_tensor("input", input)
    sizes, strides = tuple(size), tuple(stride)
    if len(sizes) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if not input._data.flags.c_contiguous:
        raise NotImplementedError("as_strided() is implemented for contiguous tensors only: call contiguous() first")
    offset = 0 if storage_offset is None else storage_offset - input.storage_offset()
    last = offset + sum([(n - 1) * s for n, s in zip(sizes, strides, strict=True)])
    if min(strides, default=0) < 0:
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {strides}")
    if 0 not in sizes and (offset < 0 or last >= input._data.size):
        raise RuntimeError(
            f"setStorage: sizes {list(sizes)}, strides {list(strides)}, storage offset {storage_offset} are out of "
            f"bounds for a tensor of {input._data.size} elements"
        )
    shape = input._data.shape

    def put(grad: np.ndarray) -> np.ndarray:
        full = np.zeros(math.prod(shape), grad.dtype)
        places = _strided(np.arange(full.size), sizes, strides, offset)
        np.add.at(full, places, grad)
        return full.reshape(shape)

    return view(input, "AsStrided", lambda a: _strided(np.ascontiguousarray(a), sizes, strides, offset), put)


@named
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """A copy of ``input`` in which ``as_strided`` of it is ``src``."""
    made = input.clone()
    offset = None if storage_offset is None else storage_offset - input.storage_offset()
    as_strided(made, size, stride, offset).copy_(src)
    return made
