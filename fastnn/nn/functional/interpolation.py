"""Resizing of the last dimensions, as functions of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import linear_map
from fastnn.nn.checks import _check_tensor

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]

_ANY = ("nearest", "nearest-exact", "area")
# The number of dimensions of the input.
_NDIM = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}

_MOVES = ("nearest", "nearest-exact", "bicubic")

# Positions in a dimension of the input, with a weight for each, None for 1: one pair of arrays a neighbour. The
# positions never decrease, which the transpose relies on.
_Taps = list[tuple[np.ndarray, "np.ndarray | None"]]


def _nearest(size: int, out: int, step: Any, shift: float) -> _Taps:
    at = step.dtype.type(shift)
    source = np.floor(step * (np.arange(out, dtype=step.dtype) + at))
    return [(np.clip(source.astype(np.int64), 0, size - 1), None)]


def _split(size: int, out: int, step: Any, align_corners: bool, is_cubic: bool) -> tuple[np.ndarray, np.ndarray]:
    """The position below each source, and the distance to it."""
    half = step.dtype.type(0.5)
    numbers = np.arange(out, dtype=step.dtype)
    source = step * numbers if align_corners else step * (numbers + half) - half
    if not is_cubic:
        source = np.maximum(source, 0)
    below = np.minimum(np.floor(source).astype(np.int64), size - 1)
    return below, np.clip(source - below.astype(step.dtype), 0, 1)


def _linear(size: int, out: int, step: Any, align_corners: bool) -> _Taps:
    below, t = _split(size, out, step, align_corners, False)
    return [(below, 1 - t), (np.minimum(below + 1, size - 1), t)]


def _cubic(size: int, out: int, step: Any, align_corners: bool) -> _Taps:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.75."""
    below, t = _split(size, out, step, align_corners, True)
    a = t.dtype.type(-0.75)

    def near(d: np.ndarray) -> Any:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> Any:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
    return [(np.clip(below + k - 1, 0, size - 1), w) for k, w in enumerate(weights)]


def _area(size: int, out: int, kind: np.dtype) -> _Taps:
    numbers = np.arange(out)
    first, end = numbers * size // out, -(-(numbers + 1) * size // out)
    weight = (1 / (end - first)).astype(kind)
    widest = int((end - first).max())
    return [(np.minimum(first + k, end - 1), np.where(first + k < end, weight, kind.type(0))) for k in range(widest)]


def _taps(mode: str, size: int, out: int, scale: float | None, align_corners: bool, kind: np.dtype) -> _Taps:
    if mode == "area":
        return _area(size, out, kind)
    # Integers are resized with the steps of float32.
    kind = kind if kind == np.float64 else np.dtype(np.float32)
    if align_corners:
        step = np.asarray((size - 1) / (out - 1) if out > 1 else 0, kind)
    else:
        step = np.asarray(1 / scale if scale is not None and scale > 0 else size / out, kind)
    if mode in ("nearest", "nearest-exact"):
        return _nearest(size, out, step, 0.5 if mode == "nearest-exact" else 0)
    return (_cubic if mode == "bicubic" else _linear)(size, out, step, align_corners)


def _shaped(weight: np.ndarray, ndim: int, axis: int) -> np.ndarray:
    return weight.reshape(-1, *[1] * (ndim - axis - 1))


def _resize(x: Tensor, axis: int, taps: _Taps) -> Tensor:
    """The weighted sums of positions of one dimension."""
    size = x._data.shape[axis]

    def forward(a: np.ndarray) -> np.ndarray:
        total: Any = None
        for positions, weight in taps:
            part = np.take(a, positions, axis)
            if weight is not None:
                part *= _shaped(weight, a.ndim, axis)
            if total is None:
                total = part
            else:
                total += part
        return total

    def backward(g: np.ndarray) -> np.ndarray:
        total = np.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :]), g.dtype)
        lead: tuple[Any, ...] = (slice(None),) * axis
        for positions, weight in taps:
            part = g if weight is None else g * _shaped(weight, g.ndim, axis)
            starts = np.flatnonzero(np.diff(positions, prepend=-1))
            total[(*lead, positions[starts])] += np.add.reduceat(part, starts, axis)
        return total

    return linear_map("Interpolate", x, forward, backward)


def _per_dimension(name: str, value: Any, count: int, input: Tensor) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"Input and {name} must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {list(input.shape[2:])} and {name} {value}"
        )
    return list(value)


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the dimensions after the first two, each as a linear map of its positions.

    Args:
        input: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating point; uint8, too, for the nearest ones.
        size: the new sizes, or one for all dimensions.
        scale_factor: the factors of the sizes instead; the sizes are rounded down.
        mode: "nearest", "nearest-exact", "area" (means of windows), "linear" for three dimensions, "bilinear" and
            "bicubic" for four, "trilinear" for five.
        align_corners: whether the first and last positions of both are the same points; for the linear and cubic ones.
        recompute_scale_factor: whether the factors are those of the rounded sizes.
        antialias: must be False.

    Raises: ValueError, NotImplementedError or RuntimeError for arguments that do not fit.

    >>> import fastnn
    >>> fastnn.nn.functional.interpolate(fastnn.tensor([[[1.0, 3.0]]]), size=4, mode="linear")
    tensor([[[1.0000, 1.5000, 2.5000, 3.0000]]])
    """
    _check_tensor("input", input)
    if align_corners is not None and mode in _ANY:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    ndim = input._data.ndim
    count = max(ndim - 2, 0)
    scales: list[Any] = [None] * count
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if recompute_scale_factor:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        sizes = _per_dimension("output size", size, count, input)
        if not all(isinstance(n, (int, np.integer)) for n in sizes):
            raise TypeError(f"expected size to be one of int or a tuple of int, found {size!r}")
    elif scale_factor is not None:
        scales = _per_dimension("scale_factor", scale_factor, count, input)
        sizes = [int(n * s) for n, s in zip(input.shape[2:], scales, strict=True)]
        if mode == "area" or recompute_scale_factor:
            scales = [None] * count
    else:
        raise ValueError("either size or scale_factor should be defined")
    if antialias:
        if mode not in ("bilinear", "bicubic", "lanczos") or ndim != 4:
            raise ValueError(
                "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as "
                "input"
            )
        # A filter for smaller images, which no program of MLPs has asked for.
        raise NotImplementedError("fastnn interpolates with antialias=False only")
    _check_mode(mode, ndim)
    if min(*sizes, *input.shape[1:]) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {tuple(input.shape)} and output size "
            f"{tuple(sizes)}"
        )
    kind = input._data.dtype
    if kind.kind == "f" and kind.itemsize >= 4:
        return _resized(input, mode, sizes, scales, bool(align_corners))
    if input.is_floating_point():
        return _resized(input.float(), mode, sizes, scales, bool(align_corners)).to(input.dtype)
    if kind == np.uint8 and mode.startswith("nearest"):
        return _resized(input, mode, sizes, scales, False)
    # PyTorch's kind of error, and its text for other dtypes.
    raise NotImplementedError(f'"interpolate" not implemented for {input.dtype} in mode {mode!r}')


def _check_mode(mode: str, ndim: int) -> None:
    # PyTorch's kind of error and its text.
    if mode in _NDIM and 3 <= ndim <= 5:
        if ndim != _NDIM[mode]:
            raise NotImplementedError(f"Got {ndim}D input, but {mode} mode needs {_NDIM[mode]}D input")
    elif mode not in _ANY or not 3 <= ndim <= 5:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {ndim}D) for the modes: "
            f"{' | '.join((*_ANY, *_NDIM))} (got {mode})"
        )


def _resized(x: Tensor, mode: str, sizes: list[int], scales: list[Any], align_corners: bool) -> Tensor:
    shape, is_copy = x._data.shape, True
    if mode == "nearest" and len(shape) == 4 and shape[2:] == tuple(sizes):
        return _copied(x)
    # The last dimension first, as PyTorch adds.
    for axis in range(len(shape) - 1, 1, -1):
        n, out, scale = shape[axis], int(sizes[axis - 2]), scales[axis - 2]
        # Equal sizes are copied, except that PyTorch moves the nearest and cubic ones by a factor close to 1.
        if n != out or (scale is not None and mode in _MOVES):
            x = _resize(x, axis, _taps(mode, n, out, scale, align_corners, x._data.dtype))
            is_copy = False
    return _copied(x) if is_copy else x


def _copied(x: Tensor) -> Tensor:
    return linear_map("Interpolate", x, np.copy, np.copy) if x._requires_grad else _wrap(x._data.copy())


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The old name of :func:`interpolate`."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of :func:`interpolate` with ``mode="nearest"``."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2
    )
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of :func:`interpolate` with ``mode="bilinear"`` and ``align_corners=True``."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2
    )
    return interpolate(input, size, scale_factor, "bilinear", True)
