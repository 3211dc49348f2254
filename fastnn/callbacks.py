"""Callbacks of :func:`fastnn.fit`: see the page on training."""

from fastnn.training.callbacks import BestWeights, Callback, Checkpoint, CSVLogger, EarlyStopping, TensorBoard

__all__ = ["BestWeights", "CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "TensorBoard"]
