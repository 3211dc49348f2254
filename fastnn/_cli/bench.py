"""``fastnn bench``: the benchmarks of a checkout."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from fastnn._cli.command import Command


def _bench(options: argparse.Namespace) -> int:
    import fastnn

    root = Path(fastnn.__file__).resolve().parent.parent
    # Next to an installed package there may be another project's folder of that name, but no pyproject.toml.
    if not (root / "benchmarks" / "registry.py").is_file() or not (root / "pyproject.toml").is_file():
        print("fastnn bench: the benchmarks are part of the repository, not of the installed package", file=sys.stderr)
        return 2
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.__main__").main(options.rest, prog="fastnn bench")


COMMANDS = (
    Command("bench", "measure fastnn beside other libraries (in a checkout)", lambda parser: None, _bench, lambda _: 0),
)
