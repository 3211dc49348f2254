"""Arithmetic of two or three tensors, elementwise with broadcasting and promotion."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node, ResultNode
from fastnn._autograd.modes import _mode
from fastnn._core.capture_state import active
from fastnn._core.dtypes import (
    FITS_ALL,
    RANK,
    as_number,
    check_promotion,
    default_numpy,
    float64,
    from_numpy_dtype,
    plain,
    promoted,
)
from fastnn._core.errstate import quiet
from fastnn._tensor.tensor import Tensor, _recorded, _unbroadcast, _wrap
from fastnn.ops.core import (
    ADD,
    DIVIDE,
    MULTIPLY,
    NUMBERS,
    SUBTRACT,
    Partial,
    also_read,
    as_floating,
    binary,
    broadcast,
    check_operands,
    check_tensor,
    check_tensors,
    common_dtype,
    fit,
    in_float32,
    in_place,
    in_place_operand,
    named,
    no_gradient,
    old_order,
    operators,
    original,
    overwrite,
    overwrite_directly,
    scaled,
    shape_error,
)
from fastnn.ops.powers import pow

__all__ = [
    "add", "addcdiv", "addcmul", "div", "divide", "floor_divide", "fmod", "lerp", "mul", "multiply",
    "remainder", "rsub", "sub", "subtract", "true_divide",
]  # fmt: skip


_SAME = Partial("", lambda grad, x, y: grad)
_OPPOSITE = Partial("", lambda grad, x, y: -grad)
_TIMES_X = Partial("x", lambda grad, x, y: grad * x)
_TIMES_Y = Partial("y", lambda grad, x, y: grad * y)
_OVER_Y = Partial("y", lambda grad, x, y: grad / y)
# Divided twice, as in PyTorch: y * y would overflow where the quotient does not.
_QUOTIENT = Partial("xy", lambda grad, x, y: -grad * (x / y / y))
# The derivatives of a rounded quotient are 0. They read the operands that PyTorch's formulas read.
_FLAT_X, _FLAT_Y = Partial("y", no_gradient), Partial("xy", no_gradient)


def _scaled(other: Any, alpha: Any) -> Any:
    if isinstance(other, Tensor) and other._data.dtype == np.bool_ and isinstance(alpha, (bool, int)):
        return other if alpha else _wrap(np.zeros(other._data.shape, np.bool_))
    return other if alpha == 1 else other * alpha


def _check_subtraction(x: Any, other: Any) -> None:
    if type(x) is type(other) is Tensor and x._data.dtype.kind != "b" and other._data.dtype.kind != "b":
        return
    for t in (x, other):
        if t._data.dtype.kind == "b" if isinstance(t, Tensor) else isinstance(t, bool):
            if isinstance(other, np.ndarray) and other.dtype != np.bool_:
                # NumPy handles this case, as in PyTorch.
                return
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a "
                "mask, use the `~` or `logical_not()` operator instead; to subtract, convert it first."
            )


def _checked_alpha(alpha: Any, input: Any, other: Any) -> Any:
    """The factor as a Python number; RuntimeError if the result's dtype cannot hold it."""
    alpha = alpha.item() if isinstance(alpha, Tensor) else plain(alpha)
    kinds = {t._data.dtype.kind for t in (input, other) if isinstance(t, Tensor)}
    if isinstance(alpha, bool) and kinds != {"b"}:
        raise RuntimeError(f"Boolean alpha only supported for Boolean results, found alpha={alpha}.")
    if isinstance(alpha, float) and "f" not in kinds and not isinstance(other, float):
        raise RuntimeError(
            f"For integral input tensors, argument alpha must not be a floating point number, found {alpha}."
        )
    tensors = [t for t in (input, other) if isinstance(t, Tensor)]
    as_number(alpha, common_dtype(tensors[0], tensors[-1]))
    return alpha


@named
def add(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``.

    >>> import fastnn
    >>> fastnn.add(fastnn.tensor([1, 2]), 10, alpha=3)
    tensor([31, 32])
    """
    if alpha.__class__ is int and alpha == 1 and isinstance(input, Tensor) and isinstance(other, Tensor):
        return _add(input, other)
    check_operands(input, other)
    if alpha != 1 or isinstance(alpha, np.generic):
        alpha = _checked_alpha(alpha, input, other)
    return binary("Add", input, _scaled(other, alpha), np.add, _SAME, _SAME)


@named
def sub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``; not for bool."""
    if alpha.__class__ is int and alpha == 1 and isinstance(input, Tensor) and isinstance(other, Tensor):
        return _sub(input, other)
    check_operands(input, other)
    _check_subtraction(input, other)
    if alpha != 1 or isinstance(alpha, np.generic):
        alpha = _checked_alpha(alpha, input, other)
    return binary("Sub", input, _scaled(other, alpha), np.subtract, _SAME, _OPPOSITE)


@named
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input``."""
    check_operands(input, other)
    _check_subtraction(input, other)
    if alpha != 1 or isinstance(alpha, np.generic):
        alpha = _checked_alpha(alpha, input, other)
    return binary("RsubBackward1", other, _scaled(input, alpha), np.subtract, _SAME, _OPPOSITE)


@named
def mul(input: Tensor, other: Any) -> Tensor:
    """``input * other``."""
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        return _mul(input, other)
    check_operands(input, other)
    return binary("Mul", input, other, np.multiply, _TIMES_Y, _TIMES_X)


def _divide(x: Any, y: Any) -> Any:
    # If one is a number, the other has been converted to floating point.
    if (x if isinstance(x, np.ndarray) else y).dtype.kind != "f":
        x, y = np.asarray(x, default_numpy()), np.asarray(y, default_numpy())
    return np.true_divide(x, y)


def _dividend(x: Any, other: Any) -> Any:
    if not isinstance(x, Tensor) or x._data.dtype.kind == "f":
        return x
    # Integers are divided as floats, and so is a number operand, which must not wrap around.
    if isinstance(other, np.ndarray) and x._data.dtype.kind != "f" and other.dtype.kind != "f":
        # As in NumPy's division.
        return x.to(float64)
    if isinstance(other, Tensor) and other._data.dtype != x._data.dtype and other._data.dtype.kind != "f":
        # In their common dtype an integer without dimensions might wrap around.
        check_promotion(x._data.dtype, other._data.dtype)
        return as_floating(x)
    return x if isinstance(other, (Tensor, np.ndarray)) else as_floating(x)


@named
def div(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; 'trunc' rounds towards 0 and 'floor' down, and both keep integers.

    >>> import fastnn
    >>> fastnn.div(fastnn.tensor([7, -7]), 2), fastnn.div(fastnn.tensor([7, -7]), 2, rounding_mode="floor")
    (tensor([ 3.5000, -3.5000]), tensor([ 3, -4]))
    """
    check_operands(input, other)
    if rounding_mode is None:
        return binary("Div", _dividend(input, other), other, _divide, _OVER_Y, _QUOTIENT)
    if rounding_mode == "floor":
        return binary("Div", input, other, _floor_divide, _FLAT_X, _FLAT_Y)
    if rounding_mode == "trunc":
        return binary("Div", input, other, _truncate_divide, _FLAT_X, _FLAT_Y)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}")


def _check_divisor(x: Any, y: Any) -> None:
    if np.result_type(x, y) == np.bool_:
        raise NotImplementedError("division and remainder are not implemented for Bool: both operands are torch.bool")
    if np.any(np.asarray(y) == 0) and np.size(x):
        raise RuntimeError("ZeroDivisionError: the divisor of integers has a zero")


def _floor_divide(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind == "f":
        # For an infinite or NaN quotient NumPy's result differs from PyTorch's.
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
    check_operands(input, other)
    return binary("FloorDivide", input, other, _floor_divide, _NONE, _NONE)


def _remainder(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind != "f":
        _check_divisor(x, y)
        return np.remainder(x, y)
    # A zero has the sign of x, as in PyTorch; NumPy gives it that of y.
    found = np.remainder(x, y)
    if isinstance(found, np.ndarray):
        if np.count_nonzero(found) == found.size:
            return found
        return np.copysign(found, x, out=found, where=found == 0)
    return np.copysign(found, x) if found == 0 else found


def _fmod(x: Any, y: Any) -> Any:
    if np.result_type(x, y).kind != "f":
        _check_divisor(x, y)
    return np.fmod(x, y)


def _steps(times: Any) -> Partial:
    """The derivative of a remainder by the divisor: minus the rounded quotient."""

    def run(grad: Tensor, x: Any, y: Any) -> Tensor:
        a, b = [t._data if isinstance(t, Tensor) else t for t in (x, y)]
        return scaled(grad, -quiet(times, a, b), *[t for t in (x, y) if isinstance(t, Tensor)])

    return Partial("xy", run)


_FLOOR_STEPS = _steps(np.floor_divide)
_TRUNCATED_STEPS = _steps(lambda a, b: np.trunc(np.true_divide(a, b)))


@named
def remainder(input: Any, other: Any) -> Tensor:
    """``input - floor(input / other) * other``: the remainder with the divisor's sign."""
    check_operands(input, other)
    return binary("Remainder", input, other, _remainder, _SAME, _FLOOR_STEPS)


@named
def fmod(input: Tensor, other: Any) -> Tensor:
    """``input - trunc(input / other) * other``: the remainder with the dividend's sign."""
    check_operands(input, other)
    return binary("Fmod", input, other, _fmod, _SAME, _TRUNCATED_STEPS)


# -- Ternary functions --------------------------------------------------------------------------


@named
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``input + weight * (end - input)``.

    >>> import fastnn
    >>> fastnn.lerp(fastnn.tensor([0.0, 10.0]), fastnn.tensor([1.0, 20.0]), 0.5)
    tensor([ 0.5000, 15.0000])
    """
    if type(weight) is float and type(input) is type(end) is Tensor:
        a, b = input._data, end._data
        if a.dtype is b.dtype and a.dtype.kind == "f" and a.shape == b.shape and not _recorded(input, end):
            return _wrap(np.asarray(quiet(_lerp, a, b, weight)))
    check_tensors("lerp", input, end)
    kind = input._data.dtype
    if end._data.dtype is not kind or type(weight) is not float:
        for t in (end, weight):
            if isinstance(t, Tensor) and t._data.dtype != kind and t._data.ndim:
                raise RuntimeError(f"expected dtype {input.dtype} for `end` and `weight` but got dtype {t.dtype}")
        end = end.to(input.dtype)
    if kind.kind != "f":
        raise NotImplementedError(f'"lerp_kernel" not implemented for {input.dtype}')
    if not isinstance(weight, Tensor):
        result = _between(input, end, lambda a, b: _lerp(a, b, weight))
        if not _recorded(input, end):
            return _wrap(result)
        shapes = input._data.shape, end._data.shape

        def run(grad: Tensor) -> tuple[Tensor | None, ...]:
            return _unbroadcast(grad * (1 - weight), shapes[0]), _unbroadcast(grad * weight, shapes[1])

        return _wrap(result, Node("Lerp", (input, end), run))
    weight = weight.to(input.dtype)
    result = _between(input, end, lambda a, b: _lerp(a, b, weight._data), weight._data.shape)
    if not _recorded(input, end, weight):
        return _wrap(result)
    operands = input, end, weight
    wants = input._requires_grad, end._requires_grad, weight._requires_grad

    def run_back(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _unbroadcast(grad * (1 - weight), input._data.shape) if wants[0] else None,
            _unbroadcast(grad * weight, end._data.shape) if wants[1] else None,
            _unbroadcast(grad * (end - input), weight._data.shape) if wants[2] else None,
        )

    # PyTorch saves all three, whichever of them needs a gradient.
    return _wrap(result, Node("Lerp", operands, run_back, operands))


def _lerp(a: np.ndarray, b: np.ndarray, weight: Any) -> np.ndarray:
    # From the nearer end, as in PyTorch.
    if type(weight) is float:
        near = -0.5 < weight < 0.5
        # Faster than with a number of NumPy's.
        return (a if near else b) + (b - a) * np.array(weight if near else weight - 1, a.dtype)
    near = np.abs(weight) < 0.5
    return np.where(near, a, b) + np.where(near, weight, weight - 1).astype(a.dtype) * (b - a)


def _between(input: Tensor, end: Tensor, operate: Any, *shapes: tuple[int, ...]) -> np.ndarray:
    a, b = input._data, end._data
    if (shapes or a.shape != b.shape) and not fit(a.shape, b.shape, *shapes):
        raise shape_error(a.shape, b.shape, *shapes)
    return np.asarray(quiet(operate, a, b))


@named
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    if type(input) is type(tensor1) is type(tensor2) is Tensor and not _recorded(input, tensor1, tensor2):
        product = _product(input, tensor1, tensor2, value)
        if product is not None:
            result = None if active else ADD.call(input._data, product)
            return _wrap(broadcast(np.add, input._data, product) if result is None else result)
    for t in (input, tensor1, tensor2):
        check_tensor("addcmul operand", t)
    kinds = {t._data.dtype.kind for t in (input, tensor1, tensor2)}
    if kinds == {"b"}:
        raise NotImplementedError('"addcmul_cpu_out" not implemented for Bool')
    input, tensor1, tensor2 = _in_one_dtype(input, tensor1, tensor2)
    if "f" not in kinds:
        value = as_number(value.item() if isinstance(value, Tensor) else value, input._data.dtype).item()
    result = input + (tensor1 if value == 1 else tensor1 * value) * tensor2
    return also_read(result, tensor1) if value != 1 and tensor2._requires_grad else result


def _in_one_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The operands in the dtype of the result: one without dimensions counts only if its kind is higher."""
    if len({t._data.dtype for t in tensors}) == 1:
        return tensors
    found = [[t._data.dtype for t in tensors if bool(t._data.ndim) is whole] for whole in (True, False)]
    wide, single = [functools.reduce(promoted, kinds) if kinds else None for kinds in found]
    target = single if wide is None or (single is not None and RANK[single.kind] > RANK[wide.kind]) else wide
    assert target is not None
    return tuple([t.to(from_numpy_dtype(target)) for t in tensors])


def _product(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> np.ndarray | None:
    """``value * tensor1 * tensor2`` for tensors of one floating point dtype and a number; otherwise None."""
    if type(value) is not float and type(value) is not int:
        return None
    a, b = tensor1._data, tensor2._data
    kind = input._data.dtype
    if kind.kind != "f" or a.dtype is not kind or b.dtype is not kind or not -FITS_ALL < value < FITS_ALL:
        return None
    if not active:
        product = a if value == 1 else MULTIPLY.call(a, value)
        if product is not None:
            product = MULTIPLY.call(product, b) if product is a else MULTIPLY.call(product, b, product)
        if product is not None:
            return product
    if value == 1:
        return broadcast(np.multiply, a, b)
    return broadcast(_scaled_product, a, (b, np.array(value, kind))) if a.shape == b.shape else None


def _scaled_product(a: np.ndarray, others: tuple[np.ndarray, np.ndarray]) -> Any:
    b, number = others
    return a * number * b


@named
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``; for floating point only."""
    for t in (input, tensor1, tensor2):
        check_tensor("addcdiv operand", t)
    if tensor1._data.dtype.kind != "f" and tensor2._data.dtype.kind != "f":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported; convert the operands first. Found "
            f"{tensor1.dtype} and {tensor2.dtype}"
        )
    input, tensor1, tensor2 = _in_one_dtype(input, tensor1, tensor2)
    result = input + _scaled(tensor1, value) / tensor2
    return also_read(result, tensor1) if value != 1 and tensor2._requires_grad else result


# -- In place, and operators --------------------------------------------------------------------


def _product_for(input: Tensor, other: Any, alpha: Any) -> np.ndarray | None:
    """``alpha * other`` as the operand of an in-place operation that is neither recorded nor converts."""
    kind = type(alpha)
    if (kind is not float and kind is not int) or not isinstance(other, Tensor) or input._data.dtype.kind != "f":
        return None
    operand = in_place_operand(input, other)
    if operand is None or not -FITS_ALL < alpha < FITS_ALL:
        return None
    found = None if active else MULTIPLY.call(operand, alpha)
    return quiet(np.multiply, operand, np.array(alpha, operand.dtype)) if found is None else found


def _in_old_order(name: str, function: Any, args: tuple[Any, ...], count: int) -> Tensor:
    options: dict[str, Any] = {}
    return function(*old_order(name, args, count, options), **options)


def add_(input: Tensor, other: Any, tensor: Any = None, *, alpha: Any = 1) -> Tensor:
    """Add ``alpha * other`` in place; ``add_(alpha, tensor)`` is its old form."""
    if tensor is not None:
        return _in_old_order("add_", add_, (input, other, tensor), 2)
    if alpha != 1:
        product = _product_for(input, other, alpha)
        if product is not None:
            if overwrite_directly(input, ADD, product):
                return input
            return overwrite(input, product, np.add, other, lambda x, y: add(x, y, alpha=alpha))
        return input._in_place(add(original(input, other), other, alpha=alpha))
    return in_place(input, other, np.add, add, ADD)


def addcmul_(input: Tensor, tensor1: Any, tensor2: Any, tensor: Any = None, *, value: Any = 1) -> Tensor:
    """Add ``value * tensor1 * tensor2`` in place; ``addcmul_(value, tensor1, tensor2)`` is its old form."""
    if tensor is not None:
        return _in_old_order("addcmul_", addcmul_, (input, tensor1, tensor2, tensor), 3)
    memory = input._memory
    if (
        type(tensor1) is type(tensor2) is Tensor
        and not (tensor1._memory is memory or tensor2._memory is memory or _recorded(input, tensor1, tensor2))
    ):
        product = _product(input, tensor1, tensor2, value)
        if product is not None and product.shape == input._data.shape:
            if overwrite_directly(input, ADD, product):
                return input
            return overwrite(input, product, np.add, _wrap(product), add)
    return input._in_place(addcmul(original(input, tensor1, tensor2), tensor1, tensor2, value=value))


def addcdiv_(input: Tensor, tensor1: Any, tensor2: Any, tensor: Any = None, *, value: Any = 1) -> Tensor:
    """Add ``value * tensor1 / tensor2`` in place; ``addcdiv_(value, tensor1, tensor2)`` is its old form."""
    if tensor is not None:
        return _in_old_order("addcdiv_", addcdiv_, (input, tensor1, tensor2, tensor), 3)
    if (
        type(tensor1) is type(tensor2) is Tensor and (type(value) is float or type(value) is int)
        and -FITS_ALL < value < FITS_ALL and not active
        and not (tensor1._memory is input._memory or tensor2._memory is input._memory)
        and not _recorded(input, tensor1, tensor2)
    ):  # fmt: skip
        a, b, kind = tensor1._data, tensor2._data, input._data.dtype
        if kind.kind == "f" and a.dtype is kind and b.dtype is kind and a.shape == b.shape:
            scaled = a if value == 1 else MULTIPLY.call(a, value)
            quotient = None if scaled is None else DIVIDE.call(scaled, b)
            if quotient is not None and overwrite_directly(input, ADD, quotient):
                return input
    return input._in_place(addcdiv(original(input, tensor1, tensor2), tensor1, tensor2, value=value))


def sub_(input: Tensor, other: Any, tensor: Any = None, *, alpha: Any = 1) -> Tensor:
    """Subtract ``alpha * other`` in place; ``sub_(alpha, tensor)`` is its old form."""
    if tensor is not None:
        return _in_old_order("sub_", sub_, (input, other, tensor), 2)
    if alpha != 1 or input._data.dtype.kind == "b":
        product = _product_for(input, other, alpha)
        if product is not None:
            if overwrite_directly(input, SUBTRACT, product):
                return input
            return overwrite(input, product, np.subtract, other, lambda x, y: sub(x, y, alpha=alpha))
        return input._in_place(sub(original(input, other), other, alpha=alpha))
    return in_place(input, other, np.subtract, sub, SUBTRACT)


def mul_(input: Tensor, other: Any) -> Tensor:
    """Multiply in place."""
    return in_place(input, other, np.multiply, mul, MULTIPLY)


def div_(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Divide in place."""
    if rounding_mode is not None or input._data.dtype.kind != "f":
        return input._in_place(div(original(input, other), other, rounding_mode=rounding_mode))
    return in_place(input, other, np.true_divide, div, DIVIDE)


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


_add, _radd = operators("Add", ADD, _SAME, _SAME, *_operator("Add", np.add, _SAME, _SAME))
_minus = functools.partial(_operator, operate=np.subtract, dx=_SAME, dy=_OPPOSITE, check=_check_subtraction)
_sub, _ = operators("Sub", SUBTRACT, _SAME, _OPPOSITE, *_minus("Sub"))
_, _rsub = operators("RsubBackward1", SUBTRACT, _SAME, _OPPOSITE, *_minus("RsubBackward1"))
_mul, _rmul = operators("Mul", MULTIPLY, _TIMES_Y, _TIMES_X, *_operator("Mul", np.multiply, _TIMES_Y, _TIMES_X))
_divided, _ = _operator("Div", _divide, _OVER_Y, _QUOTIENT, prepare=_dividend)
_, _divide_array = _operator("Mul", _divide, _OVER_Y, _QUOTIENT, prepare=_dividend)


def _quotient(self: Tensor, other: Any) -> Any:
    """``self / other``."""
    if self._data.dtype.kind == "f":
        # The result is floating point as well, whatever the other is.
        return binary("Div", self, other, np.true_divide, _OVER_Y, _QUOTIENT)
    return _divided(self, other)


_div, _ = operators("Div", DIVIDE, _OVER_Y, _QUOTIENT, _quotient, _divide_array)


class _QuotientNode(Node):
    """The node of ``number / x``: as in PyTorch, the number times the reciprocal, and only that is saved."""

    __slots__ = ("number", "reciprocal")

    number: Any
    reciprocal: Any

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        if self.run is None:
            return super().backward(grad)
        if self.number != 1:
            grad = grad * self.number
        if not _mode.enabled:
            return (_wrap(-grad._data * self.reciprocal * self.reciprocal),)
        node = ResultNode("Reciprocal", (), _reciprocal_slope)
        node.edges = self.edges
        y = node.attach(_wrap(self.reciprocal, node))
        return (-grad * y * y,)

    def release(self) -> None:
        self.reciprocal = None
        super().release()


def _reciprocal_slope(grad: Tensor, y: Tensor) -> tuple[Tensor]:
    return (-grad * y * y,)


def _rdiv(self: Tensor, other: Any) -> Any:
    """``other / self``."""
    kind = type(other)
    if kind is not float and kind is not int:
        return _divide_array(self, other)
    x = as_floating(self)
    y = quiet(np.reciprocal, x._data)
    recorded = _recorded(x)
    if other == 1:
        result = y.copy() if recorded else y
    else:
        try:
            result = quiet(in_float32, np.multiply, y, other) if y.itemsize == 2 else quiet(np.multiply, y, other)
        except OverflowError:
            result = quiet(np.multiply, y, float(other))
    if not recorded:
        return _wrap(np.asarray(result))
    node = _QuotientNode("Mul", (x,), _no_run, (), True)
    node.number, node.reciprocal = other, y
    return _wrap(np.asarray(result), node)


def _no_run(grad: Tensor) -> tuple[Tensor | None, ...]:
    raise AssertionError("the node has a backward pass of its own")


_floordiv, _rfloordiv = _operator("FloorDivide", _floor_divide, _NONE, _NONE)
_mod, _rmod = _operator("Remainder", _remainder, _SAME, _FLOOR_STEPS)


divide, true_divide, multiply, subtract = div, div, mul, sub


IN_PLACE = (
    "divide", "floor_divide", "fmod", "lerp", "multiply", "remainder", "subtract",
    "true_divide",
)  # fmt: skip
METHODS = {"add_": add_, "addcdiv_": addcdiv_, "addcmul_": addcmul_, "sub_": sub_, "mul_": mul_, "div_": div_}
OPERATORS = {
    "__add__": _add, "__radd__": _radd, "__sub__": _sub, "__rsub__": _rsub, "__mul__": _mul, "__rmul__": _rmul,
    "__truediv__": _div, "__rtruediv__": _rdiv, "__div__": _div, "__floordiv__": _floordiv,
    "__rfloordiv__": _rfloordiv, "__mod__": _mod, "__rmod__": _rmod, "__iadd__": _in_place_operator(add_),
    "__isub__": _in_place_operator(sub_), "__imul__": _in_place_operator(mul_),
    "__itruediv__": _in_place_operator(div_),
    "__ipow__": _in_place_operator(lambda x, y: x._in_place(pow(original(x, y), y))),
    "__ifloordiv__": _in_place_operator(lambda x, y: x._in_place(floor_divide(original(x, y), y))),
    "__imod__": _in_place_operator(lambda x, y: x._in_place(remainder(original(x, y), y))),
}  # fmt: skip
