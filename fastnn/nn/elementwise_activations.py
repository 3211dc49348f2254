"""Activation layers that are not fused with a linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.linear import _kind
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


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
        return functional.elu(input, self.alpha, self.inplace)


class SELU(_Inplace):
    """``scale * elu(x, alpha)`` with the constants that keep mean 0 and variance 1 (arXiv:1706.02515)."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.selu(input, self.inplace)


class CELU(_Elementwise):
    """``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere (arXiv:1704.07483)."""

    _shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.celu(input, self.alpha, self.inplace)


class Hardshrink(_Shrink):
    """0 where ``|x| <= lambd``, ``x`` elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    """``x`` moved towards 0 by ``lambd``, and 0 where ``|x| <= lambd``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.softshrink(input, self.lambd)


class Hardsigmoid(_Inplace):
    """``x / 6 + 1 / 2``, clamped to [0, 1]."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Hardswish(_Inplace):
    """``x * hardsigmoid(x)`` (arXiv:1905.02244)."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


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
        return functional.hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(Hardtanh):
    """``x``, clamped to [0, 6]."""

    _shown = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)


class LogSigmoid(_Elementwise):
    """``log(sigmoid(x))``, finite even where the sigmoid is 0."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.logsigmoid(input)


class SiLU(_Inplace):
    """``x * sigmoid(x)`` (arXiv:1702.03118), also called swish."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.silu(input, self.inplace)


class Mish(_Inplace):
    """``x * tanh(softplus(x))`` (arXiv:1908.08681)."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.mish(input, self.inplace)


class Softplus(_Elementwise):
    """``log(1 + exp(beta * x)) / beta``; ``x`` itself where ``beta * x > threshold``."""

    _shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.softplus(input, self.beta, self.threshold)


class Softsign(_Elementwise):
    """``x / (1 + |x|)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.softsign(input)


class Tanhshrink(_Elementwise):
    """``x - tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.tanhshrink(input)


class Threshold(_Elementwise):
    """``x`` where it is above ``threshold``, ``value`` elsewhere."""

    _shown = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.threshold(input, self.threshold, self.value, self.inplace)


class RReLU(_Elementwise):
    """Leaky ReLU with a random slope per element in training, and the mean slope in evaluation (arXiv:1505.00853)."""

    _shown = ("lower", "upper")

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return functional.rrelu(input, self.lower, self.upper, self.training, self.inplace)


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
        return functional.prelu(input, self.weight)


class GLU(Module):
    """``a * sigmoid(b)``, a and b the halves of the input along ``dim`` (arXiv:1612.08083)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Half the size along ``dim``."""
        return functional.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
