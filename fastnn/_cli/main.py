"""The command line, ``fastnn`` or ``python -m fastnn``: sub-commands in a table, errors in one line.

A sub-command is a row of :data:`COMMANDS`: its name, a summary in one line, a function that adds its
options to a parser, and a function that runs it and returns the exit status. Both functions import what
they need, so that no command waits for the imports of another.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from fastnn._cli import launch

INTERRUPTED = 130  # Exit status of a program ended by Ctrl-C: 128 + SIGINT.


class Failure(Exception):
    """An error with a one-line message for the user; the exit status is 1."""


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
        # matplotlib is missing, or does not know the file extension.
        raise Failure(str(error)) from error
    print(f"wrote {options.output}")
    return 0


# --------------------------------------------------------------------------------------------
# run and profile


def _program_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("script", nargs="?", help="a Python program that imports torch; its arguments follow")
    what.add_argument("-m", dest="module", metavar="module", help="a module or package, as after python -m")
    # An abbreviated option could not be distinguished from one without a value.
    parser.allow_abbrev = False


def _until_program(argv: Sequence[str], valued: Sequence[str] = ()) -> int:
    """The number of arguments up to the script, or the module after ``-m``; ``valued``: options that take a value."""
    i = 0
    while i < len(argv):
        if argv[i] in valued:
            i += 2
        elif argv[i] == "-m":
            return i + 2
        elif argv[i].startswith("-") and not argv[i].startswith("-m") and argv[i] != "-":
            i += 1
        else:
            return i + 1
    return i


def _is_missing(options: argparse.Namespace) -> bool:
    """Report a script that does not exist, or an invalid module name; whether there was one."""
    if options.script is None:
        if all(options.module.split(".")):
            return False
        message = f"-m takes the name of a module, as in package.module, found {options.module!r}"
    elif Path(options.script).exists() and not Path(options.script).is_dir():
        # Not only regular files: /dev/stdin, or the pipe of a shell's <(...).
        return False
    elif not options.script:
        message = "the name of the script is empty"
    else:
        message = f"{options.script}: {'is a directory' if Path(options.script).is_dir() else 'no such file'}"
    print(f"fastnn {options.command}: {message}", file=sys.stderr)
    return True


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] (script | -m module) [arguments ...]"
    _program_arguments(parser)


def _run(options: argparse.Namespace) -> int:
    if _is_missing(options):
        return 2
    from fastnn._cli.run import run

    return run(options.script, options.module, options.rest)


_PICTURES = (".png", ".svg", ".pdf")


def _picture(text: str) -> Path:
    """The path of a picture, checked to be writable before a program runs for hours."""
    path = Path(text).absolute()  # The program may change the folder.
    if path.suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"must end in {', '.join(_PICTURES)}, found {text}")
    try:
        can_be_made = path.parent.is_dir()
        # Raises for a name that is too long, for which is_dir() is False since Python 3.14.
        path.stat()
    except FileNotFoundError:
        pass
    except OSError:
        can_be_made = False
    if not can_be_made or path.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write {text}")
    return path


def _profile_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] [-o FILE] (script | -m module) [arguments ...]"
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=_picture, help=f"draw it as well: {', '.join(_PICTURES)} (extra plot)"
    )
    _program_arguments(parser)


def _profile(options: argparse.Namespace) -> int:
    if _is_missing(options):
        return 2
    if options.output is not None and importlib.util.find_spec("matplotlib") is None:
        raise Failure("a picture needs matplotlib: pip install 'fastnn[plot]'")
    from fastnn._cli.run import run
    from fastnn.training.profiling import profile

    prof = profile()
    try:
        return run(options.script, options.module, options.rest, command="profile", around=prof)
    finally:
        # Also if the program fails or calls sys.exit(), but not if it does not exist.
        if prof.seconds:
            print(f"\n{options.script or options.module}: {prof.seconds:.3g} s\n{prof.table()}")
            if options.output is not None:
                prof.plot(options.output)
                print(f"wrote {options.output}")


# --------------------------------------------------------------------------------------------
# bench


def _bench(options: argparse.Namespace) -> int:
    import fastnn

    root = Path(fastnn.__file__).resolve().parent.parent
    # Next to an installed package there may be another project's folder of that name, but no pyproject.toml.
    if not (root / "benchmarks" / "registry.py").is_file() or not (root / "pyproject.toml").is_file():
        print("fastnn bench: the benchmarks are part of the repository, not of the installed package", file=sys.stderr)
        return 2
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.__main__").main(options.rest, prog="fastnn bench")


COMMANDS: tuple[Command, ...] = (
    Command("run", "run a PyTorch script on fastnn, unchanged", _run_arguments, _run, _until_program),
    Command(
        "launch", "run it in several processes that train together", launch.add_arguments, launch.run,
        launch.until_program,
    ),
    Command(
        "profile", "run it and print where the time goes, kernel by kernel", _profile_arguments, _profile,
        lambda argv: _until_program(argv, ("-o", "--output")),
    ),
    Command("bench", "measure fastnn beside other libraries (in a checkout)", lambda parser: None, _bench, lambda _: 0),
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
    print(f"fastnn: {' '.join(message.split())}", file=sys.stderr)
    return 1
