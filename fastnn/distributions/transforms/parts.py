"""Transforms made of other transforms, each of a part of the argument."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import fastnn
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.distribution import lazy_property, sum_rightmost
from fastnn.distributions.transforms.transform import Transform


class _SeveralTransforms(Transform):
    """Several transforms, each of a part of the argument along dimension ``dim``."""

    dim: int
    transforms: list[Any]

    def _split(self, value: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def _join(self, values: list[Tensor], dim: int) -> Tensor:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        return self._join([t(v) for v, t in zip(self._split(x), self.transforms, strict=True)], self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._join([t.inv(v) for v, t in zip(self._split(y), self.transforms, strict=True)], self.dim)

    @property
    def bijective(self) -> bool:
        return all(t.bijective for t in self.transforms)


def _check_transforms(tseq: Sequence[Any]) -> None:
    if not all(isinstance(t, Transform) for t in tseq):
        raise AssertionError(
            f"All elements of tseq must be Transform instances, found {[type(t).__name__ for t in tseq]}"
        )


def _check_dim(dim: int, value: Tensor) -> None:
    if not -value.dim() <= dim < value.dim():
        raise AssertionError(f"dim {dim} out of range for tensor with {value.dim()} dims")


class CatTransform(_SeveralTransforms):
    """Transforms of slices of an argument along a dimension, joined as ``torch.cat`` does.

    Args:
        tseq: the transforms.
        dim: the dimension.
        lengths: the lengths of the slices; by default 1 each.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import CatTransform, ExpTransform, identity_transform
    >>> CatTransform([ExpTransform(), identity_transform], lengths=[1, 2])(fastnn.tensor([0.0, 1.0, 2.0]))
    tensor([1., 1., 2.])
    """

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0
    ) -> None:
        _check_transforms(tseq)
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(f"lengths ({len(self.lengths)}) must match the transforms ({len(self.transforms)})")
        self.dim = dim

    @lazy_property
    def event_dim(self) -> int:
        """The largest of the transforms."""
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self) -> int:
        """The number of elements along the dimension."""
        return sum(self.lengths)

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _split(self, value: Tensor) -> list[Tensor]:
        _check_dim(self.dim, value)
        if value.shape[self.dim] != self.length:
            raise AssertionError(f"size {value.shape[self.dim]} of dimension {self.dim} must be {self.length}")
        return list(value.split(self.lengths, self.dim))

    def _join(self, values: list[Tensor], dim: int) -> Tensor:
        return fastnn.cat(values, dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        terms = []
        for t, before, after in zip(self.transforms, self._split(x), self._split(y), strict=True):
            term = t.log_abs_det_jacobian(before, after)
            terms.append(sum_rightmost(term, self.event_dim - t.event_dim) if t.event_dim < self.event_dim else term)
        dim = self.dim if self.dim < 0 else self.dim - x.dim()
        dim += self.event_dim
        return fastnn.cat(terms, dim) if dim < 0 else functools.reduce(operator.add, terms)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_SeveralTransforms):
    """Transforms of the slices at 0, 1, 2 ... of a dimension, joined as ``torch.stack`` does.

    Args:
        tseq: the transforms.
        dim: the dimension.

    >>> import fastnn
    >>> from fastnn.distributions.transforms import ExpTransform, StackTransform, identity_transform
    >>> StackTransform([ExpTransform(), identity_transform], dim=1)(fastnn.zeros(2, 2))
    tensor([[1., 0.],
            [1., 0.]])
    """

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        _check_transforms(tseq)
        super().__init__(cache_size=cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)
        self.dim = dim

    def with_cache(self, cache_size: int = 1) -> Any:
        return self if self._cache_size == cache_size else StackTransform(self.transforms, self.dim, cache_size)

    def _split(self, value: Tensor) -> list[Tensor]:
        _check_dim(self.dim, value)
        if value.shape[self.dim] != len(self.transforms):
            raise AssertionError(
                f"size {value.shape[self.dim]} of dimension {self.dim} must be {len(self.transforms)}"
            )
        return [value.select(self.dim, i) for i in range(len(self.transforms))]

    def _join(self, values: list[Tensor], dim: int) -> Tensor:
        return fastnn.stack(values, dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._split(x), self._split(y), strict=True)
        return fastnn.stack([t.log_abs_det_jacobian(before, after) for t, before, after in parts], dim=self.dim)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
