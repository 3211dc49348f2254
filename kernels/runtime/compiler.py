"""Compilation: flags, the block of words that a slice reads, kernels and entries.

Every kernel of fastnn is a *slice*: a function ``f(args, t, n)`` that does part ``t`` of ``n`` of
the work. ``args`` is the address of a block of 64-bit words (addresses of arrays, sizes, scalars),
so that all slices have the same C signature. One launcher can therefore run any of them, alone or
in a list, on one thread or on many.
"""

from __future__ import annotations

import atexit
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
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

from fastnn.kernels.runtime.cache import CompiledCache, cache_folder
from fastnn.kernels.runtime.raw_memory import ARRAY_DATA, BYTES_DATA, IS_X86, WORD, layout_is_as_assumed

# Functions by which slices read their block, re-exported here.
from fastnn.kernels.runtime.raw_memory import integer as integer
from fastnn.kernels.runtime.raw_memory import pointer as pointer
from fastnn.kernels.runtime.raw_memory import real as real

# CodeGenPrepare must not turn the summands of an address into pointers (see ``raw_memory``). Kernels have no such
# sums, but Numba's own code adds to pointers as integers. LLVM 20 and 22 have the option, and ignore unknown options.
# On x86-64, where the tests run, it costs too much: addresses in an unrolled loop no longer share a register
# (activation_bias_backward: 27 KB instead of 23).
if not IS_X86:
    llvm.set_option("", "-addr-sink-using-gep=0")

# No fast-math flags: a kernel computes exactly what its source says. LLVM applies other flags after it has split a
# loop into vectors and a remainder, differently in the two: the bits of a number would depend on its position in its
# part, and so on the number of threads. This includes "contract": on arm64 LLVM fuses a product and a sum only where
# that seems faster. ``simd.multiply_add`` is a multiply-add with one rounding, if the CPU has it.
# Numba also applies the flags of a function to code that intrinsics write into it, such as the micro-kernel.
STRICT: set[str] = set()
# For functions that return sums and write nothing: terms may be added in any order; otherwise a sum is one chain of
# additions and not vectorised. Without nnan and ninf: NaN and infinity must come out as NaN and infinity.
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
# The Python error model puts a branch before each division, which prevents vectorisation.
_OPTIONS: dict[str, Any] = {"nopython": True, "error_model": "numpy"}

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)

_compile_lock: Any = threading.RLock()


@contextmanager
def _jit_enabled() -> Iterator[None]:
    """Compile inside, even with NUMBA_DISABLE_JIT set: a slice works on raw addresses and cannot run as plain Python.

    The variable still applies to all other code of the process.
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
        # Without a Python wrapper, which is half the compile time of a small function.
        with _jit_enabled():
            return njit(fastmath=fastmath, error_model="numpy", forceinline=True, no_cpython_wrapper=True)(f)

    return wrap if function is None else wrap(function)


def both(function: Callable[..., Any]) -> Any:
    """A function for both Python and compiled code: called normally in Python, inlined in compiled code."""
    return register_jitable(error_model="numpy", forceinline=True)(function)


# --------------------------------------------------------------------------------------------
# Reading the block of words


class Words(ModuleType):
    """The words of a slice's block by name: ``Words("out x; size code; slope").code`` is 3.

    Args:
        declaration: the names of the arrays, the integers and the float64 numbers, in this order.

    A slice reads them as ``array(args, _WORDS.out, ...)``. To Numba this is a module, because it takes attributes of
    modules as constants: the machine code is that of a literal number.
    """

    def __init__(self, declaration: str) -> None:
        super().__init__("words", declaration)
        parts = [part.split() for part in declaration.split(";")]
        names = [name for part in parts for name in part]
        if len(parts) > 3 or len(set(names)) != len(names):
            raise ValueError(
                "words must be arrays; integers; numbers, and each word must have a name of its own, "
                f"found {declaration!r}"
            )
        self._arrays, self._integers, self._reals = parts + [[]] * (3 - len(parts))
        vars(self).update({name: i for i, name in enumerate(names)})

    def __len__(self) -> int:
        return len(self._arrays) + len(self._integers) + len(self._reals)


@inline
def array_at(pointer, shape):
    """A C-contiguous array of ``shape`` that begins at ``pointer``."""
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


@intrinsic
def stack_pointer(typingctx, size, like):
    """The pointer to ``size`` (a literal) uninitialised numbers of the type of ``like``, on the stack of the slice.

    For functions that are not inlined. LLVM may take it that they do not touch a :func:`stack_array`, whose memory
    belongs to another function until that is inlined.
    """
    if not isinstance(size, types.IntegerLiteral):
        raise RequireLiteralValue(size)
    count = size.literal_value

    def codegen(context, builder, signature, values):
        slot = cgutils.alloca_once(builder, values[1].type, size=WORD(count))
        slot.align = 64
        return slot

    return types.CPointer(like)(size, like), codegen


@inline
def stack_array(size, like):
    """A small uninitialised array of ``size`` (a literal) numbers of the type of ``like``, on the stack.

    The compiler knows that it overlaps with no other array, so loops that write to it need no overlap check.
    """
    return carray(_stack(literally(size), like), (size,), type(like))


@inline
def part(size, t, n):
    """Bounds ``(first, last)`` of part ``t`` of ``n`` of ``range(size)``; a part may be empty."""
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
    # In the main thread, while Ctrl-C is held back: calls the handler for each that came.
    deliver: Callable[[], None] | None = None


_starting = _Starting()


def starting_seconds() -> float:
    """The time that this thread has spent on one-time work: compiling or loading code and starting threads."""
    return _starting.seconds


@contextmanager
def _once() -> Iterator[None]:
    """Count the time of the block as starting."""
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
    """Compile inside, one thread at a time and not interrupted by Ctrl-C: LLVM's callbacks would swallow it or break.

    Also for the start of threads. :func:`_compile` lets Ctrl-C through while it waits.
    """
    if "NUMBA_DISABLE_JIT" in os.environ:
        # The compiler reads changed variables again, and must not see this one while it compiles.
        config.reload_config()
    with _once(), _jit_enabled():
        before = signal.getsignal(signal.SIGINT)
        # None: a handler that was not set from Python, and cannot be restored from here.
        if threading.current_thread() is not threading.main_thread() or _starting.depth > 1 or before is None:
            yield
            return
        interrupted: list[Any] = []

        def deliver() -> None:
            while interrupted:
                arguments = interrupted.pop(0)
                if callable(before):
                    before(*arguments)

        signal.signal(signal.SIGINT, lambda *arguments: interrupted.append(arguments))
        _starting.deliver = deliver
        try:
            yield
        finally:
            _starting.deliver = None
            signal.signal(signal.SIGINT, before)
        deliver()


# Threads that compile what was not waited for.
_abandoned: list[threading.Thread] = []


def _compile(compile_now: Callable[[], Any], is_cached: bool) -> None:
    """Compile; in the main thread by another one, so that Ctrl-C need not wait for LLVM, which takes seconds.

    After Ctrl-C the other thread goes on, and what it compiles is in the cache for the next call.
    """
    deliver = _starting.deliver
    if deliver is None or is_cached:
        compile_now()
        return
    failed: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            compile_now()
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="fastnn-compiler", daemon=True)
    thread.start()
    try:
        while not done.wait(0.1):
            deliver()
    except BaseException:
        if not _abandoned:
            atexit.register(_end_abandoned)
        _abandoned.append(thread)
        raise
    if failed:
        raise failed[0]


def _end_abandoned() -> None:
    """Before the interpreter ends: LLVM must not run while the process frees its memory."""
    if not any(thread.is_alive() for thread in _abandoned):
        return
    if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt) and hasattr(signal, "SIGKILL"):
        # Ended by Ctrl-C: as Python does at its end, by the signal itself, and without a wait for LLVM.
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    for thread in _abandoned:
        thread.join()


# The check that must pass before compiled code is used, and the code compiled during the check.
_check: Callable[[], None] | None = None
_checking: list[Kernel | Entry] | None = None
_check_lock = threading.RLock()


def check_before_use(check: Callable[[], None]) -> None:
    """Call ``check()`` before the first kernel or entry is used; if it raises, no kernel can be used."""
    global _check
    _check = check


def make_sure() -> None:
    """Run the check given to :func:`check_before_use`, once."""
    global _check, _checking
    if _check is None:
        return
    with _check_lock:
        # The check itself calls this function, too.
        if _check is None or _checking is not None:
            return
        # Imported here because launcher imports this module; the check runs once in a process, on few machines.
        from fastnn.kernels.runtime.launcher import unwatched

        _checking = []
        try:
            with unwatched():
                _check()
            _check = None
        except BaseException:
            for made in _checking:
                made.forget()
            raise
        finally:
            _checking = None


def compile_callback(function: Callable[..., None], signature: Any, **options: Any) -> CFunc:
    """A C callback for compiled code, called by address; the name of ``function`` is its key in the disk cache."""
    with starting():
        code: Any = CFunc(function, (signature.args, signature.return_type), {}, {**_OPTIONS, **options})
        code._cache = CompiledCache(function.__name__, _report)
        _compile(code.compile, code._cache.has(code._sig))
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
        # Keeps the code of `call`.
        self._code: Any = None

    def _first_call(self, *args: Any) -> Any:
        make_sure()
        with starting():
            if self.call == self._first_call:
                name = self.function.__name__
                _compile(self._build_now, CompiledCache(name, _report).has(self._signature))
                [compiled] = self._code.overloads.values()
                # Not the dispatcher, which looks at the types of the arguments first: 0.33 of its 0.69 us.
                self.call = compiled.entry_point
                if _checking is not None:
                    _checking.append(self)
        return self.call(*args)

    def _build_now(self) -> None:
        self._code = self.build()

    def forget(self) -> None:
        """Return to the state before the first call."""
        self.call = self._first_call

    def build(self) -> Callable[..., Any]:
        """Compile the function, or load it from the disk cache (tests read its code)."""
        dispatcher: Any = njit(nogil=True, error_model="numpy")(self.function)
        dispatcher._cache = CompiledCache(self.function.__name__, _report)
        dispatcher.compile(self._signature)
        dispatcher.disable_compile()
        return dispatcher


class Kernel:
    """A slice and its properties, compiled at its first launch.

    Args:
        name: unique name, the key in the disk cache.
        function: ``f(args, t, n)``, the slice.
        words: the words of its block, which the slice reads.
        outputs: the arrays that it writes; without them it cannot be captured.
        stand_in: the output that is passed in place of a missing input; it is not read there.
        shared: for row-wise kernels, the inputs that all rows share; row i of the outputs depends only on
            these and on row i of the other inputs.
        operations: the floating-point operations of a launch, as a function of its integers and numbers.
        fastmath: the flags of the slice's own arithmetic.

    ``kernel.place["size"]`` is the index of a word among the arrays, or among the integers and numbers together.
    """

    def __init__(
        self, name: str, function: Callable[..., None], words: Words, *, outputs: str | None = None,
        stand_in: str | None = None, shared: str | None = None, operations: Callable[..., float] | None = None,
        fastmath: set[str] = STRICT,
    ) -> None:
        arrays, integers, reals = words._arrays, words._integers, words._reals
        scalars = [*integers, *reals]
        self.place = {word: i for names in (arrays, scalars) for i, word in enumerate(names)}
        self.outputs = None if outputs is None else self._places("outputs", outputs, arrays)
        self.stand_in = None if stand_in is None else self.place[stand_in]
        if stand_in is not None and self.stand_in not in (self.outputs or ()):
            raise ValueError(f"kernel {name}: stand_in must be an output, found {stand_in!r}")
        self.shared = None if shared is None else self._places("shared", shared, arrays)
        self.operations = operations
        self.name, self.function, self.arrays, self.fastmath = name, function, len(arrays), fastmath
        self.words = len(words)
        if self.words > MAX_WORDS:
            raise ValueError(f"kernel {name} must have at most {MAX_WORDS} words, found {self.words}")
        self.pack = struct.Struct(f"={len(arrays) + len(integers)}q{len(reals)}d").pack
        self.address = 0
        self._code: CFunc | None = None

    def _places(self, what: str, names: str, arrays: list[str]) -> tuple[int, ...]:
        for name in names.split():
            if name not in arrays:
                raise ValueError(f"{what} must name arrays among {', '.join(arrays)}, found {name!r}")
        return tuple(arrays.index(name) for name in names.split())

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
                _compile(code.compile, code._cache.has(code._sig))
                self._code, self.address = code, code.address
                if _checking is not None:
                    _checking.append(self)
        return self.address

    def forget(self) -> None:
        """Return to the state before :meth:`compile`."""
        self.address = 0

    def build(self) -> CFunc:
        """A fresh, uncompiled callback of this slice without a cache (tests read its assembly)."""
        signature = (types.int64, types.int64, types.int64), types.void
        return CFunc(self.function, signature, {}, {**_OPTIONS, "fastmath": self.fastmath})


def by_dtype(
    name: str, build: Callable[[Any], Callable[..., None]], words: Words, **facts: Any
) -> dict[np.dtype, Kernel]:
    """One kernel per floating-point dtype; ``build(dtype)`` returns the slice, ``facts`` go to :class:`Kernel`."""
    return {
        dtype: Kernel(f"{name}.{dtype.name}", build(dtype.type), words, **facts) for dtype in (FLOAT32, FLOAT64)
    }


# A fork waits so many seconds for a compilation in another thread. LLVM has locks of its own, which no child can
# release: without the wait one child in four of a program that compiled meanwhile never ended.
FORK_PATIENCE = 60.0
# The locks that this thread took for a fork.
_taken: list[Any] = []


def _locks() -> tuple[Any, ...]:
    """In the order in which a compilation takes them."""
    return _compile_lock, global_compiler_lock._lock, llvm_ffi.lib._lock._lock


def _before_fork() -> None:
    """Let other threads finish what they compile."""
    end = time.monotonic() + FORK_PATIENCE
    for lock in _locks():
        # After the time is over the child gets new locks, and works unless it compiles.
        if lock.acquire(timeout=max(0.0, end - time.monotonic())):
            _taken.append(lock)


def _release_taken() -> None:
    while _taken:
        _taken.pop().release()


def _renew_lock(lock: Any) -> None:
    """In a forked child, release a lock that was held by a thread of the parent, which does not exist here."""
    is_owned = getattr(lock, "_is_owned", None)
    if is_owned is None or not is_owned():
        lock._at_fork_reinit()


def _after_fork_in_child() -> None:
    global _checking
    _checking = None
    for lock in (_check_lock, *_locks()):
        _renew_lock(lock)
    _release_taken()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_release_taken, after_in_child=_after_fork_in_child)


# --------------------------------------------------------------------------------------------
# Statistics of compilation

compilations: list[tuple[str, float]] = []


def _report(name: str, seconds: float | None) -> None:
    """Called by the cache, with ``None`` before a kernel is compiled and with the seconds after it."""
    if seconds is None:
        if not compilations and not os.environ.get("FASTNN_QUIET"):
            folder = cache_folder()
            where = f"kept in {folder}" if folder else "no folder can be written, so every process compiles"
            print(f"fastnn: compiling kernels for this CPU, once; {where}", file=sys.stderr, flush=True)
    else:
        compilations.append((name, seconds))


if not layout_is_as_assumed():
    raise ImportError("fastnn needs CPython and NumPy with their usual object layout")
