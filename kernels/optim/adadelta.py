"""Adadelta."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add, sqrt
from fastnn.kernels.optim.optimizers import Relaunch, bounds, factor, gradient, numbers, sign_of, stretch, update
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer


@inline
def _adadelta_step(p, g, s, d, decay, scale, lr, rho, rest, eps):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        s[i] = multiply_add(rho, s[i], rest * grad * grad)
        delta = sqrt(d[i] + eps) / sqrt(s[i] + eps) * grad
        d[i] = multiply_add(rho, d[i], rest * delta * delta)
        p[i] = multiply_add(-lr, delta, p[i])


_WORDS = Words("parameters gradients squares steps hyper scale; size")


def _adadelta(dtype):
    def adadelta_slice(args, t, n):
        # parameters, gradients, squares of gradients, of steps: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        s, d = stretch(args, _WORDS.squares, size, lo, hi, dtype), stretch(args, _WORDS.steps, size, lo, hi, dtype)
        lr, rho, rest, eps = dtype(hyper[0]), dtype(hyper[5]), dtype(1 - hyper[5]), dtype(hyper[2])
        _adadelta_step(p, g, s, d, dtype(hyper[3]), dtype(hyper[4] * factor(args, _WORDS.scale)), lr, rho, rest, eps)

    return adadelta_slice


_ADADELTA = by_dtype("adadelta", _adadelta, _WORDS)
_NAMES = "parameters", "gradients", "square_avg", "acc_delta"


def adadelta(
    parameters: np.ndarray,
    gradients: np.ndarray,
    square_avg: np.ndarray,
    acc_delta: np.ndarray,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """Adadelta (M. D. Zeiler, arXiv:1212.5701), in place.

    With ``g' = g + weight_decay * p``: ``s = rho s + (1 - rho) g'**2``,
    ``delta = sqrt(d + eps) / sqrt(s + eps) * g'``, ``d = rho d + (1 - rho) delta**2``, ``p -= lr * delta``.

    Args:
        parameters, gradients, square_avg (``s``), acc_delta (``d``): flat arrays of one size and dtype.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = lr, 0.0, eps, weight_decay, sign_of(maximize), rho
    arrays = parameters, gradients, square_avg, acc_delta
    return update(_ADADELTA, 30, _NAMES, arrays, (), scalars, grad_scale, hyper)
