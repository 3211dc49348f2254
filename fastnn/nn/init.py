"""Initial values of parameters, written in place.

The draws come from fastnn's generator (or the given one), so they differ from PyTorch's.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.kernels.runtime import allocation
from fastnn.random import Generator, default_generator

_LINEAR = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip


def _write(tensor: Tensor, values: Any) -> Tensor:
    """Write these values into the tensor, in any memory order."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor must be a Tensor, found {type(tensor).__name__}")
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not tensor.is_floating_point() and values.ndim:
        raise DTypeError(f"floating point numbers are drawn for floating point tensors, found {tensor.dtype}")
    tensor._memory.version = tensor._memory.version_to_write() + 1
    tensor._data[...] = values
    return tensor


def _draws(generator: Generator | None) -> np.random.Generator:
    return (generator or default_generator()).numpy


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through an activation.

    1 for linear layers and sigmoid, 5 / 3 for tanh, sqrt(2) for ReLU, sqrt(2 / (1 + slope**2)) for leaky
    ReLU (``param`` is its slope, 0.01 by default), 3 / 4 for SELU.

    >>> import fastnn
    >>> fastnn.nn.init.calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif not isinstance(param, bool) and isinstance(param, (int, float)):
            slope = param
        else:
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers uniform between ``a`` and ``b``.

    >>> import fastnn
    >>> w = fastnn.nn.init.uniform_(fastnn.zeros(3, 5), -1, 1)
    >>> (w.abs() <= 1).sum().item()
    15
    """
    if not a <= b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}")
    return _write(tensor, _draws(generator).uniform(a, b, tensor._data.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from the normal distribution."""
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return _write(tensor, _draws(generator).normal(mean, std, tensor._data.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with numbers from the part of the normal distribution between ``a`` and ``b``.

    Uses rejection sampling: from the normal distribution if enough draws are accepted, otherwise from the
    uniform one. The distribution is right for any mean.
    """
    if not a <= b:
        raise ValueError(f"a must not be larger than b, found {a} and {b}")
    if not tensor.is_floating_point():
        raise DTypeError(f"floating point numbers are drawn for floating point tensors, found {tensor.dtype}")
    draws, count = _draws(generator), tensor._data.size
    if std <= 0 or a == b:
        return _write(tensor, min(max(mean, a), b))
    low, high = (a - mean) / std, (b - mean) / std
    share = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    # The number of the interval nearest to the mean, where the density is largest.
    nearest = min(max(0.0, low), high)
    # Beyond this distance the density is at most e**-40 of the largest.
    reach = 40 / max(abs(nearest), 4.5)
    left, right = max(low, nearest - reach), min(high, nearest + reach)
    found = allocation.empty(0)
    while found.size < count:
        tries = 2 * (count - found.size) + 16
        if share > 0.3:
            z = draws.standard_normal(tries)
            z = z[(low <= z) & (z <= high)]
        else:
            z = draws.uniform(left, right, tries)
            z = z[draws.random(tries) <= np.exp((nearest * nearest - z * z) / 2)]
        found = np.concatenate([found, z])
    values = mean + std * found[:count].reshape(tensor._data.shape)
    return _write(tensor, values.clip(a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``."""
    return _write(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _write(tensor, 1)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _write(tensor, 0)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on the diagonal and zeros elsewhere.

    >>> import fastnn
    >>> fastnn.nn.init.eye_(fastnn.empty(2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if tensor.dim() != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, found shape {tuple(tensor.shape)}")
    return _write(tensor, np.eye(*tensor._data.shape, dtype=tensor._data.dtype))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution kernel (3 to 5 dimensions) so that it passes its channels through."""
    shape = tensor._data.shape
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"Only tensors with 3, 4, or 5 dimensions are supported, found shape {shape}")
    if shape[0] % groups:
        raise ValueError(f"dim 0 must be divisible by groups, found size {shape[0]} and groups={groups}")
    values = np.zeros(shape)
    each = shape[0] // groups
    channels = np.arange(min(each, shape[1]))
    centre = tuple(n // 2 for n in shape[2:])
    for group in range(groups):
        values[(group * each + channels, channels, *centre)] = 1
    return _write(tensor, values)


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    shape = tensor._data.shape
    if len(shape) < 2:
        raise ShapeError(
            f"Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, found shape {shape}"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform in ±gain * sqrt(6 / (fan_in + fan_out)) (X. Glorot and Y. Bengio, AISTATS 2010).

    Args:
        tensor: (fan_out, fan_in), or more dimensions that multiply both.
    """
    bound = gain * math.sqrt(6.0 / max(sum(_calculate_fan_in_and_fan_out(tensor)), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with the standard deviation gain * sqrt(2 / (fan_in + fan_out)); see :func:`xavier_uniform_`."""
    std = gain * math.sqrt(2.0 / max(sum(_calculate_fan_in_and_fan_out(tensor)), 1))
    return normal_(tensor, 0.0, std, generator)


def _nothing_to_fill(tensor: Tensor) -> bool:
    if 0 in tensor._data.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", UserWarning, stacklevel=3)
        return True
    return False


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform in ±gain * sqrt(3 / fan) (K. He et al., arXiv:1502.01852).

    Args:
        tensor: (fan_out, fan_in), or more dimensions that multiply both.
        a: the slope of the leaky ReLU that follows.
        mode: 'fan_in' keeps the variance forward, 'fan_out' backward.
        nonlinearity: the argument of :func:`calculate_gain`.
    """
    if _nothing_to_fill(tensor):
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(fan)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with the standard deviation gain / sqrt(fan); see :func:`kaiming_uniform_`."""
    if _nothing_to_fill(tensor):
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Make the rows (or the columns, if there are more rows) orthogonal, of length ``gain`` (arXiv:1312.6120).

    Args:
        tensor: two dimensions or more; all but the first count as one.

    >>> import fastnn
    >>> w = fastnn.nn.init.orthogonal_(fastnn.empty(2, 3))
    >>> bool(((w @ w.t()) - fastnn.tensor([[1.0, 0.0], [0.0, 1.0]])).abs().max() < 1e-6)
    True
    """
    if tensor.dim() < 2:
        raise ValueError(f"Only tensors with 2 or more dimensions are supported, found shape {tuple(tensor.shape)}")
    if not tensor._data.size:
        return tensor
    rows = tensor._data.shape[0]
    columns = tensor._data.size // rows
    drawn = _draws(generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    # With a positive diagonal of r, q is uniformly distributed over such matrices (arXiv:math-ph/0609050).
    q = q * np.where(np.diag(r) < 0, -1, 1)
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor._data.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Normal numbers, with a share ``sparsity`` of each column set to zero (J. Martens, ICML 2010)."""
    if tensor.dim() != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, found shape {tuple(tensor.shape)}")
    rows, columns = tensor._data.shape
    draws = _draws(generator)
    values = draws.normal(0, std, (rows, columns))
    # The rank of random numbers in each column: a random order of its rows.
    order = draws.random((rows, columns)).argsort(0)
    np.put_along_axis(values, order[: math.ceil(sparsity * rows)], 0, 0)
    return _write(tensor, values)


def _old_name(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The deprecated name without underscore, which warns as in PyTorch."""
    new, old = function.__name__, function.__name__[:-1]

    @functools.wraps(function)
    def deprecated(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    deprecated.__name__ = deprecated.__qualname__ = old
    deprecated.__doc__ = f"The old name of :func:`{new}`."
    return deprecated


uniform, normal, constant = _old_name(uniform_), _old_name(normal_), _old_name(constant_)
eye, dirac = _old_name(eye_), _old_name(dirac_)
xavier_uniform, xavier_normal = _old_name(xavier_uniform_), _old_name(xavier_normal_)
kaiming_uniform, kaiming_normal = _old_name(kaiming_uniform_), _old_name(kaiming_normal_)
orthogonal, sparse = _old_name(orthogonal_), _old_name(sparse_)
