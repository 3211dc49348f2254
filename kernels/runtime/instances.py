"""Instances of classes with slots, made and filled by compiled code.

A tensor has seven slots, a node of the tape fifteen. Python takes 270 ns to make a tensor, a :class:`Maker` 100.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.kernels.runtime.compiler import Words
from fastnn.kernels.runtime.python_calls import call_words, keep_forever, put_field, python_address, python_function
from fastnn.kernels.runtime.raw_memory import data_of, integer

# The words of a table, and of each slot: its offset, where its value comes from, and the value or a position.
_TABLE = Words("; type none true false least most alloc hold drop call fail error text slots")
_SLOT = Words("; offset source value")
_HEAD, _WIDTH = len(_TABLE), len(_SLOT)
_CONSTANT, _ARGUMENT, _IS_GIVEN, _NEW, _CALLED = range(5)


def _make_instance(me, objects, count):
    # me: an array of the words of a table; objects: of the arguments; returns a new reference.
    table = data_of(me)
    if count < integer(table, _TABLE.least) or count > integer(table, _TABLE.most):
        call_words(integer(table, _TABLE.fail), integer(table, _TABLE.error), integer(table, _TABLE.text), 0, 0)
        return 0
    none, hold = integer(table, _TABLE.none), integer(table, _TABLE.hold)
    made = call_words(integer(table, _TABLE.alloc), integer(table, _TABLE.type), 0, 0, 0)
    if made == 0:
        return 0
    for i in range(integer(table, _TABLE.slots)):
        row = _HEAD + i * _WIDTH
        source, value = integer(table, row + _SLOT.source), integer(table, row + _SLOT.value)
        if source in (_ARGUMENT, _IS_GIVEN):
            found = integer(objects, value) if value < count else none
            if source == _IS_GIVEN:
                found = integer(table, _TABLE.false) if found == none else integer(table, _TABLE.true)
            value = found
        elif source == _NEW:
            value = call_words(integer(table, _TABLE.alloc), value, 0, 0, 0)
        elif source == _CALLED:
            value = call_words(integer(table, _TABLE.call), value, 0, 0, 0)
        if source < _NEW:
            call_words(hold, value, 0, 0, 0)
        elif value == 0:
            call_words(integer(table, _TABLE.drop), made, 0, 0, 0)
            return 0
        put_field(made, integer(table, row + _SLOT.offset), value)
    return made


def _offset(kind: type, name: str) -> int:
    """The place of a slot in the instances, from ``PyMemberDescrObject`` and ``PyMemberDef`` of CPython."""
    member = ctypes.c_void_p.from_address(id(getattr(kind, name)) + object.__basicsize__ + 24).value
    return ctypes.c_ssize_t.from_address((member or 0) + 16).value


class Maker:
    """Makes instances of a class without a call of its ``__init__``.

    Args:
        kind: a class whose instances ``object.__new__`` makes.
        arguments: slots that are given, in this order; the last ones may be left out, and are None.
        optional: how many of them may be left out.
        constants: other slots, with the same value in all instances.
        given: a slot that says whether the last argument is something else than None.
        new: slots that get a new instance of a class without slots.
        called: slots that get the result of a function without arguments.

    ``make(...)`` returns an instance.
    """

    __slots__ = ("_kind", "_rows", "_table", "make")

    def __init__(
        self, kind: type, arguments: tuple[str, ...], optional: int = 0, *, constants: dict[str, Any] | None = None,
        given: str | None = None, new: dict[str, type] | None = None, called: dict[str, Any] | None = None,
    ) -> None:
        sources = [(name, _ARGUMENT, i) for i, name in enumerate(arguments)]
        if given is not None:
            sources.append((given, _IS_GIVEN, len(arguments) - 1))
        for values, source in ((constants, _CONSTANT), (new, _NEW), (called, _CALLED)):
            sources += [(name, source, id(value)) for name, value in (values or {}).items()]
        text = f"an instance of {kind.__name__} is made of {len(arguments) - optional} to {len(arguments)} values"
        message = ctypes.c_char_p(text.encode())
        head = [
            id(kind), id(None), id(True), id(False), len(arguments) - optional, len(arguments),
            *map(python_address, ("PyType_GenericAlloc", "Py_IncRef", "Py_DecRef", "PyObject_CallNoArgs")),
            python_address("PyErr_SetString"), id(TypeError), ctypes.cast(message, ctypes.c_void_p).value or 0,
            len(sources),
        ]  # fmt: skip
        rows = [word for name, *source in sources for word in (_offset(kind, name), *source)]
        self._kind, self._table = kind, np.array(head + rows, np.int64)
        self._rows = {name: _HEAD + i * _WIDTH for i, (name, *_) in enumerate(sources)}
        # What the table has the addresses of.
        keep_forever(message, kind, constants, new, called)
        self.make: Callable[..., Any] = self._first_call

    def _first_call(self, *args: Any) -> Any:
        function = python_function(self._kind.__name__, _make_instance, self._table)
        if self.make == self._first_call:
            # Otherwise it has been wrapped meanwhile.
            self.make = function
        return function(*args)

    def get_from(self, name: str, function: Callable[[], Any] | None, new: type) -> None:
        """Let a slot get the result of a function from now on; with None, a new instance of a class."""
        row = self._rows[name]
        value = new if function is None else function
        keep_forever(value)
        # A class without arguments can be called, too, so that the two words fit together at any time.
        self._table[row + _SLOT.source] = _CALLED
        self._table[row + _SLOT.value] = id(value)
        if function is None:
            self._table[row + _SLOT.source] = _NEW
