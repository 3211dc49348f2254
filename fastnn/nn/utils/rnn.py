"""Sequences of different lengths in one tensor under the names of ``torch.nn.utils.rnn``.

A padded tensor is (T, B, ...), or (B, T, ...) with ``batch_first``. A packed one has the items of all sequences
without padding: all first ones, then all second ones, the longest sequence first. All of it is differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn._core.dtypes import int64
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.ops.creation import as_tensor, full
from fastnn.ops.joining import cat

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Packed sequences, as :func:`pack_padded_sequence` makes them.

    Args:
        data: (N, ...), the items of all sequences.
        batch_sizes: int64 (T,), how many sequences have an item at each time.
        sorted_indices: the permutation from the given order to that of decreasing lengths, None if there is none.
        unsorted_indices: its inverse, by default computed.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            # PyTorch's older form: one pair.
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with ``data.to(*args, **kwargs)``."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self) -> PackedSequence:
        """Itself."""
        return self

    def pin_memory(self) -> PackedSequence:
        """Itself."""
        return self

    def float(self) -> PackedSequence:
        """The same in float32."""
        return type(self)(self.data.float(), *self[1:])

    def double(self) -> PackedSequence:
        """The same in float64."""
        return type(self)(self.data.double(), *self[1:])

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def is_pinned(self) -> bool:
        """False."""
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The inverse of a permutation, None for None.

    >>> import fastnn
    >>> invert_permutation(fastnn.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    return None if permutation is None else _wrap(np.argsort(permutation._data).astype(np.int64))


def _lengths(lengths: Any) -> np.ndarray:
    found = np.asarray(as_tensor(lengths, dtype=int64)._data)
    if found.ndim != 1:
        raise ValueError(f"lengths must have one dimension, found {found.ndim}")
    return found


def _gathered(rows: Tensor, index: np.ndarray, padding_value: float) -> Tensor:
    """``rows[index]``; an index of ``len(rows)`` is a row of the padding value."""
    if (index == len(rows)).any():
        rows = cat([rows, full((1, *rows.shape[1:]), padding_value, dtype=rows.dtype)])
    return rows.index_select(0, _wrap(index.reshape(-1))).reshape(*index.shape, *rows.shape[1:])


def pad_sequence(
    sequences: Tensor | Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """One tensor of sequences of different lengths, the shorter ones padded.

    Args:
        sequences: of shapes (L, ...), equal but for L.
        batch_first: return (B, T, ...) instead of (T, B, ...).
        padding_value: of the padding.
        padding_side: "right" or "left".

    Raises: RuntimeError if there are no sequences or their shapes differ; ValueError for another side.

    >>> import fastnn
    >>> pad_sequence([fastnn.tensor([1, 2]), fastnn.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', found {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences, expected at least one")
    rows = cat(sequences)
    lengths = np.array([len(sequence) for sequence in sequences])
    time, start = np.arange(lengths.max()), np.cumsum(lengths) - lengths
    at = time if padding_side == "right" else time - (lengths.max() - lengths)[:, None]
    index = np.where((at >= 0) & (at < lengths[:, None]), start[:, None] + at, len(rows))
    return _gathered(rows, index if batch_first else index.T, padding_value)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor.

    >>> import fastnn
    >>> unpad_sequence(fastnn.tensor([[1, 2], [3, 0]]), fastnn.tensor([2, 1]), batch_first=True)
    [tensor([1, 2]), tensor([3])]
    """
    padded = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [sequence[:length] for sequence, length in zip(padded, _lengths(lengths).tolist(), strict=False)]


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The items of a padded tensor without the padding.

    Args:
        input: (T, B, ...), or (B, T, ...) with ``batch_first``.
        lengths: (B,), each from 1 to T.
        batch_first: see above.
        enforce_sorted: False sorts the sequences by length; True requires that they are.

    Raises: RuntimeError for lengths that are not positive, not sorted, or not one for each sequence; ValueError for
        one that is longer than T.

    >>> import fastnn
    >>> pack_padded_sequence(fastnn.tensor([[1, 2], [3, 0]]), [2, 1], batch_first=True)[:2]
    (tensor([1, 3, 2]), tensor([2, 1]))
    """
    sizes = _lengths(lengths)
    padded = input.transpose(0, 1) if batch_first else input
    steps, batch = padded.shape[:2]
    if len(sizes) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={batch})"
        )
    if not batch or sizes.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0: "
            f"{sizes.tolist()}"
        )
    if sizes.max() > steps:
        raise ValueError(f"lengths must be at most {steps}, the padded length, found {sizes.max()}")
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes, padded = sizes[order], padded.index_select(1, _wrap(order))
    elif (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement. Found "
            f"{sizes.tolist()}"
        )
    present = np.arange(sizes[0])[:, None] < sizes
    rows = padded.reshape(steps * batch, *padded.shape[2:]).index_select(0, _wrap(np.flatnonzero(present)))
    return PackedSequence(rows, _wrap(present.sum(1)), None if order is None else _wrap(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded tensor of packed sequences, in the order in which they were given, and their lengths.

    Args:
        sequence: from :func:`pack_padded_sequence` or :func:`pack_sequence`.
        batch_first: return (B, T, ...) instead of (T, B, ...).
        padding_value: of the padding.
        total_length: T, by default the longest length.

    Raises: ValueError for a ``total_length`` below the longest length.
    """
    sizes = _lengths(sequence.batch_sizes)
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        sizes = np.concatenate([sizes, np.zeros(total_length - steps, np.int64)])
    batch = np.arange(sizes[0])
    index = np.where(batch < sizes[:, None], (np.cumsum(sizes) - sizes)[:, None] + batch, len(sequence.data))
    lengths = (batch < sizes[:, None]).sum(0)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices._data
        index, lengths = index[:, order], lengths[order]
    padded = _gathered(sequence.data, np.ascontiguousarray(index.T if batch_first else index), padding_value)
    return padded, _wrap(lengths)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packed sequences from a list of them, of shapes (L, ...).

    >>> import fastnn
    >>> pack_sequence([fastnn.tensor([1, 2]), fastnn.tensor([3])]).data
    tensor([1, 3, 2])
    """
    lengths = [len(sequence) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that were packed."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)
