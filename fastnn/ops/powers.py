"""Powers of tensors and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._autograd.modes import _mode
from fastnn._core.dtypes import as_number, plain
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.runtime.direct_loops import Direct
from fastnn.ops.core import (
    NUMBERS,
    Partial,
    also_read,
    as_operand,
    binary,
    check_tensor,
    named,
    no_gradient,
    of_operand,
    original,
)

__all__ = ["float_power", "pow", "square"]


# Larger integers may not fit float16.
_LARGE_EXPONENT = 65504


def _power_of_number(input: Tensor, exponent: Any) -> Tensor:
    kind = input._data.dtype.kind
    if kind == "f" and (type(exponent) is int or type(exponent) is float):
        return of_operand("Pow", input, lambda a: _raise(a, exponent), lambda g, x: _power_slope(g, x, exponent))
    if isinstance(exponent, int) and kind in "iub":
        if exponent < 0:
            raise RuntimeError(
                f"Integers to negative integer powers are not allowed: found {input.dtype} to the power {exponent}."
            )
        if kind != "b":
            as_number(exponent, input._data.dtype)
    common = as_operand(input, exponent)
    # Convert to the result's type first: 200**2 is 64 in uint8, and a power of float32 is float32.
    target = input._data.dtype if kind == "f" else common._data.dtype  # type: ignore[union-attr]  # a number's
    if target == np.bool_:
        target = np.dtype(np.int64) if not isinstance(exponent, bool) else target

    return of_operand(
        "Pow", input, lambda a: _raise(a.astype(target, copy=False), exponent),
        lambda g, x: _power_slope(g, x, exponent),
    )  # fmt: skip


def _power_slope(grad: Tensor, x: Tensor, exponent: Any) -> Tensor:
    if exponent == 2 and not _mode.enabled:
        return grad * (x * exponent)
    # The derivative of x**0 is 0 at x = 0 as well.
    return no_gradient(grad, x, None) if exponent == 0 else grad * (x ** (exponent - 1) * exponent)


_SQUARE = Direct(np.square)


def _raise(x: np.ndarray, exponent: Any) -> Any:
    if x.dtype.kind == "b":
        return x | (not exponent)
    if x.dtype.kind == "f":
        if exponent == 2:
            found = _SQUARE.call(x)
            return x**exponent if found is None else found
        if exponent == 3 and x.dtype != np.float16:
            # As in PyTorch, also below; NumPy's power takes a hundred times as long for negative numbers.
            return x * x * x
        if exponent == -2 and x.dtype != np.float16:
            return np.reciprocal(x * x)
        if type(exponent) is int:
            if abs(exponent) > _LARGE_EXPONENT:
                as_number(exponent, x.dtype)
                exponent = float(exponent)
        elif exponent == -0.5 and x.dtype != np.float16:
            # As in PyTorch: minus infinity for -0.
            return 1 / np.sqrt(x)
        elif exponent == 0.5 and x.dtype == np.float16:
            return np.power(x, x.dtype.type(exponent))
    return x**exponent


def _powers(x: Any, y: Any) -> Any:
    if type(x) in (int, float) or type(y) in (int, float):
        # With a number the array is floating point, and so is the result.
        return np.power(float(x) if type(x) is int else x, y)
    x, y = np.asarray(x), np.asarray(y)
    kind = np.result_type(x, y)
    if kind == np.bool_:
        raise NotImplementedError('"pow" not implemented for Bool')
    if kind.kind in "fu":
        return np.power(x, y)
    # PyTorch returns 0 for a negative power of an integer other than 1 and -1.
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
    # 0**y is constant for y >= 0: log(0) must not be used.
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
    if isinstance(input, Tensor) and (type(exponent) is int or type(exponent) is float):
        return _power_of_number(input, exponent)
    if not isinstance(exponent, (Tensor, *NUMBERS, np.ndarray)) or not isinstance(input, (Tensor, *NUMBERS)):
        if isinstance(exponent, complex) or isinstance(input, complex):
            from fastnn.ops import complex_tensor

            return complex_tensor.binary(np.power, input, exponent)
        return NotImplemented
    if isinstance(exponent, (Tensor, np.ndarray)):
        name = "PowBackward1" if isinstance(input, Tensor) else "PowBackward2"
        result = binary(name, input, exponent, _powers, _POWER_X, _POWER_Y)
        # PyTorch saves the result for the derivative by the exponent.
        return also_read(result, result) if isinstance(result, Tensor) else result
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor, found {type(input).__name__}")
    return _power_of_number(input, plain(exponent))


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



def _float_power_(self: Tensor, exponent: Any) -> Tensor:
    """``float_power`` in place, for a float64 tensor."""
    if self._data.dtype != np.float64:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype} but the operation's result requires dtype float64"
        )
    return self._in_place(float_power(original(self, exponent), exponent))


IN_PLACE = ("pow", "square")
METHODS = {"float_power_": _float_power_}
OPERATORS = {"__pow__": _pow, "__rpow__": lambda self, other: _pow(other, self)}
