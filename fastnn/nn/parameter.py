"""Parameter: a tensor that a module trains, stored in a flat buffer next to its neighbours.

Also :class:`Buffer`, state that is not trained, and :class:`UninitializedParameter`, whose shape is not known
yet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pickle import PickleBuffer
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn._autograd.engine import Alias, InferenceMemory, Memory
from fastnn._autograd.hooks import leaf_hooks
from fastnn._autograd.leaf_writers import claim, release
from fastnn._autograd.modes import _mode
from fastnn._core import capture_state
from fastnn._core.devices import check_device
from fastnn._core.dtypes import FLOATING, as_numpy_dtype, default_numpy, from_numpy_dtype, numpy_named
from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import DTypeError, NoTensorError
from fastnn._core.flat_storage import Slot
from fastnn._core.last_traceback import forget_last_error
from fastnn._core.numpy_trace import add_gradient
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.runtime import allocation


class Parameter(Tensor):
    """A tensor that ``Module`` registers and optimizers update.

    Its values and its gradient have fixed slots in two flat buffers (see :mod:`fastnn._core.flat_storage`). The
    first backward pass after ``zero_grad`` overwrites the gradient's slot. If the old gradient is still
    referenced, the new one gets its own memory.

    A parameter made from another tensor keeps that tensor's memory, and its slot in the flat buffer stays
    empty, until the memory has no other references: see :func:`settle`.

    Args:
        data: the initial value, floating point unless ``requires_grad`` is False; memory is shared unless it is
            read-only.
        requires_grad: whether ``backward`` accumulates a gradient.

    >>> import fastnn
    >>> fastnn.nn.Parameter(fastnn.ones(2)).requires_grad
    True
    """

    __slots__ = ("_grad_place", "_slot")

    _of_user = False

    _slot: Slot
    # The array over the gradient's slot in the flat buffer; None until it is needed.
    _grad_place: np.ndarray | None

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = _wrap(allocation.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise NoTensorError(f"data must be a Tensor, found {type(data).__name__}")
        if requires_grad and data._data.dtype.kind not in FLOATING:
            raise DTypeError(
                "Only Tensors of floating point and complex dtype can require gradients: a Parameter must be floating "
                f"point, found dtype {data.dtype}"
            )
        inference = data._memory.inference
        if inference and requires_grad and not _mode.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        self._place(Slot(data._data.shape, data._data.dtype))
        self._borrow(data._data)
        self._memory = Alias(data._memory)
        self._requires_grad = bool(requires_grad)

    @classmethod
    def _empty(cls, shape: tuple[int, ...], dtype: np.dtype) -> Parameter:
        """A parameter of zeros."""
        parameter = cls.__new__(cls)
        parameter._place(Slot(shape, dtype))
        parameter._requires_grad = True
        return parameter

    @classmethod
    def _of(cls, array: np.ndarray) -> Parameter:
        """A parameter with these values, copied."""
        made = cls._empty(array.shape, array.dtype)
        made._data[...] = array
        return made

    def _borrow(self, array: np.ndarray) -> None:
        """Use this memory, of the shape of the slot, for the values; read-only memory is copied."""
        own = self._slot.array
        if array is own:
            self._data = array
        elif array.flags.writeable:
            # A new array object, so that memory assigned again is detected as a change.
            self._data = array.view()
        else:
            self._data = own
            own[...] = array

    def _place(self, slot: Slot) -> None:
        self._slot, self._grad_place = slot, None
        self._data = slot.array
        self._node, self._grad = None, None
        # Moving a parameter's storage in inference mode does not make it an inference tensor.
        before = getattr(self, "_memory", None)
        inference = _mode.inference if before is None else before.inference
        self._memory, self._history, self._view = InferenceMemory() if inference else Memory(), 0, None

    def _grad_target(self) -> tuple[np.ndarray, bool] | None:
        """Where a kernel may write this parameter's gradient, and whether it has to add to it.

        None if the gradient must go through ``_accumulate_grad``, also while another thread writes it. After writing,
        call ``_grad_finished``.
        """
        if not _mode.direct or not claim(self):
            return None
        target = self._claimed_target()
        if target is None:
            release(self)
        return target

    def _claimed_target(self) -> tuple[np.ndarray, bool] | None:
        """As :meth:`_grad_target`, for the thread that has claimed the parameter."""
        if not _mode.direct or not self._requires_grad or (self._hooks is not None and leaf_hooks(self) is not None):
            return None
        if self._grad is not None:
            return (self._grad._data, True) if self._grad._data is self._grad_place else None
        if self._grad_place is None:
            self._grad_place = self._slot.grad_array
        elif _references(self) != _UNSHARED and not capture_state.is_mine():
            # A trace writes nothing; a recording chooses the target when it runs.
            return None
        return self._grad_place, False

    def _grad_is_free(self) -> bool:
        """Whether the gradient's slot may be overwritten at once: its contents have no other references."""
        place, grad = self._grad_place, self._grad
        if place is None:
            return False
        # `place` is one reference more.
        if grad is None:
            free = _references(self) == _UNSHARED + 1
        else:
            free = grad._data is place and sys.getrefcount(grad) == _OWN and _references(self) == _UNSHARED + 2
        return free or (forget_last_error() and self._grad_is_free())

    def _grad_written(self) -> None:
        if self._grad is None:
            assert self._grad_place is not None
            self._grad = _wrap(self._grad_place)
        else:
            self._grad._memory.version += 1

    def _grad_finished(self) -> None:
        """A kernel has written to the target that this thread got."""
        self._grad_written()
        release(self)

    def _accumulate_claimed(self, grad: Tensor) -> None:
        target = self._claimed_target()
        if target is None:
            super()._accumulate_claimed(grad)
            return
        array, accumulate = target
        if capture_state.active and capture_state.is_mine():
            if not add_gradient(array, grad._data, accumulate):
                capture_state.stop("a gradient is added up outside the kernels")
        elif accumulate:
            array += grad._data
        else:
            array[...] = grad._data
        self._grad_written()

    @property
    def data(self) -> Tensor:
        """The values in the same memory, without history; an assigned tensor shares its memory."""
        return _wrap(self._data)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(value).__name__}")
        array = value._data
        if array is self._data:
            return
        if self._requires_grad and array.dtype.kind not in FLOATING:
            raise DTypeError(
                "data set to a tensor that requires gradients must be floating point or complex dtype, found dtype "
                f"{value.dtype}"
            )
        slot = self._slot
        if array.shape != slot.shape or array.dtype != slot.array.dtype:
            self._slot = Slot(array.shape, array.dtype)
            self._grad_place = None
        elif not array.flags.writeable and sys.getrefcount(slot.array) > _OWN_PLACE:
            # The copy writes to private memory.
            array = np.array(array)
        self._borrow(array)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        # Without the gradient, as in PyTorch.
        copy = memo[id(self)] = type(self)._of(self._data)
        copy._requires_grad = self._requires_grad
        return copy

    def __reduce__(self) -> Any:
        array = np.ascontiguousarray(self._data).reshape(self._data.shape)
        # Not shared with others in the copy, as in PyTorch.
        return _restored, (type(self), array, self._requires_grad)


class UninitializedParameter(Parameter):
    """A parameter whose shape is set by the first forward of its module, as in ``nn.LazyLinear``.

    Args:
        requires_grad: of the parameter that it becomes.
        device: None or the CPU.
        dtype: float32 (the default) or float64.
    """

    __slots__ = ()

    cls_to_become = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: _dtype | None = None) -> None:
        check_device(device)
        self._place(Slot((0,), as_numpy_dtype(dtype, default_numpy())))
        self._requires_grad = bool(requires_grad)

    def materialize(self, shape: tuple[int, ...], device: Any = None, dtype: _dtype | None = None) -> None:
        """Become a :class:`Parameter` of zeros of this shape."""
        check_device(device)
        kind = as_numpy_dtype(dtype, self._data.dtype)
        requires_grad = self._requires_grad
        self._place(Slot(tuple(shape), kind))
        self._requires_grad = requires_grad
        self.__class__ = self.cls_to_become  # type: ignore[assignment]  # of the same layout

    @property
    def shape(self) -> Any:
        """Not known yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def detach(self) -> Any:
        """Itself, for ``state_dict``."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        kind, requires_grad = self._data.dtype, self._requires_grad
        copy = memo[id(self)] = type(self)(requires_grad)
        copy._place(Slot((0,), kind))
        copy._requires_grad = requires_grad
        return copy

    def __reduce__(self) -> Any:
        return _uninitialized, (type(self), self._requires_grad, self._data.dtype.name)


def is_lazy(param: Any) -> bool:
    """Whether this is a parameter without a shape."""
    return isinstance(param, UninitializedParameter)


class Buffer(Tensor):
    """A tensor that ``Module`` registers as state and does not train.

    Args:
        data: the values; memory is shared.
        persistent: whether it is in ``state_dict``.

    >>> import fastnn
    >>> module = fastnn.nn.Module()
    >>> module.mean = fastnn.nn.Buffer(fastnn.zeros(2))
    >>> list(module.state_dict())
    ['mean']
    """

    __slots__ = ("persistent",)

    _of_user = False

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        if data is None:
            data = _wrap(allocation.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise NoTensorError(f"data must be a Tensor, found {type(data).__name__}")
        self._data, self._node, self._grad, self._requires_grad = data._data, None, None, False
        self._memory, self._history = InferenceMemory() if data._memory.inference else Memory(), 0
        self._view = None
        self.persistent = persistent


def _restored(
    kind: type[Parameter], array: np.ndarray, requires_grad: bool, transposed: bool = False
) -> Parameter:
    # `transposed` is in files of older versions, which stored weights that way.
    # The first use of bfloat16, if that is what a pickle holds.
    from_numpy_dtype(array.dtype)
    made = kind._of(array)
    made._requires_grad = requires_grad
    return made


def _uninitialized(kind: type[UninitializedParameter], requires_grad: bool, dtype: str) -> UninitializedParameter:
    made = kind(requires_grad)
    made._place(Slot((0,), numpy_named(dtype)))
    made._requires_grad = requires_grad
    return made


def _references(holder: Any) -> int:
    """The number of references to the array over the gradient's slot and to views of it."""
    return sys.getrefcount(holder._grad_place)


# Measured: how many references the call itself adds depends on the version of Python.
_UNSHARED = _references(SimpleNamespace(_grad_place=np.zeros(1)))


def _own_references(holder: Any) -> int:
    grad = holder._grad
    return sys.getrefcount(grad)


# The same for the gradient's tensor, as `_grad_is_free` counts them.
_OWN = _own_references(SimpleNamespace(_grad=SimpleNamespace()))


def settle(parameters: Iterable[Tensor], is_new: bool = False) -> None:
    """Move parameters whose memory has no other references into their slots in the flat buffer.

    Called where memory may move: when a parameter is registered, when an optimizer is created, and before a
    module's passes are recorded. A parameter that shares memory stays where it is.

    Args:
        is_new: whether change counts may restart, if no operation has read them yet.
    """
    for p in parameters:
        if isinstance(p, Parameter) and p._data is not p._slot.array and _is_alone(p):
            array = p._slot.array
            array[...] = p._data
            p._data = array
            if is_new and sys.getrefcount(p._memory) == _OWN_MEMORY:
                # Its own counter: counting changes through another tensor's is slower, in every step. Operations
                # that have read the parameter, and its views, hold the counter that they compare.
                p._memory, p._history = InferenceMemory() if p._memory.inference else Memory(), 0


def _is_alone(p: Any) -> bool:
    """Whether neither a parameter's values nor the contents of its slot are visible elsewhere."""
    if sys.getrefcount(p._data) > _OWN_ARRAY or sys.getrefcount(p._slot.array) > _OWN_PLACE:
        return False
    base = p._data.base
    while isinstance(base, np.ndarray):
        if sys.getrefcount(base) > _OWN_BASE:
            return False
        base = base.base
    # Other owners of memory, such as files or other libraries, may share it further.
    return base is None or type(base) is PickleBuffer


def _counts() -> tuple[int, int, int, int]:
    """The reference counts that :func:`settle` sees if nobody else holds the parameter's memory."""
    p = SimpleNamespace(_data=np.zeros(1).view(), _slot=SimpleNamespace(array=np.zeros(1)), _memory=Memory())
    base = p._data.base
    counts = sys.getrefcount(p._data), sys.getrefcount(p._slot.array), sys.getrefcount(base)
    return *counts, sys.getrefcount(p._memory)


_OWN_ARRAY, _OWN_PLACE, _OWN_BASE, _OWN_MEMORY = _counts()
