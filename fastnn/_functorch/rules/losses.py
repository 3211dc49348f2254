"""Rules of losses."""

from __future__ import annotations

import math
from typing import Any

from fastnn._functorch.batched import (
    Level,
    front,
    is_in,
    looped,
    wrapped,
)
from fastnn._functorch.rules.table import Args, Options, _flat, _names, aligned, rule
from fastnn._tensor.tensor import Tensor


def _reduction(given: Options) -> str:
    if given.get("size_average") is not None or given.get("reduce") is not None:
        if given.get("reduce") is False:
            return "none"
        return "sum" if given.get("size_average") is False else "mean"
    found = given.get("reduction", "mean")
    if found not in ("none", "mean", "sum", "batchmean"):
        raise ValueError(f"{found} is not a valid value for reduction")
    return found


_LOSS_ARGUMENTS = {
    "mse_loss": "input target size_average reduce reduction weight",
    "l1_loss": "input target size_average reduce reduction weight",
    "smooth_l1_loss": "input target size_average reduce reduction beta",
    "huber_loss": "input target reduction delta weight",
    "binary_cross_entropy": "input target weight size_average reduce reduction",
    "binary_cross_entropy_with_logits": "input target weight size_average reduce reduction pos_weight",
    "kl_div": "input target size_average reduce reduction log_target",
    "poisson_nll_loss": "input target log_input full size_average eps reduce reduction",
    "soft_margin_loss": "input target size_average reduce reduction",
    "hinge_embedding_loss": "input target margin size_average reduce reduction",
    "margin_ranking_loss": "input1 input2 target margin size_average reduce reduction",
}


def pointwise_loss(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A loss of corresponding elements, reduced for each element of the batch."""
    given = dict(zip(_LOSS_ARGUMENTS[func.__name__].split(), args, strict=False)) | kwargs
    how = _reduction(given)
    for name in ("size_average", "reduce"):
        given.pop(name, None)
    weight = given.pop("weight", None) if func.__name__ in ("mse_loss", "l1_loss", "huber_loss") else None
    if weight is not None:
        return looped(func, level, args, kwargs)
    whole = [name for name in ("input", "target", "input1", "input2") if isinstance(given.get(name), Tensor)]
    shapes = [given[name].shape for name in whole]
    ndim = max([len(s) for s in shapes])
    for name, value in given.items():
        if isinstance(value, Tensor):
            if name in whole and all(s == shapes[0] for s in shapes):
                # Of the same shape, as the loss may want them.
                given[name] = front(value, level)
            else:
                given[name] = aligned(value, level, ndim)
    given["reduction"] = "none"
    found = wrapped(func(**given), level)
    if how == "none":
        return found
    if how == "batchmean":
        return found.sum() / (found.shape[0] if found.ndim else 1)
    return found.mean() if how == "mean" else found.sum()


_names(" ".join(_LOSS_ARGUMENTS), pointwise_loss)


@rule("cross_entropy", "nll_loss")
def _class_loss(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    names = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, target, weight = given["input"], given["target"], given.get("weight")
    how, ignored = _reduction(given), given.get("ignore_index", -100)
    smoothing = given.get("label_smoothing", 0.0)
    probable = target.is_floating_point()
    if is_in(weight, level) or not level.size:
        return looped(func, level, args, kwargs)
    options = {} if func.__name__ == "nll_loss" else {"label_smoothing": smoothing}
    values, labels = front(x, level), front(target, level)
    if x.ndim > 1:
        # The rows of all elements are rows of one batch.
        values, labels = values.flatten(0, 1), labels.flatten(0, 1)
    found = func(values, labels, weight, ignore_index=ignored, reduction="none", **options)
    if x.ndim > 1:
        found = found.reshape(level.size, x.shape[0], *found.shape[1:])
    if how == "none":
        return wrapped(found, level)
    total = wrapped(_flat(found).sum(1), level)
    if how == "sum":
        return total
    if probable:
        return total / (math.prod(target.shape) / x.shape[1] if x.ndim > 1 else 1)
    flat = _flat(front(target, level))
    counted = flat != ignored
    if weight is None:
        return total / wrapped(counted.sum(1), level)
    shares = weight[flat.masked_fill(~counted, 0)].masked_fill(~counted, 0)
    return total / wrapped(shares.sum(1), level)


# The names of their arguments; tensors among them have a row for each example.
_ROW_ARGUMENTS = {
    "cosine_embedding_loss": "input1 input2 target margin size_average reduce reduction",
    "triplet_margin_loss": "anchor positive negative margin p eps swap size_average reduce reduction",
    "multi_margin_loss": "input target p margin weight size_average reduce reduction",
    "multilabel_margin_loss": "input target size_average reduce reduction",
    "multilabel_soft_margin_loss": "input target weight size_average reduce reduction",
}


def row_loss(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """A loss of each row, reduced for each element of the batch."""
    given = dict(zip(_ROW_ARGUMENTS[func.__name__].split(), args, strict=False)) | kwargs
    how, weight = _reduction(given), given.pop("weight", None)
    for name in ("size_average", "reduce"):
        given.pop(name, None)
    tensors = {name: t for name, t in given.items() if isinstance(t, Tensor)}
    ndim = max([t.ndim for t in tensors.values()])
    if is_in(weight, level) or ndim not in (1, 2) or not level.size:
        return looped(func, level, args, kwargs)
    # The rows of all elements are rows of one batch.
    values = {name: front(t, level) for name, t in tensors.items()}
    if ndim == 2:
        values = {name: t.flatten(0, 1) for name, t in values.items()}
    options = {} if weight is None else {"weight": weight}
    found = func(**{**given, **values, "reduction": "none"}, **options)
    if ndim == 1:
        return wrapped(found, level)
    made = wrapped(found.reshape(level.size, -1), level)
    return made if how == "none" else made.mean() if how == "mean" else made.sum()


_names(" ".join(_ROW_ARGUMENTS), row_loss)
