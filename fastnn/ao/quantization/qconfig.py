"""Configurations: how the activations and the weight of a module are quantized."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastnn.ao.quantization.observer import (
    default_dynamic_quant_observer,
    default_per_channel_weight_observer,
    default_weight_observer,
)
from fastnn.nn.module import Module

__all__ = ["QConfig", "default_dynamic_qconfig", "per_channel_dynamic_qconfig"]


class _Pair(NamedTuple):
    activation: Any
    weight: Any


class QConfig(_Pair):
    """Makers of observers for activations and for the weight.

    Args:
        activation, weight: classes of observers, or what ``with_args`` returns.

    Raises: ValueError for an observer instead of its class.
    """

    __slots__ = ()

    def __new__(cls, activation: Any, weight: Any) -> QConfig:
        for name, given in (("activation", activation), ("weight", weight)):
            if isinstance(given, Module):
                raise ValueError(
                    f"QConfig takes classes of observers, found an observer for {name}: use with_args() for arguments"
                )
        return super().__new__(cls, activation, weight)


# One scale for the weight, and one for each row of it.
default_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_weight_observer)
per_channel_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_per_channel_weight_observer)
