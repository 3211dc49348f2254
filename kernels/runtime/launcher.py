"""Launches: a kernel runs over arrays, is recorded, or both. Constants that a recording may rely on.

A recording belongs to one thread: launches of other threads run as usual meanwhile.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.compiler import Kernel
from fastnn.kernels.runtime.host_calls import HostCall


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array that begins at a cache line: in rows of whole lines, no vector crosses a line."""
    size = math.prod(shape) * dtype.itemsize
    room = allocation.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


_ones: dict[tuple[int, np.dtype], np.ndarray] = {}


def ones(count: int, dtype: np.dtype) -> np.ndarray:
    """A read-only vector of ones, the same object each time: a constant that a recording may rely on."""
    found = _ones.get((count, dtype))
    if found is None:
        found = np.ones(count, dtype)
        found.flags.writeable = False
        # The first 256 sizes are kept for the whole process; programs do not have more numbers of classes.
        if len(_ones) < 256:
            _ones[count, dtype] = found
    return found


def is_constant(array: np.ndarray) -> bool:
    """Whether an array is one of :func:`ones`."""
    return array.ndim == 1 and _ones.get((array.size, array.dtype)) is array


# A recorded launch: kernel, parts, arrays, scalars, and whether it waits for those before it.
Launch = tuple[Kernel, int, tuple[np.ndarray, ...], tuple[float, ...], bool]

# An array whose contents a recording relies on, and what must hold for them.
Guard = tuple[np.ndarray, Callable[[np.ndarray], bool]]

# By thread: a recording sees the launches of its own thread only.
_recorders: dict[int, Callable[..., Any]] = {}
_guards: dict[int, list[Guard]] = {}


def launch(kernel: Kernel, parts: int, arrays: tuple[np.ndarray, ...], *scalars: float) -> None:
    """Run ``parts`` parts of a kernel over ``arrays``, in parallel where ``parts`` > 1.

    The caller has checked the arrays with :func:`check` or :func:`check_strided`; they are not
    checked again here or below.
    """
    # What `pack` and `_run_block` do, without their calls, which are a tenth of the time of a small launch.
    try:
        block = kernel.pack(*map(id, arrays), *scalars)
    except struct.error:
        block = pack(kernel, arrays, scalars)
    if _recorders:
        recorder = _recorders.get(threading.get_ident())
        if recorder is not None and recorder(kernel, parts, arrays, scalars):
            return
    address = kernel.address
    if parts > 1 or not address or _pool is None:
        _run_block(kernel, parts, block)
    else:
        _pool.LAUNCH.call(_pool.context, address, id(block), kernel.words, kernel.arrays, parts, False)


def pack(kernel: Kernel, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bytes:
    """The block of a launch, with the arrays by their ids."""
    try:
        return kernel.pack(*map(id, arrays), *scalars)
    except struct.error as error:
        raise TypeError(f"a scalar argument of {kernel.name} does not fit: {error}, found {scalars}") from None


def launch_unwatched(kernel: Kernel, parts: int, arrays: tuple[np.ndarray, ...], *scalars: float) -> None:
    """As :func:`launch`, without a call of the recorder: for recorders that run launches themselves."""
    if isinstance(kernel, HostCall):
        kernel.call(*arrays)
        return
    _run_block(kernel, parts, pack(kernel, arrays, scalars))


def call(host: HostCall, *arrays: np.ndarray) -> None:
    """Call a function of Python, or record the call among the launches."""
    recorder = _recorders.get(threading.get_ident()) if _recorders else None
    if recorder is None or not recorder(host, 1, arrays, ()):
        host.call(*arrays)


def launch_again(
    kernel: Kernel, parts: int, block: bytes, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...],
    follows: bool = False,
) -> None:
    """As :func:`launch`, with an already packed block of ``arrays`` and ``scalars``.

    ``follows``: run on one thread if the recording that ran a moment ago did; for launches no larger than it.
    """
    if _recorders:
        recorder = _recorders.get(threading.get_ident())
        if recorder is not None and recorder(kernel, parts, arrays, scalars):
            return
    _run_block(kernel, parts, block, follows)


def _run_block(kernel: Kernel, parts: int, block: bytes, follows: bool = False) -> None:
    address = kernel.address or kernel.compile()
    if _pool is None:
        _load_pool()
    if parts > 1 and not _pool.is_started:
        _pool.start()
    _pool.LAUNCH.call(_pool.context, address, id(block), kernel.words, kernel.arrays, parts, follows)


# The module ``pool``, which imports this one: loaded at the first launch.
_pool: Any = None


def _load_pool() -> None:
    global _pool
    from fastnn.kernels.runtime import pool

    _pool = pool


def is_watched() -> bool:
    """Whether the launches of this thread are recorded, so that each has to go through :func:`launch`."""
    return bool(_recorders) and threading.get_ident() in _recorders


def launch_each(launches: list[Launch]) -> bool:
    """Launch one by one if launches are recorded; return whether they are."""
    if not is_watched():
        return False
    for kernel, parts, arrays, scalars, _ in launches:
        if isinstance(kernel, HostCall):
            call(kernel, *arrays)
        else:
            launch(kernel, parts, arrays, *scalars)
    return True


def is_tracing() -> bool:
    """Whether launches are recorded here and do not run, so that outputs are undefined."""
    return bool(_guards) and threading.get_ident() in _guards


def guard_contents(array: np.ndarray, holds: Callable[[np.ndarray], bool]) -> bool:
    """If launches are recorded and do not run, require ``holds(array)`` at each replay; return whether they are.

    For properties of an array's contents that a kernel reports and Python reads after the launch.
    """
    if not is_tracing():
        return False
    _guards[threading.get_ident()].append((array, holds))
    return True


@contextmanager
def guarding(guards: list[Guard]) -> Iterator[None]:
    """Collect the guards of this thread's launches."""
    with _set(_guards, guards):
        yield


@contextmanager
def _set(table: dict[int, Any], value: Any) -> Iterator[None]:
    """Set this thread's entry in a table inside the block."""
    thread = threading.get_ident()
    before = table.get(thread)
    try:
        _put(table, value)
        yield
    finally:
        # Unless the entry was restored already: an interrupted block may end late.
        if table.get(thread) is value:
            _put(table, before)


def _put(table: dict[int, Any], value: Any) -> None:
    if value is None:
        table.pop(threading.get_ident(), None)
    else:
        table[threading.get_ident()] = value


@contextmanager
def unwatched() -> Iterator[None]:
    """Launches of this thread run inside the block, even if they are recorded outside."""
    with _set(_recorders, None), _set(_guards, None):
        yield


def independent() -> None:
    """Declare that the next launch does not read the outputs of the one before it."""
    if is_tracing():
        _recorders[threading.get_ident()](None, 0, (), ())


def watcher() -> Callable[..., Any] | None:
    """The recorder of this thread's launches, if any."""
    return _recorders.get(threading.get_ident()) if _recorders else None


def watch(watcher: Callable[..., Any] | None) -> None:
    """Set or remove the recorder of this thread's launches: as :func:`recording`, without a block."""
    _put(_recorders, watcher)


def end_trace(watcher: Callable[..., Any] | None) -> None:
    """Clean up after an interrupted trace: launches of this thread run again."""
    _put(_guards, None)
    _put(_recorders, watcher)


@contextmanager
def recording(watch: Callable[..., Any]) -> Iterator[None]:
    """Call ``watch(kernel, parts, arrays, scalars)`` at this thread's launches; if it returns true, nothing runs."""
    with _set(_recorders, watch):
        yield


def threading_layer() -> str:
    """How the parts of a launch run: 'fastnn', on the pool's threads, or 'serial', on the calling thread."""
    if _pool is None:
        _load_pool()
    return "fastnn" if _pool.start() else "serial"


def _keep_own(table: dict[int, Any]) -> None:
    """In a forked child, drop the entries of other threads: a new thread may get the same number."""
    thread = threading.get_ident()
    for other in [number for number in table if number != thread]:
        del table[other]


def _after_fork_in_child() -> None:
    _keep_own(_recorders)
    _keep_own(_guards)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
