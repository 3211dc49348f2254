"""The tensor: its class, its views and their backward, its printing, nested sequences."""

from typing import Any


def __getattr__(name: str) -> Any:
    # PyTorch's path to it.
    if name != "Tensor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastnn._tensor.tensor import Tensor

    return Tensor
