"""``torch.nn.parallel``: DataParallel calls its module; DistributedDataParallel trains in several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.nn.parallel.data_parallel import DataParallel, data_parallel
from fastnn.nn.parallel.distributed import DistributedDataParallel
from fastnn.nn.parallel.scatter_gather import gather, scatter

__all__ = [
    "DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter",
]  # fmt: skip


def replicate(network: Any, devices: Sequence[Any], detach: bool = False) -> list[Any]:
    """The module itself, once for each device: there is only one."""
    return [network for _ in devices]


def parallel_apply(
    modules: Sequence[Any], inputs: Sequence[Any], kwargs_tup: Sequence[Any] | None = None, devices: Any = None
) -> list[Any]:
    """Each module called with its input, a tuple of arguments or a single one."""
    options = kwargs_tup or [{}] * len(modules)
    return [
        m(*(x if isinstance(x, (list, tuple)) else (x,)), **(o or {}))
        for m, x, o in zip(modules, inputs, options, strict=True)
    ]
