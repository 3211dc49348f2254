"""Samplers: the order of items, as indices or lists of indices.

A sampler whose whole order is known passes it to the loader as an array (``_order``), which is split into
batches without a Python step per item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.ops.sampling import draw_categories
from fastnn.random import Generator, default_generator

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Indices of items in an order: a subclass defines ``__iter__``, and ``__len__`` if it is known."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class _ArraySampler(Sampler[int]):
    """A sampler that knows its whole order in advance."""

    def __iter__(self) -> Iterator[int]:
        return iter(self._order().tolist())

    def __len__(self) -> int:
        raise NotImplementedError

    def _order(self) -> np.ndarray:
        """The order of one pass, int64."""
        raise NotImplementedError


class SequentialSampler(_ArraySampler):
    """The items in index order.

    >>> from fastnn.utils.data import SequentialSampler
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def _order(self) -> np.ndarray:
        return np.arange(len(self))


class RandomSampler(_ArraySampler):
    """The items in random order, each once; or drawn independently of each other.

    Args:
        data_source: the data set; only its length is used.
        replacement: draw each item independently, so that items may repeat.
        num_samples: the number of draws, by default the number of items. Without replacement, more
            draws than items are made in rounds, each with every item once.
        generator: source of the order, by default the shared one.

    Raises: TypeError for a ``replacement`` that is not a bool; ValueError for ``num_samples`` that is not
        a positive integer.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        check_generator(generator)
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples
        if not _is_positive(self.num_samples):
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """The number of items that one pass draws."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    def _order(self) -> np.ndarray:
        count, wanted = len(self.data_source), self.num_samples
        generator = self.generator or default_generator()
        if self.replacement:
            return generator.numpy.integers(0, count, wanted)
        rounds = [generator.permutation(count) for _ in range(-(-wanted // count))]
        return np.concatenate(rounds)[:wanted] if len(rounds) != 1 else rounds[0][:wanted]


class SubsetRandomSampler(Sampler[int]):
    """Given items in random order, each once.

    >>> from fastnn.utils.data import SubsetRandomSampler
    >>> sorted(SubsetRandomSampler([5, 2, 9]))
    [2, 5, 9]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        check_generator(generator)
        self.indices, self.generator = indices, generator

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        order = (self.generator or default_generator()).permutation(len(self.indices))
        return (self.indices[i] for i in order.tolist())


class WeightedRandomSampler(_ArraySampler):
    """Items drawn with given probabilities.

    Args:
        weights: one per item, not negative; they need not sum to one.
        num_samples: the number of draws per pass.
        replacement: whether an item may be drawn again.
        generator: source of the draws, by default the shared one.

    Raises: ValueError for weights that are not a vector, and for bad ``num_samples`` or ``replacement``.
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not _is_positive(num_samples):
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        check_generator(generator)
        array = array_of(weights, np.dtype(np.float64))
        if array.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {array.shape}")
        self.weights = _wrap(array)
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __len__(self) -> int:
        return self.num_samples

    def _order(self) -> np.ndarray:
        return draw_categories(self.weights._data, self.num_samples, self.replacement, self.generator)


class BatchSampler(Sampler[list[int]]):
    """Lists of indices from another sampler.

    Args:
        sampler: any iterable of indices.
        batch_size: the number of indices per list.
        drop_last: drop a shorter last list.

    >>> from fastnn.utils.data import BatchSampler
    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not _is_positive(batch_size):
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]  # TypeError where it has no length, as in PyTorch
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def check_generator(generator: Any) -> None:
    """TypeError unless it is None or a Generator."""
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a Generator or None, found {type(generator).__name__}")


def whole_order(sampler: Any) -> np.ndarray | None:
    """The order of one pass as an array; None for a sampler that yields indices one by one."""
    if isinstance(sampler, _ArraySampler) and type(sampler).__iter__ is _ArraySampler.__iter__:
        return sampler._order()
    return None


def _is_positive(n: Any) -> bool:
    # PyTorch rejects NumPy's integers here.
    return isinstance(n, int) and not isinstance(n, bool) and n > 0
