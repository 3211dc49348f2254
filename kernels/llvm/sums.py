"""Sums of arrays in vectors: the terms may be added in any order, as long as only the sum is returned."""

from __future__ import annotations

from fastnn.kernels.runtime.compiler import FAST, inline


@inline(fastmath=FAST)
def sum_of(x):
    """``sum(x)``."""
    total = x.dtype.type(0)
    for j in range(x.size):
        total += x[j]
    return total


@inline(fastmath=FAST)
def sum_of_products(x, y):
    """``sum(x * y)``."""
    total = x.dtype.type(0)
    for j in range(x.size):
        total += x[j] * y[j]
    return total
