"""Detects transforms of bytes that are a factor and a shift, which a kernel can apply."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fastnn._core import dtypes
from fastnn.torchvision.transforms.transforms import Compose, Normalize, ToTensor


def scale_and_shift(transform: Any) -> tuple[float, float] | None:
    """``a`` and ``b`` if ``transform`` maps a one-channel image to ``a * pixel + b`` in float32.

    None for any other transform. Supported are ``ToTensor()`` (or ``ToImage()`` with a scaling ``ToDtype``),
    optionally followed by ``Normalize``, but not their subclasses.

    >>> from fastnn.torchvision.transforms import Compose, Normalize, ToTensor
    >>> from fastnn.torchvision.transforms.fold import scale_and_shift
    >>> scale_and_shift(Compose([ToTensor(), Normalize((0.5,), (0.5,))]))
    (0.00784313725490196, -1.0)
    """
    steps = list(transform.transforms) if type(transform) is Compose else [transform]
    rest = _after_conversion(steps)
    if rest is None or len(rest) > 1:
        return None
    if not rest:
        return 1 / 255, 0.0
    (last,) = rest
    if type(last) is not Normalize:
        return None
    mean, std = _only(last.mean), _only(last.std)
    if mean is None or not std:
        return None
    return 1 / (255 * std), -mean / std


def _after_conversion(steps: list[Any]) -> list[Any] | None:
    """The steps after the conversion of bytes to a float32 tensor; None if that is not recognised."""
    default = dtypes.get_default_dtype()
    if steps and type(steps[0]) is ToTensor and default is dtypes.float32:
        return steps[1:]
    # If there are objects of v2's classes, v2 is already imported.
    v2 = sys.modules.get("fastnn.torchvision.transforms.v2")
    if v2 is None or len(steps) < 2 or type(steps[0]) is not v2.ToImage or type(steps[1]) is not v2.ToDtype:
        return None
    return steps[2:] if steps[1].scale and steps[1].dtype is dtypes.float32 else None


def _only(values: Any) -> float | None:
    if isinstance(values, (int, float)):
        return float(values)
    return float(values[0]) if isinstance(values, Sequence) and len(values) == 1 else None
