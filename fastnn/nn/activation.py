"""Activations: each function of ``nn.functional`` beside its layer.

A layer that the linear kernel can apply to its result names its kernel, so that ``Sequential`` can fuse it with the
preceding layer. The kernels of the others are in ``kernels.activation.elementwise_activations``.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core import numpy_trace as trace
from fastnn._core.dtypes import as_number
from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._core.sums import add_up
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.activation_core import _activation, _before, _elementwise, gelu_name
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous, _half, _kind
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.ops.core import also_read, piece, pieces
from fastnn.random import default_generator

# `nn` has the layers, `nn.functional` the functions.
__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign",
    "Tanh", "Tanhshrink", "Threshold",
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_",
    "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_", "rrelu", "rrelu_", "selu",
    "selu_", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip

# -- The activations that the linear kernel can apply to its result ----------------------------------------------------


class _Activation(Module):
    """An elementwise function that the linear kernel can apply to its result."""

    inplace: bool = False

    def fused(self) -> tuple[str, float]:
        """The kernel's name for the activation, and its slope."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return _activation(input, *self.fused(), inplace=self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``, elementwise.

    >>> import fastnn
    >>> fastnn.nn.functional.relu(fastnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _activation(input, "relu", inplace=inplace)


class ReLU(_Activation):
    """``max(x, 0)``.

    >>> import fastnn
    >>> fastnn.nn.ReLU()(fastnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def fused(self) -> tuple[str, float]:
        return "relu", 0.0


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``negative_slope * input`` elsewhere."""
    return _activation(input, "leaky_relu", negative_slope, inplace)


class LeakyReLU(_Activation):
    """``x`` where positive, ``negative_slope * x`` elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        if not isinstance(negative_slope, numbers.Real):
            raise TypeError(f"negative_slope must be a number, found {negative_slope!r}")
        self.negative_slope: float = negative_slope
        self.inplace = inplace

    def fused(self) -> tuple[str, float]:
        return "leaky_relu", self.negative_slope

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``, elementwise."""
    return _activation(input, "sigmoid")


class Sigmoid(_Activation):
    """``1 / (1 + exp(-x))``."""

    def fused(self) -> tuple[str, float]:
        return "sigmoid", 0.0


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, elementwise."""
    return _activation(input, "tanh")


class Tanh(_Activation):
    """The hyperbolic tangent."""

    def fused(self) -> tuple[str, float]:
        return "tanh", 0.0


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input * Phi(input)``, Phi the normal distribution function; 'tanh' approximates it.

    Source: D. Hendrycks and K. Gimpel, arXiv:1606.08415.
    """
    return _activation(input, gelu_name(approximate))


class GELU(_Activation):
    """``x * Phi(x)``, Phi the normal distribution function (arXiv:1606.08415); 'tanh' approximates it."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        gelu_name(approximate)
        self.approximate = approximate

    def fused(self) -> tuple[str, float]:
        return gelu_name(self.approximate), 0.0

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


# -- The others -----------------------------------------------------------------------------------------------------


class _Elementwise(Module):
    """A function of each number. Attributes named in ``_shown`` are in ``repr``."""

    inplace: bool = False
    _shown: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        parts = [f"{name}={getattr(self, name)}" for name in self._shown]
        return ", ".join([*parts, "inplace=True"] if self.inplace else parts)


class _Inplace(_Elementwise):
    """A function without constants that may write into its input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class _Shrink(_Elementwise):
    """A function that is 0 where ``|x| <= lambd``."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return f"{self.lambd}"


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
    return _elementwise(input, "elu", _number("alpha", alpha), 1.0, 1.0, inplace=inplace, reads_result=True)


class ELU(_Elementwise):
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere (arXiv:1511.07289).

    >>> import fastnn
    >>> fastnn.nn.ELU()(fastnn.tensor([-1e4, 2.0])).tolist()
    [-1.0, 2.0]
    """

    _shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return elu(input, self.alpha, self.inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``scale * elu(input, alpha)`` with the constants that keep mean 0 and variance 1 (arXiv:1706.02515)."""
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return _elementwise(input, "elu", alpha * scale, scale, 1.0, inplace=inplace, reads_result=True)


class SELU(_Inplace):
    """``scale * elu(x, alpha)`` with the constants that keep mean 0 and variance 1 (arXiv:1706.02515)."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return selu(input, self.inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``alpha * (exp(input / alpha) - 1)`` elsewhere (arXiv:1704.07483).

    Raises: RuntimeError for ``alpha = 0``.
    """
    alpha = _number("alpha", alpha)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elementwise(input, "elu", alpha, 1.0, 1 / alpha, inplace=inplace, reads_result=True)


class CELU(_Elementwise):
    """``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere (arXiv:1704.07483)."""

    _shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return celu(input, self.alpha, self.inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where ``|input| <= lambd``, ``input`` elsewhere."""
    return _elementwise(input, "hardshrink", _number("lambd", lambd))


class Hardshrink(_Shrink):
    """0 where ``|x| <= lambd``, ``x`` elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return hardshrink(input, self.lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``input`` moved towards 0 by ``lambd``, and 0 where ``|input| <= lambd``.

    Raises: RuntimeError for a negative ``lambd``.
    """
    if not _number("lambd", lambd) >= 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _elementwise(input, "softshrink", float(lambd))


class Softshrink(_Shrink):
    """``x`` moved towards 0 by ``lambd``, and 0 where ``|x| <= lambd``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return softshrink(input, self.lambd)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``input / 6 + 1 / 2``, clamped to [0, 1]."""
    return _elementwise(input, "hardsigmoid", inplace=inplace)


class Hardsigmoid(_Inplace):
    """``x / 6 + 1 / 2``, clamped to [0, 1]."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * hardsigmoid(input)`` (arXiv:1905.02244)."""
    return _elementwise(input, "hardswish", inplace=inplace)


class Hardswish(_Inplace):
    """``x * hardsigmoid(x)`` (arXiv:1905.02244)."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


def _hardtanh(input: Tensor, low: float, high: float, inplace: bool) -> Tensor:
    _check_tensor("input", input)
    kind = input._data.dtype.kind
    if kind == "f":
        return _elementwise(input, "hardtanh", low, high, inplace=inplace)
    if kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if kind == "i":
        for limit in (low, high):
            as_number(limit, input._data.dtype)
    if kind == "u" and (int(low) < 0 or int(high) < 0):
        raise RuntimeError(
            f"cannot do hardtanh on an unsigned type with negative limits: found {input.dtype}, {low} and {high}"
        )
    result = _wrap(np.asarray(input._data.clip(int(low), int(high))))
    return input._in_place(result) if inplace else result


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input``, clamped to [``min_val``, ``max_val``].

    Raises: ValueError if ``min_val`` is larger than ``max_val``.
    """
    low, high = _number("min_val", min_val), _number("max_val", max_val)
    if low > high:
        raise ValueError(f"min_val cannot be greater than max_val, found {min_val} and {max_val}")
    return _hardtanh(input, low, high, inplace)


class Hardtanh(_Elementwise):
    """``x``, clamped to [``min_val``, ``max_val``].

    >>> import fastnn
    >>> fastnn.nn.Hardtanh(-2.0, 2.0)(fastnn.tensor([-3.0, 1.0, 3.0])).tolist()
    [-2.0, 1.0, 2.0]
    """

    _shown: tuple[str, ...] = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace
        if not self.max_val > self.min_val:
            raise AssertionError(f"max_val ({max_val}) must be larger than min_val ({min_val})")

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``input``, clamped to [0, 6]."""
    return _hardtanh(input, 0.0, 6.0, inplace)


class ReLU6(Hardtanh):
    """``x``, clamped to [0, 6]."""

    _shown = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)


def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(input))``, elementwise, finite even where the sigmoid is 0.

    >>> import fastnn
    >>> fastnn.nn.functional.logsigmoid(fastnn.tensor([-1000.0])).item()
    -1000.0
    """
    return _elementwise(input, "logsigmoid", title="LogSigmoid")


class LogSigmoid(_Elementwise):
    """``log(sigmoid(x))``, finite even where the sigmoid is 0."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return logsigmoid(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)`` (arXiv:1702.03118), also called swish."""
    return _elementwise(input, "silu", inplace=inplace)


class SiLU(_Inplace):
    """``x * sigmoid(x)`` (arXiv:1702.03118), also called swish."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return silu(input, self.inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))`` (arXiv:1908.08681)."""
    return _elementwise(input, "mish", inplace=inplace)


class Mish(_Inplace):
    """``x * tanh(softplus(x))`` (arXiv:1908.08681)."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return mish(input, self.inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``; ``input`` itself where ``beta * input > threshold``."""
    return _elementwise(input, "softplus", _number("beta", beta), _number("threshold", threshold))


class Softplus(_Elementwise):
    """``log(1 + exp(beta * x)) / beta``; ``x`` itself where ``beta * x > threshold``."""

    _shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return softplus(input, self.beta, self.threshold)


def softsign(input: Tensor) -> Tensor:
    """``input / (1 + |input|)``, elementwise."""
    _check_tensor("input", input)
    if input._data.dtype.kind in "iu":
        # The divisor is an integer, as in PyTorch.
        return input / _wrap(np.abs(input._data) + input._data.dtype.type(1))
    return _elementwise(input, "softsign")


class Softsign(_Elementwise):
    """``x / (1 + |x|)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return softsign(input)


def tanhshrink(input: Tensor) -> Tensor:
    """``input - tanh(input)``, elementwise."""
    _check_tensor("input", input)
    # PyTorch's derivative reads tanh(input).
    return _elementwise(input if input._data.dtype.kind in "fb" else input / 1, "tanhshrink", saves_copy=True)


class Tanhshrink(_Elementwise):
    """``x - tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return tanhshrink(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where it is above ``threshold``, ``value`` elsewhere."""
    limit, replacement = _number("threshold", threshold), _number("value", value)
    _check_tensor("input", input)
    if input._data.dtype.kind in "iu":
        # A negative number wraps around in uint8.
        kind = input._data.dtype
        result = _wrap(np.where(input._data <= as_number(limit, kind), as_number(replacement, kind), input._data))
        return input._in_place(result) if inplace else result
    if input._data.dtype == np.float16:
        as_number(replacement, input._data.dtype)
    return _elementwise(input, "threshold", limit, replacement, inplace=inplace)


class Threshold(_Elementwise):
    """``x`` where it is above ``threshold``, ``value`` elsewhere."""

    _shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return threshold(input, self.threshold, self.value, self.inplace)


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


class RReLU(_Elementwise):
    """Leaky ReLU with a random slope per element in training, and the mean slope in evaluation (arXiv:1505.00853)."""

    _shown = ("lower", "upper")

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return rrelu(input, self.lower, self.upper, self.training, self.inplace)


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
        dw = np.asarray(trace.run(lambda each: add_up(each, axes), each)).reshape(weight._data.shape)
        return (_wrap(dx) if wants_dx else None), _wrap(dw)

    def recompute() -> Tensor:
        shape = (-1, *(1,) * (x.ndim - 2)) if w.size > 1 else ()
        right = x > 0
        slope = (weight if wants_dw else weight.detach()).reshape(*shape)
        return piece(input, right) + slope * piece(input, ~right)

    return _wrap(out, Node("PreluKernel", (input, weight), run, (input, weight), keeps=True, recompute=recompute))


class PReLU(_Elementwise):
    """``x`` where positive, ``weight * x`` elsewhere (arXiv:1502.01852).

    Args:
        num_parameters: 1, or the number of channels (dimension 1 of the input).
        init: the initial value of the weight.
        device: None or the CPU.
        dtype: float32 (the default) or float64.

    >>> import fastnn
    >>> fastnn.nn.PReLU()(fastnn.tensor([-4.0, 4.0])).tolist()
    [-1.0, 4.0]
    """

    _shown = ("num_parameters",)
    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: _dtype | None = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter._empty((num_parameters,), _kind(dtype, device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ``init``."""
        self.weight._data[...] = np.asarray(self.init, self.weight._data.dtype)
        self.weight._memory.version += 1

    def forward(self, input: Tensor) -> Tensor:
        """(batch, num_parameters, ...), or any shape for one parameter."""
        return prelu(input, self.weight)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)``, a and b the halves of ``input`` along ``dim`` (arXiv:1612.08083).

    >>> import fastnn
    >>> fastnn.nn.functional.glu(fastnn.tensor([[3.0, 0.0]]))
    tensor([[1.5000]])
    """
    _check_floating("glu", input)
    data = input._data
    if data.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors: input has no dimension to halve")
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


class GLU(Module):
    """``a * sigmoid(b)``, a and b the halves of the input along ``dim`` (arXiv:1612.08083)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Half the size along ``dim``."""
        return glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


# -- In place ---------------------------------------------------------------------------------------------------------


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
