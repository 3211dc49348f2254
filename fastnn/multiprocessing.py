"""``torch.multiprocessing``: Python's ``multiprocessing``; tensors are sent as copies."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from multiprocessing import *  # noqa: F403  # all of it under this name as well
from typing import Any

__all__ = [
    *multiprocessing.__all__,
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
]

_STRATEGIES = {"file_descriptor", "file_system"}
_strategy = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """The names that :func:`set_sharing_strategy` accepts."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """The last value given to :func:`set_sharing_strategy`; "file_descriptor" at first."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Accept the name of a sharing strategy; processes get copies.

    Raises: ValueError for another name.
    """
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise ValueError(f"new_strategy must be one of {sorted(_STRATEGIES)}, found {new_strategy!r}")
    _strategy = new_strategy


def spawn(
    fn: Callable[..., Any], args: Iterable[Any] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> list[Any] | None:  # fmt: skip
    """Call ``fn(i, *args)`` in ``nprocs`` new processes, ``i`` from 0.

    Args:
        fn: a function of a module, which the new processes import.
        join: wait for all of them; otherwise return the processes.
        daemon: end them with the parent process.
        start_method: "spawn", "fork" or "forkserver".

    Raises: RuntimeError if ``join`` and a process ended with a status other than 0.
    """
    context: Any = multiprocessing.get_context(start_method)
    made: list[Any] = [context.Process(target=fn, args=(i, *args), daemon=daemon) for i in range(nprocs)]
    for process in made:
        process.start()
    if not join:
        return made
    for process in made:
        process.join()
    for i, process in enumerate(made):
        if process.exitcode:
            raise RuntimeError(f"process {i} terminated with exit code {process.exitcode}")
    return None
