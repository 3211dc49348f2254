"""Which threads write gradients of leaves now, so that backward passes of several threads lose none.

A kernel adds to a gradient without Python's lock, so another thread that adds to the same one has to wait, or write to
an array of its own and add that afterwards. No program's code runs while a leaf is claimed, so that two threads cannot
wait for each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from threading import get_ident
from typing import Any

from fastnn._core.capture_state import active, is_mine

# From the ids of leaves to threads. `setdefault` looks and writes in one step, which no other thread interrupts.
_writers: dict[int, int] = {}


def claim(leaf: Any) -> bool:
    """Whether this thread may write the leaf's gradient until it calls :func:`release`."""
    thread = get_ident()
    return _writers.setdefault(id(leaf), thread) == thread


def wait_for(leaves: Sequence[Any]) -> None:
    """Claim all of these leaves, after the threads that write to some of them."""
    thread = get_ident()
    claim_one = _writers.setdefault
    while True:
        claimed = []
        for leaf in leaves:
            key = id(leaf)
            if claim_one(key, thread) != thread:
                break
            claimed.append(key)
        else:
            return
        # None is kept meanwhile: the other thread may wait for it.
        for key in claimed:
            _writers.pop(key, None)
        time.sleep(0)


def release(leaf: Any) -> None:
    """Let other threads write, if this one has claimed the leaf; in a trace only its end does."""
    key = id(leaf)
    if _writers.get(key) == get_ident() and not (active and is_mine()):
        del _writers[key]


def release_all() -> None:
    """Release what this thread has claimed, at the end of a pass that may have been interrupted."""
    if _writers:
        thread = get_ident()
        for key in [key for key, writer in list(_writers.items()) if writer == thread]:
            _writers.pop(key, None)


if hasattr(os, "register_at_fork"):
    # The threads do not exist in the child.
    os.register_at_fork(after_in_child=_writers.clear)
