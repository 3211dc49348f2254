"""PyTorch's path to the collation of a list of items to a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.utils.data.collate import default_collate, default_convert

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def collate_tensor_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """``default_collate`` of items of one class."""
    return default_collate(batch)


collate_numpy_array_fn = collate_numpy_scalar_fn = collate_float_fn = collate_int_fn = collate_tensor_fn


def collate_str_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """The list itself."""
    return batch


# By class; programs copy it and add classes of their own for :func:`collate`.
default_collate_fn_map: dict[Any, Callable[..., Any]] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def collate(batch: Any, *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None) -> Any:
    """The batch of a list of items: of their class if the map has it, else as ``default_collate`` makes it.

    Args:
        batch: the items.
        collate_fn_map: by class, or a tuple of classes, ``function(batch, collate_fn_map=...)``. It is asked for the
            items themselves, and for the fields of dictionaries, tuples and lists.

    >>> collate(["a", "b"], collate_fn_map={str: lambda batch, collate_fn_map: "".join(batch)})
    'ab'
    """
    if not collate_fn_map:
        return default_collate(batch)
    first = batch[0]
    for kind, function in collate_fn_map.items():
        if isinstance(first, kind):
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, dict):
        return {key: collate([item[key] for item in batch], collate_fn_map=collate_fn_map) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(item) != len(first) for item in batch):
            raise RuntimeError(
                "each element in list of batch should be of equal size, found sizes "
                f"{sorted({len(item) for item in batch})}"
            )
        columns = [collate(list(column), collate_fn_map=collate_fn_map) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    return default_collate(batch)
