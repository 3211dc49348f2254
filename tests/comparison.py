"""Helpers of the tests above the kernels: make numbers, compare them with PyTorch and finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastnn


def assert_matches(
    found: np.ndarray, expected: np.ndarray, roundings: float = 4, least: float | None = 0.0
) -> None:
    """Same dtype, shape, NaN and infinities, and values up to rounding.

    Args:
        roundings: allowed error of each number, in roundings of the expected value (units of eps).
        least: minimum of the magnitude that is rounded, if values are differences of larger numbers; None for
            the largest expected value: for sums, whose error does not shrink where their terms cancel.
    """
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), "NaN in other places")
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite], "infinities")
    if not finite.any():
        return
    f, e = found[finite].astype(np.float64), expected[finite].astype(np.float64)
    scale = np.maximum(np.abs(e), np.abs(e).max() if least is None else least)
    info = np.finfo(found.dtype)
    allowed = roundings * (info.eps * scale + info.smallest_subnormal)
    worst = np.argmax(np.abs(f - e) - allowed)
    off = np.max(np.abs(f - e) / (info.eps * scale + info.tiny))
    assert (np.abs(f - e) <= allowed).all(), (
        f"{f[worst]} instead of {e[worst]}, {off:.3g} roundings off, {roundings:.3g} allowed"
    )


def relative_error(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The norm of the difference over the norm of the expected, of all these numbers as one vector."""
    f, e = (np.concatenate([np.ravel(a).astype(np.float64) for a in arrays]) for arrays in (found, expected))
    return float(np.linalg.norm(f - e) / np.linalg.norm(e))


def leaf(lib: Any, *values: float) -> Any:
    """A vector of fastnn or PyTorch that requires a gradient."""
    return lib.tensor(values, requires_grad=True)


def as_array(tensor: Any) -> np.ndarray:
    """A copy of the numbers of a tensor of fastnn or PyTorch."""
    return np.array(tensor.detach().numpy(), order="C")


def check_gradient(function: Callable[..., Any], *arrays: np.ndarray, step: float = 1e-6) -> None:
    """The gradient of ``(function(*tensors) * weights).sum()`` agrees with finite differences in a random direction.

    Computed in float64 with central differences. Their error is about ``step**2`` from the third derivative
    and ``eps / step`` from rounding.
    """
    rng = np.random.default_rng(sum(a.size for a in arrays))
    tensors = [fastnn.tensor(a.astype(np.float64), requires_grad=True) for a in arrays]
    out = function(*tensors)
    assert out.dtype is fastnn.float64
    weights = rng.standard_normal(tuple(out.shape))
    out.backward(fastnn.tensor(weights))
    directions = [rng.standard_normal(a.shape) for a in arrays]

    def along(distance: float) -> np.ndarray:
        moved = [fastnn.tensor(a + distance * d) for a, d in zip(arrays, directions, strict=True)]
        return as_array(function(*moved))

    numeric = ((along(step) - along(-step)) * weights).sum() / (2 * step)
    found = [as_array(t.grad) for t in tensors if t.grad is not None]
    assert len(found) == len(tensors), "an operand got no gradient"
    analytic = sum((g * d).sum() for g, d in zip(found, directions, strict=True))
    size = sum(np.abs(g * d).sum() for g, d in zip(found, directions, strict=True))
    magnitude = max(1.0, float(np.abs(weights * as_array(out)).sum()))
    allowed = 1e-8 * size + 1e-9 * magnitude
    assert abs(analytic - numeric) <= allowed, f"{analytic} by backward, {numeric} by differences"


def same_kind_of_error(found: BaseException, expected: BaseException) -> bool:
    """Whether ``except`` for PyTorch's error catches ours. NotImplementedError is its RuntimeError for a dtype."""
    kind = RuntimeError if isinstance(expected, RuntimeError) else type(expected)
    return isinstance(found, kind)
