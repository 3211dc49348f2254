"""Pickles under PyTorch's names, written so that PyTorch reads them without any of fastnn's classes."""

from __future__ import annotations

import collections
import functools
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np

from fastnn._core.devices import device
from fastnn._core.dtypes import bfloat16, complex64, dtype
from fastnn._core.quantized_dtypes import QuantizedDtype, qscheme
from fastnn._tensor.quantized import QuantizedTensor
from fastnn._tensor.tensor import Size, Tensor, _wrap
from fastnn.nn.module_members import Registry
from fastnn.nn.parameter import Parameter

# PyTorch's storage classes, and NumPy's names of their dtypes.
STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "LongStorage": "int64",
    "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "UntypedStorage": "uint8", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "BFloat16Storage": "bfloat16",
    "QInt8Storage": "int8", "QUInt8Storage": "uint8", "QInt32Storage": "int32",
}  # fmt: skip
_STORAGE_NAMES = {kind: name for name, kind in STORAGES.items() if name[0] not in "UQ"}
_QUANTIZED_NAMES = {kind: name for name, kind in STORAGES.items() if name[0] == "Q"}


class Storage(NamedTuple):
    """The memory of one or more tensors: a flat array, and its name in the file."""

    array: np.ndarray
    key: str


class QuantizedStorage(Storage):
    """The memory of the integers of quantized tensors."""


class _Global:
    """A name in another library, which may not be installed."""

    def __init__(self, module: str, name: str) -> None:
        self.line = f"c{module}\n{name}\n".encode()

    def __call__(self, *args: Any) -> Any:
        raise NotImplementedError("a name to be written, not to be called")


# One object per name, so that a pickle writes each name once.
_global = functools.cache(_Global)


class _LocalError(pickle.PicklingError, AttributeError):
    """A function or class defined inside a function cannot be pickled by name."""


# Its private methods are in no stub.
_Pickler: Any = pickle._Pickler


class Writer(_Pickler):
    """Pickles an object; tensors are written as references to ``storages``, which the caller saves."""

    dispatch: ClassVar[dict[Any, Any]] = dict(_Pickler.dispatch)

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: dict[Any, Storage] = {}
        # An address identifies memory only while it is alive; a storage's own array may be a copy.
        self._kept: list[np.ndarray] = []

    def dump(self, obj: Any) -> None:
        """Write the object.

        Raises: PicklingError, also an AttributeError for objects defined inside a function.
        """
        try:
            super().dump(obj)
        except pickle.PicklingError as error:
            if "<locals>" in str(error):
                raise _LocalError(*error.args) from error
            raise

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) not in (Storage, QuantizedStorage):
            return None
        names = _STORAGE_NAMES if type(obj) is Storage else _QUANTIZED_NAMES
        name = names.get(obj.array.dtype.name)
        if name is None:
            return ("storage", _global("torch.storage", "UntypedStorage"), obj.key, "cpu", obj.array.nbytes)
        return ("storage", _global("torch", name), obj.key, "cpu", obj.array.size)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Parameter):
            plain = _wrap(obj._data)
            return _global("torch._utils", "_rebuild_parameter"), (plain, obj.requires_grad, collections.OrderedDict())
        if isinstance(obj, QuantizedTensor):
            storage, offset, strides = self._place_of(obj._integers)
            scale, zero, axis = obj._scale, obj._zero_point, obj._axis
            params = (scale, zero) if axis is None else (_wrap(scale), _wrap(zero), axis)
            scheme = _global("torch", obj.qscheme().name)
            return _global("torch._utils", "_rebuild_qtensor"), (
                QuantizedStorage(*storage), offset, obj._integers.shape, strides, (scheme, *params), False,
                collections.OrderedDict(),
            )  # fmt: skip
        if isinstance(obj, Tensor):
            storage, offset, strides = self._place_of(obj._data)
            hooks: Any = collections.OrderedDict()
            args: tuple[Any, ...] = (storage, offset, obj._data.shape, strides, obj.requires_grad, hooks)
            if storage.array.dtype.name not in _STORAGE_NAMES:
                # uint16, uint32 and uint64 have no storage class.
                return _global("torch._utils", "_rebuild_tensor_v3"), (*args, obj.dtype)
            return _global("torch._utils", "_rebuild_tensor_v2"), args
        if isinstance(obj, Size):
            return _global("torch", "Size"), (tuple(obj),)
        if isinstance(obj, device):
            return _global("torch", "device"), obj.__reduce__()[1]
        return NotImplemented

    def _save_global(self, obj: _Global) -> None:
        self.write(obj.line)
        self.memoize(obj)

    def _save_function(self, obj: Any) -> None:
        from fastnn.ops.core import FUNCTIONS

        # A tensor method is written as the function of its name.
        if obj in FUNCTIONS:
            self.save(FUNCTIONS[obj])
        else:
            self.save_global(obj)

    def _save_dtype(self, obj: dtype) -> None:
        self.save(_global("torch", obj.name))

    dispatch[_Global] = _save_global
    dispatch[dtype] = dispatch[type(complex64)] = dispatch[type(bfloat16)] = _save_dtype
    dispatch[QuantizedDtype] = dispatch[qscheme] = _save_dtype
    dispatch[FunctionType] = _save_function
    # Written as an ordinary dictionary, as in PyTorch.
    dispatch[Registry] = pickle._Pickler.save_dict  # type: ignore[attr-defined]  # private

    def _place_of(self, array: np.ndarray) -> tuple[Storage, int, tuple[int, ...]]:
        """The storage of an array, with its offset and strides there, in elements."""
        root, size = array, array.itemsize
        while isinstance(root.base, np.ndarray):
            root = root.base
        offset = _address(array) - _address(root)
        whole = root.flags.c_contiguous or root.flags.f_contiguous
        fits = root.dtype == array.dtype and offset % size == 0 and all(s >= 0 and s % size == 0 for s in array.strides)
        if whole and fits:
            key: Any = (_address(root), root.nbytes, root.dtype)
            strides = tuple([s // size for s in array.strides])
            return self._storage(key, root, lambda: root.ravel("K")), offset // size, strides
        key = (_address(array), array.shape, array.strides, array.dtype)
        return self._storage(key, array, lambda: np.ascontiguousarray(array).reshape(-1)), 0, _compact(array.shape)

    def _storage(self, key: Any, array: np.ndarray, contents: Callable[[], np.ndarray]) -> Storage:
        if key not in self.storages:
            self._kept.append(array)
            self.storages[key] = Storage(contents(), str(len(self.storages)))
        return self.storages[key]


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _compact(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a row-major array."""
    strides = [1]
    for n in reversed(shape[1:]):
        strides.append(strides[-1] * max(n, 1))
    return tuple(reversed(strides)) if shape else ()
