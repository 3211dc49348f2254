"""exp, expm1, log, log1p, tanh, sigmoid and the normal distribution, for one number, without a branch.

Numba's own functions call the C library, and a loop with a call is not vectorised. These consist
of arithmetic and selects only, so that the loop around them is vectorised. Each takes and returns
float32 or float64 and computes in that type; NaN comes out as NaN. The algorithms depend on each
rounding step, so nothing here may be reordered (``STRICT``).
"""

from __future__ import annotations

import math

from numba import types
from numba.extending import intrinsic

from fastnn.kernels.llvm.simd import (
    copysign,
    declare,
    exponent_of,
    fabs,
    multiply_add,
    power_of_two,
    significand_of,
    times_power_of_two,
)
from fastnn.kernels.runtime.compiler import STRICT, inline


def _constant(single: float, double: float | None = None):
    """``f(x)``: a constant in the type of ``x``."""

    @intrinsic
    def value(typingctx, x):
        number = single if x == types.float32 or double is None else double

        def codegen(context, builder, signature, values):
            return values[0].type(number)

        return x(x), codegen

    return value


def _polynomial(single: list[float], double: list[float]):
    """``f(x)``: a polynomial in ``x`` by Horner's rule, coefficients of the highest power first."""

    @intrinsic
    def evaluate(typingctx, x):
        coefficients = single if x == types.float32 else double

        def codegen(context, builder, signature, values):
            kind = values[0].type
            fma = declare(builder, "fmuladd", kind, 3)
            total = kind(coefficients[0])
            for coefficient in coefficients[1:]:
                total = builder.call(fma, [total, values[0], kind(coefficient)])
            return total

        return x(x), codegen

    return evaluate


_LOG2_E = _constant(1 / math.log(2))
# ln 2 in two parts; the first has few enough bits that its product with an exponent is exact.
_LN2_HIGH = _constant(0.693359375, 0.693147180369123816490)
_LN2_LOW = _constant(-2.12194440054690583e-4, 1.90821492927058770002e-10)
# Adding this number rounds to an integer, which is then in the low bits of the sum.
_ROUND = _constant(1.5 * 2.0**23, 1.5 * 2.0**52)
_SMALLEST_NORMAL = _constant(2.0**-126, 2.0**-1022)
_TWO_TO_SIGNIFICAND = _constant(2.0**23, 2.0**52)
_SIGNIFICAND_BITS = _constant(23.0, 52.0)
# Outside these exp is 0 and infinity after rounding; inside, the two-factor scaling is exact.
_EXP_LOWEST = _constant(-105.0, -746.0)
_EXP_HIGHEST = _constant(89.0, 710.0)
_TANH_IS_ONE = _constant(10.0, 20.0)
_INFINITY = _constant(math.inf)
_NAN = _constant(math.nan)
_ZERO, _HALF, _ONE, _TWO = _constant(0.0), _constant(0.5), _constant(1.0), _constant(2.0)
_SQRT_HALF = _constant(math.sqrt(0.5))
_INVERSE_SQRT_TWO_PI = _constant(1 / math.sqrt(2 * math.pi))

# (exp(r) - 1 - r) / r**2 by Taylor for |r| <= ln(2) / 2: the first term left out is below half an ulp.
_EXP_TAIL = _polynomial(
    [1 / math.factorial(k) for k in range(8, 1, -1)], [1 / math.factorial(k) for k in range(14, 1, -1)]
)
# 2 * (atanh(s) / s - 1) / s**2 as a series in s**2, for |s| <= 3 - 2 * sqrt(2).
_LOG_TAIL = _polynomial([2 / (2 * k + 1) for k in range(5, 0, -1)], [2 / (2 * k + 1) for k in range(11, 0, -1)])

# exp(x**2) * erfc(x) * (x + a) as a polynomial in u = (x - a) / (x + a), for x >= 0: a Chebyshev
# fit with relative error 2e-8 (a = 2.5) and 3e-17 (a = 3.5). The form, without these numbers, is from
# M. M. Shepherd and J. G. Laframboise, Math. Comp. 36 (1981) 249-253.
_ERFC_CENTRE = _constant(2.5, 3.5)
_ERFC = _polynomial(
    [
        -7.292145627e-5, 2.686559161e-5, 0.0006662207953, -0.0004136037997,
        -0.004803455108, 0.008382888215, 0.02835886711, -0.1712494186,
        0.4539142497, -0.8046519341, 1.05403182,
    ],
    [
        -3.31394742449428417e-10, -9.762454896625002447e-10, 3.357825211468417419e-9, 1.175309074788837621e-8,
        -2.009943583151377224e-8, -8.650708439603178257e-8, 1.131313685258106822e-7, 5.52086048625042999e-7,
        -7.938680033853705643e-7, -3.392265554801653731e-6, 7.242953895722295053e-6, 0.00001864704133815300214,
        -0.00007477673295933309222, -0.00004206207158948145245, 0.0007145316214160590727, -0.001305354714814880832,
        -0.003177050336006118595, 0.0265186198845437592, -0.09231870663883411827, 0.2257386216472374732,
        -0.435256026716881814, 0.6941136466346483551, -0.9377997245671120399, 1.087055589262260064,
    ],
)


@inline(fastmath=STRICT)
def _reduced(x):
    """``(r, shifted)`` with ``x = k * ln(2) + r``, ``k`` an integer in the low bits of ``shifted``."""
    shifted = multiply_add(x, _LOG2_E(x), _ROUND(x))
    k = shifted - _ROUND(x)
    r = multiply_add(-k, _LN2_HIGH(x), x)
    return multiply_add(-k, _LN2_LOW(x), r), shifted


@inline(fastmath=STRICT)
def _bounded(x):
    x = _EXP_LOWEST(x) if x < _EXP_LOWEST(x) else x
    return _EXP_HIGHEST(x) if x > _EXP_HIGHEST(x) else x


@inline(fastmath=STRICT)
def exp(x):
    """e**x, within 1 ulp."""
    r, shifted = _reduced(_bounded(x))
    return times_power_of_two(multiply_add(r * r, _EXP_TAIL(r), r) + _ONE(x), shifted)


@inline(fastmath=STRICT)
def expm1(x):
    """e**x - 1, within 3 ulp also near zero; infinity already above 88.37 (float32) or 709.4 (float64)."""
    r, shifted = _reduced(_bounded(x))
    q = multiply_add(r * r, _EXP_TAIL(r), r)
    return times_power_of_two(q, shifted) + (times_power_of_two(_ONE(x), shifted) - _ONE(x))


@inline(fastmath=STRICT)
def log(x):
    """Natural logarithm, within 1 ulp; -inf at 0 and NaN below it. The scheme is fdlibm's e_log.c."""
    subnormal = x < _SMALLEST_NORMAL(x)
    scaled = x * _TWO_TO_SIGNIFICAND(x) if subnormal else x
    e = exponent_of(scaled)
    e = e - _SIGNIFICAND_BITS(x) if subnormal else e
    f = significand_of(scaled) - _ONE(x)
    s = f / (_TWO(x) + f)
    z = s * s
    half_square = _HALF(x) * f * f
    low = multiply_add(s, half_square + z * _LOG_TAIL(z), e * _LN2_LOW(x))
    result = multiply_add(e, _LN2_HIGH(x), f - (half_square - low))
    result = x if x == _INFINITY(x) else result
    special = -_INFINITY(x) if x == _ZERO(x) else _NAN(x)
    return result if x > _ZERO(x) else special


@inline(fastmath=STRICT)
def log1p(x):
    """log(1 + x) for ``x >= 0``, within 3 ulp: the rounding error of ``1 + x`` is added to the logarithm."""
    u = _ONE(x) + x
    lost = (x - (u - _ONE(x))) / u
    # No correction if u is infinite.
    return log(u) + (lost if x < _INFINITY(x) else _ZERO(x))


@inline(fastmath=STRICT)
def softplus(x):
    """log(1 + exp(x)), within 4 ulp."""
    return (x if x > _ZERO(x) else _ZERO(x)) + log1p(exp(-fabs(x)))


@inline(fastmath=STRICT)
def tanh(x):
    """Hyperbolic tangent, within 4 ulp: ``-m / (m + 2)`` with ``m = expm1(-2 |x|)`` never cancels.

    Beyond the bound the result rounds to 1; within it ``expm1`` needs only one power of two
    (float64, one thread: 0.60 ns a number, 0.81 with the general ``expm1``).
    """
    size = fabs(x)
    size = _TANH_IS_ONE(x) if size > _TANH_IS_ONE(x) else size
    r, shifted = _reduced(-_TWO(x) * size)
    power = power_of_two(shifted)
    m = multiply_add(multiply_add(r * r, _EXP_TAIL(r), r), power, power - _ONE(x))
    return copysign(-m / (m + _TWO(x)), x)


@inline(fastmath=STRICT)
def sigmoid(x):
    """``1 / (1 + exp(-x))``, within 3 ulp where the result is a normal number."""
    return _ONE(x) / (_ONE(x) + exp(-x))


@inline(fastmath=STRICT)
def normal_pdf(x):
    """Density of the standard normal distribution, within ``2 + x**2 / 2`` ulp."""
    return _INVERSE_SQRT_TWO_PI(x) * exp(-_HALF(x) * x * x)


@inline(fastmath=STRICT)
def normal_cdf(x):
    """Distribution function of the standard normal distribution, ``erfc(-x / sqrt(2)) / 2``.

    Within ``8 + x**2 / 2`` ulp to the left of 0 (12 without fused multiply-add) and 6 to the right.
    """
    positive = fabs(x) * _SQRT_HALF(x)
    inverse = _ONE(x) / (positive + _ERFC_CENTRE(x))
    u = multiply_add(-_TWO(x) * _ERFC_CENTRE(x), inverse, _ONE(x))
    tail = _HALF(x) * exp(-_HALF(x) * x * x) * (_ERFC(u) * inverse)
    return tail if x < _ZERO(x) else _ONE(x) - tail
