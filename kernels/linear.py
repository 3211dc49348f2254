"""The fully connected layer: ``linear_forward`` and ``linear_backward`` on the matrix kernels.

The weight is stored with one row per input feature, (in_features, out_features), so that the
forward product reads it row by row; rows may be padded (any distance between rows is accepted).

May import ``jit``, ``activations`` and ``gemm``.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activations import COSTS, NONE, activation_code, differentiate
from fastnn.kernels.gemm import gemm
from fastnn.kernels.jit import (
    array,
    by_dtype,
    check,
    check_output,
    check_rows,
    check_strided,
    inline,
    integer,
    kernel_for,
    launch,
    matrix_shape,
    part,
    parts_for,
    real,
)

# Columns that one part takes at a time: four cache lines of float32.
_COLUMNS = 64


def linear_forward(
    out: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    activation: str = "none",
    slope: float = 0.01,
    z: np.ndarray | None = None,
) -> None:
    """``out = activation(x @ weight + bias)`` in one pass.

    Args:
        out: (batch, out_features), contiguous rows.
        x: (batch, in_features), any strides.
        weight: (in_features, out_features); contiguous rows are fastest.
        bias: (out_features,) contiguous, or None.
        activation, slope: see :mod:`fastnn.kernels.activations`.
        z: (batch, out_features): receives the value before the activation, or None.
    """
    gemm(out, x, weight, bias, activation=activation, slope=slope, z=z)


@inline
def _add_rows(total, dz):
    for j in range(total.size):
        total[j] += dz[j]


def _activation_bias_backward(dtype):
    def activation_bias_backward_slice(args, t, n):
        # dz[batch, columns], dbias[columns], dy[batch, columns], saved[batch, columns]
        batch, columns, code, accumulate = integer(args, 4), integer(args, 5), integer(args, 6), integer(args, 7)
        slope = dtype(real(args, 8))
        dz = array(args, 0, (batch, columns), dtype)
        dbias = array(args, 1, (columns,), dtype)
        dy = array(args, 2, (batch, columns), dtype)
        saved = array(args, 3, (batch, columns), dtype)
        # A part owns whole columns: each sum runs over the rows in order, on one thread.
        first, last = part(-(-columns // _COLUMNS), t, n)
        for block in range(first, last):
            lo, hi = block * _COLUMNS, min(columns, (block + 1) * _COLUMNS)
            if not accumulate:
                dbias[lo:hi] = dtype(0)
            for row in range(batch):
                if code == NONE:
                    _add_rows(dbias[lo:hi], dy[row, lo:hi])
                else:
                    differentiate(dz[row, lo:hi], dy[row, lo:hi], saved[row, lo:hi], code, slope)
                    _add_rows(dbias[lo:hi], dz[row, lo:hi])

    return activation_bias_backward_slice


_ACTIVATION_BIAS_BACKWARD = by_dtype(
    "activation_bias_backward", _activation_bias_backward, arrays=4, integers=4, reals=1
)


def activation_bias_backward(
    dz: np.ndarray,
    dbias: np.ndarray,
    dy: np.ndarray,
    saved: np.ndarray,
    activation: str,
    slope: float = 0.01,
    accumulate: bool = False,
) -> None:
    """``dz = dy * activation'``, and its sum over the batch ``dbias = sum(dz, 0)``, in one pass.

    Args:
        dz: (batch, features), C-contiguous; not written for activation 'none', where it is ``dy``.
        dbias: (features,), contiguous.
        dy, saved: (batch, features), C-contiguous; see ``activation_backward`` for ``saved``.
        accumulate: add to what ``dbias`` holds.
    """
    kernel = kernel_for(_ACTIVATION_BIAS_BACKWARD, "dy", dy)
    code = activation_code(activation)
    dtype = dy.dtype
    shape = batch, columns = matrix_shape("dy", dy)
    check("dy", dy, dtype, shape)
    check("saved", saved, dtype, shape)
    check_output("dbias", dbias, dtype, (columns,))
    if code == NONE:
        dz = dy
    else:
        check_output("dz", dz, dtype, shape)
    parts = min(parts_for(dy.size * (COSTS[code] + 1)), -(-columns // _COLUMNS)) or 1
    launch(kernel, parts, (dz, dbias, dy, saved), batch, columns, code, accumulate, slope)


def linear_backward(
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    saved: np.ndarray | None = None,
    activation: str = "none",
    slope: float = 0.01,
    accumulate_weight: bool = False,
    accumulate_bias: bool = False,
) -> None:
    """Gradients of ``linear_forward``, with dz = dy * activation'(z):

    ``dx = dz @ weight.T``, ``dweight = x.T @ dz``, ``dbias = sum(dz, 0)``; None for one not wanted.

    Args:
        dx: (batch, in_features), contiguous rows; overwritten.
        dweight: (in_features, out_features), contiguous rows.
        dbias: (out_features,), contiguous.
        dy: (batch, out_features), C-contiguous.
        x, weight: as in ``linear_forward``.
        saved: the forward's ``out``, or its ``z`` where ``saves_input(activation)``; also its ``z``
            for leaky ReLU with a slope below zero, as the sign of ``out`` then tells nothing.
        accumulate_weight, accumulate_bias: add to what ``dweight``, ``dbias`` hold.
    """
    # All checks come before the first launch: an error must not leave half of the gradients written.
    kernel_for(_ACTIVATION_BIAS_BACKWARD, "dy", dy)
    dtype = dy.dtype
    batch, out_features = matrix_shape("dy", dy)
    in_features = matrix_shape("weight", weight)[0]
    check("dy", dy, dtype, (batch, out_features))
    check_strided("x", x, dtype, (batch, in_features))
    check_strided("weight", weight, dtype, (in_features, out_features))
    if dx is not None:
        check_rows("dx", dx, dtype, (batch, in_features), output=True)
    if dweight is not None:
        check_rows("dweight", dweight, dtype, (in_features, out_features), output=True)
    dz = dy
    if activation != "none":
        if saved is None:
            raise ValueError(f"saved must be given for activation {activation!r}")
        dz = np.empty_like(dy)
    if dbias is not None or activation != "none":
        total = np.empty(dy.shape[1], dy.dtype) if dbias is None else dbias
        source = dy if saved is None else saved
        activation_bias_backward(dz, total, dy, source, activation, slope, accumulate_bias and dbias is not None)
    if dweight is not None:
        gemm(dweight, x.T, dz, accumulate=accumulate_weight)
    if dx is not None:
        gemm(dx, dz, weight.T)
