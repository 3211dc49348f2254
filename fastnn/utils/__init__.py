"""Tools around training, under PyTorch's names."""

from fastnn.utils import data

__all__ = ["data"]
