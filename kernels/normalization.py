"""What the normalisations have in common before a launch: bits of flags, and checks of what is optional.

May import ``jit``, ``activations`` and ``dropout``.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activations import saves_input
from fastnn.kernels.dropout import check_drop
from fastnn.kernels.jit import check, check_output

# Bits of `flags` and `wanted`: what there is and what is wanted. Each kind of normalisation has more, from OWN on.
WEIGHT, BIAS, DROP, NEEDS_INPUT, DX, ADD_WEIGHT, ADD_BIAS, OWN = (1 << bit for bit in range(8))


def check_affine(weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype, columns: int) -> int:
    """The bits of weight and bias that there are."""
    flags = 0
    if weight is not None:
        check("weight", weight, dtype, (columns,))
        flags |= WEIGHT
    if bias is not None:
        check("bias", bias, dtype, (columns,))
        flags |= BIAS
    return flags


def check_gradients(
    dx: np.ndarray | None, dweight: np.ndarray | None, dbias: np.ndarray | None, x: np.ndarray,
    accumulate_weight: bool, accumulate_bias: bool,
) -> int:  # fmt: skip
    """The bits of the gradients that are wanted."""
    wanted = 0
    if dx is not None:
        check_output("dx", dx, x.dtype, x.shape)
        wanted |= DX
    if dweight is not None:
        check_output("dweight", dweight, x.dtype, x.shape[1:])
        wanted |= WEIGHT | (ADD_WEIGHT if accumulate_weight else 0)
    if dbias is not None:
        check_output("dbias", dbias, x.dtype, x.shape[1:])
        wanted |= BIAS | (ADD_BIAS if accumulate_bias else 0)
    return wanted


def check_behind(activation: str, p: float, state: np.ndarray | None, backward: bool = False) -> int:
    """The bits of what stands behind the normalisation: a dropout, an activation that wants its input back."""
    flags = 0
    if p:
        check_drop(p, state)
        flags |= DROP
    if backward and activation not in ("none", "relu") and (saves_input(activation) or activation == "leaky_relu"):
        flags |= NEEDS_INPUT
    return flags
