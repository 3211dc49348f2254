"""The micro-kernel for vectors of 16 bytes, SSE and NEON: its machine code, generated on any CPU, and its results."""

import collections
import ctypes
import functools
import itertools
import re

import llvmlite.binding as llvm
import numpy as np
import pytest
from helpers import DTYPES, guarded
from llvmlite import ir

from fastnn.kernels.llvm.micro_kernel import ACCUMULATE, BIAS, RELU_FLOOR, STREAM, TileWriter, vectors_for
from fastnn.kernels.runtime.launcher import aligned
from fastnn.kernels.runtime.raw_memory import write_pause

X86, ARM64 = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# Rows, registers, most vectors, bytes of a register.
SSE, NEON = (4, 15, 8, 16), (6, 32, 8, 16)
NUMBERS = {np.float32: ir.FloatType(), np.float64: ir.DoubleType()}


def tile_module(dtype, limits):
    module = ir.Module()
    TileWriter(module, NUMBERS[dtype], limits).function.linkage = "external"
    return llvm.parse_assembly(str(module))


def optimise(module, machine):
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)


def machine_for(triple, cpu):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)


def assembly_for(triple, cpu, module):
    machine = machine_for(triple, cpu)
    module.triple = triple
    optimise(module, machine)
    return machine.emit_assembly(module)


def inner_loops(assembly):
    """The instructions of each single-block loop: from a label to a branch back to it."""
    name, block = "", []
    for line in assembly.splitlines():
        if label := re.match(r"(\.L\w+):", line):
            name, block = label[1], []
        elif re.match(r"\t[a-z]", line):
            block.append(re.sub(r"\s+", " ", line.strip()))
            if re.fullmatch(rf"(b\.|j)\w+ {re.escape(name)}", block[-1]):
                yield block


def tiles(limits):
    rows, registers, most, _ = limits
    return [(r, v) for r in range(1, rows + 1) for v in range(1, vectors_for(r, registers, most) + 1)]


# Instructions allowed in a loop: loads and broadcasts, halves of a vector, multiply and add, addresses, the branch.
ALLOWED = {
    X86: r"(movu?p[sd]|movs[sd]|movddup|movhps|shufp[sd]|unpcklpd|movlhps) .*|movap[sd] %xmm\d+, %xmm\d+"
    r"|(mul|add)p[sd] .*|(add|inc|lea|cmp|mov|dec|sub|test)q .*|j\w+ .*",
    ARM64: r"(ldr [qsd]\d+|ldp q\d+, q\d+), .*|ld1r .*|mov v\d+\.d\[1\], .*|ld1 \{ v\d+\.d \}\[1\], .*"
    r"|fmla .*|(add|sub|subs|cmp|mov|lsl) x\d+, .*|b\.\w+ .*",
}
MULTIPLY = {X86: r"mulp[sd] ", ARM64: r"fmla v\d+\.(4s|2d), "}
# LLVM unrolls loops with fewer multiplications.
FEW = 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("triple", "cpu", "limits"),
    [(X86, "x86-64-v2", SSE), (ARM64, "neoverse-n1", NEON), (ARM64, "apple-m1", NEON)],
    ids=["x86-64-v2", "neoverse-n1", "apple-m1"],
)
def test_loops_of_whole_vectors_have_no_masks_and_no_spills(triple, cpu, limits, dtype):
    assembly = assembly_for(triple, cpu, tile_module(dtype, limits))
    found = collections.Counter()
    for loop in inner_loops(assembly):
        multiplications = sum(bool(re.match(MULTIPLY[triple], line)) for line in loop)
        if multiplications > FEW:
            found[multiplications] += 1
            assert [line for line in loop if not re.fullmatch(ALLOWED[triple], line)] == []
            assert [line for line in loop if re.search(r"\bsp\b|%rsp", line)] == []
    counts = [rows * vectors for rows, vectors in tiles(limits)]
    if dtype == np.float32:
        # The tiles of two or three columns.
        counts += range(1, limits[0] + 1)
    # A loop with an inner branch is not found.
    assert found == collections.Counter(count for count in counts if count > FEW)
    if triple == ARM64:
        # Every product and sum is fused into one rounding, including the tiles of one column.
        assert not re.search(r"\t(fmul|fadd)\b", assembly)


@functools.cache
def compiled_tile(dtype, limits):
    """The tile for this CPU, whatever its vectors, and the engine that keeps it alive."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = tile_module(dtype, limits)
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), opt=3, jit=True)
    optimise(module, machine)
    engine = llvm.create_mcjit_compiler(module, machine)
    address = engine.get_function_address(f"fastnn_tile_{NUMBERS[dtype]}")
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 12)(address), engine


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limits", [SSE, NEON], ids=["SSE", "NEON"])
@pytest.mark.parametrize("side", ["start", "end"])
def test_every_tile_is_exact_and_touches_nothing_else(dtype, limits, side):
    """Integers, so that all sums are exact; every array is next to a guard page."""
    tile, _ = compiled_tile(dtype, limits)
    rng, size = np.random.default_rng(0), np.dtype(dtype).itemsize
    room = {name: guarded(rng.integers(-8, 9, 400).astype(dtype), side) for name in ("a", "b", "c", "bias")}

    def at_the_page(name, rows, columns, gap=0):
        pitch = columns + gap
        count = (rows - 1) * pitch + columns
        flat = room[name][:count] if side == "start" else room[name][-count:]
        strides = pitch * size, size
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)

    modes = itertools.cycle([0, RELU_FLOOR, BIAS, BIAS | RELU_FLOOR, ACCUMULATE, ACCUMULATE | RELU_FLOOR])
    gaps, lanes = itertools.cycle([0, 3, 0, 0, 3]), 16 // size
    for rows, vectors in tiles(limits):
        for columns in [*range((vectors - 1) * lanes + 1, vectors * lanes + 1)] * (6 if vectors == 1 else 2):
            mode, gap = next(modes), next(gaps)
            depth = 1 + (columns + mode) % 3
            a, b = at_the_page("a", rows, depth), at_the_page("b", depth, columns, gap)
            bias = at_the_page("bias", 1, columns)
            c = at_the_page("c", rows, columns, gap)
            c[...] = rng.integers(-8, 9, c.shape)
            before = room["c"].copy()
            start = c if mode & ACCUMULATE else bias if mode & BIAS else 0
            expected = a @ b + start
            expected = np.maximum(expected, 0) if mode & RELU_FLOOR else expected
            pointers = [array.ctypes.data for array in (a, b, c, bias)]
            tile(
                rows, columns, depth, pointers[0], depth, 1, pointers[1], columns + gap, pointers[2], columns + gap,
                pointers[3], mode,
            )  # fmt: skip
            assert np.array_equal(c, expected)
            # The memory between the rows is unchanged.
            c[...] = 0
            after = room["c"].copy()
            room["c"][...] = before
            c[...] = 0
            assert np.array_equal(room["c"], after)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limits", [SSE, NEON], ids=["SSE", "NEON"])
def test_a_number_has_the_same_bits_in_every_tile(dtype, limits):
    tile, _ = compiled_tile(dtype, limits)
    rng, size, depth = np.random.default_rng(0), np.dtype(dtype).itemsize, 67
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((limits[0], depth), (depth, 32)))

    def product(row, rows, column, columns):
        c = np.empty((rows, columns), dtype)
        tile(
            rows, columns, depth, a[row:].ctypes.data, depth, 1, b[:, column:].ctypes.data, 32, c.ctypes.data, columns,
            0, 0,
        )  # fmt: skip
        return c

    expected = np.concatenate([product(row, 1, 0, 8) for row in range(limits[0])])
    for rows, vectors in tiles(limits):
        for columns in range((vectors - 1) * 16 // size + 1, vectors * 16 // size + 1):
            here = min(columns, 8)
            assert product(0, rows, 0, columns)[:, :here].tobytes() == expected[:rows, :here].tobytes()
            column = max(8 - columns, 0)
            assert product(0, rows, column, columns)[:, : 8 - column].tobytes() == expected[:rows, column:].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limits", [SSE, NEON], ids=["SSE", "NEON"])
def test_whole_vectors_may_be_written_past_the_caches(dtype, limits):
    tile, _ = compiled_tile(dtype, limits)
    rng, size = np.random.default_rng(0), np.dtype(dtype).itemsize
    for rows, vectors in tiles(limits):
        columns = vectors * 16 // size
        a, b = (rng.integers(-8, 9, shape).astype(dtype) for shape in ((rows, 5), (5, columns)))
        c = aligned((rows, columns), np.dtype(dtype))
        pointers = [array.ctypes.data for array in (a, b, c)]
        tile(rows, columns, 5, pointers[0], 5, 1, pointers[1], columns, pointers[2], columns, 0, STREAM)
        np.testing.assert_array_equal(c, a @ b)


@pytest.mark.parametrize(
    ("machine", "triple", "instruction"),
    [
        ("x86_64", X86, "pause"), ("AMD64", X86, "pause"), ("aarch64", ARM64, "isb"), ("arm64", ARM64, "isb"),
        ("unknown", X86, None),
    ],
)  # fmt: skip
def test_a_waiting_thread_pauses(machine, triple, instruction):
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "wait")
    builder = ir.IRBuilder(function.append_basic_block())
    write_pause(builder, machine)
    builder.ret_void()
    assembly = assembly_for(triple, "", llvm.parse_assembly(str(module)))
    assert re.findall(r"^\t(pause|isb|hint|yield)\b", assembly, re.MULTILINE) == ([instruction] if instruction else [])
