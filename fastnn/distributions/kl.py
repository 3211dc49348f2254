"""The Kullback-Leibler divergence between distributions.

The divergence of p from q is ``-p.entropy() - E[q.log_prob(x)]`` with x drawn from p. For most pairs, the second term
depends on a few means of functions of x, so that a function below serves several families of p.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import total_ordering
from typing import Any

import numpy as np

import fastnn
from fastnn._core import capture_state
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions.bernoulli import Bernoulli, _softplus
from fastnn.distributions.beta import Beta
from fastnn.distributions.binomial import Binomial
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.cauchy import Cauchy
from fastnn.distributions.continuous_bernoulli import ContinuousBernoulli
from fastnn.distributions.dirichlet import Dirichlet
from fastnn.distributions.distribution import Distribution, sum_rightmost
from fastnn.distributions.exp_family import ExponentialFamily, bregman
from fastnn.distributions.exponential import Exponential
from fastnn.distributions.gamma import Gamma
from fastnn.distributions.geometric import Geometric
from fastnn.distributions.gumbel import Gumbel
from fastnn.distributions.half_normal import HalfNormal
from fastnn.distributions.independent import Independent
from fastnn.distributions.laplace import Laplace
from fastnn.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal, _distance
from fastnn.distributions.multivariate_normal import MultivariateNormal, _solved
from fastnn.distributions.normal import Normal
from fastnn.distributions.one_hot_categorical import OneHotCategorical
from fastnn.distributions.pareto import Pareto
from fastnn.distributions.poisson import Poisson
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.uniform import Uniform
from fastnn.distributions.utils import euler_constant

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}
# The functions that were found for pairs of classes.
_KL_MEMOIZE: dict[tuple[type, type], Callable[[Any, Any], Tensor] | None] = {}

_Function = Callable[..., Any]


def register_kl(type_p: type, type_q: type) -> Callable[[_Function], _Function]:
    """A decorator for the function that computes the divergence of ``type_p`` from ``type_q``.

    It applies to subclasses too, unless they have their own. If the function of the nearest class of p and that of
    the nearest class of q differ, the former is used, with a RuntimeWarning; register one for the pair itself then.

    Raises: TypeError for anything but classes.
    """
    for kind in (type_p, type_q):
        # As in PyTorch, any class will do: libraries register classes that distributions derive from as well.
        if not isinstance(kind, type):
            raise TypeError(f"Expected a Distribution subclass but got {kind}")

    def register(function: _Function) -> _Function:
        _KL_REGISTRY[type_p, type_q] = function
        _KL_MEMOIZE.clear()
        return function

    return register


@total_ordering
class _Match:
    """Classes in the order in which they are tried: subclasses before their bases, the first one first."""

    __slots__ = ("types",)

    def __init__(self, *types: type) -> None:
        self.types = types

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Match) and self.types == other.types

    __hash__ = None  # type: ignore[assignment]  # compared only

    def __le__(self, other: Any) -> bool:
        for x, y in zip(self.types, other.types, strict=True):
            if not issubclass(x, y):
                return False
            if x is not y:
                break
        return True


def _dispatch_kl(type_p: type, type_q: type) -> Callable[[Any, Any], Tensor] | None:
    """The function of the nearest registered classes, or None."""
    matches = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return None
    left = min(_Match(*m) for m in matches).types
    right = min(_Match(*reversed(m)) for m in matches).types[::-1]
    found = _KL_REGISTRY[left[0], left[1]]
    if found is not _KL_REGISTRY[right[0], right[1]]:
        names = [kind.__name__ for kind in (type_p, type_q, *left, *right)]
        warnings.warn(
            "Ambiguous kl_divergence({}, {}). Please register_kl({}, {}) or register_kl({}, {})".format(
                *names[:2], left[0].__name__, right[1].__name__, right[0].__name__, left[1].__name__
            ),
            RuntimeWarning, stacklevel=3,
        )  # fmt: skip
    return found


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The mean of ``p.log_prob(x) - q.log_prob(x)`` over x drawn from p.

    Raises: NotImplementedError if there is no formula for these distributions.

    >>> from fastnn.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    kinds = type(p), type(q)
    if kinds not in _KL_MEMOIZE:
        _KL_MEMOIZE[kinds] = _dispatch_kl(*kinds)
    found = _KL_MEMOIZE[kinds]
    if found is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return found(p, q)


def _where(condition: Any, value: float, other: Tensor) -> Tensor:
    """``value`` where the condition, an array, holds, and ``other`` elsewhere."""
    capture_state.stop("a number is read in Python")
    condition = np.asarray(condition)
    return other.masked_fill(_wrap(condition), value) if condition.any() else other


# -- One family -----------------------------------------------------------------------------------


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed using Bregman "
            f"divergences, found {type(p).__name__} and {type(q).__name__}"
        )
    return bregman(p, q)


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError(
            "KL of transformed distributions needs the same transforms and shapes of events, found "
            f"{p.transforms} and {q.transforms}, {tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    first = p.probs * (_softplus(-q.logits) - _softplus(-p.logits))
    second = (1 - p.probs) * (_softplus(q.logits) - _softplus(p.logits))
    q0, q1 = q.probs.detach()._data == 0, q.probs.detach()._data == 1
    p0, p1 = p.probs.detach()._data == 0, p.probs.detach()._data == 1
    # Outcomes impossible under p add 0; those impossible only under q add infinity.
    first = _where(p0, 0.0, _where(q0 & ~p0, math.inf, first))
    second = _where(p1, 0.0, _where(q1 & ~p1, math.inf, second))
    return first + second


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    n, m = p.total_count._data, q.total_count._data
    if (n < m).any():
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented, found "
            f"{q.total_count} and {p.total_count}"
        )
    failures = (-p.probs).log1p() - (-q.probs).log1p()
    return _where(n > m, math.inf, p.total_count * (p.probs * (p.logits - q.logits) + failures))


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    impossible = np.broadcast_to(q.probs.detach()._data == 0, terms._data.shape)
    never = np.broadcast_to(p.probs.detach()._data == 0, terms._data.shape)
    return _where(never, 0.0, _where(impossible, math.inf, terms)).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_categorical(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    own = p._cont_bern_log_norm() + (-p.probs).log1p()
    return p.mean * (p.logits - q.logits) + own - q._cont_bern_log_norm() - (-q.probs).log1p()


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    distance = (p.loc - q.loc).abs()
    return (q.scale / p.scale).log() + distance / q.scale + p.scale / q.scale * (-distance / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    # F. Chyzak and F. Nielsen, "A closed-form formula for the Kullback-Leibler divergence between Cauchy
    # distributions", 2019.
    return ((p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2).log() - (4 * p.scale * q.scale).log()


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    return (
        b * (p.rate / q.rate).log() + b.lgamma() - a.lgamma() + (a - b) * a.digamma()
        + (q.rate - p.rate) * (a / p.rate)
    )  # fmt: skip


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, shift = p.scale / q.scale, (p.loc - q.loc) / q.scale
    last = (ratio + 1).lgamma() - shift
    return -ratio.log() + shift + ratio * euler_constant + last.exp() - (1 + euler_constant)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    (a, b), (c, d) = (p.concentration1, p.concentration0), (q.concentration1, q.concentration0)
    sizes = c.lgamma() + d.lgamma() + (a + b).lgamma() - (c + d).lgamma() - a.lgamma() - b.lgamma()
    return sizes + (a - c) * a.digamma() + (b - d) * b.digamma() + (c + d - a - b) * (a + b).digamma()


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1, keepdim=True)
    sizes = total.squeeze(-1).lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return sizes + ((a - b) * (a.digamma() - total.digamma())).sum(-1)


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return _where(p.scale._data < q.scale._data, math.inf, result)


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    outside = (q.low._data > p.low._data) | (q.high._data < p.high._data)
    return _where(outside, math.inf, result)


@register_kl(Independent, Independent)
def _independent(p: Independent[Any], q: Independent[Any]) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "KL of Independent distributions needs the same number of reinterpreted dimensions, found "
            f"{p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims}"
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


# -- Normal vectors -------------------------------------------------------------------------------


def _same_length(p: Distribution, q: Distribution) -> None:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two Multivariate Normals with different event shapes cannot be computed: "
            f"{tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _to_multivariate_normal(p: Any, q: MultivariateNormal) -> Tensor:
    _same_length(p, q)
    lower = q._unbroadcasted_scale_tril
    if isinstance(p, MultivariateNormal):
        spread = (_solved(lower, p._unbroadcasted_scale_tril) ** 2).sum((-2, -1))
    else:
        spread = (_solved(lower, p._unbroadcasted_cov_factor) ** 2).sum((-2, -1))
        spread = spread + (_solved(lower, p._unbroadcasted_cov_diag.sqrt().diag_embed()) ** 2).sum((-2, -1))
    distance = (_solved(lower, (q.loc - p.loc).unsqueeze(-1)) ** 2).sum((-2, -1))
    return q._half_log_det() - p._half_log_det() + 0.5 * (spread + distance - p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _to_low_rank(p: Any, q: LowRankMultivariateNormal) -> Tensor:
    _same_length(p, q)
    factor, diagonal, lower = q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag, q._capacitance_tril
    # The trace of the inverse of q's covariance times p's, by Woodbury's formula: from the square roots of p's.
    if isinstance(p, MultivariateNormal):
        roots = [p._unbroadcasted_scale_tril]
    else:
        roots = [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()]
    spread: Any = 0
    for root in roots:
        inner = (factor.mT / diagonal.unsqueeze(-2)) @ root
        plain = (root**2 / diagonal.unsqueeze(-1)).sum((-2, -1))
        spread = spread + plain - (_solved(lower, inner) ** 2).sum((-2, -1))
    distance = _distance(factor, diagonal, q.loc - p.loc, lower)
    return q._half_log_det() - p._half_log_det() + 0.5 * (spread + distance - p.event_shape[0])


# -- Different families ---------------------------------------------------------------------------


def _of_each(kinds: tuple[type, ...], to: type) -> Callable[[_Function], _Function]:
    """A decorator: the function serves all these families of p."""

    def register(function: _Function) -> _Function:
        for kind in kinds:
            register_kl(kind, to)(function)
        return function

    return register


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - p.probs * q.rate.log() + q.rate


# The families with values that q does not have.
_BEYOND: dict[type, tuple[type, ...]] = {
    Pareto: (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Normal),
    **dict.fromkeys((Beta, ContinuousBernoulli, Uniform), (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    **dict.fromkeys((Exponential, Gamma), (Gumbel, Laplace, Normal)),
    **dict.fromkeys((Bernoulli, Binomial), (Poisson,)),
}


def _infinite(p: Distribution, q: Distribution) -> Tensor:
    shape = fastnn.broadcast_shapes(tuple(p.batch_shape), tuple(q.batch_shape))
    return fastnn.full(tuple(shape), math.inf, dtype=p.mean.dtype)


for _to, _kinds in _BEYOND.items():
    _of_each(_kinds, _to)(_infinite)


@_of_each((Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform), Normal)
def _to_normal(p: Distribution, q: Normal) -> Tensor:
    square = p.variance + (p.mean - q.loc) ** 2
    return 0.5 * square / q.scale**2 + q.scale.log() + 0.5 * math.log(2 * math.pi) - p.entropy()


@_of_each((Beta, ContinuousBernoulli, Gamma, Pareto), Exponential)
def _to_exponential(p: Distribution, q: Exponential) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    return _where(p.low._data < 0, math.inf, _to_exponential(p, q))


def _mean_log(p: Any) -> Tensor:
    """The mean of ``log(x)``."""
    if isinstance(p, Beta):
        return p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    if isinstance(p, Exponential):
        return -euler_constant - p.rate.log()
    if isinstance(p, Pareto):
        return p.scale.log() + 1 / p.alpha
    return (fastnn.xlogy(p.high, p.high) - fastnn.xlogy(p.low, p.low)) / (p.high - p.low) - 1


@_of_each((Beta, Exponential, Pareto), Gamma)
def _to_gamma(p: Distribution, q: Gamma) -> Tensor:
    a, rate = q.concentration, q.rate
    return a.lgamma() - a * rate.log() - (a - 1) * _mean_log(p) + rate * p.mean - p.entropy()


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Uniform, q: Gamma) -> Tensor:
    return _where(p.low._data < 0, math.inf, _to_gamma(p, q))


@_of_each((Beta, Uniform), ContinuousBernoulli)
def _to_continuous_bernoulli(p: Any, q: ContinuousBernoulli) -> Tensor:
    result = -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._cont_bern_log_norm()
    return _where((p.high._data > 1) | (p.low._data < 0), math.inf, result) if isinstance(p, Uniform) else result


@_of_each((Beta, ContinuousBernoulli), Uniform)
def _to_uniform(p: Distribution, q: Uniform) -> Tensor:
    return _where((q.low._data > 0) | (q.high._data < 1), math.inf, (q.high - q.low).log() - p.entropy())


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    z = (p.loc - q.loc) / p.scale
    # The mean distance from q's centre, in standard deviations of p.
    distance = math.sqrt(2 / math.pi) * (-0.5 * z**2).exp() + z * (math.sqrt(0.5) * z).erf()
    return (2 * q.scale).log() + p.scale / q.scale * distance - p.entropy()


def _to_gumbel(p: Distribution, q: Gumbel, falling: Tensor) -> Tensor:
    """From the mean of ``exp(-(x - loc) / scale)``."""
    return q.scale.log() + (p.mean - q.loc) / q.scale + falling - p.entropy()


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Exponential, q: Gumbel) -> Tensor:
    product = p.rate * q.scale
    return _to_gumbel(p, q, (q.loc / q.scale).exp() * product / (product + 1))


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Gamma, q: Gumbel) -> Tensor:
    inverse = 1 / (p.rate * q.scale)
    return _to_gumbel(p, q, (q.loc / q.scale).exp() * (1 + inverse) ** -p.concentration)


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Normal, q: Gumbel) -> Tensor:
    return _to_gumbel(p, q, ((q.loc - p.loc) / q.scale + 0.5 * (p.scale / q.scale) ** 2).exp())


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Uniform, q: Gumbel) -> Tensor:
    ends = ((q.loc - p.low) / q.scale).exp() - ((q.loc - p.high) / q.scale).exp()
    return _to_gumbel(p, q, ends * q.scale / (p.high - p.low))


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    rest = (fastnn.xlogy(1 - p.low, 1 - p.low) - fastnn.xlogy(1 - p.high, 1 - p.high)) / (p.high - p.low) - 1
    size = a.lgamma() + b.lgamma() - (a + b).lgamma()
    result = size - (a - 1) * _mean_log(p) - (b - 1) * rest - p.entropy()
    return _where((p.high._data > 1) | (p.low._data < 0), math.inf, result)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Uniform, q: Pareto) -> Tensor:
    result = (q.alpha + 1) * _mean_log(p) - q.alpha * q.scale.log() - q.alpha.log() - p.entropy()
    return _where(p.low._data < q.scale._data, math.inf, result)
