"""PyTorch's watch of worker processes; fastnn has none."""

from __future__ import annotations

from typing import Any


def _set_SIGCHLD_handler() -> None:
    """Does nothing."""


def _set_worker_pids(*args: Any) -> None:
    """Does nothing."""


def _remove_worker_pids(*args: Any) -> None:
    """Does nothing."""


def _error_if_any_worker_fails() -> None:
    """Does nothing."""
