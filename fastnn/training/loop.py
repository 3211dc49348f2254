"""fit: epochs over a data set in memory, with one captured step per batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.modes import no_grad
from fastnn._core.dtypes import check_array, warn_of_read_only
from fastnn._core.errors import ShapeError
from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.step import CompiledStep
from fastnn.kernels.runtime import allocation
from fastnn.nn.class_loss import CrossEntropyLoss
from fastnn.nn.module import Module
from fastnn.optim.adam import Adam
from fastnn.optim.optimizer import Optimizer
from fastnn.random import Generator, default_generator

# Rows in a batch of an evaluation.
_EVALUATED = 2048


@dataclass
class Epoch:
    """The results of one epoch.

    Args:
        number: from 1.
        loss: mean of the losses of its batches, weighted by their rows.
        seconds: of training, without the validation.
        validation_loss, validation_accuracy: None without validation data; the accuracy is for class labels only.
        lr: the learning rate of the first group, in this epoch.
    """

    number: int
    loss: float
    seconds: float
    lr: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass
class History:
    """The result of ``fit``: the epochs, and the step's explanation of its capture."""

    epochs: list[Epoch] = field(default_factory=list)
    explanation: str = ""

    def __getitem__(self, name: str) -> list[Any]:
        return [getattr(epoch, name) for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)


class Rows:
    """Rows of data and targets, from which batches are gathered into fixed arrays.

    Args:
        data: (rows, ...), float32 or uint8, or another type that is converted to float32 once.
        targets: (rows, ...); integers and booleans become int64.
        scale, shift: the model gets ``data * scale + shift``; by default uint8 is divided by 255.
    """

    def __init__(self, data: Any, targets: Any, scale: float | None = None, shift: float = 0.0) -> None:
        self.data, self.targets = _array("data", data), _array("targets", targets)
        if self.data.ndim < 2:
            raise ShapeError(f"data must have a dimension of rows and one of features, found shape {self.data.shape}")
        if self.targets.shape[:1] != self.data.shape[:1]:
            raise ValueError(
                f"targets must have a row for each of data, {self.data.shape[0]}, found shape {self.targets.shape}"
            )
        if self.data.dtype not in (np.uint8, np.float32):
            self.data = self.data.astype(np.float32)
        if self.targets.dtype.kind in "iub":
            self.targets = self.targets.astype(np.int64, copy=False)
        self.flat = np.ascontiguousarray(self.data.reshape(len(self.data), math.prod(self.data.shape[1:])))
        self.scale = (1 / 255 if self.data.dtype == np.uint8 else 1.0) if scale is None else float(scale)
        self.shift = float(shift)
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The rows ``indices``, int64; the next batch of this size reuses the tensors."""
        size = len(indices)
        if size not in self._buffers:
            x = allocation.empty((size, self.flat.shape[1]), np.float32)
            y = allocation.empty((size, *self.targets.shape[1:]), self.targets.dtype)
            self._buffers[size] = _wrap(x.reshape(size, *self.data.shape[1:])), _wrap(y)
        x_batch, y_batch = self._buffers[size]
        kernels.gather(x_batch._data.reshape(size, self.flat.shape[1]), self.flat, indices, self.scale, self.shift)
        np.take(self.targets, indices, axis=0, out=y_batch._data)
        return x_batch, y_batch


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        array = value.detach().numpy()
    elif isinstance(value, np.ndarray):
        array = value
        if not array.flags.writeable:
            warn_of_read_only("NumPy array")
        check_array(array)
    elif isinstance(value, (list, tuple)):
        array = array_of(value, None)
    else:
        raise TypeError(f"{name} must be a tensor, an array or a list of rows, found {type(value).__name__}")
    if not array.ndim:
        raise TypeError(f"{name} must have a dimension of rows, found one number")
    return array


def fit(
    model: Module,
    data: Any,
    targets: Any,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    criterion: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | None = None,
    max_grad_norm: float | None = None,
    validation: tuple[Any, Any] | None = None,
    scheduler: Any = None,
    step_scheduler: Any = None,
    callbacks: Iterable[Callable[[Epoch], Any]] = (),
    shuffle: bool = True,
    drop_last: bool = False,
    scale: float | None = None,
    shift: float = 0.0,
    generator: Generator | None = None,
    progress: bool = False,
) -> History:
    """Train a model on rows in memory.

    The model is set to training mode before each epoch, with all its submodules.

    Args:
        model: called on a batch of data, float32.
        data: (rows, ...), float32 or uint8 (divided by 255, unless ``scale`` is given).
        targets: (rows, ...): class labels, or numbers.
        epochs, batch_size: of training.
        criterion: the loss of the model's result and the targets; cross-entropy by default.
        optimizer: Adam with its defaults, unless given.
        max_grad_norm: if given, the limit of the 2-norm of all gradients of a batch together, as in
            ``clip_grad_norm_`` (see :func:`fastnn.compile_step`).
        validation: data and targets to evaluate after each epoch.
        scheduler, step_scheduler: schedules of the learning rate, stepped after each epoch and each batch.
        callbacks: called with the :class:`Epoch` after each; training ends if one returns True.
        shuffle: draw a new order in each epoch, from ``generator`` or the default one.
        drop_last: drop a last batch with fewer rows.
        scale, shift: the model gets ``data * scale + shift``.
        progress: show a bar (by tqdm).

    Returns: one :class:`Epoch` each; ``history["loss"]`` is the list of one of its fields.

    Raises: ValueError or TypeError for inconsistent arguments, before anything is changed.

    >>> import fastnn, numpy as np
    >>> _ = fastnn.manual_seed(0)
    >>> x = np.random.default_rng(0).standard_normal((256, 2)).astype(np.float32)
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 16), fastnn.nn.ReLU(), fastnn.nn.Linear(16, 2))
    >>> adam = fastnn.optim.Adam(model.parameters(), lr=0.01)
    >>> history = fastnn.fit(model, x, (x[:, 0] > x[:, 1]).astype(int), epochs=20, optimizer=adam)
    >>> len(history), history["loss"][-1] < 0.5 * history["loss"][0]
    (20, True)
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, found {type(model).__name__}")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, found {value!r}")
        least = int(name == "batch_size")
        if value < least:
            raise ValueError(f"{name} must {'be positive' if least else 'not be negative'}, found {value}")
    for name, schedule in (("scheduler", scheduler), ("step_scheduler", step_scheduler)):
        if schedule is not None and not hasattr(schedule, "step"):
            raise TypeError(f"{name} must have a method step, found {type(schedule).__name__}")
    # A tuple: an iterator would be exhausted after the first epoch.
    callbacks = tuple(callbacks)
    if not all(map(callable, callbacks)):
        raise TypeError(f"callbacks must be callable, found {[type(c).__name__ for c in callbacks if not callable(c)]}")
    if validation is not None and not (isinstance(validation, (tuple, list)) and len(validation) == 2):
        raise TypeError(f"validation must be a pair of data and targets, found {type(validation).__name__}")
    rows = Rows(data, targets, scale, shift)
    held_out = None if validation is None else Rows(*validation, scale, shift)
    criterion = CrossEntropyLoss() if criterion is None else criterion
    optimizer = Adam(model.parameters()) if optimizer is None else optimizer
    step = CompiledStep(model, criterion, optimizer, max_grad_norm=max_grad_norm)
    source = generator or default_generator()
    stop = len(rows) // batch_size * batch_size if drop_last else len(rows)
    history = History()
    bar = _bar(progress, epochs * -(-stop // batch_size))
    try:
        for number in range(1, epochs + 1):
            lr = float(optimizer.param_groups[0]["lr"])
            start, total = time.perf_counter(), 0.0
            model.train()
            order = source.permutation(len(rows)) if shuffle else np.arange(len(rows))
            for first in range(0, stop, batch_size):
                indices = order[first : min(first + batch_size, stop)]
                loss = step(*rows.batch(indices))
                total += float(loss._data) * len(indices)
                if step_scheduler is not None:
                    step_scheduler.step()
                if bar is not None:
                    bar.update()
            epoch = Epoch(number, total / stop if stop else float("nan"), time.perf_counter() - start, lr)
            if held_out is not None:
                epoch.validation_loss, epoch.validation_accuracy = evaluate(model, held_out, criterion)
            history.epochs.append(epoch)
            if scheduler is not None:
                scheduler.step()
            if any([callback(epoch) is True for callback in callbacks]):  # noqa: C419  # all are called
                break
    finally:
        if bar is not None:
            bar.close()
    history.explanation = step.explain()
    return history


def evaluate(model: Module, rows: Rows, criterion: Callable[..., Tensor]) -> tuple[float, float | None]:
    """Mean loss, and the accuracy for class labels (None for other targets), of a model in evaluation mode."""
    was_training = model.training
    model.eval()
    total, right, labels = 0.0, 0, rows.targets.dtype.kind == "i" and rows.targets.ndim == 1
    try:
        with no_grad():
            for first in range(0, len(rows), _EVALUATED):
                x, y = rows.batch(np.arange(first, min(first + _EVALUATED, len(rows))))
                out = model(x)
                total += float(criterion(out, y).item()) * len(y)
                if labels:
                    right += int((out._data.argmax(-1) == y._data).sum())
    finally:
        model.train(was_training)
    count = len(rows) or float("nan")
    return total / count, right / count if labels else None


def _bar(progress: bool, total: int) -> Any:
    if not progress:
        return None
    from tqdm import tqdm

    return tqdm(total=total, unit="batch", mininterval=0.5)
