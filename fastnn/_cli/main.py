"""The command line, ``fastnn`` or ``python -m fastnn``: sub-commands in a table, errors in one line.

A sub-command is a row of :data:`COMMANDS`: its name, a summary in one line, a function that adds its
options to a parser, and a function that runs it and returns the exit status. Each family of commands is a
file of this folder with rows of its own. Both functions import what they need, so that no command waits for
the imports of another.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastnn._cli import bench, completion, doctor, files, launch, plot, programs, train, use, warmup
from fastnn._cli.command import INTERRUPTED, Command, Failure, Parser, visible

COMMANDS: tuple[Command, ...] = (
    *train.COMMANDS, *use.COMMANDS, *files.COMMANDS, *warmup.COMMANDS, *programs.COMMANDS, *launch.COMMANDS,
    *bench.COMMANDS, *plot.COMMANDS, *doctor.COMMANDS, *completion.COMMANDS,
)  # fmt: skip


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
    argv = sys.argv[1:] if argv is None else list(argv)
    command = next((command for command in COMMANDS if argv[:1] == [command.name]), None)
    end = 1 + command.own(argv[1:]) if command else len(argv)
    options = parser.parse_args(argv[:end], argparse.Namespace(rest=argv[end:]))
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
        # The reader has closed the pipe; Python must not raise again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    except KeyboardInterrupt:
        if options.command in ("run", "profile"):
            raise
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    print(f"fastnn: {visible(' '.join(message.split()))}", file=sys.stderr)
    return 1
