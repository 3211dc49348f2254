"""Probability distributions, under the names of ``torch.distributions``.

A distribution draws tensors and computes the logarithm of its density, differentiably. Its methods use recorded
tensor operations.
"""

from fastnn.distributions import constraints, transforms
from fastnn.distributions.bernoulli import Bernoulli
from fastnn.distributions.beta import Beta
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.dirichlet import Dirichlet
from fastnn.distributions.distribution import Distribution
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.distributions.exponential import Exponential
from fastnn.distributions.gamma import Gamma
from fastnn.distributions.independent import Independent
from fastnn.distributions.kl import kl_divergence, register_kl
from fastnn.distributions.laplace import Laplace
from fastnn.distributions.log_normal import LogNormal
from fastnn.distributions.multivariate_normal import MultivariateNormal
from fastnn.distributions.normal import Normal
from fastnn.distributions.one_hot_categorical import OneHotCategorical
from fastnn.distributions.poisson import Poisson
from fastnn.distributions.uniform import Uniform

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Gamma",
    "Independent",
    "Laplace",
    "LogNormal",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "Poisson",
    "Uniform",
    "constraints",
    "kl_divergence",
    "register_kl",
]
