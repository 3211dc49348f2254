"""Products of vectors and matrices. Those of float32 and float64 matrices are the kernels'. May import ``core``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.autograd.engine import Node
from fastnn.errors import DTypeError, ShapeError
from fastnn.ops.core import as_floating, check_tensor, dimension, named, refuse
from fastnn.ops.shapes import _expanded, _permuted, _reshaped
from fastnn.tensor import Tensor, _recorded, _unbroadcast, _wrap

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bilinear", "bmm", "cdist", "chain_matmul", "corrcoef", "cov",
    "cross", "diff", "dot", "einsum", "ger", "inner", "kron", "matmul", "mm", "mv", "outer", "tensordot", "trace",
    "trapezoid", "trapz", "vdot",
]  # fmt: skip

_KERNEL_KINDS = (np.dtype(np.float32), np.dtype(np.float64))


def _check_operands(a: Any, b: Any, names: tuple[str, str] = ("mat1", "mat2")) -> None:
    for name, t in zip(names, (a, b), strict=True):
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
        np.matmul(a, b, out=out)
        if bias is not None:
            out += bias
    return out


def _mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices, recorded."""
    x, y = a._data, b._data
    if x.shape[1] != y.shape[0]:
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({x.shape[0]}x{x.shape[1]} and {y.shape[0]}x{y.shape[1]})"
        )
    out = _product(np.empty((x.shape[0], y.shape[1]), x.dtype), x, y)
    if not _recorded(a, b):
        return _wrap(out)
    # Each factor is kept for the gradient of the other.
    a_kept, b_kept = a if b._requires_grad else None, b if a._requires_grad else None

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            None if b_kept is None else _mm(grad, b_kept.t()),
            None if a_kept is None else _mm(a_kept.t(), grad),
        )

    return _wrap(out, Node("Mm", (a, b), run, tuple([t for t in (a_kept, b_kept) if t is not None])))


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    """The products of two batches of matrices, recorded."""
    x, y = a._data, b._data
    out = np.empty((x.shape[0], x.shape[1], y.shape[2]), x.dtype)
    for i in range(x.shape[0]):
        _product(out[i], x[i], y[i])
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
    """The product of vectors, matrices, or batches of matrices, which are broadcast together.

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
        return matmul(input, other.unsqueeze(1)).squeeze(-1)
    x, y = input._data.shape, other._data.shape
    if x[-1] != y[-2]:
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({math.prod(x[:-1])}x{x[-1]} and {y[-2]}x{y[-1]})"
            if m == 2 else f"Expected size for first two dimensions of batch2 tensor to be: {[math.prod(y[:-2]), x[-1]]} "
            f"but got: {[math.prod(y[:-2]), y[-2]]}."
        )
    if m == 2:
        # One product of all rows.
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
    return _mm(a.unsqueeze(0), b.unsqueeze(1)).reshape(())


@named
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of the elements of two vectors."""
    _check_operands(input, tensor, ("self", "tensor"))
    if input._data.ndim != 1 or tensor._data.ndim != 1:
        raise ShapeError(f"1D tensors expected, but got {input._data.ndim}D and {tensor._data.ndim}D tensors")
    return _dot(input, tensor)


vdot = dot


@named
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _check_operands(input, vec, ("input", "vec"))
    if input._data.ndim != 2 or vec._data.ndim != 1:
        raise ShapeError(f"vector + matrix @ vector expected, got {input._data.ndim}, {vec._data.ndim}")
    return matmul(input, vec)


@named
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The sums of products along the last dimensions."""
    check_tensor("input", input)
    check_tensor("other", other)
    if not input._data.ndim or not other._data.ndim:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


@named
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of each element of the one vector with each of the other."""
    for t in (input, vec2):
        check_tensor("input", t)
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
    # With beta = 0 not even a NaN in `input` counts.
    return product if beta == 0 else (input if beta == 1 else input * beta) + product


@named
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``; with a vector and without factors one kernel.

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
    out = np.empty((x.shape[0], y.shape[1]), x.dtype)
    kernels.gemm(out, x, y, bias if bias.flags.c_contiguous else np.ascontiguousarray(bias))
    if not _recorded(input, mat1, mat2):
        return _wrap(out)
    wants = input._requires_grad
    a_kept, b_kept = mat1 if mat2._requires_grad else None, mat2 if mat1._requires_grad else None

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _unbroadcast(grad, bias.shape) if wants else None,
            None if b_kept is None else _mm(grad, b_kept.t()),
            None if a_kept is None else _mm(a_kept.t(), grad),
        )

    return _wrap(out, Node("Addmm", (input, mat1, mat2), run, tuple([t for t in (a_kept, b_kept) if t is not None])))


@named
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat @ vec)``."""
    return _plus(input, mv(mat, vec), beta, alpha)


@named
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    return _plus(input, outer(vec1, vec2), beta, alpha)


@named
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    return _plus(input, bmm(batch1, batch2), beta, alpha)


@named
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``."""
    return _plus(input, bmm(batch1, batch2).sum(0, dtype=batch1.dtype), beta, alpha)


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices."""
    from fastnn.linalg import multi_dot

    return multi_dot(matrices) if len(matrices) > 1 else matrices[0]


# -- Sums of products --------------------------------------------------------------------------


@named
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sums of products over dimensions of both: the last of a and the first of b, or two lists."""
    check_tensor("a", a)
    check_tensor("b", b)
    n, m = a._data.ndim, b._data.ndim
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(n, m):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        of_a, of_b = list(range(n - dims, n)), list(range(dims))
    else:
        first, second = [[d] if isinstance(d, int) else list(d) for d in dims]
        of_a, of_b = [dimension(d, n) for d in first], [dimension(d, m) for d in second]
    if len(of_a) != len(of_b):
        raise RuntimeError("both dimension lists should have same length")
    x, y = a._data.shape, b._data.shape
    for d, e in zip(of_a, of_b, strict=True):
        if x[d] != y[e]:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {x[d]} in dim {d} and second has size {y[e]} "
                f"in dim {e}"
            )
    rest_a, rest_b = [d for d in range(n) if d not in of_a], [d for d in range(m) if d not in of_b]
    inside = math.prod([x[d] for d in of_a])
    left = _permuted(a, (*rest_a, *of_a)).reshape(math.prod([x[d] for d in rest_a]), inside)
    right = _permuted(b, (*of_b, *rest_b)).reshape(inside, math.prod([y[d] for d in rest_b]))
    return matmul(left, right).reshape([x[d] for d in rest_a] + [y[d] for d in rest_b])


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by Einstein's convention: 'ij,jk->ik' is a product of matrices.

    Args:
        equation: the letters of each operand's dimensions; behind -> those of the result, otherwise
            the letters that occur once, in order. '...' stands for further dimensions.
        operands: the tensors.
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum(): the first argument must be a string, found {type(equation).__name__}")
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else list(operands)
    for t in tensors:
        check_tensor("operands", t)
    text = equation.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    letters = inputs.split(",")
    if len(letters) != len(tensors):
        raise ShapeError(
            f"einsum(): the number of subscripts in the equation ({len(letters)}) does not match the number of operands "
            f"({len(tensors)})"
        )
    extra = 0
    for i, (subscript, t) in enumerate(zip(letters, tensors, strict=True)):
        named_count = len(subscript.replace("...", ""))
        if not all(c.isalpha() for c in subscript.replace("...", "")):
            raise ShapeError(f"einsum(): invalid subscript given in {equation!r}; subscripts must be letters")
        if t._data.ndim < named_count or ("..." not in subscript and t._data.ndim != named_count):
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({named_count}) does not match the number of "
                f"dimensions ({t._data.ndim}) for operand {i}"
            )
        extra = max(extra, t._data.ndim - named_count)
    # Further dimensions get names of their own.
    rest = [chr(0x100 + k) for k in range(extra)]
    terms = [
        list(s.partition("...")[0]) + rest[extra - (t._data.ndim - len(s.replace("...", ""))) :] * ("..." in s)
        + list(s.partition("...")[2])
        for s, t in zip(letters, tensors, strict=True)
    ]  # fmt: skip
    if arrow:
        before, dots, after = output.partition("...")
        wanted = [*before, *(rest if dots else []), *after]
    else:
        every = [c for term in terms for c in term if c not in rest]
        wanted = rest + sorted([c for c in set(every) if every.count(c) == 1])
    known = {c for term in terms for c in term}
    for c in wanted:
        if c not in known or wanted.count(c) > 1:
            raise ShapeError(f"einsum(): output subscript {c} appears more than once or in no operand")
    sizes: dict[str, int] = {}
    for term, t in zip(terms, tensors, strict=True):
        for c, n in zip(term, t._data.shape, strict=True):
            if sizes.setdefault(c, n) not in (n, 1) and n != 1:
                raise ShapeError(
                    f"einsum(): subscript {c} has size {n} for one operand, which does not broadcast with the "
                    f"previously seen size {sizes[c]}"
                )
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    made = [_distinct(t, term) for t, term in zip(tensors, terms, strict=True)]
    result, names = made[0]
    for k, (other, other_names) in enumerate(made[1:], 1):
        later = {c for term in terms[k + 1 :] for c in term} | set(wanted)
        result, names = _pair(result, names, other, other_names, later)
    gone = [d for d, c in enumerate(names) if c not in wanted]
    if gone:
        result = result.sum(gone)
        names = [c for c in names if c in wanted]
    return _permuted(result, tuple([names.index(c) for c in wanted]))


def _distinct(t: Tensor, term: list[str]) -> tuple[Tensor, list[str]]:
    """Diagonals, where a letter occurs twice."""
    names = list(term)
    for c in dict.fromkeys(term):
        while names.count(c) > 1:
            a = names.index(c)
            b = names.index(c, a + 1)
            t = t.diagonal(0, a, b)
            names = [n for d, n in enumerate(names) if d not in (a, b)] + [c]
    return t, names


def _pair(a: Tensor, of_a: list[str], b: Tensor, of_b: list[str], later: set[str]) -> tuple[Tensor, list[str]]:
    """The product of two, summed over the letters that are not needed later: one batch of matrix products."""
    a, of_a = _summed_alone(a, of_a, of_b, later)
    b, of_b = _summed_alone(b, of_b, of_a, later)
    sizes: dict[str, int] = {}
    for t, names in ((a, of_a), (b, of_b)):
        for c, n in zip(names, t._data.shape, strict=True):
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    shared = [c for c in of_a if c in of_b]
    batch, inside = [c for c in shared if c in later], [c for c in shared if c not in later]
    only_a, only_b = [c for c in of_a if c not in of_b], [c for c in of_b if c not in of_a]

    def arranged(t: Tensor, names: list[str], groups: list[list[str]]) -> Tensor:
        order = [c for group in groups for c in group]
        t = _permuted(t, tuple([names.index(c) for c in order]))
        t = _expanded(t, tuple([sizes[c] for c in order]))
        return t.reshape([math.prod([sizes[c] for c in group]) for group in groups])

    if not inside:
        a, b = [
            _permuted(t, tuple([names.index(c) for c in batch + only])).reshape(
                [n for c, n in zip(batch, [t._data.shape[names.index(c)] for c in batch], strict=True)] + rest
            )
            for t, names, only, rest in (
                (a, of_a, only_a, [sizes[c] for c in only_a] + [1] * len(only_b)),
                (b, of_b, only_b, [1] * len(only_a) + [sizes[c] for c in only_b]),
            )
        ]
        return a * b, batch + only_a + only_b
    product = bmm(arranged(a, of_a, [batch, only_a, inside]), arranged(b, of_b, [batch, inside, only_b]))
    names = batch + only_a + only_b
    return product.reshape([sizes[c] for c in names]), names


def _summed_alone(t: Tensor, names: list[str], others: list[str], later: set[str]) -> tuple[Tensor, list[str]]:
    gone = [d for d, c in enumerate(names) if c not in others and c not in later]
    return (t.sum(gone), [c for d, c in enumerate(names) if d not in gone]) if gone else (t, names)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[k] @ input2 + bias[k]`` for each k."""
    result = einsum("...i,kij,...j->...k", input1, weight, input2)
    return result if bias is None else result + bias


# -- Others ------------------------------------------------------------------------------------


@named
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    check_tensor("input", input)
    if input._data.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input._data.ndim}")
    refuse("trace", input, "b")
    return input.diagonal().sum()


@named
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The matrix of all products, ``input[i, j] * other`` as its blocks."""
    check_tensor("input", input)
    check_tensor("other", other)
    ndim = max(input._data.ndim, other._data.ndim)
    x, y = [(1,) * (ndim - t._data.ndim) + t._data.shape for t in (input, other)]
    a = input.reshape([n for size in x for n in (size, 1)])
    b = other.reshape([n for size in y for n in (1, size)])
    return (a * b).reshape([n * m for n, m in zip(x, y, strict=True)])


@named
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product, of vectors of 3 along a dimension: the first of that size if None."""
    check_tensor("input", input)
    check_tensor("other", other)
    if dim is None:
        fitting = [d for d, n in enumerate(input._data.shape) if n == 3]
        if not fitting:
            raise RuntimeError("no dimension of size 3 in input")
        dim = fitting[0] - input._data.ndim
    a, b = [t.movedim(dim, -1) for t in (input, other)]
    if a._data.shape[-1] != 3 or b._data.shape[-1] != 3:
        raise ShapeError(f"linalg.cross: inputs dimension {dim} must have length 3, found {list(input.shape)}")
    product = a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)
    return product.movedim(-1, dim)


@named
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """The distances, by the norm of order p, of each row of the one to each row of the other."""
    check_tensor("x1", x1)
    check_tensor("x2", x2)
    refuse("cdist", x1, "biu")
    refuse("cdist", x2, "biu")
    if x1._data.ndim < 2 or x2._data.ndim < 2:
        raise ShapeError(f"cdist only supports at least 2D tensors, found {x1._data.ndim}D and {x2._data.ndim}D")
    if x1._data.shape[-1] != x2._data.shape[-1]:
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {x1._data.shape[-1]} X2: {x2._data.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    from fastnn.ops.reductions import vector_norm

    return vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@named
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The n-th differences of neighbours along a dimension."""
    from fastnn.ops.joining import cat

    check_tensor("input", input)
    axis = dimension(dim, input._data.ndim)
    if not input._data.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    parts = [t for t in (prepend, input, append) if t is not None]
    x = cat(parts, axis) if len(parts) > 1 else input
    for _ in range(min(n, x._data.shape[axis])):
        size = x._data.shape[axis]
        later, earlier = x.narrow(axis, 1, size - 1), x.narrow(axis, 0, size - 1)
        x = later != earlier if x._data.dtype == np.bool_ else later - earlier
    return x


@named
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The area below a line through the points, along a dimension."""
    refuse("trapezoid", y, "b")
    axis = dimension(dim, y._data.ndim)
    size = y._data.shape[axis]
    middle = (y.narrow(axis, 1, size - 1) + y.narrow(axis, 0, size - 1)) / 2
    if x is None:
        return (middle * dx).sum(axis)
    steps = diff(x, dim=axis if x._data.ndim == y._data.ndim else -1)
    if steps._data.ndim == 1:
        steps = steps.reshape([-1 if d == axis else 1 for d in range(y._data.ndim)])
    return (middle * steps).sum(axis)


trapz = trapezoid


@named
def cov(input: Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariances of the rows."""
    check_tensor("input", input)
    if input._data.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input._data.ndim} dimensions")
    if fweights is not None or aweights is not None:
        raise RuntimeError("cov(): fastnn takes no weights")
    refuse("cov", input, "b")
    x = as_floating(input).reshape(1, -1) if input._data.ndim < 2 else as_floating(input)
    count = x._data.shape[1]
    deviation = x - x.mean(1, True)
    result = matmul(deviation, deviation.t()) / max(count - correction, 0)
    return result if input._data.ndim == 2 else result.reshape(())


@named
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows."""
    c = cov(input)
    if not c._data.ndim:
        return c / c
    root = c.diagonal().sqrt()
    return (c / root.unsqueeze(1) / root).clamp(-1, 1)


def _matmul(self: Tensor, other: Any) -> Any:
    return matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def _imatmul(self: Tensor, other: Any) -> Any:
    return self._in_place(matmul(self, other)) if isinstance(other, Tensor) else NotImplemented


OPERATORS = {"__matmul__": _matmul, "__imatmul__": _imatmul}
METHODS: dict[str, Any] = {}
IN_PLACE = ("addbmm", "addmm", "addmv", "addr", "baddbmm")
FUNCTIONS_ONLY = ("bilinear", "cdist", "chain_matmul", "einsum", "tensordot", "trapezoid", "trapz")
