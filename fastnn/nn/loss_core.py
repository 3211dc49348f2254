"""The machinery of losses: reductions, and the common path of elementwise losses.

A loss and its gradient are one kernel. The gradient of a target and second derivatives are tensor
operations: the slopes that are registered with the kernel. The losses themselves are in ``fastnn.nn.loss``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node, anomaly
from fastnn._autograd.modes import _mode
from fastnn._core import numpy_trace as trace
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._core.numpy_trace import dense
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.loss.losses import TABLE
from fastnn.kernels.runtime import allocation
from fastnn.nn.activation import logsigmoid, sigmoid
from fastnn.nn.checks import _contiguous, _half
from fastnn.ops.comparison import keep_where
from fastnn.ops.core import check_tensor, promote
from fastnn.ops.shapes import broadcast_tensors

# -- Shared by all losses ----------------------------------------------------------------------

_REDUCTIONS = ("none", "mean", "sum")


def _reduction(reduction: str, size_average: bool | None, reduce: bool | None, stacklevel: int = 3) -> str:
    """The reduction that the arguments name; ``size_average`` and ``reduce`` are from PyTorch 0.3."""
    if size_average is not None or reduce is not None:
        averaged = "sum" if size_average is not None and not size_average else "mean"
        reduction = averaged if reduce is None or reduce else "none"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=stacklevel,
        )
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction: must be 'none', 'mean' or 'sum'")
    return reduction


def _check_tensors(**tensors: Any) -> None:
    for name, value in tensors.items():
        check_tensor(name, value)


def _reduced_by(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _constant(array: np.ndarray, like: Tensor) -> Tensor:
    return _wrap(np.asarray(array, like._data.dtype))


def _given(x: Tensor, gradient: np.ndarray) -> Tensor | None:
    """An operation's own array as the gradient of ``x``; None if x is a leaf and took it over.

    A leaf would copy the gradient, which costs as much as computing it: 41 us for 512x1000.
    """
    if (
        x._node is None and x._grad is None and x._requires_grad and type(x) is Tensor and x._hooks is None
        and _mode.direct and not _mode.retain and not anomaly["enabled"]
    ):  # fmt: skip
        x._grad = _wrap(gradient)
        return None
    return _wrap(gradient)


# -- Slopes --------------------------------------------------------------------------------------------


class Maths:
    """The functions of tensors that slopes are made of: ``m`` of the slopes registered with kernels."""

    sigmoid, logsigmoid = staticmethod(sigmoid), staticmethod(logsigmoid)
    constant = staticmethod(_constant)

    @staticmethod
    def exp(x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def log(x: Tensor) -> Tensor:
        return x.log()

    @staticmethod
    def sgn(x: Tensor) -> Tensor:
        return x.sgn()

    @staticmethod
    def clamp_min(x: Tensor, least: float) -> Tensor:
        return x.clamp_min(least)

    @staticmethod
    def numbers(x: Tensor) -> np.ndarray:
        return x._data

    @staticmethod
    def clip(x: Tensor, a: float) -> Tensor:
        """``x``, clamped to [-a, a]."""
        near, data = np.abs(x._data) < a, x._data
        sign = _constant(np.subtract(data > 0, data < 0, dtype=data.dtype), x)
        return keep_where(x, near) + a * sign * _constant(~near, x)


_REDUCED = {"mean": "Mean", "sum": "Sum"}


@dataclass(frozen=True)
class Pointwise:
    """Facts of PyTorch's form of a loss with a kernel.

    Args:
        name: the kernels' name of the loss.
        title: the name of PyTorch's operation; empty if it is a composition, which ends with its reduction.
        reads: the operands that PyTorch's derivative by x reads, of "xyz": they must not change before the backward
            pass. The kernels compute gradients in the forward; the check is for programs that run on both libraries.
        floating: the operands, of "xy", for which PyTorch supports only floating point.
        symmetric: the derivative by y is minus that by x.
        composed: a composition in PyTorch, which reads no operand.
    """

    name: str
    title: str = ""
    reads: str = ""
    floating: str = ""
    symmetric: bool = False
    composed: bool = False

    def __post_init__(self) -> None:
        if self.name not in TABLE:
            raise ValueError(f"name must be a loss with a kernel, found {self.name!r}")

    def operation(self, reduction: str) -> str:
        """The name of PyTorch's operation."""
        return self.title or _REDUCED.get(reduction) or f"{self.name.title().replace('_', '')}Loss"


# -- The common path ---------------------------------------------------------------------------


def _pointwise(
    loss: Pointwise, x: Tensor, y: Tensor, reduction: str, a: float = 0.0, z: Tensor | None = None,
    differentiable: bool = False,
) -> Tensor:
    """A loss of two tensors (three with ``z``) of one shape.

    Args:
        differentiable: with a gradient in tensor operations, for all operands.
    """
    x_data, y_data = x._data, y._data
    if x_data.dtype != y_data.dtype or (z is not None and z._data.dtype != x_data.dtype):
        _refuse_integers(loss, x, y)
        x, y, z = _one_dtype(x, y, z)
        return _pointwise(loss, x, y, reduction, a, z, differentiable)
    if x_data.dtype.kind != "f":
        raise DTypeError(f"{loss.name} loss is for float32 and float64, found {x.dtype}")
    if not x_data.flags.c_contiguous:
        x_data = dense(x_data)
    if not y_data.flags.c_contiguous:
        y_data = dense(y_data)
    operands = (x, y) if z is None else (x, y, z)
    recorded = _recorded(*operands)
    by_formula = recorded and (differentiable or (y._requires_grad and not loss.symmetric))
    if by_formula and loss.composed and not differentiable:
        # Copies: the operands may change.
        operands = tuple([t.clone() for t in operands])
    dx = allocation.empty(x_data.shape, x_data.dtype) if recorded and not by_formula else None
    dz = None if z is None or dx is None else allocation.empty(x_data.shape, x_data.dtype)
    mean, none = reduction == "mean", reduction == "none"
    out = allocation.empty(x_data.shape if none else (), x_data.dtype)
    try:
        good = kernels.pointwise_loss(
            loss.name, None if none else out, out if none else None, dx, x_data, y_data, mean, a,
            None if z is None else _contiguous(z._data), dz,
        )  # fmt: skip
    except TypeError as error:
        _half(error, x)
        third = None if z is None else z.float()
        return _pointwise(loss, x.float(), y.float(), reduction, a, third, differentiable).half()
    if not good:
        raise RuntimeError(
            "all elements of input should be between 0 and 1, and so should all elements of target: "
            f"found input from {x_data.min()} to {x_data.max()}, target from {y_data.min()} to {y_data.max()}"
        )
    if not recorded:
        return _wrap(out)
    if by_formula:
        return _wrap(out, _formula_node(loss, operands, reduction, a))

    wants_x = x._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        g = grad._data
        assert dx is not None
        # Usually 1: `backward` was called on the loss itself.
        alone = not none and g == 1
        first = dx if alone else np.asarray(trace.run(np.multiply, dx, g))
        minus = _wrap(np.asarray(trace.run(np.negative, first))) if y._requires_grad else None
        if z is None:
            return (_given(x, first) if wants_x else None, minus)
        by_z = None if dz is None else _wrap(dz if alone else np.asarray(trace.run(np.multiply, dz, g)))
        return (_given(x, first) if wants_x else None, minus, by_z)

    reads = loss.reads
    saved = operands if len(reads) == len(operands) else (y,) if reads else ()
    return _wrap(
        out,
        Node(
            loss.operation(reduction), operands, run, saved, True,
            lambda: _pointwise(loss, x, y, reduction, a, z, differentiable=True),
        ),
    )  # fmt: skip


def _formula_node(loss: Pointwise, operands: tuple[Tensor, ...], reduction: str, a: float) -> Node:
    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        g = grad / operands[0]._data.size if reduction == "mean" else grad
        slopes = TABLE[loss.name].slopes(Maths, *operands, a)
        return tuple([
            None if slope is None or not t._requires_grad else g * slope
            for t, slope in zip(operands, slopes, strict=True)
        ])

    return Node(loss.operation(reduction), operands, run, operands)


def _refuse_integers(loss: Pointwise, x: Tensor, y: Tensor) -> None:
    for t, operand in ((x, "x"), (y, "y")):
        if t._data.dtype.kind != "f" and operand in loss.floating:
            raise DTypeError(f"{loss.name} loss is not implemented for {t.dtype}")


def _one_dtype(x: Tensor, y: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    x, y = promote(x, y)
    if z is not None:
        x, z = promote(x, z)
        x, y = promote(x, y)
    return x, y, z


def _same_shape(input: Tensor, target: Tensor) -> Any:
    """Both broadcast together, with PyTorch's warning; ShapeError if that is impossible."""
    warnings.warn(
        f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
        "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
        stacklevel=4,
    )
    return broadcast_tensors(input, target)


def _difference_loss(
    loss: Pointwise, input: Tensor, target: Tensor, reduction: str, a: float, weight: Tensor | None, over_weight: bool
) -> Tensor:
    """A loss of ``input - target`` with PyTorch's ``weight``; ``over_weight``: the mean is over the weights."""
    _check_tensors(input=input, target=target)
    size = input._data.shape
    if size != target._data.shape:
        input, target = _same_shape(input, target)
    if weight is None:
        return _pointwise(loss, input, target, reduction, a)
    _check_tensors(weight=weight)
    if weight._data.shape != size:
        raise ShapeError(f"Weights and input must have the same size: found {tuple(weight.shape)} and {size}")
    losses = _pointwise(loss, input, target, "none", a) * weight
    if reduction == "mean" and over_weight:
        return losses.sum() / weight.sum()
    return _reduced_by(losses, reduction)


def _weighted(losses: Tensor, weight: Tensor, reduction: str) -> Tensor:
    weighted = losses * weight
    if weighted._data.shape != losses._data.shape:
        raise ShapeError(f"weight of shape {tuple(weight.shape)} does not fit losses of shape {tuple(losses.shape)}")
    return _reduced_by(weighted, reduction)
