"""Readers of tables (CSV, Parquet, NPZ) and of pictures (folders of IDX files, NPZ)."""

from __future__ import annotations

import csv
import errno
import importlib
import io
import itertools
import os
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastnn.datasets import load_mnist
from fastnn.tabular.extras import optional

try:
    from lzma import LZMAError
except ImportError:
    # Python may have been built without it; it then cannot read such files.
    LZMAError = EOFError  # type: ignore[assignment,misc]  # never raised

# Endings of files that pandas decompresses.
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_OPENERS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
_TEXT = (".csv", ".tsv", ".txt", ".data")
_PARQUET = (".parquet", ".pq")
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
FORMATS = "a .csv, .tsv, .parquet or .npz file, or a folder of IDX files"
# A number such as 1,5 or 1.234,50 or 3,5 %.
_DECIMAL_COMMA = re.compile(r"[^\w,]*(\d+|\d{1,3}(\.\d{3})+),\d+\W*(EUR|CHF)?\s*")
# Texts that pandas reads as missing, without spaces around them.
_MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
# Names of arrays in an NPZ file, in the order in which they are looked for.
_INPUTS, _TARGETS = ("x", "X", "data", "images", "features"), ("y", "Y", "target", "targets", "labels", "label")


@dataclass
class Pictures:
    """Pictures of one size, uint8, with their labels.

    Args:
        pixels: (rows, height, width) or (rows, height, width, channels), uint8.
        labels: (rows,) integers, or None.
        test_pixels, test_labels: a second set, or None.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    test_pixels: np.ndarray | None = None
    test_labels: np.ndarray | None = None


def read(path: str | os.PathLike[str] | None, *, encoding: str = "utf-8", header: bool = True) -> Any:
    """Read a table as a pandas frame, or pictures as :class:`Pictures`.

    Args:
        path: of a .csv, .tsv, .parquet or .npz file, or of a folder of IDX files; None is the bundled MNIST; "-" is
            CSV from the standard input.
        encoding, header: of CSV, as in :func:`read_table`.

    Raises: ValueError for a file that is not what its name says, with its name and the fault; OSError;
        ModuleNotFoundError if pandas is missing.

    >>> read(None).pixels.shape
    (60000, 28, 28)
    """
    if path is None or (str(path) != "-" and Path(path).is_dir()):
        if path is not None:
            _check_folder(Path(path))
        return Pictures(*load_mnist(path))
    if Path(path).suffix.lower() == ".npz":
        return _read_npz(Path(path))
    return read_table(path, encoding=encoding, header=header)


def _check_folder(folder: Path) -> None:
    """Raise FileNotFoundError, with the tables that are there, for a folder without any IDX file."""
    names = sorted(entry.name for entry in folder.iterdir())
    if any("idx" in name.lower() for name in names):
        # load_mnist names the file that is missing.
        return
    tables = [name for name in names if _ending(name) in (*_TEXT, *_PARQUET, ".npz")]
    more = f", ... ({len(tables)} in all)" if len(tables) > 3 else ""
    hint = f"; it has tables: give one of them, {', '.join(tables[:3])}{more}" if tables else ""
    problem = f"no IDX files such as train-images-idx3-ubyte in this folder{hint}"
    raise FileNotFoundError(errno.ENOENT, problem, str(folder))


def read_table(path: str | os.PathLike[str], *, encoding: str = "utf-8", header: bool = True) -> Any:
    """Read a CSV or Parquet file as a pandas frame.

    The separator of CSV may be a comma, semicolon, tab or bar, and numbers may have a decimal comma.

    Args:
        path: a .csv, .tsv, .txt or .parquet file, compressed or not; "-" is CSV from the standard input.
        encoding: of CSV.
        header: whether the first line of CSV has the names of the columns; otherwise they are "1", "2" and so on.

    Raises: ValueError for an empty or damaged file; OSError; ModuleNotFoundError if pandas is missing.

    >>> import tempfile
    >>> _ = optional("pandas", "a table")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("x;y\\n1,5;a\\n")
    ...     read_table(path).to_dict("records")
    [{'x': 1.5, 'y': 'a'}]
    """
    ending = _ending(path)
    if str(path) != "-" and not Path(path).exists():
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", os.fspath(path))
    if str(path) != "-" and ending not in (*_TEXT, *_PARQUET):
        hint = "; save the sheet as CSV" if ending in _SHEETS else ""
        raise ValueError(f"{path}: cannot tell the format by the name, expected {FORMATS}{hint}")
    pandas = optional("pandas", "a table")
    if str(path) != "-":
        # The system's error, with the name of the file, before the libraries' own.
        with open(path, "rb"):
            pass
    if ending in _PARQUET:
        optional("pyarrow", "Parquet")
        try:
            frame = pandas.read_parquet(path)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}: not a Parquet file, or damaged: {_first_line(error)}") from error
        frame = frame.reset_index() if any(frame.index.names) else frame
        frame.columns = [str(name) for name in frame.columns]
    else:
        frame = _read_csv(pandas, path, encoding, header)
    _check_names(path, list(frame.columns))
    if not len(frame):
        raise ValueError(f"{path}: no rows, expected at least one below the names of the columns")
    return frame


def _check_names(path: str | os.PathLike[str], names: list[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path}: two columns are called {repeated!r}; give each a name of its own")


def _ending(path: str | os.PathLike[str]) -> str:
    endings = [ending.lower() for ending in Path(path).suffixes]
    if endings and endings[-1] in _COMPRESSED:
        endings.pop()
    return endings[-1] if endings else ""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_csv(pandas: Any, path: str | os.PathLike[str], encoding: str, header: bool) -> Any:
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    options: dict[str, Any] = {"low_memory": False, "encoding": encoding, "skipinitialspace": True}
    source: Any = path
    if str(path) == "-":
        source = io.BytesIO(sys.stdin.buffer.read())
    try:
        with _text(pandas, source, encoding) as file:
            head = file.read(1 << 16)
        separator, decimal = _dialect(head)
        if "\0" in head:
            raise ValueError(f"{path}: not a text file: it has zero bytes")
        if header:
            as_text = {"dtype": str, "keep_default_na": False, **options}
            first = _read(pandas, source, sep=separator, header=None, nrows=1, **as_text)
            # pandas would call a second column "a" "a.1", and a copy of the target would be an input.
            _check_names(path, [str(name).strip() for name in first.iloc[0] if str(name).strip()])
        frame = _read(pandas, source, sep=separator, decimal=decimal, header=0 if header else None, **options)
    except pandas.errors.EmptyDataError as error:
        raise ValueError(f"{path}: the file is empty") from error
    except pandas.errors.ParserError as error:
        raise ValueError(f"{path}: {_first_line(error).replace('Error tokenizing data. C error: ', '')}") from error
    except UnicodeError as error:
        name = encoding.removesuffix("-sig")
        # Excel's "Unicode text" begins with one of these marks; latin-1 would read it as nonsense.
        other = "utf-16" if _start(source)[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        raise ValueError(f"{path}: not a text in {name}: give its encoding, such as --encoding {other}") from error
    except LookupError as error:
        raise ValueError(f"there is no encoding {encoding!r}, expected one such as utf-8 or latin-1") from error
    except (EOFError, zipfile.BadZipFile, LZMAError) as error:
        raise ValueError(f"{path}: damaged: {_first_line(error)}") from error
    except OSError as error:
        # gzip and bz2 raise it without a number or the name of the file.
        if error.errno is not None:
            raise
        raise ValueError(f"{path}: damaged: {_first_line(error)}") from error
    if not isinstance(frame.index, pandas.RangeIndex):
        # pandas would make names of rows of the first columns.
        raise ValueError(f"{path}: the lines have more fields than the first line has names")
    if not header:
        frame.columns = [str(i + 1) for i in range(frame.shape[1])]
    names = [str(name).strip() for name in frame.columns]
    if header and len(names) > 1 and all(re.fullmatch(r"[-+]?[\d.]+([eE][-+]?\d+)?", name) for name in names):
        first = [name for name in names if "." in name]
        if first or names != sorted(names, key=float):
            raise ValueError(
                f"{path}: the first line has numbers, not names of columns: add names, or use --no-header, "
                "which calls the columns 1, 2, 3, ..."
            )
    frame.columns = names
    _strip(pandas, frame)
    # Of numbers that pandas leaves as texts: "1.234,50 €".
    frame.attrs["decimal"] = decimal
    return frame


def _strip(pandas: Any, frame: Any) -> None:
    """Remove spaces around texts: quotes are rare, and "Yes " is no class beside "Yes"."""
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i]
        if not pandas.api.types.is_object_dtype(column) and not pandas.api.types.is_string_dtype(column):
            continue
        texts = {value: value.strip() for value in column.dropna().unique() if isinstance(value, str)}
        changed = {value: text for value, text in texts.items() if text != value}
        if changed:
            new = {value: None if text in _MISSING else text for value, text in changed.items()}
            frame[name] = column.map(lambda value, new=new: new.get(value, value) if isinstance(value, str) else value)


def _read(pandas: Any, source: Any, **options: Any) -> Any:
    if isinstance(source, io.BytesIO):
        source.seek(0)
    return pandas.read_csv(source, **options)


def _start(source: Any) -> bytes:
    """The first bytes of a file as it is, compressed or not."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:4]
    with open(source, "rb") as file:
        return file.read(4)


def _text(pandas: Any, source: Any, encoding: str) -> IO[str]:
    if isinstance(source, io.BytesIO):
        return io.TextIOWrapper(io.BytesIO(source.getvalue()), encoding=encoding)
    ending = Path(source).suffix.lower()
    if ending not in _COMPRESSED:
        return open(source, encoding=encoding)
    if ending not in _OPENERS:
        return io.StringIO("")
    opener: Any = importlib.import_module(_OPENERS[ending])
    return opener.open(source, "rt", encoding=encoding)


def _dialect(head: str) -> tuple[str, str]:
    """The separator of the columns and the decimal point, by the first lines."""

    def records(separator: str) -> list[list[str]]:
        # A quoted field may have line breaks, and the name of a column, too.
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator, skipinitialspace=True)
        return list(itertools.islice((record for record in reader if any(map(str.strip, record))), 20))

    try:
        tables = {separator: records(separator) for separator in ",;\t|"}
    except csv.Error:
        # pandas says what is wrong.
        return ",", "."
    separator = max(tables, key=lambda separator: len(tables[separator][0]) if tables[separator] else 0)
    is_comma = separator != "," and any(
        _DECIMAL_COMMA.fullmatch(cell) for record in tables[separator][1:] for cell in record
    )
    return separator, "," if is_comma else "."


def _read_npz(path: Path) -> Any:
    """Pictures, if the rows are uint8 with more than one dimension; otherwise a frame with columns x0, x1, ..., y.

    A target of several numbers becomes the columns y0, y1, ...
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path}: not an NPZ file of numbers and texts, or damaged") from error

    def find(names: tuple[str, ...], ending: str) -> Any:
        return next((arrays[f"{name}{ending}"] for name in names if f"{name}{ending}" in arrays), None)

    ending = "_train" if find(_INPUTS, "_train") is not None else ""
    x, y = find(_INPUTS, ending), find(_TARGETS, ending)
    if x is None:
        raise ValueError(f"{path}: no array 'x' of rows (and 'y' of targets), found {', '.join(arrays) or 'no array'}")
    x_test, y_test = (find(_INPUTS, "_test"), find(_TARGETS, "_test")) if ending else (None, None)
    for rows, targets in ((x, y), (x_test, y_test)):
        if rows is None:
            continue
        if rows.ndim < 2 or not rows.size:
            raise ValueError(f"{path}: 'x' must have rows and columns, found shape {rows.shape}")
        if targets is not None and targets.shape[:1] != rows.shape[:1]:
            raise ValueError(f"{path}: {len(rows)} rows of 'x', but 'y' has the shape {targets.shape}")
        if targets is not None and targets.ndim == 2 and targets.shape[1] == 1:
            targets.shape = (len(targets),)
        if targets is not None and (targets.ndim > 2 or (targets.ndim == 2 and targets.dtype.kind not in "biuf")):
            raise ValueError(
                f"{path}: 'y' must have a number or text, or several numbers, for each row, found {targets.dtype} of "
                f"the shape {targets.shape}"
            )
    if x_test is not None and x_test.shape[1:] != x.shape[1:]:
        raise ValueError(f"{path}: rows of the shape {x.shape[1:]} for training and {x_test.shape[1:]} for the test")
    if x.dtype == np.uint8 and x.ndim > 2 and (y is None or (y.dtype.kind in "iu" and y.ndim == 1)):
        return Pictures(x, y, x_test, y_test)
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{path}: 'x' must be numbers, found {x.dtype}")
    pandas = optional("pandas", "a table")
    flat = x.reshape(len(x), -1)
    frame = pandas.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])
    if y is not None and y.ndim == 2:
        frame[[f"y{i}" for i in range(y.shape[1])]] = y
    elif y is not None:
        frame["y"] = y
    return frame
