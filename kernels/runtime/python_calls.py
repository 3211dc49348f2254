"""Functions of compiled code that Python calls with objects, and C functions of Python that this code calls.

An :class:`Entry` takes numbers and runs without Python's lock. A function of this file takes objects, as a function
written in C does, and holds the lock: 40 ns for a call.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.runtime import compiler
from fastnn.kernels.runtime.raw_memory import ARRAY_DATA, WORD

# METH_FASTCALL: the arguments come as an array.
_FASTCALL = 0x0080
SIGNATURE = types.int64(types.int64, types.int64, types.int64)


@intrinsic
def call_words(typingctx, address, a, b, c, d):
    """Call a C function of up to four words, which ignores the others; a word is the result."""

    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(WORD, [WORD] * 4)
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.int64(*[types.int64] * 5), codegen


@intrinsic
def call_for_real(typingctx, address, a):
    """Call a C function of one word; a float64 is the result."""

    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.DoubleType(), [WORD])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.float64(types.int64, types.int64), codegen


def _byte_at(builder: ir.IRBuilder, address: ir.Value, offset: ir.Value) -> ir.Value:
    return builder.gep(builder.inttoptr(address, ir.IntType(8).as_pointer()), [offset])


@intrinsic
def float_value(typingctx, number):
    """The value of a float object of Python."""

    def codegen(context, builder, signature, values):
        place = _byte_at(builder, values[0], WORD(ARRAY_DATA))
        return builder.load(builder.bitcast(place, ir.DoubleType().as_pointer()))

    return types.float64(types.int64), codegen


@intrinsic
def put_field(typingctx, made, offset, value):
    """Set the word at an offset in bytes of an object."""

    def codegen(context, builder, signature, values):
        place = _byte_at(builder, values[0], values[1])
        builder.store(values[2], builder.bitcast(place, WORD.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def new_array(typingctx, function, kind, descriptor, ndim, shape):
    """A new array, by ``PyArray_NewFromDescr`` of NumPy, which takes a reference to the dtype."""

    def codegen(context, builder, signature, values):
        function, kind, descriptor, ndim, shape = values
        made = builder.inttoptr(function, ir.FunctionType(WORD, [WORD] * 8).as_pointer())
        return builder.call(made, [kind, descriptor, ndim, shape, *[WORD(0)] * 4])

    return types.int64(*[types.int64] * 5), codegen


@intrinsic
def put_zeros(typingctx, address, count):
    """Set a number of bytes at an address to 0."""

    def codegen(context, builder, signature, values):
        place = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        cgutils.memset(builder, place, values[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def python_address(name: str) -> int:
    """The address of a C function of Python; AttributeError if there is none."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


class _Method(ctypes.Structure):
    """``PyMethodDef`` of CPython."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("text", ctypes.c_char_p),
    )  # fmt: skip


@functools.cache
def _compiled(function: Callable[..., Any]) -> Any:
    compiler.make_sure()
    return compiler.compile_callback(function, SIGNATURE)


def keep_forever(*objects: Any) -> None:
    """Let objects live until the process ends: the interpreter frees modules in an order that nobody controls."""
    for kept in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def python_function(name: str, function: Callable[..., Any], table: np.ndarray) -> Callable[..., Any]:
    """A function that Python calls with any objects.

    Args:
        function: compiled code of an array's address as an object, the address of the arguments and their count; it
            returns a new reference, or 0 with an exception set.
        table: of words; the first argument.
    """
    method = _Method(name.encode(), _compiled(function).address, _FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    # Python reads the method, and may call the code, when it frees the function, as one of the last objects.
    keep_forever(method, _compiled(function), table)
    made: Callable[..., Any] = make(ctypes.addressof(method), table, None)
    return made
