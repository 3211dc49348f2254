"""Attention of several heads as a layer."""

from __future__ import annotations

from typing import Any

from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor
from fastnn.nn.checks import _kind
from fastnn.nn.functional.attention import multi_head
from fastnn.nn.init import constant_, xavier_normal_, xavier_uniform_
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter

__all__ = ["MultiheadAttention"]


class NonDynamicallyQuantizableLinear(Linear):
    """A linear layer under the name that PyTorch gives to the last map of attention."""


class MultiheadAttention(Module):
    """Attention of several heads, each on a part of linear maps of query, key and value; then another linear map.

    Args:
        embed_dim: features of the query and the result.
        num_heads: divides ``embed_dim``.
        dropout: of the weights, in training.
        bias: of the maps.
        add_bias_kv: whether there is one more key and value, which are trained.
        add_zero_attn: whether there is one more key and value of zeros.
        kdim, vdim: features of key and value, by default ``embed_dim``.
        batch_first: whether the batch is the first dimension, not the second.
        device, dtype: as for :class:`Linear`.

    Parameters, as in PyTorch: ``in_proj_weight`` (3 * embed_dim, embed_dim), or ``q_proj_weight``, ``k_proj_weight``
    and ``v_proj_weight`` if the features differ; ``in_proj_bias``; ``out_proj``, a linear layer; ``bias_k`` and
    ``bias_v``. Source: A. Vaswani et al., arXiv:1706.03762.

    >>> import fastnn
    >>> attention = fastnn.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = fastnn.zeros(4, 5, 8)
    >>> out, weights = attention(x, x, x)
    >>> out.shape, weights.shape
    (torch.Size([4, 5, 8]), torch.Size([4, 5, 5]))
    """

    __constants__ = ("batch_first",)

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} "
                "instead"
            )
        if embed_dim % num_heads:
            raise AssertionError(
                f"embed_dim must be divisible by num_heads, found embed_dim={embed_dim} and num_heads={num_heads}"
            )
        super().__init__()
        kind = _kind(dtype, device)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        separate = not self._qkv_same_embed_dim
        if separate:
            self.q_proj_weight = Parameter._empty((embed_dim, embed_dim), kind)
            self.k_proj_weight = Parameter._empty((embed_dim, self.kdim), kind)
            self.v_proj_weight = Parameter._empty((embed_dim, self.vdim), kind)
            self.register_parameter("in_proj_weight", None)
        else:
            self.in_proj_weight = Parameter._empty((3 * embed_dim, embed_dim), kind)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        self.register_parameter("in_proj_bias", Parameter._empty((3 * embed_dim,), kind) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        if add_bias_kv:
            self.bias_k = Parameter._empty((1, 1, embed_dim), kind)
            self.bias_v = Parameter._empty((1, 1, embed_dim), kind)
        else:
            self.bias_k = self.bias_v = None
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Redraw the weights of the inputs by Glorot's rule, and set their biases to 0."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            constant_(self.in_proj_bias, 0.0)
            assert self.out_proj.bias is not None
            constant_(self.out_proj.bias, 0.0)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The result and the weights, or None; see :func:`functional.multi_head_attention_forward`.

        With ``batch_first``, (N, L, E) and (N, S, E) take the place of (L, N, E) and (S, N, E).
        """
        return multi_head(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, None, None, average_attn_weights, is_causal, self.batch_first,
        )  # fmt: skip
