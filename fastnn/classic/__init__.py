"""Neural networks from scratch on plain NumPy arrays: a textbook's names, implemented by kernels.

It calls ``fastnn.kernels`` and is independent of the tensors. One file for each chapter: ``perceptron``,
``activations``, ``network``, ``losses``, ``optimizers``, ``regularization`` and ``layers``.
docs/classic.md lists the differences from the textbook.
"""

from fastnn.classic.activations import (
    leaky_relu,
    leaky_relu_derivative,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    softmax,
    softmax_derivative,
    tanh,
    tanh_derivative,
)
from fastnn.classic.layers import BatchNorm, Dropout
from fastnn.classic.losses import (
    binary_cross_entropy,
    binary_cross_entropy_gradient,
    categorical_cross_entropy,
    categorical_cross_entropy_gradient,
    mse_gradient,
    mse_loss,
)
from fastnn.classic.network import NeuralNetwork
from fastnn.classic.optimizers import Adam, SGDMomentum, sgd_update
from fastnn.classic.perceptron import Perceptron
from fastnn.classic.plots import plot_activations
from fastnn.classic.regularization import l2_gradient, l2_regularization

__all__ = [
    "Adam",
    "BatchNorm",
    "Dropout",
    "NeuralNetwork",
    "Perceptron",
    "SGDMomentum",
    "binary_cross_entropy",
    "binary_cross_entropy_gradient",
    "categorical_cross_entropy",
    "categorical_cross_entropy_gradient",
    "l2_gradient",
    "l2_regularization",
    "leaky_relu",
    "leaky_relu_derivative",
    "mse_gradient",
    "mse_loss",
    "plot_activations",
    "relu",
    "relu_derivative",
    "sgd_update",
    "sigmoid",
    "sigmoid_derivative",
    "softmax",
    "softmax_derivative",
    "tanh",
    "tanh_derivative",
]
