"""Operations of fastnn as nodes of ONNX, by family; each module enters its functions into one table."""

from __future__ import annotations

from fastnn.onnx.converters import (
    activations,
    elementwise,
    indexing,
    losses,
    normalization,
    products,
    reductions,
    shapes,
    sizes,
)
from fastnn.onnx.converters.table import CONVERTERS

__all__ = [
    "CONVERTERS", "activations", "elementwise", "indexing", "losses", "normalization", "products", "reductions",
    "shapes", "sizes",
]  # fmt: skip
