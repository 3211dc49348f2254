"""Products of 8-bit integers: exact sums, PyTorch's quantization, and nothing touched that is not theirs."""

from __future__ import annotations

import math
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from helpers import (
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
)
from llvmlite import ir
from scipy import special

from fastnn.kernels import int8_linear, int8_range
from fastnn.kernels.llvm import int8_tile
from fastnn.kernels.llvm.simd import has_fma
from fastnn.kernels.matmul import int8
from fastnn.kernels.matmul.fusion import fuse_int8_ranges
from fastnn.kernels.matmul.int8 import MOST_DEPTH, PackedWeight, int8_units, pack_int8, product_units
from fastnn.kernels.runtime.program import Program

# Rows, depth, columns: around tiles, panels, blocks of rows and steps of the depth.
SHAPES = [
    (1, 1, 1), (1, 784, 256), (1, 5, 70), (2, 4, 16), (3, 17, 33), (4, 8, 15), (8, 31, 129), (9, 64, 10), (13, 3, 17),
    (49, 33, 100), (97, 130, 31), (300, 65, 24),
]  # fmt: skip
_ACTIVATIONS = {
    "none": lambda z: z, "relu": lambda z: np.where(z <= 0, 0, z), "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "tanh": np.tanh, "sigmoid": special.expit, "gelu": lambda z: z * special.ndtr(z),
}  # fmt: skip


def quantization(low: float, high: float) -> tuple[np.float32, int]:
    """The step and the zero point for a range, written out in float64 as PyTorch has them."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    step = (high - low) / 127
    with np.errstate(all="ignore"):
        if np.float32(step) == 0 or np.isinf(np.float32(1) / np.float32(step)):
            step = 0.1
    if step < np.float32(6.1e-5):
        least = np.float32(6.1e-5)
        if low == 0:
            high = float(least * np.float32(127))
        elif high == 0:
            low = float(-least * np.float32(127))
        else:
            growth = least / np.float32(step)
            low, high = float(np.float32(low) * growth), float(np.float32(high) * growth)
        step = float(least)
    from_low, from_high = -low / step, 127 - high / step
    zero = from_low if -abs(low / step) < 127 - abs(high / step) else from_high
    return np.float32(step), int(np.rint(min(max(zero, 0.0), 127.0)))


def times_plus(a: Any, b: Any, c: Any) -> np.ndarray:
    """``a * b + c`` in float32: with one rounding if the CPU has such an instruction, otherwise with two."""
    if has_fma():
        return (np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)).astype(np.float32)
    return np.asarray(a, np.float32) * np.asarray(b, np.float32) + np.asarray(c, np.float32)


def naive(x: Any, weight: Any, scale: Any, bias: Any, by_rows: bool) -> np.ndarray:
    """The product with whole numbers of any size; rounded to float32 at the same places as the kernel."""
    out = np.zeros((len(x), len(weight)), np.float32)
    for i, row in enumerate(x):
        numbers = row if by_rows else x
        step, zero = quantization(numbers.min(initial=0), numbers.max(initial=0))
        inverse = np.float32(1) / step
        integers = np.clip(np.rint(times_plus(row, inverse, zero)), 0, 128).astype(np.int64) - zero
        sums = (integers @ weight.T.astype(np.int64)).astype(np.float32)
        out[i] = times_plus(sums, step * np.asarray(scale, np.float32), bias)
    return out


def operands(m: int, k: int, n: int, large: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Without ``large``, weights whose sums fit into 16 bits."""
    rng = np.random.default_rng((m, k, n))
    weight = rng.integers(-128, 128, (n, k)) if large else rng.integers(-60, 61, (n, k))
    return (
        rng.standard_normal((m, k)).astype(np.float32), weight.astype(np.int8),
        rng.uniform(0.001, 0.02, n).astype(np.float32), rng.standard_normal(n).astype(np.float32),
    )  # fmt: skip


def product(x: np.ndarray, packed: PackedWeight, by_rows: bool, **options: Any) -> np.ndarray:
    y, ranges = np.full((len(x), packed.columns), np.nan, np.float32), None
    if not by_rows:
        ranges = np.full((int8_units(*x.shape), 2), np.nan, np.float32)
        int8_range(ranges, x)
    int8_linear(y, x, packed, ranges, **options)
    return y


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_against_the_naive_product(m: int, k: int, n: int, large: bool, by_rows: bool) -> None:
    x, weight, scale, bias = operands(m, k, n, large)
    packed = pack_int8(weight, scale, bias)
    assert_same_bits(product(x, packed, by_rows), naive(x, weight, scale, bias, by_rows))
    packed = pack_int8(np.asfortranarray(weight), 0.01)
    expected = naive(x, weight, np.full(n, 0.01, np.float32), np.zeros(n, np.float32), by_rows)
    assert_same_bits(product(x, packed, by_rows), expected)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("activation", _ACTIVATIONS)
def test_activations(activation: str, by_rows: bool) -> None:
    for m, k, n in ((1, 30, 70), (5, 30, 41), (60, 20, 300)):
        x, weight, scale, bias = operands(m, k, n)
        found = product(x, pack_int8(weight, scale, bias), by_rows, activation=activation, slope=0.2)
        z = naive(x, weight, scale, bias, by_rows).astype(np.float64)
        assert_close(found, _ACTIVATIONS[activation](z), np.float32, roundings=8, magnitude=1 + np.abs(z))


@pytest.mark.parametrize("fill", [(-128, -128), (127, 127), (-128, 127), (127, -128)])
def test_extreme_numbers_do_not_saturate(fill: tuple[int, int]) -> None:
    """Activations of 128, which rounding reaches, times the largest weights: two products take 16 bits to the last."""
    k = 4096
    weight = np.empty((17, k), np.int8)
    weight[:, ::2], weight[:, 1::2] = fill
    # The zero point is 64 and the largest number rounds to 64 + 64.
    x = np.full((5, k), 1.0, np.float32)
    x[:, 0] = -1.0
    step, zero = quantization(-1.0, 1.0)
    assert np.rint(1 / step + np.float32(zero)) == 128
    expected = naive(x, weight, np.ones(17, np.float32), np.zeros(17, np.float32), False)
    for by_rows in (False, True):
        assert_same_bits(product(x, pack_int8(weight, 1.0), by_rows), expected)


def test_sums_in_16_bits_only_where_they_fit() -> None:
    if int8_tile.shape()[0] != int8_tile.PAIRS:
        pytest.skip("this CPU has dot products, or no multiplication of bytes")
    width = int8_tile.panel_width()
    # 4 * 63 = 252 fits and 4 * 64 = 256 does not, with a factor of 128; -4 * 64 = -256 does.
    for number, fits in ((63, 1), (64, 0), (-64, 1), (-65, 0)):
        weight = np.zeros((2 * width, 16), np.int8)
        # The four numbers of one sum, in the second panel.
        weight[-1, [8, 9, 12, 13]] = number
        packed = pack_int8(weight, 1.0)
        assert packed.fits.tolist() == [1, fits]
        x = np.ones((3, 16), np.float32)
        x[:, 0] = -1.0
        expected = naive(x, weight, np.ones(2 * width, np.float32), 0.0, False)
        assert_same_bits(product(x, packed, False), expected)
    # Numbers of different sums.
    weight = np.zeros((1, 16), np.int8)
    weight[0, [0, 1, 2, 3, 8, 9]] = 127
    assert pack_int8(weight, 1.0).fits.tolist() == [1]


@pytest.mark.parametrize("numbers", ["zeros", "tiny", "positive", "negative", "one sign", "huge", "denormal"])
def test_ranges_at_the_limits(numbers: str) -> None:
    x, weight, scale, bias = operands(11, 29, 19)
    x = {
        "zeros": 0 * x, "tiny": x * np.float32(1e-6), "positive": np.abs(x), "negative": -np.abs(x),
        "one sign": 3 + np.abs(x), "huge": x * np.float32(1e30), "denormal": x * np.float32(1e-41),
    }[numbers]  # fmt: skip
    if numbers == "huge":
        # The reference in float64 rounds twice if a bias is so small beside a product.
        bias[:] = 0
    for by_rows in (False, True):
        expected = naive(x, weight, scale, bias, by_rows)
        found = product(x, pack_int8(weight, scale, bias), by_rows)
        assert np.array_equal(found, expected), np.abs(found - expected).max()


def test_nan_and_infinity_stay_visible() -> None:
    x, weight, scale, bias = operands(20, 40, 37)
    packed = pack_int8(weight, scale, bias)
    for bad in (np.nan, np.inf, -np.inf):
        changed = x.copy()
        changed[3, 7] = bad
        assert not np.isfinite(product(changed, packed, False)).any()
        found = product(changed, packed, True)
        assert not np.isfinite(found[3]).any()
        assert_same_bits(np.delete(found, 3, 0), np.delete(product(x, packed, True), 3, 0))
    ranges = np.empty((int8_units(20, 40), 2), np.float32)
    x[0, 39] = np.nan
    int8_range(ranges, x)
    assert np.isnan(ranges).any()
    found_range = np.empty((product_units(packed, 20), 2), np.float32)
    product(x, packed, False, found=found_range)
    assert np.isnan(found_range).all()


@pytest.mark.parametrize("activation", ["none", "relu", "tanh"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_range_of_the_output(m: int, k: int, n: int, activation: str) -> None:
    x, weight, scale, bias = operands(m, k, n)
    packed = pack_int8(weight, scale, bias)
    for by_rows in (False, True):
        found = np.full((product_units(packed, m), 2), np.nan, np.float32)
        y = product(x, packed, by_rows, activation=activation, found=found)
        assert (found[:, 0].min(), found[:, 1].max()) == (min(y.min(), 0), max(y.max(), 0))


def test_rows_do_not_depend_on_each_other() -> None:
    x, weight, scale, bias = operands(70, 50, 40)
    packed = pack_int8(weight, scale, bias)
    whole = product(x, packed, True)
    for i in (0, 5, 69):
        assert_same_bits(product(x[i : i + 1], packed, True), whole[i : i + 1])
        assert_same_bits(product(x[i : i + 1], packed, False), whole[i : i + 1])


@pytest.mark.parametrize(("m", "k", "n"), [(0, 5, 3), (3, 0, 5), (3, 5, 0), (0, 0, 0), (1, 0, 20)])
def test_empty_sizes(m: int, k: int, n: int) -> None:
    x, weight, scale, bias = operands(m, k, n)
    for by_rows in (False, True):
        found = product(x, pack_int8(weight, scale, bias), by_rows)
        assert_same_bits(found, np.broadcast_to(bias, (m, n)).astype(np.float32))


@pytest.mark.parametrize("by_rows", [False, True])
def test_same_bits_in_any_parts(by_rows: bool) -> None:
    for m, k, n in ((4, 257, 1023), (129, 67, 100), (700, 9, 17)):
        x, weight, scale, bias = operands(m, k, n)
        packed = pack_int8(weight, scale, bias)

        def run(x: np.ndarray = x, packed: PackedWeight = packed) -> list[np.ndarray]:
            found = np.empty((product_units(packed, len(x)), 2), np.float32)
            return [product(x, packed, by_rows, activation="gelu", found=found), found]

        assert_same_bits_in_any_parts(run, parallel=m > 100)


def test_rows_with_a_distance() -> None:
    x, weight, scale, bias = operands(30, 21, 37)
    packed = pack_int8(weight, scale, bias)
    wide = np.full((30, 50), np.nan, np.float32)
    wide[:, :21] = x
    for by_rows in (False, True):
        out = Canary((30, 37), np.float32, padding=5)
        ranges = np.empty((int8_units(30, 21), 2), np.float32)
        int8_range(ranges, wide[:, :21])
        int8_linear(out.array, wide[:, :21], packed, None if by_rows else ranges)
        out.check()
        assert_same_bits(out.array, product(x, packed, by_rows))


@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (1, 9, 130), (7, 31, 67), (13, 5, 33), (50, 17, 16)])
def test_nothing_outside_the_arrays_is_touched(m: int, k: int, n: int, side: str) -> None:
    for large in (False, True):
        x, weight, scale, bias = operands(m, k, n, large)
        packed = pack_int8(weight, scale, bias)
        arrays = [guarded(a, side) for a in packed[:-2]]
        fenced = PackedWeight(*arrays, n, k)
        for by_rows in (False, True):
            for parts in (1, 3):
                with cut_in(parts):
                    ranges = guarded(np.zeros((int8_units(m, k), 2), np.float32), side)
                    int8_range(ranges, guarded(x, side))
                    y = guarded(np.full((m, n), np.nan, np.float32), side)
                    found = guarded(np.zeros((product_units(packed, m), 2), np.float32), side)
                    given = None if by_rows else ranges
                    int8_linear(y, guarded(x, side), fenced, given, "tanh", found=found)
                    int8_linear(y, guarded(x, side), fenced, given, found=found)
                assert_same_bits(y, naive(x, weight, scale, bias, by_rows))


@pytest.mark.parametrize("name", ["y", "x", "ranges", "found"])
def test_wrong_arrays_are_refused(name: str) -> None:
    x, weight, scale, bias = operands(20, 11, 37)
    packed = pack_int8(weight, scale, bias)
    good = {
        "y": np.zeros((20, 37), np.float32), "x": x, "packed": packed, "ranges": np.zeros((3, 2), np.float32),
        "found": np.zeros((product_units(packed, 20), 2), np.float32),
    }  # fmt: skip
    layout = "rows" if name in ("y", "x") else "contiguous"
    # Any number of ranges is one, and the rows of x may be in any order.
    except_for = {"ranges": ("a row more", "a row less")}.get(name, ())
    assert_refuses(int8_linear, good, name, except_for, output=name in ("y", "found"), layout=layout)


@pytest.mark.parametrize("name", ["weight", "fits", "sums", "scale", "bias"])
def test_wrong_parts_of_a_weight_are_refused(name: str) -> None:
    x, weight, scale, bias = operands(20, 11, 37)
    packed = pack_int8(weight, scale, bias)

    def call(part: Any) -> None:
        int8_linear(np.empty((20, 37), np.float32), x, packed._replace(**{name: part}))

    good = getattr(packed, name)
    for bad in (good[1:].copy(), good.astype(np.float64), good.tolist(), np.repeat(good, 2, 0)[::2]):
        with pytest.raises((TypeError, ValueError), match=f"packed.{name}"):
            call(bad)


@pytest.mark.parametrize("name", ["ranges", "x"])
def test_wrong_arrays_of_a_range_are_refused(name: str) -> None:
    x = operands(200, 111, 1)[0]
    good = {"ranges": np.zeros((int8_units(200, 111), 2), np.float32), "x": x}
    except_for = ("a row more", "a row less", "a column more", "a column less") if name == "x" else ()
    layout = "rows" if name == "x" else "contiguous"
    assert_refuses(int8_range, good, name, except_for, output=name == "ranges", layout=layout)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"weight": np.zeros((2, 3), np.uint8)}, TypeError, "weight must have dtype int8, found uint8"),
        ({"weight": np.zeros(3, np.int8)}, ValueError, "weight must have 2 dimensions"),
        ({"weight": [[1]]}, TypeError, "weight must be a NumPy array"),
        ({"weight": np.zeros((1, MOST_DEPTH + 1), np.int8), "bias": None}, ValueError, "up to"),
        ({"scale": np.ones(3, np.float32)}, ValueError, "scale must have shape"),
        ({"scale": np.ones(2)}, TypeError, "scale must have dtype float32"),
        ({"bias": np.ones(3, np.float32)}, ValueError, "bias must have shape"),
    ],
)
def test_wrong_weights_are_refused(arguments: dict[str, Any], exception: type, message: str) -> None:
    good = {"weight": np.zeros((2, 3), np.int8), "scale": 1.0, "bias": np.zeros(2, np.float32)}
    with pytest.raises(exception, match=message):
        pack_int8(**{**good, **arguments})


def test_depth_up_to_the_limit() -> None:
    """The largest sum that there can be is still one of 32 bits."""
    assert MOST_DEPTH * 128 * 128 < 2**31
    x, weight = np.ones((1, MOST_DEPTH), np.float32), np.full((1, MOST_DEPTH), -128, np.int8)
    x[0, 0] = -1.0
    expected = naive(x, weight, np.ones(1, np.float32), 0.0, True)
    assert_same_bits(product(x, pack_int8(weight, 1.0), True), expected)
    assert math.isclose(expected[0, 0], -128.0 * (MOST_DEPTH - 2), rel_tol=0.02)


# --------------------------------------------------------------------------------------------
# Recordings, and other processors


def test_the_product_finds_the_range_of_its_output() -> None:
    for m, parts in ((3, 1), (90, 1), (90, 3)):
        x, weight, scale, bias = operands(m, 40, 50)
        first, second = pack_int8(weight, scale, bias), pack_int8(operands(m, 50, 9)[1], 0.01)
        hidden, out = np.empty((m, 50), np.float32), np.empty((m, 9), np.float32)
        ranges = [np.empty((int8_units(m, k), 2), np.float32) for k in (40, 50)]
        program = Program()
        with cut_in(parts), program.recording():
            int8_range(ranges[0], x)
            int8_linear(hidden, x, first, ranges[0], "relu")
            int8_range(ranges[1], hidden)
            int8_linear(out, hidden, second, ranges[1])
        program.replay()
        expected = out.copy()
        fused = Program()
        fused.launches = fuse_int8_ranges(program.launches)
        assert [launch[0].name for launch in fused.launches] == ["int8_range", "int8_linear", "int8_linear"]
        fused.build()
        out[...], hidden[...], ranges[1][...] = np.nan, np.nan, np.nan
        fused.replay()
        assert_same_bits(out, expected)


def test_other_ranges_are_not_fused() -> None:
    """Of a part of the output, and of what another kernel wrote later."""
    x, weight, scale, bias = operands(10, 40, 50)
    packed, y = pack_int8(weight, scale, bias), np.empty((10, 50), np.float32)
    ranges = np.empty((1, 2), np.float32)
    program = Program()
    with program.recording():
        int8_linear(y, x, packed)
        int8_range(ranges, y[:5])
    assert len(fuse_int8_ranges(program.launches)) == 2
    program = Program()
    with program.recording():
        int8_linear(y[:5], x[:5], packed)
        int8_linear(y[5:], x[5:], packed)
        int8_range(ranges, y)
    assert len(fuse_int8_ranges(program.launches)) == 3


@pytest.mark.parametrize(
    ("cpu", "form", "size", "instruction"),
    [
        ("znver4", int8_tile.DOT, 64, "vpdpbusd"), ("alderlake", int8_tile.DOT, 32, "vpdpbusd"),
        ("skylake-avx512", int8_tile.PAIRS, 64, "vpmaddubsw"), ("haswell", int8_tile.PAIRS, 32, "vpmaddubsw"),
        ("nehalem", int8_tile.PLAIN, 16, "pm"),
    ],
)  # fmt: skip
def test_forms(cpu: str, form: str, size: int, instruction: str) -> None:
    """Each processor gets its form, whose code has the instruction in registers of that size, and no library call."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "x86_64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    probe = llvm.parse_assembly(int8_tile._PROBE)
    probe.triple = triple
    assert int8_tile._read_shape(machine.emit_assembly(probe)) == (form, size)
    module = ir.Module()
    int8_tile._TileWriter(module, form, size).function.linkage = "external"
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = triple
    parsed.verify()
    assembly = machine.emit_assembly(parsed)
    register = {64: "%zmm", 32: "%ymm", 16: "%xmm"}[size]
    assert any(instruction in line and register in line for line in assembly.splitlines())
    assert "call" not in assembly.replace("callback", "")


def test_form_of_this_processor() -> None:
    form, size = int8_tile.shape()
    assert (form, size) in int8_tile._ROWS
    assert int8.tile_rows is int8_tile.tile_rows
