"""Random images for testing programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import _wrap
from fastnn.random import Generator
from fastnn.torchvision.datasets.vision import StandardTransform, VisionDataset
from fastnn.torchvision.transforms.functional import to_pil_image


class FakeData(VisionDataset):
    """Images of random pixels with random labels; an item is the same each time.

    Args:
        size: the number of items.
        image_size: channels, height and width.
        num_classes: labels are from 0 to ``num_classes - 1``.
        transform, target_transform: of the image and of the label.
        random_offset: added to the index of an item to seed its pixels.

    >>> from fastnn.torchvision.datasets import FakeData
    >>> image, label = FakeData(10, (3, 8, 6))[0]
    >>> image.size
    (6, 8)
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(transform=transform, target_transform=target_transform)
        self.size, self.num_classes, self.image_size = size, num_classes, image_size
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        rng = Generator().manual_seed(index + self.random_offset).numpy
        image = to_pil_image(_wrap(rng.standard_normal(self.image_size, np.float32)))
        label = int(rng.integers(0, self.num_classes))
        return StandardTransform(self.transform, self.target_transform)(image, label)

    def __len__(self) -> int:
        return self.size
