"""A line search for the strong Wolfe conditions, independent of tensors.

J. Nocedal and S. J. Wright, Numerical Optimization, 2nd edition, algorithms 3.5 (bracketing), 3.6 (zoom)
and equation 3.59 (cubic interpolation), with the safeguards of PyTorch's LBFGS, so that both try the same
points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Point:
    """A trial point of the search.

    Args:
        t: the step length.
        loss: there.
        grad: there, flat.
        slope: the derivative along the line.
    """

    t: Any
    loss: float
    grad: np.ndarray
    slope: Any


def cubic_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """The minimum of the cubic through both values and slopes, inside ``bounds`` (by default between them)."""
    if a.t > b.t:
        a, b = b, a
    lo, hi = (a.t, b.t) if bounds is None else bounds
    with np.errstate(all="ignore"):
        d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
        square = d1**2 - a.slope * b.slope
        if not square >= 0:
            return (lo + hi) / 2.0
        d2 = np.sqrt(square)
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(t, lo), hi)


def strong_wolfe(
    evaluate: Callable[[Any], tuple[float, np.ndarray]],
    direction: np.ndarray,
    start: Point,
    t: Any,
    *,
    limit: int,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
) -> tuple[Point, int]:
    """A step length with a sufficient decrease of the loss and of the slope.

    ``loss(t) <= loss(0) + c1 t slope(0)`` and ``|slope(t)| <= c2 |slope(0)|``.

    Args:
        evaluate: the loss and the flat gradient at a step length.
        direction: of the line.
        start: the point at step length 0.
        t: the first step length to try.
        limit: how many times to refine it at most.

    Returns: the best point and how often ``evaluate`` was called.
    """

    def point(t: Any) -> Point:
        loss, grad = evaluate(t)
        return Point(t, loss, grad, grad.dot(direction))

    previous, current = start, point(t)
    evaluations, rounds = 1, 0
    bracket: list[Point] = []
    while rounds < limit:
        too_high = current.loss > start.loss + c1 * current.t * start.slope
        if too_high or (rounds > 1 and current.loss >= previous.loss):
            bracket = [previous, current]
            break
        if abs(current.slope) <= -c2 * start.slope:
            return current, evaluations
        if current.slope >= 0:
            bracket = [previous, current]
            break
        # Extrapolate: by at least a hundredth of the last interval, and to at most ten times the step.
        bounds = current.t + 0.01 * (current.t - previous.t), current.t * 10
        t = cubic_minimum(previous, current, bounds)
        previous, current = current, point(t)
        evaluations += 1
        rounds += 1
    if not bracket:
        bracket = [start, current]

    def lower() -> int:
        return 0 if bracket[0].loss <= bracket[1].loss else 1

    low, stuck, size = lower(), False, np.abs(direction).max()
    while rounds < limit and not abs(bracket[1].t - bracket[0].t) * size < tolerance_change:
        t = cubic_minimum(bracket[0], bracket[1])
        near, far = sorted((bracket[0].t, bracket[1].t))
        margin = 0.1 * (far - near)
        if min(far - t, t - near) < margin:
            # Close to an end twice in a row, or at the end: move a tenth of the interval away from it.
            if stuck or t >= far or t <= near:
                t = far - margin if abs(t - far) < abs(t - near) else near + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        current = point(t)
        evaluations += 1
        rounds += 1
        if current.loss > start.loss + c1 * t * start.slope or current.loss >= bracket[low].loss:
            bracket[1 - low] = current
            low = lower()
        else:
            if abs(current.slope) <= -c2 * start.slope:
                return current, evaluations
            if current.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
                bracket[1 - low] = bracket[low]
            bracket[low] = current
    return bracket[low], evaluations
