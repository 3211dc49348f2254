"""Functions of vectors: differences, distances, covariances."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastnn._core.dtypes import default_numpy
from fastnn._core.errors import DTypeError, RangeError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.ops.core import also_read, as_floating, check_tensor, dimension, named, refuse
from fastnn.ops.products import matmul

__all__ = [
    "cdist", "corrcoef", "cov", "cross", "cumulative_trapezoid", "diff", "gradient", "kron", "renorm", "trace",
    "trapezoid", "trapz",
]  # fmt: skip


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
    """The Kronecker product, with blocks ``input[i, j] * other``."""
    check_tensor("input", input)
    check_tensor("other", other)
    ndim = max(input._data.ndim, other._data.ndim)
    x, y = [(1,) * (ndim - t._data.ndim) + t._data.shape for t in (input, other)]
    a = input.reshape([n for size in x for n in (size, 1)])
    b = other.reshape([n for size in y for n in (1, size)])
    return (a * b).reshape([n * m for n, m in zip(x, y, strict=True)])


@named
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of 3-vectors along a dimension; the first of size 3 if None."""
    check_tensor("input", input)
    check_tensor("other", other)
    if input._data.ndim != other._data.ndim:
        raise ShapeError(
            f"linalg.cross: inputs must have the same number of dimensions, found {input._data.ndim} and "
            f"{other._data.ndim}"
        )
    if input._data.dtype != other._data.dtype:
        raise DTypeError(f"linalg.cross: expected dtype {input.dtype}, found {other.dtype}")
    if dim is None:
        fitting = [d for d, n in enumerate(input._data.shape) if n == 3]
        if not fitting:
            raise RuntimeError(f"no dimension of size 3 in input, found shape {tuple(input.shape)}")
        dim = fitting[0] - input._data.ndim
    a, b = [t.movedim(dim, -1) for t in (input, other)]
    if a._data.shape[-1] != 3 or b._data.shape[-1] != 3:
        raise ShapeError(f"linalg.cross: inputs dimension {dim} must have length 3, found {list(input.shape)}")
    product = a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)
    read = [t for t, by in ((input, other), (other, input)) if by._requires_grad]
    return also_read(product, *read).movedim(-1, dim)


_MODES = (
    None, "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist",
)  # fmt: skip


@named
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """The p-norm distances between each row of one tensor and each row of the other."""
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
        raise RuntimeError(f"cdist only supports non-negative p values, found {p}")
    from fastnn.ops.norms import distance

    if x1._data.dtype != x2._data.dtype:
        raise RuntimeError(f"expected scalar type {x1.dtype} but found {x2.dtype}")
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    return also_read(distance(x1.unsqueeze(-2) - x2.unsqueeze(-3), p), x1, x2)


@named
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The n-th differences of neighbours along a dimension."""
    from fastnn.ops.joining import cat

    check_tensor("input", input)
    axis = dimension(dim, input._data.ndim)
    if not input._data.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional, found a single number")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [t for t in (prepend, input, append) if t is not None]
    x = cat(parts, axis) if len(parts) > 1 else input
    for _ in range(min(n, x._data.shape[axis])):
        size = x._data.shape[axis]
        later, earlier = x.narrow(axis, 1, size - 1), x.narrow(axis, 0, size - 1)
        x = later != earlier if x._data.dtype == np.bool_ else later - earlier
    return x


@named
def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Derivatives along dimensions, by differences of second order inside.

    Args:
        input: values of a function on a grid.
        spacing: the distance of neighbours, one for each dimension, or a vector of coordinates for each; 1 by default.
        dim: the dimensions, all by default.
        edge_order: 1 or 2, the order of the differences at both ends.

    Returns: a tensor of the input's shape for each dimension.

    Raises: RuntimeError for another order, fewer numbers than ``edge_order + 1`` along a dimension, or a list of
        spacings of another length than the dimensions.

    >>> import fastnn
    >>> fastnn.gradient(fastnn.tensor([1.0, 2.0, 4.0, 7.0]))
    (tensor([1.0000, 1.5000, 2.5000, 3.0000]),)
    """
    check_tensor("input", input)
    if input._data.dtype == np.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    ndim = input._data.ndim
    chosen = tuple(range(ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    axes = tuple([dimension(d, ndim) for d in chosen])
    if edge_order not in (1, 2):
        raise RuntimeError(f"torch.gradient only supports edge_order=1 and edge_order=2, found {edge_order}.")
    for axis in axes:
        if axes.count(axis) > 1:
            raise RuntimeError(f"dim {axis} appears multiple times in the list of dims")
        if input._data.shape[axis] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1: found size "
                f"{input._data.shape[axis]} of dimension {axis} and edge_order={edge_order}"
            )
    several = isinstance(spacing, (tuple, list))
    steps = list(spacing) if several else [1 if spacing is None else spacing] * len(axes)
    if len(steps) != len(axes):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list with a spacing for each of "
            f"{len(axes)} dimensions, but got a list of length {len(steps)}"
        )
    return tuple([_derivative(input, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True)])


def _derivative(x: Tensor, axis: int, spacing: Any, edge_order: int) -> Tensor:
    from fastnn.ops.joining import cat

    size, ndim = x._data.shape[axis], x._data.ndim
    if isinstance(spacing, Tensor) and spacing._data.ndim:
        if spacing._data.shape != (size,):
            raise RuntimeError(
                f"torch.gradient expected each element of spacing to have the size of its dimension, {size}, but got "
                f"{tuple(spacing._data.shape)}"
            )
        h = diff(spacing).reshape([-1 if d == axis else 1 for d in range(ndim)])
    else:
        kind = x._data.dtype if x._data.dtype.kind == "f" else default_numpy()
        h = _wrap(np.full([size - 1 if d == axis else 1 for d in range(ndim)], float(spacing), kind))

    def at(t: Tensor, start: int, length: int) -> Tensor:
        return t.narrow(axis, start, length)

    def end(near: int, next_: int, far: int, h1: Tensor, h2: Tensor | None, sign: int) -> Tensor:
        a, b = at(x, near, 1), at(x, next_, 1)
        if h2 is None:
            return sign * (b - a) / h1
        c = at(x, far, 1)
        both = h1 + h2
        return sign * (-(h1 + both) / (h1 * both) * a + both / (h1 * h2) * b - h1 / (h2 * both) * c)

    second = edge_order == 2
    left = end(0, 1, 2, at(h, 0, 1), at(h, 1, 1) if second else None, 1)
    last = size - 1
    right = end(last, last - 1, last - 2, at(h, last - 1, 1), at(h, last - 2, 1) if second else None, -1)
    if size == 2:
        return cat([left, right], axis)
    h1, h2 = at(h, 0, size - 2), at(h, 1, size - 2)
    before, here, after = at(x, 0, size - 2), at(x, 1, size - 2), at(x, 2, size - 2)
    if not (isinstance(spacing, Tensor) and spacing._data.ndim):
        # The number between does not count, also if it is infinite or NaN.
        return cat([left, (after - before) / (h1 + h2), right], axis)
    inside = (h1 * (after - here) / h2 + h2 * (here - before) / h1) / (h1 + h2)
    return cat([left, inside, right], axis)


def _middles(y: Tensor, axis: int) -> Tensor:
    size = y._data.shape[axis]
    return (y.narrow(axis, 1, size - 1) + y.narrow(axis, 0, size - 1)) / 2


def _widths(x: Any, dx: Any, y: Tensor, axis: int) -> Any:
    if x is None:
        return dx
    check_tensor("x", x)
    steps = diff(x, dim=axis if x._data.ndim == y._data.ndim else -1)
    return steps.reshape([-1 if d == axis else 1 for d in range(y._data.ndim)]) if steps._data.ndim == 1 else steps


@named
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral by the trapezoidal rule along a dimension."""
    refuse("trapezoid", y, "b")
    axis = dimension(dim, y._data.ndim)
    if not y._data.ndim:
        raise RangeError("trapezoid() expects a tensor of one dimension or more, found a single number")
    if not y._data.shape[axis]:
        return y.sum(axis)
    if x is None:
        # This form gives NaN for an infinite end, as in PyTorch.
        return (y.sum(axis) - (y.select(axis, 0) + y.select(axis, -1)) * 0.5) * dx
    return (_middles(y, axis) * _widths(x, dx, y, axis)).sum(axis)


trapz = trapezoid


@named
def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The cumulative integrals of ``trapezoid`` up to each point but the first."""
    refuse("cumulative_trapezoid", y, "b")
    axis = dimension(dim, y._data.ndim)
    return (_middles(y, axis) * _widths(x, dx, y, axis)).cumsum(axis)


@named
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Scale down slices along ``dim`` whose norm exceeds ``maxnorm`` to that norm."""
    from fastnn.ops.norms import vector_norm

    check_tensor("input", input)
    if input._data.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input._data.ndim} dimensions")
    axis = dimension(dim, input._data.ndim)
    others = [d for d in range(input._data.ndim) if d != axis]
    size = vector_norm(input, p, others, True)
    unknown = np.isnan(size._data)
    if unknown.any():
        # A norm of NaN has no gradient, as in PyTorch.
        size = vector_norm(input.masked_fill(_wrap(unknown), 0), p, others, True)
    return input * (maxnorm / (size + 1e-7)).masked_fill(~(size > maxnorm), 1)


@named
def cov(input: Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariances of the rows; the columns are observations.

    Args:
        correction: subtracted from the number of observations.
        fweights: (columns,) integers, the frequency of each observation.
        aweights: (columns,) numbers, the weight of each observation.

    Raises: RuntimeError for weights of another shape or dtype, or negative ones.
    """
    check_tensor("input", input)
    if input._data.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input._data.ndim} "
            "dimensions"
        )
    refuse("cov", input, "b")
    x = as_floating(input).reshape(1, -1) if input._data.ndim < 2 else as_floating(input)
    weights = None
    for name, kinds, w in (("fweights", "iu", fweights), ("aweights", "f", aweights)):
        if w is not None:
            _check_weights(name, kinds, w, x._data.shape[1])
            weights = w if weights is None else weights * w
    total: Any = x._data.shape[1] if weights is None else weights.sum()
    if weights is not None and not total:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    degrees = total - correction
    if aweights is not None and weights is not None:
        # The effective number of observations of equal weight.
        degrees = total - correction * (weights * aweights).sum() / total
    if degrees <= 0:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
            UserWarning,
            stacklevel=3,
        )
        degrees = degrees * 0
    deviation = x - (x.mean(1, True) if weights is None else (x * weights).sum(1, True) / total)
    result = matmul(deviation, (deviation if weights is None else deviation * weights).t()) / degrees
    return result if result._data.size != 1 else result.reshape(())


def _check_weights(name: str, kinds: str, w: Any, count: int) -> None:
    check_tensor(name, w)
    if w._data.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {w._data.ndim}")
    if w._data.dtype.kind not in kinds:
        wanted = "floating point" if kinds == "f" else "integral"
        raise RuntimeError(f"cov(): expected {name} to have {wanted} dtype but got {name} with {w.dtype} dtype")
    if w._data.size != count:
        raise RuntimeError(f"cov(): expected {name} to have {count} elements, one per column, but got {w._data.size}")
    if (w._data < 0).any():
        raise RuntimeError(f"cov(): {name} cannot be negative, found {w._data.min()}")


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


def _rmatmul(self: Tensor, other: Any) -> Any:
    return matmul(other, self) if isinstance(other, Tensor) else NotImplemented


OPERATORS = {"__matmul__": _matmul, "__imatmul__": _imatmul, "__rmatmul__": _rmatmul}
IN_PLACE = ("renorm",)
FUNCTIONS_ONLY = ("cdist", "gradient", "trapezoid", "trapz")
