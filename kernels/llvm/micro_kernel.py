"""The micro-kernel of the matrix product, written as LLVM IR through Numba intrinsics.

    C[rows, columns] = (zero, bias or C) + A[rows, depth] @ B[depth, columns], then max(., floor)

for a tile whose accumulators fit in the vector registers: up to MR rows by NV vectors, one
broadcast of A per row and fused multiply-add. A partial tile runs at full speed and touches no memory
outside it. With AVX2 and AVX-512 the last vector of a row is masked. Vectors of 16 bytes (SSE, NEON) have
no masked load in one instruction, so there the last vector ends at the end of the row and overlaps the one
before it: both compute the same bits for the numbers that they share. Two or three columns of float32 are
two overlapping halves of a vector. One LLVM function has a loop for each tile size and switches between
them: unlike functions built from text by ``exec`` it can be cached. This module also has the transpose of
a block, for packing.

The number of vectors depends on the number of rows, so that small batches keep as many multiply-adds
in flight as large ones: on AVX-512 12 x 2, 9 x 3, 6 x 4, 4 x 6, 1 x 8.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.llvm import simd
from fastnn.kernels.runtime import cache
from fastnn.kernels.runtime.compiler import both

_INT = ir.IntType(64)
_INT32 = ir.IntType(32)

# By bytes in a vector register, and whether multiply and add are fused: rows of the largest tile, and
# registers. Without the fused form (SSE) one of 16 registers holds the product before it is added. A CPU
# with the fused form and 16 bytes is an arm64, which has 32 registers. SSE, 512x512x512 on one thread of a Zen 4:
# 35 GFLOP/s with 4 rows and with 6; NEON: 24 multiply-adds for 10 loads with 6 rows.
_LIMITS = {(64, True): (12, 32), (32, True): (6, 16), (16, True): (6, 32), (16, False): (4, 15)}
_MOST_VECTORS = 8
# Instead of a count of vectors: tiles narrower than a vector, without masks.
_ONE_COLUMN, _HALVES = 0, 1000

# Bits of `mode`. A product starts from zero, from the contents of C, or from the bias. STREAM bypasses the caches on
# writes: for whole, aligned vectors.
# A bias that is added last would give MKL's bits (AVX2) to products of float32 with at least 8 rows, 16 columns
# and a depth up to 64, but not to narrower or deeper ones, and take them from those of float64 that have them now.
ACCUMULATE, BIAS, RELU_FLOOR, STREAM = 1, 2, 4, 8


@functools.cache
def most_rows() -> int:
    """MR: rows of the largest tile. The variable FASTNN_GEMM_MR overrides it, for tests."""
    return _override("FASTNN_GEMM_MR", _LIMITS[simd.vector_bytes(), simd.has_fma()][0], 32)


@functools.cache
def most_vectors(rows: int) -> int:
    """NV: vectors in a tile of ``rows`` rows; FASTNN_GEMM_NV limits it, for tests.

    All accumulators, the vectors of one row of B and one broadcast have to fit in the registers.
    """
    _, registers, most, _ = limits()
    return vectors_for(rows, registers, most)


@functools.cache
def limits() -> tuple[int, int, int, int]:
    """MR, the registers, the most vectors in a tile, and the bytes of a register."""
    size, registers = simd.vector_bytes(), _LIMITS[simd.vector_bytes(), simd.has_fma()][1]
    return most_rows(), registers, _override("FASTNN_GEMM_NV", _MOST_VECTORS, _MOST_VECTORS), size


@both
def vectors_for(rows: int, registers: int, limit: int) -> int:
    """The formula of :func:`most_vectors`, also for compiled code."""
    return max(1, min(limit, (registers - 1) // (rows + 1)))


def _override(name: str, usual: int, most: int) -> int:
    text = cache.overrides.get(name, str(usual))
    if not (text.isdecimal() and 1 <= int(text) <= most):
        raise ValueError(f"{name} must be a number from 1 to {most}, found {text!r}")
    return int(text)


def _constant(evaluate: Callable[[], int]):
    """An intrinsic ``f()`` for a number that is known when a kernel is compiled, not at import."""

    @intrinsic
    def constant(typingctx):
        def codegen(context, builder, signature, values):
            return _INT(evaluate())

        return types.int64(), codegen

    return constant


row_limit = _constant(lambda: limits()[0])
register_count = _constant(lambda: limits()[1])
vector_limit = _constant(lambda: limits()[2])
register_bytes = _constant(lambda: limits()[3])


@intrinsic
def lanes(typingctx, like):
    """Numbers of the type of ``like`` in a vector register, a constant."""

    def codegen(context, builder, signature, values):
        return _INT(simd.lanes(signature.args[0].bitwidth // 8))

    return types.int64(like), codegen


@intrinsic
def tile(typingctx, like, rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, bias, mode):
    """Compute one tile of numbers of the type of ``like``.

    ``a``, ``b``, ``c`` and ``bias`` are pointers, strides are in numbers, ``mode`` is a sum of the
    bits above. 1 <= rows <= MR, 1 <= columns <= NV(rows) * lanes, depth >= 1.
    """
    if not isinstance(like, types.Float):
        return None

    def codegen(context, builder, signature, values):
        builder.call(TileWriter(builder.module, values[0].type, limits()).function, values[1:])
        return context.get_dummy_value()

    at, size = types.CPointer(like), types.int64
    return types.void(like, size, size, size, at, size, size, at, size, at, size, at, size), codegen


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector of one value in every lane."""
    kind = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(undefined, value, _INT32(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes))


def _first_lanes(builder: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """A mask whose first ``count`` lanes are set."""
    positions = ir.Constant(ir.VectorType(_INT, lanes), list(range(lanes)))
    return builder.icmp_signed("<", positions, _splat(builder, count, lanes))


def _load(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.VectorType, mask: ir.Value | None) -> ir.Value:
    pointer = builder.bitcast(pointer, kind.as_pointer())
    if mask is None:
        return builder.load(pointer, align=simd.number_bytes(kind.element))
    return simd.masked_load(builder, pointer, mask, kind)


def _store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, mask: ir.Value | None) -> None:
    pointer = builder.bitcast(pointer, value.type.as_pointer())
    if mask is None:
        builder.store(value, pointer, align=simd.number_bytes(value.type.element))
    else:
        simd.masked_store(builder, value, pointer, mask)


class _Strip(NamedTuple):
    """The numbers of a row in one register: a vector, possibly masked, or two halves of one."""

    kind: ir.VectorType
    # The start of the vector, or of each half, in numbers.
    offsets: list[ir.Value]
    mask: ir.Value | None = None

    def load(self, builder: ir.IRBuilder, row: ir.Value) -> ir.Value:
        if len(self.offsets) == 1:
            return _load(builder, builder.gep(row, self.offsets), self.kind, self.mask)
        half = ir.VectorType(self.kind.element, self.kind.count // 2)
        first, second = (_load(builder, builder.gep(row, [offset]), half, None) for offset in self.offsets)
        order = ir.Constant(ir.VectorType(_INT32, self.kind.count), list(range(self.kind.count)))
        return builder.shuffle_vector(first, second, order)

    def store(self, builder: ir.IRBuilder, value: ir.Value, row: ir.Value) -> None:
        if len(self.offsets) == 1:
            _store(builder, value, builder.gep(row, self.offsets), self.mask)
            return
        count = self.kind.count // 2
        for i, offset in enumerate(self.offsets):
            order = ir.Constant(ir.VectorType(_INT32, count), list(range(i * count, (i + 1) * count)))
            _store(builder, builder.shuffle_vector(value, value, order), builder.gep(row, [offset]), None)


class TileWriter:
    """Writes the LLVM function that :func:`tile` calls into a module, once.

    Args:
        number: float or double.
        limits: as :func:`limits`, of the CPU that the module is for.
    """

    ARGUMENTS = (
        "rows", "columns", "depth", "a", "a_row", "a_column", "b", "b_row", "c", "c_row", "bias", "mode",
    )  # fmt: skip

    def __init__(self, module: ir.Module, number: ir.Type, limits: tuple[int, int, int, int]) -> None:
        self.most_rows, self.registers, self.most_vectors, self.bytes = limits
        self.number, self.lanes = number, self.bytes // simd.number_bytes(number)
        self.is_masked = simd.has_masks(self.bytes)
        name = f"fastnn_tile_{number}"
        existing = module.globals.get(name)
        self.function = existing if existing is not None else self._write(module, name)

    def _write(self, module: ir.Module, name: str) -> ir.Function:
        pointer = self.number.as_pointer()
        kinds = [pointer if name in ("a", "b", "c", "bias") else _INT for name in self.ARGUMENTS]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        # Not inlined: the surrounding loops need the registers.
        function.attributes.add("noinline")
        self.at = dict(zip(self.ARGUMENTS, function.args, strict=True))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        # Do nothing for a size that no caller passes.
        nothing = function.append_basic_block("nothing")
        ir.IRBuilder(nothing).ret_void()
        columns, lanes = self.at["columns"], _INT(self.lanes)
        vectors = builder.sdiv(builder.add(columns, _INT(self.lanes - 1)), lanes)
        vector = ir.VectorType(self.number, self.lanes)
        if self.is_masked:
            in_last = builder.sub(columns, builder.mul(builder.sub(vectors, _INT(1)), lanes))
            mask = _first_lanes(builder, in_last, self.lanes)
        else:
            before_last = builder.sub(columns, lanes)
            half = builder.sub(columns, _INT(self.lanes // 2))
            narrow = builder.select(builder.icmp_signed("==", columns, _INT(1)), _INT(_ONE_COLUMN), _INT(_HALVES))
            vectors = builder.select(builder.icmp_signed("<", columns, lanes), narrow, vectors)
        case = builder.add(builder.mul(self.at["rows"], _INT(_MOST_VECTORS + 1)), vectors)
        switch = builder.switch(case, nothing)
        for rows in range(1, self.most_rows + 1):
            tiles = {}
            for width in range(1, vectors_for(rows, self.registers, self.most_vectors) + 1):
                strips = [_Strip(vector, [_INT(v * self.lanes)]) for v in range(width)]
                strips[-1] = strips[-1]._replace(mask=mask) if self.is_masked else _Strip(vector, [before_last])
                tiles[width] = strips
            if not self.is_masked:
                # A vector of length one: LLVM would vectorise a loop over scalars, and round its products.
                tiles[_ONE_COLUMN] = [_Strip(ir.VectorType(self.number, 1), [_INT(0)])]
                if self.lanes > 2:
                    tiles[_HALVES] = [_Strip(vector, [_INT(0), half])]
            for width, strips in tiles.items():
                block = function.append_basic_block(f"tile_{rows}x{width}")
                switch.add_case(_INT(rows * (_MOST_VECTORS + 1) + width), block)
                self._write_tile(ir.IRBuilder(block), rows, strips, can_stream=1 <= width <= _MOST_VECTORS)
        return function

    def _pointer(self, builder: ir.IRBuilder, base: str, *offsets: ir.Value) -> ir.Value:
        """Pointer to a number: ``base`` plus offsets in numbers."""
        pointer = self.at[base]
        for offset in offsets:
            pointer = builder.gep(pointer, [offset])
        return pointer

    def _write_tile(self, builder: ir.IRBuilder, rows: int, strips: list[_Strip], can_stream: bool) -> None:
        """Write the code of one tile size; ``strips`` has one entry for each register of a row."""
        at, kind = self.at, strips[0].kind
        places = [(r, v) for r in range(rows) for v in range(len(strips))]

        def c_row(r: int) -> ir.Value:
            return self._pointer(builder, "c", builder.mul(at["c_row"], _INT(r)))

        def a_row(r: int) -> ir.Value:
            return self._pointer(builder, "a", builder.mul(at["a_row"], _INT(r)))

        hidden = []
        if not self.is_masked:
            # Hide the equal distances of the rows from LLVM. It would step from row to row, and on arm64 load and
            # broadcast in one instruction, which occupies the multiply unit; a number loaded from a row's own address
            # is a direct operand of the multiply-adds.
            name, pointer = "llvm.launder.invariant.group.p0", self.number.as_pointer()
            hide = cgutils.get_or_insert_function(builder.module, ir.FunctionType(pointer, [pointer]), name)
            hidden = [builder.call(hide, [a_row(r)]) for r in range(rows)]
        from_zero = builder.block
        from_bias, from_c, loop, end = (
            builder.append_basic_block(name) for name in ("from_bias", "from_c", "loop", "end")
        )
        start = builder.switch(builder.and_(at["mode"], _INT(ACCUMULATE | BIAS)), loop)
        start.add_case(_INT(ACCUMULATE), from_c)
        start.add_case(_INT(BIAS), from_bias)
        builder.position_at_end(from_bias)
        bias = [strip.load(builder, self._pointer(builder, "bias")) for strip in strips]
        builder.branch(loop)
        builder.position_at_end(from_c)
        old = {(r, v): strips[v].load(builder, c_row(r)) for r, v in places}
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(_INT, "k")
        for source in (from_zero, from_bias, from_c):
            k.add_incoming(_INT(0), source)
        totals = {place: builder.phi(kind) for place in places}
        zero = ir.Constant(kind, [0.0] * kind.count)
        for (r, v), total in totals.items():
            total.add_incoming(zero, from_zero)
            total.add_incoming(bias[v], from_bias)
            total.add_incoming(old[r, v], from_c)
        fma = simd.declare(builder, "fmuladd", kind, 3)
        b_row = self._pointer(builder, "b", builder.mul(k, at["b_row"]))
        b = [strip.load(builder, b_row) for strip in strips]
        a_offset = builder.mul(k, at["a_column"])
        sums = {}
        for r in range(rows):
            row = hidden[r] if hidden else a_row(r)
            a = _splat(builder, builder.load(builder.gep(row, [a_offset])), kind.count)
            for v in range(len(strips)):
                sums[r, v] = builder.call(fma, [a, b[v], totals[r, v]])
        k_next = builder.add(k, _INT(1))
        k.add_incoming(k_next, loop)
        for place in places:
            totals[place].add_incoming(sums[place], loop)
        builder.cbranch(builder.icmp_signed("<", k_next, at["depth"]), loop, end)

        builder.position_at_end(end)
        # max(x, floor) with floor 0 for ReLU and -infinity otherwise. The comparison is false for
        # NaN, so NaN is kept.
        relu = builder.icmp_signed("!=", builder.and_(at["mode"], _INT(RELU_FLOOR)), _INT(0))
        lowest = builder.select(relu, self.number(0.0), self.number(float("-inf")))
        floor = _splat(builder, lowest, kind.count)
        cached = builder.append_basic_block("cached")
        streamed = builder.append_basic_block("streamed") if can_stream else cached
        is_streamed = builder.icmp_signed("!=", builder.and_(at["mode"], _INT(STREAM)), _INT(0))
        values = {}
        for place in places:
            values[place] = builder.select(builder.fcmp_ordered("<", sums[place], floor), floor, sums[place])
        builder.cbranch(is_streamed, streamed, cached)
        builder.position_at_end(cached)
        for (r, v), value in values.items():
            strips[v].store(builder, value, c_row(r))
        builder.ret_void()
        if not can_stream:
            return
        builder.position_at_end(streamed)
        one = builder.module.add_metadata([_INT32(1)])
        for (r, v), value in values.items():
            pointer = builder.bitcast(builder.gep(c_row(r), strips[v].offsets), kind.as_pointer())
            builder.store(value, pointer, align=self.bytes).set_metadata("nontemporal", one)
        builder.ret_void()


@intrinsic
def transpose_block(typingctx, like, target, target_row, source, source_row, rows, columns):
    """``target[j, i] = source[i, j]`` for a block of lanes x lanes numbers, in registers.

    Both are pointers to contiguous rows, ``*_row`` numbers apart. Only ``rows`` x ``columns`` of the source are read,
    the rest counts as zero; ``columns`` whole vectors of the target are written.
    """
    if not isinstance(like, types.Float):
        return None

    def codegen(context, builder, signature, values):
        number, count = values[0].type, simd.lanes(signature.args[0].bitwidth // 8)
        name = f"fastnn_transpose_{number}"
        function = builder.module.globals.get(name)
        if function is None:
            function = _write_transpose(builder.module, name, number, count)
        builder.call(function, values[1:])
        return context.get_dummy_value()

    at, size = types.CPointer(like), types.int64
    return types.void(like, at, size, at, size, size, size), codegen


def transpose_registers(b: ir.IRBuilder, block: list[ir.Value]) -> None:
    """Transpose a square block held in registers, one vector per row."""
    # Exchange bit by bit: the step for `distance` swaps that bit of the lane and register
    # numbers; after all steps the block is transposed.
    lanes, distance = len(block), 1
    while distance < lanes:
        keep = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
        swap = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
        low, high = (ir.Constant(ir.VectorType(_INT32, lanes), order) for order in (keep, swap))
        for i in range(lanes):
            if not i & distance:
                first, second = block[i], block[i + distance]
                block[i] = b.shuffle_vector(first, second, low)
                block[i + distance] = b.shuffle_vector(first, second, high)
        distance *= 2


def _write_transpose(module: ir.Module, name: str, number: ir.Type, lanes: int) -> ir.Function:
    pointer = number.as_pointer()
    kinds = [pointer, _INT, pointer, _INT, _INT, _INT]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    target, target_row, source, source_row, rows, columns = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    vector = ir.VectorType(number, lanes)
    whole, ragged = function.append_basic_block("whole"), function.append_basic_block("ragged")
    is_whole = builder.and_(
        builder.icmp_signed("==", rows, _INT(lanes)), builder.icmp_signed("==", columns, _INT(lanes))
    )
    builder.cbranch(is_whole, whole, ragged)

    def place(b: ir.IRBuilder, base: ir.Value, pitch: ir.Value, i: int) -> ir.Value:
        return b.gep(base, [b.mul(pitch, _INT(i))])

    def write(b: ir.IRBuilder, masked: bool) -> None:
        in_row = _first_lanes(b, columns, lanes) if masked else None
        block = []
        for i in range(lanes):
            at, mask = place(b, source, source_row, i), None
            if in_row is not None:
                is_row = b.icmp_signed("<", _INT(i), rows)
                # A masked load of nothing from a page that was never touched is slow (6 us for a block of 4 rows).
                at, mask = b.select(is_row, at, source), b.and_(in_row, _splat(b, is_row, lanes))
            block.append(_load(b, at, vector, mask))
        transpose_registers(b, block)
        for j in range(lanes):
            # A branch, not an empty mask, with which a store is slow: 2,048 blocks of 20 x 24 took a Zen 4 1.7 ms.
            with b.if_then(b.icmp_signed("<", _INT(j), columns)) if masked else nullcontext():
                _store(b, block[j], place(b, target, target_row, j), None)
        b.ret_void()

    write(ir.IRBuilder(whole), masked=False)
    write(ir.IRBuilder(ragged), masked=True)
    return function


@intrinsic
def copy_block(typingctx, like, target, target_row, source, source_row, rows, columns):
    """Copy ``rows`` x ``columns`` numbers; the rows of the target are filled up with zeros to whole vectors.

    Both are pointers to contiguous rows, ``*_row`` numbers apart.
    """
    if not isinstance(like, types.Float):
        return None

    def codegen(context, builder, signature, values):
        like, target, target_row, source, source_row, rows, columns = values
        lanes = simd.lanes(signature.args[0].bitwidth // 8)
        vector = ir.VectorType(like.type, lanes)
        whole = builder.and_(columns, _INT(-lanes))
        rest = builder.icmp_signed("<", whole, columns)
        mask = _first_lanes(builder, builder.sub(columns, whole), lanes)
        with cgutils.for_range(builder, rows) as row:
            to = builder.gep(target, [builder.mul(row.index, target_row)])
            at = builder.gep(source, [builder.mul(row.index, source_row)])
            with cgutils.for_range_slice(builder, _INT(0), whole, _INT(lanes)) as (j, _):
                _store(builder, _load(builder, builder.gep(at, [j]), vector, None), builder.gep(to, [j]), None)
            with builder.if_then(rest):
                last = _load(builder, builder.gep(at, [whole]), vector, mask)
                _store(builder, last, builder.gep(to, [whole]), None)
        return context.get_dummy_value()

    at, size = types.CPointer(like), types.int64
    return types.void(like, at, size, at, size, size, size), codegen


@intrinsic
def gate(typingctx, like, c, c_row, given, given_row, rows, columns):
    """``C = 0`` where ``given <= 0``, an output of ReLU; both are pointers to contiguous rows, ``*_row`` numbers
    apart.

    Where ``given`` is NaN the number is kept, as in the kernel of the derivative.
    """
    if not isinstance(like, types.Float):
        return None

    def codegen(context, builder, signature, values):
        like, c, c_row, given, given_row, rows, columns = values
        lanes = simd.lanes(signature.args[0].bitwidth // 8)
        vector = ir.VectorType(like.type, lanes)

        def apply(row: ir.Value, j: ir.Value, kind: ir.VectorType, mask: ir.Value | None) -> None:
            there = builder.gep(c, [builder.add(builder.mul(row, c_row), j)])
            beside = builder.gep(given, [builder.add(builder.mul(row, given_row), j)])
            zero = ir.Constant(kind, [0.0] * kind.count)
            closed = builder.fcmp_ordered("<=", _load(builder, beside, kind, mask), zero)
            _store(builder, builder.select(closed, zero, _load(builder, there, kind, mask)), there, mask)

        with cgutils.for_range(builder, rows) as row:
            if simd.has_masks(simd.vector_bytes()):
                with cgutils.for_range_slice(builder, _INT(0), columns, _INT(lanes)) as (j, _):
                    apply(row.index, j, vector, _first_lanes(builder, builder.sub(columns, j), lanes))
            else:
                whole = builder.and_(columns, _INT(-lanes))
                with cgutils.for_range_slice(builder, _INT(0), whole, _INT(lanes)) as (j, _):
                    apply(row.index, j, vector, None)
                with cgutils.for_range_slice(builder, whole, columns, _INT(1)) as (j, _):
                    apply(row.index, j, ir.VectorType(like.type, 1), None)
        return context.get_dummy_value()

    at, size = types.CPointer(like), types.int64
    return types.void(like, at, size, at, size, size, size), codegen


@intrinsic
def dots(typingctx, like, c, c_row, a, a_row, rows, b, b_row, columns, depth, accumulate):
    """``C[i, j] (+)= A[i] @ B[j]``: the dot products of 1 to 4 rows of A and any number of rows of B.

    A, B and C are pointers to contiguous rows, ``*_row`` numbers apart; the rows of A and B have ``depth`` numbers.
    ``accumulate`` adds to C. Each product is the sum of two chains of vectors, whatever the number of rows.
    """
    if not isinstance(like, types.Float):
        return None

    def codegen(context, builder, signature, values):
        name = f"fastnn_dots_{values[0].type}"
        function = builder.module.globals.get(name)
        if function is None:
            count = simd.lanes(signature.args[0].bitwidth // 8)
            function = _DotsWriter(builder.module, name, values[0].type, count).function
        builder.call(function, values[1:])
        return context.get_dummy_value()

    at, size = types.CPointer(like), types.int64
    return types.void(like, at, size, at, size, size, at, size, size, size, size), codegen


class _DotsWriter:
    """Writes the LLVM function that :func:`dots` calls into a module."""

    MOST_ROWS = 4

    def __init__(self, module: ir.Module, name: str, number: ir.Type, lanes: int) -> None:
        pointer = number.as_pointer()
        kinds = [pointer, _INT, pointer, _INT, _INT, pointer, _INT, _INT, _INT, _INT]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.c, self.c_row, self.a, self.a_row, rows, self.b, self.b_row, columns, self.depth, adds = self.function.args
        self.number, self.lanes, self.kind = number, lanes, ir.VectorType(number, lanes)
        builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.adds = builder.icmp_signed("!=", adds, _INT(0))
        unreachable = self.function.append_basic_block("other")
        ir.IRBuilder(unreachable).ret_void()
        switch = builder.switch(rows, unreachable)
        registers = limits()[1]
        for m in range(1, self.MOST_ROWS + 1):
            block = self.function.append_basic_block(f"rows_{m}")
            switch.add_case(_INT(m), block)
            here = ir.IRBuilder(block)
            # Half of the registers hold sums.
            together = next(n for n in (4, 2, 1) if n == 1 or 4 * m * n <= registers)
            whole = here.and_(columns, _INT(-together))
            with cgutils.for_range_slice(here, _INT(0), whole, _INT(together)) as (first, _):
                self._write(here, m, first, together)
            with cgutils.for_range_slice(here, whole, columns, _INT(1)) as (first, _):
                self._write(here, m, first, 1)
            here.ret_void()

    def _write(self, builder: ir.IRBuilder, m: int, first: ir.Value, count: int) -> None:
        """Write the products of ``m`` rows of A with ``count`` rows of B from ``first`` on."""
        number, lanes, kind = self.number, self.lanes, self.kind
        left = [builder.gep(self.a, [builder.mul(self.a_row, _INT(i))]) for i in range(m)]
        right = [builder.gep(self.b, [builder.mul(builder.add(first, _INT(j)), self.b_row)]) for j in range(count)]
        pairs = [(i, j) for i in range(m) for j in range(count)]
        zero = ir.Constant(kind, [0.0] * lanes)
        masked = simd.has_masks(simd.vector_bytes())

        def added(totals: dict, k: ir.Value, chain: int, kind: ir.Type, mask: ir.Value | None = None) -> dict:
            def load(row: ir.Value) -> ir.Value:
                place = builder.gep(row, [k])
                return builder.load(place) if kind is number else _load(builder, place, kind, mask)

            fma = simd.declare(builder, "fmuladd", kind, 3)
            x, y = [load(row) for row in left], [load(row) for row in right]
            new = {(i, j, chain): builder.call(fma, [x[i], y[j], totals[i, j, chain]]) for i, j in pairs}
            return totals | new

        def joined(before: ir.Block, old: dict, after: ir.Block, new: dict) -> dict:
            found = {}
            for place, value in old.items():
                found[place] = builder.phi(value.type)
                found[place].add_incoming(value, before)
                found[place].add_incoming(new[place], after)
            return found

        def loop(old: dict, start: ir.Value, stop: ir.Value, step: int, body) -> dict:
            """``body(totals, k)`` for k from start to stop; the totals afterwards."""
            before = builder.block
            inside, end = (self.function.append_basic_block(name) for name in ("loop", "end"))
            builder.cbranch(builder.icmp_signed("<", start, stop), inside, end)
            builder.position_at_end(inside)
            k = builder.phi(_INT)
            k.add_incoming(start, before)
            totals = {place: builder.phi(value.type) for place, value in old.items()}
            new = body(totals, k)
            for place, total in totals.items():
                total.add_incoming(old[place], before)
                total.add_incoming(new[place], inside)
            following = builder.add(k, _INT(step))
            k.add_incoming(following, inside)
            builder.cbranch(builder.icmp_signed("<", following, stop), inside, end)
            builder.position_at_end(end)
            return joined(before, old, inside, new)

        def two(totals: dict, k: ir.Value) -> dict:
            return added(added(totals, k, 0, kind), builder.add(k, _INT(lanes)), 1, kind)

        k = builder.and_(self.depth, _INT(-2 * lanes))
        totals = loop({(i, j, chain): zero for i, j in pairs for chain in range(2)}, _INT(0), k, 2 * lanes, two)
        # At most two more vectors; the last one masked, or number by number.
        for chain in range(2):
            before, rest = builder.block, builder.sub(self.depth, k)
            more, done = (self.function.append_basic_block(name) for name in ("more", "done"))
            builder.cbranch(builder.icmp_signed(">=", rest, _INT(1 if masked else lanes)), more, done)
            builder.position_at_end(more)
            new = added(totals, k, chain, kind, _first_lanes(builder, rest, lanes) if masked else None)
            builder.branch(done)
            builder.position_at_end(done)
            totals, k = joined(before, totals, more, new), builder.add(k, _INT(lanes))
        rests = {(i, j, 0): number(0.0) for i, j in pairs}
        if not masked:
            start = builder.and_(self.depth, _INT(-lanes))
            rests = loop(rests, start, self.depth, 1, lambda totals, k: added(totals, k, 0, number))
        sums = self._sums(builder, [builder.fadd(totals[i, j, 0], totals[i, j, 1]) for i, j in pairs])
        for (i, j), total in zip(pairs, sums, strict=True):
            value = builder.fadd(total, rests[i, j, 0])
            place = builder.gep(self.c, [builder.add(builder.mul(self.c_row, _INT(i)), builder.add(first, _INT(j)))])
            builder.store(builder.select(self.adds, builder.fadd(builder.load(place), value), value), place)

    def _sums(self, builder: ir.IRBuilder, totals: list[ir.Value]) -> list[ir.Value]:
        """The sum of each vector: halves are added until one number is left; the last two times for four vectors."""
        found: list[ir.Value] = []
        for start in range(0, len(totals), 4):
            four = [self._half(builder, total, 4) for total in totals[start : start + 4]]
            if len(four) == 4 and self.lanes >= 4:
                transpose_registers(builder, four)
                sums = builder.fadd(builder.fadd(four[0], four[2]), builder.fadd(four[1], four[3]))
                found += [builder.extract_element(sums, _INT32(i)) for i in range(4)]
            else:
                found += [builder.extract_element(self._half(builder, one, 1), _INT32(0)) for one in four]
        return found

    def _half(self, builder: ir.IRBuilder, total: ir.Value, least: int) -> ir.Value:
        """Add the halves of a vector until ``least`` numbers are left."""
        half = total.type.count // 2
        while half >= least:
            undefined = ir.Constant(ir.VectorType(self.number, 2 * half), ir.Undefined)
            orders = [ir.Constant(ir.VectorType(_INT32, half), list(range(i, i + half))) for i in (0, half)]
            total = builder.fadd(*[builder.shuffle_vector(total, undefined, order) for order in orders])
            half //= 2
        return total
