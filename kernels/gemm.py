"""Matrix products: a micro-kernel held in registers, and the loops that feed it.

The vocabulary is that of BLIS (F. G. Van Zee and R. A. van de Geijn, ACM TOMS 41, 2015, article
14). A *micro-kernel* computes a tile of C, ``MR`` rows by ``NV`` vectors, in registers. A *panel*
is the strip of B as wide as a tile; it is packed when its rows are not contiguous in memory.

    C[M, N] = A[M, K] @ B[K, N] (+ C, + bias[N]) (then max(., 0))

A is read one number at a time and broadcast, so any strides will do: the same code serves
``X @ W`` and ``X.T @ dY``. Each number of C is one chain of multiply-adds in order of k, whatever
the tile and whatever the thread, so its bits depend on neither.

May import ``jit``, ``simd`` and ``activations``.
"""

from __future__ import annotations

import os

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels import simd
from fastnn.kernels.activations import NONE, RELU, activate, activation_code, activation_forward
from fastnn.kernels.jit import (
    array,
    array_at,
    by_dtype,
    check,
    check_rows,
    check_strided,
    inline,
    integer,
    kernel_for,
    launch,
    number_at,
    part,
    parts_for,
    real,
)

_INT = ir.IntType(64)
# Rows and vectors of a tile by bytes in a vector register. 12 x 2 accumulators and 2 vectors of B
# leave 6 of the 32 registers of AVX-512; 6 x 2 and 2 leave 2 of the 16 of AVX2.
_TILES = {64: (12, 2), 32: (6, 2), 16: (4, 2)}


def tile_size() -> tuple[int, int]:
    """Rows (MR) and vectors (NV) of the micro-kernel's largest tile.

    The environment variables FASTNN_GEMM_MR and FASTNN_GEMM_NV override them, for tests.
    """
    mr, nv = _TILES[simd.vector_bytes()]
    return int(os.environ.get("FASTNN_GEMM_MR", mr)), int(os.environ.get("FASTNN_GEMM_NV", nv))


# Bits of `mode`. A product starts from zero, from what C holds, or from the bias.
ACCUMULATE, BIAS, RELU_FLOOR = 1, 2, 4


class _TileWriter:
    """Writes the LLVM function ``tile(mr, nv, ...)``: a switch over all tile sizes up to MR x NV."""

    ARGUMENTS = (
        "rows", "columns", "depth", "a", "a_row", "a_column", "b", "b_row", "c", "c_row", "bias", "mode",
    )  # fmt: skip

    def __init__(self, module: ir.Module, number: ir.Type, lanes: int) -> None:
        self.number, self.lanes = number, lanes
        self.vector = ir.VectorType(number, lanes)
        mr, nv = tile_size()
        name = f"fastnn_tile_{number}_{lanes}_{mr}x{nv}"
        existing = module.globals.get(name)
        self.function = existing or self._write(module, name, mr, nv)

    def _write(self, module: ir.Module, name: str, mr: int, nv: int) -> ir.Function:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_INT] * len(self.ARGUMENTS)), name)
        function.linkage = "internal"
        self.at = dict(zip(self.ARGUMENTS, function.args, strict=True))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        out = function.append_basic_block("unreachable")
        ir.IRBuilder(out).unreachable()
        # Vectors needed for `columns` numbers, and the mask of the last one.
        vectors = builder.sdiv(builder.add(self.at["columns"], _INT(self.lanes - 1)), _INT(self.lanes))
        last = builder.sub(self.at["columns"], builder.mul(builder.sub(vectors, _INT(1)), _INT(self.lanes)))
        case = builder.add(builder.mul(self.at["rows"], _INT(nv + 1)), vectors)
        positions = ir.VectorType(_INT, self.lanes)
        counts = ir.Constant(positions, list(range(self.lanes)))
        mask = builder.icmp_signed("<", counts, self._splat(builder, last, positions))
        switch = builder.switch(case, out)
        for rows in range(1, mr + 1):
            for width in range(1, nv + 1):
                block = function.append_basic_block(f"tile_{rows}x{width}")
                switch.add_case(_INT(rows * (nv + 1) + width), block)
                self._write_tile(ir.IRBuilder(block), rows, width, mask)
        return function

    def _splat(self, builder: ir.IRBuilder, value: ir.Value, kind: ir.Type) -> ir.Value:
        single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), zeros)

    def _address(self, builder: ir.IRBuilder, base: str, *terms: tuple[ir.Value, int]) -> ir.Value:
        """Pointer to a number: the address ``base`` plus a sum of strides times counts, in numbers."""
        pointer = builder.inttoptr(self.at[base], self.number.as_pointer())
        for stride, count in terms:
            if count:
                pointer = builder.gep(pointer, [builder.mul(stride, _INT(count))])
        return pointer

    def _load(self, builder: ir.IRBuilder, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
        pointer = builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            return builder.load(pointer, align=simd.number_bytes(self.number))
        return simd.masked_load(builder, pointer, mask, self.vector)

    def _store(self, builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, mask: ir.Value | None) -> None:
        pointer = builder.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            builder.store(value, pointer, align=simd.number_bytes(self.number))
        else:
            simd.masked_store(builder, value, pointer, mask)

    def _write_tile(self, builder: ir.IRBuilder, rows: int, width: int, mask: ir.Value) -> None:
        at, lanes = self.at, self.lanes
        masks = [None] * (width - 1) + [mask]
        zeros = ir.Constant(self.vector, [0.0] * lanes)
        offsets = [_INT(v * lanes) for v in range(width)]

        # Accumulators start at zero, at the bias or at C.
        def c_pointer(b: ir.IRBuilder, row: int, v: int) -> ir.Value:
            return b.gep(self._address(b, "c", (at["c_row"], row)), [offsets[v]])

        start = builder.block
        from_bias = builder.append_basic_block("from_bias")
        from_c = builder.append_basic_block("from_c")
        loop = builder.append_basic_block("loop")
        end = builder.append_basic_block("end")
        switch = builder.switch(builder.and_(at["mode"], _INT(ACCUMULATE | BIAS)), loop)
        switch.add_case(_INT(ACCUMULATE), from_c)
        switch.add_case(_INT(BIAS), from_bias)
        builder.position_at_end(from_bias)
        bias = [
            self._load(builder, builder.gep(self._address(builder, "bias"), [offsets[v]]), masks[v])
            for v in range(width)
        ]
        builder.branch(loop)
        builder.position_at_end(from_c)
        old = [[self._load(builder, c_pointer(builder, r, v), masks[v]) for v in range(width)] for r in range(rows)]
        builder.branch(loop)

        # K is positive here: the caller handles an empty sum.
        builder.position_at_end(loop)
        k = builder.phi(_INT, "k")
        totals = [[builder.phi(self.vector) for _ in range(width)] for _ in range(rows)]
        for r in range(rows):
            for v in range(width):
                totals[r][v].add_incoming(zeros, start)
                totals[r][v].add_incoming(bias[v], from_bias)
                totals[r][v].add_incoming(old[r][v], from_c)
        for source in (start, from_bias, from_c):
            k.add_incoming(_INT(0), source)
        fma = simd.declare(builder, "fmuladd", self.vector, 3)
        b_row = builder.gep(self._address(builder, "b"), [builder.mul(k, at["b_row"])])
        b = [self._load(builder, builder.gep(b_row, [offsets[v]]), masks[v]) for v in range(width)]
        a_column = builder.mul(k, at["a_column"])
        sums = []
        for r in range(rows):
            pointer = builder.gep(self._address(builder, "a", (at["a_row"], r)), [a_column])
            a = self._splat(builder, builder.load(pointer), self.vector)
            sums.append([builder.call(fma, [a, b[v], totals[r][v]]) for v in range(width)])
        k_next = builder.add(k, _INT(1))
        k.add_incoming(k_next, builder.block)
        for r in range(rows):
            for v in range(width):
                totals[r][v].add_incoming(sums[r][v], builder.block)
        builder.cbranch(builder.icmp_signed("<", k_next, at["depth"]), loop, end)

        builder.position_at_end(end)
        # max(x, floor) with floor 0 for ReLU and -infinity otherwise. The comparison is false for
        # NaN, which therefore stays.
        relu = builder.icmp_signed("!=", builder.and_(at["mode"], _INT(RELU_FLOOR)), _INT(0))
        infinity = self.number(float("-inf"))
        floor = self._splat(builder, builder.select(relu, self.number(0.0), infinity), self.vector)
        for r in range(rows):
            for v in range(width):
                value = sums[r][v]
                value = builder.select(builder.fcmp_ordered("<", value, floor), floor, value)
                self._store(builder, value, c_pointer(builder, r, v), masks[v])
        builder.ret_void()


@intrinsic
def _tile(typingctx, like, rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, bias, mode):
    """C[rows, columns] = A @ B for one tile; the type of ``like`` is that of the numbers.

    Addresses are integers, strides count numbers. ``mode`` is a sum of the bits above.
    1 <= rows <= MR, 1 <= columns <= NV * lanes, depth >= 1.
    """
    if not isinstance(like, types.Float):
        return None

    def codegen(context, builder, signature, values):
        number = values[0].type
        lanes = simd.lanes(signature.args[0].bitwidth // 8)
        builder.call(_TileWriter(builder.module, number, lanes).function, values[1:])
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 12), codegen


@intrinsic
def _lanes(typingctx, like):
    """Numbers of the type of ``like`` in a vector register, a constant."""

    def codegen(context, builder, signature, values):
        return _INT(simd.lanes(signature.args[0].bitwidth // 8))

    return types.int64(like), codegen


@intrinsic
def _tile_limits(typingctx):
    """``(MR, NV)``, constants."""

    def codegen(context, builder, signature, values):
        return context.make_tuple(builder, signature.return_type, [_INT(n) for n in tile_size()])

    return types.UniTuple(types.int64, 2)(), codegen


def _gemm(dtype):
    size = np.dtype(dtype).itemsize

    def gemm_slice(args, t, n):
        # y[m, columns], z[m, columns], a[m, depth], b[depth, columns], bias[columns], packed[parts, depth * width]
        m, columns, depth = integer(args, 6), integer(args, 7), integer(args, 8)
        a_row, a_column, b_row, b_column = integer(args, 9), integer(args, 10), integer(args, 11), integer(args, 12)
        y_row, z_row = integer(args, 13), integer(args, 14)
        mode, code, slope = integer(args, 15), integer(args, 16), dtype(real(args, 17))
        y, z, a, b = integer(args, 0), integer(args, 1), integer(args, 2), integer(args, 3)
        bias = integer(args, 4) if mode & BIAS else 0

        mr, nv = _tile_limits()
        width = nv * _lanes(dtype(0))
        row_tiles, panels = -(-m // mr), -(-columns // width)
        packed = array(args, 5, (n, depth, width) if b_column != 1 else (0, 0, 0), dtype)
        panel_in_pack = -1
        first, last = part(row_tiles * panels, t, n)
        for tile in range(first, last):
            panel = tile // row_tiles
            tile_row = tile - panel * row_tiles
            j = panel * width
            tile_columns = min(width, columns - j)
            # Rows are shared out evenly, so that no tile is left with one or two.
            i = m * tile_row // row_tiles
            tile_rows = m * (tile_row + 1) // row_tiles - i
            b_panel, b_panel_row = b + j * b_column * size, b_row
            if b_column != 1:
                if panel != panel_in_pack:
                    _pack(packed[t], b_panel, b_row, b_column, tile_columns)
                    panel_in_pack = panel
                b_panel, b_panel_row = packed[t].ctypes.data, width
            _tile(
                dtype(0), tile_rows, tile_columns, depth, a + i * a_row * size, a_row, a_column,
                b_panel, b_panel_row, z + (i * z_row + j) * size, z_row,
                bias + j * size if mode & BIAS else 0, mode,
            )  # fmt: skip
            if code != NONE:
                # The tile is still in the first-level cache.
                for row in range(i, i + tile_rows):
                    source = array_at(z + (row * z_row + j) * size, (tile_columns,), dtype)
                    target = array_at(y + (row * y_row + j) * size, (tile_columns,), dtype)
                    activate(target, source, code, slope)

    return gemm_slice


@inline
def _pack(packed, b, b_row, b_column, columns):
    """Copy a panel of B, whose rows are not contiguous, into contiguous rows."""
    depth, width = packed.shape
    zero = packed.dtype.type(0)
    size = packed.itemsize
    for k in range(depth):
        for j in range(columns):
            packed[k, j] = number_at(b + (k * b_row + j * b_column) * size, zero)
        for j in range(columns, width):
            packed[k, j] = zero


_GEMM = by_dtype("gemm", _gemm, arrays=6, integers=11, reals=1)


def gemm(
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    activation: str = "none",
    slope: float = 0.01,
    z: np.ndarray | None = None,
    accumulate: bool = False,
) -> None:
    """``y = activation(a @ b + bias)``, or ``y += a @ b``, in one pass.

    Args:
        y: (M, N), rows contiguous; must not overlap the other arrays.
        a: (M, K), any strides.
        b: (K, N), any strides; contiguous rows are fastest.
        bias: (N,) contiguous, or None.
        activation, slope: as in :mod:`fastnn.kernels.activations`.
        z: (M, N), rows contiguous: receives ``a @ b + bias`` before the activation, or None.
        accumulate: add to what ``y`` holds; then without bias, activation and ``z``.

    All are float32 or all float64. Any of M, N and K may be 0; a product over K = 0 is zero.
    """
    code = activation_code(activation)
    kernel = kernel_for(_GEMM, "a", a)
    dtype = a.dtype
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"a and b must be matrices, found shapes {a.shape} and {b.shape}")
    if accumulate and (bias is not None or z is not None or code):
        raise ValueError("accumulate goes without bias, activation and z")
    m, depth = a.shape
    columns = b.shape[1]
    a_row, a_column = check_strided("a", a, dtype, (m, depth))
    b_row, b_column = check_strided("b", b, dtype, (depth, columns))
    y_row = z_row = check_rows("y", y, dtype, (m, columns), output=True)
    mode = ACCUMULATE if accumulate else 0
    if bias is not None:
        check("bias", bias, dtype, (columns,))
        mode |= BIAS
    if z is None:
        z = y
    else:
        z_row = check_rows("z", z, dtype, (m, columns), output=True)
    if m == 0 or columns == 0:
        return
    if depth == 0:
        _empty_sum(y, z, bias, activation, slope, accumulate)
        return
    if code == RELU and z is y:
        mode, code = mode | RELU_FLOOR, NONE
    parts = min(parts_for(2.0 * m * columns * depth), m * columns)
    packed = y
    if columns == 1:
        b_column = 1
    if b_column != 1:
        packed = np.empty((parts, depth, tile_size()[1] * simd.lanes(dtype.itemsize)), dtype)
    launch(
        kernel, parts, (y, z, a, b, y if bias is None else bias, packed),
        m, columns, depth, a_row, a_column, b_row, b_column, y_row, z_row, mode, code, slope,
    )  # fmt: skip


def _empty_sum(y, z, bias, activation, slope, accumulate):
    """The product over K = 0: nothing but the bias."""
    if not accumulate:
        z[...] = 0 if bias is None else bias
        flat = z.ravel()
        activation_forward(flat, flat.copy(), activation, slope)
        y[...] = flat.reshape(y.shape)
        z[...] = 0 if bias is None else bias
