"""Clip: gradient clipping by norm inside an optimizer's kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.kernels.reduce import norms
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64


class Clip:
    """A limit of the norm of all gradients together, and the factor that scales them to it.

    Kernels compute and read the factor, so Python does not need the norm, and the update does not write the
    gradients. The rule is that of ``torch.nn.utils.clip_grad_norm_``.

    Args:
        max_norm: the limit; 0 and infinity are allowed.
        norm_type: 1, 2 or infinity.

    Raises: TypeError if an argument is not a number; ValueError for a negative or NaN limit, and for other norms.
    """

    def __init__(self, max_norm: Any, norm_type: Any = 2.0) -> None:
        for name, value in (("max_grad_norm", max_norm), ("norm_type", norm_type)):
            if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
                raise TypeError(f"{name} must be a number, found {value!r}")
        self.max_norm, self.norm_type = float(max_norm), float(norm_type)
        if not self.max_norm >= 0:
            raise ValueError(f"max_grad_norm must not be negative or NaN, found {max_norm}")
        if self.norm_type not in (1.0, 2.0, math.inf):
            raise ValueError(f"norm_type must be 1, 2 or infinity, found {norm_type}")
        self.factor, self.norm = np.ones(1), np.zeros(1, FLOAT32)
        self._sums = allocation.empty(0)

    def measure(self, gradients: list[np.ndarray]) -> None:
        """Compute the norm of these flat arrays together, and the factor."""
        dtype = FLOAT64 if any([g.dtype == FLOAT64 for g in gradients]) else FLOAT32  # noqa: C419
        counts = [norms.blocks_of(g.size) for g in gradients]
        # Reallocated only if the sizes of gradients change: recorded launches keep using the same memory.
        if self._sums.size != sum(counts):
            self._sums = allocation.empty(sum(counts))
        if self.norm.dtype != dtype:
            self.norm = np.zeros(1, dtype)
        first = 0
        for g, count in zip(gradients, counts, strict=True):
            kernels.block_norms(self._sums[first : first + count], g, self.norm_type)
            first += count
        kernels.clip_factor(self.factor, self.norm, self._sums, self.norm_type, self.max_norm)
