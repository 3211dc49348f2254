"""Building blocks of operations: recorded maps, views and elementwise functions, with their derivatives.

An operation is a function of NumPy arrays with its derivative. A *linear* map has its transpose, which
is its derivative to any order. The derivative of an elementwise function is an expression of tensors,
which is recorded if a second derivative is needed.
"""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from fastnn._autograd.engine import PLAIN_NODE, MethodNode, Node, ResultNode, next_sequence
from fastnn._autograd.modes import _mode
from fastnn._core import capture_state
from fastnn._core import numpy_trace as trace
from fastnn._core.capture_state import active
from fastnn._core.dtypes import (
    FLOATING,
    RANK,
    check_promotion,
    default_numpy,
    from_numpy_dtype,
    larger_of,
    plain,
    promoted,
)
from fastnn._core.errors import NoTensorError, ShapeError
from fastnn._core.errstate import quiet, run_quiet
from fastnn._tensor import torch_function
from fastnn._tensor.tensor import TENSORS, Tensor, _either_recorded, _recorded, _unbroadcast, _wrap
from fastnn._tensor.views import ArrayMap, mapped
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.direct_loops import CHOICE, Direct
from fastnn.kernels.runtime.instances import Maker

Function = TypeVar("Function", bound=Callable[..., Any])
NUMBERS = (bool, int, float, np.integer, np.floating, np.bool_)

_ndarray = np.ndarray


# -- Arguments --------------------------------------------------------------------------------

_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim", "a": "input", "x": "input", "x1": "input", "x2": "other"}
_OF_NUMPY = frozenset(_NUMPY_NAMES)
# The parameters of methods that have another name in NumPy; the first is the tensor itself.
_OF_METHODS = frozenset(("dim", "keepdim", "other"))


def warn_of_byte_mask(name: str) -> None:
    """PyTorch's warning about a mask of uint8."""
    warnings.warn(
        f"{name}: a mask of dtype torch.uint8 is deprecated, please use a mask of dtype torch.bool instead.",
        UserWarning, stacklevel=4,
    )  # fmt: skip


# Operations that early PyTorch called with the factors among the operands, and the names of the factors.
FACTORS = {
    **dict.fromkeys(("add", "sub", "add_", "sub_"), ("alpha",)),
    **dict.fromkeys(("addcmul", "addcdiv", "addcmul_", "addcdiv_"), ("value",)),
    **dict.fromkeys(("addmm", "addmv", "addr", "baddbmm", "addbmm"), ("beta", "alpha")),
}
_warned_of_order = False


def old_order(name: str, args: tuple[Any, ...], count: int, options: dict[str, Any]) -> tuple[Any, ...]:
    """The operands of a call such as ``add(input, alpha, other)``; its factors become ``options``.

    Warns once in a process, as PyTorch does.

    Args:
        name: of the operation.
        count: of its operands.

    Raises: TypeError if the arguments are others.
    """
    global _warned_of_order
    operands = tuple([a for a in args if isinstance(a, Tensor)])
    factors = [a for a in args if not isinstance(a, Tensor)]
    if len(operands) != count or len(factors) > len(FACTORS[name]) or not all(isinstance(f, NUMBERS) for f in factors):
        raise TypeError(
            f"{name}() takes {count} positional arguments but {len(args)} were given; the factors "
            f"{' and '.join(FACTORS[name])} are keywords"
        )
    options.update(zip(FACTORS[name], factors, strict=False))
    if not _warned_of_order:
        _warned_of_order = True
        warnings.warn(
            f"This overload of {name} is deprecated: pass {' and '.join(FACTORS[name][:len(factors)])} by keyword, "
            "after the tensors",
            UserWarning, stacklevel=4,
        )  # fmt: skip
    return operands


def named(function: Function) -> Function:
    """A decorator of the functions of ``torch``: they accept NumPy's argument names, and ``out``.

    The methods of the same name (``method``) take no ``out``: NumPy's functions, which pass it, then do not use the
    method, or raise the TypeError, as with PyTorch.
    """
    code, name = function.__code__, function.__name__
    parameters = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            try:
                return function(*args)
            except (TypeError, AttributeError):
                if torch_function.found(args, kwargs):
                    # It has other code now.
                    return wrapped(*args)
                if name not in FACTORS or len(args) <= code.co_argcount:
                    raise
            return function(*old_order(name, args, code.co_argcount, kwargs), **kwargs)
        out = kwargs.pop("out", None) if "out" not in parameters else None
        for theirs in () if _OF_NUMPY.isdisjoint(kwargs) else _OF_NUMPY & kwargs.keys():
            if theirs not in parameters and _NUMPY_NAMES[theirs] in parameters:
                kwargs[_NUMPY_NAMES[theirs]] = kwargs.pop(theirs)
        try:
            result = function(*args, **kwargs)
        except (TypeError, AttributeError):
            if torch_function.found(args, kwargs):
                return wrapped(*args, **kwargs) if out is None else wrapped(*args, **kwargs, out=out)
            raise
        if out is not None and name in _EXACT:
            check_exact(name, out, result)
        return result if out is None else into(out, result)

    if parameters.isdisjoint(_OF_METHODS) and name not in FACTORS:
        # There is no other name to accept.
        return _paired(wrapped, function)

    @functools.wraps(function)
    def method(*args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            try:
                return function(*args)
            except (TypeError, AttributeError):
                if torch_function.found(args, kwargs):
                    return method(*args)
                if name not in FACTORS or len(args) <= code.co_argcount:
                    raise
            return function(*old_order(name, args, code.co_argcount, kwargs), **kwargs)
        if "out" in kwargs and "out" not in parameters:
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument 'out'")
        for theirs in () if _OF_NUMPY.isdisjoint(kwargs) else _OF_NUMPY & kwargs.keys():
            if theirs not in parameters and _NUMPY_NAMES[theirs] in parameters:
                kwargs[_NUMPY_NAMES[theirs]] = kwargs.pop(theirs)
        return function(*args, **kwargs)

    return _paired(wrapped, method)


def _paired(wrapped: Any, method: Any) -> Any:
    _METHODS[wrapped] = method
    FUNCTIONS[method] = wrapped
    return wrapped


# From the functions made by `named` to their methods, and back.
_METHODS: dict[Any, Any] = {}
FUNCTIONS: dict[Any, Any] = {}


def method_of(function: Function) -> Function:
    """The method of a function, without the ``out`` that ``named`` adds."""
    return _METHODS.get(function, function)


def titled(function: Function, name: str, text: str) -> Function:
    """The function itself, with this name and this docstring."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


# Functions whose ``out`` must have the dtype of the result, as in PyTorch; of others it may be a wider one.
_EXACT = frozenset({
    "abs", "all", "amax", "amin", "any", "argmax", "argmin", "bitwise_not", "ceil", "float_power", "floor", "frac",
    "heaviside", "nan_to_num", "neg", "round", "sgn", "sign", "trunc",
})  # fmt: skip


def check_exact(name: str, out: Any, result: Tensor) -> None:
    """RuntimeError unless ``out`` has the dtype of a result; uint8 will do for a truth."""
    check_tensor("out", out)
    found, wanted = out._data.dtype, result._data.dtype
    if found != wanted and not (name in ("all", "any") and found.char in "?B"):
        raise RuntimeError(f"Expected out tensor to have dtype {result.dtype}, but got {out.dtype} instead")


def into(out: Any, result: Any) -> Any:
    """Write a result, or a tuple of them, to ``out``, and return that."""
    if isinstance(result, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(f"out must be {len(result)} tensors, found {type(out).__name__}")
        pairs = [into(o, r) for o, r in zip(out, result, strict=True)]
        return type(result)(*pairs) if hasattr(result, "_fields") else tuple(pairs)
    check_tensor("out", out)
    _ = out._memory.version_to_write()
    if out.requires_grad or result._requires_grad:
        raise RuntimeError("functions with out=... arguments don't support automatic differentiation")
    if RANK[result._data.dtype.kind] > RANK[out._data.dtype.kind]:
        raise RuntimeError(f"result type {result.dtype} can't be cast to the desired output type {out.dtype}")
    if out._data.shape != result._data.shape:
        out._data = allocation.empty(result._data.shape, out._data.dtype)
    out._write(..., result._data)
    return out


def check_tensor(name: str, value: Any) -> None:
    """TypeError, an AttributeError as well, unless it is a tensor."""
    if not isinstance(value, Tensor):
        raise NoTensorError(f"{name} must be a Tensor, found {type(value).__name__}")


def check_operands(input: Any, other: Any) -> None:
    """TypeError unless one is a tensor and the other a tensor, a number or an array."""
    if not isinstance(input, (Tensor, *NUMBERS)):
        check_tensor("input", input)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        raise TypeError(f"one operand must be a Tensor, found {type(input).__name__} and {type(other).__name__}")
    if not isinstance(other, (Tensor, *NUMBERS, np.ndarray, complex)):
        raise TypeError(f"other must be a Tensor or a number, found {type(other).__name__}")


def check_tensors(name: str, input: Any, other: Any) -> None:
    """TypeError unless both are tensors."""
    for label, t in (("input", input), ("other", other)):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): {label} must be a Tensor, found {type(t).__name__}")


def refuse(name: str, x: Tensor, kinds: str) -> None:
    """NotImplementedError (a RuntimeError) for a tensor whose dtype has one of these kinds, by NumPy's letters."""
    try:
        kind = x._data.dtype.kind
    except AttributeError:
        check_tensor("input", x)
        raise
    if kind in kinds:
        raise NotImplementedError(f'"{name}" not implemented for {x.dtype}')


def dimension(dim: Any, ndim: int) -> int:
    """A dimension as a non-negative number, 0 for a tensor without any; IndexError if it does not exist."""
    if type(dim) is int and -ndim <= dim < ndim:
        return dim % ndim
    if not isinstance(dim, (int, np.integer)) or isinstance(dim, bool):
        if isinstance(dim, Tensor) and dim._data.size == 1 and dim._data.dtype.kind in "iu":
            dim = int(dim)
        else:
            raise TypeError(f"dim must be an integer, found {type(dim).__name__}")
    limit = ndim or 1
    if not -limit <= dim < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")
    return int(dim) % limit


def dimensions(dim: Any, ndim: int) -> tuple[int, ...]:
    """Several dimensions, none for a tensor without any; RuntimeError if one occurs twice."""
    if isinstance(dim, (int, np.integer, Tensor)):
        return (dimension(dim, ndim),) if ndim else (dimension(dim, ndim),)[:0]
    if not isinstance(dim, (tuple, list)):
        raise TypeError(f"dim must be an integer or a tuple of integers, found {type(dim).__name__}")
    found = tuple([dimension(d, ndim) for d in dim])
    if len(set(found)) != len(found):
        raise RuntimeError(f"a dimension appears multiple times in the list of dims {dim}")
    return found if ndim else ()


def whole(name: str, value: Any) -> int:
    """An integer; TypeError for a fraction, which would be truncated silently."""
    if type(value) is int:
        return value
    try:
        if value is True or value is False:
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, found {type(value).__name__}") from None


def reduced(dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce over: all of them for None and for an empty sequence."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    return dimensions(dim, ndim)


def as_floating(x: Tensor) -> Tensor:
    """The tensor itself if it is floating point, otherwise converted to the default dtype."""
    return x if x._data.dtype.kind in FLOATING else x.to(from_numpy_dtype(default_numpy()))


# -- Small arrays -----------------------------------------------------------------------------

ADD, SUBTRACT, MULTIPLY, DIVIDE = map(Direct, (np.add, np.subtract, np.multiply, np.true_divide))
# Functions of one tensor, by the name of the operation.
DIRECT: dict[str, Direct] = {}


# -- Recorded maps ----------------------------------------------------------------------------


def recorded_result(
    name: str,
    operands: tuple[Tensor, ...],
    result: np.ndarray,
    run: Callable[[Tensor, Tensor], tuple[Tensor | None, ...]],
    saved: tuple[Tensor, ...] = (),
) -> Tensor:
    """A tensor over ``result``, recorded as an operation whose ``run`` gets the gradient and the result."""
    node = ResultNode(name, operands, run, saved)
    return node.attach(_wrap(result, node))


def also_read(result: Tensor, *tensors: Tensor) -> Tensor:
    """``result``, whose backward pass fails if one of ``tensors`` has changed, as in PyTorch.

    For operations whose derivative in PyTorch reads more tensors than the one here. ``result`` itself may be
    among them.
    """
    node = result._node
    if node is not None:
        node.saved += [(t._memory, t._memory.version, t._data.shape) for t in tensors]
    return result


# -- Step functions -------------------------------------------------------------------------------


def step_map(x: Tensor, forward: ArrayMap, backward: ArrayMap, *sources: Tensor) -> Tensor:
    """``forward(x)``, a linear map with the transpose ``backward``; both are step functions of ``sources``.

    The derivative of a piecewise linear function is such a map. The graph contains the sources, with gradients
    of 0.
    """
    result = np.asarray(trace.run(forward, x._data))
    if not _recorded(x, *sources):
        return _wrap(result)

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        zeros = [no_gradient(t, None, None) if t._requires_grad else None for t in sources]
        return (step_map(grad, backward, forward, *sources), *zeros)

    return _wrap(result, Node("Step", (x, *sources), run))


_ZEROS = {np.dtype(kind): np.zeros((), kind) for kind in (np.float32, np.float64)}


def kept_where(mask: np.ndarray, a: np.ndarray) -> np.ndarray:
    """``a`` where the mask holds and 0 elsewhere; recorded in a trace, where ``a`` is not a plain array."""
    found = CHOICE.call(mask, a, _ZEROS.get(a.dtype))
    return np.where(mask, a, a.dtype.type(0)) if found is None else found


def gated(grad: Tensor, mask: np.ndarray, *sources: Tensor) -> Tensor:
    """``grad`` where the mask holds and 0 elsewhere, even for infinity and NaN; see :func:`step_map`."""

    def keep(a: np.ndarray) -> np.ndarray:
        return kept_where(mask, a)

    return step_map(grad, keep, keep, *sources)


def scaled(grad: Tensor, factors: Any, *sources: Tensor) -> Tensor:
    """``grad * factors``, where the factors are a step function of ``sources``; see :func:`step_map`."""

    def multiply(a: np.ndarray) -> np.ndarray:
        return np.multiply(a, factors, dtype=a.dtype)

    return step_map(grad, multiply, multiply, *sources)


def piece(x: Tensor, mask: np.ndarray, slope: float = 1.0, reads_result: bool = False) -> Tensor:
    """``slope * x`` where the mask, a step function of ``x``, holds; 0 elsewhere, even if x is infinite there.

    ``reads_result``: the mask depends on the result, as in PyTorch's ReLU, which has derivatives of any order.
    """
    result = np.where(mask, x._data if slope == 1 else x._data * x._data.dtype.type(slope), x._data.dtype.type(0))

    def run(grad: Tensor) -> Tensor:
        kept = gated(grad, mask, x)
        return kept if slope == 1 else kept * slope

    if reads_result and _recorded(x):
        return recorded_result("Piece", (x,), result, lambda grad, y: (gated(grad, mask, y),))
    return mapped("Piece", x, result, run)


def tied(x: Tensor, *sources: Tensor) -> Tensor:
    """``x``, with a gradient that depends on ``sources``, as that of one of several operands does in PyTorch."""

    def same(a: np.ndarray) -> np.ndarray:
        return a

    return mapped("Alias", x, x._data, lambda grad: step_map(grad, same, same, *sources))


def pieces(x: Tensor, factors: np.ndarray, reads_result: bool = False) -> Tensor:
    """``x * factors``, where the factors are a step function of ``x``; ``reads_result`` as for :func:`piece`."""
    result = np.asarray(trace.run(lambda a: np.multiply(a, factors, dtype=a.dtype), x._data))
    if reads_result and _recorded(x):
        return recorded_result("Piece", (x,), result, lambda grad, y: (scaled(grad, factors, y),))
    return mapped("Piece", x, result, lambda grad: scaled(grad, factors, x))


# -- Elementwise functions of one tensor --------------------------------------------------------

# Maps the gradient of the result, and x or the result, to the gradient of x.
Derivative = Callable[[Tensor, Any], Tensor]


def _by_numpy(function: ArrayMap, x: np.ndarray) -> np.ndarray:
    """``function(x)`` as an array, without NumPy's warnings."""
    try:
        result = (quiet if active else run_quiet)(function, x)
    except RuntimeError:
        result = quiet(function, x)
    return result if type(result) is _ndarray else np.asarray(result)


def of_operand(
    name: str, x: Tensor, function: ArrayMap, derivative: Derivative, direct: Direct | None = None
) -> Tensor:
    """``function(x)``, which ``direct`` computes for small arrays; the derivative reads x."""
    result = None if direct is None or active else direct.call(x._data)
    if result is None:
        result = _by_numpy(function, x._data)
    if not (_mode.enabled and _recorded(x)):
        return TENSORS.make(result)
    return _wrap(result, _OperandNode(name, x, derivative))


class _OperandNode(MethodNode):
    """The node of an elementwise function whose derivative reads the operand."""

    __slots__ = ("derivative", "operand")

    def __init__(self, name: str, x: Tensor, derivative: Derivative) -> None:
        super().__init__(name, x, True)
        self.derivative, self.operand = derivative, x

    def gradients(self, grad: Tensor) -> tuple[Tensor]:
        return (self.derivative(grad, self.operand),)

    def release(self) -> None:
        self.operand = None  # type: ignore[assignment]  # freed
        super().release()


def of_result(
    name: str, x: Tensor, function: ArrayMap, derivative: Derivative, direct: Direct | None = None
) -> Tensor:
    """``function(x)``, which ``direct`` computes for small arrays; the derivative reads the result."""
    result = None if direct is None or active else direct.call(x._data)
    if result is None:
        result = _by_numpy(function, x._data)
    if not (_mode.enabled and _recorded(x)):
        return TENSORS.make(result)
    node = _ResultNode(name, x, False)
    y = _wrap(result, node)
    node.derivative, node.result = derivative, (result, y._memory)
    return node.guard(y)


class _ResultNode(MethodNode):
    """The node of an elementwise function whose derivative reads the result."""

    __slots__ = ("derivative", "result")

    derivative: Derivative
    # Not the tensor, which holds this node.
    result: Any

    def gradients(self, grad: Tensor) -> tuple[Tensor]:
        array, memory = self.result
        return (self.derivative(grad, Tensor._remade(array, memory, self if _mode.enabled else None)),)

    def release(self) -> None:
        self.result = None
        super().release()


# -- Elementwise functions of two ----------------------------------------------------------------


class Partial:
    """The gradient of one operand of a function of x and y, computed from that of the result.

    Args:
        reads: the operands it reads, of "x" and "y"; ``run`` gets None for the other.
        run: a function of the gradient, x and y.
    """

    __slots__ = ("reads", "reads_x", "reads_y", "run")

    def __init__(self, reads: str, run: Callable[[Tensor, Any, Any], Tensor]) -> None:
        self.reads, self.run = reads, run
        self.reads_x, self.reads_y = "x" in reads, "y" in reads


def no_gradient(grad: Tensor, x: Any, y: Any) -> Tensor:
    """The derivative of a step function."""
    return _wrap(np.zeros(grad._data.shape, grad._data.dtype))


ZERO = Partial("", no_gradient)


def scalar_dtype(array: np.dtype, scalar: Any) -> np.dtype:
    """The dtype of ``array * scalar``: a Python number changes only the kind, never the size."""
    scalar = plain(scalar)
    if array.kind in FLOATING or isinstance(scalar, bool):
        return array
    if isinstance(scalar, int):
        return np.dtype(np.int64) if array.kind == "b" else array
    return default_numpy()


def as_operand(x: Tensor, other: Any) -> Tensor | None:
    """The other operand as a tensor; None if it cannot be converted."""
    if isinstance(other, Tensor):
        return other
    if isinstance(other, NUMBERS):
        # Integers that do not fit wrap around, as in PyTorch.
        other = plain(other)
        return _wrap(np.asarray(quiet(np.asarray(other).astype, scalar_dtype(x._data.dtype, other))))
    if isinstance(other, np.ndarray):
        from_numpy_dtype(other.dtype)
        return _wrap(other)
    return None


def common_dtype(x: Tensor, y: Tensor) -> np.dtype:
    """The dtype of an operation on both, by PyTorch's rules.

    The kinds are ordered bool, integer, floating point. An operand without dimensions counts only if its
    kind is higher.
    """
    a, b = x._data.dtype, y._data.dtype
    if a == b:
        return a
    if RANK[a.kind] != RANK[b.kind]:
        if a.kind == "u" or b.kind == "u":
            return promoted(a, b)
        return a if RANK[a.kind] > RANK[b.kind] else b
    if (x._data.ndim == 0) != (y._data.ndim == 0):
        return b if x._data.ndim == 0 else a
    check_promotion(a, b)
    return larger_of(a, b)


def promote(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both operands in one dtype."""
    if x._data.dtype == y._data.dtype:
        return x, y
    target = from_numpy_dtype(common_dtype(x, y))
    return x.to(target), y.to(target)


def _as_numpy(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``promote`` for a tensor and an array: PyTorch leaves their operators, and so the dtype, to NumPy."""
    target = from_numpy_dtype(np.result_type(x._data.dtype, y._data.dtype))
    return x.to(target), y.to(target)


def shape_error(*shapes: Sequence[int]) -> ShapeError:
    """The error for operands that cannot be broadcast together."""
    text = " and ".join(str(tuple(s)) for s in shapes)
    return ShapeError(f"The shapes of the operands, {text}, cannot be broadcast together")


def broadcast(operate: Callable[..., Any], a: Any, b: Any) -> np.ndarray:
    """``operate(a, b)`` on arrays, with broadcasting."""
    try:
        try:
            result = (quiet if active else run_quiet)(operate, a, b)
        except RuntimeError:
            result = quiet(operate, a, b)
    except ValueError:
        if not fit(np.shape(a), np.shape(b)):
            raise shape_error(np.shape(a), np.shape(b)) from None
        raise
    return result if type(result) is _ndarray else np.asarray(result)


def fit(*shapes: tuple[int, ...]) -> bool:
    """Whether shapes can be broadcast together."""
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def binary(name: str, x: Any, y: Any, operate: Callable[..., Any], dx: Partial, dy: Partial) -> Any:
    """``operate(x, y)`` of two tensors, or of a tensor and a number, with broadcasting; NotImplemented for others."""
    a: Any
    b: Any
    if isinstance(x, Tensor):
        if isinstance(y, Tensor):
            a, b = x._data, y._data
            if a.dtype is not b.dtype and a.dtype != b.dtype:
                if name in _WIDE:
                    if a.dtype.char == "e" and a.ndim and not b.ndim and b.dtype.kind == "f" and not y._requires_grad:
                        return binary(name, x, y.item(), operate, dx, dy)
                    if b.dtype.char == "e" and b.ndim and not a.ndim and a.dtype.kind == "f" and not x._requires_grad:
                        return binary(name, x.item(), y, operate, dx, dy)
                x, y = promote(x, y)
                a, b = x._data, y._data
        else:
            a, kind = x._data, type(y)
            if (kind is float or kind is int) and a.dtype.char in "fd":
                return _with_number(name, x, operate, a, y, dx, x, y)
            if (kind is float or kind is int) and a.dtype.char == "e":
                return _with_number(name, x, _of_half(name, operate), a, y, dx, x, y)
            if isinstance(y, np.generic):
                return binary(name, x, plain(y), operate, dx, dy)
            other = as_operand(x, y)
            if other is None:
                return _with_complex(operate, x, y)
            x, y = _as_numpy(x, other) if kind is np.ndarray else promote(x, other)
            a, b = x._data, y._data
    else:
        b, kind = y._data, type(x)
        if (kind is float or kind is int) and b.dtype.char in "fd":
            return _with_number(name, y, operate, x, b, dy, x, y)
        if (kind is float or kind is int) and b.dtype.char == "e":
            return _with_number(name, y, _of_half(name, operate), x, b, dy, x, y)
        if isinstance(x, np.generic):
            return binary(name, plain(x), y, operate, dx, dy)
        other = as_operand(y, x)
        if other is None:
            return _with_complex(operate, x, y)
        x, y = _as_numpy(other, y) if kind is np.ndarray else promote(other, y)
        a, b = x._data, y._data
    try:
        result = (quiet if active else run_quiet)(operate, a, b)
        if type(result) is not _ndarray:
            result = np.asarray(result)
    except (RuntimeError, ValueError):
        result = broadcast(operate, a, b)
    if not _recorded(x, y):
        return _wrap(result)
    return _wrap(result, binary_node(name, x, y, dx, dy))


Operator = Callable[[Tensor, Any], Any]


def operators(
    name: str, direct: Direct, dx: Partial, dy: Partial, otherwise: Operator, otherwise_reflected: Operator
) -> tuple[Operator, Operator]:
    """The two methods of an operator, which ``direct`` computes for small arrays; the others compute all else."""

    def forward(self: Tensor, other: Any) -> Any:
        if not active:
            if isinstance(other, Tensor):
                result = direct.call(self._data, other._data)
                if result is not None:
                    if _mode.enabled and _either_recorded(self, other):
                        return TENSORS.make(result, binary_node(name, self, other, dx, dy))
                    return TENSORS.make(result)
            elif type(other) is float or type(other) is int:
                result = direct.call(self._data, other)
                if result is not None:
                    if _mode.enabled and _recorded(self):
                        return TENSORS.make(result, _number_node(name, self, dx, self, other))
                    return TENSORS.make(result)
        return otherwise(self, other)

    def reflected(self: Tensor, other: Any) -> Any:
        if not active and (type(other) is float or type(other) is int):
            result = direct.call(other, self._data)
            if result is not None:
                if _mode.enabled and _recorded(self):
                    return TENSORS.make(result, _number_node(name, self, dy, other, self))
                return TENSORS.make(result)
        return otherwise_reflected(self, other)

    return forward, reflected


def _with_complex(operate: Callable[..., Any], x: Any, y: Any) -> Any:
    """The result of a tensor and a complex number; NotImplemented for other objects."""
    if not (isinstance(x, complex) or isinstance(y, complex)):
        return NotImplemented
    if operate not in (np.add, np.subtract, np.multiply, np.true_divide):
        if operate.__name__ != "_divide":
            return NotImplemented
        operate = np.true_divide
    from fastnn.ops import complex_tensor

    return complex_tensor.binary(operate, x, y)


class _BinaryNode(MethodNode):
    """The node of a function of two tensors; only operands that a derivative reads are kept."""

    __slots__ = ("dx", "dy", "x", "x_shape", "y", "y_shape")

    dx: Partial
    dy: Partial
    x: Any
    y: Any
    # None for an operand without a gradient.
    x_shape: tuple[int, ...] | None
    y_shape: tuple[int, ...] | None

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_shape, y_shape = self.x_shape, self.y_shape
        return (
            None if x_shape is None else _unbroadcast(self.dx.run(grad, self.x, self.y), x_shape),
            None if y_shape is None else _unbroadcast(self.dy.run(grad, self.x, self.y), y_shape),
        )

    def release(self) -> None:
        if self.saved:
            self.x = self.y = self.run = None
            self.saved = []


_COUNTED: dict[str, Any] = {"sequence": next_sequence}
_BINARY_NODES = Maker(
    _BinaryNode, ("title", "dx", "dy", "edges", "saved", "x_shape", "y_shape", "x", "y"), constants=PLAIN_NODE,
    called=_COUNTED,
)  # fmt: skip


def binary_node(name: str, x: Tensor, y: Tensor, dx: Partial, dy: Partial) -> Node:
    """The node of a function of two tensors."""
    first = second = x_shape = y_shape = None
    reads_x = reads_y = False
    if x._requires_grad:
        first, x_shape, reads_x, reads_y = x._node or x, x._data.shape, dx.reads_x, dx.reads_y
    if y._requires_grad:
        second, y_shape = y._node or y, y._data.shape
        reads_x, reads_y = reads_x or dy.reads_x, reads_y or dy.reads_y
    # These must not change before the backward pass.
    saved = []
    if reads_x:
        memory = x._memory
        saved.append((memory, memory.version, x_shape or x._data.shape))
    if reads_y:
        memory = y._memory
        saved.append((memory, memory.version, y_shape or y._data.shape))
    made: Node = _BINARY_NODES.make(
        name, dx, dy, (first, second), saved, x_shape, y_shape, x if reads_x else None, y if reads_y else None
    )
    return made


# Operations of float16 and a number that are computed in float32, as in PyTorch: the number may not fit in float16.
_WIDE = frozenset({"Mul", "Div", "FloorDivide"})


def _of_half(name: str, operate: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(in_float32, operate) if name in _WIDE else operate


def in_float32(operate: Callable[..., Any], a: Any, b: Any) -> Any:
    """``operate(a, b)`` of a float16 array and a number, rounded once."""
    wide = [n.astype(np.float32) if isinstance(n, np.ndarray) else float(n) for n in (a, b)]
    return operate(*wide).astype(np.float16)


def _with_number(
    name: str, operand: Tensor, operate: Callable[..., Any], a: Any, b: Any, partial: Partial, x: Any, y: Any
) -> Tensor:
    """``operate(a, b)`` where one is the array of ``operand`` and the other a number."""
    try:
        try:
            result = (quiet if active else run_quiet)(operate, a, b)
        except RuntimeError:
            result = quiet(operate, a, b)
    except OverflowError:
        # An integer beyond the range of the array's dtype becomes infinite, as in PyTorch.
        result = quiet(operate, *[float(n) if isinstance(n, int) else n for n in (a, b)])
    if type(result) is not _ndarray:
        result = np.asarray(result)
    if not _recorded(operand):
        return _wrap(result)
    return _wrap(result, _number_node(name, operand, partial, x, y))


class _NumberNode(MethodNode):
    """The node of a function of a tensor and a number."""

    __slots__ = ("partial", "x", "y")

    partial: Partial
    x: Any
    y: Any

    def gradients(self, grad: Tensor) -> tuple[Tensor]:
        return (self.partial.run(grad, self.x, self.y),)

    def release(self) -> None:
        if self.saved or self.keeps:
            self.x = self.y = self.run = None
            self.saved = []


_NUMBER_NODES = Maker(
    _NumberNode, ("title", "partial", "edges", "saved", "keeps", "x", "y"),
    constants={name: value for name, value in PLAIN_NODE.items() if name != "keeps"}, called=_COUNTED,
)  # fmt: skip


def _number_node(name: str, operand: Tensor, partial: Partial, x: Any, y: Any) -> Node:
    """The node of a function of the tensor ``operand`` and a number, in either order."""
    # As in PyTorch the number counts as saved if the derivative reads it.
    if operand is x:
        is_read, keeps = partial.reads_x, partial.reads_y
        if not is_read:
            x = None
    else:
        is_read, keeps = partial.reads_y, partial.reads_x
        if not is_read:
            y = None
    memory = operand._memory
    saved = [(memory, memory.version, operand._data.shape)] if is_read else []
    made: Node = _NUMBER_NODES.make(name, partial, (operand._node or operand,), saved, keeps, x, y)
    return made


def same_elements(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same elements at the same places."""
    # Not only equal strides: those of a dimension of 1 have no meaning.
    return (
        a.shape == b.shape
        and (a.strides == b.strides or (a.flags.c_contiguous and b.flags.c_contiguous))
        and a.ctypes.data == b.ctypes.data
    )


def refuse_overlap(written: np.ndarray, read: np.ndarray) -> None:
    """Raise RuntimeError if two arrays without gaps overlap, and are not one and the same; as in PyTorch."""
    # The cheap tests first: two halves of one tensor are common, and `ctypes` makes an object.
    if (
        read is not written
        and np.may_share_memory(written, read)
        and written.flags.forc
        and read.flags.forc
        and not same_elements(written, read)
    ):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
            "memory location. Please clone() the tensor before performing the operation."
        )


def in_place_operand(x: Tensor, other: Any) -> Any:
    """``other`` as an argument of ``operate(x, other, out=x)``; None if the operation is recorded or converts."""
    is_tensor = isinstance(other, Tensor)
    if _mode.enabled and (_either_recorded(x, other) if is_tensor else _recorded(x)):
        return None
    if is_tensor:
        if other._memory is x._memory:
            refuse_overlap(x._data, other._data)
        a, b = other._data.dtype, x._data.dtype
        return None if a is not b and a != b else other._data
    kind = type(other)
    return other if (kind is float or kind is int) and x._data.dtype.char in "fd" else None


def original(x: Tensor, *others: Any) -> Tensor:
    """``x`` as the operand of an operation that overwrites it: a copy if a derivative may read it."""
    x._check_in_place()
    tensors = [t for t in others if isinstance(t, Tensor)]
    for t in tensors:
        if t._memory is x._memory:
            refuse_overlap(x._data, t._data)
    if not _mode.enabled:
        return x
    if not _recorded(x, *tensors):
        return x
    return _wrap(x._data.copy(), x._node)


def in_place(
    x: Tensor, other: Any, operate: Any, otherwise: Callable[[Any, Any], Tensor], direct: Direct | None = None
) -> Tensor:
    """``x = operate(x, other)`` in the memory of x; ``otherwise`` is used if it is recorded.

    ``direct``: the same function for small arrays.
    """
    if active:
        capture_state.stop("a tensor is changed in place outside the kernels")
    operand = in_place_operand(x, other)
    if operand is None:
        return x._in_place(otherwise(original(x, other), other))
    if direct is not None and overwrite_directly(x, direct, operand):
        return x
    return overwrite(x, operand, operate, other, otherwise)


def overwrite_directly(x: Tensor, direct: Direct, *operands: Any) -> bool:
    """``direct(x, *operands)`` in the memory of x, which is not recorded; False, with nothing done, for NumPy to do."""
    memory = x._memory
    try:
        version = memory.version
    except RuntimeError:
        version = memory.version_to_write()
    if active or direct.call(x._data, *operands, x._data) is None:
        return False
    memory.version = version + 1
    return True


def overwrite(x: Tensor, operand: Any, operate: Any, other: Any, otherwise: Callable[[Any, Any], Tensor]) -> Tensor:
    """``operate(x, operand, out=x)`` on arrays, which is not recorded; ``otherwise(x, other)`` raises the errors."""
    if capture_state.active:
        capture_state.stop("a tensor is changed in place outside the kernels")
    if not x._data.flags.writeable:
        return x._in_place(otherwise(original(x, other), other))
    try:
        version = x._memory.version
    except RuntimeError:
        version = x._memory.version_to_write()
    try:
        try:
            run_quiet(operate, x._data, operand, x._data)
        except RuntimeError:
            quiet(operate, x._data, operand, x._data)
    except (ValueError, TypeError):
        # Mismatched shapes, or a result of another kind: the general path raises the error.
        return x._in_place(otherwise(original(x, other), other))
    x._memory.version = version + 1
    return x
