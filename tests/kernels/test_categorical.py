"""Kernels of categorical distributions against NumPy in float64, finite differences, and guard pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import (
    DTYPES,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    check_gradient,
    cut_in,
    guarded,
)

from fastnn.kernels import (
    categorical_draw,
    categorical_entropy_backward,
    categorical_entropy_forward,
    categorical_log_prob_backward,
    categorical_log_prob_forward,
    normalize_backward,
    normalize_forward,
)

SHAPES = [(1, 1), (1, 2), (3, 7), (64, 10), (5, 16), (2, 1023), (0, 4), (4, 0)]


def _weights(shape: tuple[int, int], dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 2, shape).astype(dtype)


def _probabilities(shape: tuple[int, int], dtype: Any = np.float64) -> np.ndarray:
    w = _weights(shape)
    return (w / w.sum(1, keepdims=True)).astype(dtype)


def _index(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, max(columns, 1), rows)


def _filled(shape: Any, dtype: Any) -> np.ndarray:
    return np.full(shape, np.nan, dtype)


def _inside(p: np.ndarray, dtype: Any) -> np.ndarray:
    eps = np.finfo(dtype).eps.astype(np.float64)
    return np.clip(p, eps, 1 - eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normalization(shape: tuple[int, int], dtype: Any) -> None:
    x, dy = _weights(shape, dtype), np.random.default_rng(2).standard_normal(shape).astype(dtype)
    out, dx = _filled(shape, dtype), _filled(shape, dtype)
    wrong = normalize_forward(out, x)
    exact, slope = x.astype(np.float64), dy.astype(np.float64)
    total = exact.sum(1, keepdims=True)
    expected = exact / total
    assert_close(out, expected, dtype, roundings=2 + shape[1], magnitude=expected)
    # No row of no element has a sum of 1.
    assert wrong == (0 if shape[1] else shape[0])
    normalize_backward(dx, dy, x)
    mean = (slope * expected).sum(1, keepdims=True)
    size = (np.abs(slope) + np.abs(slope * expected).sum(1, keepdims=True)) / total
    assert_close(dx, (slope - mean) / total, dtype, roundings=4 + 2 * shape[1], magnitude=size)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_are_no_probabilities_are_counted(dtype: Any) -> None:
    inf, nan = np.inf, np.nan
    rows = [[1, 1], [-1, 3], [nan, 1], [0, 0], [inf, 1], [1, 0], [0.5, -0.25], [0, 2]]
    x = np.array(rows, dtype)
    out = np.empty_like(x)
    assert normalize_forward(out, x) == 5
    with np.errstate(all="ignore"):
        assert np.array_equal(out, x / x.sum(1, keepdims=True), equal_nan=True)
    with cut_in(3):
        assert normalize_forward(out, x) == 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logarithms", [False, True])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_log_probability(shape: tuple[int, int], times: int, logarithms: bool, dtype: Any) -> None:
    p = _probabilities(shape, dtype)
    x = np.log(p) if logarithms else p
    batch, columns = shape
    index = _index(batch * times, columns)
    out, dx, dy = _filled(len(index), dtype), _filled(shape, dtype), np.linspace(-1, 1, len(index)).astype(dtype)
    assert categorical_log_prob_forward(out, x, index, logarithms) == 0
    rows = np.arange(len(index)) % max(batch, 1)
    chosen = x.astype(np.float64)[rows, index] if batch else np.zeros(0)
    expected = chosen if logarithms else np.log(_inside(chosen, dtype))
    assert_close(out, expected, dtype, roundings=2, magnitude=np.abs(expected) + 1)
    categorical_log_prob_backward(dx, dy, x, index, logarithms)
    slopes, sizes = np.zeros(shape), np.zeros(shape)
    slope = 1 if logarithms else (chosen == _inside(chosen, dtype)) / np.maximum(chosen, 1e-300)
    each = dy.astype(np.float64) * slope
    np.add.at(slopes, (rows, index), each)
    np.add.at(sizes, (rows, index), np.abs(each))
    assert_close(dx, slopes, dtype, roundings=2 + times, magnitude=sizes)


def test_indices_out_of_range_are_counted() -> None:
    x, index = _probabilities((4, 3)), np.array([0, 3, -1, 2])
    out, dx = np.full(4, 9.0), np.full((4, 3), 9.0)
    assert categorical_log_prob_forward(out, x, index, False) == 2
    assert out[1] == out[2] == 9
    categorical_log_prob_backward(dx, np.ones(4), x, index, False)
    assert np.array_equal(dx != 0, [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]])
    with cut_in(3):
        assert categorical_log_prob_forward(out, x, index, False) == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logarithms", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_entropy(shape: tuple[int, int], logarithms: bool, dtype: Any) -> None:
    p = _probabilities(shape, dtype)
    if shape[1] > 1:
        # A probability of 0, and its logarithm of -infinity, add nothing.
        p[:, -1] = 0
    with np.errstate(divide="ignore"):
        x = np.log(p) if logarithms else p
    out, dx, dy = _filled(shape[0], dtype), _filled(shape, dtype), np.linspace(-1, 1, shape[0]).astype(dtype)
    categorical_entropy_forward(out, x, logarithms)
    exact = x.astype(np.float64)
    p, log = (np.exp(exact), np.maximum(exact, np.finfo(dtype).min)) if logarithms else (
        exact, np.log(_inside(exact, dtype))
    )  # fmt: skip
    expected = -(p * log).sum(1)
    assert_close(out, expected, dtype, roundings=4 + shape[1], magnitude=np.abs(p * log).sum(1) + p.sum(1))
    categorical_entropy_backward(dx, dy, out, x, logarithms)
    inside = exact == _inside(exact, dtype)
    slope = np.where(np.isinf(exact), 0, p * (1 + log + expected[:, None])) if logarithms else log + inside
    size = (p if logarithms else 1) * (1 + np.abs(np.where(np.isinf(exact), 0, log)) + np.abs(expected)[:, None])
    assert_close(
        dx, -dy.astype(np.float64)[:, None] * slope, dtype, roundings=8 + shape[1],
        magnitude=np.abs(dy.astype(np.float64))[:, None] * size,
    )  # fmt: skip


@pytest.mark.parametrize("logarithms", [False, True])
def test_gradients_by_finite_differences(logarithms: bool) -> None:
    rng = np.random.default_rng(3)
    x, dy, index = _weights((5, 4)), rng.standard_normal((5, 4)), _index(10, 4)
    p = np.log(_probabilities((5, 4))) if logarithms else _probabilities((5, 4))

    def value(forward: Callable[..., Any], shape: Any, weights: np.ndarray, x: np.ndarray, *more: Any) -> float:
        out = _filled(shape, np.float64)
        forward(out, x, *more)
        return float(np.sum(weights * out))

    dx = _filled(x.shape, np.float64)
    normalize_backward(dx, dy, x)
    check_gradient(lambda x: value(normalize_forward, x.shape, dy, x), dx, x)
    weights = rng.standard_normal(10)
    categorical_log_prob_backward(dx, weights, p, index, logarithms)
    check_gradient(lambda x: value(categorical_log_prob_forward, 10, weights, x, index, logarithms), dx, p)
    if not logarithms:
        # That of logarithms goes through the softmax that makes probabilities of them.
        out, weights = _filled(5, np.float64), rng.standard_normal(5)
        categorical_entropy_forward(out, p, False)
        categorical_entropy_backward(dx, weights, out, p, False)
        check_gradient(lambda x: value(categorical_entropy_forward, 5, weights, x, False), dx, p)


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws(dtype: Any) -> None:
    w = _weights((6, 9), dtype)
    w[0, -3:], w[1, :4], w[2] = 0, 0, np.eye(9)[4]
    points = np.random.default_rng(0).random((6, 50))
    points[:, 0], points[:, 1] = 0, np.nextafter(1, 0)
    out = np.full((6, 50), -1)
    assert categorical_draw(out, w, points) == 0
    sums = np.cumsum(w.astype(np.float64), 1)
    for i in range(6):
        expected = np.searchsorted(sums[i], points[i] * sums[i, -1], side="right")
        assert np.array_equal(out[i], np.minimum(expected, np.flatnonzero(w[i])[-1]))
    assert (np.take_along_axis(w, out, 1) > 0).all()


def test_weights_that_cannot_be_drawn_from_are_counted() -> None:
    w = np.array([[1, 1], [0, 0], [-1, 2], [np.nan, 1], [np.inf, 1], [0, 1]])
    out = np.full((6, 2), 7)
    assert categorical_draw(out, w, np.full((6, 2), 0.5)) == 4
    assert np.array_equal(out, [[1, 1], [7, 7], [7, 7], [7, 7], [7, 7], [1, 1]])
    assert categorical_draw(np.empty((2, 1), np.int64), np.empty((2, 0)), np.zeros((2, 1))) == 2


# -- Memory, threads and errors -----------------------------------------------------------------


def _launches(dtype: Any = np.float32) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each function with good arguments."""
    x, p = _weights((7, 5), dtype), _probabilities((7, 5), dtype)
    rows, index = np.ones(7, dtype), _index(14, 5)
    return {
        "normalize": (normalize_forward, {"out": x.copy(), "x": x}),
        "normalize backward": (normalize_backward, {"dx": x.copy(), "dy": x, "x": x}),
        "log prob": (
            categorical_log_prob_forward, {"out": np.ones(14, dtype), "x": p, "index": index, "logarithms": False}
        ),
        "log prob backward": (
            categorical_log_prob_backward,
            {"dx": x.copy(), "dy": np.ones(14, dtype), "x": p, "index": index, "logarithms": False},
        ),
        "entropy": (categorical_entropy_forward, {"out": rows.copy(), "x": p, "logarithms": False}),
        "entropy backward": (
            categorical_entropy_backward, {"dx": x.copy(), "dy": rows, "out": rows, "x": p, "logarithms": False}
        ),
        "draw": (
            categorical_draw, {"out": np.zeros((7, 3), np.int64), "weights": x, "points": np.full((7, 3), 0.3)}
        ),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", _launches())
def test_memory_around(name: str, dtype: Any) -> None:
    run, good = _launches(dtype)[name]
    run(**good)
    with cut_in(3):
        for side in ("start", "end"):
            given = {key: guarded(a, side) if isinstance(a, np.ndarray) else a for key, a in good.items()}
            run(**given)
            first = next(iter(good))
            assert_same_bits(given[first], good[first])


@pytest.mark.parametrize("name", _launches())
def test_same_bits_in_any_parts(name: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 1, (301, 37)).astype(np.float32)
    run, good = _launches()[name]
    large: dict[str, Any] = {
        key: a if not isinstance(a, np.ndarray)
        else rng.random((301, 4)) if key == "points"
        else np.zeros((301, 4), np.int64) if name == "draw" and key == "out"
        else rng.integers(0, 37, 602) if key == "index"
        else x.copy() if a.shape == (7, 5)
        else np.ones(43 * len(a), a.dtype)
        for key, a in good.items()
    }  # fmt: skip
    first = next(iter(large))

    def result() -> tuple[np.ndarray]:
        run(**large)
        return (large[first],)

    assert_same_bits_in_any_parts(result)


# Versions of an argument that fit the others.
_VALID = {
    ("log prob", "x"): ("a column more", "a column less"),
    ("entropy", "x"): ("a column more", "a column less"),
    ("draw", "weights"): ("another dtype", "a column more", "a column less"),
}


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, key) for name, (_, good) in _launches().items() for key, a in good.items() if isinstance(a, np.ndarray)],
)
def test_wrong_arrays_are_refused(name: str, argument: str) -> None:
    run, good = _launches()[name]
    assert_refuses(run, good, argument, _VALID.get((name, argument), ()), output=argument == next(iter(good)))
