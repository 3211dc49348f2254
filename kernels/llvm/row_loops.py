"""The three loops of a softmax over one row, written as LLVM IR: maximum, exponentials, scaling.

LLVM's own loops over a row of ten numbers are scalar, as the row is shorter than their unrolled
body, and a maximum that may see NaN is one long dependency chain. These loops take a whole vector
at a time, four if the row is long enough, and mask the end of the row, so that they touch no memory
beyond it. A softmax cross-entropy of 512x10 with its gradient went from 15.7 to 9.3 us, one of
512x1000 on one thread from 155 to 108.

Numba applies the flags of a function to all code that an intrinsic writes into it, and the exponential must not be
reordered: hence the functions without flags at the end, which wrap the intrinsics.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.llvm import simd
from fastnn.kernels.llvm.micro_kernel import _first_lanes, _load, _splat, _store, transpose_registers
from fastnn.kernels.runtime.compiler import STRICT, inline

_INT = ir.IntType(64)
_INT32 = ir.IntType(32)
# Vectors in flight: an addition or a maximum has a latency of four cycles.
_UNROLLED = 4

Body = Callable[[ir.IRBuilder, ir.Value, "ir.Value | None", ir.Value], ir.Value]


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _over_row(builder: ir.IRBuilder, size: ir.Value, start: ir.Constant, body: Body) -> list[ir.Value]:
    """``total = body(builder, offset, mask, total)`` for each vector of a row; returns the partial totals.

    ``offset`` is in numbers; ``mask`` is None for a whole vector.
    """
    lanes, count = start.type.count, _UNROLLED
    step = count * lanes
    entry = builder.block
    whole, loop, rest, masked, end = (
        builder.append_basic_block(name) for name in ("whole", "loop", "rest", "masked", "end")
    )
    limit = builder.and_(size, _INT(-step))
    builder.branch(whole)

    builder.position_at_end(whole)
    i = builder.phi(_INT, "i")
    i.add_incoming(_INT(0), entry)
    totals = [builder.phi(start.type) for _ in range(count)]
    for total in totals:
        total.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed("<", i, limit), loop, rest)

    builder.position_at_end(loop)
    offsets = [builder.add(i, _INT(k * lanes)) for k in range(count)]
    found = [body(builder, offset, None, total) for offset, total in zip(offsets, totals, strict=True)]
    i.add_incoming(builder.add(i, _INT(step)), builder.block)
    for total, value in zip(totals, found, strict=True):
        total.add_incoming(value, builder.block)
    builder.branch(whole)

    # Up to four more vectors, the last one partial. If a mask costs a branch for each number, whole vectors use none.
    builder.position_at_end(rest)
    j = builder.phi(_INT, "j")
    j.add_incoming(i, whole)
    first = builder.phi(start.type)
    first.add_incoming(totals[0], whole)
    if simd.has_masks(simd.vector_bytes()):
        builder.cbranch(builder.icmp_signed("<", j, size), masked, end)
    else:
        single, last = builder.append_basic_block("single"), builder.append_basic_block("last")
        following = builder.add(j, _INT(lanes))
        builder.cbranch(builder.icmp_signed("<=", following, size), single, last)
        builder.position_at_end(single)
        value = body(builder, j, None, first)
        j.add_incoming(following, builder.block)
        first.add_incoming(value, builder.block)
        builder.branch(rest)
        builder.position_at_end(last)
        builder.cbranch(builder.icmp_signed("<", j, size), masked, end)

    builder.position_at_end(masked)
    value = body(builder, j, _first_lanes(builder, builder.sub(size, j), lanes), first)
    j.add_incoming(builder.add(j, _INT(lanes)), builder.block)
    first.add_incoming(value, builder.block)
    builder.branch(rest)

    builder.position_at_end(end)
    return [first, *totals[1:]]


def _folded(builder: ir.IRBuilder, totals: list[ir.Value], combine: Callable[..., ir.Value]) -> ir.Value:
    """All lanes of all partial totals combined into one number, in pairs."""
    while len(totals) > 1:
        half = len(totals) // 2
        totals = [combine(builder, a, b) for a, b in zip(totals[:half], totals[half:], strict=True)]
    [total] = totals
    lanes = total.type.count
    while lanes > 1:
        lanes //= 2
        order = [k + lanes if k < lanes else k for k in range(total.type.count)]
        other = builder.shuffle_vector(total, total, ir.Constant(ir.VectorType(_INT32, total.type.count), order))
        total = combine(builder, total, other)
    return builder.extract_element(total, _INT32(0))


def _larger(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    # One instruction. NaN in `a` is ignored.
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _sum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.fadd(a, b)


# 2**f for |f| <= 1/2, highest power first: a Chebyshev fit with relative error 2e-9; for float64 the Taylor series.
_POWER_OF_TWO = {
    4: [
        0.000154531629451, 0.00133908633647, 0.00961808255728, 0.0555035711422, 0.240226507606, 0.693147188026, 1.0,
    ],
    8: [math.log(2) ** n / math.factorial(n) for n in range(13, -1, -1)],
}  # fmt: skip


def _exp_of_negative(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """e**x of a vector of numbers up to 0; 0 where the result is below the normal range.

    Within ``1 + |x| / 4`` ulp, as x log2(e) is split into an integer and a fraction in one step; ``math.exp``
    uses two. If x is a difference, its own rounding costs twice that. 7.2 cycles for 16 numbers, against 9.3.
    """
    kind, size = x.type, simd.number_bytes(x.type.element)
    width, significand, bias = (32, 23, 127) if size == 4 else (64, 52, 1023)
    integer = ir.VectorType(ir.IntType(width), kind.count)
    fma = simd.declare(builder, "fmuladd", kind, 3)
    log2_e, rounder = _constant(kind, 1 / math.log(2)), _constant(kind, 1.5 * 2.0**significand)
    # Rounded to an integer, which is in the low bits.
    shifted = builder.call(fma, [x, log2_e, rounder])
    f = builder.call(fma, [x, log2_e, builder.fsub(rounder, shifted)])
    leading, *others = [_constant(kind, c) for c in _POWER_OF_TWO[size]]
    power = leading
    for coefficient in others:
        power = builder.call(fma, [power, f, coefficient])
    # The bits above the integer are shifted out.
    exponent = builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, [significand] * kind.count))
    scale = builder.add(exponent, ir.Constant(integer, [bias << significand] * kind.count))
    power = builder.fmul(power, builder.bitcast(scale, kind))
    underflow = builder.fcmp_ordered("<", x, _constant(kind, (1 - bias) * math.log(2)))
    return builder.select(underflow, _constant(kind, 0.0), power)


class _Row:
    """The numbers from a pointer onwards, as vectors."""

    def __init__(self, start: ir.Value, number: ir.Type) -> None:
        self.kind = ir.VectorType(number, simd.lanes(simd.number_bytes(number)))
        self.start = start

    def load(self, builder: ir.IRBuilder, offset: ir.Value, mask: ir.Value | None) -> ir.Value:
        return _load(builder, builder.gep(self.start, [offset]), self.kind, mask)

    def store(self, builder: ir.IRBuilder, value: ir.Value, offset: ir.Value, mask: ir.Value | None) -> None:
        _store(builder, value, builder.gep(self.start, [offset]), mask)


def _is_row(x: types.Type) -> bool:
    """Whether an argument is a pointer to floats."""
    return isinstance(x, types.CPointer) and isinstance(x.dtype, types.Float)


def _where(builder: ir.IRBuilder, mask: ir.Value | None, value: ir.Value, other: ir.Value) -> ir.Value:
    return value if mask is None else builder.select(mask, value, other)


@intrinsic
def _row_max(typingctx, x, size):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        row = _Row(values[0], context.get_value_type(x.dtype))
        lowest = _constant(row.kind, -math.inf)

        def body(b, offset, mask, total):
            return _larger(b, _where(b, mask, row.load(b, offset, mask), lowest), total)

        return _folded(builder, _over_row(builder, values[1], lowest, body), _larger)

    return x.dtype(x, types.int64), codegen


@intrinsic
def _row_exp(typingctx, top, e, x, size, written):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        top, e_start, x_start, size, written = values
        x, e = (_Row(start, top.type) for start in (x_start, e_start))
        zero, tops = _constant(x.kind, 0.0), _splat(builder, top, x.kind.count)

        def loop(written: bool) -> ir.Value:
            def body(b, offset, mask, total):
                value = _exp_of_negative(b, b.fsub(x.load(b, offset, mask), tops))
                if written:
                    e.store(b, value, offset, mask)
                return b.fadd(total, _where(b, mask, value, zero))

            return _folded(builder, _over_row(builder, size, zero, body), _sum)

        result = cgutils.alloca_once(builder, top.type)
        with builder.if_else(written) as (then, otherwise):
            with then:
                builder.store(loop(True), result)
            with otherwise:
                builder.store(loop(False), result)
        return builder.load(result)

    return x.dtype(x.dtype, x, x, types.int64, types.boolean), codegen


@intrinsic
def lanes(typingctx, like):
    """Numbers of the type of ``like`` in a vector, a constant."""

    def codegen(context, builder, signature, values):
        return _INT(simd.lanes(signature.args[0].bitwidth // 8))

    return types.int64(like), codegen


@intrinsic
def _short_rows(typingctx, scale, d, x, labels, weights, totals, below_top, classes, ignored, count, written):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        number = values[0].type
        name = f"fastnn_short_rows_{number}"
        function = builder.module.globals.get(name)
        if function is None:
            function = _write_short_rows(builder.module, name, number)
        builder.call(function, values)
        return context.get_dummy_value()

    labels_at = types.CPointer(types.int64)
    return types.void(x.dtype, x, x, labels_at, x, x, x, *[types.int64] * 3, types.boolean), codegen


def _write_short_rows(module: ir.Module, name: str, number: ir.Type) -> ir.Function:
    row_at = number.as_pointer()
    kinds = [number, row_at, row_at, _INT.as_pointer(), row_at, row_at, row_at, _INT, _INT, _INT, ir.IntType(1)]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    scale, d, x, labels_at, weights_at, totals_at, below_top_at, classes, ignored, count, written = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    lanes = simd.lanes(simd.number_bytes(number))
    kind = ir.VectorType(number, lanes)
    zero = _constant(kind, 0.0)
    # A vector for each class, with the rows in its lanes.
    columns = builder.alloca(kind, lanes)
    in_row = _first_lanes(builder, classes, lanes)
    masks = [
        builder.and_(in_row, _splat(builder, builder.icmp_signed("<", _INT(i), count), lanes)) for i in range(lanes)
    ]

    def row(base: ir.Value, i: int) -> ir.Value:
        return builder.gep(base, [builder.mul(classes, _INT(i))])

    def column(j: ir.Value) -> ir.Value:
        return builder.gep(columns, [j])

    block = [_load(builder, row(x, i), kind, masks[i]) for i in range(lanes)]
    transpose_registers(builder, block)
    for j, value in enumerate(block):
        builder.store(value, column(_INT(j)))
    is_there = _first_lanes(builder, count, lanes)
    labels = builder.bitcast(
        _load(builder, labels_at, ir.VectorType(ir.DoubleType(), lanes), is_there), ir.VectorType(_INT, lanes)
    )
    # As unsigned numbers, negative labels are large.
    fits = builder.icmp_unsigned("<", labels, _splat(builder, classes, lanes))
    counted = builder.and_(builder.icmp_signed("!=", labels, _splat(builder, ignored, lanes)), fits)
    counted = builder.and_(counted, is_there)
    scales = builder.fmul(_splat(builder, scale, lanes), _load(builder, weights_at, kind, None))

    def is_label(j: ir.Value) -> ir.Value:
        return builder.icmp_signed("==", labels, _splat(builder, j, lanes))

    top, right = (cgutils.alloca_once_value(builder, value) for value in (_constant(kind, -math.inf), zero))
    with cgutils.for_range(builder, classes) as loop:
        value = builder.load(column(loop.index))
        builder.store(_larger(builder, value, builder.load(top)), top)
        builder.store(builder.select(is_label(loop.index), value, builder.load(right)), right)
    tops = builder.load(top)
    total = cgutils.alloca_once_value(builder, zero)
    with cgutils.for_range(builder, classes) as loop:
        e = _exp_of_negative(builder, builder.fsub(builder.load(column(loop.index)), tops))
        builder.store(e, column(loop.index))
        builder.store(builder.fadd(builder.load(total), e), total)
    totals = builder.load(total)
    below = builder.fsub(builder.load(right), tops)
    for value, other, place in ((totals, _constant(kind, 1.0), totals_at), (below, zero, below_top_at)):
        _store(builder, builder.select(counted, value, other), place, None)
    with builder.if_then(written):
        factors = builder.fdiv(scales, totals)
        with cgutils.for_range(builder, classes) as loop:
            one = builder.select(is_label(loop.index), scales, zero)
            value = builder.fsub(builder.fmul(builder.load(column(loop.index)), factors), one)
            builder.store(builder.select(counted, value, zero), column(loop.index))
        block = [builder.load(column(_INT(j))) for j in range(lanes)]
        transpose_registers(builder, block)
        for i, value in enumerate(block):
            _store(builder, value, row(d, i), masks[i])
    builder.ret_void()
    return function


@intrinsic
def _row_scale(typingctx, factor, x, size):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        factor, start, size = values
        row = _Row(start, factor.type)
        factors = _splat(builder, factor, row.kind.count)

        def body(b, offset, mask, total):
            row.store(b, b.fmul(row.load(b, offset, mask), factors), offset, mask)
            return total

        _over_row(builder, size, _constant(row.kind, 0.0), body)
        return context.get_dummy_value()

    return types.void(x.dtype, x, types.int64), codegen


@intrinsic
def _row_scale_past_caches(typingctx, factor, d, e, size):
    if not _is_row(d):
        return None

    def codegen(context, builder, signature, values):
        factor, d_start, e_start, size = values
        d, e = (_Row(start, factor.type) for start in (d_start, e_start))
        lanes, number = d.kind.count, simd.number_bytes(factor.type)
        factors = _splat(builder, factor, lanes)

        def scaled(offset: ir.Value, mask: ir.Value | None) -> ir.Value:
            return builder.fmul(e.load(builder, offset, mask), factors)

        # The numbers before the first aligned vector of the output, whole vectors, the rest.
        to_whole = builder.and_(builder.neg(builder.ptrtoint(d.start, _INT)), _INT(lanes * number - 1))
        ahead = builder.udiv(to_whole, _INT(number))
        ahead = builder.select(builder.icmp_signed("<", ahead, size), ahead, size)
        mask = _first_lanes(builder, ahead, lanes)
        d.store(builder, scaled(_INT(0), mask), _INT(0), mask)
        end = builder.add(ahead, builder.and_(builder.sub(size, ahead), _INT(-lanes)))
        one = builder.module.add_metadata([_INT32(1)])
        with cgutils.for_range_slice(builder, ahead, end, _INT(lanes)) as (offset, _):
            there = builder.bitcast(builder.gep(d.start, [offset]), d.kind.as_pointer())
            builder.store(scaled(offset, None), there, align=lanes * number).set_metadata("nontemporal", one)
        mask = _first_lanes(builder, builder.sub(size, end), lanes)
        d.store(builder, scaled(end, mask), end, mask)
        return context.get_dummy_value()

    return types.void(d.dtype, d, d, types.int64), codegen


@intrinsic
def scratch(typingctx, numbers, like):
    """A pointer to space for ``numbers`` (a literal) numbers of the type of ``like`` on the stack of the slice."""
    if not isinstance(numbers, types.IntegerLiteral):
        return None
    count = numbers.literal_value

    def codegen(context, builder, signature, values):
        room = cgutils.alloca_once(builder, values[1].type, size=count)
        room.align = 64
        return room

    return types.CPointer(like)(numbers, like), codegen


@inline(fastmath=STRICT)
def row_max(x, size):
    """The largest of ``size`` numbers at the pointer ``x``; NaN is ignored, -inf if there are no numbers."""
    return _row_max(x, size)


@inline(fastmath=STRICT)
def row_exp(top, e, x, size, written):
    """``e = exp(x - top)`` for ``size`` numbers at pointers, none above ``top``; returns the sum.

    ``e`` may be ``x``; it is not used unless ``written``.
    """
    return _row_exp(top, e, x, size, written)


@inline(fastmath=STRICT)
def short_rows(scale, d, x, labels, weights, totals, below_top, classes, ignored, count, written):
    """All steps for up to a vector of short rows: ``d = scale * weight * (softmax(x) - onehot(label))``.

    A row fits in one vector. The rows are transposed in registers, so that each lane works on one row. 512x10: from
    9.3 to 5.4 us; one vector for each row, reduced for its maximum and its sum, had taken it from 11.6 to 9.3.

    Args:
        scale: a number of the type of all arrays but ``labels``.
        d, x: pointers to the first of ``count`` rows, ``classes`` numbers each; ``d`` may be ``x``.
        labels: pointer to ``count`` int64. A row whose label is ``ignored`` or out of range does not count.
        weights: pointer to a whole vector, the weight of each row.
        totals, below_top: pointers to a whole vector each: receive the sums of exponentials and the label's logit
            minus the largest; 1 and 0 for a row that does not count.
        written: whether ``d`` is written; otherwise it is not used.
    """
    _short_rows(scale, d, x, labels, weights, totals, below_top, classes, ignored, count, written)


@inline(fastmath=STRICT)
def row_scale(factor, x, size):
    """``x *= factor`` for ``size`` numbers at the pointer ``x``."""
    _row_scale(factor, x, size)


@inline(fastmath=STRICT)
def row_scale_past_caches(factor, d, e, size):
    """``d = factor * e`` for ``size`` numbers at pointers; whole vectors of ``d`` bypass the caches.

    The written lines are then not read first, which is a third of the traffic of a large gradient. The same thread
    must call :func:`fence` afterwards.
    """
    _row_scale_past_caches(factor, d, e, size)
