"""The machine room: the one place that owns jit flags, the kernel cache, threads and launches.

Every kernel of fastnn is a *slice*: a function ``f(args, t, n)`` that does part ``t`` of ``n`` of
the work. ``args`` is the address of a block of 64-bit words (addresses of arrays, sizes, scalars),
so that every slice has one and the same C signature. A launcher that knows nothing of the
arithmetic can therefore run any of them, alone or in a list, on one thread or on many.
"""

from __future__ import annotations

import math
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
import llvmlite.binding.ffi as llvm_ffi
import numpy as np
from llvmlite import ir
from numba import carray, literally, njit, types
from numba.core import cgutils, config
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic, register_jitable

from fastnn.kernels.runtime import alloc
from fastnn.kernels.runtime.cache import CompiledCache, cache_folder
from fastnn.kernels.runtime.memory import ARRAY_DATA, BYTES_DATA, IS_X86, WORD, layout_is_as_assumed

# What slices read their block with, at hand where they find the rest of the machine room.
from fastnn.kernels.runtime.memory import integer as integer
from fastnn.kernels.runtime.memory import pointer as pointer
from fastnn.kernels.runtime.memory import real as real

# CodeGenPrepare must not make pointers of the summands of an address (see ``words``): kernels leave it nothing to take
# apart, but Numba's own code adds to pointers as integers. LLVM 20 and 22 have the option, and ignore one that they do
# not know. On x86-64, where all of that is tested, it costs too much: addresses in an unrolled loop no longer share a
# register (activation_bias_backward: 27 KB instead of 23).
if not IS_X86:
    llvm.set_option("", "-addr-sink-using-gep=0")

# What a kernel computes is what its source says. LLVM uses the freedom that other flags give it after it has cut a loop
# into vectors and a remainder, and not in the same way in the two: the bits of a number would depend on where in its
# part it stands, and so on the number of threads. "contract" is no exception: on arm64 LLVM fuses a product and a sum
# only where that seems faster. A multiply-add with one rounding, where the CPU has it, is ``simd.multiply_add``.
# Numba gives the flags of a function also to what intrinsics write into it, the micro-kernel for example.
STRICT: set[str] = set()
# For functions that return sums, and write nothing: their terms may be added in any order, or there is one chain of
# additions instead of many vectors. Without nnan and ninf: NaN and infinity must come out as NaN and infinity.
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
# The Python error model puts a branch before each division, and no such loop is vectorised.
_OPTIONS: dict[str, Any] = {"nopython": True, "error_model": "numpy"}

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)

_compile_lock: Any = threading.RLock()


@contextmanager
def _jit_enabled() -> Iterator[None]:
    """Compile inside, even with NUMBA_DISABLE_JIT set: a slice works on raw addresses and cannot run as plain Python.

    The variable still holds for all other code of the process.
    """
    with _compile_lock:
        disabled, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = disabled


def inline(function: Callable[..., Any] | None = None, *, fastmath: set[str] = STRICT) -> Any:
    """Jit a helper that slices call; it is inlined into them and never called from Python."""

    def wrap(f: Callable[..., Any]) -> Any:
        # Without a Python wrapper: half the compile time of a small function is that wrapper.
        with _jit_enabled():
            return njit(fastmath=fastmath, error_model="numpy", forceinline=True, no_cpython_wrapper=True)(f)

    return wrap if function is None else wrap(function)


def both(function: Callable[..., Any]) -> Any:
    """A function for Python and for compiled code alike: plain in the one, inlined in the other."""
    return register_jitable(error_model="numpy", forceinline=True)(function)


# --------------------------------------------------------------------------------------------
# Reading the block of words


@inline
def array_at(pointer, shape):
    """A C-contiguous array of ``shape`` that begins where ``pointer`` points."""
    return carray(pointer, shape)


@inline
def array(args, index, shape, dtype):
    """A C-contiguous array of ``shape`` and ``dtype`` at the address in word ``index``."""
    return carray(pointer(args, index, dtype(0)), shape)


@intrinsic
def _stack(typingctx, size, like):
    """The address of ``size`` (a literal) numbers of the type of ``like`` on the stack of the slice."""
    if not isinstance(size, types.IntegerLiteral):
        raise RequireLiteralValue(size)
    count = size.literal_value

    def codegen(context, builder, signature, values):
        slot = cgutils.alloca_once(builder, values[1].type, size=WORD(count))
        slot.align = 64
        return builder.bitcast(slot, ir.IntType(8).as_pointer())

    return types.voidptr(size, like), codegen


@inline
def stack_array(size, like):
    """A small array of ``size`` (a literal) numbers of the type of ``like``, not initialised, on the stack.

    The compiler knows that it overlaps with no other array, so loops that write to it need no test of that.
    """
    return carray(_stack(literally(size), like), (size,), type(like))


@inline
def part(size, t, n):
    """Bounds ``(first, last)`` of part ``t`` of ``n`` of ``range(size)``; empty parts are fine."""
    return size * t // n, size * (t + 1) // n


# --------------------------------------------------------------------------------------------
# Launching


@intrinsic
def unpack(typingctx, block, words, arrays):
    """Copy a block out of a bytes object; its first ``arrays`` words, ids of ndarrays, become addresses."""

    def codegen(context, builder, signature, values):
        block, words, arrays = values
        byte = ir.IntType(8).as_pointer()
        source = builder.gep(builder.inttoptr(block, byte), [WORD(BYTES_DATA)])
        source = builder.bitcast(source, WORD.as_pointer())
        target = cgutils.alloca_once(builder, WORD, size=WORD(MAX_WORDS))
        with cgutils.for_range(builder, words) as loop:
            word = builder.load(builder.gep(source, [loop.index]))
            slot = builder.gep(target, [loop.index])
            builder.store(word, slot)
            with builder.if_then(builder.icmp_signed("<", loop.index, arrays)):
                field = builder.gep(builder.inttoptr(word, byte), [WORD(ARRAY_DATA)])
                builder.store(builder.load(builder.bitcast(field, WORD.as_pointer())), slot)
        return builder.ptrtoint(target, WORD)

    return types.int64(types.int64, types.int64, types.int64), codegen


MAX_WORDS = 32

class _Starting(threading.local):
    seconds, depth = 0.0, 0


_starting = _Starting()


def starting_seconds() -> float:
    """How long this thread has compiled or loaded code and started threads so far: what is done once in a process."""
    return _starting.seconds


@contextmanager
def _once() -> Iterator[None]:
    """A block that counts as starting."""
    start = time.perf_counter()
    _starting.depth += 1
    try:
        yield
    finally:
        _starting.depth -= 1
        if not _starting.depth:
            _starting.seconds += time.perf_counter() - start


@contextmanager
def starting() -> Iterator[None]:
    """One compilation at a time, and none cut in two by Ctrl-C: LLVM's callbacks would swallow it or break.

    The same for the start of threads.
    """
    if "NUMBA_DISABLE_JIT" in os.environ:
        # The compiler reads changed variables again, and must not find this one while it compiles.
        config.reload_config()
    with _once(), _jit_enabled():
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        interrupted: list[Any] = []
        before = signal.getsignal(signal.SIGINT)
        # None: a handler that was not set from Python, and cannot be set again from here.
        if before is not None:
            signal.signal(signal.SIGINT, lambda *arguments: interrupted.append(arguments))
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
        if interrupted and callable(before):
            before(*interrupted[0])


# What has to be true before compiled code is used, and what was compiled to find out.
_check: Callable[[], None] | None = None
_checking: list[Kernel | Entry] | None = None
_check_lock = threading.RLock()


def check_before_use(check: Callable[[], None]) -> None:
    """Call ``check()`` before the first kernel or entry is used; where it raises, none ever is."""
    global _check
    _check = check


def make_sure() -> None:
    """Make the check that :func:`check_before_use` was given, once."""
    global _check, _checking
    if _check is None:
        return
    with _check_lock:
        # The check itself comes here, too.
        if _check is None or _checking is not None:
            return
        _checking = []
        try:
            with _unwatched():
                _check()
            _check = None
        except BaseException:
            for made in _checking:
                made.forget()
            raise
        finally:
            _checking = None


def compile_callback(function: Callable[..., None], signature: Any, **options: Any) -> CFunc:
    """A C callback that compiled code calls by its address; the name of ``function`` is its key in the disk cache."""
    with starting():
        code: Any = CFunc(function, (signature.args, signature.return_type), {}, {**_OPTIONS, **options})
        code._cache = CompiledCache(function.__name__, _report)
        code.compile()
    return code


class Entry:
    """A function that Python calls with integers and float64 numbers, compiled at its first call.

    Args:
        function: its name is the key in the disk cache.
        arguments, result: Numba's types.

    ``entry.call(...)`` calls it without the global interpreter lock.
    """

    def __init__(self, function: Callable[..., Any], arguments: list[types.Type], result: types.Type) -> None:
        self.function, self._signature = function, result(*arguments)
        self.call: Callable[..., Any] = self._first_call

    def _first_call(self, *args: Any) -> Any:
        make_sure()
        with starting():
            if self.call == self._first_call:
                self.call = self.build()
                if _checking is not None:
                    _checking.append(self)
        return self.call(*args)

    def forget(self) -> None:
        """Be as before the first call."""
        self.call = self._first_call

    def build(self) -> Callable[..., Any]:
        """Compile the function, or load it from the disk cache (tests read its code)."""
        dispatcher: Any = njit(nogil=True, error_model="numpy")(self.function)
        dispatcher._cache = CompiledCache(self.function.__name__, _report)
        dispatcher.compile(self._signature)
        dispatcher.disable_compile()
        return dispatcher


class Kernel:
    """A slice with the layout of its block, compiled at its first launch.

    Args:
        name: unique name, the key in the disk cache.
        function: ``f(args, t, n)``, the slice.
        arrays: how many words of the block are arrays; they come first.
        integers, reals: how many integers and float64 scalars follow, in this order.
        fastmath: the flags of the slice's own arithmetic.
        outputs: which of the arrays it writes; None if that is not known.
    """

    def __init__(
        self, name: str, function: Callable[..., None], arrays: int, integers: int = 0, reals: int = 0,
        fastmath: set[str] = STRICT, outputs: tuple[int, ...] | None = None,
    ) -> None:
        self.outputs = outputs
        self.name, self.function, self.arrays, self.fastmath = name, function, arrays, fastmath
        self.words = arrays + integers + reals
        if self.words > MAX_WORDS:
            raise ValueError(f"kernel {name} needs {self.words} words, a block has {MAX_WORDS}")
        self.pack = struct.Struct(f"={arrays + integers}q{reals}d").pack
        self.address = 0
        self._code: CFunc | None = None

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def compile(self) -> int:
        """Compile the slice, or load it from the disk cache, and return its address."""
        if self.address:
            return self.address
        make_sure()
        with starting():
            if not self.address:
                code: Any = self.build()
                code._cache = CompiledCache(self.name, _report)
                code.compile()
                self._code, self.address = code, code.address
                if _checking is not None:
                    _checking.append(self)
        return self.address

    def forget(self) -> None:
        """Be as before :meth:`compile`."""
        self.address = 0

    def build(self) -> CFunc:
        """A fresh, uncompiled callback of this slice without a cache (tests read its assembly)."""
        signature = (types.int64, types.int64, types.int64), types.void
        return CFunc(self.function, signature, {}, {**_OPTIONS, "fastmath": self.fastmath})


def by_dtype(
    name: str, build: Callable[[Any], Callable[..., None]], arrays: int, integers: int = 0, reals: int = 0,
    fastmath: set[str] = STRICT, outputs: tuple[int, ...] | None = None,
) -> dict[np.dtype, Kernel]:
    """One kernel per floating-point dtype; ``build(dtype)`` returns the slice."""
    return {
        dtype: Kernel(f"{name}.{dtype.name}", build(dtype.type), arrays, integers, reals, fastmath, outputs)
        for dtype in (FLOAT32, FLOAT64)
    }


def kernel_for(kernels: dict[np.dtype, Kernel], name: str, a: np.ndarray) -> Kernel:
    """The kernel for the dtype of ``a``; TypeError where there is none."""
    try:
        return kernels[a.dtype]
    except (KeyError, AttributeError, TypeError):
        found = getattr(a, "dtype", type(a).__name__)
        raise TypeError(f"{name} must have dtype float32 or float64, found {found}") from None


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array that begins at a cache line: no vector of a row of whole lines lies in two of them."""
    size = math.prod(shape) * dtype.itemsize
    room = alloc.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


_ones: dict[tuple[int, np.dtype], np.ndarray] = {}


def ones(count: int, dtype: np.dtype) -> np.ndarray:
    """A read-only vector of ones, the same one each time: a constant that a recording may rely on."""
    found = _ones.get((count, dtype))
    if found is None:
        found = np.ones(count, dtype)
        found.flags.writeable = False
        # Kept as long as the process for the sizes that come first; nobody has so many kinds of classes.
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

# By thread: one thread's launches are no business of another's recording.
_recorders: dict[int, Callable[..., Any]] = {}
_guards: dict[int, list[Guard]] = {}


def launch(kernel: Kernel, parts: int, arrays: tuple[np.ndarray, ...], *scalars: float) -> None:
    """Run ``parts`` parts of a kernel over ``arrays``, in parallel where ``parts`` > 1.

    The caller has checked the arrays with :func:`check` or :func:`check_strided`; nothing here
    or below looks at them again.
    """
    if _recorders:
        recorder = _recorders.get(threading.get_ident())
        if recorder is not None:
            pack(kernel, arrays, scalars)
            if recorder(kernel, parts, arrays, scalars):
                return
    launch_unwatched(kernel, parts, arrays, *scalars)


def pack(kernel: Kernel, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bytes:
    """The block of a launch, with the arrays by their ids."""
    try:
        return kernel.pack(*map(id, arrays), *scalars)
    except struct.error as error:
        raise TypeError(f"a scalar argument of {kernel.name} does not fit: {error}, found {scalars}") from None


def launch_unwatched(kernel: Kernel, parts: int, arrays: tuple[np.ndarray, ...], *scalars: float) -> None:
    """As :func:`launch`, for who watches launches and runs them."""
    _run_block(kernel, parts, pack(kernel, arrays, scalars))


def launch_again(
    kernel: Kernel, parts: int, block: bytes, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]
) -> None:
    """As :func:`launch`, with the block of ``arrays`` and ``scalars``, which was packed before."""
    if _recorders:
        recorder = _recorders.get(threading.get_ident())
        if recorder is not None and recorder(kernel, parts, arrays, scalars):
            return
    _run_block(kernel, parts, block)


def _run_block(kernel: Kernel, parts: int, block: bytes) -> None:
    address = kernel.address or kernel.compile()
    if _pool is None:
        _load_pool()
    if parts > 1 and not _pool.is_started:
        _pool.start()
    _pool.LAUNCH.call(_pool.context, address, id(block), kernel.words, kernel.arrays, parts)


# The module ``pool``, which is built on this one: loaded at the first launch.
_pool: Any = None


def _load_pool() -> None:
    global _pool
    from fastnn.kernels.runtime import pool

    _pool = pool


def is_watched() -> bool:
    """Whether somebody records the launches, so that each has to go through :func:`launch`."""
    return bool(_recorders) and threading.get_ident() in _recorders


def launch_each(launches: list[Launch]) -> bool:
    """Launch one by one where somebody watches; whether that is so."""
    if not is_watched():
        return False
    for kernel, parts, arrays, scalars, _ in launches:
        launch(kernel, parts, arrays, *scalars)
    return True


def is_tracing() -> bool:
    """Whether launches are recorded here and do not run, so that no output means anything."""
    return bool(_guards) and threading.get_ident() in _guards


def guard_contents(array: np.ndarray, holds: Callable[[np.ndarray], bool]) -> bool:
    """Whether launches are recorded here and do not run; then ``holds(array)`` must be true at each replay.

    For what a kernel finds out about the contents of an array, which Python looks at after the launch.
    """
    if not is_tracing():
        return False
    _guards[threading.get_ident()].append((array, holds))
    return True


@contextmanager
def guarding(guards: list[Guard]) -> Iterator[None]:
    """Collect what the launches of this thread rely on."""
    with _set(_guards, guards):
        yield


@contextmanager
def _set(table: dict[int, Any], value: Any) -> Iterator[None]:
    """This thread's entry in a table, for a while."""
    thread = threading.get_ident()
    before = table.get(thread)
    try:
        _put(table, value)
        yield
    finally:
        # Not where somebody else has put that in order already: an interrupted block may end late.
        if table.get(thread) is value:
            _put(table, before)


def _put(table: dict[int, Any], value: Any) -> None:
    if value is None:
        table.pop(threading.get_ident(), None)
    else:
        table[threading.get_ident()] = value


@contextmanager
def _unwatched() -> Iterator[None]:
    """Launches of this thread run, whoever watches or records them outside."""
    with _set(_recorders, None), _set(_guards, None):
        yield


def independent() -> None:
    """Say that the next launch does not read what the one before it writes."""
    if is_tracing():
        _recorders[threading.get_ident()](None, 0, (), ())


def watcher() -> Callable[..., Any] | None:
    """Who watches this thread's launches."""
    return _recorders.get(threading.get_ident()) if _recorders else None


def watch(watcher: Callable[..., Any] | None) -> None:
    """Let somebody, or nobody, watch this thread's launches: as :func:`recording`, without a block."""
    _put(_recorders, watcher)


def end_trace(watcher: Callable[..., Any] | None) -> None:
    """Put in order what a trace that was interrupted may have left: launches of this thread run again."""
    _put(_guards, None)
    _put(_recorders, watcher)


@contextmanager
def recording(watch: Callable[..., Any]) -> Iterator[None]:
    """Call ``watch(kernel, parts, arrays, scalars)`` at this thread's launches; where it returns true, nothing runs."""
    with _set(_recorders, watch):
        yield


# --------------------------------------------------------------------------------------------
# Checks: what stands between a caller and raw addresses

# NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED of NumPy's C API.
_READABLE = 0x0001 | 0x0100


def check(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Raise unless ``a`` is an aligned, C-contiguous ndarray of this dtype and shape (about 100 ns)."""
    if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or ~a.flags.num & _READABLE:
        raise _explain(name, a, dtype, shape, "C-contiguous and aligned")


def check_output(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """As :func:`check`, for an array that the kernel writes."""
    if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or not a.flags.carray:
        raise _explain(name, a, dtype, shape, "C-contiguous, aligned and writeable")


def check_strided(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, int]) -> tuple[int, int]:
    """Raise unless ``a`` is an aligned matrix of this dtype and shape; return its strides in numbers."""
    if type(a) is not np.ndarray or a.dtype != dtype or a.shape != shape or not a.flags.aligned:
        raise _explain(name, a, dtype, shape, "aligned")
    size = a.itemsize
    rows, columns = a.strides
    return rows // size, columns // size


def matrix_shape(name: str, a: np.ndarray) -> tuple[int, int]:
    """The shape of a matrix; TypeError for what is no array, ValueError for another number of dimensions."""
    if type(a) is not np.ndarray:
        raise _explain(name, a, FLOAT32, (), "")
    if a.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, found shape {a.shape}")
    return a.shape


def check_rows(
    name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, int], *, output: bool = False
) -> int:
    """Raise unless ``a`` is a matrix whose rows are contiguous; return the elements between rows."""
    # NumPy gives an array without elements any strides.
    if (
        type(a) is not np.ndarray
        or a.dtype != dtype
        or a.shape != shape
        or not (a.flags.behaved if output else a.flags.aligned)
        or (a.size and shape[1] > 1 and a.strides[1] != a.itemsize)
        or (a.size and a.strides[0] % a.itemsize)
        or (output and a.size and shape[0] > 1 and a.strides[0] < shape[1] * a.itemsize)
    ):
        raise _explain(name, a, dtype, shape, "aligned, with contiguous rows")
    return a.strides[0] // a.itemsize


def _explain(name: str, a: Any, dtype: np.dtype, shape: tuple[int, ...], layout: str) -> Exception:
    if not isinstance(a, np.ndarray):
        return TypeError(f"{name} must be a NumPy array, found {type(a).__name__}")
    if type(a) is not np.ndarray:
        return TypeError(f"{name} must be a plain NumPy array, found the subclass {type(a).__name__}")
    if a.dtype != dtype:
        return TypeError(f"{name} must have dtype {dtype}, found {a.dtype}")
    if a.shape != shape:
        return ValueError(f"{name} must have shape {shape}, found {a.shape}")
    alignment = "aligned" if a.flags.aligned else "misaligned"
    access = "writeable" if a.flags.writeable else "read-only"
    return ValueError(f"{name} must be {layout}, found strides {a.strides}, {alignment}, {access}")


# --------------------------------------------------------------------------------------------
# Threads

_threads = int(config.NUMBA_NUM_THREADS)

# A fork and join costs about 2 us under OpenMP; below this many operations one thread is faster.
SERIAL_OPERATIONS = 400_000
# The same inside a program, where a barrier costs a tenth of that, and where data that the next launch finds in
# another core's cache costs more than it saves to compute it on one.
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
    """How many threads a launch may use."""
    return _threads


def chunks_for(operations: float) -> int:
    """Into how many parts to cut a launch of this many floating-point operations."""
    serial = SERIAL_OPERATIONS
    if serial and is_tracing():
        serial = SERIAL_IN_PROGRAM
    if operations < serial:
        return 1
    # No part with less work than a fork and join costs, however many threads were asked for.
    return min(_threads, int(2 * operations / serial) if serial else _threads)


def threading_layer() -> str:
    """Who runs the parts of a launch: 'fastnn', threads of its own, or 'serial', the calling thread alone."""
    if _pool is None:
        _load_pool()
    return "fastnn" if _pool.start() else "serial"


def _renew_lock(lock: Any) -> None:
    """In a forked child, release a lock that a thread of the parent's held: that thread is not here to do it."""
    is_owned = getattr(lock, "_is_owned", None)
    if is_owned is None or not is_owned():
        lock._at_fork_reinit()


def _keep_own(table: dict[int, Any]) -> None:
    """In a forked child, forget what other threads had in a table by thread: a new thread may get such a number."""
    thread = threading.get_ident()
    for other in [number for number in table if number != thread]:
        del table[other]


def _after_fork_in_child() -> None:
    global _checking
    _checking = None
    for lock in (_compile_lock, _check_lock, global_compiler_lock._lock, llvm_ffi.lib._lock._lock):
        _renew_lock(lock)
    _keep_own(_recorders)
    _keep_own(_guards)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --------------------------------------------------------------------------------------------
# Compilation: how much of it there was

compilations: list[tuple[str, float]] = []


def _report(name: str, seconds: float | None) -> None:
    """Called by the cache: with ``None`` before a kernel is compiled, with its seconds after."""
    if seconds is None:
        if not compilations and not os.environ.get("FASTNN_QUIET"):
            folder = cache_folder()
            where = f"kept in {folder}" if folder else "no folder can be written, so every process compiles"
            print(f"fastnn: compiling kernels for this CPU, once; {where}", file=sys.stderr, flush=True)
    else:
        compilations.append((name, seconds))


if not layout_is_as_assumed():
    raise ImportError("fastnn needs CPython and NumPy with their usual object layout")
