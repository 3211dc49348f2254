"""Parameter: a tensor that a module trains, stored in a flat buffer beside its neighbours.

Beside it are :class:`Buffer`, state that is not trained, and :class:`UninitializedParameter`, whose shape
is not known yet. May import ``tensor``, ``autograd``, ``devices``, ``dtypes`` and ``flat``.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn import tracing
from fastnn.autograd import Memory
from fastnn.autograd.hooks import leaf_hooks
from fastnn.autograd.modes import _mode
from fastnn.devices import check_device
from fastnn.dtypes import as_numpy_dtype, default_numpy
from fastnn.dtypes import dtype as _dtype
from fastnn.errors import DTypeError
from fastnn.flat import Slot
from fastnn.last_error import forget_last_error
from fastnn.tensor import Tensor, _wrap


class Parameter(Tensor):
    """A tensor that ``Module`` registers and optimizers update.

    Its numbers and its gradient have fixed places in two flat buffers (see :mod:`fastnn.flat`). The
    gradient's place is written over by the first backward pass after ``zero_grad``, unless someone
    still holds the gradient that lies there: then the new one gets memory of its own.

    Args:
        data: the first value, floating point unless ``requires_grad`` is False; copied.
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
        if requires_grad and data._data.dtype.kind != "f":
            raise DTypeError(
                "Only Tensors of floating point and complex dtype can require gradients: a Parameter must be floating "
                f"point, found dtype {data.dtype}"
            )
        self._place(Slot(data._data.shape, data._data.dtype))
        self._data[...] = data._data
        self._requires_grad = bool(requires_grad)

    @classmethod
    def _empty(cls, shape: tuple[int, ...], dtype: np.dtype, *, transposed: bool = False) -> Parameter:
        """A parameter of zeros; ``transposed`` as for :class:`Slot`."""
        parameter = cls.__new__(cls)
        parameter._place(Slot(shape, dtype, transposed))
        parameter._requires_grad = True
        return parameter

    def _like(self, array: np.ndarray) -> Parameter:
        """A parameter of these numbers, stored in the order of this one's where it has as many dimensions."""
        made = Parameter._empty(array.shape, array.dtype, transposed=array.ndim == 2 and self._is_transposed())
        made._data[...] = array
        return made

    def _is_transposed(self) -> bool:
        return self._data.ndim == 2 and self._data.strides[0] < self._data.strides[1]

    def _store_in_columns(self) -> None:
        """Store a matrix transposed, as :class:`Slot` does; for one that nobody else uses yet."""
        if self._data.ndim == 2 and not self._is_transposed():
            before = self._data
            self._place(Slot(before.shape, before.dtype, True))
            self._data[...] = before

    def _place(self, slot: Slot) -> None:
        self._slot, self._grad_place = slot, None
        self._data = slot.array
        self._node, self._grad = None, None
        self._memory, self._history = Memory(), 0

    def _grad_target(self) -> tuple[np.ndarray, bool] | None:
        """Where a kernel may write this parameter's gradient, and whether it has to add to it.

        None if the gradient has to go through ``_accumulate_grad``. After writing, call ``_grad_written``.
        """
        if not _mode.direct or not self._requires_grad or (self._hooks is not None and leaf_hooks(self) is not None):
            return None
        if self._grad is not None:
            return (self._grad._data, True) if self._grad._data is self._grad_place else None
        if self._grad_place is None:
            self._grad_place = self._slot.grad_array
        elif _references(self) != _UNSHARED and not tracing.is_mine():
            # In a trace nothing is written, and what is recorded writes where it may at that time.
            return None
        return self._grad_place, False

    def _grad_is_free(self) -> bool:
        """Whether the gradient's place may be written over at once: nobody else holds what lies there."""
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
            transposed = value._data.ndim == 2 and self._is_transposed()
            self._place(Slot(value._data.shape, value._data.dtype, transposed))
        self._data[...] = value._data

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        # Without the gradient, as in PyTorch.
        copy = memo[id(self)] = type(self)._empty(
            self._data.shape, self._data.dtype, transposed=self._is_transposed()
        )
        copy._data[...] = self._data
        copy._requires_grad = self._requires_grad
        return copy

    def __reduce__(self) -> Any:
        array = np.ascontiguousarray(self._data).reshape(self._data.shape)
        return _restored, (type(self), array, self._requires_grad, self._is_transposed())


class UninitializedParameter(Parameter):
    """A parameter whose shape is found by the first forward of its module, as that of ``nn.LazyLinear``.

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
        """Become a :class:`Parameter` of zeros of this shape; a matrix is stored as ``Linear`` wants it."""
        check_device(device)
        kind = as_numpy_dtype(dtype, self._data.dtype)
        requires_grad = self._requires_grad
        self._place(Slot(tuple(shape), kind, transposed=len(shape) == 2))
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
    """A tensor that ``Module`` registers as state and that is not trained.

    Args:
        data: the numbers; their memory is shared.
        persistent: whether it is in ``state_dict``.

    >>> import fastnn
    >>> module = fastnn.nn.Module()
    >>> module.mean = fastnn.nn.Buffer(fastnn.zeros(2))
    >>> list(module.state_dict())
    ['mean']
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        if data is None:
            data = _wrap(np.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(data).__name__}")
        self._data, self._node, self._grad, self._requires_grad = data._data, None, None, False
        self._memory, self._history = Memory(), 0
        self.persistent = persistent


def _restored(
    kind: type[Parameter], array: np.ndarray, requires_grad: bool, transposed: bool = False
) -> Parameter:
    if not transposed:
        return kind(_wrap(array), requires_grad)
    made = kind._empty(array.shape, array.dtype, transposed=True)
    made._data[...] = array
    made._requires_grad = requires_grad
    return made


def _uninitialized(kind: type[UninitializedParameter], requires_grad: bool, dtype: str) -> UninitializedParameter:
    made = kind(requires_grad)
    made._place(Slot((0,), np.dtype(dtype)))
    made._requires_grad = requires_grad
    return made


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
