"""Activations as functions of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._core.sums import add_up
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.activation.fused_activations import saves_input
from fastnn.kernels.runtime import allocation
from fastnn.nn.activation_formulas import recorded_activation, recorded_elementwise
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous, _half
from fastnn.ops.core import also_read, as_floating, piece, pieces
from fastnn.random import default_generator

# -- The activations that the linear kernel can apply to its result --------------------------------


# PyTorch's names for the nodes of activations.
GRAD_NAMES = {
    "relu": "Relu", "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu",
    "gelu_tanh": "Gelu",
}  # fmt: skip


# Names of PyTorch's operations with a capital letter inside.
_TITLES = {"logsigmoid": "LogSigmoid"}

# Activations whose derivative in PyTorch reads the result, so the result must not change.
READS_RESULT = frozenset(("relu", "sigmoid", "tanh"))


def _before(input: Tensor, values: np.ndarray) -> Tensor:
    """``input`` before the change in place: these values, with its history."""
    if input._node is None:
        return input
    return _wrap(values, input._node)


def _activation(input: Tensor, activation: str, slope: float = 0.01, inplace: bool = False) -> Tensor:
    if type(input) is not Tensor or input._data.dtype.kind != "f":
        try:
            _check_floating(activation, input)
        except DTypeError:
            if activation in ("sigmoid", "tanh"):
                return _activation(as_floating(input), activation)
            if activation != "relu" or input._data.dtype.kind == "b":
                raise
            rectified = _wrap(np.maximum(input._data, 0))
            return input._in_place(rectified) if inplace else rectified
    data = input._data
    if not data.flags.c_contiguous:
        data = np.ascontiguousarray(data)
    out = allocation.empty_like(data)
    try:
        kernels.activation_forward(out, data, activation, slope)
    except TypeError as error:
        _half(error, input)
        result = _activation(_before(input, data).float(), activation, slope).half()
        return input._in_place(result) if inplace else result
    if not _recorded(input):
        if not inplace:
            return _wrap(out)
        result = _wrap(out)
    else:
        # Leaky ReLU saves its input too, unless in place: so the result may change, as in PyTorch.
        needs_input = saves_input(activation) or (activation == "leaky_relu" and (slope < 0 or not inplace))
        saved = data.copy() if needs_input and inplace else data if needs_input else out

        def run(grad: Tensor) -> tuple[Tensor]:
            dz = allocation.empty_like(saved)
            kernels.activation_backward(dz, _contiguous(grad._data), saved, activation, slope)
            return (_wrap(dz),)

        name = GRAD_NAMES[activation]
        # In place the operand is lost; ReLU and leaky ReLU keep the sign, so the result gives their slope.
        before = _before(input, saved if needs_input else out) if inplace else input
        node = Node(
            name, (before,), run, (input,) if needs_input and not inplace else (), keeps=True,
            recompute=lambda: recorded_activation(before, activation, slope, inplace),
        )  # fmt: skip
        result = _wrap(out, node)
        if not needs_input:
            node.guard(result)
    return input._in_place(result) if inplace else result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``, elementwise.

    >>> import fastnn
    >>> fastnn.nn.functional.relu(fastnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _activation(input, "relu", inplace=inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``negative_slope * input`` elsewhere."""
    return _activation(input, "leaky_relu", negative_slope, inplace)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``, elementwise."""
    return _activation(input, "sigmoid")


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, elementwise."""
    return _activation(input, "tanh")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input * Phi(input)``, Phi the normal distribution function; 'tanh' approximates it.

    Source: D. Hendrycks and K. Gimpel, arXiv:1606.08415.
    """
    return _activation(input, gelu_name(approximate))


_GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def gelu_name(approximate: str) -> str:
    """The kernel's name for PyTorch's argument ``approximate``."""
    if isinstance(approximate, str) and approximate in _GELU:
        return _GELU[approximate]
    kind = RuntimeError if isinstance(approximate, str) else TypeError
    raise kind(f"approximate argument must be either none or tanh, found {approximate!r}")


# -- The others --------------------------------------------------------------------------------------


def _tail(
    input: Tensor, name: str, a: float = 0.0, b: float = 0.0, c: float = 0.0, inplace: bool = False
) -> Tensor:
    """An activation of ``kernels.elementwise_activations``, where the constants are explained."""
    if type(input) is not Tensor or input._data.dtype.kind != "f":
        _check_floating(name, input)
    data = input._data
    if not data.flags.c_contiguous:
        data = np.ascontiguousarray(data)
    out = allocation.empty_like(data)
    try:
        kernels.elementwise_forward(out, data, name, a, b, c)
    except TypeError as error:
        _half(error, input)
        result = _tail(_before(input, data).float(), name, a, b, c).half()
        return input._in_place(result) if inplace else result
    if not _recorded(input):
        result = _wrap(out)
    else:
        saved = data.copy() if inplace else data
        alone = inplace
        if name == "tanhshrink":
            # A copy by a kernel: PyTorch's formula saves tanh(x), so x may change.
            alone, saved = True, allocation.empty_like(data)
            kernels.activation_forward(saved, data, "leaky_relu", 1.0)

        def run(grad: Tensor) -> tuple[Tensor]:
            dx = allocation.empty_like(saved)
            kernels.elementwise_backward(dx, _contiguous(grad._data), saved, name, a, b, c)
            return (_wrap(dx),)

        before = _before(input, saved) if inplace else input
        node = Node(
            _TITLES.get(name) or name.title(), (before,), run, () if alone else (input,), keeps=True,
            recompute=lambda: recorded_elementwise(before, name, a, b, c),
        )  # fmt: skip
        result = _wrap(out, node)
        if inplace and name == "elu":
            # PyTorch's derivative reads the result.
            node.guard(result)
    return input._in_place(result) if inplace else result


def _hardtanh(input: Tensor, low: float, high: float, inplace: bool) -> Tensor:
    _check_tensor("input", input)
    kind = input._data.dtype.kind
    if kind == "f":
        return _tail(input, "hardtanh", low, high, inplace=inplace)
    if kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if kind == "u" and (int(low) < 0 or int(high) < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    result = _wrap(np.asarray(input._data.clip(int(low), int(high))))
    return input._in_place(result) if inplace else result


def _number(name: str, value: Any) -> float:
    if type(value) is float:
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, found {type(value).__name__}") from None


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input) - 1)`` elsewhere (arXiv:1511.07289).

    >>> import fastnn
    >>> fastnn.nn.functional.elu(fastnn.tensor([-1e4, 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return _tail(input, "elu", _number("alpha", alpha), 1.0, 1.0, inplace=inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``scale * elu(input, alpha)`` with the constants that keep mean 0 and variance 1 (arXiv:1706.02515)."""
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return _tail(input, "elu", alpha * scale, scale, 1.0, inplace=inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input / alpha) - 1)`` elsewhere (arXiv:1704.07483).

    Raises: RuntimeError for ``alpha = 0``.
    """
    alpha = _number("alpha", alpha)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _tail(input, "elu", alpha, 1.0, 1 / alpha, inplace=inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where ``|input| <= lambd``, ``input`` elsewhere."""
    return _tail(input, "hardshrink", _number("lambd", lambd))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``input`` moved towards 0 by ``lambd``, and 0 where ``|input| <= lambd``.

    Raises: RuntimeError for a negative ``lambd``.
    """
    if not _number("lambd", lambd) >= 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _tail(input, "softshrink", float(lambd))


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``input / 6 + 1 / 2``, clamped to [0, 1]."""
    return _tail(input, "hardsigmoid", inplace=inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * hardsigmoid(input)`` (arXiv:1905.02244)."""
    return _tail(input, "hardswish", inplace=inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input``, clamped to [``min_val``, ``max_val``].

    Raises: ValueError if ``min_val`` is larger than ``max_val``.
    """
    low, high = _number("min_val", min_val), _number("max_val", max_val)
    if low > high:
        raise ValueError(f"min_val cannot be greater than max_val, found {min_val} and {max_val}")
    return _hardtanh(input, low, high, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``input``, clamped to [0, 6]."""
    return _hardtanh(input, 0.0, 6.0, inplace)


def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(input))``, elementwise, finite even where the sigmoid is 0.

    >>> import fastnn
    >>> fastnn.nn.functional.logsigmoid(fastnn.tensor([-1000.0])).item()
    -1000.0
    """
    return _tail(input, "logsigmoid")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)`` (arXiv:1702.03118), also called swish."""
    return _tail(input, "silu", inplace=inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))`` (arXiv:1908.08681)."""
    return _tail(input, "mish", inplace=inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``; ``input`` itself where ``beta * input > threshold``."""
    return _tail(input, "softplus", _number("beta", beta), _number("threshold", threshold))


def softsign(input: Tensor) -> Tensor:
    """``input / (1 + |input|)``, elementwise."""
    _check_tensor("input", input)
    if input._data.dtype.kind in "iu":
        # The divisor is an integer, as in PyTorch.
        return input / _wrap(np.abs(input._data) + input._data.dtype.type(1))
    return _tail(input, "softsign")


def tanhshrink(input: Tensor) -> Tensor:
    """``input - tanh(input)``, elementwise."""
    _check_tensor("input", input)
    return _tail(input if input._data.dtype.kind in "fb" else input / 1, "tanhshrink")


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where it is above ``threshold``, ``value`` elsewhere."""
    limit, replacement = _number("threshold", threshold), _number("value", value)
    _check_tensor("input", input)
    if input._data.dtype.kind in "iu":
        limit, replacement = int(limit), int(replacement)
        if replacement not in range(np.iinfo(input._data.dtype).min, np.iinfo(input._data.dtype).max + 1):
            raise RuntimeError(f"value cannot be converted to type {input._data.dtype} without overflow")
        result = _wrap(np.where(input._data <= limit, replacement, input._data).astype(input._data.dtype))
        return input._in_place(result) if inplace else result
    return _tail(input, "threshold", limit, replacement, inplace=inplace)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU with a random slope per element in training, and the mean slope in evaluation (arXiv:1505.00853).

    Args:
        lower, upper: the slopes are uniform between these.
    """
    low, high = _number("lower", lower), _number("upper", upper)
    if low > high:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, found {lower} and {upper}")
    if not training:
        return _activation(input, "leaky_relu", (low + high) / 2, inplace)
    _check_floating("rrelu", input)
    data = input._data
    slopes = default_generator().numpy.uniform(low, high, data.shape)
    kept = np.where(data > 0, 1, slopes).astype(data.dtype)
    if not _recorded(input):
        result = _wrap(data * kept)
    else:
        before = _before(input, data.copy()) if inplace else input
        result = also_read(pieces(before, kept, inplace), *() if inplace else (input,))
    return input._in_place(result) if inplace else result


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``input`` where positive, ``weight * input`` elsewhere (arXiv:1502.01852).

    Args:
        input: (batch, channels, ...) or any shape, float32 or float64.
        weight: (channels,), or one number for all, of the same dtype.
    """
    _check_tensor("weight", weight)
    _check_floating("prelu", input, weight)
    if weight._data.dtype != input._data.dtype:
        raise DTypeError(f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype}")
    if weight._data.ndim > 1:
        raise ShapeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight._data.ndim}")
    channels = input._data.shape[1] if input._data.ndim > 1 else 1
    if weight._data.size not in (1, channels) or (not input._data.ndim and weight._data.size != 1):
        raise ShapeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight._data.size} and "
            f"channel size = {channels}."
        )
    x, w = _contiguous(input._data), _contiguous(weight._data.reshape(-1))
    out = allocation.empty_like(x)
    try:
        kernels.prelu_forward(out, x, w)
    except TypeError as error:
        _half(error, input)
        return prelu(input.float(), weight.float()).half()
    if not _recorded(input, weight):
        return _wrap(out)

    wants_dx, wants_dw = input._requires_grad, weight._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        dx, each = allocation.empty_like(x), allocation.empty_like(x)
        kernels.prelu_backward(dx, each, _contiguous(grad._data), x, w)
        if not wants_dw:
            return _wrap(dx), None
        axes = tuple([d for d in range(x.ndim) if d != 1 or w.size == 1])
        dw = np.asarray(add_up(each, axes)).reshape(weight._data.shape)
        return (_wrap(dx) if wants_dx else None), _wrap(dw)

    def recompute() -> Tensor:
        shape = (-1, *(1,) * (x.ndim - 2)) if w.size > 1 else ()
        right = x > 0
        slope = (weight if wants_dw else weight.detach()).reshape(*shape)
        return piece(input, right) + slope * piece(input, ~right)

    return _wrap(out, Node("PreluKernel", (input, weight), run, (input, weight), keeps=True, recompute=recompute))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)``, a and b the halves of ``input`` along ``dim`` (arXiv:1612.08083).

    >>> import fastnn
    >>> fastnn.nn.functional.glu(fastnn.tensor([[3.0, 0.0]]))
    tensor([[1.5000]])
    """
    _check_floating("glu", input)
    data = input._data
    if data.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if not -data.ndim <= dim < data.ndim:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-data.ndim}, {data.ndim - 1}], but got {dim})"
        )
    axis = dim % data.ndim
    size = data.shape[axis]
    if size % 2:
        raise ShapeError(f"Halving dimension must be even, but dimension {axis} is size {size}")
    before = (slice(None),) * axis
    return input[(*before, slice(0, size // 2))] * sigmoid(input[(*before, slice(size // 2, size))])


def _in_place_form(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def changed(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return function(input, *args, **options, inplace=True)

    changed.__name__ = changed.__qualname__ = name
    changed.__doc__ = f"As :func:`{function.__name__}`, in the memory of ``input``."
    return changed


relu_, leaky_relu_ = _in_place_form("relu_", relu), _in_place_form("leaky_relu_", leaky_relu)
elu_, selu_, celu_ = _in_place_form("elu_", elu), _in_place_form("selu_", selu), _in_place_form("celu_", celu)
hardtanh_, threshold_ = _in_place_form("hardtanh_", hardtanh), _in_place_form("threshold_", threshold)
rrelu_ = _in_place_form("rrelu_", rrelu)
