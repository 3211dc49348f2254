"""Probability distributions, under the names of ``torch.distributions``.

A distribution draws tensors and computes the logarithm of its density, differentiably. Its methods use recorded
tensor operations.
"""

from fastnn.distributions import constraints, transforms
from fastnn.distributions.bernoulli import Bernoulli
from fastnn.distributions.beta import Beta
from fastnn.distributions.binomial import Binomial
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.cauchy import Cauchy
from fastnn.distributions.chi2 import Chi2
from fastnn.distributions.constraint_registry import biject_to, transform_to
from fastnn.distributions.continuous_bernoulli import ContinuousBernoulli
from fastnn.distributions.dirichlet import Dirichlet
from fastnn.distributions.distribution import Distribution
from fastnn.distributions.exp_family import ExponentialFamily
from fastnn.distributions.exponential import Exponential
from fastnn.distributions.fishersnedecor import FisherSnedecor
from fastnn.distributions.gamma import Gamma
from fastnn.distributions.generalized_pareto import GeneralizedPareto
from fastnn.distributions.geometric import Geometric
from fastnn.distributions.gumbel import Gumbel
from fastnn.distributions.half_cauchy import HalfCauchy
from fastnn.distributions.half_normal import HalfNormal
from fastnn.distributions.independent import Independent
from fastnn.distributions.inverse_gamma import InverseGamma
from fastnn.distributions.kl import kl_divergence, register_kl
from fastnn.distributions.kumaraswamy import Kumaraswamy
from fastnn.distributions.laplace import Laplace
from fastnn.distributions.lkj_cholesky import LKJCholesky
from fastnn.distributions.log_normal import LogNormal
from fastnn.distributions.logistic_normal import LogisticNormal
from fastnn.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal
from fastnn.distributions.mixture_same_family import MixtureSameFamily
from fastnn.distributions.multinomial import Multinomial
from fastnn.distributions.multivariate_normal import MultivariateNormal
from fastnn.distributions.negative_binomial import NegativeBinomial
from fastnn.distributions.normal import Normal
from fastnn.distributions.one_hot_categorical import OneHotCategorical, OneHotCategoricalStraightThrough
from fastnn.distributions.pareto import Pareto
from fastnn.distributions.poisson import Poisson
from fastnn.distributions.relaxed_bernoulli import RelaxedBernoulli
from fastnn.distributions.relaxed_categorical import RelaxedOneHotCategorical
from fastnn.distributions.studentT import StudentT
from fastnn.distributions.transformed_distribution import TransformedDistribution
from fastnn.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    CatTransform,
    ComposeTransform,
    CorrCholeskyTransform,
    CumulativeDistributionTransform,
    ExpTransform,
    IndependentTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    PowerTransform,
    ReshapeTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    StackTransform,
    StickBreakingTransform,
    TanhTransform,
    Transform,
    identity_transform,
)
from fastnn.distributions.uniform import Uniform
from fastnn.distributions.von_mises import VonMises
from fastnn.distributions.weibull import Weibull
from fastnn.distributions.wishart import Wishart

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "CatTransform",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "ContinuousBernoulli",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "ExponentialFamily",
    "FisherSnedecor",
    "Gamma",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "LowerCholeskyTransform",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "StudentT",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "Wishart",
    "biject_to",
    "constraints",
    "identity_transform",
    "kl_divergence",
    "register_kl",
    "transform_to",
    "transforms",
]
