"""Tensor: a NumPy array that remembers how it was computed.

Elementwise arithmetic outside the hot path is NumPy's; layers and losses call the kernels. Each
operation's backward is written with tensors. May import ``autograd``, ``dtypes`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import autograd
from fastnn.autograd import Node, is_grad_enabled
from fastnn.dtypes import bool_, dtype, float32, float64, from_numpy_dtype, int32, int64
from fastnn.errors import DTypeError, ShapeError

Scalar = bool | int | float
_FLOAT32 = np.dtype(np.float32)


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
    tensor.requires_grad = node is not None
    tensor._grad = None
    tensor._version = 0
    return tensor


def _recorded(*operands: Tensor) -> bool:
    """Whether the result of an operation on these needs a gradient."""
    return is_grad_enabled() and any([t.requires_grad for t in operands])


def _unbroadcast(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sum of ``grad`` over the dimensions along which an operand of ``shape`` was repeated."""
    if grad._data.shape == shape:
        return grad
    extra = grad._data.ndim - len(shape)
    repeated = [d + extra for d, n in enumerate(shape) if n == 1 and grad._data.shape[d + extra] != 1]
    summed = grad._data.sum(axis=tuple([*range(extra), *repeated]), keepdims=True)
    return _wrap(summed.reshape(shape))


def _dimensions(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Dimensions as non-negative numbers; IndexError for one that does not exist."""
    if dim is None:
        return tuple(range(ndim))
    result = []
    for d in (dim,) if isinstance(dim, (int, np.integer)) else dim:
        limit = max(ndim, 1)
        if not -limit <= d < limit:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {d})"
            )
        result.append(int(d) % limit)
    return tuple(result) if ndim else ()


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

    __slots__ = ("__weakref__", "_data", "_grad", "_node", "_version", "requires_grad")

    _data: np.ndarray
    _grad: Tensor | None
    _node: Node | None
    _version: int
    requires_grad: bool

    # NumPy leaves `array * tensor` to the tensor.
    __array_priority__ = 1000

    def __init__(self, data: Any) -> None:
        self._data = np.array(data._data if isinstance(data, Tensor) else data, dtype=np.float32)
        self._node, self._grad, self._version, self.requires_grad = None, None, 0, False

    # -- What it is ---------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._data.shape)

    @property
    def dtype(self) -> dtype:
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
        return self.transpose(0, 1) if self._data.ndim == 2 else self.permute(*range(self._data.ndim - 1, -1, -1))

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
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
            raise RuntimeError(f"Boolean value of Tensor with {self._data.size} values is ambiguous")
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
        return format(self.item() if self._data.ndim == 0 else str(self), spec)

    # Tensors compare elementwise, so a dictionary has to tell them apart by identity.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        text = np.array2string(self._data, separator=", ", prefix="tensor(", precision=4, floatmode="maxprec")
        suffix = ""
        if self.dtype not in (float32, int64, bool_):
            suffix += f", dtype={self.dtype}"
        if self._node is not None:
            suffix += f", grad_fn={self._node!r}"
        elif self.requires_grad:
            suffix += ", requires_grad=True"
        return f"tensor({text}{suffix})"

    # -- To and from NumPy --------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The array itself, without a copy; RuntimeError where a gradient is recorded."""
        if self.requires_grad:
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
            raise RuntimeError(f"a Tensor with {self._data.size} elements cannot be converted to Scalar")
        return self._data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same numbers in the same memory, without a history."""
        return _wrap(self._data)

    @property
    def data(self) -> Tensor:
        """The same numbers in the same memory, without a history; may be assigned."""
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

    def to(self, target: dtype) -> Tensor:
        """The numbers converted to another dtype; itself where they have it."""
        if not isinstance(target, dtype):
            raise TypeError(f"to() takes a fastnn dtype, found {target!r}")
        if self._data.dtype == target.numpy:
            return self
        source = self.dtype
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

    def requires_grad_(self, requires_grad: Any = True) -> Tensor:
        """Ask for a gradient of this tensor, or no longer."""
        if self._node is not None and not requires_grad:
            raise RuntimeError("you can only change requires_grad flags of leaf variables.")
        if requires_grad and self._data.dtype.kind != "f":
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, found {self.dtype}")
        self.requires_grad = bool(requires_grad)
        return self

    def backward(self, gradient: Tensor | None = None, retain_graph: Any = False) -> None:
        """Accumulate into ``grad`` of the leaves the gradient of this tensor.

        Args:
            gradient: the gradient of the final result with respect to this tensor; may be left out
                for a tensor of one element, where it is 1.
            retain_graph: keep what the operations saved, to walk back a second time.
        """
        if not self.requires_grad:
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
        if gradient is None:
            if self._data.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            gradient = _wrap(np.ones_like(self._data))
        elif gradient._data.shape != self._data.shape:
            raise ShapeError(
                f"gradient must have the shape of the tensor, {tuple(self.shape)}, found {tuple(gradient.shape)}"
            )
        autograd.backward(self, gradient, retain_graph)

    def _accumulate_grad(self, grad: Tensor) -> None:
        """Add to the gradient of this leaf."""
        if self._grad is None:
            # A copy: the same array may be the gradient of several tensors.
            self._grad = _wrap(np.array(grad._data, dtype=self._data.dtype))
        else:
            self._grad._data += grad._data
            self._grad._version += 1

    def _unary(self, name: str, result: np.ndarray, run: Callable[[Tensor], Tensor]) -> Tensor:
        """A tensor over ``result``, recorded as an operation on this tensor alone."""
        if not _recorded(self):
            return _wrap(result)
        return _wrap(result, Node(name, (self,), lambda grad: (run(grad),)))

    # -- Arithmetic ---------------------------------------------------------------------------

    def _other(self, other: Any) -> Tensor | None:
        """The other operand as a tensor; None for what cannot be one."""
        if isinstance(other, Tensor):
            return other
        if isinstance(other, (bool, int, float, np.number, np.bool_)):
            return _wrap(np.asarray(other, dtype=_scalar_dtype(self._data.dtype, other)))
        if isinstance(other, np.ndarray):
            return _wrap(other)
        return None

    def _binary(
        self, name: str, other: Any, operate: Callable[..., Any], run: Callable[..., Any], swap: Any = False
    ) -> Any:
        b = self._other(other)
        if b is None:
            return NotImplemented
        x, y = (b, self) if swap else (self, b)
        x, y = _promote(x, y)
        try:
            result = operate(x._data, y._data)
        except ValueError:
            raise ShapeError(
                f"The shapes of the operands, {tuple(x.shape)} and {tuple(y.shape)}, cannot be broadcast together"
            ) from None
        result = np.asarray(result)
        if not _recorded(x, y):
            return _wrap(result)
        x_shape, y_shape = x._data.shape, y._data.shape

        def backward(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
            dx, dy = run(grad, x, y)
            return (
                _unbroadcast(dx, x_shape) if x.requires_grad else None,
                _unbroadcast(dy, y_shape) if y.requires_grad else None,
            )

        saved = () if name in ("Add", "Sub") else (x, y)
        return _wrap(result, Node(name, (x, y), backward, saved))

    def __add__(self, other: Any) -> Tensor:
        return self._binary("Add", other, np.add, lambda g, x, y: (g, g))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return self._binary("Sub", other, _subtract, lambda g, x, y: (g, -g))

    def __rsub__(self, other: Any) -> Tensor:
        return self._binary("Sub", other, _subtract, lambda g, x, y: (g, -g), swap=True)

    def __mul__(self, other: Any) -> Tensor:
        return self._binary("Mul", other, np.multiply, lambda g, x, y: (g * y, g * x))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return self._binary("Div", other, _divide, lambda g, x, y: (g / y, -g * x / (y * y)))

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._binary("Div", other, _divide, lambda g, x, y: (g / y, -g * x / (y * y)), swap=True)

    def __pow__(self, exponent: Any) -> Tensor:
        if not isinstance(exponent, (int, float)):
            return NotImplemented
        if isinstance(exponent, int) and exponent < 0 and self._data.dtype.kind in "iub":
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        with np.errstate(all="ignore"):
            result = np.asarray(self._data**exponent).astype(_scalar_dtype(self._data.dtype, exponent), copy=False)
        if not _recorded(self):
            return _wrap(result)

        def run(grad: Tensor) -> tuple[Tensor]:
            # The derivative of x**0 is 0 at x = 0 as well.
            return (grad * 0 if exponent == 0 else grad * (self ** (exponent - 1) * exponent),)

        return _wrap(result, Node("Pow", (self,), run, (self,)))

    def __neg__(self) -> Tensor:
        if self._data.dtype == np.bool_:
            raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported.")
        return self._unary("Neg", np.negative(self._data), lambda grad: -grad)

    def abs(self) -> Tensor:
        """The absolute value of each element."""
        return self._unary("Abs", np.abs(self._data), lambda grad: grad * _wrap(np.sign(self._data)))

    def exp(self) -> Tensor:
        """e to the power of each element."""
        with np.errstate(all="ignore"):
            result = np.exp(_as_floating(self)._data)
        return self._unary("Exp", result, lambda grad: grad * _wrap(result))

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        with np.errstate(all="ignore"):
            result = np.log(_as_floating(self)._data)
        return self._unary("Log", result, lambda grad: grad / self.detach())

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return _as_floating(self) ** 0.5

    def __matmul__(self, other: Any) -> Tensor:
        from fastnn.nn.functional import matmul

        return matmul(self, other) if isinstance(other, Tensor) else NotImplemented

    def _compare(self, other: Any, operate: Callable[..., Any]) -> Any:
        b = self._other(other)
        if b is None:
            return NotImplemented
        x, y = _promote(self, b)
        try:
            return _wrap(np.asarray(operate(x._data, y._data)))
        except ValueError:
            raise ShapeError(
                f"The shapes of the operands, {tuple(x.shape)} and {tuple(y.shape)}, cannot be broadcast together"
            ) from None

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
        if self._node is None and self.requires_grad and is_grad_enabled():
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if result is NotImplemented:
            return result
        if result._data.shape != self._data.shape:
            raise ShapeError(f"an in-place result of shape {tuple(result.shape)} does not fit {tuple(self.shape)}")
        if not np.can_cast(result._data.dtype, self._data.dtype, "same_kind"):
            raise DTypeError(f"result type {result.dtype} can't be cast to the desired output type {self.dtype}")
        self._data[...] = result._data
        self._version += 1
        if result._node is not None:
            self._node, self.requires_grad = result._node, True
        return self

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
        return self._in_place(self - (other if alpha == 1 else other * alpha))

    def mul_(self, other: Any) -> Tensor:
        """Multiply in place."""
        return self._in_place(self * other)

    def copy_(self, source: Tensor) -> Tensor:
        """Copy the numbers of ``source``, broadcast to this shape, in place."""
        data = source._data
        try:
            values = np.broadcast_to(data, self._data.shape)
        except ValueError:
            raise ShapeError(f"shape {tuple(source.shape)} cannot be copied to {tuple(self.shape)}") from None
        shape = data.shape
        return self._in_place(source._unary("Copy", values.astype(self._data.dtype), lambda g: _unbroadcast(g, shape)))

    def fill_(self, value: Scalar) -> Tensor:
        """Set every element to ``value``."""
        return self._in_place(_wrap(np.full(self._data.shape, value, self._data.dtype)))

    def zero_(self) -> Tensor:
        """Set every element to 0."""
        return self.fill_(0)

    # -- Reductions ---------------------------------------------------------------------------

    def sum(self, dim: int | Sequence[int] | None = None, keepdim: Any = False) -> Tensor:
        """The sum over all elements or over the dimensions ``dim``; integers sum as int64."""
        axes, shape = _dimensions(dim, self._data.ndim), self._data.shape
        kind = np.int64 if self._data.dtype.kind in "iub" else self._data.dtype
        result = np.asarray(self._data.sum(axis=axes, keepdims=keepdim, dtype=kind))
        kept = tuple([1 if d in axes else n for d, n in enumerate(shape)])
        return self._unary("Sum", result, lambda g: _wrap(np.broadcast_to(g._data.reshape(kept), shape)))

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: Any = False) -> Tensor:
        """The mean over all elements or over the dimensions ``dim``; NaN over nothing."""
        if self._data.dtype.kind != "f":
            raise RuntimeError(f"mean(): could not infer output dtype. Input dtype must be floating point, found {self.dtype}")
        axes = _dimensions(dim, self._data.ndim)
        count = int(np.prod([self._data.shape[d] for d in axes], dtype=np.int64))
        return self.sum(dim, keepdim) * (1.0 / count if count else float("nan"))

    def max(self, dim: int | None = None, keepdim: Any = False) -> Any:
        """The largest element, or along ``dim`` the pair ``(values, indices)``."""
        if dim is None:
            if self._data.size == 0:
                raise RuntimeError("max(): Expected reduction dim to be specified for input.numel() == 0.")
            position = int(self._data.argmax())
            return self.reshape(-1)[position]
        indices = self.argmax(dim, keepdim=True)
        axis = _dimensions(dim, self._data.ndim)[0] if self._data.ndim else 0
        if self._data.ndim == 0:
            return MaxResult(self.clone(), _wrap(np.zeros((), np.int64)))
        picked = np.take_along_axis(self._data, indices._data, axis)
        shape = self._data.shape
        out_shape = picked.shape if keepdim else np.squeeze(picked, axis).shape

        def run(grad: Tensor) -> Tensor:
            full = np.zeros(shape, grad._data.dtype)
            np.put_along_axis(full, indices._data, grad._data.reshape(indices._data.shape), axis)
            return _wrap(full)

        values = self._unary("Max", picked.reshape(out_shape), run)
        return MaxResult(values, _wrap(indices._data.reshape(out_shape)))

    def argmax(self, dim: int | None = None, keepdim: Any = False) -> Tensor:
        """The index of the largest element, of all or along ``dim``; the first among equals."""
        if dim is None:
            if self._data.size == 0:
                raise IndexError("argmax(): Expected reduction dim to be specified for input.numel() == 0.")
            return _wrap(np.asarray(self._data.argmax(), np.int64))
        axis = _dimensions(dim, self._data.ndim)
        if not axis:
            return _wrap(np.zeros((), np.int64))
        if self._data.shape[axis[0]] == 0:
            raise IndexError(f"argmax(): Expected reduction dim {dim} to have non-zero size.")
        return _wrap(np.asarray(self._data.argmax(axis[0], keepdims=bool(keepdim)), np.int64))

    # -- Shapes -------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one size may be -1. Shares memory where it can."""
        sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        try:
            result = self._data.reshape(sizes)
        except ValueError:
            raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {self._data.size}") from None
        before = self._data.shape
        return self._unary("Reshape", result, lambda grad: _wrap(grad._data.reshape(before)))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The dimensions from ``start_dim`` to ``end_dim`` as one."""
        ndim = self._data.ndim
        if ndim == 0:
            return self.reshape(1)
        first, last = _dimensions((start_dim, end_dim), ndim)
        if first > last:
            raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
        shape = self._data.shape
        middle = int(np.prod(shape[first : last + 1], dtype=np.int64))
        return self.reshape(*shape[:first], middle, *shape[last + 1 :])

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two dimensions exchanged, sharing memory."""
        a, b = _dimensions((dim0, dim1), self._data.ndim) if self._data.ndim else (0, 0)
        if self._data.ndim == 0:
            return self
        return self._unary("Transpose", np.swapaxes(self._data, a, b), lambda g: _wrap(np.swapaxes(g._data, a, b)))

    def t(self) -> Tensor:
        """The transpose of a matrix, sharing memory."""
        if self._data.ndim > 2:
            raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self._data.ndim}D")
        return self.transpose(0, 1) if self._data.ndim == 2 else self

    def permute(self, *dims: Any) -> Tensor:
        """The dimensions in another order, sharing memory."""
        order = _dimensions(dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims, self._data.ndim)
        if sorted(order) != list(range(self._data.ndim)):
            raise RuntimeError(f"permute(): dims {dims} are not an order of {self._data.ndim} dimensions")
        back = np.argsort(order)
        return self._unary("Permute", self._data.transpose(order), lambda g: _wrap(g._data.transpose(back)))

    def unsqueeze(self, dim: int) -> Tensor:
        """A dimension of size 1 inserted at ``dim``."""
        at = _dimensions(dim, self._data.ndim + 1)[0]
        shape = self._data.shape
        return self.reshape(*shape[:at], 1, *shape[at:])

    def squeeze(self, dim: int | None = None) -> Tensor:
        """Dimensions of size 1 removed: all of them, or ``dim``."""
        drop = _dimensions(dim, self._data.ndim)
        return self.reshape(tuple([n for d, n in enumerate(self._data.shape) if not (d in drop and n == 1)]))

    def __getitem__(self, key: Any) -> Tensor:
        key = _numpy_key(key)
        try:
            result = np.asarray(self._data[key])
        except IndexError as error:
            raise IndexError(str(error)) from None
        if not _recorded(self):
            return _wrap(result)
        shape = self._data.shape

        def run(grad: Tensor) -> tuple[Tensor]:
            full = np.zeros(shape, grad._data.dtype)
            # Unlike +=, add.at counts an index that occurs twice twice.
            np.add.at(full, key, grad._data)
            return (_wrap(full),)

        return _wrap(result, Node("Index", (self,), run))

    def __setitem__(self, key: Any, value: Any) -> None:
        if _recorded(self) or (isinstance(value, Tensor) and _recorded(value)):
            raise RuntimeError("assignment to elements of a tensor that is recorded for a gradient is not supported")
        self._data[_numpy_key(key)] = value._data if isinstance(value, Tensor) else value
        self._version += 1


def _numpy_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple([_numpy_key(k) for k in key])
    return key._data if isinstance(key, Tensor) else key


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
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    if rank[a.kind] != rank[b.kind]:
        common = a if rank[a.kind] > rank[b.kind] else b
    elif (x._data.ndim == 0) != (y._data.ndim == 0):
        common = b if x._data.ndim == 0 else a
    else:
        common = np.promote_types(a, b)
    target = from_numpy_dtype(common)
    return x.to(target), y.to(target)


def _as_floating(x: Tensor) -> Tensor:
    return x if x._data.dtype.kind == "f" else x.to(float32)


def _subtract(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype == np.bool_:
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported.")
    return np.subtract(x, y)


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        if x.dtype.kind != "f":
            return np.true_divide(x, y, dtype=np.float64).astype(np.float32)
        return np.true_divide(x, y)
