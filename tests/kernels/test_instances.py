"""Instances made by compiled code are those that Python would make."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref

import pytest

from fastnn.kernels.runtime.instances import Maker


class Plain:
    """Without slots."""


class Slotted:
    __slots__ = ("__dict__", "__weakref__", "a", "b", "c", "d", "e", "f")


def maker() -> Maker:
    return Maker(
        Slotted, ("a", "b"), 1, constants={"c": "constant"}, given="d", new={"e": Plain},
        called={"f": itertools.count(7).__next__},
    )  # fmt: skip


def test_slots() -> None:
    make = maker()
    first, second = make.make([1]), make.make([2], "b")
    assert (first.a, first.b, first.c, first.d, first.f) == ([1], None, "constant", False, 7)
    assert (second.a, second.b, second.c, second.d, second.f) == ([2], "b", "constant", True, 8)
    assert type(first) is Slotted
    assert type(first.e) is Plain
    assert first.e is not second.e
    first.other = 1
    assert weakref.ref(first)() is first
    assert gc.is_tracked(first)


def test_wrong_number_of_values() -> None:
    make = maker()
    for given in ((), (1, 2, 3)):
        with pytest.raises(TypeError, match="Slotted is made of 1 to 2 values"):
            make.make(*given)


def test_error_of_a_called_function() -> None:
    def fail() -> None:
        raise KeyError("none left")

    make = Maker(Slotted, ("a",), called={"b": fail})
    value = [0]
    before = sys.getrefcount(value)
    with pytest.raises(KeyError, match="none left"):
        make.make(value)
    assert sys.getrefcount(value) == before


def test_another_source() -> None:
    make = maker()
    make.make(1)
    make.get_from("e", lambda: "called", Plain)
    assert make.make(1).e == "called"
    make.get_from("e", None, Plain)
    assert type(make.make(1).e) is Plain


def test_references() -> None:
    make = maker()
    value = [0]

    def calls() -> None:
        for _ in range(1000):
            make.make(value, value)

    calls()
    before = [sys.getrefcount(o) for o in (None, True, value, Slotted, Plain)]
    calls()
    after = [sys.getrefcount(o) for o in (None, True, value, Slotted, Plain)]
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 50
