"""Numba kernels for arithmetic on NumPy arrays: the lowest layer of fastnn.

This package knows arrays only, not tensors, layers or files. Each operation has one file of the same name;
``runtime`` owns compilation, caching, launches and threads. Arguments are outputs, then inputs, then values
saved by the forward; a gradient is named ``d`` plus the name of its array.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastnn.kernels import self_check
from fastnn.kernels.activation.activation_curves import (
    activation_curve,
    activation_curve_backward,
    activation_slope_backward,
)
from fastnn.kernels.activation.dropout import (
    alpha_dropout_backward,
    alpha_dropout_forward,
    dropout_backward,
    dropout_forward,
)
from fastnn.kernels.activation.elementwise_activations import elementwise_backward, elementwise_forward
from fastnn.kernels.activation.fused_activations import activation_backward, activation_forward
from fastnn.kernels.activation.math_functions import math_function
from fastnn.kernels.activation.prelu import prelu_backward, prelu_forward
from fastnn.kernels.activation.textbook_derivative import activation_derivative
from fastnn.kernels.attention.attention import attention_backward, attention_forward
from fastnn.kernels.classic.perceptron import perceptron_predict, perceptron_train
from fastnn.kernels.loss.losses import pointwise_loss
from fastnn.kernels.loss.multilabel_margin import multilabel_margin
from fastnn.kernels.loss.nll_loss import nll_loss
from fastnn.kernels.loss.paired_losses import paired_loss, paired_loss_gradient
from fastnn.kernels.loss.probabilities import probabilities, probabilities_and_error
from fastnn.kernels.loss.softmax_cross_entropy import softmax_cross_entropy
from fastnn.kernels.matmul.batched import batched_gemm
from fastnn.kernels.matmul.gemm import gemm
from fastnn.kernels.matmul.int8 import int8_linear, int8_range
from fastnn.kernels.matmul.linear import linear_backward, linear_forward
from fastnn.kernels.matmul.sparse_linear import sparse_forward, sparse_update
from fastnn.kernels.matmul.sparse_rows import compress_rows, sort_columns
from fastnn.kernels.norm.batch_norm import batch_norm_backward, batch_norm_forward
from fastnn.kernels.norm.layer_norm import layer_norm_backward, layer_norm_forward
from fastnn.kernels.optim import RULES
from fastnn.kernels.optim.sgd import sgd_momentum
from fastnn.kernels.reduce.norms import block_norms, clip_factor, power_sum, scale
from fastnn.kernels.reduce.reductions import total
from fastnn.kernels.reduce.softmax import softmax_backward, softmax_forward
from fastnn.kernels.rows.categorical import (
    categorical_draw,
    categorical_entropy_backward,
    categorical_entropy_forward,
    categorical_log_prob_backward,
    categorical_log_prob_forward,
    normalize_backward,
    normalize_forward,
)
from fastnn.kernels.rows.dense_rows import dense_rows
from fastnn.kernels.rows.embedding import embedding_backward, embedding_forward
from fastnn.kernels.rows.gather import gather
from fastnn.kernels.rows.take_rows import take_rows
from fastnn.kernels.runtime import compiler
from fastnn.kernels.runtime.raw_memory import IS_X86

if TYPE_CHECKING:
    from fastnn.kernels.optim.adadelta import adadelta as adadelta
    from fastnn.kernels.optim.adagrad import adagrad as adagrad
    from fastnn.kernels.optim.adam import adam as adam
    from fastnn.kernels.optim.adamax import adamax as adamax
    from fastnn.kernels.optim.asgd import asgd as asgd
    from fastnn.kernels.optim.nadam import nadam as nadam
    from fastnn.kernels.optim.radam import radam as radam
    from fastnn.kernels.optim.rmsprop import rmsprop as rmsprop
    from fastnn.kernels.optim.rprop import rprop as rprop
    from fastnn.kernels.optim.sgd import sgd as sgd

if not IS_X86:
    compiler.check_before_use(self_check.check)

__all__ = [
    "activation_backward",
    "activation_curve",
    "activation_curve_backward",
    "activation_derivative",
    "activation_forward",
    "activation_slope_backward",
    "alpha_dropout_backward",
    "alpha_dropout_forward",
    "attention_backward",
    "attention_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batched_gemm",
    "block_norms",
    "categorical_draw",
    "categorical_entropy_backward",
    "categorical_entropy_forward",
    "categorical_log_prob_backward",
    "categorical_log_prob_forward",
    "clip_factor",
    "compress_rows",
    "dense_rows",
    "dropout_backward",
    "dropout_forward",
    "elementwise_backward",
    "elementwise_forward",
    "embedding_backward",
    "embedding_forward",
    "gather",
    "gemm",
    "int8_linear",
    "int8_range",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_forward",
    "math_function",
    "multilabel_margin",
    "nll_loss",
    "normalize_backward",
    "normalize_forward",
    "paired_loss",
    "paired_loss_gradient",
    "perceptron_predict",
    "perceptron_train",
    "pointwise_loss",
    "power_sum",
    "prelu_backward",
    "prelu_forward",
    "probabilities",
    "probabilities_and_error",
    "scale",
    "sgd_momentum",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_forward",
    "sort_columns",
    "sparse_forward",
    "sparse_update",
    "take_rows",
    "total",
]
__all__ += RULES

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The function of an update rule, which is imported at its first use: all take 10 ms."""
        if name not in RULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{__name__}.optim.{name}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
