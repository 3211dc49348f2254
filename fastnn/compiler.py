"""``torch.compiler``: nothing is traced by a compiler, so its switches have nothing to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn._core.settings import compile

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "is_compiling",
    "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance", "substitute_in_graph", "wrap_numpy",
]  # fmt: skip


def is_compiling() -> bool:
    """False: Python code runs as it is written.

    >>> is_compiling()
    False
    """
    return False


is_dynamo_compiling = is_exporting = is_compiling


def disable(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
    """``fn``, unchanged; without it, a decorator that changes nothing.

    >>> disable(abs)(-1), disable(recursive=False)(abs)(-2)
    (1, 2)
    """
    return _unchanged if fn is None else fn


def _unchanged(fn: Any) -> Any:
    return fn


def allow_in_graph(fn: Any) -> Any:
    """``fn``, unchanged."""
    return fn


assume_constant_result = wrap_numpy = allow_in_graph


def substitute_in_graph(original_fn: Any, **options: Any) -> Callable[[Any], Any]:
    """A decorator that changes nothing."""
    return _unchanged


def reset() -> None:
    """Does nothing: there is no cache of compiled graphs."""


cudagraph_mark_step_begin = reset


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """No back ends."""
    return []


class set_stance:
    """A block or decorator that would choose how functions are compiled; it changes nothing."""

    def __init__(self, stance: str = "default", **options: Any) -> None:
        self.stance = stance

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass

    def __call__(self, fn: Any) -> Any:
        return fn
