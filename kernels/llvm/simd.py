"""The vectors of this CPU, and a few operations that Numba does not have."""

from __future__ import annotations

import functools

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import registry
from numba.extending import intrinsic

from fastnn.kernels.runtime.cache import remembered
from fastnn.kernels.runtime.cpu import find_vectors


@functools.cache
def vector_bytes() -> int:
    """Bytes in a vector register of the CPU that Numba compiles for: 64, 32 or 16."""
    return _probe()[0]


@functools.cache
def has_fma() -> bool:
    """Whether that CPU fuses multiply and add."""
    return _probe()[1]


@functools.cache
def _probe() -> tuple[int, bool]:
    """Cached on disk: LLVM's code generator takes 13 MB, which a process with a warm cache does not need otherwise."""
    codegen = registry.cpu_target.target_context.codegen()
    return remembered("vectors", codegen, lambda: find_vectors(codegen))


def has_masks(size: int) -> bool:
    """Whether a masked load of a register of ``size`` bytes is one instruction: not with SSE or NEON."""
    return size > 16


def lanes(itemsize: int) -> int:
    """Numbers of ``itemsize`` bytes in one vector register."""
    return vector_bytes() // itemsize


def declare(builder: ir.IRBuilder, name: str, kind: ir.Type, operands: int) -> ir.Function:
    """LLVM's own function ``llvm.<name>`` on ``operands`` values of one type, in the module being built."""
    return _external(builder, f"llvm.{name}.{_suffix(kind)}", ir.FunctionType(kind, [kind] * operands))


def masked_load(builder: ir.IRBuilder, pointer: ir.Value, mask: ir.Value, kind: ir.VectorType) -> ir.Value:
    """A vector of the numbers at ``pointer`` where ``mask`` is set; zero, and no access, elsewhere."""
    zeros = ir.Constant(kind, [0.0] * kind.count)
    operands = [pointer, *_alignment(kind), mask, zeros]
    signature = ir.FunctionType(kind, [value.type for value in operands])
    return builder.call(_external(builder, f"llvm.masked.load.{_suffix(kind)}.p0", signature), operands)


def masked_store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, mask: ir.Value) -> None:
    """Store the numbers of ``value`` where ``mask`` is set; no access elsewhere."""
    operands = [value, pointer, *_alignment(value.type), mask]
    signature = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
    builder.call(_external(builder, f"llvm.masked.store.{_suffix(value.type)}.p0", signature), operands)


def number_bytes(kind: ir.Type) -> int:
    """Bytes of a float or double."""
    return 4 if isinstance(kind, ir.FloatType) else 8


def _alignment(kind: ir.VectorType) -> list[ir.Value]:
    # An operand up to LLVM 21, an attribute (default: 1 byte) from 22 on.
    return [ir.IntType(32)(number_bytes(kind.element))] if llvm.llvm_version_info < (22,) else []


def _suffix(kind: ir.Type) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return f"f{8 * number_bytes(kind)}"


def _external(builder: ir.IRBuilder, name: str, signature: ir.FunctionType) -> ir.Function:
    existing = builder.module.globals.get(name)
    return existing if existing is not None else ir.Function(builder.module, signature, name)


def _unary(name: str):
    """An intrinsic ``f(x)`` for float32 and float64 that is LLVM's ``llvm.<name>``."""

    @intrinsic
    def call(typingctx, x):
        if not isinstance(x, types.Float):
            return None

        def codegen(context, builder, signature, values):
            return builder.call(declare(builder, name, values[0].type, 1), values)

        return x(x), codegen

    return call


floor = _unary("floor")
fabs = _unary("fabs")
sqrt = _unary("sqrt")


@intrinsic
def maximum(typingctx, a, b):
    """The larger of two numbers; NaN if either is NaN. A reduction with it is vectorised."""
    if a != b or not isinstance(a, types.Float):
        return None

    def codegen(context, builder, signature, values):
        return builder.call(declare(builder, "maximum", values[0].type, 2), values, fastmath=("nsz",))

    return a(a, a), codegen


@intrinsic
def multiply_add(typingctx, a, b, c):
    """``a * b + c``, fused if the CPU can, otherwise with two roundings (never a library call)."""
    if not (a == b == c and isinstance(a, types.Float)):
        return None

    def codegen(context, builder, signature, values):
        return builder.call(declare(builder, "fmuladd", values[0].type, 3), values)

    return a(a, a, a), codegen


@intrinsic
def copysign(typingctx, magnitude, sign):
    """``magnitude`` with the sign of ``sign``."""
    if magnitude != sign or not isinstance(sign, types.Float):
        return None

    def codegen(context, builder, signature, values):
        return builder.call(declare(builder, "copysign", values[0].type, 2), values)

    return sign(sign, sign), codegen


# IEEE 754: width, bits of the significand, bias of the exponent.
_FORMATS = {types.float32: (32, 23, 127), types.float64: (64, 52, 1023)}


@intrinsic
def times_power_of_two(typingctx, x, shifted):
    """``x * 2**k`` for the integer ``k`` in the low bits of ``shifted = 1.5 * 2**significand_bits + k``.

    Multiplies by two factors, so that a result below the normal range is rounded once and one above
    it becomes infinity, for every ``k`` down to twice the smallest exponent.
    """
    if x != shifted or x not in _FORMATS:
        return None
    width, significand, bias = _FORMATS[x]

    def codegen(context, builder, signature, values):
        x, shifted = values
        integer, kind = ir.IntType(width), x.type
        one_and_a_half = builder.bitcast(kind(1.5 * 2.0**significand), integer)
        k = builder.sub(builder.bitcast(shifted, integer), one_and_a_half)
        first = builder.ashr(k, integer(1))
        for part in (first, builder.sub(k, first)):
            power = builder.shl(builder.add(part, integer(bias)), integer(significand))
            x = builder.fmul(x, builder.bitcast(power, kind))
        return x

    return x(x, x), codegen


@intrinsic
def power_of_two(typingctx, shifted):
    """``2**k`` for the integer ``k`` in the low bits of ``shifted``, as above; ``k`` must give a normal number."""
    if shifted not in _FORMATS:
        return None
    width, significand, bias = _FORMATS[shifted]

    def codegen(context, builder, signature, values):
        integer, kind = ir.IntType(width), values[0].type
        one_and_a_half = builder.bitcast(kind(1.5 * 2.0**significand), integer)
        k = builder.sub(builder.bitcast(values[0], integer), one_and_a_half)
        return builder.bitcast(builder.shl(builder.add(k, integer(bias)), integer(significand)), kind)

    return shifted(shifted), codegen


@intrinsic
def significand_of(typingctx, x):
    """The ``m`` of ``x = m * 2**e`` with ``sqrt(1/2) <= m < sqrt(2)``, for positive normal ``x``."""
    if x not in _FORMATS:
        return None

    def codegen(context, builder, signature, values):
        return _split(builder, values[0], x)[0]

    return x(x), codegen


@intrinsic
def exponent_of(typingctx, x):
    """The ``e`` of ``x = m * 2**e`` with ``sqrt(1/2) <= m < sqrt(2)``, as a float, for positive normal ``x``."""
    if x not in _FORMATS:
        return None

    def codegen(context, builder, signature, values):
        return _split(builder, values[0], x)[1]

    return x(x), codegen


def _split(builder, value, kind):
    width, significand, _ = _FORMATS[kind]
    integer = ir.IntType(width)
    bits = builder.bitcast(value, integer)
    # Subtracting the bits of sqrt(1/2) makes the exponent field start from there.
    root = builder.bitcast(value.type(0.5**0.5), integer)
    exponent = builder.ashr(builder.sub(bits, root), integer(significand))
    m = builder.bitcast(builder.sub(bits, builder.shl(exponent, integer(significand))), value.type)
    return m, builder.sitofp(exponent, value.type)
