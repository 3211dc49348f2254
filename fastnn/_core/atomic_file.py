"""Files that are replaced as a whole: a reader finds the old contents or the new ones, never a part of them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Temporary files that were not written to for so many seconds belong to a process that was killed.
_STALE = 600.0


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path`` when the block ends without an error.

    Raises: as :func:`replacing_path`.
    """
    with replacing_path(path) as temporary, open(temporary, "wb") as file:
        yield file


@contextlib.contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """The path of a file to write, which takes the place of ``path`` when the block ends without an error.

    It is in the same folder, and its bytes reach the disk before it is renamed. After an error, ``path`` is as
    before. For devices and pipes it is their own path.

    Raises: OSError, with the name ``path``.
    """
    try:
        # A link stays a link.
        target = os.path.realpath(path)
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode):
            yield target
            return
        temporary = _temporary(target)
        try:
            yield temporary
            _sync(temporary, os.O_RDWR)
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        if hasattr(os, "O_DIRECTORY"):
            # The rename itself; some file systems have no such call for folders.
            with contextlib.suppress(OSError):
                _sync(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        # Errors of writing name no file, and others the temporary one.
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


def _sync(path: str, flags: int) -> None:
    """Write what the system has of a file, or of a folder, to the disk."""
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)
