"""Rprop, resilient propagation."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.optim.optimizers import Relaunch, bounds, factor, numbers, sign_of, stretch, update
from fastnn.kernels.runtime.compiler import Words, by_dtype, inline, integer


@inline
def _rprop_step(p, g, previous, step_size, scale, shrink, grow, smallest, largest, zero, one):
    for i in range(p.size):
        grad = scale * g[i]
        product = grad * previous[i]
        # A product of NaN leaves the step size unchanged, like a product of zero.
        change = grow if product > zero else shrink if product < zero else one
        size = step_size[i] * change
        size = smallest if size < smallest else largest if size > largest else size
        grad = zero if product < zero else grad
        step_size[i] = size
        previous[i] = grad
        p[i] -= size if grad > zero else -size if grad < zero else zero * size


_WORDS = Words("parameters gradients previous steps hyper scale; size")


def _rprop(dtype):
    def rprop_slice(args, t, n):
        # parameters, gradients, previous gradients, step sizes: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = stretch(args, _WORDS.parameters, size, lo, hi, dtype)
        g = stretch(args, _WORDS.gradients, size, lo, hi, dtype)
        previous = stretch(args, _WORDS.previous, size, lo, hi, dtype)
        step_size = stretch(args, _WORDS.steps, size, lo, hi, dtype)
        scale, shrink, grow = dtype(hyper[2] * factor(args, _WORDS.scale)), dtype(hyper[3]), dtype(hyper[4])
        smallest, largest = dtype(hyper[5]), dtype(hyper[6])
        _rprop_step(p, g, previous, step_size, scale, shrink, grow, smallest, largest, dtype(0), dtype(1))

    return rprop_slice


_RPROP = by_dtype("rprop", _rprop, _WORDS)
_NAMES = "parameters", "gradients", "previous", "step_size"


def rprop(
    parameters: np.ndarray,
    gradients: np.ndarray,
    previous: np.ndarray,
    step_size: np.ndarray,
    *,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    maximize: bool = False,
    grad_scale: np.ndarray | None = None,
    hyper: np.ndarray | None = None,
) -> Relaunch:
    """Rprop (M. Riedmiller and H. Braun, IEEE Int. Conf. on Neural Networks 1993), in place.

    ``step_size`` is multiplied by ``etas[1]`` where the gradient has the same sign as the previous one and
    by ``etas[0]`` where the sign differs, and is clamped to ``step_sizes``; ``p -= sign(g) * step_size``.
    Where the sign has changed, ``p`` does not change and the gradient counts as 0.

    Args:
        parameters, gradients, previous, step_size: flat arrays of one size and dtype.
        grad_scale, hyper: see :func:`fastnn.kernels.optim.optimizers.update`.
    """
    scalars = 0.0, 0.0, sign_of(maximize), *etas, *step_sizes
    arrays = parameters, gradients, previous, step_size
    return update(_RPROP, 15, _NAMES, arrays, (), scalars, grad_scale, hyper)
