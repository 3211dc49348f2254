"""The Kullback-Leibler divergence between distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.distributions.bernoulli import Bernoulli, _softplus
from fastnn.distributions.beta import Beta
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.dirichlet import Dirichlet
from fastnn.distributions.distribution import Distribution
from fastnn.distributions.exponential import Exponential
from fastnn.distributions.gamma import Gamma
from fastnn.distributions.independent import Independent, sum_rightmost
from fastnn.distributions.laplace import Laplace
from fastnn.distributions.log_normal import LogNormal
from fastnn.distributions.multivariate_normal import MultivariateNormal, _solved
from fastnn.distributions.normal import Normal
from fastnn.distributions.one_hot_categorical import OneHotCategorical
from fastnn.distributions.poisson import Poisson
from fastnn.distributions.uniform import Uniform

_FORMULAS: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """A decorator for the function that computes the divergence of ``type_p`` from ``type_q``.

    It applies to subclasses too, unless they have their own.
    """
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected a Distribution subclass but got {kind}")

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _FORMULAS[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The mean of ``p.log_prob(x) - q.log_prob(x)`` over x drawn from p.

    Raises: NotImplementedError if there is no formula for these distributions.

    >>> from fastnn.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    for kind_p in type(p).__mro__:
        for kind_q in type(q).__mro__:
            if (kind_p, kind_q) in _FORMULAS:
                return _FORMULAS[kind_p, kind_q](p, q)
    return _no_formula(p, q)


def _where(condition: np.ndarray, value: float, other: Tensor) -> Tensor:
    capture_state.stop("a number is read in Python")
    return other.masked_fill(_wrap(np.asarray(condition)), value) if condition.any() else other


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
def _log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return _normal(p, q)


# A log-normal variable is not normal, although LogNormal is a subclass.
@register_kl(LogNormal, Normal)
@register_kl(Normal, LogNormal)
def _no_formula(p: Distribution, q: Distribution) -> Tensor:
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


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


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    impossible = np.broadcast_to(q.probs.detach()._data == 0, terms._data.shape)
    never = np.broadcast_to(p.probs.detach()._data == 0, terms._data.shape)
    return _where(never, 0.0, _where(impossible, math.inf, terms)).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_categorical(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    outside = (q.low._data > p.low._data) | (q.high._data < p.high._data)
    return _where(outside, math.inf, result)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    distance = (p.loc - q.loc).abs()
    return (q.scale / p.scale).log() + distance / q.scale + p.scale / q.scale * (-distance / p.scale).exp() - 1


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    return (
        b * (p.rate / q.rate).log() + b.lgamma() - a.lgamma() + (a - b) * a.digamma()
        + (q.rate - p.rate) * (a / p.rate)
    )  # fmt: skip


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


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two Multivariate Normals with different event shapes cannot be computed: "
            f"{tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )
    spread = (_solved(q.scale_tril, p.scale_tril) ** 2).sum((-2, -1))
    distance = (_solved(q.scale_tril, (q.loc - p.loc).unsqueeze(-1)) ** 2).sum((-2, -1))
    return q._half_log_det() - p._half_log_det() + 0.5 * (spread + distance - p.event_shape[0])


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL of Independent distributions needs the same number of reinterpreted dimensions")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)
