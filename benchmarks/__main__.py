"""``python -m benchmarks``: measure, print the tables, and write them to the README and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks import ROOT, check, libraries, report, session
from benchmarks.registry import Work, all_works
from benchmarks.results import Results

INTERRUPTED = 130  # Exit status of a program ended by Ctrl-C: 128 + SIGINT.


class Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _threads(text: str) -> int:
    number, most = int(text), len(libraries.usable_cpus())
    if not 1 <= number <= most:
        raise argparse.ArgumentTypeError(f"must be from 1 to {most}, the cores of this machine, found {text}")
    return number


_threads.__name__ = "number of threads"


def _is_writable(path: Path) -> bool:
    """Whether a file can be written there; tested by an attempt, as permissions are not conclusive."""
    try:
        existed = path.exists()
        if existed and not path.is_file() and not path.is_dir():
            return True  # A pipe or a device: its reader would read an attempt as the end.
        path.open("a").close()
    except OSError:
        return False
    if not existed:
        path.unlink()
    return True


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    """The options; exits with status 2 and one line if one is wrong."""
    parser = Parser(prog=prog, description="Measure fastnn beside other libraries.")
    parser.add_argument("--quick", action="store_true", help="short rounds, the targets' work only: under 3 minutes")
    parser.add_argument("--check", action="store_true", help="print each target as met or missed; exit 1 on a miss")
    parser.add_argument("--readme", action="store_true", help="write the tables into docs/benchmarks.md")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to this file")
    parser.add_argument("--from", metavar="FILE", dest="source", type=Path, help="measure nothing, read such a file")
    parser.add_argument("--only", metavar="NAME", action="append", help="this work only (several times for several)")
    parser.add_argument("--threads", type=_threads, help="threads of every library (one per core)")
    parser.add_argument("--list", action="store_true", help="print the names of works, cases and libraries")
    options = parser.parse_args(argv)
    unknown = [name for name in options.only or () if name not in all_works()]
    if unknown:
        parser.error(f"argument --only: no work {unknown[0]!r}; there are {', '.join(all_works())}")
    # Checked now, not after the measurement.
    if options.json is not None and not _is_writable(options.json):
        parser.error(f"argument --json: cannot write {options.json}")
    if options.readme and options.only and options.source is None:
        parser.error("argument --readme: goes without --only, as it replaces whole tables")
    if options.source is not None:
        try:
            options.results = Results.from_json(json.loads(options.source.read_text(encoding="utf-8")))
            # Missing entries are reported now.
            report.screen(options.results), report.docs_tables(options.results)
        except OSError as error:
            parser.error(f"argument --from: {options.source} cannot be read: {error.strerror}")
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            parser.error(f"argument --from: {options.source} is no file of results: {error}")
    return options


def print_list() -> None:
    """Names of the works, with their cases and libraries."""
    for work in all_works().values():
        names = work.setups if isinstance(work, Work) else work.libraries
        print(f"{work.name}: {', '.join(names)}")
        print("    " + ", ".join(case.name for case in work.cases))


def _works(options: argparse.Namespace) -> list[str]:
    """The names of the works to measure."""
    if options.only:
        return [name for name in all_works() if name in options.only]
    return [name for name, work in all_works().items() if not options.quick or any(c.target for c in work.cases)]


def _flush() -> None:
    """Detect a closed pipe here, not at exit."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _progress(message: str) -> None:
    if sys.stderr is None:
        return
    if sys.stderr.isatty():
        print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)
    else:
        print(message, file=sys.stderr, flush=True)


def write_files(results: Results) -> None:
    """The tables between the markers of docs/benchmarks.md."""
    name = Path("docs") / "benchmarks.md"
    if report.replace_between(ROOT / name, report.docs_tables(results)):
        print(f"wrote the tables of {name}; python docs/make_speed.py writes the README's rows and picture")
    else:
        print(f"{name} has no lines {report.START} and {report.END}")


def main(argv: Sequence[str] | None = None, prog: str = "python -m benchmarks") -> int:
    """The exit status: 0, 1 for a missed target, 2 for a wrong option, 130 after Ctrl-C.

    Args:
        argv: the arguments, those of the process if not given.
        prog: the prefix of a message about them.
    """
    options = parse(argv, prog)
    try:
        if options.list:
            print_list()
            _flush()
            return 0
        if options.source is not None:
            results = options.results
        else:
            threads = options.threads or session.default_threads()
            results = session.Session(options.quick, threads, _progress).run(_works(options))
            if sys.stderr is not None and sys.stderr.isatty():
                _progress("")
        # First, so that the figures are not lost if standard output is a closed pipe.
        if options.json is not None:
            options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
        print(report.screen(results))
        if options.readme:
            write_files(results)
        if options.check:
            found = check.verdicts(results, options.only)
            print("\n" + "\n".join(check.lines(found)))
            _flush()
            return check.exit_status(found)
        _flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The pipe is closed; Python must not report that again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{prog}: {where}{error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
