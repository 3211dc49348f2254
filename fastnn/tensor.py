"""Tensor: a NumPy array that remembers how it was computed.

Elementwise arithmetic outside the hot path is NumPy's; layers and losses call the kernels. Each
operation's backward is written with tensors. May import ``autograd``, ``dtypes``, ``errors`` and ``flat``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import autograd
from fastnn.autograd import Memory, Node, is_grad_enabled
from fastnn.dtypes import bool_, dtype, float32, float64, from_numpy_dtype, int32, int64
from fastnn.errors import DTypeError, ShapeError
from fastnn.flat import is_place

Scalar = bool | int | float
# Tensor has methods of these names, which hide the types in the annotations of its body.
_bool = bool
_dtype = dtype
_int = int

_FLOAT32 = np.dtype(np.float32)
# How bool, integers and floating point are ordered, by NumPy's letters for them.
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}
# The history of a tensor that has none: a detached one is not out of date when others change.
_UNTRACKED = -1


class MaxResult(NamedTuple):
    """What ``max`` along a dimension returns."""

    values: Tensor
    indices: Tensor


class Size(tuple[int, ...]):
    """The shape of a tensor.

    >>> import fastnn
    >>> fastnn.zeros(2, 3).shape
    fastnn.Size([2, 3])
    """

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return int(np.prod(self, dtype=np.int64))

    def __repr__(self) -> str:
        return f"fastnn.Size({list(self)})"


def _wrap(array: np.ndarray, node: Node | None = None) -> Tensor:
    """A tensor over ``array``, without a copy and without checks."""
    tensor = Tensor.__new__(Tensor)
    tensor._data = array
    tensor._node = node
    tensor._requires_grad = node is not None
    tensor._grad = None
    tensor._memory = Memory()
    tensor._history = 0
    return tensor


def _recorded(*operands: Tensor) -> bool:
    """Whether the result of an operation on these needs a gradient."""
    if not is_grad_enabled():
        return False
    recorded = False
    for t in operands:
        if t._history != t._memory.history:
            _check_history(t)
        recorded = recorded or t._requires_grad
    return recorded


def _check_history(t: Tensor) -> None:
    if t._history not in (_UNTRACKED, t._memory.history):
        raise RuntimeError(
            f"the memory of this tensor of shape {tuple(t.shape)} was given a new history by an in-place operation on "
            "another view of it; use clone() before the operation, or the tensor that it returned"
        )


def _unbroadcast(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sum of ``grad`` over the dimensions along which an operand of ``shape`` was repeated."""
    if grad._data.shape == shape:
        return grad
    extra = grad._data.ndim - len(shape)
    repeated = [d + extra for d, n in enumerate(shape) if n == 1 and grad._data.shape[d + extra] != 1]
    summed = grad._data.sum(axis=(*range(extra), *repeated), keepdims=True)
    return _wrap(summed.reshape(shape))


def _dimensions(dim: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Dimensions as non-negative numbers, none for a tensor without; IndexError for one that does not exist."""
    result = []
    for d in (dim,) if isinstance(dim, (int, np.integer)) else dim:
        limit = max(ndim, 1)
        if not -limit <= d < limit:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {d})"
            )
        result.append(int(d) % limit)
    return tuple(result) if ndim else ()


def _reduced(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce over: all of them for None and for an empty sequence."""
    if dim is None or (not isinstance(dim, (int, np.integer)) and len(dim) == 0):
        return tuple(range(ndim))
    axes = _dimensions(dim, ndim)
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"a dimension appears multiple times in the list of dims {dim}")
    return axes


class Tensor:
    """An n-dimensional array of numbers of one type, with a gradient where one is asked for.

    Args:
        data: an array or nested sequences of numbers; copied.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_data", "_grad", "_history", "_memory", "_node", "_requires_grad")

    _data: np.ndarray
    _grad: Tensor | None
    # Shared by tensors over the same memory; see `Memory`.
    _memory: Memory
    # The memory's history that `_node` belongs to.
    _history: int
    _node: Node | None
    _requires_grad: bool
    _hooks: Any = None

    # NumPy leaves `array * tensor` to the tensor.
    __array_priority__ = 1000

    def __init__(self, data: Any) -> None:
        self._data = np.array(data._data if isinstance(data, Tensor) else data, dtype=np.float32)
        self._node, self._grad, self._requires_grad = None, None, False
        self._memory, self._history = Memory(), 0

    # -- What it is ---------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._data.shape)

    @property
    def dtype(self) -> _dtype:
        """The type of the numbers."""
        return from_numpy_dtype(self._data.dtype)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The recorded operation that made this tensor."""
        return self._node

    @property
    def T(self) -> Tensor:
        """The transpose, sharing memory."""
        return self.permute(*range(self._data.ndim - 1, -1, -1))

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        if not self._data.ndim:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        return self._data.shape[_dimensions(dim, self._data.ndim)[0]]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._data.size

    def is_floating_point(self) -> bool:
        """Whether the numbers are floating point."""
        return self._data.dtype.kind == "f"

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._data.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self._data.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self._data.shape[0]))

    def __bool__(self) -> bool:
        if self._data.size != 1:
            count = "no values" if self._data.size == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {count} is ambiguous")
        return bool(self._data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind == "f":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._data.ndim == 0 else object.__format__(self, spec)

    # Tensors compare elementwise, so a dictionary has to tell them apart by identity.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        text = np.array2string(self._data, separator=", ", prefix="tensor(", precision=4, floatmode="maxprec")
        suffix = ""
        if self.dtype not in (float32, int64, bool_):
            suffix += f", dtype={self.dtype}"
        if self._node is not None:
            suffix += f", grad_fn={self._node!r}"
        elif self._requires_grad:
            suffix += ", requires_grad=True"
        return f"tensor({text}{suffix})"

    # -- To and from NumPy --------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The array itself, without a copy; RuntimeError where a gradient is recorded."""
        if self._requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"a copy is needed to convert {array.dtype} to {dtype}")
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(f"a Tensor with {self._data.size} elements cannot be converted to Scalar")
        return self._data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same numbers in the same memory, without a history."""
        detached = _wrap(self._data)
        detached._memory, detached._history = self._memory, _UNTRACKED
        return detached

    @property
    def data(self) -> Tensor:
        """The same numbers in the same memory, without a history; may be assigned.

        Unlike those of ``detach()``, in-place operations on it go unnoticed by a later backward pass.
        """
        return _wrap(self._data)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(value).__name__}")
        self._data = value._data

    def clone(self) -> Tensor:
        """A copy, through which gradients flow."""
        return self._unary("Clone", self._data.copy(), lambda grad: grad)

    def contiguous(self) -> Tensor:
        """Itself if its rows lie one after the other in memory, otherwise a copy for which that is so."""
        if self._data.flags.c_contiguous:
            return self
        return self._unary("Contiguous", np.ascontiguousarray(self._data), lambda grad: grad)

    def is_contiguous(self) -> bool:
        """Whether the elements lie in memory in the order of their indices."""
        return self._data.flags.c_contiguous

    def to(self, target: _dtype) -> Tensor:
        """The numbers converted to another dtype; itself where they have it."""
        if not isinstance(target, dtype):
            raise TypeError(f"to() takes a fastnn dtype, found {target!r}")
        if self._data.dtype == target.numpy:
            return self
        source = self.dtype
        with np.errstate(all="ignore"):
            result = self._data.astype(target.numpy)
        if not target.is_floating_point:
            return _wrap(result)
        return self._unary("To", result, lambda grad: grad.to(source))

    def float(self) -> Tensor:
        """As float32."""
        return self.to(float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(float64)

    def long(self) -> Tensor:
        """As int64."""
        return self.to(int64)

    def int(self) -> Tensor:
        """As int32."""
        return self.to(int32)

    def bool(self) -> Tensor:
        """Whether each element is not zero."""
        return self.to(bool_)

    # -- Gradients ----------------------------------------------------------------------------

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by ``backward``, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad must be a Tensor or None, found {type(value).__name__}")
            if value._data.shape != self._data.shape:
                raise ShapeError(f"grad must have shape {tuple(self.shape)}, found {tuple(value.shape)}")
            if value._data.dtype != self._data.dtype:
                raise DTypeError(f"grad must have dtype {self.dtype}, found {value.dtype}")
        self._grad = value

    @property
    def requires_grad(self) -> _bool:
        """Whether ``backward`` computes a gradient of this tensor; may be assigned to a leaf."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: Any) -> None:
        if self._node is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: Any = True) -> Tensor:
        """Ask for a gradient of this tensor, or no longer."""
        if self._node is not None and not requires_grad:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        if requires_grad and self._data.dtype.kind != "f":
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, found {self.dtype}")
        self._requires_grad = bool(requires_grad)
        return self

    def backward(
        self, gradient: Tensor | None = None, retain_graph: _bool | None = None, create_graph: _bool = False
    ) -> None:
        """Accumulate into ``grad`` of the leaves the gradient of this tensor.

        Args:
            gradient: the gradient of the final result with respect to this tensor; may be left out
                for a tensor of one element, where it is 1.
            retain_graph: keep what the operations saved, to walk back a second time.
        """
        if not self._requires_grad:
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
        _check_history(self)
        if gradient is None:
            if self._data.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            gradient = _wrap(np.ones_like(self._data))
        elif not isinstance(gradient, Tensor):
            raise TypeError(f"gradient must be a Tensor or None, found {type(gradient).__name__}")
        elif gradient._data.shape != self._data.shape:
            raise ShapeError(
                f"gradient must have the shape of the tensor, {tuple(self.shape)}, found {tuple(gradient.shape)}"
            )
        autograd.run_backward([self], [gradient.detach().to(self.dtype)], bool(retain_graph), bool(create_graph))

    def _accumulate_grad(self, grad: Tensor) -> None:
        """Add to the gradient of this leaf."""
        if self._grad is None:
            # A copy: the same array may be the gradient of several tensors.
            self._grad = _wrap(np.array(grad._data, dtype=self._data.dtype))
        else:
            self._grad._data += grad._data
            self._grad._memory.version += 1

    def _unary(
        self,
        name: str,
        result: np.ndarray,
        run: Callable[[Tensor], Tensor],
        saved: tuple[Tensor, ...] = (),
        keeps: _bool = False,
    ) -> Tensor:
        """A tensor over ``result``, recorded as an operation on this tensor alone."""
        if not _recorded(self):
            return _wrap(result)
        return _wrap(result, Node(name, (self,), lambda grad: (run(grad),), saved, keeps))

    def _from_result(self, name: str, result: np.ndarray, run: Callable[[Tensor], Tensor]) -> Tensor:
        """As ``_unary``, where ``run`` reads the result."""
        out = self._unary(name, result, run)
        return out if out._node is None else out._node.guard(out)

    def _view(self, name: str, result: np.ndarray, run: Callable[[Tensor], Tensor]) -> Tensor:
        """As ``_unary``, for a result in this tensor's memory."""
        view = self._unary(name, result, run)
        view._memory, view._history = self._memory, self._history if is_grad_enabled() else _UNTRACKED
        return view

    # -- Copies -------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[_int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support deepcopy")
        copy = memo[id(self)] = _wrap(self._data.copy())
        copy._requires_grad = self._requires_grad
        if self._grad is not None:
            copy._grad = self._grad.__deepcopy__(memo)
        return copy

    def __reduce__(self) -> Any:
        return _restored, (np.ascontiguousarray(self._data).reshape(self._data.shape), self._requires_grad)

    # -- Arithmetic ---------------------------------------------------------------------------

    def _other(self, other: Any) -> Tensor | None:
        """The other operand as a tensor; None for what cannot be one."""
        if isinstance(other, Tensor):
            return other
        if isinstance(other, (bool, int, float, np.integer, np.floating, np.bool_)):
            # Integers that do not fit wrap around, as in PyTorch.
            with np.errstate(all="ignore"):
                return _wrap(np.asarray(other).astype(_scalar_dtype(self._data.dtype, other)))
        if isinstance(other, np.ndarray):
            from_numpy_dtype(other.dtype)
            return _wrap(other)
        return None

    def _binary(
        self,
        name: str,
        other: Any,
        operate: Callable[..., Any],
        dx: _Derivative,
        dy: _Derivative,
        swap: _bool = False,
    ) -> Any:
        """``operate(self, other)`` with broadcasting; ``dx`` and ``dy`` are its derivatives."""
        b = self._other(other)
        if b is None:
            return NotImplemented
        x, y = (b, self) if swap else (self, b)
        x, y = _promote(x, y)
        result = _broadcast(operate, x, y)
        if not _recorded(x, y):
            return _wrap(result)
        x_shape = x._data.shape if x._requires_grad else None
        y_shape = y._data.shape if y._requires_grad else None
        # Only what a derivative reads is kept, and has to stay unchanged until then.
        needed = (dx.reads if x_shape is not None else "") + (dy.reads if y_shape is not None else "")
        x_kept, y_kept = x if "x" in needed else None, y if "y" in needed else None

        def backward(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
            return (
                None if x_shape is None else _unbroadcast(dx.run(grad, x_kept, y_kept), x_shape),
                None if y_shape is None else _unbroadcast(dy.run(grad, x_kept, y_kept), y_shape),
            )

        saved = tuple([t for t in (x_kept, y_kept) if t is not None])
        return _wrap(result, Node(name, (x, y), backward, saved))

    def __add__(self, other: Any) -> Tensor:
        return self._binary("Add", other, np.add, _SAME, _SAME)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        _check_subtraction(self, other)
        return self._binary("Sub", other, np.subtract, _SAME, _OPPOSITE)

    def __rsub__(self, other: Any) -> Tensor:
        _check_subtraction(self, other)
        return self._binary("Sub", other, np.subtract, _SAME, _OPPOSITE, swap=True)

    def __mul__(self, other: Any) -> Tensor:
        return self._binary("Mul", other, np.multiply, _TIMES_Y, _TIMES_X)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return self._dividend(other)._binary("Div", other, _divide, _OVER_Y, _QUOTIENT)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._dividend(other)._binary("Div", other, _divide, _OVER_Y, _QUOTIENT, swap=True)

    def _dividend(self, other: Any) -> Tensor:
        # Integers are divided as float32, and so is the number beside them: it must not wrap around.
        return self if isinstance(other, (Tensor, np.ndarray)) else _as_floating(self)

    def __pow__(self, exponent: Any) -> Tensor:
        if not isinstance(exponent, (int, float)):
            return NotImplemented
        if isinstance(exponent, int) and exponent < 0 and self._data.dtype.kind in "iub":
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        with np.errstate(all="ignore"):
            # The result's type first: 200**2 is 64 in uint8, and a power of float32 is float32.
            result = np.asarray(self._data.astype(_scalar_dtype(self._data.dtype, exponent), copy=False) ** exponent)

        def run(grad: Tensor) -> Tensor:
            # The derivative of x**0 is 0 at x = 0 as well.
            return _zeros_like(grad) if exponent == 0 else grad * (self ** (exponent - 1) * exponent)

        return self._unary("Pow", result, run, (self,))

    def __neg__(self) -> Tensor:
        if self._data.dtype == np.bool_:
            raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported.")
        return self._unary("Neg", np.negative(self._data), lambda grad: -grad)

    def abs(self) -> Tensor:
        """The absolute value of each element."""
        if self._data.dtype == np.bool_:
            raise RuntimeError("abs() is not implemented for bool tensors")

        def run(grad: Tensor) -> Tensor:
            # Not np.sign: at NaN the derivative is 0, as in PyTorch.
            x = self._data
            return grad * _wrap((x > 0).astype(x.dtype) - (x < 0))

        return self._unary("Abs", np.abs(self._data), run, (self,))

    def exp(self) -> Tensor:
        """e to the power of each element."""
        with np.errstate(all="ignore"):
            result = np.exp(_as_floating(self)._data)
        return self._from_result("Exp", result, lambda grad: grad * _wrap(result))

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        with np.errstate(all="ignore"):
            result = np.log(_as_floating(self)._data)
        return self._unary("Log", result, lambda grad: grad / self, (self,))

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        with np.errstate(all="ignore"):
            result = np.sqrt(_as_floating(self)._data)
        return self._from_result("Sqrt", result, lambda grad: grad / _wrap(2 * result))

    def __matmul__(self, other: Any) -> Tensor:
        from fastnn.nn.functional import matmul

        return matmul(self, other) if isinstance(other, Tensor) else NotImplemented

    def _compare(self, other: Any, operate: Callable[..., Any]) -> Any:
        b = self._other(other)
        if b is None:
            return NotImplemented
        return _wrap(_broadcast(operate, *_promote(self, b)))

    def __eq__(self, other: object) -> Any:
        return self._compare(other, np.equal)

    def __ne__(self, other: object) -> Any:
        return self._compare(other, np.not_equal)

    def __lt__(self, other: Any) -> Tensor:
        return self._compare(other, np.less)

    def __le__(self, other: Any) -> Tensor:
        return self._compare(other, np.less_equal)

    def __gt__(self, other: Any) -> Tensor:
        return self._compare(other, np.greater)

    def __ge__(self, other: Any) -> Tensor:
        return self._compare(other, np.greater_equal)

    # -- In place -----------------------------------------------------------------------------

    def _in_place(self, result: Tensor) -> Tensor:
        """Take over the numbers and the history of ``result``, in this tensor's memory."""
        if result is NotImplemented:
            return result
        if self._requires_grad and self._node is None and is_grad_enabled():
            raise RuntimeError(
                "a leaf Variable that requires grad, or a view of one, is being used in an in-place operation."
            )
        if result._data.shape != self._data.shape:
            raise ShapeError(f"an in-place result of shape {tuple(result.shape)} does not fit {tuple(self.shape)}")
        found, kind = result._data.dtype.kind, self._data.dtype.kind
        if (found == "f" and kind != "f") or (found != "b" and kind == "b"):
            raise DTypeError(f"result type {result.dtype} can't be cast to the desired output type {self.dtype}")
        result = result.to(self.dtype)
        self._write(..., result._data)
        if result._node is not None:
            self._node, self._requires_grad = result._node, True
            self._memory.history += 1
            self._history = self._memory.history
        return self

    def _write(self, key: Any, values: Any) -> None:
        try:
            with np.errstate(all="ignore"):
                self._data[key] = values
        except ValueError as error:
            if not self._data.flags.writeable:
                raise RuntimeError(
                    "this tensor is read-only: over a read-only array, or a view() of memory in another order, as a "
                    "Linear's weight has, which is a copy: what is written to it would be lost"
                ) from None
            raise ShapeError(str(error)) from None
        self._memory.version += 1

    def __iadd__(self, other: Any) -> Tensor:
        return self._in_place(self + other)

    def __isub__(self, other: Any) -> Tensor:
        return self._in_place(self - other)

    def __imul__(self, other: Any) -> Tensor:
        return self._in_place(self * other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._in_place(self / other)

    def add_(self, other: Any, *, alpha: Scalar = 1) -> Tensor:
        """Add ``alpha * other`` in place."""
        return self._in_place(self + (other if alpha == 1 else other * alpha))

    def sub_(self, other: Any, *, alpha: Scalar = 1) -> Tensor:
        """Subtract ``alpha * other`` in place."""
        _check_subtraction(self, other)
        return self._in_place(self - (other if alpha == 1 else other * alpha))

    def mul_(self, other: Any) -> Tensor:
        """Multiply in place."""
        return self._in_place(self * other)

    def copy_(self, source: Tensor) -> Tensor:
        """Copy the numbers of ``source``, broadcast to this shape, in place."""
        if not isinstance(source, Tensor):
            raise TypeError(f"source must be a Tensor, found {type(source).__name__}")
        shape = source._data.shape
        try:
            values = np.broadcast_to(source._data, self._data.shape)
        except ValueError:
            raise ShapeError(f"shape {tuple(shape)} cannot be copied to {tuple(self.shape)}") from None
        with np.errstate(all="ignore"):
            values = values.astype(self._data.dtype)

        def run(grad: Tensor) -> tuple[Tensor, Tensor]:
            return _zeros_like(grad), _unbroadcast(grad, shape)

        return self._in_place(_wrap(values, Node("Copy", (self, source), run) if _recorded(self, source) else None))

    def fill_(self, value: Scalar) -> Tensor:
        """Set every element to ``value``."""
        values = np.full(self._data.shape, value, self._data.dtype)
        return self._in_place(self._unary("Fill", values, _zeros_like))

    def zero_(self) -> Tensor:
        """Set every element to 0."""
        return self.fill_(0)

    # -- Reductions ---------------------------------------------------------------------------

    def sum(self, dim: _int | Sequence[_int] | None = None, keepdim: _bool = False) -> Tensor:
        """The sum over all elements or over the dimensions ``dim``; integers sum as int64."""
        return self._total("Sum", _reduced(dim, self._data.ndim), keepdim, 1)

    def mean(self, dim: _int | Sequence[_int] | None = None, keepdim: _bool = False) -> Tensor:
        """The mean over all elements or over the dimensions ``dim``; NaN over nothing."""
        if self._data.dtype.kind != "f":
            raise RuntimeError(f"mean(): input dtype must be floating point, found {self.dtype}")
        axes = _reduced(dim, self._data.ndim)
        return self._total("Mean", axes, keepdim, math.prod([self._data.shape[d] for d in axes]))

    def _total(self, name: str, axes: tuple[_int, ...], keepdim: _bool, count: _int) -> Tensor:
        """The sum over ``axes``, divided by ``count``."""
        shape = self._data.shape
        kind = np.int64 if self._data.dtype.kind in "iub" else self._data.dtype
        with np.errstate(all="ignore"):
            result = np.asarray(self._data.sum(axis=axes, keepdims=bool(keepdim), dtype=kind))
            if count != 1:
                result = np.asarray(result / count)
        kept = tuple([1 if d in axes else n for d, n in enumerate(shape)])

        def run(grad: Tensor) -> Tensor:
            each = grad._data.reshape(kept)
            return _wrap(np.broadcast_to(each if count == 1 else each / count, shape))

        return self._unary(name, result, run)

    def max(self, dim: _int | None = None, keepdim: _bool = False) -> Any:
        """The largest element, or along ``dim`` the pair ``(values, indices)``.

        The gradient goes to the first of equal elements along a dimension, and is shared among
        equal elements of the whole tensor, as in PyTorch.
        """
        if dim is None:
            return self._max()
        axes = _dimensions(dim, self._data.ndim)
        if not axes:
            return MaxResult(self.clone(), _wrap(np.zeros((), np.int64)))
        axis, shape = axes[0], self._data.shape
        if shape[axis] == 0:
            raise IndexError(f"max(): Expected reduction dim {axis} to have non-zero size.")
        indices = self._data.argmax(axis, keepdims=True)
        picked = np.take_along_axis(self._data, indices, axis)
        out_shape = picked.shape if keepdim else np.squeeze(picked, axis).shape

        def run(grad: Tensor) -> Tensor:
            full = np.zeros(shape, grad._data.dtype)
            np.put_along_axis(full, indices, grad._data.reshape(indices.shape), axis)
            return _wrap(full)

        values = self._unary("Max", picked.reshape(out_shape), run, keeps=True)
        # A copy: the backward pass reads `indices`, and the caller may write to what it gets.
        return MaxResult(values, _wrap(indices.reshape(out_shape).copy()))

    def _max(self) -> Tensor:
        if self._data.size == 0:
            raise RuntimeError(
                "max(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
                "the 'dim' argument."
            )
        result = np.asarray(self._data.max())

        def run(grad: Tensor) -> Tensor:
            # NaN is the largest, and equals nothing.
            equal = np.isnan(self._data) if np.isnan(result) else self._data == result
            return _wrap((equal / equal.sum()).astype(grad._data.dtype) * grad._data)

        return self._unary("Max", result, run, (self,))

    def argmax(self, dim: _int | None = None, keepdim: _bool = False) -> Tensor:
        """The index of the largest element, of all or along ``dim``; the first among equals."""
        if self._data.dtype == np.bool_:
            raise RuntimeError("argmax(): does not support bool input")
        if dim is None:
            if self._data.size == 0:
                raise IndexError("argmax(): Expected reduction dim to be specified for input.numel() == 0.")
            position = np.asarray(self._data.argmax(), np.int64)
            return _wrap(position.reshape((1,) * self._data.ndim) if keepdim else position)
        axis = _dimensions(dim, self._data.ndim)
        if not axis:
            return _wrap(np.zeros((), np.int64))
        if self._data.shape[axis[0]] == 0:
            raise IndexError(f"argmax(): Expected reduction dim {dim} to have non-zero size.")
        return _wrap(np.asarray(self._data.argmax(axis[0], keepdims=bool(keepdim)), np.int64))

    # -- Shapes -------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one size may be -1. Shares memory where it can."""
        sizes = _sizes(shape)
        try:
            result = self._data.reshape(sizes)
        except ValueError:
            raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {self._data.size}") from None
        before = self._data.shape

        def run(grad: Tensor) -> Tensor:
            return _wrap(grad._data.reshape(before))

        if self._data.flags.c_contiguous or np.may_share_memory(result, self._data):
            return self._view("Reshape", result, run)
        # A parameter's memory, which in PyTorch this would share: writing to the copy would be lost.
        result.flags.writeable = not is_place(self._data)
        return self._unary("Reshape", result, run)

    def view(self, *shape: Any) -> Tensor:
        """As ``reshape``; where it cannot share memory the result is read-only.

        PyTorch stores a Linear's weight in the order of its indices, fastnn does not. There a view
        can be read as in PyTorch, and writing to it, which PyTorch would do, is an error.
        """
        result = self.reshape(*shape)
        if result._memory is not self._memory:
            result._data.flags.writeable = False
        return result

    def flatten(self, start_dim: _int = 0, end_dim: _int = -1) -> Tensor:
        """The dimensions from ``start_dim`` to ``end_dim`` as one."""
        ndim = self._data.ndim
        if ndim == 0:
            return self.reshape(1)
        first, last = _dimensions((start_dim, end_dim), ndim)
        if first > last:
            raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
        if first == last:
            return self
        shape = self._data.shape
        middle = math.prod(shape[first : last + 1])
        return self.reshape(*shape[:first], middle, *shape[last + 1 :])

    def transpose(self, dim0: _int, dim1: _int) -> Tensor:
        """Two dimensions exchanged, sharing memory."""
        a, b = _dimensions((dim0, dim1), self._data.ndim) or (0, 0)
        result = np.swapaxes(self._data, a, b) if self._data.ndim else self._data[...]
        return self._view("Transpose", result, lambda g: _wrap(np.swapaxes(g._data, a, b) if g._data.ndim else g._data))

    def t(self) -> Tensor:
        """The transpose of a matrix, sharing memory."""
        if self._data.ndim > 2:
            raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self._data.ndim}D")
        return self.transpose(0, -1)

    def permute(self, *dims: Any) -> Tensor:
        """The dimensions in another order, sharing memory."""
        order = _dimensions(_sizes(dims), self._data.ndim)
        if sorted(order) != list(range(self._data.ndim)):
            raise RuntimeError(f"permute(): dims {dims} are not an order of {self._data.ndim} dimensions")
        back = np.argsort(order)
        return self._view("Permute", self._data.transpose(order), lambda g: _wrap(g._data.transpose(back)))

    def unsqueeze(self, dim: _int) -> Tensor:
        """A dimension of size 1 inserted at ``dim``."""
        at = _dimensions(dim, self._data.ndim + 1)[0]
        shape = self._data.shape
        return self.reshape(*shape[:at], 1, *shape[at:])

    def squeeze(self, dim: _int | Sequence[_int] | None = None) -> Tensor:
        """Dimensions of size 1 removed: all of them, or ``dim``."""
        drop = _reduced(dim, self._data.ndim) if dim != () else ()
        return self.reshape(tuple([n for d, n in enumerate(self._data.shape) if not (d in drop and n == 1)]))

    def __getitem__(self, key: Any) -> Tensor:
        indices: list[Tensor] = []
        numpy_key = _numpy_key(key, indices)
        if not isinstance(numpy_key, tuple):
            numpy_key = (numpy_key,)
        if not any(k is ... for k in numpy_key):
            # So that a single element is a view as well.
            numpy_key = (*numpy_key, ...)
        result = self._data[numpy_key]
        shape = self._data.shape

        def run(grad: Tensor) -> Tensor:
            full = np.zeros(shape, grad._data.dtype)
            # Unlike +=, add.at counts an index that occurs twice twice.
            np.add.at(full, numpy_key, grad._data)
            return _wrap(full)

        if result.size and np.may_share_memory(result, self._data):
            return self._view("Index", result, run)
        return self._unary("Index", result, run, tuple(indices))

    def __setitem__(self, key: Any, value: Any) -> None:
        if _recorded(self) or (isinstance(value, Tensor) and _recorded(value)):
            raise RuntimeError("assignment to elements of a tensor that is recorded for a gradient is not supported")
        self._write(_numpy_key(key, []), value._data if isinstance(value, Tensor) else value)


def _restored(array: np.ndarray, requires_grad: bool) -> Tensor:
    return _wrap(array).requires_grad_(requires_grad)


def _zeros_like(x: Tensor) -> Tensor:
    return _wrap(np.zeros(x._data.shape, x._data.dtype))


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or dimensions given one by one, or as one sequence."""
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args


def _numpy_key(key: Any, indices: list[Tensor]) -> Any:
    """An index with arrays for tensors, which are added to ``indices``."""
    if isinstance(key, tuple):
        return tuple([_numpy_key(k, indices) for k in key])
    if not isinstance(key, Tensor):
        return key
    if key._data.dtype not in (np.bool_, np.int32, np.int64):
        # uint8 is a mask in PyTorch and a number in NumPy: better neither.
        raise IndexError(f"tensors used as indices must be int64, int32 or bool tensors, found {key.dtype}")
    indices.append(key)
    return int(key._data) if key._data.ndim == 0 and key._data.dtype.kind == "i" else key._data


def _scalar_dtype(array: np.dtype, scalar: Any) -> np.dtype:
    """The dtype of ``array * scalar``: a Python number only changes the kind, never the size."""
    if array.kind == "f" or isinstance(scalar, (bool, np.bool_)):
        return array
    if isinstance(scalar, (int, np.integer)):
        return np.dtype(np.int64) if array.kind == "b" else array
    return _FLOAT32


def _promote(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both operands in one dtype, by PyTorch's rules.

    The kinds are ordered bool, integer, floating point. An operand without dimensions counts only
    where its kind is the higher one.
    """
    a, b = x._data.dtype, y._data.dtype
    if a == b:
        return x, y
    if _RANK[a.kind] != _RANK[b.kind]:
        common = a if _RANK[a.kind] > _RANK[b.kind] else b
    elif (x._data.ndim == 0) != (y._data.ndim == 0):
        common = b if x._data.ndim == 0 else a
    else:
        common = np.promote_types(a, b)
    target = from_numpy_dtype(common)
    return x.to(target), y.to(target)


def _broadcast(operate: Callable[..., Any], x: Tensor, y: Tensor) -> np.ndarray:
    """``operate`` on the arrays, which are broadcast together; numbers may overflow without a warning."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(operate(x._data, y._data))
    except ValueError:
        raise ShapeError(
            f"The shapes of the operands, {tuple(x.shape)} and {tuple(y.shape)}, cannot be broadcast together"
        ) from None


def _as_floating(x: Tensor) -> Tensor:
    return x if x._data.dtype.kind == "f" else x.to(float32)


def _check_subtraction(x: Tensor, other: Any) -> None:
    other_is_bool = other._data.dtype == np.bool_ if isinstance(other, Tensor) else isinstance(other, (bool, np.bool_))
    if x._data.dtype == np.bool_ or other_is_bool:
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported.")


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "f":
        x, y = x.astype(_FLOAT32), y.astype(_FLOAT32)
    return np.true_divide(x, y)


class _Derivative(NamedTuple):
    """The gradient of one operand of an operation on x and y, from that of the result."""

    # Which of "x" and "y" it reads; the other is None when it is called.
    reads: str
    run: Callable[[Tensor, Any, Any], Tensor]


_SAME = _Derivative("", lambda grad, x, y: grad)
_OPPOSITE = _Derivative("", lambda grad, x, y: -grad)
_TIMES_X = _Derivative("x", lambda grad, x, y: grad * x)
_TIMES_Y = _Derivative("y", lambda grad, x, y: grad * y)
_OVER_Y = _Derivative("y", lambda grad, x, y: grad / y)
# Divided twice, as in PyTorch: y * y would overflow where the quotient does not.
_QUOTIENT = _Derivative("xy", lambda grad, x, y: -grad * (x / y / y))
