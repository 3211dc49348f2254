"""Pickles under PyTorch's names, read safely.

A pickle is a program. :class:`Reader` runs only the few instructions that make data, and calls only functions of
an allowlist: a file from an untrusted source can make numbers and containers, but not run code. The list is that of
PyTorch's ``weights_only`` loading.
"""

from __future__ import annotations

import _compat_pickle  # the standard library's table of the names that Python 2 had
import collections
import contextlib
import enum
import functools
import pickle
import re
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pickle import UnpicklingError
from typing import IO, Any, ClassVar

import numpy as np

from fastnn._checkpoint.pickler import STORAGES, Storage
from fastnn._core import dtypes
from fastnn._core.devices import device
from fastnn._core.dtypes import dtype, from_numpy_dtype
from fastnn._core.errors import DTypeError
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


_MISSING = ("bfloat16", "complex32")

# -- What a pickle may call -------------------------------------------------------------------


def _strided(array: np.ndarray, offset: Any, size: Any, stride: Any) -> Tensor:
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
        raise UnpicklingError(f"a tensor of size {size}, stride {stride} and offset {offset} is not possible")
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
    return _strided(_checked(storage, Storage).array, offset, tuple(size), tuple(stride))


def _rebuild_tensor_v2(
    storage: Storage, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, metadata: Any = None
) -> Tensor:
    return _rebuild_tensor(storage, offset, size, stride).requires_grad_(requires_grad)


def _rebuild_tensor_v3(
    storage: Storage, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any, kind: dtype,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    array = _checked(storage, Storage).array.view(_checked(kind, dtype).numpy)
    return _strided(array, offset, tuple(size), tuple(stride)).requires_grad_(requires_grad)


def _rebuild_parameter(data: Tensor, requires_grad: bool, hooks: Any, state: Any = None) -> Parameter:
    return Parameter(_checked(data, Tensor), bool(requires_grad))


def _rebuild_from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    # Additional attributes of a tensor are dropped: fastnn's tensors have none.
    if function not in (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter):
        raise UnpicklingError(f"a tensor cannot be made by {function}")
    return function(*args)


def _bytes_of(text: str, encoding: str = "latin1") -> bytes:
    # Other codecs are arbitrary code, and looking one up imports it.
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"bytes in encoding {encoding!r} are not read")
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


_BIT_GENERATORS = {name: getattr(np.random, name) for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")}


def _bit_generator(kind: Any = "MT19937") -> Any:
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    if name not in _BIT_GENERATORS:
        raise UnpicklingError(f"NumPy has no bit generator {kind!r}")
    return _BIT_GENERATORS[name]()


def _bits_of(bits: Any) -> Any:
    return bits if type(bits) in _BIT_GENERATORS.values() else _bit_generator(bits)


# NumPy's own function would call its second argument, a function named by the file.
def _numpy_generator(bits: Any = "MT19937", maker: Any = None) -> np.random.Generator:
    return np.random.Generator(_bits_of(bits))


def _random_state(bits: Any = "MT19937", maker: Any = None) -> np.random.RandomState:
    return np.random.RandomState(_bits_of(bits))


def _dict_of(items: Any = ()) -> dict[Any, Any]:
    # Dictionaries that count their changes are pickled as this call.
    return dict(_checked(items, dict)) if items else {}


def _size_of(sizes: Any) -> Size:
    return Size(sizes)


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise UnpicklingError(f"found {type(value).__name__} where {kind.__name__} belongs")
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
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
}
# Allowed names and their values; storage types are in `STORAGES`.
_VALUES: dict[str, Any] = {
    "torch.Tensor": Tensor,
    "torch.nn.parameter.Parameter": Parameter,
    "torch.bool": dtypes.bool_,
    **{f"torch.{d.name}": d for d in (*dtypes._BY_NUMPY.values(), dtypes.complex64, dtypes.complex128)},
}


@functools.cache
def _trusted() -> dict[str, Any]:
    """The additional functions for a trusted file: they make plain values of the standard library and NumPy.

    Each makes a value from values; none of them runs given code, or opens or imports anything.
    """
    import argparse
    import builtins
    import datetime
    import decimal
    import fractions
    import pathlib
    import types
    import uuid

    found = [collections.defaultdict, collections.deque, types.SimpleNamespace, argparse.Namespace, decimal.Decimal]
    found += [datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone]
    found += [pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())]
    found += [collections.ChainMap, collections.UserDict, collections.UserList, fractions.Fraction, uuid.UUID]
    found += [k for k in vars(builtins).values() if isinstance(k, type) and issubclass(k, BaseException)]
    names: dict[str, Any] = {f"{c.__module__}.{c.__qualname__}": c for c in found}
    names |= {f"pathlib.{c.__name__}": c for c in found if issubclass(c, pathlib.PurePath)}
    function: Any
    for function in (np.zeros(1).__reduce__()[0], np.float32(1).__reduce__()[0]):
        names |= {f"numpy.{core}.multiarray.{function.__name__}": function for core in ("core", "_core")}
    # NumPy's generators, with their states.
    makers = {"__bit_generator_ctor": _bit_generator, "__generator_ctor": _numpy_generator}
    makers["__randomstate_ctor"] = _random_state
    names |= {f"numpy.random._pickle.{name}": maker for name, maker in makers.items()}
    bits: Any = np.random.bit_generator
    names["numpy.random.bit_generator.__pyx_unpickle_SeedSequence"] = bits.__pyx_unpickle_SeedSequence
    kinds = *_BIT_GENERATORS.values(), np.random.Generator, np.random.RandomState, np.random.SeedSequence
    names |= {f"{k.__module__}.{k.__name__}": k for k in kinds}
    return names | {
        # None replaces objects that are not saved, such as recordings of calls.
        "builtins.NoneType": type(None),
        "builtins.frozenset": frozenset,
        "numpy.dtype": np.dtype, "builtins.range": range, "builtins.xrange": range, "builtins.slice": slice,
        "fastnn.random._restored": sys.modules["fastnn.random"].__dict__["_restored"],
    }  # fmt: skip


@functools.cache
def _trusted_values() -> dict[str, Any]:
    """Values that a file may name. Reading the file does not call them."""
    import builtins
    import math

    kinds = [k for k in vars(builtins).values() if isinstance(k, type)]
    functions = [abs, all, any, divmod, len, max, min, pow, repr, round, sorted, sum, *vars(math).values()]
    values: dict[str, Any] = {f"builtins.{k.__name__}": k for k in kinds}
    values |= {f"{f.__module__}.{f.__name__}": f for f in functions if callable(f)}
    values |= {"builtins.Ellipsis": Ellipsis, "builtins.NotImplemented": NotImplemented}
    # NumPy 2.0 uses the name of the compiled module.
    ufuncs = [(name, value) for name, value in vars(np).items() if isinstance(value, np.ufunc)]
    places = ("numpy", "numpy._core._multiarray_umath")
    values |= {f"{place}.{name}": value for name, value in ufuncs for place in places}
    kinds = [np.dtype(code).type for code in np.typecodes["All"]]
    names = {k.__name__ for kind in (np.ndarray, np.dtype, *kinds) for k in kind.__mro__[:-1]}
    return values | {f"numpy.{name}": vars(np)[name] for name in names if name in vars(np)}


_NUMPY = (np.ndarray, np.dtype)
# Modules whose functions make numbers from numbers, and the main program.
_FUNCTIONS = (
    "__main__.", "fastnn.ops.creation.", "fastnn.linalg.", "fastnn.nn.", "fastnn.ops.", "fastnn.ops.sampling.",
    "fastnn.special.", "fastnn.utils.data.",
)  # fmt: skip

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


# Its stacks and instruction methods are in no stub.
_Unpickler: Any = pickle._Unpickler


class Raised(Exception):
    """Wraps an exception raised by user code, such as a ``__setstate__``: the file is not damaged."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Reader(_Unpickler):
    """Runs a pickle with instructions that make data, and calls only what is allowed.

    Args:
        file: contains the pickle; read up to its end and no further.
        storage: returns the array of a storage, from its NumPy dtype, its key and the number of elements.
        trusted: also allow objects of the plain classes in ``_trusted``, of Modules and other classes of fastnn,
            and of classes defined in ``__main__``. Nothing is ever imported.
    """

    dispatch: ClassVar[dict[int, Any]] = {code: _Unpickler.dispatch[code] for code in _CODES}

    def __init__(
        self, file: IO[bytes], storage: Callable[[np.dtype, str, int], np.ndarray], trusted: bool, encoding: str,
        warns: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(file, encoding=encoding)
        self._warns = warns and not trusted
        self._find_storage, self._trusted = storage, trusted
        self._storages: dict[str, Storage] = {}
        self._callable = [*_CALLABLE.values(), *safe_globals.values(), *(_trusted().values() if trusted else ())]
        self._found_classes: list[type] = []
        # The exception raised by user code.
        self._theirs: Exception | None = None

    def load(self) -> Any:
        """The object.

        Raises: UnpicklingError for a damaged file or a forbidden name; Raised for exceptions of user code.
        """
        try:
            return super().load()
        except (UnpicklingError, DTypeError, MemoryError, Warning, zipfile.BadZipFile, zlib.error):
            raise
        except Exception as error:
            if error is self._theirs:
                raise Raised(error) from None
            # A truncated or modified pickle may fail anywhere.
            raise damaged(f"the pickle is damaged or makes what fastnn does not read: {error!r}", error) from error

    def find_class(self, module: str, name: str) -> Any:
        # Protocol 2, which PyTorch uses, writes the names of Python 2: int is __builtin__.long.
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        module = _MOVED.get(module, module)
        full = f"{module}.{name}"
        for known in (_CALLABLE, safe_globals, _VALUES):
            if full in known:
                return known[full]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageType(STORAGES[name])
        if module == "torch" and name in _MISSING:
            raise DTypeError(f"the file holds numbers of dtype {full}, which fastnn has not")
        if self._trusted:
            for known in (_trusted(), _trusted_values()):
                if full in known:
                    return known[full]
            return self._find_trusted(module, name)
        raise UnpicklingError(
            f"Weights only load failed: GLOBAL {full} is not allowed by default. Use "
            f"`fastnn.serialization.add_safe_globals([{name}])` to allow it, or `weights_only=False` for a file that "
            "holds whole modules"
        )

    def _find_trusted(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "torch":
            raise UnpicklingError(
                f"the file holds an object of PyTorch's own, {module}.{name}; fastnn reads tensors, containers of them "
                "and state dicts: save model.state_dict()"
            )
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        from fastnn.nn.module import Module

        defined = str(getattr(found, "__module__", ""))
        if isinstance(found, type):
            ours = defined.startswith("fastnn.") and not defined.startswith("fastnn.kernels")
            if issubclass(found, Module) or ours or module == defined == "__main__":
                self._found_classes.append(found)
                return found
        elif callable(found) and module == defined and f"{module}.".startswith(_FUNCTIONS):
            # A value, such as a module's activation function; it is not called here.
            return found
        raise UnpicklingError(
            f"GLOBAL {module}.{name} is not allowed: only classes of fastnn, subclasses of Module, and classes defined "
            "in the main program are, and only those that exist already. Define or import the class first, or use "
            f"`fastnn.serialization.add_safe_globals([{name}])`"
        )

    def _allows(self, found: Any) -> bool:
        return any(found is allowed for allowed in self._callable)

    def _is_enum(self, found: Any) -> bool:
        return isinstance(found, enum.EnumMeta) and found in self._found_classes

    def load_proto(self) -> None:
        super().load_proto()
        if self.proto != 2 and self._warns:
            message = f"the file has pickle protocol {self.proto}; PyTorch reads protocol 2 with weights_only=True"
            warnings.warn(message, UserWarning, stacklevel=2)

    def load_frozenset(self) -> None:
        if not self._trusted:
            raise UnpicklingError("Weights only load failed: a frozenset is not allowed by default")
        super().load_frozenset()

    def load_reduce(self) -> None:
        args, function = self.stack.pop(), self.stack[-1]
        if function is type or function is dict:
            function = _type_of if function is type else _dict_of
        elif not (self._allows(function) or self._is_enum(function)):
            raise UnpicklingError(f"the pickle calls {function}, which is not allowed")
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
        if kind in (dict, list, set) or not (self._allows(kind) or kind in self._found_classes):
            raise UnpicklingError(f"the pickle makes an object of {kind}, which is not allowed")
        with self._calling(kind.__new__):
            self.append(kind.__new__(kind, *args))

    def load_build(self) -> None:
        state, made = self.stack[-1], self.stack[-2]
        kind = type(made)
        if kind is collections.OrderedDict:
            self.stack.pop()
            made.__dict__.update(_checked(state, dict))
        elif kind in self._found_classes or self._allows(kind) or (self._trusted and isinstance(made, _NUMPY)):
            with self._calling(getattr(made, "__setstate__", None)):
                super().load_build()
        else:
            raise UnpicklingError(f"the pickle changes an object of {kind}, which is not allowed")

    def _check_target(self, target: Any, *kinds: type) -> None:
        if not (type(target) in kinds or type(target) in self._found_classes or self._allows(type(target))):
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
        with self._calling(type(self.stack[-3])):
            super().load_setitem()

    def load_setitems(self) -> None:
        self._check_target(self.metastack[-1][-1], dict)
        with self._calling(type(self.metastack[-1][-1])):
            super().load_setitems()

    def load_additems(self) -> None:
        self._check_target(self.metastack[-1][-1], set)
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

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
            raise UnpicklingError(f"the pickle refers to {pid!r}, which is no storage")
        kind, key, numel = _checked(pid[1], _StorageType), str(pid[2]), pid[4]
        if type(numel) is not int or numel < 0:
            raise UnpicklingError(f"a storage cannot have {numel!r} elements")
        if key not in self._storages:
            self._storages[key] = Storage(self._find_storage(kind.dtype, key, numel), key)
        elif self._storages[key].array.dtype != kind.dtype:
            raise UnpicklingError(f"storage {key} is read as {kind.dtype} and as {self._storages[key].array.dtype}")
        view = pid[5] if len(pid) == 6 else None
        if view is None:
            return self._storages[key]
        # PyTorch before 0.4 wrote views of storages as key, offset, size.
        view_key, offset, size = view
        array = _strided(self._storages[key].array, offset, (size,), (1,))._data
        return self._storages.setdefault(str(view_key), Storage(array, str(view_key)))


class _StorageType:
    """A storage class of PyTorch."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def dtype(self) -> np.dtype:
        """NumPy's type; DTypeError if fastnn has no such tensors."""
        try:
            kind = np.dtype(self.name)
            if kind.char not in "FD":
                from_numpy_dtype(kind)
        except TypeError:
            raise DTypeError(f"the file holds numbers of dtype {self.name}, which fastnn has not") from None
        return kind
