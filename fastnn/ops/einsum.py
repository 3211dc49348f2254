"""Sums of products over named dimensions, by products of matrices."""

from __future__ import annotations

import math
from typing import Any

from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.ops.core import also_read, check_tensor, dimension, named
from fastnn.ops.permute import _permuted
from fastnn.ops.products import bmm, matmul
from fastnn.ops.shapes import _expanded

__all__ = ["bilinear", "einsum", "inner", "tensordot"]


@named
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sum of products over dimensions of both: the last of a and the first of b, or two lists."""
    check_tensor("a", a)
    check_tensor("b", b)
    n, m = a._data.ndim, b._data.ndim
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(n, m):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        of_a, of_b = list(range(n - dims, n)), list(range(dims))
    else:
        first, second = [[d] if isinstance(d, int) else list(d) for d in dims]
        of_a, of_b = [dimension(d, n) for d in first], [dimension(d, m) for d in second]
    if len(of_a) != len(of_b):
        raise RuntimeError(f"both dimension lists should have same length, found {of_a} and {of_b}")
    x, y = a._data.shape, b._data.shape
    for d, e in zip(of_a, of_b, strict=True):
        if x[d] != y[e]:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {x[d]} in dim {d} and second has size {y[e]} "
                f"in dim {e}"
            )
    rest_a, rest_b = [d for d in range(n) if d not in of_a], [d for d in range(m) if d not in of_b]
    inside = math.prod([x[d] for d in of_a])
    left = _permuted(a, (*rest_a, *of_a)).reshape(math.prod([x[d] for d in rest_a]), inside)
    right = _permuted(b, (*of_b, *rest_b)).reshape(inside, math.prod([y[d] for d in rest_b]))
    return matmul(left, right).reshape([x[d] for d in rest_a] + [y[d] for d in rest_b])


@named
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The sums of products along the last dimensions."""
    check_tensor("input", input)
    check_tensor("other", other)
    if not input._data.ndim or not other._data.ndim:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


def _by_lists(given: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation and the operands of tensors and lists of numbers in turn."""
    if len(given) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            f"subscripts list, found {type(given[0]).__name__} alone"
        )

    def letter(number: Any) -> str:
        if number is Ellipsis:
            return "..."
        if not 0 <= number < 52:
            raise ValueError(f"einsum(): subscripts in a list must be in the range [0, 52), found {number}")
        return chr(number + (ord("A") if number < 26 else ord("a") - 26))

    terms = ["".join(map(letter, numbers)) for numbers in given[1::2]]
    if len(given) % 2:
        return f"{','.join(terms)}->{''.join(map(letter, given[-1]))}", given[:-1:2]
    return ",".join(terms), given[::2]


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by Einstein's convention: 'ij,jk->ik' is a product of matrices.

    Args:
        equation: the letters of each operand's dimensions; after -> those of the result, by default
            the letters that occur once, in order. '...' means further dimensions.
        operands: the tensors. Without a string the arguments are tensors and lists in turn, a list of numbers from
            0 to 51 for the dimensions of each tensor, and if wanted a last list for those of the result.
    """
    if not isinstance(equation, str):
        equation, operands = _by_lists((equation, *operands))
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else list(operands)
    for t in tensors:
        check_tensor("operands", t)
    text = equation.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    letters = inputs.split(",")
    if len(letters) != len(tensors):
        raise ShapeError(
            f"einsum(): the number of subscripts in the equation ({len(letters)}) does not match the number of "
            f"operands ({len(tensors)})"
        )
    extra = 0
    for i, (subscript, t) in enumerate(zip(letters, tensors, strict=True)):
        named_count = len(subscript.replace("...", ""))
        if not all(c.isalpha() for c in subscript.replace("...", "")):
            raise ShapeError(f"einsum(): invalid subscript given in {equation!r}; subscripts must be letters")
        if t._data.ndim < named_count or ("..." not in subscript and t._data.ndim != named_count):
            raise ShapeError(
                f"einsum(): the number of subscripts in the equation ({named_count}) does not match the number of "
                f"dimensions ({t._data.ndim}) for operand {i}"
            )
        extra = max(extra, t._data.ndim - named_count)
    # Further dimensions get their own names.
    rest = [chr(0x100 + k) for k in range(extra)]
    terms = [
        list(s.partition("...")[0]) + rest[extra - (t._data.ndim - len(s.replace("...", ""))) :] * ("..." in s)
        + list(s.partition("...")[2])
        for s, t in zip(letters, tensors, strict=True)
    ]  # fmt: skip
    if arrow:
        before, dots, after = output.partition("...")
        wanted = [*before, *(rest if dots else []), *after]
    else:
        every = [c for term in terms for c in term if c not in rest]
        wanted = rest + sorted([c for c in set(every) if every.count(c) == 1])
    known = {c for term in terms for c in term}
    for c in wanted:
        if c not in known or wanted.count(c) > 1:
            raise ShapeError(f"einsum(): output subscript {c} appears more than once or in no operand")
    sizes: dict[str, int] = {}
    for term, t in zip(terms, tensors, strict=True):
        for c, n in zip(term, t._data.shape, strict=True):
            if sizes.setdefault(c, n) not in (n, 1) and n != 1:
                raise ShapeError(
                    f"einsum(): subscript {c} has size {n} for one operand, which does not broadcast with the "
                    f"previously seen size {sizes[c]}"
                )
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    made = [_distinct(t, term) for t, term in zip(tensors, terms, strict=True)]
    result, names = made[0]
    for k, (other, other_names) in enumerate(made[1:], 1):
        later = {c for term in terms[k + 1 :] for c in term} | set(wanted)
        result, names = _pair(result, names, other, other_names, later)
    gone = [d for d, c in enumerate(names) if c not in wanted]
    if gone:
        result = result.sum(gone)
        names = [c for c in names if c in wanted]
    return _permuted(result, tuple([names.index(c) for c in wanted]))


def _distinct(t: Tensor, term: list[str]) -> tuple[Tensor, list[str]]:
    """Take diagonals where a letter occurs twice."""
    names = list(term)
    for c in dict.fromkeys(term):
        while names.count(c) > 1:
            a = names.index(c)
            b = names.index(c, a + 1)
            t = t.diagonal(0, a, b)
            names = [n for d, n in enumerate(names) if d not in (a, b)] + [c]
    return t, names


def _pair(a: Tensor, of_a: list[str], b: Tensor, of_b: list[str], later: set[str]) -> tuple[Tensor, list[str]]:
    """The product of two operands, summed over letters not needed later: one batch of matrix products."""
    a, of_a = _summed_alone(a, of_a, of_b, later)
    b, of_b = _summed_alone(b, of_b, of_a, later)
    sizes: dict[str, int] = {}
    for t, names in ((a, of_a), (b, of_b)):
        for c, n in zip(names, t._data.shape, strict=True):
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    shared = [c for c in of_a if c in of_b]
    batch, inside = [c for c in shared if c in later], [c for c in shared if c not in later]
    only_a, only_b = [c for c in of_a if c not in of_b], [c for c in of_b if c not in of_a]

    def arranged(t: Tensor, names: list[str], groups: list[list[str]]) -> Tensor:
        order = [c for group in groups for c in group]
        t = _permuted(t, tuple([names.index(c) for c in order]))
        t = _expanded(t, tuple([sizes[c] for c in order]))
        return t.reshape([math.prod([sizes[c] for c in group]) for group in groups])

    if not inside:
        a, b = [
            _permuted(t, tuple([names.index(c) for c in batch + only])).reshape(
                [t._data.shape[names.index(c)] for c in batch] + rest
            )
            for t, names, only, rest in (
                (a, of_a, only_a, [sizes[c] for c in only_a] + [1] * len(only_b)),
                (b, of_b, only_b, [1] * len(only_a) + [sizes[c] for c in only_b]),
            )
        ]
        return a * b, batch + only_a + only_b
    product = bmm(arranged(a, of_a, [batch, only_a, inside]), arranged(b, of_b, [batch, inside, only_b]))
    names = batch + only_a + only_b
    return product.reshape([sizes[c] for c in names]), names


def _summed_alone(t: Tensor, names: list[str], others: list[str], later: set[str]) -> tuple[Tensor, list[str]]:
    gone = [d for d, c in enumerate(names) if c not in others and c not in later]
    return (t.sum(gone), [c for d, c in enumerate(names) if d not in gone]) if gone else (t, names)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[k] @ input2 + bias[k]`` for each k."""
    result = also_read(einsum("...i,kij,...j->...k", input1, weight, input2), weight)
    return result if bias is None else result + bias


FUNCTIONS_ONLY = ("bilinear", "einsum", "tensordot")
