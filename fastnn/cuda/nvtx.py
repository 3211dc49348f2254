"""``torch.cuda.nvtx``: marks for NVIDIA's profiler, which do nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["mark", "range", "range_pop", "range_push"]


def range_push(msg: str) -> int:
    """Does nothing; 0."""
    return 0


def range_pop() -> int:
    """Does nothing; 0."""
    return 0


def mark(msg: str) -> int:
    """Does nothing; 0."""
    return 0


@contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A block, or a decorator, that changes nothing."""
    yield
