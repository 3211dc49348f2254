"""PyTorch's path to ``Proxy`` and its tracer."""

from __future__ import annotations

from fastnn.fx import Proxy, Tracer

__all__ = ["Proxy", "Tracer", "TracerBase"]

TracerBase = Tracer
