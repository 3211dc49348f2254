"""``torch.ao.nn.quantized``: modules with quantized weights."""

from fastnn.ao.nn.quantized import dynamic
from fastnn.ao.nn.quantized.dynamic import LinearPackedParams

__all__ = ["LinearPackedParams", "dynamic"]
