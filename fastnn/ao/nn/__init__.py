"""``torch.ao.nn``: the quantized modules."""

from fastnn.ao.nn import quantized

__all__ = ["quantized"]
