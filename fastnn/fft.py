"""``torch.fft``: NumPy's Fourier transforms, without gradients, their frequencies and shifts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._autograd.modes import is_grad_enabled
from fastnn._core.absent import absent_function
from fastnn._core.dtypes import default_numpy
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor
from fastnn.ops import complex_tensor
from fastnn.ops.core import titled
from fastnn.ops.creation import as_tensor
from fastnn.ops.permute import roll

_ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
_SEVERAL = ("fft2", "fftn", "ifft2", "ifftn", "rfft2", "rfftn", "irfft2", "irfftn")
_ABSENT = ("hfft2", "hfftn", "ihfft2", "ihfftn")
__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq", *_ONE, *_SEVERAL, *_ABSENT]

for _name in _ABSENT:
    _why = f"torch.fft.{_name} is not in NumPy, which computes the others"
    globals()[_name] = absent_function(f"torch.fft.{_name}", _why)


def _operand(input: Tensor) -> np.ndarray:
    """The numbers to transform: floating point or complex."""
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor, found {type(input).__name__}")
    if input.requires_grad and is_grad_enabled():
        raise NotImplementedError(
            f"fastnn has no derivatives of torch.fft: use detach() on the input of shape {tuple(input.shape)}"
        )
    array = input._data
    if array.dtype == np.float16:
        raise RuntimeError("Unsupported dtype Half: torch.fft takes float32, float64 and complex numbers")
    return array if array.dtype.kind in "fc" else array.astype(default_numpy())


def _result(function: Any, array: np.ndarray, *options: Any) -> Tensor:
    # NumPy 1 computes in float64.
    narrow = array.dtype in (np.float32, np.complex64)
    try:
        found = function(array, *options)
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"{error}: the input has shape {array.shape}, the options are {options}") from None
    if narrow:
        found = found.astype(np.complex64 if found.dtype.kind == "c" else np.float32, copy=False)
    return complex_tensor.wrap(found)


def _transform(name: str) -> Any:
    function = getattr(np.fft, name)

    def transform(
        input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None
    ) -> Tensor:
        found = _result(function, _operand(input), n, dim, norm)
        return found if out is None else out.copy_(found)

    return titled(transform, name, f"""NumPy's ``numpy.fft.{name}`` along one dimension, without a gradient.

    Args:
        input: a tensor of real or complex numbers.
        n: the length to which the dimension is cut or padded with zeros.
        dim: the dimension.
        norm: "forward", "backward" (the default) or "ortho".
        out: a tensor for the result.

    Raises: NotImplementedError for an input that requires a gradient; RuntimeError for options that do not fit.
    """)


def _transforms(name: str) -> Any:
    function, dims = getattr(np.fft, name), (-2, -1) if name.endswith("2") else None

    def transform(
        input: Tensor, s: Any = None, dim: Any = dims, norm: str | None = None, *, out: Tensor | None = None
    ) -> Tensor:
        array = _operand(input)
        if s is not None and dim is None:
            dim = range(-len(s), 0)
        dim = None if dim is None else _dims(input, dim)
        if dim is not None and len({d % max(array.ndim, 1) for d in dim}) != len(dim):
            raise RuntimeError(f"FFT dims must be unique, found {dim} for shape {array.shape}")
        if s is not None:
            if len(s) != len(dim):
                raise RuntimeError(f"s and dim must have the same length, found {tuple(s)} and {dim}")
            is_open = len(s) > 0 and s[-1] == -1
            s = [array.shape[d] if n == -1 else n for n, d in zip(s, dim, strict=True)]
            if is_open and name.startswith("irfft"):
                # Half of the numbers are given: as many as without s.
                s[-1] = 2 * (array.shape[dim[-1]] - 1)
        found = _result(function, array, s, dim, norm)
        return found if out is None else out.copy_(found)

    return titled(transform, name, f"""NumPy's ``numpy.fft.{name}`` along several dimensions, without a gradient.

    Args:
        input: a tensor of real or complex numbers.
        s: the sizes to which the dimensions are cut or padded with zeros.
        dim: the dimensions; {"the last two" if dims else "all"} by default.
        norm: "forward", "backward" (the default) or "ortho".
        out: a tensor for the result.

    Raises: NotImplementedError for an input that requires a gradient; RuntimeError for options that do not fit.
    """)


globals().update({name: _transform(name) for name in _ONE}, **{name: _transforms(name) for name in _SEVERAL})


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
