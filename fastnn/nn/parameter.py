"""Parameter: a tensor that a module trains, stored in a flat buffer beside its neighbours.

May import ``tensor``, ``autograd`` and ``flat``.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn import tracing
from fastnn.autograd import Memory
from fastnn.errors import DTypeError
from fastnn.flat import Slot
from fastnn.tensor import Tensor, _wrap


class Parameter(Tensor):
    """A tensor that ``Module`` registers and optimizers update.

    Its numbers and its gradient have fixed places in two flat buffers (see :mod:`fastnn.flat`). The
    gradient's place is written over by the first backward pass after ``zero_grad``, unless someone
    still holds the gradient that lies there: then the new one gets memory of its own.

    Args:
        data: the first value, floating point; copied.
        requires_grad: whether ``backward`` accumulates a gradient.

    >>> import fastnn
    >>> fastnn.nn.Parameter(fastnn.ones(2)).requires_grad
    True
    """

    __slots__ = ("_grad_place", "_slot")

    _slot: Slot
    # The array over the gradient's place in the flat buffer; None until it is needed.
    _grad_place: np.ndarray | None

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = _wrap(np.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(data).__name__}")
        if data._data.dtype.kind != "f":
            raise DTypeError(f"a Parameter must be floating point, found dtype {data.dtype}")
        self._place(Slot(data._data.shape, data._data.dtype))
        self._data[...] = data._data
        self._requires_grad = requires_grad

    @classmethod
    def _empty(cls, shape: tuple[int, ...], dtype: np.dtype, *, transposed: bool = False) -> Parameter:
        """A parameter of zeros; ``transposed`` as for :class:`Slot`."""
        parameter = cls.__new__(cls)
        parameter._place(Slot(shape, dtype, transposed))
        parameter._requires_grad = True
        return parameter

    def _place(self, slot: Slot) -> None:
        self._slot, self._grad_place = slot, None
        self._data = slot.array
        self._node, self._grad = None, None
        self._memory, self._history = Memory(), 0

    def _grad_target(self) -> tuple[np.ndarray, bool] | None:
        """Where a kernel may write this parameter's gradient, and whether it has to add to it.

        None if the gradient has to go through ``_accumulate_grad``. After writing, call ``_grad_written``.
        """
        if self._grad is not None:
            return (self._grad._data, True) if self._grad._data is self._grad_place else None
        if self._grad_place is None:
            self._grad_place = self._slot.grad_array
        elif _references(self) != _UNSHARED:
            return None
        return self._grad_place, False

    def _grad_is_free(self) -> bool:
        """Whether the gradient's place may be written over at once: nobody else holds what lies there."""
        place, grad = self._grad_place, self._grad
        if place is None:
            return False
        # `place` is one reference more.
        if grad is None:
            return _references(self) == _UNSHARED + 1
        return grad._data is place and sys.getrefcount(grad) == _OWN and _references(self) == _UNSHARED + 2

    def _grad_written(self) -> None:
        if self._grad is None:
            assert self._grad_place is not None
            self._grad = _wrap(self._grad_place)
        else:
            self._grad._memory.version += 1

    def _accumulate_grad(self, grad: Tensor) -> None:
        target = self._grad_target()
        if target is None:
            super()._accumulate_grad(grad)
            return
        array, accumulate = target
        tracing.stop("a gradient is added up outside the kernels")
        if accumulate:
            array += grad._data
        else:
            array[...] = grad._data
        self._grad_written()

    @property
    def data(self) -> Tensor:
        """The numbers in the same memory, without a history. Assigning copies into the flat buffer."""
        return _wrap(self._data)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(value).__name__}")
        if value._data.shape != self._data.shape or value._data.dtype != self._data.dtype:
            if value._data.dtype.kind != "f":
                raise DTypeError(f"a Parameter must be floating point, found dtype {value.dtype}")
            self._place(Slot(value._data.shape, value._data.dtype))
        self._data[...] = value._data

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        # Without the gradient, as in PyTorch.
        rows_first = self._data.ndim == 2 and self._data.strides[0] < self._data.strides[1]
        copy = memo[id(self)] = type(self)._empty(self._data.shape, self._data.dtype, transposed=rows_first)
        copy._data[...] = self._data
        copy._requires_grad = self._requires_grad
        return copy

    def __reduce__(self) -> Any:
        array = np.ascontiguousarray(self._data).reshape(self._data.shape)
        return _restored, (type(self), array, self._requires_grad)


def _restored(kind: type[Parameter], array: np.ndarray, requires_grad: bool) -> Parameter:
    return kind(_wrap(array), requires_grad)


def _references(holder: Any) -> int:
    """How many references there are to the array over the gradient's place and to views of it."""
    return sys.getrefcount(holder._grad_place)


# Counted, not known: how many references the call itself adds depends on the version of Python.
_UNSHARED = _references(SimpleNamespace(_grad_place=np.zeros(1)))


def _own_references(holder: Any) -> int:
    grad = holder._grad
    return sys.getrefcount(grad)


# The same for the gradient's tensor, as `_grad_is_free` counts them.
_OWN = _own_references(SimpleNamespace(_grad=SimpleNamespace()))
