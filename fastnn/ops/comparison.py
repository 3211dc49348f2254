"""Comparisons, logical and bitwise operations, and selection by masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._core.capture_state import active
from fastnn._core.dtypes import FLOATING, as_number, bool_, default_numpy, plain, promoted
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._core.numpy_trace import run
from fastnn._tensor.tensor import TENSORS, Tensor, _recorded, _unbroadcast, _wrap
from fastnn._tensor.views import linear_map
from fastnn.kernels.runtime.direct_loops import CHOICE, Direct
from fastnn.ops.core import (
    NUMBERS,
    as_operand,
    broadcast,
    check_tensor,
    kept_where,
    named,
    promote,
    quiet,
    scalar_dtype,
    shape_error,
    titled,
    warn_of_byte_mask,
)

__all__ = [
    "allclose", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "eq", "equal", "ge", "greater", "greater_equal", "gt", "is_complex", "is_floating_point",
    "is_nonzero", "is_same_size", "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal",
    "le", "less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "masked_fill", "ne",
    "not_equal", "signbit", "where",
]  # fmt: skip


# -- Comparisons --------------------------------------------------------------------------------


def _compare(x: Tensor, other: Any, operate: Callable[..., Any], direct: Direct) -> Any:
    if not active:
        result = None
        if isinstance(other, Tensor):
            result = direct.call(x._data, other._data)
        elif type(other) is float or type(other) is int:
            result = direct.call(x._data, other)
        if result is not None:
            return TENSORS.make(result)
    if isinstance(other, Tensor):
        if x._data.dtype == other._data.dtype:
            return _wrap(broadcast(operate, x._data, other._data))
    elif (type(other) is float or type(other) is int) and x._data.dtype.kind == "f":
        # NumPy converts the Python number to the array's dtype.
        try:
            return _wrap(np.asarray(quiet(operate, x._data, other)))
        except OverflowError:
            return _wrap(np.asarray(quiet(operate, x._data, float("inf") if other > 0 else float("-inf"))))
    y = as_operand(x, other)
    if y is None:
        if isinstance(other, complex) and operate in (np.equal, np.not_equal):
            from fastnn.ops import complex_tensor

            return complex_tensor.binary(operate, x, other)
        return NotImplemented
    x, y = promote(x, y)
    return _wrap(broadcast(operate, x._data, y._data))


def _comparison(name: str, text: str, operate: Callable[..., Any]) -> tuple[Any, Any]:
    direct = Direct(operate, is_relation=True)

    def function(input: Tensor, other: Any) -> Tensor:
        check_tensor("input", input)
        found = _compare(input, other, operate, direct)
        if found is NotImplemented:
            raise TypeError(f"{name}(): other must be a Tensor or a number, found {type(other).__name__}")
        return found

    def method(self: Tensor, other: Any) -> Any:
        return _compare(self, other, operate, direct)

    return named(titled(function, name, text)), method


eq, _eq = _comparison("eq", "Whether the elements are equal, one by one.", np.equal)
ne, _ne = _comparison("ne", "Whether the elements differ, one by one.", np.not_equal)
lt, _lt = _comparison("lt", "Where ``input < other``.", np.less)
le, _le = _comparison("le", "Where ``input <= other``.", np.less_equal)
gt, _gt = _comparison("gt", "Where ``input > other``.", np.greater)
ge, _ge = _comparison("ge", "Where ``input >= other``.", np.greater_equal)
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


@named
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """True where ``abs(input - other) <= atol + rtol * abs(other)``."""
    check_tensor("input", input)
    check_tensor("other", other)
    if input._data.dtype != other._data.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"rtol and atol must be greater than or equal to zero, but got {rtol} and {atol}")
    a, b = input._data, other._data
    if a.dtype.kind != "f":
        a, b = a.astype(np.float64), b.astype(np.float64)

    def close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        same = np.equal(a, b)
        if equal_nan:
            same = same | (np.isnan(a) & np.isnan(b))
        near = np.abs(a - b) <= atol + np.abs(rtol * b)
        return same | (near & np.isfinite(a) & np.isfinite(b))

    return _wrap(broadcast(close, a, b))


@named
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether ``isclose`` holds for every element.

    >>> import fastnn
    >>> fastnn.allclose(fastnn.tensor([1.0]), fastnn.tensor([1.0 + 1e-7]))
    True
    """
    capture_state.stop("a number is read in Python")
    return bool(isclose(input, other, rtol, atol, equal_nan)._data.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are the same."""
    check_tensor("input", input)
    check_tensor("other", other)
    if input._data.shape != other._data.shape:
        return False
    if input._data.dtype != other._data.dtype:
        input, other = promote(input, other)
    capture_state.stop("a number is read in Python")
    return bool(np.array_equal(input._data, other._data))


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are the same."""
    return input._data.shape == other._data.shape


# -- Kinds of numbers ---------------------------------------------------------------------------


def _question(name: str, text: str, function: Callable[[np.ndarray], Any], of_integers: bool) -> Any:
    def asked(input: Tensor) -> Tensor:
        check_tensor("input", input)
        if input._data.dtype.kind == "f":
            return _wrap(np.asarray(function(input._data)))
        return _wrap(np.full(input._data.shape, of_integers))

    return named(titled(asked, name, text))


isnan = _question("isnan", "Where elements are NaN.", np.isnan, False)
isinf = _question("isinf", "Where elements are infinite.", np.isinf, False)
isfinite = _question("isfinite", "Where elements are neither infinite nor NaN.", np.isfinite, True)
isposinf = _question("isposinf", "Where elements are plus infinity.", np.isposinf, False)
isneginf = _question("isneginf", "Where elements are minus infinity.", np.isneginf, False)
isreal = _question("isreal", "True for every element.", np.isreal, True)


@named
def signbit(input: Tensor) -> Tensor:
    """True where elements are negative, or -0."""
    check_tensor("input", input)
    a = input._data
    if a.dtype.kind == "b":
        return _wrap(np.zeros(a.shape, bool))
    return _wrap(np.asarray(np.signbit(a) if a.dtype.kind == "f" else np.less(a, 0)))


def is_floating_point(input: Tensor) -> bool:
    """Whether the numbers are floating point."""
    check_tensor("input", input)
    return input._data.dtype.kind in FLOATING


def is_complex(input: Tensor) -> bool:
    """Whether the numbers are complex."""
    check_tensor("input", input)
    return input._data.dtype.kind == "c"


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    check_tensor("input", input)
    return bool(input)


@named
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """True where elements are in ``test_elements``."""
    for name, value in (("elements", elements), ("test_elements", test_elements)):
        if not isinstance(value, (Tensor, *NUMBERS)):
            raise TypeError(f"isin(): {name} must be a Tensor or a number, found {type(value).__name__}")
    a, b = [t._data if isinstance(t, Tensor) else np.asarray(t) for t in (elements, test_elements)]
    if np.bool_ in (a.dtype, b.dtype):
        raise RuntimeError("Unsupported input type encountered for isin(): Bool")
    return _wrap(np.asarray(np.isin(a, b, assume_unique=assume_unique, invert=invert)))


# -- Logic and bits -----------------------------------------------------------------------------


def _logical(name: str, text: str, operate: Callable[..., Any]) -> Any:
    def function(input: Tensor, other: Any) -> Tensor:
        check_tensor("input", input)
        check_tensor("other", other)
        return _wrap(broadcast(operate, input._data, other._data))

    return named(titled(function, name, text))


logical_and = _logical("logical_and", "Where both are not zero.", np.logical_and)
logical_or = _logical("logical_or", "Where one is not zero.", np.logical_or)
logical_xor = _logical("logical_xor", "Where exactly one is not zero.", np.logical_xor)


@named
def logical_not(input: Tensor) -> Tensor:
    """True where elements are zero."""
    check_tensor("input", input)
    return _wrap(np.asarray(np.logical_not(input._data)))


def _bits(name: str, text: str, operate: Callable[..., Any], bools: bool = True) -> tuple[Any, Any]:
    def calculate(x: Any, y: Any) -> Any:
        if not isinstance(x, Tensor):
            return calculate_tensors(as_operand(y, x), y)
        other = as_operand(x, y)
        return NotImplemented if other is None else calculate_tensors(x, other)

    def calculate_tensors(x: Any, y: Any) -> Any:
        if x is None:
            return NotImplemented
        x, y = promote(x, y)
        if x._data.dtype.kind == "f" or (x._data.dtype.kind == "b" and not bools):
            raise NotImplementedError(f'"{name}_cpu" not implemented for {x.dtype}')
        return _wrap(broadcast(operate, x._data, y._data))

    def function(input: Any, other: Any) -> Tensor:
        if not isinstance(input, Tensor):
            check_tensor("other", other)
        found = calculate(input, other)
        if found is NotImplemented:
            raise TypeError(f"{name}(): operands must be Tensors or numbers, found {type(other).__name__}")
        return found

    return named(titled(function, name, text)), calculate


def _shift(operate: Callable[..., Any]) -> Callable[..., Any]:
    def shift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        # A shift beyond the width is undefined in C; PyTorch shifts all bits out.
        width = a.dtype.itemsize * 8
        outside = (b < 0) | (b >= width)
        rest = -(a < 0).astype(a.dtype) if operate is np.right_shift else np.zeros((), a.dtype)
        return np.where(outside, rest, operate(a, np.where(outside, 0, b))).astype(a.dtype)

    return shift


bitwise_and, _and = _bits("bitwise_and", "``input & other``, of integers or bool.", np.bitwise_and)
bitwise_or, _or = _bits("bitwise_or", "``input | other``, of integers or bool.", np.bitwise_or)
bitwise_xor, _xor = _bits("bitwise_xor", "``input ^ other``, of integers or bool.", np.bitwise_xor)
bitwise_left_shift, _left = _bits("bitwise_left_shift", "``input << other``.", _shift(np.left_shift), False)
bitwise_right_shift, _right = _bits("bitwise_right_shift", "``input >> other``.", _shift(np.right_shift), False)


@named
def bitwise_not(input: Tensor) -> Tensor:
    """``~input``, of integers or bool."""
    check_tensor("input", input)
    if input._data.dtype.kind == "f":
        raise DTypeError(
            f"~ (operator.invert) is only implemented on integer and Boolean-type tensors, found {input.dtype}"
        )
    return _wrap(np.asarray(np.invert(input._data)))


# -- Choosing ----------------------------------------------------------------------------------


@named
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere; with only a condition, its indices.

    >>> import fastnn
    >>> x = fastnn.tensor([-1.0, 2.0])
    >>> fastnn.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    if type(condition) is type(input) is type(other) is Tensor and condition._data.dtype is _BOOL:
        if input._data.dtype is not other._data.dtype:
            input, other = promote(input, other)
        return _where(condition, condition._data, input, other)
    if not isinstance(condition, Tensor):
        raise TypeError(f"where(): condition must be a Tensor, found {type(condition).__name__}")
    if input is None and other is None:
        from fastnn.ops.selection import nonzero

        return nonzero(condition, as_tuple=True)
    if condition._data.dtype not in (np.bool_, np.uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    if condition._data.dtype == np.uint8:
        warn_of_byte_mask("where")
    for value in (input, other):
        if not isinstance(value, (Tensor, *NUMBERS)):
            raise TypeError(f"where(): input and other must be Tensors or numbers, found {type(value).__name__}")
    return _where(condition, condition._data.astype(np.bool_, copy=False), *_wrapped_pair(input, other))


_BOOL = np.dtype(np.bool_)


def _where(condition: Tensor, mask: np.ndarray, x: Tensor, y: Tensor) -> Tensor:
    try:
        result = None if active else CHOICE.call(mask, x._data, y._data)
        if result is None:
            result = run(np.where, mask, x._data, y._data)
    except ValueError:
        raise shape_error(mask.shape, x._data.shape, y._data.shape) from None
    if not _recorded(x, y):
        return _wrap(result)
    x_shape, y_shape = x._data.shape, y._data.shape
    wants_x, wants_y = x._requires_grad, y._requires_grad

    def backward(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            _unbroadcast(keep_where(grad, mask), x_shape) if wants_x else None,
            _unbroadcast(keep_where(grad, run(np.logical_not, mask)), y_shape) if wants_y else None,
        )

    return _wrap(result, Node("Where", (x, y), backward, (condition,), keeps=True))


def keep_where(x: Tensor, mask: np.ndarray) -> Tensor:
    """``x`` where the mask holds, and 0 elsewhere, even for infinity and NaN."""

    def keep(a: np.ndarray) -> np.ndarray:
        return kept_where(mask, a)

    return linear_map("Where", x, keep, keep)


def _wrapped_pair(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Two values, tensors or numbers, as tensors of one dtype."""
    if isinstance(input, Tensor):
        return promote(input, other if isinstance(other, Tensor) else _number_beside(input, other))
    if isinstance(other, Tensor):
        return promote(_number_beside(other, input), other)
    kinds = [
        np.dtype(np.bool_) if isinstance(v, bool) else np.dtype(np.int64) if isinstance(v, int) else default_numpy()
        for v in (plain(input), plain(other))
    ]
    kind = promoted(*kinds)
    return _wrap(np.asarray(input, kind)), _wrap(np.asarray(other, kind))


def _number_beside(x: Tensor, value: Any) -> Tensor:
    kind = scalar_dtype(x._data.dtype, value)
    return _wrap(as_number(value, kind, True))


@named
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where the mask holds, ``input`` elsewhere."""
    if type(input) is not Tensor or type(mask) is not Tensor:
        check_tensor("input", input)
        check_tensor("mask", mask)
    if mask._data.dtype is not _BOOL and mask._data.dtype != _BOOL:
        raise RuntimeError("masked_fill only supports boolean masks, but got mask with dtype " + str(mask.dtype))
    if isinstance(value, Tensor):
        if value._data.ndim:
            raise RuntimeError(
                "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
                f"{value._data.ndim} dimension(s)."
            )
        if value._data.dtype != input._data.dtype:
            as_number(value._data.item(), input._data.dtype)
            value = value.to(input.dtype)
    elif not isinstance(value, NUMBERS):
        raise TypeError(f"masked_fill(): value must be a number, found {type(value).__name__}")
    else:
        value = _wrap(as_number(value, input._data.dtype))
    return _where(mask, mask._data, *promote(value, input))


def _masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Set the elements where the mask holds."""
    if isinstance(mask, Tensor):
        try:
            np.broadcast_to(mask._data, input._data.shape)
        except ValueError:
            raise ShapeError(
                f"The shape of the mask {list(mask.shape)} cannot be broadcast to {list(input.shape)}"
            ) from None
    return input._in_place(masked_fill(input, mask, value))


def _method_where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """``where(condition, self, other)``."""
    if isinstance(condition, Tensor) and condition._data.dtype == np.uint8:
        # Only the function warns.
        condition = condition.to(bool_)
    return where(condition, self, other)


OPERATORS = {
    "__eq__": _eq, "__ne__": _ne, "__lt__": _lt, "__le__": _le, "__gt__": _gt, "__ge__": _ge,
    "__and__": _and, "__rand__": lambda self, other: _and(other, self), "__or__": _or,
    "__ror__": lambda self, other: _or(other, self), "__xor__": _xor,
    "__rxor__": lambda self, other: _xor(other, self), "__lshift__": _left, "__rshift__": _right,
    "__rlshift__": lambda self, other: _left(other, self), "__rrshift__": lambda self, other: _right(other, self),
    "__invert__": bitwise_not,
    "__iand__": lambda self, other: self._in_place(_and(self, other)),
    "__ior__": lambda self, other: self._in_place(_or(self, other)),
    "__ixor__": lambda self, other: self._in_place(_xor(self, other)),
    "__ilshift__": lambda self, other: self._in_place(_left(self, other)),
    "__irshift__": lambda self, other: self._in_place(_right(self, other)),
}  # fmt: skip
METHODS = {"masked_fill_": _masked_fill_, "where": _method_where}
IN_PLACE = (
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "eq", "ge",
    "greater", "greater_equal", "gt", "le", "less", "less_equal", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt", "ne", "not_equal",
)  # fmt: skip
