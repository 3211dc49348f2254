"""``torch._dynamo`` as far as libraries look into it: functions stay Python, so its decorators change nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastnn._dynamo import eval_frame
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
    "eval_frame", "forbid_in_graph", "graph_break", "is_compiling", "is_dynamo_supported", "list_backends",
    "mark_dynamic", "mark_static", "mark_static_address", "optimize", "reset", "substitute_in_graph",
]  # fmt: skip

disallow_in_graph = forbid_in_graph = allow_in_graph
# Options that programs set; none has an effect.
config = SimpleNamespace(
    suppress_errors=False, verbose=False, cache_size_limit=8, recompile_limit=8, automatic_dynamic_shapes=None,
    capture_scalar_outputs=False, optimize_ddp=True,
)  # fmt: skip


def graph_break(msg: str = "") -> None:
    """Does nothing."""


def mark_dynamic(t: Any, index: Any = None, **options: Any) -> None:
    """Does nothing."""


mark_static = mark_static_address = mark_dynamic


def optimize(*args: Any, **options: Any) -> Any:
    """A decorator that changes nothing."""
    return allow_in_graph
