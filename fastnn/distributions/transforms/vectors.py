"""Transforms of whole vectors, and of shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.transforms.transform import PlainTransform, Transform
from fastnn.nn.functional import logsigmoid, pad


def shape_of(shape: Any, least: int, change: Callable[..., tuple[int, ...]]) -> Any:
    if len(shape) < least:
        raise ValueError(f"Too few dimensions on input: expected at least {least}, found {len(shape)}")
    return fastnn.Size(change(*shape))


class SoftmaxTransform(PlainTransform):
    """``y = softmax(x)``; the inverse is ``log(y)``, one of many.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import SoftmaxTransform
    >>> SoftmaxTransform()(fastnn.tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """

    domain: Any = constraints.real_vector
    codomain: Any = constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def forward_shape(self, shape: Any) -> Any:
        return shape_of(shape, 1, lambda *sizes: sizes)

    def inverse_shape(self, shape: Any) -> Any:
        return shape_of(shape, 1, lambda *sizes: sizes)


class StickBreakingTransform(PlainTransform):
    """n - 1 real numbers to n positive ones that sum to 1.

    A stick of length 1 is broken n - 1 times: element i is the share ``sigmoid(x[i] - log(n - 1 - i))`` of what is
    left, and the last element is the rest.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import StickBreakingTransform
    >>> StickBreakingTransform()(fastnn.zeros(1))
    tensor([0.5000, 0.5000])
    """

    domain: Any = constraints.real_vector
    codomain: Any = constraints.simplex
    bijective = True

    def _shift(self, x: Tensor, count: int) -> Tensor:
        """The logarithms of the numbers of pieces that follow each one."""
        return fastnn.arange(count, 0, -1, dtype=x.dtype).log()

    def _call(self, x: Tensor) -> Tensor:
        share = (x - self._shift(x, x.shape[-1])).sigmoid()
        rest = (1 - share).cumprod(-1)
        return pad(share, [0, 1], value=1) * pad(rest, [1, 0], value=1)

    def _inverse(self, y: Tensor) -> Tensor:
        pieces = y[..., :-1]
        # Rounding may make the rest 0.
        rest = (1 - pieces.cumsum(-1)).clamp(min=float(np.finfo(y._data.dtype).tiny))
        return pieces.log() - rest.log() + self._shift(y, pieces.shape[-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        x = x - self._shift(x, x.shape[-1])
        return (-x + logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        return shape_of(shape, 1, lambda *sizes: (*sizes[:-1], sizes[-1] + 1))

    def inverse_shape(self, shape: Any) -> Any:
        return shape_of(shape, 1, lambda *sizes: (*sizes[:-1], sizes[-1] - 1))


class ReshapeTransform(Transform):
    """The last dimensions in another shape.

    Args:
        in_shape, out_shape: the shapes of one argument and of its result.

    Raises: ValueError if they have different numbers of elements.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ReshapeTransform
    >>> ReshapeTransform((4,), (2, 2))(fastnn.zeros(3, 4)).shape
    torch.Size([3, 2, 2])
    """

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0) -> None:
        self.in_shape, self.out_shape = fastnn.Size(in_shape), fastnn.Size(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError(
                "in_shape, out_shape have different numbers of elements: found "
                f"{tuple(self.in_shape)} and {tuple(self.out_shape)}"
            )
        super().__init__(cache_size=cache_size)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.independent(constraints.real, len(self.in_shape))

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.independent(constraints.real, len(self.out_shape))

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return ReshapeTransform(self.in_shape, self.out_shape, cache_size=cache_size)

    def _batch(self, shape: Any, event: Any) -> tuple[int, ...]:
        """The shape without the last dimensions, which are those of the event."""
        return tuple(shape)[: len(shape) - len(event)]

    def _call(self, x: Tensor) -> Tensor:
        return x.reshape(*self._batch(x.shape, self.in_shape), *self.out_shape)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.reshape(*self._batch(y.shape, self.out_shape), *self.in_shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(self._batch(x.shape, self.in_shape))

    def _exchanged(self, shape: Any, old: Any, new: Any) -> Any:
        if len(shape) < len(old):
            raise ValueError(f"Too few dimensions on input: expected at least {len(old)}, found {len(shape)}")
        if tuple(shape)[len(shape) - len(old) :] != tuple(old):
            raise ValueError(f"Shape mismatch: expected {tuple(shape)[len(shape) - len(old) :]} but got {tuple(old)}")
        return fastnn.Size((*self._batch(shape, old), *new))

    def forward_shape(self, shape: Any) -> Any:
        return self._exchanged(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._exchanged(shape, self.out_shape, self.in_shape)
