"""Dtypes under PyTorch's names, each with its NumPy type, and their promotion."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core.capture_state import active, constant

# NumPy's letters of floating point dtypes. Of the dtypes of tensors, only bfloat16 has the second.
FLOATING = "fV"


class dtype:
    """The dtype of a tensor.

    >>> import fastnn
    >>> fastnn.tensor([1.0]).dtype
    torch.float32
    >>> fastnn.float32.is_floating_point, fastnn.float32.itemsize
    (True, 4)
    """

    __slots__ = ("is_complex", "is_floating_point", "is_signed", "itemsize", "legacy", "name", "numpy")

    def __init__(self, name: str, numpy: type, legacy: str) -> None:
        self.name, self.legacy = name, legacy
        self.numpy = np.dtype(numpy)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = self.numpy.kind == "f"
        self.is_signed = self.numpy.kind in "if"
        self.is_complex = False

    def __repr__(self) -> str:
        # PyTorch's name, so that a program prints the same.
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        # Pickle by name, so that a copy is the same object.
        return self.name if self.name != "bool" else "bool_"

    def to_complex(self) -> dtype:
        """The complex dtype with parts of this one."""
        return _with_parts(self, True)

    def to_real(self) -> dtype:
        """The dtype of the parts, for a complex dtype; otherwise this one."""
        return _with_parts(self, False)


class _Missing(dtype):
    """A dtype of PyTorch that fastnn lacks: its name exists, but its use is an error."""

    __slots__ = ()

    def __init__(self, name: str, itemsize: int, floating: bool) -> None:
        self.name, self.legacy, self.itemsize = name, name, itemsize
        self.is_floating_point, self.is_complex, self.is_signed = floating, not floating, True

    @property
    def numpy(self) -> np.dtype:  # type: ignore[override]  # there is none
        raise TypeError(f"fastnn has no tensors of dtype {self}")


class _BFloat16(dtype):
    """The dtype whose NumPy type comes from ml_dtypes, which is imported at its first use."""

    __slots__ = ()

    def __init__(self) -> None:
        self.name, self.legacy, self.itemsize = "bfloat16", "BFloat16", 2
        self.is_floating_point, self.is_complex, self.is_signed = True, False, True

    @property
    def numpy(self) -> np.dtype:  # type: ignore[override]  # made at its first use
        return _bfloat16[0] if _bfloat16 else _load_bfloat16()


# NumPy's dtype of bfloat16 once it is used, and functions to call then.
_bfloat16: list[np.dtype] = []
on_bfloat16: list[Callable[[], None]] = []


def _load_bfloat16() -> np.dtype:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16)
    _BY_NUMPY[kind] = bfloat16
    for prepare in on_bfloat16:
        prepare()
    _bfloat16[:] = [kind]
    return kind


def numpy_named(name: str) -> np.dtype:
    """NumPy's dtype of this name; that of bfloat16 is known to NumPy after its first use only."""
    return bfloat16.numpy if name == "bfloat16" else np.dtype(name)


class ComplexNumbersError(TypeError):
    """Complex numbers where only real ones are computed: the functions that make complex tensors catch it."""


class _Complex(_Missing):
    """A complex dtype: its tensors have a class of their own, which no other operation takes."""

    __slots__ = ()

    @property
    def numpy(self) -> np.dtype:  # type: ignore[override]  # for operations on real numbers there is none
        raise ComplexNumbersError(f"this operation is not implemented for {self}: it takes a dtype of real numbers")


float16 = dtype("float16", np.float16, "Half")
float32, float64 = dtype("float32", np.float32, "Float"), dtype("float64", np.float64, "Double")
int8, int16 = dtype("int8", np.int8, "Char"), dtype("int16", np.int16, "Short")
int32, int64 = dtype("int32", np.int32, "Int"), dtype("int64", np.int64, "Long")
uint8, bool_ = dtype("uint8", np.uint8, "Byte"), dtype("bool", np.bool_, "Bool")
# These have no legacy tensor class, and are promoted to floating point only.
uint16, uint32 = dtype("uint16", np.uint16, "UInt16"), dtype("uint32", np.uint32, "UInt32")
uint64 = dtype("uint64", np.uint64, "UInt64")
bfloat16 = _BFloat16()
complex64, complex128 = _Complex("complex64", 8, False), _Complex("complex128", 16, False)
complex64.legacy, complex128.legacy = "ComplexFloat", "ComplexDouble"

_BY_NUMPY = {d.numpy: d for d in (float32, float64, int8, int16, int32, int64, uint8, bool_, float16)}
BY_LEGACY_NAME = {d.legacy: d for d in _BY_NUMPY.values()}
BY_LEGACY_NAME[bfloat16.legacy] = bfloat16
_WIDE_UNSIGNED = {d.numpy: d for d in (uint16, uint32, uint64)}
_BY_NUMPY |= _WIDE_UNSIGNED

_default = {"dtype": float32}


def _with_parts(kind: dtype, to_complex: bool) -> dtype:
    pairs = {"float32": complex64, "float64": complex128}
    if to_complex:
        if kind.is_complex:
            return kind
        if kind.name not in pairs:
            raise RuntimeError(f"there are complex dtypes with parts of float32 and float64, found {kind}")
        return pairs[kind.name]
    return float32 if kind is complex64 else float64 if kind is complex128 else kind


def from_numpy_dtype(numpy: np.dtype) -> dtype:
    """fastnn's name for a NumPy dtype; TypeError for one that no tensor can have, ValueError for foreign byte order."""
    try:
        return _BY_NUMPY[numpy]
    except KeyError:
        pass
    if numpy.name == "bfloat16" and numpy.isnative:
        # An array that another library has made.
        _ = bfloat16.numpy
        return bfloat16
    # Another byte order, or a platform type under another name.
    native = numpy.newbyteorder("=") if numpy.kind in "fiub" else numpy
    for known, found in _BY_NUMPY.items():
        if known == native and numpy.isnative:
            return found
    if not numpy.isnative:
        raise ValueError(
            f"given numpy array has byte order different from the native byte order, found dtype {numpy}: use .astype()"
        )
    names = ", ".join(d.name for d in _BY_NUMPY.values())
    if numpy.kind == "c":
        raise ComplexNumbersError(f"this operation is not implemented for {numpy}; the supported dtypes are {names}")
    raise TypeError(f"a tensor cannot hold dtype {numpy}; the supported ones are {names}")


def check_array(array: np.ndarray) -> None:
    """Raise if no tensor can be made of an array, as PyTorch does.

    Raises: ValueError for negative strides, for strides that are not a multiple of an element's size, and for another
        byte order; TypeError for a dtype that no tensor can have.
    """
    if array.dtype not in _BY_NUMPY:
        from_numpy_dtype(array.dtype)
    size = array.itemsize
    for stride in array.strides:
        if stride >= 0 and stride % size == 0:
            continue
        if stride < 0:
            raise ValueError(
                "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
                "currently supported. (You can probably work around this by making a copy of your array with "
                "array.copy().)"
            )
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate the "
            "memory."
        )


_told: set[str] = set()


def warn_of_read_only(what: str) -> None:
    """Warn once per process, as PyTorch does, that a tensor shares read-only memory."""
    if what not in _told:
        _told.add(what)
        warnings.warn(
            f"The given {what} is not writable, and to write to the tensor over it is an error: copy it first, unless "
            "it is only read. This warning is given once.",
            UserWarning,
            stacklevel=3,
        )


def as_numpy_dtype(value: Any, default: np.dtype | None = None) -> Any:
    """NumPy's dtype for a ``dtype=`` argument; ``default`` for None.

    Python's ``float``, ``int`` and ``bool`` mean float64, int64 and bool, as in PyTorch.
    """
    if value is None:
        return default
    if isinstance(value, dtype):
        return value.numpy
    for kind, meant in ((bool, bool_), (int, int64), (float, float64)):
        if value is kind:
            return meant.numpy
    if value is complex:
        return complex128.numpy
    raise TypeError(f"dtype must be a torch.dtype, not {type(value).__name__}")


# -- Numbers ---------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python number that PyTorch takes it for (``np.bool_`` is a float); others unchanged."""
    if isinstance(value, np.generic):
        return float(value) if isinstance(value, np.bool_) else value.item()
    return value


def _overflow(kind: np.dtype) -> RuntimeError:
    return RuntimeError(f"value cannot be converted to type {from_numpy_dtype(kind).name} without overflow")


# (2 - 2**-7) * 2**127.
_MOST_BFLOAT16 = float(0xFF) * 2.0**120


def _limits(kind: np.dtype) -> tuple[Any, Any]:
    """The smallest and the largest number that PyTorch converts: for uint8, negative ones wrap around."""
    if kind.kind in FLOATING:
        if kind.kind == "V":
            return -_MOST_BFLOAT16, _MOST_BFLOAT16
        # As Python numbers: comparing a larger integer with a float16 would overflow with a warning.
        return float(np.finfo(kind).min), float(np.finfo(kind).max)
    info: Any = np.iinfo(kind)
    return (-info.max, info.max) if kind.kind == "u" else (info.min, info.max)


# Every floating dtype can hold numbers up to this one.
FITS_ALL = 60_000


def as_number(value: Any, kind: np.dtype, half_overflows: bool = False) -> np.ndarray:
    """A Python number as an array of one, constant in a trace; RuntimeError for one that the dtype cannot hold.

    Fractions are truncated. OverflowError for an integer of more than 64 bits. ``half_overflows``: a number too large
    for float16 becomes infinite, as where PyTorch converts it through float32.
    """
    if kind.kind in FLOATING and (type(value) is float or type(value) is int) and -FITS_ALL <= value <= FITS_ALL:
        return constant(np.array(value, kind)) if active else np.array(value, kind)
    if kind.kind == "b" or type(value) is bool:
        return np.asarray(value).astype(kind)
    if type(value) is not float and type(value) is not int:
        value = plain(value)
    if half_overflows and kind == np.float16:
        with np.errstate(over="ignore"):
            return np.asarray(float(value)).astype(kind)
    low, high = _limits(kind)
    fits: Any
    if isinstance(value, float):
        if value - value != 0:
            # Infinity and NaN.
            fits = kind.kind in FLOATING
        else:
            fits = bool((0.0 if kind.kind == "u" else float(low)) <= value <= float(high))
    else:
        if not -(2**63) <= value < 2**64:
            raise OverflowError("int too big to convert")
        fits = low <= value <= high
    if not fits:
        raise _overflow(kind)
    return constant(np.asarray(value).astype(kind))


def check_numbers(values: np.ndarray, kind: np.dtype) -> None:
    """RuntimeError unless integers of ``kind`` can hold these numbers, which come from Python."""
    if kind.kind not in "iu" or values.dtype.kind not in "iuf" or values.dtype == kind or not values.size:
        return
    low, high = _limits(kind)
    if values.dtype.kind == "f":
        low = 0 if kind.kind == "u" else float(low)
        high = float(high)
    # Written so that NaN does not pass.
    if not (values.min() >= low and values.max() <= high):
        raise _overflow(kind)


# -- The default -----------------------------------------------------------------------------


def get_default_dtype() -> dtype:
    """The dtype of tensors made from Python floats.

    >>> import fastnn
    >>> fastnn.get_default_dtype()
    torch.float32
    """
    return _default["dtype"]


def set_default_dtype(d: dtype) -> None:
    """Set the dtype of tensors made from Python floats, and of quotients of integers.

    Raises: TypeError for anything but a floating point dtype.
    """
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, found {d!r}")
    _ = d.numpy
    _default["dtype"] = d


def set_default_tensor_type(t: Any) -> None:
    """As ``set_default_dtype``, for ``torch.DoubleTensor`` or its name."""
    name = t if isinstance(t, str) else getattr(t, "__name__", repr(t))
    legacy = name.rsplit(".", 1)[-1].removesuffix("Tensor")
    if legacy not in BY_LEGACY_NAME:
        raise TypeError(f"invalid type name: {name}; expected one of {', '.join(f'{n}Tensor' for n in BY_LEGACY_NAME)}")
    set_default_dtype(BY_LEGACY_NAME[legacy])


def default_numpy() -> np.dtype:
    """NumPy's dtype for the default."""
    return _default["dtype"].numpy


# -- Promotion --------------------------------------------------------------------------------

# The order of bool, integers and floating point, by NumPy's letters.
RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2}


def promoted(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype of an operation on tensors of these: the larger kind, and within a kind one that holds both.

    RuntimeError for uint16, uint32 and uint64 with another integer or bool, as in PyTorch.
    """
    if a == b:
        return a
    if RANK[a.kind] != RANK[b.kind]:
        larger = a if RANK[a.kind] > RANK[b.kind] else b
        if larger in _WIDE_UNSIGNED:
            check_promotion(a, b)
        return larger
    check_promotion(a, b)
    return larger_of(a, b)


def larger_of(a: np.dtype, b: np.dtype) -> np.dtype:
    """The smallest dtype that holds both, of one kind; float32 for bfloat16 and float16."""
    if "V" in (a.kind, b.kind) and a != b:
        a, b = [np.dtype(np.float32) if n.kind == "V" else n for n in (a, b)]
    return np.promote_types(a, b)


def check_promotion(a: np.dtype, b: np.dtype) -> None:
    """RuntimeError for two dtypes if one is uint16, uint32 or uint64, as in PyTorch."""
    if a in _WIDE_UNSIGNED or b in _WIDE_UNSIGNED:
        raise RuntimeError(
            "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{from_numpy_dtype(a)} and {from_numpy_dtype(b)}"
        )


def _check_dtype(function: str, name: str, value: Any) -> None:
    if not isinstance(value, dtype):
        raise TypeError(f"{function}(): argument '{name}' must be torch.dtype, not {type(value).__name__}")


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that both can be converted to.

    >>> import fastnn
    >>> fastnn.promote_types(fastnn.int32, fastnn.float32), fastnn.promote_types(fastnn.uint8, fastnn.int8)
    (torch.float32, torch.int16)
    """
    _check_dtype("promote_types", "type1", type1)
    _check_dtype("promote_types", "type2", type2)
    if type1.is_complex or type2.is_complex:
        parts = promote_types(type1.to_real(), type2.to_real())
        # Integers count as complex numbers of the smaller dtype, and so does float16.
        return complex128 if parts is float64 else complex64
    return from_numpy_dtype(promoted(as_numpy_dtype(type1), as_numpy_dtype(type2)))


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether the conversion keeps the kind (bool, integer, floating point) or goes to a higher one.

    >>> import fastnn
    >>> fastnn.can_cast(fastnn.float64, fastnn.float32), fastnn.can_cast(fastnn.float32, fastnn.int64)
    (True, False)
    """
    _check_dtype("can_cast", "from_", from_)
    _check_dtype("can_cast", "to", to)
    if from_.is_complex or to.is_complex:
        return to.is_complex
    a, b = as_numpy_dtype(from_), as_numpy_dtype(to)
    return RANK[b.kind] >= RANK[a.kind]


class finfo:
    """The limits of a floating point dtype.

    >>> import fastnn
    >>> fastnn.finfo(fastnn.float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: dtype | None = None) -> None:
        d = get_default_dtype() if type is None else type
        if isinstance(d, dtype):
            d = d.to_real()
        if not isinstance(d, dtype) or not d.is_floating_point:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d}'")
        if d is bfloat16:
            self._of_bfloat16()
            return
        info = np.finfo(d.numpy)
        self.dtype, self.bits = d.name, info.bits
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(info.resolution)

    def _of_bfloat16(self) -> None:
        # NumPy's finfo does not know it, and to ask for its limits is no use of it.
        self.dtype, self.bits, self.eps, self.resolution = "bfloat16", 16, 2.0**-7, 0.01
        self.max, self.min = _MOST_BFLOAT16, -_MOST_BFLOAT16
        self.tiny = self.smallest_normal = 2.0**-126

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.tiny:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


@functools.cache
def limits(kind: np.dtype) -> finfo:
    """The limits of a floating point dtype of NumPy, or of bfloat16."""
    return finfo(from_numpy_dtype(kind))


class iinfo:
    """The limits of an integer dtype.

    >>> import fastnn
    >>> fastnn.iinfo(fastnn.uint8)
    iinfo(min=0, max=255, dtype=uint8)
    """

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype) or type.is_floating_point or type.is_complex or type is bool_:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'")
        info: Any = np.iinfo(np.dtype(type.name))
        self.dtype, self.bits, self.max, self.min = type.name, info.bits, int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


class layout:
    """The memory layout of a tensor; there is only one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class memory_format(layout):
    """An order of dimensions in memory; accepted and ignored."""


strided = layout("strided")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
