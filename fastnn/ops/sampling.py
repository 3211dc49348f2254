"""Tensors of random numbers, and the methods of Tensor that fill it in place.

The numbers differ from PyTorch's (see ``random``): a seed gives the same results in fastnn on every machine and at
any number of threads. The methods are in ``METHODS`` and are attached to Tensor at the end of this file.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._core.devices import check_device
from fastnn._core.dtypes import FLOATING, as_numpy_dtype, default_numpy, dtype, int64
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.random import Generator, default_generator

_dtype = dtype


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given as separate arguments or as one sequence."""
    if not size:
        raise TypeError("the size is missing; it is () for a tensor without dimensions")
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    shape = []
    for n in size:
        if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
            raise TypeError(f"sizes must be integers, found {n!r}")
        shape.append(n.__index__())
    if any(n < 0 for n in shape):
        raise ShapeError(f"sizes must not be negative, found {shape}")
    return tuple(shape)


def _checked(generator: Generator | None) -> Generator:
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a Generator or None, found {type(generator).__name__}")
    return generator or default_generator()


def _rng(generator: Generator | None) -> np.random.Generator:
    return _checked(generator).numpy


def _floating(name: str, kind: _dtype | None) -> np.dtype:
    """The NumPy type of a random floating point tensor."""
    found = as_numpy_dtype(kind, default_numpy())
    if found.kind not in FLOATING:
        raise NotImplementedError(f"{name}() draws floating point numbers, found dtype {kind}")
    return found


def _drawn(generator: Generator | None, method: str, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """Draws by a NumPy method that supports float32 and float64."""
    source = _checked(generator)
    if kind.itemsize == 2:
        wide = source.numbers(method, shape, np.dtype(np.float32))
        if kind.kind == "V" and method == "random":
            # Multiples of 2**-8, as PyTorch draws them: rounding to nearest would reach 1.
            wide = np.floor(wide * np.float32(256)) / np.float32(256)
        return wide.astype(kind)
    return source.numbers(method, shape, kind)


def _finish(array: np.ndarray, out: Tensor | None, requires_grad: bool = False) -> Tensor:
    if out is None:
        return _wrap(array).requires_grad_(requires_grad)
    if out._data.dtype != array.dtype:
        raise DTypeError(f"out must have dtype {_wrap(array).dtype}, found {out.dtype}")
    return out.copy_(_wrap(array))


# -- Functions --------------------------------------------------------------------------------


def rand(
    *args: Any, size: Any = None, generator: Generator | None = None, out: Tensor | None = None,
    dtype: _dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers uniform in [0, 1).

    >>> import fastnn
    >>> fastnn.rand(2, 3).shape
    torch.Size([2, 3])
    """
    check_device(device)
    shape = _shape(args if size is None else (size,))
    return _finish(_drawn(generator, "random", shape, _floating("rand", dtype)), out, requires_grad)


def randn(
    *args: Any, size: Any = None, generator: Generator | None = None, out: Tensor | None = None,
    dtype: _dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers of the standard normal distribution.

    >>> import fastnn
    >>> fastnn.randn((4,), dtype=fastnn.float64).dtype
    torch.float64
    """
    check_device(device)
    shape = _shape(args if size is None else (size,))
    return _finish(_drawn(generator, "standard_normal", shape, _floating("randn", dtype)), out, requires_grad)


def randint(
    low: Any = 0, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    out: Tensor | None = None, dtype: _dtype | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Integers uniform in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``; int64 by default.

    Raises: RuntimeError unless ``low < high`` and both fit the dtype.

    >>> import fastnn
    >>> 0 <= fastnn.randint(3, (1,)).item() < 3
    True
    """
    if isinstance(high, (tuple, list)):
        if size is not None:
            raise TypeError(f"randint() takes (high, size) or (low, high, size), found {(low, high, size)}")
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None:
        raise TypeError("randint() needs the size, as a tuple of integers")
    check_device(device)
    first, last = operator.index(low), operator.index(high)
    array = _integers(_rng(generator), first, last, _shape((tuple(size),)), as_numpy_dtype(dtype, int64.numpy))
    return _finish(array, out, requires_grad)


def _integers(
    rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...], kind: np.dtype
) -> np.ndarray:
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    least, most = _range_of(kind)
    if low < least or high - 1 > most:
        raise RuntimeError(f"integers from {low} to {high - 1} are out of bounds for dtype {kind}")
    drawn = rng.integers(low, high - 1, shape, np.int64, endpoint=True)
    return np.asarray(drawn).astype(kind)


def _range_of(kind: np.dtype) -> tuple[int, int]:
    if kind.kind == "b":
        return 0, 1
    if kind.kind in FLOATING:
        return -(2**63), 2**63 - 1
    return int(np.iinfo(kind).min), int(np.iinfo(kind).max)


def randperm(
    n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: _dtype = int64,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The integers 0 to n - 1 in random order.

    >>> import fastnn
    >>> sorted(fastnn.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
        raise TypeError(f"n must be an integer, found {n!r}")
    if n < 0:
        raise RuntimeError(f"n must not be negative, found {n}")
    check_device(device)
    _rng(generator)
    order = (generator or default_generator()).permutation(n.__index__())
    return _finish(order.astype(as_numpy_dtype(dtype), copy=False), out, requires_grad)


def rand_like(input: Tensor, *, dtype: _dtype | None = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Numbers uniform in [0, 1), in the shape and dtype of ``input``."""
    return _like(rand, input, dtype, requires_grad, options, "random")


def randn_like(input: Tensor, *, dtype: _dtype | None = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Numbers of the standard normal distribution, in the shape and dtype of ``input``."""
    return _like(randn, input, dtype, requires_grad, options, "standard_normal")


def randint_like(
    input: Tensor, low: int | None = None, high: int | None = None, *, dtype: _dtype | None = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """Integers uniform in [low, high) in the shape and dtype of ``input``; a single bound is the upper one.

    Raises: TypeError if there is none.

    >>> import fastnn
    >>> fastnn.randint_like(fastnn.zeros(2), high=1)
    tensor([0., 0.])
    """
    if low is None or high is None:
        low, high = 0, low if high is None else high
        if high is None:
            raise TypeError("randint_like() missing 1 required argument: 'high'")
    bounds = low, high
    return _like(lambda size, **kw: randint(*bounds, size, **kw), input, dtype, requires_grad, options)


def _like(
    draw: Callable[..., Tensor], input: Tensor, kind: _dtype | None, requires_grad: bool, options: dict[str, Any],
    method: str | None = None,
) -> Tensor:  # fmt: skip
    """The numbers that ``draw`` returns for the shape and dtype of ``input``: those of NumPy's ``method``, if given."""
    if kind is None and not options and not requires_grad and type(input) is Tensor:
        found = input._data.dtype
        if found.char in "fd" and method is not None:
            return _wrap(default_generator().numbers(method, input._data.shape, found))
    options.pop("memory_format", None)
    return draw(input._data.shape, dtype=kind or input.dtype, requires_grad=requires_grad, **options)


def normal(
    mean: Tensor | float = 0.0, std: Tensor | float = 1.0, size: Any = None, *, generator: Generator | None = None,
    out: Tensor | None = None, dtype: _dtype | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers of normal distributions: one for each element of ``mean`` or ``std``, or ``size`` of them.

    Raises: RuntimeError for a negative ``std``; TypeError for two numbers without ``size``.

    >>> import fastnn
    >>> fastnn.normal(0, 1, size=(2, 2)).shape, fastnn.normal(fastnn.zeros(3), 0.1).shape
    (torch.Size([2, 2]), torch.Size([3]))
    """
    check_device(device)
    tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
    if not tensors and size is None:
        raise TypeError("normal() needs a tensor for mean or std, or the size of the result")
    if tensors and size is not None:
        raise TypeError(f"normal() takes a size only where mean and std are numbers, found size={size} beside a Tensor")
    m, s = (t.detach()._data if isinstance(t, Tensor) else t for t in (mean, std))
    if np.less(s, 0).any():
        raise RuntimeError(f"normal expects all elements of std >= 0.0, found {np.min(s)}")
    if tensors:
        kind = _floating("normal", tensors[0].dtype)
        try:
            shape = np.broadcast_shapes(*[t._data.shape for t in tensors])
        except ValueError:
            raise ShapeError(f"mean and std of shapes {[tuple(t.shape) for t in tensors]} do not go together") from None
    else:
        kind, shape = _floating("normal", dtype), _shape((tuple(size),))
    with np.errstate(all="ignore"):
        drawn = np.asarray(_drawn(generator, "standard_normal", shape, kind) * s + m).astype(kind)
    return _finish(drawn, out, requires_grad)


def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Tensor | None = None
) -> Tensor:
    """1 with the probability in ``input`` (or ``p``), otherwise 0; in ``input``'s dtype.

    Raises: RuntimeError for a probability outside [0, 1] and for integers as probabilities.

    >>> import fastnn
    >>> fastnn.bernoulli(fastnn.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    if p is None and not input.is_floating_point():
        raise NotImplementedError(f"bernoulli() takes floating point probabilities, found dtype {input.dtype}")
    probability = input._data if p is None else p
    return _finish(_trials(probability, input._data.shape, generator).astype(input._data.dtype), out)


def _trials(p: Any, shape: tuple[int, ...], generator: Generator | None) -> np.ndarray:
    if not ((np.asarray(p) >= 0) & (np.asarray(p) <= 1)).all():
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false: the probabilities go from "
            f"{np.min(p)} to {np.max(p)}"
        )
    return np.asarray(_rng(generator).random(shape) < p)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws from Poisson distributions with the rates in ``input``, in its dtype.

    Raises: RuntimeError for a negative or NaN rate.
    """
    if not input.is_floating_point():
        raise NotImplementedError(f"poisson() takes floating point rates, found dtype {input.dtype}")
    try:
        counts = _rng(generator).poisson(input._data)
    except ValueError:
        raise RuntimeError(
            f"invalid Poisson rate, expected rate to be non-negative and not too large, found {input._data.min()} to "
            f"{input._data.max()}"
        ) from None
    return _wrap(np.asarray(counts).astype(input._data.dtype))


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Indices drawn with the probabilities in each row, (n,) or (m, n), which need not sum to one.

    Returns: (num_samples,) or (m, num_samples) int64.

    Raises: RuntimeError for a row that is not a distribution, and for more samples than elements without
        replacement.

    >>> import fastnn
    >>> fastnn.multinomial(fastnn.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    if not input.is_floating_point():
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype}")
    return _finish(draw_categories(input._data, num_samples, replacement, generator), out)


def draw_categories(
    weights: np.ndarray, count: int, replacement: bool, generator: Generator | None = None
) -> np.ndarray:
    """``multinomial`` on arrays: (n,) or (m, n) weights give (count,) or (m, count) int64 indices.

    With replacement: the inverse of the cumulative sum. Without: the largest of weight / exponential
    (P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", 2006).
    """
    if weights.ndim not in (1, 2):
        raise RuntimeError(f"prob_dist must be 1 or 2 dim, found shape {weights.shape}")
    if count <= 0:
        raise RuntimeError(f"cannot sample n_sample <= 0 samples, found {count}")
    if not replacement and count > weights.shape[-1]:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: {count} of {weights.shape[-1]}"
        )
    if not weights.shape[-1]:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0): no element")
    rows = weights.reshape(-1, weights.shape[-1]).astype(np.float64)
    if not (np.isfinite(rows) & (rows >= 0)).all():
        raise RuntimeError(
            "probability tensor contains either `inf`, `nan` or element < 0: found "
            f"{rows[~(np.isfinite(rows) & (rows >= 0))][0]}"
        )
    sums = np.cumsum(rows, axis=1)
    if rows.size == 0 or not (sums[:, -1] > 0).all():
        if len(rows) == 0:
            return np.zeros((*weights.shape[:-1], count), np.int64)
        empty = int(np.argmin(sums[:, -1] > 0))
        raise RuntimeError(f"invalid multinomial distribution (sum of probabilities <= 0): of row {empty}")
    rng = _rng(generator)
    if not replacement:
        with np.errstate(divide="ignore"):
            keys = rows / rng.standard_exponential(rows.shape)
        order = np.argsort(-keys, axis=1, kind="stable")[:, :count]
    else:
        points = rng.random((len(rows), count)) * sums[:, -1:]
        if count == 1:
            order = (sums <= points).sum(axis=1, keepdims=True)
        else:
            order = np.stack([np.searchsorted(s, u, side="right") for s, u in zip(sums, points, strict=True)])
        # Rounding may reach the sum; that belongs to the last category with positive weight.
        last = rows.shape[1] - 1 - np.argmax(rows[:, ::-1] > 0, axis=1)
        order = np.minimum(order, last[:, None])
    return order.astype(np.int64).reshape(*weights.shape[:-1], count)


# -- Methods of Tensor ------------------------------------------------------------------------


def _fill(self: Tensor, array: np.ndarray) -> Tensor:
    return self.copy_(_wrap(np.asarray(array)))


def _check_floating(name: str, self: Tensor) -> np.dtype:
    if not self.is_floating_point():
        raise NotImplementedError(f"{name} is not implemented for dtype {self.dtype}: it draws floating point numbers")
    return self._data.dtype


def uniform_(self: Tensor, *args: float, generator: Generator | None = None, **bounds: float) -> Tensor:
    """Fill with numbers uniform in [from, to), by default [0, 1)."""
    low, high = _two("uniform_", ("from", "to"), (0.0, 1.0), args, bounds)
    kind = _check_floating("uniform_", self)
    if not low <= high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    drawn = _drawn(generator, "random", self._data.shape, kind) * kind.type(high - low) + kind.type(low)
    # Rounding may reach the bound itself.
    return _fill(self, np.minimum(drawn, np.nextafter(kind.type(high), kind.type(low))) if low < high else drawn)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of the normal distribution."""
    kind = _check_floating("normal_", self)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    drawn = _drawn(generator, "standard_normal", self._data.shape, kind)
    return _fill(self, drawn * kind.type(std) + kind.type(mean))


def bernoulli_(self: Tensor, p: Tensor | float = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability ``p``, a number or a tensor that broadcasts to this one, otherwise 0."""
    return _fill(self, _trials(p._data if isinstance(p, Tensor) else p, self._data.shape, generator))


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of the exponential distribution of rate ``lambd``."""
    kind = _check_floating("exponential_", self)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill(self, _drawn(generator, "standard_exponential", self._data.shape, kind) / kind.type(lambd))


def random_(self: Tensor, *args: int, generator: Generator | None = None, **bounds: int | None) -> Tensor:
    """Fill with integers uniform in [from, to); by default from 0 to the largest that the dtype holds."""
    if len(args) == 1 and not bounds:
        low, high = 0, args[0]
    else:
        low, high = _two("random_", ("from", "to"), (0, None), args, bounds)
    kind = self._data.dtype
    if high is None:
        most = _range_of(kind)[1]
        if kind.kind in FLOATING:
            most = 2**8 if kind.kind == "V" else 2 ** (np.finfo(kind).nmant + 1)
        high = most + 1
    return _fill(self, _integers(_rng(generator), int(low), int(high), self._data.shape, kind))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success, each with probability ``p``."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill(self, np.asarray(_rng(generator).geometric(p, self._data.shape)).astype(self._data.dtype))


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers whose logarithm has the normal distribution of ``mean`` and ``std``."""
    kind = _check_floating("log_normal_", self)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    drawn = _drawn(generator, "standard_normal", self._data.shape, kind)
    with np.errstate(over="ignore"):
        return _fill(self, np.exp(drawn * kind.type(std) + kind.type(mean)))


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of the Cauchy distribution."""
    kind = _check_floating("cauchy_", self)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    drawn = _rng(generator).standard_cauchy(self._data.shape) * sigma + median
    return _fill(self, np.asarray(drawn).astype(kind))


def _two(name: str, names: tuple[str, str], default: tuple[Any, Any], args: tuple[Any, ...], given: Any) -> Any:
    """Two arguments, one named ``from``, which Python does not allow as a parameter name."""
    if len(args) > 2 or set(given) - set(names[len(args) :]):
        raise TypeError(f"{name}() takes {names[0]} and {names[1]}, found {args} and {given}")
    values = dict(zip(names, default, strict=True)) | dict(zip(names, args, strict=False)) | given
    return values[names[0]], values[names[1]]


METHODS: list[Callable[..., Tensor]] = [
    uniform_, normal_, bernoulli_, exponential_, random_, geometric_, log_normal_, cauchy_, bernoulli, multinomial,
]  # fmt: skip

for _method in METHODS:
    setattr(Tensor, _method.__name__, _method)
