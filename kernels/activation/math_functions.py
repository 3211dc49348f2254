"""Elementwise functions of mathematics that NumPy computes number by number, in float32.

NumPy has vector code for exp, log, sin, cos and tanh of float32. For the others it calls the C library, unless the
processor has AVX-512. These kernels compute in float64 and round once, so that nearly every result is
correctly rounded, and the loop is vectorised. Their float64 forms stay NumPy's and SciPy's.

The bits do not depend on the size of an array, its alignment or the number of threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.llvm.math import _polynomial
from fastnn.kernels.llvm.simd import copysign, exponent_of, fabs, multiply_add, power_of_two, significand_of, sqrt
from fastnn.kernels.runtime.checks import check, check_output
from fastnn.kernels.runtime.compiler import FLOAT32, STRICT, Kernel, Words, array, inline, integer, part
from fastnn.kernels.runtime.direct_loops import DirectKernel
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

_LN2, _LN10, _PI, _HALF_PI = math.log(2), math.log(10), math.pi, math.pi / 2
_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_INFINITY, _NAN = math.inf, math.nan
# Above it sinh and cosh of float32 are infinite.
_HYPERBOLIC_LIMIT = 100.0
# Beyond it exp of float32 is 0 or infinite; within it a power of two of float64 is a normal number.
_EXP_LIMIT = 200.0
# Adding it rounds to an integer, which is then in the low bits of the sum.
_ROUND = 1.5 * 2.0**52
# The polynomials have relative errors below 1e-10, which is 0.002 of a rounding of float32.
# (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2.
_EXP_TERMS = [1 / math.factorial(k) for k in range(10, 1, -1)]
# 2 * (atanh(s) / s - 1) / s**2 in s**2, for |s| <= 3 - 2 * sqrt(2).
_LOG_TERMS = [2 / (2 * k + 1) for k in range(6, 0, -1)]
# erf(x) / x * sqrt(pi) / 2 in x**2, for |x| < 0.1.
_ERF_SERIES = 0.1
_ERF_TERMS = [1 / 216, -1 / 42, 1 / 10, -1 / 3, 1.0]
# exp(x**2) * erfc(x) * (x + a) in u = (x - a) / (x + a), for x >= 0: a Chebyshev fit, as in ``llvm.math``.
_ERFC_CENTRE = 2.5
_ERFC_TERMS = [
    -1.706755330511e-06, 2.264610950623e-06, 1.701895213422e-05, -1.401705997714e-05, -0.0001115098146026,
    5.45140663607e-05, 0.0007021690163911, -0.0004377519287159, -0.004818650557175, 0.008392751163427,
    0.02836153316839, -0.1712511189094, 0.4539141174584, -0.8046518501289, 1.054031820299,
]  # fmt: skip
# atan(sqrt(w)) / sqrt(w) for w in [0, 1]: a Chebyshev fit.
_ATAN_TERMS = [
    0.0004301647779580198, -0.0032614859264262167, 0.011602322920723164, -0.026271573786692766, 0.04390286781186108,
    -0.06038548388099283, 0.07502231337795802, -0.09051137242097221, 0.11105656187684854, -0.14285262492225728,
    0.19999980353668606, -0.33333332995050574, 0.9999999999902918,
]  # fmt: skip
_EXP_TAIL, _LOG_TAIL = _polynomial([], _EXP_TERMS), _polynomial([], _LOG_TERMS)
_ERF_TAYLOR, _ERFC, _ATAN = _polynomial([], _ERF_TERMS), _polynomial([], _ERFC_TERMS), _polynomial([], _ATAN_TERMS)


# `llvm.math` has exp, expm1 and log that are exact to float64. For 4,096 numbers they take 8.3, 9.5 and 11.6 us; the
# shorter ones below, which are exact enough for float32, take 5.4, 5.4 and 6.2 (Zen 3).


@inline(fastmath=STRICT)
def _exp_parts(x):
    """``(q, power)`` with ``exp(x) = (1 + q) * power``."""
    x = -_EXP_LIMIT if x < -_EXP_LIMIT else x
    x = _EXP_LIMIT if x > _EXP_LIMIT else x
    shifted = multiply_add(x, 1 / _LN2, _ROUND)
    r = multiply_add(_ROUND - shifted, _LN2, x)
    return multiply_add(r * r, _EXP_TAIL(r), r), power_of_two(shifted)


@inline(fastmath=STRICT)
def exp(x):
    q, power = _exp_parts(x)
    return multiply_add(q, power, power)


@inline(fastmath=STRICT)
def expm1(x):
    q, power = _exp_parts(x)
    return multiply_add(q, power, power - 1.0)


@inline(fastmath=STRICT)
def log(x):
    """Of normal numbers and those without a logarithm."""
    f = significand_of(x) - 1.0
    s = f / (2.0 + f)
    z = s * s
    found = multiply_add(exponent_of(x), _LN2, multiply_add(s * z, _LOG_TAIL(z), 2.0 * s))
    found = x if x == _INFINITY else found
    special = -_INFINITY if x == 0.0 else _NAN
    return found if x > 0.0 else special


@inline(fastmath=STRICT)
def _log1p(x):
    u = 1.0 + x
    lost = (x - (u - 1.0)) / u
    # No correction at -1 and at infinity. log(1 + x) is x for the smallest x, with its sign at 0.
    found = log(u) + (lost if u > 0.0 and x < _INFINITY else 0.0)
    return x if x == 0.0 else found


@inline(fastmath=STRICT)
def _expm1(x):
    found = expm1(x)
    return x if x == 0.0 else found


@inline(fastmath=STRICT)
def _exp2(x):
    return exp(x * _LN2)


@inline(fastmath=STRICT)
def _log2(x):
    return log(x) * (1 / _LN2)


@inline(fastmath=STRICT)
def _log10(x):
    return log(x) * (1 / _LN10)


@inline(fastmath=STRICT)
def _sinh(x):
    size = fabs(x)
    m = expm1(_HYPERBOLIC_LIMIT if size > _HYPERBOLIC_LIMIT else size)
    return copysign(0.5 * (m + m / (m + 1.0)), x)


@inline(fastmath=STRICT)
def _cosh(x):
    size = fabs(x)
    e = exp(_HYPERBOLIC_LIMIT if size > _HYPERBOLIC_LIMIT else size)
    return 0.5 * (e + 1.0 / e)


@inline(fastmath=STRICT)
def _asinh(x):
    size = fabs(x)
    square = size * size
    found = _log1p(size + square / (1.0 + sqrt(square + 1.0)))
    return copysign(size if size == _INFINITY else found, x)


@inline(fastmath=STRICT)
def _acosh(x):
    # The root of a negative number is NaN.
    root = sqrt(x - 1.0)
    return _log1p(root * (root + sqrt(x + 1.0)))


@inline(fastmath=STRICT)
def _atanh(x):
    size = fabs(x)
    return copysign(0.5 * _log1p(2.0 * size / (1.0 - size)), x)


@inline(fastmath=STRICT)
def _angle(y, x):
    """The angle of the point (x, y) in the first quadrant."""
    is_low = y <= x
    q = y / x if is_low else x / y
    # Both 0, and both infinite.
    q = (0.0 if y == 0.0 else 1.0) if y == x else q
    found = q * _ATAN(q * q)
    return found if is_low else _HALF_PI - found


@inline(fastmath=STRICT)
def _atan(x):
    return copysign(_angle(fabs(x), 1.0), x)


@inline(fastmath=STRICT)
def _asin(x):
    size = fabs(x)
    return copysign(_angle(size, sqrt((1.0 - size) * (1.0 + size))), x)


@inline(fastmath=STRICT)
def _acos(x):
    size = fabs(x)
    found = _angle(sqrt((1.0 - size) * (1.0 + size)), size)
    return _PI - found if x < 0.0 else found


@inline(fastmath=STRICT)
def _atan2(y, x):
    found = _angle(fabs(y), fabs(x))
    # The sign of x counts at -0, too.
    return copysign(_PI - found if copysign(1.0, x) < 0.0 else found, y)


@inline(fastmath=STRICT)
def _erfc_right(size):
    """erfc for numbers that are not negative."""
    inverse = 1.0 / (size + _ERFC_CENTRE)
    u = multiply_add(-2.0 * _ERFC_CENTRE, inverse, 1.0)
    return exp(-size * size) * (_ERFC(u) * inverse)


@inline(fastmath=STRICT)
def _erf(x):
    size = fabs(x)
    near = _TWO_OVER_ROOT_PI * size * _ERF_TAYLOR(size * size)
    return copysign(near if size < _ERF_SERIES else 1.0 - _erfc_right(size), x)


@inline(fastmath=STRICT)
def _erfc(x):
    size = fabs(x)
    tail = _erfc_right(size)
    return 2.0 - tail if x < 0.0 else tail


@inline(fastmath=STRICT)
def _logaddexp(x, y):
    larger = x if x > y else y
    found = larger + _log1p(exp(-fabs(x - y)))
    # The difference of two infinities is NaN.
    return x + _LN2 if x == y else found


@inline(fastmath=STRICT)
def _logaddexp2(x, y):
    larger = x if x > y else y
    found = larger + _log1p(exp(-fabs(x - y) * _LN2)) * (1 / _LN2)
    return x + 1.0 if x == y else found


class _Function(NamedTuple):
    value: Callable[..., Any]
    operands: int
    # Floating-point operations per number, to choose a thread count.
    cost: int


FUNCTIONS = {
    "log1p": _Function(_log1p, 1, 60), "expm1": _Function(_expm1, 1, 50), "exp2": _Function(_exp2, 1, 40),
    "log2": _Function(_log2, 1, 50), "log10": _Function(_log10, 1, 50), "sinh": _Function(_sinh, 1, 60),
    "cosh": _Function(_cosh, 1, 50), "asinh": _Function(_asinh, 1, 80), "acosh": _Function(_acosh, 1, 80),
    "atanh": _Function(_atanh, 1, 70), "asin": _Function(_asin, 1, 60), "acos": _Function(_acos, 1, 60),
    "atan": _Function(_atan, 1, 40), "erf": _Function(_erf, 1, 90), "erfc": _Function(_erfc, 1, 80),
    "atan2": _Function(_atan2, 2, 50), "logaddexp": _Function(_logaddexp, 2, 100),
    "logaddexp2": _Function(_logaddexp2, 2, 100),
}  # fmt: skip

_ONE_WORDS = Words("out x; size")
_TWO_WORDS = Words("out x y; size")


def _of_one(function):
    @inline(fastmath=STRICT)
    def loop(out, x):
        for i in range(x.size):
            out[i] = np.float32(function(np.float64(x[i])))

    def math_of_one_slice(args, t, n):
        # out[size], x[size]
        size = integer(args, _ONE_WORDS.size)
        first, last = part(size, t, n)
        out = array(args, _ONE_WORDS.out, (size,), np.float32)[first:last]
        x = array(args, _ONE_WORDS.x, (size,), np.float32)[first:last]
        loop(out, x)

    return math_of_one_slice


def _of_two(function):
    @inline(fastmath=STRICT)
    def loop(out, x, y):
        for i in range(x.size):
            out[i] = np.float32(function(np.float64(x[i]), np.float64(y[i])))

    def math_of_two_slice(args, t, n):
        # out[size], x[size], y[size]
        size = integer(args, _TWO_WORDS.size)
        first, last = part(size, t, n)
        out = array(args, _TWO_WORDS.out, (size,), np.float32)[first:last]
        x = array(args, _TWO_WORDS.x, (size,), np.float32)[first:last]
        y = array(args, _TWO_WORDS.y, (size,), np.float32)[first:last]
        loop(out, x, y)

    return math_of_two_slice


@functools.cache
def _kernel(name: str) -> Kernel:
    """The kernel of a function, created at its first use."""
    function = FUNCTIONS[name]
    if function.operands == 1:
        return Kernel(f"{name}.float32", _of_one(function.value), _ONE_WORDS, outputs="out", shared="")
    return Kernel(f"{name}.float32", _of_two(function.value), _TWO_WORDS, outputs="out", shared="")


@functools.cache
def direct(name: str) -> DirectKernel:
    """The function of small arrays: ``direct(name).call(x)``, or ``call(x, y)``; see :class:`DirectKernel`."""
    return DirectKernel(lambda: _kernel(name), FUNCTIONS[name].operands)


def math_function(out: np.ndarray, name: str, x: np.ndarray, y: np.ndarray | None = None) -> None:
    """``out = name(x)``, or ``name(x, y)``, elementwise.

    Args:
        out, x, y: C-contiguous float32 arrays of one shape; out may be an operand.
        name: a key of :data:`FUNCTIONS`.
    """
    if name not in FUNCTIONS:
        raise ValueError(f"name must be one of {', '.join(FUNCTIONS)}, found {name!r}")
    function = FUNCTIONS[name]
    if (y is None) != (function.operands == 1):
        found = 1 if y is None else 2
        raise TypeError(f"{name} must be given {function.operands} operands, found {found}")
    check("x", x, FLOAT32, x.shape)
    if y is not None:
        check("y", y, FLOAT32, x.shape)
    check_output("out", out, FLOAT32, x.shape)
    arrays = (out, x) if y is None else (out, x, y)
    launch(_kernel(name), chunks_for(x.size * function.cost), arrays, x.size)
