"""Transforms of images as functions, under the names of ``torchvision.transforms.functional``.

They take images (``image``) and tensors of shape (..., height, width), and return the same kind. The geometry is
torchvision's; the numbers are SciPy's. Gradients do not pass through.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.dtypes import float32
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.torchvision.image import as_image, is_image


class InterpolationMode(enum.Enum):
    """Interpolation between pixels; fastnn supports the first two modes."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    NEAREST_EXACT = "nearest-exact"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


# -- Conversions of images, arrays and tensors ------------------------------------------------


def _channels_first(pic: Any) -> np.ndarray:
    """An image or a (height, width[, channels]) array as (channels, height, width)."""
    array = np.asarray(pic)
    if array.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def to_tensor(pic: Any) -> Tensor:
    """An image, or a (height, width[, channels]) array, as a (channels, height, width) tensor.

    Bytes become float32, divided by 255; other arrays keep their dtype and are not scaled.

    Raises: TypeError for anything else; ValueError for an array of other dimensions.

    >>> import numpy as np
    >>> from fastnn.torchvision.transforms.functional import to_tensor
    >>> to_tensor(np.array([[0, 255]], np.uint8))
    tensor([[[0., 1.]]])
    """
    if not (is_image(pic) or isinstance(pic, np.ndarray)):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    array = _channels_first(pic)
    if array.dtype == np.bool_ and is_image(pic):
        return _wrap(array.astype(np.float32))
    return _wrap(array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array)


def pil_to_tensor(pic: Any) -> Tensor:
    """An image as a (channels, height, width) tensor, not scaled.

    Raises: TypeError unless it is an image.
    """
    if not is_image(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    return _wrap(_channels_first(pic).copy())


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """An image from a (channels, height, width) tensor or a (height, width[, channels]) array.

    Floating point numbers in a tensor are multiplied by 255. The result is a PIL image if PIL is installed.

    Args:
        pic: the tensor or array.
        mode: of the image; by default from the number of channels.

    Raises: TypeError for anything else; ValueError for other dimensions or more than four channels.
    """
    if isinstance(pic, Tensor):
        array = pic.detach()._data
        if array.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
        if array.dtype.kind == "f":
            # Truncated and wrapped around, by a cast that never overflows, like PyTorch's byte().
            array = (array * array.dtype.type(255)).astype(np.int64).astype(np.uint8)
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(pic, np.ndarray):
        array = pic
        if array.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if array.ndim == 3 and array.shape[2] > 4:
        raise ValueError(f"pic should not have > 4 channels. Got {array.shape[2]} channels.")
    if array.dtype != np.uint8:
        raise TypeError(f"images are made of uint8 numbers, or floating point ones in a tensor; found {array.dtype}")
    image = as_image(np.ascontiguousarray(array))
    return image if mode is None or mode == image.mode else image.convert(mode)


def _mapped(img: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Apply ``change``, a function of a (..., height, width) array, to a tensor or an image."""
    if isinstance(img, Tensor):
        return _wrap(change(img.detach()._data))
    if not is_image(img):
        raise TypeError(f"img should be an image or a Tensor. Got {type(img)}")
    return as_image(np.ascontiguousarray(change(_channels_first(img)).transpose(1, 2, 0)))


def get_dimensions(img: Any) -> list[int]:
    """Channels, height and width."""
    if isinstance(img, Tensor):
        return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]
    return [len(img.getbands()), img.size[1], img.size[0]]


def get_image_size(img: Any) -> list[int]:
    """Width and height."""
    return get_dimensions(img)[:0:-1]


# -- Values -----------------------------------------------------------------------------------


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """``(tensor - mean) / std``, with one mean and std per channel, of shape (..., channels, height, width).

    Raises: TypeError unless it is a floating point tensor; ValueError for fewer than three dimensions and for a
        std of zero.

    >>> import fastnn
    >>> from fastnn.torchvision.transforms.functional import normalize
    >>> normalize(fastnn.ones(1, 1, 2), [0.5], [0.25])
    tensor([[[2., 2.]]])
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor)
        raise TypeError(f"Input tensor should be a float tensor. Got {found}.")
    if tensor.ndim < 3:
        raise ValueError(f"Expected tensor to be a tensor image of size (..., C, H, W). Got {tuple(tensor.shape)}")
    array = tensor.detach()._data
    m, s = (np.asarray(v, array.dtype).reshape(-1, 1, 1) for v in (mean, std))
    if not s.all():
        raise ValueError(f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero.")
    result = (array - m) / s
    if not inplace:
        return _wrap(result)
    array[...] = result
    return tensor


def convert_image_dtype(image: Tensor, dtype: _dtype = float32) -> Tensor:
    """A tensor in another dtype, scaled: the largest integer represents 1.

    >>> import fastnn
    >>> from fastnn.torchvision.transforms.functional import convert_image_dtype
    >>> convert_image_dtype(fastnn.tensor([1.0, 0.5]), fastnn.uint8)
    tensor([255, 127], dtype=torch.uint8)
    """
    array = image.detach()._data
    target: Any = dtype.numpy
    if array.dtype == target:
        return image
    if array.dtype.kind == "f":
        if target.kind == "f":
            return _wrap(array.astype(target))
        if (array.dtype == np.float32 and target.itemsize >= 4) or target.itemsize >= 8:
            raise RuntimeError(f"The cast from {image.dtype} to {dtype} cannot be performed safely")
        # Each integer gets the same share of [0, 1], as in torchvision.
        return _wrap((array * array.dtype.type(np.iinfo(target).max + 1.0 - 1e-3)).astype(target))
    most = np.iinfo(array.dtype).max
    if target.kind == "f":
        return _wrap(array.astype(target) / target.type(most))
    shift = (np.iinfo(target).max.bit_length() - most.bit_length())  # fmt: skip
    wide = array.astype(np.int64)
    return _wrap((wide * 2**shift if shift >= 0 else wide // 2**-shift).astype(target))


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """The brightness of a three-channel image, in one or three channels."""
    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels should be either 1 or 3, found {num_output_channels}")
    if not isinstance(img, Tensor):
        gray = img.convert("L")
        return gray if num_output_channels == 1 else gray.convert("RGB")
    array = img.detach()._data
    if array.shape[-3] == 3:
        weights = np.array([0.2989, 0.587, 0.114], array.dtype if array.dtype.kind == "f" else np.float32)
        array = (array * weights[:, None, None]).sum(axis=-3, keepdims=True).astype(array.dtype)
    return _wrap(np.repeat(array[..., :1, :, :], num_output_channels, axis=-3))


# -- Geometry ---------------------------------------------------------------------------------


def hflip(img: Any) -> Any:
    """Flip horizontally."""
    return _mapped(img, lambda a: a[..., ::-1].copy())


def vflip(img: Any) -> Any:
    """Flip vertically."""
    return _mapped(img, lambda a: a[..., ::-1, :].copy())


def pad(img: Any, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant") -> Any:
    """Add a border: one width, or (left and right, top and bottom), or (left, top, right, bottom).

    Args:
        padding_mode: "constant" (``fill``), "edge", "reflect" or "symmetric".
    """
    sides = [padding] if isinstance(padding, int) else list(padding)
    if len(sides) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(sides)} element tuple")
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError(f"Padding mode should be either constant, edge, reflect or symmetric, found {padding_mode!r}")
    left, top, right, bottom = {1: sides * 4, 2: sides * 2, 4: sides}[len(sides)]
    options: dict[str, Any] = {"constant_values": fill} if padding_mode == "constant" else {}

    def change(a: np.ndarray) -> np.ndarray:
        if min(left, top, right, bottom) < 0:
            # A negative border crops.
            a = a[..., max(-top, 0) : a.shape[-2] - max(-bottom, 0), max(-left, 0) : a.shape[-1] - max(-right, 0)]
        widths = [(0, 0)] * (a.ndim - 2) + [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
        return np.pad(a, widths, padding_mode, **options)  # type: ignore[call-overload]  # the mode is checked above

    return _mapped(img, change)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """Crop a rectangle; pixels outside the image are 0."""
    _, rows, columns = get_dimensions(img)
    right, bottom = left + width - columns, top + height - rows
    return pad(img, [-left, -top, right, bottom])


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if len(size) not in (1, 2):
        raise ValueError(f"Please provide only two dimensions (h, w) for size, found {size}")
    return int(size[0]), int(size[-1])


def center_crop(img: Any, output_size: int | Sequence[int]) -> Any:
    """Crop the central rectangle, (height, width); pixels outside the image are 0."""
    height, width = _pair(output_size)
    _, rows, columns = get_dimensions(img)
    if height > rows or width > columns:
        x, y = max(width - columns, 0), max(height - rows, 0)
        img = pad(img, [x // 2, y // 2, (x + 1) // 2, (y + 1) // 2])
        _, rows, columns = get_dimensions(img)
    return crop(img, round((rows - height) / 2.0), round((columns - width) / 2.0), height, width)


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """A copy with the rectangle starting at row ``i`` and column ``j`` set to ``v``."""
    if not isinstance(img, Tensor):
        raise TypeError(f"Tensor is expected. Got {type(img)}")
    result = img.detach() if inplace else img.detach().clone()
    result._data[..., i : i + h, j : j + w] = v._data if isinstance(v, Tensor) else v
    return img if inplace else result


def resize(
    img: Any,
    size: int | Sequence[int],
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """Resize to (height, width), or the shorter side to one number.

    Linear interpolation, with a wider kernel for shrinking (``antialias``; always for images, as in PIL), or the
    nearest pixel.
    """
    _, rows, columns = get_dimensions(img)
    if isinstance(size, int) or len(size) == 1:
        shorter = size if isinstance(size, int) else size[0]
        longer = int(shorter * max(rows, columns) / min(rows, columns))
        if max_size is not None and longer > max_size:
            shorter, longer = int(max_size * shorter / longer), max_size
        size = (shorter, longer) if rows <= columns else (longer, shorter)
    height, width = size
    wide = antialias is not False or not isinstance(img, Tensor)
    down, across = (_resampling(n, m, interpolation, wide) for n, m in ((rows, height), (columns, width)))

    def change(a: np.ndarray) -> np.ndarray:
        if interpolation is InterpolationMode.NEAREST:
            return a[..., down, :][..., across]
        exact = a if a.dtype == np.float64 else a.astype(np.float32)
        result = down.astype(exact.dtype) @ exact @ across.T.astype(exact.dtype)
        return result.astype(a.dtype) if a.dtype.kind == "f" else np.clip(np.rint(result), *_limits(a)).astype(a.dtype)

    return _mapped(img, change)


def _limits(a: np.ndarray) -> tuple[int, int]:
    return np.iinfo(a.dtype).min, np.iinfo(a.dtype).max


def _resampling(count: int, target: int, how: InterpolationMode, wide: bool) -> np.ndarray:
    """The source index of each new pixel, or its (target, count) averaging weights."""
    scale = count / target
    if how is InterpolationMode.NEAREST:
        return np.minimum((np.arange(target) * scale).astype(np.int64), count - 1)
    if how is not InterpolationMode.BILINEAR:
        raise NotImplementedError(f"interpolation must be NEAREST or BILINEAR, found {how}")
    reach = max(scale, 1.0) if wide else 1.0
    centres = (np.arange(target)[:, None] + 0.5) * scale - 0.5
    if not wide:
        # The outermost pixels have no neighbours to interpolate with.
        centres = np.clip(centres, 0, count - 1)
    weights = np.maximum(1 - np.abs(np.arange(count) - centres) / reach, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def rotate(
    img: Any,
    angle: float,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Any:
    """Rotate by ``angle`` degrees counter-clockwise about ``center`` (x, y), by default the middle."""
    if expand:
        raise NotImplementedError("rotate() keeps the size of the image; expand=True is not supported")
    return affine(img, -angle, (0, 0), 1.0, (0.0, 0.0), interpolation, fill, center)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Shear, scale, rotate and translate, in this order; the size is kept.

    Args:
        angle: degrees, clockwise.
        translate: pixels to the right and down.
        scale: a positive factor.
        shear: degrees along x, or along x and y.
        fill: the value of pixels from outside, by default 0.
        center: (x, y), the fixed point before ``translate``, by default the middle.
    """
    if scale <= 0:
        raise ValueError(f"Argument scale should be positive, found {scale}")
    from scipy import ndimage

    orders = {InterpolationMode.NEAREST: 0, InterpolationMode.BILINEAR: 1}
    if interpolation not in orders:
        raise NotImplementedError(f"interpolation must be NEAREST or BILINEAR, found {interpolation}")
    _, rows, columns = get_dimensions(img)
    shears = (shear, 0.0) if isinstance(shear, (int, float)) else shear
    middle = (columns * 0.5, rows * 0.5) if center is None else center
    matrix, offset = _backwards(middle, angle, translate, scale, shears)

    def change(a: np.ndarray) -> np.ndarray:
        planes = a.reshape(-1, *a.shape[-2:])
        value = np.broadcast_to(np.asarray(0 if fill is None else fill, np.float64).reshape(-1), (len(planes),))
        exact = planes if a.dtype.kind == "f" or interpolation is InterpolationMode.NEAREST else planes.astype(float)
        result = [
            ndimage.affine_transform(p, matrix, offset, order=orders[interpolation], mode="grid-constant", cval=v)
            for p, v in zip(exact, value.tolist(), strict=True)
        ]
        moved = np.stack(result).reshape(a.shape)
        return moved if moved.dtype == a.dtype else np.rint(moved).astype(a.dtype)

    return _mapped(img, change)


def _backwards(
    center: Sequence[float], angle: float, translate: Sequence[float], scale: float, shear: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and offset from (row, column) in the result to the source position."""
    turn, sx, sy = (math.radians(v) for v in (angle, *shear))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shears = np.array([[1, 0], [-math.tan(sy), 1]]) @ np.array([[1, -math.tan(sx)], [0, 1]])
    inverse = np.linalg.inv(rotation @ shears * scale)
    # Pixels are squares with centres at half-integers.
    offset = np.asarray(center) - 0.5 - inverse @ (np.asarray(center) + np.asarray(translate) - 0.5)
    # From (x, y) to (row, column).
    return inverse[::-1, ::-1], offset[::-1]
