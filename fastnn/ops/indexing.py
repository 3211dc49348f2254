"""Elements by their indices: reading, writing, gathering and scattering. May import ``core`` and ``shapes``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.autograd.engine import Node
from fastnn.errors import ShapeError
from fastnn.ops.core import NUMBERS, check_tensor, dimension, linear_map, named, quiet, refuse
from fastnn.ops.shapes import _expanded, sliced
from fastnn.tensor import Tensor, _recorded, _wrap

__all__ = [
    "argwhere", "diagonal_scatter", "gather", "index_add", "index_copy", "index_fill", "index_put", "index_reduce",
    "index_select", "masked_scatter", "masked_select", "nonzero", "nonzero_static", "put", "scatter",
    "scatter_add", "scatter_reduce", "select_scatter", "slice_scatter", "take", "take_along_dim",
]  # fmt: skip


# -- Square brackets ---------------------------------------------------------------------------


def _numpy_key(key: Any, indices: list[Tensor]) -> tuple[Any, ...]:
    """An index as a tuple with arrays for tensors, which are added to ``indices``."""
    if isinstance(key, tuple):
        return tuple([_numpy_part(k, indices) for k in key])
    return (_numpy_part(key, indices),)


def _numpy_part(key: Any, indices: list[Tensor]) -> Any:
    kind = type(key)
    if kind is int or key is None or key is ...:
        return key
    if kind is slice:
        if key.step is not None and key.step <= 0:
            raise ValueError("step must be greater than zero")
        if isinstance(key.start, Tensor) or isinstance(key.stop, Tensor):
            return slice(*[int(n) if isinstance(n, Tensor) else n for n in (key.start, key.stop, key.step)])
        return key
    if isinstance(key, Tensor):
        if key._data.dtype not in (np.bool_, np.int32, np.int64):
            # uint8 is a mask in PyTorch and a number in NumPy: better neither.
            raise IndexError(f"tensors used as indices must be int64, int32 or bool tensors, found {key.dtype}")
        indices.append(key)
        return int(key._data) if key._data.ndim == 0 and key._data.dtype.kind == "i" else key._data
    if isinstance(key, (list, range)):
        values = [_numpy_part(k, []) if isinstance(k, Tensor) else k for k in key]
        return np.asarray(values, None if len(values) else np.int64)
    return key


def _is_advanced(key: tuple[Any, ...]) -> bool:
    return any(isinstance(k, (np.ndarray, bool, np.bool_)) or (hasattr(k, "__len__") and k is not ...) for k in key)


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
    """``self[key]``: a view where the key has numbers, slices, None and ... only, otherwise a copy."""
    kind = type(key)
    if kind is int:
        # So that a single element is a view as well.
        return sliced(self, (key, ...), "Select")
    indices: list[Tensor] = []
    parts = _numpy_key(key, indices)
    if not _is_advanced(parts):
        return sliced(self, parts if ... in parts else (*parts, ...), _view_name(parts))
    shape = self._data.shape

    def take(a: np.ndarray) -> np.ndarray:
        return a[parts]

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        # Unlike +=, add.at counts an index that occurs twice twice; a mask has none.
        if len(parts) == 1 and isinstance(parts[0], np.ndarray) and parts[0].dtype == np.bool_:
            full[parts] = g
        else:
            np.add.at(full, parts, g)
        return full

    return linear_map("Index", self, take, put, tuple(indices))


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """``self[key] = value``, of a tensor that can be broadcast, or a number."""
    indices: list[Tensor] = []
    parts = _numpy_key(key, indices)
    if not isinstance(value, (Tensor, *NUMBERS)):
        raise TypeError(f"can't assign a {type(value).__name__} to a {_type_name(self)}")
    source = value if isinstance(value, Tensor) else None
    if source is not None and source._data.dtype != self._data.dtype and _is_advanced(parts):
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {self.dtype} for the destination and "
            f"{source.dtype} for the source."
        )
    recorded = _recorded(self) if source is None else _recorded(self, source)
    if recorded:
        self._check_in_place()
    _assign(self, parts, value if source is None else source._data)
    if recorded:
        self._adopt(_assignment(self, parts, source, tuple(indices)))


def _type_name(t: Tensor) -> str:
    return f"torch.{t.dtype.legacy}Tensor"


def _assign(target: Tensor, parts: tuple[Any, ...], value: Any) -> None:
    if isinstance(value, (bool, int, float)) and target._data.dtype.kind in "iu":
        # Integers that do not fit wrap around, as in PyTorch.
        value = quiet(np.asarray(value).astype, target._data.dtype)
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
    # The value may have more dimensions of size 1 in front.
    padded = (1,) * (len(part_shape) - len(shape)) + shape[max(len(shape) - len(part_shape), 0) :]
    axes = tuple([d for d, n in enumerate(padded) if n == 1 and part_shape[d] != 1])

    def take(g: np.ndarray) -> np.ndarray:
        return g[parts].sum(axis=axes, keepdims=True).reshape(shape)

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


# -- Gather and scatter -------------------------------------------------------------------------


def _check_index(name: str, index: Any, kinds: tuple[Any, ...] = (np.int64, np.int32)) -> None:
    check_tensor("index", index)
    if index._data.dtype not in kinds:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, found {index.dtype}")


def _check_range(name: str, index: np.ndarray, size: int, negative: bool = False) -> None:
    low = -size if negative else 0
    if index.size and (index.min() < low or index.max() >= size):
        bad = index.min() if index.min() < low else index.max()
        raise IndexError(f"{name}(): index {bad} is out of bounds for dimension with size {size}")


def _places(name: str, input: Tensor, dim: Any, index: Tensor) -> tuple[tuple[Any, ...], int]:
    """The places in ``input`` that ``index`` names along ``dim``: an index of NumPy's of the shape of ``index``."""
    check_tensor("input", input)
    _check_index(name, index)
    axis = dimension(dim, input._data.ndim)
    a, i = input._data, index._data
    if a.ndim == 0 or i.ndim == 0:
        if max(a.ndim, i.ndim) > 1:
            raise ShapeError(
                "Index tensor must have the same number of dimensions as input tensor, found "
                f"{list(i.shape)} and {list(a.shape)}"
            )
        size = a.size
        _check_range(name, i, size)
        return (i,) if a.ndim else (np.zeros(i.shape, np.int64),), 0
    if a.ndim != i.ndim:
        raise ShapeError(
            f"Index tensor must have the same number of dimensions as input tensor, found {list(i.shape)} and "
            f"{list(a.shape)}"
        )
    for d in range(a.ndim):
        if d != axis and i.shape[d] > a.shape[d]:
            raise ShapeError(
                f"Size does not match at dimension {d} expected index {list(i.shape)} to be no larger than self "
                f"{list(a.shape)} apart from dimension {axis}"
            )
    _check_range(name, i, a.shape[axis])
    grid: list[Any] = list(np.ogrid[tuple([slice(n) for n in i.shape])])
    grid[axis] = i
    return tuple(grid), axis


def _flat(a: np.ndarray, ndim: int) -> np.ndarray:
    """The array itself, a number as a vector where places are of one."""
    return a if a.ndim or not ndim else a.reshape(1)


@named
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """``out[i][j] = input[index[i][j]][j]`` for ``dim=0``, and so on for others.

    >>> import fastnn
    >>> fastnn.gather(fastnn.tensor([[1, 2], [3, 4]]), 1, fastnn.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """
    places, _ = _places("gather", input, dim, index)
    shape = input._data.shape

    def take(a: np.ndarray) -> np.ndarray:
        return np.asarray(_flat(a, 1)[places])

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape or (1,), g.dtype)
        np.add.at(full, places, g)
        return full.reshape(shape)

    return linear_map("Gather", input, take, put, (index,))


def _source(name: str, src: Any, input: Tensor, index: Tensor) -> Tensor:
    check_tensor("src", src)
    if src._data.dtype != input._data.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if src._data.ndim != index._data.ndim and max(src._data.ndim, index._data.ndim) > 1:
        raise ShapeError("Index tensor must have the same number of dimensions as src tensor")
    if any(n > m for n, m in zip(index._data.shape, src._data.shape, strict=False)):
        raise ShapeError(
            f"Expected index {list(index._data.shape)} to be no larger than src {list(src._data.shape)}"
        )
    return src


def _top(src: np.ndarray, index: np.ndarray) -> Any:
    """The part of ``src`` that lies over ``index``."""
    if not src.ndim or not index.ndim:
        return src.reshape(index.shape) if src.size == index.size else src
    return src[tuple([slice(n) for n in index.shape])]


@named
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, value: Any = None, *, reduce: str | None = None
) -> Tensor:
    """A copy of ``input`` with ``src``, or a number, at the places that ``gather`` would read."""
    if src is not None and not isinstance(src, Tensor):
        src, value = None, src
    if isinstance(value, Tensor) and value._data.ndim == 0:
        value = value.item()
    if src is None and value is None:
        raise TypeError("scatter() takes src, a Tensor, or value, a number")
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    places, _ = _places("scatter", input, dim, index)
    if src is None:
        return _scatter_number(input, places, index, value, reduce)
    src = _source("scatter", src, input, index)
    if reduce is not None:
        return scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")
    result = input._data.copy()
    _flat_view(result)[places] = _top(src._data, index._data)
    if not _recorded(input, src):
        return _wrap(result)
    wants = input._requires_grad, src._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            _cleared(grad, places) if wants[0] else None,
            _taken(grad, places, src._data.shape, index._data.shape) if wants[1] else None,
        )

    return _wrap(result, Node("Scatter", (input, src), run, (index,)))


def _flat_view(a: np.ndarray) -> np.ndarray:
    return a if a.ndim else a.reshape(1)


def _scatter_number(input: Tensor, places: Any, index: Tensor, value: Any, reduce: str | None) -> Tensor:
    operate = {"add": np.add.at, "multiply": np.multiply.at}.get(reduce or "")
    result = input._data.copy()
    number = quiet(np.asarray(value).astype, result.dtype)
    if operate is None:
        _flat_view(result)[places] = number
        if not _recorded(input):
            return _wrap(result)
        return _wrap(result, Node("Scatter", (input,), lambda grad: (_cleared(grad, places),), (index,)))
    operate(_flat_view(result), places, number)
    if reduce == "add":
        return linear_map("Scatter", input, lambda a: result, lambda g: g)
    factor = np.ones_like(result)
    np.multiply.at(_flat_view(factor), places, number)
    return input * _wrap(factor)


def _cleared(grad: Tensor, places: Any) -> Tensor:
    def clear(a: np.ndarray) -> np.ndarray:
        rest = a.copy()
        _flat_view(rest)[places] = 0
        return rest

    return linear_map("Scatter", grad, clear, clear)


def _taken(grad: Tensor, places: Any, shape: tuple[int, ...], index_shape: tuple[int, ...]) -> Tensor:
    """``grad`` at the places, in the top part of zeros of ``shape``."""
    whole = grad._data.shape

    def take(a: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, a.dtype)
        part = _flat_view(a)[places]
        if full.ndim and full.ndim == part.ndim:
            full[tuple([slice(n) for n in index_shape])] = part
        else:
            full[...] = part.reshape(full.shape)
        return full

    def put(a: np.ndarray) -> np.ndarray:
        full = np.zeros(whole, a.dtype)
        np.add.at(_flat_view(full), places, _top(a, np.empty(index_shape)))
        return full

    return linear_map("Gather", grad, take, put)


@named
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of ``input`` with ``src`` added at the places that ``gather`` would read."""
    places, _ = _places("scatter_add", input, dim, index)
    src = _source("scatter_add", src, input, index)
    result = input._data.copy()
    np.add.at(_flat_view(result), places, _top(src._data, index._data))
    if not _recorded(input, src):
        return _wrap(result)
    wants = input._requires_grad, src._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            grad if wants[0] else None,
            _taken(grad, places, src._data.shape, index._data.shape) if wants[1] else None,
        )

    return _wrap(result, Node("ScatterAdd", (input, src), run, (index,)))


_REDUCTIONS: dict[str, tuple[Any, Callable[[np.dtype], Any]]] = {
    "sum": (np.add, lambda d: 0),
    "mean": (np.add, lambda d: 0),
    "prod": (np.multiply, lambda d: 1),
    "amax": (np.maximum, lambda d: -np.inf if d.kind == "f" else np.iinfo(d).min),
    "amin": (np.minimum, lambda d: np.inf if d.kind == "f" else np.iinfo(d).max),
}


@named
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As ``scatter_add``, with 'sum', 'prod', 'mean', 'amax' or 'amin' of what meets at a place.

    Args:
        include_self: whether the elements of ``input`` take part.
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    places, _ = _places("scatter_reduce", input, dim, index)
    src = _source("scatter_reduce", src, input, index)
    if reduce == "mean":
        refuse("scatter_gather_tensor_cpu_reduce_mean", input, "b")
    base = input._data.copy()
    operate, identity = _REDUCTIONS[reduce]
    part = _top(src._data, index._data)
    if not include_self:
        _flat_view(base)[places] = identity(base.dtype)
    result = base.copy()
    operate.at(_flat_view(result), places, part)
    counts = np.zeros(base.shape, np.int64)
    np.add.at(_flat_view(counts), places, 1)
    untouched = counts == 0
    counts = counts + (1 if include_self else untouched)
    if reduce == "mean":
        result = result / counts if base.dtype.kind == "f" else np.floor_divide(result, counts)
        result = np.asarray(result, base.dtype)
    if not _recorded(input, src):
        return _wrap(result)
    wants = input._requires_grad, src._requires_grad
    kept = np.ones(base.shape, base.dtype) if include_self else untouched.astype(base.dtype)

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        def spread(g: Tensor) -> Tensor:
            return _taken(g, places, src._data.shape, index._data.shape)

        if reduce in ("sum", "mean"):
            shared = grad if reduce == "sum" else grad / _wrap(counts.astype(base.dtype))
            return shared * _wrap(kept) if wants[0] else None, spread(shared) if wants[1] else None
        if reduce == "prod":
            total = scatter_reduce(input, dim, index, src, reduce, include_self=include_self)
            mine = grad * total / input * _wrap(kept) if wants[0] else None
            return mine, spread(grad * total) / src if wants[1] else None
        winners = result == base
        if not include_self:
            winners &= untouched
        src_wins = part == _flat_view(result)[places]
        ties = winners.astype(base.dtype)
        np.add.at(_flat_view(ties), places, src_wins.astype(base.dtype))
        shared = grad / _wrap(ties)
        mask = np.zeros(src._data.shape, base.dtype)
        if mask.ndim == src_wins.ndim and mask.ndim:
            mask[tuple([slice(n) for n in index._data.shape])] = src_wins
        else:
            mask[...] = src_wins.reshape(mask.shape)
        return (
            shared * _wrap(winners.astype(base.dtype)) if wants[0] else None,
            spread(shared) * _wrap(mask) if wants[1] else None,
        )

    return _wrap(result, Node("ScatterReduce", (input, src), run, (input, src, index)))


# -- Rows by number ------------------------------------------------------------------------------


def _row_index(name: str, input: Tensor, dim: Any, index: Tensor) -> tuple[int, np.ndarray]:
    check_tensor("input", input)
    _check_index(name, index)
    axis = dimension(dim, input._data.ndim)
    if index._data.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index._data.ndim}")
    rows = index._data.reshape(-1)
    _check_range(name, rows, input._data.shape[axis] if input._data.ndim else 1)
    return axis, rows


@named
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The elements along ``dim`` with these numbers, a copy."""
    axis, rows = _row_index("index_select", input, dim, index)
    shape = input._data.shape
    if not shape:
        return input.clone()

    def put(g: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, g.dtype)
        np.add.at(np.moveaxis(full, axis, 0), rows, np.moveaxis(g, axis, 0))
        return full

    return linear_map("IndexSelect", input, lambda a: np.take(a, rows, axis), put, (index,))


def _key(axis: int, rows: np.ndarray) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, rows)


@named
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy of ``input`` with ``alpha * source`` added to the elements along ``dim`` with these numbers."""
    axis, rows = _row_index("index_add", input, dim, index)
    check_tensor("source", source)
    if source._data.dtype != input._data.dtype:
        raise RuntimeError("index_add_(): self and source expected to have the same scalar type")
    _check_rows("index_add", input, axis, rows, source)
    source = source if alpha == 1 else source * alpha
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

    return _wrap(result, Node("IndexAdd", (input, source), run, (index,)))


def _check_rows(name: str, input: Tensor, axis: int, rows: np.ndarray, source: Tensor) -> None:
    shape = list(input._data.shape or (1,))
    shape[axis] = rows.size
    if list(source._data.shape or (1,)) != shape:
        raise (IndexError if name == "index_copy" else ShapeError)(
            f"{name}_(): source must have shape {shape}, found {list(source._data.shape)}"
        )


@named
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with ``source`` in place of the elements along ``dim`` with these numbers."""
    axis, rows = _row_index("index_copy", input, dim, index)
    check_tensor("source", source)
    if source._data.dtype != input._data.dtype:
        raise RuntimeError("index_copy_(): self and source expected to have the same dtype")
    _check_rows("index_copy", input, axis, rows, source)
    result = input.clone()
    _setitem(result, _key(axis, rows) if result._data.ndim else ..., source.reshape(()) if not result._data.ndim else source)
    return result


@named
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of ``input`` with a number in place of the elements along ``dim`` with these numbers."""
    check_tensor("input", input)
    _check_index("index_fill", index, (np.int64,))
    axis = dimension(dim, input._data.ndim)
    rows = index._data.reshape(-1)
    size = input._data.shape[axis] if input._data.ndim else 1
    _check_range("index_fill", rows, size, negative=True)
    if isinstance(value, Tensor) and value._data.ndim:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value._data.ndim} dimension(s)."
        )
    result = input.clone()
    _setitem(result, _key(axis, rows) if result._data.ndim else ..., value)
    return result


@named
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` at ``input[indices]``, or added there."""
    result = input.clone()
    return _index_put_(result, indices, values, accumulate)


def _index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """Put ``values`` at ``self[indices]``, or add them there."""
    key = tuple([slice(None) if i is None else i for i in indices])
    if not accumulate:
        _setitem(self, key, values)
        return self
    parts = _numpy_key(key, [])
    shape = self._data.shape
    value_shape = values._data.shape
    part_shape = self._data[parts].shape

    def put(a: np.ndarray) -> np.ndarray:
        full = np.zeros(shape, a.dtype)
        np.add.at(full, parts, a)
        return full

    return self._in_place(
        self + linear_map("IndexPut", _expanded(values, part_shape) if value_shape != part_shape else values, put,
                          lambda g: g[parts])
    )  # fmt: skip


@named
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As ``index_add``, with 'prod', 'mean', 'amax' or 'amin'."""
    axis, rows = _row_index("index_reduce", input, dim, index)
    shape = [1] * input._data.ndim
    shape[axis] = rows.size
    wide = _wrap(np.ascontiguousarray(np.broadcast_to(rows.reshape(shape), source._data.shape)))
    return scatter_reduce(input, dim, wide, source, reduce, include_self=include_self)


@named
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements with these numbers, counted through all dimensions."""
    check_tensor("input", input)
    _check_index("take", index, (np.int64,))
    _check_range("take", index._data, input._data.size, negative=True)
    flat = input.reshape(-1) if input._data.size or input._data.ndim == 1 else input.reshape(0)
    return _getitem(flat, _wrap(np.atleast_1d(index._data))).reshape(index._data.shape)


@named
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``source`` at the elements with these numbers, counted through all dimensions."""
    check_tensor("input", input)
    _check_range("put_", index._data, input._data.size, negative=True)
    flat = input.reshape(-1).clone()
    _index_put_(flat, (index.reshape(-1),), source.reshape(-1), accumulate)
    return flat.reshape(input._data.shape)


@named
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As ``gather``, with broadcasting of the other dimensions; of all elements in one row for None."""
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
    common = list(np.broadcast_shapes(*shapes))
    wide = [
        _expanded(t, tuple([t._data.shape[axis] if d == axis else n for d, n in enumerate(common)]))
        for t in (input, indices)
    ]
    return gather(wide[0], axis, wide[1])


# -- Masks -------------------------------------------------------------------------------------


@named
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension."""
    check_tensor("input", input)
    check_tensor("mask", mask)
    if mask._data.dtype != np.bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, found {mask.dtype}")
    shape = np.broadcast_shapes(input._data.shape, mask._data.shape) if _fits(input, mask) else None
    if shape is None:
        raise ShapeError(f"The shapes {list(input.shape)} and {list(mask.shape)} cannot be broadcast together")
    x = input if input._data.shape == shape else _expanded(input, shape)
    return _getitem(x, _wrap(np.broadcast_to(mask._data, shape)))


def _fits(a: Tensor, b: Tensor) -> bool:
    try:
        np.broadcast_shapes(a._data.shape, b._data.shape)
    except ValueError:
        return False
    return True


@named
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the elements of ``source``, in their order, where the mask holds."""
    check_tensor("source", source)
    if source._data.dtype != input._data.dtype:
        raise RuntimeError(f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}")
    result = _expanded(input, np.broadcast_shapes(input._data.shape, mask._data.shape)).clone()
    wide = _wrap(np.broadcast_to(mask._data, result._data.shape))
    count = int(wide._data.sum())
    if count > source._data.size:
        raise RuntimeError("masked_scatter: expected self and source to have enough elements for the mask")
    _setitem(result, wide, source.reshape(-1)[:count])
    return result


@named
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero: a row for each, or a tensor for each dimension."""
    check_tensor("input", input)
    array = input._data if input._data.ndim or not as_tuple else input._data.reshape(1)
    found = np.argwhere(array).astype(np.int64)
    if as_tuple:
        return tuple([_wrap(np.ascontiguousarray(found[:, d])) for d in range(array.ndim)])
    return _wrap(found)


@named
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, a row for each."""
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
        raise ShapeError(f"expected src to have a size equal to the slice of self, {list(target.shape)}, found {list(src.shape)}")
    target.copy_(src)
    return result


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` as element ``index`` along ``dim``."""
    return _replaced(input, src, lambda t: t.select(dim, index))


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of ``input`` with ``src`` in place of a slice along ``dim``."""
    axis = dimension(dim, input._data.ndim)
    return _replaced(input, src, lambda t: t[(*(slice(None),) * axis, slice(start, end, step))])


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with ``src`` as a diagonal."""
    return _replaced(input, src, lambda t: t.diagonal(offset, dim1, dim2))


OPERATORS = {"__getitem__": _getitem, "__setitem__": _setitem}
METHODS = {"index_put_": _index_put_}
IN_PLACE = (
    "index_add", "index_copy", "index_fill", "index_reduce", "masked_scatter", "put", "scatter", "scatter_add",
    "scatter_reduce",
)  # fmt: skip
