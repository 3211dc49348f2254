"""The functions of ``fastnn.kernels.llvm.math``: errors in ulp, special values, subnormals, and vector code."""

import functools
import math
import re

import numpy as np
import pytest
from helpers import DTYPES, count_packed, loop_register
from numba import njit

from fastnn.kernels.llvm import math as kernel_math
from fastnn.kernels.llvm import simd


def _normal_cdf(x):
    """``erfc(-x / sqrt(2)) / 2``; the derivative corrects the rounding of the argument."""
    wide = -x / np.sqrt(x.dtype.type(2))
    argument = wide.astype(np.float64)
    value = np.array([math.erfc(y) for y in argument])
    return (value - 2 / np.sqrt(np.pi) * np.exp(-(wide**2)) * (wide - argument)) / 2


REFERENCES = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "normal_pdf": lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.asarray(np.pi, x.dtype)),
    "normal_cdf": _normal_cdf,
}
# The bounds in the docstrings; the reference adds half an ulp if long double is no wider than double.
ULPS = {"exp": 1, "expm1": 3, "log": 1, "tanh": 4, "sigmoid": 3}
NAMES = list(REFERENCES)


@functools.cache
def loop(name):
    """The function in a loop over arrays, as in kernels."""
    f = getattr(kernel_math, name)

    @njit(error_model="numpy")
    def run(out, x):
        for i in range(x.size):
            out[i] = f(x[i])

    return run


def evaluate(name, x):
    out = np.full_like(x, 12345)
    loop(name)(out, x)
    return out


def reference(name, x):
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    with np.errstate(all="ignore"):
        return REFERENCES[name](wide)


def errors_in_ulp(name, x):
    """The error of each result in units in the last place."""
    found, expected = evaluate(name, x), reference(name, x)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        rounded = expected.astype(x.dtype)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(rounded))
        np.testing.assert_array_equal(found[np.isinf(rounded)], rounded[np.isinf(rounded)])
        return np.where(np.isfinite(rounded), np.abs(found - expected) / np.spacing(np.abs(rounded)), 0)


def numbers(dtype, low, high, count=200_001):
    """Numbers between the bounds: evenly spaced, close to zero, and of random bits, to cover every exponent."""
    rng = np.random.default_rng(0)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    bits = rng.integers(0, np.iinfo(unsigned).max, count, unsigned, endpoint=True).view(dtype)
    tiny = np.geomspace(1e-12, 1, 10_001)
    x = np.concatenate([a.astype(dtype) for a in (np.linspace(low, high, count), tiny, -tiny)] + [bits])
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "single", "double"),
    [
        ("exp", (-110, 90), (-760, 712)),
        ("expm1", (-110, 88.3), (-760, 709.4)),
        ("log", (0, 3e38), (0, 1.7e308)),
        ("log", (0.5, 2), (0.5, 2)),
        ("tanh", (-20, 20), (-30, 30)),
        ("sigmoid", (-87, 90), (-708, 710)),
    ],
)
def test_errors_are_within_the_promise(dtype, name, single, double):
    x = numbers(dtype, *(single if dtype == np.float32 else double))
    assert x.size > 100_000
    errors = errors_in_ulp(name, x)
    worst = np.argmax(errors)
    exact = np.finfo(np.longdouble).eps < np.finfo(dtype).eps
    assert errors[worst] <= ULPS[name] + (0 if exact else 1), f"{name}({x[worst]!r}) is off by {errors[worst]:.2f} ulp"


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_of_the_normal_distribution(dtype):
    # The rounding of the exponential's argument is amplified by x**2 / 2 in the tails.
    x = numbers(dtype, -12, 12)
    steepness = x.astype(np.float64) ** 2 / 2
    assert (errors_in_ulp("normal_pdf", x) <= 2 + steepness).all()
    assert (errors_in_ulp("normal_cdf", x) <= (8 if simd.has_fma() else 12) + steepness).all()
    # On the right, where the result is one minus a small number, the error is absolute.
    assert errors_in_ulp("normal_cdf", x[x > 0]).max() <= 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype):
    info = np.finfo(dtype)
    inf, nan, big, small = np.inf, np.nan, info.max, info.smallest_subnormal
    table = {
        "exp": {0.0: 1, inf: inf, -inf: 0, nan: nan, big: inf, -big: 0, small: 1, -small: 1},
        "expm1": {0.0: 0, inf: inf, -inf: -1, nan: nan, big: inf, -big: -1, small: small, -small: -small},
        "log": {0.0: -inf, 1.0: 0, inf: inf, -inf: nan, nan: nan, -1.0: nan, -small: nan, -big: nan},
        "tanh": {0.0: 0, inf: 1, -inf: -1, nan: nan, big: 1, -big: -1, small: small, -small: -small, 30.0: 1},
        "sigmoid": {0.0: 0.5, inf: 1, -inf: 0, nan: nan, big: 1, -big: 0, small: 0.5},
        "normal_pdf": {inf: 0, -inf: 0, nan: nan, big: 0, -big: 0},
        "normal_cdf": {0.0: 0.5, inf: 1, -inf: 0, nan: nan, big: 1, -big: 0, small: 0.5, -small: 0.5},
    }
    for name, pairs in table.items():
        # Vectors of them and single ones: the loop's body and its remainder.
        for x in (np.repeat(np.array(list(pairs), dtype), 33), np.array(list(pairs), dtype)[:1]):
            expected = np.repeat(np.array(list(pairs.values()), dtype), 33)[: x.size]
            np.testing.assert_allclose(evaluate(name, x), expected, rtol=2 * info.eps, atol=0, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_of_zero_and_odd_symmetry(dtype):
    x = numbers(dtype, -50, 50, 1001)
    np.testing.assert_array_equal(evaluate("tanh", -x), -evaluate("tanh", x))
    zeros = np.array([0.0, -0.0] * 33, dtype)
    np.testing.assert_array_equal(evaluate("exp", zeros), 1)
    np.testing.assert_array_equal(evaluate("log", zeros), -np.inf)
    np.testing.assert_array_equal(np.signbit(evaluate("tanh", zeros)), np.signbit(zeros))
    assert (np.abs(evaluate("tanh", x)) <= 1).all()
    for name in ("sigmoid", "normal_cdf"):
        y = evaluate(name, x)
        assert ((y >= 0) & (y <= 1)).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers(dtype):
    info = np.finfo(dtype)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    # As input: log of every power of two below the normal numbers, and of numbers between.
    bits = np.concatenate([[1 << k, (1 << k) + 1, (1 << k) * 5 // 4] for k in range(info.nmant)]).astype(unsigned)
    assert errors_in_ulp("log", bits.view(dtype)).max() <= ULPS["log"]
    # As output: exp rounds once, to a subnormal number.
    low, high = (-104, -87.4) if dtype == np.float32 else (-745.2, -708.5)
    x = np.linspace(low, high, 10_001).astype(dtype)
    found = evaluate("exp", x)
    assert 0 < found[found > 0].min() == info.smallest_subnormal
    assert errors_in_ulp("exp", x).max() <= ULPS["exp"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_alone_and_in_a_vector(dtype, name):
    x = np.abs(numbers(dtype, -20, 20, 301))
    together = evaluate(name, x)
    for start, stop in [(1, 2), (3, 20), (7, 90)]:
        assert evaluate(name, x[start:stop].copy()).tobytes() == together[start:stop].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "tanh", "sigmoid", "normal_pdf", "normal_cdf"])
def test_loops_are_vector_code(dtype, name):
    register = loop_register()
    evaluate(name, np.ones(1, dtype))
    [signature] = [s for s in loop(name).signatures if s[0].dtype.bitwidth == 8 * np.dtype(dtype).itemsize]
    assembly = loop(name).inspect_asm(signature)
    # Every polynomial has at least five terms.
    assert count_packed(assembly, "fn?madd|mul", dtype, register) >= 5
    # No call of the C library.
    assert not re.search(r"(call|jmp)\w*\s+.*\b(exp|log|tanh|erfc?)f?\b", assembly)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_operations_of_simd(dtype):
    f, g, h = simd.floor, simd.fabs, simd.sqrt
    maximum, multiply_add, copysign = simd.maximum, simd.multiply_add, simd.copysign
    significand_of, exponent_of = simd.significand_of, simd.exponent_of

    @njit(error_model="numpy")
    def run(out, x, y):
        for i in range(x.size):
            out[0, i], out[1, i], out[2, i] = f(x[i]), g(x[i]), h(x[i])
            out[3, i], out[4, i], out[5, i] = maximum(x[i], y[i]), multiply_add(x[i], y[i], x[i]), copysign(x[i], y[i])
            out[6, i], out[7, i] = significand_of(g(x[i])), exponent_of(g(x[i]))

    values = np.array([1.5, -1.5, 0.25, -7.75, 1e10, 3.0, -0.7, 2.0**-100], dtype)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    out = np.empty((8, x.size), dtype)
    run(out, x, y)
    with np.errstate(invalid="ignore"):
        exact = [np.floor(x), np.abs(x), np.sqrt(x), np.maximum(x, y)]
    np.testing.assert_array_equal(out[:4], exact)
    np.testing.assert_allclose(out[4], x.astype(np.float64) * y + x, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(out[5], np.copysign(x, y))
    m, e = out[6], out[7]
    assert ((m >= math.sqrt(0.5) * (1 - 1e-7)) & (m < math.sqrt(2) * (1 + 1e-7))).all()
    np.testing.assert_array_equal(np.ldexp(m, e.astype(int)), np.abs(x))
    run(out, np.full(8, np.nan, dtype), y[:8].copy())
    assert np.isnan(out[:6, :8]).all()
    run(out, y[:8].copy(), np.full(8, np.nan, dtype))
    assert np.isnan(out[3:5, :8]).all()
