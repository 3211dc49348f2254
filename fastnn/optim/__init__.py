"""Optimizers under PyTorch's names: each elementwise one is a kernel over the flat parameters.

Rarely used ones are imported on first use: importing all takes 20 ms.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastnn.optim.adam import Adam
from fastnn.optim.optimizer import Optimizer
from fastnn.optim.sgd import SGD

if TYPE_CHECKING:
    from fastnn.optim import lr_scheduler, swa_utils
    from fastnn.optim.adadelta import Adadelta
    from fastnn.optim.adagrad import Adagrad
    from fastnn.optim.adamax import Adamax
    from fastnn.optim.adamw import AdamW
    from fastnn.optim.asgd import ASGD
    from fastnn.optim.lbfgs import LBFGS
    from fastnn.optim.nadam import NAdam
    from fastnn.optim.radam import RAdam
    from fastnn.optim.rmsprop import RMSprop
    from fastnn.optim.rprop import Rprop

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Each class is in the file of its name.
    module = importlib.import_module(f"{__name__}.{name.lower()}")
    value = module if name in ("lr_scheduler", "swa_utils") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
