"""The disk cache of compiled kernels: one file per kernel, keyed on everything its code depends on.

Numba's own cache does not notice an edit in another file, and two processes that save two
variants of a function at once can leave an index that names the wrong machine code. Here the
name of a file is a hash of its whole key, a file is written under a temporary name and then
renamed, and its contents are checked before they are used. May be imported by ``jit`` only.
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
import numba
import numpy as np
from numba.core import compiler
from numba.core.caching import _Cache
from numba.core.serialize import dumps

# Variables that change what the sources generate, as they were when fastnn was imported.
overrides = {name: value for name, value in os.environ.items() if name.startswith("FASTNN_GEMM_")}

_DIGEST = 32
_KEEP_DAYS = 30


@functools.cache
def source_key() -> str:
    """Hash of the kernel sources and of the versions that their machine code depends on."""
    digest = hashlib.sha256()
    for part in (sys.version, numba.__version__, llvmlite.__version__, np.__version__):
        digest.update(part.encode() + b"\0")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(repr(sorted(overrides.items())).encode())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """The first of three folders that can be written: $FASTNN_CACHE_DIR, beside the kernels, the user's cache."""
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
    yield Path(__file__).parent / "__pycache__"
    # Path.home raises where a container runs as a user without an entry in its password file.
    with contextlib.suppress(RuntimeError):
        yield _user_cache() / "fastnn"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _prune(root: Path, current: Path) -> None:
    """Remove the folders of sources and versions that nobody has compiled for for a month."""
    oldest = time.time() - _KEEP_DAYS * 86400
    for folder in root.glob("kernels-*"):
        try:
            if folder != current and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


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
        folder = cache_folder()
        if folder is None:
            return None
        # magic_tuple: target triple, CPU name, CPU features.
        key = repr((self._name, str(signature), context.codegen().magic_tuple()))
        return folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        result = self._load(self._file(sig, target_context), target_context)
        if result is None:
            self._started = time.perf_counter()
            self._report(self._name, None)
        return result

    def _load(self, path: Path | None, context: Any) -> Any:
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            return None  # Cut short or damaged: compile again and overwrite it.
        return compiler.CompileResult._rebuild(context, *pickle.loads(payload))

    def save_overload(self, sig: Any, data: Any) -> None:
        self._report(self._name, time.perf_counter() - self._started)
        path = self._file(sig, data.target_context)
        if path is None:
            return
        if data.library.has_dynamic_globals:
            raise RuntimeError(f"kernel {self._name} holds an address of this process and cannot be cached")
        payload = dumps(data._reduce())
        handle, temporary = -1, ""
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, path)
        except OSError:
            # A full disk costs the next process a compilation, nothing more.
            if temporary:
                Path(temporary).unlink(missing_ok=True)

    def enable(self) -> None:
        """The cache is always on; Numba's interface asks for the method."""

    def disable(self) -> None:
        """The cache is always on; Numba's interface asks for the method."""

    def flush(self) -> None:
        """Remove this kernel's files."""
        folder = cache_folder()
        for path in folder.glob(f"{self._name}-*.bin") if folder else ():
            path.unlink(missing_ok=True)
