"""Constructors of early PyTorch: ``FloatTensor`` and the like, and ``Tensor.new``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.devices import check_device
from fastnn._core.dtypes import BY_LEGACY_NAME, dtype
from fastnn._core.errors import ShapeError
from fastnn._core.size import Size
from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.runtime import allocation


def numbers_of(data: tuple[Any, ...], kind: np.dtype) -> np.ndarray:
    """The array of ``Tensor(...)`` and ``FloatTensor(...)``: given numbers, or an uninitialized array of a size."""
    if len(data) == 1 and not isinstance(data[0], (int, np.integer, Size)):
        source = data[0]
        if isinstance(source, (list, tuple, range)) or (
            hasattr(source, "__array__") and not isinstance(source, np.generic)
        ):
            return array_of(source, kind)
        raise TypeError(f"new(): data must be a sequence or sizes (got {type(source).__name__})")
    shape = tuple(data[0]) if len(data) == 1 and isinstance(data[0], Size) else data
    if not data:
        return allocation.empty(0, kind)
    for n in shape:
        if not isinstance(n, (int, np.integer)):
            raise TypeError(f"new(): sizes must be integers, found {n!r}")
        if n < 0:
            raise ShapeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    return np.zeros(shape, kind)


def alias(source: Tensor) -> Tensor:
    """A view of a whole tensor, as PyTorch's constructors make of one."""
    from fastnn._tensor.views import view

    return view(source, "Alias", _same, _same)


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _made(args: tuple[Any, ...], kind: np.dtype) -> Tensor:
    if len(args) == 1 and isinstance(args[0], Tensor):
        if args[0]._data.dtype != kind:
            raise TypeError(f"expected a tensor of dtype {kind.name}, found {args[0].dtype}; use to() to convert it")
        return alias(args[0])
    return _wrap(numbers_of(args, kind))


def _new_legacy(self: Tensor, *args: Any) -> Tensor:
    """A tensor of this dtype with the given data or sizes."""
    return _made(args, self._data.dtype)


METHODS = {"new": _new_legacy}


def _of_kind(args: tuple[Any, ...], kind: dtype, device: Any) -> Tensor:
    check_device(device)
    return _made(args, kind.numpy)


class _LegacyMeta(type):
    """Tensors of the dtype are instances of the class, as in PyTorch."""

    dtype: dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, device: Any = None, dtype: Any = None) -> Tensor:
        return _of_kind(args, cls.dtype, device)

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


LEGACY = {
    f"{name}Tensor": _LegacyMeta(
        f"{name}Tensor", (), {"dtype": d, "__doc__": f"Tensors of {d.name}: of the sizes, or with the data given."}
    )
    for name, d in BY_LEGACY_NAME.items()
}
