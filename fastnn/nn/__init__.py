"""Layers, losses and containers under PyTorch's names. Calls ``fastnn.kernels`` through ``functional``."""

from fastnn.nn import functional
from fastnn.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from fastnn.nn.container import Sequential
from fastnn.nn.linear import Linear
from fastnn.nn.loss import CrossEntropyLoss
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter

__all__ = [
    "GELU",
    "CrossEntropyLoss",
    "LeakyReLU",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "functional",
]
