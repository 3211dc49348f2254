"""Rosenblatt's perceptron: its learning rule over a data set, and its decisions.

Each sample may change the weights for the next one, so training is serial; decisions are not.
Weights are float64, samples float32 or float64.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import fabs, multiply_add
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import FAST, FLOAT64, INT64, Words, array, by_dtype, inline, integer, part, real
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for


@inline(fastmath=FAST)
def _dot(x, weights):
    total = 0.0
    for j in range(weights.size):
        total += np.float64(x[j]) * weights[j]
    return total


@inline
def _move(weights, x, step):
    for j in range(weights.size):
        weights[j] = multiply_add(step, np.float64(x[j]), weights[j])


_TRAIN_WORDS = Words("weights state x y; samples features; lr")


def _perceptron_train(dtype):
    def perceptron_train_slice(args, t, n):
        # weights[features], state[2] (bias, samples that changed something), x[samples, features], y[samples]
        samples, features = integer(args, _TRAIN_WORDS.samples), integer(args, _TRAIN_WORDS.features)
        lr = real(args, _TRAIN_WORDS.lr)
        weights = array(args, _TRAIN_WORDS.weights, (features,), np.float64)
        state = array(args, _TRAIN_WORDS.state, (2,), np.float64)
        x = array(args, _TRAIN_WORDS.x, (samples, features), dtype)
        y = array(args, _TRAIN_WORDS.y, (samples,), np.float64)
        bias, changes = state[0], 0
        for i in range(samples):
            value = _dot(x[i], weights) + bias
            error = y[i] - (1.0 if value >= 0.0 else 0.0)
            # Without an error the step is zero times x, which is zero unless x is infinite or NaN; then
            # the value is infinite or NaN, too.
            # (The compiler would fold a test of value - value to 0.)
            if error != 0.0 or not fabs(value) < np.inf:
                _move(weights, x[i], lr * error)
                bias += lr * error
                changes += 1
        state[0], state[1] = bias, changes

    return perceptron_train_slice


_PREDICT_WORDS = Words("out x weights; samples features; bias")


def _perceptron_predict(dtype):
    def perceptron_predict_slice(args, t, n):
        # out[samples], x[samples, features], weights[features]
        samples, features = integer(args, _PREDICT_WORDS.samples), integer(args, _PREDICT_WORDS.features)
        bias = real(args, _PREDICT_WORDS.bias)
        out = array(args, _PREDICT_WORDS.out, (samples,), np.int64)
        x = array(args, _PREDICT_WORDS.x, (samples, features), dtype)
        weights = array(args, _PREDICT_WORDS.weights, (features,), np.float64)
        first, last = part(samples, t, n)
        for i in range(first, last):
            out[i] = 1 if _dot(x[i], weights) + bias >= 0.0 else 0

    return perceptron_predict_slice


_TRAIN = by_dtype("perceptron_train", _perceptron_train, _TRAIN_WORDS)
_PREDICT = by_dtype("perceptron_predict", _perceptron_predict, _PREDICT_WORDS)


def perceptron_train(
    weights: np.ndarray, state: np.ndarray, x: np.ndarray, y: np.ndarray, *, learning_rate: float
) -> None:
    """One pass of the perceptron rule (F. Rosenblatt, Psychological Review 65, 1958), in place.

    For each sample in order: ``error = y - (1 if x @ weights + bias >= 0 else 0)``, then
    ``weights += learning_rate * error * x`` and ``bias += learning_rate * error``.

    Args:
        weights: (features,) float64.
        state: (2,) float64: the bias; the second number receives the count of samples that changed the weights.
        x: (samples, features), float32 or float64, C-contiguous.
        y: (samples,) float64, usually 0 and 1.
    """
    kernel = kernel_for(_TRAIN, "x", x)
    samples, features = matrix_shape("x", x)
    check("x", x, x.dtype, (samples, features))
    check("y", y, FLOAT64, (samples,))
    check_output("weights", weights, FLOAT64, (features,))
    check_output("state", state, FLOAT64, (2,))
    launch(kernel, 1, (weights, state, x, y), samples, features, learning_rate)


def perceptron_predict(out: np.ndarray, x: np.ndarray, weights: np.ndarray, bias: float) -> None:
    """``out[i] = 1 if x[i] @ weights + bias >= 0 else 0``.

    Args:
        out: (samples,) int64.
        x: (samples, features), float32 or float64, C-contiguous.
        weights: (features,) float64.
    """
    kernel = kernel_for(_PREDICT, "x", x)
    samples, features = matrix_shape("x", x)
    check("x", x, x.dtype, (samples, features))
    check("weights", weights, FLOAT64, (features,))
    check_output("out", out, INT64, (samples,))
    parts = max(1, min(chunks_for(2 * x.size + 4 * samples), samples))
    launch(kernel, parts, (out, x, weights), samples, features, bias)
