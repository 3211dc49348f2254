"""The common base of exponential families."""

from __future__ import annotations

from typing import Any

from fastnn._autograd.modes import enable_grad
from fastnn._tensor.tensor import Tensor
from fastnn.autograd import grad
from fastnn.distributions.distribution import Distribution, sum_rightmost


class ExponentialFamily(Distribution):
    """Distributions with density ``exp(<t(x), theta> - F(theta) + k(x))``.

    A subclass has the natural parameters theta in ``_natural_params``, the function F in ``_log_normalizer`` and the
    mean of ``k(x)`` in ``_mean_carrier_measure``. The entropy follows from them: ``F - <theta, F'> - mean of k``.
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        value, slopes = self._gradient()
        products = [_summed(p * slope, self) for p, slope in zip(self._natural_params, slopes, strict=True)]
        return value - sum(products[1:], products[0]) - self._mean_carrier_measure

    def _gradient(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """F and F' at the natural parameters, which are constants, as in PyTorch."""
        with enable_grad():
            own = [p.detach().requires_grad_() for p in self._natural_params]
            value = self._log_normalizer(*own)
            return value, grad(value.sum(), own, create_graph=True)


def bregman(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    """The divergence of two members of a family: ``F(q) - F(p) - <q - p, F'(p)>``."""
    value, slopes = p._gradient()
    result = q._log_normalizer(*q._natural_params) - value
    for mine, other, slope in zip(p._natural_params, q._natural_params, slopes, strict=True):
        result = result - _summed((other - mine.detach()) * slope, q)
    return result


def _summed(terms: Tensor, family: Distribution) -> Tensor:
    """The sum over all dimensions but those of the batch."""
    return sum_rightmost(terms, terms.dim() - len(family.batch_shape))
