"""Functions of ``torch`` that create tensors."""

from __future__ import annotations

import math
import operator
from array import array as _buffer
from typing import Any

import numpy as np

from fastnn._core.devices import check_device
from fastnn._core.dtypes import (
    FLOATING,
    ComplexNumbersError,
    as_number,
    as_numpy_dtype,
    check_array,
    complex128,
    default_numpy,
    dtype,
    from_numpy_dtype,
    get_default_dtype,
    plain,
    promoted,
    warn_of_read_only,
)
from fastnn._core.errors import ShapeError
from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.runtime import allocation

__all__ = [
    "arange", "as_tensor", "asarray", "empty", "empty_like", "eye", "from_dlpack", "from_file", "from_numpy",
    "frombuffer", "full", "full_like", "linspace", "logspace", "ones", "ones_like", "range", "scalar_tensor", "tensor",
    "vander", "zeros", "zeros_like",
]  # fmt: skip


_dtype = dtype


# -- From data ---------------------------------------------------------------------------------


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor with a copy of ``data``: floats become the default dtype, integers int64; arrays keep their dtype.

    Args:
        data: a number, nested sequences of numbers, an array or a tensor.
        dtype: the dtype of the tensor.
        device: the CPU.
        requires_grad: whether to record operations on it.

    >>> import fastnn
    >>> fastnn.tensor([[1, 2], [3, 4]]).dtype
    torch.int64
    """
    check_device(device)
    try:
        made = _wrap(array_of(data, as_numpy_dtype(dtype)))
    except ComplexNumbersError:
        made = _complex_tensors().from_data(data, dtype)
    return made.requires_grad_(requires_grad) if requires_grad else made


def _complex_tensors() -> Any:
    # Imported on first use: few programs have complex numbers.
    from fastnn.ops import complex_tensor

    return complex_tensor


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor: itself, or sharing memory if possible.

    >>> import fastnn, numpy as np
    >>> a = np.zeros(2)
    >>> fastnn.as_tensor(a).numpy() is a
    True
    """
    check_device(device)
    try:
        kind = as_numpy_dtype(dtype)
    except ComplexNumbersError:
        kind = None
        if not isinstance(data, Tensor):
            data = from_numpy(data) if isinstance(data, np.ndarray) else tensor(data, dtype=dtype)
        return data.to(dtype if isinstance(dtype, _dtype) else complex128)
    if isinstance(data, Tensor):
        return data if kind is None else data.to(from_numpy_dtype(kind))
    if isinstance(data, np.ndarray):
        shared = from_numpy(data if data.flags.aligned else data.copy())
        return shared if kind is None else shared.to(from_numpy_dtype(kind))
    try:
        return _wrap(array_of(data, kind))
    except ComplexNumbersError:
        return tensor(data)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """As ``as_tensor``; ``copy=True`` always copies, ``copy=False`` never does and raises ValueError instead.

    Bytes and other buffers share their memory, as with ``frombuffer``.
    """
    is_buffer = isinstance(obj, (bytes, bytearray, memoryview, _buffer))
    if is_buffer:
        # The bytes are read as elements of the dtype; tensor() would read a sequence.
        check_device(device)
        made = frombuffer(obj, dtype=get_default_dtype() if dtype is None else dtype)
    else:
        made = as_tensor(obj, dtype, device)
    shares = is_buffer or made is obj or (isinstance(obj, np.ndarray) and np.may_share_memory(made._data, obj))
    if copy and shares:
        made = made.clone()
    if copy is False and not shares:
        raise ValueError(
            "copy=False: can't alias the data of this object with this dtype, found "
            f"{type(obj).__name__} and dtype={dtype}"
        )
    return made.requires_grad_() if requires_grad else made


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares memory with an array; one UserWarning for a read-only array.

    A read-only array whose numbers do not begin at a multiple of their size is copied.

    Raises: ValueError for such an array that can be written, for negative strides and for another byte order; TypeError
        for a dtype that no tensor can have.

    >>> import fastnn, numpy as np
    >>> a = np.zeros(2)
    >>> t = fastnn.from_numpy(a)
    >>> a[0] = 1
    >>> t
    tensor([1., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    flags = ndarray.flags
    if not flags.writeable:
        warn_of_read_only("NumPy array")
    if not flags.aligned:
        ndarray = _aligned(ndarray, "ndarray")
    try:
        check_array(ndarray)
    except ComplexNumbersError:
        return _complex_tensors().wrap(ndarray)
    return _wrap(ndarray if type(ndarray) is np.ndarray else np.asarray(ndarray))


def _aligned(array: np.ndarray, name: str) -> np.ndarray:
    """A copy of memory that no kernel takes: vector instructions of some processors fail there.

    Raises: ValueError if the memory can be written, as the tensor would not see it.
    """
    if array.flags.writeable:
        raise ValueError(
            f"{name} must begin at an address that is a multiple of the size of its numbers ({array.itemsize}); give a "
            "copy of it"
        )
    return array.copy()


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over the memory of another library's array."""
    array = np.from_dlpack(ext_tensor)
    from_numpy_dtype(array.dtype)
    if not array.flags.aligned:
        array = _aligned(array, "ext_tensor")
    return _wrap(array)


def frombuffer(
    buffer: Any, *, dtype: dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A vector over the memory of a buffer."""
    try:
        size = memoryview(buffer).nbytes
    except TypeError:
        raise ValueError(f"{type(buffer).__name__} does not implement Python's buffer protocol") from None
    if size == 0 or count == 0:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size} bytes) minus 1"
        )
    array = np.frombuffer(buffer, as_numpy_dtype(dtype), count, offset)
    if not array.flags.aligned:
        array = _aligned(array, f"buffer with offset {offset}")
    if not array.flags.writeable:
        warn_of_read_only("buffer")
    return _wrap(array).requires_grad_(requires_grad)


def from_file(
    filename: Any, shared: bool | None = None, size: int = 0, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A vector over the first numbers of a file, which is mapped into memory.

    Args:
        filename: a path.
        shared: whether changes of the tensor are written to the file, which is made if it does not exist.
        size: the number of elements.
        dtype: their type, by default the default dtype.
        layout, device, pin_memory, requires_grad: as for other tensors.

    Raises: RuntimeError if the file cannot be opened, or is too short.
    """
    from fastnn.storage import UntypedStorage

    check_device(device)
    kind = as_numpy_dtype(dtype, default_numpy())
    if size < 0:
        raise RuntimeError(f"size must not be negative, found {size}")
    if not size:
        return _wrap(np.zeros(0, kind)).requires_grad_(requires_grad)
    memory = UntypedStorage.from_file(filename, bool(shared), size * kind.itemsize)._array
    return _wrap(memory[: size * kind.itemsize].view(kind)).requires_grad_(requires_grad)


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a number, of the default dtype."""
    check_device(device)
    return _wrap(as_number(_number(s), as_numpy_dtype(dtype, default_numpy()), True)).requires_grad_(requires_grad)


# -- Filled ------------------------------------------------------------------------------------


def _shape_of(size: tuple[Any, ...], given: Any = None) -> tuple[int, ...]:
    if given is not None:
        if not isinstance(given, (tuple, list)):
            raise TypeError(f"size must be a sequence of integers, found {type(given).__name__}")
        size = (given,)
    elif not size:
        raise TypeError("missing 1 required positional argument: size")
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        # A bool is an integer in Python.
        if bool in map(type, size):
            raise TypeError
        shape = tuple([operator.index(n) for n in size])
    except TypeError:
        raise TypeError(f"sizes must be integers, found {size!r}") from None
    if shape and min(shape) < 0:
        raise ShapeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


def _made(array: np.ndarray, requires_grad: bool, device: Any) -> Tensor:
    check_device(device)
    made = _wrap(array)
    return made.requires_grad_() if requires_grad else made


def zeros(
    *args: Any, size: Any = None, out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None, names: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of zeros; the sizes are separate arguments or one sequence.

    >>> import fastnn
    >>> fastnn.zeros(2, 3).shape
    torch.Size([2, 3])
    """
    try:
        made = _made(np.zeros(_shape_of(args, size), as_numpy_dtype(dtype, default_numpy())), requires_grad, device)
    except ComplexNumbersError:
        return _complex_tensors().filled(_shape_of(args, size), 0, dtype)
    return made if out is None else _into(out, made)


def ones(
    *args: Any, size: Any = None, out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False, names: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of ones; the sizes are separate arguments or one sequence."""
    try:
        made = _made(np.ones(_shape_of(args, size), as_numpy_dtype(dtype, default_numpy())), requires_grad, device)
    except ComplexNumbersError:
        return _complex_tensors().filled(_shape_of(args, size), 1, dtype)
    return made if out is None else _into(out, made)


# Uninitialised memory could expose other data; zero pages cost nothing.
empty = allocation.unfilled(zeros)


def _into(out: Tensor, made: Tensor) -> Tensor:
    from fastnn.ops.core import into

    return into(out, made)


def _fill_dtype(value: Any, kind: Any) -> np.dtype:
    if kind is not None:
        return as_numpy_dtype(kind)
    if isinstance(value, Tensor):
        return value._data.dtype
    value = plain(value)
    if isinstance(value, bool):
        return np.dtype(np.bool_)
    return np.dtype(np.int64) if isinstance(value, int) else default_numpy()


def _filled(shape: tuple[int, ...], value: Any, kind: np.dtype) -> np.ndarray:
    # As in PyTorch, which fills one number by another way.
    half_overflows = kind == np.float16 and math.prod(shape) == 1
    return np.full(shape, as_number(_number(value), kind, half_overflows))


def full(
    size: Any, fill_value: Any, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False, names: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor filled with one number, in its dtype."""
    if isinstance(size, (int, np.integer)):
        raise TypeError("full(): argument 'size' must be tuple of ints, not int")
    if isinstance(fill_value, Tensor) and fill_value._data.ndim:
        raise TypeError(f"full(): fill_value must be a number, found a Tensor of shape {tuple(fill_value.shape)}")
    try:
        array = _filled(_shape_of((size,)), fill_value, _fill_dtype(fill_value, dtype))
    except TypeError as error:
        if not isinstance(error, ComplexNumbersError) and not isinstance(fill_value, complex):
            raise
        return _complex_tensors().filled(_shape_of((size,)), fill_value, dtype)
    made = _made(array, requires_grad, device)
    return made if out is None else _into(out, made)


def eye(
    n: int, m: int | None = None, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The matrix with ones on its diagonal."""
    if n < 0 or (m is not None and m < 0):
        raise ShapeError(f"n and m must be greater or equal to 0, got {n} and {m}")
    made = _made(np.eye(n, m, dtype=as_numpy_dtype(dtype, default_numpy())), requires_grad, device)
    return made if out is None else _into(out, made)


# -- Ranges ------------------------------------------------------------------------------------


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else plain(value)


def arange(
    start: Any = ..., end: Any = None, step: Any = 1, *, out: Tensor | None = None, dtype: Any = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The numbers from ``start`` (default 0) up to but excluding ``end``; int64 if all are integers.

    >>> import fastnn
    >>> fastnn.arange(2, 8, 2)
    tensor([2, 4, 6])
    """
    if end is None:
        if start is ...:
            raise TypeError("arange() missing the argument end")
        start, end = 0, start
    elif start is ...:
        start = 0
    first, last, by = _number(start), _number(end), _number(step)
    _check_steps(first, last, by)
    integers = all(isinstance(n, int) for n in (first, last, by))
    kind = as_numpy_dtype(dtype, np.dtype(np.int64) if integers else default_numpy())
    if kind.kind == "b":
        raise NotImplementedError('"arange_cpu" not implemented for Bool')
    count = max(-((first - last) // by) if integers else math.ceil((last - first) / by), 0)
    if kind.kind not in FLOATING and not integers:
        # Computed in the type itself, as in PyTorch.
        if kind == np.int64 and int(by) == 0:
            raise ValueError(f"step must be nonzero, found {by} as int64")
        first, by = int(first), int(by)
    array = np.arange(count) * by + first
    made = _made(array.astype(kind), requires_grad, device)
    return made if out is None else _into(out, made)


def _check_steps(first: Any, last: Any, by: Any) -> None:
    if by == 0:
        raise RuntimeError(f"step must be nonzero, found {by}")
    if not (math.isfinite(first) and math.isfinite(last) and by == by):
        raise RuntimeError(f"unsupported range: {first} -> {last} by {by}")
    if (last - first) * by < 0:
        raise RuntimeError(
            f"upper bound and larger bound inconsistent with step sign: found {first} to {last} by {by}"
        )


def range(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None, **options: Any) -> Tensor:
    """The numbers from ``start`` up to and including ``end``; deprecated in PyTorch in favour of ``arange``."""
    if end is None:
        if start is ...:
            raise TypeError("arange() missing the argument end")
        start, end = 0, start
    elif start is ...:
        start = 0
    first, last, by = _number(start), _number(end), _number(step)
    _check_steps(first, last, by)
    array = np.arange(math.floor((last - first) / by) + 1) * by + first
    return _made(array.astype(as_numpy_dtype(dtype, default_numpy())), False, None)


def _steps(steps: Any, *limits: Any) -> int:
    for limit in limits:
        if not isinstance(limit, (int, float, np.generic, Tensor)):
            raise TypeError(f"start and end must be numbers, found {type(limit).__name__}")
    if steps is True or steps is False:
        raise TypeError("steps must be an integer, found bool")
    count = operator.index(_number(steps))
    if count < 0:
        raise RuntimeError(f"number of steps must be non-negative, found {count}")
    return count


def linspace(
    start: Any, end: Any, steps: int, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``steps`` evenly spaced numbers from ``start`` to ``end``.

    >>> import fastnn
    >>> fastnn.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    count, kind = _steps(steps, start, end), as_numpy_dtype(dtype, default_numpy())
    first, last = _number(start), _number(end)
    if kind.kind in "iu" and not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow: found {first} and {last}")
    made = _made(_between(first, last, count, kind), requires_grad, device)
    return made if out is None else _into(out, made)


# The second type rounds a product and a sum of the first once. Without such a long double in C, linspace of float64
# is off by one unit in the last place.
_WIDER: dict[Any, Any] = {np.float32: np.float64, np.float64: np.longdouble}


def _between(first: Any, last: Any, count: int, kind: np.dtype) -> np.ndarray:
    if kind.kind not in FLOATING:
        step = (last - first) / (count - 1) if count > 1 else 0.0
        values = first + step * np.arange(count)
        return values.astype(kind)
    # The step in the dtype itself; then from both ends, rounded once like PyTorch's fused multiply-add.
    low, high = kind.type(first), kind.type(last)
    if count == 1:
        return np.full(count, low, kind)
    wide = np.float32 if kind.kind == "V" else _WIDER.get(kind.type, kind.type)
    with np.errstate(over="ignore", invalid="ignore"):
        step, index = (high - low) / kind.type(count - 1), np.arange(count)
        far = wide(step) * index.astype(wide)
        return np.where(index < count // 2, wide(low) + far, wide(high) - far[::-1]).astype(kind)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, out: Tensor | None = None, dtype: Any = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``base`` to the powers of ``linspace(start, end, steps)``."""
    count, kind = _steps(steps, start, end), as_numpy_dtype(dtype, default_numpy())
    exponents = _between(float(_number(start)), float(_number(end)), count, np.dtype(np.float64))
    made = _made((float(base) ** exponents).astype(kind), requires_grad, device)
    return made if out is None else _into(out, made)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each element of a vector as rows, the largest first."""
    from fastnn.ops.joining import cat

    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a Tensor, found {type(x).__name__}")
    if x._data.ndim != 1:
        raise RuntimeError(f"x must be a one-dimensional tensor, found shape {tuple(x.shape)}.")
    count = x._data.size if N is None else N
    if count < 0:
        raise RuntimeError(f"N must be non-negative, found {count}.")
    x = x.to(from_numpy_dtype(promoted(x._data.dtype, np.dtype(np.int64))))
    column = x.unsqueeze(1)
    powers = cat([column.new_ones((x._data.size, min(count, 1))), column.expand(-1, max(count - 1, 0)).cumprod(1)], 1)
    return powers if increasing else powers.flip(1)


# -- Like another tensor -------------------------------------------------------------------------


def _like(input: Any, dtype: Any) -> tuple[tuple[int, ...], np.dtype]:
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor, found {type(input).__name__}")
    return input._data.shape, as_numpy_dtype(dtype, input._data.dtype)


def zeros_like(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros in the shape and dtype of ``input``."""
    return _made(np.zeros(*_like(input, dtype)), requires_grad, device)


def ones_like(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Ones in the shape and dtype of ``input``."""
    return _made(np.ones(*_like(input, dtype)), requires_grad, device)


empty_like = allocation.unfilled(zeros_like)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor filled with one number, in the shape and dtype of ``input``."""
    shape, kind = _like(input, dtype)
    return _made(_filled(shape, fill_value, kind), requires_grad, device)


def _new(make: Any) -> Any:
    def method(
        self: Tensor, *args: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
        layout: Any = None, pin_memory: bool = False,
    ) -> Tensor:  # fmt: skip
        kind = as_numpy_dtype(dtype, self._data.dtype)
        return _made(make(_shape_of(args, size), kind), requires_grad, device)

    return method


def _new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor filled with one number, in another shape and this dtype."""
    if isinstance(size, (int, np.integer)):
        raise TypeError(f"new_full(): size must be a tuple of integers, found {type(size).__name__}")
    kind = as_numpy_dtype(dtype, self._data.dtype)
    return _made(_filled(_shape_of((size,)), fill_value, kind), requires_grad, device)


def _new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A copy of ``data`` in this dtype."""
    return _made(array_of(data, as_numpy_dtype(dtype, self._data.dtype)), requires_grad, device)


METHODS = {
    "new_zeros": _new(np.zeros), "new_empty": _new(allocation.unfilled(np.zeros)), "new_ones": _new(np.ones),
    "new_full": _new_full, "new_tensor": _new_tensor,
}  # fmt: skip
