"""Norms, and sums of exponentials without overflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._core.errors import ShapeError
from fastnn._core.sums import add_up
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.ops.core import (
    also_read,
    as_floating,
    check_tensor,
    dimension,
    named,
    quiet,
    recorded_result,
    reduced,
    scaled,
)
from fastnn.ops.decompositions import svdvals
from fastnn.ops.reductions import _cast, _kept_shape

__all__ = ["dist", "logsumexp", "norm"]

# NumPy's stubs accept `keepdims` only as a literal.
_largest: Any = np.maximum.reduce


# -- Exponentials -----------------------------------------------------------------------------------


@named
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(input)))``, without overflow."""
    check_tensor("input", input)
    x = as_floating(input)
    axes = reduced(dim, x._data.ndim)
    shape = x._data.shape

    def forward(a: np.ndarray) -> np.ndarray:
        if not a.size:
            return np.log(add_up(np.exp(a), axes, None, bool(keepdim)))
        top = _largest(a, axes, None, None, True)
        top = np.where(np.isfinite(top), top, top.dtype.type(0))
        total = np.log(add_up(np.exp(a - top), axes, None, True)) + top
        return total if keepdim else total.reshape([n for d, n in enumerate(shape) if d not in axes])

    result = np.asarray(quiet(forward, x._data))
    if not _recorded(x):
        return _wrap(result)

    kept = _kept_shape(shape, axes)

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        return (grad.reshape(kept) * (x - y.reshape(kept)).exp(),)

    return recorded_result("Logsumexp", (x,), result, run, (x,))


# -- Norms -------------------------------------------------------------------------------------


def norm_operand(name: str, input: Tensor, dtype: Any) -> Tensor:
    """A floating point tensor in ``dtype``; RuntimeError for integers and for a narrower ``dtype``."""
    check_tensor("input", input)
    if input._data.dtype.kind != "f":
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {input.dtype}")
    if dtype is None:
        return input
    x = _cast(input, dtype)
    if x._data.dtype.kind != "f":
        raise RuntimeError(f"linalg.{name}: dtype should be floating point or complex. Got {x.dtype}")
    if x._data.dtype.itemsize < input._data.dtype.itemsize:
        raise RuntimeError(
            f"linalg.{name}: the dtype of the input ({input.dtype}) should be convertible without narrowing to the "
            f"specified dtype ({x.dtype})"
        )
    return x


def vector_norm(input: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """``sum(abs(x)**ord)**(1/ord)``; the maximum for infinity and the number of non-zeros for 0."""
    if isinstance(ord, str):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not str, found {ord!r}")
    x = norm_operand("vector_norm", input, dtype)
    order = float(ord)
    axes = reduced(dim, x._data.ndim)
    shape = x._data.shape
    if not x._data.size and not math.prod([shape[d] for d in axes]) and (order < 0 or order == math.inf):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the operation does not have "
            "an identity"
        )

    def forward(a: np.ndarray) -> np.ndarray:
        if order == 2:
            return np.sqrt(add_up(a * a, axes, None, bool(keepdim)))
        a = np.abs(a)
        if math.isinf(order):
            return (np.max if order > 0 else np.min)(a, axis=axes, keepdims=bool(keepdim))
        if order == 0:
            return add_up((a != 0).astype(a.dtype), axes, None, bool(keepdim))
        if order == 1:
            return add_up(a, axes, None, bool(keepdim))
        return add_up(a**order, axes, None, bool(keepdim)) ** (1 / order)

    # Squares of float16 would overflow.
    is_half = x._data.dtype == np.float16
    result = np.asarray(quiet(forward, x._data.astype(np.float32) if is_half else x._data))
    if is_half:
        result = np.asarray(quiet(result.astype, np.float16))
    if not _recorded(x):
        return _wrap(result)

    kept = _kept_shape(shape, axes)

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor | None]:
        if not is_half:
            return slope(grad, y, x)
        (found,) = slope(grad.float(), y.float(), x.float())
        return (None if found is None else found.half(),)

    def slope(grad: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor | None]:
        grad, y = grad.reshape(kept), y.reshape(kept)
        if order == 0:
            return (None,)
        if order == 1:
            return (grad * x.sgn(),)
        if math.isinf(order):
            among = x.abs() == y
            if np.isnan(y._data).any():
                among = among | (x.isnan() & y.isnan())
            return (grad * x.sgn() * (among / among.sum(axes, True)),)
        zero = y == 0
        if order == 2:
            # The derivative is 0 where all are zero.
            return (grad * (x / y).masked_fill(zero, 0),)
        size = x.abs()
        scaled = x.sgn() * (size ** (order - 1)).masked_fill(size == 0, 0) if order < 2 else x * size ** (order - 2)
        return (scaled * (grad / y ** (order - 1)).masked_fill(zero, 0),)

    return recorded_result("LinalgVectorNorm", (x,), result, run, (x,))


def distance(difference: Tensor, p: float) -> Tensor:
    """The norm along the last dimension, with the derivatives of PyTorch's distances.

    For infinity each of the largest differences gets the whole gradient; for 0 all gradients are 0.
    """
    result = vector_norm(difference, p, -1)
    if p not in (0, math.inf) or result._node is None:
        return result

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        if p == 0:
            return (scaled(grad.unsqueeze(-1).expand(difference._data.shape), 0, difference),)
        largest = np.abs(difference._data) == y._data[..., None]
        factors = np.sign(difference._data) * largest
        return (scaled(grad.unsqueeze(-1).expand(factors.shape), factors, difference),)

    return recorded_result("Cdist", (difference,), result._data, run, (difference,))


@named
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of each matrix: 'fro', 'nuc', 1, -1, 2, -2, or plus or minus infinity."""
    check_tensor("A", A)
    A = norm_operand("matrix_norm", A, dtype)
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    if A._data.ndim < 2:
        raise ShapeError(
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, found shape {tuple(A.shape)}."
        )
    a, b = [dimension(d, A._data.ndim) for d in dim]
    if a == b:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro" or (ord in ("nuc", 2, 1, math.inf) and not A._data.size):
        return vector_norm(A, 2, dim, keepdim)
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
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The norm of all elements as one vector, or over the dimensions ``dim``.

    Args:
        p: the order, a number; 'fro' for 2; 'nuc' for the sum of singular values.

    >>> import fastnn
    >>> fastnn.norm(fastnn.tensor([3.0, 4.0]))
    tensor(5.)
    """
    check_tensor("input", input)
    if p == "nuc":
        return matrix_norm(input, "nuc", (0, 1) if dim is None else dim, keepdim)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"unknown norm order {p!r}; the order is a number, 'fro' or 'nuc'")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype)


@named
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The norm of ``input - other``."""
    return also_read(norm(input - other, p), input, other)
