"""The loops of attention over one row of whole vectors, written as LLVM IR.

A row of scores has ``size`` numbers, and is filled up to ``width``, a multiple of the vector length. Each loop reads
what the one before it has just written, so all loads and stores of a row are whole vectors: a processor hands the
numbers of a store under a mask to a later load by way of the cache only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.llvm import simd
from fastnn.kernels.llvm.micro_kernel import _first_lanes, _splat
from fastnn.kernels.llvm.random import write_bits
from fastnn.kernels.llvm.row_loops import _constant, _exp_of_negative, _folded, _is_row, _larger, _Row, _sum
from fastnn.kernels.runtime.compiler import STRICT, inline

_INT = ir.IntType(64)
_INT32 = ir.IntType(32)


def _over_vectors(
    builder: ir.IRBuilder, width: ir.Value, start: ir.Constant, body: Callable[..., ir.Value]
) -> ir.Value:
    """``total = body(builder, offset, total)`` for each vector of a row; the last total."""
    total = cgutils.alloca_once(builder, start.type)
    builder.store(start, total)
    with cgutils.for_range_slice(builder, _INT(0), width, _INT(start.type.count)) as (offset, _):
        builder.store(body(builder, offset, builder.load(total)), total)
    return builder.load(total)


def _filled(builder: ir.IRBuilder, row: _Row, offset: ir.Value, size: ir.Value) -> ir.Value:
    """The vector at ``offset`` of a row of ``size`` numbers, with zeros after them."""
    return row.load(builder, offset, _first_lanes(builder, builder.sub(size, offset), row.kind.count))


@intrinsic
def _scores(typingctx, scale, x, mask, size, width, masked):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        scale, x_start, mask_start, size, width, masked = values
        x, extra = (_Row(start, scale.type) for start in (x_start, mask_start))
        lowest, scales = _constant(x.kind, -math.inf), _splat(builder, scale, x.kind.count)
        fma = simd.declare(builder, "fmuladd", x.kind, 3)

        def loop(masked: bool) -> ir.Value:
            def body(b, offset, top):
                there = _first_lanes(b, b.sub(size, offset), x.kind.count)
                value = x.load(b, offset, None)
                added = [extra.load(b, offset, there)] if masked else []
                value = b.call(fma, [value, scales, *added]) if masked else b.fmul(value, scales)
                value = b.select(there, value, lowest)
                x.store(b, value, offset, None)
                return _larger(b, value, top)

            return _folded(builder, [_over_vectors(builder, width, lowest, body)], _larger)

        result = cgutils.alloca_once(builder, scale.type)
        with builder.if_else(masked) as (then, otherwise):
            with then:
                builder.store(loop(True), result)
            with otherwise:
                builder.store(loop(False), result)
        return builder.load(result)

    return x.dtype(x.dtype, x, x, types.int64, types.int64, types.boolean), codegen


@intrinsic
def _exponentials(typingctx, top, x, width):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        top, start, width = values
        x = _Row(start, top.type)
        zero, tops = _constant(x.kind, 0.0), _splat(builder, top, x.kind.count)

        def body(b, offset, total):
            value = _exp_of_negative(b, b.fsub(x.load(b, offset, None), tops))
            x.store(b, value, offset, None)
            return b.fadd(total, value)

        return _folded(builder, [_over_vectors(builder, width, zero, body)], _sum)

    return x.dtype(x.dtype, x, types.int64), codegen


@intrinsic
def _scale(typingctx, factor, x, width):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        factor, start, width = values
        x = _Row(start, factor.type)
        zero, factors = _constant(x.kind, 0.0), _splat(builder, factor, x.kind.count)

        def body(b, offset, unused):
            x.store(b, b.fmul(x.load(b, offset, None), factors), offset, None)
            return unused

        _over_vectors(builder, width, zero, body)
        return context.get_dummy_value()

    return types.void(x.dtype, x, types.int64), codegen


@intrinsic
def _fill(typingctx, like, x, source, size, width):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        like, x_start, source_start, size, width = values
        x, source = (_Row(start, like.type) for start in (x_start, source_start))

        def body(b, offset, unused):
            x.store(b, _filled(b, source, offset, size), offset, None)
            return unused

        _over_vectors(builder, width, _constant(x.kind, 0.0), body)
        return context.get_dummy_value()

    return types.void(x.dtype, x, x, types.int64, types.int64), codegen


@intrinsic
def _unfill(typingctx, like, target, x, size, width):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        like, target_start, x_start, size, width = values
        target, x = (_Row(start, like.type) for start in (target_start, x_start))

        def body(b, offset, unused):
            there = _first_lanes(b, b.sub(size, offset), x.kind.count)
            target.store(b, x.load(b, offset, None), offset, there)
            return unused

        _over_vectors(builder, width, _constant(x.kind, 0.0), body)
        return context.get_dummy_value()

    return types.void(x.dtype, x, x, types.int64, types.int64), codegen


@intrinsic
def _slopes(typingctx, scale, d, p, size, width):
    if not _is_row(d):
        return None

    def codegen(context, builder, signature, values):
        scale, d_start, p_start, size, width = values
        d, p = (_Row(start, scale.type) for start in (d_start, p_start))
        zero, scales = _constant(d.kind, 0.0), _splat(builder, scale, d.kind.count)
        fma = simd.declare(builder, "fmuladd", d.kind, 3)

        def product(b, offset, total):
            return b.call(fma, [d.load(b, offset, None), _filled(b, p, offset, size), total])

        total = _splat(builder, _folded(builder, [_over_vectors(builder, width, zero, product)], _sum), d.kind.count)

        def slope(b, offset, unused):
            value = b.fmul(_filled(b, p, offset, size), b.fsub(d.load(b, offset, None), total))
            d.store(b, b.fmul(value, scales), offset, None)
            return unused

        _over_vectors(builder, width, zero, slope)
        return context.get_dummy_value()

    return types.void(d.dtype, d, d, types.int64, types.int64), codegen


@intrinsic
def _drop(typingctx, factor, x, position, key0, key1, threshold, width):
    if not _is_row(x):
        return None

    def codegen(context, builder, signature, values):
        factor, start, position, key0, key1, threshold, width = values
        x = _Row(start, factor.type)
        count = x.kind.count
        zero, factors = _constant(x.kind, 0.0), _splat(builder, factor, count)
        key0, key1, threshold = (_splat(builder, value, count) for value in (key0, key1, threshold))
        lanes = ir.Constant(ir.VectorType(_INT32, count), list(range(count)))

        def body(b, offset, unused):
            first = b.trunc(b.add(position, offset), _INT32)
            bits = write_bits(b, b.add(_splat(b, first, count), lanes), key0, key1)
            kept = b.select(b.icmp_unsigned("<", bits, threshold), factors, zero)
            x.store(b, b.fmul(x.load(b, offset, None), kept), offset, None)
            return unused

        _over_vectors(builder, width, zero, body)
        return context.get_dummy_value()

    key = types.uint32
    return types.void(x.dtype, x, types.int64, key, key, key, types.int64), codegen


@inline(fastmath=STRICT)
def drop_row(factor, x, position, key0, key1, threshold, width):
    """``dropout.drop`` in place for ``width`` numbers at the pointer ``x``; the first is at ``position``."""
    _drop(factor, x, position, key0, key1, threshold, width)


@inline(fastmath=STRICT)
def scores(scale, x, mask, size, width, masked):
    """``x = x * scale + mask`` for ``size`` numbers at pointers, and -inf up to ``width``; returns the largest.

    NaN is not returned. ``mask`` is read only if ``masked``.
    """
    return _scores(scale, x, mask, size, width, masked)


@inline(fastmath=STRICT)
def exponentials(top, x, width):
    """``x = exp(x - top)`` for ``width`` numbers at the pointer ``x``, none above ``top``; returns the sum."""
    return _exponentials(top, x, width)


@inline(fastmath=STRICT)
def scale(factor, x, width):
    """``x *= factor`` for ``width`` numbers at the pointer ``x``."""
    _scale(factor, x, width)


@inline(fastmath=STRICT)
def fill(like, x, source, size, width):
    """``x = source`` for ``size`` numbers at pointers, and zeros up to ``width``."""
    _fill(like, x, source, size, width)


@inline(fastmath=STRICT)
def unfill(like, target, x, size, width):
    """``target = x`` for ``size`` numbers at pointers."""
    _unfill(like, target, x, size, width)


@inline(fastmath=STRICT)
def slopes(scale, d, p, size, width):
    """``d = p * (d - sum(d * p)) * scale``, the gradient of a softmax, for ``width`` numbers at the pointer ``d``.

    The row at ``p`` has ``size`` numbers, and counts as zero from there up to ``width``.
    """
    _slopes(scale, d, p, size, width)
