"""Callbacks of :func:`fastnn.fit`: see the page on training."""

from fastnn.training.callbacks import BestWeights, Callback, Checkpoint, CSVLogger, EarlyStopping, TensorBoard
from fastnn.training.loop import Run

__all__ = ["BestWeights", "CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "Run", "TensorBoard"]
