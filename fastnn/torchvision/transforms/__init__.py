"""Transforms of images, under the names of ``torchvision.transforms``.

``functional`` has the transforms as functions, ``v2`` the newer names.
"""

from typing import Any

from fastnn.torchvision.transforms import functional
from fastnn.torchvision.transforms.functional import InterpolationMode
from fastnn.torchvision.transforms.random import (
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
)
from fastnn.torchvision.transforms.transforms import (
    CenterCrop,
    Compose,
    ConvertImageDtype,
    Grayscale,
    Lambda,
    Normalize,
    Pad,
    PILToTensor,
    RandomApply,
    RandomChoice,
    RandomOrder,
    Resize,
    ToPILImage,
    ToTensor,
)

__all__ = [
    "CenterCrop",
    "Compose",
    "ConvertImageDtype",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomOrder",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToPILImage",
    "ToTensor",
    "functional",
]


def __getattr__(name: str) -> Any:
    if name == "v2":
        from importlib import import_module

        return import_module("fastnn.torchvision.transforms.v2")
    raise AttributeError(f"module 'fastnn.torchvision.transforms' has no attribute {name!r}")
