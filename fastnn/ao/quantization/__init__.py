"""``torch.ao.quantization``: dynamic quantization of linear layers to 8 bits."""

from fastnn.ao.quantization import observer, qconfig, quantize
from fastnn.ao.quantization.observer import *
from fastnn.ao.quantization.qconfig import *
from fastnn.ao.quantization.quantize import *

# ruff: noqa: F403  The star imports define the names.

__all__ = ["observer", "qconfig", "quantize", *observer.__all__, *qconfig.__all__, *quantize.__all__]
