"""Losses as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.elementwise import log1p, softplus
from fastnn.onnx.converters.reductions import norm_of
from fastnn.onnx.converters.table import converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value


def _reduced(loss: Value, reduction: str, size_average: Any = None, reduce: Any = None) -> Value:
    if size_average is not None or reduce is not None:
        mean = size_average is None or size_average
        reduction = "none" if reduce is False else "mean" if mean else "sum"
    if reduction == "none":
        return loss
    return loss.reduce("ReduceMean" if reduction == "mean" else "ReduceSum")


def _pair(g: Graph, input: Any, target: Any) -> tuple[Value, Value]:
    return g.value(input, kind_of(g)), g.value(target, kind_of(g))


def _weighted(g: Graph, loss: Value, weight: Any) -> Value:
    return loss if weight is None else loss * g.value(weight, loss.dtype)


@converter("mse_loss")
def _mse(
    g: Graph, input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    weight: Any = None,
) -> Value:  # fmt: skip
    if weight is not None:
        g.refuse("with weight")
    x, y = _pair(g, input, target)
    return _reduced((x - y) * (x - y), reduction, size_average, reduce)


@converter("l1_loss")
def _l1(
    g: Graph, input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    weight: Any = None,
) -> Value:  # fmt: skip
    if weight is not None:
        g.refuse("with weight")
    x, y = _pair(g, input, target)
    return _reduced((x - y).op("Abs"), reduction, size_average, reduce)


@converter("smooth_l1_loss")
def _smooth_l1(
    g: Graph, input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Value:  # fmt: skip
    x, y = _pair(g, input, target)
    d = (x - y).op("Abs")
    loss = d if not beta else (d < float(beta)).where(d * d * (0.5 / beta), d - 0.5 * beta)
    return _reduced(loss, reduction, size_average, reduce)


@converter("huber_loss")
def _huber(
    g: Graph, input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Value:
    if weight is not None:
        g.refuse("with weight")
    x, y = _pair(g, input, target)
    d = (x - y).op("Abs")
    return _reduced((d <= float(delta)).where(d * d * 0.5, (d - 0.5 * delta) * float(delta)), reduction)


@converter("binary_cross_entropy")
def _bce(
    g: Graph, input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Value:  # fmt: skip
    x, y = _pair(g, input, target)
    # PyTorch bounds the logarithms.
    yes, no = (v.op("Max", v._same(-100.0)) for v in (x.op("Log"), log1p(-x)))
    loss = -(y * yes + (1.0 - y) * no)
    return _reduced(_weighted(g, loss, weight), reduction, size_average, reduce)


@converter("binary_cross_entropy_with_logits")
def _bce_with_logits(
    g: Graph, input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Any = None,
) -> Value:  # fmt: skip
    x, y = _pair(g, input, target)
    yes = y if pos_weight is None else y * g.value(pos_weight, x.dtype)
    loss = yes * softplus(-x) + (1.0 - y) * softplus(x)
    return _reduced(_weighted(g, loss, weight), reduction, size_average, reduce)


@converter("kl_div")
def _kl_div(
    g: Graph, input: Tensor, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
    log_target: bool = False,
) -> Value:  # fmt: skip
    if not isinstance(reduction, str):
        g.refuse("with a number as reduction")
    x, y = _pair(g, input, target)
    loss = y.op("Exp") * (y - x) if log_target else y.equals(0.0).where(0.0, y * y.op("Log")) - y * x
    if reduction == "batchmean":
        return loss.sum() / g.value(g.sizes(input)[0], x.dtype)
    return _reduced(loss, reduction, size_average, reduce)


@converter("poisson_nll_loss")
def _poisson(
    g: Graph, input: Any, target: Any, log_input: bool = True, full: bool = False, size_average: Any = None,
    eps: float = 1e-8, reduce: Any = None, reduction: str = "mean",
) -> Value:  # fmt: skip
    x, y = _pair(g, input, target)
    loss = x.op("Exp") - y * x if log_input else x - y * (x + float(eps)).op("Log")
    if full:
        stirling = y * y.op("Log") - y + (y * (2 * math.pi)).op("Log") * 0.5
        loss = loss + (y > 1.0).where(stirling, 0.0)
    return _reduced(loss, reduction, size_average, reduce)


@converter("gaussian_nll_loss")
def _gaussian(
    g: Graph, input: Tensor, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Value:
    x, y = _pair(g, input, target)
    spread = g.value(var, x.dtype)
    if isinstance(var, Tensor) and rank(var) == rank(input) - 1:
        spread = spread.unsqueeze(rank(var))
    spread = spread.op("Max", spread._same(float(eps)))
    loss = (spread.op("Log") + (x - y) * (x - y) / spread) * 0.5
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, reduction)


@converter("soft_margin_loss")
def _soft_margin(
    g: Graph, input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Value:
    x, y = _pair(g, input, target)
    return _reduced(softplus(-y * x), reduction, size_average, reduce)


@converter("hinge_embedding_loss")
def _hinge(
    g: Graph, input: Any, target: Any, margin: float = 1.0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Value:  # fmt: skip
    x, y = _pair(g, input, target)
    apart = y.equals(1.0).where(0.0, (float(margin) - x).op("Relu"))
    together = y.equals(-1.0).where(0.0, x)
    return _reduced(apart + together, reduction, size_average, reduce)


@converter("margin_ranking_loss")
def _margin_ranking(
    g: Graph, input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Value:  # fmt: skip
    a, b = _pair(g, input1, input2)
    y = g.value(target, a.dtype)
    return _reduced((-y * (a - b) + float(margin)).op("Relu"), reduction, size_average, reduce)


@converter("cosine_embedding_loss")
def _cosine_embedding(
    g: Graph, input1: Tensor, input2: Any, target: Any, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Value:  # fmt: skip
    a, b = _pair(g, input1, input2)
    y = g.value(target, a.dtype)
    dot = (a * b).sum([-1])
    small = 1e-12
    sizes = ((a * a).sum([-1]) + small) * ((b * b).sum([-1]) + small)
    angle = dot / sizes.op("Sqrt")
    together = y.equals(1.0).where(1.0 - angle, 0.0)
    apart = y.equals(-1.0).where((angle - float(margin)).op("Relu"), 0.0)
    return _reduced(together + apart, reduction, size_average, reduce)


@converter("triplet_margin_loss")
def _triplet(
    g: Graph, anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Value:  # fmt: skip
    a, b = _pair(g, anchor, positive)
    c = g.value(negative, a.dtype)

    def distance(x: Value, y: Value) -> Value:
        return norm_of(x - y + float(eps), p, [-1], False)

    near, far = distance(a, b), distance(a, c)
    if swap:
        far = far.op("Min", distance(b, c))
    return _reduced((near - far + float(margin)).op("Relu"), reduction, size_average, reduce)


# -- Of classes -------------------------------------------------------------------------------


def _by_class(
    g: Graph, logs: Value, input: Tensor, target: Tensor, weight: Any, ignore: int, reduction: str,
    smoothing: float = 0.0,
) -> Value:  # fmt: skip
    """The negative log likelihood of (batch, classes, ...) logarithms, or (classes,)."""
    axis = 1 if rank(input) > 1 else 0
    classes, kind = input._data.shape[axis], logs.dtype
    label = g.value(target, np.int64)
    counts = label.equals(int(ignore)).op("Not")
    label = counts.where(label, 0)
    picked = -logs.op("GatherElements", label.unsqueeze(axis), axis=axis).squeeze(axis)
    shares = None
    if weight is not None:
        shares = counts.where(g.value(weight).op("Gather", label, axis=0), 0.0)
    loss = counts.where(picked if shares is None else picked * shares, 0.0)
    total = counts.to(kind) if shares is None else shares
    if smoothing:
        each = logs
        if weight is not None:
            each = logs * g.reshape(weight, (classes, *[1] * (rank(input) - 2)) if axis else (classes,))
        even = counts.where(-each.sum([axis]), 0.0)
        loss = loss * (1 - smoothing) + even * (smoothing / classes)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / total.sum()


def _named(reduction: str, size_average: Any, reduce: Any) -> str:
    if size_average is None and reduce is None:
        return reduction
    return "none" if reduce is False else "mean" if size_average is None or size_average else "sum"


@converter("nll_loss")
def _nll(
    g: Graph, input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean",
) -> Value:  # fmt: skip
    reduction = _named(reduction, size_average, reduce)
    return _by_class(g, g.value(input), input, target, weight, ignore_index, reduction)


@converter("cross_entropy")
def _cross_entropy(
    g: Graph, input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Value:  # fmt: skip
    reduction = _named(reduction, size_average, reduce)
    axis = 1 if rank(input) > 1 else 0
    classes = input._data.shape[axis]
    logs = g.value(input).op("LogSoftmax", axis=axis)
    if target._data.dtype.kind != "f":
        return _by_class(g, logs, input, target, weight, ignore_index, reduction, label_smoothing)
    y = g.value(target, logs.dtype)
    if label_smoothing:
        y = y * (1 - label_smoothing) + label_smoothing / classes
    each = -y * logs
    if weight is not None:
        each = each * g.reshape(weight, (classes, *[1] * (rank(input) - 2)) if axis else (classes,))
    loss = each.sum([axis])
    if reduction == "mean":
        return loss.sum() / g.value(_count(g, input, axis), loss.dtype)
    return loss if reduction == "none" else loss.sum()


def _count(g: Graph, input: Tensor, axis: int) -> Any:
    found: Any = 1
    for i, n in enumerate(g.sizes(input)):
        if i != axis:
            found = n * found
    return found


@converter("multi_margin_loss")
def _multi_margin(
    g: Graph, input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Any = None,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Value:  # fmt: skip
    axis = rank(input) - 1
    classes = input._data.shape[axis]
    x, label = g.value(input), g.value(target, np.int64)
    if rank(input) == 1 and rank(target) == 1:
        label = label.squeeze(0)
    place = label.unsqueeze(axis)
    own = x.op("GatherElements", place, axis=axis)
    gap = (x - own + float(margin)).op("Relu")
    gap = gap * gap if p == 2 else gap
    if weight is not None:
        gap = gap * g.value(weight).op("Gather", place, axis=0)
    mine = place.op("Equal", g.constant(np.arange(classes)), dtype=bool)
    return _reduced(mine.where(0.0, gap).sum([axis]) / float(classes), reduction, size_average, reduce)


@converter("multilabel_margin_loss")
def _multilabel_margin(
    g: Graph, input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Value:
    classes = input._data.shape[-1]
    x, label = g.value(input), g.value(target, np.int64)
    if rank(input) == 1:
        x, label = x.unsqueeze(0), label.unsqueeze(0)
    # Labels count until the first negative one.
    ended = (label < 0).to(np.int64).op("CumSum", g.value(1, np.int64)) > 0
    counts = ended.op("Not")
    safe = counts.where(label, 0)
    own = x.op("GatherElements", safe, axis=1)
    hot = safe.unsqueeze(2).op("Equal", g.constant(np.arange(classes)), dtype=bool)
    hot = hot.op("And", counts.unsqueeze(2))
    is_label = hot.to(np.int32).reduce("ReduceMax", [1]).to(bool)
    gap = (x.unsqueeze(1) - own.unsqueeze(2) + 1.0).op("Relu")
    valid = counts.unsqueeze(2).op("And", is_label.op("Not").unsqueeze(1))
    loss = valid.where(gap, 0.0).sum([1, 2]) / float(classes)
    if rank(input) == 1:
        loss = loss.squeeze(0)
    return _reduced(loss, reduction, size_average, reduce)


@converter("multilabel_soft_margin_loss")
def _multilabel_soft_margin(
    g: Graph, input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Value:  # fmt: skip
    x, y = _pair(g, input, target)
    loss = y * softplus(-x) + (1.0 - y) * softplus(x)
    return _reduced(_weighted(g, loss, weight).reduce("ReduceMean", [-1]), reduction, size_average, reduce)
