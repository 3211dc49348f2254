"""Embeddings as functions of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.rows.take_rows import check_indices
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous
from fastnn.nn.parameter import Parameter
from fastnn.ops.comparison import keep_where, where
from fastnn.ops.core import also_read

__all__ = ["embedding", "embedding_bag", "one_hot"]

_INT64 = np.dtype(np.int64)


class BagIndexError(IndexError, RuntimeError):
    """A row index out of range in a bag; PyTorch raises RuntimeError here, and IndexError for an embedding."""


def _check_indices(input: Tensor) -> None:
    _check_tensor("input", input)
    if input._data.dtype not in (_INT64, np.int32):
        raise DTypeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.dtype} instead"
        )


def _padding_row(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError(f"Padding_idx must be within num_embeddings: found {padding_idx} for {rows} rows")
    return padding_idx % rows


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` with the indices in ``input``.

    Args:
        input: any shape, int64 or int32.
        weight: (rows, columns); float32 or float64 if it is trained.
        padding_idx: a row that gets no gradient.
        max_norm: rows that are read are first clipped to this norm, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide the gradient of a row by how often it was read.
        sparse: accepted; the gradient is dense anyway.

    Returns: shape (*input.shape, columns).

    Raises: IndexError for an index out of range, before anything is computed.

    >>> import fastnn
    >>> table = fastnn.tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> fastnn.nn.functional.embedding(fastnn.tensor([1, 1]), table)
    tensor([[2., 3.],
            [2., 3.]])
    """
    _check_indices(input)
    _check_tensor("weight", weight)
    if weight._data.ndim != 2:
        raise ShapeError(f"'weight' must be 2-D, found shape {tuple(weight.shape)}")
    shape, (rows, columns) = input._data.shape, weight._data.shape
    padding = _padding_row(padding_idx, rows)
    # A copy: the backward pass reads it, and the caller's tensor may change.
    indices = np.array(input._data, _INT64, order="C").reshape(-1)
    if max_norm is not None:
        check_indices(indices, rows)
        _shorten_rows(weight, indices, max_norm, norm_type)
    if weight._data.dtype.kind != "f":
        check_indices(indices, rows)
        return _wrap(weight._data[indices].reshape(*shape, columns))
    out = allocation.empty((indices.size, columns), weight._data.dtype)
    kernels.embedding_forward(out, _contiguous(weight._data), indices)
    result = out.reshape(*shape, columns)
    if not _recorded(weight):
        return _wrap(result)

    def scaled(dy: np.ndarray) -> np.ndarray:
        if not scale_grad_by_freq:
            return dy
        counts = np.bincount(indices, minlength=1)
        return dy / counts[indices, None].astype(dy.dtype)

    def run(grad: Tensor) -> tuple[Tensor | None]:
        dy = scaled(_contiguous(grad._data.reshape(out.shape)))
        target = weight._grad_target() if isinstance(weight, Parameter) else None
        if target is None or not target[0].flags.c_contiguous:
            dweight = allocation.empty((rows, columns), out.dtype)
            kernels.embedding_backward(dweight, dy, indices, padding)
            return (_wrap(dweight),)
        kernels.embedding_backward(target[0], dy, indices, padding, target[1])
        assert isinstance(weight, Parameter)
        weight._grad_finished()
        return (None,)

    def recompute() -> Tensor:
        factors = np.ones((indices.size, 1), out.dtype)
        if padding is not None:
            factors[indices == padding] = 0
        return weight[_wrap(indices.reshape(shape))] * _wrap(scaled(factors).reshape(*shape, 1))

    return _wrap(result, Node("Embedding", (weight,), run, (input,), True, recompute))


def _shorten_rows(weight: Tensor, indices: np.ndarray, max_norm: float, norm_type: float) -> None:
    """Scale down the rows that are read and exceed ``max_norm``."""
    rows = np.unique(indices)
    read = weight._data[rows]
    norms = np.linalg.norm(read, float(norm_type), axis=1, keepdims=True)
    longer = norms[:, 0] > max_norm
    if longer.any():
        # As in PyTorch, so that rounding cannot exceed the norm.
        factors = (max_norm / (norms[longer] + 1e-7)).astype(read.dtype)
        weight._memory.version += 1
        weight._data[rows[longer]] = read[longer] * factors


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of the rows of ``weight`` over bags of row indices.

    Args:
        input: (bags, length) of int64 or int32, or (count,) with ``offsets``.
        weight: (rows, columns), float32 or float64.
        offsets: (bags,): the start of each bag in ``input``; the last bag ends with ``input``.
        mode: 'sum', 'mean' or 'max'; an empty bag gives zeros.
        per_sample_weights: factors of the rows, of the shape of ``input``; for 'sum' only.
        include_last_offset: the last of ``offsets`` is the size of ``input`` and starts no bag.
        padding_idx: a row that is ignored.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for :func:`embedding`.

    Returns: (bags, columns).

    >>> import fastnn
    >>> table = fastnn.tensor([[1.0], [2.0], [4.0]])
    >>> fastnn.nn.functional.embedding_bag(fastnn.tensor([[0, 1], [2, 2]]), table, mode="sum")
    tensor([[3.],
            [8.]])
    """
    _check_indices(input)
    _check_floating("embedding_bag", weight)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, found {mode!r}")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
                f"(got mode='{mode}')."
            )
        if per_sample_weights._data.shape != input._data.shape:
            raise ShapeError(
                f"embedding_bag: If per_sample_weights ({tuple(per_sample_weights.shape)}) is not None, then it must "
                f"have the same shape as the input ({tuple(input.shape)})"
            )
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency: scale_grad_by_freq is True")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights: sparse is True")
    positions, counted = _bags(input, offsets, include_last_offset)
    rows = weight._data.shape[0]
    padding = _padding_row(padding_idx, rows)
    flat = input.reshape(-1)
    try:
        check_indices(np.ascontiguousarray(flat._data, np.int64), rows)
    except IndexError as error:
        raise BagIndexError(*error.args) from None
    found = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if padding is not None and flat._data.size:
        counted = counted & (flat._data[positions] != padding)
    if not flat._data.size:
        return _wrap(np.zeros((positions.shape[0], weight._data.shape[1]), weight._data.dtype)) + weight.sum() * 0
    read = [t for t in (input, offsets) if t is not None]
    if per_sample_weights is not None:
        read += [weight, per_sample_weights]
    members = found[_wrap(positions)]
    kind = weight._data.dtype
    if mode == "max":
        filled: Any = counted.any(1)
        members = where(_wrap(counted[..., None]), members, -np.inf)
        members = members.max(1)[0] if members._data.shape[1] else members.sum(1)
        if not filled.all():
            members = keep_where(members, filled[:, None])
        return also_read(members, *read)
    # The padding of shorter bags is ignored, even if it is infinite.
    members = keep_where(members, counted[..., None])
    if mode == "mean":
        members = members * _wrap(1 / np.maximum(counted.sum(1), 1)[:, None, None].astype(kind))
    if per_sample_weights is not None:
        members = members * per_sample_weights.reshape(-1)[_wrap(positions)].unsqueeze(-1)
    return also_read(members.sum(1), *read)


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each bag the positions of its members in the flat input, and a mask of the valid ones."""
    data = input._data
    if data.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets).__name__}"
            )
        return np.arange(data.size).reshape(data.shape), np.ones(data.shape, bool)
    if data.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {data.ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    _check_tensor("offsets", offsets)
    if offsets._data.ndim != 1:
        raise ValueError(f"offsets has to be a 1D Tensor, found shape {tuple(offsets.shape)}")
    starts = offsets._data.astype(np.int64)
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            f"offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0, but got "
            f"{starts[0]}"
        )
    if starts.size and starts.max() > data.size:
        raise RuntimeError(f"offsets[-1] can not be greater than input's length({data.size}), found {starts.max()}")
    ends = starts[1:] if include_last else np.append(starts[1:], data.size)
    starts = starts[: ends.size]
    lengths = ends - starts
    if lengths.size and lengths.min() < 0:
        raise RuntimeError(f"offsets have to grow from bag to bag, found {offsets.tolist()}")
    steps = np.arange(lengths.max(initial=0))
    counted = steps < lengths[:, None]
    return np.where(counted, starts[:, None] + steps, 0), counted


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a one at the index in ``tensor``, int64.

    Args:
        tensor: any shape, int64, not negative.
        num_classes: the length of the rows; -1 for the largest index plus one.

    >>> import fastnn
    >>> fastnn.nn.functional.one_hot(fastnn.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    _check_tensor("tensor", tensor)
    data = tensor._data
    if data.dtype != _INT64:
        raise DTypeError(f"one_hot is only applicable to index tensor of type LongTensor, found {tensor.dtype}")
    if num_classes == -1:
        if not data.size:
            raise RuntimeError(
                f"Can not infer total number of classes from empty tensor: found shape {tuple(data.shape)} and "
                "num_classes=-1."
            )
        capture_state.stop("the shape of a result depends on numbers")
        num_classes = int(data.max()) + 1
    elif num_classes < 1 and (data.size or num_classes < 0):
        raise RuntimeError(f"num_classes should be positive, found {num_classes}")
    if data.size and data.min() < 0:
        raise RuntimeError(f"Class values must be non-negative, found {data.min()}.")
    if data.size and data.max() >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes, found {data.max()} for {num_classes}")
    result = np.zeros((*data.shape, num_classes), np.int64)
    np.put_along_axis(result, data[..., None], 1, -1)
    return _wrap(result)
