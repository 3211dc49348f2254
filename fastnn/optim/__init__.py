"""Optimizers under PyTorch's names: each elementwise one is a kernel over the flat parameters.

Rarely used ones are imported on first use: importing all takes 20 ms. They are found by the names of their files.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.optim.adam import Adam as Adam
from fastnn.optim.optimizer import Optimizer as Optimizer
from fastnn.optim.sgd import SGD as SGD

if TYPE_CHECKING:
    from fastnn.optim import lr_scheduler as lr_scheduler
    from fastnn.optim import swa_utils as swa_utils
    from fastnn.optim.adadelta import Adadelta as Adadelta
    from fastnn.optim.adagrad import Adagrad as Adagrad
    from fastnn.optim.adamax import Adamax as Adamax
    from fastnn.optim.adamw import AdamW as AdamW
    from fastnn.optim.asgd import ASGD as ASGD
    from fastnn.optim.lbfgs import LBFGS as LBFGS
    from fastnn.optim.nadam import NAdam as NAdam
    from fastnn.optim.radam import RAdam as RAdam
    from fastnn.optim.rmsprop import RMSprop as RMSprop
    from fastnn.optim.rprop import Rprop as Rprop

_MODULES = ("lr_scheduler", "swa_utils")
# Files without an optimizer. Each of the others has the class of its name, in small letters.
_OTHERS = {"__init__", "clip", "elementwise", "flat_runs", "line_search", "optimizer", *_MODULES}
_FILES = {file.stem for file in Path(__file__).parent.glob("*.py")} - _OTHERS


def _class(file: str) -> type[Optimizer]:
    parts = vars(importlib.import_module(f"{__name__}.{file}")).items()
    [found] = [part for name, part in parts if name.lower() == file and isinstance(part, type)]
    return found


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__all__":
        value = sorted([*[_class(file).__name__ for file in _FILES], "Optimizer", *_MODULES])
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name != name.lower() in _FILES and _class(name.lower()).__name__ == name:
        value = _class(name.lower())
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
