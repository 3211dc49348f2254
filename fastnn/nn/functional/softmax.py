"""Softmax, log-softmax, softmin and Gumbel-softmax of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.reduce.softmax import DIRECT, DIRECT_BACKWARD
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous, _half
from fastnn.random import default_generator

__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]


def _axis(name: str, input: Tensor, dim: int | None, stacklevel: int) -> int:
    ndim = input._data.ndim
    if type(dim) is int and -ndim <= dim < ndim:
        return dim % ndim
    if dim is None:
        warnings.warn(
            f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an "
            "argument.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
        dim = 0 if ndim in (0, 1, 3) else 1
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)):
        raise TypeError(f"dim must be an integer, found {type(dim).__name__}")
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")
    return int(dim) % limit


def _rows(data: np.ndarray, axis: int) -> np.ndarray:
    """A matrix with the elements along ``axis`` in its rows."""
    if data.ndim == 2:
        return _contiguous(data if axis else data.T)
    if not data.ndim:
        return data.reshape(1, 1)
    if axis == data.ndim - 1 and data.size and data.flags.c_contiguous:
        return data.reshape(-1, data.shape[-1])
    moved = np.moveaxis(data, axis, -1)
    return _contiguous(moved.reshape(data.size // max(data.shape[axis], 1), data.shape[axis]))


def _back(rows: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """The inverse of ``_rows``."""
    if axis >= len(shape) - 1:
        return rows if rows.shape == shape else rows.reshape(shape)
    moved = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), -1, axis))


def _softmax(input: Tensor, axis: int, logarithm: bool) -> Tensor:
    name = "LogSoftmax" if logarithm else "Softmax"
    if not input._data.size and input._data.dtype.kind != "f":
        return _wrap(input._data.copy())
    if input._data.dtype.kind != "f":
        _check_floating("log_softmax" if logarithm else "softmax", input)
    data = input._data
    shape = data.shape
    is_last = axis == data.ndim - 1
    rows: Any = DIRECT[logarithm].run(data) if is_last else None
    out = rows
    if out is None:
        x = _rows(data, axis)
        rows = allocation.empty_like(x)
        try:
            kernels.softmax_forward(rows, x, logarithm)
        except TypeError as error:
            _half(error, input)
            return _softmax(input.float(), axis, logarithm).half()
        out = _back(rows, shape, axis)
    if not _recorded(input):
        return _wrap(out)

    def run(grad: Tensor) -> tuple[Tensor]:
        dy = grad._data
        dx = DIRECT_BACKWARD[logarithm].run(dy, rows) if is_last else None
        if dx is not None:
            return (_wrap(dx),)
        y = rows if rows.ndim == 2 else _rows(rows, axis)
        dx = allocation.empty_like(y)
        kernels.softmax_backward(dx, _rows(dy, axis), y, logarithm)
        return (_wrap(_back(dx, shape, axis)),)

    def recompute() -> Tensor:
        if not shape:
            return input - input if logarithm else (input - input).exp()
        with np.errstate(all="ignore"):
            top = _wrap(input._data.max(axis, keepdims=True, initial=-np.inf))
        shifted = input - top
        e = shifted.exp()
        total = e.sum(axis, keepdim=True)
        return shifted - total.log() if logarithm else e / total

    # The result is kept, or a copy in the kernel's order: it must not change, as in PyTorch.
    node = Node(name, (input,), run, keeps=True, recompute=recompute)
    return node.guard(_wrap(out, node))


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: _dtype | None = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along a dimension.

    Args:
        input: any shape, float32 or float64.
        dim: the dimension whose numbers sum to 1. None is deprecated: it warns and takes the first or second.
        dtype: ``input`` is converted to it first.

    >>> import fastnn
    >>> fastnn.nn.functional.softmax(fastnn.tensor([[0.0, 0.0]]), dim=1)
    tensor([[0.5000, 0.5000]])
    """
    _check_tensor("input", input)
    axis = _axis("softmax", input, dim, _stacklevel)
    return _softmax(input if dtype is None else input.to(dtype), axis, False)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: _dtype | None = None) -> Tensor:
    """``log(softmax(input, dim))``, finite even where the softmax is 0; arguments as for :func:`softmax`."""
    _check_tensor("input", input)
    axis = _axis("log_softmax", input, dim, _stacklevel)
    return _softmax(input if dtype is None else input.to(dtype), axis, True)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: _dtype | None = None) -> Tensor:
    """``softmax(-input, dim)``; arguments as for :func:`softmax`."""
    _check_tensor("input", input)
    axis = _axis("softmin", input, dim, _stacklevel)
    return _softmax(-(input if dtype is None else input.to(dtype)), axis, False)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of a relaxed categorical distribution (arXiv:1611.00712, arXiv:1611.01144).

    ``softmax((logits + g) / tau)`` with ``g`` drawn from the Gumbel distribution.

    Args:
        logits: log-probabilities, not necessarily normalised.
        tau: the temperature.
        hard: return the one-hot vector of the maximum, with the gradient of the softmax.
        eps: deprecated and ignored, as in PyTorch.
        dim: the dimension of the classes.
    """
    _check_floating("gumbel_softmax", logits)
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", UserWarning, stacklevel=2)
    draws = default_generator().numpy.standard_exponential(logits._data.shape)
    gumbel = -np.log(np.maximum(draws, np.finfo(np.float64).tiny))
    soft = softmax((logits + _wrap(np.asarray(gumbel, logits._data.dtype))) / tau, dim)
    if not hard:
        return soft
    axis = _axis("gumbel_softmax", logits, dim, 2)
    one_hot: Any = np.zeros_like(soft._data)
    if one_hot.ndim:
        np.put_along_axis(one_hot, np.expand_dims(soft._data.argmax(axis), axis), 1, axis)
    else:
        one_hot[...] = 1
    return _wrap(one_hot) - soft.detach() + soft
