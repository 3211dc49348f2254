"""Cases of ``distributions``: each runs on fastnn and PyTorch and gives named numbers or words to compare.

``tests/golden/make_distributions.py`` records those of PyTorch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Make = Callable[..., Any]


def f64(lib: Any, values: Any, grad: bool = False) -> Any:
    return lib.tensor(np.array(values, np.float64), requires_grad=grad)


def attempt(function: Callable[[], Any]) -> Any:
    """The result, or the kind of the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function()
        except Exception as error:
            if type(error).__name__ in ("ShapeError", "LinAlgError", "NoTensorError"):
                return type(error).__mro__[1].__name__
            return type(error).__name__


def plain(value: Any) -> Any:
    """An array, a word or a list of numbers."""
    if hasattr(value, "detach"):
        return np.array(value.detach().numpy())
    if isinstance(value, (bool, str)):
        return str(value)
    if value is None:
        return "None"
    return [int(v) for v in value] if isinstance(value, tuple) else value


# -- Families: a maker, its parameters, values inside the support -----------------------------------

# Parameters after a dict of them are passed as they are. A third entry of True: the mode is not compared.
FAMILIES: dict[str, tuple[Make, list[Any], Any]] = {
    "Bernoulli": (lambda d, p: d.Bernoulli(p), [[0.3, 0.9]], [1.0, 0.0]),
    "Beta": (lambda d, a, b: d.Beta(a, b), [[0.5, 3.0, 2.0], [2.0, 0.7, 3.0]], [0.3, 0.9, 0.5]),
    "Binomial": (lambda d, p: d.Binomial(5, p), [[0.3, 0.9, 0.0]], [2.0, 5.0, 0.0]),
    "Binomial_logits": (lambda d, x: d.Binomial(5, logits=x), [[0.3, -40.0, 40.0]], [2.0, 0.0, 5.0]),
    "Binomial_counts": (lambda d, p: d.Binomial(p.new_tensor([3.0, 4.0]), p), [[0.3, 0.9]], [2.0, 4.0]),
    "Categorical": (lambda d, p: d.Categorical(p), [[[0.2, 0.3, 0.5], [1.0, 2.0, 1.0]]], [2.0, 0.0]),
    "Cauchy": (lambda d, m, s: d.Cauchy(m, s), [[0.5, -1.0], [1.0, 0.3]], [0.1, 5.0]),
    "Chi2": (lambda d, k: d.Chi2(k), [[0.5, 3.0, 7.0]], [0.3, 4.0, 2.0]),
    "ContinuousBernoulli": (
        lambda d, p: d.ContinuousBernoulli(p), [[0.3, 0.9, 0.5, 0.4995, 0.499]], [0.3, 0.9, 0.5, 0.0, 1.0],
    ),
    "ContinuousBernoulli_logits": (lambda d, x: d.ContinuousBernoulli(logits=x), [[0.3, -2.0]], [0.3, 0.9]),
    "Dirichlet": (lambda d, a: d.Dirichlet(a), [[[0.5, 2.0, 3.0], [1.0, 1.5, 4.0]]], [0.2, 0.5, 0.3]),
    "Exponential": (lambda d, r: d.Exponential(r), [[0.5, 2.0]], [3.0, 0.1]),
    "FisherSnedecor": (
        lambda d, a, b: d.FisherSnedecor(a, b), [[1.0, 3.0, 4.0], [1.0, 5.0, 3.0]], [0.3, 4.0, 2.0],
    ),
    "Gamma": (lambda d, a, r: d.Gamma(a, r), [[0.5, 3.0, 1.0], [2.0, 0.7, 1.0]], [0.3, 4.0, 2.0]),
    # PyTorch's takes float32 only.
    "GeneralizedPareto": (
        lambda d, m, s, k: d.GeneralizedPareto(m.float(), s.float(), k.float()),
        [[0.5, 1.0, 1.0, 0.0], [2.0, 2.0, 0.7, 1.0], [0.3, -0.4, 0.0, 1.5]], [0.7, 1.4, 2.0, 3.0],
    ),
    "Geometric": (lambda d, p: d.Geometric(p), [[0.3, 0.9, 1.0]], [2.0, 1.0, 0.0]),
    "Geometric_logits": (lambda d, x: d.Geometric(logits=x), [[0.3, -2.0]], [2.0, 0.0]),
    "Gumbel": (lambda d, m, s: d.Gumbel(m, s), [[0.5, -1.0], [1.0, 0.3]], [0.1, -0.5]),
    "HalfCauchy": (lambda d, s: d.HalfCauchy(s), [[1.0, 0.3]], [0.1, 5.0]),
    "HalfNormal": (lambda d, s: d.HalfNormal(s), [[1.0, 0.3]], [0.1, 0.7]),
    "Independent": (
        lambda d, m, s: d.Independent(d.Normal(m, s), 1), [[[0.5, -1.0]], [[1.0, 0.3]]], [[0.1, -1.5]],
    ),
    "Independent_0": (lambda d, p: d.Independent(d.Bernoulli(p), 0), [[0.3, 0.9]], [1.0, 0.0]),
    "InverseGamma": (
        lambda d, a, r: d.InverseGamma(a, r), [[0.5, 3.0, 1.5], [2.0, 0.7, 1.0]], [0.3, 4.0, 2.0],
    ),
    "Kumaraswamy": (lambda d, a, b: d.Kumaraswamy(a, b), [[0.5, 3.0, 2.0], [2.0, 0.7, 3.0]], [0.3, 0.9, 0.5]),
    "LKJCholesky": (
        lambda d, c: d.LKJCholesky(3, c), [[0.5, 1.0, 3.0]], [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.6, 0.8]],
    ),
    "LKJCholesky_2": (lambda d, c: d.LKJCholesky(2, c), [2.0], [[1.0, 0.0], [0.6, 0.8]]),
    "Laplace": (lambda d, m, s: d.Laplace(m, s), [[0.5, -1.0, 0.0], [1.0, 0.3, 2.0]], [0.1, -1.5, 4.0]),
    "LogNormal": (lambda d, m, s: d.LogNormal(m, s), [[0.5, -1.0], [1.0, 0.3]], [0.7, 0.4]),
    "LogisticNormal": (
        lambda d, m, s: d.LogisticNormal(m, s), [[[0.5, -1.0]], [[1.0, 0.3]]], [[0.2, 0.5, 0.3]],
    ),
    "LowRankMultivariateNormal": (
        lambda d, m, w, v: d.LowRankMultivariateNormal(m, w, v),
        [[[0.5, -1.0, 0.0], [0.0, 1.0, 2.0]], [[1.0, 0.3], [0.5, -1.0], [0.0, 0.2]], [1.0, 0.5, 2.0]],
        [1.0, 0.0, 0.5],
    ),
    "MixtureSameFamily": (
        lambda d, p, m, s: d.MixtureSameFamily(d.Categorical(p), d.Normal(m, s)),
        [[0.3, 0.9], [[0.5, -1.0], [0.0, 1.0], [2.0, 2.0]], [1.0, 0.3]], [0.1, 0.7, 5.0],
    ),
    "MixtureSameFamily_vectors": (
        lambda d, p, m, s: d.MixtureSameFamily(d.Categorical(logits=p), d.Independent(d.Normal(m, s), 1)),
        [[0.3, 0.9], [[0.5, -1.0, 0.0], [0.0, 1.0, 2.0]], 0.7], [0.1, 0.7, 1.0],
    ),
    "Multinomial": (lambda d, p: d.Multinomial(4, p), [[[0.3, 0.9, 0.1], [0.2, 0.3, 0.5]]], [1.0, 3.0, 0.0]),
    "Multinomial_logits": (lambda d, x: d.Multinomial(4, logits=x), [[0.3, 0.9, -2.0]], [1.0, 3.0, 0.0]),
    "MultivariateNormal": (
        lambda d, m, c: d.MultivariateNormal(m, c), [[[0.5, -1.0], [1.0, 2.0]], [[2.0, 0.3], [0.3, 1.0]]], [1.0, 0.0],
    ),
    "MultivariateNormal_precision": (
        lambda d, m, c: d.MultivariateNormal(m, precision_matrix=c), [[0.5, -1.0], [[2.0, 0.3], [0.3, 1.0]]],
        [1.0, 0.0],
    ),
    "NegativeBinomial": (
        lambda d, n, p: d.NegativeBinomial(n, p), [[0.5, 1.0, 3.0], [0.3, 0.9, 0.0]], [2.0, 5.0, 0.0],
    ),
    "NegativeBinomial_logits": (
        lambda d, n, x: d.NegativeBinomial(n, logits=x), [[0.5, 3.0], [0.3, -2.0]], [2.0, 0.0],
    ),
    "Normal": (lambda d, m, s: d.Normal(m, s), [[0.5, -1.0, 2.0], [1.0, 0.3, 4.0]], [0.1, -1.5, 9.0]),
    "OneHotCategorical": (lambda d, p: d.OneHotCategorical(p), [[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]], [0.0, 1.0, 0.0]),
    "OneHotCategoricalStraightThrough": (
        lambda d, x: d.OneHotCategoricalStraightThrough(logits=x), [[0.2, 0.3, 0.5]], [0.0, 1.0, 0.0],
    ),
    "Pareto": (lambda d, s, a: d.Pareto(s, a), [[0.5, 1.0, 2.0], [0.7, 1.5, 3.0]], [0.7, 4.0, 2.0]),
    "Poisson": (lambda d, r: d.Poisson(r), [[2.5, 0.4]], [3.0, 0.0]),
    "RelaxedBernoulli": (lambda d, t, p: d.RelaxedBernoulli(t, p), [0.7, [0.3, 0.9]], [0.1, 0.7]),
    "RelaxedBernoulli_logits": (lambda d, t, x: d.RelaxedBernoulli(t, logits=x), [0.7, [0.3, -2.0]], [0.1, 0.7]),
    "RelaxedOneHotCategorical": (
        lambda d, t, p: d.RelaxedOneHotCategorical(t, p), [0.7, [[0.3, 0.9, 0.2], [1.0, 1.0, 1.0]]], [0.1, 0.7, 0.2],
    ),
    "StudentT": (
        lambda d, k, m, s: d.StudentT(k, m, s),
        [[0.5, 1.5, 3.0], [0.5, 0.0, -1.0], [1.0, 0.3, 2.0]], [0.1, -1.5, 4.0],
    ),
    "TransformedDistribution": (
        lambda d, m, s: d.TransformedDistribution(
            d.Normal(m, s), [d.SigmoidTransform(), d.AffineTransform(1.0, -2.0), d.transforms.identity_transform]
        ),
        [[0.5, -1.0], [1.0, 0.3]], [0.1, -0.7],
    ),
    "TransformedDistribution_vectors": (
        lambda d, m, s: d.TransformedDistribution(d.Normal(m, s), [d.StickBreakingTransform()]),
        [[[0.5, -1.0], [0.0, 0.1]], [1.0, 0.3]], [0.2, 0.5, 0.3],
    ),
    "TransformedDistribution_none": (
        lambda d, m, s: d.TransformedDistribution(d.Normal(m, s), []), [[0.5, -1.0], [1.0, 0.3]], [0.1, -0.7],
    ),
    "Uniform": (lambda d, a, b: d.Uniform(a, b), [[0.0, -1.0], [2.0, 3.0]], [0.5, 2.5]),
    "VonMises": (lambda d, m, k: d.VonMises(m, k), [[0.5, -1.0, 0.0], [0.7, 3.0, 40.0]], [0.1, -1.5, 0.2]),
    "Weibull": (lambda d, s, k: d.Weibull(s, k), [[0.5, 2.0, 1.0], [3.0, 1.7, 1.0]], [0.3, 4.0, 2.0]),
    "Wishart": (
        lambda d, k, c: d.Wishart(k, c), [[3.0, 4.5], [[2.0, 0.3], [0.3, 1.0]]], [[2.0, 0.5], [0.5, 1.0]],
    ),
    "Wishart_tril": (
        lambda d, k, c: d.Wishart(k, scale_tril=c.tril()), [3.5, [[2.0, 0.0], [0.3, 1.0]]], [[2.0, 0.5], [0.5, 1.0]],
    ),
}  # fmt: skip

_MEMBERS = ("mean", "mode", "variance", "stddev", "entropy", "perplexity", "enumerate_support")


def family(lib: Any, name: str) -> dict[str, Any]:
    """All results of a distribution, and the gradients of its parameters."""
    make, parameters, value = FAMILIES[name]
    tensors = [f64(lib, p, True) for p in parameters]
    d = make(lib.distributions, *tensors)
    x = f64(lib, value, not name.startswith(("OneHot", "Categorical")))
    found: dict[str, Any] = {
        "batch": tuple(d.batch_shape), "event": tuple(d.event_shape), "has_rsample": d.has_rsample,
        "has_enumerate_support": d.has_enumerate_support, "repr": repr(d), "inside": d.support.check(x),
        "support": type(d.support).__name__, "event_dim": [d.support.event_dim], "discrete": d.support.is_discrete,
        "constraints": ", ".join(f"{n} {type(c).__name__}" for n, c in sorted(d.arg_constraints.items())),
    }
    for member in _MEMBERS:
        got = attempt(lambda member=member: getattr(d, member))
        found[member] = attempt(got) if callable(got) else got
    found["log_prob"] = d.log_prob(x)
    found["cdf"] = attempt(lambda: d.cdf(x.detach()))
    found["icdf"] = attempt(lambda: d.icdf(lib.full_like(x.detach(), 0.3)))
    finite = [v for v in (found[m] for m in ("log_prob", "entropy", "mean", "variance")) if hasattr(v, "detach")]
    total = sum(v[v.isfinite()].sum() * (i + 1) for i, v in enumerate(finite) if v.isfinite().any())
    total.backward()
    found |= {f"grad_{i}": t.grad for i, t in enumerate(tensors)} | {"grad_value": x.grad}
    larger = d.expand((4, *d.batch_shape))
    found |= {
        "expanded": tuple(larger.batch_shape), "expanded_log_prob": larger.log_prob(x.detach()),
        "expanded_mean": attempt(lambda: larger.mean), "expanded_entropy": attempt(larger.entropy),
        "expanded_sample": attempt(lambda: tuple(larger.sample((2,)).shape)),
    }
    return {key: plain(v) for key, v in found.items()}


# -- Divergences ----------------------------------------------------------------------------------

_ONE: dict[str, list[Callable[[Any, Any], Any]]] = {
    "Bernoulli": [lambda d, t: d.Bernoulli(t([0.5, 0.2])), lambda d, t: d.Bernoulli(logits=t([0.3, 0.9]))],
    "Beta": [lambda d, t: d.Beta(t([0.5, 2]), t([1, 3])), lambda d, t: d.Beta(t([1, 0.3]), t([2, 1]))],
    "Binomial": [lambda d, t: d.Binomial(3, t([0.5, 0.2])), lambda d, t: d.Binomial(t([3, 2]), t([0.3, 0.9]))],
    "Categorical": [
        lambda d, t: d.Categorical(t([0.5, 0.2, 0.3])), lambda d, t: d.Categorical(logits=t([0.3, 0.9, -1])),
    ],
    "Cauchy": [lambda d, t: d.Cauchy(t([0.5, 2]), t([1, 3])), lambda d, t: d.Cauchy(t([1, 0.3]), t([2, 1]))],
    "ContinuousBernoulli": [
        lambda d, t: d.ContinuousBernoulli(t([0.5, 0.2])), lambda d, t: d.ContinuousBernoulli(logits=t([0.3, 0.9])),
    ],
    "Dirichlet": [lambda d, t: d.Dirichlet(t([0.5, 2, 1])), lambda d, t: d.Dirichlet(t([1, 0.3, 4]))],
    "Exponential": [lambda d, t: d.Exponential(t([0.5, 2])), lambda d, t: d.Exponential(t([1, 0.3]))],
    "Gamma": [lambda d, t: d.Gamma(t([0.5, 2]), t([1, 3])), lambda d, t: d.Gamma(t([1, 0.3]), t([2, 1]))],
    "Geometric": [lambda d, t: d.Geometric(t([0.5, 0.2])), lambda d, t: d.Geometric(logits=t([0.3, 0.9]))],
    "Gumbel": [lambda d, t: d.Gumbel(t([0.5, -1]), t([1, 0.3])), lambda d, t: d.Gumbel(t([0, 1]), t([2, 0.5]))],
    "HalfNormal": [lambda d, t: d.HalfNormal(t([0.5, 1])), lambda d, t: d.HalfNormal(t([2, 0.5]))],
    "Independent": [
        lambda d, t: d.Independent(d.Normal(t([0.5, -1]), t([1, 0.3])), 1),
        lambda d, t: d.Independent(d.Normal(t([0, 1]), t([2, 0.5])), 1),
    ],
    "Laplace": [lambda d, t: d.Laplace(t([0.5, -1]), t([1, 0.3])), lambda d, t: d.Laplace(t([0, 1]), t([2, 0.5]))],
    "LogNormal": [
        lambda d, t: d.LogNormal(t([0.5, -1]), t([1, 0.3])), lambda d, t: d.LogNormal(t([0, 1]), t([2, 0.5])),
    ],
    "LowRankMultivariateNormal": [
        lambda d, t: d.LowRankMultivariateNormal(t([0.5, -1]), t([[1], [0.3]]), t([1, 0.5])),
        lambda d, t: d.LowRankMultivariateNormal(t([[0, 1], [1, 1]]), t([[2], [-0.3]]), t([0.3, 0.5])),
    ],
    "MultivariateNormal": [
        lambda d, t: d.MultivariateNormal(t([0.5, -1]), t([[2, 0.3], [0.3, 1]])),
        lambda d, t: d.MultivariateNormal(t([[0, 1], [1, 1]]), scale_tril=t([[1, 0], [0.5, 2]])),
    ],
    "Normal": [lambda d, t: d.Normal(t([0.5, -1]), t([1, 0.3])), lambda d, t: d.Normal(t([0, 1]), t([2, 0.5]))],
    "OneHotCategorical": [
        lambda d, t: d.OneHotCategorical(t([0.5, 0.2, 0.3])), lambda d, t: d.OneHotCategorical(t([0.3, 0.3, 0.4])),
    ],
    "Pareto": [lambda d, t: d.Pareto(t([0.5, 1.5]), t([3, 2.5])), lambda d, t: d.Pareto(t([0.4, 2]), t([2, 1]))],
    "Poisson": [lambda d, t: d.Poisson(t([0.5, 2])), lambda d, t: d.Poisson(t([1, 0.3]))],
    "TransformedDistribution": [
        lambda d, t: d.TransformedDistribution(d.Normal(t([0.5, -1]), 1.0), [d.TanhTransform()]),
        lambda d, t: d.TransformedDistribution(d.Normal(t([0, 1]), 2.0), [d.TanhTransform()]),
    ],
    "Uniform": [lambda d, t: d.Uniform(t([0.2, -1]), t([0.7, 0.3])), lambda d, t: d.Uniform(t([-0.1, 0]), t([2, 0.5]))],
    "Wishart": [
        lambda d, t: d.Wishart(t(3), t([[2, 0.3], [0.3, 1]])), lambda d, t: d.Wishart(t(4), t([[1, 0.2], [0.2, 3]])),
    ],
}  # fmt: skip


def divergences(lib: Any, name: str) -> dict[str, Any]:
    """The divergences of one family from all others, with the gradients of p's and q's parameters."""
    found: dict[str, Any] = {}
    make = _ONE[name][0]
    # Subclasses of both families match TransformedDistribution as well.
    for other, (_, make_other) in _ONE.items():
        leaves: list[Any] = []

        def t(values: Any, leaves: list[Any] = leaves) -> Any:
            leaves.append(f64(lib, values, True))
            return leaves[-1]

        p, q = make(lib.distributions, t), make_other(lib.distributions, t)
        kl = attempt(lambda p=p, q=q: lib.distributions.kl_divergence(p, q))
        found[other] = plain(kl)
        if hasattr(kl, "detach") and kl.requires_grad and kl.isfinite().all():
            kl.sum().backward()
            for i, leaf in enumerate(leaves):
                if leaf.grad is not None:
                    found[f"{other} grad {i}"] = plain(leaf.grad)
    return found


# -- Transforms -----------------------------------------------------------------------------------

_NUMBERS, _POSITIVE = [[0.5, -1.0, 2.0], [0.1, 3.0, -0.4]], [[0.5, 1.0, 2.0], [0.1, 3.0, 0.4]]
_MATRICES = [[[0.5, -1.0], [2.0, 0.3]], [[0.1, 3.0], [-0.4, 0.0]]]
TRANSFORMS: dict[str, tuple[Make, Any]] = {
    "Abs": (lambda d, t: d.AbsTransform(), _NUMBERS),
    "Affine": (lambda d, t: d.AffineTransform(1.0, -2.0), _NUMBERS),
    "Affine_tensor": (lambda d, t: d.AffineTransform(t([0.5, 1, 2]), t([0.5, -1, 2])), _NUMBERS),
    "Affine_event": (lambda d, t: d.AffineTransform(1.0, t([0.5, -1, 2]), event_dim=1), _NUMBERS),
    "Cat": (
        lambda d, t: d.CatTransform([d.ExpTransform(), d.AffineTransform(1.0, 3.0)], dim=-1, lengths=[1, 2]), _NUMBERS,
    ),
    "Cat_first": (lambda d, t: d.CatTransform([d.ExpTransform(), d.TanhTransform()]), _NUMBERS),
    "Compose": (
        lambda d, t: d.ComposeTransform([d.SigmoidTransform(), d.AffineTransform(1.0, 3.0), d.ExpTransform()]),
        _NUMBERS,
    ),
    "Compose_events": (
        lambda d, t: d.ComposeTransform([d.TanhTransform(), d.StickBreakingTransform(), d.PowerTransform(t(2.0))]),
        _NUMBERS,
    ),
    "CorrCholesky": (lambda d, t: d.CorrCholeskyTransform(), _NUMBERS),
    "CumulativeDistribution": (lambda d, t: d.CumulativeDistributionTransform(d.Normal(t(0.5), t(2.0))), _NUMBERS),
    "Exp": (lambda d, t: d.ExpTransform(), _NUMBERS),
    "Exp_cached": (lambda d, t: d.ExpTransform(cache_size=1), _NUMBERS),
    "identity": (lambda d, t: d.identity_transform, _NUMBERS),
    "Independent": (lambda d, t: d.IndependentTransform(d.ExpTransform(), 1), _NUMBERS),
    "inverse": (lambda d, t: d.ComposeTransform([d.ExpTransform(), d.AffineTransform(0.0, 2.0)]).inv, _POSITIVE),
    "inverse_of_one": (lambda d, t: d.ExpTransform().inv, _POSITIVE),
    "LowerCholesky": (lambda d, t: d.LowerCholeskyTransform(), _MATRICES),
    "PositiveDefinite": (lambda d, t: d.PositiveDefiniteTransform(), _MATRICES),
    "Power": (lambda d, t: d.PowerTransform(t([0.5, -1, 2])), _POSITIVE),
    "Reshape": (lambda d, t: d.ReshapeTransform((3,), (3, 1)), _NUMBERS),
    "Sigmoid": (lambda d, t: d.SigmoidTransform(), _NUMBERS),
    "Sigmoid_far": (lambda d, t: d.SigmoidTransform(), [-800.0, -40.0, 40.0, 800.0]),
    "Softmax": (lambda d, t: d.SoftmaxTransform(), _NUMBERS),
    "Softplus": (lambda d, t: d.SoftplusTransform(), _NUMBERS),
    "Stack": (lambda d, t: d.StackTransform([d.ExpTransform(), d.TanhTransform()]), _NUMBERS),
    "StickBreaking": (lambda d, t: d.StickBreakingTransform(), _NUMBERS),
    "Tanh": (lambda d, t: d.TanhTransform(), _NUMBERS),
}  # fmt: skip


def transform(lib: Any, name: str) -> dict[str, Any]:
    """All results of a transform, and the gradient of its argument."""
    make, argument = TRANSFORMS[name]
    d = lib.distributions
    t = make(d, lambda values: f64(lib, values))
    x = f64(lib, argument, True)
    y = t(x)
    found: dict[str, Any] = {
        "y": y, "x": t.inv(y), "sign": attempt(lambda: plain(t.sign)), "bijective": t.bijective,
        "event_dim": attempt(lambda: [t.event_dim]), "domain_dim": attempt(lambda: [t.domain.event_dim]),
        "codomain_dim": attempt(lambda: [t.codomain.event_dim]), "in_codomain": t.codomain.check(y),
        "domain": repr(t.domain), "codomain": repr(t.codomain), "repr": repr(t),
        "forward_shape": attempt(lambda: tuple(t.forward_shape(x.shape))),
        "inverse_shape": attempt(lambda: tuple(t.inverse_shape(y.shape))),
        "short": attempt(lambda: tuple(t.forward_shape(()))),
        "same": t == make(d, lambda values: f64(lib, values)), "other": t == d.TanhTransform(),
        "inverse_of_inverse": t.inv.inv == t,
        "cached": attempt(lambda: [t.with_cache(1)._cache_size]),
    }  # fmt: skip
    jacobian = attempt(lambda: t.log_abs_det_jacobian(x, y))
    found["log_abs_det"] = jacobian
    found["inverse_log_abs_det"] = attempt(lambda: t.inv.log_abs_det_jacobian(y, x))
    total = (y * y).sum() if isinstance(jacobian, str) else (y * y).sum() + jacobian.sum()
    total.backward()
    found["grad"] = x.grad
    return {key: plain(v) for key, v in found.items()}


# -- Constraints ----------------------------------------------------------------------------------

_X = [[-1.0, 0.0, 0.5, 1.0], [2.0, 3.0, float("nan"), float("inf")], [0.25, 0.25, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0]]
_SQUARES = [
    [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]], [[2.0, 0.3], [0.3, 1.0]], [[1.0, 2.0], [2.0, 1.0]],
    [[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.5], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]],
]  # fmt: skip
_SYMMETRIC = [m for m in _SQUARES if m[0][1] == m[1][0]]
CONSTRAINTS: dict[str, tuple[Make, Any, Any]] = {
    **{
        name: (lambda c, t, name=name: getattr(c, name), _X, [0.5, -1.0, 0.3])
        for name in ("boolean", "nonnegative", "nonnegative_integer", "one_hot", "positive", "positive_integer", "real",
                     "real_vector", "simplex", "unit_interval")
    },
    **{
        name: (lambda c, t, name=name: getattr(c, name), _SQUARES, [[0.5, -1.0], [0.3, 0.1]])
        for name in ("lower_cholesky", "lower_triangular", "square", "symmetric")
    },
    # PyTorch tests symmetry only where a matrix of the batch is not symmetric.
    **{
        name: (lambda c, t, name=name: getattr(c, name), _SYMMETRIC, [[0.5, -1.0], [0.3, 0.1]])
        for name in ("positive_definite", "positive_semidefinite")
    },
    "corr_cholesky": (lambda c, t: c.corr_cholesky, _SQUARES, [0.3]),
    "cat": (lambda c, t: c.cat([c.positive, c.real], -1, [1, 3]), _X, [0.5, -1.0, 0.3, 2.0]),
    "greater_than": (lambda c, t: c.greater_than(0.5), _X, [0.5, -1.0, 0.3]),
    "greater_than_eq": (lambda c, t: c.greater_than_eq(t([0.5, 1, 0, 2])), _X, [0.5, -1.0, 0.3, 1.0]),
    "half_open_interval": (lambda c, t: c.half_open_interval(0.0, 1.0), _X, [0.5, -1.0, 0.3]),
    "independent": (lambda c, t: c.independent(c.interval(0, 3), 1), _X, [0.5, -1.0, 0.3]),
    "integer_interval": (lambda c, t: c.integer_interval(0, 2), _X, [0.5]),
    "interval": (lambda c, t: c.interval(t([0, -1, 0, 2]), 3.0), _X, [0.5, -1.0, 0.3, 1.0]),
    "less_than": (lambda c, t: c.less_than(0.5), _X, [0.5, -1.0, 0.3]),
    "multinomial": (lambda c, t: c.multinomial(3), _X, [0.5]),
    "stack": (lambda c, t: c.stack([c.positive, c.real, c.unit_interval, c.real], -1), _X, [0.5, -1.0, 0.3, 2.0]),
    "MixtureSameFamilyConstraint": (
        lambda c, t: c.MixtureSameFamilyConstraint(c.greater_than(t([0.5, 1.0]))), _X, [0.5],
    ),
    "dependent": (lambda c, t: c.dependent(is_discrete=True, event_dim=1), _X, [0.5]),
}  # fmt: skip


def constraint(lib: Any, name: str) -> dict[str, Any]:
    """The values that a constraint holds for, and the transforms to it."""
    d = lib.distributions
    make, values, argument = CONSTRAINTS[name]
    c = make(d.constraints, lambda v: f64(lib, v))
    found: dict[str, Any] = {
        "check": attempt(lambda: c.check(f64(lib, values))), "repr": repr(c), "kind": type(c).__name__,
        "event_dim": [c.event_dim], "is_discrete": c.is_discrete, "dependent": d.constraints.is_dependent(c),
        "few": attempt(lambda: c.check(f64(lib, 1.0))), "one_row": attempt(lambda: c.check(f64(lib, values[0]))),
        "integers": attempt(lambda: c.check(lib.tensor([[0, 1, 2, 3], [0, 0, 1, 0]]))),
    }  # fmt: skip
    for registry in ("biject_to", "transform_to"):
        t = attempt(lambda registry=registry: getattr(d, registry)(c))
        found[registry] = t if isinstance(t, str) else repr(t)
        if not isinstance(t, str):
            x = f64(lib, argument)
            y = t(x)
            found |= {f"{registry} y": y, f"{registry} x": t.inv(y), f"{registry} inside": c.check(y)}
            if t.bijective:
                found[f"{registry} log_abs_det"] = t.log_abs_det_jacobian(x, y)
    return {key: plain(v) for key, v in found.items()}


# -- Errors ---------------------------------------------------------------------------------------

# The kinds of the errors are compared.
WRONG: dict[str, Callable[[Any, Any], Any]] = {
    "Binomial without": lambda t, d: d.Binomial(3),
    "Binomial count": lambda t, d: d.Binomial(t(-1.0), t(0.5)),
    "Binomial probs": lambda t, d: d.Binomial(3, t(1.5)),
    "Binomial value": lambda t, d: d.Binomial(3, t(0.5)).log_prob(t(4.0)),
    "Binomial counts": lambda t, d: d.Binomial(t([3.0, 4.0]), t(0.5)).enumerate_support(),
    "Cauchy scale": lambda t, d: d.Cauchy(0.0, -1.0),
    "Chi2 df": lambda t, d: d.Chi2(-1.0),
    "ContinuousBernoulli probs": lambda t, d: d.ContinuousBernoulli(1.5, validate_args=True),
    "ContinuousBernoulli both": lambda t, d: d.ContinuousBernoulli(0.5, 0.0),
    "ContinuousBernoulli value": lambda t, d: d.ContinuousBernoulli(0.5).log_prob(t(1.5)),
    "FisherSnedecor df": lambda t, d: d.FisherSnedecor(1.0, 0.0),
    "GeneralizedPareto value": lambda t, d: d.GeneralizedPareto(0.0, 1.0, -0.5).log_prob(t(3.0)),
    "Geometric 0": lambda t, d: d.Geometric(0.0),
    "Geometric 2": lambda t, d: d.Geometric(2.0),
    "Gumbel scale": lambda t, d: d.Gumbel(0.0, 0.0),
    "HalfNormal value": lambda t, d: d.HalfNormal(1.0).log_prob(t(-1.0)),
    "HalfCauchy scale": lambda t, d: d.HalfCauchy(-1.0),
    "InverseGamma rate": lambda t, d: d.InverseGamma(1.0, -1.0),
    "Kumaraswamy value": lambda t, d: d.Kumaraswamy(1.0, 1.0).log_prob(t(1.5)),
    "LKJCholesky dim": lambda t, d: d.LKJCholesky(1),
    "LKJCholesky fraction": lambda t, d: d.LKJCholesky(2.5),
    "LKJCholesky value": lambda t, d: d.LKJCholesky(2).log_prob(t([[1.0, 0.0], [1.0, 1.0]])),
    "LogisticNormal value": lambda t, d: d.LogisticNormal(t([0.0]), t([1.0])).log_prob(t([0.5, 0.6])),
    "LowRank loc": lambda t, d: d.LowRankMultivariateNormal(t(0.0), t([[1.0]]), t([1.0])),
    "LowRank factor": lambda t, d: d.LowRankMultivariateNormal(t([0.0]), t([1.0]), t([1.0])),
    "LowRank rows": lambda t, d: d.LowRankMultivariateNormal(t([0.0]), t([[1.0], [1.0]]), t([1.0])),
    "LowRank diagonal": lambda t, d: d.LowRankMultivariateNormal(t([0.0]), t([[1.0]]), t([1.0, 1.0])),
    "LowRank negative": lambda t, d: d.LowRankMultivariateNormal(t([0.0]), t([[1.0]]), t([-1.0])),
    "Mixture weights": lambda t, d: d.MixtureSameFamily(d.Normal(0.0, 1.0), d.Normal(0.0, 1.0)),
    "Mixture parts": lambda t, d: d.MixtureSameFamily(d.Categorical(t([1.0])), 3),
    "Mixture number": lambda t, d: d.MixtureSameFamily(d.Categorical(t([1.0, 1.0])), d.Normal(t([0.0]), 1.0)),
    "Mixture batch": lambda t, d: d.MixtureSameFamily(d.Categorical(t([[1.0]] * 3)), d.Normal(t([[0.0]] * 2), 1.0)),
    "Mixture entropy": lambda t, d: d.MixtureSameFamily(d.Categorical(t([1.0])), d.Normal(t([0.0]), 1.0)).entropy(),
    "Multinomial counts": lambda t, d: d.Multinomial(t([3.0, 4.0]), t([0.5, 0.5])),
    "Multinomial value": lambda t, d: d.Multinomial(3, t([0.5, 0.5])).log_prob(t([3.0, 4.0])),
    "NegativeBinomial probs": lambda t, d: d.NegativeBinomial(1.0, t(1.0)),
    "NegativeBinomial neither": lambda t, d: d.NegativeBinomial(1.0),
    "Pareto value": lambda t, d: d.Pareto(1.0, 2.0).log_prob(t(0.5)),
    "RelaxedBernoulli probs": lambda t, d: d.RelaxedBernoulli(t(1.0), 1.5),
    "RelaxedOneHotCategorical value": (
        lambda t, d: d.RelaxedOneHotCategorical(t(1.0), t([1.0, 1.0])).log_prob(t([1.0, 1.0]))
    ),
    "StudentT df": lambda t, d: d.StudentT(0.0),
    "StudentT cdf": lambda t, d: d.StudentT(1.0).cdf(t(0.0)),
    "TransformedDistribution transform": lambda t, d: d.TransformedDistribution(d.Normal(0.0, 1.0), 3),
    "TransformedDistribution list": lambda t, d: d.TransformedDistribution(d.Normal(0.0, 1.0), [3]),
    "TransformedDistribution event": lambda t, d: d.TransformedDistribution(d.Normal(0.0, 1.0), d.SoftmaxTransform()),
    "TransformedDistribution entropy": (
        lambda t, d: d.TransformedDistribution(d.Normal(0.0, 1.0), d.ExpTransform()).entropy()
    ),
    "TransformedDistribution sign": (
        lambda t, d: d.TransformedDistribution(d.Normal(0.0, 1.0), d.AbsTransform()).icdf(t(0.5))
    ),
    "VonMises concentration": lambda t, d: d.VonMises(0.0, 0.0),
    "VonMises rsample": lambda t, d: d.VonMises(0.0, 1.0).rsample(),
    "Poisson rsample": lambda t, d: d.Poisson(1.0).rsample(),
    "Poisson entropy": lambda t, d: d.Poisson(1.0).entropy(),
    "Uniform order": lambda t, d: d.Uniform(1.0, 0.0),
    "Weibull value": lambda t, d: d.Weibull(1.0, 1.0).log_prob(t(-1.0)),
    "Wishart df": lambda t, d: d.Wishart(1.0, t([[1.0, 0.0], [0.0, 1.0]])),
    "Wishart matrices": lambda t, d: d.Wishart(3.0),
    "Wishart vector": lambda t, d: d.Wishart(3.0, t([1.0])),
    "Wishart value": lambda t, d: d.Wishart(3.0, t([[1.0]])).log_prob(t([[-1.0]])),
    "Independent dimensions": lambda t, d: d.Independent(d.Normal(0.0, 1.0), 1),
    "Independent values": lambda t, d: d.Independent(d.Bernoulli(t([0.5])), 1).enumerate_support(),
    "base mean": lambda t, d: d.Distribution(validate_args=False).mean,
    "base support": lambda t, d: d.Distribution(validate_args=False).support,
    "base expand": lambda t, d: type("Own", (d.Normal,), {"__init__": lambda s: None})().expand((2,)),
    "kl strangers": lambda t, d: d.kl_divergence(d.Normal(0.0, 1.0), d.Categorical(t([1.0]))),
    "kl families": lambda t, d: d.kl_divergence(d.Poisson(1.0), d.Normal(0.0, 1.0)),
    "kl transforms": lambda t, d: d.kl_divergence(d.LogNormal(0.0, 1.0), d.Weibull(1.0, 1.0)),
    "kl counts": lambda t, d: d.kl_divergence(d.Binomial(2, t(0.5)), d.Binomial(3, t(0.5))),
    "kl vectors": lambda t, d: d.kl_divergence(*[d.Independent(d.Normal(t([[0.0]]), 1.0), n) for n in (1, 2)]),
    "cache_size": lambda t, d: d.ExpTransform(cache_size=2),
    "Reshape": lambda t, d: d.ReshapeTransform((3,), (2, 2)),
    "Reshape shape": lambda t, d: d.ReshapeTransform((4,), (2, 2)).forward_shape((3,)),
    "Reshape few": lambda t, d: d.ReshapeTransform((4,), (2, 2)).inverse_shape((4,)),
    "IndependentTransform few": lambda t, d: d.IndependentTransform(d.ExpTransform(), 1)(t(1.0)),
    "CorrCholesky number": lambda t, d: d.CorrCholeskyTransform().forward_shape((4,)),
    "CorrCholesky square": lambda t, d: d.CorrCholeskyTransform().inverse_shape((2, 3)),
    "Cat lengths": lambda t, d: d.CatTransform([d.ExpTransform()], lengths=[1, 2]),
    "Cat kinds": lambda t, d: d.CatTransform([3]),
    "Cat size": lambda t, d: d.CatTransform([d.ExpTransform()])(t([1.0, 2.0])),
    "Stack size": lambda t, d: d.StackTransform([d.ExpTransform()])(t([1.0, 2.0])),
    "Stack dim": lambda t, d: d.StackTransform([d.ExpTransform()], 3)(t([1.0, 2.0])),
    "event_dim": lambda t, d: d.ReshapeTransform((4,), (2, 2)).event_dim,
    "inverse": lambda t, d: d.ReshapeTransform((4,), (2, 2)).inv.sign,
    "biject_to": lambda t, d: d.biject_to(d.constraints.boolean),
    "independent constraint": lambda t, d: d.constraints.independent(3, 1),
    "independent count": lambda t, d: d.constraints.independent(d.constraints.real, -1),
    "cat constraint": lambda t, d: d.constraints.cat([d.constraints.real], 0, [1, 2]),
    "stack constraint": lambda t, d: d.constraints.stack([3]),
    "dependent": lambda t, d: d.constraints.dependent.event_dim,
    "tril": lambda t, d: __import__("importlib").import_module(d.__name__ + ".utils").vec_to_tril_matrix(t([1.0, 2.0])),
    "vec": lambda t, d: __import__("importlib").import_module(d.__name__ + ".utils").tril_matrix_to_vec(t([[1.0]]), 1),
}  # fmt: skip


def errors(lib: Any, name: str = "") -> dict[str, Any]:
    """The kind of each error."""
    found = {}
    for label, run in WRONG.items():
        result = attempt(lambda run=run: run(lambda values: f64(lib, values), lib.distributions))
        found[label] = result if isinstance(result, str) else f"no error, but {type(result).__name__}"
    return found


def helpers(lib: Any, name: str = "") -> dict[str, Any]:
    """Functions of ``distributions.utils`` and random functions that have no randomness here."""
    import importlib

    utils = importlib.import_module(f"{lib.__name__}.distributions.utils")
    found: dict[str, Any] = {}
    for diag in (-2, -1, 0, 1, 2):
        matrix = f64(lib, np.arange(18.0).reshape(2, 3, 3))
        vec = utils.tril_matrix_to_vec(matrix, diag)
        found[f"vec {diag}"] = vec
        found[f"matrix {diag}"] = attempt(lambda vec=vec, diag=diag: utils.vec_to_tril_matrix(vec, diag))
    probs, logits = f64(lib, [0.0, 0.3, 1.0]), f64(lib, [-1.0, 0.0, 2.0])
    for binary in (False, True):
        found |= {
            f"logits {binary}": utils.probs_to_logits(probs, binary),
            f"probs {binary}": utils.logits_to_probs(logits, binary),
        }
    found |= {"clamp": utils.clamp_probs(probs), "sum 0": utils._sum_rightmost(probs, 0)}
    found["sum 1"] = utils._sum_rightmost(probs, 1)
    found["normal"] = tuple(utils._standard_normal((2, 0), probs.dtype, None).shape)
    for i, v in enumerate(utils.broadcast_all(1, probs, f64(lib, [[1.0], [2.0]]))):
        found[f"broadcast {i}"] = v
    found["binomial"] = lib.binomial(f64(lib, [3.0, 2.0, 0.0]), f64(lib, [0.0, 1.0, 0.5]))
    found["dirichlet"] = lib._sample_dirichlet(f64(lib, [[2.0], [0.5]]))
    return {key: plain(v) for key, v in found.items()}


GROUPS: dict[str, tuple[Callable[[Any, str], dict[str, Any]], list[str]]] = {
    "family": (family, list(FAMILIES)), "divergences": (divergences, list(_ONE)),
    "transform": (transform, list(TRANSFORMS)), "constraint": (constraint, list(CONSTRAINTS)),
    "errors": (errors, [""]), "helpers": (helpers, [""]),
}  # fmt: skip
