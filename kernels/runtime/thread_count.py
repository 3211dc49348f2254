"""The number of threads that a launch uses."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import numpy as np
from numba.core import config

from fastnn.kernels.runtime.launcher import is_tracing


def cpu_limit() -> float:
    """The CPUs that the control groups of this process may use, as in a container; 0 without a limit."""
    limits = []
    for folder in _groups():
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max":
                limits.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                limits.append(int(quota) / int(period))
    # A group can have more than a group around it, which counts for both.
    return min(limits, default=0.0)


def _groups() -> list[Path]:
    """The folders of the control groups of this process, and of those around them."""
    root = Path("/sys/fs/cgroup")
    found = [root, root / "cpu"]
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names == "" or "cpu" in names.split(","):
                top = root / ("cpu" if names else "")
                inner = top / path.lstrip("/")
                found += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(top)]
    return found


def _available() -> int:
    """The threads that this process can use.

    A container with a limit stops all threads of a process for the rest of a tenth of a second when they have used up
    its share; on a machine of many cores that would be most of the time.
    """
    count = int(config.NUMBA_NUM_THREADS)
    if "NUMBA_NUM_THREADS" in os.environ:
        return count
    # Dask and Ray set it for their workers, as PyTorch reads it. Nested teams of OpenMP have further numbers.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdigit() and int(first):
        return min(count, int(first))
    limit = cpu_limit()
    return min(count, math.ceil(limit)) if limit else count


# The threads of the pool, with the calling one.
AVAILABLE = _available()
_threads = AVAILABLE

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
