"""The rules of ``vmap``: what each operation does with a batch, by names of operations.

A rule gets the operation, the level of the batch, and the arguments. It calls operations on the values of the batch,
whose dimension is in front, and returns elements of the batch. An operation without a rule is called in a loop.
"""

from fastnn._functorch.rules import (
    derivatives,
    dimensions,
    elementwise,
    indexing,
    layers,
    losses,
    matrices,
    randomness,
    shapes,
)

__all__ = ["derivatives", "dimensions", "elementwise", "indexing", "layers", "losses", "matrices", "randomness",
           "shapes"]  # fmt: skip
