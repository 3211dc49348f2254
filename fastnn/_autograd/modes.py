"""Modes of recording: for this thread, for a block, for a function."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Generator
from threading import get_ident
from types import TracebackType
from typing import Any


class _Mode(threading.local):
    # Whether operations are recorded; never in `inference_mode`.
    enabled = True
    inference = False
    # Whether `enable_grad` was requested in `inference_mode`, where it has no other effect.
    asked = False
    # Whether a backward pass may write a parameter's gradient directly into its slot.
    direct = True
    # Whether that pass keeps what the operations saved, so that they may be run again.
    retain = False
    # That pass: what it calls at its end, by the objects that asked for it; None outside of passes.
    at_end: dict[Any, Callable[[], None]] | None = None

    def __reduce__(self) -> str:
        # By name: a decorated function of the main program is pickled with everything that it refers to.
        return "_mode"


_mode = _Mode()


# Threads inside `inference_mode`, and functions that are called when their number becomes or leaves zero.
_inferring: set[int] = set()
inference_listeners: list[Callable[[bool], None]] = []


def _set_modes(enabled: bool, inference: bool, asked: bool = False) -> None:
    _mode.enabled, _mode.inference, _mode.asked = enabled, inference, asked
    if inference:
        _inferring.add(get_ident())
        _tell(True)
    elif _inferring:
        _inferring.discard(get_ident())
        _tell(bool(_inferring))
        if _inferring:
            # Another thread has entered meanwhile.
            _tell(True)


def _tell(active: bool) -> None:
    for listener in inference_listeners:
        listener(active)


def is_grad_enabled() -> bool:
    """Whether operations in this thread are recorded for a backward pass."""
    return _mode.asked if _mode.inference else _mode.enabled


def _ask(enabled: bool) -> None:
    """Switch recording on or off; in ``inference_mode`` it stays off, and only ``is_grad_enabled()`` changes."""
    if _mode.inference:
        _mode.asked = enabled
    else:
        _mode.enabled = enabled


def _inside(block: Callable[[], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with each call inside its own block; for a generator, each of its steps."""
    if inspect.isclass(function):
        _warn_of_class()

    @functools.wraps(function, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        # The mode applies to the generator while it runs, not to its consumer.
        items = function(*args, **kwargs)
        resume, given = items.send, None
        while True:
            try:
                with block():
                    item = resume(given)
            except StopIteration as end:
                return end.value
            try:
                given = yield item
                resume = items.send
            except GeneratorExit:
                with block():
                    items.close()
                raise
            except BaseException as error:
                resume, given = items.throw, error

    return generator if inspect.isgeneratorfunction(function) else wrapped


def _warn_of_class() -> None:
    warnings.warn(
        "Decorating classes is deprecated and will be disabled in future versions. You should only decorate functions "
        "or methods: of a class only `__init__` runs in the mode.",
        FutureWarning,
        stacklevel=4,
    )


class set_grad_enabled:
    """Switch recording on or off at once; as a context manager or decorator, for that block only.

    >>> import fastnn
    >>> with fastnn.set_grad_enabled(False):
    ...     fastnn.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        if type(mode) is not bool:
            raise TypeError(f"set_grad_enabled(): argument 'enabled' must be bool, not {type(mode).__name__}")
        self.mode, self.before = mode, is_grad_enabled()
        _ask(self.mode)

    def __enter__(self) -> None:
        _ask(self.mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ask(self.before)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _ask(self.before)
        return _inside(lambda: set_grad_enabled(self.mode), function)


class _ModeBlock:
    """Base of ``no_grad`` and ``enable_grad``: a context manager and a decorator."""

    enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        block = super().__new__(cls)
        if function is None:
            return block
        block.before = []
        return block(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        # A stack, so that one object can be entered again inside its own block.
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(_mode.enabled)
        _mode.enabled = self.enabled

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _mode.enabled = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function) or inspect.isclass(function):
            return _inside(type(self), function)
        enabled = self.enabled

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            # Without a separate block for each call: 0.5 us instead of 2.8.
            before = _mode.enabled
            _mode.enabled = enabled
            try:
                return function(*args, **kwargs)
            finally:
                _mode.enabled = before

        return wrapped


class no_grad(_ModeBlock):
    """Do not record operations: a context manager or a decorator, with or without parentheses.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0], requires_grad=True)
    >>> with fastnn.no_grad():
    ...     (x * 2).requires_grad
    False
    """


class enable_grad(_ModeBlock):
    """Record operations, inside a ``no_grad`` block too: a context manager or a decorator.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0], requires_grad=True)
    >>> with fastnn.no_grad(), fastnn.enable_grad():
    ...     (x * 2).requires_grad
    True
    """

    enabled = True

    def __enter__(self) -> None:
        self.before.append(is_grad_enabled())
        _ask(True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ask(self.before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function) or inspect.isclass(function):
            return _inside(type(self), function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before = is_grad_enabled()
            _ask(True)
            try:
                return function(*args, **kwargs)
            finally:
                _ask(before)

        return wrapped


class inference_mode:
    """As ``no_grad``: do not record operations, in a block or a decorated function.

    Tensors made in it are marked, as in PyTorch (``is_inference()``). Outside of it they can be read; changing one in
    place, saving one for a backward pass or requesting its gradient is a RuntimeError.

    Args:
        mode: False for a block that records.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0], requires_grad=True)
    >>> with fastnn.inference_mode():
    ...     (x * 2).requires_grad, fastnn.is_inference_mode_enabled()
    (False, True)
    """

    def __new__(cls, mode: Any = True) -> Any:
        block = super().__new__(cls)
        if isinstance(mode, bool):
            return block
        block.mode, block.before = True, []
        return block(mode)

    def __init__(self, mode: Any = True) -> None:
        self.mode: bool = mode
        self.before: list[tuple[bool, bool, bool]] = []

    def __enter__(self) -> None:
        self.before.append((_mode.enabled, _mode.inference, _mode.asked))
        _set_modes(not self.mode, self.mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set_modes(*self.before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function) or inspect.isclass(function):
            return _inside(lambda: inference_mode(self.mode), function)
        mode = self.mode

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before = _mode.enabled, _mode.inference, _mode.asked
            _set_modes(not mode, mode)
            try:
                return function(*args, **kwargs)
            finally:
                _set_modes(*before)

        return wrapped


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside an ``inference_mode`` block."""
    return _mode.inference
