"""Tensors of random numbers: distribution, shape and dtype, errors. The numbers are not PyTorch's."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from comparison import as_array, same_kind_of_error

import fastnn
from fastnn.kernels.runtime import thread_count

MANY = 20_000

# Name, draw, mean and standard deviation of one number.
DRAWS: list[tuple[str, Any, float, float]] = [
    ("rand", lambda lib, n: lib.rand(n), 0.5, math.sqrt(1 / 12)),
    ("randn", lambda lib, n: lib.randn(n), 0, 1),
    ("randint", lambda lib, n: lib.randint(2, 8, (n,)).double(), 4.5, math.sqrt(35 / 12)),
    ("rand_like", lambda lib, n: lib.rand_like(lib.zeros(n)), 0.5, math.sqrt(1 / 12)),
    ("randn_like", lambda lib, n: lib.randn_like(lib.zeros(n)), 0, 1),
    ("normal", lambda lib, n: lib.normal(3.0, 2.0, (n,)), 3, 2),
    ("normal_tensor", lambda lib, n: lib.normal(lib.ones(n), lib.ones(n) * 2), 1, 2),
    ("normal_mean", lambda lib, n: lib.normal(lib.ones(n), 0.5), 1, 0.5),
    ("normal_std", lambda lib, n: lib.normal(2.0, lib.ones(n)), 2, 1),
    ("bernoulli", lambda lib, n: lib.bernoulli(lib.ones(n) * 0.3), 0.3, math.sqrt(0.21)),
    ("poisson", lambda lib, n: lib.poisson(lib.ones(n) * 4), 4, 2),
    ("uniform_", lambda lib, n: lib.zeros(n).uniform_(-1, 3), 1, math.sqrt(16 / 12)),
    ("normal_", lambda lib, n: lib.zeros(n).normal_(1, 2), 1, 2),
    ("bernoulli_", lambda lib, n: lib.zeros(n).bernoulli_(0.8), 0.8, 0.4),
    ("bernoulli_tensor_", lambda lib, n: lib.zeros(n).bernoulli_(lib.ones(n) * 0.8), 0.8, 0.4),
    ("exponential_", lambda lib, n: lib.zeros(n).exponential_(2.0), 0.5, 0.5),
    ("random_", lambda lib, n: lib.zeros(n).random_(1, 4), 2, math.sqrt(2 / 3)),
    ("geometric_", lambda lib, n: lib.zeros(n).geometric_(0.25), 4, math.sqrt(12)),
    ("log_normal_", lambda lib, n: lib.zeros(n).log_normal_(0.0, 0.5).log(), 0, 0.5),
    ("cauchy_", lambda lib, n: (lib.zeros(n).cauchy_(1.0, 2.0) > 1.0).double(), 0.5, 0.5),
    ("multinomial", lambda lib, n: lib.multinomial(lib.tensor([1.0, 0.0, 3.0]), n, True).double(), 1.5,
     math.sqrt(0.75)),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "mean", "std"), [d[1:] for d in DRAWS], ids=[d[0] for d in DRAWS])
def test_distribution(draw, mean, std):
    """Mean within 5 of its standard deviations; the variance within 10% (or what its own spread allows)."""
    values = as_array(draw(fastnn, MANY)).astype(np.float64)
    assert values.shape == (MANY,)
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(MANY)
    assert abs(values.var() / std**2 - 1) < 0.1


@pytest.mark.parametrize(("draw", "mean", "std"), [d[1:] for d in DRAWS], ids=[d[0] for d in DRAWS])
def test_same_seed_same_numbers_at_any_number_of_threads(draw, mean, std):
    found, before = [], thread_count.get_num_threads()
    try:
        for threads in (1, 2, 2):
            thread_count.set_num_threads(threads)
            fastnn.manual_seed(5)
            found.append(as_array(draw(fastnn, 50)))
    finally:
        thread_count.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], as_array(draw(fastnn, 50)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda lib, g: lib.rand(2, 3, generator=g), lambda lib, g: lib.rand((2, 3), generator=g),
        lambda lib, g: lib.randn([2, 3], generator=g, dtype=lib.float64), lambda lib, g: lib.randn((), generator=g),
        lambda lib, g: lib.randn(0, 2, generator=g), lambda lib, g: lib.randn(2, requires_grad=True, generator=g),
        lambda lib, g: lib.randint(5, (2, 3), generator=g), lambda lib, g: lib.randint(-5, 5, [4], generator=g),
        lambda lib, g: lib.randint(low=1, high=3, size=(2,), generator=g),
        lambda lib, g: lib.randint(high=3, size=(2,), generator=g),
        lambda lib, g: lib.randint(0, 2, (3,), dtype=lib.float32, generator=g),
        lambda lib, g: lib.randint(0, 2, (3,), dtype=lib.uint8, generator=g),
        lambda lib, g: lib.randperm(5, generator=g), lambda lib, g: lib.randperm(0, generator=g),
        lambda lib, g: lib.randperm(4, dtype=lib.float32, generator=g),
        lambda lib, g: lib.randperm(4, dtype=lib.int32, generator=g),
        lambda lib, g: lib.rand_like(lib.zeros(2, 3)), lambda lib, g: lib.randn_like(lib.zeros(2), dtype=lib.float64),
        lambda lib, g: lib.randint_like(lib.zeros(2, 3), 5), lambda lib, g: lib.randint_like(lib.tensor([1, 2]), 1, 5),
        lambda lib, g: lib.normal(0.0, 1.0, (2, 3), generator=g), lambda lib, g: lib.normal(mean=0, std=1, size=(2,)),
        lambda lib, g: lib.normal(lib.zeros(2, 1), lib.ones(3), generator=g),
        lambda lib, g: lib.normal(lib.zeros(2, dtype=lib.float64), 1.0), lambda lib, g: lib.normal(0.0, lib.ones(2)),
        lambda lib, g: lib.normal(lib.zeros(3)),
        lambda lib, g: lib.bernoulli(lib.ones(2, 3) * 0.5, generator=g), lambda lib, g: lib.bernoulli(lib.zeros(0)),
        lambda lib, g: lib.bernoulli(lib.zeros(2, dtype=lib.float64), 0.5),
        lambda lib, g: lib.zeros(3).bernoulli(0.5), lambda lib, g: lib.zeros(3, dtype=lib.int64).bernoulli_(0.5),
        lambda lib, g: lib.poisson(lib.ones(2, 2), generator=g),
        lambda lib, g: lib.multinomial(lib.ones(4), 3, generator=g),
        lambda lib, g: lib.multinomial(lib.ones(5, 4), 3), lambda lib, g: lib.ones(5, 4).multinomial(1),
        lambda lib, g: lib.multinomial(lib.ones(2, 3), 7, replacement=True),
        lambda lib, g: lib.zeros(2, 3).uniform_(generator=g), lambda lib, g: lib.zeros(2).uniform_(1.0, to=2.0),
        lambda lib, g: lib.zeros(2).uniform_(2.0, 2.0), lambda lib, g: lib.zeros(2).random_(10),
        lambda lib, g: lib.zeros(2).random_(), lambda lib, g: lib.tensor([True]).random_(),
        lambda lib, g: lib.tensor([1, 2]).random_(-3, 4), lambda lib, g: lib.tensor([1, 2]).geometric_(0.5),
        lambda lib, g: lib.zeros(2, dtype=lib.float64).normal_(), lambda lib, g: lib.zeros(()).exponential_(),
        lambda lib, g: lib.zeros(3)[::2].log_normal_(), lambda lib, g: lib.zeros(2).cauchy_(),
    ],
)  # fmt: skip
def test_form(lib, draw):
    """Shape, dtype and ``requires_grad`` are PyTorch's."""
    found = draw(fastnn, fastnn.Generator())
    assert isinstance(found, fastnn.Tensor)
    if lib is not fastnn:
        expected = draw(lib, lib.Generator())
        assert (tuple(found.shape), found.requires_grad) == (tuple(expected.shape), expected.requires_grad)
        assert str(found.dtype) == str(expected.dtype)


@pytest.mark.parametrize(
    "draw",
    [
        lambda lib: lib.rand(-1), lambda lib: lib.rand(), lambda lib: lib.randn(),
        lambda lib: lib.rand(2, dtype=lib.int64), lambda lib: lib.randn(2, dtype=lib.int64),
        lambda lib: lib.randint(3, 3, (2,)), lambda lib: lib.randint(0, (2,)), lambda lib: lib.randint(5),
        lambda lib: lib.randint(0, 300, (2,), dtype=lib.uint8), lambda lib: lib.randperm(-1),
        lambda lib: lib.randperm(2.5), lambda lib: lib.rand(2, device="cuda"), lambda lib: lib.normal(0.0, 1.0),
        lambda lib: lib.normal(lib.zeros(2), -lib.ones(2)), lambda lib: lib.normal(0.0, -1.0, (2,)),
        lambda lib: lib.normal(lib.zeros(2), lib.ones(3)), lambda lib: lib.bernoulli(lib.tensor([0.5, 1.5])),
        lambda lib: lib.bernoulli(lib.tensor([float("nan")])), lambda lib: lib.bernoulli(lib.tensor([0, 1])),
        lambda lib: lib.poisson(lib.tensor([-1.0])), lambda lib: lib.multinomial(lib.zeros(3), 1),
        lambda lib: lib.multinomial(lib.tensor([1.0, -1.0]), 1), lambda lib: lib.multinomial(lib.ones(3), 4),
        lambda lib: lib.multinomial(lib.ones(3), 0), lambda lib: lib.multinomial(lib.ones(2, 2, 2), 1),
        lambda lib: lib.multinomial(lib.tensor([1.0, float("inf")]), 1),
        lambda lib: lib.multinomial(lib.tensor([1, 2]), 1),
        lambda lib: lib.zeros(2).uniform_(2, 1), lambda lib: lib.tensor([1]).uniform_(),
        lambda lib: lib.zeros(2).normal_(0, -1), lambda lib: lib.tensor([1]).normal_(),
        lambda lib: lib.zeros(2).exponential_(0), lambda lib: lib.zeros(2).geometric_(0),
        lambda lib: lib.zeros(2).geometric_(1.5), lambda lib: lib.zeros(2).log_normal_(0, 0),
        lambda lib: lib.zeros(2).cauchy_(0, 0), lambda lib: lib.zeros(2).random_(3, 3),
        lambda lib: lib.zeros(2).bernoulli_(2), lambda lib: lib.rand(2, requires_grad=True).uniform_(),
        lambda lib: lib.rand(2, generator=3),
    ],
)  # fmt: skip
def test_what_does_not_fit(lib, draw):
    with pytest.raises((RuntimeError, TypeError, AssertionError, ValueError)) as caught:
        draw(lib)
    if lib is not fastnn:
        with pytest.raises(Exception) as ours:  # noqa: PT011  # of the same kind as PyTorch's
            draw(fastnn)
        assert same_kind_of_error(ours.value, caught.value), f"{ours.value!r} is no {caught.value!r}"


def test_uniform_stays_below_its_bound():
    # One step of float32 above 1: in a naive formula a third of the sums is rounded up to it.
    high = float(np.nextafter(np.float32(1), np.float32(2)))
    assert (fastnn.zeros(1000).uniform_(1.0, high).numpy() == 1).all()
    values = fastnn.zeros(1000).uniform_(-5, -5 + 1e-6).numpy()
    assert (values >= -5).all()
    assert (values < np.float32(-5 + 1e-6)).all()


def test_integers_reach_both_ends():
    assert set(fastnn.randint(-2, 3, (500,)).tolist()) == {-2, -1, 0, 1, 2}
    assert set(fastnn.zeros(200, dtype=fastnn.bool).random_().tolist()) == {False, True}
    assert fastnn.randint(2**63 - 2, 2**63 - 1, (3,)).tolist() == [2**63 - 2] * 3
    assert min(fastnn.zeros(100, dtype=fastnn.int8).random_().tolist()) >= 0


def test_multinomial_draws_each_row_by_its_own_weights():
    weights = fastnn.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [1.0, 0.0, 0.0]])
    for count, replacement in ((1, False), (1, True), (5, True)):
        drawn = fastnn.multinomial(weights, count, replacement)
        assert drawn.tolist() == [[1] * count, [2] * count, [0] * count]


def test_multinomial_without_replacement():
    """Each ordered pair of three has the probability p_i p_j / (1 - p_i), within 5 standard deviations."""
    p = np.array([0.2, 0.3, 0.5])
    drawn = fastnn.multinomial(fastnn.tensor(np.tile(p, (MANY, 1))), 2).numpy()
    for i, j in itertools.permutations(range(3), 2):
        expected = p[i] * p[j] / (1 - p[i])
        found = ((drawn[:, 0] == i) & (drawn[:, 1] == j)).mean()
        assert abs(found - expected) < 5 * math.sqrt(expected / MANY)


def test_multinomial_avoids_what_is_impossible():
    weights = fastnn.tensor(np.where(np.arange(1000) % 2, 1.0, 0.0))
    assert (fastnn.multinomial(weights, 5000, replacement=True).numpy() % 2 == 1).all()
    assert (fastnn.multinomial(weights, 500).numpy() % 2 == 1).all()


def test_in_place_methods_write_into_a_view():
    x = fastnn.zeros(4, 2)
    assert x[1:3].uniform_(1, 2) is not x
    assert (x.numpy()[1:3] >= 1).all()
    assert not x.numpy()[[0, 3]].any()
    p = fastnn.nn.Linear(3, 2).weight
    with fastnn.no_grad():
        assert p.normal_() is p


def test_gradient_of_a_filled_tensor(lib):
    x = lib.ones(3, requires_grad=True)
    (x * 2).uniform_().sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_out(lib):
    x = lib.zeros(3)
    assert lib.rand(3, out=x) is x
    assert x.tolist() != [0.0] * 3
    with pytest.raises(RuntimeError):
        lib.randn(3, out=lib.zeros(3, dtype=lib.int64))


# -- State ------------------------------------------------------------------------------------


def test_state(lib):
    for kind in ("rand", "randn", "randperm"):
        draw = getattr(lib, kind)
        # An odd number of draws, so that half a word remains.
        draw(3)
        state = lib.get_rng_state()
        assert (state.dtype, state.ndim) == (lib.uint8, 1)
        first = [draw(3).tolist(), draw(5).tolist()]
        lib.set_rng_state(state)
        assert [draw(3).tolist(), draw(5).tolist()] == first


def test_state_of_a_generator(lib):
    g = lib.Generator().manual_seed(4)
    lib.rand(3, generator=g)
    h = g.clone_state() if lib is fastnn else lib.Generator().set_state(g.get_state())
    assert lib.rand(4, generator=g).tolist() == lib.rand(4, generator=h).tolist()
    assert h.initial_seed() == 4
    assert h.device == lib.device("cpu")


def test_a_state_that_is_none(lib):
    g = lib.Generator()
    for wrong in (lib.zeros(3), lib.zeros(3, dtype=lib.uint8), "state"):
        with pytest.raises((TypeError, RuntimeError)):
            g.set_state(wrong)
    broken = fastnn.get_rng_state().clone()
    broken[96] = 9
    with pytest.raises(RuntimeError, match="state"):
        fastnn.set_rng_state(broken)


def test_fork_rng(lib):
    lib.manual_seed(1)
    with lib.random.fork_rng():
        inside = lib.rand(2).tolist()
    assert lib.rand(2).tolist() == inside
    with lib.random.fork_rng(enabled=False):
        inside = lib.rand(2).tolist()
    assert lib.rand(2).tolist() != inside


def test_seeds(lib):
    lib.manual_seed(12)
    assert lib.initial_seed() == 12
    assert lib.seed() == lib.initial_seed()
    assert lib.manual_seed(3.0).initial_seed() == 3
    assert lib.random.initial_seed() == 3
    assert lib.default_generator.initial_seed() == 3
