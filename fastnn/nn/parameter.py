"""Parameter: a tensor that a module trains, stored in a flat buffer beside its neighbours.

May import ``tensor`` and ``flat``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastnn.errors import DTypeError
from fastnn.flat import Slot
from fastnn.tensor import Tensor, _wrap


class Parameter(Tensor):
    """A tensor that ``Module`` registers and optimizers update.

    Its numbers and its gradient have fixed places in two flat buffers (see :mod:`fastnn.flat`); the
    gradient's place is written over by the first backward pass after ``zero_grad``.

    Args:
        data: the first value, floating point; copied.
        requires_grad: whether ``backward`` accumulates a gradient.

    >>> import fastnn
    >>> fastnn.nn.Parameter(fastnn.ones(2)).requires_grad
    True
    """

    __slots__ = ("_slot", "_slot_grad")

    _slot: Slot
    _slot_grad: Tensor | None

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = _wrap(np.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(data).__name__}")
        if data._data.dtype.kind != "f":
            raise DTypeError(f"a Parameter must be floating point, found dtype {data.dtype}")
        self._place(Slot(data._data.shape, data._data.dtype))
        self._data[...] = data._data
        self.requires_grad = requires_grad

    @classmethod
    def _empty(cls, shape: tuple[int, ...], dtype: np.dtype, *, transposed: bool = False) -> Parameter:
        """A parameter of zeros; ``transposed`` as for :class:`Slot`."""
        parameter = cls.__new__(cls)
        parameter._place(Slot(shape, dtype, transposed))
        parameter.requires_grad = True
        return parameter

    def _place(self, slot: Slot) -> None:
        self._slot, self._slot_grad = slot, None
        self._data = slot.array
        self._node, self._grad, self._version = None, None, 0

    def _grad_target(self) -> tuple[np.ndarray, bool] | None:
        """Where a kernel may write this parameter's gradient, and whether it has to add to it.

        None if the gradient has to go through ``_accumulate_grad``. After writing, call ``_grad_written``.
        """
        if self._slot.array is not self._data:
            return None
        if self._grad is None:
            return self._free_slot_grad()._data, False
        return (self._grad._data, True) if self._grad is self._slot_grad else None

    def _free_slot_grad(self) -> Tensor:
        """The gradient tensor in the flat buffer, ready to be written over."""
        kept = self._slot_grad
        # References: the slot's, `kept`, and the argument of getrefcount. One more is a user who
        # kept a gradient past zero_grad: that tensor moves out with its numbers.
        if kept is not None and sys.getrefcount(kept) > 3:
            kept._data = kept._data.copy()
            kept = None
        if kept is None:
            kept = self._slot_grad = _wrap(self._slot.grad_array)
        return kept

    def _grad_written(self) -> None:
        self._grad = self._slot_grad
        assert self._grad is not None
        self._grad._version += 1

    def _accumulate_grad(self, grad: Tensor) -> None:
        target = self._grad_target()
        if target is None:
            super()._accumulate_grad(grad)
            return
        array, accumulate = target
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
        rows_first = self._data.ndim == 2 and self._data.strides[0] < self._data.strides[1]
        copy = type(self)._empty(self._data.shape, self._data.dtype, transposed=rows_first)
        copy._data[...] = self._data
        copy.requires_grad = self.requires_grad
        if self._grad is not None:
            copy._accumulate_grad(self._grad)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> Any:
        return _restored, (np.ascontiguousarray(self._data), self.requires_grad)


def _restored(array: np.ndarray, requires_grad: bool) -> Parameter:
    return Parameter(_wrap(array), requires_grad)
