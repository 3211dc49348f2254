"""Layers, losses and containers under PyTorch's names. They call ``fastnn.kernels`` through ``functional``.

Each file lists its names in its own ``__all__``.
"""

# ruff: noqa: F403  The star imports define the package's names.

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnn.nn import (
    activation,
    class_loss,
    container,
    data_parallel,
    distance,
    dropout,
    embedding,
    flatten,
    functional,
    init,
    linear,
    loss,
    modules,
    multihead_attention,
    normalization,
    pair_loss,
    parameter_container,
    softmax,
    sync_batch_norm,
    transformer,
    utils,
)
from fastnn.nn import anomaly as anomaly
from fastnn.nn import tensor_subclasses as tensor_subclasses
from fastnn.nn.class_loss import *
from fastnn.nn.container import *
from fastnn.nn.data_parallel import *
from fastnn.nn.distance import *
from fastnn.nn.dropout import *
from fastnn.nn.embedding import *
from fastnn.nn.flatten import *
from fastnn.nn.linear import *
from fastnn.nn.module import Module
from fastnn.nn.multihead_attention import *
from fastnn.nn.normalization import *
from fastnn.nn.pair_loss import *
from fastnn.nn.parameter import Buffer, Parameter, UninitializedParameter
from fastnn.nn.parameter_container import *
from fastnn.nn.softmax import *
from fastnn.nn.sync_batch_norm import *
from fastnn.nn.transformer import *

__all__ = ["Buffer", "Module", "Parameter", "UninitializedParameter", "functional", "init", "modules", "utils"]
__all__ += class_loss.__all__
__all__ += container.__all__
__all__ += data_parallel.__all__
__all__ += distance.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += flatten.__all__
__all__ += linear.__all__
__all__ += multihead_attention.__all__
__all__ += normalization.__all__
__all__ += pair_loss.__all__
__all__ += parameter_container.__all__
__all__ += softmax.__all__
__all__ += sync_batch_norm.__all__
__all__ += transformer.__all__

if TYPE_CHECKING:
    from fastnn.nn.activation import *
    from fastnn.nn.loss import *
else:
    # These files have functions beside the layers; `functional` has the functions.
    for _file in (activation, loss):
        _layers = {name: vars(_file)[name] for name in _file.__all__ if isinstance(vars(_file)[name], type)}
        globals().update(_layers)
        __all__ += _layers

# Imported on first use.
_ON_USE = ("attention", "common_types", "parallel")


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return import_module(f"fastnn.nn.{name}")
    # Python itself looks up names with two underscores.
    found = None if name.startswith("__") else import_module("fastnn.nn.not_computed").layer(name)
    if found is None:
        raise AttributeError(f"module 'fastnn.nn' has no attribute {name!r}")
    globals()[name] = found
    return found
