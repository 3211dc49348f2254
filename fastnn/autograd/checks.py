"""Comparison of gradients with finite differences: ``gradcheck`` and ``gradgradcheck``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._autograd.modes import enable_grad, no_grad
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.autograd import _as_tuple, grad


class GradcheckError(RuntimeError):
    """A gradient that differs from finite differences."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
    check_sparse_nnz: bool | None = None,
) -> bool:
    """Whether the gradient of ``func`` agrees elementwise with central differences.

    Args:
        func: maps the inputs to a tensor or several.
        inputs: a tensor or several; those that need a gradient should be float64.
        eps: the step of the differences.
        atol, rtol: absolute tolerance, and tolerance relative to the differences.
        raise_exception: raise GradcheckError instead of returning False.

    The other arguments are PyTorch's and are ignored.

    >>> import fastnn
    >>> x = fastnn.tensor([1.0, 2.0], dtype=fastnn.float64, requires_grad=True)
    >>> fastnn.autograd.gradcheck(lambda x: (x * x).exp(), x)
    True
    """
    given = _as_tuple(inputs)
    wanted = [t for t in given if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have "
            "requires_grad=True."
        )
    for i, t in enumerate(given):
        if isinstance(t, Tensor) and t.requires_grad and t._data.dtype != np.float64:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point. This check will likely "
                "fail if all the inputs are not of double precision floating point.",
                stacklevel=3,
            )
    try:
        _check(func, given, wanted, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _outputs(func: Callable[..., Any], given: tuple[Any, ...]) -> list[Tensor]:
    found = _as_tuple(func(*given))
    return [t for t in found if isinstance(t, Tensor) and t._data.dtype.kind in "fV"]


def _check(
    func: Callable[..., Any], given: tuple[Any, ...], wanted: list[Tensor], eps: float, atol: float, rtol: float
) -> None:
    with enable_grad():
        outputs = _outputs(func, given)
    for i, out in enumerate(outputs):
        analytic = [np.zeros((t._data.size, out._data.size)) for t in wanted]
        if out.requires_grad:
            for k in range(out._data.size):
                seed = np.zeros(out._data.shape, out._data.dtype)
                seed.reshape(-1)[k] = 1
                found = grad(out, wanted, _wrap(seed), retain_graph=True, allow_unused=True)
                for column, g in zip(analytic, found, strict=True):
                    if g is not None:
                        column[:, k] = g._data.reshape(-1)
        for j, t in enumerate(wanted):
            numeric = _differences(func, given, t, i, out._data.size, eps)
            if not np.allclose(analytic[j], numeric, rtol, atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {i} with respect to input {j},\nnumerical:{numeric}\n"
                    f"analytical:{analytic[j]}\n"
                )


def _differences(
    func: Callable[..., Any], given: tuple[Any, ...], t: Tensor, output: int, size: int, eps: float
) -> np.ndarray:
    """The Jacobian of one output by one input: a row for each element of the input."""
    numbers = t._data
    rows = np.zeros((numbers.size, size))
    for position in range(numbers.size):
        place = np.unravel_index(position, numbers.shape)
        before = numbers[place].copy()
        sides = []
        for step in (eps, -eps):
            with no_grad():
                numbers[place] = before + step
                try:
                    sides.append(np.array(_outputs(func, given)[output]._data, np.float64).reshape(-1))
                finally:
                    numbers[place] = before
        rows[position] = (sides[0] - sides[1]) / (2 * eps)
    return rows


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    **options: Any,
) -> bool:
    """As ``gradcheck``, for the gradient of the gradient; ``grad_outputs`` are drawn at random if not given."""
    given = _as_tuple(inputs)
    outputs = _outputs(func, given)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        seeds = tuple([
            _wrap(rng.standard_normal(out._data.shape).astype(out._data.dtype)).requires_grad_() for out in outputs
        ])
    else:
        seeds = _as_tuple(grad_outputs)
    count = len(seeds)

    def first(*arguments: Any) -> tuple[Any, ...]:
        tensors, weights = arguments[:-count], arguments[-count:]
        leaves = [t for t in tensors if isinstance(t, Tensor) and t.requires_grad]
        with enable_grad():
            pairs = [(o, w) for o, w in zip(_outputs(func, tensors), weights, strict=True) if o.requires_grad]
            found = grad(
                [o for o, _ in pairs], leaves, [w for _, w in pairs], create_graph=True, allow_unused=True
            )
        return tuple([g for g in found if g is not None])

    return gradcheck(first, (*given, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, **options)
