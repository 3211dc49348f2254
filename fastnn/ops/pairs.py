"""Functions of two tensors, elementwise: the larger and the smaller, angles, logarithms of sums.

May import ``core``, ``arithmetic``, ``elementwise`` and ``powers``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops.arithmetic import mul
from fastnn.ops.core import (
    ZERO,
    Partial,
    as_floating,
    as_operand,
    binary,
    check_operands,
    check_tensors,
    common_dtype,
    named,
    promote,
    refuse,
)
from fastnn.ops.elementwise import exp, exp2
from fastnn.ops.powers import pow
from fastnn.tensor import Tensor, _wrap

__all__ = [
    "arctan2", "atan2", "copysign", "fmax", "fmin", "gcd", "heaviside", "hypot", "lcm", "ldexp", "logaddexp",
    "logaddexp2", "maximum", "minimum", "nextafter", "xlogy",
]  # fmt: skip


# -- The larger and the smaller -----------------------------------------------------------------


def _choice(loses: Any) -> tuple[Partial, Partial]:
    """Derivatives of a choice: equal operands share the gradient, and beside a NaN each gets all, as in PyTorch."""

    def share(grad: Tensor, mine: Tensor, other: Tensor) -> Tensor:
        a, b = np.broadcast_arrays(mine._data, other._data)
        weight = np.where(a == b, 0.5, ~loses(a, b)).astype(grad._data.dtype)
        return grad * _wrap(weight)

    return Partial("xy", share), Partial("xy", lambda grad, x, y: share(grad, y, x))


_MAXIMUM, _MINIMUM = _choice(np.less), _choice(np.greater)


def _choice_of_numbers(wins: Any) -> tuple[Partial, Partial]:
    """Derivatives of a choice in which NaN loses: the gradient is x's where x wins or y is NaN, and else y's."""

    def masked(grad: Tensor, x: Tensor, y: Tensor, by_x: bool) -> Tensor:
        is_x = wins(x._data, y._data) | np.isnan(y._data)
        return grad * _wrap(np.asarray(is_x == by_x, grad._data.dtype))

    return (
        Partial("xy", lambda grad, x, y: masked(grad, x, y, True)),
        Partial("xy", lambda grad, x, y: masked(grad, x, y, False)),
    )


_FMAX, _FMIN = _choice_of_numbers(np.greater_equal), _choice_of_numbers(np.less_equal)


@named
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each two elements; NaN if one is."""
    check_tensors("maximum", input, other)
    return binary("Maximum", input, other, np.maximum, *_MAXIMUM)


@named
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each two elements; NaN if one is."""
    check_tensors("minimum", input, other)
    return binary("Minimum", input, other, np.minimum, *_MINIMUM)


@named
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each two elements; the other one if one is NaN."""
    check_tensors("fmax", input, other)
    return binary("Fmax", input, other, np.fmax, *_FMAX)


@named
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each two elements; the other one if one is NaN."""
    check_tensors("fmin", input, other)
    return binary("Fmin", input, other, np.fmin, *_FMIN)


# -- Other functions of two ---------------------------------------------------------------------


def _floating(name: str, input: Any, other: Any, operate: Any, dx: Partial, dy: Partial) -> Tensor:
    """A function whose result is floating point for integers as well."""
    check_operands(input, other)
    y = as_operand(as_floating(input), other)
    assert y is not None
    if common_dtype(input, y).kind != "f":
        input, y = as_floating(input), as_floating(y)
    return binary(name, input, y, operate, dx, dy)


def _inverse_square(x: Tensor, y: Tensor) -> Tensor:
    """``1 / (x**2 + y**2)``, and 0 where both are 0."""
    square = x * x + y * y
    return (1 / square).masked_fill(square == 0, 0)


@named
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input) from the first axis, in (-pi, pi]."""
    return _floating(
        "Atan2", input, other, np.arctan2,
        Partial("xy", lambda grad, x, y: grad * (y * _inverse_square(x, y))),
        Partial("xy", lambda grad, x, y: grad * (-x * _inverse_square(x, y))),
    )  # fmt: skip


@named
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """``sqrt(input**2 + other**2)``."""
    check_tensors("hypot", input, other)
    refuse("hypot_cpu", promote(input, other)[0], "biu")
    return binary(
        "Hypot", input, other, np.hypot,
        Partial("xy", lambda grad, x, y: grad * (x / hypot(x, y))),
        Partial("xy", lambda grad, x, y: grad * (y / hypot(x, y))),
    )  # fmt: skip


@named
def copysign(input: Tensor, other: Any) -> Tensor:
    """``input`` with the sign of ``other``."""

    def slope(grad: Tensor, x: Tensor, y: Any) -> Tensor:
        b = y._data if isinstance(y, Tensor) else y
        sign = np.sign(np.copysign(x._data, b)) * np.sign(x._data)
        return grad * _wrap(np.asarray(sign, grad._data.dtype))

    return _floating("Copysign", input, other, np.copysign, Partial("xy", slope), ZERO)


@named
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number after ``input`` towards ``other``."""
    check_tensors("nextafter", input, other)
    return binary("Nextafter", input, other, np.nextafter, ZERO, ZERO).detach()


@named
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative numbers, 1 for positive ones, ``values`` for 0."""
    check_tensors("heaviside", input, values)
    if input._data.dtype != values._data.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")

    def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind == "f":
            return np.heaviside(a, b)
        return np.where(a == 0, b, (a > 0).astype(a.dtype))

    return binary("Heaviside", input.detach(), values.detach(), step, ZERO, ZERO)


def _log_of_sum(input: Tensor, other: Tensor, operate: Any, power: Any) -> Tensor:
    name = operate.__name__
    check_tensors(name, input, other)
    refuse(f"{name}_cpu", promote(input, other)[0], "biu")
    return binary(
        name.capitalize(), input, other, operate,
        Partial("xy", lambda grad, x, y: grad / (1 + power(y - x))),
        Partial("xy", lambda grad, x, y: grad / (1 + power(x - y))),
    )  # fmt: skip


@named
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """``log(exp(input) + exp(other))``, without overflow."""
    return _log_of_sum(input, other, np.logaddexp, exp)


@named
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """``log2(2**input + 2**other)``, without overflow."""
    return _log_of_sum(input, other, np.logaddexp2, exp2)


@named
def ldexp(input: Tensor, other: Any) -> Tensor:
    """``input * 2**other``."""
    return mul(as_floating(input), pow(2.0, as_floating(other)))


def _xlogy(x: Any, y: Any) -> Any:
    return np.where((np.asarray(x) == 0) & ~np.isnan(y), np.asarray(0, np.result_type(x, y)), x * np.log(y))


@named
def xlogy(input: Any, other: Any) -> Tensor:
    """``input * log(other)``, and 0 where ``input`` is 0."""
    x = input if isinstance(input, Tensor) else _wrap(np.asarray(input, as_floating(other)._data.dtype))

    def by_x(grad: Tensor, x: Tensor, y: Any) -> Tensor:
        log = (y if isinstance(y, Tensor) else _wrap(np.asarray(y, grad._data.dtype))).log()
        return (grad * log).masked_fill((x == 0) & (y <= 0), 0)

    return _floating("Xlogy", x, other, _xlogy, Partial("xy", by_x), Partial("xy", lambda grad, x, y: grad * (x / y)))


def _integers(name: str, input: Any, other: Any, operate: Any) -> Tensor:
    check_tensors(name, input, other)
    x, y = promote(input, other)
    if x._data.dtype.kind not in "iu":
        raise RuntimeError(f'"{name}_cpu" not implemented for {x.dtype}')
    return binary(name, x, y, operate, ZERO, ZERO)


@named
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of integers."""
    return _integers("gcd", input, other, np.gcd)


@named
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers."""
    return _integers("lcm", input, other, np.lcm)


arctan2 = atan2
IN_PLACE = ("arctan2", "atan2", "copysign", "gcd", "heaviside", "hypot", "lcm", "ldexp", "nextafter", "xlogy")
