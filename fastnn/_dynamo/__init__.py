"""``torch._dynamo`` as far as libraries look into it: functions stay Python, so its decorators change nothing."""

from __future__ import annotations

from typing import Any

from fastnn._core.absent import absent_function
from fastnn._dynamo import config, eval_frame
from fastnn._dynamo.eval_frame import OptimizedModule, is_dynamo_supported
from fastnn.compiler import (
    allow_in_graph,
    assume_constant_result,
    disable,
    is_compiling,
    list_backends,
    reset,
    substitute_in_graph,
)

__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph",
    "eval_frame", "explain", "forbid_in_graph", "graph_break", "is_compiling", "is_dynamo_supported", "list_backends",
    "mark_dynamic", "mark_static", "mark_static_address", "optimize", "reset", "substitute_in_graph",
]  # fmt: skip

disallow_in_graph = forbid_in_graph = allow_in_graph
explain = absent_function("torch._dynamo.explain")


def graph_break(msg: str = "") -> None:
    """Does nothing."""


def mark_dynamic(t: Any, index: Any = None, **options: Any) -> None:
    """Does nothing."""


mark_static = mark_static_address = mark_dynamic


def optimize(*args: Any, **options: Any) -> Any:
    """A decorator that changes nothing."""
    return allow_in_graph
