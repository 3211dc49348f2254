"""Layers, losses and containers under PyTorch's names. Calls ``fastnn.kernels`` through ``functional``."""

from fastnn.nn import functional, init
from fastnn.nn.activation import (GELU, LeakyReLU, ReLU, Sigmoid, Tanh)
from fastnn.nn.container import (ModuleDict, ModuleList, Sequential)
from fastnn.nn.data_parallel import (DataParallel)
from fastnn.nn.distance import (CosineSimilarity, PairwiseDistance)
from fastnn.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from fastnn.nn.elementwise_activations import (CELU, ELU, GLU, SELU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LogSigmoid, Mish, PReLU, ReLU6, RReLU, SiLU, Softplus, Softshrink, Softsign, Tanhshrink, Threshold)
from fastnn.nn.embedding import (Embedding, EmbeddingBag)
from fastnn.nn.flatten import (Flatten, Unflatten)
from fastnn.nn.linear import (Bilinear, Identity, LazyLinear, Linear)
from fastnn.nn.loss import (CrossEntropyLoss)
from fastnn.nn.module import (Module)
from fastnn.nn.normalization import BatchNorm1d, GroupNorm, InstanceNorm1d, LayerNorm, RMSNorm
from fastnn.nn.parameter import (Buffer, Parameter, UninitializedParameter)
from fastnn.nn.parameter_container import (ParameterDict, ParameterList)
from fastnn.nn.softmax import (LogSoftmax, Softmax, Softmax2d, Softmin)
from fastnn.nn import modules, utils  # after what they name

__all__ = [
    "functional",
    "init",
    "modules",
    "utils",
    "GELU",
    "AlphaDropout",
    "BatchNorm1d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "GroupNorm",
    "InstanceNorm1d",
    "LayerNorm",
    "LeakyReLU",
    "RMSNorm",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "ModuleDict",
    "ModuleList",
    "Sequential",
    "DataParallel",
    "CosineSimilarity",
    "PairwiseDistance",
    "CELU",
    "ELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "ReLU6",
    "RReLU",
    "SiLU",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanhshrink",
    "Threshold",
    "Embedding",
    "EmbeddingBag",
    "Flatten",
    "Unflatten",
    "Bilinear",
    "Identity",
    "LazyLinear",
    "Linear",
    "CrossEntropyLoss",
    "Module",
    "Buffer",
    "Parameter",
    "UninitializedParameter",
    "ParameterDict",
    "ParameterList",
    "LogSoftmax",
    "Softmax",
    "Softmax2d",
    "Softmin",
]
