"""``torch.overrides``: whether arguments have their own ``__torch_function__``, and the call of it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn._tensor.torch_function import asks, enter_mode, exit_mode, is_off

__all__ = [
    "TorchFunctionMode", "get_ignored_functions", "get_overridable_functions", "handle_torch_function",
    "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic", "is_tensor_like",
    "is_tensor_method_or_property", "resolve_name",
]  # fmt: skip


class TorchFunctionMode:
    """A block in which operations call a method of the mode: subclasses define ``__torch_function__``.

    It is called with the function, the subclasses of ``Tensor`` among the arguments, and the arguments; inside it
    operations go to the mode around this one. Modules cannot be called in the block, as their kernels ask no mode.

    >>> import fastnn
    >>> class Names(TorchFunctionMode):
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         print(func.__name__)
    ...         return func(*args, **(kwargs or {}))
    >>> with Names():
    ...     x = fastnn.ones(2) + 1
    ones
    add
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> TorchFunctionMode:
        enter_mode(self)
        return self

    def __exit__(self, *error: Any) -> None:
        exit_mode()



def _override(kind: Any) -> Any:
    """The ``__torch_function__`` of a class whose instances are asked; None of others, and inside a call of it."""
    return None if is_off() or not asks(kind) else kind.__torch_function__


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether one of the arguments is of a class with its own ``__torch_function__``.

    >>> import fastnn
    >>> has_torch_function((fastnn.ones(1), 2.0))
    False
    """
    return any(_override(type(arg)) is not None for arg in relevant_args)


def has_torch_function_unary(arg: Any) -> bool:
    """:func:`has_torch_function` of one argument."""
    return _override(type(arg)) is not None


def has_torch_function_variadic(*args: Any) -> bool:
    """:func:`has_torch_function` of these arguments."""
    return has_torch_function(args)


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """The result of the first ``__torch_function__`` that does not return NotImplemented, subclasses first.

    Args:
        public_api: the function that was called.
        relevant_args: its arguments that may have a ``__torch_function__``.
        args, kwargs: all its arguments.

    Raises: TypeError if all of them return NotImplemented.
    """
    found: list[type] = []
    for arg in relevant_args:
        kind = type(arg)
        if kind in found or _override(kind) is None:
            continue
        place = next((i for i, other in enumerate(found) if issubclass(kind, other)), len(found))
        found.insert(place, kind)
    for kind in found:
        result = _override(kind)(public_api, tuple(found), args, kwargs)
        if result is not NotImplemented:
            return result
    name = f"{public_api.__module__}.{public_api.__name__}"
    raise TypeError(f"no implementation found for {name!r} on types that implement __torch_function__: {found}")


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a tensor or its class has a ``__torch_function__``.

    >>> import fastnn
    >>> is_tensor_like(fastnn.ones(1)), is_tensor_like(1.0)
    (True, False)
    """
    return isinstance(inp, Tensor) or hasattr(type(inp), "__torch_function__")


@cache
def get_overridable_functions() -> dict[Any, list[Callable[..., Any]]]:
    """The functions of fastnn's namespaces and of Tensor, by namespace."""
    import fastnn
    from fastnn import linalg
    from fastnn.nn import functional

    owners: tuple[Any, ...] = (fastnn, functional, linalg, Tensor)
    return {
        owner: [
            value
            for name, value in vars(owner).items()
            if isinstance(value, types.FunctionType) and (not name.startswith("_") or owner is Tensor)
        ]
        for owner in owners
    }


def get_ignored_functions() -> set[Callable[..., Any]]:
    """The functions that never call ``__torch_function__``: those that make tensors.

    >>> import fastnn
    >>> fastnn.zeros in get_ignored_functions()
    True
    """
    from fastnn.ops import creation

    return {getattr(creation, name) for name in creation.__all__}


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether it is a method of Tensor, or the getter of one of its properties."""
    if getattr(func, "__name__", "") == "__get__":
        return True
    return any(func is value for value in vars(Tensor).values())


def resolve_name(f: Any) -> str | None:
    """The name of a function as a program writes it, None for another object.

    >>> import fastnn
    >>> resolve_name(fastnn.Tensor.sum)
    'torch.Tensor.sum'
    """
    for owner, functions in get_overridable_functions().items():
        if any(f is function for function in functions):
            name = owner.__name__ if not isinstance(owner, type) else "fastnn.Tensor"
            return f"{name}.{f.__name__}".replace("fastnn", "torch", 1)
    return None
