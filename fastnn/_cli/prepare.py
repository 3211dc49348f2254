"""From files to the rows of a training run: reading, splitting, and the model around the network."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._cli.command import Failure, visible
from fastnn._cli.options import names_of_columns
from fastnn._cli.output import one_line, shortened
from fastnn.tabular.columns import Columns, similar
from fastnn.tabular.model import Pixels, TabularModel
from fastnn.tabular.network import Plan
from fastnn.tabular.reading import Pictures, read
from fastnn.tabular.target import Target

# Fractions of the rows that are held out, by default and of pictures that have a test set.
_OF_TABLES, _OF_PICTURES = 0.2, 0.1
# The weight, its gradient, and two numbers of the optimizer.
_BYTES_OF_WEIGHT = 16
_HIDDEN_OF_TABLES, _HIDDEN_OF_PICTURES = (64, 32), (256, 128)


@dataclass
class Part:
    """Rows with their targets.

    Args:
        inputs: of the network.
        targets: encoded.
        name: "validation", "test" or "training".
    """

    inputs: np.ndarray
    targets: np.ndarray
    name: str


@dataclass
class Prepared:
    """What a training run needs.

    Args:
        model: with new weights.
        training: the rows to train on.
        validation: the rows that are measured after each epoch, or None.
        test: rows that are only measured at the end, or None.
    """

    model: TabularModel
    training: Part
    validation: Part | None
    test: Part | None


def prepare(options: argparse.Namespace, say: Callable[[str], None]) -> Prepared:
    """Read the data, decide what the columns and the target are, and hold out rows.

    Raises: Failure.
    """
    with one_line():
        data = read(options.data, encoding=options.encoding, header=options.header)
        if isinstance(data, Pictures):
            return _pictures(data, options, say)
        return _table(data, options, say)


def _plan(options: argparse.Namespace, inputs: int, target: Target, hidden: tuple[int, ...]) -> Plan:
    return Plan(
        inputs, target.outputs, hidden if options.hidden is None else tuple(options.hidden), options.activation,
        options.dropout, options.batch_norm, options.precision,
    )  # fmt: skip


def _build(plan: Plan) -> Any:
    """The network. Linux grants more memory than there is, and ends the process that uses it."""
    sizes = (plan.inputs, *plan.hidden, plan.outputs)
    needed = sum(a * b for a, b in itertools.pairwise(sizes)) * _BYTES_OF_WEIGHT
    try:
        if needed > _memory():
            raise MemoryError
        return plan.build()
    except MemoryError as error:
        widths = "-".join(map(str, sizes))
        raise Failure(f"a network {widths} needs {needed / 1e9:.3g} GB of memory: too much for this machine") from error


def _memory() -> float:
    """The bytes of memory of this machine; infinity where they are not known."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


# -- Pictures ---------------------------------------------------------------------------------


def _pictures(data: Pictures, options: argparse.Namespace, say: Callable[[str], None]) -> Prepared:
    for option in ("target", "drop", "keep", "categorical"):
        if getattr(options, option):
            hint = "" if options.data else "; give the file of the table"
            raise Failure(f"--{option} is for tables, and {options.data or 'MNIST'} has pictures{hint}")
    if data.labels is None:
        raise Failure(f"{options.data}: there are no labels")
    if options.task == "regression":
        raise Failure("the labels of pictures are classes: --task regression is for tables")
    target = Target("label", "classification", sorted(set(data.labels.tolist())))
    if len(target.classes) < 2:
        raise Failure("all labels are the same: there is nothing to learn")
    pixels = Pixels.fit(data.pixels)
    plan = _plan(options, int(np.prod(pixels.shape)), target, _HIDDEN_OF_PICTURES)
    model = TabularModel(_build(plan), plan, target, pixels=pixels)
    labels = target.encode(data.labels)
    test = None
    if data.test_pixels is not None and data.test_labels is not None:
        test = Part(model.inputs(data.test_pixels), target.encode(data.test_labels), "test")
    inputs = model.inputs(data.pixels)
    fraction = options.validation
    validation: Part | None
    if isinstance(fraction, Path):
        held = read(fraction)
        if not isinstance(held, Pictures) or held.labels is None:
            raise Failure(f"--validation: {fraction} has no pictures with labels")
        training = Part(inputs, labels, "training")
        validation = Part(model.inputs(held.pixels), target.encode(held.labels), "validation")
    elif fraction is None and test is not None and not options.early_stopping:
        # Nothing is chosen by them.
        training, validation, test = Part(inputs, labels, "training"), test, None
    else:
        fraction = _OF_PICTURES if fraction is None else fraction
        training, validation = _split(inputs, labels, fraction, options.seed)
    say(f"{len(training.inputs):,} pictures of {' x '.join(map(str, pixels.shape))}, {len(target.classes)} classes")
    return Prepared(model, training, validation, test)


def _split(inputs: np.ndarray, targets: np.ndarray, fraction: float, seed: int) -> tuple[Part, Part | None]:
    count = round(len(inputs) * fraction)
    if not count:
        return Part(inputs, targets, "training"), None
    order = np.random.default_rng(seed).permutation(len(inputs))
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    return Part(inputs[kept], targets[kept], "training"), Part(inputs[held], targets[held], "validation")


# -- Tables -----------------------------------------------------------------------------------


def _table(frame: Any, options: argparse.Namespace, say: Callable[[str], None]) -> Prepared:
    targets = _target_names(frame, options)
    # Rows without a target still tell what a column is: numbers of rows have no gaps in the whole table.
    labelled = np.flatnonzero(frame[targets].notna().all(axis=1))
    known = _with_targets(frame, targets, say)
    target = Target.fit_columns(known, targets, options.task)
    kept, held = np.arange(len(known)), np.arange(0)
    fraction = options.validation
    if not isinstance(fraction, Path):
        kept, held = _split_table(known, target, _OF_TABLES if fraction is None else fraction, options.seed)
    kept, held = labelled[kept], labelled[held]
    if len(kept) < 2:
        raise Failure(f"{options.data}: {len(kept)} row to train on, expected at least 2")
    names = list(frame.columns.drop(targets))
    columns = Columns.fit(
        frame[names],
        rows=kept,
        **{option: names_of_columns(getattr(options, option), names) for option in ("drop", "keep", "categorical")},
    )
    plan = _plan(options, len(columns.names), target, _HIDDEN_OF_TABLES)
    model = TabularModel(_build(plan), plan, target, columns)
    second = _read_second(fraction, targets, options, say) if isinstance(fraction, Path) else frame.iloc[held]

    def part(rows: Any, word: str) -> Part:
        return Part(model.inputs(rows), target.encode(rows[targets], plan.dtype), word)

    training = part(frame.iloc[kept], "training")
    validation = part(second, "validation") if len(second) else None
    _describe(model, training, validation, say)
    return Prepared(model, training, validation, None)


def _target_names(frame: Any, options: argparse.Namespace) -> list[str]:
    if options.target is None:
        if str(options.data).lower().endswith(".npz"):
            names = [name for name in frame.columns if re.fullmatch(r"y\d*", name)]
            if not names:
                raise Failure(f"{options.data}: no array 'y' of targets")
            return names
        raise Failure(
            f"which column is to be predicted? Give --target; the columns are {shortened(list(frame.columns), 12)}"
        )
    names = list(dict.fromkeys(names_of_columns([options.target], frame.columns)))
    for name in names:
        if name not in frame.columns:
            raise Failure(f"--target: there is no column {name!r}{similar(name, frame.columns)}")
    if not names:
        raise Failure(f"--target: expected the name of a column, found {options.target!r}")
    return names


def _with_targets(frame: Any, names: list[str], say: Callable[[str], None]) -> Any:
    """The rows that have all targets."""
    is_known = frame[names].notna().all(axis=1)
    missing, some = int((~is_known).sum()), ", ".join(names)
    if missing == len(frame):
        raise Failure(f"the target {some!r} is missing in all rows")
    if missing:
        say(f"left out {missing:,} row{'s' * (missing > 1)} without {visible(some)}")
        frame = frame[is_known]
    return frame.reset_index(drop=True)


def _read_second(path: Path, names: list[str], options: argparse.Namespace, say: Callable[[str], None]) -> Any:
    frame = read(path, encoding=options.encoding, header=options.header)
    missing = names if isinstance(frame, Pictures) else [name for name in names if name not in frame.columns]
    if missing:
        raise Failure(f"--validation: {path} has no column {missing[0]!r}")
    return _with_targets(frame, names, say)


def _split_table(frame: Any, target: Target, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of the rows to train on, and of those to hold out."""
    from sklearn.model_selection import train_test_split

    count = round(len(frame) * fraction)
    if not 0 < count < len(frame):
        return np.arange(len(frame)), np.arange(0)
    labels = None
    if target.kind == "classification":
        labels = target.encode(frame[target.name])
        # As many of each class on both sides, if there are enough.
        if np.bincount(labels).min() < 2 or count < len(target.classes) or len(frame) - count < len(target.classes):
            labels = None
    kept, held = train_test_split(np.arange(len(frame)), test_size=count, random_state=seed, stratify=labels)
    return np.sort(kept), np.sort(held)


def _describe(model: TabularModel, training: Part, validation: Part | None, say: Callable[[str], None]) -> None:
    target, columns = model.target, model.columns
    assert columns is not None
    rows = f"{len(training.inputs):,} rows to train on"
    say(rows + ("" if validation is None else f", {len(validation.inputs):,} to validate"))
    classes = f"{len(target.classes)} classes ({shortened(target.class_names)})"
    number = f"{target.outputs} numbers (regression)" if target.names else "a number (regression)"
    say(f"target {visible(target.name)}: {classes if target.classes else number}")
    parts = [
        f"{len(names)} {word if len(names) == 1 else plural}"
        for names, word, plural in (
            (columns.numbers, "number", "numbers"), (columns.dates, "date", "dates"),
            (columns.categories, "category", "categories"),
        )
        if names
    ]  # fmt: skip
    inputs = len(columns.names)
    say(f"columns: {', '.join(parts)}; {inputs} input{'s' * (inputs > 1)}")
    for reason, names in columns.left_out.items():
        say(f"{'left out ' if 'frequent' not in reason else ''}{shortened(names)}: {reason}")
