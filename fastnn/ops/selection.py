"""Selection by indices and masks, and copies with some elements replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._core.dtypes import as_number
from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn._tensor.views import linear_map
from fastnn.ops.core import also_read, check_tensor, dimension, fit, named, shape_error, warn_of_byte_mask
from fastnn.ops.indexing import _getitem, _numpy_key, _setitem
from fastnn.ops.scatter import _check_index, _check_range, _flat_view, gather, scatter_reduce
from fastnn.ops.shapes import _expanded

__all__ = [
    "argwhere", "diagonal_scatter", "index_add", "index_copy", "index_fill", "index_put", "index_reduce",
    "index_select", "masked_scatter", "masked_select", "nonzero", "nonzero_static", "put", "select_scatter",
    "slice_scatter", "take", "take_along_dim",
]  # fmt: skip


# -- Selection by index --------------------------------------------------------------------------


def _row_index(
    name: str, input: Tensor, dim: Any, index: Tensor, kinds: tuple[Any, ...] = (np.int64, np.int32)
) -> tuple[int, np.ndarray]:
    if type(input) is not Tensor:
        check_tensor("input", input)
    _check_index(name, index, kinds)
    axis = dimension(dim, input._data.ndim)
    if index._data.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index._data.ndim}")
    rows = index._data if index._data.ndim else index._data.reshape(-1)
    _check_range(name, rows, input._data.shape[axis] if input._data.ndim else 1)
    return axis, rows


@named
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """A copy of the elements along ``dim`` at these indices."""
    axis, rows = _row_index("index_select", input, dim, index)
    shape = input._data.shape
    if not shape:
        return input.clone()
    if not _recorded(input):
        return _wrap(input._data.take(rows, axis))

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        np.add.at(np.moveaxis(full, axis, 0), rows, np.moveaxis(g, axis, 0))
        return full

    return linear_map("IndexSelect", input, lambda a: a.take(rows, axis), put, (index,))


def _key(axis: int, rows: np.ndarray) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, rows)


@named
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy of ``input`` with ``alpha * source`` added to the elements along ``dim`` at these indices."""
    axis, rows = _row_index("index_add", input, dim, index)
    check_tensor("source", source)
    if source._data.dtype != input._data.dtype:
        raise RuntimeError(
            "index_add_(): self and source expected to have the same scalar type, found "
            f"{input.dtype} and {source.dtype}"
        )
    _check_rows("index_add", input, axis, rows, source)
    given, source = source, source if alpha == 1 else source * alpha
    shape = input._data.shape
    source_shape = source._data.shape

    def put(a: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, a.dtype)
        np.add.at(np.moveaxis(_flat_view(full), axis, 0), rows, np.moveaxis(_flat_view(a), axis, 0))
        return full

    def take(a: np.ndarray) -> np.ndarray:
        return np.take(_flat_view(a), rows, axis).reshape(source_shape)

    result = input._data.copy()
    np.add.at(np.moveaxis(_flat_view(result), axis, 0), rows, np.moveaxis(_flat_view(source._data), axis, 0))
    if not _recorded(input, source):
        return _wrap(result)
    wants = source._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return grad, linear_map("IndexSelect", grad, take, put) if wants else None

    return _wrap(result, Node("IndexAdd", (input, source), run, (index, given) if wants else ()))


def _check_rows(name: str, input: Tensor, axis: int, rows: np.ndarray, source: Tensor) -> None:
    shape = list(input._data.shape or (1,))
    shape[axis] = rows.size
    alone = name == "index_add" and input._data.ndim and not source._data.ndim
    if alone or list(source._data.shape or (1,)) != shape:
        raise (IndexError if name == "index_copy" else ShapeError)(
            f"{name}_(): source must have shape {shape}, found {list(source._data.shape)}"
        )


@named
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the elements along ``dim`` at these indices replaced by ``source``."""
    axis, rows = _row_index("index_copy", input, dim, index, (np.int64,))
    check_tensor("source", source)
    if source._data.dtype != input._data.dtype:
        raise RuntimeError(
            f"index_copy_(): self and source expected to have the same dtype, found {input.dtype} and {source.dtype}"
        )
    _check_rows("index_copy", input, axis, rows, source)
    result = input.clone()
    if result._data.ndim:
        _setitem(result, _key(axis, rows), source)
    else:
        _setitem(result, ..., source.reshape(()))
    return also_read(result, index, source) if source._requires_grad else also_read(result, index)


@named
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` with the elements along ``dim`` at these indices replaced by a number."""
    check_tensor("input", input)
    _check_index("index_fill", index, (np.int64,))
    axis = dimension(dim, input._data.ndim)
    rows = index._data.reshape(-1)
    size = input._data.shape[axis] if input._data.ndim else 1
    _check_range("index_fill", rows, size, negative=True)
    if isinstance(value, Tensor) and value._data.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value._data.ndim} dimension(s)."
        )
    if isinstance(value, Tensor):
        as_number(value._data.item(), input._data.dtype)
        value = value.to(input.dtype)
    elif input._data.dtype == np.float16:
        as_number(value, input._data.dtype)
    result = input.clone()
    _setitem(result, _key(axis, rows) if result._data.ndim else ..., value)
    return also_read(result, index)


@named
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` at ``input[indices]``, or added there."""
    result = input.clone()
    return _index_put_(result, indices, values, accumulate)


def _index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """Put ``values`` at ``self[indices]``, or add them there."""
    if not isinstance(indices, (tuple, list)):
        raise TypeError(f"index_put_(): indices must be a tuple of Tensors, found {type(indices).__name__}")
    for i, index in enumerate(indices):
        check_tensor(f"index_put_(): index {i}", index)
    check_tensor("index_put_(): values", values)
    key = tuple(indices)
    if accumulate and values._data.dtype != self._data.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {self.dtype} for the destination and "
            f"{values.dtype} for the source."
        )
    if not accumulate:
        _setitem(self, key, values)
        return self
    if any(t._data.dtype == np.uint8 for t in key):
        warn_of_byte_mask("indexing")
    parts = _numpy_key(key, [])
    shape = self._data.shape
    value_shape = values._data.shape
    part_shape = self._data[parts].shape

    def put(a: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, a.dtype)
        np.add.at(full, parts, a)
        return full

    wide = _expanded(values, part_shape) if value_shape != part_shape else values
    saved = tuple([t for t in indices if isinstance(t, Tensor)])
    return self._in_place(self + linear_map("IndexPut", wide, put, lambda g: g[parts], saved))


@named
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As ``index_add``, with 'prod', 'mean', 'amax' or 'amin'."""
    axis, rows = _row_index("index_reduce", input, dim, index)
    shape = [1] * input._data.ndim
    shape[axis] = rows.size
    wide = _wrap(np.ascontiguousarray(np.broadcast_to(rows.reshape(shape), source._data.shape)))
    return also_read(scatter_reduce(input, dim, wide, source, reduce, include_self=include_self), index)


@named
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at these indices into the flattened tensor."""
    check_tensor("input", input)
    _check_index("take", index, (np.int64,))
    if not _recorded(input):
        try:
            return _wrap(np.asarray(input._data.take(index._data)))
        except IndexError:
            # The error below, with the index; NumPy's if there is none.
            pass
    _check_range("take", index._data, input._data.size, negative=True)
    flat = input.reshape(-1) if input._data.size or input._data.ndim == 1 else input.reshape(0)
    found = _getitem(flat, _wrap(np.atleast_1d(index._data)))
    return also_read(found, input, index).reshape(index._data.shape)


@named
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``source`` at these indices into the flattened tensor."""
    check_tensor("input", input)
    check_tensor("source", source)
    _check_index("put_", index, (np.int64,))
    if source._data.dtype != input._data.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{input.dtype} and source.dtype = {source.dtype}"
        )
    if source._data.size != index._data.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source._data.size}, index.numel() = {index._data.size}"
        )
    _check_range("put_", index._data, input._data.size, negative=True)
    flat = input.reshape(-1).clone()
    _index_put_(flat, (index.reshape(-1),), source.reshape(-1), accumulate)
    return also_read(flat, *([index, source] if source._requires_grad else [index])).reshape(input._data.shape)


@named
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As ``gather``, with broadcasting of the other dimensions; over the flattened tensor for None."""
    check_tensor("input", input)
    _check_index("take_along_dim", indices, (np.int64,))
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    axis = dimension(dim, input._data.ndim)
    if input._data.ndim != indices._data.ndim:
        raise ShapeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input._data.ndim} dimensions for input, and {indices._data.ndim} dimensions for indices"
        )
    shapes = [tuple([1 if d == axis else n for d, n in enumerate(t._data.shape)]) for t in (input, indices)]
    if not fit(*shapes):
        raise shape_error(*shapes)
    common = list(np.broadcast_shapes(*shapes))
    wide = [
        _expanded(t, tuple([t._data.shape[axis] if d == axis else n for d, n in enumerate(common)]))
        for t in (input, indices)
    ]
    # The indices are copied, as in PyTorch: they may change.
    size = wide[0]._data.shape[axis]
    # Indices wrap around at either end, as in PyTorch.
    places = _wrap(wide[1]._data % size) if size else wide[1]
    return gather(wide[0], axis, places)


# -- Masks -------------------------------------------------------------------------------------


@named
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension."""
    check_tensor("input", input)
    check_tensor("mask", mask)
    if mask._data.dtype != np.bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, found {mask.dtype}")
    if not fit(input._data.shape, mask._data.shape):
        raise ShapeError(f"The shapes {list(input.shape)} and {list(mask.shape)} cannot be broadcast together")
    capture_state.stop("the shape of a result depends on numbers")
    shape = np.broadcast_shapes(input._data.shape, mask._data.shape)
    x = input if input._data.shape == shape else _expanded(input, shape)
    return also_read(_getitem(x, _wrap(np.broadcast_to(mask._data, shape))), input, mask)


@named
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the elements of ``source``, in their order, where the mask holds."""
    check_tensor("source", source)
    if source._data.dtype != input._data.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    check_tensor("mask", mask)
    if mask._data.dtype != np.bool_:
        if mask._data.dtype == np.uint8:
            warn_of_byte_mask("masked_scatter")
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype " + str(mask.dtype))
    if not fit(input._data.shape, mask._data.shape):
        raise shape_error(input._data.shape, mask._data.shape)
    result = _expanded(input, np.broadcast_shapes(input._data.shape, mask._data.shape)).clone()
    wide = _wrap(np.broadcast_to(mask._data, result._data.shape))
    count = int(wide._data.sum())
    if count > source._data.size:
        raise RuntimeError(
            "masked_scatter: expected self and source to have enough elements for the mask, found "
            f"{source._data.size} for {count}"
        )
    _setitem(result, wide, source.reshape(-1)[:count])
    return also_read(result, mask)


@named
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the nonzero elements: a row for each, or a tensor for each dimension."""
    check_tensor("input", input)
    array = input._data if input._data.ndim or not as_tuple else input._data.reshape(1)
    capture_state.stop("the shape of a result depends on numbers")
    found = np.argwhere(array).astype(np.int64)
    if as_tuple:
        return tuple([_wrap(np.ascontiguousarray(found[:, d])) for d in range(array.ndim)])
    return _wrap(found)


@named
def argwhere(input: Tensor) -> Tensor:
    """The indices of the nonzero elements, a row for each."""
    return nonzero(input)


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """As ``nonzero``, with exactly ``size`` rows."""
    found = nonzero(input)._data[:size]
    result = np.full((size, found.shape[1]), fill_value, np.int64)
    result[: len(found)] = found
    return _wrap(result)


# -- Parts replaced ------------------------------------------------------------------------------


def _replaced(input: Tensor, src: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    result = input.clone()
    target = part(result)
    if target._data.shape != src._data.shape:
        raise ShapeError(
            f"expected src to have a size equal to the slice of self, {list(target.shape)}, found {list(src.shape)}"
        )
    target.copy_(src)
    return result


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` as element ``index`` along ``dim``."""
    return _replaced(input, src, lambda t: t.select(dim, index))


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of ``input`` with a slice along ``dim`` replaced by ``src``."""
    axis = dimension(dim, input._data.ndim)
    return _replaced(input, src, lambda t: t[(*(slice(None),) * axis, slice(start, end, step))])


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with a diagonal replaced by ``src``."""
    return _replaced(input, src, lambda t: t.diagonal(offset, dim1, dim2))


IN_PLACE = ("index_add", "index_copy", "index_fill", "index_reduce", "masked_scatter", "put")
METHODS = {"index_put_": _index_put_}
