"""Elementwise losses, as functions of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

import math
import warnings

import numpy as np

from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import mapped
from fastnn.nn.functional.loss_core import (
    _check_tensors,
    _constant,
    _difference_loss,
    _pointwise,
    _reduced_by,
    _reduction,
)
from fastnn.ops.comparison import keep_where
from fastnn.ops.shapes import broadcast_tensors


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
    return _difference_loss("mse", input, target, reduction, 0.0, weight, True)


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
    _check_tensors(input=input, target=target)
    if input._data.dtype == np.bool_ or target._data.dtype == np.bool_:
        raise DTypeError(f"l1_loss subtracts, which is not defined for bool: found {input.dtype} and {target.dtype}")
    return _difference_loss("l1", input, target, reduction, 0.0, weight, True)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:
    """``d**2 / (2 beta)`` where ``d = |input - target|`` is below ``beta``, ``d - beta / 2`` elsewhere.

    Args:
        beta: the loss is linear from here on; not negative.
        input, target, size_average, reduce, reduction: as in :func:`mse_loss`.

    Source: R. Girshick, Fast R-CNN, arXiv:1504.08083.

    >>> import fastnn
    >>> fastnn.nn.functional.smooth_l1_loss(fastnn.tensor([0.5, 3.0]), fastnn.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    reduction = _reduction(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, found {beta}")
    return _difference_loss("smooth_l1" if beta else "l1", input, target, reduction, float(beta), None, False)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """``d**2 / 2`` where ``d = |input - target|`` is up to ``delta``, ``delta (d - delta / 2)`` elsewhere.

    Args:
        delta: the loss is linear from here on; positive.
        input, target, reduction: as in :func:`mse_loss`; the loss has the dtype of ``input``, and the backward
            raises RuntimeError if that of the target differs.
        weight: of the shape of ``input``.

    >>> import fastnn
    >>> fastnn.nn.functional.huber_loss(fastnn.tensor([1.0, 3.0]), fastnn.zeros(2), "none", delta=2.0).tolist()
    [0.5, 4.0]
    """
    reduction = _reduction(reduction, None, None)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, found {delta}")
    _check_tensors(input=input, target=target)
    if input._data.dtype.kind != "f":
        raise DTypeError(f"huber loss is for floating point input, found {input.dtype}")
    result = _difference_loss("huber", input, target, reduction, float(delta), weight, False)
    if input._data.dtype == target._data.dtype:
        return result

    def refuse(grad: Tensor) -> Tensor:
        # PyTorch also detects this only here.
        raise RuntimeError(f"Found dtype {target.dtype} but expected {input.dtype}: convert the target")

    return mapped("HuberLoss", result, result._data.astype(input._data.dtype), refuse)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``-(target log(input) + (1 - target) log(1 - input))``, the logarithms at least -100.

    Args:
        input, target: of one shape and dtype, all values in [0, 1].
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as in :func:`mse_loss`.

    Raises: RuntimeError if a value is not in [0, 1].

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
        return _pointwise("bce", input, target, reduction)
    return _weighted(_pointwise("bce", input, target, "none"), weight, reduction)


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
    """:func:`binary_cross_entropy` of ``sigmoid(input)``, without overflow.

    Args:
        input: logits of any size.
        target: of the same shape, floating point; the loss has its dtype.
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as in :func:`mse_loss`.
        pos_weight: multiplies the term of the positive targets, broadcast to ``input``.

    Raises: RuntimeError for other shapes, and for an integer or bool target, as in PyTorch: use ``target.float()``.

    >>> import fastnn
    >>> fastnn.nn.functional.binary_cross_entropy_with_logits(fastnn.tensor([1000.0]), fastnn.tensor([0.0]))
    tensor(1000.)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.shape != target._data.shape:
        raise ShapeError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if target._data.dtype.kind != "f" or input._data.dtype.kind != "f":
        raise DTypeError(
            f"input and target must be floating point, found {input.dtype} and {target.dtype}; convert them by float()"
        )
    loss, z = "bce_with_logits", None
    if pos_weight is not None:
        _check_tensors(pos_weight=pos_weight)
        _, z = broadcast_tensors(input, pos_weight)
        if z._data.shape != input._data.shape:
            raise ShapeError(f"pos_weight of shape {tuple(pos_weight.shape)} does not fit input {tuple(input.shape)}")
        loss = "bce_with_logits_pos_weight"
    if weight is None:
        result = _pointwise(loss, input, target, reduction, 0.0, z)
    else:
        _check_tensors(weight=weight)
        result = _weighted(_pointwise(loss, input, target, "none", 0.0, z), weight, reduction)
    return result if result._data.dtype == target._data.dtype else result.to(target.dtype)


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:
    """``target (log(target) - input)``, the Kullback-Leibler divergence; 0 where the target is 0.

    Args:
        input: log-probabilities.
        target: probabilities, or log-probabilities with ``log_target``.
        size_average, reduce: older names of the reduction.
        reduction: 'batchmean' (the sum divided by the number of rows: the divergence by definition), 'mean'
            (over all elements, with a warning), 'sum' or 'none'.

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
    if input._data.dtype.kind != "f" or target._data.dtype.kind != "f":
        raise DTypeError(f"kl_div: Integral inputs not supported, found {input.dtype} and {target.dtype}")
    rows = input._data.shape[0] if input._data.ndim else 1
    if input._data.shape != target._data.shape:
        input, target = broadcast_tensors(input, target)
    result = _pointwise("kl_div_log" if log_target else "kl_div", input, target, kind)
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
    loss = "poisson_nll_log" if log_input else "poisson_nll"
    if not full:
        return _pointwise(loss, input, target, reduction, float(eps))
    mask = target._data > 1
    above = keep_where(target, mask) + _constant(~mask, target)
    stirling = keep_where(above * above.log() - above + (above * (2 * math.pi)).log() * 0.5, mask)
    return _reduced_by(_pointwise(loss, input, target, "none", float(eps)) + stirling, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """``(log(var) + (input - target)**2 / var) / 2``: the negative log-likelihood of a normal target.

    Args:
        input: the expectations.
        target: of the same shape, or broadcast to it.
        var: variances, of the shape of ``input``, with a last dimension of size 1 or none, or a number.
        full: add ``log(2 pi) / 2``.
        eps: the lower bound of the variances; the gradient ignores the clamping.
        reduction: as in :func:`mse_loss`.

    Raises: ValueError for a negative variance or a wrong shape.

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
    result = _pointwise("gaussian_nll", input, target, reduction, float(eps), spread)
    if full:
        constant = 0.5 * math.log(2 * math.pi)
        result = result + (constant * input._data.size if reduction == "sum" else constant)
    return result


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """``log(1 + exp(-target input))`` for targets 1 and -1; arguments as in :func:`mse_loss`.

    The target is broadcast to the shape of ``input``; broadcasting ``input`` is a RuntimeError.

    >>> import fastnn
    >>> fastnn.nn.functional.soft_margin_loss(fastnn.tensor([0.0]), fastnn.tensor([-1.0]))
    tensor(0.6931)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.shape != target._data.shape:
        size = input._data.shape
        input, target = broadcast_tensors(input, target)
        if input._data.shape != size:
            raise ShapeError(
                f"output with shape {list(size)} doesn't match the broadcast shape {list(input._data.shape)}"
            )
    if input._data.dtype.kind != "f":
        raise DTypeError(f"soft_margin_loss is for floating point input, found {input.dtype}")
    if target._data.dtype != input._data.dtype:
        target = target.to(input.dtype)
    return _pointwise("soft_margin", input, target, reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1.

    Args:
        input: distances; target: 1 and -1, without a gradient. Broadcast together.
        margin: the required distance between dissimilar pairs.
        size_average, reduce, reduction: as in :func:`mse_loss`.

    >>> import fastnn
    >>> x, y = fastnn.tensor([0.25, 0.25]), fastnn.tensor([1.0, -1.0])
    >>> fastnn.nn.functional.hinge_embedding_loss(x, y, reduction="none").tolist()
    [0.25, 0.75]
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    target = target.detach()
    if input._data.dtype.kind != "f":
        raise DTypeError(f"hinge_embedding_loss is for floating point input, found {input.dtype}")
    if target._data.dtype != input._data.dtype:
        target = target.to(input.dtype)
    if input._data.shape != target._data.shape:
        input, target = broadcast_tensors(input, target)
    return _pointwise("hinge_embedding", input, target, reduction, float(margin))
