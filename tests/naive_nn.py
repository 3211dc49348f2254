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


def _repeated(q, *others):
    """The arrays in float64, with the heads of the others repeated up to those of ``q``."""
    count = q.shape[1] // others[0].shape[1]
    return [np.asarray(q, np.float64), *[np.repeat(np.asarray(a, np.float64), count, 1) for a in others]]


def attention(q, k, v, mask, scale, causal=False):
    """Attention, its weights, and the size of the largest score, at least 1: 0 where no key is visible."""
    q, k, v = _repeated(q, k, v)
    scores = scale * q @ k.swapaxes(-1, -2)
    size = max(1.0, scale * (np.abs(q) @ np.abs(k).swapaxes(-1, -2)).max())
    if mask is not None:
        scores = scores + mask
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    e = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    weights = e / np.where(total == 0, 1, total)
    return weights @ v, weights, size


def attention_backward(dout, q, k, v, weights, scale):
    """The gradients of q, k, v and the scores, from the weights of the forward."""
    groups, (q, k, v) = k.shape[1], _repeated(q, k, v)
    dout, weights = np.asarray(dout, np.float64), np.asarray(weights, np.float64)
    dweights = dout @ v.swapaxes(-1, -2)
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True))

    def summed(a):
        return a.reshape(a.shape[0], groups, -1, *a.shape[2:]).sum(2)

    dk, dv = scale * dscores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ dout
    return scale * dscores @ k, summed(dk), summed(dv), dscores
