"""Collation of a list of items to a batch."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core.dtypes import check_array, float64, promoted, warn_of_read_only
from fastnn._core.errors import ShapeError
from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.ops.creation import from_numpy, tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """Collate a list of items to one batch: numbers and arrays become tensors, tensors are stacked.

    Dictionaries, named tuples and sequences are collated field by field; strings stay a list.

    Raises: TypeError for items that cannot become a tensor; RuntimeError for sequences or tensors of
        different sizes; IndexError for no items.

    >>> import fastnn
    >>> fastnn.utils.data.default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    >>> fastnn.utils.data.default_collate([{"a": 1}, {"a": 2}])
    {'a': tensor([1, 2])}
    """
    first = batch[0]
    if isinstance(first, Tensor):
        try:
            stacked = _stack([item._data for item in batch])
        except AttributeError:
            odd = next(item for item in batch if not isinstance(item, Tensor))
            raise TypeError(f"default_collate: expected Tensors beside a Tensor, found {type(odd).__name__}") from None
        if not _recorded(*batch):
            return stacked
        kinds = [item.dtype for item in batch]
        return _wrap(
            stacked._data,
            Node("Stack", tuple(batch), lambda grad: tuple([g.to(kind) for g, kind in zip(grad, kinds, strict=True)])),
        )
    if isinstance(first, np.generic) and not isinstance(first, (str, bytes)):
        return _wrap(array_of(list(batch), None))
    if isinstance(first, np.ndarray):
        return _stack([item._data if isinstance(item, Tensor) else np.asarray(item) for item in batch], True)
    if isinstance(first, float):
        if all(isinstance(item, (int, float)) for item in batch):
            return _wrap(np.array(batch, np.float64))
        return tensor(list(batch), dtype=float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _mapping(first, lambda key: default_collate([item[key] for item in batch]))
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*_columns(batch))
    if isinstance(first, tuple):
        return _columns(batch)
    if isinstance(first, Sequence):
        return _sequence(first, _columns(batch))
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first).__name__}"
    )


def default_convert(data: Any) -> Any:
    """Convert an item that is not part of a batch: arrays become tensors, everything else is unchanged.

    >>> import fastnn, numpy as np
    >>> fastnn.utils.data.default_convert((np.ones(1, np.float32), "a"))
    [tensor([1.]), 'a']
    """
    if isinstance(data, (np.ndarray, np.generic)) and type(data).__module__ == "numpy":
        return data if data.dtype.kind in "SUO" else from_numpy(np.asarray(data))
    if isinstance(data, Mapping):
        return _mapping(data, lambda key: default_convert(data[key]))
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        values = [default_convert(value) for value in data]
        if isinstance(data, tuple):
            return type(data)(*values) if hasattr(data, "_fields") else values
        return _sequence(data, values)
    return data


def _columns(batch: Sequence[Sequence[Any]]) -> list[Any]:
    if any(len(item) != len(batch[0]) for item in batch):
        raise RuntimeError(
            "each element in list of batch should be of equal size, found sizes "
            f"{sorted({len(item) for item in batch})}"
        )
    return [default_collate(column) for column in zip(*batch, strict=True)]


def _mapping(like: Mapping[Any, Any], value: Callable[[Any], Any]) -> Any:
    """A mapping of the class of ``like`` with new values; a dict if that class cannot be constructed."""
    values = {key: value(key) for key in like}
    if type(like) is dict:
        return values
    try:
        if isinstance(like, MutableMapping):
            # A copy, not a new object: a subclass may have its own attributes.
            clone = copy.copy(like)
            clone.update(values)
            return clone
        return type(like)(values)  # type: ignore[call-arg]  # a mapping class may take other arguments
    except TypeError:
        return values


def _sequence(like: Sequence[Any], values: list[Any]) -> Any:
    """A sequence of the class of ``like`` with new values; a list if that class cannot be constructed."""
    if type(like) is list:
        return values
    try:
        if isinstance(like, MutableSequence):
            clone = copy.copy(like)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return type(like)(values)  # type: ignore[call-arg]  # a sequence class takes its items
    except TypeError:
        return values


def _stack(arrays: Sequence[np.ndarray], of_numpy: bool = False) -> Tensor:
    kind = arrays[0].dtype
    is_mixed = [a.dtype for a in arrays].count(kind) != len(arrays)
    if of_numpy:
        # Arrays of one dtype and strides are checked once.
        strides = arrays[0].strides
        if not arrays[0].flags.writeable:
            warn_of_read_only("NumPy array")
        for array in arrays if is_mixed or [a.strides for a in arrays].count(strides) != len(arrays) else arrays[:1]:
            check_array(array)
    if is_mixed:
        # PyTorch's rules: an integer does not turn float32 into float64.
        kind = functools.reduce(promoted, [a.dtype for a in arrays])
        arrays = [a.astype(kind) for a in arrays]
    try:
        return from_numpy(np.stack(arrays))
    except ValueError:
        shapes = sorted({np.shape(a) for a in arrays})
        raise ShapeError(f"stack expects each tensor to be equal size, but got shapes {shapes}") from None
