"""``torch.linalg``: decompositions and what is solved by them, through NumPy and SciPy.

Gradients are those of M. Giles, "An extended collection of matrix derivative results", 2008. May
import ``core``, ``products`` and ``reductions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import return_types
from fastnn.autograd.engine import Node, Parts, ResultNode, part_node
from fastnn.errors import ShapeError
from fastnn.ops.core import check_tensor, dimension, named, quiet
from fastnn.ops.norms import vector_norm
from fastnn.ops.parts import diagonal
from fastnn.ops.products import matmul
from fastnn.ops.vectors import cross
from fastnn.tensor import Tensor, _recorded, _unbroadcast, _wrap

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv",
    "inv_ex", "lstsq", "matmul", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr",
    "slogdet", "solve", "solve_triangular", "svd", "svdvals", "vander", "vecdot", "vector_norm",
]  # fmt: skip


class LinAlgError(RuntimeError, np.linalg.LinAlgError):
    """A matrix that is singular, or for which a decomposition does not converge."""


def _matrix(name: str, a: Any, square: bool = True) -> Tensor:
    check_tensor("input", a)
    if a._data.ndim < 2:
        raise ShapeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if square and a._data.shape[-1] != a._data.shape[-2]:
        raise ShapeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {a._data.shape[-2]} by "
            f"{a._data.shape[-1]} matrices"
        )
    if a._data.dtype.kind != "f" or a._data.dtype == np.float16:
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {a.dtype}")
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
    """A tensor over ``result``, whose derivative reads it and ``saved``."""
    result = np.asarray(result, a._data.dtype)
    if not _recorded(a):
        return _wrap(result)
    node = ResultNode(name, (a,), lambda grad, y: (run(grad, y),), saved)  # type: ignore[arg-type,misc]
    return node.attach(_wrap(result, node))


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
    return _of_result("LinalgInvEx", a, _calculated("inv", np.linalg.inv, a._data), lambda g, y: -_t(y) @ g @ _t(y))


@named
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 for each matrix that has one."""
    return inv(A), _wrap(np.zeros(A._data.shape[:-2], np.int32))


@named
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with ``A X = B``, or ``X A = B``."""
    a = _matrix("solve", A)
    check_tensor("B", B)
    if B._data.dtype != a._data.dtype:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but got {a.dtype} and {B.dtype}")
    n = a._data.shape[-1]
    vector = B._data.ndim == 1 or (B._data.ndim == a._data.ndim - 1 and B._data.shape == a._data.shape[:-1])
    if not left:
        if vector:
            raise RuntimeError("linalg.solve: left=False takes no vectors")
        return _t(solve(_t(a), _t(B)))
    b = B.unsqueeze(-1) if vector else B
    if b._data.shape[-2] != n:
        raise ShapeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B: {list(a.shape)} and "
            f"{list(B.shape)}"
        )
    x = _solve(a, b)
    return x.squeeze(-1) if vector else x


def _solve(a: Tensor, b: Tensor) -> Tensor:
    result = _calculated("solve", np.linalg.solve, a._data, b._data)
    if not _recorded(a, b):
        return _wrap(result)
    wants = a._requires_grad, b._requires_grad

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        back = _solve(_t(a), grad)
        return (
            _unbroadcast(-back @ _t(y), a._data.shape) if wants[0] else None,
            _unbroadcast(back, b._data.shape) if wants[1] else None,
        )

    node = ResultNode("LinalgSolveEx", (a, b), run, (a,))  # type: ignore[arg-type]
    return node.attach(_wrap(result, node))


@named
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with ``A X = B`` for a triangular A, of which the other half is not looked at."""
    a = _matrix("solve_triangular", A)
    half = a.triu() if upper else a.tril()
    if unitriangular:
        eye = _wrap(np.eye(a._data.shape[-1], dtype=a._data.dtype))
        half = half * (1 - eye) + eye
    return solve(half, B, left=left)


@named
def pinv(
    A: Tensor, rcond: float | None = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudoinverse, by the singular values that are not close to 0."""
    u, s, vh = svd(_matrix("pinv", A, square=False), full_matrices=False)
    limit = rcond if rcond is not None else rtol
    if limit is None:
        limit = max(A._data.shape[-2:]) * np.finfo(A._data.dtype).eps
    kept = s._data > float(limit) * s._data.max(axis=-1, initial=0, keepdims=True)
    inverse = (1 / s.masked_fill(_wrap(~kept), 1)).masked_fill(_wrap(~kept), 0)
    return _t(vh) @ (inverse.unsqueeze(-1) * _t(u))


# -- Determinants ------------------------------------------------------------------------------


@named
def det(A: Tensor) -> Tensor:
    """The determinant of each matrix; its gradient is that of an invertible one."""
    a = _matrix("det", A)

    def run(grad: Tensor, y: Tensor) -> Tensor:
        return (grad * y).unsqueeze(-1).unsqueeze(-1) * _t(inv(a))

    return _of_result("LinalgDet", a, _calculated("det", np.linalg.det, a._data), run, a)


@named
def slogdet(A: Tensor) -> Any:
    """The sign of the determinant, and the logarithm of its absolute value."""
    a = _matrix("slogdet", A)
    sign, log = _calculated("slogdet", np.linalg.slogdet, a._data)

    def run(grad: Tensor, y: Tensor) -> Tensor:
        return grad.unsqueeze(-1).unsqueeze(-1) * _t(inv(a))

    return return_types.linalg_slogdet(_wrap(np.asarray(sign)), _of_result("LinalgSlogdet", a, log, run, a))


@named
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN for a negative one."""
    sign, log = slogdet(input)
    return log.masked_fill(sign < 0, float("nan"))


# -- Decompositions ----------------------------------------------------------------------------


@named
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular L with ``A = L L^T``, or the upper one; of the lower half of A."""
    a = _matrix("cholesky", A)
    try:
        result = np.linalg.cholesky(a._data)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            "linalg.cholesky: The factorization could not be completed because the input is not positive-definite"
        ) from None

    def run(grad: Tensor, y: Tensor) -> Tensor:
        # Phi(L^T dL): the lower half, the diagonal by half.
        half = (_t(y) @ grad).tril()
        half = half - 0.5 * half.diagonal(0, -2, -1).diag_embed()
        inner = _solve(_t(y), half)
        outer = _t(_solve(_t(y), _t(inner)))
        return 0.5 * (outer + _t(outer))

    lower = _of_result("LinalgCholeskyEx", a, result, run)
    return _t(lower) if upper else lower


def _joint(
    name: str, a: Tensor, results: tuple[np.ndarray, ...], run: Callable[[list[Any], list[Tensor]], Tensor]
) -> list[Tensor]:
    """Several results of one operation; ``run`` takes the gradients (None for some) and the results."""
    if not _recorded(a):
        return [_wrap(r) for r in results]

    def backward(grad: Any) -> tuple[Tensor]:
        given = grad.grads if isinstance(grad, Parts) else {0: grad}
        # Under create_graph once more from the operand, so that they are recorded.
        again = [_wrap(r) for r in results]
        return (run([given.get(i) for i in range(len(results))], again),)

    node = Node(name, (a,), backward, (a,))
    return [_wrap(r, part_node(node, i)) for i, r in enumerate(results)]


def _first_order(grads: list[Any], name: str) -> None:
    from fastnn.autograd.modes import is_grad_enabled

    if is_grad_enabled():
        raise RuntimeError(f"fastnn has no second derivatives of linalg.{name}")


@named
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """The eigenvalues, from the smallest, and eigenvectors of each symmetric matrix."""
    a = _matrix("eigh", A)
    values, vectors = _calculated("eigh", np.linalg.eigh, a._data, UPLO)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        _first_order(grads, "eigh")
        w, v = results
        inner = grads[0].diag_embed() if grads[0] is not None else _wrap(np.zeros(v._data.shape, v._data.dtype))
        if grads[1] is not None:
            gap = w.unsqueeze(-2) - w.unsqueeze(-1)
            inner = inner + (_t(v) @ grads[1]) * _reciprocal_gaps(gap)
        return v @ inner @ _t(v)

    return return_types.linalg_eigh(*_joint("LinalgEigh", a, (values, vectors), run))


def _reciprocal_gaps(gap: Tensor) -> Tensor:
    eye = _wrap(np.broadcast_to(np.eye(gap._data.shape[-1], dtype=bool), gap._data.shape))
    return (1 / gap.masked_fill(eye, 1)).masked_fill(eye, 0)


@named
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of each symmetric matrix, from the smallest."""
    return eigh(A, UPLO).eigenvalues


def eig(A: Tensor) -> Any:
    """RuntimeError: eigenvalues of general matrices are complex, and fastnn has no complex numbers."""
    raise RuntimeError("linalg.eig: eigenvalues of general matrices are complex, and fastnn has no complex numbers")


eigvals = eig


@named
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and the upper triangular R with ``A = Q R``."""
    a = _matrix("qr", A, square=False)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced', 'r', or 'complete'")
    if mode == "r":
        r: Any = np.linalg.qr(a._data, "r")
        return return_types.linalg_qr(_wrap(np.empty(0, r.dtype)), _wrap(np.asarray(r)))
    factorize: Any = np.linalg.qr
    q, r = factorize(a._data, mode)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        _first_order(grads, "qr")
        if mode == "complete" or a._data.shape[-2] < a._data.shape[-1]:
            raise RuntimeError("linalg.qr: there is a gradient for mode='reduced' of tall matrices only")
        q, r = results
        dq = grads[0] if grads[0] is not None else _wrap(np.zeros(q._data.shape, q._data.dtype))
        dr = grads[1] if grads[1] is not None else _wrap(np.zeros(r._data.shape, r._data.dtype))
        m = r @ _t(dr) - _t(dq) @ q
        lower = m.tril(-1)
        symmetric = lower + _t(lower) + m.diagonal(0, -2, -1).diag_embed()
        return _t(_solve(r, _t(dq + q @ symmetric)))

    return return_types.linalg_qr(*_joint("LinalgQr", a, (q, r), run))


@named
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, the singular values S from the largest, and V^T with ``A = U diag(S) V^T``."""
    a = _matrix("svd", A, square=False)
    results = _calculated("svd", np.linalg.svd, a._data, full_matrices)

    def run(grads: list[Any], results: list[Tensor]) -> Tensor:
        _first_order(grads, "svd")
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

    return return_types.linalg_svd(*_joint("LinalgSvd", a, tuple(results), run))


@named
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, from the largest."""
    return svd(A, full_matrices=False).S


@named
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """X with the smallest ``norm(A X - B)``; residuals, rank and singular values beside it."""
    a = _matrix("lstsq", A, square=False)
    check_tensor("B", B)
    if a._data.shape[-2] != (B._data.shape[-2] if B._data.ndim >= a._data.ndim else B._data.shape[-1]):
        raise ShapeError(f"linalg.lstsq: the rows of A and B must agree, found {list(a.shape)} and {list(B.shape)}")
    vector = B._data.ndim == a._data.ndim - 1
    b = B.unsqueeze(-1) if vector else B
    x = pinv(a) @ b
    rank = matrix_rank(a)
    residuals = _wrap(np.empty(0, a._data.dtype))
    if a._data.shape[-2] > a._data.shape[-1] and bool((rank == a._data.shape[-1]).all()):
        residuals = ((a @ x - b) ** 2).sum(-2)
    return return_types.linalg_lstsq(
        x.squeeze(-1) if vector else x, residuals.squeeze(-1) if vector and residuals._data.ndim else residuals, rank,
        _wrap(np.empty(0, a._data.dtype)),
    )  # fmt: skip


# -- Numbers of a matrix -------------------------------------------------------------------------


@named
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """How many singular values are not close to 0."""
    a = _matrix("matrix_rank", A, square=False)
    s = np.linalg.svd(a._data, compute_uv=False)
    limit = rtol if rtol is not None else max(a._data.shape[-2:]) * np.finfo(a._data.dtype).eps
    least = np.maximum(float(limit) * s.max(axis=-1, initial=0, keepdims=True), float(tol or atol or 0))
    return _wrap(np.asarray((s > least).sum(-1), np.int64))


@named
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of each matrix: 'fro', 'nuc', 1, -1, 2, -2, or plus or minus infinity."""
    check_tensor("A", A)
    if A._data.ndim < 2:
        raise ShapeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if A._data.dtype.kind != "f":
        raise RuntimeError(f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {A.dtype}")
    if ord == "fro":
        return vector_norm(A, 2, dim, keepdim, dtype)
    a, b = [dimension(d, A._data.ndim) for d in dim]
    if ord in ("nuc", 2, -2):
        s = svdvals(A.movedim((a, b), (-2, -1)))
        found = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
    elif ord in (1, -1, float("inf"), float("-inf")):
        along, over = (a, b) if abs(ord) == 1 else (b, a)
        sums = A.abs().sum(along, keepdim=True)
        found = (sums.amax(over, True) if ord > 0 else sums.amin(over, True)).squeeze((a, b))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return found.unsqueeze(min(a, b)).unsqueeze(max(a, b)) if keepdim else found


@named
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors along one dimension, or of all elements; of matrices along two."""
    check_tensor("A", A)
    if dim is None and ord is None:
        return vector_norm(A.reshape(-1), 2, dtype=dtype).reshape((1,) * A._data.ndim if keepdim else ())
    if dim is None and A._data.ndim == 2:
        return matrix_norm(A, ord, (0, 1), keepdim, dtype=dtype)
    if dim is None and A._data.ndim > 2:
        raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D.")
    if isinstance(ord, str) or (isinstance(dim, (tuple, list)) and len(dim) == 2 and ord is not None):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype)


@named
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the largest singular value over the smallest, or by another norm."""
    a = _matrix("cond", A, square=p not in (None, 2, -2))
    if p in (None, 2, -2):
        s = svdvals(a)
        return s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    return matrix_norm(a, p) * matrix_norm(inv(a), p)


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
def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices; the first and the last may be vectors."""
    if len(tensors) < 2:
        raise RuntimeError("multi_dot(): expected at least 2 tensors but got " + str(len(tensors)))
    result = tensors[0]
    for t in tensors[1:]:
        result = matmul(result, t)
    return result


@named
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sums of products along a dimension."""
    return (x * y).sum(dim)


@named
def vander(x: Tensor, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of each element, as rows."""
    count = x._data.shape[-1] if N is None else N
    return x.unsqueeze(-1) ** _wrap(np.arange(count, dtype=x._data.dtype))


# What `torch` has under its own name as well.
inverse = inv
METHODS = {
    "det": det, "inverse": inv, "pinverse": pinv, "slogdet": slogdet, "logdet": logdet, "matrix_power": matrix_power,
    "cholesky": lambda self, upper=False: cholesky(self, upper=upper),
    "svd": lambda self, some=True: svd_classic(self, some),
    "qr": lambda self, some=True: qr(self, "reduced" if some else "complete"),
}  # fmt: skip


def svd_classic(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V (not transposed) with ``input = U diag(S) V^T``."""
    u, s, vh = svd(input, not some)
    return return_types.svd(u, s, _t(vh))


