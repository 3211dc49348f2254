"""The inner loops of a product with a sparse matrix, written as LLVM IR through Numba intrinsics.

    add_products:  c[i, :] += v[0] * w[k, :] + v[1] * w[k + 1, :]
    add_to_rows:   w[k, :] += v[0] * c[i, :],  w[k + 1, :] += v[1] * c[i, :]

for the entries ``(i, v)`` of each pair of columns ``k, k + 1`` of a batch (see ``sparse_rows``), over up to eight
vectors of columns: two rows of the weight stay in registers during the loop over the entries of their columns. The
last vector is masked, or ends at the end of the row and overlaps the one before it (see ``micro_kernel``), so that
no memory beyond the row is touched. Indices from the arrays of entries are clamped to the bounds that the caller
gives.

Why pairs of columns: for 32 rows of MNIST and 784 x 128 weights of float64 on one thread of an AMD Zen 5, sorting,
forward and update take 9.0 + 27.5 + 16.6 us by single columns, 5.9 + 19.6 + 14.2 by pairs, 4.8 + 20.4 + 16.4 by
fours; dense 54 + 61. With rows that do not begin at a cache line it is 47.5 + 32 by single columns.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.llvm import simd
from fastnn.kernels.llvm.micro_kernel import _first_lanes, _load, _splat, _store

_INT, _INT32 = ir.IntType(64), ir.IntType(32)
# Columns of the sparse matrix in a pair, and vectors of the weight's columns: 16 registers of numbers.
PAIR, MOST_VECTORS = 2, 8
# Instead of a count of vectors: the loops for fewer columns than a vector has, if only these are masked.
_NARROW = 0
_ARGUMENTS = ("c", "c_row", "w", "w_row", "columns", "ends", "samples", "values", "features", "room", "batch")


def _intrinsic(name: str, updates: bool, documentation: str):
    def call(typingctx, like, c, c_row, w, w_row, columns, ends, samples, values, features, room, batch):
        if not isinstance(like, types.Float):
            return None

        def codegen(context, builder, signature, arguments):
            writer = _Writer(builder.module, arguments[0].type, signature.args[0].bitwidth // 8, name, updates)
            return builder.call(writer.function, arguments[1:])

        numbers, places, size = types.CPointer(like), types.CPointer(types.int32), types.int64
        return (
            size(like, numbers, size, numbers, size, size, places, places, numbers, size, size, size), codegen
        )  # fmt: skip

    call.__doc__ = documentation
    call.__name__ = call.__qualname__ = name
    return intrinsic(call)


class _Writer:
    """Writes the LLVM function that an intrinsic calls into a module, once."""

    def __init__(self, module: ir.Module, number: ir.Type, size: int, name: str, updates: bool) -> None:
        self.number, self.size, self.lanes, self.updates = number, size, simd.lanes(size), updates
        self.vector = ir.VectorType(number, self.lanes)
        self.bits = ir.VectorType(ir.IntType(8 * size), self.lanes)
        name = f"fastnn_{name}_{number}"
        existing = module.globals.get(name)
        self.function = existing if existing is not None else self._write(module, name)

    def _write(self, module: ir.Module, name: str) -> ir.Function:
        kinds = {name: self.number.as_pointer() for name in ("c", "w", "values")}
        kinds |= {name: _INT32.as_pointer() for name in ("ends", "samples")}
        arguments = [kinds.get(name, _INT) for name in _ARGUMENTS]
        function = ir.Function(module, ir.FunctionType(_INT, arguments), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        self.at = dict(zip(_ARGUMENTS, function.args, strict=True))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        nothing = function.append_basic_block("nothing")
        ir.IRBuilder(nothing).ret(_INT(0))
        columns, lanes = self.at["columns"], _INT(self.lanes)
        vectors = builder.sdiv(builder.add(columns, _INT(self.lanes - 1)), lanes)
        in_last = builder.sub(columns, builder.mul(builder.sub(vectors, _INT(1)), lanes))
        mask, last = _first_lanes(builder, in_last, self.lanes), None
        if not simd.has_masks(simd.vector_bytes()):
            last = builder.sub(columns, lanes)
            vectors = builder.select(builder.icmp_signed("<", columns, lanes), _INT(_NARROW), vectors)
        some = builder.and_(
            builder.icmp_signed(">", self.at["features"], _INT(0)), builder.icmp_signed(">", self.at["batch"], _INT(0))
        )
        chosen = function.append_basic_block("chosen")
        builder.cbranch(some, chosen, nothing)
        builder.position_at_end(chosen)
        switch = builder.switch(vectors, nothing)
        for count in range(_NARROW if last is not None else 1, MOST_VECTORS + 1):
            block = function.append_basic_block(f"vectors_{count}")
            switch.add_case(_INT(count), block)
            self.offsets = [_INT(v * self.lanes) for v in range(max(count, 1))]
            if last is None or count == _NARROW:
                masks = [None] * (count - 1) + [mask]
            else:
                self.offsets[-1], masks = last, [None] * count
            self._write_loops(ir.IRBuilder(block), masks)
        return function

    def _row(self, b: ir.IRBuilder, base: str, number: ir.Value) -> list[ir.Value]:
        """Pointers to the vectors of a row of ``c`` or ``w``."""
        start = b.gep(self.at[base], [b.mul(number, self.at[f"{base}_row"])])
        return [b.gep(start, [offset]) for offset in self.offsets]

    def _at(self, b: ir.IRBuilder, base: str, index: ir.Value) -> ir.Value:
        return b.load(b.gep(self.at[base], [index]))

    def _write_loops(self, b: ir.IRBuilder, masks: list[ir.Value | None]) -> None:
        at, entry = self.at, b.block
        pair, some, entries, done, following, end = (
            b.append_basic_block(name) for name in ("pair", "some", "entries", "done", "following", "end")
        )
        fma = simd.declare(b, "fmuladd", self.vector, 3)
        no_bits = ir.Constant(self.bits, None)
        last_sample = b.sub(at["batch"], _INT(1))
        b.branch(pair)

        b.position_at_end(pair)
        k, number, first = b.phi(_INT, "k"), b.phi(_INT, "number"), b.phi(_INT, "first")
        bad = b.phi(self.bits, "bad")
        for place in (k, number, first):
            place.add_incoming(_INT(0), entry)
        bad.add_incoming(no_bits, entry)
        last = self._least(b, b.zext(self._at(b, "ends", number), _INT), at["room"])
        b.cbranch(b.icmp_unsigned("<", first, last), some, following)

        b.position_at_end(some)
        # If the last pair lacks a column, the last row is used again, with values of zero.
        last_row = b.sub(at["features"], _INT(1))
        places = [self._row(b, "w", self._least(b, b.add(k, _INT(g)), last_row)) for g in range(PAIR)]
        w = [[_load(b, p, self.vector, m) for p, m in zip(row, masks, strict=True)] for row in places]
        b.branch(entries)

        b.position_at_end(entries)
        p = b.phi(_INT, "p")
        p.add_incoming(first, some)
        sums = [[b.phi(self.vector) for _ in row] for row in w] if self.updates else w
        sample = self._least(b, b.zext(self._at(b, "samples", p), _INT), last_sample)
        start = b.mul(p, _INT(PAIR))
        values = [
            _splat(b, self._at(b, "values", b.add(start, _INT(g))), self.lanes) for g in range(PAIR)
        ]
        rows = self._row(b, "c", sample)
        # A vector that overlaps another is read before the other is written.
        end_of_row = _load(b, rows[-1], self.vector, None) if masks[-1] is None else None
        for v, (pointer, mask) in enumerate(zip(rows, masks, strict=True)):
            c = end_of_row if end_of_row and v == len(rows) - 1 else _load(b, pointer, self.vector, mask)
            if self.updates:
                for row, total, value in zip(w, sums, values, strict=True):
                    total[v].add_incoming(row[v], some)
                    row[v] = b.call(fma, [value, c, total[v]])
                    total[v].add_incoming(row[v], entries)
            else:
                for row, value in zip(w, values, strict=True):
                    c = b.call(fma, [value, row[v], c])
                _store(b, c, pointer, mask)
        p_next = b.add(p, _INT(1))
        p.add_incoming(p_next, entries)
        b.cbranch(b.icmp_unsigned("<", p_next, last), entries, done)

        b.position_at_end(done)
        worse = bad
        if self.updates:
            # Last row first: if two rows are the same, the first one has the correct values and is stored last.
            for row, pointers in zip(reversed(w), reversed(places), strict=True):
                for value, pointer, mask in zip(row, pointers, masks, strict=True):
                    _store(b, value, pointer, mask)
            # All bits of x - x are 0 unless x is infinite or NaN.
            found = [b.bitcast(b.fsub(value, value), self.bits) for row in w for value in row]
            while len(found) > 1:
                found = [functools.reduce(b.or_, found[i : i + 2]) for i in range(0, len(found), 2)]
            worse = b.or_(bad, found[0])
        b.branch(following)

        b.position_at_end(following)
        now = b.phi(self.bits)
        now.add_incoming(bad, pair)
        now.add_incoming(worse, done)
        k_next = b.add(k, _INT(PAIR))
        k.add_incoming(k_next, following)
        number.add_incoming(b.add(number, _INT(1)), following)
        first.add_incoming(last, following)
        bad.add_incoming(now, following)
        b.cbranch(b.icmp_signed("<", k_next, at["features"]), pair, end)

        b.position_at_end(end)
        lanes = b.icmp_unsigned("!=", now, no_bits)
        mask_bits = ir.IntType(self.lanes)
        b.ret(b.zext(b.icmp_unsigned("!=", b.bitcast(lanes, mask_bits), mask_bits(0)), _INT))

    def _least(self, b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        return b.select(b.icmp_unsigned("<", x, y), x, y)


add_products = _intrinsic(
    "add_products", False, "``c[i, :] += v * w[k, :]``; pointers, numbers between rows, bounds. Returns 0."
)
add_to_rows = _intrinsic(
    "add_to_rows", True, "``w[k, :] += v * c[i, :]``. Returns 1 if a number of ``w`` that was written is not finite."
)
