"""The syntax tree of a function, if it is certain that the tree belongs to it.

A source text is trusted only if it compiles to exactly the code that runs, apart from file names and line numbers.
So its origin and age do not matter, and every place that may have it is tried.
"""

from __future__ import annotations
import __future__

import ast
import functools
import importlib.util
import inspect
import itertools
import linecache
import operator
import os
import sys
import types
import warnings
import zipimport
from collections.abc import Callable, Iterator
from typing import Any

Tree = ast.FunctionDef | ast.Lambda
_Place = tuple[str, int]

# The flags of a code object that `from __future__ import` may set.
_FUTURE = functools.reduce(
    operator.or_, [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names]
)
# Optimization levels, the interpreter's own first: some leave out asserts and docstrings.
_LEVELS = tuple(dict.fromkeys((min(sys.flags.optimize, 2), 0, 1, 2)))
# Trees that were found, by their code. A missing one may be found later.
_found: dict[types.CodeType, Tree] = {}
_MOST_FOUND = 256
# The most texts without a file that are tried, the newest first.
_MOST_KEPT = 64
# The file name that cloudpickle gives to a function pickled by value.
_PICKLED = "<dynamic-code>"


class NoSource(LookupError):
    """Why the source of a function cannot be read, and what to do about it."""


def parsed(function: types.FunctionType) -> Tree:
    """The syntax tree of a function.

    Raises: NoSource if no text is found that compiles to its code.
    """
    code = function.__code__
    if code in _found:
        return _found[code]
    files = dict.fromkeys([code.co_filename, function.__globals__.get("__file__")])
    read = []
    for file in files:
        if isinstance(file, str):
            for text in filter(str.strip, _texts(file, function)):
                read.append(file)
                if (tree := _tree_in(text, code)) is not None:
                    return _keep(code, tree)
    for text in _texts_without_file():
        if (tree := _tree_in(text, code)) is not None:
            return _keep(code, tree)
    raise NoSource(_reason(code.co_filename, read))


def _keep(code: types.CodeType, tree: Tree) -> Tree:
    while len(_found) >= _MOST_FOUND:
        _found.pop(next(iter(_found)), None)
    _found[code] = tree
    return tree


def _reason(file: str, read: list[str]) -> str:
    # The text of `python -c` has the same name as that of other strings.
    if read and read[0] != "<string>":
        return (
            f"as {read[0]} does not contain the code that runs: reload the module if the file was edited, or keep "
            "it from import hooks that rewrite code"
        )
    if file == _PICKLED or "ipykernel_" in file or file.startswith("<ipython-input"):
        return (
            "as it was pickled by value, and this process does not have the text: put the class into a module that "
            "this process can import"
        )
    if file.startswith("<"):
        return "as it was compiled from a string, or typed at a prompt: put the class into a file or a notebook cell"
    return f"as there is no file {file} to be read: put the class into a module whose source this process can read"


# --------------------------------------------------------------------------------------------
# Places that may have the text


def _texts(file: str, function: types.FunctionType) -> Iterator[str]:
    """Texts of a file that may contain a function, the likeliest first."""
    if os.path.exists(file) and not os.path.isfile(file):
        # A pipe, as in `python <(...)`: it was read once, and a second read may block forever.
        return
    # The cache may be older than the file, and so may the code. Given the globals, linecache asks the module's
    # loader, which can read zip files.
    yield _lines(linecache.getlines, file, function.__globals__)
    linecache.checkcache(file)
    yield _lines(linecache.getlines, file, function.__globals__)
    if file == "<string>":
        yield _command()
    if file.startswith("<"):
        # Since Python 3.13 this finds code typed at the prompt.
        yield _lines(lambda: inspect.findsource(function)[0])
    else:
        yield _zipped(file)


def _lines(find: Callable[..., list[str]], *args: Any) -> str:
    """The text of the lines that ``find`` returns, or nothing."""
    try:
        return "".join(find(*args))
    except Exception:
        # The loader may be third-party code, and a model must run without its source too.
        return ""


def _command() -> str:
    """The text of ``python -c``, or nothing."""
    for option, text in itertools.pairwise(sys.orig_argv):
        if option.startswith("-") and option.endswith("c") and not option.startswith("--"):
            return text
    return ""


def _zipped(file: str) -> str:
    """The text of a file in a zip file, or nothing."""
    try:
        return importlib.util.decode_source(zipimport.zipimporter(os.path.dirname(file)).get_data(file))
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""


def _texts_without_file() -> Iterator[str]:
    """Texts that were added to linecache, like notebook cells, the newest first.

    A function may lack the name of its cell: cloudpickle omits it, and cell magics like ``%%time`` compile
    their text under another name.
    """
    # A copy: other threads may add to it. Entries of files, or not read yet, differ in length and time.
    entries = [entry for entry in list(linecache.cache.values()) if len(entry) == 4 and entry[1] is None]
    for entry in entries[: -_MOST_KEPT - 1 : -1]:
        text = "".join(entry[2])
        yield text
        yield from _magic_cells(text)


def _magic_cells(cell: str) -> Iterator[str]:
    """The texts that an IPython cell passes to cell magics."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell: Any = None if get_shell is None or "run_cell_magic" not in cell else get_shell()
    if shell is None:
        return
    for node in ast.walk(_parse(cell, 0) or ast.Module([], [])):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("run_cell_magic") and len(node.args) == 3:
            body = node.args[2]
            if isinstance(body, ast.Constant) and isinstance(body.value, str):
                text = shell.transform_cell(body.value)
                yield text
                yield from _magic_cells(text)


# --------------------------------------------------------------------------------------------
# The code of a text


def _tree_in(text: str, code: types.CodeType) -> Tree | None:
    """The tree of a function in a text that compiles to ``code``."""
    name: str = code.co_name
    flags: int = code.co_flags & _FUTURE
    # A quick test rules out most texts. Private names are skipped: in the code they are mangled with the class name.
    names = [n for n in (name, *code.co_names, *code.co_varnames) if n.isidentifier() and not n.startswith("_")]
    if not all(n in text for n in names):
        return None
    wanted = _bare(code)
    # IPython compiles each statement separately, as a prompt does. Calls of names imported in the same module
    # compile to different instructions.
    for level, is_apart in itertools.product(_LEVELS, (False, True)):
        same = [found for found in _codes(text, flags, level, is_apart).get(name, ()) if _bare(found) == wanted]
        # All of them are equivalent. Their decorators may differ.
        same.sort(key=lambda f: (f.co_qualname != code.co_qualname, f.co_firstlineno != code.co_firstlineno))
        for found in same:
            trees = _trees(text, flags).get((name, found.co_firstlineno), [])
            if len({ast.dump(tree) for tree in trees}) > 1:
                # Several lambdas on one line; Python may have been started without columns.
                places = set(found.co_positions())
                trees = [tree for tree in trees if isinstance(tree, ast.Lambda) and _place(tree.body) in places]
            if len({ast.dump(tree) for tree in trees}) == 1:
                return trees[0]
    return None


def _place(node: ast.expr) -> tuple[Any, ...]:
    """The place of an expression, as in the positions of code."""
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _bare(code: types.CodeType) -> types.CodeType:
    """The same code without its location, to be compared by ``==`` of code objects."""
    constants = [_bare(c) if isinstance(c, types.CodeType) else c for c in code.co_consts]
    return code.replace(
        co_filename="", co_firstlineno=1, co_linetable=b"", co_qualname="", co_consts=tuple(constants)
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _parse(text: str, flags: int) -> ast.Module | None:
    return _quietly(text, flags | ast.PyCF_ONLY_AST, 0)


@functools.lru_cache(maxsize=8)
def _trees(text: str, flags: int) -> dict[_Place, list[Tree]]:
    """The functions of a text by name and first line, counting decorators as code objects do."""
    trees: dict[_Place, list[Tree]] = {}
    for node in ast.walk(_parse(text, flags) or ast.Module([], [])):
        if isinstance(node, ast.FunctionDef):
            line = min([node.lineno, *[d.lineno for d in node.decorator_list]])
            trees.setdefault((node.name, line), []).append(node)
        elif isinstance(node, ast.Lambda):
            trees.setdefault(("<lambda>", node.lineno), []).append(node)
    return trees


@functools.lru_cache(maxsize=32)
def _codes(text: str, flags: int, level: int, is_apart: bool) -> dict[str, list[types.CodeType]]:
    """All code in a text by name, compiled as a whole or, if ``is_apart``, one statement at a time."""
    tree = _parse(text, flags)
    if tree is None:
        return {}
    modules = [ast.Module([statement], []) for statement in tree.body] if is_apart else [tree]
    # Notebook cells may use a top-level await.
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    stack: list[types.CodeType] = list(filter(None, [_quietly(module, flags, level) for module in modules]))
    codes: dict[str, list[types.CodeType]] = {}
    while stack:
        code = stack.pop()
        codes.setdefault(code.co_name, []).append(code)
        stack += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return codes


def _quietly(source: str | ast.Module, flags: int, level: int) -> Any:
    """``compile`` without repeating its warnings; None if the source does not compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compile(source, "", "exec", flags, True, level)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
