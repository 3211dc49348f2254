"""Layers, losses and containers under PyTorch's names. Calls ``fastnn.kernels`` through ``functional``."""

from fastnn.nn import functional, init, modules, utils
from fastnn.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from fastnn.nn.container import ModuleDict, ModuleList, Sequential
from fastnn.nn.data_parallel import DataParallel
from fastnn.nn.distance import CosineSimilarity, PairwiseDistance
from fastnn.nn.elementwise_activations import (
    CELU,
    ELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU6,
    RReLU,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanhshrink,
    Threshold,
)
from fastnn.nn.embedding import Embedding, EmbeddingBag
from fastnn.nn.flatten import Flatten, Unflatten
from fastnn.nn.linear import Bilinear, Identity, LazyLinear, Linear
from fastnn.nn.loss import CrossEntropyLoss
from fastnn.nn.module import Module
from fastnn.nn.parameter import Buffer, Parameter, UninitializedParameter
from fastnn.nn.parameter_container import ParameterDict, ParameterList
from fastnn.nn.softmax import LogSoftmax, Softmax, Softmax2d, Softmin

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Bilinear",
    "Buffer",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "DataParallel",
    "Embedding",
    "EmbeddingBag",
    "Flatten",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LazyLinear",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "PReLU",
    "PairwiseDistance",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "RReLU",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Unflatten",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "utils",
]
