"""Optimizers under PyTorch's names: each elementwise one is a kernel over the flat parameters."""

from fastnn.optim import lr_scheduler, swa_utils
from fastnn.optim.adadelta import Adadelta
from fastnn.optim.adagrad import Adagrad
from fastnn.optim.adam import Adam
from fastnn.optim.adamax import Adamax
from fastnn.optim.adamw import AdamW
from fastnn.optim.asgd import ASGD
from fastnn.optim.lbfgs import LBFGS
from fastnn.optim.nadam import NAdam
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.radam import RAdam
from fastnn.optim.rmsprop import RMSprop
from fastnn.optim.rprop import Rprop
from fastnn.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
