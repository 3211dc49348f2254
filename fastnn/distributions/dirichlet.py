"""The Dirichlet distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions import constraints
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.ops.gamma_sampling import _sample_dirichlet


class Dirichlet(ExponentialFamily):
    """Vectors of positive numbers that sum to 1, with density proportional to the product of ``x**(a - 1)``.

    Draws are differentiable with respect to the exponents (see ``fastnn.ops.implicit_gradients``).

    Args:
        concentration: (..., n), the exponents a, positive.

    >>> import fastnn
    >>> from fastnn.distributions import Dirichlet
    >>> Dirichlet(fastnn.tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "concentration": constraints.independent(constraints.positive, 1)
    }
    support: Constraint = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional, found a single number.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Tensor:
        above = (self.concentration - 1).clamp(min=0)
        mode = above / above.sum(-1, keepdim=True)
        flat = np.asarray((self.concentration._data < 1).all(-1))
        # Without an interior peak, the corner of the largest exponent.
        corners = np.eye(self._event_shape[0], dtype=mode._data.dtype)[self.concentration._data.argmax(-1)]
        return _wrap(np.where(flat[..., None], corners, mode.detach()._data)) if flat.any() else mode

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return _sample_dirichlet(self.concentration.expand(*self._sizes(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return fastnn.xlogy(a - 1, value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        a, n = self.concentration, self._event_shape[0]
        total = a.sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() - (n - total) * total.digamma() - ((a - 1) * a.digamma()).sum(-1)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.concentration,)

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        (x,) = natural_params
        return x.lgamma().sum(-1) - x.sum(-1).lgamma()
