"""Axes of charts: round ticks in order, all values inside, whatever the values are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.report.scales import epochs, linear, logarithmic, percentages

NUMBERS = st.floats(-1e300, 1e300) | st.floats(-100, 100) | st.sampled_from([math.nan, math.inf, 0.0, 1e-320, 1e300])


def is_round(step: float) -> bool:
    digits = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    return min(abs(digits - good) for good in (1, 2, 5, 10)) < 1e-6


@settings(deadline=None, max_examples=200)
@given(st.lists(NUMBERS, min_size=1, max_size=8), st.integers(3, 20))
def test_ticks_are_round_and_hold_all_values(numbers: list[float], count: int) -> None:
    values = np.array(numbers)
    scale = linear(values, count)
    places = scale.places(values[np.isfinite(values)])
    assert ((places > -1e-9) & (places < 1 + 1e-9)).all()
    assert 2 <= len(scale.ticks) <= 3 * count + 3
    assert len(set(scale.labels)) == len(scale.ticks) == len(scale.labels)
    steps = np.diff(scale.ticks)
    assert (steps > 0).all()
    assert is_round(steps[0]) or abs(scale.ticks[0]) > 1e9 * steps[0]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(1e-280, 1e300), min_size=1, max_size=8))
def test_logarithmic_ticks_hold_all_values(numbers: list[float]) -> None:
    values = np.array(numbers)
    scale = logarithmic(values)
    places = scale.places(values)
    assert ((places > -1e-9) & (places < 1 + 1e-9)).all()
    assert 2 <= len(scale.ticks) <= 12
    assert len(set(scale.labels)) == len(scale.ticks)
    assert np.isnan(scale.places(np.array([0.0, -1.0]))).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 100, 101, 12345])
def test_epochs_begin_at_the_first(count: int) -> None:
    scale = epochs(np.arange(1.0, count + 1))
    assert scale.labels[0] == "1"
    assert all(tick == int(tick) for tick in scale.ticks)
    assert len(scale.ticks) <= 8


def test_percentages_end_at_100() -> None:
    for values in ([100.0], [99.93, 100.0], [0.0], [50.0, 50.0], [0.0, 100.0]):
        scale = percentages(np.array(values))
        assert scale.low >= 0, values
        assert scale.high <= 100, values
