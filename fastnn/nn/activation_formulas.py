"""Derivatives of activations in recorded operations, for second derivatives.

The activations that the linear kernel can apply, and some others, have their derivative as one operation, whose own
derivative is given in operations (:func:`slope_of`). The rest have a plain formula, registered with their kernel, which
is differentiated in place of the kernel. A missing one is an error when this module is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node, SelectiveNode, zeros
from fastnn._autograd.modes import _mode
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.activation.elementwise_activations import FUNCTIONS
from fastnn.kernels.activation.fused_activations import CODES
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _contiguous
from fastnn.ops.core import gated, no_gradient, piece, recorded_result

# -- The activations that the linear kernel can apply to its result ------------------------------------------------


def _curve(at: Tensor, a: Tensor, b: Tensor, activation: str) -> Tensor:
    """``a * b`` times the derivative of the slope of tanh or sigmoid by their result, recorded."""
    x, y, z = _contiguous(a._data), _contiguous(b._data), _contiguous(at._data)
    out = allocation.empty_like(z)
    kernels.activation_curve(out, x, y, z, activation)
    if not _recorded(at, a, b):
        return _wrap(out)

    def run(grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        if False not in wants and not _mode.enabled:
            da, db, dat = allocation.empty_like(z), allocation.empty_like(z), allocation.empty_like(z)
            kernels.activation_curve_backward(da, db, dat, _contiguous(grad._data), x, y, z, activation)
            return _wrap(dat), _wrap(da), _wrap(db)
        return (
            grad * a * b * -2 if wants[0] else None,
            _curve(at, grad, b, activation) if wants[1] else None,
            _curve(at, grad, a, activation) if wants[2] else None,
        )

    return _wrap(out, SelectiveNode("Mul", (at, a, b), run, (at, a, b)))


def _gelu_curve(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    square = z * z
    return a * b * ((square * -0.5).exp() * (2 - square) * (1 / math.sqrt(2 * math.pi)))


def _gelu_tanh_curve(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    # z * s(u), with the sigmoid s of the polynomial u.
    c = 2 * math.sqrt(2 / math.pi)
    square = z * z
    first, second = square * (3 * 0.044715 * c) + c, z * (6 * 0.044715 * c)
    s = _sigmoid((square * 0.044715 + 1) * z * c)
    bend = first * 2 + z * (first * first * (1 - s * 2) + second)
    return slope_of(a * b, s, "sigmoid") * bend


def _flat(at: Tensor, a: Tensor, b: Tensor) -> Tensor:
    # In the graph, as in PyTorch, with gradients of 0.
    return no_gradient(a, None, None)


# The second derivative, of what the first derivative reads and of its two factors; and PyTorch's name of the first.
_CURVES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str]] = {
    "relu": (_flat, "ThresholdBackward"),
    "leaky_relu": (_flat, "LeakyReluBackward"),
    "sigmoid": (lambda y, a, b: _curve(y, a, b, "sigmoid"), "SigmoidBackward"),
    "tanh": (lambda y, a, b: _curve(y, a, b, "tanh"), "TanhBackward"),
    "gelu": (_gelu_curve, "GeluBackward"),
    "gelu_tanh": (_gelu_tanh_curve, "GeluBackward"),
}

# Those with kernels for the second derivative and its derivative.
_BY_RESULT = frozenset(("sigmoid", "tanh"))


def slope_of(grad: Tensor, at: Tensor, activation: str, slope: float = 0.01) -> Tensor:
    """``grad`` times the derivative of an activation, recorded; ``at`` is the result, or the input if that is saved."""
    factor, array = _contiguous(grad._data), _contiguous(at._data)
    dz = allocation.empty_like(array)
    kernels.activation_backward(dz, factor, array, activation, slope)
    if not _recorded(grad, at):
        return _wrap(dz)
    curve, title = _CURVES[activation]

    def run(g: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        if False not in wants and not _mode.enabled and activation in _BY_RESULT:
            by_grad, by_at = allocation.empty_like(array), allocation.empty_like(array)
            kernels.activation_slope_backward(by_grad, by_at, _contiguous(g._data), factor, array, activation)
            return _wrap(by_grad), _wrap(by_at)
        if curve is _flat and not _mode.enabled:
            return slope_of(g, at, activation, slope) if wants[0] else None, _wrap(zeros(at, array))
        return (
            slope_of(g, at, activation, slope) if wants[0] else None,
            curve(at, g, grad) if wants[1] else None,
        )

    return _slope_node(dz, title, grad, at, run)


def _slope_node(dz: np.ndarray, title: str, grad: Tensor, at: Tensor, run: Any) -> Tensor:
    saved = (grad, at) if at._requires_grad else (at,)
    return _wrap(dz, SelectiveNode(f"{title}Backward0", (grad, at), run, saved))


# -- The activations that are not fused: of x and their constants -------------------------------------------------


def _mask(x: Tensor, condition: Any) -> Tensor:
    return _wrap(np.asarray(condition, x._data.dtype))


def _of_result(x: Tensor, activation: str) -> Tensor:
    """A fused activation whose derivative reads the result."""
    array = _contiguous(x._data)
    out = allocation.empty_like(array)
    kernels.activation_forward(out, array, activation)
    if not _recorded(x):
        return _wrap(out)
    return recorded_result(activation.title(), (x,), out, lambda grad, y: (slope_of(grad, y, activation),))


def _sigmoid(x: Tensor) -> Tensor:
    return _of_result(x, "sigmoid")


def _tanh(x: Tensor) -> Tensor:
    return _of_result(x, "tanh")


def _softplus(x: Tensor) -> Tensor:
    array = _contiguous(x._data)
    out = allocation.empty_like(array)
    kernels.elementwise_forward(out, array, "softplus", *_SMOOTH)
    if not _recorded(x):
        return _wrap(out)
    return _wrap(out, Node("Softplus", (x,), lambda grad: (elementwise_slope_of(grad, x, "softplus", *_SMOOTH),), (x,)))


# Softplus without a threshold.
_SMOOTH = 1.0, math.inf, 0.0


class Maths:
    """The functions of a tensor that formulas are made of: ``m`` of the formulas registered with kernels."""

    @staticmethod
    def exp(x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def magnitude(x: Tensor) -> Tensor:
        """``x`` times its sign, which counts as a constant."""
        return x * _mask(x, np.sign(x._data))

    sigmoid = staticmethod(_sigmoid)
    softplus = staticmethod(_softplus)
    tanh = staticmethod(_tanh)
    piece = staticmethod(piece)


def _logsigmoid_curve(x: Tensor, p: Tensor, q: Tensor, a: float, b: float) -> Tensor:
    return -slope_of(p * q, _sigmoid(x), "sigmoid")


def _mish_curve(x: Tensor, p: Tensor, q: Tensor, a: float, b: float) -> Tensor:
    s, t = _sigmoid(x), _tanh(_softplus(x))
    return slope_of(p * q * s, t, "tanh") * (x * (1 - s - t * s * 2) + 2)


def _silu_curve(x: Tensor, p: Tensor, q: Tensor, a: float, b: float) -> Tensor:
    s = _sigmoid(x)
    return slope_of(p * q, s, "sigmoid") * (x * (1 - s * 2) + 2)


def _softplus_curve(x: Tensor, p: Tensor, q: Tensor, a: float, b: float) -> Tensor:
    s = _sigmoid(x if a == 1 else x * a)
    result = slope_of(p * q if a == 1 else p * q * a, s, "sigmoid")
    linear = a * x._data > b
    return gated(result, ~linear, x) if linear.any() else result


# The second derivative of smooth ones, which takes half the time of their formula: of x, two factors and the constants;
# and PyTorch's name of the first.
_ELEMENTWISE_CURVES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor, float, float], Tensor], str]] = {
    "logsigmoid": (_logsigmoid_curve, "LogSigmoidBackward"),
    "mish": (_mish_curve, "MishBackward"),
    "silu": (_silu_curve, "SiluBackward"),
    "softplus": (_softplus_curve, "SoftplusBackward"),
}


def has_curve(name: str) -> bool:
    """Whether :func:`elementwise_slope_of` can compute the derivative of this activation."""
    return name in _ELEMENTWISE_CURVES


def elementwise_slope_of(grad: Tensor, x: Tensor, name: str, a: float, b: float, c: float) -> Tensor:
    """``grad`` times the derivative of an elementwise activation with a curve, recorded."""
    array = _contiguous(x._data)
    dx = allocation.empty_like(array)
    kernels.elementwise_backward(dx, _contiguous(grad._data), array, name, a, b, c)
    if not _recorded(grad, x):
        return _wrap(dx)
    curve, title = _ELEMENTWISE_CURVES[name]

    def run(g: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        return (
            elementwise_slope_of(g, x, name, a, b, c) if wants[0] else None,
            curve(x, g, grad, a, b) if wants[1] else None,
        )

    return _slope_node(dx, title, grad, x, run)


def recorded_elementwise(x: Tensor, name: str, a: float, b: float, c: float) -> Tensor:
    """The elementwise activation of this name in recorded operations."""
    return FUNCTIONS[name].formula(Maths, x, x._data, a, b, c)


def check_formulas() -> None:
    """RuntimeError unless the activations that can be fused are exactly those with a second derivative."""
    odd = sorted(set(CODES) ^ {*_CURVES, "none"})
    if odd:
        raise RuntimeError(f"activations need a kernel and a formula, found one of the two for {', '.join(odd)}")


check_formulas()
