"""The kernels of attention, and of batches of products, against NumPy in float64; finite differences, memory, bits."""

import naive_nn
import numpy as np
import pytest
from helpers import (
    DTYPES,
    Canary,
    assert_close,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    check_gradient,
    cut_in,
    guarded,
    no_launch,
    read_only,
)

from fastnn.kernels import attention_backward, attention_forward, batched_gemm, dropout_forward
from fastnn.kernels.attention.attention import ORDERS

# batches, heads, heads of the keys, queries, keys, size, size of a value
SIZES = [
    (2, 4, 4, 20, 20, 16, 16), (1, 1, 1, 1, 1, 1, 1), (3, 4, 2, 5, 7, 3, 6), (1, 2, 1, 50, 67, 24, 33),
    (2, 3, 3, 13, 33, 5, 2),
]  # fmt: skip
NAMES = ("dq", "dk", "dv", "dscores")


def dense(shape, layout, dtype):
    order = ORDERS[layout]
    return np.full([shape[axis] for axis in order], np.nan, dtype).transpose(np.argsort(order))


class Block(Canary):
    """A canary of any number of dimensions."""

    def __init__(self, shape, dtype):
        super().__init__((int(np.prod(shape[:-1])), shape[-1]), dtype)
        self.array = self.array.reshape(shape)


def inputs(sizes, dtype, layout=0, masked=False):
    batches, heads, groups, queries, keys, size, vsize = sizes
    rng = np.random.default_rng(sum(sizes))
    shapes = (batches, heads, queries, size), (batches, groups, keys, size), (batches, groups, keys, vsize)
    made = []
    for shape in shapes:
        made.append(dense(shape, layout, dtype))
        made[-1][...] = rng.standard_normal(shape)
    mask = None
    if masked:
        added = rng.standard_normal((batches, 1, queries, keys)).astype(dtype)
        added[rng.random(added.shape) < 0.3] = -np.inf
        added[:, :, 0] = -np.inf
        mask = np.broadcast_to(added, (batches, heads, queries, keys))
    return (*made, mask)


def forward(q, k, v, mask=None, layout=0, **options):
    out = dense((*q.shape[:3], v.shape[3]), layout, q.dtype)
    weights = np.full((*q.shape[:3], k.shape[2]), np.nan, q.dtype)
    attention_forward(out, weights, q, k, v, mask, scale=0.3, layout=layout, **options)
    return out, weights


def backward(dout, q, k, v, weights, layout=0, **options):
    grads = [dense(a.shape, layout, q.dtype) for a in (q, k, v)]
    dscores = np.full_like(weights, np.nan)
    attention_backward(*grads, dscores, dout, q, k, v, weights, scale=0.3, layout=layout, **options)
    return (*grads, dscores)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", range(3))
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_both_ways(dtype, masked, layout, sizes):
    q, k, v, mask = inputs(sizes, dtype, layout, masked)
    causal = not masked and layout == 1
    out, weights = forward(q, k, v, mask, layout, causal=causal)
    expected, shares, magnitude = naive_nn.attention(q, k, v, mask, 0.3, causal)
    # The errors of the scores, sums of `size` terms, are multiplied by the exponential.
    roundings = 4 * (sizes[5] + sizes[4] + 8)
    assert_close(weights, shares, dtype, roundings=roundings, magnitude=shares * magnitude)
    assert_close(out, expected, dtype, roundings=roundings, magnitude=magnitude * np.abs(v).max())
    if not masked:
        # Without saved weights, the same bits.
        again = dense(out.shape, layout, dtype)
        attention_forward(again, None, q, k, v, mask, scale=0.3, layout=layout, causal=causal)
        assert_same_bits(again, out)
    dout = dense(out.shape, layout, dtype)
    dout[...] = np.random.default_rng(1).standard_normal(out.shape)
    found = backward(dout, q, k, v, weights, layout)
    for name, a, e in zip(NAMES, found, naive_nn.attention_backward(dout, q, k, v, weights, 0.3), strict=True):
        size = max(1.0, np.abs(e).max()) * max(sizes[3:])
        assert_close(a, e, dtype, roundings=roundings, magnitude=size), name


def test_finite_differences():
    q, k, v, mask = inputs((1, 4, 2, 3, 5, 2, 3), np.float64)
    mask = np.random.default_rng(2).standard_normal((1, 4, 3, 5))
    dout, state = np.random.default_rng(3).standard_normal((1, 4, 3, 3)), np.array([1, 2])
    arrays = [q, k, v, mask]
    for options in ({}, {"p": 0.4, "state": state}):
        _, weights = forward(*arrays, **options)
        for i, gradient in enumerate(backward(dout, q, k, v, weights, **options)):

            def value(x, i=i, options=options):
                return np.sum(dout * forward(*[x if j == i else a for j, a in enumerate(arrays)], **options)[0])

            check_gradient(value, np.ascontiguousarray(gradient), arrays[i])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_is_that_of_the_weights(dtype):
    q, k, v, _ = inputs((2, 2, 2, 5, 19, 4, 3), dtype)
    state = np.array([7, 3])
    out, weights = forward(q, k, v, p=0.3, state=state)
    _, plain = forward(q, k, v)
    assert_same_bits(weights, plain)
    kept = np.empty_like(weights)
    dropout_forward(kept, weights, state, 0.3)
    assert (kept == 0).any()
    assert_close(out, kept.astype(np.float64) @ v, dtype, roundings=40, magnitude=np.abs(v).max() * 2)


def test_a_query_without_a_key():
    q, k, v, mask = inputs(SIZES[0], np.float32, masked=True)
    out, weights = forward(q, k, v, mask)
    assert (out[:, :, 0] == 0).all()
    assert (weights[:, :, 0] == 0).all()
    for gradient in backward(np.ones_like(out), q, k, v, weights):
        assert np.isfinite(gradient).all()
    out, _ = forward(q, k, v, mask, safe=False)
    assert np.isnan(out[:, :, 0]).all()
    assert np.isfinite(out[:, :, 1:]).all()
    q[0, 0, 1, 0] = np.nan
    out, _ = forward(q, k, v)
    assert np.isnan(out[0, 0, 1]).all()
    assert np.isfinite(out[1:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_heads_side_by_side_in_one_array(dtype):
    """Q, K and V as parts of one array, and their gradients as parts of another: the same bits."""
    q, k, v, _ = inputs((3, 2, 2, 5, 5, 4, 4), dtype)
    out, weights = forward(q, k, v)
    dout = np.random.default_rng(0).standard_normal(out.shape).astype(dtype)
    packed, gradient = np.empty((3, 5, 3, 2, 4), dtype), np.full((3, 5, 3, 2, 4), np.nan, dtype)
    parts = [packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    for part, a in zip(parts, (q, k, v), strict=True):
        part[...] = a
    found, shares = forward(*parts, layout=1)
    assert_same_bits(np.ascontiguousarray(found), out)
    grads = [gradient[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    turned = dense(out.shape, 1, dtype)
    turned[...] = dout
    attention_backward(*grads, None, turned, *parts, shares, scale=0.3, layout=1, within=gradient)
    for a, e in zip(grads, backward(dout, q, k, v, weights), strict=False):
        assert_same_bits(np.ascontiguousarray(a), e)


def test_same_bits_in_any_parts():
    q, k, v, mask = inputs((5, 6, 3, 50, 9, 4, 4), np.float32, masked=True)

    def run():
        out, weights = forward(q, k, v, mask, p=0.1, state=np.array([1, 1]))
        return (out, weights, *backward(out, q, k, v, weights, p=0.1, state=np.array([1, 1])))

    assert_same_bits_in_any_parts(run)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
def test_memory_around(dtype, side):
    q, k, v, mask = inputs((2, 2, 1, 3, 19, 5, 7), dtype, masked=True)
    mask, state = np.ascontiguousarray(mask), np.array([1, 1])
    with cut_in(3):
        out, weights = Block((2, 2, 3, 7), dtype), Block((2, 2, 3, 19), dtype)
        given = [guarded(a, side) for a in (q, k, v, mask)]
        attention_forward(out.array, weights.array, *given, scale=0.3, p=0.2, state=state)
        grads = [Block(a.shape, dtype) for a in (q, k, v, mask)]
        attention_backward(
            *[g.array for g in grads], guarded(out.array, side), *given[:3], guarded(weights.array, side), scale=0.3,
            p=0.2, state=state,
        )  # fmt: skip
    for canary in (out, weights, *grads):
        canary.check()


WRONG = {
    "layout": ({"layout": 3}, "layout must be 0, 1 or 2"),
    "q of three dimensions": ({"q": np.ones((2, 3, 4), np.float32)}, "q must have 4 dimensions"),
    "q of integers": ({"q": np.ones((1, 2, 3, 4), np.int64)}, "q must have dtype float32 or float64"),
    "k of float64": ({"k": np.ones((1, 2, 5, 4))}, "k must have dtype float32"),
    "k of another size": ({"k": np.ones((1, 2, 5, 3), np.float32)}, "k must have shape"),
    "v of another length": ({"v": np.ones((1, 2, 4, 4), np.float32)}, "v must have shape"),
    "heads": ({"k": np.ones((1, 3, 5, 4), np.float32), "v": np.ones((1, 3, 5, 4), np.float32)}, "must divide the 2"),
    "no keys": ({"k": np.ones((1, 2, 0, 4), np.float32), "v": np.ones((1, 2, 0, 4), np.float32)}, "may be 0"),
    "rows with gaps": ({"q": np.ones((1, 2, 3, 8), np.float32)[..., ::2]}, "q must be aligned, with contiguous rows"),
    "backwards": ({"q": np.ones((1, 2, 3, 4), np.float32)[:, ::-1]}, "q must be aligned"),
    "out in another order": ({"out": np.ones((1, 3, 2, 4), np.float32).transpose(0, 2, 1, 3)}, "out must be C-contig"),
    "read-only out": ({"out": read_only(np.ones((1, 2, 3, 4), np.float32))}, "out must be C-contiguous"),
    "weights": ({"weights": np.ones((1, 2, 3, 4), np.float32)}, "weights must have shape"),
    "mask": ({"mask": np.ones((3, 5), np.float32)}, "mask must have shape"),
    "p": ({"p": 2.0, "state": np.array([1, 1])}, r"p must be in \[0, 1\]"),
    "no state": ({"p": 0.5}, "state must be given"),
    "list": ({"v": [1.0]}, "v must be a NumPy array"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused(case):
    change, message = WRONG[case]
    good = {
        "out": np.zeros((1, 2, 3, 4), np.float32), "weights": np.zeros((1, 2, 3, 5), np.float32),
        "q": np.ones((1, 2, 3, 4), np.float32), "k": np.ones((1, 2, 5, 4), np.float32),
        "v": np.ones((1, 2, 5, 4), np.float32), "mask": None, "scale": 1.0,
    }  # fmt: skip
    with no_launch(), pytest.raises((TypeError, ValueError), match=message):
        attention_forward(**(good | change))


@pytest.mark.parametrize("name", ["dq", "dk", "dv", "dscores", "dout", "weights"])
def test_wrong_arrays_of_the_backward_are_refused(name):
    q, k, v = (np.ones((1, 2, 3, 4), np.float32) for _ in range(3))
    good = {n: np.ones((1, 2, 3, 4), np.float32) for n in ("dq", "dk", "dv", "dout")}
    good |= {n: np.ones((1, 2, 3, 3), np.float32) for n in ("dscores", "weights")}
    for wrong in (np.ones((1, 2, 3, 9), np.float32), good[name].astype(np.float64), good[name][:, ::-1]):
        with no_launch(), pytest.raises((TypeError, ValueError), match=f"{name} must"):
            attention_backward(**(good | {name: wrong}), q=q, k=k, v=v, scale=1.0)


# -- Batches of products --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", [(5, 20, 16, 20), (1, 1, 1, 1), (3, 13, 7, 40), (2, 2, 3, 65), (2, 3, 0, 4), (0, 2, 3, 4)], ids=str
)
def test_batches_of_products(dtype, sizes):
    count, rows, depth, columns = sizes
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((count, rows, depth)), rng.standard_normal((count, depth, columns))
    a, b = a.astype(dtype), b.astype(dtype)
    expected, magnitude = a.astype(np.float64) @ b, np.abs(a.astype(np.float64)) @ np.abs(b)
    turned = np.ascontiguousarray(b.swapaxes(1, 2)).swapaxes(1, 2)
    first = None
    for x in (a, np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2), np.repeat(a, 2, 2)[:, :, ::2]):
        for y in (b, turned, np.asfortranarray(b)):
            out = Block((count, rows, columns), dtype)
            with cut_in(2):
                batched_gemm(out.array, x, y)
            out.check()
            assert_close(out.array, expected, dtype, roundings=depth + 1, magnitude=magnitude)
            first = out.array.copy() if first is None else first
            assert_same_bits(out.array, first)


def test_wrong_batches_are_refused():
    good = {n: np.ones((2, 3, 3), np.float32) for n in ("y", "a", "b")}
    for name in good:
        for wrong in (np.ones((2, 3), np.float32), np.ones((3, 3, 3), np.float32), np.ones((2, 3, 3)), [1.0]):
            with no_launch(), pytest.raises((TypeError, ValueError)):
                batched_gemm(**(good | {name: wrong}))
