"""Losses of a number against a number, as functions of tensors.

A loss and its gradient are one kernel. What the kernel does not give, the gradient of a target or a
second derivative, is written in tensor operations: each loss names its slopes. May import ``checks``,
``functional_activations``, ``ops``, ``tensor``, ``autograd``, ``errors`` and ``fastnn.kernels``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.autograd import Node, anomaly
from fastnn.autograd.modes import _mode
from fastnn.errors import DTypeError, ShapeError
from fastnn.nn.checks import _contiguous
from fastnn.nn.functional_activations import logsigmoid, sigmoid
from fastnn.ops.core import linear_map, promote
from fastnn.ops.shapes import broadcast_tensors
from fastnn.tensor import Tensor, _recorded, _wrap

# -- What all losses share ---------------------------------------------------------------------

_REDUCTIONS = ("none", "mean", "sum")


def _reduction(reduction: str, size_average: bool | None, reduce: bool | None, stacklevel: int = 3) -> str:
    """The reduction that the arguments name; ``size_average`` and ``reduce`` are how PyTorch 0.3 said it."""
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
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a Tensor, found {type(value).__name__}")


def _reduced_by(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _constant(array: np.ndarray, like: Tensor) -> Tensor:
    return _wrap(np.asarray(array, like._data.dtype))


def _given(x: Tensor, gradient: np.ndarray) -> Tensor | None:
    """An operation's own array as the gradient of ``x``; None where x is a leaf and has taken it.

    The copy that a leaf makes of a gradient costs as much as computing this one: 41 us for 512x1000.
    """
    if (
        x._node is None and x._grad is None and x._requires_grad and type(x) is Tensor and x._hooks is None
        and _mode.direct and not _mode.retain and not anomaly["enabled"]
    ):  # fmt: skip
        x._grad = _wrap(gradient)
        return None
    return _wrap(gradient)


def _kept(x: Tensor, mask: np.ndarray) -> Tensor:
    """``x`` where ``mask`` is set, 0 elsewhere, also in place of infinity and NaN."""

    def keep(array: np.ndarray) -> np.ndarray:
        return np.where(mask, array, array.dtype.type(0))

    return linear_map("Where", x, keep, keep)


# -- The common path ---------------------------------------------------------------------------

Slopes = Callable[..., tuple[Any, ...]]


class _Loss:
    """A loss of the kernels, and its slopes in tensor operations.

    Args:
        name: the kernels' name.
        slopes: from (x, y, a) or (x, y, z, a), tensors and the parameter, to the derivatives by each.
        symmetric: whether the derivative by y is the opposite of that by x.
    """

    __slots__ = ("name", "slopes", "symmetric")

    def __init__(self, name: str, slopes: Slopes, symmetric: bool = False) -> None:
        self.name, self.slopes, self.symmetric = name, slopes, symmetric


def _sign(d: Tensor) -> Tensor:
    return _constant(np.subtract(d._data > 0, d._data < 0, dtype=d._data.dtype), d)


def _mse_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    d = (x - y) * 2
    return d, -d


def _l1_slopes(x: Tensor, y: Tensor, a: float) -> tuple[Tensor, Tensor]:
    d = _sign(x - y)
    return d, -d


def _clipped(x: Tensor, y: Tensor, a: float, inside: float) -> tuple[Tensor, Tensor]:
    """``x - y`` as far as it is in [-a, a], and the nearer of these elsewhere; times ``inside``."""
    d = x - y
    near = np.abs(d._data) <= a
    slope = (_kept(d, near) + a * _sign(d) * _constant(~near, d)) * inside
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
    # Clamped from below without the gradient's noticing.
    v = z + _constant(np.maximum(z._data, z._data.dtype.type(a)) - z._data, z)
    quotient = (x - y) / v
    return quotient, -quotient, (1 - (x - y) * quotient) / v * 0.5


_MSE = _Loss("mse", _mse_slopes, True)
_L1 = _Loss("l1", _l1_slopes, True)
_SMOOTH_L1 = _Loss("smooth_l1", lambda x, y, a: _clipped(x, y, a, 1 / a), True)
_HUBER = _Loss("huber", lambda x, y, a: _clipped(x, y, a, 1.0), True)
_BCE = _Loss("bce", _bce_slopes)
_BCE_WITH_LOGITS = _Loss("bce_with_logits", lambda x, y, a: (sigmoid(x) - y, -x))
_POS_WEIGHT = _Loss("bce_with_logits_pos_weight", _pos_weight_slopes)
_KL_DIV = _Loss("kl_div", lambda x, y, a: (-y, y.log() + 1 - x))
_KL_DIV_LOG = _Loss("kl_div_log", _kl_div_log_slopes)
_POISSON_NLL = _Loss("poisson_nll", lambda x, y, a: (1 - y / (x + a), -(x + a).log()))
_POISSON_NLL_LOG = _Loss("poisson_nll_log", lambda x, y, a: (x.exp() - y, -x))
_SOFT_MARGIN = _Loss("soft_margin", _soft_margin_slopes)
_HINGE_EMBEDDING = _Loss("hinge_embedding", _hinge_embedding_slopes)
_GAUSSIAN_NLL = _Loss("gaussian_nll", _gaussian_nll_slopes)


def _pointwise(
    loss: _Loss, x: Tensor, y: Tensor, reduction: str, a: float = 0.0, z: Tensor | None = None,
    differentiable: bool = False,
) -> Tensor:
    """A loss of two tensors (three with ``z``) of one shape.

    ``differentiable``: with a gradient in tensor operations, for all operands.
    """
    x_data, y_data = x._data, y._data
    if x_data.dtype != y_data.dtype or (z is not None and z._data.dtype != x_data.dtype):
        x, y, z = _one_dtype(x, y, z)
        return _pointwise(loss, x, y, reduction, a, z, differentiable)
    if x_data.dtype.kind != "f":
        raise DTypeError(f"{loss.name} loss is for float32 and float64, found {x.dtype}")
    if not x_data.flags.c_contiguous:
        x_data = np.ascontiguousarray(x_data)
    if not y_data.flags.c_contiguous:
        y_data = np.ascontiguousarray(y_data)
    operands = (x, y) if z is None else (x, y, z)
    recorded = _recorded(*operands)
    by_formula = recorded and (differentiable or (y._requires_grad and not loss.symmetric))
    dx = np.empty(x_data.shape, x_data.dtype) if recorded and not by_formula else None
    dz = None if z is None or dx is None else np.empty(x_data.shape, x_data.dtype)
    mean, none = reduction == "mean", reduction == "none"
    out = np.empty(x_data.shape if none else (), x_data.dtype)
    good = kernels.pointwise_loss(
        loss.name, None if none else out, out if none else None, dx, x_data, y_data, mean, a,
        None if z is None else _contiguous(z._data), dz,
    )  # fmt: skip
    if not good:
        raise RuntimeError(
            "all elements of input should be between 0 and 1, and so should all elements of target: "
            f"found input from {x_data.min()} to {x_data.max()}, target from {y_data.min()} to {y_data.max()}"
        )
    if not recorded:
        return _wrap(out)
    if by_formula:
        return _wrap(out, _formula_node(loss, operands, reduction, a))

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        g = grad._data
        assert dx is not None
        # Mostly 1: the loss itself is what `backward` was called on.
        alone = not none and g == 1
        first = dx if alone else np.asarray(dx * g)
        minus = _wrap(np.asarray(-first)) if y._requires_grad else None
        if z is None:
            return (_given(x, first), minus)
        return (_given(x, first), minus, None if dz is None else _wrap(dz if alone else np.asarray(dz * g)))

    return _wrap(
        out,
        Node(loss.name, operands, run, (), True, lambda: _pointwise(loss, x, y, reduction, a, z, differentiable=True)),
    )


def _formula_node(loss: _Loss, operands: tuple[Tensor, ...], reduction: str, a: float) -> Node:
    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        g = grad / operands[0]._data.size if reduction == "mean" else grad
        slopes = loss.slopes(*operands, a)
        return tuple([
            None if slope is None or not t._requires_grad else g * slope
            for t, slope in zip(operands, slopes, strict=True)
        ])

    return Node(loss.name, operands, run, operands)


def _one_dtype(x: Tensor, y: Tensor, z: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    x, y = promote(x, y)
    if z is not None:
        x, z = promote(x, z)
        x, y = promote(x, y)
    return x, y, z


def _same_shape(input: Tensor, target: Tensor, stacklevel: int = 4) -> Any:
    """Both broadcast together, with PyTorch's warning; ShapeError where that cannot be."""
    warnings.warn(
        f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
        "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
        stacklevel=stacklevel,
    )
    return broadcast_tensors(input, target)


def _difference_loss(
    loss: _Loss, input: Tensor, target: Tensor, reduction: str, a: float, weight: Tensor | None, over_weight: bool
) -> Tensor:
    """A loss of ``input - target`` with PyTorch's ``weight``; ``over_weight``: the mean is over the weights."""
    _check_tensors(input=input, target=target)
    size = input._data.shape
    if size != target._data.shape:
        input, target = _same_shape(input, target, 4)
    if weight is None:
        return _pointwise(loss, input, target, reduction, a)
    _check_tensors(weight=weight)
    if weight._data.shape != size:
        raise ShapeError(f"Weights and input must have the same size: found {tuple(weight.shape)} and {size}")
    losses = _pointwise(loss, input, target, "none", a) * weight
    if reduction == "mean" and over_weight:
        return losses.sum() / weight.sum()
    return _reduced_by(losses, reduction)


# -- The functions -------------------------------------------------------------------------------


def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    """``(input - target)**2``, its mean or sum.

    Args:
        input, target: of one shape, float32 or float64; other shapes are broadcast, with a warning.
        size_average, reduce: older names of the reduction.
        reduction: 'mean', 'sum' or 'none'.
        weight: of the shape of ``input``; the mean is then divided by its sum.

    >>> import fastnn
    >>> fastnn.nn.functional.mse_loss(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
    2.5
    """
    reduction = _reduction(reduction, size_average, reduce)
    return _difference_loss(_MSE, input, target, reduction, 0.0, weight, True)


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    """``|input - target|``, its mean or sum; arguments as in :func:`mse_loss`.

    >>> import fastnn
    >>> fastnn.nn.functional.l1_loss(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
    1.5
    """
    reduction = _reduction(reduction, size_average, reduce)
    return _difference_loss(_L1, input, target, reduction, 0.0, weight, True)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:
    """``d**2 / (2 beta)`` where ``d = |input - target|`` is below ``beta``, ``d - beta / 2`` elsewhere.

    Args:
        beta: from where on the loss is linear, not negative.
        input, target, size_average, reduce, reduction: as in :func:`mse_loss`.

    Source: R. Girshick, Fast R-CNN, arXiv:1504.08083.

    >>> import fastnn
    >>> fastnn.nn.functional.smooth_l1_loss(fastnn.tensor([0.5, 3.0]), fastnn.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    reduction = _reduction(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, found {beta}")
    return _difference_loss(_SMOOTH_L1 if beta else _L1, input, target, reduction, float(beta), None, False)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """``d**2 / 2`` where ``d = |input - target|`` is up to ``delta``, ``delta (d - delta / 2)`` elsewhere.

    Args:
        delta: from where on the loss is linear, positive.
        input, target, reduction: as in :func:`mse_loss`.
        weight: of the shape of ``input``.

    >>> import fastnn
    >>> fastnn.nn.functional.huber_loss(fastnn.tensor([1.0, 3.0]), fastnn.zeros(2), "none", delta=2.0).tolist()
    [0.5, 4.0]
    """
    reduction = _reduction(reduction, None, None)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, found {delta}")
    return _difference_loss(_HUBER, input, target, reduction, float(delta), weight, False)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``-(target log(input) + (1 - target) log(1 - input))``, the logarithms at least -100.

    Args:
        input, target: of one shape and dtype, all numbers in [0, 1].
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as in :func:`mse_loss`.

    Raises: RuntimeError where a number is not in [0, 1].

    >>> import fastnn
    >>> fastnn.nn.functional.binary_cross_entropy(fastnn.tensor([0.5]), fastnn.tensor([1.0]))
    tensor(0.6931)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.shape != target._data.shape:
        raise ShapeError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    _check_same_dtype(input, target, weight)
    if weight is None:
        return _pointwise(_BCE, input, target, reduction)
    return _weighted(_pointwise(_BCE, input, target, "none"), weight, reduction)


def _check_same_dtype(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    for name, t in (("target", target), ("weight", weight)):
        if t is None:
            continue
        _check_tensors(**{name: t})
        if t._data.dtype != input._data.dtype:
            raise DTypeError(f"{name} must have the dtype of input, {input.dtype}, found {t.dtype}")


def _weighted(losses: Tensor, weight: Tensor, reduction: str) -> Tensor:
    weighted = losses * weight
    if weighted._data.shape != losses._data.shape:
        raise ShapeError(f"weight of shape {tuple(weight.shape)} does not fit losses of shape {tuple(losses.shape)}")
    return _reduced_by(weighted, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:
    """:func:`binary_cross_entropy` of ``sigmoid(input)``, without its overflow.

    Args:
        input: logits of any size.
        target: of the same shape.
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as in :func:`mse_loss`.
        pos_weight: multiplies the part of the positive targets, broadcast to ``input``.

    >>> import fastnn
    >>> fastnn.nn.functional.binary_cross_entropy_with_logits(fastnn.tensor([1000.0]), fastnn.tensor([0.0]))
    tensor(1000.)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.shape != target._data.shape:
        raise ShapeError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    loss, z = _BCE_WITH_LOGITS, None
    if pos_weight is not None:
        _check_tensors(pos_weight=pos_weight)
        _, z = broadcast_tensors(input, pos_weight)
        if z._data.shape != input._data.shape:
            raise ShapeError(f"pos_weight of shape {tuple(pos_weight.shape)} does not fit input {tuple(input.shape)}")
        loss = _POS_WEIGHT
    if weight is None:
        return _pointwise(loss, input, target, reduction, 0.0, z)
    _check_tensors(weight=weight)
    return _weighted(_pointwise(loss, input, target, "none", 0.0, z), weight, reduction)


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:
    """``target (log(target) - input)``, the Kullback-Leibler divergence; 0 where the target is 0.

    Args:
        input: logarithms of probabilities.
        target: probabilities, or with ``log_target`` their logarithms.
        size_average, reduce: older names of the reduction.
        reduction: 'batchmean' (the sum over the number of rows: the divergence as it is defined), 'mean'
            (over all numbers, with a warning), 'sum' or 'none'.

    >>> import fastnn
    >>> p = fastnn.tensor([[0.5, 0.5]])
    >>> fastnn.nn.functional.kl_div(p.log(), p, reduction="batchmean").item()
    0.0
    """
    if size_average is None and reduce is None:
        if reduction == "mean":
            warnings.warn(
                "reduction: 'mean' divides the total loss by both the batch size and the support size."
                "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
                "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
                stacklevel=2,
            )
        kind = "sum" if reduction == "batchmean" else _reduction(reduction, None, None)
    else:
        kind = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    rows = input._data.shape[0] if input._data.ndim else 1
    if input._data.shape != target._data.shape:
        input, target = broadcast_tensors(input, target)
    result = _pointwise(_KL_DIV_LOG if log_target else _KL_DIV, input, target, kind)
    return result / rows if reduction == "batchmean" else result


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``exp(input) - target input``, or ``input - target log(input + eps)`` without ``log_input``.

    Args:
        input, target: broadcast together.
        full: add Stirling's approximation of ``log(target!)`` where the target is above 1.
        size_average, reduce, reduction: as in :func:`mse_loss`.

    >>> import fastnn
    >>> fastnn.nn.functional.poisson_nll_loss(fastnn.tensor([0.0]), fastnn.tensor([2.0]))
    tensor(1.)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.shape != target._data.shape:
        input, target = broadcast_tensors(input, target)
    loss = _POISSON_NLL_LOG if log_input else _POISSON_NLL
    if not full:
        return _pointwise(loss, input, target, reduction, float(eps))
    mask = target._data > 1
    above = _kept(target, mask) + _constant(~mask, target)
    stirling = _kept(above * above.log() - above + (above * (2 * math.pi)).log() * 0.5, mask)
    return _reduced_by(_pointwise(loss, input, target, "none", float(eps)) + stirling, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """``(log(var) + (input - target)**2 / var) / 2``: the target as drawn from a normal distribution.

    Args:
        input: the expectations.
        target: of the same shape, or broadcast to it.
        var: variances: of the shape of ``input``, or that with a size of 1 or without the last dimension, or a number.
        full: add ``log(2 pi) / 2``.
        eps: smaller variances count as this; their gradient does not notice.
        reduction: as in :func:`mse_loss`.

    Raises: ValueError for a negative variance or one of another shape.

    Source: D. A. Nix and A. S. Weigend, Estimating the mean and variance of the target probability distribution, 1994.

    >>> import fastnn
    >>> one = fastnn.ones(1)
    >>> fastnn.nn.functional.gaussian_nll_loss(one, 2 * one, one).item()
    0.5
    """
    _check_tensors(input=input, target=target)
    if not isinstance(var, Tensor):
        if not isinstance(var, (int, float)):
            raise TypeError(f"var must be a Tensor or a number, found {type(var).__name__}")
        spread = _wrap(np.full(input._data.shape, var, input._data.dtype))
    else:
        spread = var
    if (spread._data < 0).any():
        raise ValueError("var has negative entry/entries")
    shape, found = input._data.shape, spread._data.shape
    if found != shape:
        if shape[:-1] == found:
            spread = spread.unsqueeze(-1)
        elif len(found) != len(shape) or sum(n for m, n in zip(shape, found, strict=True) if m != n) != 1:
            raise ShapeError(f"var is of incorrect size: found {found} for input of shape {shape}")
    reduction = _reduction(reduction, None, None)
    if not input._data.shape == target._data.shape == spread._data.shape:
        input, target, spread = broadcast_tensors(input, target, spread)
    result = _pointwise(_GAUSSIAN_NLL, input, target, reduction, float(eps), spread)
    if full:
        constant = 0.5 * math.log(2 * math.pi)
        result = result + (constant * input._data.size if reduction == "sum" else constant)
    return result


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """``log(1 + exp(-target input))`` for targets 1 and -1; arguments as in :func:`mse_loss`, broadcast.

    >>> import fastnn
    >>> fastnn.nn.functional.soft_margin_loss(fastnn.tensor([0.0]), fastnn.tensor([-1.0]))
    tensor(0.6931)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.shape != target._data.shape:
        input, target = broadcast_tensors(input, target)
    return _pointwise(_SOFT_MARGIN, input, target, reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1.

    Args:
        input: distances; target: 1 and -1, without a gradient. Broadcast together.
        margin: how far apart two of different kinds should be.
        size_average, reduce, reduction: as in :func:`mse_loss`.

    >>> import fastnn
    >>> x, y = fastnn.tensor([0.25, 0.25]), fastnn.tensor([1.0, -1.0])
    >>> fastnn.nn.functional.hinge_embedding_loss(x, y, reduction="none").tolist()
    [0.25, 0.75]
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    target = target.detach()
    if input._data.shape != target._data.shape:
        input, target = broadcast_tensors(input, target)
    return _pointwise(_HINGE_EMBEDDING, input, target, reduction, float(margin))
