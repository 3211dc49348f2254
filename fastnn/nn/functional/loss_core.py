"""The machinery of losses: reductions, and the common path of elementwise losses.

A loss and its gradient are one kernel. The gradient of a target and second derivatives are tensor
operations: the slopes of each loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node, anomaly
from fastnn._autograd.modes import _mode
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _contiguous, _half
from fastnn.nn.functional.activation import logsigmoid, sigmoid
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


# -- Slopes: from (x, y, a) or (x, y, z, a), tensors and the loss's parameter, to the derivative by each tensor -------


def _sign(d: Tensor) -> Tensor:
    return _constant(np.subtract(d._data > 0, d._data < 0, dtype=d._data.dtype), d)


def _mse_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    d = (x - y) * 2
    return d, -d


def _l1_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    d = (x - y).sgn()
    return d, -d


def _clipped(x: Tensor, y: Tensor, a: float, inside: float) -> tuple[Tensor, Tensor]:
    """``x - y`` clamped to [-a, a], times ``inside``."""
    d = x - y
    near = np.abs(d._data) < a
    slope = (keep_where(d, near) + a * _sign(d) * _constant(~near, d)) * inside
    return slope, -slope


def _bce_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    return (x - y) / ((1 - x) * x).clamp_min(1e-12), (1 - x).log() - x.log()


def _kl_div_log_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    e = y.exp()
    return -e, e * (y - x + 1)


def _soft_margin_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    p = sigmoid(-(x * y))
    return -y * p, -x * p


def _hinge_embedding_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, None]:
    data, label = x._data, y._data
    return _constant(1.0 * (label != -1) - ((label != 1) & (a - data >= 0)), x), None


def _pos_weight_slopes(x: Tensor, y: Tensor, z: Tensor, a: float) -> tuple[Tensor, ...]:
    softplus, p = -logsigmoid(x), sigmoid(x)
    return (1 - y) * p - z * y * (1 - p), (z - 1) * softplus - x, y * softplus


def _gaussian_nll_slopes(x: Tensor, y: Tensor, z: Tensor, a: float) -> tuple[Tensor, ...]:
    # Clamped from below; the gradient ignores the clamping.
    v = z + _constant(np.maximum(z._data, z._data.dtype.type(a)) - z._data, z)
    quotient = (x - y) / v
    return quotient, -quotient, (1 - (x - y) * quotient) / v * 0.5


# By the kernels' name of the loss.
_SLOPES: dict[str, Callable[..., tuple[Tensor | None, ...]]] = {
    "mse": _mse_slopes,
    "l1": _l1_slopes,
    "smooth_l1": lambda x, y, a: _clipped(x, y, a, 1 / a),
    "huber": lambda x, y, a: _clipped(x, y, a, 1.0),
    "bce": _bce_slopes,
    "bce_with_logits": lambda x, y, a: (sigmoid(x) - y, -x),
    "bce_with_logits_pos_weight": _pos_weight_slopes,
    # y / y: NaN at 0, as in PyTorch's formula.
    "kl_div": lambda x, y, a: (-y, y.log() + y / y - x),
    "kl_div_log": _kl_div_log_slopes,
    "poisson_nll": lambda x, y, a: (1 - y / (x + a), -(x + a).log()),
    "poisson_nll_log": lambda x, y, a: (x.exp() - y, -x),
    "soft_margin": _soft_margin_slopes,
    "hinge_embedding": _hinge_embedding_slopes,
    "gaussian_nll": _gaussian_nll_slopes,
}
# The operands that PyTorch's derivative by x reads: they must not change before the backward pass. The kernels
# compute gradients in the forward; the check is for programs that run on both libraries.
_READS = {
    "mse": "xy", "smooth_l1": "xy", "huber": "xy", "bce": "xy", "bce_with_logits": "xy", "soft_margin": "xy",
    "bce_with_logits_pos_weight": "xyz", "kl_div": "y", "poisson_nll": "y", "poisson_nll_log": "y",
}  # fmt: skip
# Compositions in PyTorch; no operand is read.
_COMPOSED = ("gaussian_nll", "kl_div_log")
# The derivative by y is minus that by x.
_SYMMETRIC = frozenset(("mse", "l1", "smooth_l1", "huber"))


# PyTorch's names of the operations that are one of its own; the other losses end with their reduction there.
_TITLES = {
    "mse": "MseLoss", "smooth_l1": "SmoothL1Loss", "huber": "HuberLoss", "soft_margin": "SoftMarginLoss",
    "bce": "BinaryCrossEntropy", "bce_with_logits": "BinaryCrossEntropyWithLogits",
    "bce_with_logits_pos_weight": "BinaryCrossEntropyWithLogits",
}  # fmt: skip
_REDUCED = {"mean": "Mean", "sum": "Sum"}


def _title(loss: str, reduction: str) -> str:
    return _TITLES.get(loss) or _REDUCED.get(reduction) or f"{loss.title().replace('_', '')}Loss"


# -- The common path ---------------------------------------------------------------------------


def _pointwise(
    loss: str, x: Tensor, y: Tensor, reduction: str, a: float = 0.0, z: Tensor | None = None,
    differentiable: bool = False,
) -> Tensor:
    """A loss of two tensors (three with ``z``) of one shape.

    Args:
        loss: the kernels' name of the loss.
        differentiable: with a gradient in tensor operations, for all operands.
    """
    x_data, y_data = x._data, y._data
    if x_data.dtype != y_data.dtype or (z is not None and z._data.dtype != x_data.dtype):
        _refuse_integers(loss, x, y)
        x, y, z = _one_dtype(x, y, z)
        return _pointwise(loss, x, y, reduction, a, z, differentiable)
    if x_data.dtype.kind != "f":
        raise DTypeError(f"{loss} loss is for float32 and float64, found {x.dtype}")
    if not x_data.flags.c_contiguous:
        x_data = np.ascontiguousarray(x_data)
    if not y_data.flags.c_contiguous:
        y_data = np.ascontiguousarray(y_data)
    operands = (x, y) if z is None else (x, y, z)
    recorded = _recorded(*operands)
    by_formula = recorded and (differentiable or (y._requires_grad and loss not in _SYMMETRIC))
    if by_formula and loss in _COMPOSED and not differentiable:
        # Copies: the operands may change.
        operands = tuple([t.clone() for t in operands])
    dx = allocation.empty(x_data.shape, x_data.dtype) if recorded and not by_formula else None
    dz = None if z is None or dx is None else allocation.empty(x_data.shape, x_data.dtype)
    mean, none = reduction == "mean", reduction == "none"
    out = allocation.empty(x_data.shape if none else (), x_data.dtype)
    try:
        good = kernels.pointwise_loss(
            loss, None if none else out, out if none else None, dx, x_data, y_data, mean, a,
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
        first = dx if alone else np.asarray(dx * g)
        minus = _wrap(np.asarray(-first)) if y._requires_grad else None
        if z is None:
            return (_given(x, first) if wants_x else None, minus)
        by_z = None if dz is None else _wrap(dz if alone else np.asarray(dz * g))
        return (_given(x, first) if wants_x else None, minus, by_z)

    reads = _READS.get(loss)
    saved = () if reads is None else (x, y) if reads == "xy" else (y,) if reads == "y" else operands
    return _wrap(
        out,
        Node(
            _title(loss, reduction), operands, run, saved, True,
            lambda: _pointwise(loss, x, y, reduction, a, z, differentiable=True),
        ),
    )  # fmt: skip


def _formula_node(loss: str, operands: tuple[Tensor, ...], reduction: str, a: float) -> Node:
    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        g = grad / operands[0]._data.size if reduction == "mean" else grad
        slopes = _SLOPES[loss](*operands, a)
        return tuple([
            None if slope is None or not t._requires_grad else g * slope
            for t, slope in zip(operands, slopes, strict=True)
        ])

    return Node(_title(loss, reduction), operands, run, operands)


# Losses that PyTorch supports only for a floating point input; below, only for a floating point target.
_FLOATING_INPUT = frozenset(("huber", "kl_div", "kl_div_log", "gaussian_nll", "soft_margin", "bce_with_logits"))
_FLOATING_TARGET = frozenset(("kl_div_log", "bce_with_logits", "bce_with_logits_pos_weight"))


def _refuse_integers(loss: str, x: Tensor, y: Tensor) -> None:
    for t, losses in ((x, _FLOATING_INPUT), (y, _FLOATING_TARGET)):
        if t._data.dtype.kind != "f" and loss in losses:
            raise DTypeError(f"{loss} loss is not implemented for {t.dtype}")


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
    loss: str, input: Tensor, target: Tensor, reduction: str, a: float, weight: Tensor | None, over_weight: bool
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
