"""``torch.fft``: the frequencies and shifts. The transforms have complex results, which fastnn does not compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.absent import absent_function
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor
from fastnn.ops.creation import as_tensor
from fastnn.ops.permute import roll

_TRANSFORMS = (
    "fft", "fft2", "fftn", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ihfft", "ihfft2", "ihfftn", "irfft",
    "irfft2", "irfftn", "rfft", "rfft2", "rfftn",
)  # fmt: skip
__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq", *_TRANSFORMS]

for _name in _TRANSFORMS:
    _why = f"torch.fft.{_name} is about complex numbers, which fastnn does not have; NumPy has numpy.fft.{_name}"
    globals()[_name] = absent_function(f"torch.fft.{_name}", _why)


def fftfreq(n: int, d: float = 1.0, *, out: None = None, dtype: _dtype | None = None, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` values, ``[0, 1, ..., (n-1)//2, -(n//2), ..., -1] / (d n)``.

    Args:
        n: the number of values; d: the distance between them.
        dtype: by default the default dtype.

    >>> fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    return as_tensor(np.fft.fftfreq(n, d).tolist(), dtype=dtype)


def rfftfreq(n: int, d: float = 1.0, *, out: None = None, dtype: _dtype | None = None, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` real values, ``[0, 1, ..., n//2] / (d n)``.

    >>> rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    return as_tensor(np.fft.rfftfreq(n, d).tolist(), dtype=dtype)


def fftshift(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Move the frequency 0 to the middle of the given dimensions, by default of all.

    >>> fftshift(fftfreq(4))
    tensor([-0.5000, -0.2500,  0.0000,  0.2500])
    """
    dims = _dims(input, dim)
    return roll(input, tuple(input.shape[i] // 2 for i in dims), dims)


def ifftshift(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """The inverse of :func:`fftshift`."""
    dims = _dims(input, dim)
    return roll(input, tuple((input.shape[i] + 1) // 2 for i in dims), dims)


def _dims(input: Tensor, dim: Any) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(input.ndim))
    return (dim,) if isinstance(dim, int) else tuple(dim)
