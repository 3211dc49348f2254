"""Adagrad."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add, sqrt
from fastnn.kernels.optim.optimizers import (
    Relaunch,
    bounds,
    check_step,
    factor,
    gradient,
    numbers,
    sign_of,
    stretch,
    update,
)
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer


@inline
def _adagrad_step(p, g, s, decay, scale, eps, step_size):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        s[i] = multiply_add(grad, grad, s[i])
        p[i] -= step_size * grad / (sqrt(s[i]) + eps)


_WORDS = Words("parameters gradients sum hyper scale; size")


def _adagrad(dtype):
    def adagrad_slice(args, t, n):
        # parameters, gradients, sum of squares: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        s = stretch(args, _WORDS.sum, size, lo, hi, dtype)
        step_size = dtype(hyper[0] / (1 + (hyper[1] - 1) * hyper[5]))
        decay, scale = dtype(hyper[3]), dtype(hyper[4] * factor(args, _WORDS.scale))
        _adagrad_step(p, g, s, decay, scale, dtype(hyper[2]), step_size)

    return adagrad_slice


_ADAGRAD = by_dtype("adagrad", _adagrad, _WORDS)
_NAMES = "parameters", "gradients", "sum_of_squares"


def adagrad(
    parameters: np.ndarray,
    gradients: np.ndarray,
    sum_of_squares: np.ndarray,
    *,
    step: float,
    lr: float,
    lr_decay: float = 0.0,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """Adagrad (J. Duchi, E. Hazan and Y. Singer, JMLR 12, 2011), in place.

    With ``g' = g + weight_decay * p``: ``s += g'**2``,
    ``p -= lr / (1 + (step - 1) lr_decay) * g' / (sqrt(s) + eps)``.

    Args:
        parameters, gradients, sum_of_squares: flat arrays of one size and dtype.
        step: number of this step, from 1.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    check_step(step)
    scalars = lr, step, eps, weight_decay, sign_of(maximize), lr_decay
    arrays = parameters, gradients, sum_of_squares
    return update(_ADAGRAD, 15, _NAMES, arrays, (), scalars, grad_scale, hyper)
