"""Callbacks of ``fit``: early stopping, best weights, checkpoints and logs, and the base of one's own."""

from __future__ import annotations

import copy
import csv
import math
import os
from typing import TYPE_CHECKING, Any

from fastnn._core.atomic_file import check_writable
from fastnn.training.history import FIELDS, Epoch

if TYPE_CHECKING:
    from fastnn.training.loop import Run


class Callback:
    """Base of callbacks: ``fit`` calls each method at its time, with the :class:`Run`.

    All methods do nothing here. An object of any class with some of these methods is a callback as well, and so is
    a function of an :class:`Epoch`, called after each one, which returns True to stop.

    A callback whose state decides how the run goes on has ``state_dict()`` and ``load_state_dict(state)``:
    checkpoints hold the state, and ``fit(resume=...)`` restores it after ``on_fit_begin``.

    >>> import fastnn
    >>> class StopAt(fastnn.callbacks.Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...
    ...     def on_epoch_end(self, run, epoch):
    ...         if epoch.loss < self.loss:
    ...             run.stop(f"the loss is below {self.loss}")
    >>> _ = fastnn.manual_seed(0)
    >>> x = fastnn.randn(64, 3)
    >>> model = fastnn.nn.Linear(3, 1)
    >>> history = fastnn.fit(
    ...     model, x, x.sum(1, keepdim=True), epochs=100, criterion=fastnn.nn.MSELoss(), callbacks=[StopAt(1.0)],
    ...     optimizer=fastnn.optim.SGD(model.parameters(), lr=0.1),
    ... )
    >>> history.stopped
    'the loss is below 1.0'
    """

    def on_fit_begin(self, run: Run) -> None:
        """Training begins. An error here ends it before anything is changed, unless the run is resumed."""

    def on_epoch_begin(self, run: Run) -> None:
        """An epoch begins: ``run.epoch`` is its number."""

    def on_batch_end(self, run: Run) -> None:
        """The step of a batch was taken: ``run.batch`` is its number, and ``run.loss`` its loss.

        If any callback has this method, each batch returns to Python; many short ones then take longer.
        """

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        """An epoch has ended, with its validation and the schedule's step."""

    def on_fit_end(self, run: Run) -> None:
        """Training has ended; ``run.error`` is the exception if it was one, and None otherwise."""


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, found {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be positive, found {value}")
    return int(value)


def _mode_of(mode: str, monitor: str) -> str:
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode must be 'auto', 'min' or 'max', found {mode!r}")
    if mode != "auto":
        return mode
    return "max" if monitor.endswith(("accuracy", "score")) else "min"


class BestWeights(Callback):
    """Keeps the weights of the best epoch and gives them back to the model at the end.

    After an error (also Ctrl-C) the model stays as it is; :meth:`restore` gives it the best weights.

    Args:
        monitor: a field of :class:`Epoch`: "validation_loss", "validation_accuracy" or "loss".
        min_delta: what is better by less than this is not better.
        mode: "min" or "max" is better; "auto" takes "max" for an accuracy.

    Raises: ValueError for other arguments, and from ``fit`` for a validation field without validation data.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    >>> x, y = fastnn.randn(64, 3), fastnn.randn(64, 1)
    >>> best = fastnn.callbacks.BestWeights(monitor="loss")
    >>> history = fastnn.fit(fastnn.nn.Linear(3, 1), x, y, epochs=3, criterion=fastnn.nn.MSELoss(), callbacks=[best])
    >>> best.epoch == history.best_epoch, best.value == min(history["loss"])
    (True, True)
    """

    _restores = True

    def __init__(self, monitor: str = "validation_loss", min_delta: float = 0.0, mode: str = "auto") -> None:
        if monitor not in FIELDS[1:]:
            raise ValueError(f"monitor must be one of {', '.join(FIELDS[1:])}, found {monitor!r}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must not be negative, found {min_delta}")
        self.monitor, self.min_delta, self.mode = monitor, float(min_delta), _mode_of(mode, monitor)
        self._reset()

    def _reset(self) -> None:
        # The best value, and the number of its epoch.
        self.value: float | None = None
        self.epoch = 0
        self._weights: dict[str, Any] | None = None

    def _check(self, run: Run) -> None:
        if self.monitor.startswith("validation") and run.held_out is None:
            raise ValueError(f"{type(self).__name__} monitors {self.monitor}, which needs validation data")
        labels = run.held_out is not None and run.held_out.has_labels
        if self.monitor == "validation_accuracy" and not labels:
            raise ValueError(f"{type(self).__name__} monitors validation_accuracy, which is for class labels only")

    def on_fit_begin(self, run: Run) -> None:
        """Forget an earlier run."""
        self._reset()

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        """Keep the weights of the best epoch so far."""
        self._update(run, epoch)

    def _update(self, run: Run, epoch: Epoch) -> bool:
        """Keep the epoch if it is the best; whether it is."""
        value = float(getattr(epoch, self.monitor))
        if math.isnan(value):
            return False
        if self.value is not None:
            gain = value - self.value if self.mode == "max" else self.value - value
            if not gain > self.min_delta:
                return False
        self.value, self.epoch = value, epoch.number
        run.history._best = epoch.number
        if self._restores:
            self._weights = copy.deepcopy(dict(run.model.state_dict()))
        return True

    def on_fit_end(self, run: Run) -> None:
        """Give the best weights to the model, unless training ended with an error."""
        if run.error is None:
            self.restore(run)

    def restore(self, run: Run) -> None:
        """Give the best weights to the model of a run, if there are any."""
        if self._weights is not None:
            run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and its weights."""
        return {"value": self.value, "epoch": self.epoch, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` has returned."""
        self.value, self.epoch, self._weights = state["value"], state["epoch"], state["weights"]


class EarlyStopping(BestWeights):
    """Stops training when a value has not become better for some epochs.

    Args:
        monitor, min_delta, mode: as of :class:`BestWeights`.
        patience: training stops when so many epochs in sequence were not better; positive.
        restore_best: give the model the weights of the best epoch at the end.

    Raises: TypeError and ValueError for other arguments; from ``fit`` as of :class:`BestWeights`.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    >>> x, y = fastnn.randn(64, 3), fastnn.randn(64, 1)
    >>> stopping = fastnn.callbacks.EarlyStopping(patience=2)
    >>> history = fastnn.fit(
    ...     fastnn.nn.Linear(3, 1), x, y, epochs=200, criterion=fastnn.nn.MSELoss(), callbacks=[stopping],
    ...     validation_data=(fastnn.randn(64, 3), fastnn.randn(64, 1)),
    ...     batch_size=4,
    ... )
    >>> len(history) == stopping.epoch + 2
    True
    >>> history.stopped
    'validation_loss was not better for 2 epochs'
    """

    def __init__(
        self, monitor: str = "validation_loss", patience: int = 5, min_delta: float = 0.0, mode: str = "auto",
        restore_best: bool = True,
    ) -> None:  # fmt: skip
        self.patience, self._restores = _positive("patience", patience), bool(restore_best)
        super().__init__(monitor, min_delta, mode)

    def _reset(self) -> None:
        super()._reset()
        self.waited = 0

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        """Stop the run if there were too many epochs that were not better."""
        self.waited = 0 if self._update(run, epoch) else self.waited + 1
        if self.waited >= self.patience:
            run.stop(f"{self.monitor} was not better for {self.patience} epoch{'s' * (self.patience > 1)}")

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and its weights, and the number of epochs since."""
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` has returned."""
        super().load_state_dict(state)
        self.waited = state["waited"]


class Checkpoint(Callback):
    """Writes the whole state of the run into a file after each epoch, for ``fit(resume=path)``.

    The file is replaced as a whole: at any moment it has the complete state of the newest epoch or of the one
    before, also if the process is killed. It is written after the methods of all other callbacks.

    Args:
        path: of the file. "{epoch}" in it is replaced by the epoch's number, which keeps the files of all epochs.
        every: write after each epoch whose number is a multiple of this, and after the last one.

    Raises: TypeError and ValueError for other arguments; from ``fit`` OSError, naming the file.
    """

    _writes_files = True

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"the path of a checkpoint must be a string or a path, found {type(path).__name__}")
        self.path, self.every = os.fspath(path), _positive("every", every)

    def path_of(self, epoch: int) -> str:
        """The path of the file of an epoch."""
        return self.path.replace("{epoch}", str(epoch))

    def _check(self, run: Run) -> None:
        check_writable(self.path_of(1))

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        """Write the file if it is due."""
        if epoch.number % self.every == 0 or epoch.number == run.epochs or run.is_stopped:
            from fastnn.training.checkpoint import write

            write(run, self.path_of(epoch.number))


class CSVLogger(Callback):
    """Writes a line for each epoch into a CSV file, which is complete after each epoch.

    A resumed run keeps the lines of the epochs before it.

    Args:
        path: of the file, which is replaced.
    """

    _writes_files = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def on_fit_begin(self, run: Run) -> None:
        """Write the line of names, and the epochs that the run has already."""
        run.history.to_csv(self.path)

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        """Write a line."""
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow([getattr(epoch, name) for name in FIELDS])


class TensorBoard(Callback):
    """Writes the fields of each epoch as TensorBoard's scalars, by ``fastnn.utils.tensorboard``.

    The tags are "loss/training", "loss/validation", "accuracy/validation" and "lr"; the step is the epoch's number.

    Args:
        folder: of the event files, made if needed.
    """

    _writes_files = True
    _TAGS = (
        ("loss", "loss/training"), ("validation_loss", "loss/validation"),
        ("validation_accuracy", "accuracy/validation"), ("lr", "lr"),
    )  # fmt: skip

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._writer: Any = None

    def on_fit_begin(self, run: Run) -> None:
        """Open an event file."""
        from fastnn.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self.folder)

    def on_epoch_end(self, run: Run, epoch: Epoch) -> None:
        """Write the scalars."""
        for name, tag in self._TAGS:
            value = getattr(epoch, name)
            if value is not None:
                self._writer.add_scalar(tag, value, epoch.number)
        self._writer.flush()

    def on_fit_end(self, run: Run) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
