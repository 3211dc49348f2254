"""The number of threads that a launch uses."""

from __future__ import annotations

import numpy as np
from numba.core import config

from fastnn.kernels.runtime.launcher import is_tracing

_threads = int(config.NUMBA_NUM_THREADS)

# To hand parts to other threads and wait for them costs about 2 us; below this many operations one thread is faster.
SERIAL_OPERATIONS = 400_000
# The same inside a program. A barrier costs a tenth of that there, and running on one thread keeps data in the cache
# of the core that reads it next.
SERIAL_IN_PROGRAM = 20_000


def set_num_threads(n: int) -> None:
    """Use up to ``n`` threads per launch. The results are the same bits for any number."""
    global _threads
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n must be an integer, found {type(n).__name__}")
    if n < 1:
        raise ValueError(f"n must be positive, found {n}")
    _threads = int(n)


def get_num_threads() -> int:
    """The most threads that a launch may use."""
    return _threads


def chunks_for(operations: float) -> int:
    """The number of parts for a launch of this many floating-point operations."""
    serial = SERIAL_OPERATIONS
    if serial and is_tracing():
        serial = SERIAL_IN_PROGRAM
    if operations < serial:
        return 1
    # No part may have less work than a fork and join costs, whatever number of threads is set.
    return min(_threads, int(2 * operations / serial) if serial else _threads)
