"""The training run of ``fastnn train``: optimizer, schedule, callbacks, and the measures of the result."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn._cli.prepare import Part, Prepared
from fastnn.callbacks import Callback, Checkpoint, EarlyStopping
from fastnn.optim import lr_scheduler
from fastnn.tabular.model import TabularModel
from fastnn.tabular.target import Target
from fastnn.training.history import Epoch, History

_OPTIMIZERS: dict[str, Any] = {
    "adam": optim.Adam, "adamw": optim.AdamW, "nadam": optim.NAdam, "radam": optim.RAdam, "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad, "sgd": lambda p, **options: optim.SGD(p, momentum=0.9, **options),
}  # fmt: skip
_LR = {"sgd": 0.05}
_EPOCHS_OF_TABLES, _EPOCHS_OF_PICTURES = 200, 5
_PATIENCE_OF_TABLES = 20
_LARGE = 10_000
# Schedules that reach their end after a number of epochs that cannot be changed later.
_OF_FIXED_LENGTH = ("linear", "cosine", "onecycle", "step")


def complete(options: argparse.Namespace, is_table: bool, rows: int) -> None:
    """Fill in the options that depend on the data."""
    if options.epochs is None:
        options.epochs = _EPOCHS_OF_TABLES if is_table else _EPOCHS_OF_PICTURES
    if options.early_stopping is None:
        options.early_stopping = _PATIENCE_OF_TABLES if is_table else 0
    if options.batch_size is None:
        options.batch_size = 32 if is_table and rows < _LARGE else 64
    if options.schedule is None:
        options.schedule = "constant" if is_table else "linear"
    if options.lr is None:
        options.lr = _LR.get(options.optimizer, 0.001)


def make_optimizer(network: nn.Module, options: argparse.Namespace) -> optim.Optimizer:
    """The optimizer of the options, with its schedule's first learning rate."""
    made: optim.Optimizer = _OPTIMIZERS[options.optimizer](
        network.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    return made


def make_schedule(optimizer: optim.Optimizer, options: argparse.Namespace, batches: int) -> dict[str, Any]:
    """The schedule as an argument of :func:`fastnn.fit`: of batches, or of epochs."""
    steps = max(1, options.epochs * batches)
    if options.schedule == "linear":
        return {"step_scheduler": lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)}
    if options.schedule == "cosine":
        return {"step_scheduler": lr_scheduler.CosineAnnealingLR(optimizer, steps)}
    if options.schedule == "onecycle":
        # The last step is taken with the rate after the last but one. The policy moves momentum against the rate.
        has_momentum = options.optimizer not in ("rmsprop", "adagrad")
        schedule = lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=steps + 1, cycle_momentum=has_momentum)
        return {"step_scheduler": schedule}
    if options.schedule == "step":
        return {"scheduler": lr_scheduler.StepLR(optimizer, max(1, math.ceil(options.epochs / 3)), 0.1)}
    if options.schedule == "plateau":
        return {"scheduler": lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)}
    return {}


class _SameRun(Callback):
    """Refuses to go on from a checkpoint of a run with other options or data.

    Args:
        settings: what decides about the result, as plain data.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def state_dict(self) -> dict[str, Any]:
        """The settings."""
        return self.settings

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare the settings.

        Raises: ValueError for the first that differs.
        """
        for name, value in self.settings.items():
            if state.get(name) != value:
                option = f"--{name.replace('_', '-')}"
                what = f"{option} {state.get(name)}, and now it is {value}" if name != "data" else "other data"
                raise ValueError(f"the checkpoint is of a run with {what}; without --resume a new run begins")


class _Checkpoint(Checkpoint):
    """Writes the state after each epoch, but not more than twice a second: most epochs of tables take milliseconds."""

    _SECONDS = 0.5

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._next = 0.0

    def on_epoch_end(self, run: Any, epoch: Epoch) -> None:
        """Write the file if it is time, and after the last epoch."""
        if time.monotonic() >= self._next or run.is_stopped or epoch.number == run.epochs:
            super().on_epoch_end(run, epoch)
            self._next = time.monotonic() + self._SECONDS


class _Progress(Callback):
    """Prints lines about the epochs: all of up to 20, otherwise about 20 of them.

    Args:
        say: prints a line.
        is_bar: whether a bar is on the terminal, which the lines must not damage.
    """

    def __init__(self, say: Callable[[str], None], is_bar: bool) -> None:
        self.say, self.is_bar = say, is_bar

    def on_epoch_end(self, run: Any, epoch: Epoch) -> None:
        """Print the line of an epoch."""
        every = max(1, math.ceil(run.epochs / 20))
        if epoch.number > 1 and epoch.number % every and epoch.number != run.epochs:
            return
        text = f"epoch {epoch.number}/{run.epochs}  loss {epoch.loss:.4f}"
        if epoch.validation_loss is not None:
            text += f"  validation loss {epoch.validation_loss:.4f}"
        if epoch.validation_accuracy is not None:
            text += f"  accuracy {100 * epoch.validation_accuracy:.2f}%"
        text += f"  {epoch.seconds:.2f} s"
        if self.is_bar:
            from tqdm import tqdm

            # Takes the bar away, and draws it again below the line.
            with tqdm.external_write_mode(file=sys.stdout):
                self.say(text)
        else:
            self.say(text)


def settings_of(options: argparse.Namespace, prepared: Prepared) -> dict[str, Any]:
    """The options that decide about the result, as plain data."""
    names = (
        "optimizer", "lr", "weight_decay", "schedule", "batch_size", "early_stopping", "epochs", "seed", "precision",
    )  # fmt: skip
    plan = prepared.model.plan.to_dict()
    return {**{name: plan[name] for name in ("hidden", "activation", "dropout", "batch_norm")},
            **{name: getattr(options, name) for name in names}}  # fmt: skip


def criterion_of(target: Target) -> nn.Module:
    """The loss of a target."""
    return nn.CrossEntropyLoss() if target.kind == "classification" else nn.MSELoss()


def train(prepared: Prepared, options: argparse.Namespace, say: Callable[[str], None]) -> History:
    """Train the network.

    Raises: what :func:`fastnn.fit` raises.
    """
    model, rows = prepared.model, prepared.training
    ranks = fastnn.distributed.get_world_size() if options.distributed else 1
    whole, rest = divmod(len(rows.inputs), options.batch_size * ranks)
    # A batch of one row has no variance to normalise by.
    drop_last = options.batch_norm and rest // ranks == 1 and len(rows.inputs) > ranks
    batches = whole + (not drop_last and rest >= ranks)
    is_first = fastnn.distributed.get_rank() == 0
    optimizer = make_optimizer(model.network, options)
    is_bar = sys.stderr.isatty() and is_first
    callbacks: list[Any] = [_Progress(say, is_bar)]
    if options.early_stopping:
        callbacks.append(EarlyStopping(patience=options.early_stopping))
    if options.checkpoint is not None:
        callbacks += [_SameRun(_identity(prepared, options)), _Checkpoint(options.checkpoint)]
    held = prepared.validation
    return fastnn.fit(
        model.network, rows.inputs, rows.targets, epochs=options.epochs, batch_size=options.batch_size,
        criterion=criterion_of(model.target), optimizer=optimizer, drop_last=drop_last,
        validation=None if held is None else (held.inputs, held.targets), callbacks=callbacks,
        resume=options.checkpoint if options.resume and os.path.exists(options.checkpoint) else False,
        progress=is_bar, distributed=options.distributed, **model.scaling,
        **make_schedule(optimizer, options, batches),
    )  # fmt: skip


def _identity(prepared: Prepared, options: argparse.Namespace) -> dict[str, Any]:
    """Settings that must be the same for a run to go on."""
    settings = settings_of(options, prepared)
    if options.distributed:
        # Another number of processes goes on with the same rows in a step.
        settings["batch_size"] *= fastnn.distributed.get_world_size()
    if options.schedule not in _OF_FIXED_LENGTH:
        del settings["epochs"]
    data = 0
    for part in (prepared.training, prepared.validation):
        if part is not None:
            for array in (part.inputs, part.targets):
                data = zlib.crc32(array.tobytes(), data)
    return {**settings, "data": data}


def measure(target: Target, targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """The measures of a model on rows: of classes accuracy and others, of numbers R2, MAE and RMSE.

    Args:
        target: of the model.
        targets: encoded, as :meth:`Target.encode` returns them.
        outputs: of the network.
    """
    from scipy.special import log_softmax

    from fastnn.report import classification_report, confusion_matrix, regression_report

    if target.kind == "regression":
        true, numbers = in_units(target, targets, outputs)
        # One with the measures of each target, in its own units, beside their means.
        each = {name: regression_report(true[:, i], numbers[:, i]) for i, name in enumerate(target.names)}
        return {"rows": len(targets), **regression_report(true, numbers), **({"targets": each} if each else {})}
    predicted = outputs.argmax(1)
    report = classification_report(targets, predicted, classes=len(target.classes))
    logarithms = log_softmax(outputs.astype(np.float64), axis=1)[np.arange(len(targets)), targets]
    names = ("precision", "recall", "f1-score", "support")
    per_class = {
        name: dict(zip(("precision", "recall", "f1", "rows"), (report[str(i)][n] for n in names), strict=True))
        for i, name in enumerate(target.class_names)
    }
    present = [scores["recall"] for scores in per_class.values() if scores["rows"]]
    return {
        "rows": len(targets), "accuracy": float((predicted == targets).mean()),
        "balanced_accuracy": float(np.mean(present)), "macro_f1": report["macro avg"]["f1-score"],
        "log_loss": float(-logarithms.mean()), "classes": per_class,
        "confusion_matrix": confusion_matrix(targets, predicted, len(target.classes)).tolist(),
    }  # fmt: skip


def in_units(target: Target, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets and outputs of a regression in the units of the table, (rows,), or (rows, targets) of several."""
    return target.decode(targets), target.decode(outputs)


def in_words(measures: dict[str, Any]) -> str:
    """The main measures in one line."""
    if "accuracy" in measures:
        return (
            f"accuracy {100 * measures['accuracy']:.2f}%, balanced {100 * measures['balanced_accuracy']:.2f}%, "
            f"log loss {measures['log_loss']:.4g}"
        )
    # A file has None for what is not a number, such as R2 of one row.
    r2, mae, rmse = (math.nan if measures[key] is None else measures[key] for key in ("r2", "mae", "rmse"))
    if "targets" in measures:
        # Other measures of different targets are in different units.
        each = {name: scores["r2"] for name, scores in measures["targets"].items()}
        parts = ", ".join(f"{name} {math.nan if score is None else score:.4f}" for name, score in each.items())
        return f"R2 {r2:.4f}, the mean of {parts}"
    return f"R2 {r2:.4f}, mean absolute error {mae:.4g}, RMSE {rmse:.4g}"


def measure_part(model: TabularModel, part: Part) -> dict[str, Any]:
    """The measures of a model on prepared rows."""
    return measure(model.target, part.targets, model.outputs(part.inputs))


def size_of_files(model: TabularModel) -> tuple[int, int]:
    """Bytes that the file of the model, and a checkpoint, may need."""
    weights = sum(p.numel() for p in model.network.parameters()) * 4
    # The weights, the best ones, and two states of the optimizer.
    return weights + (1 << 16), 4 * weights + (1 << 17)


def save_somewhere(model: TabularModel, path: str) -> tuple[str, OSError | None]:
    """Save the model; where the file cannot be written, in a new temporary folder. Returns the path and the error."""
    import tempfile

    try:
        model.save(path)
        return path, None
    except OSError as error:
        other = os.path.join(tempfile.mkdtemp(prefix="fastnn-"), os.path.basename(path))
        model.save(other)
        return other, error
