"""Files that are replaced as a whole: a reader finds the old contents or the new ones, never a part of them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

# Temporary files that were not written to for so many seconds belong to a process that was killed.
_STALE = 600.0


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path`` when the block ends without an error.

    The bytes are written to a temporary file in the same folder and reach the disk before it is renamed. After an
    error, ``path`` is as before. Devices and pipes are opened themselves.

    Raises: OSError, with the name ``path``.
    """
    try:
        # A link stays a link.
        target = os.path.realpath(path)
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "wb") as file:
                yield file
            return
        temporary = _temporary(target)
        number = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(number, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(os.path.dirname(target))
    except OSError as error:
        # Errors of writing name no file, and those of opening and renaming the temporary one.
        if error.errno is not None:
            error.filename, error.filename2 = os.fspath(path), None
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OSError if :func:`replacing` could not replace ``path``, and delete what killed processes left there."""
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; expected the path of a file")
    mode = _mode(target)
    if mode is not None and not stat.S_ISREG(mode):
        return
    folder = Path(target).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder of {os.fspath(path)!r} does not exist")
    temporary = _temporary(target)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.unlink(temporary)
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    start = _start(target)
    for other in folder.iterdir():
        if other.name.startswith(start) and other.name.endswith(".tmp"):
            # Another process may delete it at the same time.
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > _STALE:
                    other.unlink()


def _mode(target: str) -> int | None:
    try:
        return os.stat(target).st_mode
    except FileNotFoundError:
        return None


def _start(target: str) -> str:
    # Short enough for the longest names: 255 bytes, and up to four bytes a letter.
    return f".{os.path.basename(target)[:50]}."


def _temporary(target: str) -> str:
    return os.path.join(os.path.dirname(target), f"{_start(target)}{secrets.token_hex(8)}.tmp")


def _sync_folder(folder: str) -> None:
    """Make a rename in a folder permanent, where folders can be opened."""
    flags: Any = getattr(os, "O_DIRECTORY", None)
    if flags is None:
        return
    number = os.open(folder, os.O_RDONLY | flags)
    try:
        # Some file systems have no such call for folders.
        with contextlib.suppress(OSError):
            os.fsync(number)
    finally:
        os.close(number)
