"""``fastnn run`` and ``fastnn profile``: their options. ``run.py`` runs the program."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from fastnn._cli.command import Command, Failure


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


COMMANDS = (
    Command("run", "run a PyTorch script on fastnn, unchanged", _run_arguments, _run, _until_program),
    Command(
        "profile", "run it and print where the time goes, kernel by kernel", _profile_arguments, _profile,
        lambda argv: _until_program(argv, ("-o", "--output")),
    ),
)  # fmt: skip
