"""Training utilities under PyTorch's names; each is imported on first use."""

from importlib import import_module
from typing import Any

_ON_USE = (
    "_python_dispatch", "_pytree", "benchmark", "checkpoint", "collect_env", "data", "dlpack", "flop_counter", "hooks",
    "model_zoo", "tensorboard",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return import_module(f"fastnn.utils.{name}")
    raise AttributeError(f"module 'fastnn.utils' has no attribute {name!r}")
