"""``torch.nn.parallel.distributed``: the name DistributedDataParallel."""

from __future__ import annotations

from typing import Any

from fastnn._core.absent import absent_class
from fastnn.nn.module import Module

__all__ = ["DistributedDataParallel"]

DistributedDataParallel: Any = absent_class(
    "torch.nn.parallel.DistributedDataParallel",
    (Module,),
    "fastnn trains in one process, without torch.nn.parallel.DistributedDataParallel: use the module itself",
    "fastnn.nn.parallel.distributed",
)
