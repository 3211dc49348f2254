"""Shared code of the normalisations before a launch: kernels, bits of flags, checks of optional arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.kernels.activation.dropout import check_drop
from fastnn.kernels.activation.fused_activations import activation_code, saves_input
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import Kernel, Words, by_dtype

# Bits of `flags` (inputs present) and `wanted` (outputs requested). Each normalisation has more, from OWN on.
WEIGHT, BIAS, DROP, NEEDS_INPUT, DX, ADD_WEIGHT, ADD_BIAS, OWN = (1 << bit for bit in range(8))

# By dtype: the kernels for no activation and ReLU, and those for the other activations, compiled at first use.
Kernels = tuple[dict[np.dtype, Kernel], dict[np.dtype, Kernel]]


def kernels_of(
    name: str, direction: str, build: Callable[[Any, bool], Callable[..., None]], words: Words, **facts: Any
) -> Kernels:
    """The kernels of the slices ``build(dtype, smooth)``."""
    return (
        by_dtype(f"{name}_{direction}", lambda dtype: build(dtype, False), words, **facts),
        by_dtype(f"{name}_smooth_{direction}", lambda dtype: build(dtype, True), words, **facts),
    )


def check_input(kernels: Kernels, activation: str, x: np.ndarray) -> tuple[Kernel, int, int, int]:
    """The kernel for a matrix ``x`` and this activation, the activation's number, and the shape."""
    kernel = kernel_for(kernels[activation not in ("none", "relu")], "x", x)
    code = activation_code(activation)
    rows, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (rows, columns))
    return kernel, code, rows, columns


def check_affine(weight: np.ndarray | None, bias: np.ndarray | None, dtype: np.dtype, columns: int) -> int:
    """The bits of weight and bias, if given."""
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
    """The bits of the requested gradients."""
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


def check_following(activation: str, p: float, state: np.ndarray | None, backward: bool = False) -> int:
    """The bits of the steps after the normalisation: a dropout, an activation whose backward needs its input."""
    flags = 0
    if p:
        check_drop(p, state)
        flags |= DROP
    if backward and activation not in ("none", "relu") and (saves_input(activation) or activation == "leaky_relu"):
        flags |= NEEDS_INPUT
    return flags
