"""PyTorch's path to the exchange of memory with other libraries."""

from __future__ import annotations

from typing import Any

from fastnn.ops.creation import from_dlpack

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Any) -> Any:
    """A capsule over the memory of a tensor."""
    return tensor.__dlpack__()
