"""Sums, means, variances, products, cumulative sums, and all and any."""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._autograd.modes import _mode
from fastnn._core.capture_state import active
from fastnn._core.dtypes import as_numpy_dtype, from_numpy_dtype
from fastnn._core.errstate import run_quiet
from fastnn._core.sums import FEW, add_up, add_up_small
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn._tensor.views import linear_map, mapped
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.direct_loops import MOST
from fastnn.ops.core import (
    DIVIDE,
    also_read,
    check_tensor,
    dimension,
    named,
    of_operand,
    quiet,
    recorded_result,
    reduced,
    refuse,
)

__all__ = [
    "all", "any", "count_nonzero", "cumprod", "cumsum", "logcumsumexp", "mean", "nanmean", "nansum", "prod", "std",
    "std_mean", "sum", "var", "var_mean",
]  # fmt: skip

# NumPy's stubs accept `keepdims` only as a literal.
_MULTIPLY: Any = np.multiply.reduce
_ADD: Any = np.add.reduce
_FLOAT64 = np.dtype(np.float64)


def _kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if d in axes else n for d, n in enumerate(shape)])


def _running_kind(dtype: Any) -> None:
    if dtype is not None and as_numpy_dtype(dtype) == np.bool_:
        raise NotImplementedError("a running sum or product is not implemented for Bool")


def _cast(input: Tensor, dtype: Any) -> Tensor:
    if not isinstance(input, Tensor):
        check_tensor("input", input)
    return input if dtype is None else input.to(from_numpy_dtype(as_numpy_dtype(dtype)))


def _kind(x: Tensor, dtype: Any) -> Any:
    """The dtype to accumulate in: int64 for integers unless one is given; None for the tensor's."""
    return None if x._data.dtype.kind == "f" else np.int64 if dtype is None else x._data.dtype


def _total(
    input: Tensor, name: str, axes: tuple[int, ...] | None, keepdim: bool, count: int, kind: Any = None
) -> Tensor:
    """The sum over ``axes`` (all for None) divided by ``count``."""
    array = input._data
    result: Any = None if active else add_up_small(array, axes, bool(keepdim))
    if result is not None:
        if count != 1:
            mean = DIVIDE.call(result, count)
            result = quiet(np.true_divide, result, count) if mean is None else mean
    elif not active and array.dtype.char in "fd" and (array.size <= FEW or (axes is None and array.flags.c_contiguous)):
        # As in _add_up.
        try:
            total = run_quiet(_ADD, array, axes, None, None, True) if keepdim else run_quiet(_ADD, array, axes)
            if count != 1:
                total = run_quiet(operator.truediv, total, count)
        except RuntimeError:
            total = quiet(_add_up, array, axes, kind, bool(keepdim), count)
        result = total if type(total) is np.ndarray else np.asarray(total)
    else:
        result = quiet(_add_up, array, axes, kind, bool(keepdim), count)
    if not _recorded(input):
        return _wrap(result)
    shape = array.shape
    kept = (1,) * len(shape) if axes is None else _kept_shape(shape, axes)

    def forward(a: np.ndarray) -> np.ndarray:
        return _add_up(a, axes, None, bool(keepdim), count)

    def backward(g: np.ndarray) -> np.ndarray:
        each = g.reshape(kept)
        if count != 1:
            each = each / count
        if active or array.size > MOST:
            return np.broadcast_to(each, shape)
        # Repeated numbers are not contiguous, which the next operation would pay for.
        whole = allocation.empty(shape, g.dtype)
        whole[...] = each
        return whole

    return _wrap(result, Node(name, (input,), lambda grad: (linear_map(name, grad, backward, forward),)))


def _add_up(a: np.ndarray, axes: tuple[int, ...] | None, kind: Any, keepdim: bool, count: int) -> np.ndarray:
    if count != 1 and a.dtype == np.float16:
        # The sum may overflow float16 even if the mean does not.
        return np.asarray(add_up(a.astype(np.float32), axes, None, keepdim) / count).astype(np.float16)
    total: Any = add_up(a, axes, kind, keepdim)
    return np.asarray(total if count == 1 else total / count)


@named
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over all elements or over the dimensions ``dim``; integers sum as int64.

    >>> import fastnn
    >>> fastnn.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(0)
    tensor([4., 6.])
    """
    x = _cast(input, dtype)
    if dim is None:
        return _total(x, "Sum", None, keepdim, 1, _kind(x, dtype))
    return _total(x, "SumBackward1", reduced(dim, x._data.ndim), keepdim, 1, _kind(x, dtype))


@named
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over all elements or over the dimensions ``dim``; NaN if there are none."""
    x = _cast(input, dtype)
    if x._data.dtype.kind != "f":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{x.dtype}"
        )
    if dim is None:
        return _total(x, "Mean", None, keepdim, x._data.size)
    axes = reduced(dim, x._data.ndim)
    return _total(x, "MeanBackward1", axes, keepdim, math.prod([x._data.shape[d] for d in axes]))


@named
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of the elements that are not NaN."""
    x = _cast(input, dtype)
    if x._data.dtype.kind != "f":
        return sum(x, dim, keepdim, dtype=dtype)
    valid = ~np.isnan(x._data)
    # As in PyTorch the gradient is multiplied by 0 where x is NaN: if all are NaN, nanmean() has a gradient of NaN.
    numbers = of_operand(
        "NanToNum", x, lambda a: np.where(valid, a, a.dtype.type(0)), lambda grad, x: grad * _wrap(valid)
    )
    return sum(numbers, dim, keepdim)


@named
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of the elements that are not NaN."""
    x = _cast(input, dtype)
    if x._data.dtype.kind != "f":
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {x.dtype}")
    valid = _wrap((~np.isnan(x._data)).astype(x._data.dtype))
    return nansum(x, dim, keepdim) / sum(valid, dim, keepdim)


# -- Variance ----------------------------------------------------------------------------------


def _variance_arguments(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, Any]:
    """The dimensions and the correction; the first argument may also be ``unbiased``."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    elif unbiased is not None:
        raise TypeError(
            f"var() and std() take either unbiased or correction, found unbiased={unbiased} and correction={correction}"
        )
    return dim, correction


def _variance(
    name: str, input: Tensor, dim: Any, keepdim: bool, correction: Any, root: bool, label: str
) -> Tensor:
    check_tensor("input", input)
    array = input._data
    if array.dtype.kind != "f":
        raise RuntimeError(
            f"{name.lower()} and {name.lower()}_mean only support floating point dtypes, found {input.dtype}"
        )
    axes = reduced(dim, array.ndim)
    shape = array.shape
    count = math.prod([shape[d] for d in axes])
    freedom = count - correction
    if freedom <= 0 or not array.size:
        warnings.warn(
            f"{label}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
            "(input numel divided by output numel).",
            UserWarning,
            stacklevel=4,
        )
    divisor = max(freedom, 0)
    whole = dim is None or not array.ndim
    kept = _kept_shape(shape, axes)

    def variance(a: np.ndarray) -> np.ndarray:
        if not count:
            return np.full([n for d, n in enumerate(kept) if keepdim or d not in axes], np.nan, a.dtype)
        # In float64, as in PyTorch: deviations are small compared with the mean.
        deviation = a - a.mean(axis=axes, keepdims=True, dtype=np.float64)
        total = add_up(deviation * deviation, axes, None, bool(keepdim))
        v = np.true_divide(total, divisor)
        return np.asarray(np.sqrt(v) if root else v).astype(a.dtype)

    result = quiet(variance, array)
    if not _recorded(input):
        return _wrap(result)

    def run(grad: Tensor) -> Tensor:
        deviation = input - mean(input, axes, True) if axes else input - input
        if freedom <= 0 and whole:
            # As in PyTorch: infinite on either side of the mean.
            return grad.reshape(kept) * _wrap(np.where(deviation._data == 0, np.nan, np.inf).astype(array.dtype))
        return (grad * (2.0 / freedom if freedom else math.inf)).reshape(kept) * deviation

    def run_root(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        # The derivative is 0 where the deviation is 0, as in PyTorch.
        return (run((grad / (2 * y)).masked_fill(y == 0, 0)),)

    if root:
        return recorded_result(name, (input,), result, run_root, (input,))
    return mapped(name, input, result, run, (input,))


@named
def var(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The variance: squared deviations from the mean over ``n - correction``; the correction is 1 by default."""
    dim, correction = _variance_arguments(dim, unbiased, correction)
    return _variance("Var", input, dim, keepdim, correction, False, "var")


@named
def std(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """The square root of the variance.

    >>> import fastnn
    >>> fastnn.tensor([1.0, 2.0, 3.0]).std()
    tensor(1.)
    """
    dim, correction = _variance_arguments(dim, unbiased, correction)
    return _variance("Std", input, dim, keepdim, correction, True, "std")


@named
def var_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """The variance and the mean."""
    axes, correction = _variance_arguments(dim, unbiased, correction)
    spread = _variance("Var", input, axes, keepdim, correction, False, "var_mean")
    return spread, also_read(mean(input, axes, keepdim), input)


@named
def std_mean(
    input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean."""
    axes, correction = _variance_arguments(dim, unbiased, correction)
    spread = _variance("Std", input, axes, keepdim, correction, True, "std_mean")
    return spread, also_read(mean(input, axes, keepdim), input, spread)


# -- Products ----------------------------------------------------------------------------------


def _without_each(x: Tensor, axis: int) -> Tensor:
    """Copies of x along a new last dimension, the i-th with element i along ``axis`` replaced by 1."""
    n = x._data.shape[axis]
    mask = np.eye(n, dtype=bool).reshape([n if d == axis else 1 for d in range(x._data.ndim)] + [n])
    return x.unsqueeze(-1).masked_fill(_wrap(mask), 1)


@named
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product of all elements or along ``dim``; int64 for integers."""
    x = _cast(input, dtype)
    if dim is None:
        if not _recorded(x):
            return _wrap(np.asarray(quiet(_MULTIPLY, x._data.reshape(-1), 0, _kind(x, dtype))))
        return prod(x.reshape(-1), 0, dtype=dtype)
    axis = dimension(dim, x._data.ndim)
    if not x._data.ndim:
        return x.clone() if x._data.dtype.kind == "f" or dtype is not None else x.long()
    kind = _kind(x, dtype)
    result = np.asarray(quiet(lambda a: _MULTIPLY(a, axis=axis, dtype=kind, keepdims=bool(keepdim)), x._data))
    if not _recorded(x):
        return _wrap(result)

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        if not keepdim:
            grad, y = grad.unsqueeze(axis), y.unsqueeze(axis)
        if _mode.enabled or (x._data == 0).any():
            others = prod(_without_each(x, axis), axis).movedim(-1, axis)
            return (grad * others,)
        return (grad * y / x,)

    return recorded_result("Prod", (x,), result, run, (x,))


@named
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The cumulative product along ``dim``."""
    _running_kind(dtype)
    x = _cast(input, dtype)
    axis = dimension(dim, x._data.ndim)
    if not x._data.ndim:
        return x.clone() if x._data.dtype.kind == "f" or dtype is not None else x.long()
    kind = _kind(x, dtype)
    result = quiet(_running, np.multiply, x._data, axis, kind)
    if not _recorded(x):
        return _wrap(result)

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        if not _mode.enabled:
            return (_wrap(quiet(_cumprod_gradient, grad._data, x._data, y._data, axis)),)
        # The derivative of result k by element i: the product up to k without i.
        others = cumprod(_without_each(x, axis), axis).movedim(axis, -1)
        n = x._data.shape[axis]
        lower = _wrap(np.tri(n, n, -1, dtype=bool))
        return ((grad.movedim(axis, -1).unsqueeze(-2) * others.masked_fill(lower, 0)).sum(-1).movedim(-1, axis),)

    return recorded_result("Cumprod", (x,), result, run, (x,))


def _cumprod_gradient(grad: np.ndarray, x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """As PyTorch computes it: NaN and infinite numbers come out in the same places."""

    def sums_from(w: np.ndarray) -> np.ndarray:
        return np.flip(_running(np.add, np.flip(w, axis), axis, w.dtype), axis)

    is_zero = x == 0
    w = grad * y
    if not is_zero.any():
        return sums_from(w) / x
    # Elements before the first zero of a row, that zero, and those after it, whose gradient is 0.
    zeros = np.add.accumulate(is_zero, axis, np.intp)
    before, between = zeros == 0, zeros == 1
    first = between & is_zero
    zero, one = x.dtype.type(0), x.dtype.type(1)
    result = np.where(before, sums_from(np.where(before, w, zero)) / x, zero)
    after = _running(np.multiply, np.where(between & ~first, x, one), axis, x.dtype)
    total = (np.where(between, after, zero) * grad).sum(axis, keepdims=True)
    ahead = np.roll(y, 1, axis)
    ahead[(slice(None),) * axis + (0,)] = one
    return np.where(first, total * ahead, result)


def _running(operate: Any, a: np.ndarray, axis: int, kind: Any) -> np.ndarray:
    """The cumulative results along ``axis``: floating point in float64, each rounded, as in PyTorch."""
    if a.dtype.kind != "f":
        return operate.accumulate(a, axis, kind)
    return operate.accumulate(a, axis, _FLOAT64).astype(a.dtype, copy=False)


@named
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The cumulative sum along ``dim``."""
    _running_kind(dtype)
    x = _cast(input, dtype)
    axis = dimension(dim, x._data.ndim)
    if not x._data.ndim:
        return x.clone() if x._data.dtype.kind == "f" or dtype is not None else x.long()

    kind = _kind(x, dtype)

    def forward(a: np.ndarray) -> np.ndarray:
        return quiet(_running, np.add, a, axis, kind)

    def backward(g: np.ndarray) -> np.ndarray:
        return np.flip(quiet(_running, np.add, np.flip(g, axis), axis, None), axis)

    return linear_map("Cumsum", x, forward, backward)


def _logcumsumexp_slope(grad: np.ndarray, x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """``sum(grad[k] * exp(x[i] - y[k]) for k >= i)``, in time that grows with the length and not with its square.

    Positive and negative gradients are summed apart, as logarithms, so that nothing overflows.
    """
    values, inputs, results = (np.flip(a, axis).astype(np.float64) for a in (grad, x, y))
    total = np.zeros(values.shape)
    for sign in (1.0, -1.0):
        # A gradient that is NaN counts as 0, as in PyTorch.
        size = np.where(sign * values > 0, sign * values, 0)
        sums = np.logaddexp.accumulate(np.log(size) - results, axis)
        total += sign * np.exp(sums + inputs)
    return np.flip(total, axis).astype(grad.dtype)


@named
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """``log(cumsum(exp(input)))``, without overflow."""
    check_tensor("input", input)
    refuse("logcumsumexp_out_cpu", input, "biu")
    x = input
    axis = dimension(dim, x._data.ndim)
    if not x._data.ndim:
        return x.clone()
    # In float64, as for the other cumulative sums.
    result = np.asarray(quiet(np.logaddexp.accumulate, x._data.astype(np.float64), axis), x._data.dtype)
    if not _recorded(x):
        return _wrap(result)

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        if not (_mode.enabled or active):
            return (_wrap(quiet(_logcumsumexp_slope, grad._data, x._data, y._data, axis)),)
        # To be differentiated again. exp(x_i - y_k) for k >= i is at most 1.
        n = x._data.shape[axis]
        weight = (x.movedim(axis, -1).unsqueeze(-1) - y.movedim(axis, -1).unsqueeze(-2)).exp()
        upper = _wrap(np.triu(np.ones((n, n), bool)))
        weight = weight.masked_fill(~upper, 0)
        return ((grad.movedim(axis, -1).unsqueeze(-2) * weight).sum(-1).movedim(-1, axis),)

    return recorded_result("Logcumsumexp", (x,), result, run, (x,))


# -- Counts ------------------------------------------------------------------------------------


def _truth(input: Tensor, dim: Any, keepdim: bool, operate: Any) -> Tensor:
    if type(input) is not Tensor:
        check_tensor("input", input)
    array = input._data
    axes = None if dim is None else reduced(dim, array.ndim)
    if (dim == () or dim == []) and array.ndim:
        axes = ()
    result = np.asarray(operate(array, axes, bool, None, bool(keepdim)))
    return _wrap(result.astype(np.uint8) if array.dtype.char == "B" else result)


@named
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are nonzero."""
    return _truth(input, dim, keepdim, np.logical_and.reduce)


@named
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element is nonzero."""
    return _truth(input, dim, keepdim, np.logical_or.reduce)


@named
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """The number of nonzero elements."""
    check_tensor("input", input)
    axes = reduced(dim, input._data.ndim)
    return _wrap(np.asarray(add_up(input._data != 0, axes, np.int64), np.int64))


IN_PLACE = ("cumprod", "cumsum")
