"""Optimizers under PyTorch's names, each one kernel over the flat parameters."""

from fastnn.optim.adam import Adam
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
