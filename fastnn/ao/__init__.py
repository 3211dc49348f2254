"""``torch.ao``: quantization of models for inference."""

from fastnn.ao import nn, quantization

__all__ = ["nn", "quantization"]
