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
    upsampling,
    utils,
)
from fastnn.nn import anomaly as anomaly
from fastnn.nn import tensor_subclasses as tensor_subclasses
from fastnn.nn.module import Module
from fastnn.nn.parameter import Buffer, Parameter, UninitializedParameter

__all__ = ["Buffer", "Module", "Parameter", "UninitializedParameter", "functional", "init", "modules", "utils"]

if TYPE_CHECKING:
    from fastnn.nn.activation import *
    from fastnn.nn.class_loss import *
    from fastnn.nn.container import *
    from fastnn.nn.data_parallel import *
    from fastnn.nn.distance import *
    from fastnn.nn.dropout import *
    from fastnn.nn.embedding import *
    from fastnn.nn.flatten import *
    from fastnn.nn.linear import *
    from fastnn.nn.loss import *
    from fastnn.nn.multihead_attention import *
    from fastnn.nn.normalization import *
    from fastnn.nn.pair_loss import *
    from fastnn.nn.parameter_container import *
    from fastnn.nn.softmax import *
    from fastnn.nn.sync_batch_norm import *
    from fastnn.nn.transformer import *
    from fastnn.nn.upsampling import *
else:
    # The files of layers. A file may have functions beside them, which go to `functional`.
    for _file in (
        activation, class_loss, container, data_parallel, distance, dropout, embedding, flatten, linear,
        loss, multihead_attention, normalization, pair_loss, parameter_container, softmax, sync_batch_norm, transformer,
        upsampling,
    ):  # fmt: skip
        for _name in _file.__all__:
            _found = vars(_file)[_name]
            if isinstance(_found, type):
                globals()[_name] = _found
                __all__.append(_name)
            else:
                setattr(functional, _name, _found)

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
