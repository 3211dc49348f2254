"""Reference losses, like ``naive``: plain, slow and obvious, in float64 NumPy. Values and derivatives."""

from __future__ import annotations

import numpy as np
from scipy import special


def _hinge_embedding(x, y, a):
    value = np.where(y == 1, 0, np.maximum(a - x, 0)) + np.where(y == -1, 0, x)
    return value, -1.0 * ((y != 1) & (a - x >= 0)) + (y != -1)


def _bce(x, y, a):
    value = -(y * np.maximum(np.log(x), -100) + (1 - y) * np.maximum(np.log1p(-x), -100))
    return value, (x - y) / np.maximum(x * (1 - x), 1e-12)


def _smooth_l1(x, y, a):
    d = x - y
    near = np.abs(d) < a
    return np.where(near, d**2 / 2 / a, np.abs(d) - a / 2), np.where(near, d / a, np.sign(d))


def _huber(x, y, a):
    d = x - y
    near = np.abs(d) <= a
    return np.where(near, d**2 / 2, a * (np.abs(d) - a / 2)), np.where(near, d, a * np.sign(d))


def _above(x):
    """``log(1 + exp(x))``; NaN at -inf, where PyTorch adds it to infinity."""
    return np.where(x == -np.inf, np.nan, np.logaddexp(0, x))


def _pos_weight(x, y, z, a):
    softplus = np.logaddexp(0, -x)
    value = (1 - y) * _above(x) + z * y * softplus
    return value, (1 - y) * special.expit(x) - z * y * special.expit(-x), y * softplus


def _gaussian_nll(x, y, z, a):
    v, d = np.maximum(z, a), x - y
    return (np.log(v) + d * d / v) / 2, d / v, (1 / v - (d / v) ** 2) / 2


LOSSES = {
    "mse": lambda x, y, a: ((x - y) ** 2, 2 * (x - y)),
    "l1": lambda x, y, a: (np.abs(x - y), np.sign(x - y)),
    "smooth_l1": _smooth_l1,
    "huber": _huber,
    "bce": _bce,
    "bce_with_logits": lambda x, y, a: (
        (1 - y) * _above(x) + y * np.logaddexp(0, -x), (1 - y) * special.expit(x) - y * special.expit(-x)
    ),
    "soft_margin": lambda x, y, a: (np.logaddexp(0, -x * y), -y * special.expit(-x * y)),
    "kl_div": lambda x, y, a: (special.xlogy(y, y) - y * x, -y),
    "kl_div_log": lambda x, y, a: (np.exp(y) * (y - x), -np.exp(y)),
    "poisson_nll": lambda x, y, a: (x - y * np.log(x + a), 1 - y / (x + a)),
    "poisson_nll_log": lambda x, y, a: (np.exp(x) - y * x, np.exp(x) - y),
    "hinge_embedding": _hinge_embedding,
    "bce_with_logits_pos_weight": _pos_weight,
    "gaussian_nll": _gaussian_nll,
}  # fmt: skip


def pointwise_loss(loss: str, x, y, a: float, z=None):
    """The losses, and their derivatives by x and (if given) z."""
    arrays = [np.asarray(n, np.float64) for n in (x, y, z) if n is not None]
    with np.errstate(all="ignore"):
        return tuple(np.asarray(n, np.float64) for n in LOSSES[loss](*arrays, float(a)))


def soft_cross_entropy(logits, coefficients, scale=1.0):
    """``-sum(c * log(softmax(x)))`` of each row, and the gradient of ``scale`` times their sum."""
    x, c = np.asarray(logits, np.float64), np.asarray(coefficients, np.float64)
    losses, dlogits = np.zeros(len(x)), np.zeros(x.shape)
    for row in range(len(x)):
        log_p = x[row] - special.logsumexp(x[row])
        losses[row] = -(c[row] * log_p).sum()
        dlogits[row] = scale * (c[row].sum() * np.exp(log_p) - c[row])
    return losses, dlogits


def multilabel_margin(x, labels):
    """Losses and the gradient of their sum."""
    losses, dx = np.zeros(len(x)), np.zeros(x.shape)
    for row, (scores, marked) in enumerate(zip(np.asarray(x, np.float64), labels, strict=True)):
        ended = np.flatnonzero(marked < 0)
        right = marked[: ended[0]] if ended.size else marked
        for j in right:
            for i in set(range(len(scores))) - set(right.tolist()):
                gap = 1 - scores[j] + scores[i]
                if gap > 0:
                    losses[row] += gap / len(scores)
                    dx[row, i] += 1 / len(scores)
                    dx[row, j] -= 1 / len(scores)
    return losses, dx
