"""Elements by their indices: reading and writing."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._core.capture_state import active
from fastnn._core.dtypes import as_number, check_array
from fastnn._core.errors import RangeError, ShapeError
from fastnn._core.errstate import quiet
from fastnn._core.sums import add_up
from fastnn._tensor.sequences import array_of, is_sequence
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn._tensor.views import linear_map
from fastnn.ops.core import NUMBERS, refuse_overlap, warn_of_byte_mask
from fastnn.ops.slicing import sliced

__all__: list[str] = []


# -- Square brackets ---------------------------------------------------------------------------


def _numpy_key(key: Any, indices: list[Tensor]) -> tuple[Any, ...]:
    """An index as a tuple, with tensors replaced by arrays and added to ``indices``."""
    kind = type(key)
    if kind is tuple:
        return tuple([_numpy_part(k, indices) for k in key])
    if kind is Tensor or kind is slice:
        return (_numpy_part(key, indices),)
    if isinstance(key, tuple):
        return tuple([_numpy_part(k, indices) for k in key])
    if kind is list:
        if key and _NUMBERS.issuperset(map(type, key)):
            return (np.array(key),)
        if _stands_for_tuple(key):
            return tuple([_numpy_part(k, indices) for k in key])
    elif kind not in _PLAIN and _is_plain_sequence(key) and _stands_for_tuple(key):
        return tuple([_numpy_part(k, indices) for k in key])
    return (_numpy_part(key, indices),)


# PyTorch treats longer lists of lists as an index of rows.
_DIMENSIONS = 32
_NUMBERS = frozenset((bool, int))
# Types of keys that are never treated as a tuple.
_PLAIN = frozenset((np.ndarray, range, bool, int, type(None), type(...)))


def _is_plain_sequence(key: Any) -> bool:
    """Whether a key is a sequence by protocol, and neither a string nor an array of any library."""
    return is_sequence(key) and not isinstance(key, (str, bytes, np.generic)) and not hasattr(key, "__array__")


def _stands_for_tuple(key: Any) -> bool:
    """Whether PyTorch treats a sequence as a tuple: if it is short and not only numbers."""
    if len(key) >= _DIMENSIONS or not any(
        k is None or k is ... or isinstance(k, (Tensor, list, tuple, range, slice, str, np.ndarray))
        or ((hasattr(k, "__array__") or is_sequence(k)) and not isinstance(k, np.generic)) for k in key
    ):  # fmt: skip
        return False
    warnings.warn(
        "Using a non-tuple sequence for multidimensional indexing is deprecated: a list of lists means x[tuple(seq)] "
        "here, and x[tensor(seq)] in NumPy and in later versions of PyTorch; use the one that is meant.",
        UserWarning,
        stacklevel=4,
    )
    return True


def _numpy_part(key: Any, indices: list[Tensor]) -> Any:
    kind = type(key)
    if kind is int or key is None or key is ...:
        return key
    if kind is slice:
        if key.step is not None and key.step <= 0:
            raise ValueError(f"step must be greater than zero, found {key.step}")
        if isinstance(key.start, Tensor) or isinstance(key.stop, Tensor):
            return slice(*[int(n) if isinstance(n, Tensor) else n for n in (key.start, key.stop, key.step)])
        return key
    if isinstance(key, Tensor):
        if key._data.dtype == np.uint8:
            # A mask here; a number in NumPy.
            if key._data.ndim == 0:
                capture_state.stop("a number is read in Python")
                return bool(key._data)
            indices.append(key)
            return key._data.astype(np.bool_)
        if key._data.ndim == 0 and key._data.dtype.kind in "iu":
            capture_state.stop("a number is read in Python")
            indices.append(key)
            return int(key._data)
        if key._data.dtype not in (np.bool_, np.int32, np.int64):
            raise RangeError(f"tensors used as indices must be int64, int32 or bool tensors, found {key.dtype}")
        indices.append(key)
        return key._data
    if kind is bool:
        return key
    if isinstance(key, np.integer):
        return int(key)
    if kind is np.ndarray:
        check_array(key)
        array = key
    elif hasattr(key, "__array__") and not isinstance(key, np.generic):
        array = array_of(key, None)
    elif isinstance(key, (list, tuple, range)) or _is_plain_sequence(key):
        array = array_of(key, None)
        if array.dtype.kind == "f":
            # Also an empty one. PyTorch converts the numbers in a sequence to integers.
            array = array_of(key, np.dtype(np.int64))
    elif hasattr(kind, "__index__") and not isinstance(key, np.generic):
        return operator.index(key)
    else:
        kind_of_error = TypeError if isinstance(key, (str, bytes)) else IndexError
        raise kind_of_error(
            "indices are integers, slices, ..., None, Tensors, arrays and sequences of integers, found "
            f"{key!r} of type {kind.__name__}"
        )
    if array.ndim and array.dtype.kind == "f":
        return quiet(array.astype, np.int64)
    if array.dtype == np.uint8:
        return _numpy_part(_wrap(array), indices)
    return int(array) if array.ndim == 0 and array.dtype.kind == "i" else array


# The types of the parts of a key that gives a view.
_BASIC = frozenset((int, slice, type(None), type(...)))


def _is_advanced(key: tuple[Any, ...]) -> bool:
    return not _BASIC.issuperset(map(type, key))


def _view_name(key: tuple[Any, ...]) -> str:
    for k in reversed(key):
        if isinstance(k, slice):
            return "Slice"
        if k is None:
            return "Unsqueeze"
        if k is not ...:
            return "Select"
    return "Alias"


def _getitem(self: Tensor, key: Any) -> Tensor:
    """``self[key]``: a view if the key has only numbers, slices, None and ..., otherwise a copy."""
    kind = type(key)
    if kind is int:
        # The ... makes a single element a view as well.
        return sliced(self, (key, ...), "Select")
    if kind is Tensor and key._data.dtype in _INDEX_DTYPES and key._data.ndim:
        return _selected(self, (key._data,), (key,))
    if kind is slice and _is_plain_slice(key):
        return sliced(self, (key, ...), "Slice")
    if kind is tuple and _is_basic(key):
        return sliced(self, key if ... in key else (*key, ...), _view_name(key))
    indices: list[Tensor] = []
    parts = _numpy_key(key, indices)
    if not _is_advanced(parts):
        return sliced(self, parts if ... in parts else (*parts, ...), _view_name(parts))
    for t in indices:
        if t._data.dtype == np.uint8:
            warn_of_byte_mask("indexing")
    if any(type(k) is int for k in parts):
        first, parts = _in_two_steps(self, parts)
        return _getitem(sliced(self, first, "Select"), parts)
    return _selected(self, parts, tuple(indices))


# Types of a slice's ends.
_ENDS = frozenset((int, type(None)))


def _is_plain_slice(key: slice) -> bool:
    """Whether a slice is one for NumPy as it is; others are converted or an error."""
    return type(key.start) in _ENDS and type(key.stop) in _ENDS and (
        key.step is None or (type(key.step) is int and key.step > 0)
    )  # fmt: skip


def _is_basic(key: tuple[Any, ...]) -> bool:
    """Whether a key has only numbers, slices, None and ..., of Python's own types."""
    for k in key:
        kind = type(k)
        if kind is slice:
            if not _is_plain_slice(k):
                return False
        elif kind is not int and k is not None and k is not ...:
            return False
    return True


# The dtypes of an index that may be a tensor with dimensions, without a warning.
_INDEX_DTYPES = frozenset((np.dtype(np.bool_), np.dtype(np.int32), np.dtype(np.int64)))


def _selected(x: Tensor, parts: tuple[Any, ...], indices: tuple[Tensor, ...]) -> Tensor:
    """The elements at arrays of positions: a copy."""
    shape = x._data.shape
    if active and any(isinstance(part, np.ndarray) and part.dtype == np.bool_ for part in parts):
        capture_state.stop("the shape of a result depends on numbers")

    def take(a: np.ndarray) -> np.ndarray:
        return a[parts]

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        # Unlike +=, add.at adds repeatedly for repeated indices; a mask has none.
        if len(parts) == 1 and isinstance(parts[0], np.ndarray) and parts[0].dtype == np.bool_:
            full[parts] = g
        else:
            np.add.at(full, parts, g)
        return full

    return linear_map("Index", x, take, put, indices, keeps=True)


def _in_two_steps(x: Tensor, parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split a key with numbers and index arrays into one without the arrays, and one for its result.

    NumPy treats a number next to index arrays as one of them, which moves dimensions; PyTorch does not.
    """
    used = sum([k.ndim if isinstance(k, np.ndarray) and k.dtype == np.bool_ else 1 for k in parts if k is not None
                and k is not ... and not isinstance(k, (bool, np.bool_))])  # fmt: skip
    basic: list[Any] = []
    rest: list[Any] = []
    for k in parts if ... in [p for p in parts if not isinstance(p, np.ndarray)] else (*parts, ...):
        if type(k) is int:
            basic.append(k)
        elif k is ...:
            basic.append(k)
            rest += [slice(None)] * (x._data.ndim - used)
        elif isinstance(k, np.ndarray):
            basic += [slice(None)] * (k.ndim if k.dtype == np.bool_ else 1)
            rest.append(k)
        elif isinstance(k, (bool, np.bool_)):
            rest.append(k)
        else:
            basic.append(k)
            rest.append(slice(None))
    return tuple(basic), tuple(rest)


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """``self[key] = value``, for a tensor that can be broadcast or a number."""
    indices: list[Tensor] = []
    parts = _numpy_key(key, indices)
    if not isinstance(value, (Tensor, *NUMBERS)):
        raise TypeError(f"can't assign a {type(value).__name__} to a {_type_name(self)}")
    for t in indices:
        if t._data.dtype == np.uint8:
            if _fills(parts, value):
                # Raise an index error first.
                _ = self._data[parts]
                raise RuntimeError("masked_fill_ only supports boolean masks, but got mask with dtype torch.uint8")
            warn_of_byte_mask("indexing")
    if _is_advanced(parts) and any(type(k) is int for k in parts):
        first, parts = _in_two_steps(self, parts)
        _setitem(sliced(self, first, "Select"), parts, value)
        return
    source = value if isinstance(value, Tensor) else None
    if source is not None and source._data.dtype != self._data.dtype and _is_advanced(parts):
        # One number under a mask is converted as in masked_fill.
        _check_filling(self, parts, source)
    recorded = _recorded(self) if source is None else _recorded(self, source)
    if recorded:
        self._check_in_place()
    if source is None:
        _assign(self, parts, value)
    else:
        array = source._data
        if source._memory is self._memory and not _is_advanced(parts):
            _refuse_overlap(self._data[parts], array)
        while array.ndim > 1 and array.shape[0] == 1 and _is_advanced(parts):
            # NumPy assigns only a vector to a mask.
            array = array[0]
        _assign(self, parts, array)
    if recorded:
        self._adopt(_assignment(self, parts, source, tuple(indices)))


def _refuse_overlap(target: Any, array: np.ndarray) -> None:
    """Raise RuntimeError if a source without gaps overlaps the written elements; it is expanded first."""
    if type(target) is not np.ndarray or target.ndim == 0:
        # One element.
        return
    if array.shape != target.shape:
        while array.ndim > 0 and array.shape[0] == 1:
            array = array[0, ...]
        try:
            array = np.broadcast_to(array, target.shape)
        except ValueError:
            # The assignment raises the error.
            return
    refuse_overlap(target, array)


def _fills(parts: tuple[Any, ...], value: Any) -> bool:
    """Whether one number is assigned under one mask; PyTorch uses masked_fill for this."""
    if isinstance(value, Tensor) and value._data.size != 1:
        return False
    return [
        k is True or k is False or k.dtype == np.bool_ for k in parts if isinstance(k, (np.ndarray, bool))
    ] == [True]


def _check_filling(target: Tensor, parts: tuple[Any, ...], source: Tensor) -> None:
    """RuntimeError for a source of another dtype, except one number under one mask that fits this dtype."""
    if not _fills(parts, source):
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {target.dtype} for the destination and "
            f"{source.dtype} for the source."
        )
    as_number(source._data.item(), target._data.dtype, True)


def _type_name(t: Tensor) -> str:
    return f"torch.{t.dtype.legacy}Tensor"


# Larger numbers may not fit float32.
_LARGE = 3e38


def _assign(target: Tensor, parts: tuple[Any, ...], value: Any) -> None:
    if isinstance(value, (bool, int, float)) and (target._data.dtype.kind in "iu" or abs(value) > _LARGE):
        value = as_number(value, target._data.dtype, True)
    elif isinstance(value, np.ndarray):
        # NumPy cannot assign arrays of more dimensions to a single element or a masked selection.
        while value.ndim > 1 and value.shape[0] == 1:
            value = value[0]
        if value.ndim == 1 and value.size == 1:
            value = value[0]
        try:
            target._write(parts, value)
        except TypeError:
            # A value of two or more dimensions under a mask of all dimensions.
            raise ShapeError(
                f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of "
                f"shape {list(target._data[parts].shape)}"
            ) from None
        return
    target._write(parts, value)


def _assignment(
    target: Tensor, parts: tuple[Any, ...], source: Tensor | None, indices: tuple[Tensor, ...]
) -> Node:
    """The node of ``target`` after ``target[parts] = source``."""
    keeps_rest = target._requires_grad

    def clear(a: np.ndarray) -> np.ndarray:
        rest = a.copy()
        rest[parts] = 0
        return rest

    if source is None:
        return Node("IndexPut", (target,), lambda grad: (linear_map("IndexPut", grad, clear, clear),), indices)
    shape, whole = source._data.shape, target._data.shape
    part_shape = target._data[parts].shape
    wants_source = source._requires_grad
    # The value may have more leading dimensions of size 1.
    padded = (1,) * (len(part_shape) - len(shape)) + shape[max(len(shape) - len(part_shape), 0) :]
    axes = tuple([d for d, n in enumerate(padded) if n == 1 and part_shape[d] != 1])

    def take(g: np.ndarray) -> np.ndarray:
        return add_up(g[parts], axes, None, True).reshape(shape)

    def put(a: np.ndarray) -> np.ndarray:
        full = np.zeros(whole, a.dtype)
        full[parts] = a.reshape(padded)
        return full

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            linear_map("IndexPut", grad, clear, clear) if keeps_rest else None,
            linear_map("Index", grad, take, put).to(source_dtype) if wants_source else None,
        )

    source_dtype = source.dtype
    return Node("IndexPut", (target, source), run, indices)


OPERATORS = {"__getitem__": _getitem, "__setitem__": _setitem}
