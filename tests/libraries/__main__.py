"""The command line of the suite: makes environments, runs programs, compares and reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import page
from .environments import EnvironmentFailure, Environments, default_folder
from .runs import Recorded, Run, differences, load_recorded, record, run_program
from .table import LIBRARIES, Library, find


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m tests.libraries", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="a library; all that are promised by default")
    parser.add_argument("--list", action="store_true", help="print the table and stop")
    parser.add_argument("--docs", action="store_true", help="write docs/libraries.md, after the runs if there are any")
    parser.add_argument("--torch", action="store_true", help="run under PyTorch as well; compare numbers and times")
    parser.add_argument("--record", action="store_true", help="keep the results of --torch in the repository")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="runs with --torch (default: 3)")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where environments are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--torch-python", type=Path, metavar="PYTHON", help="an interpreter with PyTorch, instead of installing it"
    )
    parser.add_argument("--verbose", action="store_true", help="print what the programs print")
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return number


def _alternate(library: Library, environments: Environments, rounds: int, echo: bool) -> tuple[list[Run], list[Run]]:
    """Runs under fastnn and under PyTorch, in turn; those under fastnn stop at the first error."""
    ours, theirs = [], []
    for _ in range(rounds):
        for runs, torch in ((ours, False), (theirs, True)):
            runs.append(run_program(library, environments, torch, echo))
            if runs[-1].error:
                return ours, theirs
    return ours, theirs


def _check(library: Library, environments: Environments, options: argparse.Namespace) -> bool:
    """Run one library and print one line, or more if something differs; whether all is well."""
    expected: dict[str, str] | None = None
    times = ""
    if options.torch:
        ours, theirs = _alternate(library, environments, options.rounds, options.verbose)
        error = next((run.error for run in theirs if run.error), "")
        if error:
            print(f"{library.name} {library.version}: fails under PyTorch\n{error}", flush=True)
            return False
        ours_seconds, theirs_seconds = (min((run.seconds for run in runs), default=0.0) for runs in (ours, theirs))
        if theirs:
            expected = {name: value for name, (value, _) in theirs[-1].probes.items()}
            ratio = f", {theirs_seconds / ours_seconds:.2f} times as fast" if ours_seconds else ""
            times = f"; {ours_seconds:.2f} s, PyTorch {theirs_seconds:.2f} s{ratio}"
    else:
        ours = [run_program(library, environments, echo=options.verbose)]
        recorded = load_recorded(library)
        times = f"; {ours[0].seconds:.2f} s"
        if recorded is None:
            times += ", nothing recorded to compare with"
        else:
            expected = recorded.torch_probes
            times += f", recorded {recorded.fastnn_seconds:.2f} s and PyTorch {recorded.torch_seconds:.2f} s"
    run = ours[-1]
    wrong = [run.error] if run.error else differences(run, expected) if expected is not None else []
    verdict = f"{'FAILS' if wrong else 'ok'}, {len(run.probes)} probes{times}"
    print(f"{library.name} {library.version}: {verdict}", flush=True)
    for line in wrong:
        print(f"  {line}")
    if options.record and options.torch and not wrong:
        assert expected is not None
        result = Recorded(library.version, round(ours_seconds, 3), round(theirs_seconds, 3), expected)
        record(library, result)
    return not wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if a program fails or a number differs."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.record and not options.torch:
        parser.error("--record needs --torch")
    try:
        libraries = find(options.names)
    except KeyError as error:
        parser.error(f"no library {error}; --list lists them")
    if options.list:
        for library in libraries:
            promised = "promised" if library.promised else ""
            print(f"{library.name:20} {library.version:10} {promised:10} {library.trains}")
        return 0
    if options.docs and not options.names and not options.torch:
        page.write()
        print(f"wrote {page.PAGE}")
        return 0
    if not options.names:
        libraries = [library for library in LIBRARIES if library.promised]
    environments = Environments(options.folder, options.torch_python)
    bad = []
    for library in libraries:
        try:
            if not _check(library, environments, options):
                bad.append(library.name)
        except (EnvironmentFailure, OSError) as error:
            print(f"{library.name}: no environment\n{error}", flush=True)
            bad.append(library.name)
    if options.docs:
        page.write()
        print(f"wrote {page.PAGE}")
    print(f"{len(libraries) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
