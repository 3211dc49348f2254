"""PyTorch's module of the functions of tensors that it has in Python; here they are those of ``fastnn``."""

from __future__ import annotations

import fastnn as _fastnn

__all__ = [
    name
    for name in (
        "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes", "broadcast_tensors",
        "cartesian_prod", "cdist", "chain_matmul", "einsum", "lu", "meshgrid", "norm", "split", "tensordot", "unique",
        "unique_consecutive", "unravel_index",
    )
    if hasattr(_fastnn, name)
]  # fmt: skip

globals().update({name: getattr(_fastnn, name) for name in __all__})
