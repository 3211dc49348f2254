"""Attention as functions of tensors. Public under ``fastnn.nn.functional``.

One kernel computes the heads of a batch, and one their gradients; sizes and dtypes that they do not take are computed
by plain operations, which also give the second derivatives.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node, run_backward
from fastnn._autograd.modes import enable_grad
from fastnn._core.capture_state import constant
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _unbroadcast, _wrap
from fastnn.kernels.attention.attention import ORDERS
from fastnn.kernels.runtime import allocation
from fastnn.nn import functional
from fastnn.nn.checks import _check_tensor, _contiguous
from fastnn.nn.functional.dropout import check_probability
from fastnn.nn.functional.softmax import softmax
from fastnn.ops.comparison import masked_fill, where
from fastnn.ops.joining import cat
from fastnn.ops.products import matmul
from fastnn.ops.shapes import repeat_interleave
from fastnn.random import default_generator

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]

# Where the heads are in memory: batches, heads, rows; batches, rows, heads; rows, batches, heads.
_OUTSIDE, _BATCH_FIRST, _ROWS_FIRST = range(3)
_UNTURNED = tuple([tuple(np.argsort(order).tolist()) for order in ORDERS])
_KINDS = (np.dtype(np.float32), np.dtype(np.float64))


class _Attention(NamedTuple):
    """What attention is besides its tensors.

    Attributes:
        scale: the factor of the scores.
        causal: whether query i has only the keys up to i.
        safe: whether a query without a key gives 0, not NaN.
        p, state: of the dropout of the weights; the state is None without dropout.
        heads: of the queries; None if the tensors have a dimension of heads.
        layout: where the heads are in memory.
    """

    scale: float
    causal: bool
    safe: bool
    p: float
    state: np.ndarray | None
    heads: int | None
    layout: int

    @property
    def batches_axis(self) -> int:
        """The dimension of the batches in queries, keys and values."""
        return 1 if self.heads is not None and self.layout == _ROWS_FIRST else 0


# -- The heads of a tensor --------------------------------------------------------------------


def _split(array: np.ndarray, count: int, heads: int | None, layout: int) -> list[np.ndarray]:
    """Views (batches, heads, rows, size) of an array: of its ``count`` parts of equal size, if it is rows of heads."""
    if heads is None:
        return [array]
    a, b, width = array.shape
    parts = array.reshape(a, b, count, heads, width // (count * heads))
    return [parts[:, :, i].transpose(_UNTURNED[layout]) for i in range(count)]


def _split_tensor(tensor: Tensor, count: int, heads: int | None, layout: int) -> list[Tensor]:
    """The same of a tensor, recorded."""
    if heads is None:
        return [tensor]
    a, b, width = tensor._data.shape
    parts = tensor.reshape(a, b, count, heads, width // (count * heads))
    return [parts[:, :, i].permute(*_UNTURNED[layout]) for i in range(count)]


def _inputs(sources: tuple[Tensor, ...], how: _Attention) -> list[Tensor]:
    """Queries, keys and values as (batches, heads, rows, size), recorded; of one packed source, or of three."""
    count = 3 if len(sources) == 1 else 1
    return [part for source in sources for part in _split_tensor(source, count, how.heads, how.layout)]


def _joined(heads: Tensor, how: _Attention) -> Tensor:
    """The inverse of the view of heads, for a tensor whose heads lie in rows."""
    if how.heads is None:
        return heads
    turned = heads.permute(*ORDERS[how.layout])
    a, b, count, size = turned._data.shape
    return turned.reshape(a, b, count * size)


def _composed(sources: tuple[Tensor, ...], mask: Tensor | None, how: _Attention) -> tuple[Tensor, Tensor]:
    """Attention in plain recorded operations: the result, and the weights (batches, heads, queries, keys)."""
    q, k, v = _inputs(sources, how)
    group = q._data.shape[1] // max(k._data.shape[1], 1)
    if group > 1:
        k, v = repeat_interleave(k, group, 1), repeat_interleave(v, group, 1)
    scores = matmul(q * how.scale, k.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    if how.causal:
        hidden = _wrap(constant(~np.tri(*scores._data.shape[-2:], dtype=np.bool_)))
        scores = masked_fill(scores, hidden, -math.inf)
    if how.safe:
        without = _wrap(np.asarray(np.isneginf(scores._data).all(-1, keepdims=True)))
        weights = masked_fill(softmax(masked_fill(scores, without, 0.0), -1), without, 0.0)
    else:
        weights = softmax(scores, -1)
    if how.state is not None:
        kept = np.ones(weights._data.shape, weights._data.dtype)
        kernels.dropout_forward(kept, kept, how.state, how.p)
        weights = weights * _wrap(kept)
    return _joined(matmul(weights, v), how), weights


# -- The kernel -------------------------------------------------------------------------------


def _rows(a: np.ndarray) -> np.ndarray:
    """The array, or a copy of it if its rows are not contiguous."""
    return a if a.strides[-1] == a.itemsize or a.shape[-1] == 1 else _contiguous(a)


def _attend(
    sources: tuple[Tensor, ...], mask: Tensor | None, how: _Attention, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Attention of one packed tensor of queries, keys and values, or of three tensors.

    Args:
        sources: (batches, heads, rows, size) each, or with ``how.heads`` (batches, rows, heads * size) or
            (rows, batches, heads * size), by ``how.layout``; one of them has three such parts side by side.
        mask: floating point, to be added to scores of (batches, heads, queries, keys); or None.

    Returns: the result, like a source; and the weights (batches, heads, queries, keys), or None.
    """
    if sources[0]._data.dtype == np.float16:
        wide = tuple([t.float() for t in sources])
        single, found = _attend(wide, None if mask is None else mask.float(), how, need_weights)
        return single.half(), None if found is None else found.half()
    packed = len(sources) == 1
    dense = _rows if how.heads is None else _contiguous
    arrays = [dense(t._data) for t in sources]
    views = [part for array in arrays for part in _split(array, 3 if packed else 1, how.heads, how.layout)]
    q, k, v = views
    shape, (batches, heads, queries, _) = (*q.shape[:3], k.shape[2]), q.shape
    if not (k.shape[1] and k.shape[2] and k.shape[3] and v.shape[3]) or q.dtype not in _KINDS:
        plain, weights = _composed(sources, mask, how)
        return plain, weights if need_weights else None
    operands = sources if mask is None or not mask._requires_grad else (*sources, mask)
    recorded = _recorded(*operands)
    added = None
    if mask is not None:
        added = mask._data
        if added.dtype != q.dtype:
            added = mask.to(sources[0].dtype)._data
        if not added.ndim or added.shape[-1] != shape[-1] or added.strides[-1] != added.itemsize:
            added = _contiguous(np.broadcast_to(added, (*added.shape[:-1], shape[-1])))
        added = np.broadcast_to(added, shape)
    saved = allocation.empty(shape, q.dtype) if recorded or need_weights else None
    whole = batches, heads, queries, v.shape[3]
    options: dict[str, Any] = {"scale": how.scale, "layout": how.layout, "p": how.p if how.state is not None else 0.0}
    out = allocation.empty([whole[axis] for axis in ORDERS[how.layout]], q.dtype)
    unturned = _UNTURNED[how.layout]
    kernels.attention_forward(
        out.transpose(unturned), saved, q, k, v, added, causal=how.causal, safe=how.safe, state=how.state, **options
    )  # fmt: skip
    result = out.transpose(unturned) if how.heads is None else out.reshape(*out.shape[:2], heads * v.shape[3])
    shares = _weights(operands, sources, mask, how, saved) if need_weights else None
    if not recorded:
        return _wrap(result), shares

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        assert saved is not None
        dout = grad._data
        if how.heads is None:
            dout = dout.transpose(ORDERS[how.layout])
        dout = _contiguous(dout).reshape(out.shape).transpose(unturned)
        if how.heads is None:
            grads = [
                allocation.empty([a.shape[axis] for axis in ORDERS[how.layout]], a.dtype).transpose(unturned)
                for a in arrays
            ]
        else:
            grads = [allocation.empty_like(a) for a in arrays]
        dq, dk, dv = [part for g in grads for part in _split(g, 3 if packed else 1, how.heads, how.layout)]
        by_scores = allocation.empty(shape, q.dtype) if len(operands) > len(sources) else None
        kernels.attention_backward(
            dq, dk, dv, by_scores, dout, q, k, v, saved, state=how.state, within=grads[0] if packed else None, **options
        )  # fmt: skip
        found: list[Tensor | None] = [_wrap(g) for g in grads]
        if by_scores is not None:
            assert mask is not None
            found.append(_unbroadcast(_wrap(by_scores), mask._data.shape).to(mask.dtype))
        return tuple(found)

    node = Node(
        "ScaledDotProductAttention", operands, run, sources, keeps=True,
        recompute=lambda: _composed(sources, mask, how)[0],
    )  # fmt: skip
    # As in PyTorch, whose kernel reads the result; with a mask that is trained, or groups, it multiplies matrices.
    guarded = len(operands) == len(sources) and q.shape[1] == k.shape[1]
    made = _wrap(result, node)
    return node.guard(made) if guarded else made, shares


def _weights(
    operands: tuple[Tensor, ...], sources: tuple[Tensor, ...], mask: Tensor | None, how: _Attention, saved: Any
) -> Tensor:
    """The weights as a result; their gradient, which few programs use, is computed by plain operations."""
    found = saved
    if how.state is not None:
        found = allocation.empty_like(saved)
        kernels.dropout_forward(found, saved, how.state, how.p)
    if not _recorded(*operands):
        return _wrap(found)

    def again() -> Tensor:
        return _composed(sources, mask, how)[1]

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        with enable_grad():
            result = again()
        edges = [(t._node or t) if t._requires_grad else None for t in operands]
        grads = run_backward([result], [grad], True, False, {e for e in edges if e is not None}, inner=True)
        return tuple([grads.pop(edge, None) if edge is not None else None for edge in edges])

    return _wrap(found, Node("Softmax", operands, run, operands, keeps=True, recompute=again))


# -- scaled_dot_product_attention -------------------------------------------------------------


def _check_attention(query: Any, key: Any, value: Any) -> None:
    for name, t in (("query", query), ("key", key), ("value", value)):
        _check_tensor(name, t)
    if not query._data.dtype == key._data.dtype == value._data.dtype:
        raise DTypeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {query.dtype} key.dtype: "
            f"{key.dtype} and value.dtype: {value.dtype} instead."
        )
    if query._data.dtype.kind != "f":
        raise DTypeError(f"scaled_dot_product_attention is for float32 and float64, found {query.dtype}")
    if min(query._data.ndim, key._data.ndim, value._data.ndim) < 2:
        raise ShapeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{query._data.ndim} key.dim: {key._data.ndim} and value.dim: {value._data.ndim} instead."
        )
    if query._data.shape[-1] != key._data.shape[-1]:
        raise ShapeError(
            "query and key must have the same size in their last dimension, found shapes "
            f"{tuple(query.shape)} and {tuple(key.shape)}"
        )
    if key._data.shape[-2] != value._data.shape[-2]:
        raise ShapeError(
            f"key and value must have the same length, found shapes {tuple(key.shape)} and {tuple(value.shape)}"
        )


def _heads_of(lead: tuple[int, ...], key: Tensor, value: Tensor) -> tuple[int, int]:
    counts = key._data.shape[-3], value._data.shape[-3]
    for count in counts:
        if not count or lead[-1] % count:
            raise ShapeError(
                f"Number of heads in key and value must divide the number of heads in query, found {counts[0]} and "
                f"{counts[1]} for {lead[-1]}"
            )
    return counts


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(scale * query @ key.T + attn_mask) @ value`` over the last two dimensions, in one kernel.

    Args:
        query: (..., L, E), float32 or float64.
        key: (..., S, E) and value: (..., S, Ev); their other dimensions are broadcast with those of the query.
        attn_mask: broadcast to (..., L, S): floating point, added to the scores, or bool, False where a query may not
            use a key. A query without any key gives 0.
        dropout_p: each weight becomes 0 with this probability, and the others are divided by ``1 - dropout_p``.
        is_causal: query i has only the keys up to i; not together with ``attn_mask``.
        scale: ``1 / sqrt(E)`` if None.
        enable_gqa: the heads, dimension -3, of key and value divide those of the query, and each is used for several
            successive heads of the query.

    Returns: (..., L, Ev). Source: A. Vaswani et al., arXiv:1706.03762. Raises: ShapeError (a ValueError and
    RuntimeError), DTypeError (a TypeError and RuntimeError) or RuntimeError.

    >>> import fastnn
    >>> x = fastnn.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> fastnn.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    tensor([[1.0000, 0.0000],
            [0.3302, 0.6698]])
    """
    _check_attention(query, key, value)
    if attn_mask is not None:
        _check_tensor("attn_mask", attn_mask)
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
        if attn_mask._data.dtype != np.bool_ and attn_mask._data.dtype not in (query._data.dtype, _KINDS[0]):
            raise DTypeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{attn_mask.dtype} and  query.dtype: {query.dtype} instead."
            )
    if dropout_p > 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    lead = query._data.shape[:-2]
    if enable_gqa and min(query._data.ndim, key._data.ndim, value._data.ndim) > 2:
        k_heads, v_heads = _heads_of(lead, key, value)
        if k_heads != v_heads:
            key = repeat_interleave(key, lead[-1] // k_heads, -3)
            value = repeat_interleave(value, lead[-1] // v_heads, -3)
            k_heads = lead[-1]
    else:
        k_heads = 0
    # The leading dimensions of the keys without their heads, if these are fewer.
    try:
        if k_heads:
            outer = np.broadcast_shapes(lead[:-1], key._data.shape[:-3], value._data.shape[:-3])
            leads = [(*outer, lead[-1]), (*outer, k_heads), (*outer, k_heads)]
        else:
            leads = [np.broadcast_shapes(lead, key._data.shape[:-2], value._data.shape[:-2])] * 3
    except ValueError:
        raise ShapeError(
            "the dimensions of query, key and value before the last two cannot be broadcast together, found shapes "
            f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        ) from None
    lead = leads[0]
    whole = (*lead, query._data.shape[-2], key._data.shape[-2])
    mask = None if attn_mask is None else _as_scores(attn_mask, whole, query)
    if k_heads not in (0, lead[-1] if lead else 0):
        # Copies, as in PyTorch: the operands may change before the backward pass.
        query, key, value = query.clone(), key.clone(), value.clone()
    elif mask is not None and mask._requires_grad:
        query, key = query.clone(), key.clone()
    sources = tuple([_in_four(t, wanted) for t, wanted in zip((query, key, value), leads, strict=True)])
    if mask is not None and len(lead) != 2:
        mask = _in_four(mask.expand(whole), lead) if mask._data.ndim > 2 else mask
    q = sources[0]._data
    layout = _BATCH_FIRST if q.shape[1] > 1 and 0 < q.strides[1] < q.strides[2] else _OUTSIDE
    state = default_generator().kernel_state() if dropout_p > 0 else None
    factor = float(scale) if scale is not None else 1 / math.sqrt(q.shape[3]) if q.shape[3] else 1.0
    how = _Attention(factor, bool(is_causal), True, float(dropout_p), state, None, layout)
    out, _ = _attend(sources, mask, how, False)
    return out if len(lead) == 2 else out.reshape(*lead, *out._data.shape[2:])


def _in_four(t: Tensor, lead: tuple[int, ...]) -> Tensor:
    """A tensor broadcast to these leading dimensions, all but the last of them as one."""
    last = t._data.shape[-2:]
    if t._data.shape[:-2] != lead:
        t = t.expand(*lead, *last)
    if len(lead) == 2:
        return t
    return t.reshape(math.prod(lead[:-1]), lead[-1] if lead else 1, *last)


def _as_scores(mask: Tensor, whole: tuple[int, ...], query: Tensor) -> Tensor:
    """A mask as numbers to add to scores of this shape."""
    try:
        fits = np.broadcast_shapes(mask._data.shape, whole) == whole
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"attn_mask must be broadcast to {whole}, found shape {tuple(mask.shape)}")
    return _additive(mask, query)


def _additive(mask: Tensor, like: Tensor, hidden: bool = False) -> Tensor:
    """A floating-point mask: of a bool mask, -infinity where it is ``hidden``, and 0 elsewhere."""
    if mask._data.dtype != np.bool_:
        return mask
    kind = like._data.dtype.type
    zero, lowest = _wrap(constant(np.zeros((), kind))), _wrap(constant(np.full((), -np.inf, kind)))
    return where(mask, lowest, zero) if hidden else where(mask, zero, lowest)


# -- Multi-head attention ---------------------------------------------------------------------


def _check(condition: bool, message: str) -> None:
    # PyTorch's errors of these functions are failed assertions.
    if not condition:
        raise AssertionError(message)


def canonical_mask(
    mask: Tensor | None, name: str, other: Tensor | None, other_name: str, like: Tensor, check_other: bool = True
) -> Tensor | None:
    """A mask as numbers that are added to scores: of a bool mask, -infinity where it is true.

    Warns if the kinds of two masks differ, as in PyTorch. Raises: AssertionError for integers.
    """
    if mask is None:
        return None
    _check_tensor(name, mask)
    kind = mask._data.dtype
    _check(kind.kind in "fb", f"only bool and floating types of {name} are supported")
    if check_other and other is not None and other._data.dtype != kind:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            UserWarning, stacklevel=4,
        )  # fmt: skip
    return _additive(mask, like, hidden=True)


def _check_shapes(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None, heads: int
) -> bool:
    """Whether there is a dimension of batches; AssertionError for wrong numbers of dimensions."""
    for name, t in (("query", query), ("key", key), ("value", value)):
        _check_tensor(name, t)
    ndim = query._data.ndim
    _check(
        ndim in (2, 3), f"query should be unbatched 2D or batched 3D tensor but received {ndim}-D query tensor"
    )
    what = "batched (3-D)" if ndim == 3 else "unbatched (2-D)"
    _check(
        key._data.ndim == ndim == value._data.ndim,
        f"For {what} `query`, expected `key` and `value` to be {ndim}-D but found {key._data.ndim}-D and "
        f"{value._data.ndim}-D tensors respectively",
    )
    if key_padding_mask is not None:
        found = key_padding_mask._data.ndim
        _check(
            found == ndim - 1,
            f"For {what} `query`, expected `key_padding_mask` to be `None` or {ndim - 1}-D but found {found}-D tensor "
            "instead",
        )
    if attn_mask is not None:
        found = attn_mask._data.ndim
        _check(
            found in (2, 3),
            f"For {what} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {found}-D tensor instead",
        )
        if ndim == 2 and found == 3:
            wanted = (heads, query._data.shape[0], key._data.shape[0])
            _check(
                attn_mask._data.shape == wanted,
                f"Expected `attn_mask` shape to be {wanted} but got {tuple(attn_mask.shape)}",
            )
    return ndim == 3


def _projections(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, ...]:
    """Queries, keys and values as one tensor, side by side, if they are projected from one; otherwise three."""
    size = query._data.shape[-1]
    if query is key and key is value:
        return (functional.linear(query, weight, bias),)
    if key is value:
        b_query, b_rest = (None, None) if bias is None else (bias[:size], bias[size:])
        rest = functional.linear(key, weight[size:], b_rest)
        return functional.linear(query, weight[:size], b_query), rest[..., :size], rest[..., size:]
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    inputs = zip((query, key, value), weight.chunk(3), biases, strict=True)
    return tuple([functional.linear(t, w, b) for t, w, b in inputs])


def _with_column(mask: Tensor | None) -> Tensor | None:
    """The mask with one more key, which is visible."""
    if mask is None:
        return None
    return cat([mask, _wrap(constant(np.zeros((*mask._data.shape[:-1], 1), mask._data.dtype)))], -1)


def multi_head(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None,
    add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor, out_proj_bias: Tensor | None,
    training: bool = True, key_padding_mask: Tensor | None = None, need_weights: bool = True,
    attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None, static_k: Tensor | None = None,
    static_v: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """:func:`multi_head_attention_forward`, also for tensors whose first dimension is that of the batches."""
    is_batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not is_batched:
        same = query is key, key is value
        query = query.unsqueeze(0 if batch_first else 1)
        key = query if same[0] else key.unsqueeze(0 if batch_first else 1)
        value = key if same[1] else value.unsqueeze(0 if batch_first else 1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    rows, batch = (1, 0) if batch_first else (0, 1)
    length, batches, embed_dim = query._data.shape[rows], query._data.shape[batch], query._data.shape[2]
    keys = key._data.shape[rows]
    key_padding_mask = canonical_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    causal = is_causal and key_padding_mask is None and not need_weights
    attn_mask = None if causal else canonical_mask(attn_mask, "attn_mask", None, "", query, False)
    _check(
        embed_dim == embed_dim_to_check,
        f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}",
    )
    size = embed_dim // num_heads
    _check(size * num_heads == embed_dim, f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        _check(
            key._data.shape[:2] == value._data.shape[:2],
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}",
        )
        weights = q_proj_weight, k_proj_weight, v_proj_weight
        for name, weight in zip("qkv", weights, strict=True):
            _check(weight is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        inputs = zip((query, key, value), weights, biases, strict=True)
        sources = tuple([functional.linear(t, w, b) for t, w, b in inputs])  # type: ignore[arg-type]  # checked above
    else:
        _check(
            key._data.shape == value._data.shape, f"key shape {key.shape} does not match value shape {value.shape}"
        )
        _check(in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        assert in_proj_weight is not None
        sources = _projections(query, key, value, in_proj_weight, in_proj_bias)
    mask = None
    if attn_mask is not None:
        wanted = (length, keys) if attn_mask._data.ndim == 2 else (batches * num_heads, length, keys)
        if attn_mask._data.shape != wanted:
            raise ShapeError(
                f"The shape of the {attn_mask._data.ndim}D attn_mask is {attn_mask.shape}, but should be {wanted}."
            )
        mask = attn_mask if len(wanted) == 2 else attn_mask.reshape(batches, num_heads, length, keys)
    _check((bias_k is None) == (bias_v is None), "bias_k and bias_v must both be given, or none of them")
    if bias_k is not None or add_zero_attn or static_k is not None or static_v is not None:
        if len(sources) == 1:
            sources = tuple(sources[0].chunk(3, -1))
        q, k, v = sources
        if bias_k is not None and bias_v is not None:
            _check(static_k is None, "bias cannot be added to static key.")
            _check(static_v is None, "bias cannot be added to static value.")
            more = (batches, 1, embed_dim) if batch_first else (1, batches, embed_dim)
            k, v = cat([k, bias_k.expand(*more)], rows), cat([v, bias_v.expand(*more)], rows)
            mask, key_padding_mask = _with_column(mask), _with_column(key_padding_mask)
        if static_k is not None:
            k = _static("static_k", static_k, batches, num_heads, size, batch_first)
        if static_v is not None:
            v = _static("static_v", static_v, batches, num_heads, size, batch_first)
        if add_zero_attn:
            shape = (batches, 1, embed_dim) if batch_first else (1, batches, embed_dim)
            k = cat([k, _wrap(constant(np.zeros(shape, k._data.dtype)))], rows)
            v = cat([v, _wrap(constant(np.zeros(shape, v._data.dtype)))], rows)
            mask, key_padding_mask = _with_column(mask), _with_column(key_padding_mask)
        sources, keys = (q, k, v), k._data.shape[rows]
    if key_padding_mask is not None:
        found = key_padding_mask._data.shape
        _check(found[0] == batches, f"Expected key_padded_mask.shape[0] to be {batches}, but got {found[0]}")
        _check(found[1] == keys, f"Expected key_padded_mask.shape[1] to be {keys}, but got {found[1]}")
        padding = key_padding_mask.reshape(batches, 1, 1, keys)
        mask = padding if mask is None else mask + padding
    p = dropout_p if training else 0.0
    check_probability(p)
    state = default_generator().kernel_state() if p > 0 else None
    layout = _BATCH_FIRST if batch_first else _ROWS_FIRST
    factor = 1 / math.sqrt(size) if size else 1.0
    how = _Attention(factor, causal, not need_weights, float(p), state, num_heads, layout)
    out, shares = _attend(sources, mask, how, need_weights)
    out = functional.linear(out, out_proj_weight, out_proj_bias)
    if shares is not None and average_attn_weights:
        shares = shares.mean(1)
    if not is_batched:
        out = out.squeeze(batch)
        shares = None if shares is None else shares.squeeze(0)
    return out, shares


def _static(name: str, given: Tensor, batches: int, heads: int, size: int, batch_first: bool) -> Tensor:
    """Keys or values (batches * heads, rows, size) as rows of heads."""
    _check_tensor(name, given)
    count, rows, width = given._data.shape
    _check(count == batches * heads, f"expecting {name}.size(0) of {batches * heads}, but got {count}")
    _check(width == size, f"expecting {name}.size(2) of {size}, but got {width}")
    four = given.reshape(batches, heads, rows, size)
    turned = four.permute(0, 2, 1, 3) if batch_first else four.permute(2, 0, 1, 3)
    return turned.reshape(*turned._data.shape[:2], heads * size)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads, each on a part of linear maps of the inputs; then another linear map.

    Args:
        query: (L, N, E) or (L, E); key and value: (S, N, E) or (S, E), or other features with separate weights.
        embed_dim_to_check: E.
        num_heads: divides E.
        in_proj_weight: (3 * E, E), the weights of query, key and value; in_proj_bias: (3 * E,), or None.
        bias_k, bias_v: (1, 1, E), one more key and value; or None.
        add_zero_attn: whether to add a key and a value of zeros.
        dropout_p: of the weights, if ``training``.
        out_proj_weight, out_proj_bias: of the last map.
        key_padding_mask: (N, S) or (S,), bool, true for keys that are not used, or numbers that are added to scores.
        need_weights: whether to return the weights. Only without them a query without any key gives 0, not NaN.
        attn_mask: (L, S) or (N * num_heads, L, S), bool, true where a query may not use a key, or numbers.
        use_separate_proj_weight: whether the weights are q_proj_weight (E, E), k_proj_weight and v_proj_weight
            (E, features).
        static_k, static_v: (N * num_heads, S, E // num_heads), in place of the maps of key and value.
        average_attn_weights: whether the weights are averaged over the heads.
        is_causal: whether ``attn_mask`` is causal.

    Returns: (L, N, E) or (L, E), and (N, L, S), (N, num_heads, L, S), or these without N, or None. Source: A. Vaswani
    et al., arXiv:1706.03762. Raises: AssertionError, RuntimeError or ShapeError for arguments that do not fit.
    """
    return multi_head(
        query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
        dropout_p, out_proj_weight, out_proj_bias, training, key_padding_mask, need_weights, attn_mask,
        use_separate_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, static_k, static_v,
        average_attn_weights, is_causal,
    )  # fmt: skip
