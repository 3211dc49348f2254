"""Memory access by address, for compiled code: words, numbers, array objects, atomics.

Compiled code never adds anything to an address. There are two ways to access memory, and both keep the
base address apart from the index:

- A block or a table of 64-bit words: the address of the first word, and the index of a word
  (``integer(table, row * ROW + PARTS)``).
- Numbers of one type: ``pointer(args, index, like)`` is the address in a word of a block as a pointer,
  and ``ahead(pointer, count)`` is the pointer ``count`` numbers later.

Both become one ``getelementptr`` on the base address. Integer addition must not replace it,
because LLVM does not know which summand is the address. CodeGenPrepare rewrites a load from
``table + row * 128`` as a ``getelementptr`` on one of the two, on AArch64 on ``row * 128``, and Numba
links a helper into its callers after that pass has changed it. Where the caller's loop is unrolled,
the first row's base is then the null pointer: LLVM concludes that the load cannot read the caller's
table on the stack and drops the launch. Except on x86-64, ``compiler`` also turns that rewriting off.

The lowest module: it imports nothing of fastnn. The functions are for kernels and for the code
around them, never for Python callers.
"""

from __future__ import annotations

import platform
import sys

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# The kind of processor that the tests run on, under the names that systems use.
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

WORD = ir.IntType(64)
# A CPython object begins with a header of this size. In an ndarray the data address follows it
# (PyArrayObject_fields of NumPy's C API); in a bytes object the bytes come at the end of its basic size.
ARRAY_DATA = object.__basicsize__
BYTES_DATA = bytes.__basicsize__ - 1

# Offsets of PyArrayObject_fields from the address of the object. The type is the last field of the header.
_TYPE = ARRAY_DATA - 8
_NDIM, _DIMENSIONS, _STRIDES = ARRAY_DATA + 8, ARRAY_DATA + 16, ARRAY_DATA + 24
_DESCRIPTOR, _FLAGS = ARRAY_DATA + 40, ARRAY_DATA + 48


def _words(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, WORD.as_pointer())


def _word_at(builder: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    """The pointer to a word: an address and an index."""
    return builder.gep(_words(builder, values[0]), [values[1]])


@intrinsic
def integer(typingctx, args, index):
    """Word ``index`` of the block at address ``args``, as an integer."""

    def codegen(context, builder, signature, values):
        return builder.load(builder.gep(_words(builder, values[0]), [values[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def real(typingctx, args, index):
    """Word ``index`` of the block at address ``args``, as a float64."""

    def codegen(context, builder, signature, values):
        base = builder.inttoptr(values[0], ir.DoubleType().as_pointer())
        return builder.load(builder.gep(base, [values[1]]))

    return types.float64(types.int64, types.int64), codegen


@intrinsic
def put_integer(typingctx, args, index, value):
    """Set word ``index`` of the block at address ``args``."""

    def codegen(context, builder, signature, values):
        builder.store(values[2], builder.gep(_words(builder, values[0]), [values[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def put_real(typingctx, args, index, value):
    """Set word ``index`` of the block at address ``args`` to a float64."""

    def codegen(context, builder, signature, values):
        base = builder.inttoptr(values[0], ir.DoubleType().as_pointer())
        builder.store(values[2], builder.gep(base, [values[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), codegen


def stack_words(size: int):
    """An intrinsic ``f()``: the address of ``size`` words that live until the calling function returns."""

    @intrinsic
    def place(typingctx):
        def codegen(context, builder, signature, values):
            return builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(WORD, size)), WORD)

        return types.int64(), codegen

    return place


@intrinsic
def pointer(typingctx, args, index, like):
    """Word ``index`` of the block at address ``args``, an address, as a pointer to numbers of the type of ``like``."""
    if not isinstance(like, types.Number):
        return None

    def codegen(context, builder, signature, values):
        address = builder.load(builder.gep(_words(builder, values[0]), [values[1]]))
        return builder.inttoptr(address, context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.int64, types.int64, like), codegen


@intrinsic
def ahead(typingctx, pointer, count):
    """The pointer ``count`` numbers later."""
    if not isinstance(pointer, types.CPointer):
        return None

    def codegen(context, builder, signature, values):
        return builder.gep(values[0], [values[1]])

    return pointer(pointer, types.int64), codegen


@intrinsic
def number_at(typingctx, pointer, index):
    """The number at ``pointer[index]``."""
    if not isinstance(pointer, types.CPointer):
        return None

    def codegen(context, builder, signature, values):
        return builder.load(builder.gep(values[0], [values[1]]))

    return pointer.dtype(pointer, types.int64), codegen


@intrinsic
def put_number(typingctx, pointer, index, value):
    """Set the number at ``pointer[index]``."""
    if not isinstance(pointer, types.CPointer):
        return None

    def codegen(context, builder, signature, values):
        builder.store(values[2], builder.gep(values[0], [values[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, pointer.dtype), codegen


@intrinsic
def fence(typingctx):
    """Make this thread's streaming stores (which bypass the caches) visible to other threads."""

    def codegen(context, builder, signature, values):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def prefetch(typingctx, pointer, index):
    """Prefetch the cache line of ``pointer[index]``; does nothing if the address is invalid."""
    if not isinstance(pointer, types.CPointer):
        return None

    def codegen(context, builder, signature, values):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
        )
        # For reading, into all cache levels, data.
        place = builder.bitcast(builder.gep(values[0], [values[1]]), byte)
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(pointer, types.int64), codegen


@intrinsic
def call_slice(typingctx, address, args, t, n):
    """Call the slice at ``address``: ``f(args, t, n)``."""

    def codegen(context, builder, signature, values):
        slice_type = ir.FunctionType(ir.VoidType(), [WORD] * 3)
        builder.call(builder.inttoptr(values[0], slice_type.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


# --------------------------------------------------------------------------------------------
# Array objects, by their id


def _field(builder: ir.IRBuilder, array: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
    head = builder.inttoptr(array, ir.IntType(8).as_pointer())
    return builder.load(builder.bitcast(builder.gep(head, [WORD(offset)]), kind.as_pointer()))


def _reader(offset: int, bits: int = 64):
    """An intrinsic ``f(array)`` that reads one field of an array object."""

    @intrinsic
    def read(typingctx, array):
        def codegen(context, builder, signature, values):
            value = _field(builder, values[0], offset, ir.IntType(bits))
            return value if bits == 64 else builder.sext(value, WORD)

        return types.int64(types.int64), codegen

    return read


type_of = _reader(_TYPE)
data_of = _reader(ARRAY_DATA)
ndim_of = _reader(_NDIM, 32)
descriptor_of = _reader(_DESCRIPTOR)
flags_of = _reader(_FLAGS, 32)


def _axis_reader(offset: int):
    """An intrinsic ``f(array, axis)`` that reads a dimension or a stride."""

    @intrinsic
    def read(typingctx, array, axis):
        def codegen(context, builder, signature, values):
            row = _field(builder, values[0], offset, WORD)
            return builder.load(builder.gep(_words(builder, row), [values[1]]))

        return types.int64(types.int64, types.int64), codegen

    return read


dimension_of = _axis_reader(_DIMENSIONS)
stride_of = _axis_reader(_STRIDES)


def layout_is_as_assumed() -> bool:
    """Whether the layout of arrays and bytes in memory matches the offsets above."""
    import ctypes

    def word(address: int) -> int | None:
        return ctypes.c_void_p.from_address(address).value

    a, b = np.zeros((3, 5), np.float32)[:, ::2], b"fastnn"
    at = id(a)
    dimensions, strides = word(at + _DIMENSIONS), word(at + _STRIDES)
    return (
        ctypes.string_at(id(b) + BYTES_DATA, len(b)) == b
        and word(at + ARRAY_DATA) == a.ctypes.data
        and word(at + _TYPE) == id(np.ndarray)
        and word(at + _DESCRIPTOR) == id(a.dtype)
        and ctypes.c_int32.from_address(at + _NDIM).value == 2
        and ctypes.c_int32.from_address(at + _FLAGS).value == a.flags.num
        and bool(dimensions and strides)
        and [ctypes.c_int64.from_address((dimensions or 0) + 8 * i).value for i in (0, 1)] == [3, 3]
        and [ctypes.c_int64.from_address((strides or 0) + 8 * i).value for i in (0, 1)] == [20, 8]
    )


# --------------------------------------------------------------------------------------------
# Between threads


@intrinsic
def load_acquire(typingctx, args, index):
    """Word ``index`` at ``args``; everything that its writer wrote before it is visible afterwards."""

    def codegen(context, builder, signature, values):
        return builder.load_atomic(_word_at(builder, values), "acquire", 8)

    return types.int64(types.int64, types.int64), codegen


def _atomic(operation: str):
    """An intrinsic ``f(args, index, value)`` that changes a word and returns its old value."""

    @intrinsic
    def change(typingctx, args, index, value):
        def codegen(context, builder, signature, values):
            return builder.atomic_rmw(operation, _word_at(builder, values), values[2], "seq_cst")

        return types.int64(types.int64, types.int64, types.int64), codegen

    return change


atomic_or = _atomic("or")
atomic_and = _atomic("and")
atomic_add = _atomic("add")
atomic_exchange = _atomic("xchg")


@intrinsic
def compare_exchange(typingctx, args, index, expected, value):
    """Set word ``index`` at ``args`` if it equals ``expected``; return whether it did."""

    def codegen(context, builder, signature, values):
        pair = builder.cmpxchg(_word_at(builder, values), values[2], values[3], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(*[types.int64] * 4), codegen


_X86, _ARM64 = ("llvm.x86.sse2.pause", ()), ("llvm.aarch64.isb", (15,))
# By machine: LLVM's function, with its operands, that delays a waiting thread. On arm64 this is ISB, a barrier that
# empties the pipeline, some tens of cycles as on x86. YIELD, the instruction meant for it, does nothing on current
# cores (Neoverse, Cortex-A, Apple): a loop with it requests the cache line without pause and ends after a fraction
# of the intended time.
PAUSES = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM64, "arm64": _ARM64}


def write_pause(builder: ir.IRBuilder, machine: str) -> None:
    """Write the instruction for a thread that waits in a loop; none on an unknown machine."""
    name, operands = PAUSES.get(machine.lower(), ("", ()))
    if name:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)] * len(operands))
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [ir.IntType(32)(operand) for operand in operands])


@intrinsic
def pause(typingctx):
    """Tell the processor that this thread waits in a loop."""

    def codegen(context, builder, signature, values):
        write_pause(builder, platform.machine())
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call_plain(typingctx, address):
    """Call the C function without arguments at ``address``; do nothing for 0."""

    def codegen(context, builder, signature, values):
        with builder.if_then(builder.icmp_signed("!=", values[0], WORD(0))):
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(builder.inttoptr(values[0], function.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def lock_acquire(typingctx, address, lock):
    """Take a lock of CPython's thread library by its function ``PyThread_acquire_lock``, without a timeout."""

    def codegen(context, builder, signature, values):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.inttoptr(values[0], ir.FunctionType(number, [byte, number]).as_pointer())
        builder.call(function, [builder.inttoptr(values[1], byte), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def lock_release(typingctx, address, lock):
    """Release a lock of CPython's thread library by its function ``PyThread_release_lock``."""

    def codegen(context, builder, signature, values):
        byte = ir.IntType(8).as_pointer()
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), [byte]).as_pointer())
        builder.call(function, [builder.inttoptr(values[1], byte)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def nanoseconds(typingctx, address, clock):
    """The time of a clock in ns: ``clock_gettime`` of POSIX, or ``QueryPerformanceCounter`` of Windows (by 100 ns)."""

    def codegen(context, builder, signature, values):
        time = cgutils.alloca_once(builder, WORD, size=WORD(2))
        number, place = ir.IntType(32), WORD.as_pointer()
        if sys.platform == "win32":
            function = builder.inttoptr(values[0], ir.FunctionType(number, [place]).as_pointer())
            builder.call(function, [time])
            return builder.mul(builder.load(time), WORD(100))
        function = builder.inttoptr(values[0], ir.FunctionType(number, [number, place]).as_pointer())
        builder.call(function, [builder.trunc(values[1], number), time])
        seconds, rest = builder.load(time), builder.load(builder.gep(time, [WORD(1)]))
        return builder.add(builder.mul(seconds, WORD(10**9)), rest)

    return types.int64(types.int64, types.int64), codegen
