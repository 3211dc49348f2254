"""Data sets and the loader that makes batches of them.

A data set of arrays hands out a whole batch at once (``batch``), by one gather; any other is asked
item by item. May import ``tensor``, ``autograd``, ``functions``, ``random`` and ``fastnn.kernels``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.autograd import Node
from fastnn.errors import ShapeError
from fastnn.functions import from_numpy, tensor
from fastnn.random import Generator, default_generator
from fastnn.tensor import Tensor, _recorded, _wrap


class Dataset:
    """Items by number: a subclass defines ``__getitem__``, and ``__len__`` where a loader needs it."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")


class TensorDataset(Dataset):
    """Rows of several tensors together.

    >>> import fastnn
    >>> data = fastnn.utils.data.TensorDataset(fastnn.zeros(5, 2), fastnn.ones(5))
    >>> len(data), data[0]
    (5, (tensor([0., 0.]), tensor(1.)))
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor")
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(f"TensorDataset takes Tensors, found {type(t).__name__}")
            if t._data.ndim == 0 or t._data.shape[0] != tensors[0]._data.shape[0]:
                shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
                raise ValueError(f"Size mismatch between tensors: first dimensions must agree, found shapes {shapes}")
        self.tensors = tensors

    def __len__(self) -> int:
        return self.tensors[0]._data.shape[0]

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple([t[index] for t in self.tensors])

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, ...]:
        """The rows of these numbers, of every tensor."""
        indices = _positions(indices, len(self))
        return tuple([t[indices] if _recorded(t) else _wrap(_rows(t._data, indices)) for t in self.tensors])


class ImageDataset(Dataset):
    """Images of bytes, kept as bytes; an item or batch is float32, scaled to [0, 1] and normalized.

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
        pixels = int(np.prod(images.shape[1:], dtype=np.int64))
        self.images = np.ascontiguousarray(images).reshape(images.shape[0], pixels)
        self.labels = labels.astype(np.int64)
        self.scale, self.shift = 1.0 / (255.0 * std), -mean / std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.batch([index])
        return x[0], y[0]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """The images and labels of these numbers: (batch, pixels) float32 and (batch,) int64."""
        indices = _positions(indices, len(self))
        out = np.empty((indices.size, self.images.shape[1]), np.float32)
        kernels.gather(out, self.images, indices, self.scale, self.shift)
        return _wrap(out), _wrap(self.labels[indices])


def _positions(indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Indices as int64, with those from the end counted from the start; IndexError for one out of range."""
    result = np.array(indices, dtype=np.int64)
    result[result < 0] += count
    if result.size and not 0 <= result.min() <= result.max() < count:
        raise IndexError(f"indices must be in [{-count}, {count}), found {indices}")
    return result


def _rows(data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    if data.dtype != np.float32 or data.ndim < 2 or not data.flags.c_contiguous:
        return data[indices]
    features = int(np.prod(data.shape[1:], dtype=np.int64))
    out = np.empty((indices.size, features), np.float32)
    kernels.gather(out, data.reshape(data.shape[0], features), indices)
    return out.reshape(indices.size, *data.shape[1:])


def default_collate(items: Sequence[Any]) -> Any:
    """One batch of a list of items: numbers and arrays become tensors, tensors are stacked.

    >>> import fastnn
    >>> fastnn.utils.data.default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=fastnn.float64)]
    """
    first = items[0]
    if isinstance(first, Tensor):
        stacked = _stack([item._data for item in items])
        if not _recorded(*items):
            return stacked
        return _wrap(stacked._data, Node("Stack", tuple(items), tuple))
    if isinstance(first, (np.ndarray, np.generic)):
        return _stack(items)
    if isinstance(first, bool):
        return tensor(list(items))
    if isinstance(first, float):
        return _wrap(np.array(items, np.float64))
    if isinstance(first, int):
        return tensor(list(items))
    if isinstance(first, (str, bytes)):
        return items
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in items):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*items, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first).__name__}"
    )


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    try:
        return from_numpy(np.stack(arrays))
    except ValueError:
        shapes = sorted({np.shape(a) for a in arrays})
        raise ShapeError(f"stack expects each tensor to be equal size, but got shapes {shapes}") from None


def default_convert(item: Any) -> Any:
    """An item that is not part of a batch: its arrays become tensors, all else stays what it is.

    >>> import fastnn, numpy as np
    >>> fastnn.utils.data.default_convert((np.ones(1, np.float32), "a"))
    [tensor([1.]), 'a']
    """
    if isinstance(item, (np.ndarray, np.generic)):
        return item if item.dtype.kind in "SU" else from_numpy(np.asarray(item))
    if isinstance(item, Mapping):
        return {key: default_convert(value) for key, value in item.items()}
    if isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
        values = [default_convert(value) for value in item]
        return type(item)(*values) if hasattr(item, "_fields") else values
    return item


class DataLoader:
    """Batches of a data set, in order or shuffled, as often as they are asked for.

    Args:
        dataset: anything with ``__getitem__`` and ``__len__``.
        batch_size: items in a batch; None gives single items.
        shuffle: a new order for each pass, drawn from ``generator`` or the default one.
        sampler: an iterable of indices instead of ``shuffle``.
        batch_sampler: an iterable of lists of indices instead of all of these.
        num_workers, pin_memory, timeout, worker_init_fn, prefetch_factor, persistent_workers:
            accepted and not needed: a batch is one kernel in this process.
        collate_fn: makes a batch of a list of items.
        drop_last: leave out a last batch that is smaller.
        generator: source of the random order.

    >>> import fastnn
    >>> data = fastnn.utils.data.TensorDataset(fastnn.tensor([1, 2, 3]))
    >>> [batch for batch, in fastnn.utils.data.DataLoader(data, batch_size=2)]
    [tensor([1, 2]), tensor([3])]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if shuffle and batch_sampler is None and not len(dataset):
            raise ValueError("num_samples should be a positive integer value, but got num_samples=0")
        if num_workers < 0:
            raise ValueError(f"num_workers option should be non-negative, found {num_workers}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, drop_last")
        if batch_size is not None:
            if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
                raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        elif drop_last:
            raise ValueError("batch_size=None disables batching and is mutually exclusive with drop_last")
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.shuffle, self.sampler, self.batch_sampler = bool(shuffle), sampler, batch_sampler
        self.num_workers, self.pin_memory, self.generator = num_workers, pin_memory, generator
        self.collate_fn = collate_fn

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]  # TypeError where it has no length, as in PyTorch
        count = len(self.dataset) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_size is None:
            for index in _as_python(self._order()):
                yield (self.collate_fn or default_convert)(self.dataset[index])
            return
        at_once = self.collate_fn is None and _gives_batches(self.dataset)
        for indices in self._batches():
            if at_once:
                yield list(self.dataset.batch(indices))
            else:
                yield (self.collate_fn or default_collate)([self.dataset[i] for i in _as_python(indices)])

    def _order(self) -> Any:
        if self.sampler is not None:
            return list(self.sampler)
        count = len(self.dataset)
        if self.shuffle:
            return (self.generator or default_generator()).permutation(count)
        return np.arange(count)

    def _batches(self) -> Iterator[Any]:
        if self.batch_sampler is not None:
            yield from self.batch_sampler
            return
        order, size = self._order(), self.batch_size
        assert size is not None
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            if len(indices) == size or not self.drop_last:
                yield indices


def _as_python(indices: Any) -> Any:
    # A sampler's own indices need not be numbers, and go to the data set as they are.
    return indices.tolist() if isinstance(indices, np.ndarray) else indices


def _gives_batches(dataset: Any) -> bool:
    """Whether ``batch`` hands out the items that indexing would: not where a subclass indexes otherwise."""
    return any(
        isinstance(dataset, kind) and type(dataset).__getitem__ is kind.__getitem__
        for kind in (TensorDataset, ImageDataset)
    )
