"""Epoch and History: the results of a training run, as numbers, a table and a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from dataclasses import dataclass, field
from typing import Any

from fastnn._core.atomic_file import replacing


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


# The fields of an epoch: the columns of tables.
FIELDS = tuple(f.name for f in dataclasses.fields(Epoch))


@dataclass
class History:
    """The result of ``fit``: the epochs, and the step's explanation of its capture.

    Args:
        epochs: one :class:`Epoch` each; ``history["loss"]`` is the list of one of their fields.
        explanation: what ran captured, and why something did not.
        stopped: why training ended before the last epoch; empty if it did not.

    >>> from fastnn.training.history import Epoch, History
    >>> history = History([Epoch(1, 0.7, 0.1, 0.01, 0.6), Epoch(2, 0.5, 0.1, 0.01, 0.8)])
    >>> history["loss"], history.best_epoch
    ([0.7, 0.5], 1)
    """

    epochs: list[Epoch] = field(default_factory=list)
    explanation: str = ""
    stopped: str = ""
    # The epoch of the weights that a callback restores.
    _best: int | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> list[Any]:
        return [getattr(epoch, name) for epoch in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def best_epoch(self) -> int | None:
        """The number of the best epoch; None if there is none.

        It is the epoch that ``BestWeights`` or ``EarlyStopping`` has found, and otherwise the one with the lowest
        validation loss (without validation data, the lowest loss).
        """
        if self._best is not None:
            return self._best
        losses = [e.loss if e.validation_loss is None else e.validation_loss for e in self.epochs]
        found = [(loss, e.number) for loss, e in zip(losses, self.epochs, strict=True) if not math.isnan(loss)]
        return min(found)[1] if found else None

    def to_dict(self) -> dict[str, list[Any]]:
        """The columns: a list for each field that any epoch has, as ``pandas.DataFrame`` takes it.

        >>> from fastnn.training.history import Epoch, History
        >>> History([Epoch(1, 0.7, 0.1, 0.01)]).to_dict()
        {'number': [1], 'loss': [0.7], 'seconds': [0.1], 'lr': [0.01]}
        """
        columns = {name: self[name] for name in FIELDS}
        return {name: column for name, column in columns.items() if any(v is not None for v in column)}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file: a line of names, and a line for each epoch; what is None stays empty.

        Args:
            path: of the file, which is replaced as a whole.
        """
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(FIELDS)
        rows.writerows([getattr(epoch, name) for name in FIELDS] for epoch in self.epochs)
        with replacing(path) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Plot the losses, and the accuracy if there is one, by matplotlib (extra ``plot``).

        Args:
            path: of the picture, written if it is given.

        Returns: the figure, which a notebook shows.

        Raises: ModuleNotFoundError without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ModuleNotFoundError("a picture needs matplotlib: pip install 'fastnn[plot]'") from None
        columns = self.to_dict()
        numbers = self["number"]
        accuracy = columns.get("validation_accuracy")
        figure = Figure(figsize=(5.0 * (1 + (accuracy is not None)), 3.4), layout="constrained")
        panels = figure.subplots(1, 1 + (accuracy is not None), squeeze=False)[0]
        # A marker, as a single epoch makes no line.
        for name, label in (("loss", "training"), ("validation_loss", "validation")):
            if name in columns:
                panels[0].plot(numbers, _with_gaps(columns[name]), marker=".", label=label)
        panels[0].set_ylabel("loss")
        if accuracy is not None:
            panels[1].plot(numbers, _with_gaps(accuracy), marker=".", color="C1", label="validation")
            panels[1].set_ylabel("accuracy")
        best = self.best_epoch
        for axes in panels:
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if best is not None and len(self) > 1:
                axes.axvline(best, color="0.6", linewidth=1, linestyle=":", label=f"best epoch, {best}")
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def _with_gaps(column: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in column]
