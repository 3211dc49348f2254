"""NumPy's inner loops as launches, so that a recording holds what NumPy computes, with the same bits.

A ufunc keeps the address of an inner loop for each combination of dtypes, in a public structure (``PyUFuncObject`` of
NumPy's ``ufuncobject.h``). An inner loop needs no interpreter: ``loop(args, dimensions, steps, data)`` computes ``n``
numbers. Called from a kernel, one costs about 25 ns, where NumPy takes 300 to 600
(docs/architecture/recorder.md).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Kernel, Words, by_dtype, inline
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.raw_memory import WORD, integer, put_integer, stack_words

try:
    # The only name of this ufunc, which np.clip calls in three times its time.
    from numpy._core.umath import clip as clip  # type: ignore[attr-defined]  # NumPy's stubs leave it out
except ImportError:  # a NumPy that has it no longer

    def clip(a: Any, low: Any, high: Any, out: Any = None) -> Any:
        """The limits in two steps, which takes twice the time."""
        return np.minimum(np.maximum(a, low, out=out), high, out=out)


# Dimensions of a loop after neighbours were joined.
MOST_DIMENSIONS = 4

# Ufuncs whose result is the correctly rounded one, so that it does not depend on which numbers a loop computes
# together; and others, whose loops must be called for the same runs of numbers as NumPy calls them.
EXACT = frozenset((
    np.positive, np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.absolute, np.sqrt, np.square,
    np.reciprocal, np.maximum, np.minimum, clip, np.sign, np.signbit, np.isnan, np.isfinite, np.isinf, np.greater,
    np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.logical_and, np.logical_or, np.logical_not,
    np.bitwise_and, np.bitwise_or,
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
def find_loop(ufunc: Any, *dtypes: np.dtype) -> tuple[int, int] | None:
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
def call_loop(typingctx, address, args, dimensions, steps, data):
    """Call the C function at an address with these four words."""

    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 4)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


# Addresses of four operands, the number of numbers, and four steps.
_call = stack_words(9)


def _names(operands: str) -> str:
    """The names of sizes, and of the strides in bytes of some operands; the last dimension is one loop."""
    return "".join(f" {name}{k}" for name in ("n", *operands.split()) for k in range(MOST_DIMENSIONS))


_LOOP = Words("x y z out; operands loop data" + _names("x y z out"))
_CHOICE = Words("mask x y out;" + _names("mask x y out"))


@inline
def _offset(args, strides, i, j, m):
    """The offset in bytes of a place in an operand; ``strides``: the first word of the operand's strides."""
    return i * integer(args, strides) + j * integer(args, strides + 1) + m * integer(args, strides + 2)


@inline
def _at(args, operand, strides, i, j, m):
    """The address in word ``operand`` plus an offset, for C functions: as a pointer it would be a sum."""
    return integer(args, operand) + _offset(args, strides, i, j, m)


def _loop_slice(args, t, n):
    # x, y and z (a loop with fewer operands reads the first ones); out
    call, operands = _call(), integer(args, _LOOP.operands)
    put_integer(call, 4, integer(args, _LOOP.n3))
    put_integer(call, 5, integer(args, _LOOP.x3))
    put_integer(call, 6, integer(args, _LOOP.y3))
    put_integer(call, 7, integer(args, _LOOP.z3))
    put_integer(call, 5 + operands, integer(args, _LOOP.out3))
    for i in range(integer(args, _LOOP.n0)):
        for j in range(integer(args, _LOOP.n1)):
            for m in range(integer(args, _LOOP.n2)):
                put_integer(call, 0, _at(args, _LOOP.x, _LOOP.x0, i, j, m))
                put_integer(call, 1, _at(args, _LOOP.y, _LOOP.y0, i, j, m))
                put_integer(call, 2, _at(args, _LOOP.z, _LOOP.z0, i, j, m))
                put_integer(call, operands, _at(args, _LOOP.out, _LOOP.out0, i, j, m))
                call_loop(integer(args, _LOOP.loop), call, call + 32, call + 40, integer(args, _LOOP.data))


def _where(dtype):
    w = _CHOICE

    def where_slice(args, t, n):
        # mask, x, y, out
        mask, x, y, out = integer(args, w.mask), integer(args, w.x), integer(args, w.y), integer(args, w.out)
        for i in range(integer(args, w.n0)):
            for j in range(integer(args, w.n1)):
                for m in range(integer(args, w.n2)):
                    mask_0, x_0 = _offset(args, w.mask0, i, j, m), _offset(args, w.x0, i, j, m)
                    y_0, out_0 = _offset(args, w.y0, i, j, m), _offset(args, w.out0, i, j, m)
                    for k in range(integer(args, w.n3)):
                        target = out_0 + k * integer(args, w.out3)
                        if _is_true(mask, mask_0 + k * integer(args, w.mask3)):
                            _copy_number(out, target, x, x_0 + k * integer(args, w.x3), dtype(0))
                        else:
                            _copy_number(out, target, y, y_0 + k * integer(args, w.y3), dtype(0))

    return where_slice


def _place(builder, address, offset, kind):
    """A pointer to a number of this kind, made from an address and an offset in bytes, without a sum of the two."""
    byte = builder.gep(builder.inttoptr(address, ir.IntType(8).as_pointer()), [offset])
    return builder.bitcast(byte, kind.as_pointer())


@intrinsic
def _is_true(typingctx, address, offset):
    """Whether the byte at an offset from an address is not 0."""

    def codegen(context, builder, signature, values):
        byte = builder.load(_place(builder, values[0], values[1], ir.IntType(8)))
        return builder.icmp_unsigned("!=", byte, ir.IntType(8)(0))

    return types.boolean(types.int64, types.int64), codegen


@intrinsic
def _copy_number(typingctx, address, offset, source, source_offset, like):
    """Copy a number of the type of ``like``, with its bits."""
    kind = ir.IntType(32 if like == types.float32 else 64)

    def codegen(context, builder, signature, values):
        number = builder.load(_place(builder, values[2], values[3], kind))
        builder.store(number, _place(builder, values[0], values[1], kind))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, like), codegen


_KERNEL = Kernel("numpy.loop", _loop_slice, _LOOP, outputs="out")
_WHERE = by_dtype("numpy.where", _where, _CHOICE, outputs="out")


# -- Launches ---------------------------------------------------------------------------------


def _joined(arrays: list[np.ndarray], order: list[int]) -> list[int] | None:
    """Sizes, and strides of each array, as words: dimensions in this order, neighbours joined; None for too many.

    All arrays have the same shape. Missing dimensions come first, with a size of 1.
    """
    shape, strides = arrays[0].shape, [a.strides for a in arrays]
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in arrays]
    for d in order:
        if shape[d] == 1:
            continue
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
    return [w for row, fill in ((sizes, 1), *[(s, 0) for s in steps]) for w in [fill] * rest + row]


def _layout(operands: Sequence[np.ndarray], out: np.ndarray) -> list[int] | None:
    """As :func:`_joined`, with the operands broadcast, in the order of the memory of ``out``."""
    order = sorted(range(out.ndim), key=lambda d: -abs(out.strides[d]))
    return _joined([*[np.broadcast_to(a, out.shape) for a in operands], out], order)


def record_loop(ufunc: Any, operands: tuple[np.ndarray, ...], out: np.ndarray) -> bool:
    """Launch ``ufunc(*operands, out=out)`` for aligned arrays of floats or bool.

    Returns: False, and launches nothing, if that is not possible with the same bits.
    """
    arrays = (*operands, out)
    if not 1 <= len(operands) <= 3 or any(a.dtype not in _DTYPES or not a.flags.aligned for a in arrays):
        return False
    loop = find_loop(ufunc, *[a.dtype for a in arrays])
    if loop is None:
        return False
    if not out.size:
        return True
    # A loop of fewer operands does not read the others.
    filled = (*operands, operands[0], operands[0])[:3]
    words = _layout(filled, out)
    if words is None:
        return False
    if ufunc not in EXACT and not _has_runs_of_numpy(arrays, out):
        return False
    launch(_KERNEL, 1, (*filled, out), len(operands), *loop, *words)
    return True


def _has_runs_of_numpy(operands: Sequence[np.ndarray], out: np.ndarray) -> bool:
    """Whether it is known which numbers an inner loop of NumPy gets at once: those of the last dimension in C order."""
    if not out.flags.c_contiguous:
        return False
    for a in operands:
        steps = [s for s, n in zip(np.broadcast_to(a, out.shape).strides, out.shape, strict=True) if n > 1 and s]
        # NumPy may go backwards through negative strides.
        if steps != sorted(steps, reverse=True) or min(steps, default=0) < 0:
            return False
    return True


@functools.cache
def _sums_at_once() -> bool:
    """Whether NumPy gives all numbers of a long sum to one call of its loop.

    Older versions copy them to a buffer of ``np.getbufsize()`` numbers at a time, and add the sums of these.
    """
    x, size = np.random.default_rng(0).random((8, 20_000), np.float32), np.getbufsize()
    in_blocks = [sum((np.add.reduce(row[i : i + size]) for i in range(0, len(row), size)), np.float32(0)) for row in x]
    return bool((np.array([np.add.reduce(row) for row in x]) != in_blocks).any())


def record_total(a: np.ndarray, axes: tuple[int, ...], zero: np.ndarray, out: np.ndarray) -> bool:
    """Launch ``np.add.reduce(a, axes)`` of an array in C order, with gaps or without; False as for others.

    ``zero``: an array of one 0 of the same dtype, without dimensions.
    """
    dtype = out.dtype
    loop = find_loop(np.add, dtype, dtype, dtype) if dtype in (FLOAT32, FLOAT64) else None
    if loop is None or a.dtype != dtype or not a.size:
        return False
    steps = [step for step, n in zip(a.strides, a.shape, strict=True) if n > 1]
    if not a.flags.c_contiguous and sum(a.shape[d] > 1 for d in axes) > 1:
        # NumPy's order is not known.
        return False
    if a.size > np.getbufsize() and not _sums_at_once():
        return False
    # In another order NumPy adds in another order, too.
    if steps != sorted(steps, reverse=True) or 0 in steps or not (a.flags.aligned and out.flags.c_contiguous):
        return False
    rest = list(out.reshape([n for d, n in enumerate(a.shape) if d not in axes]).strides)
    strides = [0 if d in axes else rest.pop(0) for d in range(a.ndim)]
    # To NumPy a sum is out = out + a, with an out that does not move along the dimensions of the sum.
    total = np.lib.stride_tricks.as_strided(out, a.shape, strides)
    words = _joined([total, a, a, total], list(range(a.ndim)))
    if words is None or not record_loop(np.positive, (zero,), out):
        return False
    launch(_KERNEL, 1, (total, a, a, total), 2, *loop, *words)
    return True


def record_where(mask: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> bool:
    """Launch ``np.where(mask, x, y)``, written to ``out``, of arrays of its dtype; False as for others."""
    dtype = out.dtype
    if dtype not in (FLOAT32, FLOAT64) or mask.dtype != _BOOL:
        return False
    if any(a.dtype != dtype or not a.flags.aligned for a in (x, y)):
        return False
    if not out.size:
        return True
    words = _layout((mask, x, y), out)
    if words is None:
        return False
    launch(_WHERE[dtype], 1, (mask, x, y, out), *words)
    return True
