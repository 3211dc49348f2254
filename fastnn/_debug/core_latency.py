"""The current core-to-core latency: the time of a round trip through a shared cache line.

On a virtual machine it changes while programs run, as the host moves the virtual cores: 80 ns at one
time and 400 at another, for a minute or so, were measured on one machine. Multi-threaded work is up
to twice as slow at high latency; single-threaded work is not.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastnn.kernels.runtime import compiler

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


@functools.cache
def _compiled() -> Callable[..., bool]:
    """:func:`_play`, compiled at the first measurement, also with NUMBA_DISABLE_JIT set."""
    with compiler.starting():
        code: Callable[..., bool] = njit(types.boolean(*[types.int64] * 4), nogil=True)(_play)
        return code


def usable_cpus() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def round_trip(attempts: int = 3, cpus: Sequence[int] | None = None) -> float:
    """Seconds of a round trip between two cores, the best of several attempts; 0 on a single core.

    Args:
        cpus: the numbers of the cores; the first two are used. By default those of :func:`usable_cpus`.
    """
    cpus = (usable_cpus() if cpus is None else cpus)[:2]
    if len(cpus) < 2:
        return 0.0
    times = [time for _ in range(attempts) if (time := _attempt(cpus))]
    return min(times, default=0.0)


def _attempt(cpus: Sequence[int]) -> float:
    play = _compiled()
    line = np.zeros(32, np.int64)
    address = -(-line.ctypes.data // 128) * 128
    warm = _PATIENCE * 100  # until the partner has started

    def partner() -> None:
        _pin(cpus[1])
        if play(address, 0, 1, warm):
            play(address, 2, ROUND_TRIPS, _PATIENCE)

    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    thread = threading.Thread(target=partner)
    thread.start()
    try:
        _pin(cpus[0])
        # The partner's answer to 0 shows that it has started.
        if not play(address, 1, 1, warm):
            return 0.0
        start = perf_counter()
        done = play(address, 3, ROUND_TRIPS, _PATIENCE)
        return (perf_counter() - start) / ROUND_TRIPS if done else 0.0
    finally:
        thread.join()
        if before:
            os.sched_setaffinity(0, before)


def _pin(cpu: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
