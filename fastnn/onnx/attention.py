"""Attention as public operations, for the time of an export: its own functions call kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import fastnn
from fastnn._core.absent import is_only_a_name
from fastnn._tensor.tensor import Tensor
from fastnn.onnx.errors import UnsupportedOperatorError


def replacements() -> list[tuple[Any, Callable[..., Any]]]:
    """The functions that are replaced, if fastnn computes them."""
    function = getattr(fastnn.nn.functional, "scaled_dot_product_attention", None)
    layer = getattr(fastnn.nn, "MultiheadAttention", None)
    found: list[tuple[Any, Callable[..., Any]]] = []
    if function is not None and not is_only_a_name(function):
        found.append((function, dot_product_attention))
    if layer is not None and not is_only_a_name(layer):
        found.append((layer.forward, multi_head_attention))
    return found


def _masked(scores: Any, mask: Any) -> Any:
    """Scores with a mask: numbers are added, False of a bool mask hides a key."""
    if mask is None:
        return scores
    if mask.dtype is fastnn.bool:
        return scores.masked_fill(fastnn.logical_not(mask), -math.inf)
    return scores + mask


def dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """``scaled_dot_product_attention``."""
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        raise UnsupportedOperatorError(
            "fastnn does not export torch operation 'scaled_dot_product_attention' with fewer heads of keys to ONNX"
        )
    factor = 1 / math.sqrt(int(query.shape[-1])) if scale is None else scale
    scores = _masked(query.matmul(key.transpose(-2, -1)) * factor, attn_mask)
    if is_causal:
        rows, columns = fastnn.arange(query.shape[-2]), fastnn.arange(key.shape[-2])
        scores = _masked(scores, rows.unsqueeze(1) >= columns.unsqueeze(0))
    weights = scores.softmax(-1)
    return fastnn.nn.functional.dropout(weights, dropout_p, dropout_p > 0).matmul(value)


def multi_head_attention(
    layer: Any, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The forward of ``MultiheadAttention``."""
    if layer.bias_k is not None or layer.add_zero_attn:
        raise UnsupportedOperatorError(
            "fastnn does not export a MultiheadAttention with add_bias_kv or add_zero_attn to ONNX"
        )
    F, heads, size = fastnn.nn.functional, layer.num_heads, layer.head_dim
    is_batch, same = query.dim() == 3, query is key and key is value

    def batch_first(x: Any) -> Any:
        return x.unsqueeze(0) if not is_batch else x if layer.batch_first else x.transpose(0, 1)

    query = batch_first(query)
    key, value = (query, query) if same else (batch_first(key), batch_first(value))
    bias = layer.in_proj_bias
    if same and layer.in_proj_weight is not None:
        parts = F.linear(query, layer.in_proj_weight, bias).chunk(3, -1)
    else:
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        if layer.in_proj_weight is not None:
            weights = layer.in_proj_weight.chunk(3)
        parts = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    q, k, v = (x.reshape(x.shape[0], x.shape[1], heads, size).transpose(1, 2) for x in parts)
    scores = q.matmul(k.transpose(-2, -1)) / math.sqrt(size)
    for mask in (attn_mask, key_padding_mask):
        if mask is None:
            continue
        if mask is key_padding_mask:
            mask = (mask if mask.dim() == 2 else mask.unsqueeze(0)).unsqueeze(1).unsqueeze(2)
        elif mask.dim() == 3:
            mask = mask.reshape(scores.shape)
        # True hides a key here.
        scores = _masked(scores, fastnn.logical_not(mask) if mask.dtype is fastnn.bool else mask)
    shares = scores.softmax(-1)
    shares = F.dropout(shares, layer.dropout, layer.training and layer.dropout > 0)
    found = shares.matmul(v).transpose(1, 2)
    found = layer.out_proj(found.reshape(found.shape[0], found.shape[1], layer.embed_dim))
    found = found.squeeze(0) if not is_batch else found if layer.batch_first else found.transpose(0, 1)
    if not need_weights:
        return found, None
    shares = shares.mean(1) if average_attn_weights else shares
    return found, shares if is_batch else shares.squeeze(0)
