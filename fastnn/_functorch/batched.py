"""Tensors of one element of a batch, which hold the whole batch: the arguments of a function inside of ``vmap``.

A :class:`BatchedTensor` has the shape of one element. Its value is the tensor of all elements, with the dimension of
the batch in front; inside of another ``vmap`` that is a :class:`BatchedTensor` again. Operations reach
``__torch_function__`` (see :mod:`fastnn._tensor.torch_function`), which calls the rule of the operation: other calls,
of the same or of other operations, on the values. The tape sees only these.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastnn._core.size import Size
from fastnn._tensor import torch_function
from fastnn._tensor.tensor import Tensor
from fastnn._tensor.torch_function import running

_new = object.__new__


class Level:
    """One call of ``vmap`` that is running.

    Args:
        size: of the batch.
        randomness: as of ``vmap``.
        depth: how many calls it is inside of, from 1.
    """

    __slots__ = ("depth", "randomness", "size")

    def __init__(self, size: int, randomness: str, depth: int) -> None:
        self.size, self.randomness, self.depth = size, randomness, depth


class NoArrayError(AttributeError, RuntimeError):
    """The numbers of one element of a batch were asked for."""


def _refused(what: str) -> Any:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(what)

    return refuse


_ITEM = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
    "please try to rewrite what you're doing with other operations."
)
_CONTROL_FLOW = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
    "yet; torch.where() chooses between the results of both branches."
)
_ARRAY = "vmap: the numbers of a tensor cannot be read as an array or as lists inside of vmap."


class _NoArray:
    """In the place of the array of an element: its shape and its dtype."""

    __slots__ = ("dtype", "ndim", "shape")

    # NumPy's operators raise TypeError.
    __array_ufunc__ = None

    def __init__(self, t: BatchedTensor) -> None:
        shape = t._value._data.shape[1:]
        self.shape, self.ndim, self.dtype = shape, len(shape), t._value._data.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def __getattr__(self, name: str) -> Any:
        raise NoArrayError(_ARRAY)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NoArrayError(_ARRAY)


class BatchedTensor(Tensor):
    """One element of a batch; all elements are computed at once."""

    __slots__ = ("_level", "_value")

    # The module's results need no conversion to this class.
    _is_batch = True

    _level: Level
    _value: Any

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation's rule."""
        return dispatch(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"BatchedTensor(lvl={self._level.depth}, bdim=0, value={self._value!r})"

    def __format__(self, spec: str) -> str:
        return repr(self)

    @property
    def _data(self) -> Any:  # type: ignore[override]  # it has none of its own
        return _NoArray(self)

    @property
    def shape(self) -> Size:
        """The size of each dimension, of one element of the batch."""
        return Size(self._value.shape[1:])

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._value.ndim - 1

    @property
    def dtype(self) -> Any:
        """The type of the numbers."""
        return self._value.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether the batch needs a gradient."""
        return self._value.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: Any) -> None:
        self._value.requires_grad = value

    @property
    def grad_fn(self) -> Any:
        """The recorded operation that made the batch."""
        return self._value.grad_fn

    @property
    def _origin(self) -> Any:
        return self._value._origin

    @property
    def _node(self) -> Any:  # type: ignore[override]  # that of the value, read only
        return self._value._node

    @property
    def _requires_grad(self) -> bool:  # type: ignore[override]  # as above
        return self._value._requires_grad

    @property
    def _version(self) -> int:
        return self._value._version

    @property
    def _base(self) -> None:
        return None

    @property  # type: ignore[misc]  # it cannot be set
    def grad(self) -> Any:
        """The gradient of the batch."""
        grad = self._value.grad
        return None if grad is None else wrapped(grad, self._level)

    @property  # type: ignore[misc]  # it cannot be set
    def data(self) -> Any:
        """The same numbers without a history."""
        return self.detach()

    @property
    def itemsize(self) -> int:
        """The bytes of one number."""
        return self._value.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of one element of the batch."""
        return self.itemsize * self.numel()

    @property
    def T(self) -> Any:
        """The dimensions in reverse order."""
        return self.permute(*range(self.ndim)[::-1])

    @property
    def mT(self) -> Any:
        """The last two dimensions swapped."""
        return self.transpose(-2, -1)

    @property
    def H(self) -> Any:
        """The transpose of a matrix."""
        return self.transpose(0, 1)

    @property
    def mH(self) -> Any:
        """The last two dimensions swapped."""
        return self.transpose(-2, -1)

    @property
    def real(self) -> Any:
        """The tensor itself."""
        return self

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __deepcopy__(self, memo: Any) -> Any:
        return self.clone()

    __hash__ = object.__hash__
    item = __float__ = __int__ = __complex__ = __index__ = _refused(_ITEM)
    __bool__ = is_nonzero = __contains__ = _refused(_CONTROL_FLOW)
    numpy = tolist = __array__ = data_ptr = storage = untyped_storage = _refused(_ARRAY)
    __dlpack__ = __reduce__ = __reduce_ex__ = _refused(_ARRAY)


def wrapped(value: Any, level: Level) -> Any:
    """One element of the batch ``value``, whose dimension of the batch is in front."""
    made = _new(BatchedTensor)
    made._value, made._level = value, level
    return made


def all_wrapped(result: Any, level: Level) -> Any:
    """The tensors among the results of an operation as elements of a batch."""
    if isinstance(result, Tensor):
        return wrapped(result, level)
    if isinstance(result, (tuple, list)) and not isinstance(result, Size):
        parts = [all_wrapped(r, level) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def is_in(t: Any, level: Level) -> bool:
    """Whether a tensor is an element of this batch, and not the same for all elements."""
    return type(t) is BatchedTensor and t._level is level


def front(t: Any, level: Level) -> Any:
    """All elements of a batch, the dimension of the batch in front; the same ones if ``t`` is not of the batch."""
    if type(t) is BatchedTensor and t._level is level:
        return t._value
    return t.expand(level.size, *t.shape)


def at(t: Any, level: Level, i: int) -> Any:
    """Element ``i`` of a batch, of zeros if that is empty; a tensor that is not of the batch is the same for all."""
    if type(t) is not BatchedTensor or t._level is not level:
        return t
    return t._value.select(0, i) if level.size else t._value.new_zeros(t.shape)


def each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments with ``change`` of each tensor in them."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        parts = [each(v, change) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {k: each(v, change) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*[each(v, change) for v in (value.start, value.stop, value.step)])
    return value


def tensors_of(value: Any) -> Iterator[Any]:
    """The tensors among arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from tensors_of(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from tensors_of(v)


def innermost(args: Any, kwargs: Any) -> Level | None:
    """The innermost call of ``vmap`` that an argument belongs to."""
    level = None
    for a in (*args, *kwargs.values()) if kwargs else args:
        if type(a) is BatchedTensor:
            if level is None or a._level.depth > level.depth:
                level = a._level
        elif type(a) in (list, tuple, dict):
            for t in tensors_of(a):
                if type(t) is BatchedTensor and (level is None or t._level.depth > level.depth):
                    level = t._level
    return level


# The rules of operations, by their names: of the function, the level, and the arguments.
Rule = Callable[[Any, Level, tuple[Any, ...], dict[str, Any]], Any]
RULES: dict[str, Rule] = {}
# Of functions in `linalg` whose names others have.
LINALG_RULES: dict[str, Rule] = {}
# Operations whose result depends on the generator, unless their rule says more.
RANDOM: set[str] = set()


def dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operation that has elements of a batch among its arguments."""
    level = innermost(args, kwargs)
    if level is None:
        # Those inside of other objects.
        with torch_function.disabled():
            return func(*args, **kwargs)
    name = func.__name__
    rule = LINALG_RULES.get(name) if func.__module__ == "fastnn.linalg" else None
    if rule is None:
        rule = RULES.get(name, by_loop)
    if kwargs:
        if "input" in kwargs and name not in _INPUT_IS_KEYWORD:
            kwargs = dict(kwargs)
            args = (kwargs.pop("input"), *args)
        if kwargs.get("out") is not None:
            raise RuntimeError(f"vmap: {name}(): functions with out=... arguments are not supported inside of vmap")
        for theirs, ours in (("axis", "dim"), ("keepdims", "keepdim")):
            if theirs in kwargs:
                kwargs = dict(kwargs)
                kwargs[ours] = kwargs.pop(theirs)
    return rule(func, level, args, kwargs)


_INPUT_IS_KEYWORD = {"where"}


@contextmanager
def outside_of(level: Level) -> Iterator[None]:
    """A block that does not run inside of ``level``."""
    before = running.levels
    running.levels = before[: level.depth - 1]
    try:
        yield
    finally:
        running.levels = before


# Operations for which the warning about a loop has been given.
_warned: set[str] = set()


def by_loop(func: Any, level: Level, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operation for each element of the batch, and stack the results. Warns once for each operation."""
    name = func.__name__
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            "There is a performance drop because we have not yet implemented the batching rule for "
            f"aten::{name}: it is called once for each element of the batch.",
            UserWarning, stacklevel=4,
        )  # fmt: skip
    return looped(func, level, args, kwargs)


def looped(func: Any, level: Level, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """As :func:`by_loop`, without a warning."""
    name = func.__name__
    in_place = name.endswith("_") and not name.endswith("__")
    if in_place and not is_in(args[0], level):
        refuse_in_place(name)
    results: list[Any] = []
    for call in calls(name, level):
        take = functools.partial(at, level=level, i=len(results))
        results.append(call(func, *each(args, take), **each(kwargs, take)))
    if in_place or name == "__setitem__":
        return args[0]
    found = _stacked(name, results, level)
    return found if level.size else each(found, lambda t: wrapped(t._value[:0], level))


def calls(name: str, level: Level) -> Iterator[Callable[..., Any]]:
    """What calls an operation for each element of the batch: with the random numbers that ``vmap`` asks for."""
    from fastnn.random import get_rng_state, set_rng_state

    is_random = name in RANDOM
    if is_random and level.randomness == "error":
        refuse_random()
    before = get_rng_state() if is_random and level.randomness == "same" else None

    def call(func: Any, *args: Any, **kwargs: Any) -> Any:
        if before is not None:
            set_rng_state(before)
        with outside_of(level):
            return func(*args, **kwargs)

    # An empty batch is called once, for the shape of the result.
    for _ in range(level.size or 1):
        yield call


def refuse_random() -> None:
    """The error of a random operation in 'error' mode."""
    raise RuntimeError(
        "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
        "'different' randomness flags on vmap or perform the randomness operation out of vmap"
    )


def refuse_in_place(name: str) -> None:
    """The error of an operation that would store a batch in a tensor that is not one."""
    raise RuntimeError(
        f"vmap: aten::{name}(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args "
        "that has more elements than `self`. This happened due to `other` being vmapped over but `self` not being "
        "vmapped over in a vmap. Please try to use out-of-place operators instead of "
        f"{name}."
    )


def refuse_dynamic(name: str) -> None:
    """The error of an operation whose result has a shape that depends on the numbers."""
    raise RuntimeError(
        f"vmap: It looks like you're attempting to use an operation ({name}) whose result has a shape that depends on "
        "the numbers (dynamic shape). It may differ between the elements of the batch; vmap does not support this."
    )


def _stacked(name: str, results: list[Any], level: Level) -> Any:
    from fastnn.ops.joining import stack

    first = results[0]
    if isinstance(first, Tensor):
        if any(t.shape != first.shape for t in results):
            refuse_dynamic(name)
        return wrapped(stack(results), level)
    if isinstance(first, (tuple, list)) and not isinstance(first, Size):
        parts = [_stacked(name, list(column), level) for column in zip(*results, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if any(r != first for r in results[1:]):
        refuse_dynamic(name)
    return first
