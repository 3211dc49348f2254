"""PyTorch's path to ``get_worker_info``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn.utils.data.dataloader import get_worker_info

__all__ = ["WorkerInfo", "get_worker_info"]


@dataclass
class WorkerInfo:
    """What ``get_worker_info`` returns in a worker process; fastnn has none."""

    id: int
    num_workers: int
    seed: int = 0
    dataset: Any = None


_worker_info: WorkerInfo | None = None
