"""Axes with round numbers: the ends, ticks and labels of a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastnn.report.markup import power

# Beyond them differences of float64 overflow, or have few digits.
_LARGEST, _SMALLEST = 1e300, 1e-280


@dataclass(frozen=True)
class Scale:
    """A scale of an axis.

    Args:
        low, high: its ends.
        ticks: values of the ticks; ``labels``: their texts.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False

    def places(self, values: np.ndarray) -> np.ndarray:
        """Where values are, from 0 at the low end to 1 at the high one; NaN where they have no place."""
        values = np.asarray(values, np.float64)
        if self.log:
            values = np.log(np.where(values > 0, values, np.nan))
            return (values - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (values - self.low) / (self.high - self.low)


def linear(values: np.ndarray, count: int = 5, *, integers: bool = False, unit: str = "", pad: bool = True) -> Scale:
    """A scale with about ``count`` ticks at multiples of 1, 2 or 5 times a power of ten.

    Args:
        values: all that are shown; those that are not finite are left out.
        integers: ticks are at integers only.
        unit: added to each label.
        pad: the ends are ticks; otherwise they are the ends of the values.

    >>> linear(np.array([0.3, 9.1])).ticks
    (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    """
    low, high = _ends(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # One value: it is in the middle.
        margin = 0.5 if integers else 0.1 * abs(low) or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / count
    base = 10.0 ** math.floor(math.log10(raw))
    step = base * next(factor for factor in (1, 2, 5, 10) if factor * base >= raw * (1 - 1e-9))
    if integers:
        step = max(1.0, round(step))
    if pad:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    # A half step more: rounding may not lose the last one.
    ticks = step * np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 0.5)
    return Scale(low, high, tuple(float(tick) for tick in ticks), _labels(ticks, step, unit))


def percentages(values: np.ndarray) -> Scale:
    """A scale of percentages, which does not go beyond 0% and 100% if they do not.

    >>> percentages(np.array([100.0, 100.0])).labels
    ('95%', '96%', '97%', '98%', '99%', '100%')
    """
    low, high = _ends(values)
    if low >= 0 and high <= 100 and high - low < 1e-6:
        values = np.array([max(low - 5, 0.0), min(high + 5, 100.0)])
    return linear(values, 5, unit="%")


def epochs(numbers: np.ndarray) -> Scale:
    """A scale of epochs: round numbers, and the first.

    >>> epochs(np.arange(1.0, 31.0)).labels
    ('1', '5', '10', '15', '20', '25', '30')
    """
    scale = linear(numbers, 6, integers=True, pad=False)
    first = float(numbers[0])
    if scale.low != first or scale.ticks[0] == first:
        return scale
    gap = scale.ticks[1] - scale.ticks[0] if len(scale.ticks) > 1 else 1.0
    later = tuple(tick for tick in scale.ticks if tick - first >= 0.5 * gap)
    labels = tuple(label for tick, label in zip(scale.ticks, scale.labels, strict=True) if tick in later)
    return Scale(scale.low, scale.high, (first, *later), (f"{first:,.0f}", *labels))


def logarithmic(values: np.ndarray) -> Scale:
    """A logarithmic scale of positive values: ticks at powers of ten, and at 2 and 5 times them if these are few.

    >>> logarithmic(np.array([0.02, 3.0])).labels
    ('0.02', '0.05', '0.1', '0.2', '0.5', '1', '2', '5')
    """
    low, high = _ends(values[values >= _SMALLEST])
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    every = -(-(last - first) // 6)
    found = [factor * 10.0**e for e in range(first, last + 1, every) for factor in factors]
    inside = [tick for tick in found if tick > low * (1 - 1e-9)]
    below = [tick for tick in found if tick <= low * (1 + 1e-9)][-1:]
    ticks = [*below, *(tick for tick in inside if tick not in below)]
    above = next((i for i, tick in enumerate(ticks) if tick >= high * (1 - 1e-9)), len(ticks) - 1)
    ticks = ticks[: max(above, 1) + 1]
    return Scale(ticks[0], max(ticks[-1], high), tuple(ticks), tuple(_power_label(tick) for tick in ticks), log=True)


def is_wide(values: np.ndarray) -> bool:
    """Whether values want a logarithmic scale: all positive, and the largest above 50 times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and finite.min() >= _SMALLEST and finite.max() > 50 * finite.min()


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)
    finite = np.where(np.abs(finite) < _SMALLEST, 0.0, finite)
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _labels(ticks: np.ndarray, step: float, unit: str) -> tuple[str, ...]:
    largest = float(np.abs(ticks).max())
    finest, coarsest = math.floor(math.log10(step) + 1e-9), math.floor(math.log10(largest) + 1e-9)
    if 1e-3 <= largest < 1e6:
        return tuple(f"{tick + 0.0:,.{max(0, -finest)}f}{unit}".replace("-", "−") for tick in ticks)
    # One power of ten for all, and as many digits as the step needs.
    texts = (f"{tick / 10.0**coarsest + 0.0:.{max(0, coarsest - finest)}f}" for tick in ticks)
    return tuple(power(text, coarsest) if tick else "0" for text, tick in zip(texts, ticks, strict=True))


def _power_label(tick: float) -> str:
    if 1e-4 < tick < 1e5:
        return f"{tick:,.{max(0, -math.floor(math.log10(tick) + 1e-9))}f}"
    exponent = math.floor(math.log10(tick) + 1e-9)
    return power(f"{tick / 10.0**exponent:.0f}", exponent)
