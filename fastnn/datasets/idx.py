"""Reader of IDX files, the format of MNIST and its relatives.

Part of `fastnn.datasets`; calls NumPy and the standard library only.

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
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1. No IDX file begins so: its first byte is zero.
_MAX_NDIM = 64  # NumPy's own limit
_MAX_SIZE = 2**31 - 1  # sizes are signed 32-bit integers
# Compressed bytes inflated at a time. Deflate grows data at most 1032 times, so a piece stays under 68 MB. Inflating
# the bundled MNIST in such pieces took 125 ms, in one call 138 ms.
_PIECE = 1 << 16


def read_idx(
    path: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike | None = None,
    ndim: int | None = None,
    sha256: str | None = None,
) -> npt.NDArray[Any]:
    """Read an IDX file, plain or gzipped, into an array.

    Gzip is recognised by the first two bytes, whatever the file's name. Everything the file says about itself is
    checked before memory for the elements is reserved, so a damaged header gives an error and not a huge allocation.

    Args:
        path: the file.
        dtype: element type the file must have, one of uint8, int8, int16, int32, float32, float64 in any byte order.
            Nothing is converted to it. None accepts them all.
        ndim: number of dimensions the file must have. None accepts 1 to 64.
        sha256: SHA-256 that the file's bytes, as stored, must have, in 64 hexadecimal digits. None skips the check.

    Returns:
        A new C-contiguous, writeable array with the file's shape and element type, in native byte order.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a folder.
        ValueError: the file is not a complete, undamaged IDX file, holds too little or too much, or is not what
            `dtype`, `ndim` or `sha256` asks for. The message names the file, what was found and what was expected.

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
    stored = path.read_bytes()
    if sha256 is not None:
        found = hashlib.sha256(stored).hexdigest()
        if found != sha256.lower():
            raise ValueError(f"{path}: SHA-256 is {found}, expected {sha256}")
    content = _gunzip(stored, path) if stored.startswith(_GZIP_MAGIC) else stored
    file_dtype, shape, start = _parse_header(content, path)
    native_dtype = file_dtype.newbyteorder("=")
    if dtype is not None:
        expected_dtype = np.dtype(dtype).newbyteorder("=")
        if native_dtype != expected_dtype:
            raise ValueError(f"{path}: elements are {native_dtype}, expected {expected_dtype}")
    if ndim is not None and len(shape) != ndim:
        raise ValueError(f"{path}: {len(shape)} dimensions {shape}, expected {ndim}")

    # Python integers: the product of sizes in a damaged header overflows 64 bits easily.
    found_bytes = len(content) - start
    expected_bytes = math.prod(shape) * file_dtype.itemsize
    if found_bytes != expected_bytes:
        fault = "too short" if found_bytes < expected_bytes else "too long"
        raise ValueError(
            f"{path}: {fault}, {found_bytes} bytes after the header, expected {expected_bytes} for {native_dtype} "
            f"elements of shape {shape}"
        )
    # An array without elements passes the test above with any other sizes; NumPy refuses those whose strides overflow.
    if math.prod(size for size in shape if size) * file_dtype.itemsize > sys.maxsize:
        raise ValueError(f"{path}: shape {shape}, expected sizes whose product fits in memory")
    # astype copies: the result owns its memory, is aligned and writeable, and the file's bytes can be freed.
    return np.frombuffer(content, dtype=file_dtype, offset=start).reshape(shape).astype(native_dtype)


def _gunzip(stored: bytes, path: Path) -> bytearray:
    """Inflate all gzip members in `stored` (RFC 1952, 2.2 allows several), each checked by its CRC-32 and length."""
    content = bytearray()
    view = memoryview(stored)
    position = 0
    while position < len(view):
        if view[position : position + 2] != _GZIP_MAGIC:
            raise ValueError(
                f"{path}: {len(view) - position} bytes after the end of the gzip data at byte {position}, expected none"
            )
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: with gzip's header and trailer
        while not member.eof:
            piece = view[position : position + _PIECE]
            if not piece:
                raise ValueError(f"{path}: gzip data is cut off after {len(view)} bytes, expected more of it")
            try:
                content += member.decompress(piece)
            except zlib.error as error:
                raise ValueError(f"{path}: damaged gzip data ({error}), expected a sound gzip file") from error
            position += len(piece) - len(member.unused_data)
    return content


def _parse_header(content: bytes | bytearray, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return the elements' big-endian type, the shape, and where the elements start."""
    if len(content) < 4:
        raise ValueError(f"{path}: too short, {len(content)} bytes, expected an IDX magic number of 4 bytes")
    magic = bytes(content[:4])
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
