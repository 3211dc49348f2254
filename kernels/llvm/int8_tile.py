"""The micro-kernel of products of 8-bit integers, and the conversion of rows to them, as LLVM IR.

    Y[rows, columns] = (A[rows, depth] @ B[depth, columns] - zero * sums) * scale + bias, then max(., 0)

A holds unsigned integers from 0 to 128, B signed ones; the sums of products are exact in 32 bits. Four successive
numbers of a row of A are broadcast as one 32-bit number. B is packed: ``B[depth / 4][columns][4]`` in panels of
:func:`panel_width` columns, so that each 32-bit number of a vector has the four factors of its column. There are three
forms of the multiply-add of a vector:

| form | instructions | processors |
| --- | --- | --- |
| DOT | ``vpdpbusd`` | AVX512-VNNI, AVX-VNNI |
| PAIRS | ``pmaddubsw``, ``pmaddwd``, ``paddd`` | AVX2, AVX-512 |
| PLAIN | widened, multiplied and added by pairs, as LLVM chooses | SSE, NEON and others |

``pmaddubsw`` adds two products in 16 bits, with saturation. Nothing saturates: no sum of two products of 0 to 128 and
-128 to 127 is below -32,768 or above 32,512. PLAIN relies on the same bounds.

PAIRS has two multiplications for 32 products of 32 bytes, which limits it to twice the rate of float32. Where the
weights of a panel are such that sums of four products fit into 16 bits, whatever the row (:func:`fits_words`), two
results of ``pmaddubsw`` are added before ``pmaddwd``: three multiplications for 64 products, and the same sums.
"""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, registry
from numba.extending import intrinsic

from fastnn.kernels.llvm import simd
from fastnn.kernels.llvm.micro_kernel import _constant, _first_lanes, _load, _splat, _store
from fastnn.kernels.runtime.cache import remembered

_INT, _INT32, _INT16, _BYTE, _FLOAT = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.IntType(8), ir.FloatType()

DOT, PAIRS, PLAIN = "dot", "pairs", "plain"
# Numbers along the depth that are multiplied together, and vectors in the row of a panel.
GROUP, VECTORS = 4, 2
# Panels that a tile of one row takes together: one row of one panel would be two chains of additions.
PANELS_OF_ONE_ROW = 4
# The largest number that a quantized row may hold.
LARGEST = 128
# Rows of the largest tile, by form and bytes of a register. PAIRS of 32 bytes has 8 sums, 5 factors and 3 others in 16
# registers; its chains of additions are short.
_ROWS = {(DOT, 64): 12, (DOT, 32): 6, (PAIRS, 64): 12, (PAIRS, 32): 4, (PLAIN, 16): 4}

# Bits of `mode`: with IN_WORDS, sums of four products of this panel fit into 16 bits.
RELU, RANGE, IN_WORDS = 1, 2, 4
# The most that the positive weights of such a sum may add up to, and the negative ones.
_MOST_POSITIVE, _MOST_NEGATIVE = (2**15 - 1) // LARGEST, 2**15 // LARGEST

_PROBE = """
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
define i32 @sum(ptr %a, ptr %b) {
  %x = load <64 x i8>, ptr %a
  %y = load <64 x i8>, ptr %b
  %u = zext <64 x i8> %x to <64 x i32>
  %s = sext <64 x i8> %y to <64 x i32>
  %p = mul <64 x i32> %u, %s
  %z = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %p)
  ret i32 %z
}
define void @product(ptr %a, ptr %b) {
  %x = load <32 x i16>, ptr %a
  %y = load <32 x i16>, ptr %b
  %z = mul <32 x i16> %x, %y
  store <32 x i16> %z, ptr %a
  ret void
}
"""


@functools.cache
def shape() -> tuple[str, int]:
    """The form of the multiply-add, and the bytes of its registers, on the CPU that Numba compiles for.

    As in :func:`simd.vector_bytes`, the compiler is asked: it recognises a sum of products of bytes.
    """
    codegen = registry.cpu_target.target_context.codegen()
    found = remembered("int8_form", codegen, lambda: _read_shape(_assembly(codegen)))
    return found[0], found[1]


def _assembly(codegen: Any) -> str:
    module = llvm.parse_assembly(_PROBE)
    module.triple = codegen._tm.triple
    return str(codegen._tm.emit_assembly(module))


def _read_shape(assembly: str) -> tuple[str, int]:
    total, _, product = assembly.partition("product:")
    # AVX-512 without its instructions on words has them on 32 bytes.
    size = 64 if "zmm" in product else 32 if "ymm" in product else 16
    if size == 16:
        return PLAIN, 16
    return DOT if "vpdpbusd" in total else PAIRS, size


def most_rows() -> int:
    """Rows of the largest tile."""
    return _ROWS[shape()]


def panel_width() -> int:
    """Columns of a panel of packed weights."""
    return VECTORS * shape()[1] // 4


def fits_words(packed: np.ndarray) -> np.ndarray:
    """For each panel of packed weights, whether the bit IN_WORDS may be set; all False where it is of no use."""
    panels, steps, width, _ = packed.shape
    if shape()[0] != PAIRS or not packed.size:
        return np.zeros(panels, np.uint8)
    # The four numbers of a sum: two neighbours of two successive steps.
    fours = packed.reshape(panels, steps // 2, 2, width, 2, 2).astype(np.int32)
    above = np.maximum(fours, 0).sum((2, 5)) <= _MOST_POSITIVE
    below = np.minimum(fours, 0).sum((2, 5)) >= -_MOST_NEGATIVE
    return (above & below).all((1, 2, 3)).astype(np.uint8)


tile_rows = _constant(most_rows)
tile_columns = _constant(panel_width)


@intrinsic
def int8_tile(
    typingctx, rows, panels, steps, a, a_row, b, b_panel, y, y_row, columns, sums, scale, bias, zeros, factors, ranges,
    mode,
):
    """Compute one tile: ``rows`` rows of one panel, or one row of 1 or of ``PANELS_OF_ONE_ROW`` panels.

    ``a`` and ``b`` point to bytes, ``a_row`` and ``b_panel`` are in bytes, ``steps`` is the depth by ``GROUP``, an even
    number.
    ``columns`` are those of ``y`` from the first one of the tile to the last one of the matrix; no more are written.
    ``sums``, ``scale`` and ``bias`` belong to the columns of whole panels, ``zeros`` and ``factors`` to the rows.
    With the bit RANGE in ``mode``, ``ranges`` (two vectors) is extended to the numbers of the tile.
    """
    size, byte, real, integer = types.int64, types.CPointer(types.uint8), types.CPointer(types.float32), types.int32
    signed = types.CPointer(types.int8)

    def codegen(context, builder, signature, values):
        builder.call(_TileWriter(builder.module, *shape()).function, values)
        return context.get_dummy_value()

    return types.void(
        size, size, size, byte, size, signed, size, real, size, size, types.CPointer(integer), real, real,
        types.CPointer(integer), real, real, size,
    ), codegen  # fmt: skip


class _TileWriter:
    """Writes the LLVM function that :func:`int8_tile` calls into a module, once."""

    ARGUMENTS = (
        "rows", "panels", "steps", "a", "a_row", "b", "b_panel", "y", "y_row", "columns", "sums", "scale", "bias",
        "zeros", "factors", "ranges", "mode",
    )  # fmt: skip
    POINTERS = {  # noqa: RUF012  # read only
        "a": _BYTE, "b": _BYTE, "y": _FLOAT, "sums": _INT32, "scale": _FLOAT, "bias": _FLOAT, "zeros": _INT32,
        "factors": _FLOAT, "ranges": _FLOAT,
    }  # fmt: skip

    def __init__(self, module: ir.Module, form: str, size: int) -> None:
        self.form, self.bytes, self.lanes = form, size, size // 4
        self.integers, self.reals = ir.VectorType(_INT32, self.lanes), ir.VectorType(_FLOAT, self.lanes)
        self.small = ir.VectorType(_BYTE, size)
        existing = module.globals.get("fastnn_int8_tile")
        self.function = existing if existing is not None else self._write(module)

    def _write(self, module: ir.Module) -> ir.Function:
        kinds = [self.POINTERS[name].as_pointer() if name in self.POINTERS else _INT for name in self.ARGUMENTS]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "fastnn_int8_tile")
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.at = dict(zip(self.ARGUMENTS, function.args, strict=True))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        # Do nothing for a size that no caller passes.
        nothing = function.append_basic_block("nothing")
        ir.IRBuilder(nothing).ret_void()
        case = builder.add(builder.mul(self.at["rows"], _INT(PANELS_OF_ONE_ROW + 1)), self.at["panels"])
        switch = builder.switch(case, nothing)
        sizes = [(1, PANELS_OF_ONE_ROW), *[(rows, 1) for rows in range(1, _ROWS[self.form, self.bytes] + 1)]]
        for rows, panels in sizes:
            block = function.append_basic_block(f"tile_{rows}x{panels}")
            switch.add_case(_INT(rows * (PANELS_OF_ONE_ROW + 1) + panels), block)
            self._write_tile(ir.IRBuilder(block), rows, panels)
        return function

    def _write_tile(self, builder: ir.IRBuilder, rows: int, panels: int) -> None:
        at, start = self.at, builder.block
        loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
        if self.form == PAIRS and panels == 1:
            paired = builder.append_basic_block("paired")
            fits = builder.icmp_signed("!=", builder.and_(at["mode"], _INT(IN_WORDS)), _INT(0))
            builder.cbranch(fits, paired, loop)
            ends = {loop: self._write_loop(builder, start, loop, end, rows, panels, 1)}
            ends[paired] = self._write_loop(builder, start, paired, end, rows, panels, 2)
        else:
            builder.branch(loop)
            ends = {loop: self._write_loop(builder, start, loop, end, rows, panels, 1)}

        builder.position_at_end(end)
        sums = {}
        for place in next(iter(ends.values())):
            sums[place] = builder.phi(self.integers)
            for block, found in ends.items():
                sums[place].add_incoming(found[place], block)
        self._finish(builder, sums)

    def _write_loop(
        self, builder: ir.IRBuilder, start: ir.Block, loop: ir.Block, end: ir.Block, rows: int, panels: int, count: int
    ) -> dict[tuple[int, int, int], ir.Value]:
        """Write the loop over the depth, ``count`` steps at a time; the sums."""
        at = self.at
        builder.position_at_end(loop)
        k = builder.phi(_INT, "k")
        zero = ir.Constant(self.integers, [0] * self.lanes)
        places = [(r, p, v) for r in range(rows) for p in range(panels) for v in range(VECTORS)]
        totals = {place: builder.phi(self.integers) for place in places}
        new, b = {}, {}
        for p in range(panels):
            row = builder.add(builder.mul(at["b_panel"], _INT(p)), builder.mul(k, _INT(VECTORS * self.bytes)))
            for i in range(count * VECTORS):
                there = builder.gep(at["b"], [builder.add(row, _INT(i * self.bytes))])
                b[p, i] = builder.load(builder.bitcast(there, self.small.as_pointer()), align=1)
        for r in range(rows):
            a = []
            for i in range(count):
                step = builder.mul(builder.add(k, _INT(i)), _INT(GROUP))
                there = builder.add(builder.mul(at["a_row"], _INT(r)), step)
                four = builder.load(builder.bitcast(builder.gep(at["a"], [there]), _INT32.as_pointer()), align=1)
                a.append(builder.bitcast(_splat(builder, four, self.lanes), self.small))
            for p in range(panels):
                for v in range(VECTORS):
                    factors = [b[p, i * VECTORS + v] for i in range(count)]
                    new[r, p, v] = self._multiply_add(builder, totals[r, p, v], a, factors)
        following = builder.add(k, _INT(count))
        for phi, first, last in ((k, _INT(0), following), *[(totals[q], zero, new[q]) for q in places]):
            phi.add_incoming(first, start)
            phi.add_incoming(last, loop)
        builder.cbranch(builder.icmp_signed("<", following, at["steps"]), loop, end)
        return new

    def _multiply_add(
        self, builder: ir.IRBuilder, total: ir.Value, a: list[ir.Value], b: list[ir.Value]
    ) -> ir.Value:
        """``total`` plus the products of four numbers in each 32 bits, of one step or of two."""
        if self.form == PAIRS:
            return builder.add(total, self._sum_of_pairs(builder, a, b))
        return self._add_products(builder, total, a[0], b[0])

    def _sum_of_pairs(self, builder: ir.IRBuilder, a: list[ir.Value], b: list[ir.Value]) -> ir.Value:
        words = ir.VectorType(_INT16, self.bytes // 2)
        names = {32: ("avx2.pmadd.ub.sw", "avx2.pmadd.wd"), 64: ("avx512.pmaddubs.w.512", "avx512.pmaddw.d.512")}
        first, second = (f"llvm.x86.{name}" for name in names[self.bytes])
        multiply = self._declared(builder, first, words, [self.small] * 2)
        pairs = [builder.call(multiply, [x, y]) for x, y in zip(a, b, strict=True)]
        total = pairs[0] if len(pairs) == 1 else builder.add(*pairs)
        ones = ir.Constant(words, [1] * words.count)
        return builder.call(self._declared(builder, second, self.integers, [words] * 2), [total, ones])

    def _add_products(self, builder: ir.IRBuilder, total: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        if self.form == DOT:
            kind, bits = self.integers, 8 * self.bytes
            dot = self._declared(builder, f"llvm.x86.avx512.vpdpbusd.{bits}", kind, [kind] * 3)
            return builder.call(dot, [total, builder.bitcast(a, kind), builder.bitcast(b, kind)])
        wide = ir.VectorType(_INT16, self.bytes)
        products = builder.mul(builder.zext(a, wide), builder.sext(b, wide))
        pairs = self._add_neighbours(builder, products)
        fours = self._add_neighbours(builder, builder.sext(pairs, ir.VectorType(_INT32, self.bytes // 2)))
        return builder.add(total, fours)

    @staticmethod
    def _declared(builder: ir.IRBuilder, name: str, result: ir.Type, operands: list[ir.Type]) -> ir.Function:
        return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, operands), name)

    @staticmethod
    def _add_neighbours(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
        count = vector.type.count // 2
        orders = [ir.Constant(ir.VectorType(_INT32, count), list(range(i, 2 * count, 2))) for i in (0, 1)]
        return builder.add(*[builder.shuffle_vector(vector, vector, order) for order in orders])

    def _finish(self, builder: ir.IRBuilder, sums: dict[tuple[int, int, int], ir.Value]) -> None:
        """Scale the sums of a tile, write them, and add them to the range."""
        at, lanes = self.at, self.lanes
        relu = builder.icmp_signed("!=", builder.and_(at["mode"], _INT(RELU)), _INT(0))
        floor = _splat(builder, builder.select(relu, _FLOAT(0.0), _FLOAT(float("-inf"))), lanes)

        def of_columns(name: str, offset: int, kind: ir.VectorType) -> ir.Value:
            there = builder.gep(at[name], [_INT(offset)])
            return builder.load(builder.bitcast(there, kind.as_pointer()), align=4)

        fma = simd.declare(builder, "fmuladd", self.reals, 3)
        by_place = {}
        rows = sorted({r for r, _, _ in sums})
        zeros = {r: _splat(builder, builder.load(builder.gep(at["zeros"], [_INT(r)])), lanes) for r in rows}
        factors = {r: _splat(builder, builder.load(builder.gep(at["factors"], [_INT(r)])), lanes) for r in rows}
        for p, v in sorted({place[1:] for place in sums}):
            offset = (p * VECTORS + v) * lanes
            of_weight = of_columns("sums", offset, self.integers)
            scale, bias = (of_columns(name, offset, self.reals) for name in ("scale", "bias"))
            for r in rows:
                shifted = builder.sub(sums[r, p, v], builder.mul(zeros[r], of_weight))
                # PyTorch's arithmetic: one factor, and one rounding for the product and the bias.
                factor = builder.fmul(factors[r], scale)
                value = builder.call(fma, [builder.sitofp(shifted, self.reals), factor, bias])
                by_place[r, p, v] = builder.select(builder.fcmp_ordered("<", value, floor), floor, value)
        # Columns beyond the matrix are zero, and the range includes zero anyway.
        with builder.if_then(builder.icmp_signed("!=", builder.and_(at["mode"], _INT(RANGE)), _INT(0))):
            # These two are NaN if one of their operands is.
            for i, name in enumerate(("minimum", "maximum")):
                there = builder.gep(at["ranges"], [_INT(i * lanes)])
                found = _load(builder, there, self.reals, None)
                for value in by_place.values():
                    found = builder.call(simd.declare(builder, name, self.reals, 2), [found, value])
                _store(builder, found, there, None)
        for (r, p, v), value in by_place.items():
            offset = (p * VECTORS + v) * lanes
            there = builder.gep(at["y"], [builder.add(builder.mul(at["y_row"], _INT(r)), _INT(offset))])
            self._store(builder, value, there, builder.sub(at["columns"], _INT(offset)))
        builder.ret_void()

    def _store(self, builder: ir.IRBuilder, value: ir.Value, there: ir.Value, count: ir.Value) -> None:
        """Store the first ``count`` numbers of a vector, which may be none or more than it has."""
        lanes = self.lanes
        with builder.if_else(builder.icmp_signed(">=", count, _INT(lanes))) as (whole, part):
            with whole:
                _store(builder, value, there, None)
            with part:
                if simd.has_masks(self.bytes):
                    with builder.if_then(builder.icmp_signed(">", count, _INT(0))):
                        _store(builder, value, there, _first_lanes(builder, count, lanes))
                else:
                    for i in range(lanes - 1):
                        with builder.if_then(builder.icmp_signed(">", count, _INT(i))):
                            builder.store(builder.extract_element(value, _INT32(i)), builder.gep(there, [_INT(i)]))


# The sum of this number and one from 0 to 2^22 has the other number, rounded to nearest even, in its low bits.
_ROUNDER = 1.5 * 2.0**23


@intrinsic
def quantize_row(typingctx, target, source, count, room, inverse, zero):
    """``target = round(source * inverse + zero)``, limited to 0 to ``LARGEST``; NaN becomes 0.

    Args:
        target: pointer to ``room`` bytes; those after the first ``count`` become zero.
        source: pointer to ``count`` float32.
        inverse, zero: float32.
    """
    if not all(isinstance(kind, types.CPointer) for kind in (target, source)):
        return None

    def codegen(context, builder, signature, values):
        name = "fastnn_quantize_row"
        function = builder.module.globals.get(name)
        if function is None:
            function = _write_quantize(builder.module, name)
        builder.call(function, values)
        return context.get_dummy_value()

    signature = types.void(target, source, types.int64, types.int64, types.float32, types.float32)
    return signature, codegen


def _write_quantize(module: ir.Module, name: str) -> ir.Function:
    kinds = [_BYTE.as_pointer(), _FLOAT.as_pointer(), _INT, _INT, _FLOAT, _FLOAT]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    target, source, count, room, inverse, zero = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    lanes = shape()[1] // 4

    def convert(j: ir.Value, width: int) -> None:
        real, small = ir.VectorType(_FLOAT, width), ir.VectorType(_BYTE, width)
        x = _load(builder, builder.gep(source, [j]), real, None)
        fma = simd.declare(builder, "fmuladd", real, 3)
        x = builder.call(fma, [x, _splat(builder, inverse, width), _splat(builder, zero, width)])
        low, high = (ir.Constant(real, [float(limit)] * width) for limit in (0, LARGEST))
        # A comparison with NaN is false.
        x = builder.select(builder.fcmp_ordered(">", x, low), x, low)
        x = builder.select(builder.fcmp_ordered("<", x, high), x, high)
        bits = builder.bitcast(
            builder.fadd(x, ir.Constant(real, [_ROUNDER] * width)), ir.VectorType(_INT32, width)
        )  # fmt: skip
        there = builder.bitcast(builder.gep(target, [j]), small.as_pointer())
        builder.store(builder.trunc(bits, small), there, align=1)

    together = 4 * lanes
    whole = builder.and_(count, _INT(-together))
    with cgutils.for_range_slice(builder, _INT(0), whole, _INT(together)) as (j, _):
        convert(j, together)
    with cgutils.for_range_slice(builder, whole, count, _INT(1)) as (j, _):
        convert(j, 1)
    with cgutils.for_range_slice(builder, count, room, _INT(1)) as (j, _):
        builder.store(_BYTE(0), builder.gep(target, [j]))
    builder.ret_void()
    return function
