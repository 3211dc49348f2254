"""Arrays from Python data: nested sequences, possibly with arrays and tensors inside."""

from __future__ import annotations

import functools
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from fastnn._core.capture_state import active
from fastnn._core.dtypes import (
    FLOATING,
    ComplexNumbersError,
    check_array,
    check_numbers,
    default_numpy,
    from_numpy_dtype,
    promoted,
)
from fastnn._core.errstate import quiet
from fastnn._tensor.tensor import Tensor


def array_of(data: Any, kind: np.dtype | None) -> np.ndarray:
    """A new array of ``data``, in the dtype that PyTorch infers unless one is given."""
    of_python = False
    if isinstance(data, Tensor):
        array = data._data.copy()
    elif isinstance(data, (list, tuple)):
        if kind is None and data and type(data[0]) is Tensor:
            found = _of_numbers(data)
            if found is not None:
                return found
        leaves = _leaf_types(data)
        if not leaves <= _PYTHON:
            return _mixed(data, leaves, kind)
        # NumPy would convert integers beyond int64 to floating point if small ones are among them.
        exact = kind is not None and kind == np.uint64 and leaves <= _INTEGERS
        try:
            array, of_python = np.array(data, kind if exact else None), True
        except ValueError:
            _check_nested(data)
            raise
        if array.dtype.kind == "f" and array.size:
            _check_integers(data, array, leaves, kind)
    elif isinstance(data, (str, bytes)):
        raise _no_number(data)
    elif isinstance(data, (np.ndarray, np.generic)):
        if data.dtype.kind == "O":
            raise _of_objects(np.asarray(data))
        if kind is not None and data.dtype.kind == "c":
            data = real_part(data)
        if isinstance(data, np.ndarray):
            check_array(data)
        array = np.array(data)
    elif hasattr(data, "__array__"):
        # Objects that convert themselves, as of pandas, keep their dtype.
        array = np.array(data)
        if array.dtype.kind in "OMm" or _lacks_some(data):
            return array_of(list(data), kind)
    elif type(data) is not range and is_sequence(data):
        # The length first: a sparse matrix raises a clear error.
        _ = len(data)
        return array_of(list(data), kind)
    else:
        array, of_python = np.array(data), True
    if of_python and array.dtype.kind == "f" and kind is not None and kind == np.uint64 and array.size:
        raise TypeError(f"an integer is required: uint64 is made from integers only, found {array.dtype}")
    if of_python and array.dtype.kind in "Ou" and not (array.dtype == np.uint64 and kind == np.uint64):
        if kind is not None and kind.kind in "fbV" and _holds_integers(data):
            return np.array(data, np.float64 if kind.kind in FLOATING else None).astype(kind)
        if array.dtype.kind == "u" or _holds_integers(data):
            raise ValueError("Overflow when unpacking long long: an integer lies beyond the range of int64")
        if kind is None or kind.kind not in FLOATING or not hasattr(data, "__float__"):
            raise _not_inferred(type(data), kind)
        array = np.array(float(data))
    if kind is not None:
        if array.dtype.kind not in "fiubV" or array.dtype.itemsize > 8:
            from_numpy_dtype(array.dtype)
        if of_python:
            check_numbers(array, kind)
        with np.errstate(all="ignore"):
            return array.astype(kind)
    if of_python and array.dtype == np.float64:
        array = quiet(array.astype, default_numpy())
    from_numpy_dtype(array.dtype)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_integers(data: Any, array: np.ndarray, leaves: set[type], kind: np.dtype | None) -> None:
    """ValueError for an integer beyond int64 among numbers that NumPy made floating point, but PyTorch would not."""
    if kind is None:
        beyond = leaves <= _INTEGERS
    else:
        beyond = kind.kind in "iu" and float(np.abs(array).max()) >= 2.0**63 and any(
            isinstance(n, int) and not -(2**63) <= n < 2**63 for n in _leaves(data)
        )
    if beyond:
        raise ValueError("Overflow when unpacking long long: an integer lies beyond the range of int64")


_warned_of_parts: set[bool] = set()


def real_part(data: Any) -> Any:
    """The real part of complex numbers; warns once, as PyTorch does."""
    if not _warned_of_parts:
        _warned_of_parts.add(True)
        warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=4)
    return np.ascontiguousarray(data.real)


def is_sequence(data: Any) -> bool:
    """Whether an object has the sequence protocol; strings have it too."""
    return hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, Mapping)


def _is_nested(kind: type) -> bool:
    """Whether a class has the sequence protocol and is neither text, number nor array."""
    if issubclass(kind, (int, float, str, bytes, range, np.generic, Mapping, Tensor)) or hasattr(kind, "__array__"):
        return False
    # Attributes of the class, not of its metaclass: an Enum class has a length, its members have none.
    names = set().union(*[vars(base) for base in kind.__mro__])
    return "__len__" in names and "__getitem__" in names


def _as_lists(data: Any) -> Any:
    """Nested sequences, converted to lists except for arrays."""
    return [_as_lists(d) for d in data] if isinstance(data, _SEQUENCES) or _is_nested(type(data)) else data


def _lacks_some(data: Any) -> bool:
    """Whether a pandas column has missing values, which NumPy would convert to NaN or a number."""
    kind = getattr(data, "dtype", None)
    return kind is not None and not isinstance(kind, np.dtype) and hasattr(data, "isna") and bool(data.isna().any())


def _holds_integers(source: Any) -> bool:
    """Whether the first of the numbers in nested sequences is an integer."""
    while isinstance(source, (list, tuple)) and source:
        source = source[0]
    return isinstance(source, int)


# -- Types -------------------------------------------------------------------------------------

# NumPy infers the dtype of these as PyTorch does, except for the size of floats.
_PYTHON = frozenset((bool, int, float, complex, range))
_INTEGERS = frozenset((bool, int, range))
_SEQUENCES = (list, tuple, deque)


def _leaf_types(data: Any) -> set[type]:
    """The types of the elements of nested sequences."""
    types = set(map(type, data))
    while nested := {t for t in types if issubclass(t, _SEQUENCES)}:
        if types != nested:
            return (types - nested).union(*[_leaf_types(d) for d in data if isinstance(d, _SEQUENCES)])
        data = list(chain.from_iterable(data))
        types = set(map(type, data))
    return types


def _leaves(data: Any) -> Iterator[Any]:
    for element in data:
        if isinstance(element, _SEQUENCES):
            yield from _leaves(element)
        else:
            yield element


def _inferred(data: Any, leaves: set[type]) -> np.dtype:
    """The dtype that all elements of nested sequences are promoted to."""
    if any(issubclass(t, Tensor) or (hasattr(t, "__array__") and not issubclass(t, np.generic)) for t in leaves):
        found = {_dtype_of(element) for element in _leaves(data)}
    else:
        found = {_dtype_of_type(t) for t in leaves}
    return functools.reduce(promoted, found)


def _dtype_of(element: Any) -> np.dtype:
    if isinstance(element, Tensor):
        return from_numpy_dtype(element._data.dtype).numpy
    kind = type(element)
    if isinstance(element, np.generic) or not hasattr(kind, "__array__"):
        return _dtype_of_type(kind)
    array = np.asarray(element)
    if array.dtype.kind == "O":
        raise _of_objects(array)
    return from_numpy_dtype(array.dtype).numpy


def _dtype_of_type(kind: type) -> np.dtype:
    if issubclass(kind, np.generic):
        return from_numpy_dtype(np.dtype(kind)).numpy
    if issubclass(kind, (int, range)):
        return np.dtype(np.bool_ if kind is bool else np.int64)
    if issubclass(kind, float):
        return default_numpy()
    if issubclass(kind, complex):
        raise ComplexNumbersError(f"this operation takes real numbers, found {kind.__name__}")
    raise _not_inferred(kind, None)


def _not_inferred(found: type, kind: np.dtype | None) -> Exception:
    """The error for an object that is not a number; ``kind``: the requested dtype, or None for any."""
    if kind is None:
        return RuntimeError(f"Could not infer dtype of {found.__name__}")
    if kind.kind in "iu":
        return TypeError(f"'{found.__name__}' object cannot be interpreted as an integer")
    return TypeError(f"must be real number, not {found.__name__}")


def _no_number(element: Any) -> TypeError:
    return TypeError(f"new(): invalid data type '{type(element).__name__}'")


def _of_objects(array: np.ndarray) -> Exception:
    """The error for an array of objects."""
    first = array.flat[0] if array.size else None
    if isinstance(first, str):
        return ValueError("too many dimensions 'str'")
    return TypeError(f"can't convert an array of objects of type {type(first).__name__} to a tensor")


# -- Sequences of more than Python numbers ----------------------------------------------------------


def _mixed(data: Any, leaves: set[type], kind: np.dtype | None) -> np.ndarray:
    if any(map(_is_nested, leaves)):
        return array_of(_as_lists(data), kind)
    if not leaves.isdisjoint((str, bytes)):
        first = next(_leaves(data))
        raise ValueError("too many dimensions 'str'") if isinstance(first, str) else _no_number(
            next(e for e in _leaves(data) if isinstance(e, (str, bytes)))
        )
    try:
        inferred = _inferred(data, leaves)
    except RuntimeError:
        if kind is None:
            raise
        odd = [t for t in leaves if not issubclass(t, (int, float, range, np.generic, Tensor))]
        if odd and (kind.kind not in FLOATING or not all(hasattr(t, "__float__") for t in odd)):
            raise _not_inferred(odd[0], kind) from None
        # Fractions and decimal numbers; or integers that have no promotion, but can be converted.
        inferred = np.dtype(np.float64 if odd else np.int64)
    target = inferred if kind is None else kind
    if any(issubclass(t, Tensor) for t in leaves):
        return _with_tensors(data, target)
    try:
        array = np.array(data, inferred)
    except (TypeError, ValueError):
        _check_nested(data)
        raise
    if kind is not None:
        check_numbers(array, kind)
    with np.errstate(all="ignore"):
        return array.astype(target, copy=False)


def _of_numbers(tensors: Any) -> np.ndarray | None:
    """The array of a sequence of tensors of one number each and of one dtype of floats; None for others."""
    kind, numbers = tensors[0]._data.dtype, []
    if kind.kind != "f" or active:
        return None
    for t in tensors:
        if type(t) is not Tensor or t._data.dtype is not kind or t._data.size != 1:
            return None
        numbers.append(t._data.item())
    return np.array(numbers, kind)


def _check_nested(data: Any) -> None:
    """Raise for nested sequences of different lengths (ValueError), or numbers beside sequences (TypeError)."""
    _collect(data, _shape_of_first(data), 0, np.dtype(np.float64), [])


def _shape_of_first(data: Any) -> list[int]:
    """The shape that the first elements of nested sequences have."""
    shape, first = [], data
    while isinstance(first, (*_SEQUENCES, np.ndarray, range)):
        shape.append(len(first))
        if not shape[-1]:
            break
        first = first[0]
    return shape


def _with_tensors(data: Any, kind: np.dtype) -> np.ndarray:
    """Nested sequences that contain tensors of one element, as in PyTorch.

    The first elements give the shape. A tensor of several elements is allowed only where they have a sequence; use
    ``stack`` to join tensors.
    """
    shape = _shape_of_first(data)
    numbers: list[Any] = []
    _collect(data, shape, 0, kind, numbers)
    array = np.array(numbers)
    check_numbers(array, kind)
    with np.errstate(all="ignore"):
        return array.astype(kind).reshape(shape)


def _collect(data: Any, shape: list[int], depth: int, kind: np.dtype, numbers: list[Any]) -> None:
    """Add the numbers of nested sequences of this shape to ``numbers``."""
    if depth == len(shape):
        if isinstance(data, Tensor):
            if kind.kind in "iu" and (data._data.size != 1 or data._data.dtype.kind in FLOATING):
                raise TypeError(
                    "only integer tensors of a single element can be converted to an index, found "
                    f"{data.dtype} of shape {tuple(data.shape)}"
                )
            if data._data.size != 1:
                raise ValueError(
                    f"only one element tensors can be converted to Python scalars, found shape {tuple(data.shape)}"
                )
            data = data.item()
        elif isinstance(data, (*_SEQUENCES, np.ndarray, range)):
            raise TypeError(f"expected a number at dim {depth}, found {type(data).__name__}")
        numbers.append(data)
        return
    if not isinstance(data, (*_SEQUENCES, np.ndarray, range, Tensor)) or (isinstance(data, Tensor) and not data.ndim):
        raise TypeError(f"expected a sequence at dim {depth}, found {type(data).__name__}")
    if len(data) != shape[depth]:
        raise ValueError(f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})")
    for element in data:
        _collect(element, shape, depth + 1, kind, numbers)
