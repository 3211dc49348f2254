"""Conversion to dtypes and devices, and writing values into an existing tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core.devices import check_device, device
from fastnn._core.dtypes import (
    BY_LEGACY_NAME,
    ComplexNumbersError,
    as_number,
    as_numpy_dtype,
    bfloat16,
    bool_,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    from_numpy_dtype,
    int8,
    int16,
    int32,
    int64,
    plain,
    promoted,
    strided,
    uint8,
)
from fastnn._core.errors import ShapeError
from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _recorded, _sizes, _unbroadcast, _wrap
from fastnn._tensor.views import mapped
from fastnn.kernels.runtime import allocation
from fastnn.ops.core import (
    NUMBERS,
    as_operand,
    check_tensor,
    common_dtype,
    named,
    quiet,
    refuse_overlap,
    same_elements,
    titled,
)

__all__ = [
    "detach", "detach_", "fill", "is_conj", "is_inference", "is_neg", "is_signed", "is_storage", "is_tensor",
    "numel", "result_type", "swap_tensors", "typename",
]  # fmt: skip


def _converted(self: Tensor, target: dtype, copy: bool = False) -> Tensor:
    """The tensor in another dtype; the tensor itself if it has that dtype."""
    try:
        kind = target.numpy
    except ComplexNumbersError:
        from fastnn.ops import complex_tensor

        return complex_tensor.from_data(self, target)
    array = self._data
    if array.dtype == kind:
        return self.clone() if copy else self
    source = from_numpy_dtype(array.dtype)
    result = np.asarray(quiet(array.astype, kind))
    if not target.is_floating_point:
        return _wrap(result)
    return mapped("ToCopy", self, result, lambda grad: _converted(grad, source))


def _to(
    self: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False,
    memory_format: Any = None, other: Any = None,
) -> Tensor:  # fmt: skip
    """The tensor in another dtype, or in that of another tensor; the only device is the CPU.

    The arguments are a dtype, a device, a device and a dtype, or a tensor, each followed by
    ``non_blocking`` and ``copy``.
    """
    first = args[0] if args else None
    if isinstance(first, _dtype) and len(args) == 1:
        return _converted(self, first, copy)
    rest = list(args)
    if isinstance(first, Tensor):
        other = rest.pop(0)
    elif isinstance(first, (str, _device)) or type(first) is int:
        device = rest.pop(0)
    elif first is None and len(args) > 1 and not isinstance(args[1], bool):
        rest.pop(0)
    if rest and other is None and (rest[0] is None or isinstance(rest[0], _dtype) or rest[0] in (float, int, complex)):
        dtype = rest.pop(0)
    if len(rest) > 2 or not all(isinstance(flag, bool) for flag in rest):
        raise TypeError(f"to() takes a dtype, a device, both, or a Tensor, then two flags; found {args!r}")
    copy = rest[1] if len(rest) > 1 else copy
    if other is not None:
        check_tensor("other", other)
        dtype = from_numpy_dtype(other._data.dtype)
    if device is not None:
        check_device(device)
    if dtype is None:
        return self.clone() if copy else self
    if dtype is complex:
        dtype = complex128
    return _converted(self, dtype if isinstance(dtype, _dtype) else from_numpy_dtype(as_numpy_dtype(dtype)), copy)


_dtype, _device = dtype, device


def _as(target: dtype) -> Any:
    def convert(self: Tensor, *, memory_format: Any = None) -> Tensor:
        return _converted(self, target)

    return titled(convert, target.name, f"As {target.name}.")


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """PyTorch's name of this tensor type; with a dtype or type name, the tensor converted to it."""
    if dtype is None:
        return f"torch.{self.dtype.legacy}Tensor"
    if isinstance(dtype, _dtype) or dtype is float or dtype is int or dtype is bool:
        return _to(self, dtype)
    if not isinstance(dtype, (str, type)):
        raise TypeError(f"dtype must be a type, str, or dtype object, found {type(dtype).__name__}")
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", "")
    legacy = name.rsplit(".", 1)[-1].removesuffix("Tensor")
    if ".cuda." in name:
        check_device("cuda")
    if legacy == "" and name.endswith("Tensor"):
        return _converted(self, float32)
    if legacy not in BY_LEGACY_NAME:
        raise ValueError(f"invalid type: {dtype!r}")
    return _converted(self, BY_LEGACY_NAME[legacy])


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of ``other``."""
    check_tensor("other", other)
    return _converted(self, other.dtype)


def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself: it is on the CPU."""
    return self


def _cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """AssertionError and RuntimeError: there is no such device."""
    check_device("cuda" if device is None or isinstance(device, int) else device)
    return self


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: there is no device to copy to."""
    return self


# -- Properties --------------------------------------------------------------------------------


@named
def numel(input: Tensor) -> int:
    """The number of elements."""
    check_tensor("input", input)
    return input._data.size


def is_signed(input: Tensor) -> bool:
    """Whether the dtype is signed."""
    return input._data.dtype.kind in "ifV"


def is_inference(input: Tensor) -> bool:
    """Whether the tensor was created in ``inference_mode``, and shares no memory with one that was not."""
    return input._memory.inference


def _never(self: Tensor) -> bool:
    """False: fastnn has no such tensors."""
    return False


def is_conj(input: Tensor) -> bool:
    """False: the numbers are real."""
    return False


is_neg = is_conj


def detach(input: Tensor) -> Tensor:
    """The same values in the same memory, without history."""
    return Tensor.detach(input)


def detach_(input: Tensor) -> Tensor:
    """Drop the history in place."""
    return Tensor.detach_(input)


@named
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor of this shape and dtype with ``value`` everywhere."""
    check_tensor("input", input)
    return _fill_(input.clone(), value)


def is_tensor(obj: Any) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Whether an object is the memory of a tensor, as ``untyped_storage`` returns it."""
    return isinstance(obj, _storages()._Storage)


def _storages() -> Any:
    # Imported on first use: few programs need them.
    from fastnn import storage

    return storage


def _untyped_storage(self: Tensor) -> Any:
    """The memory that the tensor shares with its views, as bytes."""
    return _storages().untyped_storage(self)


def _storage(self: Tensor) -> Any:
    """The memory that the tensor shares with its views, as numbers of its dtype; deprecated in PyTorch."""
    return _storages().typed_storage(self)


def _typed_storage(self: Tensor) -> Any:
    """As ``storage``, without the warning."""
    storages = _storages()
    return storages.TypedStorage(wrap_storage=storages.untyped_storage(self), dtype=self.dtype)


def _storage_type(self: Tensor) -> Any:
    """``FloatStorage`` or the like."""
    return _storages().storage_type(self)


def typename(obj: Any) -> str:
    """PyTorch's name of an object's type.

    >>> import fastnn
    >>> fastnn.typename(fastnn.zeros(1))
    'torch.FloatTensor'
    """
    if isinstance(obj, Tensor):
        return _type(obj)
    kind = obj if isinstance(obj, type) else type(obj)
    module = getattr(obj, "__module__", None) or kind.__module__
    name = getattr(obj, "__qualname__", None) or kind.__qualname__
    return name if module in ("", "builtins", None) else f"{module}.{name}"


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype of an arithmetic operation on two tensors or numbers.

    >>> import fastnn
    >>> fastnn.result_type(fastnn.tensor([1, 2]), 1.0)
    torch.float32
    """
    for operand in (tensor1, tensor2):
        if not isinstance(operand, (Tensor, bool, int, float, complex, np.generic)):
            raise TypeError(f"result_type() takes tensors and numbers, found {type(operand).__name__}")
    if isinstance(tensor1, complex) or isinstance(tensor2, complex):
        from fastnn.ops import complex_tensor

        return complex_tensor.result_dtype(tensor1, tensor2)
    if isinstance(tensor1, Tensor) and isinstance(tensor2, Tensor):
        return from_numpy_dtype(common_dtype(tensor1, tensor2))
    if isinstance(tensor1, Tensor):
        other = as_operand(tensor1, tensor2)
        assert other is not None
        return from_numpy_dtype(common_dtype(tensor1, other))
    if isinstance(tensor2, Tensor):
        return result_type(tensor2, tensor1)
    from fastnn.ops.creation import tensor

    return from_numpy_dtype(promoted(tensor(tensor1)._data.dtype, tensor(tensor2)._data.dtype))


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Exchange the contents of two tensors."""
    names = ["_grad", "_history", "_memory", "_node", "_requires_grad"]
    if hasattr(t1, "_slot") and hasattr(t2, "_slot"):
        # Parameters are swapped with their slots in the flat buffer.
        names += ["_data", "_slot", "_grad_place"]
    for name in names:
        a, b = getattr(t1, name), getattr(t2, name)
        setattr(t1, name, b)
        setattr(t2, name, a)
    if "_data" not in names:
        one, other = _wrap(t1._data), _wrap(t2._data)
        t1.data, t2.data = other, one


def _element_size(self: Tensor) -> int:
    """The bytes of an element."""
    return self._data.itemsize


def _dim(self: Tensor) -> int:
    """The number of dimensions."""
    return self._data.ndim


def _get_device(self: Tensor) -> int:
    """-1: the CPU has no index."""
    return -1


# -- Writing values ------------------------------------------------------------------------------


def _copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Copy the values of ``src``, broadcast to this shape, in place."""
    if not isinstance(src, Tensor):
        if not isinstance(src, NUMBERS):
            raise TypeError(f"src must be a Tensor or a number, found {type(src).__name__}")
        src = _wrap(array_of(plain(src), None))
    shape = src._data.shape
    if src._memory is self._memory:
        refuse_overlap(self._data, src._data)
        if not self._data.flags.writeable and same_elements(self._data, src._data):
            # As in PyTorch, an expanded tensor can be copied to itself.
            return self
    try:
        # Broadcasting to the same shape would take longer than the copy.
        values = src._data if shape == self._data.shape else np.broadcast_to(src._data, self._data.shape)
    except ValueError:
        raise ShapeError(
            f"The size of tensor a {list(self._data.shape)} must match the size of tensor b {list(shape)}"
        ) from None
    if not _recorded(self, src):
        self._write(..., values)
        return self
    values = quiet(values.astype, self._data.dtype)
    kind = src.dtype
    wants = src._requires_grad

    def run(grad: Tensor) -> tuple[Tensor, Tensor | None]:
        zeros = _wrap(np.zeros(grad._data.shape, grad._data.dtype))
        return zeros, _unbroadcast(grad, shape).to(kind) if wants else None

    node = Node("CopyBackwards", (self, src), run)
    return self._in_place(_wrap(values, node))


def _fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to ``value``."""
    if isinstance(value, Tensor):
        if value._data.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value._data.ndim} dimensions."
            )
        return _copy_(self, value)
    if not isinstance(value, NUMBERS):
        raise TypeError(f"fill_(): value must be a number, found {type(value).__name__}")
    number = as_number(value, self._data.dtype)
    if not _recorded(self):
        self._write(..., number)
        return self

    def run(grad: Tensor) -> tuple[Tensor]:
        return (_wrap(np.zeros(grad._data.shape, grad._data.dtype)),)

    return self._in_place(_wrap(np.full(self._data.shape, number), Node("Fill", (self,), run)))


def _zero_(self: Tensor) -> Tensor:
    """Set every element to 0."""
    if _recorded(self):
        return _fill_(self, 0)
    # Every dtype has a 0, so nothing is checked.
    self._write(..., 0)
    return self


def _fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Set the elements on the diagonal."""
    if self._data.ndim < 2:
        raise RuntimeError(f"fill_diagonal_: dimensions must larger than 1, found shape {tuple(self.shape)}")
    if self._data.ndim > 2 and len(set(self._data.shape)) > 1:
        raise ShapeError(f"fill_diagonal_: all dimensions of input must be of equal length, found {tuple(self.shape)}")
    mask = np.zeros(self._data.shape, bool)
    np.fill_diagonal(mask, True, wrap)
    self[_wrap(mask)] = fill_value
    return self


def _set_(
    self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """Take over the memory of another tensor, or numbers of a storage: all, or those at the offset and strides."""
    self._check_in_place()
    if source is not None and not isinstance(source, Tensor):
        source = _wrap(_storages().part(source, self._data.dtype, storage_offset, size, stride))
    elif isinstance(source, Tensor) and size is not None:
        source = _wrap(_storages().part(_untyped_storage(source), source._data.dtype, storage_offset, size, stride))
    self.data = _wrap(allocation.empty(0, self._data.dtype)) if source is None else source
    self._memory.version += 1
    return self


def _resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Resize in place: the elements keep their order, new ones are undefined."""
    if self._requires_grad:
        raise RuntimeError(f"cannot resize variables that require grad, found one of shape {tuple(self.shape)}")
    version = self._memory.version_to_write()
    shape = tuple(_sizes(sizes))
    if shape != self._data.shape:
        self._memory.version = version + 1
    made = np.zeros(shape, self._data.dtype)
    count = min(made.size, self._data.size)
    made.reshape(-1)[:count] = self._data.reshape(-1)[:count]
    self._data = made
    return self


def _apply_(self: Tensor, callable: Any) -> Tensor:
    """Set each element to ``callable(element)``."""
    values = [callable(v) for v in self._data.reshape(-1).tolist()]
    self._write(..., np.array(values, self._data.dtype).reshape(self._data.shape))
    return self


def _resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """Resize in place to the size of another tensor."""
    return _resize_(self, the_template._data.shape)


def _sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The sum over the dimensions that broadcasting a tensor of that size would expand."""
    shape = tuple(_sizes(size))
    try:
        fits = np.broadcast_shapes(shape, self._data.shape) == self._data.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"size {list(shape)} is not expandable to size {list(self._data.shape)}.")
    summed = self._data.dtype.kind in "bui" and shape != self._data.shape
    return _unbroadcast(self.long() if summed else self, shape)


def _as_subclass(self: Tensor, cls: Any) -> Any:
    """An instance of a subclass of ``Tensor`` over the same memory, with the same history.

    Raises: TypeError if ``cls`` is another class.
    """
    from fastnn._tensor.torch_function import as_subclass

    return as_subclass(self, cls)


def _share_memory_(self: Tensor) -> Tensor:
    """The tensor itself: fastnn shares no memory between processes."""
    return self


def _angle(self: Tensor) -> Tensor:
    """The angle of complex numbers; of real ones 0, or pi if they are negative."""
    from fastnn.ops.complex_numbers import angle

    return angle(self)


METHODS = {
    "to": _to, "float": _as(float32), "double": _as(float64), "half": _as(float16), "bfloat16": _as(bfloat16),
    "long": _as(int64), "int": _as(int32), "short": _as(int16), "char": _as(int8), "byte": _as(uint8),
    "bool": _as(bool_), "cfloat": _as(complex64), "cdouble": _as(complex128), "type": _type, "type_as": _type_as,
    "cpu": _cpu, "cuda": _cuda, "pin_memory": _pin_memory,
    "is_pinned": _never, "is_shared": _never, "share_memory_": _share_memory_, "nelement": numel,
    "element_size": _element_size, "dim": _dim, "ndimension": _dim, "get_device": _get_device, "copy_": _copy_,
    "fill_": _fill_, "zero_": _zero_, "fill_diagonal_": _fill_diagonal_, "set_": _set_, "resize_": _resize_,
    "apply_": _apply_, "resize_as_": _resize_as_, "sum_to_size": _sum_to_size, "as_subclass": _as_subclass,
    "angle": _angle, "storage": _storage, "_typed_storage": _typed_storage,
    "untyped_storage": _untyped_storage, "storage_type": _storage_type,
}  # fmt: skip
PROPERTIES = {
    "itemsize": _element_size,
    "nbytes": lambda self: self._data.nbytes,
    **{f"is_{name}": _never for name in ("cuda", "mps", "sparse", "quantized", "meta", "xpu", "mkldnn")},
    "is_cpu": lambda self: True,
    "layout": lambda self: strided,
    "real": lambda self: self,
    "output_nr": lambda self: 0,
    "imag": lambda self: _no_complex(),
}


def _no_complex() -> Any:
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
FUNCTIONS_ONLY = ("detach", "detach_", "is_storage", "is_tensor", "swap_tensors", "typename")
