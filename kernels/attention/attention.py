"""Attention over the heads of a batch: ``softmax(scale * Q @ K.T + mask) @ V``, forward and backward.

A part takes whole heads, and in the backward all query heads of a head of K and V, so that each sum has one order. The
rows of a head are processed in blocks: the scores of a block stay in the cache until they are multiplied by V. Arrays
are read through strides, so heads may lie side by side in the rows of one matrix, and Q, K and V in one array.

The forward saves the probabilities for the backward, before dropout; the mask of the dropout is a function of the
position (see :mod:`fastnn.kernels.activation.dropout`). Source: A. Vaswani et al., arXiv:1706.03762.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.dropout import check_drop, drop_factor
from fastnn.kernels.llvm.micro_kernel import ACCUMULATE, lanes, limits
from fastnn.kernels.llvm.padded_rows import drop_row, exponentials, fill, scores, slopes, unfill
from fastnn.kernels.llvm.padded_rows import scale as scale_row
from fastnn.kernels.llvm.random import random_keys, random_threshold
from fastnn.kernels.matmul.batched import multiply
from fastnn.kernels.matmul.gemm import _transpose
from fastnn.kernels.runtime.checks import check, check_batch, check_output, kernel_for
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer, part, pointer, real
from fastnn.kernels.runtime.launcher import aligned, launch
from fastnn.kernels.runtime.raw_memory import ahead
from fastnn.kernels.runtime.thread_count import chunks_for

# Rows of a head that are processed together: a few tiles.
_BLOCK = 48
# Bits of `flags`. _ONE is always set: a 1 that LLVM does not know, as a stride.
_ONE, _CAUSAL, _MASK, _DROP, _SAFE, _SAVE, _AS_INPUTS, _SCORES = 1, 2, 4, 8, 16, 32, 64, 128
# The orders of dimensions in memory, from the outermost, as axes of (batches, heads, rows, size).
ORDERS = ((0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 1, 3))
# Floating-point operations per score besides the products.
_COST = 35


@inline
def _strides(layout, batches, heads, rows, size):
    """The distances of batches, heads and rows of a dense array in one of the orders."""
    if layout == 0:
        return heads * rows * size, rows * size, size
    if layout == 1:
        return rows * heads * size, size, heads * size
    return heads * size, size, batches * heads * size


_FORWARD_WORDS = Words(
    "out weights q k v mask state scratch; batches heads queries keys size vsize group flags layout "
    "q_batch q_head q_row k_batch k_head k_row v_batch v_head v_row mask_batch mask_head mask_row; scale keep"
)


def _forward(dtype):
    def attention_forward_slice(args, t, n):
        # out[batches, heads, queries, vsize] in the order `layout`; weights[batches, heads, queries, keys];
        # q[batches, heads, queries, size], k[batches, heads // group, keys, size], v[batches, heads // group, keys,
        # vsize], mask[batches, heads, queries, keys] by strides; state[2]; scratch[n, (size + _BLOCK) * width]
        like, step = dtype(0), lanes(dtype(0))
        batches, heads = integer(args, _FORWARD_WORDS.batches), integer(args, _FORWARD_WORDS.heads)
        queries, keys = integer(args, _FORWARD_WORDS.queries), integer(args, _FORWARD_WORDS.keys)
        size, vsize = integer(args, _FORWARD_WORDS.size), integer(args, _FORWARD_WORDS.vsize)
        group, flags = integer(args, _FORWARD_WORDS.group), integer(args, _FORWARD_WORDS.flags)
        layout, scale = integer(args, _FORWARD_WORDS.layout), dtype(real(args, _FORWARD_WORDS.scale))
        q_batch, q_head = integer(args, _FORWARD_WORDS.q_batch), integer(args, _FORWARD_WORDS.q_head)
        q_row, k_batch = integer(args, _FORWARD_WORDS.q_row), integer(args, _FORWARD_WORDS.k_batch)
        k_head, k_row = integer(args, _FORWARD_WORDS.k_head), integer(args, _FORWARD_WORDS.k_row)
        v_batch, v_head = integer(args, _FORWARD_WORDS.v_batch), integer(args, _FORWARD_WORDS.v_head)
        v_row, mask_batch = integer(args, _FORWARD_WORDS.v_row), integer(args, _FORWARD_WORDS.mask_batch)
        mask_head, mask_row = integer(args, _FORWARD_WORDS.mask_head), integer(args, _FORWARD_WORDS.mask_row)
        out, weights = pointer(args, _FORWARD_WORDS.out, like), pointer(args, _FORWARD_WORDS.weights, like)
        q, k = pointer(args, _FORWARD_WORDS.q, like), pointer(args, _FORWARD_WORDS.k, like)
        v, mask = pointer(args, _FORWARD_WORDS.v, like), pointer(args, _FORWARD_WORDS.mask, like)
        width, one = -(-keys // step) * step, flags & _ONE
        scratch = pointer(args, _FORWARD_WORDS.scratch, like)
        turned = ahead(scratch, t * (size + _BLOCK) * width)
        room = ahead(turned, size * width)
        keep = real(args, _FORWARD_WORDS.keep)
        key0, key1 = np.uint32(0), np.uint32(0)
        threshold, factor = random_threshold(keep), drop_factor(dtype(keep))
        if flags & _DROP:
            key0, key1 = random_keys(array(args, _FORWARD_WORDS.state, (2,), np.int64))
        out_batch, out_head, out_row = _strides(layout, batches, heads, queries, vsize)
        first, last = part(batches * heads, t, n)
        for unit in range(first, last):
            batch, head = unit // heads, unit % heads
            other = head // group
            if unit == first or head % group == 0:
                _transpose(like, turned, width, ahead(k, batch * k_batch + other * k_head), k_row, keys, size)
            values = ahead(v, batch * v_batch + other * v_head)
            for top_row in range(0, queries, _BLOCK):
                rows, position = min(_BLOCK, queries - top_row), (unit * queries + top_row) * keys
                multiply(
                    like, rows, width, size, ahead(q, batch * q_batch + head * q_head + top_row * q_row), q_row, one,
                    turned, width, room, width, 0,
                )  # fmt: skip
                for i in range(rows):
                    x, visible = ahead(room, i * width), keys
                    if flags & _CAUSAL:
                        visible = min(keys, top_row + i + 1)
                    at = batch * mask_batch + head * mask_head + (top_row + i) * mask_row
                    top = scores(scale, x, ahead(mask, at), visible, width, flags & _MASK != 0)
                    # A row without a key: exponentials of -infinity are 0.
                    top = dtype(0) if flags & _SAFE and top == dtype(-np.inf) else top
                    total = exponentials(top, x, width)
                    scale_row(dtype(0) if flags & _SAFE and total == dtype(0) else dtype(1) / total, x, width)
                    if flags & _SAVE:
                        unfill(like, ahead(weights, position + i * keys), x, keys, width)
                    if flags & _DROP:
                        drop_row(factor, x, position + i * keys, key0, key1, threshold, width)
                multiply(
                    like, rows, vsize, keys, room, width, one, values, v_row,
                    ahead(out, batch * out_batch + head * out_head + top_row * out_row), out_row, 0,
                )  # fmt: skip

    return attention_forward_slice


_BACKWARD_WORDS = Words(
    "dq dk dv dscores within dout q k v weights state scratch; batches heads queries keys size vsize group flags "
    "layout q_batch q_head q_row k_batch k_head k_row v_batch v_head v_row; scale keep"
)


def _backward(dtype):
    def attention_backward_slice(args, t, n):
        # dq, q[batches, heads, queries, size], dk, k[batches, heads // group, keys, size], dv, v[batches,
        # heads // group, keys, vsize]; dout[batches, heads, queries, vsize]; dscores, weights[batches, heads, queries,
        # keys]; state[2]; scratch[n, (vsize + 2 * _BLOCK) * width]; `within` is only declared as written
        like, step = dtype(0), lanes(dtype(0))
        batches, heads = integer(args, _BACKWARD_WORDS.batches), integer(args, _BACKWARD_WORDS.heads)
        queries, keys = integer(args, _BACKWARD_WORDS.queries), integer(args, _BACKWARD_WORDS.keys)
        size, vsize = integer(args, _BACKWARD_WORDS.size), integer(args, _BACKWARD_WORDS.vsize)
        group, flags = integer(args, _BACKWARD_WORDS.group), integer(args, _BACKWARD_WORDS.flags)
        layout, scale = integer(args, _BACKWARD_WORDS.layout), dtype(real(args, _BACKWARD_WORDS.scale))
        q_batch, q_head = integer(args, _BACKWARD_WORDS.q_batch), integer(args, _BACKWARD_WORDS.q_head)
        q_row, k_batch = integer(args, _BACKWARD_WORDS.q_row), integer(args, _BACKWARD_WORDS.k_batch)
        k_head, k_row = integer(args, _BACKWARD_WORDS.k_head), integer(args, _BACKWARD_WORDS.k_row)
        v_batch, v_head = integer(args, _BACKWARD_WORDS.v_batch), integer(args, _BACKWARD_WORDS.v_head)
        v_row = integer(args, _BACKWARD_WORDS.v_row)
        dq, dk = pointer(args, _BACKWARD_WORDS.dq, like), pointer(args, _BACKWARD_WORDS.dk, like)
        dv, dscores = pointer(args, _BACKWARD_WORDS.dv, like), pointer(args, _BACKWARD_WORDS.dscores, like)
        q, k = pointer(args, _BACKWARD_WORDS.q, like), pointer(args, _BACKWARD_WORDS.k, like)
        v, dout = pointer(args, _BACKWARD_WORDS.v, like), pointer(args, _BACKWARD_WORDS.dout, like)
        weights = pointer(args, _BACKWARD_WORDS.weights, like)
        width, one = -(-keys // step) * step, flags & _ONE
        scratch = pointer(args, _BACKWARD_WORDS.scratch, like)
        turned = ahead(scratch, t * (vsize + 2 * _BLOCK) * width)
        room = ahead(turned, vsize * width)
        kept = ahead(room, _BLOCK * width)
        keep = real(args, _BACKWARD_WORDS.keep)
        key0, key1 = np.uint32(0), np.uint32(0)
        threshold, factor = random_threshold(keep), drop_factor(dtype(keep))
        if flags & _DROP:
            key0, key1 = random_keys(array(args, _BACKWARD_WORDS.state, (2,), np.int64))
        others = heads // group
        dout_batch, dout_head, dout_row = _strides(layout, batches, heads, queries, vsize)
        dq_batch, dq_head, dq_row = _strides(layout, batches, heads, queries, size)
        dk_batch, dk_head, dk_row = _strides(layout, batches, others, keys, size)
        dv_batch, dv_head, dv_row = _strides(layout, batches, others, keys, vsize)
        if flags & _AS_INPUTS:
            dq_batch, dq_head, dq_row = q_batch, q_head, q_row
            dk_batch, dk_head, dk_row = k_batch, k_head, k_row
            dv_batch, dv_head, dv_row = v_batch, v_head, v_row
        first, last = part(batches * others, t, n)
        for unit in range(first, last):
            batch, other = unit // others, unit % others
            source = ahead(k, batch * k_batch + other * k_head)
            k_gradient = ahead(dk, batch * dk_batch + other * dk_head)
            v_gradient = ahead(dv, batch * dv_batch + other * dv_head)
            _transpose(like, turned, width, ahead(v, batch * v_batch + other * v_head), v_row, keys, vsize)
            mode = 0
            for head in range(other * group, (other + 1) * group):
                for top_row in range(0, queries, _BLOCK):
                    rows = min(_BLOCK, queries - top_row)
                    position = ((batch * heads + head) * queries + top_row) * keys
                    given = ahead(dout, batch * dout_batch + head * dout_head + top_row * dout_row)
                    multiply(like, rows, width, vsize, given, dout_row, one, turned, width, room, width, 0)
                    used, used_row = ahead(weights, position), keys
                    if flags & _DROP:
                        used, used_row = kept, width
                    for i in range(rows):
                        ds, p = ahead(room, i * width), ahead(weights, position + i * keys)
                        if flags & _DROP:
                            there = position + i * keys
                            drop_row(factor, ds, there, key0, key1, threshold, width)
                            fill(like, ahead(kept, i * width), p, keys, width)
                            drop_row(factor, ahead(kept, i * width), there, key0, key1, threshold, width)
                        if flags & _SCORES:
                            slopes(dtype(1), ds, p, keys, width)
                            unfill(like, ahead(dscores, position + i * keys), ds, keys, width)
                            scale_row(scale, ds, width)
                        else:
                            slopes(scale, ds, p, keys, width)
                    multiply(
                        like, rows, size, keys, room, width, one, source, k_row,
                        ahead(dq, batch * dq_batch + head * dq_head + top_row * dq_row), dq_row, 0,
                    )  # fmt: skip
                    multiply(
                        like, keys, size, rows, room, one, width,
                        ahead(q, batch * q_batch + head * q_head + top_row * q_row), q_row, k_gradient, dk_row, mode,
                    )  # fmt: skip
                    multiply(
                        like, keys, vsize, rows, used, one, used_row, given, dout_row, v_gradient, dv_row, mode,
                    )  # fmt: skip
                    mode = ACCUMULATE

    return attention_backward_slice


_FORWARD = by_dtype(
    "attention_forward", _forward, _FORWARD_WORDS, outputs="out weights scratch", stand_in="scratch"
)
_BACKWARD = by_dtype(
    "attention_backward", _backward, _BACKWARD_WORDS, outputs="dq dk dv dscores within scratch", stand_in="scratch"
)


def _check_inputs(
    q: np.ndarray, k: np.ndarray, v: np.ndarray
) -> tuple[tuple[int, int, int, int, int, int], int, list[int]]:
    """The sizes (batches, heads, queries, keys, size, vsize), the heads of ``q`` for each of ``k``, and all strides."""
    for name, a in (("q", q), ("k", k), ("v", v)):
        if getattr(a, "ndim", 4) != 4:
            raise ValueError(f"{name} must have 4 dimensions, found shape {a.shape}")
    dtype = q.dtype
    batches, heads, queries, size = q.shape
    groups, keys = k.shape[1:3] if isinstance(k, np.ndarray) else (1, 1)
    vsize = v.shape[3] if isinstance(v, np.ndarray) else 1
    strides = [
        *check_batch("q", q, dtype, q.shape, rows=True),
        *check_batch("k", k, dtype, (batches, groups, keys, size), rows=True),
        *check_batch("v", v, dtype, (batches, groups, keys, vsize), rows=True),
    ]
    if not (groups and keys and size and vsize):
        raise ValueError(f"only batches, heads and queries may be 0, found q {q.shape}, k {k.shape} and v {v.shape}")
    if heads % groups:
        raise ValueError(f"the heads of k and v must divide the {heads} heads of q, found {groups}")
    return (batches, heads, queries, keys, size, vsize), heads // groups, strides


def _check_dense(name: str, a: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], layout: int, out: bool) -> None:
    """Raise unless ``a`` is dense in the order of dimensions number ``layout``."""
    if type(a) is np.ndarray and a.shape == shape:
        order = ORDERS[layout]
        a, shape = a.transpose(order), tuple([shape[axis] for axis in order])
    (check_output if out else check)(name, a, dtype, shape)


def _check_layout(layout: int) -> None:
    if layout not in range(len(ORDERS)):
        raise ValueError(f"layout must be 0, 1 or 2, found {layout!r}")


def _scratch(parts: int, size: int, keys: int, blocks: int, dtype: np.dtype) -> np.ndarray:
    step = limits()[3] // dtype.itemsize
    return aligned((parts, size + blocks * _BLOCK, -(-keys // step) * step), dtype)


def attention_forward(
    out: np.ndarray, weights: np.ndarray | None, q: np.ndarray, k: np.ndarray, v: np.ndarray,
    mask: np.ndarray | None = None, *, scale: float, layout: int = 0, causal: bool = False, safe: bool = True,
    p: float = 0.0, state: np.ndarray | None = None,
) -> None:  # fmt: skip
    """``out = dropout(softmax(scale * q @ k.T + mask)) @ v`` for each batch and head.

    Args:
        out: (batches, heads, queries, vsize), dense in the order ``layout``.
        weights: (batches, heads, queries, keys), C-contiguous, receives the softmax for the backward; or None.
        q: (batches, heads, queries, size), with contiguous rows and any other strides.
        k: (batches, groups, keys, size) and v: (batches, groups, keys, vsize), the same; groups divides heads, and
            each of them serves that many successive heads of q.
        mask: (batches, heads, queries, keys), with contiguous rows; or None.
        layout: the order of the dimensions in memory, from the outermost: 0 for batches, heads, rows; 1 for batches,
            rows, heads; 2 for rows, batches, heads.
        causal: whether query i has only the keys up to i.
        safe: whether a row without a key, all of whose scores are -infinity, gives 0, not NaN.
        p, state: probability of zeroing a weight, and the draw (seed, call), needed if ``p`` > 0.

    All are float32 or all float64. Batches, heads and queries may be 0.
    """
    kernel = kernel_for(_FORWARD, "q", q)
    dtype = q.dtype
    sizes, group, strides = _check_inputs(q, k, v)
    batches, heads, queries, keys, size, vsize = sizes
    _check_layout(layout)
    _check_dense("out", out, dtype, (batches, heads, queries, vsize), layout, True)
    shape = batches, heads, queries, keys
    flags = _ONE | (_CAUSAL if causal else 0) | (_SAFE if safe else 0)
    if weights is not None:
        check_output("weights", weights, dtype, shape)
        flags |= _SAVE
    of_mask: tuple[int, ...] = (0, 0, 0)
    if mask is not None:
        of_mask = check_batch("mask", mask, dtype, shape, rows=True)
        flags |= _MASK
    if p:
        check_drop(p, state)
        flags |= _DROP
    if not out.size:
        return
    parts = min(chunks_for(batches * heads * queries * keys * (2.0 * (size + vsize) + _COST)), batches * heads)
    scratch = _scratch(parts, size, keys, 1, dtype)
    launch(
        kernel, parts,
        (out, scratch if weights is None else weights, q, k, v, scratch if mask is None else mask,
         scratch if state is None else state, scratch),
        *sizes, group, flags, layout, *strides, *of_mask, scale, 1.0 - p,
    )  # fmt: skip


def attention_backward(
    dq: np.ndarray, dk: np.ndarray, dv: np.ndarray, dscores: np.ndarray | None, dout: np.ndarray, q: np.ndarray,
    k: np.ndarray, v: np.ndarray, weights: np.ndarray, *, scale: float, layout: int = 0, p: float = 0.0,
    state: np.ndarray | None = None, within: np.ndarray | None = None,
) -> None:  # fmt: skip
    """The gradients of :func:`attention_forward`; its other arguments have the same meaning.

    Args:
        dq, dk, dv: of the shapes of q, k and v, which they must not overlap; all three with the strides of those,
            or all three dense in the order ``layout``.
        dscores: (batches, heads, queries, keys), C-contiguous, receives the gradient of the mask; or None.
        dout: (batches, heads, queries, vsize), dense in the order ``layout``.
        weights: as the forward left them.
        within: the array whose parts side by side dq, dk and dv are, so that a recording knows its writer; or None.
    """
    kernel = kernel_for(_BACKWARD, "q", q)
    dtype = q.dtype
    sizes, group, strides = _check_inputs(q, k, v)
    batches, heads, queries, keys, size, vsize = sizes
    _check_layout(layout)
    _check_dense("dout", dout, dtype, (batches, heads, queries, vsize), layout, False)
    check("weights", weights, dtype, (batches, heads, queries, keys))
    flags = _ONE
    pairs = (("dq", dq, q), ("dk", dk, k), ("dv", dv, v))
    if all(isinstance(d, np.ndarray) and d.strides == a.strides for _, d, a in pairs):
        flags |= _AS_INPUTS
        for name, d, a in pairs:
            check_batch(name, d, dtype, a.shape, rows=True, output=True)
    else:
        for name, d, a in pairs:
            _check_dense(name, d, dtype, a.shape, layout, True)
    if within is not None:
        check_output("within", within, dtype, within.shape)
    if dscores is not None:
        check_output("dscores", dscores, dtype, weights.shape)
        flags |= _SCORES
    if p:
        check_drop(p, state)
        flags |= _DROP
    if not weights.size:
        dk[...] = 0
        dv[...] = 0
        return
    groups = heads // group
    parts = min(chunks_for(batches * heads * queries * keys * (4.0 * (size + vsize) + _COST)), batches * groups)
    scratch = _scratch(parts, vsize, keys, 2, dtype)
    launch(
        kernel, parts,
        (dq, dk, dv, scratch if dscores is None else dscores, scratch if within is None else within, dout, q, k, v,
         weights, scratch if state is None else state, scratch),
        *sizes, group, flags, layout, *strides, scale, 1.0 - p,
    )  # fmt: skip
