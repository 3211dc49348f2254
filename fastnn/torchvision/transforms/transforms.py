"""Transforms as objects, and lists of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastnn._core.dtypes import dtype
from fastnn._tensor.tensor import Tensor
from fastnn.nn.module import Module
from fastnn.random import default_generator
from fastnn.torchvision.transforms import functional as F
from fastnn.torchvision.transforms.functional import InterpolationMode


def uniform(low: float = 0.0, high: float = 1.0) -> float:
    """A uniform number from the default generator."""
    return float(default_generator().numpy.uniform(low, high))


class Compose:
    """Applies transforms in order.

    >>> from fastnn.torchvision import transforms
    >>> transforms.Compose([abs, str])(-1)
    '1'
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", *(f"    {t}" for t in self.transforms), ")"])


class ToTensor:
    """:func:`functional.to_tensor`: bytes of an image as float32 in [0, 1], channels first."""

    def __call__(self, pic: Any) -> Tensor:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor(ToTensor):
    """:func:`functional.pil_to_tensor`: bytes of an image unchanged, channels first."""

    def __call__(self, pic: Any) -> Tensor:
        return F.pil_to_tensor(pic)


class ToPILImage:
    """:func:`functional.to_pil_image`: an image from a tensor or array."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class Lambda:
    """A function as a transform.

    Raises: TypeError unless it is callable.
    """

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ConvertImageDtype(Module):
    """:func:`functional.convert_image_dtype`: another dtype, scaled."""

    def __init__(self, dtype: dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """The tensor in the other dtype."""
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Module):
    """``(tensor - mean) / std``, with one mean and std per channel.

    >>> import fastnn
    >>> from fastnn.torchvision import transforms
    >>> transforms.Normalize((0.5,), (0.5,))(fastnn.ones(1, 1, 1))
    tensor([[[1.]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean, self.std, self.inplace = mean, std, inplace

    def forward(self, tensor: Tensor) -> Tensor:
        """The normalized tensor."""
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}"


class Resize(Module):
    """:func:`functional.resize` as a transform."""

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size, self.interpolation, self.max_size, self.antialias = size, interpolation, max_size, antialias

    def forward(self, img: Any) -> Any:
        """The resized image."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, interpolation={self.interpolation.value}, max_size={self.max_size}, "
            f"antialias={self.antialias}"
        )


class CenterCrop(Module):
    """:func:`functional.center_crop`: the central rectangle."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = F._pair(size)

    def forward(self, img: Any) -> Any:
        """The rectangle."""
        return F.center_crop(img, self.size)

    def extra_repr(self) -> str:
        return f"size={self.size}"


class Pad(Module):
    """:func:`functional.pad`: a border."""

    def __init__(self, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def forward(self, img: Any) -> Any:
        """The image with its border."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode}"


class Grayscale(Module):
    """:func:`functional.rgb_to_grayscale`: the brightness."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        """The gray image."""
        return F.rgb_to_grayscale(img, self.num_output_channels)

    def extra_repr(self) -> str:
        return f"num_output_channels={self.num_output_channels}"


class RandomApply(Module):
    """All of the transforms with probability ``p``, otherwise none."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        super().__init__()
        self.transforms, self.p = transforms, p

    def forward(self, img: Any) -> Any:
        """The image, transformed or not."""
        if self.p < uniform():
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", f"    p={self.p}", *(f"    {t}" for t in self.transforms), ")"])


class RandomChoice(Module):
    """One of the transforms, drawn with probabilities ``p``, by default equal ones."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        super().__init__()
        self.transforms, self.p = transforms, p

    def forward(self, *args: Any) -> Any:
        """The result of the chosen transform."""
        weights = None if self.p is None else [v / sum(self.p) for v in self.p]
        return self.transforms[int(default_generator().numpy.choice(len(self.transforms), p=weights))](*args)


class RandomOrder(Module):
    """All of the transforms, in random order."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        super().__init__()
        self.transforms = transforms

    def forward(self, img: Any) -> Any:
        """The transformed image."""
        for i in default_generator().permutation(len(self.transforms)).tolist():
            img = self.transforms[i](img)
        return img
