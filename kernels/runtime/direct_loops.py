"""NumPy's inner loops over small arrays, called from Python through one compiled function.

``np.add`` of two arrays of 64 numbers takes 400 ns, of which the loop takes 10. The rest finds the loop, asks for
overlaps and reports overflow. A :class:`Direct` does for contiguous arrays of one dtype what is left to do: it looks
at the types and shapes, makes the result, and calls the same loop, so that the bits are NumPy's. It does not warn.
What it does not take, it answers with None, and the caller asks NumPy, which also raises the errors.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.runtime import compiler, launcher
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64, Words
from fastnn.kernels.runtime.numpy_loops import _sums_at_once, call_loop, find_loop
from fastnn.kernels.runtime.python_calls import (
    call_for_real,
    call_words,
    float_value,
    keep_forever,
    new_array,
    put_zeros,
    python_address,
    python_function,
)
from fastnn.kernels.runtime.raw_memory import (
    WORD,
    call_slice,
    data_of,
    descriptor_of,
    dimension_of,
    flags_of,
    integer,
    ndim_of,
    number_at,
    pointer,
    put_integer,
    put_number,
    put_real,
    stack_words,
    type_of,
)

# Flags of NumPy's C API: C-contiguous, aligned, writeable.
_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x0001, 0x0100, 0x0400
_IN_ORDER = _C_CONTIGUOUS | _ALIGNED
# The most numbers of a result. Python's lock is held meanwhile, and for more NumPy's own share is small.
MOST = 16384
# The most terms of a sum that are added in any order; of more, those of one dimension.
FEW = 512
# Positions in the table of NumPy's C API, which its binary interface fixes.
_NEW_LIKE_ARRAY, _NEW_FROM_DESCRIPTOR = 277, 94
_KEEP_ORDER = 2
_BOOL, _INT64 = np.dtype(np.bool_), np.dtype(np.int64)
_DTYPES = FLOAT32, FLOAT64, _INT64, _BOOL

# The words that one ufunc's function reads, and for each dtype: its object, loop and data of the ufunc, and the dtype
# of the result, 0 for the same one.
_TABLE = Words("; array float_type int_type none hold new_like real_of error clear operands most rows")
_ROW = Words("; dtype loop data result")
_ROWS, _WIDTH = len(_TABLE), len(_ROW)
# Addresses of up to three operands, the count, up to three steps, and a number.
_ARGS, _COUNT, _STEPS, _NUMBER = 0, 3, 4, 7
_block = stack_words(8)
# The same, and the sizes of a result of up to seven dimensions.
_MOST_DIMENSIONS = 7
_SHAPE = 8
_sum_block = stack_words(16)
_kernel_block = stack_words(8)


@intrinsic
def _put_float32(typingctx, args, index, value):
    """Set the first half of word ``index`` of a block to a float32."""

    def codegen(context, builder, signature, values):
        place = builder.gep(builder.inttoptr(values[0], WORD.as_pointer()), [values[1]])
        number = builder.fptrunc(values[2], ir.FloatType())
        builder.store(number, builder.bitcast(place, ir.FloatType().as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), codegen


@compiler.inline
def _size_of(array):
    size = 1
    for i in range(ndim_of(array)):
        size *= dimension_of(array, i)
    return size


@compiler.inline
def _is_same_shape(x, y):
    differ = ndim_of(x) ^ ndim_of(y)
    if differ == 0:
        for i in range(ndim_of(x)):
            differ |= dimension_of(x, i) ^ dimension_of(y, i)
    return differ == 0


@compiler.inline
def _repeats(x, y):
    """How the smaller array ``y`` is broadcast to the shape of ``x``.

    Returns: the numbers of ``y`` that one loop reads, where 1 is read again and again, and how often the loop runs
    with the same first number; (0, 0) for another way.
    """
    n, m = ndim_of(x), ndim_of(y)
    if m > n:
        return 0, 0
    size = _size_of(y)
    if size == 1:
        return 1, 1
    # A row, repeated for each row of x.
    differ, ones = 0, 0
    while dimension_of(y, ones) == 1:
        ones += 1
    for i in range(ones, m):
        differ |= dimension_of(x, n - m + i) ^ dimension_of(y, i)
    if differ == 0:
        return size, 0
    # A column: the last dimensions of y are 1, and the first are those of x.
    if m != n:
        return 0, 0
    for i in range(n):
        if dimension_of(x, i) != dimension_of(y, i):
            for j in range(i, n):
                if dimension_of(y, j) != 1:
                    return 0, 0
            return 1, 0
    return 0, 0


@compiler.inline
def _is_apart(out, x, itemsize):
    """Whether an array is the memory of ``out``, number by number, or has none of it."""
    first, other = data_of(out), data_of(x)
    if first == other and _is_same_shape(out, x):
        return True
    return other >= first + _size_of(out) * itemsize or first >= other + _size_of(x) * itemsize


def _compute_directly(me, objects, count):
    # me: an array of the words of a table; objects: of the two or three arguments; returns a new reference.
    table = data_of(me)
    none, array = integer(table, _TABLE.none), integer(table, _TABLE.array)
    operands = integer(table, _TABLE.operands)
    x = integer(objects, 0)
    y = integer(objects, 1) if operands == 2 and count > 1 else x
    given = integer(objects, count - 1) if count > operands else 0
    # The larger operand, whose shape the result has.
    lead, other = x, y
    if type_of(x) != array or (type_of(y) == array and _size_of(y) > _size_of(x)):
        lead, other = y, x
    row = -1
    if operands <= count <= operands + 1 and type_of(lead) == array and flags_of(lead) & _IN_ORDER == _IN_ORDER:
        for k in range(integer(table, _TABLE.rows)):
            if integer(table, _ROWS + k * _WIDTH + _ROW.dtype) == descriptor_of(lead):
                row = _ROWS + k * _WIDTH
    scratch = _block()
    # How many numbers a loop gets, how many loops begin at the same number of the other operand, and their size.
    size, inner, step_in, step_out, itemsize = 0, 0, 0, 0, 8
    is_taken = row >= 0 and integer(table, row + _ROW.loop) != 0
    if is_taken:
        size = _size_of(lead)
        inner = size
        kind = (row - _ROWS) // _WIDTH
        itemsize = 4 if kind == 0 else (1 if kind == 3 else 8)
        is_taken = 0 < size <= integer(table, _TABLE.most)
        step_in = itemsize
        if is_taken and operands == 2 and type_of(other) == array:
            is_taken = descriptor_of(other) == descriptor_of(lead) and flags_of(other) & _IN_ORDER == _IN_ORDER
            if is_taken and _size_of(other) == 0:
                is_taken = False
            elif is_taken and not _is_same_shape(lead, other):
                run, again = _repeats(lead, other)
                if run == 0:
                    is_taken = False
                elif run > 1:
                    inner = run
                else:
                    step_in = 0
                    if again == 0:
                        inner = size // _size_of(other)
                        step_out = itemsize
        elif is_taken and operands == 2:
            number = 0.0
            if type_of(other) == integer(table, _TABLE.float_type):
                number = float_value(other)
            elif type_of(other) == integer(table, _TABLE.int_type):
                number = call_for_real(integer(table, _TABLE.real_of), other)
                if number == -1.0 and call_words(integer(table, _TABLE.error), 0, 0, 0, 0) != 0:
                    call_words(integer(table, _TABLE.clear), 0, 0, 0, 0)
                    is_taken = False
            else:
                is_taken = False
            # Only floats have numbers of Python's as operands.
            is_taken = is_taken and kind < 2
            if kind == 0:
                _put_float32(scratch, _NUMBER, number)
            else:
                put_real(scratch, _NUMBER, number)
            step_in = 0
    out = given
    if is_taken and given != 0:
        wanted = integer(table, row + _ROW.result)
        is_taken = (
            type_of(out) == array
            and flags_of(out) & (_IN_ORDER | _WRITEABLE) == (_IN_ORDER | _WRITEABLE)
            and (wanted == 0 or wanted == descriptor_of(lead))
            and descriptor_of(out) == descriptor_of(lead)
            and _is_same_shape(out, lead)
            and _is_apart(out, lead, itemsize)
            and (type_of(other) != array or _is_apart(out, other, itemsize))
        )
    if not is_taken:
        call_words(integer(table, _TABLE.hold), none, 0, 0, 0)
        return none
    if given != 0:
        call_words(integer(table, _TABLE.hold), out, 0, 0, 0)
    else:
        result = integer(table, row + _ROW.result)
        if result != 0:
            # The new array takes the reference.
            call_words(integer(table, _TABLE.hold), result, 0, 0, 0)
        out = call_words(integer(table, _TABLE.new_like), lead, _KEEP_ORDER, result, 0)
        if out == 0:
            return out
    data = data_of(other) if type_of(other) == array else scratch + 8 * _NUMBER
    first, second = (0, 1) if lead == x else (1, 0)
    put_integer(scratch, _COUNT, inner)
    put_integer(scratch, _STEPS + first, itemsize)
    put_integer(scratch, _STEPS + second, step_in)
    if operands == 1:
        put_integer(scratch, _STEPS, itemsize)
    put_integer(scratch, _STEPS + operands, 1 if integer(table, row + _ROW.result) != 0 else itemsize)
    width = 1 if integer(table, row + _ROW.result) != 0 else itemsize
    loop, extra = integer(table, row + _ROW.loop), integer(table, row + _ROW.data)
    for done in range(0, size, inner):
        put_integer(scratch, second, data)
        put_integer(scratch, first, data_of(lead) + done * itemsize)
        put_integer(scratch, operands, data_of(out) + done * width)
        call_loop(loop, scratch, scratch + 8 * _COUNT, scratch + 8 * _STEPS, extra)
        data += step_out
    return out


# -- Sums ---------------------------------------------------------------------------------------

_SUM = Words("; array none true hold real_of new most few rows")


def _sum_directly(me, objects, count):
    # objects: an array; the first dimension of the sum, and the one after its last; whether they are kept.
    table = data_of(me)
    none, x = integer(table, _SUM.none), integer(objects, 0)
    is_taken = type_of(x) == integer(table, _SUM.array) and flags_of(x) & _IN_ORDER == _IN_ORDER
    first, last, size, terms, row = 0, 0, 0, 1, -1
    if is_taken:
        first = int(call_for_real(integer(table, _SUM.real_of), integer(objects, 1)))
        last = int(call_for_real(integer(table, _SUM.real_of), integer(objects, 2)))
        for k in range(2):
            if descriptor_of(x) == integer(table, _SUM.rows + 3 * k):
                row = _SUM.rows + 3 * k
        size = _size_of(x)
        is_taken = row >= 0 and 0 < size <= integer(table, _SUM.most) and 0 <= first <= last <= ndim_of(x)
        is_taken = is_taken and (first < last or ndim_of(x) == 0)
    scratch = _sum_block()
    dimensions = 0
    if is_taken:
        is_kept = integer(objects, 3) == integer(table, _SUM.true)
        for i in range(ndim_of(x)):
            if first <= i < last:
                terms *= dimension_of(x, i)
            if is_kept or not first <= i < last:
                put_integer(scratch, _SHAPE + dimensions, 1 if first <= i < last else dimension_of(x, i))
                dimensions += 1
            is_taken = is_taken and dimensions <= _MOST_DIMENSIONS
        # All numbers, or the last dimension, or few numbers: otherwise they are added in blocks, elsewhere.
        few, is_end = terms <= integer(table, _SUM.few), last == ndim_of(x)
        is_taken = is_taken and (few or is_end) and (first == 0 or (is_end and (few or last - first == 1)))
    if not is_taken:
        call_words(integer(table, _SUM.hold), none, 0, 0, 0)
        return none
    call_words(integer(table, _SUM.hold), descriptor_of(x), 0, 0, 0)
    out = new_array(
        integer(table, _SUM.new), integer(table, _SUM.array), descriptor_of(x), dimensions, scratch + 8 * _SHAPE
    )
    if out == 0:
        return out
    itemsize = 4 if row == _SUM.rows else 8
    rest = size // terms
    loop, extra = integer(table, row + 1), integer(table, row + 2)
    put_zeros(data_of(out), rest * itemsize)
    # NumPy's loop adds a number to itself where its first operand and its result do not move.
    is_last = last == ndim_of(x) or rest == 1
    put_integer(scratch, _COUNT, terms if is_last else rest)
    put_integer(scratch, _STEPS, 0 if is_last else itemsize)
    put_integer(scratch, _STEPS + 1, itemsize)
    put_integer(scratch, _STEPS + 2, 0 if is_last else itemsize)
    for i in range(rest if is_last else terms):
        target = data_of(out) + (i * itemsize if is_last else 0)
        put_integer(scratch, 0, target)
        put_integer(scratch, 1, data_of(x) + i * itemsize * (terms if is_last else rest))
        put_integer(scratch, 2, target)
        call_loop(loop, scratch, scratch + 8 * _COUNT, scratch + 8 * _STEPS, extra)
    return out


# -- A choice by a mask -------------------------------------------------------------------------

_CHOICE = Words("; array none hold new_like most bools float32 float64 int64")


@compiler.inline
def _choose(scratch, size, x_moves, y_moves, like):
    mask = pointer(scratch, 0, np.uint8(0))
    x, y, out = pointer(scratch, 1, like), pointer(scratch, 2, like), pointer(scratch, 3, like)
    if x_moves and y_moves:
        for i in range(size):
            put_number(out, i, number_at(x, i) if number_at(mask, i) else number_at(y, i))
    elif x_moves:
        other = number_at(y, 0)
        for i in range(size):
            put_number(out, i, number_at(x, i) if number_at(mask, i) else other)
    elif y_moves:
        other = number_at(x, 0)
        for i in range(size):
            put_number(out, i, other if number_at(mask, i) else number_at(y, i))
    else:
        first, other = number_at(x, 0), number_at(y, 0)
        for i in range(size):
            put_number(out, i, first if number_at(mask, i) else other)


def _choose_directly(me, objects, count):
    # objects: a mask; two arrays of its shape and of one dtype, or of one number.
    table = data_of(me)
    array, none = integer(table, _CHOICE.array), integer(table, _CHOICE.none)
    mask, x, y = integer(objects, 0), integer(objects, 1), integer(objects, 2)
    is_taken = type_of(mask) == array and type_of(x) == array and type_of(y) == array
    size, kind = 0, 0
    if is_taken:
        size, kind = _size_of(mask), descriptor_of(x)
        flags = flags_of(mask) & flags_of(x) & flags_of(y)
        is_taken = (
            descriptor_of(mask) == integer(table, _CHOICE.bools) and descriptor_of(y) == kind
            and flags & _IN_ORDER == _IN_ORDER and 0 < size <= integer(table, _CHOICE.most)
            and (kind == integer(table, _CHOICE.float32) or kind == integer(table, _CHOICE.float64)
                 or kind == integer(table, _CHOICE.int64))
            and (_is_same_shape(mask, x) or (_size_of(x) == 1 and ndim_of(x) <= ndim_of(mask)))
            and (_is_same_shape(mask, y) or (_size_of(y) == 1 and ndim_of(y) <= ndim_of(mask)))
        )  # fmt: skip
    if not is_taken:
        call_words(integer(table, _CHOICE.hold), none, 0, 0, 0)
        return none
    call_words(integer(table, _CHOICE.hold), kind, 0, 0, 0)
    out = call_words(integer(table, _CHOICE.new_like), mask, _KEEP_ORDER, kind, 0)
    if out == 0:
        return out
    scratch = _block()
    put_integer(scratch, 0, data_of(mask))
    put_integer(scratch, 1, data_of(x))
    put_integer(scratch, 2, data_of(y))
    put_integer(scratch, 3, data_of(out))
    if kind == integer(table, _CHOICE.float32):
        _choose(scratch, size, _size_of(x) == size, _size_of(y) == size, np.int32(0))
    else:
        _choose(scratch, size, _size_of(x) == size, _size_of(y) == size, np.int64(0))
    return out


# -- A kernel of arrays of one shape ------------------------------------------------------------

# The first word of a kernel's block; the operands follow.
_OUT = 0
_KERNEL = Words("; array none hold new_like most operands dtype address is_by_rows extra more")


def _launch_directly(me, objects, count):
    # objects: one or two arrays of one shape and the kernel's dtype; the first again if it is overwritten.
    table = data_of(me)
    array, none = integer(table, _KERNEL.array), integer(table, _KERNEL.none)
    operands, dtype = integer(table, _KERNEL.operands), integer(table, _KERNEL.dtype)
    x, size = integer(objects, 0), 0
    is_given = count == operands + 1
    is_taken = count == operands or (is_given and integer(objects, operands) == x)
    for i in range(operands if is_taken else 0):
        y = integer(objects, i)
        is_taken = is_taken and (
            type_of(y) == array and descriptor_of(y) == dtype and flags_of(y) & _IN_ORDER == _IN_ORDER
            and _is_same_shape(x, y)
        )  # fmt: skip
    if is_taken:
        size = _size_of(x)
        is_taken = 0 < size <= integer(table, _KERNEL.most) and (not is_given or flags_of(x) & _WRITEABLE != 0)
    if not is_taken:
        call_words(integer(table, _KERNEL.hold), none, 0, 0, 0)
        return none
    out = x
    if is_given:
        call_words(integer(table, _KERNEL.hold), out, 0, 0, 0)
    else:
        out = call_words(integer(table, _KERNEL.new_like), x, _KEEP_ORDER, 0, 0)
        if out == 0:
            return out
    block = _kernel_block()
    put_integer(block, _OUT, data_of(out))
    for i in range(operands):
        put_integer(block, _OUT + 1 + i, data_of(integer(objects, i)))
    first = 2 + operands
    if integer(table, _KERNEL.is_by_rows) != 0:
        columns = dimension_of(x, ndim_of(x) - 1) if ndim_of(x) > 0 else 1
        put_integer(block, 1 + operands, size // columns)
        put_integer(block, first, columns)
        first += 1
    else:
        put_integer(block, 1 + operands, size)
    for i in range(integer(table, _KERNEL.extra)):
        put_integer(block, first + i, integer(table, _KERNEL.more + i))
    call_slice(integer(table, _KERNEL.address), block, 0, 1)
    return out


# -- The functions of Python --------------------------------------------------------------------


@functools.cache
def _numpy_function(position: int) -> int:
    """The address of a function in the table of NumPy's C API."""
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = read(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]  # NumPy's C interface
    return ctypes.c_void_p.from_address(table + position * ctypes.sizeof(ctypes.c_void_p)).value or 0


class Direct:
    """A ufunc of one or two operands, by its inner loops.

    Args:
        ufunc: a function of NumPy.
        is_relation: whether its results are bool.

    ``call(x)``, ``call(x, y)`` or the same with the array for the result as one more argument: arrays that are
    C-contiguous and of one dtype, one of which may be a number of Python's. Returns the result, or None if NumPy has
    to be asked.
    """

    __slots__ = ("call", "is_relation", "ufunc")

    def __init__(self, ufunc: Any, is_relation: bool = False) -> None:
        self.ufunc, self.is_relation = ufunc, is_relation
        self.call: Any = self._first_call

    def _first_call(self, *args: Any) -> Any:
        self.call = self._built()
        return self.call(*args)

    def _built(self) -> Any:
        rows = []
        for dtype in _DTYPES:
            loop = find_loop(self.ufunc, *[dtype] * self.ufunc.nin, _BOOL if self.is_relation else dtype)
            rows += [id(dtype), *(loop or (0, 0)), id(_BOOL) if self.is_relation else 0]
        words = [
            id(np.ndarray), id(float), id(int), id(None), python_address("Py_IncRef"), _numpy_function(_NEW_LIKE_ARRAY),
            *map(python_address, ("PyLong_AsDouble", "PyErr_Occurred", "PyErr_Clear")),
            self.ufunc.nin, MOST, len(_DTYPES), *rows,
        ]  # fmt: skip
        return python_function(f"{self.ufunc.__name__}_directly", _compute_directly, np.array(words, np.int64))


class DirectKernel:
    """A kernel of one dtype whose block is the result, one or two operands, their size, and constants.

    Args:
        kernel: returns it; called once, at the first call.
        operands: how many.
        dtype: of all arrays.
        most: numbers of an array, for which one thread is enough.
        constants: up to three integers and floats, the last words of the block.
        is_by_rows: the block has rows and columns in the place of the size; columns is the last dimension.

    ``call(x)`` or ``call(x, y)``: C-contiguous arrays of one shape; with x as one more argument it is overwritten.
    Returns the result, or None for other arrays and for too many numbers, of which a launch is a small part.
    """

    __slots__ = ("_constants", "_dtype", "_is_by_rows", "_kernel", "_most", "_operands", "call")

    def __init__(
        self, kernel: Callable[[], compiler.Kernel], operands: int, dtype: np.dtype = FLOAT32, most: int = MOST,
        constants: tuple[float, ...] = (), is_by_rows: bool = False,
    ) -> None:
        self._is_by_rows = is_by_rows
        self._kernel, self._operands, self._dtype, self._constants = kernel, operands, dtype, constants
        self._most = min(most, MOST)
        self.call: Any = self._first_call

    def _first_call(self, *args: Any) -> Any:
        kernel = self._kernel()
        more = [c if isinstance(c, int) else int(np.float64(c).view(np.int64)) for c in self._constants]
        words = [
            id(np.ndarray), id(None), python_address("Py_IncRef"), _numpy_function(_NEW_LIKE_ARRAY), self._most,
            self._operands, id(self._dtype), kernel.compile(), int(self._is_by_rows), len(more), *more, 0,
        ]  # fmt: skip
        # The function may be called as long as the process lives.
        keep_forever(kernel)
        self.call = python_function("launch_directly", _launch_directly, np.array(words, np.int64))
        return self.call(*args)

    def run(self, *arrays: np.ndarray) -> Any:
        """As ``call``, and None while the launches of this thread are recorded."""
        if launcher._recorders and launcher.is_watched():
            return None
        return self.call(*arrays)


class DirectKernels:
    """Direct kernels by a name and constants, for the first few sets of constants: each is kept until the process ends.

    Args:
        make: the :class:`DirectKernel` of a name and constants.
    """

    __slots__ = ("_found", "_make", "_pack")
    _MOST = 64

    def __init__(self, make: Callable[..., DirectKernel], constants: int) -> None:
        self._make = make
        # Bits are compared, not numbers: 0 and -0 differ, and NaN equals itself.
        self._pack = struct.Struct(f"{constants}d").pack
        self._found: dict[tuple[str, bytes], DirectKernel] = {}

    def run(self, x: np.ndarray, name: str, *constants: float) -> Any:
        """The result for an array; None if it has to be launched."""
        try:
            key = name, self._pack(*constants)
        except struct.error:
            # No number: the launch raises the error.
            return None
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= self._MOST:
                return None
            found = self._found[key] = self._make(name, *constants)
        return found.run(x)


class _AtFirstCall:
    """A function that is made when it is first called."""

    __slots__ = ("_make", "call")

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self.call: Callable[..., Any] = self._first_call

    def _first_call(self, *args: Any) -> Any:
        self.call = self._make()
        return self.call(*args)


def _make_sum() -> Callable[..., Any]:
    rows: list[int] = []
    for dtype in (FLOAT32, FLOAT64):
        loop = find_loop(np.add, dtype, dtype, dtype)
        if loop is None or not _sums_at_once():
            return _ask_numpy
        rows += [id(dtype), *loop]
    words = [
        id(np.ndarray), id(None), id(True), python_address("Py_IncRef"), python_address("PyLong_AsDouble"),
        _numpy_function(_NEW_FROM_DESCRIPTOR), MOST, FEW, *rows,
    ]  # fmt: skip
    return python_function("sum_directly", _sum_directly, np.array(words, np.int64))


def _make_choice() -> Callable[..., Any]:
    words = [
        id(np.ndarray), id(None), python_address("Py_IncRef"), _numpy_function(_NEW_LIKE_ARRAY), MOST, id(_BOOL),
        id(FLOAT32), id(FLOAT64), id(_INT64),
    ]  # fmt: skip
    return python_function("choose_directly", _choose_directly, np.array(words, np.int64))


def _ask_numpy(*args: Any) -> None:
    """In the place of a function where NumPy has another layout."""


# `SUM.call(x, first, last, is_kept)`: the sum over the dimensions from `first` to `last`, without that one.
SUM = _AtFirstCall(_make_sum)
# `CHOICE.call(mask, x, y)`: as `np.where`.
CHOICE = _AtFirstCall(_make_choice)
# All functions of this file that are compiled.
FUNCTIONS = _compute_directly, _sum_directly, _choose_directly, _launch_directly
