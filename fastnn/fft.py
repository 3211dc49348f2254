"""``torch.fft``: transforms along one dimension, frequencies and shifts.

fastnn has no complex tensors. A transform gives a :class:`ComplexPair`, which ``torch.view_as_real`` turns into a
tensor. The transforms along several dimensions are only names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.absent import absent_function
from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import DTypeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn._tensor.views import linear_map
from fastnn.ops.core import check_tensor, dimension, whole
from fastnn.ops.creation import as_tensor
from fastnn.ops.joining import stack
from fastnn.ops.permute import roll

_ABSENT = (
    "fft2", "fftn", "hfft", "hfft2", "hfftn", "ifft2", "ifftn", "ihfft", "ihfft2", "ihfftn", "irfft2", "irfftn",
    "rfft2", "rfftn",
)  # fmt: skip
__all__ = ["fft", "fftfreq", "fftshift", "ifft", "ifftshift", "irfft", "rfft", "rfftfreq", *_ABSENT]

for _name in _ABSENT:
    _why = f"torch.fft.{_name} is about complex numbers, which fastnn does not have; NumPy has numpy.fft.{_name}"
    globals()[_name] = absent_function(f"torch.fft.{_name}", _why)


class ComplexPair:
    """Complex numbers as two tensors: what transforms give and take. It is not a tensor.

    Args:
        parts: real and imaginary parts along the last dimension, which has the size 2.

    >>> import fastnn
    >>> rfft(fastnn.tensor([1.0, 0.0, 2.0, 0.0])).real
    tensor([ 3., -1.,  3.])
    """

    def __init__(self, parts: Tensor) -> None:
        self._parts = parts

    @property
    def real(self) -> Tensor:
        """The real parts."""
        return self._parts[..., 0]

    @property
    def imag(self) -> Tensor:
        """The imaginary parts."""
        return self._parts[..., 1]

    @property
    def shape(self) -> Any:
        """The sizes."""
        return self._parts.shape[:-1]

    def size(self, dim: int | None = None) -> Any:
        """The sizes, or one of them."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._parts.ndim - 1

    def is_complex(self) -> bool:
        """True."""
        return True

    def abs(self) -> Tensor:
        """The absolute values."""
        return self._parts.square().sum(-1).sqrt()

    def angle(self) -> Tensor:
        """The angles."""
        return self.imag.atan2(self.real)

    def conj(self) -> ComplexPair:
        """The conjugates."""
        return _pair(self.real, -self.imag)

    def unsqueeze(self, dim: int) -> ComplexPair:
        """With a dimension of size 1 at ``dim``."""
        return ComplexPair(self._parts.unsqueeze(dimension(dim, self.dim() + 1)))

    def transpose(self, dim0: int, dim1: int) -> ComplexPair:
        """With two dimensions exchanged."""
        return ComplexPair(self._parts.transpose(dimension(dim0, self.dim()), dimension(dim1, self.dim())))

    def expand(self, *size: Any) -> ComplexPair:
        """With dimensions of size 1 repeated."""
        sizes = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
        return ComplexPair(self._parts.expand(*sizes, 2))

    def expand_as(self, other: Any) -> ComplexPair:
        """Expanded to the shape of ``other``."""
        return self.expand(tuple(other.shape))

    def resolve_conj(self) -> ComplexPair:
        """The same numbers."""
        return self

    def detach(self) -> ComplexPair:
        """The numbers without their history."""
        return ComplexPair(self._parts.detach())

    def numpy(self) -> np.ndarray:
        """A complex array."""
        return _complex(self._parts.numpy())

    def tolist(self) -> Any:
        """Complex numbers of Python."""
        return self.numpy().tolist()

    def __getitem__(self, key: Any) -> ComplexPair:
        key = key if isinstance(key, tuple) else (key,)
        return ComplexPair(self._parts[(*key, slice(None))] if Ellipsis in key else self._parts[key])

    def __neg__(self) -> ComplexPair:
        return ComplexPair(-self._parts)

    def __add__(self, other: Any) -> ComplexPair:
        real, imaginary = _parts_of(other)
        return _pair(self.real + real, self.imag + imaginary)

    __radd__ = __add__

    def __sub__(self, other: Any) -> ComplexPair:
        real, imaginary = _parts_of(other)
        return _pair(self.real - real, self.imag - imaginary)

    def __rsub__(self, other: Any) -> ComplexPair:
        return -self + other

    def __mul__(self, other: Any) -> ComplexPair:
        real, imaginary = _parts_of(other)
        return _pair(self.real * real - self.imag * imaginary, self.real * imaginary + self.imag * real)

    __rmul__ = mul = __mul__

    def mul_(self, other: Any) -> ComplexPair:
        """Multiply itself by ``other``."""
        # The product keeps its operands for the backward pass.
        self._parts.copy_((ComplexPair(self._parts.clone()) * other)._parts)
        return self

    def __truediv__(self, other: Any) -> ComplexPair:
        real, imaginary = _parts_of(other)
        norm = real * real + imaginary * imaginary
        return _pair(
            (self.real * real + self.imag * imaginary) / norm, (self.imag * real - self.real * imaginary) / norm
        )

    def __repr__(self) -> str:
        return f"ComplexPair({self.numpy()!r})"


def _pair(real: Tensor, imaginary: Tensor) -> ComplexPair:
    return ComplexPair(stack([real, imaginary], -1))


def _parts_of(value: Any) -> tuple[Any, Any]:
    if isinstance(value, ComplexPair):
        return value.real, value.imag
    if isinstance(value, complex):
        return value.real, value.imag
    return value, 0.0


def view_as_real(input: ComplexPair) -> Tensor:
    """The real and imaginary parts along a new last dimension.

    Raises: RuntimeError for a tensor, which has real numbers.

    >>> import fastnn
    >>> view_as_real(fft(fastnn.tensor([1.0, 2.0])))
    tensor([[ 3.,  0.],
            [-1.,  0.]])
    """
    if not isinstance(input, ComplexPair):
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return input._parts


def view_as_complex(input: Tensor) -> ComplexPair:
    """The complex numbers whose parts are along the last dimension.

    Raises: RuntimeError if its size is not 2, or the dtype is not floating point.
    """
    check_tensor("input", input)
    if not input._data.ndim or input._data.shape[-1] != 2 or input._data.dtype.kind != "f":
        raise RuntimeError(
            f"view_as_complex needs floating point numbers and a last dimension of size 2, found {input.dtype} of "
            f"shape {tuple(input._data.shape)}"
        )
    return ComplexPair(input)


# -- Transforms ----------------------------------------------------------------------------------


def _complex(parts: np.ndarray) -> np.ndarray:
    return np.asarray(parts[..., 0] + 1j * parts[..., 1])


def _real(numbers: np.ndarray) -> np.ndarray:
    return np.stack([numbers.real, numbers.imag], -1)


def _arguments(input: Tensor, n: Any, dim: Any, norm: Any, ndim: int, *, half: bool = False) -> tuple[int, int, float]:
    """The length of the transform, its dimension, and the factor by which the inverse transform of it is too small.

    Args:
        half: the input has half of the frequencies.
    """
    if input._data.dtype.char not in "fd":
        raise DTypeError(f"transforms are for float32 and float64, found {input.dtype}")
    axis = dimension(dim, ndim)
    size = input._data.shape[axis]
    length = whole("n", n) if n is not None else 2 * (size - 1) if half else size
    if length < 1:
        raise RuntimeError(f"Invalid number of data points ({length}) specified")
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f"Invalid normalization mode: {norm!r}")
    return length, axis, {"forward": 1.0 / length, "ortho": length**-0.5}.get(norm, 1.0)


def _first(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """The first numbers along an axis, with zeros after them if there are fewer."""
    found = array.shape[axis]
    if found >= size:
        return array[(slice(None),) * axis + (slice(size),)]
    return np.pad(array, [(0, size - found if d == axis else 0) for d in range(array.ndim)])


def _as_parts(input: Any) -> Tensor:
    """Real and imaginary parts of complex or real numbers."""
    if isinstance(input, ComplexPair):
        return input._parts
    check_tensor("input", input)
    x = input if input._data.dtype.kind == "f" else input.float()
    return stack([x, _wrap(np.zeros_like(x._data))], -1)


def fft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> ComplexPair:
    """The discrete Fourier transform along a dimension.

    Args:
        input: a tensor, or complex numbers.
        n: the length; the input is cut or continued with zeros. Its size by default.
        dim: the dimension.
        norm: "backward" (the default), "ortho" or "forward": where the result is divided by ``n``.

    Raises: TypeError for another dtype than float32 and float64; RuntimeError for other values.
    """
    parts = _as_parts(input)
    length, axis, factor = _arguments(parts, n, dim, norm, parts.ndim - 1)
    size, kind = parts._data.shape[axis], parts._data.dtype

    def forward(a: np.ndarray) -> np.ndarray:
        return _real(np.fft.fft(_complex(a), length, axis) * factor).astype(kind)

    def back(g: np.ndarray) -> np.ndarray:
        return _first(_real(np.fft.ifft(_complex(g), axis=axis) * (length * factor)), axis, size).astype(kind)

    return ComplexPair(linear_map("FftC2C", parts, forward, back))


def ifft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> ComplexPair:
    """The inverse of :func:`fft`."""
    parts = _as_parts(input)
    length, axis, factor = _arguments(parts, n, dim, norm, parts.ndim - 1)
    size, kind = parts._data.shape[axis], parts._data.dtype

    def forward(a: np.ndarray) -> np.ndarray:
        return _real(np.fft.ifft(_complex(a), length, axis) / factor).astype(kind)

    def back(g: np.ndarray) -> np.ndarray:
        return _first(_real(np.fft.fft(_complex(g), axis=axis) / (length * factor)), axis, size).astype(kind)

    return ComplexPair(linear_map("FftC2C", parts, forward, back))


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> ComplexPair:
    """The frequencies 0 to ``n // 2`` of :func:`fft` of real numbers."""
    check_tensor("input", input)
    x = input if input._data.dtype.kind == "f" else input.float()
    length, axis, factor = _arguments(x, n, dim, norm, x.ndim)
    size, kind = x._data.shape[axis], x._data.dtype

    def forward(a: np.ndarray) -> np.ndarray:
        return _real(np.fft.rfft(a, length, axis) * factor).astype(kind)

    def back(g: np.ndarray) -> np.ndarray:
        whole = np.fft.ifft(_complex(g), length, axis).real * (length * factor)
        return _first(whole, axis, size).astype(kind)

    return ComplexPair(linear_map("FftR2C", x, forward, back))


def irfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of :func:`rfft`: ``n`` real numbers, by default an even number of them."""
    parts = _as_parts(input)
    length, axis, factor = _arguments(parts, n, dim, norm, parts.ndim - 1, half=True)
    size, kind = parts._data.shape[axis], parts._data.dtype

    def forward(a: np.ndarray) -> np.ndarray:
        return np.asarray(np.fft.irfft(_complex(a), length, axis) / factor).astype(kind)

    def back(g: np.ndarray) -> np.ndarray:
        # All frequencies but the first, and the last of an even length, occur twice in the whole transform.
        found = np.moveaxis(np.fft.rfft(g, length, axis), axis, -1) / (length * factor)
        found[..., 1 : (length + 1) // 2] *= 2
        return _first(_real(np.moveaxis(found, -1, axis)), axis, size).astype(kind)

    return linear_map("FftC2R", parts, forward, back)


# -- Frequencies and shifts ------------------------------------------------------------------------


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
