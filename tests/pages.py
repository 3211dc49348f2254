"""Runs the code blocks of a page: the README, CONTRIBUTING.md and what is in docs/.

    python tests/pages.py PAGE ... [--commands]

Every block is fenced and names its language:

- ``python`` blocks run in order, in one namespace a page; ``pycon`` blocks are doctests in that namespace.
- ``sh`` blocks run in the folder of the page (``--commands``; else they are left out).
- A block with ``title="NAME"`` is not run: it is written to the file NAME of that folder, for what follows.
- A ``text`` block right after one that is run has to be its output; ``...`` matches anything.
- ``<!-- not run: REASON -->`` before a block says why it cannot run.

The module needs the standard library alone: `.ci/package` runs it where nothing but fastnn is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DATA = {"text", "csv", "json", "toml", "yaml", "dockerfile", "html", "ini"}
RUN = {"python", "pycon", "sh"}
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FENCE = re.compile(r"^( *)(`{3,})(\w*)([^\n`]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
_REASON = re.compile(r"<!-- not run: (.*?) -->\s*\Z", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


class PageError(Exception):
    """A page breaks the rules above, or a block prints something else than the page says."""


class Block(NamedTuple):
    """A block of code.

    Args:
        line: its first line of code, from 1.
        language, title, code: of the fence; the title may be empty.
        reason: why it is not run, or empty.
        follows: whether nothing but blank lines is between it and the block before.
    """

    line: int
    language: str
    title: str
    code: str
    reason: str
    follows: bool


def blocks(text: str) -> list[Block]:
    """The blocks of a page."""
    found, end = [], 0
    for match in _FENCE.finditer(text):
        before = text[end : match.start()]
        indent, code = len(match[1]), match[5]
        if indent:
            code = "".join(line[indent:] if line.strip() else line for line in code.splitlines(keepends=True))
        reason, title = _REASON.search(before), _TITLE.search(match[4])
        line = text.count("\n", 0, match.start(5)) + 1
        found.append(
            Block(
                line, match[3], title[1] if title else "", code, " ".join(reason[1].split()) if reason else "",
                bool(found) and not before.strip(),
            )
        )  # fmt: skip
        end = match.end()
    return found


def mistakes(text: str) -> list[str]:
    """Mistakes in the blocks of a page."""
    wrong = []
    for block in blocks(text):
        if block.language not in DATA | RUN:
            known = ", ".join(sorted(DATA | RUN))
            wrong.append(f"line {block.line}: a block of the language {block.language!r}, and not one of {known}")
        if block.language in DATA and block.reason:
            wrong.append(f"line {block.line}: a {block.language} block is never run and needs no reason")
    # Code that is only indented has no language.
    plain = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text).splitlines()
    in_list = False
    for number, line in enumerate(plain, 1):
        if re.match(r"\s*([-*]|\d+\.) ", line):
            in_list = True
        elif line.strip() and not line.startswith(" "):
            in_list = False
        if line.startswith("    ") and line.strip() and not in_list and (number == 1 or not plain[number - 2].strip()):
            wrong.append(f"line {number}: an indented block: fence it and name its language")
    return wrong


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(page: Path, folder: Path, *, commands: bool = False, verbose: bool = False) -> list[str]:
    """Run the blocks of a page in a folder; return what each block that ran has printed.

    Raises: PageError, or what a block raises.
    """
    text = page.read_text(encoding="utf-8")
    if wrong := mistakes(text):
        raise PageError(f"{page}: " + "; ".join(wrong))
    # A module with a file, whose lines are those of the page: a forward is captured by its source.
    name = "page_" + re.sub(r"\W", "_", page.stem)
    module = types.ModuleType(name)
    module.__file__ = str(folder / f"{name}.py")
    found = blocks(text)
    lines = [""] * text.count("\n")
    for block in found:
        if block.language == "python" and not block.title and not block.reason:
            code = block.code.splitlines()
            lines[block.line - 1 : block.line - 1 + len(code)] = code
    Path(module.__file__).write_text("\n".join(lines) + "\n", encoding="utf-8")
    printed: list[str] = []
    # The output that a text block may state: None after a block that has not run.
    last: str | None = None
    sys.modules[name] = module
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        with _inside(folder):
            for block in found:
                where = f"{page.name}, line {block.line}"
                if block.title:
                    Path(block.title).write_text(block.code, encoding="utf-8")
                    last = None
                elif block.language == "text":
                    if block.follows and last is not None:
                        _compare(block.code, last, where)
                elif block.language in DATA or block.reason or (block.language == "sh" and not commands):
                    last = None
                else:
                    if verbose:
                        print(f"  {where}: {block.code.strip().splitlines()[0]}", flush=True)
                    last = _run(block, module, where)
                    printed.append(last)
    finally:
        sys.path[:] = path
        for other, loaded in list(sys.modules.items()):
            if Path(getattr(loaded, "__file__", None) or "/").parent == folder:
                del sys.modules[other]
    return printed


def _run(block: Block, module: types.ModuleType, where: str) -> str:
    if block.language == "sh":
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], capture_output=True, text=True)
        if done.returncode:
            raise PageError(f"{where}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout
    out = io.StringIO()
    if block.language == "pycon":
        test = doctest.DocTestParser().get_doctest(block.code, {}, where, where, block.line - 1)
        test.globs = module.__dict__
        report: list[str] = []
        doctest.DocTestRunner(optionflags=_OPTIONS, verbose=False).run(test, out=report.append, clear_globs=False)
        if report:
            raise PageError(f"{where}\n{''.join(report)}")
        return ""
    assert module.__file__ is not None
    code = compile("\n" * (block.line - 1) + block.code, module.__file__, "exec")
    with contextlib.redirect_stdout(out):
        exec(code, module.__dict__)
    return out.getvalue()


def _compare(wanted: str, printed: str, where: str) -> None:
    checker = doctest.OutputChecker()
    if not checker.check_output(wanted, printed, _OPTIONS):
        example = doctest.Example("", wanted)
        raise PageError(f"{where}\n{checker.output_difference(example, printed, _OPTIONS)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="+", type=Path)
    parser.add_argument("--commands", action="store_true", help="run the sh blocks, too")
    options = parser.parse_args()
    for page in options.page:
        with tempfile.TemporaryDirectory() as folder:
            print(page, flush=True)
            run(page.resolve(), Path(folder), commands=options.commands, verbose=True)


if __name__ == "__main__":
    main()
