"""Images as items of data sets: PIL's if PIL is installed, otherwise arrays with the same interface."""

from __future__ import annotations

import functools
import os
import struct
import sys
import zlib
from typing import Any

import numpy as np

# The mode of an image, by its number of channels; 2-D arrays have none.
_MODES = {0: "L", 1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class ArrayImage:
    """A uint8 image in an array, with the part of PIL's ``Image`` interface that transforms and plots need.

    Args:
        array: (height, width) or (height, width, channels) uint8.

    >>> import numpy as np
    >>> from fastnn.torchvision.image import ArrayImage
    >>> image = ArrayImage(np.zeros((2, 3), np.uint8))
    >>> image.size, image.mode, np.asarray(image).shape
    ((3, 2), 'L', (2, 3))
    """

    def __init__(self, array: np.ndarray) -> None:
        channels = array.shape[2] if array.ndim == 3 else 0
        if array.ndim not in (2, 3) or channels not in _MODES or array.dtype != np.uint8:
            raise TypeError(
                f"an image is a uint8 array of shape (height, width) or (height, width, 1 to 4), found {array.dtype} "
                f"{array.shape}"
            )
        self.array = array[:, :, 0] if channels == 1 else array

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.array.shape[1], self.array.shape[0]

    width = property(lambda self: self.array.shape[1], doc="The number of columns.")
    height = property(lambda self: self.array.shape[0], doc="The number of rows.")

    @property
    def mode(self) -> str:
        """"L", "LA", "RGB" or "RGBA"."""
        return _MODES[self.array.shape[2] if self.array.ndim == 3 else 0]

    def getbands(self) -> tuple[str, ...]:
        """The names of the channels."""
        return tuple(self.mode)

    def convert(self, mode: str) -> ArrayImage:
        """The image in mode "L" or "RGB", with PIL's colour weights."""
        colours = self.array if self.array.ndim == 3 else self.array[:, :, None]
        if mode == self.mode:
            return self
        if mode == "RGB":
            return ArrayImage(np.repeat(colours[:, :, :1], 3, axis=2) if colours.shape[2] < 3 else colours[:, :, :3])
        if mode == "L":
            if colours.shape[2] < 3:
                return ArrayImage(colours[:, :, 0])
            # ITU-R 601-2, in PIL's fixed-point numbers.
            weights = np.array([19595, 38470, 7471], np.int64)
            return ArrayImage(((colours[:, :, :3] @ weights + 0x8000) >> 16).astype(np.uint8))
        raise ValueError(f"an image is converted to 'L' or 'RGB', found mode {mode!r}; install Pillow for others")

    def copy(self) -> ArrayImage:
        """A copy of the image."""
        return ArrayImage(self.array.copy())

    def save(self, fp: Any, format: str | None = None) -> None:
        """Write the image as PNG."""
        write_png(self.array, fp, format)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.array if dtype is None else self.array.astype(dtype)
        return array.copy() if copy else array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayImage) and np.array_equal(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]  # images compare by content

    def __repr__(self) -> str:
        return f"<ArrayImage mode={self.mode} size={self.width}x{self.height}>"


@functools.cache
def pil() -> Any:
    """PIL's module ``Image``; None if PIL is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return None
    return Image


def as_image(array: np.ndarray) -> Any:
    """An image from a (height, width) or (height, width, channels) uint8 array."""
    library = pil()
    if library is None:
        return ArrayImage(array)
    return library.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def is_image(value: Any) -> bool:
    """Whether this is a PIL image or an array image."""
    if isinstance(value, ArrayImage):
        return True
    # Do not import PIL for this check: if the object is a PIL image, PIL is already imported.
    library = sys.modules.get("PIL.Image")
    return library is not None and isinstance(value, library.Image)


def write_png(array: np.ndarray, fp: Any, format: str | None = None) -> None:
    """Write a (height, width[, channels]) uint8 array as PNG (ISO/IEC 15948), unfiltered.

    Raises: ValueError for another format, which needs Pillow.
    """
    name = os.fspath(fp) if isinstance(fp, (str, os.PathLike)) else ""
    ending = (format or str(name).rpartition(".")[2] or "png").lower()
    if ending != "png":
        raise ValueError(f"images are written as PNG, found format {ending!r}; install Pillow for others")
    colours = array.shape[2] if array.ndim == 3 else 1
    height, width = array.shape[:2]
    # Each row is preceded by its filter byte, 0 for none.
    rows = np.zeros((height, 1 + width * colours), np.uint8)
    rows[:, 1:] = array.reshape(height, width * colours)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 2: 4, 3: 2, 4: 6}[colours], 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    content += _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")
    if name:
        with open(name, "wb") as file:
            file.write(content)
    else:
        fp.write(content)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
