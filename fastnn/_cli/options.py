"""Types of options, and groups of options that several commands have."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPTIMIZERS = ("adam", "adamw", "nadam", "radam", "rmsprop", "adagrad", "sgd")
SCHEDULES = ("constant", "linear", "cosine", "onecycle", "step", "plateau")
ACTIVATIONS = (
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh", "sigmoid", "identity",
)  # fmt: skip
PRECISIONS = ("float32", "float64")


def _named(name: str) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        # argparse names the type in its message: "invalid whole number value: 'x'".
        function.__name__ = name
        return function

    return decorate


@_named("whole number")
def positive_int(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {text}")
    return number


@_named("whole number")
def count(text: str) -> int:
    """A whole number from 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, found {text}")
    return number


@_named("whole number")
def seed(text: str) -> int:
    """A whole number that a generator takes."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be in [0, 2**32), found {text}")
    return number


@_named("number")
def positive(text: str) -> float:
    """A number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, found {text}")
    return number


@_named("number")
def not_negative(text: str) -> float:
    """A number from 0."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number from 0, found {text}")
    return number


@_named("probability")
def probability(text: str) -> float:
    """A number from 0 to 1, without 1."""
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, without 1, found {text}")
    return number


@_named("list of widths")
def widths(text: str) -> list[int]:
    """Widths of hidden layers: "64,32", or "" or "0" for none."""
    return [positive_int(width) for width in text.split(",")] if text.strip() not in ("", "0") else []


def fraction_or_file(text: str) -> float | Path:
    """A fraction of the rows, or a file."""
    try:
        number = float(text)
    except ValueError:
        return Path(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be a fraction from 0 to 1, without 1, or a file, found {text}")
    return number


def add_network(parser: Any) -> None:
    """Options of the network and of the optimizer, for ``train`` and ``warmup``."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--hidden", metavar="WIDTHS", type=widths,
        help="widths of the hidden layers, as in 64,32; 0 for none (pictures: 256,128; tables: 64,32)",
    )  # fmt: skip
    group.add_argument("--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layers (relu)")
    group.add_argument(
        "--dropout", metavar="P", type=probability, default=0.0, help="probability, after each hidden layer (0)"
    )
    group.add_argument("--batch-norm", action="store_true", help="normalise each hidden layer before its activation")
    group.add_argument(
        "--precision", choices=PRECISIONS, default="float32",
        help="of all numbers; float64 takes about twice as long (float32)",
    )  # fmt: skip
    group = parser.add_argument_group("training")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="the update rule (adam)")
    group.add_argument("--lr", metavar="LR", type=positive, help="first learning rate (0.001; sgd: 0.05)")
    group.add_argument(
        "--weight-decay", metavar="W", type=not_negative, default=0.0, help="penalty of large weights (0)"
    )
    group.add_argument(
        "--schedule", choices=SCHEDULES,
        help="of the learning rate: linear and cosine fall to zero, onecycle rises first, step divides it by ten after "
        "each third, plateau halves it when the validation loss rests (pictures: linear; tables: constant)",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", metavar="N", type=positive_int,
        help="rows in a step (64; tables of less than 10,000 rows: 32)",
    )  # fmt: skip


def add_reading(parser: Any) -> None:
    """Options of CSV files."""
    parser.add_argument("--encoding", default="utf-8", help="of CSV files, such as latin-1 (utf-8)")
    parser.add_argument(
        "--no-header", dest="header", action="store_false",
        help="the first line of CSV files has no names; the columns are called 1, 2, 3, ...",
    )  # fmt: skip


def add_threads(parser: Any) -> None:
    """The option --threads."""
    parser.add_argument("--threads", metavar="N", type=positive_int, help="threads to use (all processors)")


def names_of_columns(values: list[str] | None, columns: Any) -> tuple[str, ...]:
    """The names in options that may be repeated and hold several names with commas between them."""
    names: list[str] = []
    for value in values or []:
        names += [value] if value in columns else [name.strip() for name in value.split(",") if name.strip()]
    return tuple(names)
