"""``torch.special``: mathematical functions, some of them aliases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor, _recorded
from fastnn.nn.functional.torch_names import log_softmax, sigmoid, softmax
from fastnn.ops.binary_math import logarithmic, xlogy
from fastnn.ops.core import as_floating, check_tensor, named
from fastnn.ops.elementwise import (
    _floating,
    _i1,
    _special,
    digamma,
    erf,
    erfc,
    erfinv,
    exp2,
    expm1,
    i0,
    lgamma,
    log1p,
    logit,
    mvlgamma,
    polygamma,
    round,
    sinc,
)
from fastnn.ops.norms import logsumexp

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e",
    "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr", "ndtri", "polygamma", "psi",
    "round", "sinc", "softmax", "xlog1py", "xlogy",
]  # fmt: skip

expit, gammaln, psi, multigammaln, i1 = sigmoid, lgamma, digamma, mvlgamma, _i1
_ROOT_2_PI = math.sqrt(2 * math.pi)


def _density(x: Tensor) -> Tensor:
    return (x * x * -0.5).exp() / _ROOT_2_PI


_ndtr = _floating("ndtr", "The normal distribution function.", _special("ndtr"), lambda g, x: g * _density(x))
ndtri = _floating("ndtri", "The inverse of ``ndtr``.", _special("ndtri"), lambda g, y: g / _density(y), "y")
log_ndtr: Callable[..., Tensor] = _floating(
    # The density over ``ndtr``; for negative x both would underflow. NaN where both are 0, as in PyTorch.
    "log_ndtr", "``log(ndtr(x))``.", _special("log_ndtr"),
    lambda g, x: g * (math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5))).masked_fill(x == -math.inf, math.nan), "xy",
)
erfcx: Callable[..., Tensor] = _floating(
    "erfcx", "``exp(x**2) * erfc(x)``.", _special("erfcx"),
    lambda g, x: g * (2 * x * erfcx(x) - 2 / math.sqrt(math.pi)), "xy",
)  # fmt: skip
entr = _floating("entr", "``-x * log(x)``.", _special("entr"), lambda g, x: g * (-x.log() - 1))
i0e: Callable[..., Tensor] = _floating(
    "i0e", "``exp(-abs(x)) * i0(x)``.", _special("i0e"), lambda g, x: g * (i1e(x) - x.sgn() * i0e(x)), "xy"
)


def _i1e_slope(grad: Tensor, x: Tensor) -> Tensor:
    zero = x == 0
    slope = i0e(x) - i1e(x) * x.sgn() - (i1e(x) / x.masked_fill(zero, 1)).masked_fill(zero, 0.5)
    # The derivative at NaN is that at 0, as in PyTorch.
    return grad * slope.masked_fill(x.isnan(), 0.5)


i1e: Callable[..., Tensor] = _floating("i1e", "``exp(-abs(x)) * i1(x)``.", _special("i1e"), _i1e_slope, "xy")


@named
def ndtr(input: Tensor) -> Tensor:
    """The normal distribution function."""
    check_tensor("input", input)
    x = as_floating(input)
    # With a copy, as in PyTorch: the operand may change before the backward pass.
    return _ndtr(x.clone() if _recorded(x) else x)


@named
def xlog1py(input: Any, other: Any) -> Tensor:
    """``input * log1p(other)``, and 0 where ``input`` is 0."""
    if not isinstance(other, Tensor):
        check_tensor("input", input)
    return logarithmic("Xlog1py", input, other, np.log1p, 1)
