"""Linear layers of a batch of weights, as one product."""

from __future__ import annotations

from typing import Any

from fastnn._autograd.engine import SelectiveNode
from fastnn._autograd.modes import _mode
from fastnn._functorch.batched import Level, front, is_in, wrapped
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.ops.products import matmul


def batched_linear(x: Any, weight: Any, bias: Any, level: Level) -> Any:
    """``x @ weight.T + bias`` of one element of a batch; the weight or the bias are elements of it as well."""
    from fastnn.nn import functional

    if weight.ndim == 1:
        return batched_linear(x, weight.unsqueeze(0), bias, level).squeeze(-1)
    if not is_in(weight, level):
        # Only the bias differs.
        return functional.linear(x, weight) + bias
    w, size = weight._value, level.size
    if is_in(x, level):
        value = x._value
        if type(w) is not Tensor or type(value) is not Tensor or not _is_repeated(w) or value.ndim > 3:
            out = x @ weight.mT if x.ndim > 1 else (x.unsqueeze(0) @ weight.mT).squeeze(0)
            return out if bias is None else out + bias
        out = wrapped(_of_samples(value, w), level)
        return out if bias is None else out + bias
    # The same input of all layers: one layer with the outputs of all.
    out_features, in_features = weight.shape
    b = None if bias is None else front(bias, level).reshape(size * out_features)
    out = functional.linear(x, w.reshape(size * out_features, in_features), b)
    return wrapped(out.reshape(*x.shape[:-1], size, out_features).movedim(-2, 0), level)


def _is_repeated(w: Tensor) -> bool:
    """Whether all elements of a batch are the same memory."""
    return w._data.shape[0] > 1 and w._data.strides[0] == 0


def _of_samples(x: Tensor, weight: Tensor) -> Tensor:
    """``x[i] @ weight[i].T``, where all ``weight[i]`` are the same: one product, and one gradient for each ``i``."""
    from fastnn.nn.functional import linear

    one = _wrap(weight._data[0])
    result = linear(x.detach(), one)._data
    if not _recorded(x, weight):
        return _wrap(result)
    x_kept, w_kept = x if weight._requires_grad else None, weight if x._requires_grad else None

    def run(grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, Tensor | None]:
        by_x = by_weight = None
        if wants[0] and w_kept is not None:
            if not _mode.enabled:
                by_x = matmul(grad, one)
            elif grad._data.ndim == 2:
                by_x = matmul(grad.unsqueeze(1), w_kept).squeeze(1)
            else:
                by_x = matmul(grad, w_kept)
        if wants[1] and x_kept is not None:
            if grad._data.ndim == 2:
                by_weight = grad.unsqueeze(2) * x_kept.unsqueeze(1)
            else:
                by_weight = matmul(grad.transpose(1, 2), x_kept)
        return by_x, by_weight

    saved = tuple([t for t in (x_kept, w_kept) if t is not None])
    return _wrap(result, SelectiveNode("Mm", (x, weight), run, saved))
