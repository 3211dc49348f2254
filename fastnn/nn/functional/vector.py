"""Distances, directions and padding as functions of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._autograd.engine import Node
from fastnn._core.dtypes import as_number
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn._tensor.views import linear_map
from fastnn.nn.checks import _check_tensor
from fastnn.ops.core import also_read, promote, step_map, whole
from fastnn.ops.norms import distance
from fastnn.ops.shapes import broadcast_tensors

__all__ = ["cosine_similarity", "normalize", "pad", "pairwise_distance", "pdist"]


def normalize(
    input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """``input / max(norm, eps)`` with the p-norm along ``dim``.

    >>> import fastnn
    >>> fastnn.nn.functional.normalize(fastnn.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    _check_tensor("input", input)
    result = input / input.norm(p, dim, keepdim=True).clamp_min(eps)
    return result if out is None else out.copy_(result)


def _floating_pair(name: str, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
    _check_tensor("x1", x1)
    _check_tensor("x2", x2)
    x1, x2 = promote(x1, x2)
    if x1._data.dtype.kind != "f":
        raise DTypeError(f"{name}: expected common dtype to be floating point, yet common dtype is {x1.dtype}")
    return x1, x2


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``sum(x1 * x2) / (max(|x1|, eps) * max(|x2|, eps))`` along ``dim``; the shapes are broadcast.

    >>> import fastnn
    >>> fastnn.nn.functional.cosine_similarity(fastnn.tensor([[2.0, 0.0]]), fastnn.tensor([[1.0, 1.0]]))
    tensor([0.7071])
    """
    x1, x2 = _floating_pair("cosine_similarity", x1, x2)
    # Broadcast first: `dim` counts the dimensions of the result.
    if x1._data.shape != x2._data.shape:
        x1, x2 = broadcast_tensors(x1, x2)
    n1 = x1.norm(2, dim, keepdim=True).clamp_min(eps)
    n2 = x2.norm(2, dim, keepdim=True).clamp_min(eps)
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension."""
    _check_tensor("x1", x1)
    _check_tensor("x2", x2)
    return (x1 - x2 + float(eps)).norm(p, -1, keepdim=keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The pairwise p-norm distances of the rows of a matrix: (rows * (rows - 1) / 2,)."""
    _check_tensor("input", input)
    if input._data.ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {input._data.ndim}D")
    i, j = np.triu_indices(len(input._data), 1)
    difference = input[_wrap(i.astype(np.int64))] - input[_wrap(j.astype(np.int64))]
    return also_read(distance(difference, p), input)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad ``input`` at both ends of its last dimensions; negative values crop.

    Args:
        pad: (before, after) for the last dimension, then for the one before it, and so on.
        mode: 'constant', 'reflect', 'replicate' or 'circular'.
        value: the padding for 'constant'; 0 by default.

    >>> import fastnn
    >>> fastnn.nn.functional.pad(fastnn.tensor([1, 2]), (1, 2)).tolist()
    [0, 1, 2, 0, 0]
    """
    _check_tensor("input", input)
    sizes = [whole("pad", n) for n in pad]
    ndim = input._data.ndim
    if len(sizes) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, found pad={tuple(sizes)}")
    if len(sizes) > 2 * ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(sizes)} and input of dimension {ndim}"
        )
    pairs = [(0, 0)] * (ndim - len(sizes) // 2) + list(zip(sizes[-2::-2], sizes[-1::-2], strict=True))
    if mode == "constant":
        return _constant_pad(input, pairs, 0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    keys: list[tuple[Any, ...]] = []
    for d, (before, after) in enumerate(pairs):
        n = input._data.shape[d]
        if before == after == 0:
            continue
        limit = {"reflect": n - 1, "circular": n}.get(mode, max(before, after))
        if max(before, after) > limit or n == 0:
            raise RuntimeError(
                f"Padding size should be at most {limit} for mode {mode!r}, but got: padding ({before}, {after}) at "
                f"dimension {d} of input {list(input._data.shape)}"
            )
        places = np.arange(-before, n + after)
        if mode == "circular":
            places = places % n
        elif mode == "replicate":
            places = places.clip(0, n - 1)
        else:
            places = np.abs(places)
            places = np.where(places >= n, 2 * (n - 1) - places, places)
        keys.append((*[slice(None)] * d, places))
    shape = input._data.shape

    def put(g: np.ndarray) -> np.ndarray:
        for key in reversed(keys):
            d = len(key) - 1
            # When this dimension was padded, the later ones still had the input's sizes.
            full = np.zeros((*g.shape[:d], shape[d], *g.shape[d + 1 :]), g.dtype)
            np.add.at(full, key, g)
            g = full
        return g

    def take(a: np.ndarray) -> np.ndarray:
        for key in keys:
            a = a[key]
        return a

    if mode == "circular" or not keys:
        return linear_map("Index", input, take, put)
    if not _recorded(input):
        return _wrap(take(input._data))
    # PyTorch's kernels for these read the shape from the input tensor.
    return _wrap(
        take(input._data), Node(f"{mode.title()}Pad", (input,), lambda g: (step_map(g, put, take, input),), (input,))
    )


def _constant_pad(input: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    data = input._data
    shape = [n + before + after for n, (before, after) in zip(data.shape, pairs, strict=True)]
    if any(n < 0 for n in shape):
        raise RuntimeError(
            f"The input size {list(data.shape)}, plus negative padding, resulted in a negative size: {shape}"
        )
    result = np.full(shape, as_number(float(value), data.dtype))
    inner, outer = [], []
    for n, (before, after) in zip(data.shape, pairs, strict=True):
        inner.append(slice(max(before, 0), max(before, 0) + n + min(before, 0) + min(after, 0)))
        outer.append(slice(max(-before, 0), n - max(-after, 0)))
    result[tuple(inner)] = data[tuple(outer)]
    opposite = [(-before, -after) for before, after in pairs]
    if not _recorded(input):
        return _wrap(result)
    return _wrap(result, Node("ConstantPadNd", (input,), lambda grad: (_constant_pad(grad, opposite, 0),)))
