"""Rules of products of matrices, and of decompositions."""

from __future__ import annotations

import functools
import math
from typing import Any

from fastnn._core.errors import ShapeError
from fastnn._functorch.batched import (
    Level,
    is_in,
    looped,
    wrapped,
)
from fastnn._functorch.rules.table import Args, Options, _argument, _names, aligned, plain, rule
from fastnn.ops.core import dimension


def _matmul(func: Any, level: Level, a: Any, b: Any) -> Any:
    from fastnn.ops.products import matmul

    n, m = a.ndim, b.ndim
    if n == 0 or m == 0:
        raise ShapeError(f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D")
    if n == 1 and m == 1:
        if a.shape != b.shape:
            raise ShapeError(f"inconsistent tensor size, expected {list(a.shape)} and {list(b.shape)} to be the same")
        return (a * b).sum(-1)
    in_a, in_b = is_in(a, level), is_in(b, level)
    if in_a and not in_b and m <= 2:
        return wrapped(matmul(a._value, b), level)
    if n == 1:
        return _matmul(func, level, a.unsqueeze(0), b).squeeze(-2)
    if m == 1:
        return _matmul(func, level, a, b.unsqueeze(1)).squeeze(-1)
    ndim = max(n, m)
    return wrapped(matmul(aligned(a, level, ndim), aligned(b, level, ndim)), level)


@rule("matmul", "__matmul__", "mm", "mv", "dot", "vdot", "bmm")
def _product(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = (*args, *kwargs.values())
    wanted = {"mm": (2, 2), "mv": (2, 1), "dot": (1, 1), "vdot": (1, 1), "bmm": (3, 3)}.get(func.__name__)
    if wanted is not None and (a.ndim, b.ndim) != wanted:
        raise ShapeError(
            f"{func.__name__}: expected tensors of {wanted[0]} and {wanted[1]} dimensions, found shapes "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    return _matmul(func, level, a, b)


@rule("__rmatmul__")
def _rmatmul(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    return _matmul(func, level, args[1], args[0])


def _sum_with(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    beta, alpha = kwargs.get("beta", 1), kwargs.get("alpha", 1)
    x, a, b = args
    name = func.__name__.rstrip("_")
    product = a.unsqueeze(-1) * b if name == "addr" else a @ b
    if name == "addbmm":
        product = product.sum(0)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return (x if beta == 1 else x * beta) + product


_names("addmm addmv addr baddbmm addbmm", _sum_with)


@rule("outer", "ger")
def _outer(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = (*args, *kwargs.values())
    return a.unsqueeze(-1) * b


@rule("inner")
def _inner(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b = (*args, *kwargs.values())
    if not a.ndim or not b.ndim:
        return a * b
    return looped(func, level, args, kwargs) if b.ndim > 2 else a @ (b.t() if b.ndim == 2 else b)


@rule("einsum")
def _einsum(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    equation, *operands = args
    if not isinstance(equation, str):
        return looped(func, level, args, kwargs)
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = list(operands[0])
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    if not arrow:
        letters = sorted({c for c in left if c.isalpha() and left.count(c) == 1})
        right = ("..." if "..." in left else "") + "".join(letters)
    batch = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if c not in equation)
    parts = [batch + p if is_in(t, level) else p for p, t in zip(left.split(","), operands, strict=True)]
    values = [t._value if is_in(t, level) else t for t in operands]
    return wrapped(func(f"{','.join(parts)}->{batch}{right}", *values), level)


@rule("kron", "tensordot", "chain_matmul", "multi_dot")
def _other_products(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    name = func.__name__
    if name in ("chain_matmul", "multi_dot"):
        given = args[0] if isinstance(args[0], (tuple, list)) else args
        return functools.reduce(lambda a, b: a @ b, given)
    a, b = args[0], args[1]
    if name == "kron" and a.ndim == b.ndim:
        n = a.ndim
        wide = a.reshape(*[s for k in a.shape for s in (k, 1)]) * b.reshape(*[s for k in b.shape for s in (1, k)])
        return wide.reshape(*[a.shape[i] * b.shape[i] for i in range(n)])
    dims = _argument(args, kwargs, 2, "dims", 2)
    if name == "tensordot":
        if isinstance(dims, int):
            dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
        if all(isinstance(d, (list, tuple)) for d in dims):
            return _tensordot(a, b, *[[dimension(d, t.ndim) for d in ds] for t, ds in zip((a, b), dims, strict=True)])
    return looped(func, level, args, kwargs)


def _tensordot(a: Any, b: Any, by_a: list[int], by_b: list[int]) -> Any:
    rest_a = [d for d in range(a.ndim) if d not in by_a]
    rest_b = [d for d in range(b.ndim) if d not in by_b]
    shape = [a.shape[d] for d in rest_a] + [b.shape[d] for d in rest_b]
    count = math.prod([a.shape[d] for d in by_a])
    left = a.permute(*rest_a, *by_a).reshape(math.prod([a.shape[d] for d in rest_a]), count)
    right = b.permute(*by_b, *rest_b).reshape(count, math.prod([b.shape[d] for d in rest_b]))
    return (left @ right).reshape(*shape)


_names("cdist", plain)
_names(
    "cholesky det inv inverse slogdet logdet qr svd svdvals eigh eigvalsh pinv matrix_norm matrix_power matrix_exp "
    "cholesky_ex cholesky_inverse inv_ex lu lu_factor lu_factor_ex lu_unpack pinverse",
    plain,
)


@rule("solve")
def _solve(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b, *rest = args
    if b.ndim == a.ndim - 1:
        # The last dimension of a batch of vectors would be taken for that of matrices.
        return func(a, b.unsqueeze(-1), *rest, **kwargs).squeeze(-1)
    ndim = max(a.ndim, b.ndim)
    return wrapped(func(aligned(a, level, ndim), aligned(b, level, ndim), *rest, **kwargs), level)


@rule("cholesky_solve")
def _cholesky_solve(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    b, factor, *rest = args
    ndim = max(b.ndim, factor.ndim)
    return wrapped(func(aligned(b, level, ndim), aligned(factor, level, ndim), *rest, **kwargs), level)


@rule("dist")
def _dist(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    a, b, *p = (*args, *kwargs.values())
    return (a - b).norm(*p)
