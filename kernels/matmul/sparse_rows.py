"""Rows of a mostly-zero data set: compressed once, then sorted by column for each batch.

``sparse_linear`` is the layer for such a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.kernels.llvm.sparse_tile import PAIR
from fastnn.kernels.rows.take_rows import SOURCES, ask_for, check_indices
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import (
    FLOAT32,
    FLOAT64,
    INT64,
    Kernel,
    Words,
    array,
    inline,
    integer,
    part,
    pointer,
)
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import atomic_add, load_acquire
from fastnn.kernels.runtime.thread_count import chunks_for

_NUMBER, _PLACE = np.dtype(np.uint16), np.dtype(np.int32)
_MOST_PAIRS, _MOST_ENTRIES = 2**16, 2**31 - 1
# Rows that are compressed before space for them is claimed.
_CHUNK = 8
# Operations to sort one entry.
_COST = 8


class CompressedRows(NamedTuple):
    """A matrix without its zeros: the two numbers of each pair of columns 2k, 2k + 1, unless both are zero.

    Neighbours are often both zero or both nonzero, and two at a time cost little more than one: see ``sparse_tile``.

    Attributes:
        values: (entries, 2), row by row; the rows in any order. 0 for a column that the matrix does not have.
        pairs: (entries,) uint16, the k of each entry, ascending within a row.
        starts: (rows,) int64, the first entry of each row.
        counts: (rows,) int32, the number of entries of each row.
        features: columns of the matrix.
        most: the largest of ``counts``.
    """

    values: np.ndarray
    pairs: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    features: int
    most: int


class SortedBatch(NamedTuple):
    """Rows sorted by column: the entries of pair k are those from ``ends[k - 1]`` (0 for the first) to ``ends[k]``.

    Attributes:
        ends: (pairs,) int32.
        samples: (room,) int32, the row of each entry, ascending within a pair.
        values: (room, PAIR) float32 or float64.
        batch: rows.
    """

    ends: np.ndarray
    samples: np.ndarray
    values: np.ndarray
    batch: int


# -- Compression -----------------------------------------------------------------------------


@inline
def _pack_row(values, pairs, at, row, bits, sign):
    """Append the pairs of ``row`` that are not zero; return the index for the next one."""
    features, zero = row.size, bits[0] ^ bits[0]
    whole = features - features % PAIR
    for j in range(0, whole, PAIR):
        some = zero
        for g in range(PAIR):
            some |= bits[j + g]
            values[at, g] = row[j + g]
        pairs[at] = j // PAIR
        # Compare bits without the sign: NaN is nonzero, and -0.0 is zero.
        at += some & ~sign != zero
    if whole < features:
        some = zero
        for g in range(PAIR):
            values[at, g] = values.dtype.type(0)
            if whole + g < features:
                some |= bits[whole + g]
                values[at, g] = row[whole + g]
        pairs[at] = whole // PAIR
        at += some & ~sign != zero
    return at


_COMPRESS_WORDS = Words("values pairs starts counts state packed places data; room rows features size")


def _compress(source):
    word = {1: np.uint8, 4: np.uint32, 8: np.uint64}[np.dtype(source).itemsize]
    sign = word(0) if source is np.uint8 else word(1 << 8 * np.dtype(source).itemsize - 1)

    def compress_slice(args, t, n):
        # values[room, 2], pairs[room], starts[rows], counts[rows], state[2], packed[n, size, 2], places[n, size],
        # data[rows, features]
        room, rows = integer(args, _COMPRESS_WORDS.room), integer(args, _COMPRESS_WORDS.rows)
        features, size = integer(args, _COMPRESS_WORDS.features), integer(args, _COMPRESS_WORDS.size)
        values = array(args, _COMPRESS_WORDS.values, (room, PAIR), source)
        pairs = array(args, _COMPRESS_WORDS.pairs, (room,), np.uint16)
        starts = array(args, _COMPRESS_WORDS.starts, (rows,), np.int64)
        counts = array(args, _COMPRESS_WORDS.counts, (rows,), np.int32)
        state = integer(args, _COMPRESS_WORDS.state)
        packed = array(args, _COMPRESS_WORDS.packed, (n, size, PAIR), source)[t]
        places = array(args, _COMPRESS_WORDS.places, (n, size), np.uint16)[t]
        data = array(args, _COMPRESS_WORDS.data, (rows, features), source)
        bits = array(args, _COMPRESS_WORDS.data, (rows, features), word)
        first, last = part(-(-rows // _CHUNK), t, n)
        for chunk in range(first, last):
            if load_acquire(state, 1):
                break
            top, end, at = chunk * _CHUNK, min(rows, (chunk + 1) * _CHUNK), 0
            for i in range(top, end):
                before = at
                if features:
                    at = _pack_row(packed, places, at, data[i], bits[i], sign)
                starts[i], counts[i] = before, at - before
            start = atomic_add(state, 0, at)
            if start + at > room:
                atomic_add(state, 1, 1)
                break
            values[start : start + at] = packed[:at]
            pairs[start : start + at] = places[:at]
            for i in range(top, end):
                starts[i] += start

    return compress_slice


_COMPRESS = {
    source: Kernel(f"compress_rows.{source.name}", _compress(source.type), _COMPRESS_WORDS) for source in SOURCES
}


def compress_rows(data: np.ndarray, share: float) -> CompressedRows | None:
    """``data`` without its zeros; None if more than ``share`` of its pairs of columns are not zero, or if the index
    of a pair needs more than two bytes. -0.0 counts as zero, NaN does not.

    Args:
        data: (rows, features) uint8, float32 or float64, C-contiguous.
        share: in [0, 1].
    """
    rows, features = matrix_shape("data", data)
    kernel = kernel_for(_COMPRESS, "data", data)
    check("data", data, data.dtype, (rows, features))
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], found {share}")
    count = -(-features // PAIR)
    if count > _MOST_PAIRS:
        return None
    room = int(share * rows * count)
    values, pairs = allocation.empty((room, PAIR), data.dtype), allocation.empty(room, _NUMBER)
    starts, counts = allocation.empty(rows, INT64), allocation.empty(rows, _PLACE)
    # The number of entries so far, and whether they are too many.
    state = np.zeros(2, np.int64)
    parts = max(1, min(chunks_for(2.0 * data.size), -(-rows // _CHUNK)))
    # One more than the maximum, as a pair is written before it is known to be zero.
    size = _CHUNK * count + 1
    packed, places = allocation.empty((parts, size, PAIR), data.dtype), allocation.empty((parts, size), _NUMBER)
    arrays = values, pairs, starts, counts, state, packed, places, data
    launch(kernel, parts, arrays, room, rows, features, size)
    if state[1]:
        return None
    used = int(state[0])
    return CompressedRows(values[:used], pairs[:used], starts, counts, features, int(counts.max(initial=0)))


# -- A batch, sorted by column ---------------------------------------------------------------


@inline
def _first_at(pairs, first, last, pair):
    """The index of the first number in ``pairs[first:last]`` (ascending) that is not below ``pair``."""
    while first < last:
        middle = (first + last) // 2
        if pairs[middle] < pair:
            first = middle + 1
        else:
            last = middle
    return first


_SORT_WORDS = Words("ends samples out edges values pairs starts counts indices; count room batch stored rows")


def _sort(kind, source):
    size = np.dtype(source).itemsize

    def sort_columns_slice(args, t, n):
        # ends[count], samples[room], out[room, 2], edges[n, batch, 2], values[stored, 2], pairs[stored],
        # starts[rows], counts[rows], indices[batch]
        count, room = integer(args, _SORT_WORDS.count), integer(args, _SORT_WORDS.room)
        batch = integer(args, _SORT_WORDS.batch)
        stored, rows = integer(args, _SORT_WORDS.stored), integer(args, _SORT_WORDS.rows)
        ends = array(args, _SORT_WORDS.ends, (count,), np.int32)
        samples = array(args, _SORT_WORDS.samples, (room,), np.int32)
        out = array(args, _SORT_WORDS.out, (room, PAIR), kind)
        edges = array(args, _SORT_WORDS.edges, (n, batch, 2), np.int64)[t]
        values = array(args, _SORT_WORDS.values, (stored, PAIR), source)
        pairs = array(args, _SORT_WORDS.pairs, (stored,), np.uint16)
        starts = array(args, _SORT_WORDS.starts, (rows,), np.int64)
        counts = array(args, _SORT_WORDS.counts, (rows,), np.int32)
        indices = array(args, _SORT_WORDS.indices, (batch,), np.int64)
        first_value = pointer(args, _SORT_WORDS.values, source(0))
        first_pair = pointer(args, _SORT_WORDS.pairs, np.uint16(0))
        # A part sorts the entries of a range of pairs, which begin after those of all smaller pairs.
        lo, hi = part(count, t, n)
        for i in range(batch):
            index, first, last = indices[i], 0, 0
            # Indices were checked before the launch; they are checked again here, like all values read from arrays.
            if 0 <= index < rows:
                first = starts[index]
                last = first + counts[index]
                if not 0 <= first <= last <= stored:
                    first = last = 0
            edges[i, 0], edges[i, 1] = first, last
            # The rows are unlikely to be in a cache.
            ask_for(first_pair, first, last - first, 2)
        at = 0
        for k in range(lo, hi):
            ends[k] = 0
        for i in range(batch):
            start, last = edges[i, 0], edges[i, 1]
            first = start
            if lo > 0:
                first = _first_at(pairs, start, last, lo)
            if hi < count:
                last = _first_at(pairs, first, last, hi)
            at += first - start
            edges[i, 0], edges[i, 1] = first, last
            ask_for(first_value, PAIR * first, PAIR * (last - first), size)
            for p in range(first, last):
                k = pairs[p]
                if lo <= k < hi:
                    ends[k] += 1
        for k in range(lo, hi):
            found = ends[k]
            ends[k] = at
            at += found
        for i in range(batch):
            for p in range(edges[i, 0], edges[i, 1]):
                k = pairs[p]
                if lo <= k < hi:
                    place = ends[k]
                    if 0 <= place < room:
                        samples[place] = i
                        for g in range(PAIR):
                            out[place, g] = kind(values[p, g])
                        ends[k] = place + 1

    return sort_columns_slice


_SORT = {
    source: {
        kind: Kernel(f"sort_columns.{source.name}.{kind.name}", _sort(kind.type, source.type), _SORT_WORDS)
        for kind in (FLOAT32, FLOAT64)
    }
    for source in SOURCES
}  # fmt: skip


def batch_of(rows: CompressedRows, batch: int, dtype: np.dtype) -> SortedBatch:
    """Arrays for any ``batch`` of these rows; ValueError if they may have too many entries for 32 bits."""
    room = batch * rows.most
    if room > _MOST_ENTRIES:
        raise ValueError(f"a batch may have at most {_MOST_ENTRIES} entries, found {batch} rows of up to {rows.most}")
    pairs = -(-rows.features // PAIR)
    return SortedBatch(np.zeros(pairs, _PLACE), np.zeros(room, _PLACE), np.zeros((room, PAIR), dtype), batch)


def sort_columns(out: SortedBatch, rows: CompressedRows, indices: np.ndarray) -> None:
    """The chosen rows, sorted by column.

    Args:
        out: from :func:`batch_of`.
        rows: from :func:`compress_rows`.
        indices: (batch,) int64, each in [0, rows).

    Raises: IndexError for an index out of range, before anything is written.
    """
    values, pairs, starts, counts, features, most = rows
    stored, count = matrix_shape("values", values)[0], -(-features // PAIR)
    kernel = kernel_for(kernel_for(_SORT, "values", values), "out", out.values)
    check("values", values, values.dtype, (stored, PAIR))
    check("pairs", pairs, _NUMBER, (stored,))
    check("starts", starts, INT64, (getattr(starts, "size", 0),))
    check("counts", counts, _PLACE, (starts.size,))
    check("indices", indices, INT64, (out.batch,))
    room = check_batch(out, features, out.values.dtype, check_output)
    if room < out.batch * most:
        raise ValueError(f"out must have room for {out.batch * most} entries, found {room}")
    check_indices(indices, starts.size)
    mean = stored / max(1, starts.size)
    parts = max(1, min(chunks_for(_COST * out.batch * mean), count))
    edges = allocation.empty((parts, out.batch, 2), np.int64)
    arrays = out.ends, out.samples, out.values, edges, values, pairs, starts, counts, indices
    launch(kernel, parts, arrays, count, room, out.batch, stored, starts.size)


def check_batch(x: SortedBatch, features: int, dtype: np.dtype, check: Callable[..., None] = check) -> int:
    """Raise unless the arrays of a sorted batch fit together; return the entries it has space for."""
    room = matrix_shape("values", x.values)[0]
    check("values", x.values, dtype, (room, PAIR))
    check("samples", x.samples, _PLACE, (room,))
    check("ends", x.ends, _PLACE, (-(-features // PAIR),))
    if room > _MOST_ENTRIES:
        raise ValueError(f"a batch may have at most {_MOST_ENTRIES} entries, found room for {room}")
    return room
