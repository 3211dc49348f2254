"""Layers that only change the shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.nn.module import Module

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    """Merge the dimensions from ``start_dim`` to ``end_dim`` into one; by default all but the first.

    >>> import fastnn
    >>> fastnn.nn.Flatten()(fastnn.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 784])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The same elements with fewer dimensions."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split one dimension into several.

    Args:
        dim: which one.
        unflattened_size: its new sizes; one of them may be -1.

    >>> import fastnn
    >>> fastnn.nn.Unflatten(1, (1, 28, 28))(fastnn.zeros(5, 784)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError("invalid argument type for dim: named tensors do not exist here, so it must be an integer")
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(
                f"unflattened_size must be a tuple of ints, but found type {type(unflattened_size).__name__}"
            )
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError(
                    "unflattened_size must be tuple of ints, but found element of type "
                    f"{type(size).__name__} at pos {i}"
                )
        self.dim = dim
        self.unflattened_size: Any = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """The same elements with more dimensions."""
        ndim, sizes = input.dim(), list(self.unflattened_size)
        if not -max(ndim, 1) <= self.dim < max(ndim, 1):
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-max(ndim, 1)}, {max(ndim, 1) - 1}], but got "
                f"{self.dim})"
            )
        axis = self.dim % max(ndim, 1)
        shape = tuple(input.shape)
        known = 1
        for size in sizes:
            known *= 1 if size == -1 else size
        whole = shape[axis] if shape else 1
        if sizes.count(-1) > 1 or (whole % known if -1 in sizes and known else whole != known):
            raise RuntimeError(
                f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {self.dim} ({whole}) in the "
                "input tensor"
            )
        return input.reshape(*shape[:axis], *sizes, *shape[axis + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
