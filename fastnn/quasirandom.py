"""``torch.quasirandom``: Sobol's sequence, computed by SciPy."""

from __future__ import annotations

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.dtypes import float32
from fastnn._tensor.tensor import Tensor
from fastnn.ops.creation import as_tensor

__all__ = ["SobolEngine"]


class SobolEngine:
    """Points of Sobol's sequence, which fill the unit cube more evenly than random ones.

    Args:
        dimension: of the cube, from 1 to 21201.
        scramble: scramble the points at random; without it they are PyTorch's.
        seed: of the scrambling; the scrambled points are others than PyTorch's.

    Raises: ImportError without SciPy; ValueError for a dimension out of range.

    >>> SobolEngine(2).draw(3)
    tensor([[0.0000, 0.0000],
            [0.5000, 0.5000],
            [0.7500, 0.2500]])
    """

    MAXBIT, MAXDIM = 30, 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if not 1 <= dimension <= self.MAXDIM:
            raise ValueError(f"dimension must be from 1 to {self.MAXDIM}, found {dimension}")
        try:
            from scipy.stats import qmc
        except ImportError:
            raise ImportError("torch.quasirandom.SobolEngine needs SciPy: pip install scipy") from None
        self.dimension, self.scramble, self.seed = dimension, scramble, seed
        self.num_generated = 0
        self._engine = qmc.Sobol(dimension, scramble=scramble, bits=self.MAXBIT, seed=seed)

    def draw(self, n: int = 1, out: Tensor | None = None, dtype: _dtype | None = None) -> Tensor:
        """The next ``n`` points, of shape (n, dimension).

        Args:
            n: how many.
            out: a tensor to write to, None for a new one.
            dtype: of the new one, by default float32.
        """
        if self.num_generated == 0:
            # SciPy warns if the first draw is not of a power of two.
            points = [self._engine.random(1)[:n], self._engine.random(max(n - 1, 0))]
            found = np.concatenate(points)
            if n == 0:
                self._engine.reset()
        else:
            found = self._engine.random(n)
        self.num_generated += n
        drawn = as_tensor(found, dtype=dtype or float32)
        return drawn if out is None else out.resize_(drawn.shape).copy_(drawn)

    def draw_base2(self, m: int, out: Tensor | None = None, dtype: _dtype | None = None) -> Tensor:
        """The next ``2**m`` points.

        Raises: ValueError if the number of points would not be a power of two then.
        """
        total = self.num_generated + 2**m
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require n to be a power of 2. "
                f"{self.num_generated} points have been previously generated, then: "
                f"n={self.num_generated}+2**{m}={total}."
            )
        return self.draw(2**m, out, dtype)

    def reset(self) -> SobolEngine:
        """Begin again at the first point."""
        self._engine.reset()
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Skip ``n`` points."""
        if n:
            self._engine.fast_forward(n)
            self.num_generated += n
        return self

    def __repr__(self) -> str:
        text = f"SobolEngine(dimension={self.dimension}"
        if self.scramble:
            text += ", scramble=True"
        return text + (f", seed={self.seed})" if self.seed is not None else ")")
