"""NumPy's inner loops as launches, so that a recording holds what NumPy computes, with the same bits.

A ufunc keeps the address of an inner loop for each combination of dtypes, in a public structure (``PyUFuncObject`` of
NumPy's ``ufuncobject.h``). An inner loop needs no interpreter: ``loop(args, dimensions, steps, data)`` computes ``n``
numbers. Called from a kernel, one costs about 25 ns, where NumPy takes 300 to 600
(docs/architecture/recorder.md).
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Kernel, Words, by_dtype, inline
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import WORD, integer, put_integer, stack_words

# Dimensions of a loop after neighbours were joined.
MOST_DIMENSIONS = 4

# Ufuncs whose result is the correctly rounded one, so that it does not depend on which numbers a loop computes
# together; and others, whose loops must be called for the same runs of numbers as NumPy calls them.
EXACT = frozenset((
    np.positive, np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.absolute, np.sqrt, np.square,
    np.reciprocal, np.maximum, np.minimum, np.sign, np.signbit, np.isnan, np.isfinite, np.isinf, np.greater,
    np.greater_equal, np.less,
    np.less_equal, np.equal, np.not_equal, np.logical_and, np.logical_or, np.logical_not, np.bitwise_and, np.bitwise_or,
))  # fmt: skip
ROUNDED = frozenset((np.exp, np.log, np.tanh, np.expm1, np.log1p, np.sin, np.cos, np.power))
_BOOL = np.dtype(np.bool_)
_DTYPES = FLOAT32, FLOAT64, _BOOL


class _UFunc(ctypes.Structure):
    """The beginning of ``PyUFuncObject``."""

    _fields_ = (
        ("head", ctypes.c_ssize_t * (object.__basicsize__ // ctypes.sizeof(ctypes.c_ssize_t))),
        ("nin", ctypes.c_int), ("nout", ctypes.c_int), ("nargs", ctypes.c_int), ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)), ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int), ("reserved", ctypes.c_int), ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_ubyte)),
    )  # fmt: skip


@functools.cache
def find_loop(ufunc: np.ufunc, *dtypes: np.dtype) -> tuple[int, int] | None:
    """The address of a ufunc's inner loop for operands and a result of these dtypes, and its data; None without one."""
    found = _UFunc.from_address(id(ufunc))
    facts = found.nin, found.nout, found.nargs, found.ntypes
    if facts != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes) or found.name != ufunc.__name__.encode():
        # Another layout of the structure.
        return None
    for i in range(found.ntypes):
        kinds = [found.types[i * found.nargs + k] for k in range(found.nargs)]
        if kinds == [dtype.num for dtype in dtypes]:
            return (found.functions[i], found.data[i] or 0) if found.functions[i] else None
    return None


@intrinsic
def _call_loop(typingctx, address, args, dimensions, steps, data):
    """Call the C function at an address with these four words."""

    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 4)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


# Addresses of three operands, the number of numbers, and three steps.
_call = stack_words(7)


@inline
def _offset(args, first, i, j, m):
    """The offset in bytes of an operand whose strides begin at word ``first``."""
    return i * integer(args, first) + j * integer(args, first + 1) + m * integer(args, first + 2)


def _strides(*names: str) -> str:
    return "".join(f" {name}{k}" for name in names for k in range(MOST_DIMENSIONS))


_ONE = Words("x out; loop data n0 n1 n2 n3" + _strides("x", "out"))
_TWO = Words("x y out; loop data n0 n1 n2 n3" + _strides("x", "y", "out"))
# The bits of the number are in its word, which the loop reads.
_WITH_NUMBER = Words("x out; number loop data n0 n1 n2 n3" + _strides("x", "out"))
_SUM = Words("x out; bytes loop data n0 n1 n2 n3" + _strides("x", "out"))


def _one_slice(args, t, n):
    call = _call()
    put_integer(call, 3, integer(args, _ONE.n3))
    put_integer(call, 4, integer(args, _ONE.x3))
    put_integer(call, 5, integer(args, _ONE.out3))
    for i in range(integer(args, _ONE.n0)):
        for j in range(integer(args, _ONE.n1)):
            for m in range(integer(args, _ONE.n2)):
                put_integer(call, 0, integer(args, _ONE.x) + _offset(args, _ONE.x0, i, j, m))
                put_integer(call, 1, integer(args, _ONE.out) + _offset(args, _ONE.out0, i, j, m))
                _call_loop(integer(args, _ONE.loop), call, call + 24, call + 32, integer(args, _ONE.data))


def _two_slice(args, t, n):
    call = _call()
    put_integer(call, 3, integer(args, _TWO.n3))
    put_integer(call, 4, integer(args, _TWO.x3))
    put_integer(call, 5, integer(args, _TWO.y3))
    put_integer(call, 6, integer(args, _TWO.out3))
    for i in range(integer(args, _TWO.n0)):
        for j in range(integer(args, _TWO.n1)):
            for m in range(integer(args, _TWO.n2)):
                put_integer(call, 0, integer(args, _TWO.x) + _offset(args, _TWO.x0, i, j, m))
                put_integer(call, 1, integer(args, _TWO.y) + _offset(args, _TWO.y0, i, j, m))
                put_integer(call, 2, integer(args, _TWO.out) + _offset(args, _TWO.out0, i, j, m))
                _call_loop(integer(args, _TWO.loop), call, call + 24, call + 32, integer(args, _TWO.data))


def _number_slice(position: int):
    """As the slice of two operands, where the one at ``position`` is a number."""
    w = _WITH_NUMBER

    def number_slice(args, t, n):
        call = _call()
        put_integer(call, position, args + 8 * w.number)
        put_integer(call, 3, integer(args, w.n3))
        put_integer(call, 4 + position, 0)
        put_integer(call, 5 - position, integer(args, w.x3))
        put_integer(call, 6, integer(args, w.out3))
        for i in range(integer(args, w.n0)):
            for j in range(integer(args, w.n1)):
                for m in range(integer(args, w.n2)):
                    put_integer(call, 1 - position, integer(args, w.x) + _offset(args, w.x0, i, j, m))
                    put_integer(call, 2, integer(args, w.out) + _offset(args, w.out0, i, j, m))
                    _call_loop(integer(args, w.loop), call, call + 24, call + 32, integer(args, w.data))

    return number_slice


def _sum_slice(args, t, n):
    # out + x, written to out, which has strides of 0 along the dimensions of the sum.
    call = _call()
    for k in range(integer(args, _SUM.bytes)):
        put_byte(integer(args, _SUM.out), k)
    put_integer(call, 3, integer(args, _SUM.n3))
    put_integer(call, 4, integer(args, _SUM.out3))
    put_integer(call, 5, integer(args, _SUM.x3))
    put_integer(call, 6, integer(args, _SUM.out3))
    for i in range(integer(args, _SUM.n0)):
        for j in range(integer(args, _SUM.n1)):
            for m in range(integer(args, _SUM.n2)):
                out = integer(args, _SUM.out) + _offset(args, _SUM.out0, i, j, m)
                put_integer(call, 0, out)
                put_integer(call, 1, integer(args, _SUM.x) + _offset(args, _SUM.x0, i, j, m))
                put_integer(call, 2, out)
                _call_loop(integer(args, _SUM.loop), call, call + 24, call + 32, integer(args, _SUM.data))


@intrinsic
def put_byte(typingctx, address, at):
    """Write a 0 to the byte at ``address + at``."""

    def codegen(context, builder, signature, values):
        place = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        builder.store(ir.IntType(8)(0), builder.gep(place, [values[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


_UNARY = Kernel("numpy.unary", _one_slice, _ONE, outputs="out")
_BINARY = Kernel("numpy.binary", _two_slice, _TWO, outputs="out")
_NUMBER = [
    Kernel(f"numpy.{name}", _number_slice(position), _WITH_NUMBER, outputs="out")
    for position, name in enumerate(("number_first", "number_last"))
]
_TOTAL = Kernel("numpy.sum", _sum_slice, _SUM, outputs="out")


_CHOICE = Words(
    "mask x y out; x_is_number x_bits y_is_number y_bits n0 n1 n2 n3" + _strides("mask", "x", "y", "out")
)


def _where(dtype):
    w = _CHOICE

    def where_slice(args, t, n):
        numbers = args + 8 * w.x_bits, args + 8 * w.y_bits
        x_is_number, y_is_number = integer(args, w.x_is_number) != 0, integer(args, w.y_is_number) != 0
        for i in range(integer(args, w.n0)):
            for j in range(integer(args, w.n1)):
                for m in range(integer(args, w.n2)):
                    for k in range(integer(args, w.n3)):
                        x, y = numbers
                        if not x_is_number:
                            x = integer(args, w.x) + _offset(args, w.x0, i, j, m) + k * integer(args, w.x3)
                        if not y_is_number:
                            y = integer(args, w.y) + _offset(args, w.y0, i, j, m) + k * integer(args, w.y3)
                        mask = integer(args, w.mask) + _offset(args, w.mask0, i, j, m) + k * integer(args, w.mask3)
                        out = integer(args, w.out) + _offset(args, w.out0, i, j, m) + k * integer(args, w.out3)
                        copy_number(out, x if is_true(mask) else y, dtype(0))

    return where_slice


@intrinsic
def is_true(typingctx, address):
    """Whether the byte at an address is not 0."""

    def codegen(context, builder, signature, values):
        byte = builder.load(builder.inttoptr(values[0], ir.IntType(8).as_pointer()))
        return builder.icmp_unsigned("!=", byte, ir.IntType(8)(0))

    return types.boolean(types.int64), codegen


@intrinsic
def copy_number(typingctx, target, source, like):
    """Copy a number of the type of ``like`` from one address to another, with its bits."""
    size = 32 if like == types.float32 else 64

    def codegen(context, builder, signature, values):
        kind = ir.IntType(size).as_pointer()
        builder.store(builder.load(builder.inttoptr(values[1], kind)), builder.inttoptr(values[0], kind))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, like), codegen


_WHERE = by_dtype("numpy.where", _where, _CHOICE, outputs="out")


def record_where(mask: np.ndarray, x: Any, y: Any, out: np.ndarray) -> bool:
    """Launch ``np.where(mask, x, y)``, written to ``out``, of arrays of its dtype, or numbers; False as for others."""
    dtype = out.dtype
    arrays = [a for a in (x, y) if isinstance(a, np.ndarray)]
    if dtype not in (FLOAT32, FLOAT64) or mask.dtype != _BOOL:
        return False
    if any(a.dtype != dtype or not a.flags.aligned for a in arrays):
        return False
    if not out.size:
        return True
    # A number has an array in its place, which is not read.
    given = [a if isinstance(a, np.ndarray) else mask for a in (x, y)]
    views = [np.broadcast_to(a, out.shape) for a in (mask, *given)]
    order = sorted(range(out.ndim), key=lambda d: -abs(out.strides[d]))
    layout = _joined(out.shape, [a.strides for a in (*views, out)], order)
    if layout is None:
        return False
    sizes, steps = layout
    fixed = [w for a in (x, y) for w in ((0, 0) if isinstance(a, np.ndarray) else (1, _bits(a, dtype)))]
    launch(_WHERE[dtype], 1, (mask, *given, out), *fixed, *sizes, *[s for found in steps for s in found])
    return True


def _joined(
    shape: tuple[int, ...], strides: list[tuple[int, ...]], order: list[int]
) -> tuple[list[int], list[list[int]]] | None:
    """Sizes and strides of the dimensions in this order, neighbours joined, filled up; None for too many."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d in [d for d in order if shape[d] != 1]:
        if sizes and all(s[-1] == shape[d] * found[d] for s, found in zip(steps, strides, strict=True)):
            sizes[-1] *= shape[d]
            for s, found in zip(steps, strides, strict=True):
                s[-1] = found[d]
        else:
            sizes.append(shape[d])
            for s, found in zip(steps, strides, strict=True):
                s.append(found[d])
    rest = MOST_DIMENSIONS - len(sizes)
    if rest < 0:
        return None
    return [1] * rest + sizes, [[0] * rest + s for s in steps]


def _bits(number: Any, dtype: np.dtype) -> int:
    raw = np.asarray(number, dtype).tobytes()
    return int.from_bytes(raw.ljust(8, b"\0"), "little", signed=True)


def record_loop(ufunc: np.ufunc, operands: tuple[Any, ...], out: np.ndarray) -> bool:
    """Launch ``ufunc(*operands, out=out)``: aligned arrays of floats or bool, one may be a number.

    Returns: False, and launches nothing, if that is not possible with the same bits.
    """
    arrays = [a for a in operands if isinstance(a, np.ndarray)]
    if not 1 <= len(operands) <= 2 or not arrays or any(a.dtype not in _DTYPES or not a.flags.aligned for a in arrays):
        return False
    dtype = arrays[0].dtype
    loop = find_loop(ufunc, *[a.dtype if isinstance(a, np.ndarray) else dtype for a in operands], out.dtype)
    if loop is None:
        return False
    if not out.size:
        return True
    views = [np.broadcast_to(a, out.shape) for a in arrays]
    order = sorted(range(out.ndim), key=lambda d: -abs(out.strides[d]))
    layout = _joined(out.shape, [a.strides for a in (*views, out)], order)
    if layout is None:
        return False
    sizes, steps = layout
    size = out.itemsize
    if ufunc not in EXACT and (sizes[:3] != [1, 1, 1] or any(s[-1] not in (size, 0) for s in steps)):
        return False
    words = (*loop, *sizes, *[s for found in steps for s in found])
    if len(arrays) == len(operands):
        launch(_UNARY if len(operands) == 1 else _BINARY, 1, (*arrays, out), *words)
        return True
    position = 1 if isinstance(operands[0], np.ndarray) else 0
    launch(_NUMBER[position], 1, (arrays[0], out), _bits(operands[position], dtype), *words)
    return True


def record_total(a: np.ndarray, axes: tuple[int, ...], out: np.ndarray) -> bool:
    """Launch ``np.add.reduce(a, axes)`` of a C-contiguous array, written to ``out``; False as for others."""
    dtype = out.dtype
    loop = find_loop(np.add, dtype, dtype, dtype) if dtype in (FLOAT32, FLOAT64) else None
    if loop is None or a.dtype != dtype or not a.size:
        return False
    if not (a.flags.c_contiguous and a.flags.aligned and out.flags.c_contiguous):
        return False
    strides, rest = [], list(out.reshape([n for d, n in enumerate(a.shape) if d not in axes]).strides)
    for d in range(a.ndim):
        strides.append(0 if d in axes else rest.pop(0))
    layout = _joined(a.shape, [a.strides, tuple(strides)], list(range(a.ndim)))
    if layout is None:
        return False
    sizes, steps = layout
    launch(_TOTAL, 1, (a, out), out.nbytes, *loop, *sizes, *[s for found in steps for s in found])
    return True
