"""Attention layers beside PyTorch: every kind of mask and option, errors, reprs."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from beside_torch import assert_same, assert_same_outcome, torch

from fastnn import nn

pytestmark = pytest.mark.torch


def randoms(*shape: int, seed: int = 0, kind: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(kind)


_OPTIONS = list(itertools.product([None, "bool", "float", "heads"], [None, "bool", "float"], [True, False]))


@pytest.mark.parametrize("kind", ["self", "other", "packed", "separate"])
@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True, "add_zero_attn": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("batch_first", [True, False])
def test_layer_beside_pytorch(kind: str, extra: dict[str, bool], batch_first: bool) -> None:
    sizes = {"kdim": 5, "vdim": 3} if kind == "separate" else {}
    shapes = {n: tuple(p.shape) for n, p in nn.MultiheadAttention(8, 2, **extra, **sizes).state_dict().items()}
    keys = 4 if kind == "self" else 6

    def run(lib: Any, mask: Any, padding: Any, weights: bool) -> Any:
        layer = lib.nn.MultiheadAttention(8, 2, batch_first=batch_first, **extra, **sizes, dtype=lib.float64)
        layer.load_state_dict({n: lib.tensor(randoms(*s) / 3) for n, s in shapes.items()})

        def rows(length: int, features: int, seed: int) -> Any:
            shape = (3, length, features) if batch_first else (length, 3, features)
            return lib.tensor(randoms(*shape, seed=seed), requires_grad=True)

        q = rows(4, 8, 1)
        k = q if kind == "self" else rows(6, sizes.get("kdim", 8), 2)
        v = k if kind in ("self", "packed") else rows(6, sizes.get("vdim", 8), 3)
        shape = (6, 4, keys) if mask == "heads" else (4, keys)
        of_mask = randoms(*shape, seed=4)
        of_padding = randoms(3, keys, seed=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out, shares = layer(
                q, k, v, need_weights=weights, average_attn_weights=mask is None,
                attn_mask=None if mask is None else lib.tensor(of_mask if mask == "float" else of_mask > 0.8),
                key_padding_mask=None if padding is None else lib.tensor(of_padding if padding == "float"
                                                                         else of_padding > 0.8),
            )  # fmt: skip
        total = (out * out).sum() + (0 if shares is None else (shares * shares).sum())
        total.backward()
        return [out, shares, q.grad, k.grad, v.grad, *[p.grad for p in layer.parameters()]]

    for mask, padding, weights in _OPTIONS:
        # Sums of up to 100 terms of several layers, in another order.
        assert_same_outcome(lambda lib, m=mask, p=padding, w=weights: run(lib, m, p, w), 400, 4.0)


EDGES = {
    "vector": lambda lib, F, x: F(lib.ones(4), x, x),
    "dtypes": lambda lib, F, x: F(x, x.double(), x),
    "integers": lambda lib, F, x: F(x.long(), x.long(), x.long()),
    "sizes": lambda lib, F, x: F(x, lib.ones(2, 3, 5), x),
    "lengths": lambda lib, F, x: F(x, x, lib.ones(2, 5, 4)),
    "batches": lambda lib, F, x: F(x, lib.ones(3, 3, 4), x),
    "causal_and_mask": lambda lib, F, x: F(x, x, x, lib.ones(3, 3), is_causal=True),
    "mask": lambda lib, F, x: F(x, x, x, lib.ones(3, 4)),
    "mask_of_integers": lambda lib, F, x: F(x, x, x, lib.ones(3, 3).long()),
    "mask_of_doubles": lambda lib, F, x: F(x, x, x, lib.ones(3, 3).double()),
    "mask_of_singles": lambda lib, F, x: F(x.double(), x.double(), x.double(), lib.ones(3, 3)),
    "heads": lambda lib, F, x: F(lib.ones(5, 3, 4), x, x, enable_gqa=True),
    "no_groups": lambda lib, F, x: F(lib.ones(1, 4, 3, 4), x, x),
    "probability": lambda lib, F, x: F(x, x, x, dropout_p=1.5),
    "negative_probability": lambda lib, F, x: F(x, x, x, dropout_p=-0.5),
    "positional_scale": lambda lib, F, x: F(x, x, x, None, 0.0, False, 0.5),
    "no_tensor": lambda lib, F, x: F(1, x, x),
    "scale_0": lambda lib, F, x: F(x, x, x, scale=0),
    "embed_dim": lambda lib, F, x: lib.nn.MultiheadAttention(5, 2),
    "no_heads": lambda lib, F, x: lib.nn.MultiheadAttention(4, 0),
    "activation": lambda lib, F, x: lib.nn.TransformerEncoderLayer(4, 2, activation="tanh"),
    "other_features": lambda lib, F, x: lib.nn.MultiheadAttention(6, 2)(x, x, x),
    "key_of_two": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x[0], x[0]),
    "four": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x[None], x, x),
    "mask_2d": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=lib.ones(3, 3)),
    "mask_3d": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=lib.ones(2, 2, 2)),
    "mask_1d": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=lib.ones(2)),
    "padding_1d": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, key_padding_mask=lib.ones(2)),
    "padding": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, key_padding_mask=lib.ones(3, 3)),
    "padding_int": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, key_padding_mask=lib.ones(3, 2).int()),
    "causal": lambda lib, F, x: lib.nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True),
}


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_edges(edge: Any) -> None:
    assert_same_outcome(
        lambda lib: edge(lib, lib.nn.functional.scaled_dot_product_attention, lib.ones(2, 3, 4)), 16
    )


def test_reprs_and_initial_shapes_are_pytorchs() -> None:
    for build in (
        lambda nn: nn.TransformerEncoderLayer(8, 2, 6, batch_first=True, bias=False),
        lambda nn: nn.Transformer(8, 2, 1, 1, 6, batch_first=True),
        lambda nn: nn.MultiheadAttention(8, 2, kdim=3, add_bias_kv=True),
    ):
        ours, theirs = build(nn), build(torch.nn)
        assert repr(ours) == repr(theirs)
        assert [(n, tuple(p.shape)) for n, p in ours.state_dict().items()] == [
            (n, tuple(p.shape)) for n, p in theirs.state_dict().items()
        ]
    masks = [layers.Transformer.generate_square_subsequent_mask(3) for layers in (nn, torch.nn)]
    assert_same(*masks)
