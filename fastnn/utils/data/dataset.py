"""Data sets: items by index, or iterable.

A data set that can read many items at once as arrays defines ``_batch_reader``, which :func:`batch_reader` calls.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from fastnn import kernels
from fastnn._core.errors import MismatchError, NoTensorError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.random import Generator, default_generator

T_co = TypeVar("T_co", covariant=True)
# Maps indices to the batch that collating these items would give; None if there is no fast path.
Reader = Callable[[np.ndarray], Any]


class Dataset(Generic[T_co]):
    """Items by index: a subclass defines ``__getitem__``, and ``__len__`` if a loader needs it.

    ``a + b`` concatenates the items.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Any) -> Any:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Items by iteration: a subclass must define ``__iter__`` to be instantiated.

    ``a + b`` concatenates the items.
    """

    def __add__(self, other: Any) -> ChainDataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of several tensors together.

    Raises: IndexError for a tensor without dimensions, and by ``len`` for no tensors; ValueError for tensors whose
        first dimensions differ.

    >>> import fastnn
    >>> data = fastnn.utils.data.TensorDataset(fastnn.zeros(5, 2), fastnn.ones(5))
    >>> len(data), data[0]
    (5, (tensor([0., 0.]), tensor(1.)))
    """

    def __init__(self, *tensors: Tensor) -> None:
        for t in tensors:
            if not isinstance(t, Tensor):
                raise NoTensorError(f"TensorDataset takes Tensors, found {type(t).__name__}")
            if t._data.ndim == 0:
                raise IndexError("TensorDataset takes tensors with a dimension of rows, found one without dimensions")
            if t._data.shape[0] != tensors[0]._data.shape[0]:
                shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
                raise MismatchError(
                    f"Size mismatch between tensors: first dimensions must agree, found shapes {shapes}"
                )
        self.tensors = tensors

    def __len__(self) -> int:
        return self.tensors[0]._data.shape[0]

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple([t[index] for t in self.tensors])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, ...]:
        """The rows with these indices, of every tensor."""
        positions = _positions(indices, len(self))
        return tuple([_tensor_rows(t, positions) for t in self.tensors])

    def _batch_reader(self) -> Reader:
        return lambda indices: list(self.batch(indices))


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images stored as bytes; an item or batch is float32, scaled to [0, 1] and normalized.

    Args:
        images: (n, ...) uint8 array.
        labels: (n,) integer array.
        mean, std: of the scaled pixels; an item is ``(image / 255 - mean) / std``, flattened.

    >>> import numpy as np
    >>> from fastnn.utils.data import ImageDataset
    >>> images = np.full((3, 2, 2), 255, np.uint8)
    >>> ImageDataset(images, np.arange(3))[1]
    (tensor([1., 1., 1., 1.]), tensor(1))
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: float = 0.0, std: float = 1.0) -> None:
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim < 2:
            found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            raise TypeError(f"images must be a uint8 array of shape (n, ...), found {found}")
        labels = np.asarray(labels)
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be {images.shape[0]} integers, found dtype {labels.dtype} and shape {labels.shape}"
            )
        if not std > 0:
            raise ValueError(f"std must be positive, found {std}")
        self.images = np.ascontiguousarray(images).reshape(images.shape[0], math.prod(images.shape[1:]))
        self.labels = labels.astype(np.int64)
        self.scale, self.shift = 1.0 / (255.0 * std), -mean / std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.batch([index])
        return x[0], y[0]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """The images and labels with these indices: (batch, pixels) float32 and (batch,) int64."""
        positions = _positions(indices, len(self))
        return scaled_rows(self.images, positions, self.scale, self.shift), _wrap(self.labels[positions])

    def _batch_reader(self) -> Reader:
        return lambda indices: list(self.batch(indices))


class Subset(Dataset[T_co]):
    """Some items of a data set, in a given order.

    >>> from fastnn.utils.data import Subset
    >>> list(Subset("abcde", [4, 0]))
    ['e', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The items with these indices."""
        wanted = [self.indices[i] for i in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(wanted)
        return [self.dataset[i] for i in wanted]

    def _batch_reader(self) -> Reader | None:
        read, numbers = batch_reader(self.dataset), as_numbers(self.indices)
        if read is None or numbers is None:
            return None
        return lambda indices: read(numbers[_positions(indices, len(numbers))])


class ConcatDataset(Dataset[T_co]):
    """The concatenated items of several data sets.

    Raises: ValueError for no data sets, and for one without indexed items.

    >>> from fastnn.utils.data import ConcatDataset
    >>> list(ConcatDataset(["ab", "c"]))
    ['a', 'b', 'c']
    """

    datasets: list[Any]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise MismatchError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise MismatchError(
                f"ConcatDataset does not support IterableDataset, found {[type(d).__name__ for d in self.datasets]}"
            )
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            if -index > len(self):
                size = len(self)
                raise ValueError(f"absolute value of index should not exceed dataset length, {size}, found {index}")
            index += len(self)
        elif index >= len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} items")
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def _batch_reader(self) -> Reader | None:
        readers = [batch_reader(d) for d in self.datasets]
        ends = np.array(self.cumulative_sizes)
        starts = np.concatenate([[0], ends[:-1]])

        def read(indices: np.ndarray) -> Any:
            positions = _positions(indices, len(self))
            which = np.searchsorted(ends, positions, side="right")
            parts, places = [], []
            for k in np.unique(which):
                (place,) = np.nonzero(which == k)
                reader = readers[k]
                assert reader is not None
                parts.append(reader(positions[place] - starts[k]))
                places.append(place)
            return _interleave(parts, np.argsort(np.concatenate(places or [positions])))

        return None if any(r is None for r in readers) else read


class ChainDataset(IterableDataset[T_co]):
    """The concatenated items of several iterable data sets."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def _checked(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise MismatchError(f"ChainDataset only supports IterableDataset, found {type(d).__name__}")
            yield d

    def __iter__(self) -> Iterator[Any]:
        for d in self._checked():
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self._checked())


class StackDataset(Dataset[Any]):
    """Items of several data sets combined: tuples, or dictionaries if the sets are named.

    Raises: ValueError for no data sets, for positional and named ones together, and for different lengths.

    >>> from fastnn.utils.data import StackDataset
    >>> StackDataset("ab", [1, 2])[1], StackDataset(x="ab", y=[1, 2])[0]
    (('b', 2), {'x': 'a', 'y': 1})
    """

    datasets: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError(
                "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like input, found both"
            )
        if not args and not kwargs:
            raise ValueError("At least one dataset should be passed, found none")
        self.datasets = args or kwargs
        lengths = {len(d) for d in (args or kwargs.values())}
        if len(lengths) > 1:
            raise ValueError(f"Size mismatch between datasets: found lengths {sorted(lengths)}")
        self._length = lengths.pop()

    def _each(self, read: Callable[[Any], Any]) -> Any:
        if isinstance(self.datasets, dict):
            return {name: read(d) for name, d in self.datasets.items()}
        return tuple([read(d) for d in self.datasets])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self._each(lambda d: d[index])

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        """The items at several indices; one call of each data set that has such a method, too."""

        def read(d: Any) -> Any:
            found = d.__getitems__(indices) if callable(getattr(d, "__getitems__", None)) else [d[i] for i in indices]
            if len(found) != len(indices):
                raise ValueError(f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(found)}")
            return found

        columns = self._each(read)
        if isinstance(columns, dict):
            return [{name: column[i] for name, column in columns.items()} for i in range(len(indices))]
        return list(zip(*columns, strict=True))

    def _batch_reader(self) -> Reader | None:
        readers = self._each(batch_reader)
        if isinstance(readers, dict):
            if None in readers.values():
                return None
            return lambda indices: {name: r(indices) for name, r in readers.items()}
        return None if None in readers else lambda indices: [r(indices) for r in readers]


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset[Any]]:
    """Split a data set at random into disjoint subsets.

    Args:
        dataset: anything with a length.
        lengths: the sizes of the subsets; or fractions that sum to one: sizes are rounded down, and the
            remaining items go to the first subsets, one each.
        generator: source of the order, by default the shared one.

    Raises: ValueError for fractions outside [0, 1], and for lengths that do not sum to the number of items.

    >>> from fastnn.utils.data import random_split
    >>> [len(part) for part in random_split(range(10), [0.75, 0.25])]
    [8, 2]
    """
    counts: list[Any] = list(lengths)
    total = sum(counts)
    if math.isclose(total, 1) and total <= 1:
        size = len(dataset)
        for i, fraction in enumerate(counts):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1, found {fraction}")
        counts = [math.floor(size * fraction) for fraction in counts]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                message = f"Length of split at index {i} is 0. This might result in an empty dataset."
                warnings.warn(message, stacklevel=2)
    if sum(counts) != len(dataset):
        raise ValueError(
            "Sum of input lengths does not equal the length of the input dataset! Found "
            f"{sum(counts)}, expected {len(dataset)}"
        )
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a Generator or None, found {type(generator).__name__}")
    order = (generator or default_generator()).permutation(len(dataset)).tolist()
    ends = list(itertools.accumulate(int(c) for c in counts))
    return [Subset(dataset, order[end - int(count) : end]) for count, end in zip(counts, ends, strict=True)]


def batch_reader(dataset: Any) -> Reader | None:
    """A function that reads many items at once; None if they must be read one by one.

    Also None if a subclass overrides the items, which may then differ from the arrays.
    """
    if isinstance(dataset, Tensor):
        return lambda indices: _tensor_rows(dataset, _positions(indices, len(dataset)))
    if type(dataset) is np.ndarray and dataset.ndim and dataset.dtype.kind in "fiub":
        if min(dataset.strides[1:], default=0) < 0 or not dataset.dtype.isnative:
            # Its items are rejected individually.
            return None
        return lambda indices: _wrap(_rows(dataset, _positions(indices, len(dataset))))
    kind = type(dataset)
    where = {name: _defined_in(kind, name) for name in ("_batch_reader", "__getitem__", "__getitems__")}
    if where["_batch_reader"] is None or where["_batch_reader"] is not where["__getitem__"]:
        return None
    if where["__getitems__"] not in (None, where["_batch_reader"]):
        return None
    return dataset._batch_reader()


def _defined_in(kind: type, name: str) -> type | None:
    return next((c for c in kind.__mro__ if name in c.__dict__), None)


def as_numbers(indices: Any) -> np.ndarray | None:
    """Indices as an int64 array; None unless they are a sequence of integers."""
    if isinstance(indices, Tensor):
        indices = indices._data
    try:
        array = np.asarray(indices)
    except (TypeError, ValueError):
        return None
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        return None
    return array.astype(np.int64, copy=False)


def _positions(indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Indices as int64, with negative ones resolved; IndexError for one out of range."""
    result = np.asarray(indices, dtype=np.int64)
    # Negative indices are large as unsigned numbers, so one check suffices for valid indices.
    if not result.size or int(result.view(np.uint64).max()) < count:
        return result
    result = np.where(result < 0, result + count, result)
    if result.size and not 0 <= result.min() <= result.max() < count:
        raise IndexError(f"indices must be in [{-count}, {count}), found {indices}")
    return result


def _tensor_rows(t: Tensor, positions: np.ndarray) -> Tensor:
    return t[_wrap(positions)] if _recorded(t) or t._data.dtype.kind == "c" else _wrap(_rows(t._data, positions))


def _rows(data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    if data.dtype != np.float32 or data.ndim < 2 or not data.flags.c_contiguous:
        return data[indices]
    features = math.prod(data.shape[1:])
    out = allocation.empty((indices.size, features), np.float32)
    kernels.gather(out, data.reshape(data.shape[0], features), indices)
    return out.reshape(indices.size, *data.shape[1:])


def scaled_rows(images: np.ndarray, positions: np.ndarray, scale: float, shift: float) -> Tensor:
    """Rows of a matrix of bytes as float32, times ``scale`` plus ``shift``, in one pass."""
    out = allocation.empty((positions.size, images.shape[1]), np.float32)
    kernels.gather(out, images, positions, scale, shift)
    return _wrap(out)


def _interleave(parts: list[Any], order: np.ndarray) -> Any:
    """Batches concatenated, then their rows put in ``order``; None if they do not match."""
    if not parts or any(type(p) is not type(parts[0]) for p in parts):
        return None
    if isinstance(parts[0], list):
        if any(len(p) != len(parts[0]) for p in parts):
            return None
        columns = [_interleave(list(column), order) for column in zip(*parts, strict=True)]
        return None if any(c is None for c in columns) else columns
    if not isinstance(parts[0], Tensor) or _recorded(*parts):
        return None
    first = parts[0]._data
    if any(p._data.dtype != first.dtype or p._data.shape[1:] != first.shape[1:] for p in parts):
        return None
    return _wrap(np.concatenate([p._data for p in parts])[order])
