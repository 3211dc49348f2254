"""``torch.fx`` as names: fastnn has no graphs of modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from fastnn._core.absent import absent_class, absent_function
from fastnn.nn.module import Module

_WHY = "fastnn has no graphs of torch.fx: torch.fx.{} cannot be used; fastnn.compile_step records a training step"


def _class(name: str, *bases: type) -> Any:
    return absent_class(f"torch.fx.{name}", bases, _WHY.format(name))


Graph, Node, Proxy, Tracer = _class("Graph"), _class("Node"), _class("Proxy"), _class("Tracer")
GraphModule = _class("GraphModule", Module)
Interpreter = _class("Interpreter")
Transformer = _class("Transformer", Interpreter)
symbolic_trace = absent_function("torch.fx.symbolic_trace", _WHY.format("symbolic_trace"))
replace_pattern = absent_function("torch.fx.replace_pattern", _WHY.format("replace_pattern"))

__all__ = [
    "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer", "replace_pattern",
    "symbolic_trace", "wrap",
]  # fmt: skip


def wrap(fn_or_name: str | Callable[..., Any]) -> Any:
    """``fn_or_name``, unchanged: nothing is traced."""
    return fn_or_name


def __getattr__(name: str) -> Any:
    # These modules import this one.
    if name in ("graph_module", "node", "proxy"):
        return importlib.import_module(f"fastnn.fx.{name}")
    raise AttributeError(f"module 'fastnn.fx' has no attribute {name!r}")
