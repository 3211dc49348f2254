"""``torch.library``: operators of one's own are Python functions, as they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn._core.absent import absent_class, absent_function

__all__ = ["Library", "custom_op", "define", "impl", "register_autograd", "register_fake", "register_kernel"]

_WHY = "fastnn has no registry of operators, so torch.library.{} cannot be used; call the Python function itself"

Library = absent_class("torch.library.Library", (), _WHY.format("Library"))
define = absent_function("torch.library.define", _WHY.format("define"))
impl = absent_function("torch.library.impl", _WHY.format("impl"))
register_autograd = absent_function("torch.library.register_autograd", _WHY.format("register_autograd"))
register_kernel = absent_function("torch.library.register_kernel", _WHY.format("register_kernel"))


class _Operator:
    """A function with the decorators of PyTorch's operators.

    Args:
        function: computes on tensors; its operations are differentiated as usual, unless ``register_autograd`` raises.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def register_fake(self, fn: Any = None, /) -> Any:
        """``fn``, unchanged: nothing is traced with it."""
        return fn

    def register_autograd(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: NotImplementedError."""
        return register_autograd()


def custom_op(name: str, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """The function ``fn`` itself, with PyTorch's decorators; without it, a decorator.

    >>> @custom_op("mine::double", mutates_args=())
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """
    return _Operator(fn, name) if fn is not None else lambda function: _Operator(function, name)


def register_fake(op: Any, fn: Any = None, /, **options: Any) -> Any:
    """``fn``, unchanged; without it, a decorator that changes nothing."""
    return fn if fn is not None else lambda function: function


impl_abstract = register_fake
