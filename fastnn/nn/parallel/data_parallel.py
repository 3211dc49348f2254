"""PyTorch's path to ``DataParallel`` and its function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.nn.data_parallel import DataParallel

__all__ = ["DataParallel", "data_parallel"]


def data_parallel(
    module: Any,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """``module(*inputs, **module_kwargs)``: there is only one device.

    >>> data_parallel(abs, (-1,))
    1
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*arguments, **(module_kwargs or {}))
