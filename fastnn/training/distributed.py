"""``fit(distributed=True)``: the rows of each epoch are shared by the ranks of a job."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import distributed
from fastnn._tensor.tensor import Tensor
from fastnn.distributed.collectives import all_of, broadcast_all, reduced
from fastnn.nn.module import Module
from fastnn.nn.parallel.distributed import DistributedDataParallel

if TYPE_CHECKING:
    from fastnn.training.loop import Rows

_NAME = "fit(distributed=True)"


class Ranks:
    """The processes of a run, which have the same rows and arguments.

    Args:
        model: wrapped in a ``DistributedDataParallel``, unless it is one.
        batch_size: rows in a batch of one rank.
    """

    def __init__(self, model: Module, batch_size: int) -> None:
        if not distributed.is_initialized():
            distributed.init_process_group()
        self.wrapped = model if isinstance(model, DistributedDataParallel) else DistributedDataParallel(model)
        self.module: Module = self.wrapped.module
        self._group = self.wrapped.process_group
        self.rank, self.size = self._group.rank(), self._group.size()
        self._batch = batch_size

    def check(self, rows: Rows) -> None:
        """Raise ValueError unless all ranks have as many rows and as large batches as this one, and one for each."""
        found = all_of([len(rows), self._batch], self._group, _NAME)
        if (found != found[0]).any():
            raise ValueError(
                "all ranks must have the same rows and batch_size, found by rank "
                + ", ".join(f"{count} rows with batches of {size}" for count, size in found.tolist())
            )
        if 0 < len(rows) < self.size:
            raise ValueError(f"data must have a row for each of the {self.size} ranks, found {len(rows)} rows")

    def count(self, rows: int, drop_last: bool) -> int:
        """The rows of an epoch that each rank gets of so many."""
        whole, rest = divmod(rows, self._batch * self.size)
        return whole * self._batch + (0 if drop_last else rest // self.size)

    def share(self, order: np.ndarray, count: int) -> np.ndarray:
        """This rank's rows of an epoch, in the order of rank 0.

        Step ``k`` of all ranks together has rows ``k * N * B`` to ``(k + 1) * N * B``, those of rank 0 first.
        """
        order = np.ascontiguousarray(order, np.int64)
        broadcast_all([order], 0, self._group, _NAME)
        whole = count // self._batch
        steps = order[: whole * self._batch * self.size].reshape(whole, self.size, self._batch)
        left = order[steps.size :]
        last = count - whole * self._batch
        return np.concatenate([steps[:, self.rank].reshape(-1), left[self.rank * last :][:last]])

    def mean(self, loss: float) -> float:
        """The mean of the losses of all ranks, whose batches are equally large."""
        found = np.array([loss])
        reduced(found, "SUM", self._group, _NAME)
        return float(found[0]) / self.size

    def agree(self, is_stopped: bool) -> bool:
        """Whether any rank ends the run."""
        return bool(all_of([is_stopped], self._group, _NAME).any())

    def share_buffers(self) -> None:
        """Copy the buffers of rank 0, such as running statistics, as before each forward pass."""
        self.wrapped._broadcast(0, buffers_only=True)

    def evaluate(
        self, rows: Rows, criterion: Callable[..., Tensor], evaluate: Callable[..., tuple[float, float | None]]
    ) -> tuple[float, float | None]:
        """Mean loss and accuracy of rows; each rank evaluates a part of them."""
        first, last = len(rows) * self.rank // self.size, len(rows) * (self.rank + 1) // self.size
        loss, accuracy = evaluate(self.module, rows, criterion, first, last) if first < last else (0.0, 0.0)
        count = last - first
        sums = np.array([loss * count, (accuracy or 0.0) * count, count])
        reduced(sums, "SUM", self._group, _NAME)
        total, right, number = sums.tolist()
        if not number:
            return math.nan, math.nan if rows.has_labels else None
        return total / number, right / number if rows.has_labels else None

    def keep_one(self, callbacks: list[Any]) -> list[Any]:
        """The callbacks of this rank: rank 0 alone writes files."""
        return [c for c in callbacks if self.rank == 0 or not getattr(c, "_writes_files", False)]
