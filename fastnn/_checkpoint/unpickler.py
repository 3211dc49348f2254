"""Pickles under PyTorch's names.

A pickle is a program. :class:`Reader` runs only the few instructions that make data, and calls only functions of
an allowlist: a file from an untrusted source can make numbers and containers, but not run code. The list is that of
PyTorch's ``weights_only`` loading. :func:`unrestricted` makes a class that runs a pickle as the standard library does.
"""

from __future__ import annotations

import _compat_pickle  # the standard library's table of the names that Python 2 had
import collections
import contextlib
import functools
import importlib
import pickle
import re
import reprlib
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pickle import UnpicklingError
from typing import IO, Any, ClassVar, TypeAlias

import numpy as np

from fastnn._checkpoint.pickler import STORAGES, Storage
from fastnn._core import dtypes
from fastnn._core.devices import device
from fastnn._core.dtypes import dtype, from_numpy_dtype, numpy_named
from fastnn._core.errors import DTypeError
from fastnn._core.quantized_dtypes import BY_INTEGERS, DTYPES, SCHEMES, per_channel_affine, per_tensor_affine
from fastnn._tensor.quantized import QuantizedTensor, wrap_quantized
from fastnn._tensor.tensor import Size, Tensor, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.parameter import Parameter


class DamagedFile(UnpicklingError, RuntimeError, ValueError):
    """A file is damaged or not a checkpoint; PyTorch raises one of the three, or the error met while reading."""

    def __str__(self) -> str:
        # Not that of KeyError, which quotes the message as a key.
        return str(self.args[0])


_KINDS = (KeyError, IndexError, AttributeError, EOFError, TypeError, ValueError, OSError, struct.error)


@functools.cache
def _damaged_by(kind: type[Exception]) -> type[DamagedFile]:
    return type("DamagedFile", (DamagedFile, kind), {"__module__": __name__, "__doc__": DamagedFile.__doc__})


def damaged(message: str, cause: BaseException) -> DamagedFile:
    """The error for a damaged file; it is also an instance of the class of ``cause``."""
    kind = next((k for k in _KINDS if isinstance(cause, k)), None)
    return (DamagedFile if kind is None else _damaged_by(kind))(message)


class Budget:
    """The memory that reading an untrusted file may take, about: a small multiple of the file's size.

    A few bytes of a pickle can copy a container again and again, and a compressed record of zeros can have a thousand
    times its size.

    Args:
        size: of the file, in bytes.
    """

    FREE, TIMES = 1 << 20, 48

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = self.FREE + self.TIMES * size

    def spend(self, count: int) -> None:
        """Count bytes that are about to be allocated; DamagedFile if they are too many."""
        self._left -= count
        if self._left < 0:
            raise DamagedFile(
                f"a file of {self._size} bytes needs more than {self.FREE + self.TIMES * self._size} bytes of memory, "
                "the limit for files that are not trusted; weights_only=False has no limit"
            )


# For messages: not the whole of an object, whose text may be without an end in practice.
_short = reprlib.repr
_MISSING = ("complex32",)

# -- What a pickle may call -------------------------------------------------------------------


def _strided(array: np.ndarray, offset: Any, size: Any, stride: Any) -> Tensor:
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        found = f"size {_short(size)}, stride {_short(stride)} and offset {_short(offset)}"
        raise UnpicklingError(f"a tensor of {found} is not possible")
    if not all(size):
        return _tensor(allocation.empty(size, array.dtype))
    if offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= array.size:
        raise UnpicklingError(
            f"a tensor of size {tuple(size)}, stride {tuple(stride)} and offset {offset} does not fit into a storage "
            f"of {array.size} elements"
        )
    step = array.itemsize
    return _tensor(np.ndarray(tuple(size), array.dtype, array, offset * step, tuple([s * step for s in stride])))


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind != "c":
        return _wrap(array)
    from fastnn.ops import complex_tensor

    return complex_tensor.wrap(array)


def _rebuild_tensor(storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    return _strided(_checked(storage, Storage).array, offset, _sizes(size), _sizes(stride))


def _sizes(value: Any) -> tuple[Any, ...]:
    # Not any iterable: a tensor that repeats one number may have any number of rows.
    return tuple(_checked(value, (tuple, list)))


def _rebuild_tensor_v2(
    storage: Storage, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, metadata: Any = None
) -> Tensor:
    return _rebuild_tensor(storage, offset, size, stride).requires_grad_(requires_grad)


def _rebuild_tensor_v3(
    storage: Storage, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, kind: dtype,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    target = np.dtype(kind.name) if _checked(kind, dtype).is_complex else kind.numpy
    array = _checked(storage, Storage).array
    # Bytes other than 0 and 1 are invalid bools.
    array = array.view(np.uint8) != 0 if target == np.bool_ else array.view(target)
    return _strided(array, offset, _sizes(size), _sizes(stride)).requires_grad_(requires_grad)


def _rebuild_qtensor(
    storage: Storage, offset: int, size: Any, stride: Any, params: Any, requires_grad: bool, hooks: Any
) -> QuantizedTensor:
    scheme, *found = _checked(params, tuple)
    integers = _strided(_checked(storage, Storage).array, offset, _sizes(size), _sizes(stride))._data
    if integers.dtype not in BY_INTEGERS:
        raise UnpicklingError(f"a quantized tensor cannot have integers of {integers.dtype}")
    if scheme is per_tensor_affine and len(found) == 2:
        scale, zero = found
        if type(scale) not in (float, int) or type(zero) is not int:
            raise UnpicklingError(f"a quantized tensor cannot have scale {_short(scale)} and zero point {_short(zero)}")
        return wrap_quantized(integers, float(scale), zero)
    if scheme is not per_channel_affine or len(found) != 3:
        raise UnpicklingError(f"a quantized tensor cannot have the scheme and parameters {_short(params)}")
    axis = found[2]
    if type(axis) is not int or not 0 <= axis < integers.ndim:
        raise damaged(f"the channels of a quantized tensor cannot be along dimension {_short(axis)}", ValueError())
    channels = (integers.shape[axis],)
    scales, zeros = (_checked(t, Tensor)._data for t in found[:2])
    if scales.shape != channels or zeros.shape != channels:
        raise damaged(
            f"a quantized tensor of {channels[0]} channels cannot have scales of shape {scales.shape} and zero points "
            f"of shape {zeros.shape}", ValueError(),
        )  # fmt: skip
    return wrap_quantized(integers, scales.astype(np.float64), zeros.astype(np.int64), axis)


def _rebuild_parameter(data: Tensor, requires_grad: bool, hooks: Any, state: Any = None) -> Parameter:
    return Parameter(_checked(data, Tensor), bool(requires_grad))


def _rebuild_from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    # Additional attributes of a tensor are dropped: fastnn's tensors have none.
    if function not in (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter):
        raise UnpicklingError(f"a tensor cannot be made by {_short(function)}")
    return function(*args)


def _bytes_of(text: str, encoding: str = "latin1") -> bytes:
    # Other codecs are arbitrary code, and looking one up imports it.
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"bytes in encoding {_short(encoding)} are not read")
    return text.encode("latin1")


def _bytearray_of(*args: Any) -> bytearray:
    # A number would allocate that much memory.
    if args and not isinstance(args[0], (bytes, str)):
        raise UnpicklingError(f"a bytearray of {type(args[0]).__name__} is not read")
    return bytearray(_bytes_of(*args) if args and isinstance(args[0], str) else args[0] if args else b"")


def _type_of(*args: Any) -> type:
    # `type(None)` is pickled as this call. Other arguments would make a class.
    if len(args) != 1 or not any(args[0] is value for value in (None, Ellipsis, NotImplemented)):
        raise UnpicklingError("only the types of None, Ellipsis and NotImplemented are made by type()")
    return type(args[0])


def _dict_of(items: Any = ()) -> dict[Any, Any]:
    # Dictionaries that count their changes are pickled as this call.
    return dict(_checked(items, dict)) if items else {}


# A tuple that contains one tuple twice, which contains another twice, and so on, has its hash computed again and again:
# sixty of them take longer than anybody waits, and Ctrl-C does not interrupt it.
_MOST_PARTS = 10_000
# What a part counts for: the hashes of all keys together take a few seconds for each megabyte of the file at most.
_HASH = 16


def _parts_of(key: tuple[Any, ...]) -> int:
    """The parts of a key, or an element of a set; UnpicklingError if its hash takes too long."""
    left, parts = [key], 0
    while left:
        for part in left.pop():
            parts += 1
            if parts > _MOST_PARTS:
                raise UnpicklingError(f"the pickle has a key of more than {_MOST_PARTS} parts")
            if type(part) is tuple:
                left.append(part)
    return parts


def _check_items(check_hash: Callable[[Any], None], kind: Any, args: Any) -> None:
    """The same for what makes a set or a dictionary from a sequence."""
    is_pairs = kind is collections.OrderedDict
    for items in args if kind in (set, collections.Counter, collections.OrderedDict) else ():
        for item in items if isinstance(items, (list, tuple)) else ():
            check_hash(item[0] if is_pairs and isinstance(item, (list, tuple)) and item else item)


def _size_of(sizes: Any) -> Size:
    sizes = _sizes(sizes)
    if any(type(n) is not int for n in sizes):
        raise UnpicklingError(f"a torch.Size of {_short(sizes)} is not possible: sizes are integers")
    return Size(sizes)


def _checked(value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise UnpicklingError(f"found {type(value).__name__} where {names} belongs")
    return value


_CALLABLE: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.Counter": collections.Counter,
    "builtins.set": set,
    "builtins.complex": complex,
    "builtins.bytearray": _bytearray_of,
    "_codecs.encode": _bytes_of,
    "torch.Size": _size_of,
    "torch.device": device,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_qtensor": _rebuild_qtensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
}
# Bytes of the object that a call makes, of each element of a container, and of each character or byte of a text.
_CALL, _ELEMENT, _CHARACTER = 512, 128, 4


def _cost_of(function: Any, args: tuple[Any, ...]) -> int:
    """The bytes that a call of an allowed function allocates, about; at least for what is large."""
    if function is _rebuild_from_type and len(args) == 4 and isinstance(args[2], tuple):
        function, args = args[0], args[2]
    first = args[0] if args else None
    if function is _bytes_of or function is _bytearray_of:
        return _CALL + (_CHARACTER * len(first) if isinstance(first, (str, bytes, bytearray)) else 0)
    if function is _rebuild_parameter:
        # A parameter has memory of its own; a tensor may repeat one number.
        return _CALL + (first.numel() * first._data.itemsize if isinstance(first, Tensor) else 0)
    if function is _rebuild_tensor_v3:
        return _CALL + (first.array.nbytes if isinstance(first, Storage) and dtypes.bool_ in args[6:7] else 0)
    if function is _rebuild_qtensor:
        params = args[4] if len(args) > 4 and isinstance(args[4], tuple) else ()
        return _CALL + sum(16 * t.numel() for t in params if isinstance(t, Tensor))
    if isinstance(first, Tensor):
        # Each element of a tensor is a tensor.
        return _CALL * (1 + first.numel())
    return _CALL + (_ELEMENT * len(first) if isinstance(first, (list, tuple, dict, set, str, bytes, bytearray)) else 0)


# Allowed names and their values; storage types are in `STORAGES`.
_VALUES: dict[str, Any] = {
    "torch.Tensor": Tensor,
    "torch.nn.parameter.Parameter": Parameter,
    "torch.bool": dtypes.bool_,
    **{f"torch.{name}": value for names in (DTYPES, SCHEMES) for name, value in names.items()},
    **{f"torch.{d.name}": d for d in dtypes._BY_NUMPY.values()},
    **{f"torch.{d.name}": d for d in (dtypes.bfloat16, dtypes.complex64, dtypes.complex128)},
}


# Modules of fastnn 0.1, which files with whole modules name, and where their contents are now.
_MOVED = {
    "fastnn.devices": "fastnn._core.devices", "fastnn.dtypes": "fastnn._core.dtypes",
    "fastnn.size": "fastnn._core.size",
    "fastnn.errors": "fastnn._core.errors", "fastnn.training": "fastnn.training.loop",
    "fastnn.autograd.engine": "fastnn._autograd.engine", "fastnn.autograd.hooks": "fastnn._autograd.hooks",
    "fastnn.autograd.modes": "fastnn._autograd.modes", "fastnn.nn.registry": "fastnn.nn.module_members",
    "fastnn.optim.runs": "fastnn.optim.flat_runs",
    "fastnn.distributions.symmetric": "fastnn.distributions.location_scale",
    "fastnn.functions": "fastnn.ops.creation", "fastnn.sampling": "fastnn.ops.sampling",
    "fastnn.nn.functional_activations": "fastnn.nn.activation",
    "fastnn.nn.functional.activation": "fastnn.nn.activation",
    "fastnn.nn.elementwise_activations": "fastnn.nn.activation",
    "fastnn.nn.functional_batch_norm": "fastnn.nn.functional.batch_norm",
    "fastnn.nn.functional_class_losses": "fastnn.nn.functional.class_loss",
    "fastnn.nn.functional_dropout": "fastnn.nn.functional.dropout",
    "fastnn.nn.functional_embedding": "fastnn.nn.functional.embedding",
    "fastnn.nn.functional_losses": "fastnn.nn.loss", "fastnn.nn.functional.loss": "fastnn.nn.loss",
    "fastnn.nn.functional_normalization": "fastnn.nn.functional.normalization",
    "fastnn.nn.functional_pair_losses": "fastnn.nn.functional.pair_loss",
    "fastnn.nn.functional_softmax": "fastnn.nn.functional.softmax",
    "fastnn.nn.functional_vectors": "fastnn.nn.functional.vector",
    "fastnn.nn.loss_classes": "fastnn.nn.class_loss", "fastnn.nn.loss_pairs": "fastnn.nn.pair_loss",
    "fastnn.ops.activation": "fastnn.nn.functional.torch_names", "fastnn.ops.ordering": "fastnn.ops.extrema",
    "fastnn.ops.orders": "fastnn.ops.permute", "fastnn.ops.pairs": "fastnn.ops.binary_math",
    "fastnn.ops.parts": "fastnn.ops.slicing", "fastnn.tensor": "fastnn._tensor.tensor",
}  # fmt: skip

# Allowed by the user, by name.
safe_globals: dict[str, Any] = {}


# -- Reading ----------------------------------------------------------------------------------

_INSTRUCTIONS = """
    PROTO FRAME STOP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING
    SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 TUPLE TUPLE1
    TUPLE2 TUPLE3 EMPTY_TUPLE LIST EMPTY_LIST DICT EMPTY_DICT EMPTY_SET FROZENSET MARK POP POP_MARK DUP GET BINGET
    LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL BINPERSID
"""
_CODES = [getattr(pickle, name)[0] for name in re.findall(r"\w+", _INSTRUCTIONS)]


FindStorage: TypeAlias = Callable[[np.dtype, str, int], np.ndarray]
# Errors that say themselves what is wrong.
_PASSED_ON = (UnpicklingError, DTypeError, MemoryError, Warning, zipfile.BadZipFile, zlib.error)


class Raised(Exception):
    """Wraps an exception raised by user code, such as a ``__setstate__``: the file is not damaged."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Storages:
    """The storages that a pickle refers to.

    Args:
        find: returns the array of a storage, from its NumPy dtype, its key and the number of elements.
    """

    def __init__(self, find: FindStorage) -> None:
        self._find, self._found = find, dict[str, Storage]()

    def load(self, pid: Any) -> Storage:
        """The storage of a persistent id.

        Raises: UnpicklingError if it is not that of a storage.
        """
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
            raise UnpicklingError(f"the pickle refers to {_short(pid)}, which is no storage")
        kind, key, numel = _checked(pid[1], _StorageType), pid[2], pid[4]
        if type(key) not in (str, bytes, int):
            raise UnpicklingError(f"a storage cannot have the key {_short(key)}")
        key = str(key)
        if type(numel) is not int or numel < 0:
            raise UnpicklingError(f"a storage cannot have {_short(numel)} elements")
        if key not in self._found:
            self._found[key] = Storage(self._find(kind.dtype, key, numel), key)
        elif self._found[key].array.dtype != kind.dtype:
            raise UnpicklingError(f"storage {key} is read as {kind.dtype} and as {self._found[key].array.dtype}")
        view = pid[5] if len(pid) == 6 else None
        if view is None:
            return self._found[key]
        # PyTorch before 0.4 wrote views of storages as key, offset, size.
        view_key, offset, size = view
        array = _strided(self._found[key].array, offset, (size,), (1,))._data
        return self._found.setdefault(str(view_key), Storage(array, str(view_key)))


def python_3_name(module: str, name: str) -> tuple[str, str]:
    """The names of today. Protocol 2, which PyTorch uses, writes those of Python 2: int is __builtin__.long."""
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def _numbers_of_torch(module: str, name: str) -> Any:
    """The storage type of this name, None for other names.

    Raises: DTypeError for a dtype that fastnn does not have.
    """
    if module in ("torch", "torch.storage") and name in STORAGES:
        return _StorageType(STORAGES[name])
    if module == "torch" and name in _MISSING:
        raise DTypeError(f"the file holds numbers of dtype torch.{name}, which fastnn has not")
    return None


def is_safe(full: str) -> bool:
    """Whether :class:`Reader` allows a name."""
    module, _, name = full.rpartition(".")
    known = any(full in names for names in (_CALLABLE, safe_globals, _VALUES))
    return known or (module in ("torch", "torch.storage") and name in STORAGES)


def _weighed(load: Callable[[Any], None], cost: int) -> Callable[[Any], None]:
    """An instruction that counts for so many bytes."""

    def load_weighed(reader: Reader) -> None:
        reader._budget.spend(cost)
        load(reader)

    return load_weighed


# Its stacks and instruction methods are in no stub.
_Unpickler: Any = pickle._Unpickler


class Reader(_Unpickler):
    """Runs a pickle with instructions that make data, and calls only what is allowed. Nothing is ever imported.

    Args:
        file: contains the pickle; read up to its end and no further.
        storage: returns the array of a storage, from its NumPy dtype, its key and the number of elements.
        budget: of the whole file.
        encoding: of the strings that Python 2 wrote.
        warns: warn of protocols that PyTorch does not read.
    """

    dispatch: ClassVar[dict[int, Any]] = {code: _Unpickler.dispatch[code] for code in _CODES}

    def __init__(
        self, file: IO[bytes], storage: FindStorage, budget: Budget, encoding: str, warns: bool = True
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._budget = budget
        self._warns = warns
        self.persistent_load = _Storages(storage).load
        self._callable = [*_CALLABLE.values(), *safe_globals.values()]
        # The exception raised by user code.
        self._theirs: Exception | None = None

    def load(self) -> Any:
        """The object.

        Raises: UnpicklingError for a damaged file or a forbidden name; Raised for exceptions of user code.
        """
        try:
            return super().load()
        except _PASSED_ON:
            raise
        except Exception as error:
            if error is self._theirs:
                raise Raised(error) from None
            # A truncated or modified pickle may fail anywhere.
            raise damaged(f"the pickle is damaged or makes what fastnn does not read: {error!r}", error) from error

    def find_class(self, module: str, name: str) -> Any:
        module, name = python_3_name(module, name)
        full = f"{module}.{name}"
        for known in (_CALLABLE, safe_globals, _VALUES):
            if full in known:
                return known[full]
        found = _numbers_of_torch(module, name)
        if found is not None:
            return found
        raise UnpicklingError(
            f"Weights only load failed: GLOBAL {full} is not allowed by default. Use "
            f"`fastnn.serialization.add_safe_globals([{name}])` to allow it, or `weights_only=False` if you trust the "
            "file, which can then run any code"
        )

    def _allows(self, found: Any) -> bool:
        return any(found is allowed for allowed in self._callable)

    def load_proto(self) -> None:
        super().load_proto()
        if self.proto != 2 and self._warns:
            message = f"the file has pickle protocol {self.proto}; PyTorch reads protocol 2 with weights_only=True"
            warnings.warn(message, UserWarning, stacklevel=2)

    def load_frozenset(self) -> None:
        raise UnpicklingError("Weights only load failed: a frozenset is not allowed by default")

    def load_reduce(self) -> None:
        args, function = self.stack.pop(), self.stack[-1]
        if function is type or function is dict:
            function = _type_of if function is type else _dict_of
        elif not self._allows(function):
            raise UnpicklingError(f"the pickle calls {_short(function)}, which is not allowed")
        if not isinstance(args, tuple):
            raise UnpicklingError(f"the pickle calls {_short(function)} with {type(args).__name__}, expected a tuple")
        self._budget.spend(_cost_of(function, args))
        _check_items(self._check_hash, function, args)
        with self._calling(function):
            self.stack[-1] = function(*args)

    @contextlib.contextmanager
    def _calling(self, function: Any) -> Iterator[None]:
        """A block that may call user code: its exceptions do not mean that the file is damaged."""
        try:
            yield
        except Exception as error:
            module = str(getattr(function, "__module__", None) or "builtins")
            if module.partition(".")[0] not in ("fastnn", "numpy", *sys.stdlib_module_names) or module == "__main__":
                self._theirs = error
            raise

    def load_newobj(self) -> None:
        args, kind = self.stack.pop(), self.stack.pop()
        # Other classes of the list would be made without a value.
        if kind not in (collections.OrderedDict, collections.Counter, *safe_globals.values()):
            raise UnpicklingError(f"the pickle makes an object of {_short(kind)}, which is not allowed")
        self._budget.spend(_CALL)
        with self._calling(kind.__new__):
            self.append(kind.__new__(kind, *args))

    def load_build(self) -> None:
        state, made = self.stack[-1], self.stack[-2]
        kind = type(made)
        self._budget.spend(_ELEMENT * len(state) if isinstance(state, dict) else 0)
        if kind is collections.OrderedDict:
            self.stack.pop()
            made.__dict__.update(_checked(state, dict))
        elif any(kind is allowed for allowed in safe_globals.values()):
            with self._calling(getattr(made, "__setstate__", None)):
                super().load_build()
        else:
            raise UnpicklingError(f"the pickle changes an object of {kind}, which is not allowed")

    def _check_hash(self, key: Any) -> None:
        """Raise for a key whose hash takes too long, alone or together with those before."""
        if type(key) is tuple:
            # Not memory, but the hash of one key may be computed again and again.
            self._budget.spend(_HASH * _parts_of(key))

    def _check_target(self, target: Any, *kinds: type) -> None:
        if not (type(target) in kinds or self._allows(type(target))):
            raise UnpicklingError(f"the pickle puts items into an object of {type(target)}, which is not allowed")

    def load_append(self) -> None:
        self._check_target(self.stack[-2], list)
        with self._calling(type(self.stack[-2])):
            super().load_append()

    def load_appends(self) -> None:
        self._check_target(self.metastack[-1][-1], list)
        with self._calling(type(self.metastack[-1][-1])):
            super().load_appends()

    def load_setitem(self) -> None:
        self._check_target(self.stack[-3], dict)
        self._check_hash(self.stack[-2])
        with self._calling(type(self.stack[-3])):
            super().load_setitem()

    def load_setitems(self) -> None:
        self._check_target(self.metastack[-1][-1], dict)
        for key in self.stack[::2]:
            self._check_hash(key)
        with self._calling(type(self.metastack[-1][-1])):
            super().load_setitems()

    def load_additems(self) -> None:
        self._check_target(self.metastack[-1][-1], set)
        for item in self.stack:
            self._check_hash(item)
        with self._calling(type(self.metastack[-1][-1])):
            super().load_additems()

    dispatch |= {
        pickle.PROTO[0]: load_proto,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.ADDITEMS[0]: load_additems,
    }
    # One byte of the file makes an object.
    dispatch |= {
        code[0]: _weighed(_Unpickler.dispatch[code[0]], cost)
        for code, cost in (
            (pickle.EMPTY_LIST, 72), (pickle.EMPTY_DICT, 72), (pickle.EMPTY_SET, 224), (pickle.MARK, 72),
            (pickle.TUPLE1, 56), (pickle.MEMOIZE, 96),
        )
    }  # fmt: skip


class _StorageType:
    """A storage class of PyTorch."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def dtype(self) -> np.dtype:
        """NumPy's type; DTypeError if fastnn has no such tensors."""
        try:
            kind = numpy_named(self.name)
            if kind.char not in "FD":
                from_numpy_dtype(kind)
        except TypeError:
            raise DTypeError(f"the file holds numbers of dtype {self.name}, which fastnn has not") from None
        return kind


# -- Reading files that are trusted -----------------------------------------------------------

# The classes that PyTorch's names of functions and methods refer to.
_OWNERS = {"torch._C._VariableFunctionsClass": "fastnn", "torch._C.TensorBase": Tensor, "torch._C._TensorBase": Tensor}


def _of_torch(module: str, name: str) -> Any:
    """fastnn's object for a name of PyTorch.

    Raises: UnpicklingError if fastnn does not have it.
    """
    full = f"{module}.{name}"
    for known in (_CALLABLE, _VALUES, _OWNERS):
        if full in known:
            found = known[full]
            return importlib.import_module(found) if isinstance(found, str) else found
    storage = _numbers_of_torch(module, name)
    if storage is not None:
        return storage
    # PyTorch's classes are in modules of their own, such as torch.optim.adam; the package has the public name.
    path = ["fastnn", *module.split(".")[1:]]
    while path:
        with contextlib.suppress(ImportError, AttributeError):
            found = importlib.import_module(".".join(path))
            for part in name.split("."):
                found = getattr(found, part)
            return found
        path.pop()
    raise UnpicklingError(
        f"the file holds an object of PyTorch's own, {full}; fastnn reads tensors, containers of them and state dicts: "
        "save model.state_dict()"
    )


def unrestricted(base: Any) -> Any:
    """A subclass of an unpickler, such as ``pickle.Unpickler``, that reads checkpoints and calls whatever they name.

    It is made with a file, a function and a budget as for :class:`Reader`, which is not used, and the arguments of
    ``base``.

    Args:
        base: the class that reads pickles.
    """

    class TrustingReader(base):
        def __init__(self, file: IO[bytes], storage: FindStorage, budget: Budget, **options: Any) -> None:
            super().__init__(file, **options)
            self._storages = _Storages(storage)
            # The exception raised by an import, and that raised by a storage.
            self._theirs: Exception | None = None
            self._of_storage: Exception | None = None

        def load(self) -> Any:
            try:
                return super().load()
            except _PASSED_ON:
                raise
            except Exception as error:
                if error is self._of_storage:
                    # Of the archive, though its last line is in zipfile: the caller knows whether the file was read.
                    raise
                if error is self._theirs or not isinstance(error, _KINDS) or _is_of_other_code(error):
                    raise Raised(error) from None
                raise damaged(f"the pickle is damaged, or a call in it failed: {error!r}", error) from error

        def persistent_load(self, pid: Any) -> Storage:
            try:
                return self._storages.load(pid)
            except Exception as error:
                self._of_storage = error
                raise

        def find_class(self, module: str, name: str) -> Any:
            module, name = python_3_name(module, name)
            if module.partition(".")[0] == "torch":
                return _of_torch(module, name)
            try:
                return super().find_class(_MOVED.get(module, module), name)
            except Exception as error:
                self._theirs = error
                raise

    return TrustingReader


# Names of records in a damaged archive are decoded by zipfile.
_OWN_FILES = (__file__, pickle.__file__, zipfile.__file__)


def _is_of_other_code(error: Exception) -> bool:
    """Whether an error was raised by Python code that a pickle has called."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_next is None:
            return trace.tb_frame.f_code.co_filename not in _OWN_FILES
        trace = trace.tb_next
    return False
