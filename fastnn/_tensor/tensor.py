"""Tensor: a NumPy array that remembers how it was computed.

This file has the class: its memory, its history and the protocols of Python and NumPy. Its operations are
functions in ``ops`` that are also methods; printing is in ``printing``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from operator import setitem
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastnn._autograd.engine import (
    Alias,
    DetachedInferenceMemory,
    InferenceMemory,
    Memory,
    Node,
    _hooks_of,
    memory_in_inference,
    with_type_name,
)
from fastnn._autograd.modes import _mode, inference_listeners
from fastnn._core import capture_state
from fastnn._core.devices import CPU, check_device, device
from fastnn._core.dtypes import FLOATING, default_numpy, dtype, from_numpy_dtype
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._core.errstate import quiet, run_quiet
from fastnn._core.size import Size
from fastnn._core.sums import add_up
from fastnn._tensor.differentiable import Differentiable
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.instances import Maker

Scalar = bool | int | float
# Tensor has methods of these names, which hide the types in the annotations of its body.
_bool = bool
_device = device
_dtype = dtype
_float = float
_int = int
_new = object.__new__
# A step from a tensor to a view of it: a name, from the array to its part, and the transpose of that map.
Step = tuple[str, Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


# Makes the memory of a new tensor: plain, at no extra cost, unless some thread is in `inference_mode`.
new_memory: Callable[[], Memory] = Memory


def _switch_memory(inference: bool) -> None:
    global new_memory
    new_memory = memory_in_inference if inference else Memory
    TENSORS.get_from("_memory", memory_in_inference if inference else None, Memory)


inference_listeners.append(_switch_memory)


def _wrap(array: np.ndarray, node: Node | None = None) -> Tensor:
    """A tensor over ``array``, without a copy and without checks."""
    made: Tensor = TENSORS.make(array, node)
    return made


def _keep_retaining(tensor: Tensor, node: Node) -> None:
    """Let ``node``, the new history of a tensor that retains its gradient, give it the gradient."""
    hooks = None if tensor._node is None else tensor._node.hooks
    if hooks is not None and hooks.retain is not None and hooks.retain() is tensor:
        _hooks_of(node).retain, hooks.retain = hooks.retain, None


def _share(array: np.ndarray, node: Node | None, memory: Memory) -> Tensor:
    """As ``_wrap``, a tensor over memory that other tensors share."""
    made: Tensor = _SHARED.make(array, memory, memory.history, node)
    return made


def _recorded(x: Tensor, *others: Tensor) -> bool:
    """Whether the result of an operation on these needs a gradient."""
    if not _mode.enabled:
        return False
    if x._history != x._memory.history:
        _renew(x)
    recorded = x._requires_grad
    for t in others:
        if t._history != t._memory.history:
            _renew(t)
        recorded = recorded or t._requires_grad
    return recorded


def _either_recorded(x: Tensor, y: Tensor) -> bool:
    """``_recorded(x, y)`` while recording is switched on, in half of its time."""
    if x._history != x._memory.history:
        _renew(x)
    if y._history != y._memory.history:
        _renew(y)
    return x._requires_grad or y._requires_grad


def _renew(t: Tensor) -> None:
    """Update the history of a view after a change through its base or another view."""
    if t._view is None:
        raise RuntimeError(
            f"the memory of this tensor of shape {tuple(t._data.shape)} was given a new history by an in-place "
            "operation on another tensor that shares it; use clone() before the operation, or the tensor that it "
            "returned"
        )
    from fastnn._tensor.views import view

    base, steps = t._view
    part: Tensor = base
    enabled, _mode.enabled = _mode.enabled, True
    try:
        for step in steps:
            part = view(part, *step)
    finally:
        _mode.enabled = enabled
    t._node, t._requires_grad, t._history = part._node, part._requires_grad, t._memory.history


def _distinct(array: np.ndarray, key: Any) -> np.ndarray | None:
    """The part of a read-only array, writeable, if expand() repeats no element of it and the memory is writeable.

    The owner of a copy that must not be written to is read-only itself.
    """
    keys = key if isinstance(key, tuple) else (key,)
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if not owner.flags.writeable or any(isinstance(k, (np.ndarray, bool, np.bool_)) for k in keys):
        return None
    part: np.ndarray = array[keys if ... in keys else (*keys, ...)]
    extent = part.itemsize
    for step, n in sorted(zip(part.strides, part.shape, strict=True)):
        if n > 1 and step < extent:
            # Elements that overlap.
            return None
        extent += step * (n - 1)
    part = part.view()
    try:
        part.flags.writeable = True
    except ValueError:
        return None
    return part


def _unbroadcast(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sum of ``grad`` over the dimensions along which an operand of ``shape`` was repeated."""
    found = grad._data.shape
    if found == shape:
        return grad
    from fastnn._tensor.views import linear_map

    extra = len(found) - len(shape)
    axes = (*range(extra), *[d + extra for d, n in enumerate(shape) if n == 1 and found[d + extra] != 1])
    if not _mode.enabled and not capture_state.active:
        return _wrap(add_up(grad._data, axes, None, True).reshape(shape))
    return linear_map(
        "Sum", grad,
        lambda a: add_up(a, axes, None, True).reshape(shape), lambda a: np.broadcast_to(a, found),
    )  # fmt: skip


class Tensor(Differentiable):
    """An n-dimensional array of numbers of one dtype, with a gradient if requested.

    Args:
        data: sizes of an uninitialized tensor; or one array or sequence of numbers, copied to the
            default dtype; or a tensor, and this is a view of it. ``fastnn.tensor`` keeps integers
            integers.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__dict__", "__weakref__", "_data", "_grad", "_history", "_memory", "_node", "_requires_grad", "_view")

    _data: np.ndarray
    _grad: Tensor | None
    # Shared by a tensor and its views; see `Memory`.
    _memory: Memory
    # The memory's history that `_node` belongs to.
    _history: int
    _node: Node | None
    _requires_grad: bool
    # For a view: its base, and the steps from there.
    _view: tuple[Tensor, tuple[Step, ...]] | None
    # Whether it is one of several views that an operation returned.
    _of_many = False
    # For a leaf: the hooks on its gradient.
    _hooks: Any = None

    # NumPy leaves `array * tensor` to the tensor.
    __array_priority__ = 1000

    # Whether it is a subclass of a program's own, whose memory is made by `__new__`.
    _of_user = False
    # Whether it is an element of a batch, inside of `vmap`.
    _is_batch = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_of_user" not in vars(cls):
            # Parameters and buffers, which say so, make their memory in `__init__`; their subclasses, too.
            kinds = [kind for kind in cls.__mro__[1:] if issubclass(kind, Tensor) and kind is not Tensor]
            cls._of_user = all(kind._of_user for kind in kinds)

    def __new__(cls, *data: Any, device: Any = None, **options: Any) -> Self:
        made = _new(cls)
        if cls._of_user:
            from fastnn._tensor import torch_function

            torch_function.activate(cls)
            with torch_function.disabled():
                torch_function.fill(made, Tensor(*data, device=device, **options))
        return made

    def __init__(self, *data: Any, device: Any = None, **options: Any) -> None:
        if self._of_user:
            return
        if options:
            raise TypeError(f"Tensor() got an unexpected keyword argument {next(iter(options))!r}")
        check_device(device)
        from fastnn._tensor.legacy_constructors import alias, numbers_of

        if len(data) == 1 and isinstance(data[0], Tensor):
            # Also if its dtype differs, as in PyTorch.
            made = alias(data[0])
            self._data, self._node, self._grad, self._requires_grad = made._data, made._node, None, made._requires_grad
            self._memory, self._history = made._memory, made._history
            self._view = made._view
            return
        self._data = numbers_of(data, default_numpy())
        self._node, self._grad, self._requires_grad = None, None, False
        self._memory, self._history, self._view = new_memory(), 0, None

    # Used by the base class, which does not import this one.
    _over = staticmethod(_wrap)

    def _renewed(self) -> None:
        _renew(self)

    @classmethod
    def _remade(cls, array: np.ndarray, memory: Memory, node: Node | None) -> Tensor:
        """A tensor over memory that it shares with others."""
        return _share(array, node, memory)

    # -- Subclasses ---------------------------------------------------------------------------

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation that has instances of a subclass among its arguments; its results become instances too.

        Subclasses override it, and call this one by ``super()``.

        Args:
            func: the function, method, or ``__get__`` of the attribute.
            types: the subclasses among the types of the arguments.
            args, kwargs: the arguments.

        >>> import fastnn
        >>> class Logged(fastnn.Tensor):
        ...     @classmethod
        ...     def __torch_function__(cls, func, types, args=(), kwargs=None):
        ...         print(func.__name__)
        ...         return super().__torch_function__(func, types, args, kwargs)
        >>> type(Logged([1.0, 2.0]) * 2).__name__
        mul
        'Logged'
        """
        from fastnn._tensor.torch_function import default_torch_function

        return default_torch_function(cls, func, types, args, kwargs)

    @staticmethod
    def _make_subclass(cls: Any, data: Tensor, require_grad: _bool = False) -> Any:
        from fastnn._tensor.torch_function import as_subclass

        return as_subclass(data.detach(), cls).requires_grad_(require_grad)

    # -- Attributes ---------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._data.shape)

    @property
    def dtype(self) -> _dtype:
        """The type of the numbers."""
        return from_numpy_dtype(self._data.dtype)

    @property
    def device(self) -> _device:
        """Where the numbers are: always the CPU."""
        return CPU

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._origin is None

    @property
    def grad_fn(self) -> Node | None:
        """The recorded operation that made this tensor."""
        node = self._origin
        return None if node is None else with_type_name(node)

    @property
    def _origin(self) -> Node | None:
        """As ``grad_fn``, for callers that do not use its type."""
        if self._history != self._memory.history:
            _renew(self)
        return self._node

    @property
    def _version(self) -> int:
        """How often the memory was changed in place."""
        if self._memory.inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._memory.version

    @property
    def _cdata(self) -> int:
        """A number that no other tensor has meanwhile."""
        return id(self)

    @property
    def _base(self) -> Tensor | None:
        """The tensor that this is a view of."""
        return None if self._view is None else self._view[0]

    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._data.shape[0]

    def __reversed__(self) -> Tensor:
        return self.flip(0) if self._data.ndim else self

    def __contains__(self, element: Any) -> bool:
        if not isinstance(element, (Tensor, bool, int, float, np.number, np.bool_)):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
            )
        return bool((self == element).any())

    def __bool__(self) -> bool:
        if self._data.size != 1:
            count = "no values" if self._data.size == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {count} is ambiguous")
        capture_state.stop("a number is read in Python")
        return bool(self._data.item())

    def __float__(self) -> _float:
        return float(self.item())

    def __int__(self) -> _int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> _int:
        if self._data.dtype.kind in FLOATING or self._data.size != 1:
            raise TypeError(
                "only integer tensors of a single element can be converted to an index, found "
                f"{self.dtype} of shape {tuple(self._data.shape)}"
            )
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._data.ndim == 0 else object.__format__(self, spec)

    # Tensors compare elementwise, so dictionaries must use identity.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        from fastnn._tensor.printing import tensor_text

        return tensor_text(self, f"{type(self).__name__}(") if self._of_user else tensor_text(self)

    # -- To and from NumPy and Python -----------------------------------------------------------

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array itself, without a copy.

        Args:
            force: for a tensor that needs a gradient as well, rather than a RuntimeError. In ``no_grad`` it has no
                meaning.
        """
        capture_state.stop("a tensor is read as an array")
        if (
            (self._requires_grad or self._history != self._memory.history)
            and _mode.enabled and self.requires_grad and not force
        ):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        array = self._data
        if array.dtype.kind == "V":
            raise TypeError("Got unsupported ScalarType BFloat16: NumPy has no such dtype, use float() first")
        if not array.flags.writeable and array.size and 0 in array.strides:
            # Elements repeated by `expand` are read-only as operands, but the user may write to the array.
            array = array.view()
            with contextlib.suppress(ValueError):
                # Read-only memory stays read-only.
                array.flags.writeable = True
        return array

    def __array__(self, dtype: Any = None, copy: _bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"a copy is needed to convert {array.dtype} to {dtype}")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: _bool = False) -> Tensor:
        # The result of a NumPy function of a tensor; bool becomes uint8, as in PyTorch.
        array = np.asarray(array)
        return _wrap(array.view(np.uint8) if array.dtype.kind == "b" else array)

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        """A capsule over the same memory, for other libraries' ``from_dlpack``."""
        capture_state.stop("a tensor is read as an array")
        if self.requires_grad:
            raise RuntimeError("Can't export tensors that require gradient, use tensor.detach()")
        if stream not in (None, -1):
            raise RuntimeError(f"stream must be None on the CPU, found {stream!r}")
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[_int, _int]:
        return self._data.__dlpack_device__()

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(f"a Tensor with {self._data.size} elements cannot be converted to Scalar")
        capture_state.stop("a number is read in Python")
        return self._data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        capture_state.stop("numbers are read in Python")
        return self._data.tolist()

    # -- The same memory ------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same numbers in the same memory, without a history."""
        memory = self._memory
        is_free = memory.inference and not _mode.inference
        return _share(self._data, None, DetachedInferenceMemory() if is_free else Alias(memory))

    def detach_(self) -> Tensor:
        """Forget the history in place."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place: use detach() instead")
        self._node, self._requires_grad, self._history = None, False, self._memory.history
        return self

    @property
    def data(self) -> Tensor:
        """The same numbers in the same memory, without a history; can be assigned.

        Unlike with ``detach()``, a later backward pass does not notice in-place operations on it.
        """
        made = _wrap(self._data)
        if not self._memory.inference:
            if made._memory.inference:
                made._memory = Memory()
        elif not _mode.inference:
            made._memory = DetachedInferenceMemory()
        elif not made._memory.inference:
            made._memory = InferenceMemory()
        return made

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, found {type(value).__name__}")
        if (self._data.dtype.kind == "c") != (value._data.dtype.kind == "c"):
            raise RuntimeError(f"data must be complex or real as the tensor is: found {value.dtype} for {self.dtype}")
        if self._requires_grad and value._data.dtype.kind != "f":
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex dtype, found dtype "
                f"{value.dtype}"
            )
        self._data = value._data

    # -- In place -----------------------------------------------------------------------------

    def _check_in_place(self) -> None:
        """RuntimeError for a leaf that needs a gradient, or a view of one, while operations are recorded.

        Also for a tensor that was made in ``inference_mode`` and is changed outside of it.
        """
        try:
            _ = self._memory.version
        except RuntimeError:
            _ = self._memory.version_to_write()
        if not _mode.enabled:
            return
        if self._requires_grad and self._node is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation: it has shape "
                f"{tuple(self._data.shape)}; use no_grad() or detach()"
            )
        if self._view is not None:
            base = self._view[0]
            if self._of_many and self._requires_grad:
                raise RuntimeError(
                    "a view is being modified inplace that is one of several which split(), chunk() or unbind() "
                    "returned, or the argument or result of a module with full backward hooks: replace the in-place "
                    "operation by an out-of-place one"
                )
            if base._requires_grad and base._node is None:
                raise RuntimeError(
                    "a view of a leaf Variable that requires grad is being used in an in-place operation: the view has "
                    f"shape {tuple(self._data.shape)}, the leaf {tuple(base._data.shape)}; use no_grad() or detach()"
                )

    def _in_place(self, result: Tensor) -> Tensor:
        """Store the numbers and the history of ``result`` in this tensor's memory."""
        if result is NotImplemented:
            return result
        self._check_in_place()
        if capture_state.active:
            capture_state.stop("a tensor is changed in place outside the kernels")
        if result._data.shape != self._data.shape:
            raise ShapeError(
                f"output with shape {list(self._data.shape)} doesn't match the broadcast shape "
                f"{list(result._data.shape)}"
            )
        found, kind = result._data.dtype.kind, self._data.dtype.kind
        if found != kind and (found == "c" or (found in FLOATING and kind not in "cfV") or kind == "b"):
            raise DTypeError(f"result type {result.dtype} can't be cast to the desired output type {self.dtype}")
        if result._data.dtype != self._data.dtype:
            result = result.to(self.dtype)
        self._write(..., result._data)
        node = result._node
        if node is not None:
            if node.saved:
                # The result that the operation reads is now in this tensor's memory.
                memory, made = self._memory, result._memory
                node.saved = [(memory, memory.version, s[2]) if s[0] is made else s for s in node.saved]
            self._adopt(node)
        return self

    def _write(self, key: Any, values: Any) -> None:
        if capture_state.active:
            capture_state.stop("a tensor is written to outside the kernels")
        try:
            version = self._memory.version
        except RuntimeError:
            version = self._memory.version_to_write()
        try:
            try:
                run_quiet(setitem, self._data, key, values)
            except RuntimeError:
                quiet(setitem, self._data, key, values)
        except (TypeError, ValueError) as error:
            part = None if self._data.flags.writeable else _distinct(self._data, key)
            if part is not None:
                # Elements of an expanded tensor that are not repeated themselves.
                try:
                    quiet(setitem, part, ..., values)
                except (TypeError, ValueError) as wrong:
                    raise ShapeError(str(wrong)) from None
            elif not self._data.flags.writeable:
                raise RuntimeError(
                    f"this tensor of shape {tuple(self._data.shape)} is read-only: over a read-only array, one that "
                    "expand() repeats, or a view() of memory in another order, as a Linear's weight has, which is a "
                    "copy: what is written to it would be lost"
                ) from None
            else:
                raise ShapeError(str(error)) from None
        self._memory.version = version + 1

    def _adopt(self, node: Node) -> None:
        """Set the history: the numbers in this tensor's memory are now the result of ``node``.

        The history of a view goes to its base, whose part it overwrites; other views update theirs
        on their next use.
        """
        memory = self._memory
        if self._view is None:
            memory.history += 1
            _keep_retaining(self, node)
            self._node, self._requires_grad, self._history = node, True, memory.history
            return
        from fastnn._tensor.views import overwritten

        base, steps = self._view
        base_node = overwritten(base, _wrap(self._data, node), steps)
        memory.history += 1
        _keep_retaining(base, base_node)
        base._node, base._requires_grad, base._history = base_node, True, memory.history
        _renew(self)

    # -- Copies -------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[_int, Any]) -> Tensor:
        if self._origin is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                "moment."
            )
        if id(self) in memo:
            return memo[id(self)]
        copy = self._copied(memo)
        if self._of_user:
            copy = copy.as_subclass(type(self))
            copy.__dict__.update(deepcopy(self.__dict__, memo))
        memo[id(self)] = copy
        copy._requires_grad = self._requires_grad
        if self._grad is not None:
            copy._grad = self._grad.__deepcopy__(memo)
        return copy

    def _copied(self, memo: dict[_int, Any]) -> Tensor:
        """A copy; copies of tensors that share memory share memory too."""
        root = self._data if self._view is None else self._view[0]._data
        if not root.flags.c_contiguous:
            return _wrap(self._data.copy())
        key = id(getattr(self._memory, "shared", self._memory))
        if key not in memo:
            memo[key] = root, root.copy(), Memory()
        root, made, memory = memo[key]
        (low, high), (first, last) = [np.lib.array_utils.byte_bounds(a) for a in (root, self._data)]
        if not self._data.size or first < low or last > high or self._data.dtype != root.dtype:
            return _wrap(self._data.copy())
        shape, strides, place = self._data.shape, self._data.strides, first - low
        part: np.ndarray = np.ndarray(shape, root.dtype, buffer=_bytes_of(made), offset=place, strides=strides)
        return Tensor._remade(part, memory, None)

    def __reduce__(self) -> Any:
        array = self._data
        # A column-major matrix keeps its order.
        if not array.flags.f_contiguous:
            array = np.ascontiguousarray(array).reshape(array.shape)
        if self._of_user:
            return _restored_as, (type(self), array, self._requires_grad, self.__dict__)
        return _restored, (array, self.requires_grad)

    if TYPE_CHECKING:
        # Added by `ops`, where they are also functions.
        def __getattr__(self, name: str) -> Any: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...


# `TENSORS.make(array, node)` is `_wrap` without a call of a Python function, for the operations that are called most.
_FRESH: dict[str, Any] = {"_grad": None, "_view": None}
TENSORS = Maker(
    Tensor, ("_data", "_node"), 1, constants={**_FRESH, "_history": 0}, given="_requires_grad", new={"_memory": Memory}
)
_SHARED = Maker(Tensor, ("_data", "_memory", "_history", "_node"), constants=_FRESH, given="_requires_grad")

if allocation.IS_POISONED:
    from fastnn._core.live_tensors import tracked

    TENSORS.make, _SHARED.make = tracked(TENSORS.make), tracked(_SHARED.make)


def _bytes_of(array: np.ndarray) -> Any:
    """The buffer of a contiguous array; NumPy lends no bfloat16."""
    return array.data if array.dtype.kind != "V" else array.view(np.uint16).data


def _restored(array: np.ndarray, requires_grad: bool) -> Tensor:
    if array.dtype.kind == "V":
        # A pickle of bfloat16 may be its first use.
        from_numpy_dtype(array.dtype)
    return _wrap(array).requires_grad_(requires_grad)


def _restored_as(kind: Any, array: np.ndarray, requires_grad: bool, attributes: dict[str, Any]) -> Any:
    made = _restored(array, False).as_subclass(kind)
    made._requires_grad = requires_grad
    made.__dict__.update(attributes)
    return made


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or dimensions given one by one, or as one sequence."""
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
