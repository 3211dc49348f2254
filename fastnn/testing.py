"""``torch.testing``: comparison of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.dtypes import float64
from fastnn._tensor.tensor import Tensor
from fastnn.ops.creation import as_tensor
from fastnn.ops.sampling import rand

# Relative and absolute tolerance by dtype, as in PyTorch.
_TOLERANCES = {"bfloat16": (1.6e-2, 1e-5), "float16": (1e-3, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Any = None,
) -> None:
    """AssertionError unless ``abs(actual - expected) <= atol + rtol * abs(expected)`` everywhere.

    Args:
        actual, expected: tensors, numbers, or sequences and mappings of them.
        rtol, atol: both or neither; by default those of the dtype.
        equal_nan: whether NaN equals NaN.
        check_dtype: whether dtypes must agree.
        msg: the text of the error, or a function that makes it from the default one.

    >>> import fastnn
    >>> fastnn.testing.assert_close(fastnn.tensor([1.0]), fastnn.tensor([1.0 + 1e-6]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(f"rtol and atol must both be given or both be left out, found rtol={rtol} and atol={atol}")
    options = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype, "msg": msg}
    if isinstance(expected, dict):
        if set(actual) != set(expected):
            raise AssertionError(f"The keys of the mappings do not match: {list(actual)} and {list(expected)}")
        for key in expected:
            assert_close(actual[key], expected[key], **options)
        return
    if isinstance(expected, (list, tuple)):
        if len(actual) != len(expected):
            raise AssertionError(f"The length of the sequences do not match: {len(actual)} != {len(expected)}")
        for a, e in zip(actual, expected, strict=True):
            assert_close(a, e, **options)
        return
    if isinstance(actual, Tensor) != isinstance(expected, Tensor) and not isinstance(actual, (int, float, np.ndarray)):
        raise TypeError(f"no comparison of {type(actual).__name__} and {type(expected).__name__}")
    a, e = [as_tensor(t) for t in (actual, expected)]
    problem = _difference(a, e, rtol, atol, equal_nan, check_dtype)
    if problem:
        raise AssertionError(msg(problem) if callable(msg) else msg or problem)


def _difference(
    a: Tensor, e: Tensor, rtol: float | None, atol: float | None, equal_nan: bool, check_dtype: bool
) -> str:
    """A description of the difference, or an empty string."""
    if a._data.shape != e._data.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}."
    if check_dtype and a.dtype is not e.dtype:
        return f"The values for attribute 'dtype' do not match: {a.dtype} != {e.dtype}."
    if rtol is None or atol is None:
        pairs = [_TOLERANCES.get(t.dtype.name, (0.0, 0.0)) for t in (a, e)]
        rtol, atol = max(p[0] for p in pairs), max(p[1] for p in pairs)
    x, y = a._data.astype(np.float64), e._data.astype(np.float64)
    close = np.isclose(x, y, rtol, atol, equal_nan)
    if close.all():
        return ""
    with np.errstate(all="ignore"):
        worst = np.abs(x - y)[~close].max()
    share = 100 * (~close).mean()
    return (
        f"Tensor-likes are not close!\n\nMismatched elements: {(~close).sum()} / {close.size} ({share:.1f}%)\n"
        f"Greatest absolute difference: {worst} (up to {atol} allowed, and {rtol} relative)"
    )


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: Any = "",
) -> None:
    """As ``assert_close``, without comparing dtypes."""
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)


def make_tensor(
    *shape: Any, dtype: Any, device: Any = "cpu", low: float | None = None, high: float | None = None,
    requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of random numbers, uniform in [low, high); by default in [-9, 9) or, without a sign, in [0, 10).

    Args:
        shape: sizes, one by one or as one sequence.
        dtype: of the tensor.
        requires_grad: whether it is a leaf with a gradient.
        noncontiguous: whether it is every second element of a larger one.
        exclude_zero: whether 0 becomes the smallest positive number, or 1.
        device, memory_format: accepted, without effect.

    >>> import fastnn
    >>> fastnn.testing.make_tensor(2, 3, dtype=fastnn.float32, low=0, high=1).shape
    torch.Size([2, 3])
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    kind = np.dtype(dtype.numpy)
    signed = kind.kind in "if"
    low = (0 if not signed else -9) if low is None else low
    high = (2 if kind.kind == "b" else 10 if not signed or kind.kind == "i" else 9) if high is None else high
    if low >= high:
        raise ValueError(f"make_tensor: `low` must be less than `high`, found {low} and {high}")
    doubled = (*sizes[:-1], sizes[-1] * 2) if noncontiguous and sizes else sizes
    drawn = rand(*doubled, dtype=float64) * (high - low) + low
    found = (drawn.floor() if kind.kind != "f" else drawn).to(dtype)
    if exclude_zero:
        found = found.masked_fill(found == 0, np.finfo(kind).tiny if kind.kind == "f" else 1)
    if noncontiguous and sizes:
        found = found[..., ::2]
    return found.requires_grad_() if requires_grad else found
