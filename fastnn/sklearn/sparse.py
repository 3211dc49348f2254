"""The first layer of data that are mostly zeros, such as images of digits: its products skip the zeros.

The rows are compressed once for a fit, and sorted by column for each batch. Skipped terms add nothing, so the numbers
are those of the dense layer, except for the sign of a zero, as long as they are finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._core.numpy_trace import add_gradient
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.llvm.sparse_tile import PAIR
from fastnn.kernels.matmul.linear import activation_bias_backward
from fastnn.kernels.matmul.sparse_linear import copy_columns, join_columns, split_columns
from fastnn.kernels.matmul.sparse_rows import CompressedRows, SortedBatch, batch_of, compress_rows, sort_columns
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _contiguous
from fastnn.nn.functional.gradient_buffers import _finish_gradient, _gradient_place
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter

# Within these limits skipping zeros is faster: the share of column pairs that are not zero, the bytes of a row of the
# weight, and of the weight.
_SHARE = {np.dtype(np.float32): 0.3, np.dtype(np.float64): 0.4}
_LEAST_ROW, _LEAST_LAYER = 160, 2**17
_MOST_SAMPLES = 512
# The limits of a compressed matrix.
_MOST_PAIRS, _MOST_ENTRIES = 2**16, 2**31 - 1


def compressed(x: Any, weight: tuple[int, int], dtype: np.dtype, batch_size: int) -> CompressedRows | None:
    """The data without zeros, if that is worth while; else None.

    Args:
        x: (rows, features), C-contiguous, or a sparse matrix by rows.
        weight: the shape of the first matrix, (features, units).
    """
    row = weight[1] * dtype.itemsize
    if batch_size > _MOST_SAMPLES or row * weight[0] < _LEAST_LAYER:
        return None
    if not isinstance(x, np.ndarray):
        found = _without_zeros(x)
    elif row < _LEAST_ROW or len(x) < 2 * batch_size:
        return None
    else:
        # A look at some rows first.
        some = np.ascontiguousarray(x[:: max(1, len(x) // 100)])
        found = None if compress_rows(some, _SHARE[dtype]) is None else compress_rows(x, _SHARE[dtype])
    # Batches of rows that are all zeros would be empty arrays, which do not tell how many rows they stand for.
    return found if found is not None and found.most else None


def _without_zeros(x: Any) -> CompressedRows | None:
    """The pairs of columns of a sparse matrix; None if their numbers, or those of a batch, need more bytes."""
    rows, features = x.shape
    count = -(-features // PAIR)
    if count > _MOST_PAIRS or x.nnz > _MOST_ENTRIES // _MOST_SAMPLES:
        return None
    if not x.has_canonical_format:
        x = x.copy()
        x.sum_duplicates()
    row = np.repeat(np.arange(rows), np.diff(x.indptr))
    pair, column = np.divmod(x.indices, PAIR)
    key = row * count + pair
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    entry = np.cumsum(first) - 1
    values = np.zeros((int(first.sum()), PAIR), x.dtype)
    values[entry, column] = x.data
    counts = np.bincount(row[first], minlength=rows).astype(np.int32)
    starts = np.cumsum(counts, dtype=np.int64) - counts
    return CompressedRows(values, pair[first].astype(np.uint16), starts, counts, features, int(counts.max(initial=0)))


class SparseColumn:
    """A sparse matrix by rows, from which dense batches are gathered: a column of a :class:`Source`.

    Args:
        x: (rows, features), in SciPy's CSR layout.
        dtype: of a batch, float32 or float64.
    """

    is_launched = True

    def __init__(self, x: Any, dtype: np.dtype) -> None:
        place = np.int32 if x.indices.dtype == x.indptr.dtype == np.int32 else np.int64
        self.shape: tuple[int, ...] = (x.shape[1],)
        self.dtype = dtype
        self._data = np.ascontiguousarray(x.data, dtype)
        self._columns, self._starts = np.ascontiguousarray(x.indices, place), np.ascontiguousarray(x.indptr, place)

    def take(self, out: np.ndarray, indices: np.ndarray) -> None:
        """Gather the rows ``indices``, int64, in the array of a batch."""
        kernels.dense_rows(out, self._data, self._columns, self._starts, indices)

    def contents(self) -> np.ndarray | None:
        """Nothing, as the rows are not stored as they are in a batch."""
        return None


class SparseLinear(Module):
    """``x @ coef + bias`` of a sorted batch; the matrix is stored in panels (:func:`split_columns`).

    Args:
        features, units: of the layer.
        dtype: float32 or float64.
        rows: that batches are made of.
    """

    weight: Parameter
    bias: Parameter

    def __init__(self, features: int, units: int, dtype: np.dtype, rows: CompressedRows) -> None:
        super().__init__()
        self.most, self.features, self.units = rows.most, features, units
        self.weight = Parameter._empty(split_columns(np.zeros((features, units), dtype)).shape, dtype)
        # Read by the kernel, which adds it to the result: NaN would stand for weights that are not finite.
        self.register_buffer("spoiled", _wrap(np.zeros(1, dtype)))

    def load(self, coef: np.ndarray) -> None:
        """Set the matrix."""
        copy_columns(self.weight._data, coef)
        self.weight._memory.version += 1

    def coef(self) -> np.ndarray:
        """A copy of the matrix."""
        return self.joined(self.weight._data)

    def joined(self, panels: np.ndarray) -> np.ndarray:
        """A matrix of these panels, (features, units)."""
        matrix = allocation.empty((self.features, self.units), panels.dtype)
        join_columns(matrix, panels)
        return matrix

    def forward(self, ends: Tensor, samples: Tensor, values: Tensor) -> Tensor:
        """The product, from the arrays of a :class:`SortedBatch`."""
        batch = SortedBatch(ends._data, samples._data, values._data, values._data.shape[0] // self.most)
        weight, bias = self.weight, self.bias
        out = allocation.empty((batch.batch, self.units), weight._data.dtype)
        kernels.sparse_forward(out, batch, weight._data, bias._data, self.spoiled._data)
        if not _recorded(weight, bias):
            return _wrap(out)

        def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
            dz = _contiguous(grad._data)
            by_bias, accumulate, in_place = _gradient_place(bias, True, (self.units,))
            assert by_bias is not None
            activation_bias_backward(dz, by_bias, dz, dz, "none", accumulate=accumulate)
            target = weight._grad_target()
            by_weight, adds = (allocation.empty_like(weight._data), False) if target is None else target
            if not adds:
                _clear(by_weight)
            kernels.sparse_update(by_weight, allocation.empty(1, dz.dtype), batch, dz)
            return _finish_gradient(weight, by_weight, target is not None), _finish_gradient(bias, by_bias, in_place)

        return _wrap(out, Node("SparseLinear", (weight, bias), run, (weight,), True))


def _clear(array: np.ndarray) -> None:
    """Set an array to zeros, also when a recording is replayed."""
    if not (capture_state.active and capture_state.is_mine()):
        array[...] = 0
    elif not add_gradient(array, capture_state.constant(np.zeros((), array.dtype)), False):
        capture_state.stop("a gradient is cleared outside the kernels")


class SortedRows:
    """Batches of compressed rows, sorted into arrays that are kept for each size.

    Args:
        rows: compressed.
        dtype: of the network.
    """

    def __init__(self, rows: CompressedRows, dtype: np.dtype) -> None:
        self.rows, self.dtype = rows, dtype
        self._batches: dict[int, SortedBatch] = {}

    def arrays(self, size: int) -> list[np.ndarray]:
        """The arrays of a batch of this size."""
        if size not in self._batches:
            self._batches[size] = batch_of(self.rows, size, self.dtype)
        ends, samples, values, _ = self._batches[size]
        return [ends, samples, values]

    def batch(self, indices: np.ndarray) -> list[np.ndarray]:
        """The arrays of these rows."""
        arrays = self.arrays(len(indices))
        sort_columns(self._batches[len(indices)], self.rows, indices)
        return arrays
