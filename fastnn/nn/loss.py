"""Elementwise losses: each function of ``nn.functional`` beside its module.

Their values and derivatives are in ``kernels.loss.losses``.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import mapped
from fastnn.kernels.runtime.launcher import guard_contents
from fastnn.nn.loss_core import (
    Pointwise,
    _check_tensors,
    _constant,
    _difference_loss,
    _pointwise,
    _reduced_by,
    _reduction,
    _weighted,
)
from fastnn.nn.module import Module
from fastnn.ops.comparison import keep_where
from fastnn.ops.shapes import broadcast_tensors

# `nn` has the modules, `nn.functional` the functions.
__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
    "MSELoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "hinge_embedding_loss",
    "huber_loss", "kl_div", "l1_loss", "mse_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss",
]  # fmt: skip


class _Loss(Module):
    """A loss with a reduction; ``size_average`` and ``reduce`` are older names of it."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            # An unknown name is an error when the loss is used, as in PyTorch.
            reduction = _reduction("mean", size_average, reduce, stacklevel=5)
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with a weight for each class or element, kept as a buffer."""

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


def _check_same_dtype(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    for name, t in (("target", target), ("weight", weight)):
        if t is None:
            continue
        _check_tensors(**{name: t})
        if t._data.dtype != input._data.dtype:
            raise DTypeError(f"{name} must have the dtype of input, {input.dtype}, found {t.dtype}")


_MSE = Pointwise("mse", "MseLoss", reads="xy", symmetric=True)


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


class MSELoss(_Loss):
    """``(input - target)**2``, its mean or sum.

    Args:
        size_average, reduce: older names of the reduction.
        reduction: 'mean', 'sum' or 'none'.

    Shape: input and target of one shape; others are broadcast, with a warning.

    >>> import fastnn
    >>> fastnn.nn.MSELoss()(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
    2.5
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return mse_loss(input, target, reduction=self.reduction)


_L1 = Pointwise("l1", symmetric=True)


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
    return _difference_loss(_L1, input, target, reduction, 0.0, weight, True)


class L1Loss(_Loss):
    """``|input - target|``, its mean or sum; arguments and shapes as for :class:`MSELoss`.

    >>> import fastnn
    >>> fastnn.nn.L1Loss()(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
    1.5
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return l1_loss(input, target, reduction=self.reduction)


_SMOOTH_L1 = Pointwise("smooth_l1", "SmoothL1Loss", reads="xy", symmetric=True)


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
    return _difference_loss(_SMOOTH_L1 if beta else _L1, input, target, reduction, float(beta), None, False)


class SmoothL1Loss(_Loss):
    """``d**2 / (2 beta)`` where ``d = |input - target|`` is below ``beta``, ``d - beta / 2`` elsewhere.

    Args:
        size_average, reduce, reduction: as for :class:`MSELoss`; so are the shapes.
        beta: the loss is linear from here on.

    >>> import fastnn
    >>> fastnn.nn.SmoothL1Loss()(fastnn.tensor([3.0]), fastnn.zeros(1)).item()
    2.5
    """

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean", beta: float = 1.0
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


_HUBER = Pointwise("huber", "HuberLoss", reads="xy", floating="x", symmetric=True)


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
    result = _difference_loss(_HUBER, input, target, reduction, float(delta), weight, False)
    if input._data.dtype == target._data.dtype:
        return result

    def refuse(grad: Tensor) -> Tensor:
        # PyTorch also detects this only here.
        raise RuntimeError(f"Found dtype {target.dtype} but expected {input.dtype}: convert the target")

    return mapped("HuberLoss", result, result._data.astype(input._data.dtype), refuse)


class HuberLoss(_Loss):
    """``d**2 / 2`` where ``d = |input - target|`` is up to ``delta``, ``delta (d - delta / 2)`` elsewhere.

    Args:
        reduction: as for :class:`MSELoss`; so are the shapes.
        delta: the loss is linear from here on.

    >>> import fastnn
    >>> fastnn.nn.HuberLoss(delta=2.0)(fastnn.tensor([3.0]), fastnn.zeros(1)).item()
    4.0
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return huber_loss(input, target, self.reduction, self.delta)


_BCE = Pointwise("bce", "BinaryCrossEntropy", reads="xy")


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
        return _pointwise(_BCE, input, target, reduction)
    return _weighted(_pointwise(_BCE, input, target, "none"), weight, reduction)


class BCELoss(_WeightedLoss):
    """``-(target log(input) + (1 - target) log(1 - input))``, its mean or sum.

    Args:
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as for :class:`MSELoss`.

    Shape: input and target of one shape, all values in [0, 1].

    >>> import fastnn
    >>> fastnn.nn.BCELoss()(fastnn.tensor([0.5]), fastnn.tensor([1.0]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of probabilities ``input`` against ``target``."""
        return binary_cross_entropy(input, target, self._buffers["weight"], reduction=self.reduction)


_WITH_LOGITS = "BinaryCrossEntropyWithLogits"
_BCE_WITH_LOGITS = Pointwise("bce_with_logits", _WITH_LOGITS, reads="xy", floating="xy")
_POS_WEIGHT = Pointwise("bce_with_logits_pos_weight", _WITH_LOGITS, reads="xyz", floating="y")


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
    loss, z = _BCE_WITH_LOGITS, None
    if pos_weight is not None:
        _check_tensors(pos_weight=pos_weight)
        _, z = broadcast_tensors(input, pos_weight)
        if z._data.shape != input._data.shape:
            raise ShapeError(f"pos_weight of shape {tuple(pos_weight.shape)} does not fit input {tuple(input.shape)}")
        loss = _POS_WEIGHT
    if weight is None:
        result = _pointwise(loss, input, target, reduction, 0.0, z)
    else:
        _check_tensors(weight=weight)
        result = _weighted(_pointwise(loss, input, target, "none", 0.0, z), weight, reduction)
    return result if result._data.dtype == target._data.dtype else result.to(target.dtype)


class BCEWithLogitsLoss(_Loss):
    """:class:`BCELoss` of ``sigmoid(input)``, for logits of any size.

    Args:
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as for :class:`MSELoss`.
        pos_weight: multiplies the term of the positive targets, broadcast to the input.

    Shape: input and target of one shape.

    >>> import fastnn
    >>> fastnn.nn.BCEWithLogitsLoss()(fastnn.tensor([1000.0]), fastnn.tensor([0.0]))
    tensor(1000.)
    """

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean", pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits ``input`` against ``target``."""
        buffers = self._buffers
        return binary_cross_entropy_with_logits(
            input, target, buffers["weight"], reduction=self.reduction, pos_weight=buffers["pos_weight"]
        )


_KL_DIV = Pointwise("kl_div", reads="y", floating="x")
_KL_DIV_LOG = Pointwise("kl_div_log", floating="xy", composed=True)


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
    result = _pointwise(_KL_DIV_LOG if log_target else _KL_DIV, input, target, kind)
    return result / rows if reduction == "batchmean" else result


class KLDivLoss(_Loss):
    """``target (log(target) - input)``, the Kullback-Leibler divergence of log-probabilities.

    Args:
        size_average, reduce: older names of the reduction.
        reduction: 'batchmean' (over the number of rows), 'mean', 'sum' or 'none'.
        log_target: whether the target is given as logarithms.

    >>> import fastnn
    >>> p = fastnn.tensor([[0.5, 0.5]])
    >>> fastnn.nn.KLDivLoss(reduction="batchmean")(p.log(), p).item()
    0.0
    """

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The divergence of ``input`` from ``target``."""
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


_POISSON_NLL = Pointwise("poisson_nll", reads="y")
_POISSON_NLL_LOG = Pointwise("poisson_nll_log", reads="y")


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
    above = keep_where(target, mask) + _constant(~mask, target)
    stirling = keep_where(above * above.log() - above + (above * (2 * math.pi)).log() * 0.5, mask)
    return _reduced_by(_pointwise(loss, input, target, "none", float(eps)) + stirling, reduction)


class PoissonNLLLoss(_Loss):
    """``exp(input) - target input``: the negative log-likelihood of a Poisson target.

    Args:
        log_input: whether the input is the logarithm of the expectation.
        full: add Stirling's approximation of ``log(target!)``.
        size_average, reduce, reduction: as for :class:`MSELoss`.
        eps: added to an input whose logarithm is taken.

    >>> import fastnn
    >>> fastnn.nn.PoissonNLLLoss()(fastnn.tensor([0.0]), fastnn.tensor([2.0]))
    tensor(1.)
    """

    def __init__(
        self, log_input: bool = True, full: bool = False, size_average: bool | None = None, eps: float = 1e-8,
        reduce: bool | None = None, reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``log_input`` against ``target``."""
        return poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


def _none_is_negative(numbers: np.ndarray) -> bool:
    return not (numbers < 0).any()


# Nodes of operations whose results are not negative, and of those that only move elements.
_NOT_NEGATIVE = frozenset(("Abs", "Exp", "Exp2", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"))
_MOVES = frozenset(("Clone", "Expand", "Permute", "Select", "Slice", "Squeeze", "Transpose", "Unsqueeze", "View"))


def _cannot_be_negative(node: Any) -> bool:
    """Whether the result of a node is not negative, whatever its numbers are; False if that is not known."""
    while isinstance(node, Node):
        if node.title in _NOT_NEGATIVE:
            return True
        if node.title in ("Add", "Mul", "Div"):
            # A tensor and a number.
            operands: list[Any] = [getattr(node, "x", None), getattr(node, "y", None)]
            numbers = [n for n in operands if type(n) in (int, float)]
            if len(numbers) != 1 or not numbers[0] >= 0:
                return False
        elif node.title not in _MOVES:
            return False
        node = node.edges[0]
    return False


_GAUSSIAN_NLL = Pointwise("gaussian_nll", floating="x", composed=True)


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
    if not capture_state.is_mine():
        if not _none_is_negative(spread._data):
            raise ValueError(f"var has negative entry/entries, found {spread._data.min()}")
    elif not _cannot_be_negative(spread._node):
        # In a trace the numbers mean nothing yet. Those of an input are checked before each replay; a step that
        # computes others is not captured.
        guard_contents(spread._data, _none_is_negative)
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


class GaussianNLLLoss(_Loss):
    """``(log(var) + (input - target)**2 / var) / 2``: the negative log-likelihood of a normal target.

    Args:
        full: add ``log(2 pi) / 2``.
        eps: the lower bound of the variances.
        reduction: as for :class:`MSELoss`.

    Shape: input and target of one shape; var too, or with a last dimension of size 1 or none.

    >>> import fastnn
    >>> one = fastnn.ones(1)
    >>> fastnn.nn.GaussianNLLLoss()(one, 2 * one, one).item()
    0.5
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """The loss of expectations ``input`` with variances ``var`` against ``target``."""
        return gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


_SOFT_MARGIN = Pointwise("soft_margin", "SoftMarginLoss", reads="xy", floating="x")


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
    return _pointwise(_SOFT_MARGIN, input, target, reduction)


class SoftMarginLoss(_Loss):
    """``log(1 + exp(-target input))`` for targets 1 and -1; arguments as for :class:`MSELoss`.

    >>> import fastnn
    >>> fastnn.nn.SoftMarginLoss()(fastnn.tensor([0.0]), fastnn.tensor([-1.0]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return soft_margin_loss(input, target, reduction=self.reduction)


_HINGE_EMBEDDING = Pointwise("hinge_embedding")


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
    return _pointwise(_HINGE_EMBEDDING, input, target, reduction, float(margin))


class HingeEmbeddingLoss(_Loss):
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1.

    Args:
        margin: the required distance between dissimilar pairs.
        size_average, reduce, reduction: as for :class:`MSELoss`.

    >>> import fastnn
    >>> fastnn.nn.HingeEmbeddingLoss()(fastnn.tensor([0.25]), fastnn.tensor([-1.0])).item()
    0.75
    """

    def __init__(
        self, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of distances ``input`` against ``target``."""
        return hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)
