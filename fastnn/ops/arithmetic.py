"""Arithmetic of two or three tensors, elementwise with broadcasting and promotion. May import ``core``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.dtypes import default_numpy
from fastnn.ops.core import (
    NUMBERS,
    ZERO,
    Partial,
    as_floating,
    as_operand,
    binary,
    check_tensor,
    common_dtype,
    in_place,
    named,
    no_gradient,
    of_operand,
    original,
    promote,
    refuse,
)
from fastnn.quiet import quiet
from fastnn.tensor import Tensor, _wrap

__all__ = [
    "add", "addcdiv", "addcmul", "arctan2", "atan2", "copysign", "div", "divide", "float_power", "floor_divide",
    "fmax", "fmin", "fmod", "gcd", "heaviside", "hypot", "lcm", "ldexp", "lerp", "logaddexp", "logaddexp2", "maximum",
    "minimum", "mul", "multiply", "nextafter", "pow", "remainder", "rsub", "square", "sub", "subtract", "true_divide",
    "xlogy",
]  # fmt: skip

_SAME = Partial("", lambda grad, x, y: grad)
_OPPOSITE = Partial("", lambda grad, x, y: -grad)
_TIMES_X = Partial("x", lambda grad, x, y: grad * x)
_TIMES_Y = Partial("y", lambda grad, x, y: grad * y)
_OVER_Y = Partial("y", lambda grad, x, y: grad / y)
# Divided twice, as in PyTorch: y * y would overflow where the quotient does not.
_QUOTIENT = Partial("xy", lambda grad, x, y: -grad * (x / y / y))


def _operands(input: Any, other: Any) -> None:
    check_tensor("input", input)
    if not isinstance(other, (Tensor, *NUMBERS, np.ndarray)):
        raise TypeError(f"other must be a Tensor or a number, found {type(other).__name__}")


def _scaled(other: Any, alpha: Any) -> Any:
    if isinstance(other, Tensor) and other._data.dtype == np.bool_ and isinstance(alpha, (bool, int)):
        return other if alpha else _wrap(np.zeros(other._data.shape, np.bool_))
    return other if alpha == 1 else other * alpha


def _check_subtraction(x: Any, other: Any) -> None:
    for t in (x, other):
        if t._data.dtype == np.bool_ if isinstance(t, Tensor) else isinstance(t, (bool, np.bool_)):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a "
                "mask, use the `~` or `logical_not()` operator instead."
            )


def _check_alpha(alpha: Any, input: Any, other: Any) -> None:
    kinds = {t._data.dtype.kind for t in (input, other) if isinstance(t, Tensor)}
    if isinstance(alpha, bool) and kinds != {"b"}:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and "f" not in kinds and not isinstance(other, float):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")


@named
def add(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``.

    >>> import fastnn
    >>> fastnn.add(fastnn.tensor([1, 2]), 10, alpha=3)
    tensor([31, 32])
    """
    _operands(input, other)
    if alpha != 1:
        _check_alpha(alpha, input, other)
    return binary("Add", input, _scaled(other, alpha), np.add, _SAME, _SAME)


@named
def sub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``; not for bool."""
    _operands(input, other)
    _check_subtraction(input, other)
    if alpha != 1:
        _check_alpha(alpha, input, other)
    return binary("Sub", input, _scaled(other, alpha), np.subtract, _SAME, _OPPOSITE)


@named
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input``."""
    _operands(input, other)
    _check_subtraction(input, other)
    return binary("RsubBackward1", other, _scaled(input, alpha), np.subtract, _SAME, _OPPOSITE)


@named
def mul(input: Tensor, other: Any) -> Tensor:
    """``input * other``."""
    _operands(input, other)
    return binary("Mul", input, other, np.multiply, _TIMES_Y, _TIMES_X)


def _divide(x: Any, y: Any) -> Any:
    if getattr(x, "dtype", y.dtype if hasattr(y, "dtype") else None).kind != "f":
        x, y = np.asarray(x, default_numpy()), np.asarray(y, default_numpy())
    return np.true_divide(x, y)


def _dividend(x: Tensor, other: Any) -> Tensor:
    # Integers are divided as floats, and so is the number beside them: it must not wrap around.
    return x if isinstance(other, (Tensor, np.ndarray)) else as_floating(x)


@named
def div(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; rounded towards 0 by 'trunc' and down by 'floor', where integers stay integers.

    >>> import fastnn
    >>> fastnn.div(fastnn.tensor([7, -7]), 2), fastnn.div(fastnn.tensor([7, -7]), 2, rounding_mode="floor")
    (tensor([ 3.5000, -3.5000]), tensor([ 3, -4]))
    """
    _operands(input, other)
    if rounding_mode is None:
        return binary("Div", _dividend(input, other), other, _divide, _OVER_Y, _QUOTIENT)
    if rounding_mode == "floor":
        return binary("Div", input, other, _floor_divide, ZERO, ZERO)
    if rounding_mode == "trunc":
        return binary("Div", input, other, _truncate_divide, ZERO, ZERO)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}")


def _check_divisor(x: Any, y: Any) -> None:
    if np.result_type(x, y) == np.bool_:
        raise RuntimeError("division and remainder are not implemented for Bool")
    if np.any(np.asarray(y) == 0):
        raise RuntimeError("ZeroDivisionError")


def _floor_divide(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind == "f":
        # At a quotient that is infinite or NaN NumPy's result is not PyTorch's.
        quotient = np.floor_divide(x, y)
        return np.where(np.asarray(y) == 0, np.true_divide(x, y), quotient)
    _check_divisor(x, y)
    return np.floor_divide(x, y)


def _truncate_divide(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind == "f":
        return np.trunc(np.true_divide(x, y))
    _check_divisor(x, y)
    x, y = np.asarray(x), np.asarray(y)
    quotient = np.floor_divide(x, y)
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(quotient.dtype)


def _no_slope(grad: Tensor, x: Any, y: Any) -> Tensor:
    raise RuntimeError("derivative for aten::floor_divide is not implemented")


_NONE = Partial("", _no_slope)


@named
def floor_divide(input: Tensor, other: Any) -> Tensor:
    """``floor(input / other)``."""
    _operands(input, other)
    return binary("FloorDivide", input, other, _floor_divide, _NONE, _NONE)


def _remainder(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind != "f":
        _check_divisor(x, y)
    return np.remainder(x, y)


def _fmod(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind != "f":
        _check_divisor(x, y)
    return np.fmod(x, y)


def _steps(round_down: Any) -> Partial:
    """The derivative of a remainder by the divisor: minus the number of times that it was taken off."""

    def run(grad: Tensor, x: Any, y: Any) -> Tensor:
        a, b = [t._data if isinstance(t, Tensor) else t for t in (x, y)]
        return grad * _wrap(np.asarray(-quiet(round_down, np.true_divide(a, b)), grad._data.dtype))

    return Partial("xy", run)


_FLOOR_STEPS, _TRUNCATED_STEPS = _steps(np.floor), _steps(np.trunc)


@named
def remainder(input: Any, other: Any) -> Tensor:
    """``input - floor(input / other) * other``: the remainder with the divisor's sign."""
    if not isinstance(input, Tensor):
        check_tensor("other", other)
    return binary("Remainder", input, other, _remainder, _SAME, _FLOOR_STEPS)


@named
def fmod(input: Tensor, other: Any) -> Tensor:
    """``input - trunc(input / other) * other``: the remainder with the dividend's sign."""
    _operands(input, other)
    return binary("Fmod", input, other, _fmod, _SAME, _TRUNCATED_STEPS)


# -- Powers -----------------------------------------------------------------------------------


def _power_of_number(input: Tensor, exponent: Any) -> Tensor:
    kind = input._data.dtype.kind
    if kind == "f" and type(exponent) in (int, float):
        return of_operand("Pow", input, lambda a: _raise(a, exponent), lambda g, x: _power_slope(g, x, exponent))
    if isinstance(exponent, (int, np.integer)) and exponent < 0 and kind in "iub":
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    common = as_operand(input, exponent)
    # The result's type first: 200**2 is 64 in uint8, and a power of float32 is float32.
    target = input._data.dtype if kind == "f" else common._data.dtype  # type: ignore[union-attr]
    if target == np.bool_:
        target = np.dtype(np.int64) if not isinstance(exponent, (bool, np.bool_)) else target

    return of_operand(
        "Pow", input, lambda a: _raise(a.astype(target, copy=False), exponent),
        lambda g, x: _power_slope(g, x, exponent),
    )  # fmt: skip


def _power_slope(grad: Tensor, x: Tensor, exponent: Any) -> Tensor:
    if exponent == 2:
        return grad * (x * exponent)
    # The derivative of x**0 is 0 at x = 0 as well.
    return no_gradient(grad, x, None) if exponent == 0 else grad * (x ** (exponent - 1) * exponent)


def _raise(x: np.ndarray, exponent: Any) -> Any:
    if x.dtype == np.bool_:
        return x | (not exponent)
    if x.dtype.kind == "f" and type(exponent) is int and abs(exponent) > 2**53:
        exponent = float(exponent)
    return x**exponent


def _powers(x: Any, y: Any) -> Any:
    if type(x) in (int, float) or type(y) in (int, float):
        # Beside a number the array is floating point, and so is the result.
        return np.power(float(x) if type(x) is int else x, y)
    x, y = np.asarray(x), np.asarray(y)
    kind = np.result_type(x, y)
    if kind == np.bool_:
        raise RuntimeError('"pow" not implemented for Bool')
    if kind.kind == "f":
        return np.power(x, y)
    if kind.kind == "u":
        return np.power(x, y)
    # PyTorch gives 0 for a negative power of an integer other than 1 and -1.
    negative = y < 0
    plain = np.power(x, np.where(negative, 0, y))
    odd = np.where(y % 2 == 0, 1, -1)
    return np.where(negative, np.where(x == 1, 1, np.where(x == -1, odd, 0)), plain).astype(kind)


def _base_gradient(grad: Tensor, x: Any, y: Any) -> Tensor:
    slope = y * x ** (y - 1)
    return grad * slope.masked_fill(y == 0, 0) if isinstance(y, Tensor) else grad * slope


def _exponent_gradient(grad: Tensor, x: Any, y: Any) -> Tensor:
    from fastnn.ops.comparison import where

    if not isinstance(x, Tensor):
        x = _wrap(np.asarray(x, y._data.dtype))
    # 0**y is flat for y >= 0: log(0) must not enter.
    zero = ((x == 0) & (y >= 0)).detach()
    safe = where(zero, 1, x)
    return where(zero, 0, grad * (x**y * safe.log()))


_POWER_X, _POWER_Y = Partial("xy", _base_gradient), Partial("xy", _exponent_gradient)


@named
def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``, of tensors and numbers.

    >>> import fastnn
    >>> fastnn.pow(2, fastnn.tensor([1.0, 0.5, -1.0]))
    tensor([2.0000, 1.4142, 0.5000])
    """
    found = _pow(input, exponent)
    if found is NotImplemented:
        raise TypeError(f"pow() takes tensors and numbers, found {type(input).__name__} and {type(exponent).__name__}")
    return found


def _pow(input: Any, exponent: Any) -> Any:
    if isinstance(input, Tensor) and type(exponent) in (int, float):
        return _power_of_number(input, exponent)
    if not isinstance(exponent, (Tensor, *NUMBERS, np.ndarray)) or not isinstance(input, (Tensor, *NUMBERS)):
        return NotImplemented
    if isinstance(exponent, Tensor) or isinstance(exponent, np.ndarray):
        return binary("PowBackward1", input, exponent, _powers, _POWER_X, _POWER_Y)
    check_tensor("input", input)
    return _power_of_number(input, exponent)


@named
def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in float64."""
    values = [t.double() if isinstance(t, Tensor) else t for t in (input, exponent)]
    return pow(*values)


@named
def square(input: Tensor) -> Tensor:
    """``input ** 2``."""
    check_tensor("input", input)
    return _power_of_number(input, 2)


# -- The larger and the smaller -----------------------------------------------------------------


def _choice(loses: Any) -> tuple[Partial, Partial]:
    """Derivatives of a choice: equal operands share the gradient, and beside a NaN each gets all, as in PyTorch."""

    def share(grad: Tensor, mine: Tensor, other: Tensor) -> Tensor:
        a, b = np.broadcast_arrays(mine._data, other._data)
        weight = np.where(a == b, 0.5, ~loses(a, b)).astype(grad._data.dtype)
        return grad * _wrap(weight)

    return Partial("xy", share), Partial("xy", lambda grad, x, y: share(grad, y, x))


_MAXIMUM, _MINIMUM = _choice(np.less), _choice(np.greater)
# NaN wins in maximum and minimum, and loses in fmax and fmin.
_FMAX = (
    Partial("xy", lambda grad, x, y: _masked(grad, x, y, lambda a, b: (a >= b) | np.isnan(b))),
    Partial("xy", lambda grad, x, y: _masked(grad, x, y, lambda a, b: ~((a >= b) | np.isnan(b)))),
)
_FMIN = (
    Partial("xy", lambda grad, x, y: _masked(grad, x, y, lambda a, b: (a <= b) | np.isnan(b))),
    Partial("xy", lambda grad, x, y: _masked(grad, x, y, lambda a, b: ~((a <= b) | np.isnan(b)))),
)


def _masked(grad: Tensor, x: Tensor, y: Tensor, chosen: Any) -> Tensor:
    return grad * _wrap(np.asarray(chosen(x._data, y._data), grad._data.dtype))


def _two_tensors(name: str, input: Any, other: Any) -> None:
    for label, t in (("input", input), ("other", other)):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): {label} must be a Tensor, found {type(t).__name__}")


@named
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each two elements; NaN if one is."""
    _two_tensors("maximum", input, other)
    return binary("Maximum", input, other, np.maximum, *_MAXIMUM)


@named
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each two elements; NaN if one is."""
    _two_tensors("minimum", input, other)
    return binary("Minimum", input, other, np.minimum, *_MINIMUM)


@named
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each two elements; the other one if one is NaN."""
    _two_tensors("fmax", input, other)
    return binary("Fmax", input, other, np.fmax, *_FMAX)


@named
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each two elements; the other one if one is NaN."""
    _two_tensors("fmin", input, other)
    return binary("Fmin", input, other, np.fmin, *_FMIN)


# -- Other functions of two ---------------------------------------------------------------------


def _floating(name: str, input: Any, other: Any, operate: Any, dx: Partial, dy: Partial) -> Tensor:
    """A function whose result is floating point for integers as well."""
    _operands(input, other)
    y = as_operand(as_floating(input), other)
    assert y is not None
    if common_dtype(input, y).kind != "f":
        input, y = as_floating(input), as_floating(y)
    return binary(name, input, y, operate, dx, dy)


@named
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input) from the first axis, in (-pi, pi]."""
    return _floating(
        "Atan2", input, other, np.arctan2,
        Partial("xy", lambda grad, x, y: grad * (y / (x * x + y * y))),
        Partial("xy", lambda grad, x, y: grad * (-x / (x * x + y * y))),
    )  # fmt: skip


@named
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """``sqrt(input**2 + other**2)``."""
    _two_tensors("hypot", input, other)
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
    _two_tensors("nextafter", input, other)
    return binary("Nextafter", input, other, np.nextafter, ZERO, ZERO).detach()


@named
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative numbers, 1 for positive ones, ``values`` for 0."""
    _two_tensors("heaviside", input, values)
    if input._data.dtype != values._data.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")

    def step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind == "f":
            return np.heaviside(a, b)
        return np.where(a == 0, b, (a > 0).astype(a.dtype))

    return binary("Heaviside", input.detach(), values.detach(), step, ZERO, ZERO)


@named
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """``log(exp(input) + exp(other))``, without overflow."""
    _two_tensors("logaddexp", input, other)
    refuse("logaddexp_cpu", promote(input, other)[0], "biu")
    return binary(
        "Logaddexp", input, other, np.logaddexp,
        Partial("xy", lambda grad, x, y: grad / (1 + (y - x).exp())),
        Partial("xy", lambda grad, x, y: grad / (1 + (x - y).exp())),
    )  # fmt: skip


@named
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """``log2(2**input + 2**other)``, without overflow."""
    _two_tensors("logaddexp2", input, other)
    refuse("logaddexp2_cpu", promote(input, other)[0], "biu")
    return binary(
        "Logaddexp2", input, other, np.logaddexp2,
        Partial("xy", lambda grad, x, y: grad / (1 + (y - x).exp2())),
        Partial("xy", lambda grad, x, y: grad / (1 + (x - y).exp2())),
    )  # fmt: skip


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
    _two_tensors(name, input, other)
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


# -- Functions of three -------------------------------------------------------------------------


@named
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``input + weight * (end - input)``.

    >>> import fastnn
    >>> fastnn.lerp(fastnn.tensor([0.0, 10.0]), fastnn.tensor([1.0, 20.0]), 0.5)
    tensor([ 0.5000, 15.0000])
    """
    _two_tensors("lerp", input, end)
    for t in (end, weight):
        if isinstance(t, Tensor) and t._data.dtype != input._data.dtype and t._data.ndim:
            raise RuntimeError(f"expected dtype {input.dtype} for `end` and `weight` but got dtype {t.dtype}")
    if input._data.dtype.kind != "f":
        raise RuntimeError(f'"lerp_kernel" not implemented for {input.dtype}')
    return input + weight * (end - input)


def _check_value(name: str, value: Any, *tensors: Tensor) -> None:
    for t in tensors:
        check_tensor(name, t)


@named
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    _check_value("addcmul operand", value, input, tensor1, tensor2)
    kinds = {t._data.dtype.kind for t in (input, tensor1, tensor2)}
    if kinds == {"b"}:
        raise RuntimeError('"addcmul_cpu_out" not implemented for Bool')
    if "f" not in kinds:
        value = int(value)
    return input + (tensor1 if value == 1 else tensor1 * value) * tensor2


@named
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``; for floating point only."""
    _check_value("addcdiv operand", value, input, tensor1, tensor2)
    if tensor1._data.dtype.kind != "f" and tensor2._data.dtype.kind != "f":
        raise RuntimeError("Integer division with addcdiv is no longer supported; convert the operands first.")
    return input + _scaled(tensor1, value) / tensor2


# -- In place, and operators --------------------------------------------------------------------


def add_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """Add ``alpha * other`` in place."""
    if alpha != 1:
        return input._in_place(add(original(input, other), other, alpha=alpha))
    return in_place(input, other, np.add, add)


def sub_(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """Subtract ``alpha * other`` in place."""
    if alpha != 1 or input._data.dtype.kind == "b":
        return input._in_place(sub(original(input, other), other, alpha=alpha))
    return in_place(input, other, np.subtract, sub)


def mul_(input: Tensor, other: Any) -> Tensor:
    """Multiply in place."""
    return in_place(input, other, np.multiply, mul)


def div_(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Divide in place."""
    if rounding_mode is not None or input._data.dtype.kind != "f":
        return input._in_place(div(original(input, other), other, rounding_mode=rounding_mode))
    return in_place(input, other, np.true_divide, div)


def _in_place_operator(function: Any) -> Any:
    def operate(self: Tensor, other: Any) -> Any:
        if not isinstance(other, (Tensor, *NUMBERS, np.ndarray)):
            return NotImplemented
        return function(self, other)

    return operate


def _operator(name: str, operate: Any, dx: Partial, dy: Partial, check: Any = None, prepare: Any = None) -> Any:
    """The two methods of an operator."""

    def forward(self: Tensor, other: Any) -> Any:
        if check is not None:
            check(self, other)
        return binary(name, self if prepare is None else prepare(self, other), other, operate, dx, dy)

    def reflected(self: Tensor, other: Any) -> Any:
        if check is not None:
            check(self, other)
        return binary(name, other, self if prepare is None else prepare(self, other), operate, dx, dy)

    return forward, reflected


_add, _radd = _operator("Add", np.add, _SAME, _SAME)
_sub, _ = _operator("Sub", np.subtract, _SAME, _OPPOSITE, _check_subtraction)
_, _rsub = _operator("RsubBackward1", np.subtract, _SAME, _OPPOSITE, _check_subtraction)
_mul, _rmul = _operator("Mul", np.multiply, _TIMES_Y, _TIMES_X)
_div, _ = _operator("Div", _divide, _OVER_Y, _QUOTIENT, prepare=_dividend)
_, _rdiv = _operator("Mul", _divide, _OVER_Y, _QUOTIENT, prepare=_dividend)
_floordiv, _rfloordiv = _operator("FloorDivide", _floor_divide, _NONE, _NONE)
_mod, _rmod = _operator("Remainder", _remainder, _SAME, _FLOOR_STEPS)

OPERATORS = {
    "__add__": _add, "__radd__": _radd, "__sub__": _sub, "__rsub__": _rsub, "__mul__": _mul, "__rmul__": _rmul,
    "__truediv__": _div, "__rtruediv__": _rdiv, "__div__": _div, "__floordiv__": _floordiv,
    "__rfloordiv__": _rfloordiv, "__mod__": _mod, "__rmod__": _rmod, "__pow__": _pow,
    "__rpow__": lambda self, other: _pow(other, self),
    "__iadd__": _in_place_operator(add_), "__isub__": _in_place_operator(sub_), "__imul__": _in_place_operator(mul_),
    "__itruediv__": _in_place_operator(div_),
    "__ipow__": _in_place_operator(lambda x, y: x._in_place(pow(original(x, y), y))),
    "__ifloordiv__": _in_place_operator(lambda x, y: x._in_place(floor_divide(original(x, y), y))),
    "__imod__": _in_place_operator(lambda x, y: x._in_place(remainder(original(x, y), y))),
}  # fmt: skip

arctan2, divide, true_divide, multiply, subtract = atan2, div, div, mul, sub
IN_PLACE = (
    "addcdiv", "addcmul", "arctan2", "atan2", "copysign", "divide", "float_power", "floor_divide", "fmod", "gcd",
    "heaviside", "hypot", "lcm", "ldexp", "lerp", "multiply", "nextafter", "pow", "remainder", "square", "subtract",
    "true_divide", "xlogy",
)  # fmt: skip
METHODS = {"add_": add_, "sub_": sub_, "mul_": mul_, "div_": div_}
