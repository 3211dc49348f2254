"""``torch.library``: operators of one's own are Python functions, as they stand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastnn._core.absent import absent_class, absent_function
from fastnn.autograd.function import Function

__all__ = ["Library", "custom_op", "define", "impl", "register_autograd", "register_fake", "register_kernel"]

_WHY = "fastnn has no registry of operators, so torch.library.{} cannot be used; call the Python function itself"

Library = absent_class("torch.library.Library", (), _WHY.format("Library"))
define = absent_function("torch.library.define", _WHY.format("define"))
impl = absent_function("torch.library.impl", _WHY.format("impl"))


def register_autograd(op: Any, backward: Callable[..., Any], /, *, setup_context: Any = None, **options: Any) -> None:
    """Use a formula for the gradient of a function that :func:`custom_op` made."""
    op.register_autograd(backward, setup_context=setup_context)


def register_kernel(op: Any, device_types: Any, fn: Any = None, /, **options: Any) -> Any:
    """Use ``fn`` for a function that :func:`custom_op` made, if it is for the CPU; without it, a decorator."""
    return op.register_kernel(device_types, fn)


class _Operator:
    """A function with the decorators of PyTorch's operators.

    Args:
        function: computes on tensors. Its operations are differentiated as usual, unless a formula is registered.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name
        self._call: Callable[..., Any] = lambda *args, **kwargs: self._function(*args, **kwargs)
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def register_fake(self, fn: Any = None, /) -> Any:
        """``fn``, unchanged: nothing is traced with it."""
        return fn

    def register_kernel(self, device_types: Any, fn: Any = None, /) -> Any:
        """``fn``, unchanged, which is used on the CPU; without it, a decorator."""
        if fn is None:
            return lambda function: self.register_kernel(device_types, function)
        if "cpu" in ([device_types] if isinstance(device_types, str) else device_types or ["cpu"]):
            self._function = fn
        return fn

    def register_autograd(self, backward: Callable[..., Any], /, *, setup_context: Any = None) -> None:
        """Use a formula for the gradient.

        Args:
            backward: takes a context and the gradients of the outputs, returns those of the arguments.
            setup_context: takes the context, the arguments and the output; saves what ``backward`` needs.
        """
        names = inspect.signature(self._function)

        class Registered(Function):
            @staticmethod
            def forward(*args: Any) -> Any:
                return self._function(*args)

            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                if setup_context is not None:
                    setup_context(ctx, inputs, output)

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                return backward(ctx, *grads)

        def call(*args: Any, **kwargs: Any) -> Any:
            bound = names.bind(*args, **kwargs)
            bound.apply_defaults()
            if bound.kwargs:
                raise NotImplementedError(f"{self._name} has keyword-only arguments, and a formula for its gradient")
            return Registered.apply(*bound.args)

        self._call = call


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
