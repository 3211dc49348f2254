"""The current core-to-core latency: the time of a round trip through a shared cache line.

On a virtual machine it changes while programs run, as the host moves the virtual cores: 80 ns at one
time and 400 at another, for a minute or so, were measured on one machine. Multi-threaded work is up
to twice as slow at high latency (single-threaded work is not), so figures of the two states must not
be mixed. Used by ``worker``.
"""

from __future__ import annotations

import os
import threading
from time import perf_counter

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from benchmarks import libraries

ROUND_TRIPS = 1000
# Limit of spinning, about a millisecond, in case the partner thread was stopped.
_PATIENCE = 200_000


def _word(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, ir.IntType(64).as_pointer())


@intrinsic
def _load(typingctx, address):
    def codegen(context, builder, signature, values):
        return builder.load_atomic(_word(builder, values[0]), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def _store(typingctx, address, value):
    def codegen(context, builder, signature, values):
        builder.store_atomic(values[1], _word(builder, values[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@njit(nogil=True)
def _play(address, first, count, patience):
    """Wait for ``first``, ``first + 2`` and so on, and answer each with the next number; False after a timeout."""
    for i in range(count):
        waited = 0
        while _load(address) != first + 2 * i:
            waited += 1
            if waited > patience:
                return False
        _store(address, first + 2 * i + 1)
    return True


def round_trip(attempts: int = 3) -> float:
    """Seconds of a round trip between the first two cores in use, the best of several attempts; 0 on a single core."""
    cpus = libraries.usable_cpus()[:2]
    if len(cpus) < 2:
        return 0.0
    times = [time for _ in range(attempts) if (time := _attempt(cpus))]
    return min(times, default=0.0)


def _attempt(cpus: list[int]) -> float:
    line = np.zeros(32, np.int64)
    address = -(-line.ctypes.data // 128) * 128
    warm = _PATIENCE * 100  # until the partner has started

    def partner() -> None:
        _pin(cpus[1])
        if _play(address, 0, 1, warm):
            _play(address, 2, ROUND_TRIPS, _PATIENCE)

    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    thread = threading.Thread(target=partner)
    thread.start()
    try:
        _pin(cpus[0])
        # The partner's answer to 0 shows that it has started.
        if not _play(address, 1, 1, warm):
            return 0.0
        start = perf_counter()
        done = _play(address, 3, ROUND_TRIPS, _PATIENCE)
        return (perf_counter() - start) / ROUND_TRIPS if done else 0.0
    finally:
        thread.join()
        if before:
            os.sched_setaffinity(0, before)


def _pin(cpu: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
