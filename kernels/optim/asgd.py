"""Averaged stochastic gradient descent."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add
from fastnn.kernels.optim.optimizers import bounds, factor, gradient, numbers, sign_of, stretch, update
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer


@inline
def _asgd_step(p, g, average, decay, scale, keep, eta, mu):
    for i in range(p.size):
        p[i] = multiply_add(keep, p[i], -eta * gradient(g[i], p[i], decay, scale))
        average[i] = multiply_add(mu, p[i] - average[i], average[i]) if mu != 1 else p[i]


_WORDS = Words("parameters gradients average hyper scale; size")


def _asgd(dtype):
    def asgd_slice(args, t, n):
        # parameters, gradients, average: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        average = stretch(args, _WORDS.average, size, lo, hi, dtype)
        keep, eta, mu = dtype(1 - hyper[4] * hyper[5]), dtype(hyper[5]), dtype(hyper[6])
        _asgd_step(p, g, average, dtype(hyper[2]), dtype(hyper[3] * factor(args, _WORDS.scale)), keep, eta, mu)

    return asgd_slice


_ASGD = by_dtype("asgd", _asgd, _WORDS)
_NAMES = "parameters", "gradients", "average"


def asgd(
    parameters: np.ndarray,
    gradients: np.ndarray,
    average: np.ndarray,
    *,
    eta: float,
    mu: float,
    lambd: float = 1e-4,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> None:
    """Averaged SGD (B. T. Polyak and A. B. Juditsky, SIAM J. Control Optim. 30, 1992), in place.

    With ``g' = g + weight_decay * p``: ``p = (1 - lambd * eta) p - eta * g'``, ``average += mu (p - average)``.

    Args:
        parameters, gradients, average: flat arrays of one size and dtype.
        eta: the learning rate of this step; mu: the weight of this step in the average.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = 0.0, 0.0, weight_decay, sign_of(maximize), lambd, eta, mu
    arrays = parameters, gradients, average
    update(_ASGD, 10, _NAMES, arrays, (), scalars, grad_scale, hyper)
