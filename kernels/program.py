"""Programs: lists of launches that run in one call, on one thread or on many.

A program is a table of 64-bit words, one row a launch (see the columns below). Every thread walks
the rows in order. The parts of a row are claimed, not dealt out: thread ``t`` first claims part
``t``, which keeps its data in its own caches, then any part that nobody has claimed. A row with
``WAIT`` begins when all parts of all rows above it are done.

Nobody therefore waits for a part that no running thread works on, so a program ends however many
threads there really are and however they take turns: under OpenMP all at once, under TBB perhaps
one after the other on one thread. A waiting thread spins for a while, then yields the processor.

May import ``jit`` and ``words``.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from fastnn.kernels import jit
from fastnn.kernels.words import (
    WORD,
    atomic_add,
    atomic_or,
    call_plain,
    call_slice,
    descriptor_of,
    dimension_of,
    flags_of,
    integer,
    load_acquire,
    ndim_of,
    pause,
    put_integer,
    stride_of,
    type_of,
)

# Columns of a row. A row fills two cache lines, so that what threads write to one does not disturb
# those who read the next.
SLICE, BLOCK, PARTS, WAIT, CLAIMED, DONE = range(6)
ROW = 16
# The claims of a row are bits of one word.
MOST_PARTS = 63
# Rounds of waiting before the processor is yielded: about 50 us.
_SPINS = 1000


@jit.inline
def put_row(table, row, address, block, parts, wait):
    """Write row number ``row`` of a table; ``wait``: 1 to begin after all rows above."""
    at = table + row * ROW * 8
    put_integer(at, SLICE, address)
    put_integer(at, BLOCK, block)
    put_integer(at, PARTS, parts)
    put_integer(at, WAIT, wait)


@jit.inline
def _walk(table, count, t, yield_processor):
    finished = 0
    for row in range(count):
        at = table + row * ROW * 8
        if integer(at, WAIT):
            while finished < row:
                done = table + finished * ROW * 8
                parts, spins = integer(done, PARTS), 0
                while load_acquire(done + DONE * 8) < parts:
                    pause()
                    spins += 1
                    if spins > _SPINS:
                        call_plain(yield_processor)
                finished += 1
        parts = integer(at, PARTS)
        everything = (1 << parts) - 1
        for s in range(parts):
            claimed = load_acquire(at + CLAIMED * 8)
            if claimed == everything:
                break
            mine = (t + s) % parts
            if claimed & (1 << mine) == 0 and atomic_or(at + CLAIMED * 8, 1 << mine) & (1 << mine) == 0:
                call_slice(integer(at, SLICE), integer(at, BLOCK), mine, parts)
                atomic_add(at + DONE * 8, 1)


def _run(table, count, threads, yield_processor):
    for row in range(count):
        put_integer(table + row * ROW * 8, CLAIMED, 0)
        put_integer(table + row * ROW * 8, DONE, 0)
    for t in prange(threads):
        _walk(table, count, t, yield_processor)


# --------------------------------------------------------------------------------------------
# What compiled code needs to know of this process: words at an address

ARRAY_TYPE, FLOAT32, FLOAT64, RUNNER, YIELD = range(5)


def _yield_address() -> int:
    """The address of the C function that yields the processor; 0 if there is none."""
    try:
        if sys.platform == "win32":
            function = ctypes.windll.kernel32.SwitchToThread
        else:
            function = ctypes.CDLL(None).sched_yield
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return 0


_context = np.array([id(np.ndarray), id(jit.FLOAT32), id(jit.FLOAT64), 0, _yield_address()], np.int64)
context: int = _context.ctypes.data
_runner: CFunc | None = None


def start() -> None:
    """Let compiled code run programs on several threads, where the threading layer allows it.

    Under workqueue two Python threads must not launch at once, and only Python can see to that; in a
    forked child nothing may be launched.
    """
    global _runner
    if _context[RUNNER] or jit.threading_layer() not in ("omp", "tbb"):
        return
    if _runner is None:
        _runner = jit.compile_callback(_run, types.void(*[types.int64] * 4), parallel=True)
    _context[RUNNER] = int(_runner.address or 0)


def _after_fork_in_child() -> None:
    _context[RUNNER] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@intrinsic
def _call_runner(typingctx, runner, table, count, threads, yield_processor):
    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 4)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@jit.inline
def can_run(context, threads):
    """Whether :func:`run` may be given so many threads."""
    return threads == 1 or (threads <= MOST_PARTS and integer(context, RUNNER) != 0)


@jit.inline
def run(context, table, count, threads):
    """Run the first ``count`` rows of a table on so many threads; on one, in order, without any claims."""
    if threads == 1:
        for row in range(count):
            at = table + row * ROW * 8
            parts = integer(at, PARTS)
            for t in range(parts):
                call_slice(integer(at, SLICE), integer(at, BLOCK), t, parts)
    else:
        _call_runner(integer(context, RUNNER), table, count, threads, integer(context, YIELD))


# --------------------------------------------------------------------------------------------
# Arrays, checked by compiled code. What it does not accept, Python looks at again and explains.

_ALIGNED, _WRITEABLE = 0x0100, 0x0400


@jit.inline
def number_size(context, array):
    """Bytes of a number of an array object; 0 unless it is a plain array of native float32 or float64."""
    if type_of(array) != integer(context, ARRAY_TYPE) or flags_of(array) & _ALIGNED == 0:
        return 0
    descriptor = descriptor_of(array)
    return 4 if descriptor == integer(context, FLOAT32) else 8 if descriptor == integer(context, FLOAT64) else 0


@jit.inline
def is_matrix(context, array, size, rows, columns):
    """Whether this is a matrix of this shape whose strides are whole numbers."""
    return (
        number_size(context, array) == size
        and ndim_of(array) == 2
        and dimension_of(array, 0) == rows
        and dimension_of(array, 1) == columns
        and (stride_of(array, 0) | stride_of(array, 1)) % size == 0
    )


@jit.inline
def has_rows(context, array, size, rows, columns):
    """Whether this is a matrix of this shape with contiguous rows that do not overlap, writeable."""
    return (
        is_matrix(context, array, size, rows, columns)
        and flags_of(array) & _WRITEABLE != 0
        and (columns == 1 or stride_of(array, 1) == size)
        and (rows == 1 or stride_of(array, 0) >= columns * size)
    )


@jit.inline
def is_dense(context, array, size, rows, columns):
    """Whether this is a C-contiguous matrix of this shape."""
    return (
        is_matrix(context, array, size, rows, columns)
        and (columns == 1 or stride_of(array, 1) == size)
        and (rows == 1 or stride_of(array, 0) == columns * size)
    )


@jit.inline
def is_vector(context, array, size, count):
    """Whether this is a contiguous vector of so many numbers."""
    return (
        number_size(context, array) == size
        and ndim_of(array) == 1
        and dimension_of(array, 0) == count
        and (count == 1 or stride_of(array, 0) == size)
    )


@jit.inline
def is_writeable(array):
    """Whether an array object may be written."""
    return flags_of(array) & _WRITEABLE != 0


@jit.inline
def parts_of(operations, threads, serial):
    """As ``jit.parts_for``, in compiled code; ``serial``: operations below which one thread is faster."""
    if operations < serial:
        return 1
    return min(threads, int(2.0 * operations / serial)) if serial else threads


# --------------------------------------------------------------------------------------------
# Room for what a call needs only while it runs

# More than this is allocated for the call alone.
MOST_SCRATCH = 4 * 2**20


class _Scratch(threading.local):
    array = np.empty(0, np.uint8)


_scratch = _Scratch()


def scratch() -> np.ndarray:
    """This thread's room: bytes that any call may overwrite."""
    return _scratch.array


def grow_scratch(size: int) -> None:
    """Make this thread's room at least so many bytes large."""
    raw = np.empty(size + 4096 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    _scratch.array = raw[start : start + size + 4096]
