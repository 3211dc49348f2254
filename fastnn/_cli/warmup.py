"""``fastnn warmup``: compile what a model needs, so that a container's first start does not wait."""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from typing import Any

from fastnn._cli import options as types
from fastnn._cli.command import Command, Failure

# Rows of a made-up batch: a larger one compiles nothing more.
_MOST_ROWS = 1 << 16


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n  fastnn warmup                            networks as fastnn train makes them\n"
        "  fastnn warmup wine.pt                    what this model needs, to train and to predict\n"
        "  fastnn warmup --activation gelu --dropout 0.2 --optimizer adamw\n\n"
        "in a Dockerfile:\n  ENV FASTNN_CACHE_DIR=/opt/fastnn\n  RUN fastnn warmup\n\n"
        "The machine code is for the processor that compiles it: another kind compiles again.\n"
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a file of fastnn train --save")
    types.add_network(parser)
    types.add_threads(parser)


def _warmup(options: argparse.Namespace) -> int:
    import fastnn
    from fastnn._cli.output import one_line
    from fastnn.kernels.runtime import cache, compiler
    from fastnn.tabular import load_model

    if options.threads:
        fastnn.set_num_threads(options.threads)
    started = time.perf_counter()
    folder = cache.cache_folder()
    if folder is None:
        raise Failure("no folder can be written for the compiled kernels: set FASTNN_CACHE_DIR")
    if options.model is None:
        cases = list(_cases(options))
    else:
        with one_line():
            model = load_model(options.model)
        for name, value in _settings(model.training).items():
            setattr(options, name, value)
        cases = [model]
    before = len(compiler.compilations)
    for case in cases:
        _run(case, copy.copy(options))
    count = len(compiler.compilations) - before
    print(f"compiled {count} kernels in {time.perf_counter() - started:.1f} s, kept in {folder}")
    return 0


def _settings(training: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model's file that train would take: a file may have anything."""

    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and 0 <= value < math.inf

    checks: dict[str, Callable[[Any], bool]] = {
        "optimizer": types.OPTIMIZERS.__contains__, "schedule": types.SCHEDULES.__contains__, "lr": is_number,
        "weight_decay": is_number, "batch_size": lambda value: type(value) is int and 0 < value <= _MOST_ROWS,
    }  # fmt: skip
    settings = training.get("settings")
    if not isinstance(settings, dict):
        return {}
    return {name: settings[name] for name, check in checks.items() if name in settings and check(settings[name])}


def _cases(options: argparse.Namespace) -> Any:
    """Models as ``fastnn train`` makes them: of pictures, and of tables with classes and with a number."""
    from fastnn.tabular import Pixels, Plan, Target

    three = Target("label", "classification", [0, 1, 2])
    for target, hidden, pixels in (
        (three, (256, 128), Pixels((8, 8), 1 / 255, 0.0)), (three, (64, 32), None),
        (Target("number", "regression"), (64, 32), None),
    ):  # fmt: skip
        plan = Plan(
            64, target.outputs, hidden if options.hidden is None else tuple(options.hidden), options.activation,
            options.dropout, options.batch_norm, options.precision,
        )  # fmt: skip
        yield _Case(plan, target, pixels)


class _Case:
    """What :func:`_run` reads of a model, without columns."""

    def __init__(self, plan: Any, target: Any, pixels: Any) -> None:
        self.plan, self.target, self.pixels, self.network = plan, target, pixels, plan.build()


def _run(case: Any, options: argparse.Namespace) -> None:
    """Train two epochs on random rows, and predict some."""
    import numpy as np

    from fastnn._cli import fitting
    from fastnn._cli.prepare import Part, Prepared
    from fastnn.tabular import Pixels, TabularModel

    is_table = case.pixels is None
    options.epochs, options.early_stopping, options.checkpoint, options.resume = 2, 5, None, False
    options.distributed = False
    fitting.complete(options, is_table, 0)
    plan, random = case.plan, np.random.default_rng(0)
    # The columns do not matter: the rows are made up.
    model = TabularModel(case.network, plan, case.target, pixels=case.pixels or Pixels((plan.inputs,), 1.0, 0.0))

    def part(count: int) -> Part:
        inputs = random.integers(0, 256, (count, plan.inputs)).astype(np.uint8)
        targets: Any = random.random((count, plan.outputs)).astype(plan.dtype)
        if case.target.classes:
            targets = np.arange(count) % len(case.target.classes)
        return Part((inputs / 255).astype(plan.dtype) if is_table else inputs, targets, "made up")

    # Full batches, and a last one that is not.
    training = part(3 * options.batch_size + max(2, options.batch_size // 2))
    fitting.train(Prepared(model, training, part(100), None), options, lambda line: None)
    for count in (1, 3000):
        model.outputs(part(count).inputs)


COMMANDS = (Command("warmup", "compile what a model needs, for images of containers", _arguments, _warmup),)
