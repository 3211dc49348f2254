"""Rows of a data set that are mostly zeros: compressed once, and a linear layer that skips the zeros.

A batch of compressed rows is sorted by column, so that each row of the weight is read once for all samples
that have a number there:

    z[i, :] = bias + sum_k x[i, k] * weight[k, :]        weight[k, :] += sum_i x[i, k] * error[i, :]

over the ``x[i, k]`` that are not zero. Each number is one chain of multiply-adds in order of ``k``, or of
``i``, as in ``gemm``: what is left out adds nothing, so the bits are the same, but for the sign of a zero,
as long as the weights are finite. ``spoiled`` tells when they no longer are: 0 * inf is NaN.

May import ``jit``, ``words``, ``take_rows``, ``activations`` and ``sparse_tile``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.kernels.activations import activate, activation_code
from fastnn.kernels.gather import check_indices
from fastnn.kernels.jit import (
    FLOAT32,
    FLOAT64,
    Kernel,
    array,
    by_dtype,
    check,
    check_output,
    inline,
    integer,
    kernel_for,
    launch,
    matrix_shape,
    part,
    parts_for,
    real,
)
from fastnn.kernels.micro_kernel import lanes
from fastnn.kernels.sparse_tile import GROUP, MOST_VECTORS, add_products, add_to_rows
from fastnn.kernels.take_rows import SOURCES
from fastnn.kernels.words import atomic_add, load_acquire, prefetch

_INDEX, _GROUP, _PLACE = np.dtype(np.int64), np.dtype(np.uint16), np.dtype(np.int32)
_MOST_GROUPS, _MOST_ENTRIES = 2**16, 2**31 - 1
# Rows that are compressed before room for them is claimed.
_CHUNK = 8
# Operations that an entry costs when it is sorted.
_COST = 8


class CompressedRows(NamedTuple):
    """A matrix without its zeros: of each group of columns 2k, 2k + 1 the two numbers, unless both are zero.

    Neighbours are often both there or both not, and two at a time cost hardly more than one.

    Attributes:
        values: (entries, 2), row by row; the rows in any order.
        groups: (entries,) uint16, the k of each; they ascend in a row.
        starts: (rows,) int64, the first entry of each row.
        counts: (rows,) int32, how many there are.
        features: columns of the matrix.
        most: the largest of ``counts``.
    """

    values: np.ndarray
    groups: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    features: int
    most: int


class SortedBatch(NamedTuple):
    """Rows sorted by column: the entries of group k end before ``ends[k]``, and begin where those before it end.

    Attributes:
        ends: (groups,) int32.
        samples: (room,) int32, the row of each entry; they ascend in a group.
        values: (room, GROUP) float32 or float64.
        batch: rows.
    """

    ends: np.ndarray
    samples: np.ndarray
    values: np.ndarray
    batch: int


# -- Compression -----------------------------------------------------------------------------


@inline
def _pack_row(values, groups, at, row, bits, sign):
    """Append the groups of ``row`` that are not all zero; return where the next one goes."""
    features, zero = row.size, bits[0] ^ bits[0]
    whole = features - features % GROUP
    for j in range(0, whole, GROUP):
        some = zero
        for g in range(GROUP):
            some |= bits[j + g]
            values[at, g] = row[j + g]
        groups[at] = j // GROUP
        # Integers without the sign: NaN is not zero, and -0.0 is.
        at += some & ~sign != zero
    if whole < features:
        some = zero
        for g in range(GROUP):
            values[at, g] = values.dtype.type(0)
            if whole + g < features:
                some |= bits[whole + g]
                values[at, g] = row[whole + g]
        groups[at] = whole // GROUP
        at += some & ~sign != zero
    return at


def _compress(source):
    word = {1: np.uint8, 4: np.uint32, 8: np.uint64}[np.dtype(source).itemsize]
    sign = word(0) if source is np.uint8 else word(1 << 8 * np.dtype(source).itemsize - 1)

    def compress_slice(args, t, n):
        # values[room, 4], groups[room], starts[rows], counts[rows], state[2], packed[n, size, 4], places[n, size],
        # data[rows, features]; room, rows, features, size
        room, rows, features, size = integer(args, 8), integer(args, 9), integer(args, 10), integer(args, 11)
        values, groups = array(args, 0, (room, GROUP), source), array(args, 1, (room,), np.uint16)
        starts, counts = array(args, 2, (rows,), np.int64), array(args, 3, (rows,), np.int32)
        state = integer(args, 4)
        packed, places = array(args, 5, (n, size, GROUP), source)[t], array(args, 6, (n, size), np.uint16)[t]
        data, bits = array(args, 7, (rows, features), source), array(args, 7, (rows, features), word)
        first, last = part(-(-rows // _CHUNK), t, n)
        for chunk in range(first, last):
            if load_acquire(state + 8):
                break
            top, end, at = chunk * _CHUNK, min(rows, (chunk + 1) * _CHUNK), 0
            for i in range(top, end):
                before = at
                if features:
                    at = _pack_row(packed, places, at, data[i], bits[i], sign)
                starts[i], counts[i] = before, at - before
            start = atomic_add(state, at)
            if start + at > room:
                atomic_add(state + 8, 1)
                break
            values[start : start + at] = packed[:at]
            groups[start : start + at] = places[:at]
            for i in range(top, end):
                starts[i] += start

    return compress_slice


_COMPRESS = {
    source: Kernel(f"compress_rows.{source.name}", _compress(source.type), arrays=8, integers=4) for source in SOURCES
}


def compress_rows(data: np.ndarray, share: float) -> CompressedRows | None:
    """``data`` without its zeros; None where more than this share of the groups of columns 2k, 2k + 1 are not both
    zero, or a group's number needs more than two bytes. -0.0 counts as zero, NaN does not.

    Args:
        data: (rows, features) uint8, float32 or float64, C-contiguous.
        share: in [0, 1].
    """
    rows, features = matrix_shape("data", data)
    if data.dtype not in _COMPRESS:
        raise TypeError(f"data must have dtype uint8, float32 or float64, found {data.dtype}")
    check("data", data, data.dtype, (rows, features))
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], found {share}")
    count = -(-features // GROUP)
    if count > _MOST_GROUPS:
        return None
    room = int(share * rows * count)
    values, groups = np.empty((room, GROUP), data.dtype), np.empty(room, _GROUP)
    starts, counts = np.empty(rows, _INDEX), np.empty(rows, _PLACE)
    # How many entries there are so far, and whether they are too many.
    state = np.zeros(2, np.int64)
    parts = max(1, min(parts_for(2.0 * data.size), -(-rows // _CHUNK)))
    # Room behind the last one, as a group is written before it is known to be zero.
    size = _CHUNK * count + 1
    packed, places = np.empty((parts, size, GROUP), data.dtype), np.empty((parts, size), _GROUP)
    arrays = values, groups, starts, counts, state, packed, places, data
    launch(_COMPRESS[data.dtype], parts, arrays, room, rows, features, size)
    if state[1]:
        return None
    used = int(state[0])
    return CompressedRows(values[:used], groups[:used], starts, counts, features, int(counts.max(initial=0)))


# -- A batch, sorted by column ---------------------------------------------------------------


@inline
def _first_at(groups, first, last, group):
    """Where in ``groups[first:last]``, which ascend, the first one is that is not below ``group``."""
    while first < last:
        middle = (first + last) // 2
        if groups[middle] < group:
            first = middle + 1
        else:
            last = middle
    return first


def _sort(kind, source):
    size = GROUP * np.dtype(source).itemsize

    def sort_columns_slice(args, t, n):
        # ends[count], samples[room], out[room, 4], edges[n, batch, 2], values[stored, 4], groups[stored],
        # starts[rows], counts[rows], indices[batch]; count, room, batch, stored, rows
        count, room, batch = integer(args, 9), integer(args, 10), integer(args, 11)
        stored, rows = integer(args, 12), integer(args, 13)
        ends, samples = array(args, 0, (count,), np.int32), array(args, 1, (room,), np.int32)
        out, edges = array(args, 2, (room, GROUP), kind), array(args, 3, (n, batch, 2), np.int64)[t]
        values, groups = array(args, 4, (stored, GROUP), source), array(args, 5, (stored,), np.uint16)
        starts, counts = array(args, 6, (rows,), np.int64), array(args, 7, (rows,), np.int32)
        indices = array(args, 8, (batch,), np.int64)
        # A part sorts the entries of some groups; they begin where those of all smaller ones end.
        lo, hi = part(count, t, n)
        for i in range(batch):
            index, first, last = indices[i], 0, 0
            # Indices were checked before the launch; here once more, as is all that stands in arrays.
            if 0 <= index < rows:
                first = starts[index]
                last = first + counts[index]
                if not 0 <= first <= last <= stored:
                    first = last = 0
            edges[i, 0], edges[i, 1] = first, last
            # Rows come from memory that nobody has touched lately.
            for line in range(2 * first, 2 * last, 64):
                prefetch(integer(args, 5) + line)
        at = 0
        for k in range(lo, hi):
            ends[k] = 0
        for i in range(batch):
            start, last = edges[i, 0], edges[i, 1]
            first = start
            if lo > 0:
                first = _first_at(groups, start, last, lo)
            if hi < count:
                last = _first_at(groups, first, last, hi)
            at += first - start
            edges[i, 0], edges[i, 1] = first, last
            for line in range(first * size, last * size, 64):
                prefetch(integer(args, 4) + line)
            for p in range(first, last):
                k = groups[p]
                if lo <= k < hi:
                    ends[k] += 1
        for k in range(lo, hi):
            found = ends[k]
            ends[k] = at
            at += found
        for i in range(batch):
            for p in range(edges[i, 0], edges[i, 1]):
                k = groups[p]
                if lo <= k < hi:
                    place = ends[k]
                    if 0 <= place < room:
                        samples[place] = i
                        for g in range(GROUP):
                            out[place, g] = kind(values[p, g])
                        ends[k] = place + 1

    return sort_columns_slice


_SORT = {
    source: {
        kind: Kernel(f"sort_columns.{source.name}.{kind.name}", _sort(kind.type, source.type), arrays=9, integers=5)
        for kind in (FLOAT32, FLOAT64)
    }
    for source in SOURCES
}  # fmt: skip


def batch_of(rows: CompressedRows, batch: int, dtype: np.dtype) -> SortedBatch:
    """Arrays for any ``batch`` of these rows; ValueError where they may have too many entries for 32 bits."""
    room = batch * rows.most
    if room > _MOST_ENTRIES:
        raise ValueError(f"a batch may have at most {_MOST_ENTRIES} entries, found {batch} rows of up to {rows.most}")
    groups = -(-rows.features // GROUP)
    return SortedBatch(np.zeros(groups, _PLACE), np.zeros(room, _PLACE), np.zeros((room, GROUP), dtype), batch)


def sort_columns(out: SortedBatch, rows: CompressedRows, indices: np.ndarray) -> None:
    """The chosen rows, sorted by column.

    Args:
        out: as :func:`batch_of` makes it.
        rows: as :func:`compress_rows` makes it.
        indices: (batch,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    values, groups, starts, counts, features, most = rows
    stored, count = matrix_shape("values", values)[0], -(-features // GROUP)
    if values.dtype not in _SORT:
        raise TypeError(f"values must have dtype uint8, float32 or float64, found {values.dtype}")
    kernel = kernel_for(_SORT[values.dtype], "out", out.values)
    check("values", values, values.dtype, (stored, GROUP))
    check("groups", groups, _GROUP, (stored,))
    check("starts", starts, _INDEX, (getattr(starts, "size", 0),))
    check("counts", counts, _PLACE, (starts.size,))
    check("indices", indices, _INDEX, (out.batch,))
    room = _check_batch(out, features, out.values.dtype, check_output)
    if room < out.batch * most:
        raise ValueError(f"out must have room for {out.batch * most} entries, found {room}")
    check_indices(indices, starts.size)
    mean = stored / max(1, starts.size)
    parts = max(1, min(parts_for(_COST * out.batch * mean), count))
    edges = np.empty((parts, out.batch, 2), np.int64)
    arrays = out.ends, out.samples, out.values, edges, values, groups, starts, counts, indices
    launch(kernel, parts, arrays, count, room, out.batch, stored, starts.size)


def _check_batch(x: SortedBatch, features: int, dtype: np.dtype, check: Callable[..., None] = check) -> int:
    """Raise unless the arrays of a sorted batch fit together; return its room."""
    room = matrix_shape("values", x.values)[0]
    check("values", x.values, dtype, (room, GROUP))
    check("samples", x.samples, _PLACE, (room,))
    check("ends", x.ends, _PLACE, (-(-features // GROUP),))
    if room > _MOST_ENTRIES:
        raise ValueError(f"a batch may have at most {_MOST_ENTRIES} entries, found room for {room}")
    return room


# -- The layer -------------------------------------------------------------------------------


def _forward(dtype):
    size = np.dtype(dtype).itemsize

    def sparse_forward_slice(args, t, n):
        # out[batch, columns], z[batch, columns], ends[groups], samples[room], values[room, 4],
        # weight[features, columns], bias[columns], spoiled[1]; batch, columns, features, room, code; slope
        batch, columns, features, room = integer(args, 8), integer(args, 9), integer(args, 10), integer(args, 11)
        code, slope = integer(args, 12), dtype(real(args, 13))
        out, z = array(args, 0, (batch, columns), dtype), array(args, 1, (batch, columns), dtype)
        bias, spoiled = array(args, 6, (columns,), dtype), array(args, 7, (1,), dtype)[0]
        like, step = dtype(0), lanes(dtype(0))
        first, last = part(-(-columns // step), t, n)
        blocks = -(-(last - first) // MOST_VECTORS)
        for block in range(blocks):
            j = (first + (last - first) * block // blocks) * step
            end = min((first + (last - first) * (block + 1) // blocks) * step, columns)
            for i in range(batch):
                z[i, j:end] = bias[j:end] + spoiled
            add_products(
                like, integer(args, 1) + j * size, integer(args, 2), integer(args, 3), integer(args, 4),
                integer(args, 5) + j * size, columns, end - j, features, room, batch,
            )  # fmt: skip
            if code:
                for i in range(batch):
                    activate(out[i, j:end], z[i, j:end], code, slope)

    return sparse_forward_slice


_FORWARD = by_dtype("sparse_forward", _forward, arrays=8, integers=5, reals=1, outputs=(0, 1))


def sparse_forward(
    out: np.ndarray,
    x: SortedBatch,
    weight: np.ndarray,
    bias: np.ndarray,
    spoiled: np.ndarray,
    activation: str = "none",
    slope: float = 0.01,
    z: np.ndarray | None = None,
) -> None:
    """``out = activation(x @ weight + bias + spoiled)``.

    Args:
        out: (batch, out_features), C-contiguous.
        x: as ``sort_columns`` leaves it.
        weight: (in_features, out_features), C-contiguous.
        bias: (out_features,), contiguous.
        spoiled: (1,), 0 while the weights are finite, else NaN.
        activation, slope: see :mod:`fastnn.kernels.activations`.
        z: (batch, out_features), C-contiguous: receives the value before the activation; must be given with one.
    """
    kernel = kernel_for(_FORWARD, "weight", weight)
    code, dtype = activation_code(activation), weight.dtype
    features, columns = matrix_shape("weight", weight)
    check("weight", weight, dtype, (features, columns))
    check("bias", bias, dtype, (columns,))
    check("spoiled", spoiled, dtype, (1,))
    room = _check_batch(x, features, dtype)
    check_output("out", out, dtype, (x.batch, columns))
    if z is None:
        if code:
            raise ValueError("z must be given with an activation")
        z = out
    else:
        check_output("z", z, dtype, (x.batch, columns))
        if not code:
            raise ValueError("z must not be given without an activation")
    arrays = out, z, x.ends, x.samples, x.values, weight, bias, spoiled
    launch(kernel, _parts(room, columns, dtype), arrays, x.batch, columns, features, room, code, slope)


def _parts(room: int, columns: int, dtype: np.dtype) -> int:
    return max(1, min(parts_for(2.0 * room * columns), -(-columns * dtype.itemsize // 64)))


def _update(dtype):
    size = np.dtype(dtype).itemsize

    def sparse_update_slice(args, t, n):
        # weight[features, columns], spoiled[1], ends[groups], samples[room], values[room, 4], error[batch, columns];
        # batch, columns, features, room
        batch, columns, features, room = integer(args, 6), integer(args, 7), integer(args, 8), integer(args, 9)
        like, step = dtype(0), lanes(dtype(0))
        spoiled = array(args, 1, (1,), dtype)
        # Parts are cut as in the forward: each reads from its own cache the weights that it has written.
        first, last = part(-(-columns // step), t, n)
        blocks = -(-(last - first) // MOST_VECTORS)
        for block in range(blocks):
            j = (first + (last - first) * block // blocks) * step
            end = min((first + (last - first) * (block + 1) // blocks) * step, columns)
            found = add_to_rows(
                like, integer(args, 5) + j * size, integer(args, 2), integer(args, 3), integer(args, 4),
                integer(args, 0) + j * size, columns, end - j, features, room, batch,
            )  # fmt: skip
            if found:
                # Whoever writes, writes the same.
                spoiled[0] = np.nan

    return sparse_update_slice


_UPDATE = by_dtype("sparse_update", _update, arrays=6, integers=4, outputs=(0, 1))


def sparse_update(weight: np.ndarray, spoiled: np.ndarray, x: SortedBatch, error: np.ndarray) -> None:
    """``weight += x.T @ error``, in the rows of the weight that have a number in the batch.

    Args:
        weight: (in_features, out_features), C-contiguous.
        spoiled: (1,); set to NaN if a weight has become NaN or infinite.
        x: as ``sort_columns`` leaves it.
        error: (batch, out_features), C-contiguous.
    """
    kernel, dtype = kernel_for(_UPDATE, "weight", weight), weight.dtype
    features, columns = matrix_shape("weight", weight)
    check_output("weight", weight, dtype, (features, columns))
    check_output("spoiled", spoiled, dtype, (1,))
    room = _check_batch(x, features, dtype)
    check("error", error, dtype, (x.batch, columns))
    arrays = weight, spoiled, x.ends, x.samples, x.values, error
    launch(kernel, _parts(room, columns, dtype), arrays, x.batch, columns, features, room)
