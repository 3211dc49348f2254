"""The command line, ``fastnn`` or ``python -m fastnn``: sub-commands in a table, errors in one line.

A sub-command is a row of :data:`COMMANDS`: its name, what it does in one line, a function that adds
its options to a parser, and a function that does it and returns the exit status. Both import what
they need themselves, so that no command waits for what another one needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

INTERRUPTED = 130  # Exit status of a program that Ctrl-C has ended: 128 + SIGINT.


class Failure(Exception):
    """What went wrong, in one line for the user; the exit status is 1."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with an argument."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


class Command(NamedTuple):
    """A sub-command.

    Args:
        name: the word on the command line.
        summary: one line for ``--help``.
        add_arguments: adds its options to a parser.
        run: does it, given the parsed options; returns the exit status. May raise :class:`Failure` and OSError.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# --------------------------------------------------------------------------------------------
# plot


def _plot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("activations",), help="activation functions and their derivatives")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="picture to write: .png, .svg or .pdf"
    )


def _plot(options: argparse.Namespace) -> int:
    from fastnn.classic import plot_activations

    try:
        plot_activations(options.output)
    except (ModuleNotFoundError, ValueError) as error:
        # Without matplotlib, and for an ending that it does not know.
        raise Failure(str(error)) from error
    print(f"wrote {options.output}")
    return 0


# --------------------------------------------------------------------------------------------
# run


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] (script | -m module) [arguments ...]"
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("script", nargs="?", help="a Python program that imports torch; its arguments follow")
    what.add_argument("-m", dest="module", metavar="module", help="a module or package, as after python -m")


def _run(options: argparse.Namespace) -> int:
    if options.script is not None:
        path = Path(options.script)
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "no such file"
            print(f"fastnn run: {options.script}: {what}", file=sys.stderr)
            return 2
    from fastnn.run import run

    return run(options.script, options.module, options.rest)


def _split(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is for the command line itself, and what is for the program that ``run`` runs: all after its name."""
    if not argv or argv[0] != "run":
        return argv, ()
    end = 3 if argv[1:2] == ["-m"] else 2
    return argv[:end], argv[end:]


COMMANDS: tuple[Command, ...] = (
    Command("run", "run a PyTorch script on fastnn, unchanged", _run_arguments, _run),
    Command("plot", "draw a picture", _plot_arguments, _plot),
)  # fmt: skip


# --------------------------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(prog="fastnn", description="Multi-layer perceptrons on the CPU.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    rows = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    for command in COMMANDS:
        one = rows.add_parser(command.name, help=command.summary, description=command.summary)
        command.add_arguments(one)
        one.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 if it failed, 2 for wrong arguments, 130 after Ctrl-C."""
    parser = _parser()
    own, rest = _split(sys.argv[1:] if argv is None else list(argv))
    options = parser.parse_args(own, argparse.Namespace(rest=rest))
    try:
        if options.version:
            from fastnn import __version__

            print(__version__)
            return 0
        if options.command is None:
            parser.error(f"which command? There are {', '.join(command.name for command in COMMANDS)}; see --help")
        return options.run(options)
    except Failure as error:
        message = str(error)
    except BrokenPipeError:
        # The reader has gone; Python must not complain about it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    print(f"fastnn: {' '.join(message.split())}", file=sys.stderr)
    return 1
