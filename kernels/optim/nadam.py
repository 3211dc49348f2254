"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add, sqrt
from fastnn.kernels.optim.adam import bias_correction
from fastnn.kernels.optim.optimizers import (
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
def _momentum(beta1, step, momentum_decay):
    return beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay))


@inline
def _nadam_step(p, g, m, v, decay, scale, keep, rest1, beta2, rest2, eps, grad_size, step_size, root_correction):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        m[i], v[i] = next_moments(m[i], v[i], grad, rest1, beta2, rest2)
        step = multiply_add(grad_size, grad, step_size * m[i]) / multiply_add(sqrt(v[i]), root_correction, eps)
        p[i] = multiply_add(keep, p[i], -step)


_WORDS = Words("parameters gradients first second hyper scale; size decoupled")


def _nadam(dtype):
    def nadam_slice(args, t, n):
        # parameters, gradients, first, second moment: all [size]
        size, decoupled = integer(args, _WORDS.size), integer(args, _WORDS.decoupled)
        hyper = numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p, g, m, v = moment_arrays(args, size, lo, hi, dtype)
        lr, step = hyper[0], hyper[1]
        eps, decay, scale, keep, rest1, beta2, rest2 = moment_numbers(
            hyper, factor(args, _WORDS.scale), decoupled, dtype
        )
        mu, mu_next = _momentum(hyper[2], step, hyper[7]), _momentum(hyper[2], step + 1, hyper[7])
        grad_size = dtype(lr * (1 - mu) / (1 - hyper[8]))
        step_size = dtype(lr * mu_next / (1 - hyper[8] * mu_next))
        root_correction = dtype(1 / sqrt(bias_correction(hyper[3], step)))
        _nadam_step(p, g, m, v, decay, scale, keep, rest1, beta2, rest2, eps, grad_size, step_size, root_correction)

    return nadam_slice


_NADAM = by_dtype("nadam", _nadam, _WORDS)
_NAMES = "parameters", "gradients", "exp_avg", "exp_avg_sq"


def nadam(
    parameters: np.ndarray,
    gradients: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    *,
    step: float,
    mu_product: float,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> None:
    """NAdam (T. Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016), in place.

    With ``mu(t) = beta1 (1 - 0.96**(t * momentum_decay) / 2)``, Adam's moments ``m`` and ``v`` and its
    denominator: ``p -= (lr (1 - mu(t)) / (1 - M) g' + lr mu(t + 1) / (1 - M mu(t + 1)) m) / denominator``.

    Args:
        parameters, gradients, exp_avg, exp_avg_sq: flat arrays of one size and dtype.
        step: number of this step, from 1.
        mu_product: ``M``, the product of ``mu(1)`` to ``mu(step)``.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = *moment_scalars(lr, step, betas, eps, weight_decay, maximize), momentum_decay, mu_product
    arrays = parameters, gradients, exp_avg, exp_avg_sq
    update(_NADAM, 30, _NAMES, arrays, (bool(decoupled),), scalars, grad_scale, hyper)
