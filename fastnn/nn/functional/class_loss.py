"""Losses of rows of scores against class labels, as functions of tensors."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core import numpy_trace as trace
from fastnn._core.errors import DTypeError, RangeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.loss.softmax_cross_entropy import MOST_IN_ONE_CALL, softmax_cross_entropy_in_one_call
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _contiguous, _half
from fastnn.nn.functional.softmax import log_softmax
from fastnn.nn.loss import binary_cross_entropy_with_logits
from fastnn.nn.loss_core import _check_tensors, _constant, _given, _reduced_by, _reduction, _weighted
from fastnn.ops.core import also_read, piece, pieces, promote, scaled

__all__ = ["cross_entropy", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss"]

# Far from the limits of int64.
_FAR = 2**31
_INT64, _UINT8 = np.dtype(np.int64), np.dtype(np.uint8)


# -- Shared helpers ----------------------------------------------------------------------------


def _check_scores(input: Tensor, target: Tensor) -> None:
    _check_tensors(input=input, target=target)
    if input._data.dtype.kind != "f":
        raise DTypeError(f"input must have dtype float32 or float64, found {input.dtype}")


def _labels(target: Tensor) -> np.ndarray:
    """Labels as one contiguous row of int64."""
    data = target._data
    if data.dtype == _INT64 and data.ndim == 1 and data.flags.c_contiguous:
        return data
    if data.dtype not in (_INT64, _UINT8):
        raise DTypeError(f"expected target to have dtype int64 (or uint8), found {target.dtype}")
    return np.ascontiguousarray(data.reshape(-1), dtype=np.int64)


def _check_weight(weight: Tensor, input: Tensor, classes: int) -> None:
    _check_tensors(weight=weight)
    if weight._data.shape != (classes,):
        raise ShapeError(
            "weight tensor should be defined either for all or no classes: it must have shape "
            f"({classes},), found {tuple(weight.shape)}"
        )
    if weight._data.dtype != input._data.dtype:
        raise DTypeError(f"weight must have the dtype of input, {input.dtype}, found {weight.dtype}")


def _label_rows(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...] | None]:
    """As :func:`_class_rows` for labels; the third is None for a matrix of scores, which stays as it is."""
    if input._data.ndim == 2 and target._data.shape == input._data.shape[:1]:
        return input, target, None
    return _class_rows(input, target, False)


def _class_rows(input: Tensor, target: Tensor, probabilities: bool) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Scores as (rows, classes), the matching targets, and the shape of the losses.

    The classes are the only dimension of the input, or the second.
    """
    shape = input._data.shape
    lead = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if not probabilities and target._data.shape != lead and not (len(shape) == 1 and target._data.shape == (1,)):
        if len(shape) > 1 and target._data.shape[:1] != shape[:1]:
            found = target._data.shape[0] if target._data.ndim else 0
            raise ShapeError(
                f"Expected input batch_size ({shape[0]}) to match target batch_size ({found}): for input of shape "
                f"{shape} target must have shape {lead}, found {target._data.shape}"
            )
        raise ShapeError(f"for input of shape {shape} target must have shape {lead}, found {target._data.shape}")
    if len(shape) == 2:
        return input, target, lead
    if len(shape) == 1:
        return input.unsqueeze(0), target.unsqueeze(0) if probabilities else target, lead
    return _last(input), _last(target) if probabilities else target, lead


def _last(x: Tensor) -> Tensor:
    """Move the second dimension last, and flatten the others into one before it."""
    ndim, classes = x._data.ndim, x._data.shape[1]
    moved = x.permute(0, *range(2, ndim), 1).contiguous()
    return moved.reshape(moved._data.size // classes if classes else moved._data.shape[0], classes)


def _index(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, found {value!r}") from None


def _onehot(labels: np.ndarray, like: Tensor, ignore_index: int) -> np.ndarray:
    """1 at the label of each row that is not ignored."""
    onehot = np.zeros(like._data.shape, like._data.dtype)
    counts = np.flatnonzero(labels != ignore_index)
    onehot[counts, labels[counts]] = 1
    return onehot


def _row_loss(
    name: str, x: Tensor, launch: Any, reduction: str, recompute: Any, recorded: bool, saved: tuple[Tensor, ...]
) -> Tensor:
    """Run a kernel that gives the losses of rows or their sum or mean, and its gradient by x.

    ``launch(out, losses, dx)`` gets None for outputs that are not needed. ``saved``: tensors that PyTorch's backward
    reads.
    """
    data = x._data
    dx = allocation.empty(data.shape, data.dtype) if recorded else None
    if reduction == "none":
        out = allocation.empty(data.shape[0], data.dtype)
        launch(None, out, dx)
    else:
        out = allocation.empty((), data.dtype)
        launch(out, None, dx)
    return _wrap(out) if dx is None else _with_gradient(name, x, out, dx, recompute, saved)


def _with_gradient(
    name: str, x: Tensor, out: np.ndarray, gradient: np.ndarray, recompute: Any, saved: tuple[Tensor, ...]
) -> Tensor:
    """The losses ``out`` as a tensor whose gradient by ``x`` is known; ``recompute`` as of :class:`Node`."""

    def run(grad: Tensor) -> tuple[Tensor | None]:
        g = grad._data
        if g.ndim:
            return (_given(x, trace.run(lambda a, b: a * b[:, None], gradient, g)),)
        return (_given(x, gradient if g.item() == 1.0 else trace.run(np.multiply, gradient, g)),)

    return _wrap(out, Node(name, (x,), run, saved, True, recompute))


# -- Cross-entropy -------------------------------------------------------------------------------


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:
    """``-log(softmax(input)[target])`` of each row, and its mean or sum.

    For probabilities as targets ``-sum(target * log(softmax(input)))``.

    Args:
        input: logits, (batch, classes), (classes,) or (batch, classes, d1, ...), float32 or float64.
        target: labels, int64 or uint8, of the shape of ``input`` without the classes; or probabilities of the shape and
            dtype of ``input``.
        weight: (classes,), the weight of each class.
        size_average, reduce: older names of the reduction.
        ignore_index: rows with this label are ignored.
        reduction: 'mean' over the rows that are not ignored, weighted by their labels; 'sum'; or 'none'.
        label_smoothing: from 0 to 1, how much of the target is spread evenly over all classes (C. Szegedy and
            others, arXiv:1512.00567).

    Raises: IndexError for a label out of range.

    >>> import fastnn
    >>> fastnn.nn.functional.cross_entropy(fastnn.tensor([[0.0, 0.0]]), fastnn.tensor([1])).item()
    0.6931471824645996
    """
    if weight is None and not label_smoothing and type(input) is Tensor and type(target) is Tensor:
        result = _plain_cross_entropy(input, target, size_average, ignore_index, reduce, reduction)
        if result is not None:
            return result
    if size_average is not None or reduce is not None or reduction not in ("mean", "sum", "none"):
        reduction = _reduction(reduction, size_average, reduce)
    _check_scores(input, target)
    shape = input._data.shape
    if not shape:
        raise RangeError("input must have 1 dimension or more, found a single number")
    if label_smoothing and not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if weight is not None:
        _check_weight(weight, input, shape[min(1, len(shape) - 1)])
    ignore_index = _index("ignore_index", ignore_index)
    # As in PyTorch the shape decides, not the dtype.
    if target._data.shape == shape:
        return _probability_cross_entropy(input, target, weight, ignore_index, reduction, float(label_smoothing))
    x, target, lead = _label_rows(input, target)
    labels, data = _labels(target), _contiguous(x._data)
    recorded = _recorded(x) if weight is None else _recorded_with_weight(x, weight)
    weights = None if weight is None else _contiguous(weight._data)

    def launch(out: np.ndarray | None, losses: np.ndarray | None, dx: np.ndarray | None) -> None:
        kernels.softmax_cross_entropy(
            losses, dx, data, labels, reduction == "mean", ignore_index, weights, label_smoothing, out
        )

    def recompute() -> Tensor:
        return _composed_cross_entropy(x, labels, weights, ignore_index, reduction, label_smoothing)

    saved = (target,) if weight is None else (target, weight)
    try:
        result = _row_loss("NllLoss", x, launch, reduction, recompute, recorded, saved)
    except TypeError as error:
        _half(error, input)
        wide = None if weight is None else weight.float()
        return cross_entropy(
            input.float(), target, wide, None, ignore_index, None, reduction, label_smoothing
        ).half()  # fmt: skip
    return result if lead is None or reduction != "none" else result.reshape(lead)


def _composed_cross_entropy(
    x: Tensor, labels: np.ndarray, weights: np.ndarray | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    """Cross-entropy of labels, in recorded operations."""
    onehot = _onehot(labels, x, ignore_index)
    coefficients = (1 - label_smoothing) * onehot + label_smoothing / max(1, onehot.shape[1])
    coefficients *= (labels != ignore_index)[:, None]
    if weights is not None:
        onehot *= weights
        coefficients = coefficients * weights
    losses = -(_constant(coefficients, x) * log_softmax(x, 1)).sum(1)
    return losses.sum() / (float(onehot.sum()) or 1.0) if reduction == "mean" else _reduced_by(losses, reduction)


def _plain_cross_entropy(
    x: Tensor, target: Tensor, size_average: Any, ignore_index: int, reduce: Any, reduction: str
) -> Tensor | None:
    """A small batch of logits and labels without options: checked and computed by one call; otherwise None.

    The general path takes 2.6 us of Python and this one 1.6; the kernel takes 1.6 for 64x10.
    """
    if (
        size_average is not None or reduce is not None or reduction not in ("mean", "sum")
        or type(ignore_index) is not int or not -_FAR <= ignore_index <= _FAR or x._data.size > MOST_IN_ONE_CALL
    ):  # fmt: skip
        return None
    logits, labels = x._data, target._data
    dx = allocation.empty(logits.shape, logits.dtype) if _recorded(x) else None
    out = allocation.empty((), logits.dtype)
    if softmax_cross_entropy_in_one_call(dx, logits, labels, reduction == "mean", ignore_index, out) < 0:
        return None
    if dx is None:
        return _wrap(out)

    def recompute() -> Tensor:
        return _composed_cross_entropy(x, labels, None, ignore_index, reduction, 0.0)

    return _with_gradient("NllLoss", x, out, dx, recompute, (target,))


def _recorded_with_weight(x: Tensor, weight: Tensor) -> bool:
    if not _recorded(x, weight):
        return False
    if weight._requires_grad:
        raise RuntimeError("the derivative for 'weight' is not implemented")
    return True


def _probability_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    if target._data.dtype.kind != "f":
        raise DTypeError(f"Expected floating point type for target with class probabilities, got {target.dtype}")
    if ignore_index >= 0:
        raise RuntimeError(f"ignore_index is not supported for floating point target, found {ignore_index}")
    saved = (target,) if weight is None else (target, weight)
    input, target = promote(input, target)
    if weight is not None:
        weight = weight.to(input.dtype)
    x, t, lead = _class_rows(input, target, True)
    others = (t,) if weight is None else (t, weight)
    classes = max(1, x._data.shape[1])

    def composed() -> Tensor:
        p = t * (1 - smoothing) + smoothing / classes if smoothing else t
        losses = -((p if weight is None else p * weight) * log_softmax(x, 1)).sum(1)
        return _reduced_by(losses, reduction)

    if _recorded(x, *others) and any(o._requires_grad for o in others):
        result = composed()
    else:
        data, probabilities = _contiguous(x._data), _contiguous(t._data)
        weights = None if weight is None else _contiguous(weight._data)

        def launch(out: np.ndarray | None, losses: np.ndarray | None, dx: np.ndarray | None) -> None:
            kernels.softmax_cross_entropy(
                losses, dx, data, probabilities, reduction == "mean", -100, weights, smoothing, out
            )

        try:
            result = _row_loss("CrossEntropy", x, launch, reduction, composed, _recorded(x), saved)
        except TypeError as error:
            _half(error, input)
            wide = None if weight is None else weight.float()
            found = _probability_cross_entropy(input.float(), target.float(), wide, ignore_index, reduction, smoothing)
            return found.half()
    return result if reduction != "none" or len(input._data.shape) == 2 else result.reshape(lead)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``-input[target]`` of each row of log-probabilities, and its mean or sum.

    Args:
        input: (batch, classes), (classes,) or (batch, classes, d1, ...).
        target: labels, as in :func:`cross_entropy`.
        weight, size_average, ignore_index, reduce, reduction: as in :func:`cross_entropy`.

    Raises: IndexError for a label out of range.

    >>> import fastnn
    >>> fastnn.nn.functional.nll_loss(fastnn.tensor([[-1.0, -2.0]]), fastnn.tensor([1]))
    tensor(2.)
    """
    if size_average is not None or reduce is not None or reduction not in ("mean", "sum", "none"):
        reduction = _reduction(reduction, size_average, reduce)
    _check_scores(input, target)
    shape = input._data.shape
    if not shape:
        raise ShapeError("input must have 1 dimension or more, found a single number")
    if weight is not None:
        _check_weight(weight, input, shape[min(1, len(shape) - 1)])
    ignore_index = _index("ignore_index", ignore_index)
    x, target, lead = _label_rows(input, target)
    labels, data = _labels(target), _contiguous(x._data)
    recorded = _recorded(x) if weight is None else _recorded_with_weight(x, weight)
    weights = None if weight is None else _contiguous(weight._data)

    def launch(out: np.ndarray | None, losses: np.ndarray | None, dx: np.ndarray | None) -> None:
        kernels.nll_loss(losses, dx, data, labels, reduction == "mean", ignore_index, weights, out)

    def recompute() -> Tensor:
        onehot = _onehot(labels, x, ignore_index)
        onehot = onehot if weights is None else onehot * weights
        losses = -pieces(x, onehot).sum(1)
        return losses.sum() / (float(onehot.sum()) or 1.0) if reduction == "mean" else _reduced_by(losses, reduction)

    saved = (input, target) if weight is None else (input, target, weight)
    try:
        result = _row_loss("NllLoss", x, launch, reduction, recompute, recorded, saved)
    except TypeError as error:
        _half(error, input)
        wide = None if weight is None else weight.float()
        return nll_loss(input.float(), target, wide, None, ignore_index, None, reduction).half()
    return result if lead is None or reduction != "none" else result.reshape(lead)


# -- Margins ---------------------------------------------------------------------------------------


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``sum(max(0, margin - input[target] + input[i])**p for i != target) / classes`` of each row.

    Args:
        input: scores, (batch, classes) or (classes,).
        target: (batch,) or () labels, int64.
        p: 1 or 2.
        margin: the required lead of the score of the right class.
        weight: (classes,), multiplies the loss of a row by the weight of its label.
        size_average, reduce, reduction: as in :func:`cross_entropy`, but the mean is over all rows.

    >>> import fastnn
    >>> fastnn.nn.functional.multi_margin_loss(fastnn.tensor([[0.0, 0.5]]), fastnn.tensor([1])).item()
    0.25
    """
    reduction = _reduction(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported, found {p}")
    _check_scores(input, target)
    shape = input._data.shape
    if len(shape) not in (1, 2) or shape[-1] == 0:
        raise ShapeError(f"input must have shape (batch, classes) or (classes,), found {tuple(shape)}")
    if weight is not None:
        _check_tensors(weight=weight)
        if weight._data.ndim != 1:
            raise ShapeError(f"weight must be one-dimensional, found shape {tuple(weight.shape)}")
        _check_weight(weight, input, shape[-1])
    rows = input if len(shape) == 2 else input.unsqueeze(0)
    count, classes = rows._data.shape
    if target._data.size != count or target._data.ndim > 1:
        raise ShapeError(f"inconsistent target size: expected ({count},), found {tuple(target.shape)}")
    if target._data.dtype != _INT64:
        raise DTypeError(f"expected target to have dtype int64, found {target.dtype}")
    labels = _labels(target)
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise ShapeError(f"target out of range: {wrong[0]} is not in [0, {classes})")
    right = rows[np.arange(count), labels].unsqueeze(1)
    # In this order, and without NaN, as in PyTorch; no gradient at 0.
    gaps = margin - right + rows
    gaps = piece(gaps, gaps._data > 0)
    losses = gaps if p == 1 else gaps * gaps
    factors = np.full((count, classes), 1 / classes, rows._data.dtype)
    if weight is not None:
        factors *= weight._data[labels][:, None]
    factors[np.arange(count), labels] = 0
    result = also_read((losses * _wrap(factors)).sum(1), input, target)
    return _reduced_by(result if len(shape) == 2 else result.reshape(()), reduction)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """``sum(max(0, 1 - input[j] + input[i]) for labels j, for i no label) / classes`` of each row.

    Args:
        input: scores, (batch, classes) or (classes,).
        target: of the same shape, int64: a row starts with its labels, and -1 ends them.
        size_average, reduce, reduction: as in :func:`multi_margin_loss`.

    >>> import fastnn
    >>> x = fastnn.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> round(fastnn.nn.functional.multilabel_margin_loss(x, fastnn.tensor([[3, 0, -1, 1]])).item(), 4)
    0.85
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_scores(input, target)
    shape = input._data.shape
    if len(shape) > 2 or (len(shape) == 2 and shape[1] == 0):
        raise ShapeError(f"input must have shape (batch, classes) or (classes,), found {tuple(shape)}")
    if target._data.shape != shape:
        raise ShapeError(f"inconsistent target size: target must have shape {shape}, found {tuple(target.shape)}")
    if target._data.dtype != _INT64:
        raise DTypeError(f"expected target to have dtype int64, found {target.dtype}")
    data = input._data.reshape(1, -1) if len(shape) < 2 else _contiguous(input._data)
    labels = np.ascontiguousarray(target._data.reshape(data.shape))
    wrong = labels[(labels < -1) | (labels >= data.shape[1])]
    if wrong.size:
        raise RuntimeError(f"target out of range: {wrong[0]} is not in [-1, {data.shape[1]})")
    losses, dx = allocation.empty(data.shape[0], data.dtype), allocation.empty(data.shape, data.dtype)
    kernels.multilabel_margin(losses, dx, data, labels)
    result = np.asarray(losses.reshape(shape[:1] if len(shape) == 2 else ()))
    gradient = dx.reshape(shape)

    def run(grad: Tensor) -> tuple[Tensor]:
        # The loss is piecewise linear: its slope is a constant.
        return (scaled((grad.unsqueeze(1) if len(shape) == 2 else grad).expand(shape), gradient, input),)

    node = Node("MultilabelMarginLoss", (input,), run, (input, target), True) if _recorded(input) else None
    return _reduced_by(_wrap(result, node), reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """The binary cross-entropy of ``sigmoid(input)``, averaged over the classes, the last dimension.

    Args:
        input: logits, (batch, classes) or (classes,).
        target: 0 or 1 for each, of the same shape.
        weight: multiplies the loss of each class.
        size_average, reduce, reduction: as in :func:`multi_margin_loss`.

    >>> import fastnn
    >>> fastnn.nn.functional.multilabel_soft_margin_loss(fastnn.zeros(1, 2), fastnn.tensor([[0.0, 1.0]]))
    tensor(0.6931)
    """
    reduction = _reduction(reduction, size_average, reduce)
    _check_tensors(input=input, target=target)
    if input._data.dtype.kind != "f" or target._data.dtype == np.bool_:
        raise DTypeError(
            "multilabel_soft_margin_loss is for floating point input and targets of numbers, found "
            f"{input.dtype} and {target.dtype}"
        )
    input, target = promote(input, target)
    losses = binary_cross_entropy_with_logits(input, target, reduction="none")
    if weight is not None:
        _check_tensors(weight=weight)
        losses = _weighted(losses, weight, "none")
    return _reduced_by(losses.mean(-1), reduction)
