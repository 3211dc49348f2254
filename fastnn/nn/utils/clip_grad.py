"""Clipping of gradients by norm or value, in place in the flat buffers."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._core.dtypes import FLOATING, larger_of
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.parameter import Parameter

# The kernels sum float32 and float64.
_WIDER = {"e": np.float32}
_KERNEL_NORMS = (1.0, 2.0, math.inf)
_LARGEST = float(np.finfo(np.float32).max)


def _as_list(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _flat_runs(owners: list[Tensor | None], grads: list[Tensor]) -> list[np.ndarray]:
    """Arrays over the memory of the gradients; neighbours in a flat buffer are one flat array.

    Gaps between neighbours contain only zeros.

    Args:
        owners: the parameter of each gradient, or None.
    """
    runs: list[np.ndarray] = []
    chunk, stop = None, -1
    for owner, grad in zip(owners, grads, strict=True):
        if isinstance(owner, Parameter) and grad._data is owner._grad_place:
            slot = owner._slot
            if slot.chunk is chunk and slot.start == stop:
                first = stop - runs[-1].size
                runs[-1] = slot.chunk.grads[first : slot.stop]
            else:
                runs.append(slot.chunk.grads[slot.start : slot.stop])
            chunk, stop = slot.chunk, slot.stop
        else:
            chunk = None
            # The order of the elements does not matter, so a transpose will do.
            runs.append(grad._data.T if grad._data.flags.f_contiguous else grad._data)
    return runs


def _norm(runs: list[np.ndarray], grads: list[Tensor], p: float, largest: float) -> float:
    """The p-norm over all arrays together, in float64; infinite if the sum of the powers is above ``largest``."""
    if p in _KERNEL_NORMS and all(a.dtype.kind == "f" for a in runs):
        powers = [kernels.power_sum(np.ascontiguousarray(a, _WIDER.get(a.dtype.char)), p) for a in runs]
        if math.isinf(p):
            return float(np.max(powers))
        total = sum(powers)
        # As in PyTorch, the sum of the squares overflows in the dtype of the gradients.
        return math.inf if total > largest else math.sqrt(total) if p == 2 else float(total)
    arrays = [np.abs(g._data.reshape(-1).astype(np.float64)) for g in grads]
    with np.errstate(all="ignore"):
        if p == -math.inf:
            return min(float(a.min()) for a in arrays)
        if p == 0:
            # The norm of the tensors' norms, as in PyTorch: the number of tensors that are not all zero.
            return float(sum(bool(a.any()) for a in arrays))
        total = sum(float((a**p).sum()) for a in arrays)
        return math.inf if p > 0 and total > largest else float(total) ** (1 / p)


def _total_norm(owners: list[Tensor | None], grads: list[Tensor], norm_type: Any, error_if_nonfinite: bool) -> Tensor:
    p = float(norm_type)
    if not grads:
        return _wrap(np.zeros((), np.float32))
    kind = functools.reduce(larger_of, [g._data.dtype for g in grads])
    largest = math.inf if kind.char == "d" else _LARGEST
    with np.errstate(all="ignore"):
        norm = _norm(_flat_runs(owners, grads), grads, p, largest)
    total = np.asarray(norm).astype(kind if kind.kind in FLOATING else np.float32)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it cannot be clipped. To "
            "disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return _wrap(total)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm over all these tensors together.

    Args:
        norm_type: the p of the p-norm; may be infinity.
        error_if_nonfinite: raise RuntimeError if it is NaN or infinite.
        foreach: accepted and ignored.

    >>> import fastnn
    >>> fastnn.nn.utils.get_total_norm([fastnn.tensor([3.0]), fastnn.tensor([[4.0]])]).item()
    5.0
    """
    found = _as_list(tensors)
    return _total_norm([None] * len(found), found, norm_type, error_if_nonfinite)


def _with_gradients(parameters: Tensor | Iterable[Tensor]) -> tuple[list[Tensor | None], list[Tensor]]:
    owners: list[Tensor | None] = []
    grads = []
    for p in _as_list(parameters):
        if p.grad is not None:
            owners.append(p)
            grads.append(p.grad)
    return owners, grads


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients, in place, so that their total norm is at most ``max_norm``.

    The factor is ``max_norm / (norm + 1e-6)`` if that is below 1. One pass over each run of neighbours in
    the flat buffer computes the norm, another one scales.

    Args:
        parameters: one or several; those without a gradient are skipped.
        norm_type: the p of the p-norm; may be infinity.
        error_if_nonfinite: raise RuntimeError if the norm is NaN or infinite, and change nothing.
        foreach: accepted and ignored.

    Returns: the norm before clipping.

    >>> import fastnn
    >>> p = fastnn.nn.Parameter(fastnn.zeros(2))
    >>> p.grad = fastnn.tensor([3.0, 4.0])
    >>> fastnn.nn.utils.clip_grad_norm_(p, 1.0).item()
    5.0
    >>> bool((p.grad - fastnn.tensor([0.6, 0.8])).abs().max() < 1e-6)
    True
    """
    if not isinstance(parameters, Tensor):
        parameters = list(parameters)
    owners, grads = _with_gradients(parameters)
    norm = _total_norm(owners, grads, norm_type, error_if_nonfinite)
    _scale(owners, grads, float(max_norm), norm)
    return norm


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients, in place, by ``max_norm / (total_norm + 1e-6)`` if that is below 1."""
    _scale(*_with_gradients(parameters), float(max_norm), total_norm)


def flat_gradients(parameters: Iterable[Tensor]) -> list[np.ndarray]:
    """Arrays over the memory of the gradients, without those that are None; neighbours in memory are one array."""
    return _flat_runs(*_with_gradients(parameters))


def scale_gradients(runs: list[np.ndarray], grads: Iterable[Tensor], factor: float) -> None:
    """Multiply gradients in place by a factor, unless it is 1 or more.

    Args:
        runs: their memory as arrays, from :func:`_flat_runs`.
    """
    if factor >= 1:
        return
    # NaN times the zeros between two gradients would stay there, and in each norm from then on.
    for array in runs if factor == factor else [grad._data for grad in grads]:
        if array.dtype.char in "fd" and array.flags.carray:
            kernels.scale(array, factor)
        else:
            with np.errstate(all="ignore"):
                array *= factor


def _scale(owners: list[Tensor | None], grads: list[Tensor], max_norm: float, norm: Tensor) -> None:
    with np.errstate(all="ignore"):
        factor = float(max_norm / (norm.detach()._data + norm._data.dtype.type(1e-6)))
    if factor >= 1:
        return
    scale_gradients(_flat_runs(owners, grads), grads, factor)
    for grad in grads:
        grad._memory.version += 1


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamp each element of the gradients, in place, to ±``clip_value``."""
    limit = float(clip_value)
    owners, grads = _with_gradients(parameters)
    for run in _flat_runs(owners, grads):
        np.clip(run, -limit, limit, out=run)
    for grad in grads:
        grad._memory.version += 1


@functools.wraps(clip_grad_norm_)
def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
    """The old name of :func:`clip_grad_norm_`."""
    warnings.warn(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(*args, **kwargs)
