"""``torch.nn.parallel.scatter_gather``: names, as there is one device."""

from __future__ import annotations

from fastnn._core.absent import absent_function

__all__ = ["gather", "scatter", "scatter_kwargs"]

_WHY = "fastnn computes on one device, so torch.nn.parallel.{} has nothing to do: use the tensors themselves"

gather = absent_function("torch.nn.parallel.gather", _WHY.format("gather"))
scatter = absent_function("torch.nn.parallel.scatter", _WHY.format("scatter"))
scatter_kwargs = absent_function("torch.nn.parallel.scatter_kwargs", _WHY.format("scatter_kwargs"))
