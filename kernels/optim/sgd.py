"""Stochastic gradient descent, with and without momentum."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add
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
def _sgd_step(p, g, lr, decay, scale):
    for i in range(p.size):
        p[i] = multiply_add(-lr, gradient(g[i], p[i], decay, scale), p[i])


_WORDS = Words("parameters gradients hyper scale; size")


def _sgd(dtype):
    def sgd_slice(args, t, n):
        # parameters, gradients: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        _sgd_step(p, g, dtype(hyper[0]), dtype(hyper[2]), dtype(hyper[3] * factor(args, _WORDS.scale)))

    return sgd_slice


@inline
def _sgd_momentum_step(p, g, v, lr, decay, scale, momentum, undamped, nesterov):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        v[i] = multiply_add(momentum, v[i], undamped * grad)
        p[i] = multiply_add(-lr, multiply_add(momentum, v[i], grad) if nesterov else v[i], p[i])


_MOMENTUM_WORDS = Words("parameters gradients velocity hyper scale; size nesterov")


def _sgd_momentum(dtype):
    def sgd_momentum_slice(args, t, n):
        # parameters, gradients, velocity: all [size]
        size, nesterov = integer(args, _MOMENTUM_WORDS.size), integer(args, _MOMENTUM_WORDS.nesterov) != 0
        hyper = numbers(args, _MOMENTUM_WORDS.hyper)
        lr, decay, scale = dtype(hyper[0]), dtype(hyper[2]), dtype(hyper[3] * factor(args, _MOMENTUM_WORDS.scale))
        undamped = dtype(1.0 if hyper[1] == 1 else 1 - hyper[5])
        lo, hi = bounds(size, t, n)
        p = stretch(args, _MOMENTUM_WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _MOMENTUM_WORDS.gradients, size, lo, hi, dtype)
        v = stretch(args, _MOMENTUM_WORDS.velocity, size, lo, hi, dtype)
        _sgd_momentum_step(p, g, v, lr, decay, scale, dtype(hyper[4]), undamped, nesterov)

    return sgd_momentum_slice


_SGD = by_dtype("sgd", _sgd, _WORDS)
_SGD_MOMENTUM = by_dtype("sgd_momentum", _sgd_momentum, _MOMENTUM_WORDS)
_NAMES = "parameters", "gradients", "velocity"


def sgd(
    parameters: np.ndarray,
    gradients: np.ndarray,
    *,
    lr: float,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """``p -= lr * (g + weight_decay * p)`` in place, with ``-g`` for ``maximize``.

    Args:
        parameters, gradients: flat arrays of one size and dtype, float32 or float64.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = lr, 0.0, weight_decay, sign_of(maximize)
    return update(_SGD, 6, _NAMES[:2], (parameters, gradients), (), scalars, grad_scale, hyper)


def sgd_momentum(
    parameters: np.ndarray,
    gradients: np.ndarray,
    velocity: np.ndarray,
    *,
    step: float,
    lr: float,
    momentum: float,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """SGD with momentum, as PyTorch defines it, in place.

    With ``g' = g + weight_decay * p``: ``v = momentum * v + (1 - dampening) * g'``, undamped in the first
    step, and ``p -= lr * v``, or ``p -= lr * (g' + momentum * v)`` for ``nesterov``.

    Args:
        parameters, gradients, velocity: flat arrays of one size and dtype.
        step: number of this step, from 1.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    check_step(step)
    scalars = lr, step, weight_decay, sign_of(maximize), momentum, dampening
    arrays = parameters, gradients, velocity
    return update(_SGD_MOMENTUM, 10, _NAMES, arrays, (bool(nesterov),), scalars, grad_scale, hyper)
