"""Transforms with a random position, angle or size, drawn from the default generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.nn.module import Module
from fastnn.ops.sampling import randn
from fastnn.random import default_generator
from fastnn.torchvision.transforms import functional as F
from fastnn.torchvision.transforms.functional import InterpolationMode
from fastnn.torchvision.transforms.transforms import uniform


def _integer(low: int, high: int) -> int:
    """An integer from ``low`` to ``high``."""
    return int(default_generator().numpy.integers(low, high, endpoint=True))


def _angles(name: str, value: float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive, found {value}.")
        return (-float(value), float(value))
    if len(value) < 2:
        raise ValueError(f"{name} should be a sequence of length 2, found {value}.")
    return tuple(float(v) for v in value)


class RandomHorizontalFlip(Module):
    """Flip horizontally with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image, flipped or not."""
        return F.hflip(img) if uniform() < self.p else img

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomVerticalFlip(RandomHorizontalFlip):
    """Flip vertically with probability ``p``."""

    def forward(self, img: Any) -> Any:
        """The image, flipped or not."""
        return F.vflip(img) if uniform() < self.p else img


class RandomCrop(Module):
    """Crop a rectangle of a given size at a random position.

    Args:
        size: (height, width), or one number for both.
        padding, fill, padding_mode: of a border added first, as for ``Pad``.
        pad_if_needed: pad an image smaller than ``size``, which is otherwise a ValueError.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size, self.padding, self.pad_if_needed = F._pair(size), padding, pad_if_needed
        self.fill, self.padding_mode = fill, padding_mode

    def forward(self, img: Any) -> Any:
        """The rectangle."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        height, width = self.size
        _, rows, columns = F.get_dimensions(img)
        if self.pad_if_needed:
            x, y = max(width - columns, 0), max(height - rows, 0)
            img = F.pad(img, [x, y], self.fill, self.padding_mode)
            rows, columns = rows + 2 * y, columns + 2 * x
        if rows < height or columns < width:
            raise ValueError(f"Required crop size {(height, width)} is larger than input image size {(rows, columns)}")
        return F.crop(img, _integer(0, rows - height), _integer(0, columns - width), height, width)

    def extra_repr(self) -> str:
        return f"size={self.size}, padding={self.padding}"


class RandomRotation(Module):
    """Rotate by an angle drawn from ``degrees``, (min, max), or one number for ±degrees.

    The other arguments are those of :func:`functional.rotate`.
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.degrees = _angles("degrees", degrees)
        self.interpolation, self.expand, self.center, self.fill = interpolation, expand, center, fill

    def forward(self, img: Any) -> Any:
        """The rotated image."""
        return F.rotate(img, uniform(*self.degrees), self.interpolation, self.expand, self.center, self.fill)

    def extra_repr(self) -> str:
        return f"degrees={list(self.degrees)}, interpolation={self.interpolation.value}, expand={self.expand}"


class RandomAffine(Module):
    """Rotate, translate, scale and shear at random.

    Args:
        degrees: angles as for :class:`RandomRotation`; 0 for none.
        translate: the maximum shifts along x and y, as fractions of width and height.
        scale: the minimum and maximum factor.
        shear: angles along x as for ``degrees``, or four numbers: min and max along x, min and max along y.
        interpolation, fill, center: as for :func:`functional.affine`.

    Raises: ValueError for angles below 0, fractions outside [0, 1] and factors that are not positive.
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if translate is not None and not all(0 <= t <= 1 for t in translate):
            raise ValueError(f"translation values should be between 0 and 1, found {translate}")
        if scale is not None and not all(s > 0 for s in scale):
            raise ValueError(f"scale values should be positive, found {scale}")
        self.degrees, self.translate, self.scale = _angles("degrees", degrees), translate, scale
        self.shear = None if shear is None else _angles("shear", shear)
        self.interpolation, self.fill, self.center = interpolation, fill, center

    def forward(self, img: Any) -> Any:
        """The transformed image."""
        _, rows, columns = F.get_dimensions(img)
        angle, shift, factor, shears = uniform(*self.degrees), (0, 0), 1.0, [0.0, 0.0]
        if self.translate is not None:
            x, y = (t * n for t, n in zip(self.translate, (columns, rows), strict=True))
            shift = round(uniform(-x, x)), round(uniform(-y, y))
        if self.scale is not None:
            factor = uniform(*self.scale)
        if self.shear is not None:
            shears = [uniform(*self.shear[:2]), uniform(*self.shear[2:]) if len(self.shear) == 4 else 0.0]
        return F.affine(img, angle, shift, factor, shears, self.interpolation, self.fill, self.center)

    def extra_repr(self) -> str:
        shown = {"degrees": list(self.degrees), "translate": self.translate, "scale": self.scale, "shear": self.shear}
        return ", ".join(f"{name}={value}" for name, value in shown.items() if value is not None)


class RandomErasing(Module):
    """Erase a random rectangle of a tensor (Z. Zhong et al., "Random erasing data augmentation", 2020).

    Args:
        p: the probability of erasing.
        scale: minimum and maximum share of the area.
        ratio: minimum and maximum aspect ratio.
        value: the fill: a number, one per channel, or "random" for normal numbers.
        inplace: whether the tensor itself is changed.

    Raises: ValueError for shares or a probability outside [0, 1]; TypeError for another ``value``.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | str | Sequence[float] = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(value, (int, float, str, tuple, list)):
            raise TypeError(
                f"Argument value should be either a number or str or a sequence, found {type(value).__name__}"
            )
        if isinstance(value, str) and value != "random":
            raise ValueError(f"If value is str, it should be 'random', found {value!r}")
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError(f"Scale should be between 0 and 1, found {scale}")
        if not 0 <= p <= 1:
            raise ValueError(f"Random erasing probability should be between 0 and 1, found {p}")
        self.p, self.scale, self.ratio, self.value, self.inplace = p, scale, ratio, value, inplace

    def forward(self, img: Tensor) -> Tensor:
        """The tensor, possibly with a rectangle erased."""
        if uniform() >= self.p:
            return img
        channels, rows, columns = F.get_dimensions(img)
        if isinstance(self.value, (tuple, list)) and len(self.value) not in (1, channels):
            raise ValueError(f"value should have 1 or {channels} elements, one per channel, found {len(self.value)}")
        for _ in range(10):
            area = rows * columns * uniform(*self.scale)
            ratio = math.exp(uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height < rows and width < columns:
                value = self._values(channels, height, width)
                place = _integer(0, rows - height), _integer(0, columns - width)
                return F.erase(img, *place, height, width, value, self.inplace)
        return img

    def _values(self, channels: int, height: int, width: int) -> Any:
        if isinstance(self.value, str):
            return randn(channels, height, width)
        if isinstance(self.value, (tuple, list)):
            return [[[v]] for v in self.value]
        return self.value

    def extra_repr(self) -> str:
        return f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}, inplace={self.inplace}"
