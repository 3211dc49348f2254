"""PyTorch's paths to the layers, such as ``from torch.nn.modules.linear import Linear``.

The files of ``fastnn.nn`` under PyTorch's names.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

# PyTorch's file: the files of `fastnn.nn` with its contents. `not_computed` has further classes of each file.
_FILES = {
    "activation": ("activation", "softmax", "multihead_attention"),
    "adaptive": (),
    "batchnorm": ("normalization", "sync_batch_norm"),
    "channelshuffle": (),
    "container": ("container", "parameter_container"),
    "conv": (),
    "distance": ("distance",),
    "dropout": ("dropout",),
    "flatten": ("flatten",),
    "fold": (),
    "instancenorm": ("normalization",),
    "lazy": ("parameter", "linear", "module"),
    "linear": ("linear", "multihead_attention"),
    "loss": ("loss", "class_loss", "pair_loss"),
    "module": ("module", "hooks", "state"),
    "normalization": ("normalization",),
    "padding": (),
    "pixelshuffle": (),
    "pooling": (),
    "rnn": (),
    "sparse": ("embedding",),
    "transformer": ("transformer",),
    "upsampling": ("upsampling",),
    "utils": ("module_utils",),
}


class _Path(ModuleType):
    """A module whose names are looked up in other modules on access."""

    def __init__(self, name: str, files: tuple[str, ...]) -> None:
        places = ", ".join(files or ("not_computed",))
        super().__init__(f"{__name__}.{name}", f"PyTorch's path to {places} of ``fastnn.nn``.")
        self.__spec__ = importlib.machinery.ModuleSpec(self.__name__, None)
        self.__dict__["_files"] = files

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            for file in self.__dict__["_files"]:
                found = getattr(importlib.import_module(f"fastnn.nn.{file}"), name, None)
                if found is not None:
                    return found
            not_computed = importlib.import_module("fastnn.nn.not_computed")
            if name in not_computed.names(self.__name__.rpartition(".")[2]):
                return not_computed.layer(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        names = set()
        for file in self.__dict__["_files"]:
            names |= set(vars(importlib.import_module(f"fastnn.nn.{file}")))
        names |= set(importlib.import_module("fastnn.nn.not_computed").names(self.__name__.rpartition(".")[2]))
        return sorted(names)


for _name, _files in _FILES.items():
    _path = _Path(_name, _files)
    sys.modules[_path.__name__] = _path
    globals()[_name] = _path


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    found = getattr(importlib.import_module("fastnn.nn"), name, None)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
