"""Expressions whose value fastnn prints as PyTorch does, or for which it raises an error of the same kind.

The text files have one expression per line. ``tensor/test_expressions.py`` compares with PyTorch live, and with its
recorded results in ``golden/expressions.json`` (written by ``golden/make_expressions.py``). ``torch`` is the library,
``np`` NumPy.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

GROUPS = (
    "creation", "printing", "attributes", "dtypes", "shapes", "indexing", "reductions", "products", "maths", "autograd",
    "edges",
)  # fmt: skip
EXPRESSIONS = [
    (group, line) for group in GROUPS for line in (Path(__file__).parent / f"{group}.txt").read_text().splitlines()
]


def outcome(lib: Any, expression: str) -> Any:
    """The value of an expression, or the exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return eval(expression, {"torch": lib, "np": np, "math": math})
        except Exception as error:
            return error


def described(value: Any) -> str:
    """The value as printed; for an exception, the classes that ``except`` may name."""
    if isinstance(value, Exception):
        kinds = [c.__name__ for c in type(value).__mro__ if issubclass(c, Exception) and c is not Exception]
        return "!" + " ".join(kinds)
    return repr(value)


def same_kind(found: str, expected: str) -> bool:
    """Whether a handler for the expected error catches a described error.

    NotImplementedError is PyTorch's RuntimeError for a dtype, and its own classes are unknown here.
    """
    kinds = expected[1:].split()
    kind = "RuntimeError" if "RuntimeError" in kinds else kinds[0]
    return kind in found[1:].split()
