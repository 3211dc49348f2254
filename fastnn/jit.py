"""``torch.jit``: models stay Python; scripting or tracing one returns it unchanged."""

from __future__ import annotations

import contextlib
import sys
import typing
from collections.abc import Iterator
from typing import Any

from fastnn.nn.module import Module
from fastnn.serialization import load as _load
from fastnn.serialization import save as _save


class ScriptModule(Module):
    """The class of compiled modules. There are none: ``script`` returns its argument."""


class RecursiveScriptModule(ScriptModule):
    """As ``ScriptModule``."""


class ScriptFunction:
    """The class of compiled functions. There are none."""


def script(obj: Any, *args: Any, **options: Any) -> Any:
    """The function or module, unchanged.

    >>> import fastnn
    >>> fastnn.jit.script(abs)(-1)
    1
    """
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **options: Any) -> Any:
    """The function or module, unchanged."""
    return func


def trace_module(mod: Any, inputs: Any = None, *args: Any, **options: Any) -> Any:
    """The module, unchanged."""
    return mod


def freeze(mod: Any, *args: Any, **options: Any) -> Any:
    """The module, unchanged."""
    return mod


def optimize_for_inference(mod: Any, *args: Any, **options: Any) -> Any:
    """The module, unchanged."""
    return mod


def ignore(fn: Any = None, **options: Any) -> Any:
    """A decorator that changes nothing."""
    return fn if callable(fn) else lambda function: function


def export(fn: Any) -> Any:
    """A decorator that changes nothing."""
    return fn


unused = export


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """A block that changes nothing."""
    yield


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def save(m: Any, f: Any) -> None:
    """Save a whole module with ``fastnn.save``."""
    _save(m, f)


def load(f: Any, map_location: Any = None) -> Any:
    """Load a whole module written by ``save``; TorchScript programs are not supported.

    The file can run any code, as with ``fastnn.load(f, weights_only=False)``.
    """
    return _load(f, map_location, weights_only=False)


Final = typing.Final


class TracerWarning(Warning):
    """PyTorch's warning about a trace, which programs filter."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Does nothing."""


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value itself: types are for readers."""
    return the_value


# torch.jit under `fastnn run`, where the package is named torch: hummingbird-ml calls a backend by this name.
__name__ = f"{sys.modules['fastnn'].__name__}.jit"
