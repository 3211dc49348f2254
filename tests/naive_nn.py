"""Like ``naive``, for the kernels of layers of ``nn``: float64, plain and obvious."""

from __future__ import annotations

import numpy as np


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
