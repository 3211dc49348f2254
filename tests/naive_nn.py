"""Like ``naive``, for the kernels of layers of ``nn``: float64, plain and obvious."""

from __future__ import annotations

import numpy as np
from scipy import special


def _sigmoid(x):
    return special.expit(x)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _tanh_softplus(x):
    return np.tanh(_softplus(x))


def elementwise(x, name, a=0.0, b=0.0, c=0.0):
    """An activation of ``kernels.elementwise_activations``."""
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        return {
            "elu": lambda: np.where(x <= 0, a * np.expm1(np.minimum(c * x, 700)), b * x),
            "hardshrink": lambda: np.where(np.abs(x) <= a, 0, x),
            "hardsigmoid": lambda: np.clip((x + 3) / 6, 0, 1),
            "hardswish": lambda: x * np.clip(x + 3, 0, 6) / 6,
            "hardtanh": lambda: np.clip(x, a, b),
            "logsigmoid": lambda: -_softplus(-x),
            "mish": lambda: x * _tanh_softplus(x),
            "silu": lambda: x * _sigmoid(x),
            "softplus": lambda: np.where(a * x > b, x, _softplus(a * x) / a),
            "softshrink": lambda: np.where(x > a, x - a, np.where(x < -a, x + a, 0 * x)),
            "softsign": lambda: x / (1 + np.abs(x)),
            "tanhshrink": lambda: x - np.tanh(x),
            "threshold": lambda: np.where(x <= a, b, x),
        }[name]()


def elementwise_backward(dy, x, name, a=0.0, b=0.0, c=0.0):
    """``dy`` times its derivative, and 0 where it is constant."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    t, s = _tanh_softplus(x), _sigmoid(x)
    with np.errstate(all="ignore"):
        return {
            "elu": lambda: np.where(x <= 0, dy * c * a * np.exp(np.minimum(c * x, 700)), dy * b),
            "hardshrink": lambda: np.where(np.abs(x) > a, dy, 0),
            "hardsigmoid": lambda: np.where((x > -3) & (x < 3), dy / 6, 0),
            "hardswish": lambda: np.where(x <= -3, 0, np.where(x < 3, dy * (x / 3 + 0.5), dy)),
            "hardtanh": lambda: np.where((x > a) & (x < b), dy, 0),
            "logsigmoid": lambda: dy * _sigmoid(-x),
            "mish": lambda: dy * (t + x * s * (1 - t * t)),
            "silu": lambda: dy * (s + x * s * _sigmoid(-x)),
            "softplus": lambda: np.where(a * x > b, dy, dy * _sigmoid(a * x)),
            "softshrink": lambda: np.where(np.abs(x) > a, dy, 0),
            "softsign": lambda: dy / (1 + np.abs(x)) ** 2 + 0 * x,
            "tanhshrink": lambda: dy * np.tanh(x) ** 2,
            "threshold": lambda: np.where(x <= a, 0, dy),
        }[name]()


def softmax(x, logarithm=False):
    """Row by row."""
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        shifted = x - x.max(1, keepdims=True, initial=-np.inf)
        total = np.exp(shifted).sum(1, keepdims=True)
        return shifted - np.log(total) if logarithm else np.exp(shifted) / total


def softmax_backward(dy, out, logarithm=False):
    """From the result of the forward."""
    dy, out = np.asarray(dy, np.float64), np.asarray(out, np.float64)
    if logarithm:
        return dy - np.exp(out) * dy.sum(1, keepdims=True)
    return out * (dy - (dy * out).sum(1, keepdims=True))


def embedding_backward(rows, dy, indices, padding_idx=None):
    """The rows of ``dy`` added up by their numbers."""
    total = np.zeros((rows, dy.shape[1]))
    for index, row in zip(indices, np.asarray(dy, np.float64), strict=True):
        if index != padding_idx:
            total[index] += row
    return total
