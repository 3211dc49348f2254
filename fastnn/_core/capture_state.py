"""What a trace watches: the hooks by which the rest of fastnn tells a capture what it cannot see in launches.

A *trace* (see :mod:`fastnn.capture`) runs a step whose kernels do not run, and records them. The numbers
in memory mean nothing meanwhile, so whoever would read one in Python, or compute outside the kernels in
place, says so here and the trace ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class Uncapturable(Exception):
    """The reason why a computation cannot be recorded."""


class Watch:
    """What a trace has been told."""

    def __init__(self) -> None:
        # States of random draws, each with the function that gives the next one.
        self.draws: list[tuple[np.ndarray, Callable[[], np.ndarray]]] = []


# By thread; empty but in a trace.
active: dict[int, Watch] = {}


def _watch() -> Watch | None:
    return active.get(threading.get_ident()) if active else None


def is_mine() -> bool:
    """Whether this thread is being traced."""
    return _watch() is not None


def stop(reason: str) -> None:
    """End a trace, if there is one: what follows cannot be replayed."""
    if _watch() is not None:
        raise Uncapturable(reason)


# By thread: the random draws that a computation is repeated with.
repeated: dict[int, Iterator[np.ndarray]] = {}


def draw_again() -> np.ndarray | None:
    """The draw of the computation that is repeated, or None if none is."""
    draws = repeated.get(threading.get_ident())
    return None if draws is None else next(draws)


@contextmanager
def repeating(states: list[np.ndarray]) -> Iterator[None]:
    """A block of this thread whose random draws are those that a computation had before."""
    thread, draws = threading.get_ident(), iter(states)
    try:
        repeated[thread] = draws
        yield
    finally:
        if repeated.get(thread) is draws:
            del repeated[thread]


def drawn(state: np.ndarray, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """Note that ``state`` names a random draw, and that ``draw()`` will name the next; return it."""
    watch = _watch()
    if watch is not None:
        watch.draws.append((state, draw))
    return state


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """A block of this thread that is a trace."""
    thread = threading.get_ident()
    try:
        active[thread] = watch
        yield
    finally:
        # Not where `end` came first: an interrupted block may end late.
        if active.get(thread) is watch:
            del active[thread]


def end() -> None:
    """Let this thread be traced no longer, where a trace was interrupted."""
    active.pop(threading.get_ident(), None)


def _after_fork_in_child() -> None:
    # Threads of the parent's are gone, and new ones may get their numbers.
    mine = threading.get_ident()
    tables: tuple[dict[int, Any], ...] = active, repeated
    for table in tables:
        for other in [thread for thread in table if thread != mine]:
            del table[other]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
