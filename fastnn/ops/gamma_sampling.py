"""Draws from gamma, Dirichlet and binomial distributions, and their derivatives.

The names are those of PyTorch's operations that ``torch.distributions`` uses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core import capture_state
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.ops.core import check_tensor, recorded_result
from fastnn.ops.implicit_gradients import beta_slope, standard_gamma_slope
from fastnn.ops.sampling import _rng
from fastnn.random import Generator


def _floats(name: str, **tensors: Tensor) -> None:
    """TypeError for anything but tensors, NotImplementedError unless they are floating point."""
    for label, t in tensors.items():
        check_tensor(label, t)
        if t._data.dtype.kind != "f":
            raise NotImplementedError(f'"{name}" not implemented for {t.dtype}: {label} must be floating point')


def without_derivative(name: str, result: np.ndarray, *operands: Tensor) -> Tensor:
    """A tensor over ``result``; a backward pass through it raises NotImplementedError."""
    if not _recorded(*operands):
        return _wrap(result)

    def run(grad: Tensor) -> tuple[Any, ...]:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented")

    return _wrap(result, Node(name, operands, run))


def _gamma_draws(concentration: np.ndarray, generator: Generator | None) -> np.ndarray:
    try:
        drawn = _rng(generator).standard_gamma(concentration.astype(np.float64))
    except ValueError:
        # NaN, or not positive: NaN, as in PyTorch, which does not check either.
        good = concentration > 0
        drawn = _rng(generator).standard_gamma(np.where(good, concentration, 1.0).astype(np.float64))
        drawn = np.where(good, drawn, np.nan)
    kind = concentration.dtype
    return np.maximum(np.asarray(drawn).astype(kind), np.finfo(kind).tiny)


def _standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws from gamma distributions of rate 1 with the shape parameters in ``input``, differentiable.

    >>> import fastnn
    >>> fastnn._standard_gamma(fastnn.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    _floats("_standard_gamma", input=input)
    drawn = _gamma_draws(input._data, generator)
    if not _recorded(input):
        return _wrap(drawn)
    return recorded_result(
        "StandardGamma", (input,), drawn, lambda grad, y: (grad * _standard_gamma_grad(input, y),), (input,)
    )


def _standard_gamma_grad(input: Tensor, output: Tensor) -> Tensor:
    """The derivatives of draws ``output`` of :func:`_standard_gamma` with respect to ``input``.

    Raises: NotImplementedError in the backward pass: it has no derivative itself.
    """
    _floats("_standard_gamma_grad", input=input, output=output)
    capture_state.stop("a derivative is computed outside the kernels")
    slopes = standard_gamma_slope(input._data, output._data).astype(output._data.dtype)
    return without_derivative("_standard_gamma_grad", slopes, input, output)


def _sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws from Dirichlet distributions with the exponents in the last dimension of ``input``, differentiable.

    >>> import fastnn
    >>> fastnn._sample_dirichlet(fastnn.ones(2, 1))
    tensor([[1.],
            [1.]])
    """
    _floats("_sample_dirichlet", input=input)
    gammas = _gamma_draws(input._data, generator)
    drawn = np.asarray(gammas / gammas.sum(-1, keepdims=True, dtype=np.float64)).astype(gammas.dtype)
    drawn = np.maximum(drawn, np.finfo(drawn.dtype).tiny)
    if not _recorded(input):
        return _wrap(drawn)

    def run(grad: Tensor, y: Tensor) -> tuple[Tensor]:
        slopes = _dirichlet_grad(y, input, input.detach().sum(-1, True).expand(*input.shape))
        return (slopes * (grad - (y * grad).sum(-1, True)),)

    return recorded_result("SampleDirichlet", (input,), drawn, run, (input,))


def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """``dx/da / (1 - x)`` of each element x of a Dirichlet draw, with exponent a and sum of exponents ``total``.

    A change of a moves the other elements in proportion: ``x_j`` by ``-x_j dx/da / (1 - x)``.

    Raises: NotImplementedError in the backward pass: it has no derivative itself.
    """
    _floats("_dirichlet_grad", x=x, alpha=alpha, total=total)
    capture_state.stop("a derivative is computed outside the kernels")
    # Rounding of the sum must not make the other exponents 0.
    rest = np.maximum(np.subtract(total._data, alpha._data, dtype=np.float64), np.finfo(np.float64).tiny)
    return without_derivative(
        "_dirichlet_grad", beta_slope(alpha._data, rest, x._data).astype(x._data.dtype), x, alpha, total
    )


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """The number of successes of ``count`` trials, each with probability ``prob``, in the dtype of ``count``.

    Args:
        count, prob: floating point tensors of one dtype that broadcast.

    Raises: RuntimeError for different dtypes; ValueError for a negative count or a probability outside [0, 1].

    >>> import fastnn
    >>> fastnn.binomial(fastnn.tensor([3.0, 3.0]), fastnn.tensor([0.0, 1.0]))
    tensor([0., 3.])
    """
    _floats("binomial", count=count, prob=prob)
    if count._data.dtype != prob._data.dtype:
        raise RuntimeError(f"Found dtype {prob.dtype} but expected {count.dtype}: count and prob must have one dtype")
    n, p = count.detach()._data, prob.detach()._data
    if not ((n >= 0) & np.isfinite(n)).all() or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            "binomial() needs counts that are not negative, and probabilities in [0, 1], found counts from "
            f"{n.min()} to {n.max()} and probabilities from {p.min()} to {p.max()}"
        )
    drawn = _wrap(np.asarray(_rng(generator).binomial(n.astype(np.int64), p.astype(np.float64))).astype(n.dtype))
    if not _recorded(count, prob):
        return drawn

    def run(grad: Tensor) -> tuple[Any, ...]:
        from fastnn.ops.creation import zeros_like

        return tuple(zeros_like(t) if t._requires_grad else None for t in (count, prob))

    return _wrap(drawn._data, Node("Binomial", (count, prob), run))
