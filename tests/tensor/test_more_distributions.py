"""Distributions, transforms, constraints and divergences: against PyTorch, live and recorded, and the draws."""

from __future__ import annotations

import copy
import gzip
import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from cases_distributions import FAMILIES, GROUPS, f64
from comparison import as_array, assert_matches

import fastnn
from fastnn import distributions
from fastnn.ops.implicit_gradients import beta_slope, standard_gamma_slope

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "golden" / "distributions.json.gz").read_bytes())
)["results"]
CASES = [(group, name) for group, (_, names) in GROUPS.items() for name in names]
IDS = [f"{group} {name}".strip() for group, name in CASES]

# In float64: a few hundred roundings, for lgamma and digamma of two libraries, of numbers of size 1.
ROUNDINGS = 512
# Relative errors of what PyTorch computes with fewer digits: the derivative of digamma has nine digits, the Bessel
# functions of VonMises are polynomials of seven; Binomial's and Geometric's log-odds of 0 and 1 are limited.
COARSE = {
    "VonMises log_prob": 3e-6, "VonMises expanded_log_prob": 3e-6, "VonMises grad_1": 3e-6, "VonMises variance": 3e-5,
    # PyTorch takes the logarithm of the factorial of the number of draws in float32.
    **{f"Multinomial{s} {key}": 1e-7 for s in ("", "_logits") for key in ("entropy", "perplexity", "expanded_entropy")},
    "VonMises stddev": 3e-5,
}  # fmt: skip
# Where PyTorch's result is wrong: test_where_pytorch_is_wrong() has the right ones.
BETTER = {
    # NaN always, from the logarithm of a negative number.
    ("family Kumaraswamy", "mode"), ("family Kumaraswamy", "expanded_mode"),
    # An AttributeError: expand() loses a part.
    ("family Multinomial", "expanded_entropy"), ("family Multinomial_logits", "expanded_entropy"),
}  # fmt: skip


def is_coarse(case: str, key: str) -> float:
    """The relative error that is allowed for a gradient through digamma, or by a table; 0 for roundings."""
    label = f"{case.partition(' ')[2]} {key}"
    if case == "family GeneralizedPareto":
        return 16 * float(np.finfo(np.float32).eps)
    return COARSE.get(label, 1e-7 if "grad" in key else 0.0)


def compare(case: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for key, e in expected.items():
        f = found[key]
        if (case, key) in BETTER:
            continue
        if isinstance(e, dict):
            e = np.array(e["numbers"], e["dtype"])
        if not isinstance(e, np.ndarray):
            assert f == e, key
            continue
        assert isinstance(f, np.ndarray), (key, f)
        if tolerance := is_coarse(case, key):
            np.testing.assert_allclose(f, e, rtol=tolerance, atol=1e-7, err_msg=key)
        else:
            assert_matches(f, e.reshape(e.shape), ROUNDINGS, 1.0)


def results(lib: Any, group: str, name: str) -> dict[str, Any]:
    return GROUPS[group][0](lib, name)


@pytest.mark.parametrize(("group", "name"), CASES, ids=IDS)
def test_against_recorded_values(group, name):
    case = f"{group} {name}".strip()
    compare(case, results(fastnn, group, name), RECORDED[case])


@pytest.mark.torch
@pytest.mark.parametrize(("group", "name"), CASES, ids=IDS)
def test_against_pytorch(group, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the recorded values stand in for it")
    compare(f"{group} {name}".strip(), results(fastnn, group, name), results(torch, group, name))


def made(name: str, grad: bool = False) -> tuple[Any, list[Any]]:
    """A distribution of the table in float64, and its parameters."""
    make, parameters, _ = FAMILIES[name]
    tensors = [f64(fastnn, p, grad) for p in parameters]
    return make(distributions, *tensors), tensors


# -- Draws ----------------------------------------------------------------------------------------

MANY = 4000
# Standard deviations that the mean of many draws may be off. Some means have heavy tails.
SIGMAS = 6


def assert_mean(draws: np.ndarray, expected: np.ndarray, what: str) -> None:
    """The mean over the first dimension, within the error of a mean of independent draws."""
    allowed = SIGMAS * draws.std(0) / math.sqrt(len(draws)) + 1e-12
    assert (np.abs(draws.mean(0) - expected) <= allowed).all(), what


@pytest.mark.parametrize("name", FAMILIES)
def test_draws(name):
    """Means, distribution functions and entropies of many draws."""
    fastnn.manual_seed(3)
    d, _ = made(name)
    x = d.sample((MANY,))
    shape = (*d.batch_shape, *d.event_shape)
    assert tuple(x.shape) == (MANY, *shape)
    assert not x.requires_grad
    assert tuple(d.sample().shape) == shape
    assert tuple(d.sample((2, 0)).shape) == (2, 0, *shape)
    kinds = {"Categorical": fastnn.int64, "GeneralizedPareto": fastnn.float32}
    assert x.dtype is kinds.get(name, fastnn.float64)
    assert d.support.check(x).numpy().all()
    draws = as_array(x).astype(np.float64)
    try:
        mean, variance = as_array(d.mean), as_array(d.variance)
    except NotImplementedError:
        mean = variance = np.full(shape, np.nan)
    finite = np.isfinite(mean) & np.isfinite(variance)
    if finite.any() and name != "VonMises":
        assert_mean(draws[:, finite], mean[finite], "mean")
        # Where the fourth moment may be infinite, the error is not that of a mean.
        if not name.startswith(("StudentT", "Fisher", "InverseGamma", "GeneralizedPareto", "Pareto")):
            assert_mean((draws[:, finite] - mean[finite]) ** 2, variance[finite], "variance")
    try:
        points = as_array(d.cdf(x))
    except NotImplementedError:
        points = None
    if points is not None:
        assert_mean(points, np.full(points.shape[1:], 0.5), "distribution function")
        assert_mean((points - 0.5) ** 2, np.full(points.shape[1:], 1 / 12), "distribution function")
    try:
        entropy = as_array(d.entropy())
    except NotImplementedError:
        return
    assert_mean(-as_array(d.log_prob(x)), entropy, "entropy")


def test_draws_of_families_without_formulas():
    """Distribution functions by SciPy, or probabilities of events."""
    fastnn.manual_seed(4)
    draws = as_array(made("FisherSnedecor")[0].sample((MANY,)))
    points = scipy.stats.f([1.0, 3.0, 4.0], [1.0, 5.0, 3.0]).cdf(draws)
    assert_mean(points, np.full(3, 0.5), "F")
    assert_mean((points - 0.5) ** 2, np.full(3, 1 / 12), "F")
    d, (loc, k) = made("VonMises")
    expected = scipy.special.i1e(k.numpy()) / scipy.special.i0e(k.numpy())
    assert_mean(np.cos(as_array(d.sample((MANY,))) - as_array(loc)), expected, "angle")
    d, _ = made("RelaxedBernoulli")
    assert_mean((as_array(d.sample((MANY,))) > 0.5).astype(float), as_array(d.probs), "relaxed")
    d, _ = made("RelaxedOneHotCategorical")
    largest = as_array(d.sample((MANY,))).argmax(-1)
    assert_mean(np.eye(3)[largest], as_array(d.probs), "relaxed")
    d, _ = made("LogisticNormal")
    logits = as_array(distributions.StickBreakingTransform().inv(d.sample((MANY,))))
    assert_mean(logits, as_array(d.loc), "logistic normal")
    # Each correlation is 2 * beta - 1 (LKJ 2009, section 3.2.1), with both exponents c + (n - 2) / 2.
    d, _ = made("LKJCholesky")
    lower = d.sample((MANY,))
    matrix = as_array(lower @ lower.mT)
    np.testing.assert_allclose(np.diagonal(matrix, axis1=-2, axis2=-1), 1, rtol=1e-12)
    for i, j in ((1, 0), (2, 0), (2, 1)):
        a = np.array([0.5, 1.0, 3.0]) + 0.5
        points = scipy.stats.beta(a, a).cdf((matrix[..., i, j] + 1) / 2)
        assert_mean(points, np.full(3, 0.5), "correlation")
        assert_mean((points - 0.5) ** 2, np.full(3, 1 / 12), "correlation")


@pytest.mark.parametrize("name", ["LKJCholesky_2", "LogisticNormal", "RelaxedBernoulli", "VonMises", "FisherSnedecor"])
def test_densities_integrate_to_1(name):
    """The sum over a fine grid, of densities without a formula in SciPy."""
    d, _ = made(name)
    n = 20_001
    if name == "VonMises":
        x = fastnn.linspace(-math.pi, math.pi, n, dtype=fastnn.float64)
    elif name == "FisherSnedecor":
        # x = exp(z), with the density of z.
        z = fastnn.linspace(-60.0, 60.0, n, dtype=fastnn.float64)
        x, slope = z.exp(), z.exp()
    elif name == "RelaxedBernoulli":
        # x = sigmoid(z): the density is infinite at 0 and 1.
        z = fastnn.linspace(-35.0, 35.0, n, dtype=fastnn.float64)
        x, slope = z.sigmoid(), z.sigmoid() * (-z).sigmoid()
    else:
        x = fastnn.linspace(1e-9, 1 - 1e-9, n, dtype=fastnn.float64)
    if name == "LKJCholesky_2":
        # The first number of the second row is the correlation r; the density is that of r, on both sides of 0.
        zero = fastnn.zeros_like(x)
        rows = fastnn.stack([fastnn.stack([zero + 1, zero], -1), fastnn.stack([x, (1 - x**2).sqrt()], -1)], -2)
        density = d.log_prob(rows).exp().unsqueeze(-1) * 2 / 1.0
    elif name == "LogisticNormal":
        one = distributions.LogisticNormal(f64(fastnn, [0.5]), f64(fastnn, [1.0]))
        density = one.log_prob(fastnn.stack([x, 1 - x], -1)).exp().unsqueeze(-1)
    else:
        density = d.log_prob(x.unsqueeze(-1)).exp()
    if name in ("FisherSnedecor", "RelaxedBernoulli"):
        total = np.trapezoid(as_array(density * slope.unsqueeze(-1)), as_array(z), axis=0)
    else:
        total = np.trapezoid(as_array(density), as_array(x), axis=0)
    np.testing.assert_allclose(total, 1, rtol=1e-4)


# -- Gradients of draws -----------------------------------------------------------------------------

MOVING = [n for n in FAMILIES if made(n)[0].has_rsample and not n.startswith("OneHot")]
# Their draws by rejection do not move with the parameters.
BY_REJECTION = (
    "Beta", "Chi2", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT", "Wishart",
)  # fmt: skip


@pytest.mark.parametrize("name", MOVING)
def test_draws_pass_gradients(name):
    """By finite differences with the same random numbers, or the gradient of the mean of many draws."""
    d, tensors = made(name, True)
    fastnn.manual_seed(1)
    if name.startswith(BY_REJECTION):
        if name.startswith(("StudentT", "InverseGamma", "FisherSnedecor")):
            # Their means are infinite for some parameters of the table.
            tensors = [f64(fastnn, [7.0, 9.0], True), f64(fastnn, [9.0, 11.0], True)]
            d = getattr(distributions, name)(*tensors)


        def gradients(total: Any) -> list[np.ndarray]:
            total.backward(retain_graph=True)
            found = [np.zeros(t.shape) if t.grad is None else as_array(t.grad) for t in tensors]
            for t in tensors:
                t.grad = None
            return found

        chunks = [gradients(d.rsample((100,)).mean(0).sum()) for _ in range(20)]
        for i, expected in enumerate(gradients(d.mean.sum())):
            grads = np.stack([c[i] for c in chunks])
            if name == "Wishart_tril" and i == 1:
                expected, grads = np.tril(expected), np.tril(grads)
            assert_mean(grads, expected, f"gradient {i}")
        return
    make, parameters = FAMILIES[name][0], [as_array(t) for t in tensors]
    if name == "ContinuousBernoulli":
        # Without those of the series, where draws do not move.
        parameters = [np.array([0.3, 0.9])]
    elif name == "GeneralizedPareto":
        # In float64, and without 0, where draws do not move with k.
        make, parameters[2][2] = (lambda d, m, s, k: d.GeneralizedPareto(m, s, k)), 0.1
    tensors = [f64(fastnn, p, True) for p in parameters]
    d = make(distributions, *tensors)
    weights = np.random.default_rng(0).normal(size=(3, *d.batch_shape, *d.event_shape))

    def draw(tensors: list[Any]) -> Any:
        fastnn.manual_seed(1)
        return (make(distributions, *tensors).rsample((3,)) * f64(fastnn, weights)).sum()

    draw(tensors).backward()
    step = 1e-6
    for i, t in enumerate(tensors):
        if name.startswith("MultivariateNormal") and i == 1:
            # A covariance with one element changed is not symmetric.
            continue
        moved = [draw([f64(fastnn, as_array(u) + s * step * (i == j)) for j, u in enumerate(tensors)]) for s in (1, -1)]
        difference = (moved[0] - moved[1]).item() / (2 * step)
        assert t.grad.sum().item() == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_derivatives_of_gamma_draws():
    """Against finite differences of the inverse distribution function, and over all orders of magnitude."""
    rng = np.random.default_rng(0)
    a, q = np.exp(rng.uniform(np.log(0.05), np.log(1e4), 300)), rng.uniform(0.001, 0.999, 300)
    x, h = scipy.special.gammaincinv(a, q), 1e-4 * a
    # With an error of h**4 and of roundings over h.
    near = scipy.special.gammaincinv(a + h, q) - scipy.special.gammaincinv(a - h, q)
    far = scipy.special.gammaincinv(a + 2 * h, q) - scipy.special.gammaincinv(a - 2 * h, q)
    np.testing.assert_allclose(standard_gamma_slope(a, x), (8 * near - far) / (12 * h), rtol=1e-6)
    # Near the bounds of the regions the formulas agree.
    for edge in (2.0,):
        for a_edge in (0.01, 0.5, 2.0, 30.0):
            both = standard_gamma_slope(np.array([a_edge] * 2), np.array([edge, edge * (1 + 1e-13)]))
            np.testing.assert_allclose(both[0], both[1], rtol=1e-9)
    # Far tails: positive, finite and growing with x.
    tails = standard_gamma_slope(np.array([3.0]), np.geomspace(1e-300, 600, 200))
    assert (np.isfinite(tails) & (tails >= 0)).all()
    assert (np.diff(tails) > 0).all()


def test_derivatives_of_beta_draws():
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(np.log(0.05), np.log(1e3), (2, 500)))
    q = rng.uniform(0.01, 0.99, 500)
    x, h = scipy.special.betaincinv(a, b, q), 1e-4 * a

    def inverse(a: np.ndarray) -> np.ndarray:
        return scipy.special.betaincinv(a, b, q)

    expected = (8 * (inverse(a + h) - inverse(a - h)) - (inverse(a + 2 * h) - inverse(a - 2 * h))) / (12 * h)
    found = beta_slope(a, b, x) * (1 - x)
    # The finite differences have the roundings of x, and some of their quantiles only ten digits.
    allowed = 1e-6 * np.abs(expected) + 1e-15 / h * x + 1e-9 * x * (1 - x)
    # SciPy's inverse fails where x is next to 1.
    good = 1 - x > 1e-6
    assert good.mean() > 0.7
    assert (np.abs(found - expected) <= allowed)[good].all()
    # The same with x and 1 - x exchanged: dx/da of one is -d(1 - x)/db of the other; both by 1 = F(x) + (1 - F(x)).
    for a_edge, b_edge in ((0.3, 20.0), (5.0, 6.0), (40.0, 0.2)):
        for edge in (4 / (a_edge + b_edge), 1 - 4 / (a_edge + b_edge)):
            both = beta_slope(np.array(a_edge), np.array(b_edge), np.array([edge * (1 - 1e-12), edge * (1 + 1e-12)]))
            np.testing.assert_allclose(both[0], both[1], rtol=1e-8)


@pytest.mark.torch
def test_derivatives_of_draws_against_pytorch():
    """Up to the errors of PyTorch's approximations, which have three digits."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: finite differences stand in for it")
    rng = np.random.default_rng(0)
    a = np.exp(rng.uniform(np.log(0.01), np.log(1e3), 2000))
    x = np.maximum(rng.standard_gamma(a), 1e-300)
    args = fastnn.tensor(a), fastnn.tensor(x)
    expected = torch._standard_gamma_grad(*[torch.from_numpy(v) for v in (a, x)])
    np.testing.assert_allclose(fastnn._standard_gamma_grad(*args).numpy(), expected, rtol=2e-3)
    alpha = np.exp(rng.uniform(np.log(0.1), np.log(10), (500, 4)))
    x = rng.standard_gamma(alpha)
    x /= x.sum(1, keepdims=True)
    total = alpha.sum(1, keepdims=True) * np.ones(4)
    good = (x > 1e-200) & (x < 1 - 1e-12)
    expected = torch._dirichlet_grad(*[torch.from_numpy(v) for v in (x, alpha, total)]).numpy()
    found = fastnn._dirichlet_grad(*[fastnn.tensor(v) for v in (x, alpha, total)]).numpy()
    np.testing.assert_allclose(found[good], expected[good], rtol=1e-2)


def test_dirichlet_draws_stay_on_the_simplex():
    a = f64(fastnn, [[0.5, 2.0, 3.0]], True)
    x = distributions.Dirichlet(a).rsample((5,))
    # The elements sum to 1 whatever the exponents are.
    x.sum().backward()
    np.testing.assert_allclose(as_array(a.grad), 0, atol=1e-12)
    for kind in (fastnn.float32, fastnn.float64):
        tiny = distributions.Dirichlet(fastnn.full((3,), 1e-3, dtype=kind)).sample((50,))
        assert tiny.dtype is kind
        assert (as_array(tiny) > 0).all()
        np.testing.assert_allclose(as_array(tiny).sum(-1), 1, rtol=1e-6)


def test_draws_have_no_second_derivative(lib):
    """An error, and not a number without one of its terms."""
    d = lib.distributions
    for make in (lambda a: d.Gamma(a, 1.0), lambda a: d.Dirichlet(a)):
        a = lib.tensor([2.0, 3.0], requires_grad=True)
        (grad,) = lib.autograd.grad((make(a).rsample() ** 2).sum(), a, create_graph=True)
        with pytest.raises(RuntimeError, match=r"implemented|once_differentiable"):
            grad.sum().backward()


def test_random_functions():
    fastnn.manual_seed(0)
    n = fastnn.full((MANY,), 10.0, dtype=fastnn.float64)
    drawn = as_array(fastnn.binomial(n, fastnn.full_like(n, 0.3)))
    assert_mean(drawn, np.array(3.0), "binomial")
    assert set(drawn) <= set(range(11))
    assert_mean(as_array(fastnn._standard_gamma(n)), np.array(10.0), "gamma")
    p = fastnn.tensor([0.5], requires_grad=True)
    fastnn.binomial(fastnn.tensor([3.0]), p).sum().backward()
    assert p.grad.tolist() == [0]
    for wrong, kind in (
        (lambda: fastnn.binomial(n, n.float()), RuntimeError), (lambda: fastnn.binomial(n, n), ValueError),
        (lambda: fastnn.binomial(fastnn.tensor([1]), fastnn.tensor([1])), NotImplementedError),
        (lambda: fastnn.binomial(3, n), TypeError), (lambda: fastnn._standard_gamma(3), TypeError),
        (lambda: fastnn._standard_gamma(fastnn.tensor([1])), NotImplementedError),
    ):  # fmt: skip
        with pytest.raises(kind):
            wrong()
    # As PyTorch's, which does not check either.
    assert as_array(fastnn._standard_gamma(fastnn.tensor([1.0, math.nan, -1.0]))).tolist()[1:] != [0, 0]
    # A number, as in PyTorch.
    assert distributions.Gamma(1.0, 2.0).log_prob(0.5) == distributions.Gamma(1.0, 2.0).log_prob(fastnn.tensor(0.5))
    d = distributions.Gamma(f64(fastnn, [2.0], True), f64(fastnn, [3.0], True))
    value = f64(fastnn, [0.7], True)
    d.cdf(value).sum().backward()
    np.testing.assert_allclose(as_array(value.grad), as_array(d.log_prob(value).exp()), rtol=1e-12)
    step = 1e-6
    moved = [as_array(distributions.Gamma(2.0 + s * step, f64(fastnn, [3.0])).cdf(value)) for s in (1, -1)]
    np.testing.assert_allclose(as_array(d.concentration.grad), (moved[0] - moved[1]) / (2 * step), rtol=1e-6)


# -- Form -------------------------------------------------------------------------------------------


def test_float32_numbers_and_empty_batches(lib):
    d, one, none = lib.distributions, lib.ones(1, 3), lib.ones(0, 3)
    families = [
        lambda x: d.Binomial(3, x / 2), lambda x: d.Cauchy(0.0, x), lambda x: d.Chi2(x), lambda x: d.Gumbel(0, x),
        lambda x: d.ContinuousBernoulli(x / 3), lambda x: d.FisherSnedecor(x, 3), lambda x: d.Geometric(x / 2),
        lambda x: d.GeneralizedPareto(0.0, x, 0.5), lambda x: d.HalfCauchy(x), lambda x: d.HalfNormal(x),
        lambda x: d.InverseGamma(x, 1.0), lambda x: d.Kumaraswamy(x, 2.0), lambda x: d.NegativeBinomial(2.0, x / 2),
        lambda x: d.Pareto(1.0, x), lambda x: d.RelaxedBernoulli(lib.tensor(0.5), x / 2), lambda x: d.StudentT(x),
        lambda x: d.VonMises(0.0, x), lambda x: d.Weibull(x, 2.0), lambda x: d.LogNormal(0.0, x),
        lambda x: d.LKJCholesky(2, x), lambda x: d.Beta(x, 2.0), lambda x: d.Gamma(x, 2.0),
    ]  # fmt: skip
    for make in families:
        # PyTorch's LKJCholesky takes no empty batch.
        for x in (lib.tensor(0.9), one, *([none] if lib is fastnn else [])):
            made = make(x)
            assert made.batch_shape == x.shape
            assert made.sample().dtype == lib.float32
            drawn = made.sample((2,))
            assert tuple(drawn.shape) == (2, *x.shape, *made.event_shape)
            assert made.log_prob(drawn).shape == (2, *x.shape)
            assert made.expand((4, *x.shape)).batch_shape == (4, *x.shape)
    for make in (
        lambda x: d.Multinomial(3, x), lambda x: d.RelaxedOneHotCategorical(lib.tensor(0.5), x),
        lambda x: d.LogisticNormal(x, 1.0), lambda x: d.Dirichlet(x), lambda x: d.OneHotCategoricalStraightThrough(x),
        lambda x: d.LowRankMultivariateNormal(x, lib.ones(3, 1), x),
    ):  # fmt: skip
        for x in (lib.ones(3), one, *([none] if lib is fastnn else [])):
            made = make(x)
            assert made.batch_shape == x.shape[:-1]
            assert made.log_prob(made.sample((2,))).shape == (2, *x.shape[:-1])
    matrices = d.Wishart(lib.tensor([3.0, 4.0]), lib.eye(2))
    with warnings.catch_warnings():
        # PyTorch's "Singular sample detected" for each draw.
        warnings.simplefilter("ignore")
        assert tuple(matrices.rsample((5,)).shape) == (5, 2, 2, 2)
    with pytest.warns(UserWarning, match="Low df"):
        d.Wishart(lib.tensor(1.5), lib.eye(2))


def test_subclasses(lib):
    """As Pyro's: classes that derive from these, with their own ``__init__`` and ``expand``."""
    d = lib.distributions

    class Shifted(d.Normal):
        def __init__(self, loc: Any, shift: Any, validate_args: bool | None = None) -> None:
            self.shift = shift
            super().__init__(loc, 1.0, validate_args=validate_args)

        def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
            new = self._get_checked_instance(Shifted, _instance)
            new.shift = self.shift
            return super().expand(batch_shape, _instance=new)

    larger = Shifted(0.0, 3.0).expand((4,))
    assert type(larger) is Shifted
    assert larger.shift == 3.0
    assert larger.loc.shape == (4,)
    assert larger.log_prob(lib.zeros(4)).shape == (4,)

    class Ordered(d.Categorical):
        arg_constraints = {"cut": d.constraints.real}  # noqa: RUF012  # as programs write it

        def __init__(self, cut: Any) -> None:
            self.cut = cut
            super().__init__(probs=lib.stack([cut, 1 - cut], -1))

        def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
            new = self._get_checked_instance(Ordered, _instance)
            new.cut = self.cut.expand(batch_shape)
            return super().expand(batch_shape, _instance=new)

    ordered = Ordered(lib.tensor([0.3, 0.4])).expand((3, 2))
    assert ordered.probs.shape == (3, 2, 2)
    assert ordered.sample((4,)).shape == (4, 3, 2)
    assert ordered.cut.shape == (3, 2)

    class Plain(d.Beta):
        pass

    assert type(Plain(1.0, 2.0).expand((3,))) is Plain

    class Custom(d.TransformedDistribution):
        arg_constraints = {"loc": d.constraints.real}  # noqa: RUF012  # as programs write it

        def __init__(self, loc: Any) -> None:
            self.loc = loc
            super().__init__(d.Normal(loc, 1.0), [d.ExpTransform()])

    assert Custom(lib.zeros(2)).log_prob(lib.ones(2)).shape == (2,)
    with pytest.raises(NotImplementedError):
        Custom(lib.zeros(2)).expand((3, 2))

    class Checked(d.Distribution):
        support = d.constraints.positive
        arg_constraints = {}  # noqa: RUF012  # as programs write it

        def log_prob(self, value: Any) -> Any:
            if self._validate_args:
                self._validate_sample(value)
            return value

    assert Checked().log_prob(lib.ones(2)).tolist() == [1, 1]
    with pytest.raises(ValueError, match="support"):
        Checked().log_prob(-lib.ones(2))

    class Own(d.constraints.Constraint):
        event_dim = 1

        def check(self, value: Any) -> Any:
            return (value > 0).any(-1)

    assert d.constraints.independent(Own(), 1).check(lib.ones(2, 3)).tolist() is True
    d.biject_to.register(Own, lambda c: d.ExpTransform())
    d.transform_to.register(Own)(lambda c: d.TanhTransform())
    assert isinstance(d.biject_to(Own()), d.ExpTransform)
    assert isinstance(d.transform_to(Own()), d.TanhTransform)
    with pytest.raises(TypeError):
        d.biject_to.register(int, lambda c: d.ExpTransform())
    with pytest.warns(UserWarning, match="arg_constraints"):
        type("Bare", (d.Distribution,), {})()
    with pytest.warns(FutureWarning):
        assert d.Normal(0.0, 1.0).sample_n(3).shape == (3,)


def test_properties_of_classes(lib):
    d = lib.distributions
    assert d.Categorical.support.is_discrete
    assert d.Categorical.support.event_dim == 0
    assert d.Multinomial.support.event_dim == 1
    assert d.constraints.is_dependent(d.Uniform.support)
    for kind in (d.Bernoulli, d.Beta, d.Dirichlet, d.Gamma, d.Normal, d.Poisson, d.Wishart, d.Exponential):
        assert issubclass(kind, d.ExponentialFamily)
    for kind in (d.Gumbel, d.HalfNormal, d.LogNormal, d.Pareto, d.Weibull, d.RelaxedBernoulli, d.Kumaraswamy):
        assert issubclass(kind, d.TransformedDistribution)
    assert issubclass(d.Chi2, d.Gamma)
    assert d.Independent(d.Normal(lib.zeros(2), 1.0), 1).has_rsample
    assert d.Independent[d.Normal]


def test_entropy_of_exponential_families():
    """That of the base class, from the normalizer, is that of the family's own formula."""
    base = distributions.ExponentialFamily
    for name in ("Bernoulli", "Beta", "ContinuousBernoulli_logits", "Dirichlet", "Exponential", "Gamma", "Normal",
                 "Wishart"):  # fmt: skip
        d, _ = made(name)
        # The others have no mean of the carrier measure, as in PyTorch.
        if name not in ("Beta", "Dirichlet", "Normal"):
            np.testing.assert_allclose(as_array(base.entropy(d)), as_array(d.entropy()), rtol=1e-10, err_msg=name)
        own = distributions.kl._exponential_family(d, d)
        np.testing.assert_allclose(as_array(own), 0, atol=1e-12)


def test_transforms_are_cached_and_copied(lib):
    d = lib.distributions
    t = d.ExpTransform(cache_size=1)
    x = lib.tensor([0.5, 1.0])
    y = t(x)
    assert t(x) is y
    assert t.inv(y) is x
    assert t.inv is t.inv
    assert t.inv.inv is t
    assert t.with_cache(1) is t
    assert t.with_cache(0)._cache_size == 0
    composed = d.ComposeTransform([d.ExpTransform(), d.AffineTransform(0.0, 2.0)], cache_size=1)
    # PyTorch's inverse can neither be copied nor pickled.
    for one in (composed, t, *([t.inv] if lib is fastnn else []), d.StickBreakingTransform()):
        copied = copy.deepcopy(one)
        assert copied(lib.tensor([0.5, 1.0])).tolist() == one(lib.tensor([0.5, 1.0])).tolist()
        _ = one.inv
        again = pickle.loads(pickle.dumps(one))
        assert again(lib.tensor([0.5, 1.0])).tolist() == one(lib.tensor([0.5, 1.0])).tolist()
    assert composed.inv(composed(x)) is x
    for kind in (d.AffineTransform(0.0, 2.0), d.PowerTransform(lib.tensor(2.0)), d.ReshapeTransform((2,), (2, 1)),
                 d.CatTransform([d.ExpTransform()]), d.StackTransform([d.ExpTransform()]),
                 d.CumulativeDistributionTransform(d.Normal(0.0, 1.0)), d.IndependentTransform(d.ExpTransform(), 1),
                 composed, d.ExpTransform().inv):  # fmt: skip
        assert kind.with_cache(0).with_cache(1)._cache_size == 1 or kind.with_cache(1)._inv._cache_size == 1
    with pytest.raises(TypeError):
        hash(t)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_distributions_can_be_copied(name):
    d, _ = made(name)
    value = f64(fastnn, FAMILIES[name][2])
    for other in (copy.deepcopy(d), copy.copy(d), pickle.loads(pickle.dumps(d))):
        np.testing.assert_array_equal(as_array(other.log_prob(value)), as_array(d.log_prob(value)))


def test_where_pytorch_is_wrong():
    """Results that differ from PyTorch's on purpose."""
    # The mode of Kumaraswamy is where the density is largest.
    d = distributions.Kumaraswamy(f64(fastnn, [2.0, 3.0]), f64(fastnn, [3.0, 1.5]))
    grid = fastnn.linspace(0.001, 0.999, 999, dtype=fastnn.float64)
    best = as_array(grid)[as_array(d.log_prob(grid.unsqueeze(-1))).argmax(0)]
    np.testing.assert_allclose(as_array(d.mode), best, atol=1e-3)
    # expand() of Multinomial keeps the entropy.
    counts = distributions.Multinomial(3, f64(fastnn, [0.3, 0.7]))
    np.testing.assert_allclose(as_array(counts.expand((2,)).entropy()), [counts.entropy().item()] * 2)
    # Values at the bounds of a uniform distribution are in its support.
    unit = distributions.Uniform(f64(fastnn, 0.0), f64(fastnn, 1.0))
    assert distributions.kl_divergence(distributions.ContinuousBernoulli(f64(fastnn, 0.3)), unit).isfinite()
    # Each matrix is tested by itself.
    matrices = f64(fastnn, [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 2.0]]])
    assert distributions.constraints.positive_definite.check(matrices).tolist() == [False, False, True]
    # One scale for all elements of a vector counts for each.
    t = distributions.AffineTransform(0.0, f64(fastnn, 2.0), event_dim=1)
    assert t.log_abs_det_jacobian(f64(fastnn, [1.0, 2.0]), None).item() == pytest.approx(2 * math.log(2))


class _Drawing(fastnn.nn.Module):
    """The mean of draws whose parameters are the outputs of a layer."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.layer, self.make = fastnn.nn.Linear(2, 3), make

    def forward(self, x: Any) -> Any:
        return self.make(self.layer(x)).rsample().pow(2).mean()


@pytest.mark.parametrize("make", [
    lambda h: distributions.Gamma(h.exp(), 1.0), lambda h: distributions.Gumbel(h, 1.0),
    lambda h: distributions.TransformedDistribution(distributions.Normal(h, 1.0), [distributions.TanhTransform()]),
], ids=["Gamma", "Gumbel", "TransformedDistribution"])  # fmt: skip
def test_captured_steps(make):
    """The same numbers as eagerly, with new draws in each step."""
    x, y, losses = fastnn.ones(4, 2), fastnn.zeros(1), []
    for captured in (False, True):
        fastnn.manual_seed(0)
        model = _Drawing(make)
        optimizer = fastnn.optim.SGD(model.parameters(), lr=0.01)
        criterion = lambda out, y: out + y.sum()  # noqa: E731  # an argument
        step = fastnn.compile_step(model, criterion, optimizer)
        found = []
        for _ in range(4):
            if captured:
                found.append(float(step(x, y)))
                continue
            optimizer.zero_grad()
            loss = criterion(model.forward(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4


def test_ambiguous_divergences(lib):
    d = lib.distributions

    class P(d.Normal):
        pass

    class Q(d.Normal):
        pass

    d.register_kl(P, d.Normal)(lambda p, q: "first")
    d.register_kl(d.Normal, Q)(lambda p, q: "second")
    with pytest.warns(RuntimeWarning, match="Ambiguous"):
        assert d.kl_divergence(P(0.0, 1.0), Q(0.0, 1.0)) == "first"
    assert d.kl_divergence(P(0.0, 1.0), d.Normal(0.0, 1.0)) == "first"
    assert d.kl_divergence(d.Normal(0.0, 1.0), Q(0.0, 1.0)) == "second"


def test_names():
    """All public names of PyTorch's modules, and some private ones that libraries use."""
    modules = {
        "constraints": ["_IndependentConstraint", "_Interval", "_GreaterThan", "dependent_property", "corr_cholesky"],
        "transforms": ["_InverseTransform", "identity_transform"],
        "kl": ["_KL_REGISTRY", "_dispatch_kl", "_KL_MEMOIZE"],
        "utils": ["_standard_normal", "_sum_rightmost", "euler_constant", "vec_to_tril_matrix", "lazy_property"],
        "constraint_registry": ["ConstraintRegistry", "biject_to", "transform_to"], "studentT": ["StudentT"],
        "relaxed_bernoulli": ["LogitRelaxedBernoulli"], "relaxed_categorical": ["ExpRelaxedCategorical"],
        "multivariate_normal": ["_batch_mahalanobis", "_batch_mv", "_precision_to_scale_tril"],
        "exp_family": ["ExponentialFamily"], "gamma": ["Gamma", "_standard_gamma"], "von_mises": ["VonMises"],
    }  # fmt: skip
    lower, x = f64(fastnn, [[2.0, 0.0], [0.3, 1.0]]), f64(fastnn, [1.0, 2.0])
    vectors = distributions.multivariate_normal
    inverse = fastnn.linalg.inv(lower @ lower.mT)
    np.testing.assert_allclose(vectors._batch_mahalanobis(lower, x).item(), (x @ inverse @ x).item())
    np.testing.assert_allclose(vectors._batch_mv(lower, x).numpy(), (lower @ x).numpy())
    np.testing.assert_allclose(vectors._precision_to_scale_tril(inverse).numpy(), lower.numpy(), atol=1e-12)
    for module, names in modules.items():
        found = __import__(f"fastnn.distributions.{module}", fromlist=["x"])
        for name in names:
            assert hasattr(found, name), (module, name)
