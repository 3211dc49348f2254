"""Inverses, determinants and decompositions of matrices, through NumPy. Public under ``fastnn.linalg``.

Gradients follow M. Giles, "An extended collection of matrix derivative results", 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import return_types
from fastnn._autograd.engine import Node, part_node
from fastnn._autograd.modes import is_grad_enabled
from fastnn._core.errors import LinAlgError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _unbroadcast, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.ops.core import also_read, check_tensor, named, quiet, recorded_result
from fastnn.ops.joining import cat


def _matrix(name: str, a: Any, square: bool = True) -> Tensor:
    check_tensor("input", a)
    if a._data.ndim < 2:
        raise ShapeError(
            f"linalg.{name}: The input tensor A must have at least 2 dimensions, found shape {tuple(a.shape)}."
        )
    if square and a._data.shape[-1] != a._data.shape[-2]:
        raise ShapeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {a._data.shape[-2]} by "
            f"{a._data.shape[-1]} matrices"
        )
    if a._data.dtype.kind != "f" or a._data.dtype == np.float16:
        raise NotImplementedError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {a.dtype}")
    return a


def _calculated(name: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return quiet(function, *args)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {error}") from None


def _t(x: Tensor) -> Tensor:
    return x.transpose(-2, -1)


def _of_result(
    name: str, a: Tensor, result: np.ndarray, run: Callable[[Tensor, Tensor], Tensor], *saved: Tensor
) -> Tensor:
    """A tensor over ``result`` whose derivative reads it and ``saved``."""
    result = np.asarray(result, a._data.dtype)
    if not _recorded(a):
        return _wrap(result)
    return recorded_result(name, (a,), result, lambda grad, y: (run(grad, y),), saved)


def _with_nan(result: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The result, NaN where the matrix has a NaN: LAPACK's may have numbers, depending on pivots."""
    wrong = (a != a).any((-2, -1), keepdims=True)
    return np.where(wrong, result.dtype.type(np.nan), result) if wrong.any() else result


# -- Inverses ----------------------------------------------------------------------------------


@named
def inv(A: Tensor) -> Tensor:
    """The inverse of each matrix.

    >>> import fastnn
    >>> fastnn.linalg.inv(fastnn.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    a = _matrix("inv", A)
    result = _with_nan(_calculated("inv", np.linalg.inv, a._data), a._data)
    return _of_result("LinalgInvEx", a, result, lambda g, y: -_t(y) @ g @ _t(y))


@named
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 for each matrix that has one; of others it is NaN, and a LinAlgError with ``check_errors``."""
    try:
        return return_types.linalg_inv_ex(inv(A), _wrap(np.zeros(A._data.shape[:-2], np.int32)))
    except LinAlgError:
        if check_errors:
            raise
    from fastnn.ops.factorizations import solve_ex

    eye = _wrap(np.broadcast_to(np.eye(A._data.shape[-1], dtype=A._data.dtype), A._data.shape))
    return return_types.linalg_inv_ex(*solve_ex(A, eye))


@named
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with ``A X = B``, or ``X A = B``."""
    return _solution(A, B, left, True)


def _solution(A: Tensor, B: Tensor, left: bool, spreads: bool) -> Tensor:
    """See ``solve``; ``spreads``: whether one NaN in a matrix makes the whole solution NaN."""
    a = _matrix("solve", A)
    check_tensor("B", B)
    if B._data.dtype != a._data.dtype:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but got {a.dtype} and {B.dtype}")
    n = a._data.shape[-1]
    vector = B._data.ndim == 1 or (B._data.ndim == a._data.ndim - 1 and B._data.shape == a._data.shape[:-1])
    if not left:
        if vector:
            raise RuntimeError(
                f"linalg.solve: left=False takes no vectors, found B of shape {tuple(B.shape)} for A of shape "
                f"{tuple(a.shape)}"
            )
        return _t(_solution(_t(a), _t(B), True, spreads))
    b = B.unsqueeze(-1) if vector else B
    if b._data.shape[-2] != n:
        raise ShapeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B: {list(a.shape)} and "
            f"{list(B.shape)}"
        )
    x = _solve(a, b, spreads)
    return x.squeeze(-1) if vector else x


def _solve(a: Tensor, b: Tensor, spreads: bool = False) -> Tensor:
    result = _calculated("solve", np.linalg.solve, a._data, b._data)
    if spreads:
        result = _with_nan(result, a._data)
    if not _recorded(a, b):
        return _wrap(result)
    wants = a._requires_grad, b._requires_grad

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        back = _solve(_t(a), grad, spreads)
        return (
            _unbroadcast(-back @ _t(y), a._data.shape) if wants[0] else None,
            _unbroadcast(back, b._data.shape) if wants[1] else None,
        )

    return recorded_result("LinalgSolveEx", (a, b), result, run, (a,))


@named
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with ``A X = B`` for a triangular A; the other half of A is ignored."""
    a = _matrix("solve_triangular", A)
    check_tensor("B", B)
    if B._data.dtype != a._data.dtype:
        raise RuntimeError(
            f"linalg.solve_triangular: Expected A and B to have the same dtype, but got {a.dtype} and {B.dtype}"
        )
    if B._data.ndim < 2:
        raise ShapeError(
            "linalg.solve_triangular: The input tensor B must have at least 2 dimensions, found shape "
            f"{tuple(B.shape)}."
        )
    if not left:
        return _t(_triangular(_t(a), _t(B), not upper, unitriangular))
    return _triangular(a, B, upper, unitriangular)


def _triangular(a: Tensor, b: Tensor, upper: bool, unit: bool = False) -> Tensor:
    """X with ``a X = b``; reads one half of a, without its diagonal if ``unit``."""
    if b._data.shape[-2] != a._data.shape[-1]:
        raise ShapeError(
            f"linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B: {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    result = _triangular_solution(a._data, b._data, upper, unit)
    if not _recorded(a, b):
        return _wrap(result)
    wants = a._requires_grad, b._requires_grad

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        back = _triangular(_t(a), grad, not upper, unit)
        whole = None
        if wants[0]:
            whole = _unbroadcast(-back @ _t(y), a._data.shape)
            whole = whole.triu(int(unit)) if upper else whole.tril(-int(unit))
        return whole, _unbroadcast(back, b._data.shape) if wants[1] else None

    return recorded_result("LinalgSolveTriangular", (a, b), result, run, (a,))


def _triangular_solution(a: np.ndarray, b: np.ndarray, upper: bool, unit: bool) -> np.ndarray:
    from scipy.linalg import blas

    trsm = blas.dtrsm if a.dtype == np.float64 else blas.strsm
    if a.ndim == 2 and b.ndim > 2:
        # One matrix for all: their right-hand sides next to each other.
        columns = np.moveaxis(b, -2, 0)
        found = _triangular_solution(a, columns.reshape(a.shape[0], -1), upper, unit)
        return np.moveaxis(found.reshape(columns.shape), 0, -2)
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    result = allocation.empty((*shape, *b.shape[-2:]), a.dtype)
    if not result.size:
        return result
    a = np.broadcast_to(a, (*shape, *a.shape[-2:]))
    b = np.broadcast_to(b, result.shape)
    for place in np.ndindex(shape):
        # BLAS has matrices by columns: the transposed equation needs no copies.
        matrix = a[place]
        if matrix.flags.f_contiguous:
            found = trsm(1.0, matrix, b[place].T, side=1, lower=not upper, trans_a=1, diag=unit)
        else:
            found = trsm(1.0, matrix.T, b[place].T, side=1, lower=upper, diag=unit)
        result[place] = found.T
    return result


# -- Factors of LU -----------------------------------------------------------------------------


def _pivots_to_rows(pivots: np.ndarray, n: int) -> np.ndarray:
    """The order of rows after the exchanges that LAPACK reports, counted from 1."""
    rows = np.broadcast_to(np.arange(n), (*pivots.shape[:-1], n)).copy()
    for place in np.ndindex(pivots.shape[:-1]):
        order = rows[place]
        for i, pivot in enumerate(pivots[place] - 1):
            order[i], order[pivot] = order[pivot], order[i]
    return rows


def _permutation(rows: np.ndarray, dtype: Any) -> np.ndarray:
    """P of ``A = P L U``."""
    return np.eye(rows.shape[-1], dtype=dtype)[rows].swapaxes(-1, -2)


def _factored(name: str, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LU in one matrix, pivots and LAPACK's status of each matrix."""
    from scipy.linalg import lapack

    getrf = lapack.dgetrf if a.dtype == np.float64 else lapack.sgetrf
    packed = allocation.empty(a.shape, a.dtype)
    pivots = np.zeros((*a.shape[:-2], min(a.shape[-2:])), np.int32)
    status = np.zeros(a.shape[:-2], np.int32)
    for place in np.ndindex(a.shape[:-2]):
        if a.shape[-2] and a.shape[-1]:
            packed[place], found, status[place] = getrf(a[place])
            pivots[place] = found + 1
    return packed, pivots, status


def _lu_gradient(p: Tensor, low: Tensor, up: Tensor, dl: Tensor, du: Tensor) -> Tensor:
    """The gradient of A in ``A = P L U`` from those of L and U.

    What a matrix has beyond a square is ``L2 = A2 U^-1``, or ``U2 = L^-1 A2``: rows or columns of the sorted matrix.
    """
    m, n = low._data.shape[-2], up._data.shape[-1]
    k = min(m, n)
    rest = None
    if m > n:
        rest = _t(_triangular(up, _t(dl[..., k:, :]), True))
        du = du - (_t(low[..., k:, :]) @ rest).triu()
        low, dl = low[..., :k, :], dl[..., :k, :]
    elif n > m:
        rest = _triangular(_t(low), du[..., k:], True, True)
        dl = dl - (rest @ _t(up[..., k:])).tril(-1)
        up, du = up[..., :k], du[..., :k]
    inner = (_t(low) @ dl).tril(-1) + (du @ _t(up)).triu()
    left = _triangular(_t(low), inner, True, True)
    square = _t(_triangular(up, _t(left), True))
    return p @ (square if rest is None else cat([square, rest], -2 if m > n else -1))


def _unit_lower(packed: Tensor, k: int) -> Tensor:
    return packed[..., :k].tril(-1) + _wrap(np.eye(packed._data.shape[-2], k, dtype=packed._data.dtype))


def _lu(name: str, A: Tensor, pivot: bool) -> tuple[Tensor, Tensor, np.ndarray]:
    a = _matrix(name, A, square=False)
    if not pivot:
        raise NotImplementedError(f"linalg.{name}: pivot=False is for CUDA, as in PyTorch")
    packed, pivots, status = _factored(name, a._data)
    k = min(a._data.shape[-2:])
    rows = _pivots_to_rows(pivots, a._data.shape[-2])

    def run(grad: Tensor, y: Tensor) -> Tensor:
        p = _wrap(_permutation(rows, a._data.dtype))
        dl, du = grad[..., :k].tril(-1), grad[..., :k, :].triu()
        return _lu_gradient(p, _unit_lower(y, k), y[..., :k, :].triu(), dl, du)

    return _of_result("LinalgLuFactorEx", a, packed, run), _wrap(pivots), status


def _check_status(name: str, status: np.ndarray) -> None:
    if status.any():
        where = int(status[status != 0].flat[0])
        raise LinAlgError(f"linalg.{name}: U[{where},{where}] is zero and lu_solve would divide by it")


@named
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L without its diagonal of ones and U in one matrix, and the exchanges of rows, counted from 1."""
    packed, pivots, status = _lu("lu_factor", A, pivot)
    _check_status("lu_factor", status)
    return return_types.linalg_lu_factor(packed, pivots)


@named
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """As ``lu_factor``, with 0 for each matrix whose U can be inverted."""
    packed, pivots, status = _lu("lu_factor_ex", A, pivot)
    if check_errors:
        _check_status("lu_factor_ex", status)
    return return_types.linalg_lu_factor_ex(packed, pivots, _wrap(status))


@named
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """The permutation P, the lower triangular L with ones on its diagonal and U with ``A = P L U``."""
    packed, pivots, _ = _lu("lu", A, pivot)
    return return_types.linalg_lu(*lu_unpack(packed, pivots))


@named
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U from the results of ``lu_factor``; an empty tensor for what is not unpacked."""
    packed = _matrix("lu_unpack", LU_data, square=False)
    check_tensor("LU_pivots", LU_pivots)
    empty = _wrap(allocation.empty(0, packed._data.dtype))
    p = low = up = empty
    if unpack_pivots:
        p = _wrap(_permutation(_pivots_to_rows(LU_pivots._data, packed._data.shape[-2]), packed._data.dtype))
    if unpack_data:
        k = min(packed._data.shape[-2:])
        low, up = _unit_lower(packed, k), packed[..., :k, :].triu()
    return return_types.lu_unpack(p, low, up)


@named
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with ``A X = B``, or ``X A = B``, or for the transposed A, from the results of ``lu_factor(A)``."""
    packed = _matrix("lu_solve", LU)
    check_tensor("B", B)
    if not left:
        return _t(lu_solve(packed, pivots, _t(B), adjoint=not adjoint))
    p = _wrap(_permutation(_pivots_to_rows(pivots._data, packed._data.shape[-1]), packed._data.dtype))
    if adjoint:
        x = p @ _triangular(_t(packed), _triangular(_t(packed), B, False), True, True)
    else:
        x = _triangular(packed, _triangular(packed, _t(p) @ B, False, True), True)
    return also_read(x, x)


@named
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of each matrix, ``sum_k A^k / k!``."""
    a = _matrix("matrix_exp", A)
    from scipy.linalg import expm

    def run(grad: Tensor) -> tuple[Tensor]:
        # The derivative in the direction G is a block of the exponential of [[A, G], [0, A]].
        n = a._data.shape[-1]
        zero = _wrap(np.zeros(a._data.shape, a._data.dtype))
        blocks = cat([cat([_t(a), grad], -1), cat([zero, _t(a)], -1)], -2)
        return (matrix_exp(blocks)[..., :n, n:],)

    result = _calculated("matrix_exp", expm, a._data) if a._data.size else a._data.copy()
    result = np.asarray(result, a._data.dtype)
    return _wrap(result, Node("LinalgMatrixExp", (a,), run, (a,))) if _recorded(a) else _wrap(result)


# -- Determinants ------------------------------------------------------------------------------


@named
def det(A: Tensor) -> Tensor:
    """The determinant of each matrix, with the gradient for an invertible one."""
    a = _matrix("det", A)

    def run(grad: Tensor, y: Tensor) -> Tensor:
        if not is_grad_enabled() and (y._data == 0).any():
            # The cofactors exist even if the inverse does not.
            return grad.unsqueeze(-1).unsqueeze(-1) * _wrap(_cofactors(a._data))
        return (grad * y).unsqueeze(-1).unsqueeze(-1) * _t(inv(a))

    return _of_result("LinalgDet", a, _calculated("det", np.linalg.det, a._data), run, a)


def _cofactors(a: np.ndarray) -> np.ndarray:
    """The derivatives of the determinant, also of a singular matrix."""
    u, s, vh = _singular("det", a, False)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return np.asarray((u * (sign[..., None] * others)[..., None, :]) @ vh, a.dtype)


@named
def slogdet(A: Tensor) -> Any:
    """The sign of the determinant, and the logarithm of its absolute value."""
    a = _matrix("slogdet", A)
    results = _calculated("slogdet", np.linalg.slogdet, a._data)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        if grads[1] is None:
            # The sign is piecewise constant.
            return _wrap(np.zeros(a._data.shape, a._data.dtype))
        return grads[1].unsqueeze(-1).unsqueeze(-1) * _t(inv(a))

    sign, log = _joint("LinalgSlogdet", a, tuple(map(np.asarray, results)), run, a)
    return return_types.linalg_slogdet(also_read(sign, sign), also_read(log, sign))


@named
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN for a negative one."""
    sign, log = slogdet(input)
    return log.masked_fill(sign < 0, float("nan"))


# -- Decompositions ----------------------------------------------------------------------------


@named
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular L with ``A = L L^T``, or the upper factor; reads the lower half of A."""
    lower, status = _cholesky("cholesky", A)
    if status is not None:
        raise LinAlgError(
            "linalg.cholesky: The factorization could not be completed because the input is not positive-definite"
        )
    return _t(lower) if upper else lower


@named
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """As ``cholesky``, with 0 for each positive-definite matrix and the size of the minor that is not for another."""
    lower, status = _cholesky("cholesky_ex", A)
    if status is None:
        status = np.zeros(A._data.shape[:-2], np.int32)
    elif check_errors:
        raise LinAlgError(
            f"linalg.cholesky_ex: The factorization could not be completed because the input is not positive-definite "
            f"(the leading minor of order {status[status != 0].flat[0]} is not positive-definite)."
        )
    return return_types.linalg_cholesky_ex(_t(lower) if upper else lower, _wrap(status))


def _cholesky(name: str, A: Tensor) -> tuple[Tensor, np.ndarray | None]:
    """The lower factor, and LAPACK's status if one of the matrices has none."""
    a = _matrix(name, A)
    status = None
    try:
        result = quiet(np.linalg.cholesky, a._data)
        if np.isnan(result).any():
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        result, status = _partial_cholesky(a._data)

    def run(grad: Tensor, y: Tensor) -> Tensor:
        # Phi(L^T dL): the lower half, with the diagonal halved.
        half = (_t(y) @ grad).tril()
        half = half - 0.5 * half.diagonal(0, -2, -1).diag_embed()
        inner = _triangular(_t(y), half, True)
        outer = _t(_triangular(_t(y), _t(inner), True))
        return 0.5 * (outer + _t(outer))

    return _of_result("LinalgCholeskyEx", a, result, run), status


def _partial_cholesky(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What LAPACK has of the factor when it finds that there is none, and its status, of each matrix."""
    from scipy.linalg import lapack

    potrf = lapack.dpotrf if a.dtype == np.float64 else lapack.spotrf
    result, status = allocation.empty(a.shape, a.dtype), np.zeros(a.shape[:-2], np.int32)
    for place in np.ndindex(a.shape[:-2]):
        result[place], status[place] = potrf(a[place], lower=1, clean=1)
        wrong = np.isnan(np.diagonal(result[place]))
        if not status[place] and wrong.any():
            status[place] = wrong.argmax() + 1
    return result, status


@named
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with ``A X = B``, from the Cholesky factor of A."""
    check_tensor("input", B)
    factor = _matrix("cholesky_solve", L)
    if B._data.ndim < 2:
        raise ShapeError(f"b should have at least 2 dimensions, but has {B._data.ndim} dimensions instead")
    if B._data.dtype != factor._data.dtype:
        raise RuntimeError(f"cholesky_solve: expected one dtype, found {B.dtype} and {factor.dtype}")
    if B._data.shape[-2] != factor._data.shape[-1]:
        raise ShapeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {factor._data.shape[-1]} by "
            f"{factor._data.shape[-1]} but each b matrix is {B._data.shape[-2]} by {B._data.shape[-1]}"
        )
    return also_read(_cholesky_solve(B, factor, upper), B)


def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool) -> Tensor:
    a = factor._data.swapaxes(-2, -1) if upper else factor._data
    half = _triangular_solution(a, b._data, False, False)
    result = _triangular_solution(a.swapaxes(-2, -1), half, True, False)
    if not _recorded(b, factor):
        return _wrap(result)
    wants = b._requires_grad, factor._requires_grad

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        back = _cholesky_solve(grad, factor, upper)
        change = None
        if wants[1]:
            # Both halves, as in PyTorch; the derivative of `cholesky` reads the half that exists.
            both = back @ _t(y)
            both = both + _t(both)
            change = _unbroadcast(-(factor @ both) if upper else -(both @ factor), factor._data.shape)
        return _unbroadcast(back, b._data.shape) if wants[0] else None, change

    return recorded_result("CholeskySolve", (b, factor), result, run, (factor,))


@named
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, from its Cholesky factor."""
    factor = _matrix("cholesky_inverse", L)
    return cholesky_solve(_wrap(np.eye(factor._data.shape[-1], dtype=factor._data.dtype)), factor, upper)


class _JointNode(Node):
    """A node with several results: ``run`` takes their gradients, some None, and the results."""

    __slots__ = ("results",)

    results: Any

    def backward(self, grad: Any) -> tuple[Tensor | None, ...]:
        if self.run is None:
            return super().backward(grad)
        self.check(self.saved)
        run: Any = self.run
        given = grad.grads
        # Not the tensors themselves, which hold this node.
        results = [
            Tensor._remade(r, memory, part_node(self, i) if is_grad_enabled() else None)
            for i, (r, memory) in enumerate(self.results)
        ]
        return (run([given.get(i) for i in range(len(results))], results),)

    def release(self) -> None:
        self.results = None
        super().release()


def _joint(
    name: str, a: Tensor, results: tuple[np.ndarray, ...], run: Callable[[list[Any], list[Tensor]], Tensor],
    *saved: Tensor, reads_results: bool = False,
) -> list[Tensor]:  # fmt: skip
    """The results of one operation; see :class:`_JointNode`."""
    if not _recorded(a):
        return [_wrap(r) for r in results]
    node = _JointNode(name, (a,), run, saved, keeps=True)  # type: ignore[arg-type]  # other nodes' take the gradient
    node.width = len(results)
    made = [_wrap(r, part_node(node, i)) for i, r in enumerate(results)]
    node.results = [(t._data, t._memory) for t in made]
    if reads_results:
        for t in made:
            node.guard(t)
    return made


@named
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """The eigenvalues in ascending order, and eigenvectors of each symmetric matrix."""
    a = _matrix("eigh", A)
    values, vectors = _calculated("eigh", np.linalg.eigh, a._data, UPLO)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        w, v = results
        inner = grads[0].diag_embed() if grads[0] is not None else _wrap(np.zeros(v._data.shape, v._data.dtype))
        if grads[1] is not None:
            gap = w.unsqueeze(-2) - w.unsqueeze(-1)
            turned = (_t(v) @ grads[1]) * _reciprocal_gaps(gap)
            # The gradient of a function of (A + A^T) / 2, as in PyTorch.
            inner = inner + 0.5 * (turned + _t(turned))
        return v @ inner @ _t(v)

    return return_types.linalg_eigh(*_joint("LinalgEigh", a, (values, vectors), run, reads_results=True))


def _reciprocal_gaps(gap: Tensor) -> Tensor:
    eye = _wrap(np.broadcast_to(np.eye(gap._data.shape[-1], dtype=bool), gap._data.shape))
    return (1 / gap.masked_fill(eye, 1)).masked_fill(eye, 0)


@named
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of each symmetric matrix in ascending order."""
    return eigh(A, UPLO).eigenvalues


def eig(A: Tensor) -> Any:
    """RuntimeError: eigenvalues of general matrices, which are complex, are not computed."""
    raise RuntimeError(
        "linalg.eig: eigenvalues of general matrices are complex and not computed; eigh is for symmetric matrices"
    )


eigvals = eig


@named
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and the upper triangular R with ``A = Q R``."""
    a = _matrix("qr", A, square=False)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced', 'r', or 'complete'")
    if mode == "r":
        r: Any = np.linalg.qr(a._data, "r")
        return return_types.linalg_qr(_wrap(allocation.empty(0, r.dtype)), _wrap(np.asarray(r)))
    factorize: Any = np.linalg.qr
    q, r = factorize(a._data, mode)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        if mode == "complete" or a._data.shape[-2] < a._data.shape[-1]:
            raise RuntimeError(
                "linalg.qr: there is a gradient for mode='reduced' of tall matrices only, found "
                f"mode={mode!r} and shape {tuple(a.shape)}"
            )
        q, r = results
        dq = grads[0] if grads[0] is not None else _wrap(np.zeros(q._data.shape, q._data.dtype))
        dr = grads[1] if grads[1] is not None else _wrap(np.zeros(r._data.shape, r._data.dtype))
        m = r @ _t(dr) - _t(dq) @ q
        lower = m.tril(-1)
        symmetric = lower + _t(lower) + m.diagonal(0, -2, -1).diag_embed()
        return _t(_solve(r, _t(dq + q @ symmetric)))

    return return_types.linalg_qr(*_joint("LinalgQr", a, (q, r), run, reads_results=True))


@named
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, the singular values S in descending order, and V^T with ``A = U diag(S) V^T``."""
    a = _matrix("svd", A, square=False)
    results = _singular("svd", a._data, full_matrices)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        u, s, vh = results
        k = s._data.shape[-1]
        u, v = u[..., :k], _t(vh)[..., :k]
        du, ds, dv = grads[0], grads[1], None if grads[2] is None else _t(grads[2])
        du, dv = [None if g is None else g[..., :k] for g in (du, dv)]
        inner = ds.diag_embed() if ds is not None else _wrap(np.zeros((*s._data.shape, k), s._data.dtype))
        squares = s * s
        f = _reciprocal_gaps(squares.unsqueeze(-2) - squares.unsqueeze(-1))
        result = None
        if du is not None:
            j = f * (_t(u) @ du)
            inner = inner + (j + _t(j)) * s.unsqueeze(-2)
            result = (du - u @ (_t(u) @ du)) / s.unsqueeze(-2) @ _t(v)
        if dv is not None:
            j = f * (_t(v) @ dv)
            inner = inner + s.unsqueeze(-1) * (j + _t(j))
            rest = u / s.unsqueeze(-2) @ _t(dv - v @ (_t(v) @ dv))
            result = rest if result is None else result + rest
        total = u @ inner @ _t(v)
        return total if result is None else total + result

    return return_types.linalg_svd(*_joint("LinalgSvd", a, tuple(results), run, reads_results=True))


def _singular(name: str, a: np.ndarray, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """NumPy's singular value decomposition; with infinity, where OpenBLAS's never ends, the values are NaN."""
    infinite = np.isinf(a)
    if infinite.any() and not np.isnan(a).any():
        found = _singular(name, np.where(infinite, a.dtype.type(0), a), full_matrices, compute_uv)
        values = found[1] if compute_uv else found
        values[infinite.any((-2, -1))] = np.nan
        return found
    if not np.isfinite(a).all():
        raise LinAlgError(
            f"linalg.{name}: The algorithm failed to converge because the input matrix contained non-finite values."
        )
    return _calculated(name, np.linalg.svd, a, full_matrices, compute_uv)


@named
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values in descending order."""
    return svd(A, full_matrices=False).S
