"""Checks of memory ownership, for tests: enabled if ``FASTNN_POISON=1`` is set (``kernels.runtime.allocation``).

Memory that a replay overwrites, or that becomes a gradient, must not be visible through any other tensor, unless the
user has put it there. The library decides this by reference counts. The checks examine every live tensor instead, and
AssertionError names the one that overlaps. In addition, reused memory is filled with poison values before each use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.live_tensors import _alive
from fastnn.kernels.runtime.allocation import poison

Span = tuple[int, int]

def _span(array: np.ndarray | np.generic) -> Span:
    if not isinstance(array, np.ndarray):
        # A scalar, as arithmetic on 0-d arrays returns it: it is immutable.
        return 0, 0
    if array.flags.c_contiguous:
        start = array.ctypes.data
        return start, start + array.nbytes
    low, high = np.lib.array_utils.byte_bounds(array)
    return low, high


def _are_apart(spans: Iterable[Span], but: Iterable[Any], what: str) -> None:
    """AssertionError if a live tensor, except for those in ``but``, overlaps one of the address ranges."""
    ranges = np.array([span for span in spans if span[0] < span[1]], np.int64).reshape(-1, 2)
    if not len(ranges):
        return
    spared = {id(t) for t in but if t is not None}
    tensors = [t for t in [ref() for ref in list(_alive.values())] if t is not None and id(t) not in spared]
    found = np.array([_span(t._data) for t in tensors], np.int64).reshape(-1, 2)
    meets = (found[:, :1] < ranges[:, 1]) & (ranges[:, 0] < found[:, 1:]) & (found[:, :1] < found[:, 1:])
    if meets.any():
        tensor = tensors[int(meets.any(1).argmax())]
        raise AssertionError(f"a tensor of shape {tensor._data.shape} is alive in {what}")


def _written(launches: Iterable[Any], but: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The arrays that launches write, each once, without those that share memory with others."""
    spared = [_span(a) for a in but if a.size]
    found = {}
    for kernel, _, arrays, _, _ in launches:
        for i in kernel.outputs or ():
            low, high = _span(arrays[i])
            if arrays[i].size and not any(a < high and low < b for a, b in spared):
                found[low, high] = arrays[i]
    return list(found.values())


def _places(parameters: Iterable[Any]) -> list[np.ndarray]:
    """The gradient slots that the next backward pass overwrites."""
    return [p._grad_place for p in parameters if p._grad is None and p._grad_is_free()]


def _check_new_gradient(leaf: Any) -> None:
    # Views of the gradient made by a post-accumulate hook or a user come later.
    _are_apart([_span(leaf._grad._data)], [leaf._grad], "what has just become a gradient")


def install() -> None:
    """Wrap the functions that hand out memory in checks."""
    from fastnn._tensor.differentiable import Differentiable
    from fastnn.capture.recording import Recording
    from fastnn.capture.step import CompiledStep
    from fastnn.nn import loss_core
    from fastnn.nn.functional import class_loss as functional_class_losses
    from fastnn.nn.parameter import Parameter

    run, run_back, replay = Recording.run, Recording.run_back, CompiledStep._replay
    target, written, accumulate = Parameter._grad_target, Parameter._grad_written, Differentiable._accumulate_grad
    given = loss_core._given

    def checked_run(self: Any, inputs: Any) -> Any:
        own = _written(self.forward.launches, [*self.inputs, *self.outputs(), *self.guards.arrays])
        _are_apart(map(_span, own), (), "the arrays of a recording that is handed out")
        for array in own:
            poison(array)
        return run(self, inputs)

    def checked_run_back(self: Any, inputs: Any, out: Any, grad: Any) -> Any:
        forward = [arrays[i] for kernel, _, arrays, _, _ in self.forward.launches for i in range(len(arrays))]
        dxs = list(self.dxs.values())
        own = _written(self.backward.launches, [*forward, *self.places, *dxs, *self.inputs, *self.outputs()])
        places = _places(self.trained)
        _are_apart(map(_span, [*own, *places]), (), "what a recorded backward pass writes over")
        for array in (*own, *places):
            poison(array)
        return run_back(self, inputs, out, grad)

    def checked_replay(self: Any, captured: Any, tensors: Any) -> Any:
        guards, traced = captured.guards, captured.inputs.traced
        launches = captured.program.launches[: captured.head]
        own = _written(launches, [*guards.arrays, *traced])
        grads = [p._grad for p in captured.trained]
        _are_apart(map(_span, own), grads, "what a compiled step writes over")
        for array in own:
            poison(array)
        return replay(self, captured, tensors)

    def checked_target(self: Any) -> Any:
        found = target(self)
        if found is not None and not found[1] and not capture_state.is_mine():
            _are_apart([_span(found[0])], (), "the place of a gradient that is about to be written")
            poison(found[0])
        return found

    def checked_written(self: Any) -> None:
        is_new = self._grad is None
        written(self)
        if is_new and not capture_state.is_mine():
            _check_new_gradient(self)

    def checked_accumulate(self: Any, grad: Any) -> None:
        is_new = self._grad is None
        accumulate(self, grad)
        if is_new and not capture_state.is_mine():
            _check_new_gradient(self)

    def checked_given(x: Any, gradient: np.ndarray) -> Any:
        found = given(x, gradient)
        if found is None and not capture_state.is_mine():
            _check_new_gradient(x)
        return found

    classes: list[Any] = [Recording, CompiledStep, Parameter, Differentiable]
    recording, step, parameter, differentiable = classes
    recording.run, recording.run_back, step._replay = checked_run, checked_run_back, checked_replay
    parameter._grad_target, parameter._grad_written = checked_target, checked_written
    differentiable._accumulate_grad = checked_accumulate
    for module in (loss_core, functional_class_losses):
        vars(module)["_given"] = checked_given
