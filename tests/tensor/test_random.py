"""Random numbers: seeds, and their effects."""

from __future__ import annotations

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import random
from fastnn.utils.data import DataLoader, TensorDataset

# Recorded with NumPy 2.4.
STREAM = [-0.48845324, -0.25845081, -0.38857415, 0.06441462, -0.24617726, -0.30494943]
PERMUTATION = [4, 5, 0, 1, 2, 3]


def draw() -> list[float]:
    return fastnn.nn.Linear(4, 3).weight.reshape(-1).tolist()


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, -(2**63), 2**64 - 1, np.int64(7)])
def test_same_seed_same_numbers(seed):
    results = []
    for _ in range(2):
        fastnn.manual_seed(seed)
        results.append((draw(), draw()))
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


def test_the_stream_is_fixed():
    """NumPy's Philox: the same numbers on every machine and in every version."""
    fastnn.manual_seed(0)
    layer = fastnn.nn.Linear(4, 2)
    np.testing.assert_allclose(as_array(layer.weight)[0], STREAM[:4], rtol=1e-6)
    np.testing.assert_allclose(as_array(layer.bias), STREAM[4:], rtol=1e-6)
    assert fastnn.Generator().manual_seed(3).permutation(6).tolist() == PERMUTATION


def test_other_seed_other_numbers():
    seen = set()
    for seed in (0, 1, 2, -1, 2**63):
        fastnn.manual_seed(seed)
        seen.add(tuple(draw()))
    assert len(seen) == 5


def test_manual_seed_returns_the_generator(lib):
    assert isinstance(lib.manual_seed(3), lib.Generator)
    assert lib.manual_seed(3).initial_seed() == 3


def test_generator(lib):
    g = lib.Generator()
    assert g.manual_seed(5) is g
    assert g.initial_seed() == 5
    assert g.seed() == g.initial_seed()
    assert lib.Generator(device="cpu").manual_seed(-1).initial_seed() in (-1, 2**64 - 1)
    with pytest.raises(RuntimeError):
        lib.Generator(device="cuda")


def test_seeds_of_the_system_differ():
    g = fastnn.Generator()
    assert len({g.seed() for _ in range(10)}) == 10


def test_generators_start_alike():
    a, b = fastnn.Generator(), fastnn.Generator()
    assert a.permutation(100).tolist() == b.permutation(100).tolist()


def test_generators_are_apart():
    g = fastnn.Generator().manual_seed(1)
    expected = fastnn.Generator().manual_seed(1).permutation(20).tolist()
    fastnn.manual_seed(0)
    first = draw()
    fastnn.manual_seed(0)
    assert g.permutation(20).tolist() == expected
    assert draw() == first


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutation(count):
    p = fastnn.Generator().manual_seed(2).permutation(count)
    assert p.dtype == np.int64
    assert sorted(p) == list(range(count))
    assert count < 1000 or (p != np.arange(count)).mean() > 0.9


def test_permutations_are_uniform():
    """Six orders of three, 6,000 draws: a deviation of 5 standard deviations has odds of 1 in a million."""
    g = fastnn.Generator().manual_seed(0)
    _, counts = np.unique([g.permutation(3) for _ in range(6000)], axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(6000 / 6 * 5 / 6)


@pytest.mark.parametrize("seed", [1.0, "1", None, True, [1]])
def test_seed_that_is_no_integer(seed):
    with pytest.raises(TypeError, match="seed must be an integer"):
        fastnn.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_seed_out_of_range(lib, seed):
    with pytest.raises(ValueError, match=r"seed|long"):
        lib.Generator().manual_seed(seed)


def test_a_failed_seed_changes_nothing():
    g = fastnn.Generator().manual_seed(4)
    with pytest.raises(ValueError, match="seed"):
        g.manual_seed(2**70)
    assert g.initial_seed() == 4
    assert g.permutation(9).tolist() == fastnn.Generator().manual_seed(4).permutation(9).tolist()


def test_default_generator_shuffles(lib):
    data = lib.utils.data.TensorDataset(lib.tensor(np.arange(50)))
    orders = []
    for _ in range(2):
        lib.manual_seed(3)
        loader = lib.utils.data.DataLoader(data, batch_size=50, shuffle=True)
        orders.append([batch.tolist() for _ in range(3) for (batch,) in loader])
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]
    assert all(sorted(order) == list(range(50)) for order in orders[0])


def test_runs_without_a_seed_differ(monkeypatch):
    monkeypatch.setattr(random, "_shared", fastnn.Generator())
    random._shared.seed()
    first = draw()
    random._shared.seed()
    assert draw() != first


def test_own_generator_leaves_the_default_alone():
    fastnn.manual_seed(0)
    first = draw()
    fastnn.manual_seed(0)
    loader = DataLoader(TensorDataset(fastnn.zeros(9)), shuffle=True, generator=fastnn.Generator())
    assert len(list(loader)) == 9
    assert draw() == first
