"""``save`` and ``load``: checkpoints in PyTorch's file format, without PyTorch.

A checkpoint is a zip archive with one pickle (``data.pkl``) and the memory of each tensor (``data/0``, ``data/1``,
...).
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import pickletools
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeAlias

import numpy as np

from fastnn._checkpoint import unpickler as pickles
from fastnn._checkpoint.pickler import Writer
from fastnn._core.atomic_file import replacing
from fastnn._core.devices import check_device, device
from fastnn.kernels.runtime import allocation

# For type hints, as in PyTorch.
FILE_LIKE: TypeAlias = str | os.PathLike[str] | IO[bytes]
FileLike: TypeAlias = FILE_LIKE
MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | device | str | dict[str, str] | None

# Alignment of records, as in PyTorch, so that they can be memory-mapped.
_ALIGNMENT = 64
_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class _NoFolder(FileNotFoundError, RuntimeError):
    """The folder to save in does not exist; PyTorch raises RuntimeError."""


@contextlib.contextmanager
def _opened(f: Any, mode: str) -> Iterator[IO[bytes]]:
    if not isinstance(f, (str, os.PathLike)):
        wanted = ("read", "seek", "tell") if mode == "rb" else ("write",)
        missing = [name for name in wanted if not hasattr(f, name)]
        if missing:
            raise AttributeError(
                f"expected 'f' to be string, path, or a file-like object with '{missing[0]}', found {type(f).__name__}"
            )
        yield f
        return
    if mode == "wb" and not Path(f).parent.is_dir():
        raise _NoFolder(f"Parent directory {Path(f).parent} does not exist.")
    with replacing(f) if mode == "wb" else open(f, mode) as file:
        yield file


# -- Saving -----------------------------------------------------------------------------------


def save(
    obj: Any,
    f: str | os.PathLike[str] | IO[bytes],
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Save an object to a file that :func:`load` and ``torch.load(weights_only=True)`` read.

    Tensors that share memory share it after loading, with the same strides; as in PyTorch, the whole memory is
    saved even if a tensor is a small view of it. Parameters are saved in row-major order.

    A file at a path is replaced as a whole: after an error, or if the process is killed, the old one is still there.

    A whole Module is saved as the name of its class and its attributes. Only fastnn can load it, with
    ``weights_only=False`` and if that class exists; prefer to save ``model.state_dict()``.

    Args:
        obj: tensors, numbers, strings, and lists, tuples and dictionaries of them; other objects as pickle does.
        f: a path, or a file opened for writing bytes.
        pickle_module, _use_new_zipfile_serialization: accepted and ignored.
        pickle_protocol: the pickle's version; PyTorch reads 2.

    Raises: RuntimeError (a FileNotFoundError) if the folder does not exist; OSError, naming the file, if it cannot be
        written; pickle.PicklingError (for objects defined in a function also an AttributeError) and others for
        objects that cannot be pickled, before anything is written.

    >>> import fastnn, io
    >>> file = io.BytesIO()
    >>> fastnn.save({"w": fastnn.ones(2), "epoch": 3}, file)
    >>> _ = file.seek(0)
    >>> fastnn.load(file)
    {'w': tensor([1., 1.]), 'epoch': 3}
    """
    data = io.BytesIO()
    writer = Writer(data, pickle_protocol)
    writer.dump(obj)
    name = Path(f).stem if isinstance(f, (str, os.PathLike)) else "archive"
    with _opened(f, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        folder = name if name.isascii() and name else "archive"
        _write(archive, f"{folder}/data.pkl", data.getbuffer())
        _write(archive, f"{folder}/.format_version", b"1")
        _write(archive, f"{folder}/.storage_alignment", str(_ALIGNMENT).encode())
        _write(archive, f"{folder}/byteorder", sys.byteorder.encode())
        for storage in writer.storages.values():
            _write(archive, f"{folder}/data/{storage.key}", _bytes(storage.array))
        _write(archive, f"{folder}/version", b"3\n")


def _write(archive: zipfile.ZipFile, name: str, data: Any) -> None:
    info = zipfile.ZipInfo(name)
    info.file_size = len(data)
    large = info.file_size * 1.05 > zipfile.ZIP64_LIMIT
    # The record follows a header of 30 bytes, the name and the extra fields, one of them padding.
    start = archive.start_dir + 30 + len(name) + 4 + (20 if large else 0)
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=large) as record:
        record.write(data)


def _bytes(array: np.ndarray) -> Any:
    return array.view(np.uint8).data if array.size else b""


# -- Loading ----------------------------------------------------------------------------------


def load(
    f: str | os.PathLike[str] | IO[bytes],
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Load a file written by :func:`save` or by PyTorch. By default a file can make data, but never run code.

    The formats are zip checkpoints and those of PyTorch before 1.6. Tensors of other devices are loaded to the CPU.

    ``weights_only=False`` loads objects of any class that can be imported, as ``pickle.load`` does. **A file can then
    run any code**, so use it only for files that you trust. Other files may need 64 times their size and 2 MB of memory
    at most, which only compressed checkpoints of zeros and the like exceed. A whole module saved by PyTorch cannot be
    loaded.
    ``fastnn.serialization.add_safe_globals`` allows single classes with ``weights_only=True``.

    Args:
        f: a path, or a seekable file opened for reading bytes.
        map_location: accepted; a device other than the CPU is an error.
        pickle_module: a module with the class ``Unpickler`` that reads the file; only with ``weights_only=False``,
            which is then the default.
        weights_only: read tensors, numbers, strings and containers only; the default. If the environment variable
            ``TORCH_FORCE_WEIGHTS_ONLY_LOAD`` is 1, always; if ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` is 1, only if asked
            for.
        mmap: accepted.
        pickle_load_args: ``encoding`` of strings written by Python 2; others of ``Unpickler`` with
            ``weights_only=False``.

    Raises: FileNotFoundError; RuntimeError for a damaged archive and for a ``pickle_module`` with
        ``weights_only=True``; pickle.UnpicklingError for a file with forbidden objects; an error that is both, and
        an instance of the error met while reading, such as KeyError, for a file that is damaged or not a checkpoint;
        EOFError for an empty file; TypeError for numbers of a dtype that fastnn does not have. With
        ``weights_only=False`` also the errors of imports, and of the code that the file calls.
    """
    _check_location(map_location)
    options = {"encoding": "utf-8", **pickle_load_args}
    make: functools.partial[Any]
    if _weights_only(weights_only, pickle_module):
        if pickle_module is not None:
            raise RuntimeError("pickle_module reads files only with weights_only=False, found weights_only=True")
        encoding = options.pop("encoding")
        if options:
            raise TypeError(f"load() got unexpected arguments {sorted(options)}")
        make = functools.partial(pickles.Reader, encoding=encoding)
    else:
        make = functools.partial(pickles.unrestricted((pickle_module or pickle).Unpickler), **options)
    with _opened(f, "rb") as opened:
        watched = _Watched(opened)
        start = watched.tell()
        head = watched.read(len(_ZIP_MAGIC))
        watched.seek(start)
        if not head:
            raise EOFError("Ran out of input: the file is empty, or was read to its end before")
        try:
            if head != _ZIP_MAGIC:
                return _load_legacy(watched, make, make.func is pickles.Reader)
            with zipfile.ZipFile(watched) as archive:
                return _load_zip(archive, _Records(watched, is_trusted=make.func is not pickles.Reader), make)
        except (pickle.UnpicklingError, RuntimeError, MemoryError, Warning):
            raise
        except pickles.Raised as raised:
            theirs = raised.error
        except Exception as error:
            if error is watched.raised:
                raise
            if isinstance(error, (zipfile.BadZipFile, OSError, zlib.error)):
                # In PyTorch a truncated archive fails with a read before its start.
                raise pickles.damaged(
                    f"failed reading zip archive, the file is damaged or no checkpoint: {error}", OSError()
                ) from error
            # A damaged file can fail anywhere.
            raise pickles.damaged(f"the file is damaged: {error!r}", error) from error
        raise theirs


# A reader of pickles, from a file, a function that finds storages, and a budget.
_MakeReader: TypeAlias = Callable[[Any, pickles.FindStorage, pickles.Budget], Any]


def _weights_only(given: bool | None, pickle_module: Any) -> bool:
    """The argument after the environment variables of PyTorch."""
    always, never = (
        os.environ.get(f"TORCH_FORCE_{name}_LOAD", "0").lower() in ("1", "y", "yes", "true")
        for name in ("WEIGHTS_ONLY", "NO_WEIGHTS_ONLY")
    )
    if always and never:
        raise RuntimeError("TORCH_FORCE_WEIGHTS_ONLY_LOAD and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD are both set")
    if always:
        return True
    if given is None and never:
        warnings.warn(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, and weights_only is not given: it is False",
            UserWarning, stacklevel=3,
        )  # fmt: skip
        return False
    return pickle_module is None if given is None else bool(given)


# A read of more than this is first compared with what is left of the file.
_LARGE_READ = 1 << 16


class _Watched:
    """A file that remembers errors of its ``read``, to distinguish them from damaged data.

    Python allocates as many bytes as a read asks for. A damaged file may ask for any number, so a large read is limited
    to what is left of the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.raised: Exception | None = None
        # Only methods that exist: `zipfile` and `pickle` test for them.
        for name, method in (("read", self._read_what_is_left), ("readline", None), ("readinto", None)):
            if hasattr(file, name):
                setattr(self, name, self._watched(method or getattr(file, name)))

    def _read_what_is_left(self, *size: Any) -> bytes:
        if size and type(size[0]) is int and size[0] > _LARGE_READ:
            here = self._file.tell()
            self._file.seek(0, os.SEEK_END)
            end = self._file.tell()
            self._file.seek(here)
            size = (min(size[0], max(end - here, 0)),)
        return self._file.read(*size)

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return method(*args)
            except Exception as error:
                self.raised = error
                raise

        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check_location(location: Any) -> None:
    targets = location.values() if isinstance(location, dict) else [] if callable(location) else [location]
    for target in targets:
        if target is not None and str(target).partition(":")[0] != "cpu":
            check_device(target)


# Deflate expands data at most so many times.
_DEFLATE = 1032


def _size_of(file: Any) -> int:
    """The bytes from the place of a file to its end."""
    here = file.tell()
    file.seek(0, os.SEEK_END)
    end = file.tell()
    file.seek(here)
    return int(end - here)


class _Records:
    """The bytes of a file that records may still claim: a damaged archive may claim any size, or the same bytes twice.

    Args:
        file: the archive.
        is_trusted: whether compressed records may have as many bytes as the format can hold.
    """

    def __init__(self, file: Any, is_trusted: bool) -> None:
        here = file.tell()
        file.seek(0)
        self._left = _size_of(file)
        file.seek(here)
        self._is_trusted = is_trusted
        self.budget = pickles.Budget(self._left)

    def spend(self, info: zipfile.ZipInfo) -> zipfile.ZipInfo:
        """Count a record that is about to be read; DamagedFile if the archive cannot hold it."""
        self._left -= info.compress_size
        most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE)
        if self._left < 0 or info.file_size > most:
            raise pickles.DamagedFile(
                f"record {info.filename} has {info.file_size} bytes ({info.compress_size} in the archive), more than "
                "the archive can hold"
            )
        if not self._is_trusted:
            self.budget.spend(info.file_size)
        return info


class _OtherArchive(RuntimeError, ValueError):
    """An archive is not a checkpoint; PyTorch raises one of the two."""


def _folder_of(archive: zipfile.ZipFile) -> str:
    """The folder of a checkpoint in its archive, with its slash."""
    names = set(archive.namelist())
    folder = next((n[: -len("data.pkl")] for n in names if n.count("/") == 1 and n.endswith("/data.pkl")), None)
    if folder is None:
        raise _OtherArchive("the archive has no data.pkl: it is no checkpoint of PyTorch or fastnn")
    if f"{folder}constants.pkl" in names:
        raise _OtherArchive("the archive is a TorchScript program, which fastnn does not read; save a state dict")
    return folder


def _load_zip(archive: zipfile.ZipFile, records: _Records, make: _MakeReader) -> Any:
    names = set(archive.namelist())
    folder = _folder_of(archive)

    def record_of(name: str) -> bytes:
        return archive.read(records.spend(archive.getinfo(f"{folder}{name}")))

    order = record_of("byteorder").decode("latin1") if f"{folder}byteorder" in names else "little"
    if order not in ("little", "big"):
        raise pickles.DamagedFile(f"Unknown endianness type: the record byteorder is {order[:20]!r}")

    def storage(kind: np.dtype, key: str, numel: int) -> np.ndarray:
        name = f"{folder}data/{key}"
        if name not in names:
            raise pickles.DamagedFile(f"the archive has no record {name}")
        info = archive.getinfo(name)
        # Checked before memory is allocated for the size in the pickle.
        if info.file_size != numel * kind.itemsize:
            raise pickles.DamagedFile(
                f"record {name} has {info.file_size} bytes; {numel} elements of {kind} need {numel * kind.itemsize}"
            )
        with archive.open(records.spend(info)) as record:
            return _read(record, kind, numel, order)

    return make(io.BytesIO(record_of("data.pkl")), storage, records.budget).load()


def _read(file: Any, kind: np.dtype, numel: int, order: str) -> np.ndarray:
    """Read ``numel`` elements from a file, in this machine's byte order."""
    array = allocation.empty(numel, kind)
    room, at = memoryview(_bytes(array)), 0
    while at < len(room):
        piece = file.read(min(len(room) - at, 1 << 24))
        if not piece:
            raise pickles.DamagedFile(f"the file ends after {at} of {len(room)} bytes of a tensor")
        room[at : at + len(piece)] = piece
        at += len(piece)
    if order != sys.byteorder:
        array.byteswap(inplace=True)
    # Bytes other than 0 and 1 are invalid bools.
    return array.view(np.uint8) != 0 if kind == np.bool_ else array


def _load_legacy(file: Any, make: _MakeReader, warns: bool) -> Any:
    """A checkpoint of PyTorch before 1.6: four pickles, the keys of the storages, and their contents."""
    arrays: dict[str, np.ndarray] = {}
    size, claimed = _size_of(file), 0

    def storage(kind: np.dtype, key: str, numel: int) -> np.ndarray:
        nonlocal claimed
        found = arrays.get(key)
        if found is None:
            # All of them together: each alone may claim the whole file.
            claimed += numel * kind.itemsize
            if claimed > size:
                raise pickles.DamagedFile(
                    f"tensors of {claimed} bytes, the last of {numel} elements, do not fit into a file of {size} bytes"
                )
            found = arrays[key] = np.zeros(numel, kind)
        return found

    def part() -> Any:
        return pickles.Reader(file, storage, pickles.Budget(size), "utf-8", warns).load()

    try:
        magic = part()
        if magic != _LEGACY_MAGIC or part() != _LEGACY_PROTOCOL:
            raise pickles.DamagedFile("the first pickle is not that of a checkpoint")
        order = "little" if part().get("little_endian", True) else "big"
    except (pickle.UnpicklingError, AttributeError) as error:
        raise pickles.damaged(
            f"Weights only load failed: the file is neither a zip checkpoint nor one of PyTorch before 1.6 ({error})",
            error.__context__ or error,
        ) from error
    # The numbers follow the object, which is read twice: first to find their dtypes and sizes, then with them.
    here = file.tell()
    make(file, storage, pickles.Budget(size)).load()
    for key in part():
        (count,) = struct.unpack("<q", file.read(8))
        array = arrays.get(str(key))
        if array is None or count != array.size:
            raise pickles.DamagedFile(f"storage {key!r} has {count} elements in the file, not what tensors expect")
        array[...] = _read(file, array.dtype, count, order)
    file.seek(here)
    return make(file, storage, pickles.Budget(size)).load()


# -- Names allowed by the user ----------------------------------------------------------------


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Allow :func:`load` to make objects of these classes and to call these functions.

    An element may be a pair of the object and its name in files.

    >>> import fastnn
    >>> class Settings: pass
    >>> fastnn.serialization.add_safe_globals([Settings])
    >>> Settings in fastnn.serialization.get_safe_globals()
    True
    >>> fastnn.serialization.clear_safe_globals()
    """
    pickles.safe_globals.update(_named(safe_globals))


def _named(objects: list[Any]) -> dict[str, Any]:
    named = {}
    for o in objects:
        if isinstance(o, tuple):
            if len(o) != 2:
                raise ValueError(f"expected a pair of an object and its name, found {o}")
            if not isinstance(o[1], str):
                raise TypeError(f"the name of {o[0]} must be a string, found {o[1]!r}")
            named[o[1]] = o[0]
        else:
            named[f"{o.__module__}.{o.__qualname__}"] = o
    return named


def get_safe_globals() -> list[Any]:
    """The objects allowed by ``add_safe_globals``."""
    return list(pickles.safe_globals.values())


def clear_safe_globals() -> None:
    """Remove everything that ``add_safe_globals`` has allowed."""
    pickles.safe_globals.clear()


class safe_globals:
    """As ``add_safe_globals``, inside a ``with`` block only."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self.names = _named(safe_globals)

    def __enter__(self) -> None:
        pickles.safe_globals.update(self.names)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.names:
            pickles.safe_globals.pop(name, None)


def get_unsafe_globals_in_checkpoint(f: str | os.PathLike[str] | IO[bytes]) -> list[str]:
    """The names of classes and functions in a file that ``load`` refuses by default; the file is not loaded.

    Args:
        f: a path, or a seekable file opened for reading bytes.

    Raises: ValueError if the file is not a zip checkpoint.

    >>> import fastnn, io, fractions
    >>> file = io.BytesIO()
    >>> fastnn.save({"w": fastnn.ones(2), "half": fractions.Fraction(1, 2)}, file)
    >>> _ = file.seek(0)
    >>> get_unsafe_globals_in_checkpoint(file)
    ['fractions.Fraction']
    """
    with _opened(f, "rb") as opened:
        start = opened.tell()
        head = opened.read(len(_ZIP_MAGIC))
        opened.seek(start)
        if head != _ZIP_MAGIC:
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        with zipfile.ZipFile(opened) as archive:
            info = archive.getinfo(f"{_folder_of(archive)}data.pkl")
            pickled = archive.read(_Records(opened, is_trusted=False).spend(info))
            return [name for name in _globals_of(pickled) if not pickles.is_safe(name)]


def _globals_of(pickled: bytes) -> list[str]:
    """The names in a pickle, each once."""
    found: dict[str, None] = {}
    # Protocol 4 takes names from the stack: the last two strings before the instruction, new or from the memo.
    strings: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    argument: Any
    for code, argument, _ in pickletools.genops(pickled):
        name = code.name
        if name == "GLOBAL":
            found[".".join(pickles.python_3_name(*argument.split(" ", 1)))] = None
        elif name == "STACK_GLOBAL":
            found[".".join(pickles.python_3_name(*strings[-2:]))] = None
        elif "UNICODE" in name:
            strings.append(argument)
        elif "GET" in name:
            strings.append(memo.get(int(argument)) or "")
        elif name == "MEMOIZE" or "PUT" in name:
            memo[len(memo) if name == "MEMOIZE" else int(argument)] = last
        last = argument if "UNICODE" in name else None
    return list(found)
