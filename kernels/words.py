"""Memory by address, for code that is handed addresses: words, numbers, array objects, atomics.

The lowest room of the house: imports nothing of fastnn. The functions are for kernels and for the
code around them, never for Python callers.
"""

from __future__ import annotations

import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORD = ir.IntType(64)
# A CPython object begins with a head of this size; in an ndarray the data address follows it
# (PyArrayObject_fields of NumPy's C API), in a bytes object the bytes end its basic size.
ARRAY_DATA = object.__basicsize__
BYTES_DATA = bytes.__basicsize__ - 1

# The fields of PyArrayObject_fields, from the address of the object. The type ends every head.
_TYPE = ARRAY_DATA - 8
_NDIM, _DIMENSIONS, _STRIDES = ARRAY_DATA + 8, ARRAY_DATA + 16, ARRAY_DATA + 24
_DESCRIPTOR, _FLAGS = ARRAY_DATA + 40, ARRAY_DATA + 48


def _words(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.inttoptr(address, WORD.as_pointer())


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
def pointer(typingctx, address):
    """The integer ``address`` as an untyped pointer."""

    def codegen(context, builder, signature, values):
        return builder.inttoptr(values[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


@intrinsic
def number_at(typingctx, address, like):
    """The number at ``address``, of the type of ``like``."""

    def codegen(context, builder, signature, values):
        return builder.load(builder.inttoptr(values[0], values[1].type.as_pointer()))

    return like(types.int64, like), codegen


@intrinsic
def put_number(typingctx, address, value):
    """Write a number, of its own type, at ``address``."""

    def codegen(context, builder, signature, values):
        builder.store(values[1], builder.inttoptr(values[0], values[1].type.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic
def fence(typingctx):
    """Let other threads see what this one has written past the caches."""

    def codegen(context, builder, signature, values):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at ``address``, which may be any: nothing happens where there is no memory."""

    def codegen(context, builder, signature, values):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
        )
        # To be read, into all caches, data.
        builder.call(function, [builder.inttoptr(values[0], byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def call_slice(typingctx, address, args, t, n):
    """Call the slice at ``address``: ``f(args, t, n)``."""

    def codegen(context, builder, signature, values):
        slice_type = ir.FunctionType(ir.VoidType(), [WORD] * 3)
        builder.call(builder.inttoptr(values[0], slice_type.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


# --------------------------------------------------------------------------------------------
# Array objects, given by their id


def _field(builder: ir.IRBuilder, array: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
    address = builder.add(array, WORD(offset))
    return builder.load(builder.inttoptr(address, kind.as_pointer()))


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
    """Whether arrays and bytes lie in memory as the offsets above say."""
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
def load_acquire(typingctx, address):
    """The word at ``address``, after which everything its writer wrote before is seen."""

    def codegen(context, builder, signature, values):
        return builder.load_atomic(_words(builder, values[0]), "acquire", 8)

    return types.int64(types.int64), codegen


def _atomic(operation: str):
    """An intrinsic ``f(address, value)`` that changes a word and returns what it held."""

    @intrinsic
    def change(typingctx, address, value):
        def codegen(context, builder, signature, values):
            return builder.atomic_rmw(operation, _words(builder, values[0]), values[1], "acq_rel")

        return types.int64(types.int64, types.int64), codegen

    return change


atomic_or = _atomic("or")
atomic_add = _atomic("add")

_X86, _ARM64 = ("llvm.x86.sse2.pause", ()), ("llvm.aarch64.isb", (15,))
# By machine: LLVM's function, with its operands, that makes a waiting thread wait a little. On arm64 this is ISB, a
# barrier that empties the pipeline, some tens of cycles as on x86: YIELD, which is meant for it, does nothing on the
# cores of today (Neoverse, Cortex-A, Apple), so a loop with it asks for the cache line without pause and is over after
# a fraction of the time that its count of rounds stands for.
PAUSES = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM64, "arm64": _ARM64}


def write_pause(builder: ir.IRBuilder, machine: str) -> None:
    """The instruction for a thread that waits in a loop; none where it is not known."""
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
    """Call the C function without arguments at ``address``; nothing for 0."""

    def codegen(context, builder, signature, values):
        with builder.if_then(builder.icmp_signed("!=", values[0], WORD(0))):
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(builder.inttoptr(values[0], function.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
