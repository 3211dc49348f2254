"""The names of ``torchvision.transforms.v2`` for the same transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.dtypes import float32
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.module import Module
from fastnn.torchvision import transforms as _older
from fastnn.torchvision.image import is_image
from fastnn.torchvision.transforms import *  # noqa: F403 (one object under both names)
from fastnn.torchvision.transforms.functional import _channels_first, convert_image_dtype

__all__ = [*_older.__all__, "Identity", "ToDtype", "ToImage"]


class ToImage(Module):
    """An image or a (height, width[, channels]) array as a tensor, channels first, with unchanged values."""

    def forward(self, inpt: Any) -> Any:
        """The tensor; other objects are returned unchanged."""
        if isinstance(inpt, np.ndarray) or is_image(inpt):
            return _wrap(_channels_first(inpt).copy())
        return inpt


class ToDtype(Module):
    """A tensor in another dtype; scaled if ``scale``: the largest integer represents 1.

    >>> import fastnn
    >>> from fastnn.torchvision.transforms import v2
    >>> v2.ToDtype(fastnn.float32, scale=True)(fastnn.tensor([255]).to(fastnn.uint8))
    tensor([1.])
    """

    def __init__(self, dtype: _dtype = float32, scale: bool = False) -> None:
        super().__init__()
        self.dtype, self.scale = dtype, scale

    def forward(self, inpt: Any) -> Any:
        """The tensor in the other dtype; other objects are returned unchanged."""
        if not isinstance(inpt, Tensor):
            return inpt
        return convert_image_dtype(inpt, self.dtype) if self.scale else inpt.to(self.dtype)

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, scale={self.scale}"


class Identity(Module):
    """Returns its input unchanged."""

    def forward(self, inpt: Any) -> Any:
        """The input."""
        return inpt
