"""Tables of vectors as layers."""

from __future__ import annotations

from typing import Any

from fastnn._core.dtypes import dtype as _dtype
from fastnn._core.errors import ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.nn import functional
from fastnn.nn.checks import _kind
from fastnn.nn.linear import _feature_count
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.random import default_generator

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """A weight with a row for each of ``num_embeddings`` indices."""

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Tensor | None,
        freeze: bool,
        device: Any,
        dtype: _dtype | None,
    ) -> None:
        super().__init__()
        self.num_embeddings = _feature_count("num_embeddings", num_embeddings)
        self.embedding_dim = _feature_count("embedding_dim", embedding_dim)
        if padding_idx is not None:
            if not -self.num_embeddings <= padding_idx < self.num_embeddings:
                raise AssertionError(f"Padding_idx must be within num_embeddings, found {padding_idx}")
            padding_idx %= self.num_embeddings
        self.padding_idx, self.max_norm, self.norm_type = padding_idx, max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        kind = _kind(dtype, device)
        if weight is None:
            self.weight = Parameter._empty((self.num_embeddings, self.embedding_dim), kind)
            self.reset_parameters()
        else:
            if tuple(weight.shape) != (self.num_embeddings, self.embedding_dim):
                raise AssertionError(
                    "Shape of weight does not match num_embeddings and embedding_dim: expected "
                    f"{(self.num_embeddings, self.embedding_dim)}, found {tuple(weight.shape)}"
                )
            self.weight = Parameter(weight)
        self.weight.requires_grad_(not freeze)

    def reset_parameters(self) -> None:
        """Redraw the table from the normal distribution; the padding row is zeros."""
        self.weight._data[...] = default_generator().numpy.standard_normal(self.weight._data.shape)
        if self.padding_idx is not None:
            self.weight._data[self.padding_idx] = 0
        self.weight._memory.version += 1

    def extra_repr(self) -> str:
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            parts.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq is not False:
            parts.append(f"scale_grad_by_freq={self.scale_grad_by_freq}")
        if self.sparse is not False:
            parts.append("sparse=True")
        return ", ".join(parts)


class Embedding(_Table):
    """A vector for each of ``num_embeddings`` indices, by :func:`functional.embedding`.

    Args:
        num_embeddings, embedding_dim: rows and columns of the weight, which starts normally distributed.
        padding_idx: a row that starts as zeros and is not trained.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for the function.
        device: None or the CPU.
        dtype: float32 (the default) or float64.

    Shape: any shape of int64 or int32 to the same with ``embedding_dim`` appended.

    >>> import fastnn
    >>> fastnn.nn.Embedding(10, 3)(fastnn.tensor([[1, 2], [3, 4]])).shape
    torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            _freeze, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The rows with the indices in ``input``."""
        return functional.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An Embedding that shares the memory of ``embeddings``; not trained if ``freeze``."""
        if embeddings.dim() != 2:
            raise AssertionError(
                f"Embeddings parameter is expected to be 2-dimensional, found shape {tuple(embeddings.shape)}"
            )
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)


class EmbeddingBag(_Table):
    """Sums, means or maxima of an embedding's rows over bags of indices, by :func:`functional.embedding_bag`.

    Args:
        num_embeddings, embedding_dim: rows and columns of the weight, which starts normally distributed.
        mode: 'sum', 'mean' or 'max'.
        max_norm, norm_type, scale_grad_by_freq, sparse, include_last_offset, padding_idx: as for the function.

    >>> import fastnn
    >>> bag = fastnn.nn.EmbeddingBag(10, 3, mode="sum")
    >>> bag(fastnn.tensor([1, 2, 4, 5]), fastnn.tensor([0, 3])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            False, device, dtype,
        )  # fmt: skip
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        """(bags, length), or (count,) with ``offsets``, to (bags, embedding_dim)."""
        return functional.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """An EmbeddingBag that shares the memory of ``embeddings``; not trained if ``freeze``."""
        if embeddings.dim() != 2:
            raise ShapeError(
                f"Embeddings parameter is expected to be 2-dimensional, found shape {tuple(embeddings.shape)}"
            )
        rows, columns = embeddings.shape
        made = cls(
            rows, columns, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset,
            padding_idx,
        )  # fmt: skip
        made.weight.requires_grad_(not freeze)
        return made

    def extra_repr(self) -> str:
        text, padding = super().extra_repr(), f", padding_idx={self.padding_idx}"
        if self.padding_idx is None:
            return f"{text}, mode={self.mode!r}"
        return f"{text.replace(padding, '', 1)}, mode={self.mode!r}{padding}"
