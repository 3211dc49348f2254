"""Optimizer steps: one pass over flat buffers of parameters, gradients and state.

Each loop lives in a helper that is called on slices of the arrays: written straight into the
parallel body LLVM does not vectorise it (measured: 95 us against 10 for Adam on 1e5 parameters).

``1 - beta`` comes from the caller, in float64: in float32 it is off by 1e-5 of itself for 0.999, and
LLVM would turn ``beta * v + (1 - beta) * x`` into ``x + beta * (v - x)``, NaN where ``x`` is infinite.

May import ``jit`` and ``simd``.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.jit import (
    array,
    by_dtype,
    check,
    check_output,
    inline,
    integer,
    kernel_for,
    launch,
    part,
    parts_for,
    real,
)
from fastnn.kernels.simd import maximum, sqrt

# Parts begin at multiples of a cache line, so that no two threads write to the same one.
_LINE = 16


@inline
def _bounds(size, t, n):
    first, last = part(-(-size // _LINE), t, n)
    return first * _LINE, min(size, last * _LINE)


@inline
def _gradient(g, p, decay, sign):
    # The test keeps an infinite parameter from turning into NaN where there is no decay; LLVM
    # moves it out of the loop.
    return sign * g + decay * p if decay != 0 else sign * g


@inline
def _sgd_step(p, g, lr, decay, sign):
    for i in range(p.size):
        p[i] -= lr * _gradient(g[i], p[i], decay, sign)


def _sgd(dtype):
    def sgd_slice(args, t, n):
        # parameters[size], gradients[size]; size; lr, weight_decay, sign
        size = integer(args, 2)
        lo, hi = _bounds(size, t, n)
        p, g = array(args, 0, (size,), dtype)[lo:hi], array(args, 1, (size,), dtype)[lo:hi]
        _sgd_step(p, g, dtype(real(args, 3)), dtype(real(args, 4)), dtype(real(args, 5)))

    return sgd_slice


@inline
def _sgd_momentum_step(p, g, v, lr, decay, sign, momentum, undamped, nesterov):
    for i in range(p.size):
        gradient = _gradient(g[i], p[i], decay, sign)
        v[i] = momentum * v[i] + undamped * gradient
        p[i] -= lr * (gradient + momentum * v[i] if nesterov else v[i])


def _sgd_momentum(dtype):
    def sgd_momentum_slice(args, t, n):
        # parameters[size], gradients[size], velocity[size]; size, nesterov; lr, decay, sign, momentum, 1 - dampening
        size, nesterov = integer(args, 3), integer(args, 4) != 0
        lr, decay, sign = dtype(real(args, 5)), dtype(real(args, 6)), dtype(real(args, 7))
        momentum, undamped = dtype(real(args, 8)), dtype(real(args, 9))
        lo, hi = _bounds(size, t, n)
        p, g = array(args, 0, (size,), dtype)[lo:hi], array(args, 1, (size,), dtype)[lo:hi]
        v = array(args, 2, (size,), dtype)[lo:hi]
        _sgd_momentum_step(p, g, v, lr, decay, sign, momentum, undamped, nesterov)

    return sgd_momentum_slice


@inline
def _adam_step(p, g, m, v, decay, sign, rest1, beta2, rest2, eps, step_size, root_correction):
    for i in range(p.size):
        gradient = _gradient(g[i], p[i], decay, sign)
        m[i] += rest1 * (gradient - m[i])
        v[i] = beta2 * v[i] + rest2 * gradient * gradient
        p[i] -= step_size * m[i] / (sqrt(v[i]) * root_correction + eps)


@inline
def _amsgrad_step(p, g, m, v, v_max, decay, sign, rest1, beta2, rest2, eps, step_size, root_correction):
    for i in range(p.size):
        gradient = _gradient(g[i], p[i], decay, sign)
        m[i] += rest1 * (gradient - m[i])
        v[i] = beta2 * v[i] + rest2 * gradient * gradient
        v_max[i] = maximum(v_max[i], v[i])
        p[i] -= step_size * m[i] / (sqrt(v_max[i]) * root_correction + eps)


def _adam(dtype):
    def adam_slice(args, t, n):
        # parameters, gradients, first, second, largest second moment: all [size]; size, amsgrad;
        # decay, sign, 1 - beta1, beta2, 1 - beta2, eps, step size, root correction
        size, amsgrad = integer(args, 5), integer(args, 6)
        lo, hi = _bounds(size, t, n)
        p, g = array(args, 0, (size,), dtype)[lo:hi], array(args, 1, (size,), dtype)[lo:hi]
        m, v = array(args, 2, (size,), dtype)[lo:hi], array(args, 3, (size,), dtype)[lo:hi]
        decay, sign = dtype(real(args, 7)), dtype(real(args, 8))
        rest1, beta2, rest2 = dtype(real(args, 9)), dtype(real(args, 10)), dtype(real(args, 11))
        eps, step_size, root_correction = dtype(real(args, 12)), dtype(real(args, 13)), dtype(real(args, 14))
        if amsgrad:
            v_max = array(args, 4, (size,), dtype)[lo:hi]
            _amsgrad_step(p, g, m, v, v_max, decay, sign, rest1, beta2, rest2, eps, step_size, root_correction)
        else:
            _adam_step(p, g, m, v, decay, sign, rest1, beta2, rest2, eps, step_size, root_correction)

    return adam_slice


_SGD = by_dtype("sgd", _sgd, arrays=2, integers=1, reals=3)
_SGD_MOMENTUM = by_dtype("sgd_momentum", _sgd_momentum, arrays=3, integers=2, reals=5)
_ADAM = by_dtype("adam", _adam, arrays=5, integers=2, reals=8)


def _check_flat(parameters: np.ndarray, gradients: np.ndarray, **state: np.ndarray) -> None:
    dtype, shape = parameters.dtype, parameters.shape
    check_output("parameters", parameters, dtype, shape)
    if len(shape) != 1:
        raise ValueError(f"parameters must be flat, found shape {shape}")
    check("gradients", gradients, dtype, shape)
    for name, a in state.items():
        check_output(name, a, dtype, shape)


def sgd(
    parameters: np.ndarray, gradients: np.ndarray, *, lr: float, weight_decay: float = 0.0, maximize: bool = False
) -> None:
    """``p -= lr * (g + weight_decay * p)`` in place, with ``-g`` for ``maximize``.

    Args:
        parameters, gradients: flat arrays of one size and dtype, float32 or float64.
    """
    kernel = kernel_for(_SGD, "parameters", parameters)
    size = parameters.size
    _check_flat(parameters, gradients)
    launch(kernel, parts_for(6 * size), (parameters, gradients), size, lr, weight_decay, -1.0 if maximize else 1.0)


def sgd_momentum(
    parameters: np.ndarray,
    gradients: np.ndarray,
    velocity: np.ndarray,
    *,
    lr: float,
    momentum: float,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> None:
    """SGD with momentum, as PyTorch defines it, in place.

    With ``g' = g + weight_decay * p``: ``v = momentum * v + (1 - dampening) * g'`` and
    ``p -= lr * v``, or ``p -= lr * (g' + momentum * v)`` for ``nesterov``. PyTorch starts with
    ``v = g'``: pass zeros and ``dampening=0`` for the first step.

    Args:
        parameters, gradients, velocity: flat arrays of one size and dtype.
    """
    kernel = kernel_for(_SGD_MOMENTUM, "parameters", parameters)
    size = parameters.size
    _check_flat(parameters, gradients, velocity=velocity)
    launch(
        kernel, parts_for(10 * size), (parameters, gradients, velocity),
        size, nesterov, lr, weight_decay, -1.0 if maximize else 1.0, momentum, 1 - dampening,
    )  # fmt: skip


def adam(
    parameters: np.ndarray,
    gradients: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    max_exp_avg_sq: np.ndarray | None = None,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> None:
    """Adam (D. P. Kingma and J. Ba, arXiv:1412.6980), in place; AMSGrad where ``max_exp_avg_sq`` is given.

    With ``g' = g + weight_decay * p``: ``m += (1 - beta1) (g' - m)``, ``v = beta2 v + (1 - beta2) g'**2``,
    ``p -= lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps)``.

    Args:
        parameters, gradients, exp_avg, exp_avg_sq, max_exp_avg_sq: flat arrays of one size and dtype.
        step: number of this step, from 1.
    """
    kernel = kernel_for(_ADAM, "parameters", parameters)
    if step < 1:
        raise ValueError(f"step must be at least 1, found {step}")
    size, (beta1, beta2) = parameters.size, betas
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(f"betas must be in [0, 1), found {betas}")
    amsgrad = max_exp_avg_sq is not None
    v_max = exp_avg_sq if max_exp_avg_sq is None else max_exp_avg_sq
    _check_flat(parameters, gradients, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq, max_exp_avg_sq=v_max)
    launch(
        kernel, parts_for(25 * size), (parameters, gradients, exp_avg, exp_avg_sq, v_max),
        size, amsgrad, weight_decay, -1.0 if maximize else 1.0, 1 - beta1, beta2, 1 - beta2, eps,
        lr / (1 - beta1**step), 1 / (1 - beta2**step) ** 0.5,
    )  # fmt: skip
