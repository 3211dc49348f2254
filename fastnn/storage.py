"""``torch.storage``: the memory of tensors, as bytes or as numbers of one dtype.

A tensor and its views have the same storage. It is the memory itself: a write to it changes the tensor. fastnn
does not resize storages.
"""

from __future__ import annotations

import importlib
import io
import mmap
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastnn._core.devices import CPU
from fastnn._core.devices import device as _device
from fastnn._core.dtypes import BY_LEGACY_NAME, default_numpy, from_numpy_dtype
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor

__all__ = ["TypedStorage", "UntypedStorage"]


class _Storage:
    """What both classes of storages have: a one-dimensional array over the memory."""

    _array: np.ndarray
    is_cuda = False
    is_sparse = False

    @property
    def device(self) -> _device:
        """Where the memory is: always the CPU."""
        return CPU

    @property
    def _cdata(self) -> int:
        return self.data_ptr()

    def data_ptr(self) -> int:
        """The address of the first byte, 0 if there is none."""
        return self._array.ctypes.data if self._array.size else 0

    def nbytes(self) -> int:
        """The number of bytes."""
        return self._array.nbytes

    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    def __len__(self) -> int:
        return self._array.size

    def element_size(self) -> int:
        """The number of bytes of an element."""
        return self._array.itemsize

    def is_shared(self) -> bool:
        """False: fastnn shares no memory between processes."""
        return False

    def is_pinned(self) -> bool:
        """False."""
        return False

    def resizable(self) -> bool:
        """False."""
        return False

    def resize_(self, size: int) -> Any:
        """Raises RuntimeError, unless the size is the same."""
        if size != self._array.size:
            raise RuntimeError(f"this storage has {self._array.size} elements and cannot be resized to {size}")
        return self

    def tolist(self) -> list[Any]:
        """The elements, as Python numbers."""
        return self._array.tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        found = self._array[index]
        return self._over(found) if isinstance(index, slice) else found.item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[index] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._array if dtype is None else self._array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def _over(self, array: np.ndarray) -> Any:
        made = object.__new__(type(self))
        made._array = array
        return made

    def fill_(self, value: Any) -> Any:
        """Set each element."""
        self._array[...] = value
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> Any:
        """Copy the elements of another storage of this size."""
        self._array[...] = source._array
        return self

    def clone(self) -> Any:
        """A storage over a copy."""
        return self._over(self._array.copy())

    def cpu(self) -> Any:
        """The storage itself."""
        return self

    def share_memory_(self) -> Any:
        """The storage itself: fastnn shares no memory between processes."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Storage) and (self.data_ptr(), self.nbytes()) == (other.data_ptr(), other.nbytes())

    def __hash__(self) -> int:
        return hash((self.data_ptr(), self.nbytes()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = self.clone()
        return made


def _mapped(filename: Any, shared: bool, size: int) -> np.ndarray:
    """Bytes of a file, as ``from_file`` describes them."""
    path = os.fspath(filename)
    if size < 0:
        raise RuntimeError(f"the number of bytes of file <{path}> must not be negative, found {size}")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT if shared else os.O_RDONLY, 0o600)
    except OSError as error:
        raise RuntimeError(f"unable to open file <{path}>: {error.strerror} ({error.errno})") from error
    try:
        length = os.fstat(descriptor).st_size
        if length < size:
            if not shared:
                raise RuntimeError(f"file <{path}> has {length} bytes, and {size} were asked for")
            os.truncate(descriptor, size)
        size = size or length
        if not size:
            return np.zeros(0, np.uint8)
        access = mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY
        return np.frombuffer(mmap.mmap(descriptor, size, access=access), np.uint8)
    finally:
        os.close(descriptor)


class UntypedStorage(_Storage):
    """Memory as bytes.

    Args:
        data: the number of bytes, or the bytes.

    >>> import fastnn
    >>> x = fastnn.arange(4.0)
    >>> memory = x[1:].untyped_storage()
    >>> memory.nbytes(), memory.data_ptr() == x.data_ptr()
    (16, True)
    """

    _filename: str | None = None

    def __init__(self, data: int | Sequence[int] = 0, *, device: Any = None) -> None:
        self._array = np.zeros(data, np.uint8) if isinstance(data, int) else np.array(data, np.uint8)

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first bytes of a file, which is mapped into memory, not read.

        Args:
            filename: a path.
            shared: whether changes are written to the file, which is made, and made longer, if it is too short.
            nbytes: how many bytes; 0 is the whole file.

        Raises: RuntimeError if the file cannot be opened, or is too short.
        """
        made = cls()
        made._array, made._filename = _mapped(filename, shared, nbytes), os.fspath(filename)
        return made

    @property
    def filename(self) -> str | None:
        """The file that the memory was mapped from, None for other memory."""
        return self._filename

    def untyped(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def __repr__(self) -> str:
        lines = [f" {n}" for n in self.tolist()]
        return "\n".join([*lines, f"[torch.storage.UntypedStorage(device=cpu) of size {len(self)}]"])


class _ByDtype(type):
    """``FloatStorage`` and the like: typed storages of the dtype are their instances."""

    kind: _dtype | None = None

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls.kind is None:
            return type.__instancecheck__(cls, instance)
        return isinstance(instance, TypedStorage) and instance.dtype is cls.kind

    def __call__(cls, *args: Any, **options: Any) -> Any:
        if cls.kind is None:
            return type.__call__(cls, *args, **options)
        return TypedStorage(*args, dtype=cls.kind, **options)


class TypedStorage(_Storage, metaclass=_ByDtype):
    """Memory as numbers of one dtype.

    Args:
        data: the number of elements, or the elements.
        wrap_storage: bytes to use the memory of.
        dtype: of the elements; the default dtype unless given.

    >>> import fastnn
    >>> fastnn.TypedStorage([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """

    def __init__(
        self, data: int | Sequence[Any] = 0, *, wrap_storage: UntypedStorage | None = None, dtype: Any = None,
        device: Any = None,
    ) -> None:  # fmt: skip
        kind = default_numpy() if dtype is None else dtype.numpy
        if wrap_storage is not None:
            self._array = wrap_storage._array.view(kind)
        else:
            self._array = np.zeros(data, kind) if isinstance(data, int) else np.array(data, kind)

    @property
    def dtype(self) -> _dtype:
        """The type of the elements."""
        return from_numpy_dtype(self._array.dtype)

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        made = UntypedStorage()
        made._array = self._array.view(np.uint8)
        return made

    _untyped_storage = property(untyped)

    def _data_ptr(self) -> int:
        return self.data_ptr()

    def pickle_storage_type(self) -> str:
        """The name of PyTorch's old class for this dtype."""
        return _STORAGE_OF[self.dtype]

    def __repr__(self) -> str:
        lines = [f" {n}" for n in self.tolist()]
        return "\n".join([
            *lines, f"[torch.storage.TypedStorage(dtype={self.dtype}, device=cpu) of size {len(self)}]",
        ])  # fmt: skip


_STORAGE_OF = {kind: f"{name}Storage" for name, kind in BY_LEGACY_NAME.items()}
# FloatStorage, LongStorage, ...
BY_NAME = {name: _ByDtype(name, (), {"kind": kind, "__module__": __name__}) for kind, name in _STORAGE_OF.items()}
globals().update(BY_NAME)
_warned = False


def untyped_storage(tensor: Tensor) -> UntypedStorage:
    """The memory that a tensor shares with its views, as bytes."""
    made = UntypedStorage()
    made._array = _memory_of(tensor)
    return made


def typed_storage(tensor: Tensor) -> TypedStorage:
    """The memory that a tensor shares with its views, as numbers of its dtype. Warns once that it is deprecated."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "TypedStorage is deprecated. It will be removed in the future and UntypedStorage will be the only storage "
            "class. To access UntypedStorage directly, use tensor.untyped_storage() instead of tensor.storage()",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    return TypedStorage(wrap_storage=untyped_storage(tensor), dtype=tensor.dtype)


def storage_type(tensor: Tensor) -> Any:
    """``FloatStorage`` or the like: the class of ``tensor.storage()``."""
    return BY_NAME[_STORAGE_OF[tensor.dtype]]


def _memory_of(tensor: Tensor) -> np.ndarray:
    """The bytes of the array that owns the tensor's memory: those from its lowest to its highest address."""
    root = tensor._data
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not root.size:
        return np.zeros(0, np.uint8)
    if root.flags.forc:
        return root.ravel(order="K").view(np.uint8)
    low, high = np.lib.array_utils.byte_bounds(root)
    lowest = root[tuple([slice(None, None, -1 if step < 0 else 1) for step in root.strides])]
    count, size = (high - low) // root.itemsize, root.itemsize
    return np.lib.stride_tricks.as_strided(lowest, (count,), (size,)).view(np.uint8)


def part(storage: Any, kind: np.dtype, offset: int, size: Any, stride: Any) -> np.ndarray:
    """Numbers of ``kind`` in a storage, at an offset and strides in elements; all of them if ``size`` is None.

    Raises: RuntimeError if some are outside of it.
    """
    memory = storage._array
    count = memory.nbytes // kind.itemsize
    shape = (count - offset,) if size is None else tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if stride is None:
        steps = [1]
        for n in shape[:0:-1]:
            steps.insert(0, steps[0] * n)
        stride = steps[: len(shape)]
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if offset < 0 or min(stride, default=0) < 0 or (0 not in shape and last >= count):
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(stride)}, storage offset {offset}, and itemsize "
            f"{kind.itemsize} are out of bounds for storage of size {storage.nbytes()}"
        )
    # A quarter of the time of NumPy's as_strided. An empty array may begin anywhere.
    start = 0 if 0 in shape else offset * kind.itemsize
    return np.ndarray(shape, kind, memory, start, [s * kind.itemsize for s in stride])


def _load_from_bytes(b: bytes) -> Any:
    """The memory of a tensor in a pickle that PyTorch wrote, for ``torch._utils._rebuild_tensor_v2``."""
    # By name: what it imports uses this module.
    return importlib.import_module("fastnn.serialization").load(io.BytesIO(b), weights_only=False)
