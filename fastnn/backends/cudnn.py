"""``torch.backends.cudnn``: not available; its switches can be set and have no effect.

fastnn's kernels give the same bits in every run, for any ``deterministic`` and ``benchmark``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

enabled = True
deterministic = False
benchmark = False
benchmark_limit = 10
allow_tf32 = True


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None."""
    return


@contextlib.contextmanager
def flags(**switches: Any) -> Iterator[None]:
    """A block with other values of the switches.

    >>> from fastnn.backends import cudnn
    >>> with cudnn.flags(benchmark=True):
    ...     cudnn.benchmark
    True
    """
    before = {name: globals()[name] for name in switches}
    globals().update(switches)
    try:
        yield
    finally:
        globals().update(before)
