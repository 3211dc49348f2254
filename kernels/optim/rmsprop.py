"""RMSprop, centred or not, with and without momentum."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.llvm.simd import maximum, multiply_add, sqrt
from fastnn.kernels.optim.optimizers import Relaunch, bounds, factor, gradient, numbers, sign_of, stretch, update
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer


@inline
def _rmsprop_step(p, g, s, b, a, decay, scale, lr, alpha, rest, eps, momentum, zero, centered, with_momentum):
    for i in range(p.size):
        grad = gradient(g[i], p[i], decay, scale)
        s[i] = multiply_add(alpha, s[i], rest * grad * grad)
        if centered:
            a[i] = multiply_add(rest, grad - a[i], a[i])
            # Rounding can make the variance of a steady gradient negative; PyTorch takes its root anyway.
            root = sqrt(maximum(multiply_add(-a[i], a[i], s[i]), zero))
        else:
            root = sqrt(s[i])
        delta = grad / (root + eps)
        if with_momentum:
            b[i] = multiply_add(momentum, b[i], delta)
            p[i] = multiply_add(-lr, b[i], p[i])
        else:
            p[i] = multiply_add(-lr, delta, p[i])


_WORDS = Words("parameters gradients squares momentum mean hyper scale; size centered has_momentum")


def _rmsprop(dtype):
    def rmsprop_slice(args, t, n):
        # parameters, gradients, squares, momentum, mean gradient: all [size]
        size, centered = integer(args, _WORDS.size), integer(args, _WORDS.centered)
        with_momentum, hyper = integer(args, _WORDS.has_momentum), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        s, b = stretch(args, _WORDS.squares, size, lo, hi, dtype), stretch(args, _WORDS.momentum, size, lo, hi, dtype)
        a = stretch(args, _WORDS.mean, size, lo, hi, dtype)
        lr, eps, decay = dtype(hyper[0]), dtype(hyper[2]), dtype(hyper[3])
        scale, alpha, rest = dtype(hyper[4] * factor(args, _WORDS.scale)), dtype(hyper[5]), dtype(1 - hyper[5])
        momentum, zero = dtype(hyper[6]), dtype(0)
        # Four loops; in each the two flags are constants.
        if centered:
            if with_momentum:
                _rmsprop_step(p, g, s, b, a, decay, scale, lr, alpha, rest, eps, momentum, zero, True, True)
            else:
                _rmsprop_step(p, g, s, b, a, decay, scale, lr, alpha, rest, eps, momentum, zero, True, False)
        elif with_momentum:
            _rmsprop_step(p, g, s, b, a, decay, scale, lr, alpha, rest, eps, momentum, zero, False, True)
        else:
            _rmsprop_step(p, g, s, b, a, decay, scale, lr, alpha, rest, eps, momentum, zero, False, False)

    return rmsprop_slice


_RMSPROP = by_dtype("rmsprop", _rmsprop, _WORDS)
_NAMES = "parameters", "gradients", "square_avg", "momentum_buffer", "grad_avg"


def rmsprop(
    parameters: np.ndarray,
    gradients: np.ndarray,
    square_avg: np.ndarray,
    momentum_buffer: np.ndarray | None = None,
    grad_avg: np.ndarray | None = None,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """RMSprop (T. Tieleman and G. Hinton, 2012; centred: A. Graves, arXiv:1308.0850), in place.

    With ``g' = g + weight_decay * p``: ``s = alpha s + (1 - alpha) g'**2``, ``delta = g' / (sqrt(s) + eps)``,
    ``p -= lr * delta``. If ``grad_avg`` is given, ``a += (1 - alpha) (g' - a)`` and ``sqrt(s - a**2)``
    replaces ``sqrt(s)``; if ``momentum_buffer`` is given, ``b = momentum b + delta`` replaces ``delta``.

    Args:
        parameters, gradients, square_avg (``s``), momentum_buffer (``b``), grad_avg (``a``): flat arrays of
            one size and dtype.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = lr, 0.0, eps, weight_decay, sign_of(maximize), alpha, momentum
    buffer = square_avg if momentum_buffer is None else momentum_buffer
    average = square_avg if grad_avg is None else grad_avg
    flags = grad_avg is not None, momentum_buffer is not None
    arrays = parameters, gradients, square_avg, buffer, average
    return update(_RMSPROP, 25, _NAMES, arrays, flags, scalars, grad_scale, hyper)
