"""Layers, losses and containers under PyTorch's names. Calls ``fastnn.kernels`` through ``functional``."""

from fastnn.nn import functional
from fastnn.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from fastnn.nn.container import Sequential
from fastnn.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from fastnn.nn.linear import Linear
from fastnn.nn.loss import CrossEntropyLoss
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d, GroupNorm, InstanceNorm1d, LayerNorm, RMSNorm
from fastnn.nn.parameter import Parameter

__all__ = [
    "GELU",
    "AlphaDropout",
    "BatchNorm1d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "GroupNorm",
    "InstanceNorm1d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "functional",
]
