"""A self-check of the compiled code, on processors that fastnn is not tested on.

LLVM compiles each kernel for the processor it finds, and Numba has miscompiled correct kernels before (see
``runtime.raw_memory``). Training then went on with wrong gradients. So before the first kernel runs on a kind of
processor that the tests do not cover, one backward pass runs on every launch path and must match NumPy. The result
is cached with the kernels, so the check runs once for each processor and each version.

The check runs at the first kernel, not at import: it compiles the matrix product, which an import must not do.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import llvmlite
import numba
import numpy as np
from numba.core import registry

from fastnn.kernels.matmul import linear
from fastnn.kernels.runtime import thread_count
from fastnn.kernels.runtime.cache import remembered
from fastnn.kernels.runtime.program import Program, grow_scratch, scratch

# Large enough that a program cuts its launches into several parts, if there are threads for them.
_BATCH, _IN, _OUT = 24, 40, 33
# Upper bound of the scratch that this needs, in bytes.
_ROOM = 2**18

# dx, dweight, dbias, dy, x, weight and the output of ReLU.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def check() -> None:
    """Raise RuntimeError unless a backward pass is correct on this processor (cached after the first time)."""
    remembered("self_check", registry.cpu_target.target_context.codegen(), _is_right)


def _is_right() -> bool:
    found = wrong()
    if found:
        raise RuntimeError(
            f"fastnn must not be used on this computer: its kernels, compiled for {platform.machine()} by Numba "
            f"{numba.__version__} and llvmlite {llvmlite.__version__}, compute wrong numbers ({', '.join(found)}). "
            "Please report it, with this message."
        )
    return True


def wrong() -> list[str]:
    """The results of a backward pass that differ from NumPy's; empty if all match."""
    # Integers so small that every sum is exact in float32.
    x, weight, dy = (
        ((np.arange(rows * columns) * step % 7) - 3).astype(np.float32).reshape(rows, columns)
        for rows, columns, step in ((_BATCH, _IN, 5), (_IN, _OUT, 3), (_BATCH, _OUT, 4))
    )
    bias = np.arange(_OUT, dtype=np.float32) % 5 - 2
    out = np.maximum(x @ weight + bias, 0)
    dz = np.where(out > 0, dy, 0)
    expected = {"dx": dz @ weight.T, "dweight": x.T @ dz, "dbias": dz.sum(0)}
    found = []
    if scratch().size < _ROOM:
        grow_scratch(_ROOM)
    for way, backward in _WAYS.items():
        dx, dweight, dbias = (np.full_like(a, np.nan) for a in (x, weight, bias))
        # Fill with NaN, so that no leftover of another path can pass for a result.
        scratch().fill(255)
        backward((dx, dweight, dbias, dy, x, weight, out))
        gradients = {"dx": dx, "dweight": dweight, "dbias": dbias}
        found += [f"{name} {way}" for name, a in gradients.items() if not np.array_equal(a, expected[name])]
    return found


def _launch_by_launch(arrays: Arrays) -> None:
    linear.launch_backward(*arrays, "relu", 0.0, False, False)


def _in_one_call(arrays: Arrays) -> None:
    linear.linear_backward(*arrays, "relu")


def _in_parts(arrays: Arrays) -> None:
    with _cut_in(2):
        linear.linear_backward(*arrays, "relu")


def _recorded(arrays: Arrays) -> None:
    program = Program()
    with program.recording():
        linear.linear_backward(*arrays, "relu")
    program.replay()


_WAYS: dict[str, Callable[[Arrays], None]] = {
    "launch by launch": _launch_by_launch,
    "in one call": _in_one_call,
    "in two parts": _in_parts,
    "recorded": _recorded,
}


@contextmanager
def _cut_in(parts: int) -> Iterator[None]:
    """Cut launches into this many parts, however small they are."""
    before = thread_count._threads, thread_count.SERIAL_OPERATIONS
    thread_count._threads, thread_count.SERIAL_OPERATIONS = parts, 0
    try:
        yield
    finally:
        thread_count._threads, thread_count.SERIAL_OPERATIONS = before
