"""Joining and splitting of tensors."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastnn._autograd.engine import Alias, Node
from fastnn._autograd.modes import _mode
from fastnn._core.capture_state import active
from fastnn._core.dtypes import from_numpy_dtype, promoted
from fastnn._core.errors import ShapeError
from fastnn._core.numpy_trace import joined, padded
from fastnn._tensor.tensor import Tensor, _recorded, _share, _wrap
from fastnn._tensor.views import Step, linear_map
from fastnn.ops.core import also_read, check_tensor, dimension, named, whole
from fastnn.ops.slicing import select, sliced

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "cartesian_prod", "cat", "chunk", "column_stack",
    "combinations", "concat", "concatenate", "dsplit", "dstack", "hsplit", "hstack", "meshgrid", "row_stack", "split",
    "split_with_sizes", "stack", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split", "vsplit", "vstack",
]  # fmt: skip


def _tensors(name: str, tensors: Any) -> list[Tensor]:
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}(): tensors must be a tuple or list of Tensors, found {type(tensors).__name__}")
    for i, t in enumerate(tensors):
        if type(t) is not Tensor and not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return list(tensors)


def _plain_arrays(tensors: Any, recorded: bool = False) -> list[np.ndarray] | None:
    """The arrays of tensors of one dtype with elements, and without a history unless ``recorded``; None for others."""
    if type(tensors) is not tuple and type(tensors) is not list:
        return None
    if not tensors or set(map(type, tensors)) != _PLAIN:
        return None
    if _mode.enabled:
        for t in tensors:
            if t._history != t._memory.history or (t._requires_grad and not recorded):
                return None
    arrays = [t._data for t in tensors]
    kind = arrays[0].dtype
    for array in arrays:
        if array.dtype is not kind or not array.size:
            return None
    return arrays


_PLAIN = {Tensor}


def _one_dtype(tensors: list[Tensor]) -> list[Tensor]:
    kinds = {t._data.dtype for t in tensors}
    if len(kinds) == 1:
        return tensors
    common = None
    # Tensors without dimensions count only if their kind is higher.
    for level in ([t for t in tensors if t._data.ndim], [t for t in tensors if not t._data.ndim]):
        kind = None
        for t in level:
            kind = t._data.dtype if kind is None else promoted(kind, t._data.dtype)
        if kind is not None:
            common = kind if common is None or "biuf".index(kind.kind) > "biuf".index(common.kind) else common
    assert common is not None
    target = from_numpy_dtype(common)
    return [t.to(target) for t in tensors]


@named
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Concatenate tensors along a dimension.

    >>> import fastnn
    >>> fastnn.cat([fastnn.tensor([1, 2]), fastnn.tensor([3])])
    tensor([1, 2, 3])
    """
    arrays = None if active else _plain_arrays(tensors, True)
    if arrays and type(dim) is int:
        try:
            result = np.concatenate(arrays, dim)
        except ValueError:
            # Of NumPy; the errors follow below.
            pass
        else:
            # Asked first: what the node of a gradient needs would double the overhead.
            if not _mode.enabled or True not in [t._requires_grad for t in tensors]:
                return _wrap(result)
            axis = dim if dim >= 0 else dim + result.ndim
            return _joined(tensors, result, axis, [array.shape[axis] for array in arrays])
    parts = _tensors("cat", tensors)
    if not parts:
        raise ShapeError("torch.cat(): expected a non-empty list of Tensors, found none")
    for i, t in enumerate(parts):
        if not t._data.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    parts = _one_dtype(parts)
    # PyTorch accepts an empty vector next to any shape.
    kept = [t for t in parts if t._data.shape != (0,)] or parts[:1]
    axis = dimension(dim, kept[0]._data.ndim)
    try:
        result = joined([t._data for t in kept], axis)
    except ValueError:
        found = [list(t._data.shape) for t in kept]
        raise ShapeError(f"Sizes of tensors must match except in dimension {axis}: found {found}") from None
    _recorded(*parts)
    sizes = [0 if t._data.shape == (0,) and result.shape != (0,) else t._data.shape[axis] for t in parts]
    return _joined(parts, result, axis, sizes)


def _joined(parts: Sequence[Tensor], result: np.ndarray, axis: int, sizes: list[int]) -> Tensor:
    """The tensor of a concatenation, whose parts have these sizes along the axis."""
    wants = [t._requires_grad for t in parts]
    if not _mode.enabled or True not in wants:
        return _wrap(result)
    spans = list(itertools.pairwise(itertools.accumulate(sizes, initial=0)))
    front = (slice(None),) * axis
    shapes, shape = [t._data.shape for t in parts], result.shape

    def part(grad: Tensor, span: tuple[int, int], part_shape: tuple[int, ...]) -> Tensor:
        key = (*front, slice(*span))

        def put(g: np.ndarray) -> np.ndarray:
            full = np.zeros(shape, g.dtype)
            full[key] = g.reshape(full[key].shape)
            return full

        return linear_map("Slice", grad, lambda a: a[key].reshape(part_shape), put)

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        return tuple([
            part(grad, span, part_shape) if want else None
            for span, want, part_shape in zip(spans, wants, shapes, strict=True)
        ])

    return _wrap(result, Node("Cat", tuple(parts), run))


concat = concatenate = cat


@named
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Stack tensors of one shape along a new dimension.

    >>> import fastnn
    >>> fastnn.stack([fastnn.zeros(2), fastnn.ones(2)], 1)
    tensor([[0., 1.],
            [0., 1.]])
    """
    arrays = None if active else _plain_arrays(tensors, True)
    if arrays and dim == 0 and type(dim) is int:
        shape = arrays[0].shape
        for array in arrays:
            if array.shape != shape:
                break
        else:
            # In a third of the time of np.stack.
            return _stacked(tensors, np.array(arrays), 0)
    parts = _tensors("stack", tensors)
    if not parts:
        raise RuntimeError("stack expects a non-empty TensorList, found none")
    shape = parts[0]._data.shape
    for i, t in enumerate(parts):
        if t._data.shape != shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(t._data.shape)} at entry {i}"
            )
    parts = _one_dtype(parts)
    axis = dimension(dim, len(shape) + 1)
    # In a tenth of the time of np.expand_dims.
    key = (*(slice(None),) * axis, None, ...)
    return _stacked(parts, joined([t._data[key] for t in parts], axis), axis)


def _stacked(parts: Sequence[Tensor], result: np.ndarray, axis: int) -> Tensor:
    wants = [t._requires_grad for t in parts]
    if not _mode.enabled or True not in wants:
        return _wrap(result)

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        if _mode.enabled or axis:
            return tuple([select(grad, axis, i) if want else None for i, want in enumerate(wants)])
        array = grad._data
        return tuple([_wrap(array[i, ...]) if want else None for i, want in enumerate(wants)])

    return _wrap(result, Node("Stack", tuple(parts), run))


def _at_least(name: str, tensors: tuple[Any, ...], lift: Any) -> Any:
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    parts = [lift(t) for t in _tensors(name, list(given))]
    return parts[0] if len(tensors) == 1 and isinstance(tensors[0], Tensor) else tuple(parts)


def _lift_1d(t: Tensor) -> Tensor:
    return t if t._data.ndim else t.reshape(1)


def _lift_2d(t: Tensor) -> Tensor:
    return t if t._data.ndim > 1 else _lift_1d(t).unsqueeze(0)


def _lift_3d(t: Tensor) -> Tensor:
    return t if t._data.ndim > 2 else _lift_2d(t).unsqueeze(-1)


def atleast_1d(*tensors: Any) -> Any:
    """The tensor with at least one dimension."""
    return _at_least("atleast_1d", tensors, _lift_1d)


def atleast_2d(*tensors: Any) -> Any:
    """The tensor with at least two dimensions, new ones first."""
    return _at_least("atleast_2d", tensors, _lift_2d)


def atleast_3d(*tensors: Any) -> Any:
    """The tensor with at least three dimensions."""
    return _at_least("atleast_3d", tensors, _lift_3d)


@named
def hstack(tensors: Any) -> Tensor:
    """Concatenate along dimension 1; vectors along dimension 0."""
    parts = [_lift_1d(t) for t in _tensors("hstack", tensors)]
    if not parts:
        raise RuntimeError("hstack expects a non-empty TensorList, found none")
    return cat(parts, 0 if parts[0]._data.ndim == 1 else 1)


@named
def vstack(tensors: Any) -> Tensor:
    """Concatenate along dimension 0, vectors as rows."""
    return cat([_lift_2d(t) for t in _tensors("vstack", tensors)], 0)


row_stack = vstack


@named
def dstack(tensors: Any) -> Tensor:
    """Concatenate along dimension 2."""
    return cat([_lift_3d(t) for t in _tensors("dstack", tensors)], 2)


@named
def column_stack(tensors: Any) -> Tensor:
    """Concatenate along dimension 1, vectors as columns."""
    return hstack([t.reshape(-1, 1) if t._data.ndim < 2 else t for t in _tensors("column_stack", tensors)])


def block_diag(*tensors: Tensor) -> Tensor:
    """The block-diagonal matrix of these matrices."""
    if not tensors:
        return _wrap(np.zeros((1, 0), np.float32))
    parts = [_lift_2d(t) for t in _tensors("block_diag", list(tensors))]
    for t in parts:
        if t._data.ndim > 2:
            raise ShapeError(f"Input tensors must have 2 or fewer dimensions, found {t._data.ndim}")
    width = sum([t._data.shape[1] for t in parts])
    rows, left = [], 0
    for t in parts:
        n, m = t._data.shape
        rows.append(cat([t.new_zeros((n, left)), t, t.new_zeros((n, width - left - m))], 1))
        left += m
    return cat(rows, 0)


# -- Splitting ---------------------------------------------------------------------------------


def _pieces(input: Tensor, dim: int, ends: list[int], name: str) -> list[Tensor]:
    axis = dimension(dim, input._data.ndim)
    front = (slice(None),) * axis
    starts = [0, *ends[:-1]]
    return [sliced(input, (*front, slice(a, b)), name) for a, b in zip(starts, ends, strict=True)]


def one_of_many(parts: list[Tensor]) -> tuple[Tensor, ...]:
    """Views created together: as in PyTorch they cannot be changed in place if they have a history.

    The results of ``tensor_split`` and similar are slices; those of the ``unsafe_`` functions are not views in PyTorch.
    """
    for part in parts:
        if part._node is not None:
            part._of_many = True
    return tuple(parts)


@named
def split(
    tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None
) -> tuple[Tensor, ...]:
    """Pieces of one size, the last one possibly smaller, or of the given sizes; they share memory.

    ``split_size`` is the name that the method has for ``split_size_or_sections``.
    """
    sizes = split_size_or_sections if split_size is None else split_size
    return one_of_many(_split("split", tensor, sizes, dim))


@named
def unsafe_split(tensor: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """The pieces of ``split``, which may be changed in place."""
    return tuple(_split("unsafe_split", tensor, split_size, dim))


def _split(function: str, tensor: Tensor, split_size_or_sections: Any, dim: int) -> list[Tensor]:
    check_tensor("tensor", tensor)
    if not tensor._data.ndim:
        raise RuntimeError(f"{function} expects at least a 1-dimensional tensor, found a single number")
    axis = dimension(dim, tensor._data.ndim)
    n = tensor._data.shape[axis]
    name = "Split" if function == "split" else "UnsafeSplit"
    if isinstance(split_size_or_sections, (tuple, list)):
        sizes = [whole("split_size_or_sections", s) for s in split_size_or_sections]
        if any(s < 0 for s in sizes) or sum(sizes) != n:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {axis}),"
                f" but got split_sizes={sizes}"
            )
        return _pieces(tensor, axis, np.cumsum(sizes).tolist(), name)
    size = whole("split_size_or_sections", split_size_or_sections)
    if size < 0 or (size == 0 and n):
        raise RuntimeError(f"{function} expects split_size be non-negative, but got split_size={size}")
    ends = [min(start + size, n) for start in range(0, n, size)] if n else [0]
    return _pieces(tensor, axis, ends, name)


def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the given sizes."""
    return split(input, list(split_sizes), dim)


@named
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of one size, the last one possibly smaller; they share memory."""
    return one_of_many(_chunk("split", input, chunks, dim))


@named
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """The pieces of ``chunk``, which may be changed in place."""
    return tuple(_chunk("unsafe_split", input, chunks, dim))


def _chunk(function: str, input: Tensor, chunks: int, dim: int) -> list[Tensor]:
    check_tensor("input", input)
    if not input._data.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor, found a single number")
    chunks = whole("chunks", chunks)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    axis = dimension(dim, input._data.ndim)
    n = input._data.shape[axis]
    name = "Split" if function == "split" else "UnsafeSplit"
    if not n:
        return _pieces(input, axis, [0] * chunks, name)
    size = -(-n // chunks)
    return _pieces(input, axis, [min(start + size, n) for start in range(0, n, size)], name)


@named
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """A number of pieces of about equal size, or pieces that end at the given indices."""
    check_tensor("input", input)
    if not input._data.ndim:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    axis = dimension(dim, input._data.ndim)
    n = input._data.shape[axis]
    given = indices_or_sections
    if isinstance(given, Tensor):
        given = given.tolist()
    if isinstance(given, int):
        if given <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {given}")
        sizes = [n // given + (i < n % given) for i in range(given)]
        return tuple(_pieces(input, axis, np.cumsum(sizes).tolist(), "Slice"))
    cuts = [*given, n]
    starts = [0, *given]
    front = (slice(None),) * axis
    return tuple([sliced(input, (*front, slice(a, b)), "Slice") for a, b in zip(starts, cuts, strict=True)])


def _split_along(name: str, input: Tensor, given: Any, dim: int, least: int) -> tuple[Tensor, ...]:
    if input._data.ndim < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with "
            f"{input._data.ndim} dimensions!"
        )
    if isinstance(given, int) and given and input._data.shape[dim] % given:
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{input._data.shape[dim]} is not divisible by the split_size {given}!"
        )
    return tensor_split(input, given, dim)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """``tensor_split`` along dimension 1; a vector along dimension 0."""
    return _split_along("hsplit", input, indices_or_sections, 0 if input._data.ndim == 1 else 1, 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """``tensor_split`` along dimension 0."""
    return _split_along("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """``tensor_split`` along dimension 2."""
    return _split_along("dsplit", input, indices_or_sections, 2, 3)


@named
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension, sharing memory."""
    check_tensor("input", input)
    if not input._data.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis = dimension(dim, input._data.ndim)
    if not axis and _is_plain(input):
        return tuple(_plain_views(input))
    front = (slice(None),) * axis
    return one_of_many([sliced(input, (*front, i, ...), "Unbind") for i in range(input._data.shape[axis])])


def _is_plain(x: Tensor) -> bool:
    """Whether a tensor is not a view, and has no history."""
    return type(x) is Tensor and x._view is None and not x._requires_grad and x._history == x._memory.history


def _plain_views(x: Tensor) -> list[Tensor]:
    """The elements along the first dimension of a tensor without a history: views, made in half the time."""
    array, memory, shape = x._data, x._memory, x._data.shape
    elements = [array[i, ...] for i in range(len(array))]
    if not _mode.enabled:
        return [_share(element, None, Alias(memory)) for element in elements]
    found = [_share(element, None, memory) for element in elements]
    for i, made in enumerate(found):
        made._view = (x, (_element(i, shape),))
    return found


def _element(i: int, shape: tuple[int, ...]) -> Step:
    return "Unbind", lambda a: a[i, ...], lambda g: padded(g, shape, (i, ...))


def _iter(self: Tensor) -> Iterator[Tensor]:
    if not self._data.ndim:
        raise TypeError("iteration over a 0-d tensor")
    if _is_plain(self):
        return iter(_plain_views(self))
    return iter(one_of_many([sliced(self, (i, ...), "Unbind") for i in range(self._data.shape[0])]))


OPERATORS = {"__iter__": _iter}


# -- Grids -------------------------------------------------------------------------------------


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """For each vector, its coordinate at every point of the grid of all vectors.

    Args:
        indexing: 'ij' (the default, with a warning) for one dimension per vector, in order; 'xy' exchanges the first
            two.
    """
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", stacklevel=3
        )
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    parts = _tensors("meshgrid", list(given))
    if not parts:
        raise RuntimeError("meshgrid expects a non-empty TensorList, found none")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for t in parts:
        if t._data.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(t.shape)}")
        if t._data.dtype != parts[0]._data.dtype:
            raise RuntimeError(
                f"torch.meshgrid expects all tensors to have the same dtype, found {parts[0].dtype} and {t.dtype}"
            )
    count = len(parts)
    swap = indexing == "xy" and count > 1
    ordered = [parts[1], parts[0], *parts[2:]] if swap else parts
    shape = [t._data.size for t in ordered]
    grids = [
        t.reshape([t._data.size if d == i else 1 for d in range(count)]).expand(shape) for i, t in enumerate(ordered)
    ]
    if swap:
        # Back in the order of the arguments; the first varies along dimension 1.
        grids[:2] = grids[1::-1]
    return tuple(grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """The Cartesian product of vectors, one combination per row."""
    for t in tensors:
        check_tensor("tensors", t)
        if t._data.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t._data.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(*tensors, indexing="ij")], -1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of r elements of a vector, as rows."""
    check_tensor("input", input)
    if input._data.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return also_read(input[:0], input)
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(pick(range(input._data.size), r)), np.int64).reshape(-1, r)
    return also_read(input[_wrap(rows)], input)
