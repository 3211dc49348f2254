"""DataParallel, for scripts that wrap their model in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.nn.module import Module


class DataParallel(Module):
    """A module whose calls go to another one: there are no devices among which to share the batch.

    Args:
        module: what is called; ``state_dict`` has it under 'module', as in PyTorch.
        device_ids, output_device, dim: accepted, and without effect.

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
        """What the module returns."""
        return self.module(*inputs, **kwargs)
