"""Linear maps and views of tensors with their transposes, and the backward of an in-place change of a view."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn._autograd.engine import Alias, MethodNode, Node
from fastnn._autograd.modes import _mode
from fastnn._core.capture_state import active, is_mine
from fastnn._core.numpy_trace import recorded
from fastnn._tensor.tensor import Step, Tensor, _recorded, _renew, _share, _wrap

ArrayMap = Callable[[np.ndarray], np.ndarray]

_ndarray = np.ndarray


def mapped(
    name: str,
    x: Tensor,
    result: np.ndarray,
    run: Callable[[Tensor], Tensor | None],
    saved: tuple[Tensor, ...] = (),
    keeps: bool = False,
) -> Tensor:
    """A tensor over ``result``, recorded as an operation on ``x`` only; ``run`` uses tensor operations."""
    if not _recorded(x):
        return _wrap(result)
    return _wrap(result, Node(name, (x,), lambda grad: (run(grad),), saved, keeps))


def linear_map(
    name: str,
    x: Tensor,
    forward: ArrayMap,
    backward: ArrayMap,
    saved: tuple[Tensor, ...] = (),
    keeps: bool = False,
) -> Tensor:
    """``forward(x)``, a linear map of arrays; ``backward`` is its transpose."""
    result = recorded(forward, x._data) if active and is_mine() else forward(x._data)
    if type(result) is not _ndarray:
        result = np.asarray(result)
    if not _recorded(x):
        return _wrap(result)
    if saved:

        def run(grad: Tensor) -> tuple[Tensor]:
            return (linear_map(name, grad, backward, forward),)

        return _wrap(result, Node(name, (x,), run, saved, keeps))
    return _wrap(result, _LinearNode(name, x, backward, forward, keeps))


class _LinearNode(MethodNode):
    """The node of a linear map of one tensor."""

    __slots__ = ("back", "forward")

    def __init__(self, name: str, x: Tensor, back: ArrayMap, forward: ArrayMap, keeps: bool) -> None:
        super().__init__(name, x, False, keeps)
        self.back, self.forward = back, forward

    def gradients(self, grad: Tensor) -> tuple[Tensor]:
        return (linear_map(self.title, grad, self.back, self.forward),)

    def release(self) -> None:
        if self.keeps or self.saved:
            self.back = self.forward = None  # type: ignore[assignment]  # freed
            super().release()


def view(x: Tensor, name: str, take: ArrayMap, put: ArrayMap) -> Tensor:
    """``take(x)``, which shares the memory of ``x``: a write to one changes the other."""
    result = take(x._data)
    if not _mode.enabled:
        # It shares the versions, but not the history: a later recorded change is not one of `x`.
        return _share(result, None, Alias(x._memory))
    memory = x._memory
    if x._history != memory.history:
        _renew(x)
    if x._requires_grad:
        made = _share(result, _LinearNode(name, x, put, take, False), memory)
    else:
        made = _share(result, None, memory)
    before = x._view
    if before is None:
        made._view = (x, ((name, take, put),))
    else:
        made._view = (before[0], (*before[1], (name, take, put)))
        if x._of_many:
            made._of_many = True
    return made


def overwritten(base: Tensor, part: Tensor, steps: tuple[Step, ...]) -> Node:
    """The node of ``base`` after the view at the end of ``steps`` was overwritten with ``part``."""

    def take(array: np.ndarray) -> np.ndarray:
        for _, step, _ in steps:
            array = step(array)
        return array

    def taken(array: np.ndarray) -> np.ndarray:
        found = take(array)
        if not found.flags.writeable:
            # Elements of an expanded tensor that are not repeated themselves.
            found.flags.writeable = True
        return found

    def put(array: np.ndarray) -> np.ndarray:
        full = np.zeros(base_shape, array.dtype)
        taken(full)[...] = array
        return full

    def clear(array: np.ndarray) -> np.ndarray:
        rest = array.copy()
        taken(rest)[...] = 0
        return rest

    base_shape, keeps_rest = base._data.shape, base._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor]:
        rest = linear_map("CopySlices", grad, clear, clear) if keeps_rest else None
        return rest, linear_map("CopySlices", grad, take, put)

    return Node("CopySlices", (base, part), run)
