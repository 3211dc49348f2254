"""The state of a trace: the rest of fastnn reports here what a capture cannot see in launches.

A *trace* (see :mod:`fastnn.capture`) runs a step and records its kernels instead of running them. The numbers
in memory mean nothing meanwhile, so code that would read one in Python, or compute in place outside the
kernels, reports it here and the trace ends.
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
    """The reports to a trace."""

    def __init__(self) -> None:
        # States of random draws, each with the function that returns the next one.
        self.draws: list[tuple[np.ndarray, Callable[[], np.ndarray]]] = []
        # Arrays with the same numbers in every run.
        self.constants: list[np.ndarray] = []
        # Whether it is a whole training step, in which processes may communicate.
        self.is_step = False


# By thread; empty outside a trace.
active: dict[int, Watch] = {}


def _watch() -> Watch | None:
    return active.get(threading.get_ident()) if active else None


def is_mine() -> bool:
    """Whether this thread is being traced."""
    return _watch() is not None


def is_step() -> bool:
    """Whether this thread is being traced through a whole training step."""
    watch = _watch()
    return watch is not None and watch.is_step


def stop(reason: str) -> None:
    """End this thread's trace, if any: the next operation cannot be replayed."""
    if _watch() is not None:
        raise Uncapturable(reason)


# By thread: the random draws that a computation is repeated with.
repeated: dict[int, Iterator[np.ndarray]] = {}


def draw_again() -> np.ndarray | None:
    """The next draw of the computation that is being repeated, or None."""
    draws = repeated.get(threading.get_ident())
    return None if draws is None else next(draws)


@contextmanager
def repeating(states: list[np.ndarray]) -> Iterator[None]:
    """A block of this thread that repeats the random draws of an earlier computation."""
    thread, draws = threading.get_ident(), iter(states)
    try:
        repeated[thread] = draws
        yield
    finally:
        if repeated.get(thread) is draws:
            del repeated[thread]


def constant(array: np.ndarray) -> np.ndarray:
    """Note that an array has the same numbers in every run; return it."""
    watch = _watch()
    if watch is not None:
        watch.constants.append(array)
    return array


def drawn(state: np.ndarray, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """Note that ``state`` is the state of a random draw, and that ``draw()`` returns the next; return it."""
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
        # Not if `end` was called first: an interrupted block may end late.
        if active.get(thread) is watch:
            del active[thread]


def end() -> None:
    """End the trace of this thread after an interrupt."""
    active.pop(threading.get_ident(), None)


def _after_fork_in_child() -> None:
    # The parent's threads do not exist here, and new ones may get their numbers.
    mine = threading.get_ident()
    tables: tuple[dict[int, Any], ...] = active, repeated
    for table in tables:
        for other in [thread for thread in table if thread != mine]:
            del table[other]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
