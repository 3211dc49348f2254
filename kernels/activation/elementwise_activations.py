"""Elementwise activations: the kernels of ``nn.ELU``, ``nn.SiLU``, ``nn.Hardtanh`` and similar layers.

Those of ``fused_activations`` can also be the last step of a matrix product; these cannot, which keeps the
product's compile time short. Each function has its own kernel, so only the ones that a model uses are compiled.
Every backward reads the input.

Sources: ELU arXiv:1511.07289, SELU arXiv:1706.02515, CELU arXiv:1704.07483, SiLU arXiv:1702.03118, Mish
arXiv:1908.08681, hard swish arXiv:1905.02244.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.llvm.math import exp, expm1, sigmoid, softplus, tanh
from fastnn.kernels.llvm.simd import fabs, multiply_add
from fastnn.kernels.runtime.alike import Alike
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import FLOAT32, Kernel, Words, array, by_dtype, inline, integer, part, real
from fastnn.kernels.runtime.direct_loops import DirectKernel, DirectKernels
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import SERIAL_OPERATIONS, chunks_for

# Each activation is registered with its value f(x, a, b, c) of one number and up to three constants, its derivative
# times dy, and a formula, whose derivatives are the second and higher ones. Constants and literals of the value and the
# derivative have the type of x, so that float32 stays float32. A formula is f(m, x, n, a, b, c): x has the operators of
# a number, n is the array of its numbers, and m has functions of x: exp, sigmoid, softplus, tanh, magnitude (x times
# its sign) and piece(x, mask, slope), which is slope * x where the mask of numbers holds, and 0 elsewhere.
#
# PyTorch has two derivatives at NaN for some functions: one in its vector code, and another in its code for the last
# numbers of an array, those that do not fill two vectors of 32 bytes. Programs see both: with `passes_nan` the
# derivative of the last numbers is 1 at NaN, at the same places as in PyTorch.
_TWO_VECTORS = 64


class _Function(NamedTuple):
    value: Callable[..., Any]
    derivative: Callable[..., Any]
    formula: Callable[..., Any]
    # Floating-point operations per number, to choose a thread count.
    cost: int
    passes_nan: bool


FUNCTIONS: dict[str, _Function] = {}


def _register(name: str, *, value: Any, derivative: Any, formula: Any, cost: int, passes_nan: bool = False) -> None:
    FUNCTIONS[name] = _Function(value, derivative, formula, cost, passes_nan)


def _elu(x, a, b, c):
    """a: the factor of the exponential; b: the slope for positive x; c: the factor of x in the exponent."""
    return a * expm1(c * x) if x <= 0 else b * x


def _elu_backward(dy, x, a, b, c):
    # dy * b for NaN, as in PyTorch's code for the last numbers. Which ones these are depends on the processor.
    return dy * (c * a * exp(c * x)) if x <= 0 else dy * b


def _elu_formula(m, x, n, a, b, c):
    # At 0 it is treated as linear, as in PyTorch.
    return m.piece(x, ~(n <= 0), b) + m.piece(x, n == 0, a * c) + (m.exp(m.piece(x, n < 0, c)) - 1) * a


_register("elu", value=_elu, derivative=_elu_backward, cost=20, formula=_elu_formula)


def _hardshrink(x, a, b, c):
    return type(x)(0) if -a <= x <= a else x


def _shrink_backward(dy, x, a, b, c):
    # 0 for NaN whatever dy is, here and in hardtanh, as in PyTorch's vector code.
    return dy if x > a or x < -a else type(x)(0)


_register(
    "hardshrink", value=_hardshrink, derivative=_shrink_backward, cost=3, passes_nan=True,
    formula=lambda m, x, n, a, b, c: m.piece(x, (n > a) | (n < -a)),
)  # fmt: skip


def _hardsigmoid(x, a, b, c):
    y = (x + type(x)(3)) * type(x)(1 / 6)
    y = type(x)(0) if y < 0 else y
    return type(x)(1) if y > 1 else y


def _hardsigmoid_backward(dy, x, a, b, c):
    return dy * type(x)(1 / 6) if -3 < x < 3 else type(x)(0)


_register(
    "hardsigmoid", value=_hardsigmoid, derivative=_hardsigmoid_backward, cost=4,
    formula=lambda m, x, n, a, b, c: m.piece(x, (n > -3) & (n < 3), 1 / 6),
)  # fmt: skip


def _hardswish(x, a, b, c):
    y = x + type(x)(3)
    y = type(x)(0) if y < 0 else y
    y = type(x)(6) if y > 6 else y
    return x * y * type(x)(1 / 6)


def _hardswish_backward(dy, x, a, b, c):
    middle = dy * multiply_add(x, type(x)(1 / 3), type(x)(0.5))
    # dy for NaN, as in elu.
    return type(x)(0) if x <= -3 else (middle if x < 3 else dy)


def _hardswish_formula(m, x, n, a, b, c):
    middle = m.piece(x, (n > -3) & (n < 3))
    return m.piece(x, ~((n <= -3) | (n < 3))) + middle * (middle + 3) * (1 / 6)


_register("hardswish", value=_hardswish, derivative=_hardswish_backward, cost=5, formula=_hardswish_formula)


def _hardtanh(x, a, b, c):
    """a, b: the smallest and the largest value."""
    y = a if x < a else x
    return b if y > b else y


def _hardtanh_backward(dy, x, a, b, c):
    return dy if a < x < b else type(x)(0)


_register(
    "hardtanh", value=_hardtanh, derivative=_hardtanh_backward, cost=2, passes_nan=True,
    formula=lambda m, x, n, a, b, c: m.piece(x, (a < n) & (n < b)),
)  # fmt: skip


def _logsigmoid(x, a, b, c):
    return -softplus(-x)


def _logsigmoid_backward(dy, x, a, b, c):
    return dy * sigmoid(-x)


_register(
    "logsigmoid", value=_logsigmoid, derivative=_logsigmoid_backward, cost=45,
    formula=lambda m, x, n, a, b, c: -m.softplus(-x),
)  # fmt: skip


def _mish_parts(x):
    """``n, d`` with ``tanh(log(1 + exp(x))) = n / (n + d)``: sums of positive numbers, which do not overflow."""
    e = exp(-fabs(x))
    one, two = type(x)(1), type(x)(2)
    return (multiply_add(two, e, one) if x > 0 else e * (e + two)), (two * e * e if x > 0 else two)


def _mish(x, a, b, c):
    n, d = _mish_parts(x)
    return x * (n / (n + d))


def _mish_backward(dy, x, a, b, c):
    n, d = _mish_parts(x)
    inverse = type(x)(1) / (n + d)
    t, rest = n * inverse, d * inverse
    # 1 - t**2 is (1 - t) * (1 + t).
    return dy * multiply_add(x * sigmoid(x) * rest, type(x)(1) + t, t)


_register(
    "mish", value=_mish, derivative=_mish_backward, cost=40,
    formula=lambda m, x, n, a, b, c: x * m.tanh(m.softplus(x)),
)  # fmt: skip


def _silu(x, a, b, c):
    return x * sigmoid(x)


def _silu_backward(dy, x, a, b, c):
    # sigmoid(-x) is 1 - sigmoid(x) without cancellation.
    s = sigmoid(x)
    return dy * multiply_add(x * s, sigmoid(-x), s)


_register("silu", value=_silu, derivative=_silu_backward, cost=25, formula=lambda m, x, n, a, b, c: x * m.sigmoid(x))


def _softplus(x, a, b, c):
    """a: beta; b: threshold, above which ``a * x`` counts as the result."""
    z = a * x
    # LLVM moves the quotient out of the loop.
    return x if z > b else softplus(z) * (type(x)(1) / a)


def _softplus_backward(dy, x, a, b, c):
    z = a * x
    return dy if z > b else dy * sigmoid(z)


def _softplus_formula(m, x, n, a, b, c):
    right = a * n > b
    return m.piece(x, right) + m.softplus(m.piece(x, ~right, a)) * (1 / a)


_register("softplus", value=_softplus, derivative=_softplus_backward, cost=45, formula=_softplus_formula)


def _softshrink(x, a, b, c):
    # x * 0 keeps NaN.
    return x - a if x > a else (x + a if x < -a else x * type(x)(0))


_register(
    "softshrink", value=_softshrink, derivative=_shrink_backward, cost=3, passes_nan=True,
    formula=lambda m, x, n, a, b, c: m.piece(x, (n > a) | (n < -a)),
)  # fmt: skip


def _softsign(x, a, b, c):
    return x / (type(x)(1) + fabs(x))


def _softsign_backward(dy, x, a, b, c):
    d = type(x)(1) + fabs(x)
    # x * 0 makes the result NaN for infinite x, like the value, and like PyTorch's derivative.
    return multiply_add(x, type(x)(0), dy / (d * d))


_register(
    "softsign", value=_softsign, derivative=_softsign_backward, cost=4,
    formula=lambda m, x, n, a, b, c: x / (m.magnitude(x) + 1),
)  # fmt: skip


def _tanhshrink(x, a, b, c):
    return x - tanh(x)


def _tanhshrink_backward(dy, x, a, b, c):
    t = tanh(x)
    return dy * (t * t)


_register(
    "tanhshrink", value=_tanhshrink, derivative=_tanhshrink_backward, cost=30,
    formula=lambda m, x, n, a, b, c: x - m.tanh(x),
)  # fmt: skip


def _threshold(x, a, b, c):
    """a: the threshold; b: the value for x up to the threshold."""
    return b if x <= a else x


def _threshold_backward(dy, x, a, b, c):
    return type(x)(0) if x <= a else dy


_register(
    "threshold", value=_threshold, derivative=_threshold_backward, cost=2,
    formula=lambda m, x, n, a, b, c: m.piece(x, ~(n <= a)),
)  # fmt: skip


_FORWARD_WORDS = Words("out x; size; a b c")


def _forward(function):
    @inline
    def loop(out, x, a, b, c):
        for i in range(x.size):
            out[i] = function(x[i], a, b, c)

    def build(dtype):
        def elementwise_forward_slice(args, t, n):
            # out[size], x[size]
            size = integer(args, _FORWARD_WORDS.size)
            first, last = part(size, t, n)
            out = array(args, _FORWARD_WORDS.out, (size,), dtype)[first:last]
            x = array(args, _FORWARD_WORDS.x, (size,), dtype)[first:last]
            a, b, c = real(args, _FORWARD_WORDS.a), real(args, _FORWARD_WORDS.b), real(args, _FORWARD_WORDS.c)
            loop(out, x, dtype(a), dtype(b), dtype(c))

        return elementwise_forward_slice

    return build


_BACKWARD_WORDS = Words("dx dy x; size; a b c")


def _backward(derivative, passes_nan):
    if not passes_nan:

        @inline
        def loop(dx, dy, x, a, b, c, whole):
            for i in range(x.size):
                dx[i] = derivative(dy[i], x[i], a, b, c)
    else:

        @inline
        def loop(dx, dy, x, a, b, c, whole):
            for i in range(whole):
                dx[i] = derivative(dy[i], x[i], a, b, c)
            for i in range(whole, x.size):
                dx[i] = derivative(dy[i], x[i], a, b, c) if x[i] == x[i] else dy[i]

    def build(dtype):
        vectors = _TWO_VECTORS // np.dtype(dtype).itemsize

        def elementwise_backward_slice(args, t, n):
            # dx[size], dy[size], x[size]
            size = integer(args, _BACKWARD_WORDS.size)
            first, last = part(size, t, n)
            dx = array(args, _BACKWARD_WORDS.dx, (size,), dtype)[first:last]
            dy = array(args, _BACKWARD_WORDS.dy, (size,), dtype)[first:last]
            x = array(args, _BACKWARD_WORDS.x, (size,), dtype)[first:last]
            a, b, c = real(args, _BACKWARD_WORDS.a), real(args, _BACKWARD_WORDS.b), real(args, _BACKWARD_WORDS.c)
            whole = min(max(size - size % vectors - first, 0), last - first)
            loop(dx, dy, x, dtype(a), dtype(b), dtype(c), whole)

        return elementwise_backward_slice

    return build


_mish_parts = inline(_mish_parts)


@functools.cache
def _kernels(name: str) -> tuple[dict[np.dtype, Kernel], dict[np.dtype, Kernel], Alike, Alike]:
    """The kernels of a function by dtype, and for small arrays.

    They are created at its first use: creating a jitted function also costs time.
    """
    try:
        function = FUNCTIONS[name]
    except (KeyError, TypeError):
        raise ValueError(f"activation must be one of {', '.join(FUNCTIONS)}, found {name!r}") from None
    forward = _forward(inline(function.value))
    backward = _backward(inline(function.derivative), function.passes_nan)
    both = (
        by_dtype(f"{name}_forward", forward, _FORWARD_WORDS, outputs="out", shared=""),
        by_dtype(f"{name}_backward", backward, _BACKWARD_WORDS, outputs="dx"),
    )
    return *both, *map(Alike, both)  # type: ignore[return-value]  # of two


def _direct(activation: str, a: float, b: float, c: float) -> DirectKernel:
    most = SERIAL_OPERATIONS // FUNCTIONS[activation].cost
    constants = float(a), float(b), float(c)
    return DirectKernel(lambda: _kernels(activation)[0][FLOAT32], 1, most=most, constants=constants)


# The activations of small float32 arrays: ``DIRECT.run(x, activation, a, b, c)``.
DIRECT = DirectKernels(_direct, 3)


def elementwise_forward(
    out: np.ndarray, x: np.ndarray, activation: str, a: float = 0.0, b: float = 0.0, c: float = 0.0
) -> None:
    """``out = activation(x, a, b, c)``, elementwise.

    Args:
        out, x: C-contiguous arrays of one shape and dtype, float32 or float64; they may be the same.
        activation: a key of :data:`FUNCTIONS`.
        a, b, c: its constants; see its function above.
    """
    kernels, _, alike, _ = _kernels(activation)
    if alike.run(FUNCTIONS[activation].cost, out, x, None, -1, a, b, c):
        return
    kernel = kernel_for(kernels, "x", x)
    check("x", x, x.dtype, x.shape)
    check_output("out", out, x.dtype, x.shape)
    launch(kernel, chunks_for(x.size * FUNCTIONS[activation].cost), (out, x), x.size, a, b, c)


def elementwise_backward(
    dx: np.ndarray, dy: np.ndarray, x: np.ndarray, activation: str, a: float = 0.0, b: float = 0.0, c: float = 0.0
) -> None:
    """``dx = dy * activation'(x, a, b, c)``, elementwise; zero where the activation is constant, for any dy.

    Args:
        dx, dy, x: C-contiguous arrays of one shape and dtype; ``dx`` may be ``dy``.
        activation, a, b, c: as in :func:`elementwise_forward`.
    """
    _, kernels, _, alike = _kernels(activation)
    if alike.run(FUNCTIONS[activation].cost, dx, dy, x, -1, a, b, c):
        return
    kernel = kernel_for(kernels, "dy", dy)
    check("dy", dy, dy.dtype, dy.shape)
    check("x", x, dy.dtype, dy.shape)
    check_output("dx", dx, dy.dtype, dy.shape)
    launch(kernel, chunks_for(dy.size * FUNCTIONS[activation].cost), (dx, dy, x), dy.size, a, b, c)
