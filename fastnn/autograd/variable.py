"""``Variable`` under the name of PyTorch's module."""

from fastnn.autograd import Variable

__all__ = ["Variable"]
