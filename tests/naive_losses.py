"""Reference losses, like ``naive``: plain, slow and obvious, in float64 NumPy. Values and derivatives."""

from __future__ import annotations

import numpy as np
from cases_losses import LOSSES
from scipy import special

REFERENCES = {row.kernel: row.reference for row in LOSSES.values() if row.kernel}


def pointwise_loss(loss: str, x, y, a: float, z=None):
    """The losses, and their derivatives by x and (if given) z, by the formula in the loss's row."""
    arrays = [np.asarray(n, np.float64) for n in (x, y, z) if n is not None]
    with np.errstate(all="ignore"):
        return tuple(np.asarray(n, np.float64) for n in REFERENCES[loss](*arrays, float(a)))


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
