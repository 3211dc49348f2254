"""Products of vectors and matrices. Kernels compute those of float32 and float64 matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import PLAIN_NODE, Node, SelectiveNode, next_sequence
from fastnn._autograd.modes import _mode
from fastnn._core.errors import DTypeError, RangeError, ShapeError
from fastnn._tensor.tensor import TENSORS, Tensor, _recorded, _unbroadcast, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.instances import Maker
from fastnn.ops.core import check_tensor, named, refuse
from fastnn.ops.shapes import _expanded, _reshaped

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "dot", "ger", "matmul", "mm",
    "mv", "outer", "vdot",
]  # fmt: skip


# The length of a vector above which a scalar product is a sum of products.
_LONG = 1024
# The most multiply-adds of a product for which a batch of them is one launch: larger products are worth one each.
_SMALL = 2**20
_KERNEL_KINDS = (np.dtype(np.float32), np.dtype(np.float64))


def _check_operands(a: Any, b: Any, names: tuple[str, str] = ("mat1", "mat2")) -> None:
    for name, t in () if type(a) is type(b) is Tensor else zip(names, (a, b), strict=True):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be a Tensor, found {type(t).__name__}")
    if a._data.dtype != b._data.dtype:
        raise DTypeError(f"{names[0]} and {names[1]} must have the same dtype, but got {a.dtype} and {b.dtype}")
    if a._data.dtype.kind == "b" and a._data.size and b._data.size:
        raise DTypeError(f'"addmm_impl_cpu_" not implemented for {a.dtype}')


def _product(out: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """``out = a @ b + bias`` of matrices."""
    if a.dtype in _KERNEL_KINDS:
        kernels.gemm(out, a, b, bias)
    else:
        with np.errstate(all="ignore"):
            np.matmul(a, b, out=out)
            if bias is not None:
                out += bias
    return out


def _array_product(x: np.ndarray, y: np.ndarray, columns: bool) -> np.ndarray:
    """``x @ y``; ``columns``: those of the result are contiguous, not its rows."""
    if columns:
        x, y = y.T, x.T
    out = allocation.empty((x.shape[0], y.shape[1]), x.dtype)
    if x.dtype in _KERNEL_KINDS:
        kernels.gemm(out, x, y)
    else:
        with np.errstate(all="ignore"):
            np.matmul(x, y, out=out)
    return out.T if columns else out


def _mm(a: Tensor, b: Tensor, turn_a: bool = False, turn_b: bool = False, columns: bool = False) -> Tensor:
    """The product of two matrices, either of them transposed if asked; recorded.

    Args:
        columns: whether the columns of the result are contiguous, not its rows.
    """
    x, y = a._data, b._data
    if turn_a:
        x = x.T
    if turn_b:
        y = y.T
    if x.shape[1] != y.shape[0]:
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({x.shape[0]}x{x.shape[1]} and {y.shape[0]}x{y.shape[1]})"
        )
    out = _array_product(x, y, columns)
    if not _recorded(a, b):
        return _wrap(out)
    # Each factor is saved for the gradient of the other.
    wants_a, wants_b = a._requires_grad, b._requires_grad
    saved = []
    if wants_b:
        saved.append((a._memory, a._memory.version, x.shape[::-1] if turn_a else x.shape))
    if wants_a:
        saved.append((b._memory, b._memory.version, y.shape[::-1] if turn_b else y.shape))
    node: Node = _NODES.make(
        ((a._node or a) if wants_a else None, (b._node or b) if wants_b else None), saved, a if wants_b else None,
        b if wants_a else None, x if wants_b else None, y if wants_a else None, (turn_a, turn_b),
        # A gradient is stored as its operand, a layer's weight by columns.
        (wants_a and a._data.flags.fnc, wants_b and b._data.flags.fnc),
    )
    return TENSORS.make(out, node)


class _MmNode(SelectiveNode):
    """The node of a product of two matrices."""

    __slots__ = ("a", "b", "columns", "turns", "x", "y")

    # The factors that the gradients read, with their arrays as they were multiplied, which may be those of transposes;
    # whether the factors were transposed, and whether their columns are contiguous.
    a: Any
    b: Any
    x: Any
    y: Any
    turns: tuple[bool, bool]
    columns: tuple[bool, bool]

    def gradients_for(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, Tensor | None]:
        a, b, by_a, by_b = self.a, self.b, None, None
        (turn_a, turn_b), (a_columns, b_columns) = self.turns, self.columns
        if wants[0] and b is not None:
            if _mode.enabled:
                left, right = ((b, turn_b), (grad, True)) if turn_a else ((grad, False), (b, not turn_b))
                by_a = _mm(left[0], right[0], left[1], right[1], a_columns)
            else:
                g, y = grad._data, self.y
                first, second = (y, g.T) if turn_a else (g, y.T)
                by_a = _wrap(_array_product(first, second, a_columns))
        if wants[1] and a is not None:
            if _mode.enabled:
                left, right = ((grad, True), (a, turn_a)) if turn_b else ((a, not turn_a), (grad, False))
                by_b = _mm(left[0], right[0], left[1], right[1], b_columns)
            else:
                g, x = grad._data, self.x
                first, second = (g.T, x) if turn_b else (x.T, g)
                by_b = _wrap(_array_product(first, second, b_columns))
        return by_a, by_b

    def release(self) -> None:
        # It has saved at least one factor.
        self.a = self.b = self.x = self.y = None
        super().release()


_NODES = Maker(
    _MmNode, ("edges", "saved", "a", "b", "x", "y", "turns", "columns"), constants={"title": "Mm", **PLAIN_NODE},
    called={"sequence": next_sequence},
)  # fmt: skip


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    """The products of two batches of matrices, recorded."""
    x, y = a._data, b._data
    out = allocation.empty((x.shape[0], x.shape[1], y.shape[2]), x.dtype)
    if x.dtype not in _KERNEL_KINDS:
        with np.errstate(all="ignore"):
            np.matmul(x, y, out=out)
    elif x.shape[0] > 1 and x.shape[1] * x.shape[2] * y.shape[2] <= _SMALL:
        kernels.batched_gemm(out, x, y)
    else:
        for i in range(x.shape[0]):
            kernels.gemm(out[i], x[i], y[i])
    if not _recorded(a, b):
        return _wrap(out)
    a_kept, b_kept = a if b._requires_grad else None, b if a._requires_grad else None

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            None if b_kept is None else _bmm(grad, b_kept.transpose(1, 2)),
            None if a_kept is None else _bmm(a_kept.transpose(1, 2), grad),
        )

    return _wrap(out, Node("Bmm", (a, b), run, tuple([t for t in (a_kept, b_kept) if t is not None])))


@named
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    _check_operands(input, mat2, ("self", "mat2"))
    if input._data.ndim != 2 or mat2._data.ndim != 2:
        raise ShapeError(f"mm takes matrices, found {tuple(input.shape)} and {tuple(mat2.shape)}")
    return _mm(input, mat2)


@named
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices, (b, n, m) and (b, m, p)."""
    _check_operands(input, mat2, ("batch1", "batch2"))
    x, y = input._data.shape, mat2._data.shape
    if len(x) != 3 or len(y) != 3:
        raise ShapeError(f"batch1 and batch2 must be 3D tensors, found {x} and {y}")
    if x[0] != y[0] or x[2] != y[1]:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {[x[0], x[2]]} but got: {list(y[:2])}."
        )
    return _bmm(input, mat2)


@named
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product of vectors, matrices, or batches of matrices, with broadcasting.

    >>> import fastnn
    >>> fastnn.matmul(fastnn.tensor([[1.0, 2.0]]), fastnn.tensor([3.0, 4.0]))
    tensor([11.])
    """
    _check_operands(input, other)
    n, m = input._data.ndim, other._data.ndim
    if n == 2 and m == 2:
        return _mm(input, other)
    if n == 0 or m == 0:
        raise ShapeError(
            f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D"
        )
    if n == 1 and m == 1:
        return _dot(input, other)
    if n == 1:
        return matmul(input.unsqueeze(0), other).squeeze(-2)
    if m == 1:
        if n == 2 and input._data.shape[1] == other._data.shape[0] and not _recorded(input, other):
            return _wrap(_array_product(input._data, other._data[:, None], False).reshape(-1))
        return matmul(input, other.unsqueeze(1)).squeeze(-1)
    x, y = input._data.shape, other._data.shape
    if x[-1] != y[-2]:
        if m == 2:
            raise ShapeError(
                f"mat1 and mat2 shapes cannot be multiplied ({math.prod(x[:-1])}x{x[-1]} and {y[-2]}x{y[-1]})"
            )
        count = math.prod(y[:-2])
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {[count, x[-1]]} but got: "
            f"{[count, y[-2]]}."
        )
    if m == 2:
        # A single product of all rows.
        rows = _reshaped(input, (math.prod(x[:-1]), x[-1]))
        return _reshaped(_mm(rows, other), (*x[:-1], y[-1]))
    try:
        batch = np.broadcast_shapes(x[:-2], y[:-2])
    except ValueError:
        raise ShapeError(f"The batch dimensions of {list(x)} and {list(y)} cannot be broadcast together") from None
    count = math.prod(batch)
    a = _reshaped(_expanded(input, (*batch, *x[-2:])), (count, *x[-2:]))
    b = _reshaped(_expanded(other, (*batch, *y[-2:])), (count, *y[-2:]))
    return _reshaped(_bmm(a, b), (*batch, x[-2], y[-1]))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a._data.size != b._data.size:
        raise ShapeError(
            "inconsistent tensor size, expected tensor [{}] and src [{}] to have the same number of elements, but got "
            "{} and {} elements respectively".format(*[a._data.size, b._data.size] * 2)
        )
    refuse("dot", a, "b")
    if a._data.size > _LONG:
        # A matrix product adds sequentially along the inner dimension.
        return (a * b).sum()
    if not _recorded(a, b):
        # Without views of tensors.
        return _wrap(_array_product(a._data[None], b._data[:, None], False).reshape(()))
    return _mm(a.unsqueeze(0), b.unsqueeze(1)).reshape(())


@named
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of the elements of two vectors."""
    _check_operands(input, tensor, ("self", "tensor"))
    if input._data.ndim != 1 or tensor._data.ndim != 1:
        raise ShapeError(f"1D tensors expected, but got {input._data.ndim}D and {tensor._data.ndim}D tensors")
    return _dot(input, tensor)


@named
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """As ``dot``; of complex numbers, with the conjugates of ``input``."""
    return dot(input, other)


@named
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    if isinstance(input, Tensor) and not input._data.ndim:
        raise RangeError("mv() expects a matrix, found a tensor of no dimension")
    _check_operands(input, vec, ("input", "vec"))
    if input._data.ndim != 2 or vec._data.ndim != 1:
        raise ShapeError(f"vector + matrix @ vector expected, got {input._data.ndim}, {vec._data.ndim}")
    return matmul(input, vec)


@named
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of each element of one vector with each of the other."""
    check_tensor("input", input)
    check_tensor("vec2", vec2)
    for t in (input, vec2):
        if t._data.ndim != 1:
            raise ShapeError(f"outer: Expected 1-D argument, but got {t._data.ndim}-D")
    return input.unsqueeze(1) * vec2


ger = outer


def _plus(input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    check_tensor("input", input)
    if input._data.dtype != product._data.dtype:
        raise DTypeError(f"self and mat2 must have the same dtype, but got {input.dtype} and {product.dtype}")
    try:
        fits = np.broadcast_shapes(input._data.shape, product._data.shape) == product._data.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"The expanded size of the tensor {list(product.shape)} must match the existing size {list(input.shape)}"
        )
    if product._data.dtype.kind != "f":
        beta, alpha = int(beta), int(alpha)
    if alpha != 1:
        product = product * alpha
    # With beta = 0 even a NaN in `input` is ignored.
    return product if beta == 0 else (input if beta == 1 else input * beta) + product


@named
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``; one kernel for a vector without factors.

    >>> import fastnn
    >>> fastnn.addmm(fastnn.tensor([1.0, 2.0]), fastnn.ones(1, 3), fastnn.ones(3, 2))
    tensor([[4., 5.]])
    """
    _check_operands(mat1, mat2)
    x, y = mat1._data, mat2._data
    if x.ndim != 2 or y.ndim != 2:
        raise ShapeError(f"mat1 and mat2 must be matrices, found {tuple(mat1.shape)} and {tuple(mat2.shape)}")
    plain = isinstance(input, Tensor) and input._data.shape == y.shape[1:] and beta == 1 and alpha == 1
    if not plain or x.dtype != input._data.dtype or x.dtype not in _KERNEL_KINDS or x.shape[1] != y.shape[0]:
        return _plus(input, _mm(mat1, mat2), beta, alpha)
    bias = input._data
    out = allocation.empty((x.shape[0], y.shape[1]), x.dtype)
    kernels.gemm(out, x, y, bias if bias.flags.c_contiguous else np.ascontiguousarray(bias))
    if not _recorded(input, mat1, mat2):
        return _wrap(out)
    a_kept, b_kept = mat1 if mat2._requires_grad else None, mat2 if mat1._requires_grad else None
    a_columns, b_columns = x.flags.fnc, y.flags.fnc

    def run(grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        return (
            _unbroadcast(grad, bias.shape) if wants[0] else None,
            _mm(grad, b_kept, False, True, a_columns) if wants[1] and b_kept is not None else None,
            _mm(a_kept, grad, True, False, b_columns) if wants[2] and a_kept is not None else None,
        )

    saved = tuple([t for t in (a_kept, b_kept) if t is not None])
    return _wrap(out, SelectiveNode("Addmm", (input, mat1, mat2), run, saved))


@named
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat @ vec)``."""
    return _plus(input, mv(mat, vec), beta, alpha)


@named
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    return _plus(input, outer(vec1, vec2), beta, alpha)


def _check_batches(batch1: Any, batch2: Any) -> None:
    for name, t in (("batch1", batch1), ("batch2", batch2)):
        check_tensor(name, t)
        if t._data.ndim != 3:
            raise RangeError(f"{name} must be a 3D tensor, found {t._data.ndim}D")


@named
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    _check_batches(batch1, batch2)
    return _plus(input, bmm(batch1, batch2), beta, alpha)


@named
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``."""
    _check_batches(batch1, batch2)
    return _plus(input, bmm(batch1, batch2).sum(0, dtype=batch1.dtype), beta, alpha)


@named
def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices; the first and the last may be vectors."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"tensors must be a list or tuple of Tensors, found {type(tensors).__name__}")
    for t in tensors:
        check_tensor("tensors", t)
    if len(tensors) < 2:
        raise RuntimeError("multi_dot(): expected at least 2 tensors but got " + str(len(tensors)))
    for place, t in enumerate(tensors):
        if t._data.ndim != 2 and not (t._data.ndim == 1 and place in (0, len(tensors) - 1)):
            raise ShapeError(f"multi_dot(): tensor {place} must be a matrix, found {list(t._data.shape)}")
    result = tensors[0]
    for t in tensors[1:]:
        result = matmul(result, t)
    return result


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices."""
    for t in matrices:
        check_tensor("matrices", t)
        if t._data.ndim != 2:
            raise ShapeError(f"chain_matmul(): expected matrices, found {list(t._data.shape)}")
    return multi_dot(matrices) if len(matrices) > 1 else matrices[0]


IN_PLACE = ("addbmm", "addmm", "addmv", "addr", "baddbmm")
FUNCTIONS_ONLY = ("chain_matmul",)
