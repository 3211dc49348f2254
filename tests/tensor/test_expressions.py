"""Expressions print the same text as in PyTorch, or raise an error of the same kind."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
from pathlib import Path

import pytest
from expressions import EXPRESSIONS, described, outcome, same_kind

import fastnn


@functools.cache
def recorded() -> dict[str, str]:
    return json.loads((Path(__file__).parents[1] / "golden" / "expressions.json").read_text())


def assert_agrees(expression: str, expected: str) -> None:
    value = outcome(fastnn, expression)
    found = described(value)
    if expected.startswith("!"):
        assert isinstance(value, Exception), f"returned {found}; PyTorch raises {expected[1:]}"
        assert same_kind(found, expected), f"{value!r} is none of {expected[1:]}"
        return
    assert not isinstance(value, Exception), f"raised {value!r}; PyTorch returns {expected}"
    assert found == expected


@pytest.mark.parametrize(("group", "expression"), EXPRESSIONS, ids=[f"{g}-{i}" for i, (g, _) in enumerate(EXPRESSIONS)])
def test_expression(group: str, expression: str) -> None:
    assert_agrees(expression, recorded()[expression])


def test_recorded_are_these() -> None:
    assert recorded().keys() == {line for _, line in EXPRESSIONS}
    assert len({line for _, line in EXPRESSIONS}) > 500


@pytest.mark.torch
def test_recorded_are_pytorchs() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: what it printed is recorded")
    torch = importlib.import_module("torch")
    changed = [line for _, line in EXPRESSIONS if described(outcome(torch, line)) != recorded()[line]]
    assert not changed
