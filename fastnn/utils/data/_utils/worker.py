"""PyTorch's path to ``get_worker_info``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn._core.absent import absent_function
from fastnn.utils.data.dataloader import get_worker_info

__all__ = ["WorkerInfo", "get_worker_info"]


@dataclass
class WorkerInfo:
    """What ``get_worker_info`` returns in a worker process; fastnn has none."""

    id: int
    num_workers: int
    seed: int = 0
    dataset: Any = None


@dataclass(frozen=True)
class _IterableDatasetStopIteration:
    """PyTorch's message of a worker whose data set has ended."""

    worker_id: int


@dataclass(frozen=True)
class _ResumeIteration:
    """PyTorch's message to a worker that goes on."""

    seed: int | None = None


_worker_loop = absent_function("torch.utils.data._utils.worker._worker_loop")
_worker_info: WorkerInfo | None = None
