"""A training step under ``detect_anomaly``: eager, with a check after each layer, gradient and update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn._autograd.engine import anomaly
from fastnn._autograd.modes import enable_grad
from fastnn._core.errors import AnomalyError
from fastnn._tensor.tensor import Tensor
from fastnn.nn.anomaly import kind_of, strict

if TYPE_CHECKING:
    from fastnn.capture.step import CompiledStep


def checked(step: CompiledStep, tensors: list[Tensor]) -> Tensor:
    """One step on ``(*inputs, target)``; the loss, without a gradient.

    Raises: AnomalyError at the first NaN or infinity, with the number of the step (of those in this mode) and the
        layer. Before the update, the parameters are unchanged.
    """
    step._checked += 1
    if not anomaly["check_nan"]:
        return step._eager(tensors)
    try:
        with strict():
            return _step(step, tensors)
    except AnomalyError as error:
        notes = " ".join(getattr(error, "__notes__", []))
        raise AnomalyError(f"step {step._checked}: {error} {notes}".rstrip()) from error


def _step(step: CompiledStep, tensors: list[Tensor]) -> Tensor:
    step.optimizer.zero_grad()
    with enable_grad():
        out = step.model(*tensors[:-1])
        if found := kind_of(tensors[-1]):
            raise AnomalyError(f"the target has {found}")
        loss = step.criterion(out, tensors[-1])
    if found := kind_of(loss):
        raise AnomalyError(f"{getattr(step.criterion, '__name__', 'the criterion')} made {found}")
    loss.backward()
    for name, p in step.model.named_parameters():
        if p._grad is not None and (found := kind_of(p._grad)):
            raise AnomalyError(f"the backward pass made {found} in the gradient of {name}")
    step._update()
    for name, p in step.model.named_parameters():
        if found := kind_of(p):
            raise AnomalyError(f"the update by {type(step.optimizer).__name__} made {found} in the parameter {name}")
    return loss.detach()
