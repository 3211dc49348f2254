"""Reordering of dimensions and elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.errors import RangeError
from fastnn._tensor.tensor import Tensor, _sizes
from fastnn._tensor.views import linear_map, view
from fastnn.ops.core import check_tensor, dimension, dimensions, named, whole

__all__ = [
    "adjoint", "flip", "fliplr", "flipud", "moveaxis", "movedim", "permute", "roll", "rot90", "swapaxes",
    "swapdims", "t", "transpose",
]  # fmt: skip


@named
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two dimensions; shares memory."""
    if type(input) is not Tensor:
        check_tensor("input", input)
    ndim = input._data.ndim
    a, b = dimension(dim0, ndim), dimension(dim1, ndim)
    if not ndim:
        return view(input, "Transpose", lambda x: x[...], lambda x: x)
    return view(input, "Transpose", lambda x: x.swapaxes(a, b), lambda x: x.swapaxes(a, b))


@named
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix, sharing memory."""
    check_tensor("input", input)
    if input._data.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._data.ndim}D")
    return view(input, "T", lambda x: x.T, lambda x: x.T)


def _permuted(input: Tensor, dims: tuple[Any, ...]) -> Tensor:
    check_tensor("input", input)
    if len(dims) != input._data.ndim:
        for d in dims:
            whole("dims", d)
        raise RangeError(f"permute(): {len(dims)} dims are not an order of {input._data.ndim} dimensions")
    ndim = len(dims)
    order = [dimension(d, ndim) for d in dims]
    back = [-1] * ndim
    for place, d in enumerate(order):
        back[d] = place
    if -1 in back:
        raise RuntimeError(f"permute(): dims {dims} are not an order of {ndim} dimensions")
    return view(input, "Permute", lambda x: x.transpose(order), lambda x: x.transpose(back))


def _permute(self: Tensor, *given: Any, dims: Any = None) -> Tensor:
    """Reorder the dimensions; shares memory."""
    if given:
        return _permuted(self, _sizes(given))
    if dims is None:
        raise TypeError("permute() missing 1 required positional arguments: dims")
    return _permuted(self, tuple(dims))


@named
def permute(input: Tensor, dims: Any) -> Tensor:
    """Reorder the dimensions; shares memory."""
    return _permuted(input, tuple(dims))


@named
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Move dimensions to other positions; the rest keep their order."""
    check_tensor("input", input)
    ndim = input._data.ndim
    a, b = [[d] if isinstance(d, int) else list(d) for d in (source, destination)]
    if len(a) != len(b):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source and destination differ in number, found "
            f"{a} and {b}"
        )
    from_, to = dimensions(a, ndim), dimensions(b, ndim)
    rest = [d for d in range(ndim) if d not in from_]
    for place, d in sorted(zip(to, from_, strict=True)):
        rest.insert(place, d)
    return _permuted(input, tuple(rest))


swapdims = transpose
moveaxis = movedim


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Exchange two dimensions; shares memory."""
    return transpose(input, axis0, axis1)


@named
def adjoint(input: Tensor) -> Tensor:
    """Exchange the last two dimensions."""
    check_tensor("input", input)
    return _mT(input)


def _reversed(array: np.ndarray) -> np.ndarray:
    return array.T


def _T(self: Tensor) -> Tensor:
    """Reverse the dimensions; shares memory."""
    return view(self, "Permute", _reversed, _reversed)


def _mT(self: Tensor) -> Tensor:
    """Exchange the last two dimensions; shares memory."""
    if not self._data.ndim:
        return view(self, "Transpose", lambda x: x[...], lambda x: x)
    if self._data.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {self._data.ndim}-D tensor."
        )
    return transpose(self, -2, -1)


@named
def flip(input: Tensor, *given: Any, dims: Any = None) -> Tensor:
    """Reverse the elements along the dimensions."""
    check_tensor("input", input)
    if not given and dims is None:
        raise TypeError('flip() missing 1 required positional argument: "dims"')
    axes = dimensions(list(_sizes(given or (dims,))), input._data.ndim)
    return linear_map("Flip", input, lambda a: np.flip(a, axes).copy(), lambda g: np.flip(g, axes))


@named
def fliplr(input: Tensor) -> Tensor:
    """Reverse the elements along dimension 1."""
    if input._data.ndim < 2:
        raise RuntimeError(f"Input must be >= 2-d, found shape {tuple(input.shape)}.")
    return flip(input, 1)


@named
def flipud(input: Tensor) -> Tensor:
    """Reverse the elements along dimension 0."""
    if input._data.ndim < 1:
        raise RuntimeError("Input must be >= 1-d, found a single number.")
    return flip(input, 0)


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


@named
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Shift the elements along the dimensions, with wrap-around."""
    check_tensor("input", input)
    steps = tuple([whole("shifts", n) for n in _pair(shifts)])
    if dims is None or dims == ():
        if len(steps) != 1:
            raise RuntimeError(f"shifts and dimensions must align: found {len(steps)} shifts and no dims")
        axes: Any = None
        forward: Any = steps[0]
        back: Any = -steps[0]
    else:
        axes = tuple([dimension(d, input._data.ndim) for d in _pair(dims)])
        if len(axes) != len(steps):
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(axes)}")
        if not input._data.ndim:
            raise RangeError(f"Dimension specified as {axes[0]} but tensor has no dimensions")
        forward, back = steps, tuple([-s for s in steps])
    return linear_map("Roll", input, lambda a: np.roll(a, forward, axes), lambda g: np.roll(g, back, axes))


@named
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Rotate by k times 90 degrees in the plane of two dimensions."""
    check_tensor("input", input)
    if input._data.ndim < 2:
        raise RangeError(f"expected total dims >= 2, but got total dims = {input._data.ndim}")
    a, b = dimensions(list(dims), input._data.ndim)
    k = whole("k", k)
    return linear_map(
        "Rot90", input, lambda x: np.rot90(x, k, (a, b)).copy(), lambda g: np.rot90(g, -k, (a, b))
    )


METHODS = {"permute": _permute}
def _H(self: Tensor) -> Tensor:
    """The transpose of a matrix, sharing memory."""
    if self._data.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self._data.ndim}-D tensor. For batches of "
            "matrices, consider using tensor.mH"
        )
    return _mT(self)


PROPERTIES = {"T": _T, "mT": _mT, "H": _H, "mH": _mT}
# Their in-place forms change the tensor's shape, not its elements.
RESHAPES = ("swapaxes", "swapdims", "t", "transpose")
