"""Where a kernel writes the gradient of a parameter."""

from __future__ import annotations

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.parameter import Parameter

_NOWHERE = None, False, False


def _is_wanted(tensor: Tensor | None) -> bool:
    """Whether a gradient of ``tensor`` is recorded; the forward asks this for the backward pass."""
    return tensor is not None and tensor._requires_grad


def _gradient_place(
    tensor: Tensor | None, wanted: bool, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, bool, bool]:
    """The array for a kernel to write the gradient of ``tensor`` to, whether to add, and whether it is the slot.

    The slot in the flat buffer if it is free, otherwise a new array. None if no gradient is wanted.

    Args:
        wanted: the result of :func:`_is_wanted` in the forward.
    """
    if not wanted:
        return _NOWHERE
    assert tensor is not None
    if isinstance(tensor, Parameter):
        target = tensor._grad_target()
        if target is not None:
            return *target, True
    return allocation.empty(shape, tensor._data.dtype), False, False


def _finish_gradient(tensor: Tensor, array: np.ndarray | None, in_place: bool) -> Tensor | None:
    """The gradient to pass on, or None if the kernel has written it into its slot."""
    if array is None:
        return None
    if in_place:
        assert isinstance(tensor, Parameter)
        tensor._grad_finished()
        return None
    return _wrap(array)
