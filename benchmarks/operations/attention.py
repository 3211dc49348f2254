"""Attention, for the table of operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.operations.row import Operation, Shape

# Batches and heads, one sample, one token, more tokens than a vector.
_SHAPES: list[tuple[Shape, ...]] = [
    ((2, 3, 4), (2, 5, 4), (2, 5, 6)), ((3, 4), (5, 4), (5, 3)), ((1, 2, 1, 1),) * 3, ((1, 2, 9, 3),) * 3,
    ((0, 2, 3), (0, 4, 3), (0, 4, 3)),
]  # fmt: skip
_WEIGHTS: list[tuple[Shape, ...]] = [((3, 2, 4), (12, 4), (12,), (4, 4), (4,)), ((3, 4), (12, 4), (12,), (4, 4), (4,))]
_OTHER: list[tuple[Shape, ...]] = [((2, 2, 4), (5, 2, 4), (12, 4), (12,), (4, 4), (4,))]


def _heads(numbers: int) -> tuple[Shape, ...]:
    """Heads of 8 numbers and 16 tokens."""
    return ((max(1, numbers // 128), 16, 8),) * 3


def _some(lib: Any, queries: int, keys: int) -> Any:
    """A mask that leaves the first query without a key."""
    mask = np.arange(queries * keys).reshape(queries, keys) % 3 > 0
    mask[0] = False
    return lib.tensor(mask)


def _attend(lib: Any, q: Any, k: Any, v: Any, mask: Any = None, **options: Any) -> Any:
    return lib.nn.functional.scaled_dot_product_attention(q, k, v, mask, **options)


def _forward(lib: Any, q: Any, k: Any, v: Any, weight: Any, bias: Any, out: Any, shift: Any, **options: Any) -> Any:
    return lib.nn.functional.multi_head_attention_forward(
        q, k, v, 4, 2, weight, bias, None, None, options.pop("add_zero_attn", False), 0.0, out, shift, **options
    )


def _with_weights(lib: Any, *operands: Any, **options: Any) -> Any:
    out, weights = _forward(lib, *operands, **options)
    return lib.cat([out.reshape(-1), weights.reshape(-1)])


def _row(name: str, run: Any, shapes: list[tuple[Shape, ...]], roundings: float = 32, **options: Any) -> Operation:
    return Operation(
        name, run, shapes, roundings=roundings, terms=True, group="attention", domain=(-1.0, 1.0), **options
    )


def _layer(name: str, run: Any, shapes: list[tuple[Shape, ...]]) -> Operation:
    # The exponential multiplies the roundings of the scores, products of two linear maps, by their size, up to 35.
    return _row(name, run, shapes, 128)


ATTENTION: list[Operation] = [
    _row("attention", _attend, _SHAPES, scale=_heads),
    _row("attention_causal", lambda lib, q, k, v: _attend(lib, q, k, v, is_causal=True, scale=0.3), _SHAPES[:4]),
    _row("attention_bool", lambda lib, q, k, v: _attend(lib, q, k, v, _some(lib, q.shape[-2], k.shape[-2])),
         _SHAPES[:4]),
    _row("attention_added", _attend,
         [((2, 3, 4), (2, 5, 4), (2, 5, 6), (3, 5)), ((2, 2, 3, 4),) * 3 + ((2, 1, 1, 3),)]),
    _row("attention_grouped", lambda lib, q, k, v: _attend(lib, q, k, v, enable_gqa=True),
         [((2, 4, 3, 2), (2, 2, 5, 2), (2, 2, 5, 3))]),
    _layer("multi_head_attention", lambda lib, x, *weights: _forward(lib, x, x, x, *weights, need_weights=False)[0],
           _WEIGHTS),
    _layer("multi_head_attention_weights", lambda lib, x, *weights: _with_weights(lib, x, x, x, *weights,
           attn_mask=_some(lib, 3, 3).logical_not()[1:2].expand(3, 3), average_attn_weights=False), _WEIGHTS),
    _layer("multi_head_attention_other", lambda lib, x, y, *weights: _with_weights(lib, x, y, y, *weights,
           key_padding_mask=_some(lib, 3, 5)[1:].logical_not(), add_zero_attn=True), _OTHER),
]  # fmt: skip
