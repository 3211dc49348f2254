"""Tensors of complex numbers: a subclass whose operations are NumPy's, listed here, without gradients.

No other operation sees such an array: a function that is not in the tables of this file raises NotImplementedError.
The operations look for this class from the first complex tensor on, as for the subclasses of a program
(:mod:`fastnn._tensor.torch_function`); until then it costs nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._autograd.modes import _mode
from fastnn._core.dtypes import complex64, complex128, default_numpy, dtype
from fastnn._core.errstate import quiet
from fastnn._tensor import torch_function
from fastnn._tensor.sequences import real_part
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.ops.arithmetic import _check_subtraction
from fastnn.ops.core import broadcast, reduced
from fastnn.ops.indexing import _numpy_key, _setitem

_C64, _C128 = np.dtype(np.complex64), np.dtype(np.complex128)
_NAMES = {_C64: complex64, _C128: complex128}


def wrap(array: Any) -> Any:
    """A tensor over the result of a NumPy function: complex, real or bool."""
    array = np.asarray(array)
    plain = _wrap(array)
    if array.dtype.kind != "c":
        return plain
    if array.dtype not in _NAMES:
        raise TypeError(f"a complex tensor must be of complex64 or complex128, found dtype {array.dtype}")
    return torch_function.as_subclass(plain, ComplexTensor)


def numpy_dtype(kind: Any) -> np.dtype:
    """NumPy's dtype for ``complex64``, ``complex128`` and Python's ``complex``; TypeError for others."""
    if kind is complex64:
        return _C64
    if kind is complex128 or kind is complex:
        return _C128
    raise TypeError(f"complex numbers need a dtype of complex numbers, found {kind}")


def default_complex() -> np.dtype:
    """The complex dtype that belongs to the default dtype."""
    return _C128 if default_numpy() == np.float64 else _C64


def complex_of(kind: np.dtype) -> np.dtype:
    """The complex dtype for real numbers of a dtype: that of the default dtype for integers."""
    if kind.kind == "c":
        return kind
    return (_C128 if kind == np.float64 else _C64) if kind.kind == "f" else default_complex()


def from_data(data: Any, kind: Any = None) -> Any:
    """A complex tensor with a copy of numbers, nested sequences, an array or a tensor."""
    if isinstance(data, Tensor):
        _check_detached(data)
        data = data._data
    is_array = isinstance(data, (np.ndarray, np.generic))
    array = np.array(data)
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"complex numbers are made from numbers, found {type(data).__name__} of dtype {array.dtype}")
    target = numpy_dtype(kind) if kind is not None else complex_of(array.dtype) if is_array else default_complex()
    return wrap(quiet(array.astype, target))


def filled(shape: tuple[int, ...], value: Any, kind: Any) -> Any:
    """A complex tensor filled with one number."""
    if isinstance(value, Tensor):
        value = value.item()
    return wrap(np.full(shape, value, default_complex() if kind is None else numpy_dtype(kind)))


def _check_detached(*tensors: Any) -> None:
    if not _mode.enabled:
        return
    for t in tensors:
        if isinstance(t, Tensor) and t.requires_grad:
            raise NotImplementedError(
                "fastnn has no derivatives of complex numbers: use detach() on the tensor of shape "
                f"{tuple(t.shape)} that requires a gradient"
            )


def _common(a: Any, b: Any) -> np.dtype:
    """The dtype of an operation on two operands, at least one complex, by PyTorch's rules."""
    kinds, ranks = [], []
    for x in (a, b):
        if isinstance(x, Tensor):
            kinds.append(x._data.dtype)
            ranks.append(1 if x._data.ndim == 0 else 2)
        elif isinstance(x, np.ndarray):
            kinds.append(x.dtype)
            ranks.append(2)
        else:
            kinds.append(default_complex() if isinstance(x, complex) else np.dtype(type(x)))
            ranks.append(0)
    complexes = [k.kind == "c" for k in kinds]
    if all(complexes):
        return max(kinds, key=lambda k: k.itemsize) if ranks[0] == ranks[1] else kinds[ranks[1] > ranks[0]]
    c, other = (0, 1) if complexes[0] else (1, 0)
    if kinds[other].kind != "f":
        return kinds[c]
    if ranks[c] > ranks[other]:
        return kinds[c]
    if ranks[c] < ranks[other]:
        return complex_of(kinds[other])
    return max(kinds[c], complex_of(kinds[other]), key=lambda k: k.itemsize)


def result_dtype(a: Any, b: Any) -> dtype:
    """The dtype of an operation on two operands, at least one complex."""
    return _NAMES[_common(a, b)]


def _array(x: Any, kind: np.dtype) -> Any:
    array = x._data if isinstance(x, Tensor) else np.asarray(x)
    return array if array.dtype == kind else quiet(array.astype, kind)


def binary(operate: Callable[..., Any], a: Any, b: Any) -> Any:
    """``operate(a, b)`` of tensors and numbers, at least one complex."""
    _check_detached(a, b)
    if operate is np.subtract:
        _check_subtraction(a, b)
    kind = _common(a, b)
    return wrap(broadcast(operate, _array(a, kind), _array(b, kind)))


# -- The tables ---------------------------------------------------------------------------------------


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: wrap(quiet(function, x._data))


def _two(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: binary(function, a, b)


def _operator(function: Callable[..., Any], is_swapped: bool) -> Callable[..., Any]:
    return (lambda a, b: binary(function, b, a)) if is_swapped else (lambda a, b: binary(function, a, b))


def _product(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(a: Any, b: Any) -> Any:
        if a._data.dtype != b._data.dtype:
            raise RuntimeError(f"expected both factors to have the same dtype, found {a.dtype} and {b.dtype}")
        _check_detached(a, b)
        return wrap(broadcast(function, a._data, b._data))

    return run


def _scaled(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(a: Any, b: Any, *, alpha: Any = 1) -> Any:
        return binary(function, a, b if alpha == 1 else binary(np.multiply, b, complex(alpha)))

    return run


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        if dtype is not None and not dtype.is_complex:
            return getattr(_to(x, dtype), function.__name__)(*(() if dim is None else (dim, keepdim)))
        array = x._data if dtype is None else x._data.astype(numpy_dtype(dtype))
        axes = reduced(dim, array.ndim)
        return wrap(quiet(lambda: function(array, axis=axes, keepdims=keepdim)))

    return run


def _running(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, dim: int, *, dtype: Any = None) -> Any:
        return wrap(quiet(function, x._data if dtype is None else x._data.astype(numpy_dtype(dtype)), dim))

    return run


def _sign(x: Any) -> Any:
    size = np.abs(x)
    return np.where(size == 0, 0, x / np.where(size == 0, 1, size)).astype(x.dtype)


def _view_as_real(x: Any) -> Any:
    parts = x._data[..., None]
    return Tensor._remade(parts.view(parts.real.dtype), x._memory, None)


def _joined(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(tensors: Any, dim: int = 0) -> Any:
        _check_detached(*tensors)
        kind = functools.reduce(np.promote_types, [complex_of(t._data.dtype) for t in tensors])
        return wrap(function([t._data.astype(kind) for t in tensors], axis=dim))

    return run


def _to(x: Any, *args: Any, dtype: Any = None, copy: bool = False, **options: Any) -> Any:
    for a in args:
        if isinstance(a, _dtype):
            dtype = a
        elif isinstance(a, Tensor):
            dtype = a.dtype
    if dtype is None or (dtype.is_complex and numpy_dtype(dtype) == x._data.dtype):
        return wrap(x._data.copy()) if copy else x
    if dtype.is_complex:
        return wrap(quiet(x._data.astype, numpy_dtype(dtype)))
    return _wrap(real_part(x._data)).to(dtype)


_dtype = dtype


def _into(operate: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, *others: Any, **options: Any) -> Any:
        if not isinstance(x, ComplexTensor):
            found = complex_of(x._data.dtype)
            raise RuntimeError(
                f"result type {_NAMES[found]} can't be cast to the desired output type {x.dtype}"
            )
        result = operate(x, *others, **options)
        x._write(..., result._data if isinstance(result, Tensor) else result)
        return x

    return run


def _set(x: Any, key: Any, value: Any) -> None:
    _check_detached(value)
    if not isinstance(x, ComplexTensor):
        _setitem(x, key, _wrap(real_part(value._data)))
        return
    indices: list[Any] = []
    x._write(_numpy_key(key, indices), value._data if isinstance(value, Tensor) else value)


def _isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    return wrap(np.isclose(a._data, b._data, rtol, atol, equal_nan))


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(
        x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
    ) -> Any:
        if isinstance(dim, bool):
            # The form var(unbiased).
            dim, unbiased = None, dim
        correction = int(unbiased) if correction is None else correction
        axes = reduced(dim, x._data.ndim)
        return wrap(quiet(lambda: function(x._data, axis=axes, ddof=correction, keepdims=keepdim)))

    return run


def _norm(x: Any, *args: Any, **options: Any) -> Any:
    """That of the sizes of the numbers, which is the same for every order."""
    return wrap(np.abs(x._data)).norm(*args, **options)


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    if x._data.dtype != weight._data.dtype:
        raise RuntimeError(f"expected input and weight to have the same dtype, found {x.dtype} and {weight.dtype}")
    product = binary(np.matmul, x, weight.mT if weight._data.ndim > 1 else weight)
    return product if bias is None else binary(np.add, product, bias)


def _where(condition: Any, input: Any, other: Any) -> Any:
    if condition._data.dtype.kind == "c" and isinstance(input, Tensor) and input._data.dtype == np.bool_:
        # The method: the tensor, the condition, the other tensor.
        condition, input = input, condition
    if condition._data.dtype != np.bool_:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    return binary(lambda p, q: np.where(condition._data, p, q), input, other)


def _masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return _where(mask, _of_kind(x, value), x)


def _of_kind(x: Any, value: Any) -> Any:
    """One number, or a tensor without dimensions, as a tensor of the dtype of ``x``."""
    array = np.asarray(value._data if isinstance(value, Tensor) else value)
    if array.ndim or array.dtype.kind not in "fiubc":
        raise TypeError(f"value must be a number, found {type(value).__name__} of shape {array.shape}")
    return wrap(array.astype(x._data.dtype))


def _divide(x: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        raise NotImplementedError(f"rounding_mode is for real numbers, found {rounding_mode!r} for complex ones")
    return binary(np.true_divide, x, other)


def _type(x: Any, dtype: Any = None, **options: Any) -> Any:
    return f"torch.{x.dtype.legacy}Tensor" if dtype is None else _to(x, dtype)


def _like(value: float) -> Callable[..., Any]:
    def run(x: Any, *, dtype: Any = None, **options: Any) -> Any:
        if dtype is not None and not dtype.is_complex:
            return _wrap(np.full(x._data.shape, value, dtype.numpy))
        return wrap(np.full(x._data.shape, value, x._data.dtype if dtype is None else numpy_dtype(dtype)))

    return run


def _requires_grad(x: Any, requires_grad: bool = True) -> Any:
    if requires_grad:
        raise NotImplementedError(f"fastnn has no derivatives of complex numbers: found a tensor of {x.dtype}")
    return x


def _text(x: Any, **options: Any) -> str:
    from fastnn._tensor.printing import complex_text

    return complex_text(x)


def _format(x: Any, spec: str) -> str:
    return format(x._data.item(), spec) if x._data.ndim == 0 and spec else object.__format__(_text(x), spec)


_CONVERSIONS = ("float", "double", "half", "long", "int", "short", "char", "byte", "bool")


def _conversion(name: str) -> Callable[..., Any]:
    def convert(x: Any, **options: Any) -> Any:
        return getattr(_wrap(np.asarray(x._data != 0) if name == "bool" else real_part(x._data)), name)()

    return convert


_SAME = (
    "exp", "log", "log2", "log10", "log1p", "expm1", "sqrt", "square", "sin", "cos", "tan", "sinh", "cosh",
    "tanh", "reciprocal", "isnan", "isinf", "isfinite",
)  # fmt: skip
_OTHER_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
                "atanh": "arctanh", "neg": "negative"}  # fmt: skip
_BINARY: dict[str, Any] = {
    "mul": np.multiply, "multiply": np.multiply, "true_divide": np.true_divide, "pow": np.power,
    "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
_PRODUCTS: dict[str, Any] = {
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), np.matmul), "dot": np.dot, "vdot": np.vdot,
    "outer": np.multiply.outer,
}
_OPERATORS = {
    "__add__": (np.add, False), "__radd__": (np.add, True), "__sub__": (np.subtract, False),
    "__rsub__": (np.subtract, True), "__mul__": (np.multiply, False), "__rmul__": (np.multiply, True),
    "__truediv__": (np.true_divide, False), "__rtruediv__": (np.true_divide, True), "__rdiv__": (np.true_divide, True),
    "__pow__": (np.power, False), "__rpow__": (np.power, True), "__eq__": (np.equal, False),
    "__ne__": (np.not_equal, False),
}  # fmt: skip
TABLE: dict[str, Callable[..., Any]] = {
    **{name: _unary(getattr(np, _OTHER_NAMES.get(name, name))) for name in (*_SAME, *_OTHER_NAMES)},
    **{name: _two(function) for name, function in _BINARY.items()},
    **dict.fromkeys(("div", "divide"), _divide),
    **{name: _product(function) for name, function in _PRODUCTS.items()},
    **{name: _scaled(np.add) for name in ("add",)},
    **{name: _scaled(np.subtract) for name in ("sub", "subtract")},
    "rsub": lambda a, b: binary(np.subtract, b, a),
    **{name: _unary(np.abs) for name in ("abs", "absolute")},
    **{name: _unary(np.conj) for name in ("conj", "conj_physical")},
    "resolve_conj": lambda x: x, "resolve_neg": lambda x: x, "real": lambda x: x.real, "imag": lambda x: x.imag,
    "linear": _linear, "type": _type,
    "angle": _unary(np.angle), "norm": _norm, "vector_norm": _norm, "sgn": _unary(_sign),
    "rsqrt": _unary(lambda a: 1 / np.sqrt(a)),
    "sigmoid": _unary(lambda a: 1 / (1 + np.exp(-a))), "positive": lambda x: x, "isreal": _unary(np.isreal),
    "adjoint": _unary(lambda a: np.conj(a.swapaxes(-1, -2))),
    "sum": _reduction(np.sum), "mean": _reduction(np.mean), "prod": _reduction(np.prod),
    "var": _spread(np.var), "std": _spread(np.std), "any": _reduction(np.any), "all": _reduction(np.all),
    "cumsum": _running(np.cumsum), "cumprod": _running(np.cumprod),
    "view_as_real": _view_as_real, "isclose": _isclose,
    "allclose": lambda *args, **options: bool(_isclose(*args, **options)._data.all()),
    "equal": lambda a, b: bool(np.array_equal(a._data, b._data)),
    **{name: _joined(np.concatenate) for name in ("cat", "concat", "concatenate")}, "stack": _joined(np.stack),
    "clone": lambda x, **options: wrap(x._data.copy()), "to": _to,
    "where": _where, "masked_fill": _masked_fill,
    "full_like": lambda x, fill_value, **options: _like(fill_value)(x, **options),
    "new_full": lambda x, size, fill_value, *, dtype=None, **options: filled(size, fill_value, dtype or x.dtype),
    "new_tensor": lambda x, data, *, dtype=None, **options: from_data(data, dtype or x.dtype),
    "is_complex": lambda x: True, "is_floating_point": lambda x: False, "is_signed": lambda x: True,
    "is_nonzero": lambda x: bool(x._data.item()), "__bool__": lambda x: bool(x._data.item()),
    "zeros_like": _like(0), "ones_like": _like(1), "requires_grad_": _requires_grad, "__setitem__": _set,
    "result_type": result_dtype, "__repr__": _text, "__format__": _format,
    "__abs__": _unary(np.abs), "__neg__": _unary(np.negative),
    "type_as": lambda x, other: _to(x, other), "tolist": lambda x: x._data.tolist(),
    "cfloat": lambda x: _to(x, complex64),
    "cdouble": lambda x: _to(x, complex128),
    **{name: _conversion(name) for name in _CONVERSIONS},
}  # fmt: skip
for _name in ("add", "sub", "mul", "div", "pow", "masked_fill", "sigmoid", "rsqrt", *_SAME, *_OTHER_NAMES):
    TABLE[f"{_name}_"] = _into(TABLE[_name])
TABLE["fill_"] = _into(_of_kind)
TABLE["copy_"] = _into(lambda x, source: source)
TABLE["__matmul__"], TABLE["__ipow__"] = TABLE["matmul"], TABLE["pow_"]
for _name, (_operate, _is_swapped) in _OPERATORS.items():
    TABLE[_name] = _operator(_operate, _is_swapped)
# Operations that move elements, or ask for the shape and the memory: the function itself, whose results are complex.
MOVES = frozenset((
    "__array__", "__complex__", "__getitem__", "__iter__", "__len__", "argwhere", "atleast_1d", "atleast_2d",
    "atleast_3d", "broadcast_tensors", "broadcast_to", "chunk", "contiguous", "count_nonzero", "cpu", "data_ptr",
    "detach", "detach_", "diag", "diag_embed", "diagonal", "dim", "element_size", "expand", "expand_as", "flatten",
    "flip", "fliplr", "flipud", "gather", "index_select", "is_conj", "is_contiguous", "is_inference", "is_neg",
    "is_same_size", "is_tensor", "item", "logical_not", "masked_select", "meshgrid", "moveaxis", "movedim",
    "narrow", "ndimension", "nelement", "new_empty", "new_ones", "new_zeros", "nonzero", "numel", "numpy",
    "permute", "pin_memory", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90",
    "select", "size", "split", "squeeze", "squeeze_", "storage_offset", "stride", "swapaxes", "swapdims", "t", "t_",
    "take", "take_along_dim", "tensor_split", "tile", "transpose", "transpose_", "tril", "triu", "unbind",
    "unflatten", "unfold", "unsqueeze", "unsqueeze_", "view", "view_as", "zero_",
))  # fmt: skip


# Names of arguments of the functions in the table, in their order.
_ORDER = (
    "condition", "tensors", "self", "input", "mask", "size", "data", "other", "exponent", "mat2", "vec", "vec2",
    "tensor", "value", "fill_value",
)  # fmt: skip


def _by_position(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments that were given by name, after those by position; NumPy's names become PyTorch's."""
    for theirs, ours in (("axis", "dim"), ("keepdims", "keepdim")):
        if theirs in options:
            options[ours] = options.pop(theirs)
    return (*args, *[options.pop(name) for name in _ORDER if name in options])


class ComplexTensor(Tensor):
    """A tensor of complex64 or complex128. See the module."""

    __slots__ = ()

    _is_complex = True

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        owner = getattr(func, "__self__", None)
        if isinstance(owner, property):
            return as_complex(torch_function.disabled_torch_function(func, types, args, kwargs))
        options = dict(kwargs or {})
        out = options.pop("out", None)
        if func.__name__ in TABLE:
            if options:
                args = _by_position(args, options)
            with torch_function.disabled():
                result = TABLE[func.__name__](*args, **options)
        elif func.__name__ in MOVES:
            result = as_complex(torch_function.disabled_torch_function(func, types, args, options))
        else:
            raise NotImplementedError(f'"{func.__name__}" not implemented for {_dtype_among(args)}')
        return result if out is None else out.copy_(result)

    @property
    def dtype(self) -> Any:
        """complex64 or complex128."""
        return _NAMES[self._data.dtype]

    def is_complex(self) -> bool:
        """True."""
        return True

    @property
    def real(self) -> Tensor:
        """The real parts, in the same memory."""
        return Tensor._remade(self._data.real, self._memory, None)

    @property
    def imag(self) -> Tensor:
        """The imaginary parts, in the same memory."""
        return Tensor._remade(self._data.imag, self._memory, None)

    def angle(self) -> Tensor:
        """The angles of the numbers."""
        return wrap(np.angle(self._data))

    @property
    def H(self) -> Any:
        """The conjugate transpose of a matrix."""
        if self._data.ndim not in (0, 2):
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self._data.ndim}-D tensor")
        return wrap(np.conj(self._data.T))

    @property
    def mH(self) -> Any:
        """The conjugate transposes of matrices."""
        if self._data.ndim < 2:
            raise RuntimeError(
                f"tensor.mH is only supported on matrices or batches of matrices. Got {self._data.ndim}-D tensor"
            )
        return wrap(np.conj(self._data.swapaxes(-1, -2)))


def as_complex(result: Any) -> Any:
    """The results of a function that moves elements, as complex tensors if they are complex."""
    if isinstance(result, Tensor):
        return torch_function.as_kind(result, ComplexTensor) if result._data.dtype.kind == "c" else result
    if isinstance(result, (tuple, list)) and any(isinstance(r, Tensor) for r in result):
        return type(result)([as_complex(r) for r in result])
    return result


def _dtype_among(args: Any) -> Any:
    flat = [a for part in args for a in (part if isinstance(part, (tuple, list)) else (part,))]
    return next((a.dtype for a in flat if isinstance(a, ComplexTensor)), "complex tensors")
