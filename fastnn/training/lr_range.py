"""find_lr: L. N. Smith's range test of the learning rate (arXiv:1506.01186)."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.capture.step import CompiledStep
from fastnn.nn.class_loss import CrossEntropyLoss
from fastnn.nn.module import Module
from fastnn.optim.adam import Adam
from fastnn.optim.lr_scheduler.scheduler import put
from fastnn.optim.optimizer import Optimizer
from fastnn.random import Generator, default_generator
from fastnn.training.checkpoint import generators_of, into_module, of_module
from fastnn.training.loop import Rows, data_and_targets, dtype_of

# The weight of the past in the smoothed loss: an average of about twenty steps.
_PAST = 0.95
# The test ends when the smoothed loss is so many times the smallest one.
_DIVERGED = 4.0
# The part of a float32 loss that may be rounding.
_ROUNDING = 1e-6
# The fewest steps before it may end.
_LEAST = 10


@dataclass
class LRRange:
    """The result of :func:`find_lr`.

    Args:
        lrs: the learning rate of each step.
        losses: the loss of each step.
        smoothed: their exponential averages.
        suggestion: the learning rate at which the smoothed loss falls fastest; None if it never falls.
    """

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Plot the losses over the learning rate, by matplotlib (extra ``plot``).

        Args:
            path: of the picture, written if it is given.

        Returns: the figure, which a notebook shows.

        Raises: ModuleNotFoundError without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ModuleNotFoundError("a picture needs matplotlib: pip install 'fastnn[plot]'") from None
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.lrs, self.losses, color="0.75", linewidth=1, label="loss of a step")
        axes.plot(self.lrs, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="C1", linestyle=":", label=f"suggestion, {self.suggestion:.1e}")
        axes.set_xscale("log")
        finite = [loss for loss in self.smoothed if math.isfinite(loss)]
        if finite:
            # The last losses are so large that nothing else would be seen.
            axes.set_ylim(min(0.9 * min(finite), min(self.losses)), 2.0 * finite[0])
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def find_lr(
    model: Module,
    data: Any,
    targets: Any = None,
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    batch_size: int = 64,
    criterion: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | None = None,
    max_grad_norm: float | None = None,
    scale: float | None = None,
    shift: float = 0.0,
    generator: Generator | None = None,
) -> LRRange:
    """Try growing learning rates, one per batch, and suggest the one at which the loss falls fastest.

    The learning rate of step k of n is ``start * (end / start) ** (k / (n - 1))``. The test ends early when the loss
    diverges. Model, criterion, optimizer and the random generators are as before afterwards, also after an error.

    Args:
        model, data, targets, batch_size, criterion, optimizer, max_grad_norm, scale, shift: as of :func:`fastnn.fit`.
        start, end: the first and the last learning rate, of the first group; the other groups keep their ratio.
        steps: how many learning rates are tried, at least 3.
        generator: draws the order of the rows.

    Returns: an :class:`LRRange`, with the losses and ``suggestion``.

    Raises: TypeError and ValueError for other arguments, before anything is changed; ValueError, naming the row, for a
        batch whose data or targets are not finite; FloatingPointError if the first loss is not finite.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    >>> x = fastnn.randn(256, 4)
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(4, 16), fastnn.nn.ReLU(), fastnn.nn.Linear(16, 1))
    >>> sgd = fastnn.optim.SGD(model.parameters(), lr=0.1)
    >>> found = fastnn.find_lr(model, x, x.sum(1, keepdim=True), criterion=fastnn.nn.MSELoss(), optimizer=sgd)
    >>> 1e-3 < found.suggestion < 1, sgd.param_groups[0]["lr"]
    (True, 0.1)
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, found {type(model).__name__}")
    for name, count, least in (("steps", steps, 3), ("batch_size", batch_size, 1)):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, found {count!r}")
        if count < least:
            raise ValueError(f"{name} must be at least {least}, found {count}")
    if not 0 < start < end < math.inf:
        raise ValueError(f"start and end must be positive and in this order, found {start} and {end}")
    rows = Rows(*data_and_targets(data, targets), scale, shift, dtype_of(model))
    if not len(rows):
        raise ValueError("data must have rows, found none")
    criterion = CrossEntropyLoss() if criterion is None else criterion
    optimizer = Adam(model.parameters()) if optimizer is None else optimizer
    step = CompiledStep(model, criterion, optimizer, max_grad_norm=max_grad_norm)
    modules = [("", module) for module in (model, criterion) if isinstance(module, Module)]
    states = [copy.deepcopy(of_module(module)) for _, module in modules]
    modes = [(part, part.training) for part in model.modules()]
    options = copy.deepcopy(optimizer.state_dict())
    source = generator or default_generator()
    generators = [source, default_generator(), *[found for _, found in generators_of(modules, Generator)]]
    positions = [found.get_state() for found in generators]
    numpy_generators = [found for _, found in generators_of(modules, np.random.Generator)]
    numpy_states = [found.bit_generator.state for found in numpy_generators]
    try:
        return _test(step, rows, source, start, end, int(steps), int(batch_size))
    finally:
        optimizer.zero_grad()
        for (_, module), state in zip(modules, states, strict=True):
            into_module(module, state)
        for part, mode in modes:
            part.training = mode
        optimizer.load_state_dict(options)
        for found, position in zip(generators, positions, strict=True):
            found.set_state(position)
        for numpy_generator, state in zip(numpy_generators, numpy_states, strict=True):
            numpy_generator.bit_generator.state = state


def _test(
    step: CompiledStep, rows: Rows, source: Generator, start: float, end: float, steps: int, batch_size: int
) -> LRRange:
    groups = step.optimizer.param_groups
    first = float(groups[0]["lr"])
    ratios = [float(group["lr"]) / first if first else 1.0 for group in groups]
    lrs = start * (end / start) ** (np.arange(steps) / (steps - 1))
    losses: list[float] = []
    smoothed: list[float] = []
    average, order, at = 0.0, source.permutation(len(rows)), 0
    step.model.train()
    for count, lr in enumerate(lrs.tolist(), 1):
        for group, ratio in zip(groups, ratios, strict=True):
            put(group, "lr", lr * ratio)
        if at >= len(rows):
            order, at = source.permutation(len(rows)), 0
        batch = order[at : at + batch_size]
        loss = float(step(*rows.batch(batch))._data)
        at += batch_size
        if not math.isfinite(loss):
            _check_finite(rows, batch)
            if not losses:
                raise FloatingPointError(
                    f"the first loss is {loss}, of finite data, with the weights that the model came with: find_lr "
                    "needs a model and a criterion that give finite losses. A block of "
                    "fastnn.autograd.detect_anomaly() names the layer"
                )
            break
        losses.append(loss)
        average = _PAST * average + (1 - _PAST) * loss
        smoothed.append(average / (1 - _PAST**count))
        if count >= _LEAST and smoothed[-1] > _DIVERGED * min(smoothed):
            break
    tried = lrs[: len(losses)].tolist()
    return LRRange(tried, losses, smoothed, _steepest(tried, smoothed))


def _check_finite(rows: Rows, batch: np.ndarray) -> None:
    """ValueError for a number of these rows that is not finite: no learning rate is to blame then."""
    for name, array in (("data", rows.data), ("targets", rows.targets)):
        if array.dtype.kind != "f":
            continue
        for row in batch.tolist():
            values = np.atleast_1d(array[row])
            wrong = values[~np.isfinite(values)]
            if wrong.size:
                raise ValueError(f"{name} must be finite, found {wrong.item(0)} in row {row}")


def _steepest(lrs: list[float], smoothed: list[float]) -> float | None:
    """Where the loss falls fastest with the logarithm of the learning rate, before its minimum."""
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    # A loss that stays where it is falls by rounding.
    if lowest < 2 or smoothed[0] - smoothed[lowest] <= _ROUNDING * abs(smoothed[0]):
        return None
    slopes = np.gradient(np.array(smoothed[: lowest + 1]))
    return lrs[int(np.argmin(slopes))]
