"""PyTorch's path to ``DataParallel`` and its function."""

from __future__ import annotations

from fastnn.nn.data_parallel import DataParallel

__all__ = ["DataParallel"]
