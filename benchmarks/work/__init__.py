"""Pieces of work, one file per operation: sizes, inputs, and how each library does it at its best.

A setup imports its library itself. fastnn's setups call ``need`` for the names they use, so that a
row whose layer does not exist yet is measured as soon as it does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import NotYet


def need(room: Any, *names: str) -> None:
    """Raise :class:`NotYet` unless a module of fastnn has all of these."""
    for name in names:
        if not hasattr(room, name):
            raise NotYet(f"{room.__name__.removeprefix('fastnn.')}.{name}")


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Normal random numbers, float32, the same in every process."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def labels(seed: int, classes: int, *shape: int) -> np.ndarray:
    """Random class labels, int64, the same in every process."""
    return np.random.default_rng([seed, classes, *shape]).integers(0, classes, shape)


def permutations(seed: int, rows: int) -> np.ndarray:
    """A random order of the rows, int64, the same in every process."""
    return np.random.default_rng([seed, rows]).permutation(rows)
