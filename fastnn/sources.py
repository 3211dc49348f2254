"""The syntax tree of a function, where it is certain that it is of this one. Imports nothing of fastnn."""

from __future__ import annotations

import ast
import functools
import linecache
import types
from typing import Any


@functools.lru_cache(maxsize=256)
def parsed(code: types.CodeType) -> ast.FunctionDef | None:
    """The syntax tree of a function, or None if its source is not to be had."""
    source = "".join(linecache.getlines(code.co_filename))
    try:
        trees, codes = _functions(source)
    except (SyntaxError, ValueError):
        return None
    place = code.co_name, code.co_firstlineno
    # A file may have been changed since it was imported, and a function made of another one.
    return trees[place] if any(_essence(found) == _essence(code) for found in codes.get(place, ())) else None


_Place = tuple[str, int]


@functools.lru_cache(maxsize=8)
def _functions(source: str) -> tuple[dict[_Place, ast.FunctionDef], dict[_Place, list[types.CodeType]]]:
    """The functions of a file by name and first line: their trees and their code."""
    whole = ast.parse(source)
    trees = {
        (node.name, min([node.lineno, *[d.lineno for d in node.decorator_list]])): node
        for node in ast.walk(whole) if isinstance(node, ast.FunctionDef)
    }  # fmt: skip
    codes: dict[_Place, list[types.CodeType]] = {}
    stack = [compile(whole, "", "exec", dont_inherit=True)]
    while stack:
        code = stack.pop()
        codes.setdefault((code.co_name, code.co_firstlineno), []).append(code)
        stack += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return trees, {place: found for place, found in codes.items() if place in trees}


def _essence(code: types.CodeType) -> tuple[Any, ...]:
    """What code does, without where it is written."""
    constants = [_essence(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants
