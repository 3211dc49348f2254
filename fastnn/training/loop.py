"""fit: epochs over a data set in memory, with one captured step per batch."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._autograd.modes import no_grad
from fastnn._core.dtypes import check_array, warn_of_read_only
from fastnn._core.errors import AnomalyError, ShapeError
from fastnn._core.settings import check_model_precision
from fastnn._tensor.sequences import array_of
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.epoch import Column, Columns
from fastnn.capture.step import CompiledStep
from fastnn.nn.class_loss import CrossEntropyLoss
from fastnn.nn.module import Module
from fastnn.optim.adam import Adam
from fastnn.optim.optimizer import Optimizer
from fastnn.random import Generator, default_generator
from fastnn.training.callbacks import Callback, Checkpoint
from fastnn.training.history import Epoch, History

if TYPE_CHECKING:
    from fastnn.training.checkpoint import SavedRun
    from fastnn.training.distributed import Ranks

# Rows in a batch of an evaluation.
_EVALUATED = 2048


class DivergenceError(FloatingPointError):
    """The loss of a training run became NaN or infinite.

    Args:
        epoch, batch: where; the batch is 0 for the loss of the validation data.
        loss: its value.
        history: the epochs that were completed.
    """

    history: History

    def __init__(self, message: str, epoch: int, batch: int, loss: float) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.loss = epoch, batch, loss


@dataclass
class Run:
    """A training run: what ``fit`` knows, and gives to callbacks.

    Args:
        model, optimizer, criterion, scheduler, step_scheduler, generator: as given to ``fit``, or its defaults.
        rows, held_out: the rows to train on and those to evaluate on; the latter may be None.
        epochs: how many there will be.
        batch_size: rows in a batch.
        batches: how many batches an epoch has.
        history: of the epochs that were completed.
        callbacks: in the order in which they are called.
        epoch: the number of this epoch, from 1; 0 before the first.
        batch: the number of this batch in its epoch, from 1.
        loss: of this batch; after an epoch, the mean of the epoch.
        error: the exception that has ended training, or None.
    """

    model: Module
    optimizer: Optimizer
    criterion: Callable[..., Tensor]
    rows: Rows
    held_out: Rows | None
    scheduler: Any
    step_scheduler: Any
    generator: Generator
    epochs: int
    batch_size: int
    # The rows of an epoch: a last batch that is not full may be dropped.
    used: int
    check_finite: bool
    callbacks: list[Any]
    # Options that a resumed run must have as well.
    settings: dict[str, Any]
    history: History = field(default_factory=History)
    epoch: int = 0
    batch: int = 0
    loss: float = math.nan
    error: BaseException | None = None
    bar: Any = None
    # The callbacks' methods that are called after a batch; none for most runs.
    after_batch: list[Callable[[Run], Any]] = field(default_factory=list)
    is_stopped: bool = False
    # The processes that share the rows; ``used`` counts those of this one then.
    ranks: Ranks | None = None

    @property
    def batches(self) -> int:
        """How many batches an epoch has."""
        return -(-self.used // self.batch_size)

    def stop(self, reason: str = "a callback stopped the run") -> None:
        """End training after this batch or epoch.

        Args:
            reason: what ``history.stopped`` says; the first one is kept.
        """
        self.is_stopped = True
        self.history.stopped = self.history.stopped or reason

    def call(self, name: str, *args: Any) -> None:
        """Call a method of all callbacks that have it."""
        for method in _methods(self.callbacks, name):
            method(self, *args)

    def diverged(self, loss: float) -> DivergenceError:
        """The error for a loss of this batch that is NaN or infinite."""
        lr = float(self.optimizer.param_groups[0]["lr"])
        return DivergenceError(
            f"the loss became {loss} in epoch {self.epoch}, batch {self.batch} of {self.batches}: the learning rate, "
            f"{lr:g}, may be too high, or the data may have NaN, infinity or very large numbers. "
            "A block of fastnn.autograd.detect_anomaly() names the layer; check_finite=False trains on",
            self.epoch, self.batch, loss,
        )  # fmt: skip


def _methods(callbacks: Iterable[Any], name: str) -> list[Callable[..., Any]]:
    """The methods of that name which do something."""
    found = [getattr(callback, name, None) for callback in callbacks]
    nothing = getattr(Callback, name)
    return [method for method in found if method is not None and getattr(method, "__func__", None) is not nothing]


class _OfFunction(Callback):
    """A function that is called with each epoch and returns True to stop."""

    def __init__(self, function: Any) -> None:
        self.function = function
        # It may be an object with a state.
        if hasattr(function, "state_dict") and hasattr(function, "load_state_dict"):
            self.state_dict, self.load_state_dict = function.state_dict, function.load_state_dict

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        if self.function(epoch) is True:
            run.stop()


class Rows:
    """Rows of data and targets, from which batches are gathered into fixed arrays.

    Args:
        data: (rows, ...), float32 or uint8, or another type that is converted to float32 once.
        targets: (rows, ...); integers and booleans become int64.
        scale, shift: the model gets ``data * scale + shift``; by default uint8 is divided by 255.
        dtype: of the model; for float64 the data are converted and scaled once, and real targets are converted.
    """

    def __init__(
        self, data: Any, targets: Any, scale: float | None = None, shift: float = 0.0, dtype: Any = np.float32
    ) -> None:
        self.data, self.targets = _array("data", data), _array("targets", targets)
        if self.data.ndim < 2:
            raise ShapeError(f"data must have a dimension of rows and one of features, found shape {self.data.shape}")
        if self.targets.shape[:1] != self.data.shape[:1]:
            raise ValueError(
                f"targets must have a row for each of data, {self.data.shape[0]}, found shape {self.targets.shape}"
            )
        is_wide = dtype == np.float64
        if self.data.dtype not in (np.uint8, np.float32) and not is_wide:
            self.data = self.data.astype(np.float32)
        if self.targets.dtype.kind in "iub":
            self.targets = self.targets.astype(np.int64, copy=False)
        self.scale = (1 / 255 if self.data.dtype == np.uint8 else 1.0) if scale is None else float(scale)
        self.shift = float(shift)
        if is_wide:
            self.data = self.data.astype(np.float64, copy=False)
            if (self.scale, self.shift) != (1.0, 0.0):
                self.data = self.data * self.scale + self.shift
            if self.targets.dtype.kind == "f":
                self.targets = self.targets.astype(np.float64, copy=False)
        # The kernel that scales as it gathers writes float32.
        inputs = Column(self.data) if is_wide else Column(self.data, self.scale, self.shift)
        self.columns = Columns(inputs, Column(self.targets))
        self._buffers: dict[int, list[np.ndarray]] = {}

    @property
    def has_labels(self) -> bool:
        """Whether the targets are class labels, so that there is an accuracy."""
        return self.targets.dtype.kind == "i" and self.targets.ndim == 1

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> list[Tensor]:
        """The rows ``indices``, int64: data and targets; the next batch of this size reuses the tensors."""
        size = len(indices)
        if size not in self._buffers:
            self._buffers[size] = self.columns.rooms(size)
        self.columns.take(self._buffers[size], indices)
        return list(map(_wrap, self._buffers[size]))


def dtype_of(model: Module) -> np.dtype:
    """float64 for a model whose first real parameter is float64, otherwise float32: what it is trained on."""
    kinds = (p._data.dtype for p in model.parameters() if p._data.dtype.kind == "f")
    return np.dtype(np.float64 if next(kinds, None) == np.float64 else np.float32)


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
        hint = "; fit makes the batches itself: give it the tensors of the data set" if _is_data_set(value) else ""
        raise TypeError(f"{name} must be a tensor, an array or a list of rows, found {type(value).__name__}{hint}")
    if not array.ndim:
        raise TypeError(f"{name} must have a dimension of rows, found one number")
    return array


def _is_data_set(value: Any, *names: str) -> bool:
    # Nobody has one without this module, which few scripts need.
    module = sys.modules.get("fastnn.utils.data")
    kinds = tuple([getattr(module, name) for name in names or ("Dataset", "DataLoader")]) if module else ()
    return isinstance(value, kinds)


def data_and_targets(data: Any, targets: Any) -> tuple[Any, Any]:
    """Data and targets, from a TensorDataset of the two if there are no targets."""
    if targets is None and _is_data_set(data, "TensorDataset"):
        if len(data.tensors) != 2:
            raise ValueError(f"the TensorDataset must have two tensors, data and targets, found {len(data.tensors)}")
        return data.tensors
    return data, targets


def fit(
    model: Module,
    data: Any,
    targets: Any = None,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    criterion: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | None = None,
    max_grad_norm: float | None = None,
    validation: Any = None,
    validation_data: Any = None,
    scheduler: Any = None,
    step_scheduler: Any = None,
    callbacks: Iterable[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | bool = False,
    check_finite: bool = True,
    shuffle: bool = True,
    drop_last: bool = False,
    scale: float | None = None,
    shift: float = 0.0,
    generator: Generator | None = None,
    progress: bool = False,
    precision: str | None = None,
    distributed: bool = False,
) -> History:
    """Train a model on rows in memory.

    The model is set to training mode before each epoch, with all its submodules.

    Args:
        model: called on a batch of data, float32; or float64 if its parameters are, to which data and real targets
            are converted then.
        data: (rows, ...), float32 or uint8 (divided by 255, unless ``scale`` is given); or a TensorDataset of data
            and targets.
        targets: (rows, ...): class labels, or numbers.
        epochs, batch_size: of training.
        criterion: the loss of the model's result and the targets; cross-entropy by default.
        optimizer: Adam with its defaults, unless given.
        max_grad_norm: if given, the limit of the 2-norm of all gradients of a batch together, as in
            ``clip_grad_norm_`` (see :func:`fastnn.compile_step`).
        validation: the pair of data and targets, or a TensorDataset, to evaluate after each epoch;
            ``validation_data`` is another name of it.
        scheduler, step_scheduler: schedules of the learning rate, stepped after each epoch and each batch.
            ``ReduceLROnPlateau`` gets the validation loss, or the loss without validation data.
        callbacks: of :mod:`fastnn.callbacks`, or functions that are called with the :class:`Epoch` after each;
            training ends if one returns True.
        checkpoint: the path of a file that gets the whole state of the run after each epoch. It is replaced as a
            whole: a process that is killed leaves a complete file.
        resume: the path of a checkpoint: training goes on from it, and ends as the run would have ended without the
            interruption, bit for bit, if all other arguments are the same (``epochs`` may be larger). True resumes
            from ``checkpoint`` if that file exists, and starts from the beginning otherwise.
        check_finite: raise FloatingPointError if a loss becomes NaN or infinite. The model stays as it is then.
        shuffle: draw a new order in each epoch, from ``generator`` or the default one.
        drop_last: drop a last batch with fewer rows.
        scale, shift: the model gets ``data * scale + shift``.
        progress: show a bar (by tqdm).
        precision: "float32" or "float64", that of the model's parameters; or "medium", also called "bf16", to allow
            products in bfloat16 where they are faster, which is nowhere yet (see :func:`fastnn.compile_step`).
        distributed: share the rows with the other ranks of the job, which call ``fit`` with the same arguments (see
            docs/distributed.md): each step has ``batch_size`` rows of each rank, and their mean gradient. Rank 0 draws
            the order, and writes the files. Ranks have equal batches, so up to one row less than there are ranks is
            left out of an epoch.

    Returns: one :class:`Epoch` each; ``history["loss"]`` is the list of one of its fields.

    Raises: ValueError or TypeError for inconsistent arguments, and for a checkpoint of another run, before anything is
        changed; OSError, naming the file, if a checkpoint cannot be written; FloatingPointError if the loss diverges.
        An exception that ends training has the epochs so far as ``error.history``.

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
    check_model_precision(precision, [p.dtype for p in model.parameters()], ("float32", "medium", "bf16", "float64"))
    called = _callbacks(callbacks)
    if checkpoint is not None:
        called.append(Checkpoint(checkpoint))
    # Checkpoints come last: they hold what the other callbacks have done.
    called.sort(key=lambda callback: isinstance(callback, Checkpoint))
    if not isinstance(resume, (bool, str, os.PathLike)):
        raise TypeError(f"resume must be a path, True or False, found {type(resume).__name__}")
    if resume is True and checkpoint is None:
        raise ValueError("resume=True resumes from checkpoint, which is not given")
    if validation is not None and validation_data is not None:
        raise TypeError("validation and validation_data are two names of one argument: give one of them")
    validation = validation_data if validation is None else validation
    if _is_data_set(validation, "TensorDataset"):
        validation = data_and_targets(validation, None)
    if validation is not None and not (isinstance(validation, (tuple, list)) and len(validation) == 2):
        raise TypeError(f"validation must be a pair of data and targets, found {type(validation).__name__}")
    dtype = dtype_of(model)
    rows = Rows(*data_and_targets(data, targets), scale, shift, dtype)
    held_out = None if validation is None else Rows(validation[0], validation[1], scale, shift, dtype)
    if held_out is not None and not len(held_out):
        raise ValueError("validation must have rows, found none")
    criterion = CrossEntropyLoss() if criterion is None else criterion
    optimizer = Adam(model.parameters()) if optimizer is None else optimizer
    ranks, used = None, len(rows) // batch_size * batch_size if drop_last else len(rows)
    wrapped = model
    if distributed:
        # Loaded here: few programs have ranks.
        from fastnn.training.distributed import Ranks

        ranks = Ranks(model, int(batch_size))
        ranks.check(rows)
        used, wrapped, model = ranks.count(len(rows), drop_last), ranks.wrapped, ranks.module
        called, progress = ranks.keep_one(called), progress and ranks.rank == 0
    step = CompiledStep(wrapped, criterion, optimizer, max_grad_norm=max_grad_norm, precision=precision)
    run = Run(
        model=model, optimizer=optimizer, criterion=criterion, rows=rows, held_out=held_out, scheduler=scheduler,
        step_scheduler=step_scheduler, generator=generator or default_generator(), epochs=int(epochs),
        batch_size=int(batch_size), used=used, ranks=ranks,
        check_finite=check_finite, callbacks=called, after_batch=_methods(called, "on_batch_end"),
        # All ranks together: another number of ranks with the same rows in a step goes on with the same steps.
        settings={"batch_size": int(batch_size) * (ranks.size if ranks else 1), "shuffle": bool(shuffle),
                  "drop_last": bool(drop_last),
                  "max_grad_norm": None if max_grad_norm is None else float(max_grad_norm)},
    )  # fmt: skip
    for callback in called:
        if hasattr(callback, "_check"):
            callback._check(run)
    saved = _saved_state(run, checkpoint, resume)
    if saved is not None:
        saved.restore(run)
    try:
        run.call("on_fit_begin")
        if saved is not None:
            saved.restore_callbacks(run)
        run.bar = _bar(progress, run.epochs * run.batches, run.epoch * run.batches)
        run.is_stopped = bool(run.history.stopped)
        while run.epoch < run.epochs and not run.is_stopped:
            run.epoch += 1
            _run_epoch(run, step, shuffle)
    except BaseException as error:
        run.error = error
        if isinstance(error, AnomalyError):
            error.args = (f"epoch {run.epoch}, batch {run.batch}, {error}",)
        # Classes of user-defined exceptions may refuse attributes.
        with contextlib.suppress(AttributeError, TypeError):
            error.history = run.history  # type: ignore[attr-defined]
        raise
    finally:
        if run.bar is not None:
            run.bar.close()
        run.history.explanation = step.explain()
        run.call("on_fit_end")
    return run.history


def _callbacks(given: Iterable[Any]) -> list[Any]:
    """The callbacks, functions of epochs among them as objects.

    Raises: TypeError for anything else.
    """
    # A list: an iterator would be exhausted after the first epoch.
    found: list[Any] = [given] if isinstance(given, Callback) else list(given)
    wrong = [c for c in found if isinstance(c, type) or not (callable(c) or _is_callback(c))]
    if wrong:
        raise TypeError(f"callbacks must be callable, found {[type(c).__name__ for c in wrong]}")
    return [callback if _is_callback(callback) else _OfFunction(callback) for callback in found]


def _is_callback(value: Any) -> bool:
    return any(hasattr(value, name) for name in vars(Callback) if name.startswith("on_"))


def _saved_state(run: Run, checkpoint: Any, resume: Any) -> SavedRun | None:
    """The state to resume from, read and checked; None to start from the beginning."""
    if resume is True:
        resume = checkpoint if os.path.exists(checkpoint) else False
    if resume is False:
        return None
    # Loaded here: not every program has checkpoints.
    from fastnn.training.checkpoint import SavedRun

    saved = SavedRun(resume)
    saved.check(run)
    return saved


def _run_epoch(run: Run, step: CompiledStep, shuffle: bool) -> None:
    """One epoch: training, validation, the schedule's step and the callbacks."""
    run.call("on_epoch_begin")
    lr = float(run.optimizer.param_groups[0]["lr"])
    start = time.perf_counter()
    step.model.train()
    order = run.generator.permutation(len(run.rows)) if shuffle else np.arange(len(run.rows))
    order = order[: run.used] if run.ranks is None else run.ranks.share(order, run.used)
    run.loss = _train_epoch(run, step, run.rows, order)
    if run.ranks is not None:
        run.loss = run.ranks.mean(run.loss)
        run.ranks.share_buffers()
    epoch = Epoch(run.epoch, run.loss, time.perf_counter() - start, lr)
    if run.held_out is not None:
        epoch.validation_loss, epoch.validation_accuracy = (
            evaluate(run.model, run.held_out, run.criterion) if run.ranks is None
            else run.ranks.evaluate(run.held_out, run.criterion, evaluate)
        )  # fmt: skip
    run.history.epochs.append(epoch)
    held_out = epoch.validation_loss if run.held_out else None
    if run.check_finite and held_out is not None and not math.isfinite(held_out):
        message = f"the validation loss became {held_out} in epoch {run.epoch}; check_finite=False trains on"
        raise DivergenceError(message, run.epoch, 0, held_out)
    if run.scheduler is not None:
        _step(run.scheduler, epoch)
    run.call("on_epoch_end", epoch)
    if run.ranks is not None and run.ranks.agree(run.is_stopped):
        run.stop("another rank ended the run")


def _step(scheduler: Any, epoch: Epoch) -> None:
    """Step a schedule after an epoch."""
    # Loaded here: not every program has schedules.
    from fastnn.optim.lr_scheduler import ReduceLROnPlateau

    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(epoch.loss if epoch.validation_loss is None else epoch.validation_loss)
    else:
        scheduler.step()


def _train_epoch(run: Run, step: CompiledStep, rows: Rows, order: np.ndarray) -> float:
    """Train on the rows, in this order, in batches; the mean of the losses, weighted by rows.

    Raises: DivergenceError if a loss is not finite, unless the run allows it.
    """
    # At most all rows: an array with one row of any size has a limit.
    total, used, size = 0.0, 0, min(run.batch_size, max(1, len(order)))
    whole = len(order) // size
    # Batches of one size; a last one with fewer rows follows.
    parts = [order[: whole * size].reshape(whole, size)]
    if whole * size < len(order):
        parts.append(order[None, whole * size :])
    done = 0
    for part in parts:
        at = 0
        while at < len(part):
            # For the errors of a step.
            run.batch = done + 1
            most = 1 if run.after_batch else None
            losses = step._advance(rows.columns, part[at:], run.step_scheduler, run.check_finite, most)[0].tolist()
            at += len(losses)
            for loss in losses:
                done += 1
                run.batch = done
                if run.check_finite and not math.isfinite(loss):
                    raise run.diverged(loss)
                total += loss * part.shape[1]
                used += part.shape[1]
            if run.bar is not None:
                run.bar.update(len(losses))
            if run.after_batch:
                run.loss = losses[-1]
                for method in run.after_batch:
                    method(run)
                if run.is_stopped:
                    return total / used
    return total / used if used else math.nan


def evaluate(
    model: Module, rows: Rows, criterion: Callable[..., Tensor], begin: int = 0, end: int | None = None
) -> tuple[float, float | None]:
    """Mean loss, and the accuracy for class labels (None for other targets), of a model in evaluation mode.

    ``begin`` and ``end``: the rows to evaluate, by default all.
    """
    end = len(rows) if end is None else end
    was_training = model.training
    model.eval()
    total, right, labels = 0.0, 0, rows.has_labels
    try:
        with no_grad():
            for first in range(begin, end, _EVALUATED):
                x, y = rows.batch(np.arange(first, min(first + _EVALUATED, end)))
                out = model(x)
                total += float(criterion(out, y).item()) * len(y)
                if labels:
                    right += int((out._data.argmax(-1) == y._data).sum())
    finally:
        model.train(was_training)
    count = end - begin or float("nan")
    return total / count, right / count if labels else None


def _bar(progress: bool, total: int, done: int) -> Any:
    if not progress:
        return None
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="batch", mininterval=0.5)
