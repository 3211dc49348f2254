"""Second derivatives of sigmoid and tanh, for gradients of gradients.

As functions of the result y, the derivative is ``s(y)`` and that of ``s`` is ``c(y)``: for tanh ``1 - y**2`` and
``-2 y``, for sigmoid ``y (1 - y)`` and ``1 - 2 y``. Each loop has one output, so that few pairs of arrays have to be
checked for overlap before it runs in vectors.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.fused_activations import SIGMOID, TANH, activation_code, differentiate_apart
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

# Floating-point operations per number.
_CURVE_COST, _SLOPE_COST, _WHOLE_COST = 4, 7, 11


@inline
def _weigh(out, a, b, y, code):
    """``out = a * b * c(y)``."""
    kind = y.dtype.type
    shift = kind(1) if code == SIGMOID else kind(0)
    for i in range(y.size):
        out[i] = a[i] * b[i] * (shift - kind(2) * y[i])


_CURVE_WORDS = Words("out a b y; size code")


def _curve(dtype):
    def activation_curve_slice(args, t, n):
        # out[size], a[size], b[size], y[size]
        size = integer(args, _CURVE_WORDS.size)
        first, last = part(size, t, n)
        out = array(args, _CURVE_WORDS.out, (size,), dtype)[first:last]
        a = array(args, _CURVE_WORDS.a, (size,), dtype)[first:last]
        b = array(args, _CURVE_WORDS.b, (size,), dtype)[first:last]
        y = array(args, _CURVE_WORDS.y, (size,), dtype)[first:last]
        _weigh(out, a, b, y, integer(args, _CURVE_WORDS.code))

    return activation_curve_slice


_SLOPE_WORDS = Words("da dy d a y; size code")


def _slope(dtype):
    def activation_slope_backward_slice(args, t, n):
        # da[size], dy[size], d[size], a[size], y[size]
        size, code = integer(args, _SLOPE_WORDS.size), integer(args, _SLOPE_WORDS.code)
        first, last = part(size, t, n)
        da = array(args, _SLOPE_WORDS.da, (size,), dtype)[first:last]
        dy = array(args, _SLOPE_WORDS.dy, (size,), dtype)[first:last]
        d = array(args, _SLOPE_WORDS.d, (size,), dtype)[first:last]
        a = array(args, _SLOPE_WORDS.a, (size,), dtype)[first:last]
        y = array(args, _SLOPE_WORDS.y, (size,), dtype)[first:last]
        differentiate_apart(da, d, y, code, dtype(0))
        _weigh(dy, d, a, y, code)

    return activation_slope_backward_slice


_WHOLE_WORDS = Words("da db dy d a b y; size code")


def _whole(dtype):
    def activation_curve_backward_slice(args, t, n):
        # da[size], db[size], dy[size], d[size], a[size], b[size], y[size]
        size, code = integer(args, _WHOLE_WORDS.size), integer(args, _WHOLE_WORDS.code)
        first, last = part(size, t, n)
        da = array(args, _WHOLE_WORDS.da, (size,), dtype)[first:last]
        db = array(args, _WHOLE_WORDS.db, (size,), dtype)[first:last]
        dy = array(args, _WHOLE_WORDS.dy, (size,), dtype)[first:last]
        d = array(args, _WHOLE_WORDS.d, (size,), dtype)[first:last]
        a = array(args, _WHOLE_WORDS.a, (size,), dtype)[first:last]
        b = array(args, _WHOLE_WORDS.b, (size,), dtype)[first:last]
        y = array(args, _WHOLE_WORDS.y, (size,), dtype)[first:last]
        _weigh(da, d, b, y, code)
        _weigh(db, d, a, y, code)
        for i in range(last - first):
            dy[i] = d[i] * a[i] * b[i] * dtype(-2)

    return activation_curve_backward_slice


_CURVE = by_dtype("activation_curve", _curve, _CURVE_WORDS, outputs="out")
_SLOPE = by_dtype("activation_slope_backward", _slope, _SLOPE_WORDS, outputs="da dy")
_WHOLE = by_dtype("activation_curve_backward", _whole, _WHOLE_WORDS, outputs="da db dy")


def _code(activation: str) -> int:
    code = activation_code(activation)
    if code != SIGMOID and code != TANH:
        raise ValueError(f"activation must be sigmoid or tanh, found {activation!r}")
    return code


def activation_curve(out: np.ndarray, a: np.ndarray, b: np.ndarray, y: np.ndarray, activation: str) -> None:
    """``out = a * b * c(y)``, elementwise.

    Args:
        out, a, b, y: C-contiguous arrays of one shape and dtype, float32 or float64; y is the activation's output.
        activation: 'sigmoid' or 'tanh'.
    """
    code = _code(activation)
    kernel = kernel_for(_CURVE, "y", y)
    dtype, shape = y.dtype, y.shape
    check("y", y, dtype, shape)
    check("a", a, dtype, shape)
    check("b", b, dtype, shape)
    check_output("out", out, dtype, shape)
    launch(kernel, chunks_for(y.size * _CURVE_COST), (out, a, b, y), y.size, code)


def activation_slope_backward(
    da: np.ndarray, dy: np.ndarray, d: np.ndarray, a: np.ndarray, y: np.ndarray, activation: str
) -> None:
    """The gradients of ``a * s(y)``, from that of its result: ``da = d * s(y)``, ``dy = d * a * c(y)``.

    Args:
        da, dy: C-contiguous arrays of one shape and dtype, like those below; they overlap with none.
        d, a, y, activation: as in :func:`activation_curve`.
    """
    code = _code(activation)
    kernel = kernel_for(_SLOPE, "y", y)
    dtype, shape = y.dtype, y.shape
    check("y", y, dtype, shape)
    check("d", d, dtype, shape)
    check("a", a, dtype, shape)
    check_output("da", da, dtype, shape)
    check_output("dy", dy, dtype, shape)
    launch(kernel, chunks_for(y.size * _SLOPE_COST), (da, dy, d, a, y), y.size, code)


def activation_curve_backward(
    da: np.ndarray, db: np.ndarray, dy: np.ndarray, d: np.ndarray, a: np.ndarray, b: np.ndarray, y: np.ndarray,
    activation: str,
) -> None:  # fmt: skip
    """The gradients of :func:`activation_curve`, from that of its result.

    ``da = d * b * c(y)``, ``db = d * a * c(y)``, ``dy = -2 * d * a * b``.

    Args:
        da, db, dy: C-contiguous arrays of one shape and dtype, like those below; they overlap with none.
        d, a, b, y, activation: as in :func:`activation_curve`.
    """
    code = _code(activation)
    kernel = kernel_for(_WHOLE, "y", y)
    dtype, shape = y.dtype, y.shape
    check("y", y, dtype, shape)
    check("d", d, dtype, shape)
    check("a", a, dtype, shape)
    check("b", b, dtype, shape)
    check_output("da", da, dtype, shape)
    check_output("db", db, dtype, shape)
    check_output("dy", dy, dtype, shape)
    launch(kernel, chunks_for(y.size * _WHOLE_COST), (da, db, dy, d, a, b, y), y.size, code)
