"""Elementwise functions of two tensors: maximum and minimum, angles, logarithms of sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._core.numpy_trace import run
from fastnn._tensor.tensor import Tensor, _recorded, _unbroadcast, _wrap
from fastnn._tensor.views import linear_map
from fastnn.ops.arithmetic import mul
from fastnn.ops.core import (
    ZERO,
    Partial,
    also_read,
    as_floating,
    as_operand,
    binary,
    broadcast,
    check_operands,
    check_tensors,
    common_dtype,
    gated,
    named,
    no_gradient,
    promote,
    recorded_result,
    refuse,
    scaled,
)
from fastnn.ops.elementwise import exp, exp2
from fastnn.ops.powers import pow
from fastnn.ops.vector_functions import VectorFunction

__all__ = [
    "arctan2", "atan2", "copysign", "fmax", "fmin", "gcd", "heaviside", "hypot", "lcm", "ldexp", "logaddexp",
    "logaddexp2", "maximum", "minimum", "nextafter", "xlogy",
]  # fmt: skip


# -- Maximum and minimum ------------------------------------------------------------------------


def _choice(loses: Any) -> tuple[Partial, Partial]:
    """Derivatives of a choice: equal operands share the gradient; with a NaN each gets all of it, as in PyTorch."""

    def share(grad: Tensor, mine: Tensor, other: Tensor) -> Tensor:
        lost, same = run(loses, mine._data, other._data), run(np.equal, mine._data, other._data)

        def mine_of(g: np.ndarray) -> np.ndarray:
            return np.where(lost, g.dtype.type(0), np.where(same, g / 2, g))

        return linear_map("Where", grad, mine_of, mine_of)

    return Partial("xy", share), Partial("xy", lambda grad, x, y: share(grad, y, x))


_MAXIMUM, _MINIMUM = _choice(np.less), _choice(np.greater)


def _choice_of_numbers(wins: Any) -> tuple[Partial, Partial]:
    """Derivatives of a choice that ignores NaN: x gets the gradient where x is chosen or y is NaN, otherwise y."""

    def masked(grad: Tensor, x: Tensor, y: Tensor, by_x: bool) -> Tensor:
        is_x = run(lambda a, b: wins(a, b) | np.isnan(b), x._data, y._data)
        return gated(grad, is_x if by_x else run(np.logical_not, is_x))

    return (
        Partial("xy", lambda grad, x, y: masked(grad, x, y, True)),
        Partial("xy", lambda grad, x, y: masked(grad, x, y, False)),
    )


_FMAX, _FMIN = _choice_of_numbers(np.greater_equal), _choice_of_numbers(np.less_equal)


@named
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The elementwise maximum; NaN if either is NaN."""
    if type(input) is not Tensor or type(other) is not Tensor:
        check_tensors("maximum", input, other)
    return binary("Maximum", input, other, np.maximum, *_MAXIMUM)


@named
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The elementwise minimum; NaN if either is NaN."""
    if type(input) is not Tensor or type(other) is not Tensor:
        check_tensors("minimum", input, other)
    return binary("Minimum", input, other, np.minimum, *_MINIMUM)


@named
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The elementwise maximum, ignoring NaN."""
    check_tensors("fmax", input, other)
    return binary("Fmax", input, other, np.fmax, *_FMAX)


@named
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The elementwise minimum, ignoring NaN."""
    check_tensors("fmin", input, other)
    return binary("Fmin", input, other, np.fmin, *_FMIN)


# -- Other binary functions ---------------------------------------------------------------------


def _floating(name: str, input: Any, other: Any, operate: Any, dx: Partial, dy: Partial) -> Tensor:
    """A function with a floating point result, also for integers."""
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
    check_tensors("atan2", input, other)
    return _floating(
        "Atan2", input, other, _ATAN2,
        Partial("xy", lambda grad, x, y: grad * (y * _inverse_square(x, y))),
        Partial("xy", lambda grad, x, y: grad * (-x * _inverse_square(x, y))),
    )  # fmt: skip


@named
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """``sqrt(input**2 + other**2)``."""
    check_tensors("hypot", input, other)
    refuse("hypot_cpu", promote(input, other)[0], "biu")
    result = binary(
        "Hypot", input, other, np.hypot,
        Partial("xy", lambda grad, x, y: grad * (x / hypot(x, y))),
        Partial("xy", lambda grad, x, y: grad * (y / hypot(x, y))),
    )  # fmt: skip
    return also_read(result, result)


@named
def copysign(input: Tensor, other: Any) -> Tensor:
    """``input`` with the sign of ``other``."""
    check_operands(input, other)
    operand = as_operand(as_floating(input), other)
    assert operand is not None
    x, y = promote(input if operand._data.dtype.kind == "f" else as_floating(input), operand)
    result = broadcast(np.copysign, x._data, y._data)
    if not _recorded(x, y):
        return _wrap(result)

    def run(grad: Tensor, z: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # The result keeps the sign that y had; y may have changed since. NaN where x is infinite, as in PyTorch.
        factors = np.where(x._data == 0, 0, z._data / np.where(x._data == 0, 1, x._data))
        return (
            _unbroadcast(scaled(grad, factors, z), x._data.shape) if x._requires_grad else None,
            no_gradient(y, None, None) if y._requires_grad else None,
        )

    return recorded_result("Copysign", (x, y), result, run, (x,))


@named
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next representable number after ``input`` towards ``other``."""
    check_tensors("nextafter", input, other)
    refuse("nextafter_cpu", promote(input, other)[0], "biu")
    return binary("Nextafter", input, other, np.nextafter, ZERO, ZERO).detach()


@named
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative numbers, 1 for positive ones, ``values`` for 0."""
    check_tensors("heaviside", input, values)
    if input._data.dtype != values._data.dtype:
        raise RuntimeError(
            "heaviside is not yet implemented for tensors with different dtypes, found "
            f"{input.dtype} and {values.dtype}."
        )

    def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # 0 for NaN; NumPy's heaviside gives NaN.
        return np.where(a == 0, b, (a > 0).astype(a.dtype))

    return binary("Heaviside", input, values, step, _NO_SLOPE, _NO_SLOPE)


def _no_slope(grad: Tensor, x: Any, y: Any) -> Tensor:
    raise RuntimeError("derivative for aten::heaviside is not implemented")


_NO_SLOPE = Partial("", _no_slope)


_ATAN2 = VectorFunction("atan2", np.arctan2)
_LOGADDEXP, _LOGADDEXP2 = VectorFunction("logaddexp", np.logaddexp), VectorFunction("logaddexp2", np.logaddexp2)


def _log_of_sum(input: Tensor, other: Tensor, operate: VectorFunction, power: Any) -> Tensor:
    name = operate.name
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
    return _log_of_sum(input, other, _LOGADDEXP, exp)


@named
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """``log2(2**input + 2**other)``, without overflow."""
    return _log_of_sum(input, other, _LOGADDEXP2, exp2)


@named
def ldexp(input: Tensor, other: Any) -> Tensor:
    """``input * 2**other``."""
    check_tensors("ldexp", input, other)
    if "f" not in (input._data.dtype.kind, other._data.dtype.kind):
        # In their common dtype an integer without dimensions might wrap around.
        input, other = as_floating(input), as_floating(other)
    x, y = promote(input, other)
    if not y._requires_grad:
        product = mul(x, pow(2.0, y))
        return also_read(product, product, y)
    result = broadcast(lambda a, b: a * 2.0**b, x._data, y._data)
    if not _recorded(x, y):
        return _wrap(result)

    def run(grad: Tensor, z: Tensor) -> tuple[Tensor | None, Tensor]:
        return (
            _unbroadcast(grad * 2.0**y, x._data.shape) if x._requires_grad else None,
            _unbroadcast(grad * z * math.log(2), y._data.shape),
        )

    return recorded_result("Ldexp", (x, y), result, run, (y,) if x._requires_grad else ())


def logarithmic(name: str, input: Any, other: Any, log: Any, start: int) -> Tensor:
    """``input * log(start + other)``, and 0 where ``input`` is 0."""
    x = input if isinstance(input, Tensor) else _wrap(np.asarray(input, as_floating(other)._data.dtype))

    def product(a: Any, b: Any) -> Any:
        return np.where((np.asarray(a) == 0) & ~np.isnan(b), np.asarray(0, np.result_type(a, b)), a * log(b))

    def by_x(grad: Tensor, a: Tensor, b: Any) -> Tensor:
        b = b if isinstance(b, Tensor) else _wrap(np.asarray(b, grad._data.dtype))
        return (grad * (b.log1p() if start else b.log())).masked_fill((a == 0) & (b <= -start), 0)

    def by_y(grad: Tensor, a: Any, b: Any) -> Tensor:
        return grad * (a / (b + start if start else b))

    return _floating(name, x, other, product, Partial("xy", by_x), Partial("xy", by_y))


@named
def xlogy(input: Any, other: Any) -> Tensor:
    """``input * log(other)``, and 0 where ``input`` is 0."""
    return logarithmic("Xlogy", input, other, np.log, 0)


def _integers(name: str, input: Any, other: Any, operate: Any) -> Tensor:
    check_tensors(name, input, other)
    x, y = promote(input, other)
    if x._data.dtype.kind not in "iu":
        raise NotImplementedError(f'"{name}_cpu" not implemented for {x.dtype}')
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
