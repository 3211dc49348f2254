"""What all commands share: the row of a command, its parser, and the error of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

INTERRUPTED = 130  # Exit status of a program ended by Ctrl-C: 128 + SIGINT.


class Failure(Exception):
    """An error with a one-line message for the user; the exit status is 1."""


def visible(text: str) -> str:
    """The text in one line, with Python's escapes for line breaks and control characters.

    >>> print(visible("two\\nlines \\x1b[31m"))
    two\\nlines \\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


class Command(NamedTuple):
    """A sub-command.

    Args:
        name: the word on the command line.
        summary: one line for ``--help``.
        add_arguments: adds its options to a parser.
        run: runs it with the parsed options; returns the exit status. May raise :class:`Failure` and OSError.
        own: returns how many arguments belong to the command, if it passes on the others, as ``options.rest``.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    own: Callable[[Sequence[str]], int] = len
