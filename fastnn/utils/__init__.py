"""Tools around training, under PyTorch's names."""

from typing import Any

from fastnn.utils import data

__all__ = ["data"]


def __getattr__(name: str) -> Any:
    # Not needed by most programs, so imported on first use.
    if name in ("checkpoint", "tensorboard"):
        from importlib import import_module

        return import_module(f"fastnn.utils.{name}")
    raise AttributeError(f"module 'fastnn.utils' has no attribute {name!r}")
