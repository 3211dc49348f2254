"""Tensors in files of the safetensors format, under the names of ``safetensors.torch``.

The library safetensors reads and writes the bytes; the extra ``safetensors`` installs it. Files are the same, bit for
bit, as those that PyTorch's ``safetensors.torch`` writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from fastnn._core.atomic_file import replacing_path
from fastnn._core.devices import check_device
from fastnn._core.dtypes import bfloat16
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.module import Module

__all__ = ["load", "load_file", "load_model", "safe_open", "save", "save_file", "save_model"]

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_NAMES = {"C64": "complex64"}
_PYTORCH = ("pt", "torch", "pytorch")


def _library() -> ModuleType:
    try:
        # Not the names of the package, which `fastnn run` changes.
        import_module("safetensors")
        return import_module("safetensors._safetensors_rust")
    except ImportError as error:
        raise ImportError(
            "fastnn.safetensors needs the package safetensors: pip install 'fastnn[safetensors]'"
        ) from error


@contextmanager
def _naming(source: Any) -> Iterator[None]:
    """Errors of the library get the name of the file in front."""
    try:
        yield
    except _library().SafetensorError as error:
        if str(error).startswith(f"{source}: "):
            raise
        raise type(error)(f"{source}: {error}") from error


# -- Writing ----------------------------------------------------------------------------------


def save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a file with these tensors.

    Args:
        tensors: names and tensors, as a state dict; contiguous, and none over the memory of another.
        metadata: text that the file keeps beside them.

    Raises: ValueError if it is no dictionary of tensors, or for a tensor that is not contiguous; RuntimeError if
        tensors share memory; ImportError without safetensors.

    ::

        data = fastnn.safetensors.save(model.state_dict())
    """
    _library()
    from safetensors import numpy as library

    return bytes(library.save(_arrays(tensors), metadata))


def save_file(
    tensors: dict[str, Tensor], filename: str | os.PathLike[str], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors to a file.

    Args:
        tensors, metadata: as for :func:`save`.
        filename: path of the file, which is replaced as a whole.

    Raises: as :func:`save`; OSError.

    ::

        fastnn.safetensors.save_file(model.state_dict(), "model.safetensors")
    """
    _library()
    from safetensors import numpy as library

    arrays = _arrays(tensors)
    with _naming(filename), replacing_path(filename) as temporary:
        library.save_file(arrays, temporary, metadata)


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    """The numbers of each tensor, contiguous."""
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
    shared = [names for names in _overlapping(tensors) if len(names) > 1]
    if shared:
        raise RuntimeError(
            "Some tensors share memory, this will lead to duplicate memory on disk and potential differences when "
            f"loading them again: {shared}. A potential way to correctly save your model is to use `save_model`."
        )
    arrays = {}
    for name, tensor in tensors.items():
        array = tensor._data
        if not array.flags.c_contiguous:
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed: call "
                "`.contiguous()` on your tensor to pack it before saving."
            )
        arrays[name] = array
    return arrays


def _overlapping(tensors: dict[str, Tensor]) -> list[set[str]]:
    """Names of the tensors, in sets of those that overlap in memory."""
    by_storage: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if not storage.nbytes():
            continue
        start, stop = np.lib.array_utils.byte_bounds(tensor._data) if tensor._data.size else (0, 0)
        by_storage.setdefault((storage.data_ptr(), storage.nbytes()), []).append((start, stop, name))
    found = []
    for areas in by_storage.values():
        end = -1
        for start, stop, name in sorted(areas):
            if start >= end:
                found.append({name})
            else:
                found[-1].add(name)
            end = max(end, stop)
    return found


def _duplicates(state: dict[str, Tensor], preferred: Any = ()) -> dict[str, list[str]]:
    """For each tensor under several names the name to keep, and the others.

    Raises: RuntimeError for tensors that overlap if none of them is all of their memory.
    """
    found = {}
    for names in _overlapping(state):
        if len(names) < 2:
            continue
        whole = {n for n in names if state[n]._data.nbytes == state[n].untyped_storage().nbytes()}
        if not whole:
            raise RuntimeError(
                "Error while trying to find names to remove to save state dict, but found no suitable name to keep "
                f"for saving amongst: {names}. None is covering the entire storage."
            )
        kept = min(whole & set(preferred) or whole)
        found[kept] = sorted(names - {kept})
    return found


def save_model(
    model: Module, filename: str | os.PathLike[str], metadata: dict[str, str] | None = None,
    force_contiguous: bool = True,
) -> None:  # fmt: skip
    """Write the state dict of a model to a file, each shared tensor once.

    Args:
        model: a module.
        filename: path of the file, which is replaced.
        metadata: text that the file keeps; the names of shared tensors that are left out are added to it.
        force_contiguous: copy tensors that are not contiguous; otherwise they are an error.

    Raises: as :func:`save_file`.
    """
    state = dict(model.state_dict())
    for kept, others in _duplicates(state).items():
        for name in others:
            metadata = {} if metadata is None else metadata
            metadata.setdefault(name, kept)
            del state[name]
    if force_contiguous:
        state = {name: tensor.contiguous() for name, tensor in state.items()}
    try:
        save_file(state, filename, metadata)
    except ValueError as error:
        raise ValueError(f"{error} Or use save_model(..., force_contiguous=True).") from error


# -- Reading ----------------------------------------------------------------------------------


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file that was read already.

    Args:
        data: all its bytes.

    Raises: safetensors.SafetensorError if they are damaged; TypeError for a dtype that fastnn does not have;
        ImportError without safetensors.

    ::

        state = fastnn.safetensors.load(data)
    """
    if not isinstance(data, (bytes, bytearray)):
        raise TypeError(f"data must be bytes, found {type(data).__name__}")
    with _naming("data"):
        parts = _library().deserialize(bytes(data))
    found = {}
    for name, part in parts:
        kind = _dtype(name, part["dtype"])
        found[name] = _wrap(np.frombuffer(bytearray(part["data"]), kind).reshape(part["shape"]))
    return found


def load_file(
    filename: str | os.PathLike[str], device: Any = "cpu", *, backend: str = "mmap"
) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Args:
        filename: path of the file.
        device: "cpu".
        backend: how the file is read, "mmap" or "pread"; the result is the same.

    Raises: safetensors.SafetensorError if the file is damaged; FileNotFoundError; TypeError for a dtype that fastnn
        does not have; ImportError without safetensors.

    ::

        model.load_state_dict(fastnn.safetensors.load_file("model.safetensors"))
    """
    with safe_open(filename, "pt", device, backend=backend) as file:
        return file.get_tensors()


def load_model(
    model: Module, filename: str | os.PathLike[str], strict: bool = True, device: Any = "cpu", *, backend: str = "mmap"
) -> tuple[set[str], list[str]]:
    """Load the file of :func:`save_model` into a model.

    Args:
        model: a module, which receives the values.
        filename, device, backend: as for :func:`load_file`.
        strict: whether names that are missing or unexpected are an error.

    Returns: the missing and the unexpected names.

    Raises: as :func:`load_file`; RuntimeError for names or shapes that do not fit.
    """
    state = load_file(filename, device, backend=backend)
    duplicates = _duplicates(dict(model.state_dict()), state)
    result = model.load_state_dict(state, strict=False)
    missing, unexpected = set(result.missing_keys), list(result.unexpected_keys)
    for name in (name for others in duplicates.values() for name in others):
        if name in missing:
            missing.remove(name)
        else:
            unexpected.append(name)
    if strict and (missing or unexpected):
        lines = [f"Error(s) in loading state_dict for {type(model).__name__}:"]
        for text, names in (("Missing", missing), ("Unexpected", unexpected)):
            if names:
                listed = ", ".join([f'"{n}"' for n in sorted(names)])
                lines.append(f"    {text} key(s) in state_dict: {listed}")
        raise RuntimeError("\n".join(lines))
    return missing, unexpected


def _dtype(name: str, code: str) -> Any:
    kind: Any = bfloat16.numpy if code == "BF16" else _DTYPES.get(code)
    if kind is None:
        raise TypeError(
            f"tensor {name!r} has dtype {_NAMES.get(code, code)}, and fastnn has no tensors of it: convert it to "
            "float32 where the file is written"
        )
    return kind


class safe_open:
    """A file whose tensors are read one by one, as ``safetensors.safe_open``.

    Args:
        filename: path of the file.
        framework: "pt" for tensors of fastnn; others, as "np", are given to the library.
        device: "cpu".
        backend: "mmap" or "pread".

    Raises: as :func:`load_file`.

    ::

        with fastnn.safetensors.safe_open("model.safetensors", framework="pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
    """

    def __new__(cls, filename: Any, framework: str, device: Any = "cpu", *, backend: str = "mmap") -> Any:
        if framework not in _PYTORCH:
            return _library().safe_open(filename, framework, device, **_options(backend))
        return object.__new__(cls)

    def __init__(self, filename: Any, framework: str, device: Any = "cpu", *, backend: str = "mmap") -> None:
        check_device(device)
        self._name = os.fspath(filename)
        with _naming(self._name):
            self._file = _library().safe_open(filename, "np", **_options(backend))

    def __enter__(self) -> safe_open:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._file.keys())

    def offset_keys(self) -> list[str]:
        """The names, in the order of the tensors in the file."""
        return list(self._file.offset_keys())

    def metadata(self) -> dict[str, str] | None:
        """The text beside the tensors, None if there is none."""
        found: dict[str, str] | None = self._file.metadata()
        return found

    def get_slice(self, name: str) -> _Slice:
        """A tensor whose parts are read by indexing.

        Raises: safetensors.SafetensorError for a name that is not in the file.
        """
        with _naming(self._name):
            return _Slice(name, self._file.get_slice(name))

    def get_tensor(self, name: str) -> Tensor:
        """A tensor.

        Raises: safetensors.SafetensorError for a name that is not in the file; TypeError for a dtype that fastnn does
            not have.
        """
        with _naming(self._name):
            _dtype(name, self._file.get_slice(name).get_dtype())
            return _wrap(_writable(self._file.get_tensor(name)))

    def get_tensors(self) -> dict[str, Tensor]:
        """All tensors, by name."""
        names = self.keys()
        return {name: self.get_tensor(name) for name in names}


def _options(backend: str) -> dict[str, str]:
    # Older versions of the library do not have it.
    return {} if backend == "mmap" else {"backend": backend}


def _writable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable and array.flags.c_contiguous else array.copy()


class _Slice:
    """A tensor in a file."""

    def __init__(self, name: str, part: Any) -> None:
        self._name, self._part = name, part

    def get_shape(self) -> list[int]:
        """The sizes of all of it."""
        return list(self._part.get_shape())

    def get_dtype(self) -> str:
        """The dtype in the format's spelling, as "F32"."""
        found: str = self._part.get_dtype()
        return found

    def __getitem__(self, index: Any) -> Tensor:
        _dtype(self._name, self.get_dtype())
        simple = _simple(index, self.get_shape())
        if simple is None:
            # Dtypes that the library does not read in parts, and wrong indices.
            return _wrap(_writable(np.asarray(self._part[...])))[index]
        return _wrap(_writable(np.asarray(self._part[simple])))


def _simple(index: Any, shape: list[int]) -> tuple[int | slice, ...] | None:
    """The index as numbers and slices from the front that are not empty, which the library takes; None for another."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for i, part in enumerate(parts):
        if part is Ellipsis:
            parts[i : i + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
            break
    found: list[int | slice] = []
    for part, size in zip(parts, shape, strict=False):
        if type(part) is int and -size <= part < size:
            found.append(part % size)
        elif isinstance(part, slice) and (part.step is None or part.step == 1):
            start, stop, _ = part.indices(size)
            if start >= stop:
                return None
            found.append(slice(start, stop))
        else:
            return None
    return tuple(found) if len(parts) <= len(shape) else None
