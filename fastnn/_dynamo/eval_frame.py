"""``torch._dynamo.eval_frame``: the class of compiled modules, for ``isinstance``."""

from __future__ import annotations

from typing import Any

from fastnn._core.absent import absent_class
from fastnn.nn.module import Module

__all__ = ["OptimizedModule", "is_dynamo_supported"]

OptimizedModule: Any = absent_class(
    "torch._dynamo.eval_frame.OptimizedModule",
    (Module,),
    "fastnn.compile returns the module itself, so there is no torch._dynamo.OptimizedModule",
)


def is_dynamo_supported() -> bool:
    """False."""
    return False
