"""``torch.utils.data.distributed``: the part of a data set that one of several processes reads."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np

from fastnn import distributed
from fastnn.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]


def _permutation(count: int, seed: int) -> np.ndarray:
    """PyTorch's ``randperm(count)`` of a generator with this seed."""
    # The same generator, and the same seeding by one number.
    numbers = np.random.RandomState(seed & 0xFFFFFFFF)._bit_generator.random_raw(max(count - 1, 0))
    # Fisher and Yates' shuffle is a loop of dependent swaps, on a list: an epoch's order, not its numbers.
    picks = (np.arange(count - 1) + numbers.astype(np.int64) % np.arange(count, 1, -1)).tolist()
    order = list(range(count))
    for i, pick in enumerate(picks):
        order[i], order[pick] = order[pick], order[i]
    return np.array(order, np.int64)


class DistributedSampler(Sampler[int]):
    """The items ``rank, rank + num_replicas, ...`` of a data set, in order or shuffled.

    All ranks have equally many: the first items are repeated at the end, or the last ones dropped. The order is
    PyTorch's.

    Args:
        dataset: only its length is used.
        num_replicas: the number of processes; by default that of ``init_process_group``, 1 before it.
        rank: of this one; by default that of ``init_process_group``, 0 before it.
        shuffle: a new order for each epoch, the same for all ranks.
        seed: of the order; ``set_epoch`` changes the order.
        drop_last: drop items instead of repeating some.

    Raises: ValueError for a rank out of range.

    >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        rank = distributed.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.epoch = 0
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else -(-count // num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        order = _permutation(count, self.seed + self.epoch) if self.shuffle else np.arange(count)
        # Longer than the data set: the order begins again.
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch
