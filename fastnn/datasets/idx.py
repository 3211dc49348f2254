"""Reader of IDX files, the format of MNIST and similar data sets.

Part of `fastnn.datasets`; uses only NumPy and the standard library.

An IDX file, every number big-endian::

    2 bytes     zero
    1 byte      type of the elements: 08 uint8, 09 int8, 0B int16, 0C int32, 0D float32, 0E float64
    1 byte      number of dimensions, n
    n x 4 bytes sizes of the dimensions
    the rest    the elements in C order

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
<http://yann.lecun.com/exdb/mnist/>, section "The IDX file format".
"""

import hashlib
import io
import math
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.kernels.runtime import allocation

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1. No IDX file starts with it: its first byte is zero.
_MAX_NDIM = 64  # NumPy's own limit
_MAX_SIZE = 2**31 - 1  # sizes are signed 32-bit integers
_File = io.BufferedReader | io.BytesIO
_LONGEST_HEADER = 4 + 4 * 255
# Bytes of a file read at a time. Deflate expands data at most 1032 times, so a piece stays under 68 MB. Pieces are
# written directly into the array: inflating MNIST as a whole first had a peak of 104 MB instead of 48 MB.
_PIECE = 1 << 16


def read_idx(
    path: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike | None = None,
    ndim: int | None = None,
    sha256: str | None = None,
) -> npt.NDArray[Any]:
    """Read an IDX file, plain or gzipped, into an array.

    Gzip is recognised by the first two bytes, whatever the file's name. The header is checked before memory for the
    elements is allocated, so a damaged header gives an error and not a huge allocation. No memory besides the array
    is needed.

    Args:
        path: the file.
        dtype: element type the file must have, one of uint8, int8, int16, int32, float32, float64 in any byte order.
            Nothing is converted. None accepts them all.
        ndim: number of dimensions the file must have. None accepts 1 to 64.
        sha256: SHA-256 that the file's bytes, as stored, must have, in 64 hexadecimal digits. None skips the check.

    Returns:
        A new C-contiguous, writeable array with the file's shape and element type, in native byte order.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a folder.
        ValueError: the file is not a complete, undamaged IDX file, is too short or too long, or does not match
            `dtype`, `ndim` or `sha256`. The message names the file, the found and the expected value.

    Source of the format: see the top of this file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from fastnn.datasets import read_idx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path, ndim=1)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    if path.is_dir():  # Windows would report a lack of permission
        raise IsADirectoryError(f"{path}: is a folder, expected an IDX file")
    with path.open("rb") as opened:
        # A pipe can be read only once, but the bytes are needed twice.
        return _read(opened if opened.seekable() else io.BytesIO(opened.read()), path, dtype, ndim, sha256)


def _read(
    file: _File, path: Path, dtype: npt.DTypeLike | None, ndim: int | None, sha256: str | None
) -> npt.NDArray[Any]:
    if sha256 is not None:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise ValueError(f"{path}: SHA-256 is {found}, expected {sha256}")
    file.seek(0)
    is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    content = _inflate(file, path) if is_gzip else _pieces(file)
    head = b""
    for piece in content:
        head += piece
        if len(head) >= _LONGEST_HEADER:
            break
    file_dtype, shape, start = _parse_header(head, path)
    native_dtype = file_dtype.newbyteorder("=")
    if dtype is not None:
        expected_dtype = np.dtype(dtype).newbyteorder("=")
        if native_dtype != expected_dtype:
            raise ValueError(f"{path}: elements are {native_dtype}, expected {expected_dtype}")
    if ndim is not None and len(shape) != ndim:
        raise ValueError(f"{path}: {len(shape)} dimensions {shape}, expected {ndim}")

    # Python integers: the product of sizes in a damaged header may overflow 64 bits.
    expected_bytes = math.prod(shape) * file_dtype.itemsize

    def check_length(found_bytes: int) -> None:
        if found_bytes != expected_bytes:
            fault = "too short" if found_bytes < expected_bytes else "too long"
            raise ValueError(
                f"{path}: {fault}, {found_bytes} bytes after the header, expected {expected_bytes} for {native_dtype} "
                f"elements of shape {shape}"
            )

    if not is_gzip:
        check_length(file.seek(0, os.SEEK_END) - start)
    elif not _claims(file, start + expected_bytes):
        # Several members, or a wrong header, or damage: inflate again, only to count the bytes.
        check_length(sum(map(len, _inflate(file, path))) - start)
    # An array without elements passes the check above with any other sizes; NumPy rejects those whose strides overflow.
    if math.prod(size for size in shape if size) * file_dtype.itemsize > sys.maxsize:
        raise ValueError(f"{path}: shape {shape}, expected sizes whose product fits in memory")

    array = allocation.empty(shape, native_dtype)
    raw = array.reshape(-1).view(np.uint8)
    position = -start
    for piece in _inflate(file, path) if is_gzip else _pieces(file):
        first, end = max(position, 0), position + len(piece)
        if first < min(end, expected_bytes):
            raw[first:end] = np.frombuffer(piece, np.uint8)[first - position : expected_bytes - position]
        position = end
    check_length(position)
    return array if file_dtype.isnative else array.byteswap(inplace=True)


def _pieces(file: _File) -> Iterator[bytes]:
    """The bytes of a file from the start, in pieces."""
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece


def _claims(file: _File, size: int) -> bool:
    """Whether the trailer of a gzip file (RFC 1952, 2.3.1) gives this number of inflated bytes."""
    file.seek(max(file.seek(0, os.SEEK_END) - 4, 0))
    return int.from_bytes(file.read(), "little") == size


def _inflate(file: _File, path: Path) -> Iterator[bytes]:
    """Inflate all members of a gzip file (RFC 1952, 2.2 allows several), each checked by its CRC-32 and length."""
    size, position = file.seek(0, os.SEEK_END), 0
    while position < size:
        file.seek(position)
        if file.read(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
            raise ValueError(
                f"{path}: {size - position} bytes after the end of the gzip data at byte {position}, expected none"
            )
        file.seek(position)
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: with gzip's header and trailer
        while not member.eof:
            piece = file.read(_PIECE)
            if not piece:
                raise ValueError(f"{path}: gzip data is cut off after {position} bytes, expected more of it")
            try:
                inflated = member.decompress(piece)
            except zlib.error as error:
                raise ValueError(f"{path}: damaged gzip data ({error}), expected a sound gzip file") from error
            position += len(piece) - len(member.unused_data)
            yield inflated


def _parse_header(content: bytes, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return the elements' big-endian type, the shape, and where the elements start."""
    if len(content) < 4:
        raise ValueError(f"{path}: too short, {len(content)} bytes, expected an IDX magic number of 4 bytes")
    magic = content[:4]
    if magic[:2] != b"\0\0":
        raise ValueError(f"{path}: magic number is {magic.hex(' ')}, expected 00 00 in the first two bytes")
    if magic[2] not in _TYPES:
        known = ", ".join(f"{code:02x}" for code in _TYPES)
        raise ValueError(
            f"{path}: element type {magic[2]:02x} in magic number {magic.hex(' ')}, expected one of {known}"
        )
    ndim = magic[3]
    if not 1 <= ndim <= _MAX_NDIM:
        raise ValueError(f"{path}: {ndim} dimensions in magic number {magic.hex(' ')}, expected 1 to {_MAX_NDIM}")
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError(f"{path}: too short, {len(content)} bytes, expected a header of {start} for {ndim} dimensions")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if max(shape) > _MAX_SIZE:
        raise ValueError(f"{path}: shape {shape}, expected sizes of at most {_MAX_SIZE}")
    return _TYPES[magic[2]], shape, start
