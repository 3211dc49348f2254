"""RAdam: Adam with rectified variance."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add, sqrt
from fastnn.kernels.optim.adam import bias_correction
from fastnn.kernels.optim.optimizers import (
    Relaunch,
    bounds,
    factor,
    gradient,
    moment_arrays,
    moment_numbers,
    moment_scalars,
    next_moments,
    numbers,
    update,
)
from fastnn.kernels.runtime.compiler import STRICT, Words, by_dtype, inline, integer


@inline(fastmath=STRICT)
def _rectification(beta2, step):
    """The factor of the adaptive step; 0 while the variance of the second moment is not tractable."""
    # Strict, as rho is a difference of large, nearly equal numbers.
    longest = 2.0 / (1.0 - beta2) - 1.0
    rho = longest - 2.0 * step * beta2**step / (1.0 - beta2**step)
    if rho <= 5.0:
        return 0.0
    return sqrt((rho - 4.0) * (rho - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * rho))


@inline
def _plain_step(p, g, m, v, decay, scale, keep, rest1, beta2, rest2, step_size):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        m[i], v[i] = next_moments(m[i], v[i], grad, rest1, beta2, rest2)
        p[i] = multiply_add(keep, p[i], -step_size * m[i])


@inline
def _adaptive_step(p, g, m, v, decay, scale, keep, rest1, beta2, rest2, step_size, eps):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        m[i], v[i] = next_moments(m[i], v[i], grad, rest1, beta2, rest2)
        p[i] = multiply_add(keep, p[i], -step_size * m[i] / (sqrt(v[i]) + eps))


_WORDS = Words("parameters gradients first second hyper scale; size decoupled")


def _radam(dtype):
    def radam_slice(args, t, n):
        # parameters, gradients, first, second moment: all [size]
        size, decoupled = integer(args, _WORDS.size), integer(args, _WORDS.decoupled)
        hyper = numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p, g, m, v = moment_arrays(args, size, lo, hi, dtype)
        lr, step = hyper[0], hyper[1]
        eps, decay, scale, keep, rest1, beta2, rest2 = moment_numbers(
            hyper, factor(args, _WORDS.scale), decoupled, dtype
        )
        step_size, rectification = lr / bias_correction(hyper[2], step), _rectification(hyper[3], step)
        root = sqrt(bias_correction(hyper[3], step))
        if rectification > 0:
            adaptive = dtype(step_size * rectification * root)
            _adaptive_step(p, g, m, v, decay, scale, keep, rest1, beta2, rest2, adaptive, eps)
        else:
            _plain_step(p, g, m, v, decay, scale, keep, rest1, beta2, rest2, dtype(step_size))

    return radam_slice


_RADAM = by_dtype("radam", _radam, _WORDS)
_NAMES = "parameters", "gradients", "exp_avg", "exp_avg_sq"


def radam(
    parameters: np.ndarray,
    gradients: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    *,
    step: float,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """RAdam (L. Liu et al., On the variance of the adaptive learning rate, arXiv:1908.03265), in place.

    With Adam's moments, ``R = 2 / (1 - beta2) - 1`` and ``r = R - 2 step beta2**step / (1 - beta2**step)``:
    ``p -= lr / (1 - beta1**step) * m`` while ``r <= 5``, and afterwards this times
    ``sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r)) * sqrt(1 - beta2**step) / (sqrt(v) + eps)``.

    Args:
        parameters, gradients, exp_avg, exp_avg_sq: flat arrays of one size and dtype.
        step: number of this step, from 1.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = moment_scalars(lr, step, betas, eps, weight_decay, maximize)
    arrays = parameters, gradients, exp_avg, exp_avg_sq
    return update(_RADAM, 25, _NAMES, arrays, (bool(decoupled),), scalars, grad_scale, hyper)
