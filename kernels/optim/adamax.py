"""Adamax."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import fabs, maximum, multiply_add
from fastnn.kernels.optim.adam import bias_correction
from fastnn.kernels.optim.optimizers import (
    Relaunch,
    bounds,
    factor,
    gradient,
    moment_scalars,
    numbers,
    stretch,
    update,
)
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer


@inline
def _adamax_step(p, g, m, u, decay, scale, rest1, beta2, eps, step_size):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        m[i] = multiply_add(rest1, grad - m[i], m[i])
        u[i] = maximum(beta2 * u[i], fabs(grad) + eps)
        p[i] -= step_size * m[i] / u[i]


_WORDS = Words("parameters gradients first largest hyper scale; size")


def _adamax(dtype):
    def adamax_slice(args, t, n):
        # parameters, gradients, first moment, largest gradient: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        m, u = stretch(args, _WORDS.first, size, lo, hi, dtype), stretch(args, _WORDS.largest, size, lo, hi, dtype)
        step_size = dtype(hyper[0] / bias_correction(hyper[2], hyper[1]))
        rest1, beta2, eps = dtype(1 - hyper[2]), dtype(hyper[3]), dtype(hyper[4])
        decay, scale = dtype(hyper[5]), dtype(hyper[6] * factor(args, _WORDS.scale))
        _adamax_step(p, g, m, u, decay, scale, rest1, beta2, eps, step_size)

    return adamax_slice


_ADAMAX = by_dtype("adamax", _adamax, _WORDS)
_NAMES = "parameters", "gradients", "exp_avg", "exp_inf"


def adamax(
    parameters: np.ndarray,
    gradients: np.ndarray,
    exp_avg: np.ndarray,
    exp_inf: np.ndarray,
    *,
    step: float,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """Adamax (D. P. Kingma and J. Ba, arXiv:1412.6980, section 7.1), in place.

    With ``g' = g + weight_decay * p``: ``m += (1 - beta1) (g' - m)``, ``u = max(beta2 u, |g'| + eps)``,
    ``p -= lr / (1 - beta1**step) * m / u``.

    Args:
        parameters, gradients, exp_avg, exp_inf: flat arrays of one size and dtype.
        step: number of this step, from 1.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = moment_scalars(lr, step, betas, eps, weight_decay, maximize)
    arrays = parameters, gradients, exp_avg, exp_inf
    return update(_ADAMAX, 20, _NAMES, arrays, (), scalars, grad_scale, hyper)
