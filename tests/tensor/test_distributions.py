"""Distributions: against SciPy's in float64, and against PyTorch's live."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from comparison import as_array, assert_matches

import fastnn
from fastnn import distributions

MANY = 20_000


def f64(lib: Any, values: Any, grad: bool = True) -> Any:
    return lib.tensor(np.array(values, np.float64), requires_grad=grad)


# Name; a maker from the library and parameters; parameters; values; SciPy's distribution.
CASES: list[tuple[str, Callable[..., Any], list[Any], Any, Any]] = [
    ("Normal", lambda d, m, s: d.Normal(m, s), [[0.5, -1.0, 2.0], [1.0, 0.3, 4.0]], [0.1, -1.5, 9.0],
     lambda m, s: scipy.stats.norm(m, s)),
    ("LogNormal", lambda d, m, s: d.LogNormal(m, s), [[0.5, -1.0], [1.0, 0.3]], [0.7, 0.4],
     lambda m, s: scipy.stats.lognorm(s, scale=np.exp(m))),
    ("Laplace", lambda d, m, s: d.Laplace(m, s), [[0.5, -1.0, 0.0], [1.0, 0.3, 2.0]], [0.1, -1.5, 4.0],
     lambda m, s: scipy.stats.laplace(m, s)),
    ("Uniform", lambda d, a, b: d.Uniform(a, b), [[0.0, -1.0], [2.0, 3.0]], [0.5, 2.5],
     lambda a, b: scipy.stats.uniform(a, np.subtract(b, a))),
    ("Exponential", lambda d, r: d.Exponential(r), [[0.5, 2.0]], [3.0, 0.1],
     lambda r: scipy.stats.expon(scale=1 / np.array(r))),
    ("Gamma", lambda d, a, r: d.Gamma(a, r), [[0.5, 3.0, 1.0], [2.0, 0.7, 1.0]], [0.3, 4.0, 2.0],
     lambda a, r: scipy.stats.gamma(a, scale=1 / np.array(r))),
    ("Beta", lambda d, a, b: d.Beta(a, b), [[0.5, 3.0, 2.0], [2.0, 0.7, 3.0]], [0.3, 0.9, 0.5],
     lambda a, b: scipy.stats.beta(a, b)),
    ("Bernoulli", lambda d, p: d.Bernoulli(p), [[0.3, 0.9]], [1.0, 0.0], lambda p: scipy.stats.bernoulli(p)),
    ("Bernoulli_logits", lambda d, x: d.Bernoulli(logits=x), [[0.3, -2.0]], [1.0, 0.0],
     lambda x: scipy.stats.bernoulli(1 / (1 + np.exp(-np.array(x))))),
    ("Poisson", lambda d, r: d.Poisson(r), [[2.5, 0.4]], [3.0, 0.0], lambda r: scipy.stats.poisson(r)),
]  # fmt: skip
VECTORS: list[tuple[str, Callable[..., Any], list[Any], Any, Any]] = [
    ("Categorical", lambda d, p: d.Categorical(p), [[[0.2, 0.3, 0.5], [1.0, 2.0, 1.0]]], [2.0, 0.0], None),
    ("Categorical_logits", lambda d, x: d.Categorical(logits=x), [[[0.2, 0.3, -1.5], [1.0, 2.0, 1.0]]],
     [2.0, 0.0], None),
    ("OneHotCategorical", lambda d, p: d.OneHotCategorical(p), [[0.2, 0.3, 0.5]], [0.0, 1.0, 0.0], None),
    ("Dirichlet", lambda d, a: d.Dirichlet(a), [[0.5, 2.0, 3.0]], [0.2, 0.5, 0.3], lambda a: scipy.stats.dirichlet(a)),
    ("Dirichlet_flat", lambda d, a: d.Dirichlet(a), [[0.5, 0.2, 0.3]], [0.2, 0.5, 0.3],
     lambda a: scipy.stats.dirichlet(a)),
    ("MultivariateNormal", lambda d, m, c: d.MultivariateNormal(m, c), [[0.5, -1.0], [[2.0, 0.3], [0.3, 1.0]]],
     [1.0, 0.0], lambda m, c: scipy.stats.multivariate_normal(m, c)),
    ("MultivariateNormal_precision", lambda d, m, p: d.MultivariateNormal(m, precision_matrix=p),
     [[0.5, -1.0], [[2.0, 0.3], [0.3, 1.0]]], [1.0, 0.0],
     lambda m, p: scipy.stats.multivariate_normal(m, np.linalg.inv(p))),
    ("MultivariateNormal_tril", lambda d, m, t: d.MultivariateNormal(m, scale_tril=t),
     [[[0.5, -1.0], [1.0, 2.0]], [[2.0, 0.0], [0.3, 1.0]]], [1.0, 0.0], None),
    ("Independent", lambda d, m, s: d.Independent(d.Normal(m, s), 1), [[[0.5, -1.0]], [[1.0, 0.3]]], [[0.1, -1.5]],
     None),
]  # fmt: skip
EVERY = CASES + VECTORS
NAMES = [c[0] for c in EVERY]
# In float64: a few hundred roundings, for lgamma and digamma of two libraries.
ROUNDINGS = 512


@pytest.mark.parametrize("case", [c for c in EVERY if c[4] is not None], ids=lambda c: c[0])
def test_against_scipy(case):
    name, make, parameters, value, reference = case
    found, expected = make(distributions, *[f64(fastnn, p) for p in parameters]), reference(*parameters)
    x = f64(fastnn, value, False)
    discrete = name.startswith(("Bernoulli", "Poisson"))
    density = expected.logpmf if discrete else expected.logpdf
    np.testing.assert_allclose(as_array(found.log_prob(x)), density(value), rtol=1e-12)
    if name != "Poisson":
        np.testing.assert_allclose(as_array(found.entropy()), expected.entropy(), rtol=1e-12)
    mean = expected.mean() if callable(expected.mean) else expected.mean
    np.testing.assert_allclose(as_array(found.mean), mean, rtol=1e-12)
    if hasattr(expected, "var"):
        np.testing.assert_allclose(as_array(found.variance), expected.var(), rtol=1e-12)
        np.testing.assert_allclose(as_array(found.stddev), np.sqrt(expected.var()), rtol=1e-12)
    if name in ("Normal", "LogNormal", "Laplace", "Uniform", "Exponential"):
        np.testing.assert_allclose(as_array(found.cdf(x)), expected.cdf(value), rtol=1e-12)
        np.testing.assert_allclose(as_array(found.icdf(found.cdf(x))), value, rtol=1e-9)


def outcomes(lib: Any, case: Any) -> dict[str, Any]:
    """All results of a distribution, and the gradients of the parameters."""
    _, make, parameters, value, _ = case
    tensors = [f64(lib, p) for p in parameters]
    d = make(lib.distributions, *tensors)
    x = f64(lib, value, False)
    found: dict[str, Any] = {"batch": tuple(d.batch_shape), "event": tuple(d.event_shape)}
    for name in ("mean", "mode", "variance", "stddev", "entropy", "log_prob", "cdf", "icdf", "enumerate_support",
                 "perplexity"):  # fmt: skip
        try:
            member = getattr(d, name)
            if name == "icdf":
                member = member(f64(lib, np.full(np.shape(value), 0.3), False))
            found[name] = member(x) if name in ("log_prob", "cdf") else member() if callable(member) else member
        except (NotImplementedError, AttributeError):
            found[name] = None
    total = found["log_prob"].sum() + (0 if found["entropy"] is None else found["entropy"].sum() * 2)
    total.backward()
    found |= {f"grad{i}": t.grad for i, t in enumerate(tensors)}
    larger = d.expand((4, *d.batch_shape))
    found |= {"expanded": tuple(larger.batch_shape), "expanded_log_prob": larger.log_prob(x)}
    return found


@pytest.mark.torch
@pytest.mark.parametrize("case", EVERY, ids=NAMES)
def test_against_pytorch(case):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: SciPy stands in for it")
    found, expected = outcomes(fastnn, case), outcomes(torch, case)
    for name, e in expected.items():
        if e is None:
            continue
        f = found[name]
        # PyTorch has formulas for these, fastnn does not.
        if f is None and name in ("cdf", "icdf") and case[0] in ("Gamma", "Beta"):
            continue
        assert f is not None, name
        if name.startswith("grad") and case[0].startswith(("Gamma", "Beta", "Dirichlet")):
            # The derivative of digamma: PyTorch's has nine digits, SciPy's and fastnn's sixteen.
            np.testing.assert_allclose(as_array(f), as_array(e), rtol=2e-8)
        elif isinstance(e, torch.Tensor):
            assert_matches(as_array(f), as_array(e), ROUNDINGS, 1e-3)
        else:
            assert f == e, name


@pytest.mark.parametrize("case", EVERY, ids=NAMES)
def test_samples(case):
    """The mean of many draws, within 5 of its standard deviations, and their mean log_prob."""
    _, make, parameters, _, _ = case
    d = make(distributions, *[f64(fastnn, p) for p in parameters])
    x = d.sample((MANY,))
    assert tuple(x.shape) == (MANY, *d.batch_shape, *d.event_shape)
    assert tuple(d.sample().shape) == (*d.batch_shape, *d.event_shape)
    assert tuple(d.sample((2, 0)).shape) == (2, 0, *d.batch_shape, *d.event_shape)
    assert not x.requires_grad
    assert d.support.check(x).numpy().all()
    if case[0].startswith("Categorical"):
        p = as_array(d.probs)
        counts = np.stack([(as_array(x) == k).mean(0) for k in range(3)], -1)
        assert (np.abs(counts - p) < 5 * np.sqrt(p * (1 - p) / MANY)).all()
    else:
        mean, std = as_array(d.mean), as_array(d.stddev)
        assert x.dtype is fastnn.float64
        assert (np.abs(as_array(x).mean(0) - mean) < 5 * std / math.sqrt(MANY)).all()
    # The mean of -log_prob is the entropy.
    logs = as_array(d.log_prob(x))
    if case[0] != "Poisson":
        assert (np.abs(logs.mean(0) + as_array(d.entropy())) < 5 * logs.std(0) / math.sqrt(MANY) + 1e-12).all()


@pytest.mark.parametrize("case", EVERY, ids=NAMES)
def test_draws_that_pass_gradients(case):
    _, make, parameters, _, _ = case
    tensors = [f64(fastnn, p) for p in parameters]
    d = make(distributions, *tensors)
    if not d.has_rsample:
        with pytest.raises(NotImplementedError):
            d.rsample()
        return
    if case[0].startswith(("Gamma", "Beta", "Dirichlet")):
        # Their draws by rejection do not move with the parameters: test_more_distributions.py tests the gradients.
        return
    fastnn.manual_seed(1)
    d.rsample((5,)).sum().backward()
    step = 1e-6
    for i, t in enumerate(tensors):
        if t.ndim == 2 and case[0] != "Independent":
            # A covariance with one element changed is not symmetric.
            assert t.grad is not None
            continue
        moved = []
        for sign in (1, -1):
            shifted = [f64(fastnn, np.array(p) + sign * step * (j == i)) for j, p in enumerate(parameters)]
            fastnn.manual_seed(1)
            moved.append(make(distributions, *shifted).rsample((5,)).sum().item())
        assert t.grad.sum().item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-6, abs=1e-6)


def test_float32_and_numbers(lib):
    d = lib.distributions
    for made in (d.Normal(0, 1), d.Normal(0.0, lib.tensor(1.0)), d.Uniform(0, 1), d.Laplace(0.0, 1), d.Gamma(1.0, 1),
                 d.Beta(1.0, 2), d.Exponential(2), d.Bernoulli(0.5), d.Bernoulli(logits=0), d.Poisson(3)):  # fmt: skip
        assert tuple(made.batch_shape) == ()
        assert made.sample().dtype == lib.float32
        assert tuple(made.sample((3, 2)).shape) == (3, 2)
    half = d.Normal(lib.zeros(3, dtype=lib.float64), 1)
    assert half.sample().dtype == lib.float64
    assert tuple(d.Normal(lib.zeros(3), lib.ones(2, 1)).sample((4,)).shape) == (4, 2, 3)
    assert d.Categorical(lib.ones(3)).sample().dtype == lib.int64
    assert d.Categorical(lib.ones(2, 3)).sample((5,)).shape == (5, 2)
    assert d.Categorical(logits=lib.zeros(3)).probs.sum().item() == pytest.approx(1)


def test_policy_gradient(lib):
    """A draw, its logarithm and a gradient, as in REINFORCE."""
    logits = lib.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]], requires_grad=True)
    policy = lib.distributions.Categorical(logits=logits)
    action = policy.sample()
    assert not action.requires_grad
    # Sampling has computed the probabilities; they still require a gradient.
    assert policy.probs.requires_grad
    (-policy.log_prob(lib.tensor([1, 2])) * lib.tensor([1.0, -2.0])).sum().backward()
    p = np.exp([[1, 2, 0.5], [0, 0, 3]]) / np.exp([[1, 2, 0.5], [0, 0, 3]]).sum(1, keepdims=True)
    expected = (p - np.array([[0, 1, 0], [0, 0, 1]])) * np.array([[1.0], [-2.0]])
    np.testing.assert_allclose(as_array(logits.grad), expected, rtol=1e-5, atol=1e-6)


def test_edges(lib):
    d = lib.distributions
    c = d.Categorical(lib.tensor([0.0, 1.0]))
    assert c.entropy().item() == pytest.approx(0, abs=1e-5)
    assert c.log_prob(lib.tensor(0)).item() < -15
    assert d.Categorical(logits=lib.tensor([-math.inf, 0.0])).entropy().item() == 0
    assert d.Bernoulli(lib.tensor([0.0, 1.0])).log_prob(lib.tensor([0.0, 1.0])).abs().max().item() < 1e-6
    assert d.Uniform(0.0, 1.0).log_prob(lib.tensor(1.0)).item() == -math.inf
    assert d.Bernoulli(0.5).mode.isnan().item()
    assert d.Categorical(lib.ones(2, 3)).mean.isnan().sum().item() == 2
    assert d.Uniform(0.0, 1.0).mode.isnan().item()
    assert d.Normal(0.0, 1.0).log_prob(lib.tensor([])).shape == (0,)
    assert d.Poisson(0.0).log_prob(lib.tensor(0.0)).item() == 0
    assert d.Gamma(1.0, 1.0).log_prob(lib.tensor(0.0)).item() == 0
    assert d.Beta(0.5, 0.4).mode.item() == 1


# -- Divergence -------------------------------------------------------------------------------


def pairs(lib: Any) -> list[tuple[str, Any, Any]]:
    d, t = lib.distributions, lambda *values: f64(lib, values)
    matrix = lib.tensor(np.array([[2.0, 0.3], [0.3, 1.0]]))
    return [
        ("Normal", d.Normal(t(0.5, -1), t(1, 0.3)), d.Normal(t(0, 1), t(2, 0.5))),
        ("LogNormal", d.LogNormal(t(0.5, -1), t(1, 0.3)), d.LogNormal(t(0, 1), t(2, 0.5))),
        ("Laplace", d.Laplace(t(0.5, -1), t(1, 0.3)), d.Laplace(t(0, 1), t(2, 0.5))),
        ("Uniform", d.Uniform(t(0.5, -1), t(1, 0.3)), d.Uniform(t(0, 0), t(2, 0.5))),
        ("Exponential", d.Exponential(t(0.5, 2)), d.Exponential(t(1, 0.3))),
        ("Gamma", d.Gamma(t(0.5, 2), t(1, 3)), d.Gamma(t(1, 0.3), t(2, 1))),
        ("Beta", d.Beta(t(0.5, 2), t(1, 3)), d.Beta(t(1, 0.3), t(2, 1))),
        ("Dirichlet", d.Dirichlet(t(0.5, 2, 1)), d.Dirichlet(t(1, 0.3, 4))),
        ("Poisson", d.Poisson(t(0.5, 2)), d.Poisson(t(1, 0.3))),
        ("Bernoulli", d.Bernoulli(t(0.5, 0.2, 0, 1, 0, 1)), d.Bernoulli(t(0.3, 0.9, 0, 1, 1, 0))),
        ("Bernoulli_logits", d.Bernoulli(logits=t(0.5, -2)), d.Bernoulli(t(0.3, 0.9))),
        ("Categorical", d.Categorical(t(0.5, 0.2, 0.3)), d.Categorical(logits=t(0.3, 0.9, -1))),
        ("Categorical_zeros", d.Categorical(t(0.5, 0, 0.5)), d.Categorical(t(0.5, 0, 0.5))),
        ("Categorical_impossible", d.Categorical(t(0.5, 0.5)), d.Categorical(t(1, 0))),
        ("OneHotCategorical", d.OneHotCategorical(t(0.5, 0.2, 0.3)), d.OneHotCategorical(t(0.3, 0.3, 0.4))),
        ("MultivariateNormal", d.MultivariateNormal(t(0.5, -1), matrix),
         d.MultivariateNormal(t(0, 1), scale_tril=lib.tensor(np.array([[1.0, 0.0], [0.5, 2.0]])))),
        ("Independent", d.Independent(d.Normal(t(0.5, -1), t(1, 0.3)), 1),
         d.Independent(d.Normal(t(0, 1), t(2, 0.5)), 1)),
    ]  # fmt: skip


def test_divergence_is_the_mean_of_the_difference():
    """Tested with many draws of p, within 5 standard deviations of their mean."""
    for name, p, q in pairs(fastnn):
        found = as_array(distributions.kl_divergence(p, q))
        x = p.sample((MANY,))
        if name.startswith(("Bernoulli", "Categorical_", "Uniform")):
            # Infinite, or not comparable by sampling.
            assert (found >= 0).all()
            continue
        difference = as_array(p.log_prob(x) - q.log_prob(x))
        allowed = 5 * difference.std(0) / math.sqrt(MANY) + 1e-12
        assert (np.abs(difference.mean(0) - found) < allowed).all(), name


@pytest.mark.torch
def test_divergence_against_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: drawing stands in for it")
    for (name, p, q), (_, r, s) in zip(pairs(fastnn), pairs(torch), strict=True):
        found, expected = distributions.kl_divergence(p, q), torch.distributions.kl_divergence(r, s)
        assert_matches(as_array(found), as_array(expected), ROUNDINGS, 1e-2)
        assert name


def test_divergence_of_strangers(lib):
    d = lib.distributions
    with pytest.raises(NotImplementedError):
        d.kl_divergence(d.LogNormal(0.0, 1.0), d.Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError):
        d.kl_divergence(d.Categorical(lib.ones(2)), d.Normal(0.0, 1.0))

    class Own(d.Normal):
        pass

    # A subclass uses its parent's formula, until it has one.
    assert d.kl_divergence(Own(1.0, 1.0), d.Normal(0.0, 1.0)).item() == 0.5

    @d.register_kl(Own, Own)
    def own(p: Any, q: Any) -> str:
        return "own"

    assert d.kl_divergence(Own(1.0, 1.0), Own(0.0, 1.0)) == "own"
    with pytest.raises(TypeError):
        d.register_kl(3, Own)


# -- Form -------------------------------------------------------------------------------------


def test_repr(lib):
    d = lib.distributions
    shown = [
        repr(d.Normal(0.0, 2.0)), repr(d.Normal(lib.zeros(2, 3), 1.0)), repr(d.Categorical(lib.ones(3) / 3)),
        repr(d.Independent(d.Normal(lib.zeros(2), 1.0), 1)), repr(d.Bernoulli(logits=0.5)),
    ]  # fmt: skip
    assert shown == [
        "Normal(loc: 0.0, scale: 2.0)", "Normal(loc: torch.Size([2, 3]), scale: torch.Size([2, 3]))",
        "Categorical(probs: torch.Size([3]))",
        "Independent(Normal(loc: torch.Size([2]), scale: torch.Size([2])), 1)", "Bernoulli(logits: 0.5)",
    ]  # fmt: skip


WRONG: list[Callable[[Any], Any]] = [
    lambda lib: lib.distributions.Normal(0.0, -1.0), lambda lib: lib.distributions.Normal(float("nan"), 1.0),
    lambda lib: lib.distributions.Normal("a", 1.0), lambda lib: lib.distributions.Uniform(1.0, 0.0),
    lambda lib: lib.distributions.Normal(0.0, 1.0).log_prob(3.0),
    lambda lib: lib.distributions.Normal(lib.zeros(3), 1.0).log_prob(lib.zeros(2)),
    lambda lib: lib.distributions.Normal(0.0, 1.0).log_prob(lib.tensor(float("nan"))),
    lambda lib: lib.distributions.Exponential(1.0).log_prob(lib.tensor(-1.0)),
    lambda lib: lib.distributions.Uniform(0.0, 1.0).cdf(lib.tensor(2.0)),
    lambda lib: lib.distributions.Bernoulli(1.5), lambda lib: lib.distributions.Bernoulli(),
    lambda lib: lib.distributions.Bernoulli(0.5, 0.0),
    lambda lib: lib.distributions.Bernoulli(0.5).log_prob(lib.tensor(0.5)),
    lambda lib: lib.distributions.Categorical(lib.tensor([-1.0, 1.0])), lambda lib: lib.distributions.Categorical(),
    lambda lib: lib.distributions.Categorical(lib.tensor(1.0)), lambda lib: lib.distributions.Categorical(lib.zeros(2)),
    lambda lib: lib.distributions.Categorical(lib.ones(2)).log_prob(lib.tensor(2)),
    lambda lib: lib.distributions.Categorical(logits=lib.tensor([float("nan"), 0.0])),
    lambda lib: lib.distributions.OneHotCategorical(lib.ones(2)).log_prob(lib.tensor([1.0, 1.0])),
    lambda lib: lib.distributions.Dirichlet(lib.tensor(1.0)),
    lambda lib: lib.distributions.Dirichlet(lib.tensor([1.0, 0.0])),
    lambda lib: lib.distributions.Dirichlet(lib.ones(2)).log_prob(lib.tensor([0.5, 0.6])),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2), -lib.eye(2)),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2), lib.tensor([[1.0, 0.5], [0.0, 1.0]])),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2)),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2), lib.eye(2), lib.eye(2)),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2), lib.zeros(2)),
    lambda lib: lib.distributions.MultivariateNormal(lib.tensor(0.0), lib.eye(1)),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2), scale_tril=lib.ones(2, 2)),
    lambda lib: lib.distributions.MultivariateNormal(lib.zeros(2), lib.eye(2)).log_prob(lib.zeros(3)),
    lambda lib: lib.distributions.Independent(lib.distributions.Normal(0.0, 1.0), 1),
    lambda lib: lib.distributions.Distribution.set_default_validate_args(3),
    lambda lib: lib.distributions.Poisson(1.0).log_prob(lib.tensor(0.5)), lambda lib: lib.distributions.Gamma(0.0, 1.0),
]  # fmt: skip


@pytest.mark.parametrize("make", WRONG)
def test_what_does_not_fit(lib, make):
    with pytest.raises(ValueError):  # noqa: PT011  # some of PyTorch's have no message
        make(lib)


def test_no_validation(lib):
    d = lib.distributions
    assert d.Normal(0.0, -1.0, validate_args=False).log_prob(lib.tensor(0.0)).isnan().item()
    d.Distribution.set_default_validate_args(False)
    try:
        assert d.Exponential(1.0).log_prob(lib.tensor(-1.0)).item() == 1
    finally:
        d.Distribution.set_default_validate_args(True)


def test_entropies_and_probabilities_can_be_changed_in_place(lib):
    value = lib.tensor([1, 0])
    for name in ("logits", "probs"):
        given = lib.tensor([[0.3, 0.7, 0.1], [0.2, 0.2, 0.9]], requires_grad=True)
        plain = lib.distributions.Categorical(**{name: given})
        (0.5 * plain.entropy().sum() + 2 * plain.log_prob(value).sum()).backward()
        expected, given.grad = given.grad, None
        d = lib.distributions.Categorical(**{name: given})
        entropy, log_prob = d.entropy(), d.log_prob(value)
        entropy *= 0.5
        log_prob *= 2
        (entropy.sum() + log_prob.sum()).backward()
        np.testing.assert_allclose(given.grad.numpy(), expected.numpy(), rtol=1e-6)


def test_infinite_logits_without_validation(lib):
    inf, nan = math.inf, math.nan
    logits = lib.tensor([[inf, 0.0], [0.0, 0.0]], requires_grad=True)
    d = lib.distributions.Categorical(logits=logits, validate_args=False)
    np.testing.assert_allclose(d.logits.detach().numpy(), [[nan, -inf], [-math.log(2)] * 2], rtol=1e-6)
    d.log_prob(lib.tensor([1, 1])).sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), [[nan, 1], [-0.5, 0.5]], rtol=1e-6)


def test_modules():
    """The names that PyTorch's modules have."""
    for name in ("categorical.Categorical", "normal.Normal", "kl.kl_divergence", "utils.broadcast_all",
                 "constraints.positive", "distribution.Distribution", "uniform.Uniform"):  # fmt: skip
        module, _, member = name.partition(".")
        __import__(f"fastnn.distributions.{module}")
        assert hasattr(getattr(distributions, module), member)


def test_constraints(lib):
    c = lib.distributions.constraints
    x = lib.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, float("nan"), float("inf")])
    for name, expected in (
        ("real", [1, 1, 1, 1, 1, 0, 1]), ("positive", [0, 0, 1, 1, 1, 0, 1]), ("nonnegative", [0, 1, 1, 1, 1, 0, 1]),
        ("unit_interval", [0, 1, 1, 1, 0, 0, 0]), ("boolean", [0, 1, 0, 1, 0, 0, 0]),
    ):  # fmt: skip
        assert getattr(c, name).check(x).tolist() == [bool(e) for e in expected], name
    assert c.nonnegative_integer.check(lib.tensor([0.0, 1.0, 1.5, -1.0])).tolist() == [True, True, False, False]
    assert c.simplex.check(lib.tensor([[0.5, 0.5], [0.5, 0.6], [1.5, -0.5]])).tolist() == [True, False, False]
    assert c.integer_interval(1, 3).check(lib.tensor([0, 1, 3, 4])).tolist() == [False, True, True, False]
    assert c.greater_than(2.0).check(lib.tensor([2.0, 3.0])).tolist() == [False, True]
    assert c.independent(c.real, 1).check(lib.tensor([[1.0, 2.0], [1.0, float("nan")]])).tolist() == [True, False]
    assert [c.real.event_dim, c.simplex.event_dim, c.positive_definite.event_dim] == [0, 1, 2]
    assert list(itertools.chain([c.boolean.is_discrete, c.real.is_discrete])) == [True, False]
    with pytest.raises(ValueError, match=r"1 dim|>= 1"):
        c.independent(c.real, 1).check(lib.tensor(1.0))
