"""A row of the table of operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]

ANY: list[tuple[Shape, ...]] = [((),), ((1,),), ((5,),), ((0,),), ((2, 3),), ((3, 0),), ((2, 1, 4),), ((1, 1),)]
MATRIX: list[tuple[Shape, ...]] = [((2, 3),), ((1, 4),), ((4, 1),), ((0, 3),)]
SOME: list[tuple[Shape, ...]] = [((),), ((5,),), ((2, 3),), ((0,),), ((2, 1, 4),)]
FULL = [s for s in ANY if 0 not in s[0]]
VECTOR: list[tuple[Shape, ...]] = [((5,),), ((2, 3),), ((2, 1, 4),)]
SQUARE: list[tuple[Shape, ...]] = [((3, 3),), ((1, 1),), ((2, 2, 2),)]
PAIRS: list[tuple[Shape, ...]] = [
    ((), ()), ((3,), ()), ((), (3,)), ((0,), (0,)), ((0, 3), (1,)), ((0,), ()), ((2, 3), (3,)), ((2, 3), (2, 1)),
    ((2, 1, 4), (3, 1)), ((2, 3), (2, 3)), ((1, 1), (2,)), ((3, 1), (1, 4)), ((1,), (1, 1, 1)),
]  # fmt: skip


FEW: list[tuple[Shape, ...]] = [((2, 3), (3,)), ((), (3,)), ((0, 3), (1,)), ((2, 1, 4), (3, 1))]
POSITIVE = (0.1, 3.0)

# Lists of shapes of operations that take a vector of any length.
_VECTORS = ANY, SOME, FULL, VECTOR, PAIRS, FEW


def vectors(count: int) -> Callable[[int], tuple[Shape, ...]]:
    """Shapes of ``count`` vectors of ``numbers`` numbers."""
    return lambda numbers: ((numbers,),) * count


def square(operands: str) -> Callable[[int], tuple[Shape, ...]]:
    """Shapes for about ``numbers`` numbers: of each letter of ``operands``, M a square matrix, V a vector that fits."""

    def shapes(numbers: int) -> tuple[Shape, ...]:
        side = math.isqrt(numbers)
        return tuple((side, side) if letter == "M" else (side,) for letter in operands)

    return shapes


@dataclass(frozen=True)
class Operation:
    """``run(lib, *tensors)`` on tensors of each of ``shapes``, with numbers in ``domain``.

    Args:
        roundings: allowed difference between two libraries, in roundings of a value.
        terms: whether the error scales with the terms of a sum rather than with the value, as the terms may cancel.
        group: the file of recorded values.
        smooth: whether finite differences give the derivative; not if it is cut off, or differs by definition.
        scale: for timings, the shapes of operands of so many numbers, where they are not vectors of that length.
        most: how many of the shapes are recorded there; None for all, 0 if PyTorch has no gradient.
    """

    name: str
    run: Callable[..., Any]
    shapes: list[tuple[Shape, ...]]
    domain: tuple[float, float] = (-2.0, 2.0)
    roundings: float = 2
    terms: bool = False
    group: str = "operations"
    most: int | None = None
    smooth: bool = True
    scale: Callable[[int], tuple[Shape, ...]] | None = None

    def __str__(self) -> str:
        return self.name

    def sized(self, numbers: int) -> tuple[Shape, ...] | None:
        """Shapes of operands of about ``numbers`` numbers; None if the operation is not defined for any size."""
        if self.scale is not None:
            return self.scale(numbers)
        if any(self.shapes is vectors for vectors in _VECTORS):
            return ((numbers,),) * len(self.shapes[0])
        return square("M" * len(self.shapes[0]))(numbers) if self.shapes is MATRIX else None

    def arrays(self, shapes: tuple[Shape, ...], kind: Any = np.float64) -> list[np.ndarray]:
        """Operands; away from 0, where some derivatives are discontinuous."""
        rng = np.random.default_rng(len(self.name) + sum(map(sum, shapes)))
        made = [rng.uniform(*self.domain, shape) for shape in shapes]
        return [np.where(np.abs(a) < 0.05, 0.5, a).astype(kind) for a in made]
