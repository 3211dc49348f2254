"""The values that the functions of a compiled step read from outside: in names, attributes and containers.

A recording holds such a value as a constant of its launches, so that a step may be replayed only as long as the
functions would read the same one: the weight of a term of the loss that grows from epoch to epoch, for example.
"""

from __future__ import annotations

import collections
import functools
import itertools
import operator
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.capture.guards import _names, is_ours, users_functions
from fastnn.nn.module import Module
from fastnn.optim.optimizer import Optimizer

# How far objects in objects are followed, the elements of the largest container that is compared, and the most values.
_DEEPEST, _LARGEST, _MOST = 4, 256, 256
_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
_CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque)
# Their attributes are not followed: guards look at modules, and optimizers have numbers of their own.
_OPAQUE = (
    Tensor, Module, Optimizer, types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial,
)  # fmt: skip
_KNOWN = frozenset({*sys.stdlib_module_names, "fastnn", "torch", "numpy", "scipy"})
_MISSING: Any = object()


class Values:
    """What functions read from outside at one time.

    Args:
        classes: of modules whose forwards are such functions.
        callables: more of them.
    """

    def __init__(self, classes: Iterable[type[Module]], callables: Iterable[Any]) -> None:
        self.callables = list(callables)
        self.functions = dict.fromkeys(users_functions(classes, self.callables))
        found = 0
        while found < len(self.functions) <= _MOST:
            # The functions that the last round found call more names.
            found = len(self.functions)
            self.attributes: list[tuple[Any, str, Any]] = []
            self.entries: list[tuple[dict[Any, Any], Any, Any]] = []
            self.containers: list[tuple[Any, Any, str]] = []
            self.seen: set[tuple[int, Any]] = set()
            self.names = {"__call__"}.union(*[_names(f.__code__) for f in self.functions])
            self.constants = list(itertools.chain.from_iterable([_constants(f.__code__) for f in self.functions]))
            for function in list(self.functions):
                self.look_into_function(function)
            for called in self.callables:
                self.look_into_callable(called, 0)

    def __bool__(self) -> bool:
        return bool(self.functions) and bool(self.attributes or self.entries or self.containers)

    def changed(self) -> str:
        """The name of a value that is another one now; empty if there is none."""
        for owner, name, value in self.attributes:
            found = getattr(owner, name, _MISSING)
            if found is not value and not _is_equal(found, value):
                return name
        for entries, key, value in self.entries:
            found = entries.get(key, _MISSING)
            if found is not value and not _is_equal(found, value):
                return str(key)
        for container, content, name in self.containers:
            if not _is_same(_content(container), content):
                return name
        return ""

    # -- Looking for them --------------------------------------------------------------------------

    def look_into_function(self, function: types.FunctionType) -> None:
        for name in self.names & function.__globals__.keys():
            value = function.__globals__[name]
            if isinstance(value, (types.ModuleType, type, types.BuiltinFunctionType)) or is_ours(value):
                # Names of these rarely get another meaning.
                self.look_inside(value, name, 0)
            else:
                self.look(function.__globals__, name, value, 0)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self.look(cell, "cell_contents", value, 0, name)
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                self.look(function, name, getattr(function, name), 0)

    def look_into_callable(self, called: Any, depth: int) -> None:
        if isinstance(called, functools.partial) and depth < _DEEPEST:
            for value in (*called.args, *called.keywords.values()):
                self.look_inside(value, "a partial's argument", 0)
            self.look_into_callable(called.func, depth + 1)
        elif isinstance(called, types.MethodType):
            self.look_inside(called.__self__, type(called.__self__).__name__, 0)
        else:
            self.look_inside(called, type(called).__name__, 0)

    def look(self, owner: Any, name: Any, value: Any, depth: int, shown: str = "") -> None:
        """Remember a value and what is inside it."""
        if (id(owner), name) in self.seen or len(self.seen) >= _MOST:
            return
        self.seen.add((id(owner), name))
        if type(owner) is dict:
            self.entries.append((owner, name, value))
        else:
            self.attributes.append((owner, name, value))
        self.look_inside(value, shown or str(name), depth)

    def look_inside(self, value: Any, name: str, depth: int) -> None:
        if isinstance(value, types.FunctionType) and not is_ours(value):
            self.functions.setdefault(value)
        if depth >= _DEEPEST or isinstance(value, (*_PLAIN, *_OPAQUE)):
            return
        if isinstance(value, (*_CONTAINERS, np.ndarray)):
            self.look_into_container(value, name, depth)
            return
        home = value.__name__ if isinstance(value, types.ModuleType) else getattr(type(value), "__module__", "")
        home = value.__module__ if isinstance(value, type) else home
        if _is_known(home):
            return
        # Read without running code: a property is looked into, not called.
        own = vars(value) if hasattr(value, "__dict__") else {}
        kinds = value.__mro__ if isinstance(value, type) else type(value).__mro__
        for kind in () if isinstance(value, types.ModuleType) else kinds:
            for attribute in self.names & vars(kind).keys():
                found = vars(kind)[attribute]
                if isinstance(found, property):
                    self.look_inside(found.fget, attribute, depth + 1)
                elif isinstance(found, (types.FunctionType, staticmethod, classmethod)):
                    self.look_inside(getattr(found, "__func__", found), attribute, depth + 1)
                elif isinstance(found, (*_PLAIN, *_CONTAINERS)) and attribute not in own:
                    self.look(value, attribute, found, depth + 1)
                elif isinstance(found, types.MemberDescriptorType) and value is not kind:
                    self.look(value, attribute, getattr(value, attribute, None), depth + 1)
        for attribute in self.names & own.keys():
            self.look(value, attribute, own[attribute], depth + 1)

    def look_into_container(self, value: Any, name: str, depth: int) -> None:
        size = value.size if isinstance(value, np.ndarray) else len(value)
        if (id(value), None) in self.seen or size > _LARGEST:
            return
        self.seen.add((id(value), None))
        if type(value) is dict:
            keys = [key for key in value if any(key is c or key == c for c in self.constants)]
            if keys:
                for key in keys:
                    self.look(value, key, value[key], depth + 1)
                return
        if not isinstance(value, (tuple, frozenset)):
            self.containers.append((value, _content(value), name))
        if not isinstance(value, np.ndarray):
            for element in value.values() if isinstance(value, dict) else value:
                self.look_inside(element, name, depth + 1)


def reads_numbers_alone(function: Any) -> bool:
    """Whether a user's function reads numbers, containers of numbers and its arguments, as far as can be seen.

    Such a function returns the same before and after a training step, unlike one that reads a parameter.
    """
    if isinstance(function, functools.partial):
        given = [*function.args, *function.keywords.values()]
        return all(map(_is_of_numbers, given)) and reads_numbers_alone(function.func)
    values = Values([], [function])
    found = [value for _, _, value in (*values.attributes, *values.entries)]
    found += [content for _, content, _ in values.containers]
    return all(map(_is_of_numbers, found))


def _is_of_numbers(value: Any) -> bool:
    """Whether a value has numbers only, or is one whose parts :class:`Values` finds."""
    if isinstance(value, (*_PLAIN, np.ndarray, types.FunctionType, types.ModuleType, type)):
        return True
    if isinstance(value, types.BuiltinFunctionType):
        return isinstance(value.__self__, types.ModuleType)
    if isinstance(value, _CONTAINERS):
        return all(map(_is_of_numbers, [*value, *value.values()] if isinstance(value, dict) else value))
    return not isinstance(value, _OPAQUE) and not _is_known(type(value).__module__)


def _is_known(home: Any) -> bool:
    """Whether objects of this module are not looked into."""
    return str(home).partition(".")[0] in _KNOWN - {"types", "argparse"}


def _constants(code: types.CodeType) -> list[Any]:
    """The keys that code may look up in a dictionary."""
    found: list[Any] = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += _constants(constant)
        elif isinstance(constant, (str, int, tuple)):
            found.append(constant)
    return found


def _content(container: Any) -> Any:
    if isinstance(container, np.ndarray):
        return container.tobytes()
    if isinstance(container, dict):
        return [*container, *container.values()]
    return list(container)


def _is_same(found: Any, content: Any) -> bool:
    if isinstance(content, bytes):
        return bool(found == content)
    if len(found) != len(content):
        return False
    return all(map(operator.is_, found, content)) or all(map(_is_equal, found, content))


def _is_equal(found: Any, value: Any) -> bool:
    """Whether two values are one object, or plain and equal."""
    return found is value or (type(found) is type(value) and isinstance(value, _PLAIN) and bool(found == value))

