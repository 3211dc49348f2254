"""``fastnn plot``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastnn._cli.command import Command, Failure


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


COMMANDS = (Command("plot", "draw a picture", _plot_arguments, _plot),)
