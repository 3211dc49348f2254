"""Operations of fastnn as nodes of ONNX: a table of functions by the names of the operations.

A converter has the arguments of its operation after the graph. ``g.result`` is what the operation returned, for its
shape and dtype. It returns a value or the name of one, or a list if there are several results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.graph import Graph

CONVERTERS: dict[str, Callable[..., Any]] = {}
# The kind of the floating-point dtypes in NumPy.
FLOATS = "f"


def converter(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table under these names."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            assert name not in CONVERTERS, name
            CONVERTERS[name] = function
        return function

    return enter


def kind_of(g: Graph) -> np.dtype:
    """The dtype of the (first) result."""
    return (g.result if isinstance(g.result, Tensor) else g.result[0])._data.dtype


def rank(x: Tensor) -> int:
    return x._data.ndim


def axis_of(x: Tensor, dim: int) -> int:
    return int(dim) % max(rank(x), 1)


def axes_of(x: Tensor, dim: Any) -> list[int] | None:
    """The axes of a reduction; None for all."""
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return None
    return [axis_of(x, d) for d in (dim if isinstance(dim, (tuple, list)) else [dim])]
