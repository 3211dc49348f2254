"""The disk cache of compiled kernels: one file per kernel, keyed on everything its code depends on.

Numba's own cache does not notice an edit in another file, and two processes that save two
variants of a function at once can leave an index that names the wrong machine code. Here the
name of a file is a hash of its whole key, a file is written under a temporary name and then
renamed, and its contents are checked before use.

Only machine code is loaded. Numba's own loader first prepares to compile: it imports everything
that it can compile (including SciPy's linear algebra), compiles its allocator, and parses each
kernel a second time as LLVM bitcode. A process with one step of an MLP took 0.8 s and 185 MB that
way; it takes 0.4 s and 119 MB now, 105 of them for ``import fastnn``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import compiler, config, registry
from numba.core.caching import _Cache
from numba.core.runtime import _nrt_python
from numba.core.serialize import dumps

from fastnn.kernels.runtime import lowered
from fastnn.kernels.runtime.cpu import find_vectors
from fastnn.kernels.runtime.lowered import hash_of_sources

# Variables that change the generated code, as they were when fastnn was imported.
overrides = {name: value for name, value in os.environ.items() if name.startswith("FASTNN_GEMM_")}

# Numba's settings, other than the CPU's name and features, that change the machine code of the same source.
_NUMBA_SETTINGS = (
    "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DISABLE_INTEL_SVML", "DEBUGINFO_DEFAULT",
    "EXTEND_VARIABLE_LIFETIMES", "ENABLE_PROFILING", "DEBUG_NRT", "NRT_STATS", "DEBUG_ARRAY_OPT_RUNTIME",
    "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS",
)  # fmt: skip

# The folder of all kernels: all their sources are part of each key.
_KERNELS = Path(__file__).parents[1]

_DIGEST = 32
_KEEP_DAYS = 30


@functools.cache
def source_key() -> str:
    """Hash of the kernel sources and of the versions that the machine code depends on."""
    digest = hashlib.sha256()
    for part in (sys.version, numba.__version__, llvmlite.__version__, np.__version__):
        digest.update(part.encode() + b"\0")
    digest.update(hash_of_sources(_KERNELS).encode())
    digest.update(repr(sorted(overrides.items())).encode())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """The first of three folders that is writable: $FASTNN_CACHE_DIR, the kernels' folder, the user's cache."""
    for root in _roots():
        folder = root / f"kernels-{source_key()}"
        try:
            is_new = not folder.exists()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        if is_new:
            _prune(root, folder)
        return folder
    return None


def _roots() -> Iterator[Path]:
    if os.environ.get("FASTNN_CACHE_DIR"):
        yield Path(os.environ["FASTNN_CACHE_DIR"])
    yield _KERNELS / "__pycache__"
    # Path.home raises in a container whose user has no entry in the password file.
    with contextlib.suppress(RuntimeError):
        yield _user_cache() / "fastnn"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _prune(root: Path, current: Path) -> None:
    """Remove the folders of other sources and versions without a compilation for a month."""
    oldest = time.time() - _KEEP_DAYS * 86400
    for folder in root.glob("kernels-*"):
        try:
            if folder != current and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _settings() -> list[Any]:
    # Numba reads its variables again before it compiles, so these are the current values, not those at import.
    return [getattr(config, setting, None) for setting in _NUMBA_SETTINGS]


def settings_text() -> str:
    """All settings that change code."""
    return repr((sorted(overrides.items()), _settings()))


def _path(name: str, what: str, codegen: Any) -> Path | None:
    """The path of a file for this CPU in the cache folder, existing or not."""
    folder = cache_folder()
    if folder is None:
        return None
    # magic_tuple: target triple, CPU name, CPU features.
    key = repr((name, what, codegen.magic_tuple(), _settings()))
    return folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"


def _read(path: Path | None) -> Any:
    """The contents of a file; None if it is missing or damaged."""
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    payload = content[_DIGEST:]
    if digest_of(path, payload) != content[:_DIGEST]:
        return None  # Truncated, damaged, or written under another name: compile again and overwrite it.
    try:
        return pickle.loads(payload)
    except Exception:
        # A class of a library that has changed without a new version number.
        return None


def digest_of(path: Path, payload: bytes) -> bytes:
    """The hash at the start of a file. It covers the name, too, which depends on the CPU that the code is for."""
    return hashlib.sha256(path.name.encode() + b"\0" + payload).digest()


def _write(path: Path, content: Any) -> None:
    """Replace a file atomically; a full disk only costs the next process a compilation."""
    payload = dumps(content)
    handle, temporary = -1, ""
    _remove_unfinished(path.parent)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(digest_of(path, payload) + payload)
        os.replace(temporary, path)
    except OSError:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


@functools.cache
def _remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote, if they are a day old."""
    oldest = time.time() - 86400
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def remembered(name: str, codegen: Any, find: Callable[[], Any]) -> Any:
    """The result of ``find()`` for the target CPU, computed once and cached with the kernels."""
    path = _path(name, "", codegen)
    answer = _read(path)
    if answer is None:
        answer = find()
        if path is not None:
            _write(path, answer)
    return answer


@functools.cache
def _name_allocator() -> None:
    """Tell LLVM where Numba's allocator is: kernels refer to it, though none calls it."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def _is_known(name: str, codegen: Any) -> bool:
    """Whether loaded code may call this function: LLVM ends the process if it cannot resolve a name."""
    return llvm.address_of_symbol(name) is not None or codegen._engine.is_symbol_defined(name)


class _MachineCode:
    """Replaces Numba's library of a kernel, which is only used for addresses.

    Compiled code cannot be linked with it, and calls a kernel by its address.
    """

    def __init__(self, codegen: Any, code: bytes) -> None:
        self.codegen, self._engine = codegen, codegen._engine
        # Not through JitEngine's methods: they cannot add an object file.
        self._engine._ee.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def get_pointer_to_function(self, name: str) -> int:
        return int(self._engine.get_function_address(name))


@functools.cache
def _vectors(codegen: Any) -> tuple[int, bool]:
    return find_vectors(codegen)


def _machine_code(text: str, codegen: Any) -> bytes:
    """LLVM's machine code for the CPU, from optimised code for CPUs of its kind."""
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = codegen._tm.triple, str(codegen._tm.target_data)
    module.verify()
    return bytes(codegen._tm.emit_object(module))


def _content(data: Any) -> tuple[Any, ...]:
    """The contents of a file: machine code, external names, functions to call first, and the Python interface."""
    library, description = data.library, data.fndesc
    # Used by the compiler only, and not always picklable.
    description.typemap = description.calltypes = None
    module = library._final_module
    declared = (
        value.name
        for values in (module.functions, module.global_variables)
        for value in values
        if value.is_declaration and not value.name.startswith("llvm.")
    )
    # Names that this process cannot find either are declared but unused.
    externals = [name for name in declared if _is_known(name, library.codegen)]
    is_for_python = library.get_pointer_to_function(description.llvm_cpython_wrapper_name) != 0
    environment = data.environment if is_for_python else None
    return library._get_compiled_object(), externals, data.reload_init, description, environment, data.signature


def _uses_addresses(library: Any) -> bool:
    """Whether code reads an address of this process; without optimization Numba also declares some that are unused."""
    module = llvm.parse_bitcode(library._final_module.as_bitcode())
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_dead_code_elimination_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(library.codegen._tm, llvm.create_pipeline_tuning_options()))
    return any(value.name.startswith("numba.dynamic.globals") for value in module.global_variables)


class CompiledCache(_Cache):
    """Numba's cache interface for one kernel.

    Args:
        name: the kernel's unique name.
        report: called with ``(name, None)`` before a compilation and ``(name, seconds)`` after it.
    """

    def __init__(self, name: str, report: Callable[[str, float | None], None]) -> None:
        self._name, self._report = name, report
        self._started = 0.0

    @property
    def cache_path(self) -> str | None:
        folder = cache_folder()
        return None if folder is None else str(folder)

    def _file(self, signature: Any, context: Any) -> Path | None:
        return _path(self._name, str(signature), context.codegen())

    def has(self, signature: Any) -> bool:
        """Whether there is a file for this CPU, whole or not."""
        path = _path(self._name, str(signature), registry.cpu_target.target_context.codegen())
        return path is not None and path.exists()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        path = self._file(sig, target_context)
        result = self._load(_read(path), target_context)
        if result is None:
            self._started = time.perf_counter()
            self._report(self._name, None)
            result = self._finish_lowered(path, sig, target_context)
        if result is None:
            target_context.refresh()
        return result

    def _finish_lowered(self, path: Path | None, signature: Any, context: Any) -> Any:
        """The kernel from the code that is shipped with fastnn; None if this kernel or CPU has none."""
        origin = lowered.Origin(_vectors(context.codegen()), settings_text())
        found = lowered.find(self._name, origin)
        if found is None:
            return None
        text, interface = found
        content = (_machine_code(text, context.codegen()), *interface)
        result = self._load(content, context)
        if result is not None and str(result.signature) == str(signature):
            self._save(path, lambda: content)
            return result
        return None

    def _load(self, content: Any, context: Any) -> Any:
        if content is None:
            return None
        code, externals, functions, description, environment, signature = content
        for function in functions:
            function()
        _name_allocator()
        if not all(_is_known(name, context.codegen()) for name in externals):
            # Numba compiles some of its own functions when it prepares to compile.
            context.refresh()
            if not all(_is_known(name, context.codegen()) for name in externals):
                return None
        library, entry = _MachineCode(context.codegen(), code), None
        if environment is not None:
            entry = context.get_executable(library, description, environment)
        return compiler.compile_result(
            target_context=context, typing_context=context.typing_context, library=library, entry_point=entry,
            fndesc=description, signature=signature, environment=environment, objectmode=False,
        )  # fmt: skip

    def save_overload(self, sig: Any, data: Any) -> None:
        if data.library.has_dynamic_globals and _uses_addresses(data.library):
            raise RuntimeError(f"kernel {self._name} holds an address of this process and cannot be cached")
        self._save(self._file(sig, data.target_context), lambda: _content(data))

    def _save(self, path: Path | None, content: Callable[[], Any]) -> None:
        self._report(self._name, time.perf_counter() - self._started)
        if path is not None:
            _write(path, content())

    def enable(self) -> None:
        """The cache is always on; Numba's interface requires the method."""

    def disable(self) -> None:
        """The cache is always on; Numba's interface requires the method."""

    def flush(self) -> None:
        """Remove this kernel's files."""
        folder = cache_folder()
        for path in folder.glob(f"{self._name}-*.bin") if folder else ():
            path.unlink(missing_ok=True)
