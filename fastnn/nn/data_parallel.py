"""DataParallel, for scripts that wrap their model in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.nn.module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """A wrapper that forwards calls to another module: there is only one device, so no batch is split.

    Args:
        module: the wrapped module; ``state_dict`` has it under 'module', as in PyTorch.
        device_ids, output_device, dim: accepted and ignored.

    >>> import fastnn
    >>> model = fastnn.nn.DataParallel(fastnn.nn.Linear(2, 1))
    >>> list(model.state_dict())
    ['module.weight', 'module.bias']
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The result of the wrapped module."""
        return self.module(*inputs, **kwargs)
