"""Grids of images: ``make_grid`` and ``save_image``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.torchvision.image import pil, write_png


def make_grid(
    tensor: Tensor | Sequence[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Arrange images in a grid, as one image.

    Args:
        tensor: (images, channels, height, width), or a sequence of images of one size; a single image is
            (channels, height, width) or (height, width). One channel is repeated to three.
        nrow: images per row.
        padding: pixels around each image.
        normalize: scale to [0, 1], by ``value_range`` or the minimum and maximum.
        scale_each: use the minimum and maximum of each image.
        pad_value: the value of the padding.

    Returns: (channels, height, width).

    Raises: TypeError unless ``tensor`` is a tensor or a sequence of them, and ``value_range`` a tuple.

    >>> import fastnn
    >>> from fastnn.torchvision.utils import make_grid
    >>> make_grid(fastnn.zeros(5, 1, 4, 4), nrow=3).shape
    torch.Size([3, 14, 20])
    """
    if isinstance(tensor, (list, tuple)):
        if not all(isinstance(t, Tensor) for t in tensor):
            raise TypeError(f"tensor or list of tensors expected, got a list with {[type(t).__name__ for t in tensor]}")
        images = np.stack([t.detach()._data for t in tensor])
    elif isinstance(tensor, Tensor):
        images = tensor.detach()._data
    else:
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    if value_range is not None and not isinstance(value_range, tuple):
        raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
    if images.ndim == 2:
        images = images[None]
    if images.ndim == 3:
        images = images[None]
    if images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    if normalize:
        parts = images if scale_each else [images]
        images = np.stack([_stretched(part, value_range) for part in parts]).reshape(images.shape)
    count, channels, height, width = images.shape
    if count == 1:
        return _wrap(images[0].copy())
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    grid = np.full((channels, rows * (height + padding) + padding, columns * (width + padding) + padding), pad_value)
    grid = grid.astype(images.dtype)
    for k, image in enumerate(images):
        top, left = k // columns * (height + padding) + padding, k % columns * (width + padding) + padding
        grid[:, top : top + height, left : left + width] = image
    return _wrap(grid)


def _stretched(images: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    low, high = value_range or (float(images.min()), float(images.max()))
    return (np.clip(images, low, high) - images.dtype.type(low)) / images.dtype.type(max(high - low, 1e-5))


def save_image(tensor: Tensor | Sequence[Tensor], fp: Any, format: str | None = None, **kwargs: Any) -> None:
    """Save an image, or a grid of images by ``make_grid``, to a path or file.

    Numbers from 0 to 1 are multiplied by 255 and rounded. Formats other than PNG need Pillow.

    Args:
        tensor: as for :func:`make_grid`, which also gets ``kwargs``.
        fp: a path or a file opened for binary writing.
        format: overrides the extension of the name.
    """
    grid = make_grid(tensor, **kwargs)._data
    pixels = np.clip(grid * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    library = pil()
    if library is None:
        write_png(np.ascontiguousarray(pixels), fp, format)
    else:
        library.fromarray(np.ascontiguousarray(pixels)).save(fp, format=format)
