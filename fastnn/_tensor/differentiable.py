"""The gradient of a tensor: requesting, computing, retaining it, and hooks on it.

This is the part of ``Tensor`` that uses autograd.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._autograd.engine import Memory, Node, _hooks_of, run_backward
from fastnn._autograd.gradients import backward
from fastnn._autograd.hooks import RemovableHandle
from fastnn._autograd.leaf_writers import claim, release, wait_for
from fastnn._autograd.modes import _mode
from fastnn._core import capture_state
from fastnn._core.dtypes import FLOATING
from fastnn._core.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from fastnn._tensor.tensor import Tensor


# A copy of one takes a fifth of the time of np.ones.
_ONE = {np.dtype(kind): np.ones((), kind) for kind in (np.float32, np.float64, np.float16)}


class Differentiable:
    """Base of ``Tensor``, which has the attributes."""

    # The attributes are those of the subclass.
    __slots__ = ()

    if TYPE_CHECKING:
        _data: np.ndarray
        _grad: Any
        _history: int
        _hooks: Any
        _memory: Memory
        _node: Node | None
        _requires_grad: bool

        def __getattr__(self, name: str) -> Any: ...

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by ``backward``, or None."""
        if self._grad is None and self._node is not None and not self.retains_grad:
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute will "
                "not be populated during autograd.backward(): use .retain_grad() on the non-leaf Tensor to have it.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not hasattr(value, "_data"):
                raise TypeError(f"grad must be a Tensor or None, found {type(value).__name__}")
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._data.shape != self._data.shape:
                raise ShapeError(f"grad must have shape {tuple(self.shape)}, found {tuple(value.shape)}")
            if value._data.dtype != self._data.dtype:
                raise DTypeError(f"grad must have dtype {self.dtype}, found {value.dtype}")
        tensor: Any = self
        tensor._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` computes a gradient of this tensor; can be set on a leaf."""
        if self._history != self._memory.history:
            self._renewed()
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: Any) -> None:
        if self._node is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        if type(value) is not bool:
            raise RuntimeError(f"requires_grad must be a bool, found {type(value).__name__}")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: Any = True) -> Tensor:
        """Set whether ``backward`` computes a gradient of this tensor."""
        if type(requires_grad) is not bool:
            raise TypeError(f"requires_grad must be a bool, found {type(requires_grad).__name__}")
        if self._node is not None and not requires_grad:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        if requires_grad and self._data.dtype.kind not in FLOATING:
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, found {self.dtype}")
        if requires_grad and self._memory.inference and not _mode.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        tensor: Any = self
        tensor._requires_grad = bool(requires_grad)
        return tensor

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Accumulate the gradient of this tensor into ``grad`` of the leaves.

        Args:
            gradient: the gradient of the final result with respect to this tensor; optional for a
                tensor of one element, where it is 1.
            retain_graph: keep what the operations saved, for a second backward pass.
            create_graph: record the computation of the gradients, so that they can be differentiated.
            inputs: accumulate into these only.
        """
        if gradient is None and not create_graph and inputs is None and self._data.size == 1 and self.requires_grad:
            root: Any = self
            one = _ONE[self._data.dtype].copy() if self._data.dtype in _ONE else np.ones((), self._data.dtype)
            if capture_state.active:
                capture_state.constant(one)
            shape = self._data.shape
            run_backward((root,), (self._over(one.reshape(shape) if shape else one),), bool(retain_graph))
        else:
            if gradient is not None and not hasattr(gradient, "_data"):
                raise TypeError(f"gradient must be a Tensor or None, found {type(gradient).__name__}")
            backward(self, gradient, retain_graph, create_graph, None, inputs)

    @property
    def retains_grad(self) -> bool:
        """Whether this result keeps its gradient."""
        hooks = None if self._node is None else self._node.hooks
        return hooks is not None and hooks.retain is not None and hooks.retain() is self

    def retain_grad(self) -> None:
        """Make ``backward`` store this result's gradient in ``grad``, as for a leaf."""
        if not self.requires_grad:
            raise RuntimeError(
                f"can't retain_grad on Tensor that has requires_grad=False: it has shape {tuple(self.shape)}"
            )
        if self._node is not None:
            _hooks_of(self._node).retain = weakref.ref(self)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Call ``hook(grad)`` when the gradient of this tensor is known; its return value replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return _hooks_of(self._node or self).before.add(hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Call ``hook(tensor)`` after a gradient was accumulated into this leaf."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        return _hooks_of(self).after.add(hook)

    def _accumulate_grad(self, grad: Tensor) -> None:
        """Add to the gradient of this tensor."""
        if not claim(self):
            wait_for((self,))
        try:
            self._accumulate_claimed(grad)
        finally:
            release(self)

    def _accumulate_claimed(self, grad: Tensor) -> None:
        if _mode.enabled:
            # With create_graph the gradient has a history, too.
            self._grad = grad.clone() if self._grad is None else self._grad + grad
        elif self._grad is None:
            # A copy: the same array may be the gradient of several tensors.
            self._grad = self._over(np.array(grad._data, dtype=self._data.dtype))
        else:
            if not self._grad._data.flags.writeable:
                raise RuntimeError(
                    "unsupported operation: this gradient is read-only, or more than one element of it refers to a "
                    "single memory location, as after expand(). Please clone() the tensor before performing the "
                    "operation."
                )
            if self._grad._data.shape != grad._data.shape:
                raise RuntimeError(
                    f"a gradient of shape {tuple(grad._data.shape)} cannot be added to .grad, which has shape "
                    f"{tuple(self._grad._data.shape)}: the data of this tensor were replaced"
                )
            self._grad._memory.version += 1
            self._grad._data += grad._data
