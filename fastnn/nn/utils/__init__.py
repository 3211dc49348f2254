"""Helpers for modules and gradients under PyTorch's names."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fastnn.nn.utils import parametrizations, parametrize
from fastnn.nn.utils.clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from fastnn.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters
from fastnn.nn.utils.fusion import fuse_linear_bn_eval, fuse_linear_bn_weights
from fastnn.nn.utils.weight_norm import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "skip_init",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """``module_cls(*args, **kwargs)``; the caller must not rely on its initial values."""
    return module_cls(*args, **kwargs)


# Imported on first use.
_ON_USE = ("prune", "rnn", "stateless")


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return import_module(f"fastnn.nn.utils.{name}")
    raise AttributeError(f"module 'fastnn.nn.utils' has no attribute {name!r}")
