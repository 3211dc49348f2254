"""The numbers of ``kernels/llvm/random.py``: statistics of bits and masks, and vector code."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import IS_X86, count_packed, loop_register
from numba import njit
from scipy import stats

from fastnn.kernels import dropout_forward
from fastnn.kernels.activation.dropout import _DROPOUT
from fastnn.kernels.llvm.random import random_bits, random_keys

SIZE = 1 << 16


@njit(error_model="numpy")
def _bits(out, state):
    key0, key1 = random_keys(state)
    for i in range(out.size):
        out[i] = random_bits(i, key0, key1)


def bits(seed: int, call: int, size: int = SIZE) -> np.ndarray:
    out = np.empty(size, np.uint32)
    _bits(out, np.array([seed, call], np.int64))
    return out


def masks(seed: int, calls: range, p: float, size: int = SIZE) -> np.ndarray:
    out = np.ones((len(calls), size), np.float32)
    for row, call in zip(out, calls, strict=True):
        dropout_forward(row, row, np.array([seed, call]), p)
    return out != 0


def pvalue(z: float) -> float:
    return 2 * float(stats.norm.sf(abs(z)))


# With about 200 tests below and fixed seeds, one p-value below this is expected in 500 suites.
LEAST = 1e-5


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2**62, -1])
def test_masks_have_their_probability(p, seed):
    found = masks(seed, range(1, 65), p)
    n = found.size
    assert pvalue((found.sum() - n * (1 - p)) / np.sqrt(n * p * (1 - p))) > LEAST
    # The frequencies of every position and of every call are consistent with chance.
    for axis in (0, 1):
        count = found.shape[axis]
        chi = ((found.sum(axis) - count * (1 - p)) ** 2 / (count * p * (1 - p))).sum()
        degrees = found.shape[1 - axis]
        assert LEAST < stats.chi2.sf(chi, degrees) < 1 - LEAST


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 16, 64, 100, 128, 256, 512, 784, 1024, 4096, 32768])
def test_masks_of_neighbours_are_independent(lag):
    """Neighbours in a row, in a column (any width is a lag), and in other calls and seeds at the same place."""
    found = masks(3, range(1, 33), 0.3)
    for first, second in (
        (found[:, :-lag], found[:, lag:]),
        (found[:-1, lag:], found[1:, :-lag]),
        (found, np.roll(masks(4, range(1, 33), 0.3), lag, axis=1)),
    ):
        n = first.size
        z = ((first & second).sum() - n * 0.49) / np.sqrt(n * 0.49 * 0.51)
        # The counts of overlapping pairs vary by 1 + 2 * 0.3 * 0.7 / 0.51 at most.
        assert pvalue(z / 1.4) > LEAST


@pytest.mark.parametrize("seed", [0, 12345])
def test_calls_and_seeds_that_follow_each_other(seed):
    """The sum of two masks at a position is as if drawn by one generator, for all pairs of 24 calls."""
    of_seeds = np.concatenate([masks(seed + s, range(1, 2), 0.5, 8192) for s in range(24)])
    for found in (masks(seed, range(1, 25), 0.5, 8192), of_seeds):
        signs = 2.0 * found - 1
        correlation = signs @ signs.T / np.sqrt(signs.shape[1])
        off = correlation[np.triu_indices(24, 1)]
        assert np.abs(off).max() < 5
        assert LEAST < stats.chi2.sf((off**2).sum(), off.size) < 1 - LEAST


@pytest.mark.parametrize("low", [8, 16, 24])
def test_bytes_are_uniform(low):
    for call in range(1, 9):
        counts = np.bincount((bits(7, call) >> low) & 255, minlength=256)
        assert LEAST < stats.chisquare(counts).pvalue < 1 - LEAST


def test_upper_bytes_of_neighbours_are_uniform_in_the_plane():
    upper = bits(9, 1, 1 << 20) >> 24
    for lag in (1, 2, 64, 256):
        pairs = (upper[:-lag] << 8 | upper[lag:])[::2]
        assert LEAST < stats.chisquare(np.bincount(pairs, minlength=65536)).pvalue < 1 - LEAST


def test_birthday_spacings():
    """G. Marsaglia: of 512 birthdays in 2**24 days, the spacings that occur twice have a Poisson distribution."""
    values = bits(5, 2, 512 * 512) >> 8
    spacings = np.sort(np.diff(np.sort(values.reshape(512, 512).astype(np.int64), axis=1), axis=1), axis=1)
    found = (np.diff(spacings, axis=1) == 0).sum()
    mean = 512 * 512**3 / (4 * 2**24)
    assert pvalue((found - mean) / np.sqrt(mean)) > LEAST


def test_flipping_a_bit_of_the_position_flips_half_of_the_mask():
    value = bits(21, 4, 1 << 20)
    for bit in range(20):
        other = value[np.arange(1 << 20) ^ (1 << bit)]
        for place in range(16, 32):
            share = ((value ^ other) >> place & 1).mean()
            # Each pair counts twice: 2**19 draws.
            assert pvalue((share - 0.5) * 2 * 2**9.5) > LEAST / 10, (bit, place)


def test_calls_do_not_repeat_each_other_shifted():
    first, second = bits(1, 1), bits(1, 2)
    assert len(np.intersect1d(first, second)) < 16
    assert len(np.unique(np.array([bits(s, c, 4) for s in range(40) for c in range(40)]), axis=0)) == 1600


def test_loops_are_vectorised():
    if not IS_X86:
        pytest.skip("reads x86-64 assembly")
    register = loop_register()
    code = _DROPOUT[np.dtype(np.float32)].build()
    code.compile()
    assembly = code._library.get_asm_str()
    assert count_packed(assembly, "mul", np.float32, register) > 0
    assert f"%{register}" in assembly[assembly.index("pmulld") :][:200]
