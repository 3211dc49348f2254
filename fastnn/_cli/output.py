"""What commands print and write: text, JSON, and files that are replaced as a whole."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastnn._cli.command import Failure, visible
from fastnn._core.atomic_file import check_writable, replacing

STDOUT = "-"
# Options whose file may be standard output.
_TEXT_OPTIONS = ("--json", "-o")


class Output:
    """Prints text for people, to standard error if JSON goes to standard output.

    Args:
        json: path of a JSON file, "-" for standard output, or None.
        is_quiet: print nothing, as another process does.
    """

    def __init__(self, json: str | None = None, is_quiet: bool = False) -> None:
        self.json = json
        self._is_closed = is_quiet

    def say(self, text: str = "") -> None:
        """Print a line. A closed pipe or a full disk must not end a training run."""
        if self._is_closed:
            return
        stream = sys.stderr if self.json == STDOUT else sys.stdout
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # A name of a column may have control characters of the terminal, or letters that the terminal cannot show.
        text = "\n".join(map(visible, text.split("\n"))).encode(encoding, "backslashreplace").decode(encoding)
        try:
            print(text, file=stream, flush=True)
        except OSError:
            self._is_closed = True
            if stream is sys.stdout:
                close_stdout()

    def write_json(self, value: Any) -> None:
        """Write the file of the option --json, if it was given. JSON has no NaN: such numbers are null."""
        if self.json is None:
            return
        text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        if self.json == STDOUT:
            write_stdout(text)
        else:
            write(self.json, lambda file: file.write(text.encode()))


def write_stdout(text: str) -> None:
    """Write data to standard output: as UTF-8, like files, where its own encoding does not have all letters."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()


def close_stdout() -> None:
    """Send what follows nowhere: Python must not raise again when it flushes at exit."""
    with open(os.devnull, "w") as nowhere:
        try:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        except (OSError, ValueError):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (closed with the process)


def plain(value: Any) -> Any:
    """The same nested data with Python's numbers, and None for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(path: str | os.PathLike[str], content: Callable[[IO[bytes]], Any]) -> None:
    """Write a file that is replaced as a whole when ``content(file)`` has returned."""
    with replacing(path) as file:
        content(file)


def check_output(path: str | os.PathLike[str] | None, option: str, size: int = 0) -> None:
    """Find out before the work whether a file can be written.

    Args:
        path: of the file; None is not checked. "-" is standard output for --json and -o only.
        option: its option.
        size: bytes that the file may need.

    Raises: Failure in one line.
    """
    if path is None:
        return
    if not str(path):
        raise Failure(f"{option}: expected the path of a file, found ''")
    if str(path) == STDOUT:
        if option in _TEXT_OPTIONS:
            return
        raise Failure(f"{option} needs the name of a file: only {' and '.join(_TEXT_OPTIONS)} write to standard output")
    try:
        check_writable(path)
        probe = f"{os.path.realpath(path)}.probe-{os.getpid()}"
        if size and (os.path.isfile(path) or not os.path.exists(path)):
            with open(probe, "xb") as file:
                try:
                    for _ in range(0, size, 1 << 20):
                        file.write(bytes(min(size, 1 << 20)))
                    file.flush()
                    os.fsync(file.fileno())
                finally:
                    os.unlink(probe)
    except OSError as error:
        raise Failure(f"{option}: cannot write {path}: {error.strerror or error}") from error


def check_distinct(paths: dict[str, Any]) -> None:
    """Raise Failure if two options name the same file."""
    seen: dict[str, str] = {}
    for option, path in paths.items():
        if path is None or str(path) == STDOUT:
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise Failure(f"{option} and {seen[real]} are the same file, {path}")
        seen[real] = option


@contextmanager
def one_line() -> Iterator[None]:
    """Turn errors of the data, and of packages that are missing, into a message of one line."""
    try:
        yield
    except (ValueError, TypeError, ImportError, MemoryError) as error:
        raise Failure(str(error) or f"out of memory ({type(error).__name__})") from error


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of texts in columns; the first column to the left, the others to the right."""
    rows = [tuple(map(visible, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"  {'  '.join(cells)}")
    return "\n".join(lines)


def shortened(names: list[str], most: int = 6) -> str:
    """Names with commas between them; of many the first ones."""
    return ", ".join(map(visible, names[:most])) + (f", ... ({len(names)} in all)" if len(names) > most else "")
