"""The loader: repeatable passes over a data set in batches, in order or shuffled."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np

from fastnn._core.errors import MismatchError
from fastnn.random import Generator
from fastnn.utils.data.collate import default_collate, default_convert
from fastnn.utils.data.dataset import IterableDataset, as_numbers, batch_reader
from fastnn.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    check_generator,
    whole_order,
)

T_co = TypeVar("T_co", covariant=True)
_collate_fn_t: TypeAlias = Callable[[list[Any]], Any]
_worker_init_fn_t: TypeAlias = Callable[[int], None]


class _DatasetKind:
    """PyTorch's two kinds of data sets."""

    Map, Iterable = 0, 1


class _BaseDataLoaderIter(Iterator[Any]):
    """PyTorch's base of the passes, which programs look for by ``isinstance``."""

    __slots__ = ()


class _InfiniteConstantSampler(Sampler[None]):
    """PyTorch's sampler of a data set without indices: None, without end."""

    def __init__(self) -> None:
        pass

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """The batches of one pass, under the name of PyTorch's class.

    A data set that raises StopIteration ends the pass, as in PyTorch; in a generator it would be a RuntimeError.
    """

    __slots__ = ("_loader", "_next")

    def __init__(self, loader: Any, batches: Iterator[Any] | None = None) -> None:
        # Programs pass objects of their own, with the attributes of a loader.
        self._loader, self._next = loader, (_fetched(loader) if batches is None else batches).__next__

    def __next__(self) -> Any:
        try:
            return self._next()
        except RuntimeError as error:
            cause = error.__cause__
            # Python makes this error where a StopIteration leaves a generator: the loader's own, or one of the user's.
            if isinstance(cause, StopIteration) and cause.__traceback__ is not None:
                file = cause.__traceback__.tb_frame.f_code.co_filename
                if os.path.dirname(file) == os.path.dirname(__file__):
                    raise cause from None
            raise

    def __len__(self) -> int:
        return len(self._loader)

    @property
    def _dataset(self) -> Any:
        return self._loader.dataset

    @property
    def _dataset_kind(self) -> int:
        return self._loader._dataset_kind

    @property
    def _auto_collation(self) -> bool:
        return self._loader._auto_collation

    @property
    def _index_sampler(self) -> Any:
        return self._loader._index_sampler

    @property
    def _collate_fn(self) -> Any:
        return self._loader.collate_fn

    @property
    def _drop_last(self) -> bool:
        return self._loader.drop_last

    @property
    def _num_workers(self) -> int:
        return self._loader.num_workers


class _MultiProcessingDataLoaderIter(_SingleProcessDataLoaderIter):
    """PyTorch's pass with worker processes: here the batches are made in the process itself."""

    __slots__ = ()


def _fetched(loader: Any) -> Iterator[Any]:
    """The batches of an object with the attributes of a loader."""
    from fastnn.utils.data._utils.fetch import _IterableDatasetFetcher, _MapDatasetFetcher

    kind = _IterableDatasetFetcher if loader._dataset_kind == _DatasetKind.Iterable else _MapDatasetFetcher
    fetcher = kind(loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last)
    for index in loader._index_sampler:
        try:
            batch = fetcher.fetch(index)
        except StopIteration:
            return
        yield batch


# Attributes of a loader that PyTorch does not allow to be reassigned.
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


def get_worker_info() -> None:
    """None: items are always loaded in the calling process and thread.

    An iterable data set that splits its items among workers then yields all of them.
    """
    return


class DataLoader(Generic[T_co]):
    """Batches of a data set, in order or shuffled; each iteration is a new pass.

    There are no worker processes, whatever ``num_workers`` is. A batch of a data set over arrays is one
    kernel, which takes less time than waking another process, and random items are the same with any
    number of workers. The arguments about workers are checked as in PyTorch, and ``worker_init_fn`` is not
    called.

    Args:
        dataset: anything with ``__getitem__`` and ``__len__``, or an ``IterableDataset``.
        batch_size: items per batch; None gives single items.
        shuffle: a new order for each pass, drawn from ``generator`` or the default one.
        sampler: an iterable of indices instead of ``shuffle``.
        batch_sampler: an iterable of lists of indices instead of all of these.
        num_workers, pin_memory, timeout, worker_init_fn, multiprocessing_context, prefetch_factor,
            persistent_workers, pin_memory_device, in_order: accepted and ignored.
        collate_fn: makes a batch from a list of items.
        drop_last: drop a smaller last batch.
        generator: source of the random order.

    Raises: ValueError for arguments that exclude each other or are out of range; TypeError for a ``num_workers`` that
        is not an integer and a ``generator`` that is not a Generator.

    >>> import fastnn
    >>> data = fastnn.utils.data.TensorDataset(fastnn.tensor([1, 2, 3]))
    >>> [batch for batch, in fastnn.utils.data.DataLoader(data, batch_size=2)]
    [tensor([1, 2]), tensor([3])]
    """

    _complete = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
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
        _check_workers(num_workers, timeout, multiprocessing_context, prefetch_factor, persistent_workers)
        check_generator(generator)
        self.dataset, self.num_workers, self.generator = dataset, num_workers, generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device, self.timeout = pin_memory, pin_memory_device, timeout
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.persistent_workers, self.in_order = persistent_workers, in_order

        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle, found both")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last, "
                    f"found batch_size={batch_size}, shuffle={shuffle}, sampler={sampler}, drop_last={drop_last}"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None and not self._iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None:
            # An iterable data set has no indices; its batches are formed in the order of iteration.
            batch_sampler = BatchSampler(() if sampler is None else sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler: Any = sampler
        self.batch_sampler: Any = batch_sampler
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self._complete = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._complete and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    # Names of PyTorch's that libraries read.
    _iterator = _IterableDataset_len_called = None

    @property
    def _DataLoader__initialized(self) -> bool:
        return self._complete

    @property
    def _DataLoader__multiprocessing_context(self) -> Any:
        return self.multiprocessing_context

    @property
    def _dataset_kind(self) -> int:
        return _DatasetKind.Iterable if self._iterable else _DatasetKind.Map

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        if not self._iterable:
            return self.batch_sampler if self._auto_collation else self.sampler
        forever = _InfiniteConstantSampler()
        return forever if self.batch_size is None else BatchSampler(cast(Any, forever), self.batch_size, self.drop_last)

    def _get_iterator(self) -> Iterator[T_co]:
        return iter(self)

    def __len__(self) -> int:
        if not self._iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[T_co]:
        if self.timeout and not self.num_workers:
            raise MismatchError(f"_SingleProcessDataLoaderIter requires timeout == 0, found {self.timeout}")
        if self._iterable:
            return _SingleProcessDataLoaderIter(self, self._from_iterable())
        return _SingleProcessDataLoaderIter(self, self._items() if self.batch_sampler is None else self._collated())

    def _items(self) -> Iterator[Any]:
        order = whole_order(self.sampler)
        for index in self.sampler if order is None else order.tolist():
            yield self.collate_fn(self.dataset[index])

    def _collated(self) -> Iterator[Any]:
        read = batch_reader(self.dataset) if self.collate_fn is default_collate else None
        for indices in self._batches():
            if read is not None:
                numbers = as_numbers(indices)
                batch = None if numbers is None else read(numbers)
                if batch is not None:
                    yield batch
                    continue
            yield self.collate_fn(self._fetch(indices.tolist() if isinstance(indices, np.ndarray) else indices))

    def _fetch(self, indices: Any) -> Any:
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(indices)
        return [self.dataset[i] for i in indices]

    def _batches(self) -> Iterator[Any]:
        """The indices of each batch: slices of one array if the whole order is known."""
        order = whole_order(self.sampler) if type(self.batch_sampler) is BatchSampler else None
        if order is None or self.batch_size is None:
            yield from self.batch_sampler
            return
        size = self.batch_size
        for start in range(0, len(order) - size + 1 if self.drop_last else len(order), size):
            yield order[start : start + size]

    def _from_iterable(self) -> Iterator[Any]:
        if self.batch_size is None:
            yield from map(self.collate_fn, self.dataset)
            return
        items: list[Any] = []
        for item in self.dataset:
            items.append(item)
            if len(items) == self.batch_size:
                yield self.collate_fn(items)
                items = []
        if items and not self.drop_last:
            yield self.collate_fn(items)


def _check_workers(count: int, timeout: float, context: Any, prefetch: int | None, persistent: bool) -> None:
    if not hasattr(count, "__index__"):
        raise TypeError(f"num_workers must be an integer, found {type(count).__name__}")
    if count < 0:
        raise ValueError(f"num_workers option should be non-negative, found {count}; use num_workers=0 to disable them")
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, found {timeout}")
    if count == 0 and prefetch is not None:
        raise ValueError(f"prefetch_factor needs num_workers > 0, found num_workers=0 and prefetch_factor={prefetch}")
    if prefetch is not None and prefetch < 0:
        raise ValueError(f"prefetch_factor option should be non-negative, found {prefetch}")
    if persistent and count == 0:
        raise ValueError("persistent_workers option needs num_workers > 0, found num_workers=0")
    if context is not None and count == 0:
        raise ValueError(f"multiprocessing_context needs num_workers > 0, found {context!r} with num_workers=0")


def _check_iterable(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    for name, value in (("sampler", sampler), ("batch_sampler", batch_sampler)):
        if value is not None:
            raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, but got {value!r}")
    if shuffle not in (False, None):
        raise ValueError(f"DataLoader with IterableDataset: expected unspecified shuffle option, but got {shuffle!r}")


def __getattr__(name: str) -> Any:
    if name == "_utils":
        from fastnn.utils.data import _utils

        return _utils
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
