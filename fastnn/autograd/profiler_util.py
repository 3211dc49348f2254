"""PyTorch's path to the tables of the profiler."""

from __future__ import annotations

from fastnn._core.absent import absent_class
from fastnn.autograd.profiler import EventList

__all__ = ["EventList", "FunctionEvent"]

FunctionEvent = absent_class("torch.autograd.profiler_util.FunctionEvent")
